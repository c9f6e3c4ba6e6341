"""What the stage is given to draw: pictures, a scene, one frame per λ, steps.

n: blocks per side, m: levels, so that a label t stands for z = t / m, the share of picture 1 ("B").
Blocks are counted row by row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

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
GUIDES = ("heat", "chosen")
ROW_FORMATS = ("percent", "number", "label", "words")
LAMBDAS = 51  # λ runs over i / 50


def _check_square(name: str, values: NDArray[np.float32] | NDArray[np.bool_]) -> None:
    shape = np.shape(values)
    if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
        raise ValueError(f"{name} must be square, got {shape}")


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


@dataclass(frozen=True, eq=False)
class Guide:
    """The two maps that decided the mask.

    Attributes:
        title: what stands above the column, "Blurred".
        map_0, map_1: square, of any side. For "heat" in multiples of a map's mean; for "chosen"
            true where a patch was chosen.
        kind: "heat" or "chosen".
        captions: a few words on each map.
        top: where the scale of the heat ends; what is brighter is drawn alike.
    """

    title: str
    map_0: NDArray[np.float32] | NDArray[np.bool_]
    map_1: NDArray[np.float32] | NDArray[np.bool_]
    kind: Literal["heat", "chosen"]
    captions: tuple[str, str] = ("", "")
    top: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in GUIDES:
            raise ValueError(f"Guide.kind must be one of {GUIDES}, got {self.kind!r}")
        if not self.top > 0:
            raise ValueError(f"Guide.top must be above 0, got {self.top}")
        for name in ("map_0", "map_1"):
            _check_square(f"Guide.{name}", getattr(self, name))


@dataclass(frozen=True, eq=False)
class CardRow:
    """One line of the card of a cell.

    Attributes:
        name: what the number is; unused for "words".
        values: (grid, grid); for "label" and "words" the index of one of `labels`.
        format: "percent", "number", "label", or "words" for a sentence below the lines, in which
            {lam} and {share} stand for λ and for the share of B in the cell.
        labels: what the indices mean.
    """

    name: str
    values: Floats
    format: Literal["percent", "number", "label", "words"]
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.format not in ROW_FORMATS:
            raise ValueError(f"CardRow.format must be one of {ROW_FORMATS}, got {self.format!r}")
        if self.format in ("label", "words"):
            values = np.asarray(self.values)
            least, most = values.min(initial=0), values.max(initial=0)
            if not 0 <= least <= most < len(self.labels):
                raise ValueError(
                    f"CardRow.values of format {self.format!r} must name one of "
                    f"{len(self.labels)} labels, got {least} to {most}"
                )


@dataclass(frozen=True, eq=False)
class PixelScene:
    """A pair under a mask of pixels: `fixed`, and λ itself wherever `free`.

    Attributes:
        key: identifies the pictures and every knob but λ.
        grid: cells per side that can be pointed at.
        picture_0, picture_1, saliency_0, saliency_1: as for `Scene`; `peak` is where both maps'
            scale ends, and what is brighter is drawn alike.
        fixed: (s, s), share of B; disregarded where `free`.
        free: (s, s), true where the mask is λ.
        guide: what decided the mask, or None for no such column.
        contract, contract_words: as for `Scene`.
        rows: the card's lines for a cell, beside the share of B there.
        status: one sentence that says what the picture shows; {lam}, {weight} and {over} stand
            for λ, the label of B in percent, and the percentage of pixels where B shows more
            than half.
        notices: what detectors found; they take the place of the status.
        exposed_0, exposed_1: share of a picture's saliency that the mix shows, at λ = 0 and 1.
        weight_1: (51,), the label given to B at λ = i/50; None for the mean of the mask.
        scrubs: whether `fixed` and `free` hold at every λ. Else the stage asks for each.
        swappable: whether A and B can be swapped from the stage.
    """

    key: str
    grid: int
    picture_0: Picture
    picture_1: Picture
    saliency_0: Saliency
    saliency_1: Saliency
    fixed: Floats
    free: NDArray[np.bool_]
    guide: Guide | None
    contract: str
    contract_words: str
    rows: tuple[CardRow, ...]
    status: str
    exposed_0: tuple[float, float]
    exposed_1: tuple[float, float]
    notices: tuple[Notice, ...] = ()
    weight_1: Floats | None = None
    scrubs: bool = True
    swappable: bool = True

    def __post_init__(self) -> None:
        if self.grid < 1:
            raise ValueError(f"PixelScene.grid must be at least 1, got {self.grid}")
        _check_square("PixelScene.fixed", self.fixed)
        if np.shape(self.free) != np.shape(self.fixed):
            raise ValueError(
                f"PixelScene.free must have the shape of fixed, {np.shape(self.fixed)}, "
                f"got {np.shape(self.free)}"
            )
        shares = np.asarray(self.fixed)[~np.asarray(self.free, bool)]
        if shares.size and not (shares.min() >= 0 and shares.max() <= 1):
            raise ValueError(
                "PixelScene.fixed must be shares between 0 and 1, "
                f"got {shares.min():.4g} to {shares.max():.4g}"
            )
        if self.weight_1 is not None and np.shape(self.weight_1) != (LAMBDAS,):
            raise ValueError(
                f"PixelScene.weight_1 must hold {LAMBDAS} labels, got {np.shape(self.weight_1)}"
            )
        cells = {f"rows[{i}].values": row.values for i, row in enumerate(self.rows)}
        cells |= {f"{n}.blocks": getattr(self, n).blocks for n in ("saliency_0", "saliency_1")}
        for name, values in cells.items():
            if np.shape(values) != (self.grid, self.grid):
                raise ValueError(
                    f"PixelScene.{name} must be {self.grid} x {self.grid}, got {np.shape(values)}"
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
