"""How batches become ready to be learned from: in their own step, or beside the one before."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import MappingProxyType

import torch
from torch import Tensor

from mixviz.train.objective import Objective
from mixviz.train.work import Ready

Batches = Iterable[tuple[Tensor, Tensor]]
"""Normalised images and their class indices."""


def in_turn(objective: Objective, batches: Batches) -> Iterator[Ready]:
    """Look at every batch and make it ready when its step has come."""
    for images, labels in batches:
        yield objective.begin(images, labels)()


def one_ahead(objective: Objective, batches: Batches) -> Iterator[Ready]:
    """Look at every batch one step early, and make it ready beside that step.

    The network that looks is the one before that step. What is drawn, and in which order, is what
    `in_turn` draws.
    """
    with ThreadPoolExecutor(1, "mixing") as thread:
        waiting: Future[Ready] | None = None
        for images, labels in batches:
            begun = thread.submit(_on_another_stream(objective.begin(images, labels), images))
            if waiting is not None:
                yield _received(waiting)
            waiting = begun
        if waiting is not None:
            yield _received(waiting)


FEEDS: MappingProxyType[str, Callable[[Objective, Batches], Iterator[Ready]]] = MappingProxyType(
    {"current": in_turn, "previous": one_ahead}
)
"""Ways to feed a run by the network that guides it, `mixviz.train.recipe.GUIDES`."""


def _on_another_stream(make: Callable[[], Ready], images: Tensor) -> Callable[[], Ready]:
    """Let a GPU's work wait for what was asked for until now, and for nothing asked for later.

    Masks are solved on the CPU, and reading what they need would else wait for the whole step.
    """
    if images.device.type != "cuda":
        return make
    asked = torch.cuda.current_stream(images.device).record_event()

    def run() -> Ready:
        stream: torch.cuda.Stream = torch.cuda.Stream(images.device)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(stream):
            stream.wait_event(asked)
            ready = make()
        # What was read on this stream may be let go of as soon as this returns.
        stream.synchronize()
        return ready

    return run


def _received(waiting: Future[Ready]) -> Ready:
    ready = waiting.result()
    for tensor in _tensors(ready):
        if tensor.is_cuda:
            # Made on the other stream, used on this one: its memory must not return too early.
            tensor.record_stream(torch.cuda.current_stream(tensor.device))
    return ready


def _tensors(ready: Ready) -> Iterator[Tensor]:
    if isinstance(ready, Tensor):
        yield ready
    elif isinstance(ready, tuple):
        for part in ready:
            yield from _tensors(part)
