"""What several processes of one run tell each other."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from mixviz.train.errors import TrainingError


@contextmanager
def together(fabric: Fabric) -> Iterator[None]:
    """Start every process of a run, and take leave of the others at its end.

    The threads that talk to other processes must end before the interpreter does: one that still
    lets go of a tensor then aborts the process. A process told to stop goes at once: the others
    may be gone, and what it still waits for from them with them.
    """
    fabric.launch()
    try:
        yield
    except Exception:
        _take_leave()
        raise
    _take_leave()


def total(fabric: Fabric, value: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes."""
    return _reduced(fabric, value, "sum")


def mean(fabric: Fabric, value: Tensor) -> Tensor:
    """Return the mean of a tensor of floats over all processes."""
    return _reduced(fabric, value, "mean")


def on_first(fabric: Fabric, act: Callable[[], None]) -> None:
    """Let the first process act; all of them stop where it cannot.

    Raises:
        TrainingError: what the first process met.
    """
    problem = ""
    if fabric.is_global_zero:
        try:
            act()
        except TrainingError as error:
            problem = str(error)
    problem = fabric.broadcast(problem)
    if problem:
        raise TrainingError(problem)


def _take_leave() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        gc.collect()  # a network shared between processes refers to itself, and holds the threads


def _reduced(fabric: Fabric, value: Tensor, how: str) -> Tensor:
    reduced: Any = fabric.all_reduce(value, reduce_op=how)  # of a tensor it is a tensor
    return reduced
