import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest

from mixviz.ui.engine import Engine, EngineError, SupersededError, Ticket


@pytest.fixture
def engine() -> Iterator[Engine]:
    running = Engine(limit=8)
    yield running
    running.close()


class Gate:
    """A job that holds the worker until told, so that a queue can form behind it."""

    def __init__(self, engine: Engine, visitor: str = "gate") -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()
        self.ticket = engine.submit(visitor, self.hold)
        assert self.entered.wait(5)

    def hold(self) -> str:
        self.entered.set()
        assert self.opened.wait(5)
        return "held"

    def open(self) -> None:
        self.opened.set()


def noted(done: list[str], name: str) -> Callable[[], str]:
    def work() -> str:
        done.append(name)
        return name

    return work


def test_result_comes_back_from_the_one_worker_thread(engine: Engine) -> None:
    threads = {engine.submit("ann", threading.get_ident).wait() for _ in range(3)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_twenty_quick_pictures_cost_at_most_three_passes(engine: Engine) -> None:
    passes: list[int] = []
    shown: list[int] = []
    dropped: list[Ticket[int]] = []

    def classify(picture: int) -> int:
        passes.append(picture)
        time.sleep(0.3)
        return picture

    def show(ticket: Ticket[int]) -> None:
        try:
            shown.append(ticket.wait())
        except SupersededError:
            dropped.append(ticket)

    pages = []
    for picture in range(20):
        ticket = engine.submit("ann", lambda picture=picture: classify(picture))
        pages.append(threading.Thread(target=show, args=(ticket,)))
        pages[-1].start()
        time.sleep(0.005)
    for thread in pages:
        thread.join(5)
    assert len(passes) <= 3
    assert passes[-1] == shown[-1] == 19
    assert len(shown) + len(dropped) == 20
    assert len(shown) == len(passes)


def test_newest_waiting_request_wins_and_the_older_waiter_is_told(engine: Engine) -> None:
    done: list[str] = []
    gate = Gate(engine, "ann")
    tickets = [engine.submit("ann", noted(done, str(i))) for i in range(5)]
    for ticket in tickets[:-1]:
        with pytest.raises(SupersededError, match="newer request"):
            ticket.wait()
    gate.open()
    assert gate.ticket.wait() == "held"  # what runs already is finished and delivered
    assert tickets[-1].wait() == "4"
    assert done == ["4"]


def test_lanes_of_one_visitor_do_not_supersede_each_other(engine: Engine) -> None:
    done: list[str] = []
    gate = Gate(engine)
    saliency = engine.submit("ann", noted(done, "saliency"), lane="saliency")
    prediction = engine.submit("ann", noted(done, "prediction"), lane="prediction")
    gate.open()
    assert (saliency.wait(), prediction.wait()) == ("saliency", "prediction")


def test_visitors_take_turns(engine: Engine) -> None:
    done: list[str] = []
    gate = Gate(engine)
    tickets = [engine.submit("ann", noted(done, f"ann {lane}"), lane=lane) for lane in "abc"]
    tickets += [engine.submit("bob", noted(done, "bob"))]
    tickets += [engine.submit("cid", noted(done, "cid"))]
    # A newer request of the first in line keeps its place.
    tickets[0] = engine.submit("ann", noted(done, "ann newer"), lane="a")
    gate.open()
    for ticket in tickets:
        ticket.wait()
    assert done == ["ann newer", "bob", "cid", "ann b", "ann c"]


def test_a_visitor_who_never_stops_does_not_starve_another(engine: Engine) -> None:
    stop = threading.Event()
    passes = [0]

    def work() -> None:
        passes[0] += 1
        time.sleep(0.01)

    def insist() -> None:
        while not stop.is_set():
            engine.submit("ann", work).wait()

    insisting = threading.Thread(target=insist)
    insisting.start()
    try:
        for _ in range(5):
            ticket = engine.submit("bob", lambda: passes[0])
            before = passes[0]
            assert ticket.wait() - before <= 1
            deadline = time.monotonic() + 5
            while passes[0] == before and time.monotonic() < deadline:
                time.sleep(0.001)
            assert passes[0] > before  # and bob does not stop ann either
    finally:
        stop.set()
        insisting.join(5)


@pytest.mark.parametrize("error", [ValueError("bad picture"), SystemExit(1), MemoryError()])
def test_exception_reaches_the_waiter_and_the_worker_lives(
    engine: Engine, error: BaseException
) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        engine.submit("ann", fail).wait()
    assert caught.value is error
    assert engine.submit("ann", lambda: 7).wait() == 7


def test_poll_is_called_while_waiting_and_not_afterwards(engine: Engine) -> None:
    gate = Gate(engine)
    calls: list[float] = []

    def poll() -> None:
        calls.append(time.monotonic())
        if len(calls) == 3:
            gate.open()

    assert gate.ticket.wait(poll, every=0.01) == "held"
    assert len(calls) >= 3
    before = len(calls)
    assert gate.ticket.wait(poll) == "held"
    assert len(calls) == before


class Stale(BaseException):
    """As Streamlit stops a run that is no longer current."""


def test_exception_of_poll_withdraws_the_request(engine: Engine) -> None:
    done: list[str] = []
    gate = Gate(engine)

    def stale() -> None:
        raise Stale

    ticket = engine.submit("ann", noted(done, "never"))
    with pytest.raises(Stale):
        ticket.wait(stale, every=0.001)
    with pytest.raises(SupersededError, match="withdrawn"):
        ticket.wait()
    gate.open()
    assert engine.submit("ann", noted(done, "next")).wait() == "next"
    assert done == ["next"]


def test_cancel_of_an_old_ticket_spares_the_newer_one(engine: Engine) -> None:
    gate = Gate(engine)
    old = engine.submit("ann", lambda: "old")
    new = engine.submit("ann", lambda: "new")
    old.cancel()
    gate.ticket.cancel()  # runs already: nothing happens
    gate.open()
    assert new.wait() == "new"
    assert gate.ticket.wait() == "held"


def test_queue_is_bounded_but_a_newer_request_always_fits(engine: Engine) -> None:
    gate = Gate(engine)
    tickets = [engine.submit(f"visitor {i}", lambda: "done") for i in range(8)]
    with pytest.raises(EngineError, match="8 requests are waiting already"):
        engine.submit("one more", lambda: "done")
    newer = engine.submit("visitor 3", lambda: "newer")
    gate.open()
    assert newer.wait() == "newer"
    assert tickets[7].wait() == "done"
    assert engine.submit("one more", lambda: "done").wait() == "done"


def test_close_tells_who_waits_finishes_what_runs_and_ends_the_thread() -> None:
    engine = Engine()
    gate = Gate(engine)
    waiting = engine.submit("ann", lambda: "never")
    closing = threading.Thread(target=engine.close)
    closing.start()
    with pytest.raises(EngineError, match="shutting down"):
        waiting.wait()
    gate.open()
    closing.join(5)
    assert gate.ticket.wait() == "held"
    assert not any(t is engine._thread for t in threading.enumerate())
    with pytest.raises(EngineError, match="shutting down"):
        engine.submit("ann", lambda: "never")
    engine.close()


def test_thread_does_not_keep_the_process_alive(engine: Engine) -> None:
    assert engine._thread.daemon


class Pictures:
    """Stands for a large result or input."""


def test_nothing_is_kept_once_a_ticket_is_gone(engine: Engine) -> None:
    pictures = Pictures()
    asked = weakref.ref(pictures)
    ticket: Ticket[Pictures] = engine.submit("ann", lambda kept=pictures: Pictures())
    del pictures
    answered = weakref.ref(ticket.wait())
    gc.collect()
    assert asked() is None  # the input goes as soon as the work is done
    assert answered() is not None
    del ticket
    engine.submit("bob", lambda: None).wait()
    gc.collect()
    assert answered() is None


def test_many_visitors_at_once_all_get_their_own_answer() -> None:
    engine = Engine(limit=64)
    answers: dict[int, int] = {}

    def visit(number: int) -> None:
        for step in range(20):
            answers[number] = engine.submit(str(number), lambda s=step: 100 * number + s).wait()

    visits = [threading.Thread(target=visit, args=(number,)) for number in range(10)]
    for thread in visits:
        thread.start()
    for thread in visits:
        thread.join(10)
    engine.close()
    assert answers == {number: 100 * number + 19 for number in range(10)}
