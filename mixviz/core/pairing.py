"""Pairing of GuidedMixup (Kang and Kim, AAAI 2023, eq. 1): who is mixed with whom in a batch.

Image i is the source of one pair, and `partner[i]` its target; pictures are paired whose salient
regions lie far apart. The distances w are symmetric, so eq. 1 asks for the heaviest cover of all
images by cycles of three or more, of either orientation.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from scipy.optimize import Bounds, LinearConstraint, linear_sum_assignment, milp
from scipy.sparse import csr_array
from torch import Tensor

from mixviz.core.blocks import check_finite

# HiGHS proves an optimum for up to so many images in a fraction of a second.
EXACT_LIMIT = 64
# Numbers held at once beside the maps: small enough to stay in a processor's cache.
CHUNK = 2**18
# Below this share of the two norms a distance by inner products has lost too many digits.
NEAR = 1e-4
# A rise of Σ w that is smaller than this share of the largest distance is rounding.
ROUNDING = 1e-12
# HiGHS stops at an absolute gap of 1e-6: costs of this size make that nothing.
LARGEST_COST = 1000.0

# What a flag of a pairing means, in words.
PAIRING_FLAGS: Mapping[str, str] = MappingProxyType(
    {
        "self_pair": "The image is its own partner: its mix is the image itself.",
        "two_cycle": "Two images are each other's partner: both mixes show the same two.",
        "identical_maps": "The map equals that of another image: nothing tells the two apart.",
        "timed_out": "The time limit came before the proof: the best pairing found so far.",
    }
)


@dataclass(frozen=True, eq=False)
class PairingProblem:
    """Eq. 1 and what its solvers may need.

    Attributes:
        distances: w, symmetric; the diagonal is not looked at.
        seed: what `random` is drawn with.
        time_limit: seconds that `exact` may search.

    Raises:
        ValueError: for fewer than two images, distances that are no such matrix, or a time limit
            that is not a number ≥ 0.
    """

    distances: Float64[np.ndarray, "m m"]
    seed: int = 0
    time_limit: float = 10.0

    def __post_init__(self) -> None:
        _require_two(len(self.distances))
        apart = self.distances[~np.eye(len(self.distances), dtype=bool)]
        if not ((apart >= 0) & (apart < np.inf)).all():
            raise ValueError("distances must be finite and not negative between two images")
        if not np.array_equal(self.distances, self.distances.T):
            raise ValueError("distances must be symmetric")
        if not self.time_limit >= 0:
            raise ValueError(f"time_limit must be a number ≥ 0, got {self.time_limit}")


@dataclass(frozen=True)
class PairingStep:
    """One edge of the greedy cycle.

    Attributes:
        source: the row scanned. The first step scans all rows, the last one has no choice.
        target: the column of its largest distance among those not struck out.
        distance: w between them.
    """

    source: int
    target: int
    distance: float


@dataclass(frozen=True, eq=False)
class PairingSolution:
    """What a solver found.

    Attributes:
        partner: target of each source.
        steps: the edges in the order they were added, by `solve_greedy` alone.
        proven: no feasible pairing weighs more, by `solve_exact` alone.
        timed_out: whether `solve_exact` was stopped before it had proved the optimum.
    """

    partner: Int64[np.ndarray, " m"]
    steps: tuple[PairingStep, ...] = ()
    proven: float | None = None
    timed_out: bool = False


@dataclass(frozen=True, eq=False)
class Pairing:
    """Who is mixed with whom.

    Attributes:
        partner: target of each source i, p[i, partner[i]] = 1 in eq. 1.
        total: Σ w over the M directed edges (i, partner[i]), the objective of eq. 1.
        cycles: the images in the order of the edges, each cycle from its lowest index.
        distances: w; 0 on the diagonal.
        steps: how `greedy` got there; empty for the other solvers.
        proven: what HiGHS proved that no feasible pairing exceeds; None but for `exact`.
        seconds: time taken by the solver, distances not included.
        flags: names from `PAIRING_FLAGS` with the images they concern; empty when all is well.
    """

    partner: Int64[Tensor, " m"]
    total: float
    cycles: tuple[tuple[int, ...], ...]
    distances: Float64[Tensor, "m m"]
    steps: tuple[PairingStep, ...]
    proven: float | None
    seconds: float
    flags: Mapping[str, tuple[int, ...]]

    @cached_property
    def bound(self) -> float:
        """What no feasible pairing exceeds: the heaviest assignment without fixed points.

        It may hold 2-cycles, which eq. 1 forbids. Computed when first asked for, as it takes
        longer than the greedy pairing itself.
        """
        return _assignment_bound(self.distances.cpu().numpy())


def pair_distances(maps: Float[Tensor, "m h w"]) -> Float64[Tensor, "m m"]:
    """Return w, the ℓ₂ distances of maps scaled to sum 1 (GuidedMixup, Section 4.1).

    In float64 by inner products, about the mean map so that what the maps share costs no digits;
    pairs that are still close are subtracted pixel by pixel. Exactly symmetric, with 0 on the
    diagonal and between equal maps. Memory beside the maps does not grow with the picture.

    Args:
        maps: saliency, blurred as it shall be compared; any positive scale. A map that is zero
            everywhere becomes uniform.

    Raises:
        ValueError: when a map is NaN, infinite or negative somewhere.
    """
    count, pixels = len(maps), maps[0].numel() if len(maps) else 0
    flat = maps.detach().reshape(count, pixels)
    total = flat.sum(1, dtype=torch.float64)
    least = flat.amin() if flat.numel() else flat.new_zeros(())
    # One answer of the device for all: NaN and infinity survive in the sums.
    sums = total.sum(), total.min() if count else total.sum(), least.double()
    whole, dimmest, lowest = torch.stack(sums).tolist()
    if not math.isfinite(whole):
        check_finite("maps", maps)
        check_finite("the sum of maps", total)
    if lowest < 0:
        raise ValueError(f"maps must not be negative, got {lowest:.3g}")
    empty = total == 0
    some_empty = dimmest <= 0
    if some_empty:
        total[empty] = 1

    def share(rows: Tensor | slice, columns: slice) -> Tensor:
        part = flat[rows, columns].to(torch.float64, copy=True).div_(total[rows, None])
        return part.add_(empty[rows, None] / pixels) if some_empty else part

    inner = torch.zeros(count, count, dtype=torch.float64, device=maps.device)
    for columns in _chunks(pixels, count):
        part = share(slice(None), columns)
        part -= part.mean(0)
        inner.addmm_(part, part.T)
    norm = inner.diagonal()
    both = norm[:, None] + norm
    square = torch.triu(both - 2 * inner, 1)
    near = torch.triu(square <= NEAR * both, 1).nonzero()
    square.clamp_(min=0)
    for some in _chunks(len(near), pixels):
        first, second = near[some].unbind(1)
        exact = torch.zeros(len(first), dtype=torch.float64, device=maps.device)
        for columns in _chunks(pixels, len(first)):
            exact += (share(first, columns) - share(second, columns)).square().sum(1)
        square[first, second] = exact
    return (square + square.T).sqrt()


def pair_batch(
    maps: Float[Tensor, "m h w"], solver: str = "greedy", seed: int = 0, time_limit: float = 10.0
) -> Pairing:
    """Pair the images of a batch whose salient regions lie far apart (eq. 1).

    Feasible pairings have neither fixed points nor 2-cycles; all solvers but `random` return
    them. Two images can only swap. Equal maps are at distance 0 and paired like any others, the
    lowest index first.

    Args:
        maps: saliency, already blurred; it is scaled to sum 1, nothing else.
        solver: a name from `PAIRING_SOLVERS`.
        seed: what `random` is drawn with.
        time_limit: seconds that `exact` may search.

    Raises:
        ValueError: for a map that is NaN, infinite or negative somewhere, fewer than two images,
            more than 64 with `exact`, or an unknown solver.
    """
    _require_two(len(maps))
    return pair_by_distance(pair_distances(maps), solver, seed, time_limit)


def pair_by_distance(
    distances: Float64[Tensor, "m m"],
    solver: str = "greedy",
    seed: int = 0,
    time_limit: float = 10.0,
) -> Pairing:
    """Do what `pair_batch` does, from the distances of `pair_distances`.

    Raises:
        ValueError: as `pair_batch`, and for distances that are not symmetric, finite and ≥ 0.
    """
    if solver not in PAIRING_SOLVERS:
        names = ", ".join(PAIRING_SOLVERS)
        raise ValueError(f"solver must be one of {names}, got {solver!r}")
    weight = distances.detach().cpu().numpy()
    problem = PairingProblem(weight, seed, time_limit)
    start = time.perf_counter()
    solution = PAIRING_SOLVERS[solver](problem)
    seconds = time.perf_counter() - start
    partner = torch.from_numpy(solution.partner).to(distances.device)
    return Pairing(
        partner=partner,
        total=_total(weight, solution.partner),
        cycles=_cycles(solution.partner),
        distances=distances,
        steps=solution.steps,
        proven=solution.proven,
        seconds=seconds,
        flags=_flags(weight, solution),
    )


def solve_greedy(problem: PairingProblem) -> PairingSolution:
    """Walk to the farthest image not yet visited: Algorithm 1, its slip mended.

    The paper strikes out the column just chosen; as w is symmetric, the walk would then return
    from the second image to the first at once. Struck out is the column of the row just used.
    The first edge is the first largest distance row by row; then the lowest index wins ties. One
    cycle through all images.
    """
    weight = problem.distances
    struck = np.zeros(len(weight))
    apart = weight.copy()
    np.fill_diagonal(apart, -np.inf)
    first, target = divmod(int(apart.argmax()), len(weight))
    steps = [PairingStep(first, target, float(weight[first, target]))]
    struck[first] = -np.inf
    while len(steps) < len(weight) - 1:
        source = target
        struck[source] = -np.inf
        target = int((weight[source] + struck).argmax())
        steps.append(PairingStep(source, target, float(weight[source, target])))
    steps.append(PairingStep(target, first, float(weight[target, first])))
    partner = np.empty(len(weight), np.int64)
    partner[[step.source for step in steps]] = [step.target for step in steps]
    return PairingSolution(partner, tuple(steps))


def solve_improved(problem: PairingProblem) -> PairingSolution:
    """Exchange, from the greedy cycle, the targets of two sources while Σ w rises.

    The best exchange that leaves neither a fixed point nor a 2-cycle is taken each time; the
    result may have several cycles.
    """
    weight = problem.distances
    partner = solve_greedy(problem).partner
    if len(partner) == 2:
        return PairingSolution(partner)
    every = np.arange(len(weight))
    least = ROUNDING * weight.max()
    reach = weight[:, partner]  # reach[i, k]: source i with the target of k
    while True:
        own = reach.diagonal()
        gain = reach + reach.T - own[:, None] - own
        # Source i must not take the target of k when that is i itself, or has i as its target.
        for taker in (partner, partner[partner]):
            gain[taker, every] = gain[every, taker] = -np.inf
        one, other = divmod(int(gain.argmax()), len(weight))
        if not gain[one, other] > least:
            return PairingSolution(partner)
        partner[[one, other]] = partner[[other, one]]
        reach[:, [one, other]] = reach[:, [other, one]]


def solve_exact(problem: PairingProblem) -> PairingSolution:
    """Find the heaviest pairing of eq. 1 as a 2-factor, by mixed-integer programming (HiGHS).

    One binary variable per two images and two edges at each image: 2-cycles cannot be written
    down. Stopped by the time limit, the better of what HiGHS and `solve_improved` found comes
    back.

    Raises:
        ValueError: for more than 64 images.
    """
    weight, count = problem.distances, len(problem.distances)
    if count > EXACT_LIMIT:
        raise ValueError(
            f"solver exact takes at most {EXACT_LIMIT} images, got {count}; "
            "improved has no such limit"
        )
    best = solve_improved(problem).partner
    if count == 2:
        return PairingSolution(best, proven=_total(weight, best))
    one, other = np.triu_indices(count, 1)
    edge = np.arange(len(one))
    ends = csr_array(
        (np.ones(2 * len(edge)), (np.concatenate((one, other)), np.concatenate((edge, edge))))
    )
    scale = LARGEST_COST / (weight[one, other].max() or 1)
    result = milp(
        -scale * weight[one, other],
        integrality=np.ones(len(edge), np.int64),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(ends, 2, 2),
        options={"time_limit": problem.time_limit, "mip_rel_gap": 0.0},
    )
    if result.x is not None:
        chosen = result.x > 0.5
        found = _orient(one[chosen], other[chosen], count)
        best = max(best, found, key=lambda partner: _total(weight, partner))
    proven = _assignment_bound(weight)
    if result.mip_dual_bound is not None:
        proven = min(proven, -result.mip_dual_bound / scale)
    proven = max(proven, _total(weight, best))  # HiGHS leaves rounding
    return PairingSolution(best, proven=proven, timed_out=result.status != 0)


def solve_random(problem: PairingProblem) -> PairingSolution:
    """Draw a uniform permutation, as the papers' "(Random)" rows do.

    It may have fixed points and 2-cycles; two images swap with every seed.
    """
    count = len(problem.distances)
    if count == 2:
        return PairingSolution(np.array([1, 0]))
    rng = torch.Generator().manual_seed(problem.seed)
    return PairingSolution(torch.randperm(count, generator=rng).numpy())


PAIRING_SOLVERS: Mapping[str, Callable[[PairingProblem], PairingSolution]] = MappingProxyType(
    {
        "greedy": solve_greedy,
        "improved": solve_improved,
        "exact": solve_exact,
        "random": solve_random,
    }
)


def _require_two(count: int) -> None:
    if count < 2:
        raise ValueError(
            f"pairing needs two images or more, got {count}: an image is never its own partner"
        )


def _chunks(length: int, width: int) -> list[slice]:
    """Cut `length` rows of `width` numbers into runs of about CHUNK numbers."""
    step = max(1, CHUNK // max(width, 1))
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


def _total(weight: Float64[np.ndarray, "m m"], partner: Int64[np.ndarray, " m"]) -> float:
    """Return Σ w over the directed edges; a fixed point weighs nothing."""
    every = np.arange(len(partner))
    return float(np.where(partner == every, 0, weight[every, partner]).sum())


def _assignment_bound(weight: Float64[np.ndarray, "m m"]) -> float:
    cost = -weight
    np.fill_diagonal(cost, np.inf)
    source, target = linear_sum_assignment(cost)
    return float(weight[source, target].sum())


def _orient(
    one: Int64[np.ndarray, " m"], other: Int64[np.ndarray, " m"], count: int
) -> Int64[np.ndarray, " m"]:
    """Walk each cycle of undirected edges from its lowest index towards the lower neighbour."""
    neighbours: list[list[int]] = [[] for _ in range(count)]
    for a, b in zip(one.tolist(), other.tolist(), strict=True):
        neighbours[a].append(b)
        neighbours[b].append(a)
    partner = np.full(count, -1, np.int64)
    for start in range(count):
        here, came = start, -1
        while partner[here] < 0:
            low, high = neighbours[here]
            partner[here] = high if low == came else low
            here, came = int(partner[here]), here
    return partner


def _cycles(partner: Int64[np.ndarray, " m"]) -> tuple[tuple[int, ...], ...]:
    target, seen, cycles = partner.tolist(), set(), []
    for start in range(len(target)):
        cycle, here = [], start
        while here not in seen:
            seen.add(here)
            cycle.append(here)
            here = target[here]
        if cycle:
            cycles.append(tuple(cycle))
    return tuple(cycles)


def _flags(
    weight: Float64[np.ndarray, "m m"], solution: PairingSolution
) -> dict[str, tuple[int, ...]]:
    partner, every = solution.partner, np.arange(len(weight))
    alone = partner == every
    found = {
        "self_pair": alone,
        "two_cycle": (partner[partner] == every) & ~alone,
        "identical_maps": ((weight == 0) & (every[:, None] != every)).any(1),
        "timed_out": np.full(len(every), solution.timed_out),
    }
    return {name: tuple(every[items].tolist()) for name, items in found.items() if items.any()}
