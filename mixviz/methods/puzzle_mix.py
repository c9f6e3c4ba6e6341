"""Puzzle Mix: choose which picture each block shows, then move blocks so that less is hidden.

Kim, Choo and Song, ICML 2020, arXiv:2009.06962. λ is the share of image 1, as in the paper.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mixviz.core.adversarial import attack, start_noise
from mixviz.core.blocks import (
    check_finite,
    grow,
    identity_plan,
    is_flat,
    move_blocks,
    pool_to_blocks,
)
from mixviz.core.draws import draw_grid, draw_lam
from mixviz.core.energy import (
    DATA_TERMS,
    LocalCosts,
    SeamForm,
    Weights,
    edge_weights,
    energy_terms,
    energy_weights,
    largest_pool,
    local_costs,
    prior_cost,
    seam_distances,
    seam_form,
    unary_costs,
)
from mixviz.core.mask import MASK_SOLVERS, MaskProblem, MaskSolution, MaskStep
from mixviz.core.transport import TRANSPORT_SOLVERS, TransportRound, distance_cost
from mixviz.core.types import Pair
from mixviz.methods.base import Lam, Law, Method, MixTrace, blend, seen_by_mask
from mixviz.spec import Choice, Knob, Panel, Params, Switch

TRANSPORT_MASKS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {"fractional": lambda share: share, "nonzero": lambda share: (share > 0).to(share)}
)

UNIT = (0.0, 1.0)
MANY = (1.0, float("inf"))
WEIGHT_STOPS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0)

Number = float | Tensor
Images2 = tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b 3 h w"]]
Rounds = tuple[tuple[TransportRound, ...], ...]


@dataclass(frozen=True)
class PuzzleMixParams(Params):
    """Parameters in the units of the released command lines, the same on every grid."""

    lam: Lam = 0.5
    beta: Annotated[
        Number,
        Knob(
            "β",
            "neighbours agree",
            (*WEIGHT_STOPS, 5.0, 8.0, 12.0, 20.0),
            "Cost of neighbouring blocks with different z. 0 also silences γ, which scales β.",
            paper=1.2,
        ),
    ] = 1.2
    gamma: Annotated[
        Number,
        Knob(
            "γ",
            "seams follow the picture",
            WEIGHT_STOPS,
            "Cost of a visible edge where two blocks meet, relative to β.",
            paper=0.5,
        ),
    ] = 0.5
    eta: Annotated[
        Number,
        Knob(
            "η",
            "keep to λ",
            (*WEIGHT_STOPS, 5.0),
            "Cost of blocks that are unlikely under λ. 0 switches λ off.",
            paper=0.2,
        ),
    ] = 0.2
    xi: Annotated[
        Number,
        Knob(
            "ξ",
            "price of moving a block",
            (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0),
            "Cost per squared distance. At 0.8 almost nothing moves on photographs.",
            paper=0.8,
        ),
    ] = 0.8
    grid: Annotated[
        int,
        Knob(
            "n",
            "blocks per side",
            (2, 4, 8, 16),
            "The picture is cut into n×n blocks; the paper draws n at random.",
            MANY,
            integer=True,
        ),
    ] = 8
    levels: Annotated[
        int,
        Knob(
            "m",
            "levels of z",
            (1, 2, 3, 4, 8),
            "z takes m+1 values: 1 is the binary mask, 2 is {0, ½, 1} as in the paper.",
            MANY,
            paper=2,
            integer=True,
        ),
    ] = 2
    transport: Annotated[
        bool, Switch("move blocks", 'Off is the variant "mask only" of the paper\'s Table 6.')
    ] = True
    mask_solver: Annotated[
        str,
        Choice(
            "mask solver",
            MASK_SOLVERS,
            "exact finds the global optimum; swap is the paper's α-β swap, a local one; pygco is "
            "the same swap in pyGCO, where it is installed.",
        ),
    ] = "exact"
    transport_solver: Annotated[
        str,
        Choice(
            "transport solver",
            TRANSPORT_SOLVERS,
            "exact is linear assignment; paper is Algorithm 1, run until it converges.",
        ),
    ] = "exact"
    transport_mask: Annotated[
        str,
        Choice(
            "mask seen by transport",
            TRANSPORT_MASKS,
            "fractional is eq. 5; nonzero counts half-shown blocks as shown, as Prop. 3 needs.",
        ),
    ] = "fractional"
    data_term: Annotated[
        str,
        Choice(
            "seam term φ",
            DATA_TERMS,
            "paper is Definition 3, linear in z; official keeps the residual of the released code.",
        ),
    ] = "paper"
    neigh_size: Annotated[
        int,
        Knob(
            "d",
            "seam pooling",
            (1, 2, 4, 7, 14),
            "Pixels pooled before seams are compared; must divide the block.",
            MANY,
            paper=1,
            advanced=True,
            integer=True,
        ),
    ] = 1
    cycles: Annotated[
        int,
        Knob(
            "cycles",
            "of alternation",
            (1, 2, 3, 4, 5),
            "The paper takes one; later ones are kept only if the objective falls.",
            MANY,
            paper=1,
            advanced=True,
            integer=True,
        ),
    ] = 1
    nu0: Annotated[
        Number,
        Knob("ν₀", "attack A", (0, 1), "Algorithm 2: 1 perturbs A.", UNIT, 0, True, integer=True),
    ] = 0
    nu1: Annotated[
        Number,
        Knob("ν₁", "attack B", (0, 1), "Algorithm 2: 1 perturbs B.", UNIT, 0, True, integer=True),
    ] = 0
    eps: Annotated[
        Number,
        Knob(
            "ε",
            "attack radius",
            tuple(step / 255 for step in range(0, 33, 2)),
            "Largest change of a pixel by the attack.",
            UNIT,
            10 / 255,
            True,
            parts=255,
        ),
    ] = 10 / 255
    tau: Annotated[
        Number,
        Knob(
            "τ",
            "attack step",
            tuple(step / 255 for step in range(0, 33, 2)),
            "Length of the signed gradient step.",
            UNIT,
            12 / 255,
            True,
            parts=255,
        ),
    ] = 12 / 255
    delta: Annotated[
        Number,
        Knob(
            "δ",
            "attack strength",
            tuple(step / 10 for step in range(11)),
            "Share of the attack that is blended in; training draws it.",
            UNIT,
            1.0,
            True,
        ),
    ] = 1.0
    seed: Annotated[
        int | Tensor,
        Knob(
            "seed",
            "of the attack",
            tuple(range(10)),
            "Decides the start noise κ of the attack.",
            (0.0, 2.0**31),
            advanced=True,
            integer=True,
        ),
    ] = 0


@dataclass(frozen=True, eq=False, kw_only=True)
class PuzzleMixTrace(MixTrace):
    """The mix and every step that led to it. Blocks are counted row by row.

    Attributes:
        z: the mask on blocks, in {0, 1/m, …, 1}.
        source_0, source_1: `source[b, j]` is the block that lands on place j.
        energy: E by term at the returned state (eq. 3), and its total.
        gap: E(mask) − E(exact) at the first mask step, absolute; 0 for the exact solver.
        blocks_0, blocks_1: saliency per block, before anything moved; sums to 1.
        shown_0, shown_1: the pictures as they were mixed, before anything moved.
        moved_0, moved_1: the same with their blocks moved.
        ladder: E by term before the mask step, after it, after the move, after each kept cycle.
        local: what every label would cost at every block of the returned state.
        prior: −η log p per label.
        units: β, γ, η, ξ in the units of the energy.
        mask_problem: the first mask step as its solver saw it.
        mask_engine: what computed the cuts.
        mask_steps: the moves of the first mask step, where the solver makes moves.
        rounds_0, rounds_1: the rounds of the returned plans, where the solver has rounds.
        seconds: what the solvers report, by stage.
    """

    z: Annotated[Float[Tensor, "b n n"], Panel("blocks", "Mask z", "Share of B, per block")]
    source_0: Annotated[Int[Tensor, "b n2"], Panel("plan", "Moves of A", "Where blocks come from")]
    source_1: Annotated[Int[Tensor, "b n2"], Panel("plan", "Moves of B", "Where blocks come from")]
    energy: dict[str, Float[Tensor, " b"]]
    gap: Annotated[Float[Tensor, " b"], Panel("number", "Gap", "Swap minus exact")]
    blocks_0: Annotated[Float[Tensor, "b n n"], Panel("heatmap", "s(A)", "Saliency per block")]
    blocks_1: Annotated[Float[Tensor, "b n n"], Panel("heatmap", "s(B)", "Saliency per block")]
    shown_0: Annotated[Float[Tensor, "b 3 h w"], Panel("image", "A", "As it was mixed")]
    shown_1: Annotated[Float[Tensor, "b 3 h w"], Panel("image", "B", "As it was mixed")]
    moved_0: Annotated[Float[Tensor, "b 3 h w"], Panel("image", "A moved", "Blocks of A, moved")]
    moved_1: Annotated[Float[Tensor, "b 3 h w"], Panel("image", "B moved", "Blocks of B, moved")]
    ladder: tuple[tuple[str, dict[str, Float[Tensor, " b"]]], ...]
    local: LocalCosts
    units: Weights
    mask_problem: MaskProblem
    mask_engine: str
    mask_steps: tuple[tuple[MaskStep, ...], ...]
    rounds_0: Rounds
    rounds_1: Rounds
    seconds: dict[str, float]


@dataclass(frozen=True, eq=False)
class _Task:
    """What stays the same while mask and plans alternate.

    `seen` are the images whose saliency and seams count: under attack, with their start noise.
    """

    params: PuzzleMixParams
    seen: tuple[Tensor, Tensor]
    blocks: tuple[Tensor, Tensor]
    weights: Weights
    prior: Tensor
    distance: Tensor


@dataclass(frozen=True, eq=False)
class _State:
    """A mask, two plans, and what follows from them."""

    z: Tensor
    sources: tuple[Tensor, Tensor]
    saliency: tuple[Tensor, Tensor]
    form: SeamForm
    terms: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class _Cycle:
    """One cycle of the alternation: the mask at the old plans, then new plans."""

    problem: MaskProblem
    solution: MaskSolution
    masked: _State
    moved: _State
    rounds: tuple[Rounds, Rounds]
    transport_seconds: float


def _seams(task: _Task, sources: tuple[Tensor, Tensor]) -> SeamForm:
    params = task.params
    images = [move_blocks(x, source) for x, source in zip(task.seen, sources, strict=True)]
    phi = seam_distances(images[0], images[1], params.grid, params.neigh_size)
    return seam_form(phi, params.data_term, params.levels, task.weights)


def _evaluate(
    task: _Task, z: Tensor, sources: tuple[Tensor, Tensor], known: _State | None = None
) -> _State:
    """Compute E at (z, Π), φ on the images as moved; seams of `known` serve if its plans are."""
    moved_0, moved_1 = (
        blocks.flatten(1).gather(1, source).view_as(blocks)
        for blocks, source in zip(task.blocks, sources, strict=True)
    )
    if known is not None and all(map(torch.equal, known.sources, sources)):
        form = known.form
    else:
        form = _seams(task, sources)
    places = torch.arange(len(task.distance))
    carried = torch.stack([task.distance[source, places].sum(1) for source in sources]).sum(0)
    terms = energy_terms(z, moved_0, moved_1, form, task.prior, carried, task.weights)
    return _State(z, sources, (moved_0, moved_1), form, terms)


def _cycle(task: _Task, state: _State) -> _Cycle:
    """Optimise the mask at the plans of `state` (eq. 4), then the plans (eq. 5)."""
    params = task.params
    unary = unary_costs(*state.saliency, state.form, task.prior, task.weights)
    edges = edge_weights(state.form, task.weights)
    problem = MaskProblem(unary.numpy(), edges.right.numpy(), edges.down.numpy())
    solution = MASK_SOLVERS[params.mask_solver](problem)
    z = torch.from_numpy(solution.labels).double() / params.levels
    masked = _evaluate(task, z, state.sources, known=state)
    if not params.transport:
        return _Cycle(problem, solution, masked, masked, ((), ()), 0.0)
    solve, see = TRANSPORT_SOLVERS[params.transport_solver], TRANSPORT_MASKS[params.transport_mask]
    plan_0, plan_1 = (
        solve(blocks.numpy(), see(share).numpy(), task.weights.xi.numpy())
        for blocks, share in zip(task.blocks, (1 - z, z), strict=True)
    )
    sources = (torch.from_numpy(plan_0.source), torch.from_numpy(plan_1.source))
    moved = _evaluate(task, z, sources, known=masked)
    return _Cycle(
        problem,
        solution,
        masked,
        moved,
        (plan_0.rounds, plan_1.rounds),
        plan_0.seconds + plan_1.seconds,
    )


def _merge(task: _Task, better: Tensor, new: _State, old: _State) -> _State:
    """Take mask and plans item by item from `new` where it is better, else from `old`."""
    z = torch.where(better[:, None, None], new.z, old.z)
    source_0, source_1 = (
        torch.where(better[:, None], ours, theirs)
        for ours, theirs in zip(new.sources, old.sources, strict=True)
    )
    return _evaluate(task, z, (source_0, source_1))


def noise(images: Images2, params: PuzzleMixParams) -> Images2 | None:
    """Return κ₀ and κ₁ of Algorithm 2, or None when neither image is attacked."""
    if not any(bool((torch.as_tensor(nu) > 0).any()) for nu in (params.nu0, params.nu1)):
        return None
    return (
        start_noise(images[0], params.nu0, params.eps, params.seed, 0),
        start_noise(images[1], params.nu1, params.eps, params.seed, 1),
    )


def _attack(pair: Pair, params: PuzzleMixParams, kappa: Images2) -> Images2:
    """Return the pictures to be mixed: attacked where ν = 1 (Algorithm 2)."""

    def one(which: int, x: Tensor, gradient: Tensor | None, nu: Number) -> Tensor:
        if not bool((torch.as_tensor(nu) > 0).any()):
            return x
        if gradient is None:
            raise ValueError(
                f"Pair.g{which} is missing: nu{which} = 1 needs the signed gradient of image "
                f"{which}, taken at the image plus its start noise"
            )
        check_finite(f"g{which}", gradient)
        return attack(x, kappa[which], gradient, nu, params.eps, params.tau, params.delta)

    return one(0, pair.x0, pair.g0, params.nu0), one(1, pair.x1, pair.g1, params.nu1)


def _flags(pair: Pair, state: _State) -> dict[str, tuple[int, ...]]:
    found = {
        "flat_saliency_0": is_flat(pair.s0),
        "flat_saliency_1": is_flat(pair.s1),
        "clamped_seam": state.form.clamped,
    }
    return {name: tuple(items) for name, items in found.items() if items}


def mix(pair: Pair, params: PuzzleMixParams) -> PuzzleMixTrace:
    """Minimise eq. 3 by alternation and mix (eq. 2).

    The first cycle is always taken: z at Π = identity, then both plans. Later cycles use the
    saliency and the seams of the images as moved and are kept, item by item, where E falls.

    Raises:
        ValueError: for NaN or infinite inputs, a grid that does not divide the picture, or an
            attack without the gradient it needs.
    """
    batch, grid = pair.x0.shape[0], params.grid
    check_finite("x0", pair.x0)
    check_finite("x1", pair.x1)
    kappa = noise((pair.x0, pair.x1), params)
    seen = shown = (pair.x0, pair.x1)
    if kappa is not None:
        seen, shown = (pair.x0 + kappa[0], pair.x1 + kappa[1]), _attack(pair, params, kappa)
    weights = energy_weights(params.beta, params.gamma, params.eta, params.xi, grid, batch)
    task = _Task(
        params,
        seen,
        (pool_to_blocks("s0", pair.s0, grid), pool_to_blocks("s1", pair.s1, grid)),
        weights,
        prior_cost(params.lam, params.levels, weights),
        torch.from_numpy(distance_cost(grid)),
    )
    lowest = task.prior.isfinite().double().argmax(1) / params.levels
    still = (identity_plan(batch, grid), identity_plan(batch, grid))
    start = _evaluate(task, lowest[:, None, None].expand(batch, grid, grid), still)
    cycles = [_cycle(task, start)]
    first, state, rounds = cycles[0], cycles[0].moved, cycles[0].rounds
    ladder = [("start", start.terms), ("mask", first.masked.terms), ("move", state.terms)]
    while len(cycles) < params.cycles:
        cycles.append(_cycle(task, state))
        better = cycles[-1].moved.terms["total"] < state.terms["total"]
        if not bool(better.any()):
            break
        state = _merge(task, better, cycles[-1].moved, state)
        ladder.append((f"cycle {len(cycles)}", state.terms))
        rounds = (
            _choose(better, cycles[-1].rounds[0], rounds[0]),
            _choose(better, cycles[-1].rounds[1], rounds[1]),
        )
    moved_0, moved_1 = map(move_blocks, shown, state.sources)
    mask = grow(state.z, pair.x0.shape[-1]).to(pair.x0)
    return blend(
        PuzzleMixTrace,
        (moved_0, moved_1),
        mask,
        flags=_flags(pair, state),
        z=state.z.to(pair.x0),
        source_0=state.sources[0].to(pair.x0.device),
        source_1=state.sources[1].to(pair.x0.device),
        energy=state.terms,
        gap=_gap(first, params.mask_solver),
        blocks_0=task.blocks[0],
        blocks_1=task.blocks[1],
        shown_0=shown[0],
        shown_1=shown[1],
        moved_0=moved_0,
        moved_1=moved_1,
        ladder=tuple(ladder),
        local=local_costs(state.z, state.form, task.prior, weights),
        units=weights,
        mask_problem=first.problem,
        mask_engine=first.solution.engine,
        mask_steps=first.solution.steps,
        rounds_0=rounds[0],
        rounds_1=rounds[1],
        seconds={
            "mask": sum(cycle.solution.seconds for cycle in cycles),
            "transport": sum(cycle.transport_seconds for cycle in cycles),
        },
    )


def seen(
    trace: PuzzleMixTrace, map_0: Float[Tensor, "b h w"], map_1: Float[Tensor, "b h w"]
) -> tuple[Float[Tensor, "b h w"], Float[Tensor, "b h w"]]:
    """Return what is left of two maps, moved as the blocks are and then masked."""
    moved = (
        move_blocks(map_[:, None], source)[:, 0]
        for map_, source in ((map_0, trace.source_0), (map_1, trace.source_1))
    )
    return seen_by_mask(trace, *moved)


def _choose(better: Tensor, new: Rounds, old: Rounds) -> Rounds:
    kept = zip(better.tolist(), new, old, strict=True)
    return tuple(ours if is_better else theirs for is_better, ours, theirs in kept)


def _gap(first: _Cycle, solver: str) -> Tensor:
    """Return E(mask) − E(exact) at the first mask step."""
    solution = first.solution
    if solver == "exact":
        return torch.zeros(len(solution.objective), dtype=torch.float64)
    best = MASK_SOLVERS["exact"](first.problem)
    return torch.from_numpy(solution.objective - best.objective).clamp_min(0)


def opening(block: int) -> PuzzleMixParams:
    """Return the opening preset: ξ small enough that blocks of a photograph move."""
    return PuzzleMixParams(xi=0.05)


def as_printed(block: int) -> PuzzleMixParams:
    """Return the paper's solvers and its ξ."""
    return PuzzleMixParams(mask_solver="swap", transport_solver="paper")


def as_released(block: int) -> PuzzleMixParams:
    """Return what the released command line does, on blocks of the given side in pixels."""
    return PuzzleMixParams(
        mask_solver="swap",
        transport_solver="paper",
        transport_mask="nonzero",
        data_term="official",
        neigh_size=largest_pool(block),
    )


def draw(rng: torch.Generator, items: int, alpha: float) -> PuzzleMixParams:
    """Draw λ and the seed of an attack for each item, and one grid for the batch."""
    lam, grid = draw_lam(alpha, items, rng), draw_grid(rng)
    return PuzzleMixParams(lam, grid=grid, seed=torch.randint(2**31, (items,), generator=rng))


METHOD = Method(
    slug="puzzle_mix",
    title="Puzzle Mix",
    summary="Each block shows one picture or shares both; then blocks move to hide less.",
    paper="https://arxiv.org/abs/2009.06962",
    contract="encouraged",
    needs=("s0", "s1", "g0", "g1"),
    laws=frozenset({Law.WEIGHTS_ARE_MASK_MEANS, Law.ENDPOINTS, Law.MIRROR}),
    params=PuzzleMixParams,
    mix=mix,
    draw=draw,
    noise=noise,
    seen=seen,
    presets=MappingProxyType({"moves": opening, "paper": as_printed, "released code": as_released}),
)
