"""Learning-rate schedules: the rate of a step, as a part of the peak rate."""

import math
from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """How the learning rate changes from the first step to the last."""

    @property
    def name(self) -> str:
        """Its name on the command line and on the card."""

    def part(self, step: int, steps: int) -> float:
        """Share of the peak rate at a step, counted from 0, of so many."""


@dataclass(frozen=True)
class OneCycle:
    """Cosine up from peak/start_divisor, then down to that over end_divisor.

    Smith & Topin 2017 (arXiv:1708.07120), in the form of ``torch.optim.lr_scheduler.OneCycleLR``
    with the same meaning of its divisors.

    Attributes:
        warm_part: share of the steps on which the rate rises.
        start_divisor: peak rate over first rate.
        end_divisor: first rate over last rate.
    """

    warm_part: float = 0.2
    start_divisor: float = 25.0
    end_divisor: float = 10_000.0
    name: str = "one_cycle"

    def part(self, step: int, steps: int) -> float:
        """Share of the peak rate at a step."""
        summit = self.warm_part * steps - 1
        first = 1 / self.start_divisor
        if step <= summit:
            start, end, done = first, 1.0, step / summit if summit > 0 else 1.0
        else:
            start, end = 1.0, first / self.end_divisor
            done = min((step - summit) / max(steps - 1 - summit, 1), 1.0)
        return end + (start - end) / 2 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True)
class MultiStep:
    """The peak rate, multiplied by `factor` at every milestone, as MultiStepLR does by epochs.

    Attributes:
        milestones: shares of the steps after which the rate drops, ascending.
        factor: what the rate is multiplied by.
    """

    milestones: tuple[float, ...] = (1 / 3, 2 / 3)
    factor: float = 0.1
    name: str = "multi_step"

    def part(self, step: int, steps: int) -> float:
        """Share of the peak rate at a step."""
        # Shares are written as decimals: a milestone of 0.3 of 10 steps is step 3, not 4.
        passed = sum(step >= round(share * steps, 6) for share in self.milestones)
        return self.factor**passed


SCHEDULES: dict[str, type[OneCycle] | type[MultiStep]] = {
    "one_cycle": OneCycle,
    "multi_step": MultiStep,
}
"""Schedules by the name of ``--schedule``."""
