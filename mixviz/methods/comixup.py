"""Co-Mixup: as many outputs as inputs, each put together from the most salient regions of several.

Kim, Choo, Jeong and Song, ICLR 2021, arXiv:2102.03065.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from mixviz.core.blocks import check_finite, check_grid, is_flat, pool_to_blocks
from mixviz.core.comixup import (
    TERMS,
    JointProblem,
    JointSolution,
    JointWeights,
    draw_prior,
    joint_weights,
    solve_joint,
)
from mixviz.methods.base import flagged
from mixviz.methods.batch import BatchMethod, BatchTrace
from mixviz.spec import Knob, Params

# A larger batch is cut into parts of no more inputs than this, which do not mix with each other.
LARGEST_PART = 20


@dataclass(frozen=True)
class CoMixupParams(Params):
    """Parameters in units that do not depend on the grid; see `joint_weights`."""

    beta: Annotated[
        float,
        Knob(
            "β",
            "neighbours agree",
            (0.0, 0.04, 0.08, 0.16, 0.24, 0.32, 0.4, 0.48, 0.64, 0.8, 1.0, 1.6, 3.2),
            "Cost of neighbouring blocks from different pictures.",
            paper=0.32,
        ),
    ] = 0.32
    gamma: Annotated[
        float,
        Knob(
            "γ",
            "mixes differ",
            (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0),
            "Cost of a picture that the other mixes already show.",
            paper=1.0,
        ),
    ] = 1.0
    eta: Annotated[
        float,
        Knob(
            "η",
            "shares follow the draw",
            (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
            "How strongly the drawn shares of the pictures are kept to.",
            paper=0.05,
        ),
    ] = 0.05
    omega: Annotated[
        float,
        Knob(
            "ω",
            "far pictures compete",
            (0.0, 0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0),
            "How much pictures whose salient regions lie apart also count as shown.",
            (0.0, 1.0),
            paper=0.001,
            advanced=True,
        ),
    ] = 0.001
    tau: Annotated[
        float,
        Knob(
            "τ",
            "pictures shown for free",
            (0.0, 0.25, 0.5, 0.67, 0.83, 1.0, 1.25, 1.5, 2.0, 4.0),
            "A picture may fill so much of the other mixes, in whole pictures, before γ counts.",
            paper=0.83,
        ),
    ] = 0.83
    alpha: Annotated[
        float,
        Knob(
            "α",
            "evenness of the draw",
            (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
            "Dirichlet parameter of the shares wished for; large is even.",
            (1e-3, 1e6),
            paper=2.0,
            advanced=True,
        ),
    ] = 2.0
    grid: Annotated[
        int,
        Knob(
            "n",
            "blocks per side",
            (2, 4, 8, 16),
            "The pictures are cut into n×n blocks.",
            (1.0, float("inf")),
            paper=4,
            integer=True,
        ),
    ] = 4
    sweeps: Annotated[
        int,
        Knob(
            "sweeps",
            "over the mixes, at most",
            (1, 2, 3, 4, 6, 8),
            "Each mix is improved once a sweep, until the objective no longer falls.",
            (1.0, float("inf")),
            paper=4,
            advanced=True,
            integer=True,
        ),
    ] = 4
    seed: Annotated[
        int,
        Knob(
            "seed",
            "of the shares",
            tuple(range(10)),
            "Decides the shares of the pictures that are wished for.",
            (0.0, 2.0**31),
            integer=True,
        ),
    ] = 0


@dataclass(frozen=True, eq=False, kw_only=True)
class CoMixupTrace(BatchTrace):
    """The mixes and how they were found; all but `mixed` and `labels` lies on the CPU.

    Attributes:
        sources: the two inputs that share each block of each output by halves; twice the same
            where one shows alone.
        prior: a, the shares of the inputs that were wished for; sums to 1 in each part.
        saliency: of each input, by block; sums to 1.
        energy: the objective of each output by term, and "total".
        parts: first input of each part and the one after its last.
        starts: for each part, the start that led to the lowest objective.
        history: for each part, the objective at that start and after each sweep.
        weights: the weights of the objective on this grid.
        seconds: time taken by the solver.
    """

    sources: Int64[Tensor, "m 2 n n"]
    prior: Float64[Tensor, " m"]
    saliency: Float64[Tensor, "m n n"]
    energy: Mapping[str, Float64[Tensor, " m"]]
    parts: tuple[tuple[int, int], ...]
    starts: tuple[str, ...]
    history: tuple[tuple[float, ...], ...]
    weights: JointWeights
    seconds: float

    @property
    def z(self) -> Float64[Tensor, "m n n m"]:
        """Share of each input (last axis) in each block (middle axes) of each output (first)."""
        count, _, n, _ = self.sources.shape
        half = torch.full_like(self.sources, 0.5, dtype=torch.float64)
        empty = torch.zeros((count, count, n, n), dtype=torch.float64)
        return empty.scatter_add(1, self.sources, half).movedim(1, -1)

    @property
    def objective(self) -> Mapping[str, float]:
        """The objective by term, and "total", over all outputs."""
        return {name: float(values.sum()) for name, values in self.energy.items()}


def mix(
    images: Float[Tensor, "m 3 h w"], saliency: Float[Tensor, "m h w"], params: CoMixupParams
) -> CoMixupTrace:
    """Mix M inputs into M outputs that show much saliency and differ from each other.

    Output j has no input of its own: its label is `labels[j]`. More than 20 inputs are cut, in
    order, into parts of nearly the same size, each mixed alone. One input stays as it is.

    Raises:
        ValueError: for NaN or infinite inputs, negative saliency, no images at all, saliency of
            another shape, or a grid that does not divide the pictures.
    """
    if len(images) == 0:
        raise ValueError("images must hold one picture or more, got none")
    if saliency.shape != (len(images), *images.shape[2:]):
        raise ValueError(
            f"saliency must have one map of the size of each image, got {tuple(saliency.shape)} "
            f"for images of {tuple(images.shape)}"
        )
    check_grid(params.grid, *images.shape[2:])
    check_finite("images", images)
    blocks = pool_to_blocks("saliency", saliency, params.grid)
    edges = np.linspace(0, len(images), -(-len(images) // LARGEST_PART) + 1).round().astype(int)
    parts = tuple((int(first), int(last)) for first, last in pairwise(edges))
    rng = torch.Generator().manual_seed(int(params.seed))
    weights = joint_weights(
        params.beta, params.gamma, params.eta, params.omega, params.tau, params.grid
    )
    priors, solutions = [], []
    for first, last in parts:
        priors.append(draw_prior(params.alpha, last - first, rng))
        problem = JointProblem(blocks[first:last].numpy(), priors[-1].numpy(), weights)
        solutions.append(solve_joint(problem, params.sweeps))
    sources = torch.cat(
        [_sources(one) + first for one, (first, _) in zip(solutions, parts, strict=True)]
    )
    return CoMixupTrace(
        mixed=_assemble(images, sources),
        labels=_labels(sources).to(images),
        flags=_flags(saliency, blocks, sources, parts, solutions),
        sources=sources,
        prior=torch.cat(priors),
        saliency=blocks,
        energy={
            name: torch.cat([torch.from_numpy(one.terms[name]) for one in solutions])
            for name in (*TERMS, "total")
        },
        parts=parts,
        starts=tuple(one.start for one in solutions),
        history=tuple(one.history for one in solutions),
        weights=weights,
        seconds=sum(one.seconds for one in solutions),
    )


def _sources(solution: JointSolution) -> Int64[Tensor, "m 2 n n"]:
    """Return the first and the last input that each block shows."""
    shown = torch.from_numpy(solution.shares).movedim(-1, 1) > 0
    last = shown.shape[1] - 1 - shown.flip(1).int().argmax(1)
    return torch.stack((shown.int().argmax(1), last), 1)


def _labels(sources: Int64[Tensor, "m 2 n n"]) -> Float64[Tensor, "m m"]:
    flat = sources.flatten(1)
    count = len(flat)
    shares = torch.full_like(flat, 1 / flat.shape[1], dtype=torch.float64)
    return torch.zeros((count, count), dtype=torch.float64).scatter_add(1, flat, shares)


def _assemble(
    images: Float[Tensor, "m 3 h w"], sources: Int64[Tensor, "m 2 n n"]
) -> Float[Tensor, "m 3 h w"]:
    """Put blocks of the inputs side by side, two of them averaged where two share a place."""
    count, channels, height, width = images.shape
    grid = sources.shape[-1]
    side = height // grid
    # Block by block, then channel, row and column within.
    blocks = images.reshape(count, channels, grid, side, grid, side).permute(0, 2, 4, 1, 3, 5)
    row, column = torch.meshgrid(*[torch.arange(grid, device=images.device)] * 2, indexing="ij")
    first, second = sources.to(images.device).unbind(1)
    shown = blocks[first, row, column]
    shared = first != second
    at = shared.nonzero(as_tuple=True)
    shown[at] = (shown[at] + blocks[second[at], at[1], at[2]]) / 2
    return shown.permute(0, 3, 1, 4, 2, 5).reshape(count, channels, height, width)


def _flags(
    saliency: Float[Tensor, "m h w"],
    blocks: Float64[Tensor, "m n n"],
    sources: Int64[Tensor, "m 2 n n"],
    parts: tuple[tuple[int, int], ...],
    solutions: list[JointSolution],
) -> dict[str, tuple[int, ...]]:
    _, kind, kinds = np.unique(
        blocks.flatten(1).numpy(), axis=0, return_inverse=True, return_counts=True
    )
    lone = (sources == sources[:, :1, :1, :1]).flatten(1).all(1)
    falling = [
        output
        for (first, last), one in zip(parts, solutions, strict=True)
        if not one.settled
        for output in range(first, last)
    ]
    return flagged(
        flat_saliency=is_flat(saliency),
        identical_inputs=np.flatnonzero(kinds[kind.ravel()] > 1).tolist(),
        single_source=lone.nonzero().flatten().tolist(),
        sweeps_ran_out=falling,
    )


def draw(rng: torch.Generator, items: int, alpha: float) -> CoMixupParams:
    """Draw the seed of the shares wished for, whose evenness is alpha."""
    seed = int(torch.randint(2**31, (), generator=rng))
    return CoMixupParams(alpha=alpha, seed=seed)


METHOD = BatchMethod(
    slug="comixup",
    title="Co-Mixup",
    summary="A batch of pictures becomes as many mixes, salient and unlike each other.",
    paper="https://arxiv.org/abs/2102.03065",
    contract="encouraged",
    needs=("saliency",),
    params=CoMixupParams,
    mix=mix,
    draw=draw,
    alpha=2.0,
)
