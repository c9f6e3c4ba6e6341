"""Mask solvers of Puzzle Mix (eq. 4): a labelling of the blocks by graph cuts.

After Definition 3 every data smoothness term is linear, so the energy of a mask is a cost per
block and label plus squared label differences between neighbours. With the binomial prior the
costs are convex in the label; then the energy is L-natural-convex (Murota, *Discrete convex
analysis*): its minimisers form a lattice, and climbing from the lowest labels by the smallest
best set of +1 steps, each one binary cut, ends at the smallest of them. Other costs take one
Ishikawa cut (PAMI 2003).

Solvers work on integers: costs and weights times a power of two that leaves room for every sum
in 64 bits. The cut is exact on these, so "the smallest minimiser" is well defined under ties;
costs that are dyadic rationals keep their ties, others are rounded by less than 1e-15 of the total.
"""

import importlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType, ModuleType

import numpy as np
from jaxtyping import Bool, Float64, Int64, Integer, Num
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from mixviz.core.compiled import load_kernels

# Bits for the sum of a problem's costs and weights; int64 leaves the rest for what is made of them.
SUM_BITS = 52
# Largest cost that pyGCO takes is 1e7; beyond it the library ends the process.
PYGCO_LARGEST = 9_000_000


@dataclass(frozen=True, eq=False)
class MaskProblem:
    """Energy of a mask: sum of unary[b, i, j, t_ij] + sum over edges of weight ((t - t') / m)^2.

    Labels t lie in 0..m and stand for mask values z = t / m.

    Attributes:
        unary: cost of each label at each block; +inf forbids a label, one must be left.
        weight_right: weight >= 0 between block (i, j) and (i, j + 1).
        weight_down: weight >= 0 between block (i, j) and (i + 1, j).

    Raises:
        ValueError: on NaN, -inf, a negative or infinite weight, or a block without a label.
    """

    unary: Float64[np.ndarray, "b n n labels"]
    weight_right: Float64[np.ndarray, "b n n-1"]
    weight_down: Float64[np.ndarray, "b n-1 n"]

    def __post_init__(self) -> None:
        b, n, _, labels = self.unary.shape
        _require_shape("weight_right", self.weight_right, (b, n, n - 1))
        _require_shape("weight_down", self.weight_down, (b, n - 1, n))
        if labels < 2:
            raise ValueError(f"unary needs two labels or more along its last axis, got {labels}")
        wrong = ~(self.unary > -np.inf)
        _refuse("unary", self.unary, wrong, "numbers, or +inf for a forbidden label, are allowed")
        for name in ("weight_right", "weight_down"):
            weight = getattr(self, name)
            wrong = ~((weight >= 0) & (weight < np.inf))
            _refuse(name, weight, wrong, "finite weights >= 0 are allowed")
        stuck = np.isinf(self.unary).all(axis=-1)
        if stuck.any():
            place = tuple(int(k) for k in np.argwhere(stuck)[0])
            raise ValueError(f"unary{list(place)} is +inf for every label; one must be allowed")


@dataclass(frozen=True, eq=False)
class MaskStep:
    """One alpha-beta swap.

    Attributes:
        pair: (alpha, beta), the labels that blocks may exchange.
        labels: the labels after the move.
        objective: the energy after the move.
        changed: number of blocks that changed.
    """

    pair: tuple[int, int]
    labels: Integer[np.ndarray, "n n"]
    objective: float
    changed: int


@dataclass(frozen=True, eq=False)
class MaskSolution:
    """Labels found and how.

    Attributes:
        labels: label t of each block, the mask value is t / m.
        objective: energy of the labels.
        steps: for each batch item every move tried, in order; empty for `solve_exact`.
        engine: what computed the cuts.
        seconds: time taken for the whole batch.
    """

    labels: Int64[np.ndarray, "b n n"]
    objective: Float64[np.ndarray, " b"]
    steps: tuple[tuple[MaskStep, ...], ...]
    engine: str
    seconds: float


def energy(problem: MaskProblem, labels: Integer[np.ndarray, "b n n"]) -> Float64[np.ndarray, " b"]:
    """Energy of given labels, one per batch item."""
    return _energy(problem.unary, problem.weight_right, problem.weight_down, labels)


def first_labels(problem: MaskProblem) -> Int64[np.ndarray, "b n n"]:
    """Lowest allowed label of each block: where the swap starts and the climb begins."""
    return np.isfinite(problem.unary).argmax(-1).astype(np.int64, order="C")


def solve_exact(problem: MaskProblem) -> MaskSolution:
    """Find the smallest among the masks of least energy, for any costs.

    Raises:
        ValueError: if the costs are too large to add up.
    """
    start = time.perf_counter()
    grid = _to_integers(problem)
    kernels = load_kernels("cut")
    labels = np.empty(problem.unary.shape[:3], np.int64)
    climbing = grid.convex if kernels else np.zeros_like(grid.convex)
    engines = []
    if kernels and climbing.any():
        engines.append("ascent, numba")
        chosen = slice(None) if climbing.all() else climbing
        arguments = (grid.slopes, grid.low, grid.high, grid.right, grid.down)
        labels[chosen] = kernels.climb(*(array[chosen] for array in arguments))
    if not climbing.all():
        engines.append("Ishikawa cut, SciPy")
    for item in np.flatnonzero(~climbing):
        labels[item] = _ishikawa(grid, int(item))
    return MaskSolution(
        labels=labels,
        objective=energy(problem, labels),
        steps=((),) * len(labels),
        engine=" and ".join(engines),
        seconds=time.perf_counter() - start,
    )


def solve_swap(problem: MaskProblem) -> MaskSolution:
    """Boykov, Veksler & Zabih's alpha-beta swap, the paper's solver: a local optimum.

    Starts at label 0 (or the lowest allowed one), tries the pairs (0, m), (0, m - 1), .., (0, 1),
    (1, m), .. until a whole sweep no longer lowers the energy. A block takes the lower label of the
    pair where the higher one gains nothing.

    Raises:
        ValueError: if the costs are too large to add up.
    """
    start = time.perf_counter()
    grid = _to_integers(problem)
    kernels = load_kernels("cut")
    sweep = kernels.sweep if kernels else _sweep_with_scipy
    labels = first_labels(problem)
    best = energy(problem, labels)
    steps = []
    for item in range(len(labels)):
        tried: list[MaskStep] = []
        falling = True
        while falling:
            trail, changed = sweep(
                labels[item], grid.costs[item], grid.right[item], grid.down[item]
            )
            tried += _record(problem, item, trail, changed)
            labels[item] = trail[-1]
            falling = tried[-1].objective < best[item]
            best[item] = tried[-1].objective
        steps.append(tuple(tried))
    return MaskSolution(
        labels=labels,
        objective=energy(problem, labels),
        steps=tuple(steps),
        engine="swap, numba" if kernels else "swap, SciPy",
        seconds=time.perf_counter() - start,
    )


def pygco_available() -> bool:
    """Whether gco-wrapper (pyGCO) is installed."""
    return _pygco() is not None


def solve_swap_pygco(problem: MaskProblem) -> MaskSolution:
    """Run the same swap in pyGCO, on costs rounded to its 32-bit integers.

    pyGCO ends the process on costs above 1e7 and does not check for overflow or NaN: only scaled
    integers within its range reach it. Its table of graphs is shared between threads unguarded,
    so one graph lives at a time.

    Raises:
        ValueError: if rounding to pyGCO's integers would distort the energy.
        ModuleNotFoundError: if gco-wrapper is not installed.
    """
    start = time.perf_counter()
    library = _pygco()
    if library is None:
        raise ModuleNotFoundError("solve_swap_pygco needs gco-wrapper (Python 3.11 or older)")
    labels = first_labels(problem)
    for item in range(len(labels)):
        terms = _to_pygco_integers(problem, item)
        labels[item] = _swap_in_pygco(library, labels[item], terms)
    return MaskSolution(
        labels=labels,
        objective=energy(problem, labels),
        steps=((),) * len(labels),
        engine="swap, pyGCO",
        seconds=time.perf_counter() - start,
    )


def solve_swap_pygco_or_own(problem: MaskProblem) -> MaskSolution:
    """Swap in pyGCO, or here where it is not installed or its integers would distort the costs.

    Item by item, so that one item's costs do not decide for a batch. The solution's `engine` says
    which of the two it was; their energies are the same.
    """
    arrays = (problem.unary, problem.weight_right, problem.weight_down)
    found = []
    for item in range(len(problem.unary)):
        alone = MaskProblem(*(array[item : item + 1] for array in arrays))
        try:
            found.append(solve_swap_pygco(alone))
        except (ModuleNotFoundError, ValueError):
            found.append(solve_swap(alone))
    return MaskSolution(
        labels=np.concatenate([one.labels for one in found]),
        objective=np.concatenate([one.objective for one in found]),
        steps=tuple(steps for one in found for steps in one.steps),
        engine=" and ".join(sorted({one.engine for one in found})),
        seconds=sum(one.seconds for one in found),
    )


MASK_SOLVERS: Mapping[str, Callable[[MaskProblem], MaskSolution]] = MappingProxyType(
    {"exact": solve_exact, "swap": solve_swap, "pygco": solve_swap_pygco_or_own}
)
SWAP_ENGINES: Mapping[str, Callable[[MaskProblem], MaskSolution]] = MappingProxyType(
    {"own": solve_swap, "pygco": solve_swap_pygco}
)


# ------------------------------------------------------------------ integers


@dataclass(frozen=True, eq=False)
class _Grid:
    """The problem in integers; costs[b, i, j, t] = -1 marks a forbidden label."""

    costs: Int64[np.ndarray, "b n n labels"]
    slopes: Int64[np.ndarray, "b n n levels"]
    low: Int64[np.ndarray, "b n n"]
    high: Int64[np.ndarray, "b n n"]
    right: Int64[np.ndarray, "b n n-1"]
    down: Int64[np.ndarray, "b n-1 n"]
    convex: Bool[np.ndarray, " b"]


def _to_integers(problem: MaskProblem) -> _Grid:
    # One memory layout for the compiled loops, or they would be compiled again for another.
    unary, weight_right, weight_down = (
        np.ascontiguousarray(array)
        for array in (problem.unary, problem.weight_right, problem.weight_down)
    )
    count = unary.shape[-1]
    allowed = np.isfinite(unary)
    with np.errstate(over="ignore", invalid="ignore"):
        relative = unary - unary.min(-1, keepdims=True)
        relative[~allowed] = 0
        total = relative.max(-1).sum((1, 2))
        total += weight_right.sum((1, 2)) + weight_down.sum((1, 2))
    if not np.isfinite(total).all():
        raise ValueError("unary and weights are too large to add up in float64")
    scale = np.exp2(np.minimum(SUM_BITS - np.frexp(total)[1], 1000.0))
    costs = np.rint(relative * scale[:, None, None, None]).astype(np.int64)
    weight_scale = (scale / (count - 1) ** 2)[:, None, None]
    right = np.rint(weight_right * weight_scale).astype(np.int64)
    down = np.rint(weight_down * weight_scale).astype(np.int64)

    low = allowed.argmax(-1).astype(np.int64)
    high = (count - 1) - allowed[..., ::-1].argmax(-1).astype(np.int64)
    slopes = np.diff(costs)
    gap = allowed.sum(-1) != high - low + 1
    inside = allowed[..., 1:] & allowed[..., :-1]
    bend = np.where(inside[..., 1:] & inside[..., :-1], np.diff(slopes), 0)
    # Rounding bends a straight line by up to two units, float64 costs by their own last digits.
    noise = 2 + np.ceil(2.0**-46 * scale * np.abs(np.where(allowed, unary, 0)).max((1, 2, 3)))
    convex = ~gap.any((1, 2)) & (bend >= -noise[:, None, None, None]).all((1, 2, 3))
    slopes = np.where(inside, slopes, np.iinfo(np.int64).min)
    slopes = np.maximum.accumulate(slopes, axis=-1)
    return _Grid(np.where(allowed, costs, -1), slopes, low, high, right, down, convex)


def _energy(
    unary: Float64[np.ndarray, "#b n n labels"],
    weight_right: Float64[np.ndarray, "#b n n-1"],
    weight_down: Float64[np.ndarray, "#b n-1 n"],
    labels: Integer[np.ndarray, "b n n"],
) -> Float64[np.ndarray, " b"]:
    count = unary.shape[-1]
    z = labels / (count - 1)
    first = np.arange(0, unary.size, count).reshape(unary.shape[:-1])
    data = unary.reshape(-1)[first + labels]
    right = weight_right * (z[:, :, 1:] - z[:, :, :-1]) ** 2
    down = weight_down * (z[:, 1:] - z[:, :-1]) ** 2
    return data.sum((1, 2)) + right.sum((1, 2)) + down.sum((1, 2))


def _record(
    problem: MaskProblem,
    item: int,
    trail: Integer[np.ndarray, "moves n n"],
    changed: Int64[np.ndarray, " moves"],
) -> list[MaskStep]:
    """Name the moves of one sweep."""
    levels = problem.unary.shape[-1] - 1
    pairs = [(alpha, beta) for alpha in range(levels) for beta in range(levels, alpha, -1)]
    one = slice(item, item + 1)
    weights = problem.weight_right[one], problem.weight_down[one]
    objective = _energy(problem.unary[one], *weights, trail)
    moves = zip(pairs, trail, objective.tolist(), changed.tolist(), strict=True)
    return [MaskStep(*move) for move in moves]


# ------------------------------------------------------------------ SciPy


def _ishikawa(grid: _Grid, item: int) -> Int64[np.ndarray, "n n"]:
    """Smallest minimiser of one problem by a single cut with one node per block and step.

    Node (i, a) on the source side says x_i > a. The squared difference of two labels is
    sum_ab |[x_i > a] - [x_j > b]| + (t_i^2 - m t_i) + (t_j^2 - m t_j).
    """
    costs = grid.costs[item].reshape(-1, grid.costs.shape[-1])
    tails, heads, weights = _edges(grid.right[item], grid.down[item])
    sites, levels = costs.shape[0], costs.shape[1] - 1
    around = np.bincount(tails, weights, sites) + np.bincount(heads, weights, sites)
    around = np.rint(around).astype(np.int64)
    t = np.arange(levels + 1)
    forbidden = costs.max(1) + (around + 1) * (levels**2 + 1)
    costs = np.where(costs < 0, forbidden[:, None], costs)
    rise = np.diff(costs + around[:, None] * (t * t - levels * t)).reshape(-1)

    a, b = (axis.reshape(-1) for axis in np.mgrid[:levels, :levels])
    node = np.arange(sites * levels).reshape(sites, levels)
    first = node[tails][:, a].reshape(-1)
    second = node[heads][:, b].reshape(-1)
    capacity = np.repeat(weights, levels * levels)
    ordered = node[:, 1:].reshape(-1), node[:, :-1].reshape(-1)
    endless = np.full(len(ordered[0]), np.abs(rise).sum() + 1)
    above = _source_side(
        rise,
        np.concatenate((first, second, ordered[0])),
        np.concatenate((second, first, ordered[1])),
        np.concatenate((capacity, capacity, endless)),
    )
    n = grid.low.shape[1]
    return above.reshape(n, n, levels).sum(-1)


def _sweep_with_scipy(
    labels: Int64[np.ndarray, "n n"],
    costs: Int64[np.ndarray, "n n labels"],
    right: Int64[np.ndarray, "n n-1"],
    down: Int64[np.ndarray, "n-1 n"],
) -> tuple[Integer[np.ndarray, "moves n n"], Int64[np.ndarray, " moves"]]:
    """Do what `cut.sweep` does."""
    shape, levels = labels.shape, costs.shape[-1] - 1
    label = labels.reshape(-1).copy()
    costs = costs.reshape(-1, levels + 1)
    tails, heads, weights = _edges(right, down)
    trail, changed = [], []
    for alpha in range(levels):
        for beta in range(levels, alpha, -1):
            moving = (label == alpha) | (label == beta)
            rise = costs[:, beta] - costs[:, alpha]
            around = np.zeros(len(label), np.int64)
            for one, other in ((tails, heads), (heads, tails)):
                fixed = np.where(moving[other], alpha, label[other])
                pull = (beta - fixed) ** 2 - (alpha - fixed) ** 2
                np.add.at(rise, one, np.where(moving[other], 0, weights * pull))
                np.add.at(around, one, np.where(moving[other], weights * (beta - alpha) ** 2, 0))
            rise = np.where(costs[:, alpha] < 0, -around - 1, rise)
            rise = np.where(costs[:, beta] < 0, around + 1, rise)
            both = moving[tails] & moving[heads]
            one, other = tails[both], heads[both]
            capacity = weights[both] * (beta - alpha) ** 2
            raised = _source_side(
                np.where(moving, rise, 0),
                np.concatenate((one, other)),
                np.concatenate((other, one)),
                np.concatenate((capacity, capacity)),
            )
            after = np.where(moving, np.where(raised, beta, alpha), label)
            changed.append(int((after != label).sum()))
            label = after
            trail.append(label.reshape(shape))
    return np.array(trail), np.array(changed, np.int64)


def _source_side(
    rise: Int64[np.ndarray, " nodes"],
    tails: Int64[np.ndarray, " arcs"],
    heads: Int64[np.ndarray, " arcs"],
    capacities: Int64[np.ndarray, " arcs"],
) -> Bool[np.ndarray, " nodes"]:
    """Smallest source side of a minimum cut, where a node there costs `rise`.

    SciPy's flow has 32 bits. The leading bits are solved first; the flow they carry stays, and
    what the next bits can add is at most one unit of the last shift per arc.
    """
    nodes = len(rise)
    source, sink = nodes, nodes + 1
    gains, pays = np.flatnonzero(rise < 0), np.flatnonzero(rise > 0)
    rows = np.concatenate((tails, np.full(len(gains), source), pays))
    columns = np.concatenate((heads, gains, np.full(len(pays), sink)))
    values = np.concatenate((capacities, -rise[gains], rise[pays]))
    residual = coo_array((values, (rows, columns)), shape=(nodes + 2, nodes + 2)).tocsr()
    step = 30 - int(2 * len(values)).bit_length()
    shift = max(0, int(-rise[gains].sum()).bit_length() - 30)
    while True:
        leading = residual.copy()
        leading.data = np.minimum(leading.data >> shift, 1 << 30).astype(np.int32)
        leading.eliminate_zeros()
        flow = maximum_flow(leading, source, sink).flow.astype(np.int64)
        flow.data <<= shift
        residual = (residual - flow).tocsr()
        if shift == 0:
            break
        shift = max(0, shift - step)
    residual.eliminate_zeros()
    reached = np.zeros(nodes + 2, bool)
    reached[breadth_first_order(residual, source, return_predecessors=False)] = True
    return reached[:nodes]


def _edges(
    right: Num[np.ndarray, "n n-1"], down: Num[np.ndarray, "n-1 n"]
) -> tuple[Num[np.ndarray, " edges"], Num[np.ndarray, " edges"], Num[np.ndarray, " edges"]]:
    n = right.shape[0]
    site = np.arange(n * n).reshape(n, n)
    tails = np.concatenate((site[:, :-1].reshape(-1), site[:-1].reshape(-1)))
    heads = np.concatenate((site[:, 1:].reshape(-1), site[1:].reshape(-1)))
    return tails, heads, np.concatenate((right.reshape(-1), down.reshape(-1)))


# ------------------------------------------------------------------ pyGCO

_pygco_lock = threading.Lock()


@cache
def _pygco() -> ModuleType | None:
    try:
        return importlib.import_module("gco")
    except (ImportError, OSError):  # not installed, or its shared library does not load
        return None


@dataclass(frozen=True, eq=False)
class _PygcoTerms:
    costs: Integer[np.ndarray, "sites labels"]
    tails: Integer[np.ndarray, " edges"]
    heads: Integer[np.ndarray, " edges"]
    weights: Integer[np.ndarray, " edges"]


def _to_pygco_integers(problem: MaskProblem, item: int) -> _PygcoTerms:
    """Scale one problem so that no term exceeds PYGCO_LARGEST; a forbidden label costs that."""
    _, n, _, count = problem.unary.shape
    levels = count - 1
    unary = problem.unary[item].reshape(-1, count)
    tails, heads, weights = _edges(problem.weight_right[item], problem.weight_down[item])
    allowed = np.isfinite(unary)
    with np.errstate(over="ignore"):
        relative = np.where(allowed, unary - unary.min(-1, keepdims=True), 0)
    # A forbidden label must cost more than a block can save by taking it: its four edges.
    largest = relative.max() + 5 * weights.max(initial=0)
    scale = 2.0 ** np.floor(np.log2(PYGCO_LARGEST / largest)) if 0 < largest < np.inf else 1.0
    costs = np.rint(relative * scale)
    strengths = np.rint(weights * (scale / levels**2))
    # What rounding may distort is judged without the tenth of the blocks with the widest costs:
    # one enormous cost leaves the others no digits, and must not hide that.
    span = relative.max(-1)
    usual = span.argsort()[: int(np.ceil(0.9 * len(span)))]
    with np.errstate(invalid="ignore"):
        distorted = np.abs(costs / scale - relative).max(-1)[usual].sum()
    distorted += np.abs(strengths * (levels**2 / scale) - weights).sum()
    if not (largest < np.inf and distorted <= 0.01 * (span[usual].sum() + weights.sum())):
        raise ValueError(
            f"pyGCO's 32-bit integers cannot hold mask problem {item}: its costs span "
            f"{largest:.3g} on a {n} x {n} grid with {count} labels; use the project's own swap"
        )
    return _PygcoTerms(
        costs=np.where(allowed, costs, PYGCO_LARGEST).astype(np.intc),
        tails=tails.astype(np.intc),
        heads=heads.astype(np.intc),
        weights=strengths.astype(np.intc),
    )


def _swap_in_pygco(
    library: ModuleType, start: Int64[np.ndarray, "n n"], terms: _PygcoTerms
) -> Int64[np.ndarray, "n n"]:
    sites, count = terms.costs.shape
    t = np.arange(count)
    with _pygco_lock:
        graph = library.GCO()
        graph.create_general_graph(sites, count, energy_is_float=False)
        try:
            graph.set_data_cost(terms.costs)
            if len(terms.weights):
                graph.set_all_neighbors(terms.tails, terms.heads, terms.weights)
            graph.set_smooth_cost((t[:, None] - t).astype(np.intc) ** 2)
            for site in np.flatnonzero(start):
                graph.init_label_at_site(int(site), int(start.flat[site]))
            graph.swap(-1)
            return graph.get_labels().astype(np.int64).reshape(start.shape)
        finally:
            graph.destroy_graph()


# ------------------------------------------------------------------ checks


def _require_shape(name: str, array: Float64[np.ndarray, "..."], shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape} to fit unary, got {array.shape}")


def _refuse(
    name: str,
    array: Float64[np.ndarray, "..."],
    wrong: Bool[np.ndarray, "..."],
    allowed: str,
) -> None:
    if wrong.any():
        place = [int(k) for k in np.argwhere(wrong)[0]]
        raise ValueError(f"{name}{place} is {array[tuple(place)]}; {allowed}")
