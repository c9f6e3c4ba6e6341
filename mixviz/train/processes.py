"""What several processes of one run tell each other."""

from collections.abc import Callable
from typing import Any

from lightning_fabric import Fabric
from torch import Tensor

from mixviz.train.errors import TrainingError


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


def _reduced(fabric: Fabric, value: Tensor, how: str) -> Tensor:
    reduced: Any = fabric.all_reduce(value, reduce_op=how)  # of a tensor it is a tensor
    return reduced
