"""What the stage is given to draw: pictures, a scene, one frame per λ, steps.

n: blocks per side, m: levels, so that a label t stands for z = t / m, the share of picture 1 ("B").
Blocks are counted row by row.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

TERMS = (
    "saliency_0",
    "saliency_1",
    "label_smooth",
    "data_smooth",
    "prior",
    "transport",
    "total",
)
UNITS = ("beta_E", "gamma_E", "eta_E", "xi")
OVERLAYS = ("blocks", "heat", "contour", "spotlight")
STEP_KINDS = ("swap", "rounds_0", "rounds_1")


@dataclass(frozen=True)
class Picture:
    """A photograph as the stage shows it.

    Attributes:
        digest: names these pixels; the browser asks for nothing it already holds.
        name: what a visitor reads above the picture.
        png: the encoded picture, square.
    """

    digest: str
    name: str
    png: bytes


@dataclass(frozen=True, eq=False)
class Saliency:
    """A saliency map, smooth and by block.

    Attributes:
        digest: names this map.
        png: the smooth map, 8-bit grey; 255 stands for `peak`.
        blocks: the share of the map in each block, summing to 1.
        peak: the brightest pixel as a multiple of the map's mean, so that two maps can
            share one scale.
    """

    digest: str
    png: bytes
    blocks: Floats
    peak: float = 1.0


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that stays while λ moves.

    Attributes:
        key: identifies the pictures and every knob but λ. Frames of another key are ignored.
        levels: m; a label t means z = t / m.
        solver, transport: the names shown above mask and move.
        contract: how λ binds the label: exact, recomputed, encouraged, independent or single.
        contract_words: the same for the visitor, "encouraged by η".
        units: beta_E, gamma_E, eta_E and xi as they enter the objective.
    """

    key: str
    grid: int
    levels: int
    picture_0: Picture
    picture_1: Picture
    saliency_0: Saliency
    saliency_1: Saliency
    solver: str
    transport: str
    contract: str
    contract_words: str
    units: Mapping[str, float]

    def __post_init__(self) -> None:
        if self.grid < 1 or self.levels < 1:
            raise ValueError(
                f"Scene.grid and Scene.levels must be at least 1, got {self.grid} and {self.levels}"
            )
        missing = [name for name in UNITS if name not in self.units]
        if missing:
            raise ValueError(f"Scene.units must name {', '.join(UNITS)}; missing {missing}")
        for name in ("saliency_0", "saliency_1"):
            blocks = getattr(self, name).blocks
            if np.shape(blocks) != (self.grid, self.grid):
                raise ValueError(
                    f"Scene.{name}.blocks must be {self.grid} x {self.grid}, got {np.shape(blocks)}"
                )


@dataclass(frozen=True)
class Notice:
    """What a detector says: the cause and the way out.

    Attributes:
        action: where set, the remedy is a button that sends this ("set_xi:0.03").
    """

    cause: str
    remedy: str
    action: str = ""


@dataclass(frozen=True, eq=False)
class Frame:
    """One λ, with all that the browser needs to draw it.

    Attributes:
        lam: the share asked for picture 1.
        labels: (n, n), t of each block.
        source_0, source_1: (n * n,), the block that lands on place j.
        weight_1: the label given to picture 1.
        terms: the six terms of the objective and their "total".
        moved_0, moved_1: (n, n), the saliency of the block that now lies at each place.
        label_cost: (n, n, m + 1), the β term of a block for each label it could take, its
            neighbours as they are.
        data_cost: (n, n, m + 1), the γ term likewise.
        prior_cost: (m + 1,), the η term; +inf where λ forbids the label.
        status: one sentence that says what the picture shows.
        notices: what detectors found; they take the place of the status.
    """

    lam: float
    labels: NDArray[np.uint8]
    source_0: NDArray[np.uint16]
    source_1: NDArray[np.uint16]
    weight_1: float
    terms: Mapping[str, float]
    moved_0: Floats
    moved_1: Floats
    label_cost: Floats
    data_cost: Floats
    prior_cost: Floats
    status: str
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, eq=False)
class Steps:
    """The real algorithm, step by step.

    Attributes:
        kind: "swap" for the moves that made the mask, "rounds_0" or "rounds_1" for the rounds
            of Algorithm 1 on one picture.
        captions: one sentence per step.
        objective: the objective after each step.
        labels: (k, n, n) for swap moves.
        sources: (k, n * n) for rounds; the block that lies on place j, -1 where nobody does.
    """

    kind: str
    captions: tuple[str, ...]
    objective: NDArray[np.float64]
    labels: NDArray[np.uint8] | None = None
    sources: NDArray[np.int16] | None = None

    def __post_init__(self) -> None:
        if self.kind not in STEP_KINDS:
            raise ValueError(f"Steps.kind must be one of {STEP_KINDS}, got {self.kind!r}")
        wanted = "labels" if self.kind == "swap" else "sources"
        states = getattr(self, wanted)
        lengths = (len(self.captions), len(self.objective), -1 if states is None else len(states))
        if len(set(lengths)) != 1:
            raise ValueError(
                f"Steps of kind {self.kind!r} need as many captions as objectives and {wanted}, "
                f"got {lengths}"
            )


@dataclass(frozen=True)
class StageResult:
    """What the visitor did on the stage.

    Attributes:
        lam: the λ last committed, None before the first move.
        block: the pinned block as (row, column).
        step: the step looked at as (kind, index).
        overlay: how saliency is drawn, None before the first choice.
        action: "swap" or a notice's action, for one run only.
    """

    lam: float | None = None
    block: tuple[int, int] | None = None
    step: tuple[str, int] | None = None
    overlay: str | None = None
    action: str | None = None
