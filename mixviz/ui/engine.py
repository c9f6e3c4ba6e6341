"""One thread owns the device; visitors take turns, and the latest request of each wins.

A forward pass cannot be interrupted, so the thing to avoid is a queue of passes nobody waits for
any more. Streamlit starts a new run of a page while the old one still computes; here the old
run's request is dropped before it starts, and its waiter told.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

LIMIT = 64


class SupersededError(Exception):
    """A newer request of the same visitor took this one's place, or it was withdrawn."""


class EngineError(RuntimeError):
    """The engine takes no more work; the message is one sentence for the visitor."""


class Ticket(Generic[T]):
    """A place in the queue, and the way to what comes out.

    One waiter per ticket: an exception of the work is raised in `wait` as it was.
    """

    def __init__(self, engine: "Engine", visitor: str, lane: str, work: Callable[[], T]) -> None:
        self.visitor = visitor
        self.lane = lane
        self._engine = engine
        self._work: Callable[[], T] | None = work
        self._done = threading.Event()
        self._result: list[T] = []
        self._error: BaseException | None = None

    def wait(self, poll: Callable[[], None] = lambda: None, every: float = 0.02) -> T:
        """The result of the work, once it is there.

        Args:
            poll: called every `every` seconds until then. What it raises (a page that is no
                longer current, say) withdraws the request and goes on to the caller.
            every: seconds.

        Raises:
            SupersededError: the work was dropped before it began.
            EngineError: the engine closed before the work began.
        """
        try:
            while not self._done.wait(every):
                poll()
        except BaseException:
            self.cancel()
            raise
        if self._error is not None:
            raise self._error
        return self._result[0]

    def cancel(self) -> None:
        """Withdraws a request that has not begun; one that runs is finished and forgotten."""
        self._engine._withdraw(self)

    def _run(self) -> None:
        work, self._work = self._work, None  # what it holds (pictures, say) is free afterwards
        assert work is not None
        try:
            self._result.append(work())
        except BaseException as error:  # SystemExit too: the worker outlives every job
            self._error = error
        self._done.set()

    def _drop(self, error: Exception) -> None:
        self._work = None
        self._error = error
        self._done.set()


class Engine:
    """The device's one worker thread and its queue.

    Each visitor has at most one waiting request per lane (a lane is one kind of work, "saliency"
    say); a newer one takes its place. Visitors with work waiting take turns, oldest lane first.
    The work runs outside any page: it must not call Streamlit.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._waiting: OrderedDict[str, OrderedDict[str, Ticket[Any]]] = OrderedDict()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="mixviz-engine", daemon=True)
        self._thread.start()

    def submit(self, visitor: str, work: Callable[[], T], lane: str = "main") -> Ticket[T]:
        """Queues work; a waiting request of the same visitor and lane is superseded.

        Raises:
            EngineError: `limit` requests are waiting, or the engine is closed.
        """
        ticket = Ticket(self, visitor, lane, work)
        with self._changed:
            if self._closed:
                raise EngineError("The app is shutting down.")
            lanes = self._waiting.get(visitor, OrderedDict())
            older = lanes.get(lane)
            if older is None and self._count() >= self._limit:
                raise EngineError(
                    f"{self._limit} requests are waiting already; try again in a moment."
                )
            # The newer one keeps the older one's place: a slider that moves loses no turn.
            lanes[lane] = ticket
            self._waiting[visitor] = lanes
            if older is not None:
                older._drop(SupersededError("A newer request took its place."))
            self._changed.notify()
        return ticket

    def close(self, timeout: float = 5.0) -> None:
        """Drops what waits, lets the running work finish and ends the thread."""
        with self._changed:
            self._closed = True
            for lanes in self._waiting.values():
                for ticket in lanes.values():
                    ticket._drop(EngineError("The app is shutting down."))
            self._waiting.clear()
            self._changed.notify()
        self._thread.join(timeout)

    def _withdraw(self, ticket: Ticket[Any]) -> None:
        with self._changed:
            lanes = self._waiting.get(ticket.visitor)
            if lanes is not None and lanes.get(ticket.lane) is ticket:
                del lanes[ticket.lane]
                if not lanes:
                    del self._waiting[ticket.visitor]
                ticket._drop(SupersededError("The request was withdrawn."))

    def _count(self) -> int:
        return sum(len(lanes) for lanes in self._waiting.values())

    def _serve(self) -> None:
        while self._serve_one():
            pass

    def _serve_one(self) -> bool:
        # A function of its own, so that no local keeps the last result alive while idle.
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return False
            visitor, lanes = self._waiting.popitem(last=False)
            _, ticket = lanes.popitem(last=False)
            if lanes:
                self._waiting[visitor] = lanes  # behind the others: their turn comes first
        ticket._run()
        return True
