"""What decides a training run: network, schedule, sizes that may grow on the way, and mixing."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mixviz.augment import defaults, mixable, mixable_inside
from mixviz.methods import METHODS, rl_mix
from mixviz.train.errors import DataError
from mixviz.train.schedule import MultiStep, OneCycle

PRECISIONS = {"bf16": "bf16-mixed", "fp32": "32-true"}
"""Precisions of the forward pass by the name of ``--precision``, as Fabric calls them."""

GUIDES = ("current", "previous")
"""The network that looks at a batch: that of its own step, or that of the step before, so that
masks and transport are solved beside a running step instead of between two."""

JSD_WEIGHTS = {"augmix": 12.0}
"""Weights of the consistency that papers train with, by method (Hendrycks et al., Section 4)."""

TAUGHT = (rl_mix.METHOD.slug,)
"""Methods that an agent, learning beside the network, takes part in."""

_REASONS = {
    "pairing": "it pairs no images",
    "saliency": "as asked for, nothing in it looks at saliency",
    "alpha": "it draws no λ",
}
"""Why a setting may not apply."""

Held = bool | float | str
"""A value that a parameter is held at."""


def trainable() -> tuple[str, ...]:
    """Return the names that ``--method`` takes."""
    return (*mixable(), *mixable_inside(), *TAUGHT)


@dataclass(frozen=True)
class Stage:
    """Some epochs at one image size, in pixels."""

    size: int
    epochs: int


@dataclass(frozen=True)
class Mixing:
    """How batches are mixed; None where a setting does not apply to the method.

    Attributes:
        method: as `mixviz.augment.Mix` or `MixInside` has it, or one of `TAUGHT`; and so pairing
            to prob.
        hold: parameters that are not drawn as the method does: the values that one is drawn from.
        clean: λ_clean, the weight of the loss on the batch before it was mixed, at the cost of
            another forward and backward pass.
        jsd: weight of the Jensen-Shannon divergence between an image and two mixes of it, for
            methods that change one image alone; without it they train on their mixes.
        guide: one of `GUIDES`.
    """

    method: str
    pairing: str | None = None
    saliency: str | None = None
    alpha: float | None = None
    prob: float = 1.0
    hold: Mapping[str, tuple[Held, ...]] = field(default_factory=dict)
    clean: float = 0.0
    jsd: float = 0.0
    guide: str = "current"

    @classmethod
    def of(cls, method: str, **asked: Any) -> "Mixing":
        """Fill what was not asked for, or is None, with what the method does by itself.

        Raises:
            DataError: the method cannot be trained with.
        """
        if method in TAUGHT:
            usual = {"alpha": METHODS[method].alpha}
        else:
            try:
                usual = asdict(defaults(method, asked.get("pairing")))
            except ValueError as error:
                raise DataError(str(error)) from error
        usual["jsd"] = JSD_WEIGHTS.get(method, 0.0)
        given = {name: value for name, value in asked.items() if value is not None}
        for name, reason in _REASONS.items():
            if name in given and usual.get(name, "") is None:
                raise DataError(f"{name} does not apply to {method}: {reason}")
        return cls(method, **(usual | given))


@dataclass(frozen=True)
class Recipe:
    """All that decides a run besides its data; a resumed run must repeat it.

    Attributes:
        batch: images a step, of all processes together.
        schedule: how the learning rate leaves and reaches `peak_lr`.
        loss: a name of `mixviz.train.objective.CRITERIA`.
        processes: how many share a batch; each mixes its own part.
    """

    network: str
    options: dict[str, int]
    stages: tuple[Stage, ...]
    batch: int = 512
    peak_lr: float = 0.2
    schedule: OneCycle | MultiStep = field(default_factory=OneCycle)
    momentum: float = 0.9
    weight_decay: float = 5e-4
    loss: str = "cross_entropy"
    label_smoothing: float = 0.1
    photo_crops: float = 0.5
    jitter: float = 0.0
    per_class: int | None = None
    precision: str = "bf16"
    seed: int = 0
    processes: int = 1
    mixing: Mixing | None = None

    @property
    def epochs(self) -> int:
        """Epochs of all stages together."""
        return sum(stage.epochs for stage in self.stages)

    def size_of(self, epoch: int) -> int:
        """Image size of an epoch, counted from 0."""
        for stage in self.stages:
            if epoch < stage.epochs:
                return stage.size
            epoch -= stage.epochs
        raise IndexError(f"epoch is {epoch} past the last stage")

    def settings(self) -> dict[str, Any]:
        """Return the recipe as it reads from JSON: tuples become lists."""
        return json.loads(json.dumps(asdict(self)))
