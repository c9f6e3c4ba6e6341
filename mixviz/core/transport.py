"""Transport solvers of Puzzle Mix (eq. 5): which block goes where under a given mask.

Each image has its own assignment problem with costs C' = xi C - s share^T: block i on place j pays
the distance and gains its saliency times the image's share of the mask there. A plan is kept as
the block that lands on each place.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Float64, Int64, Integer
from scipy.optimize import linear_sum_assignment

from mixviz.core.compiled import load_kernels

# What xi = 0 is solved with: ties only arise there, and distance should decide them.
SMALLEST_XI = 1e-9


@dataclass(frozen=True, eq=False)
class TransportRound:
    """One round of Algorithm 1.

    Attributes:
        target: place that each block asks for.
        source: block that wins each place, -1 where none asked.
        rejected: number of blocks that lost; they never ask for that place again.
        objective: <Pi_win, C'>, the cost of the winners.
    """

    target: Integer[np.ndarray, " blocks"]
    source: Integer[np.ndarray, " blocks"]
    rejected: int
    objective: float


@dataclass(frozen=True, eq=False)
class TransportSolution:
    """Plans found.

    Attributes:
        source: the block that lands on place j, a permutation per batch item.
        objective: <Pi, C'>.
        rounds: for each batch item the rounds of Algorithm 1; empty for `solve_exact`.
        seconds: time taken for the whole batch.
    """

    source: Int64[np.ndarray, "b blocks"]
    objective: Float64[np.ndarray, " b"]
    rounds: tuple[tuple[TransportRound, ...], ...]
    seconds: float


def distance_cost(n: int) -> Float64[np.ndarray, "blocks blocks"]:
    """C: squared Euclidean distance of block coordinates over (n - 1)^2, blocks row by row."""
    along = (np.arange(n)[:, None] - np.arange(n)) ** 2
    square = along[:, None, :, None] + along[None, :, None, :]
    return square.reshape(n * n, n * n) / max(n - 1, 1) ** 2


def solve_exact(
    saliency: Float64[np.ndarray, "b n n"],
    share: Float64[np.ndarray, "b n n"],
    xi: float | Float64[np.ndarray, " b"],
) -> TransportSolution:
    """Find a plan of least cost by linear assignment (eq. 5).

    Raises:
        ValueError: on NaN, infinite or negative input, or a share above 1.
    """
    start = time.perf_counter()
    s, z, weight = _check(saliency, share, xi)
    distance = distance_cost(saliency.shape[1])
    kernels = load_kernels("assign")
    if kernels:
        source = kernels.assign(s, z, weight, distance, saliency.shape[1])
    else:
        source = np.empty(s.shape, np.int64)
        for item in range(len(s)):
            cost = weight[item] * distance - s[item, :, None] * z[item]
            block, place = linear_sum_assignment(cost)
            source[item, place] = block
    objective = _objective(s, z, weight, distance, source)
    return TransportSolution(source, objective, ((),) * len(s), time.perf_counter() - start)


def solve_paper(
    saliency: Float64[np.ndarray, "b n n"],
    share: Float64[np.ndarray, "b n n"],
    xi: float | Float64[np.ndarray, " b"],
) -> TransportSolution:
    """Algorithm 1 to convergence; the lowest index wins ties.

    Every block asks for its cheapest place, every place keeps its cheapest asker, and whoever is
    turned away never asks there again: deferred acceptance (Gale & Shapley), whose fixed point is
    the greedy assignment over sorted costs.

    Raises:
        ValueError: on NaN, infinite or negative input, or a share above 1.
    """
    start = time.perf_counter()
    s, z, weight = _check(saliency, share, xi)
    distance = distance_cost(saliency.shape[1])
    kernels = load_kernels("assign")
    propose = kernels.propose if kernels else _propose
    rounds = tuple(
        tuple(
            TransportRound(target, source, int(rejected), float(objective))
            for target, source, rejected, objective in zip(
                *propose(s[item], z[item], weight[item], distance), strict=True
            )
        )
        for item in range(len(s))
    )
    source = np.array([steps[-1].source for steps in rounds], np.int64).reshape(s.shape)
    objective = _objective(s, z, weight, distance, source)
    return TransportSolution(source, objective, rounds, time.perf_counter() - start)


TRANSPORT_SOLVERS: Mapping[str, Callable[..., TransportSolution]] = MappingProxyType(
    {"exact": solve_exact, "paper": solve_paper}
)


def _propose(
    saliency: Float64[np.ndarray, " blocks"],
    share: Float64[np.ndarray, " blocks"],
    xi: float,
    distance: Float64[np.ndarray, "blocks blocks"],
) -> tuple[
    Integer[np.ndarray, "rounds blocks"],
    Integer[np.ndarray, "rounds blocks"],
    Int64[np.ndarray, " rounds"],
    Float64[np.ndarray, " rounds"],
]:
    """Do what `assign.propose` does."""
    cost = xi * distance - saliency[:, None] * share
    every = np.arange(len(cost))
    target = cost.argmin(1)
    targets, sources, rejections, objectives = [], [], [], []
    while True:
        asked = cost[every, target]
        order = np.lexsort((every, asked, target))
        is_first = np.diff(target[order], prepend=-1) > 0
        winners, losers = order[is_first], order[~is_first]
        source = np.full(len(cost), -1, np.int32)
        source[target[winners]] = winners
        targets.append(target.astype(np.int32))
        sources.append(source)
        rejections.append(len(losers))
        objectives.append(asked[winners].sum())
        if not len(losers):
            break
        cost[losers, target[losers]] = np.inf
        target[losers] = cost[losers].argmin(1)
    return np.array(targets), np.array(sources), np.array(rejections), np.array(objectives)


def _objective(
    s: Float64[np.ndarray, "b blocks"],
    z: Float64[np.ndarray, "b blocks"],
    xi: Float64[np.ndarray, " b"],
    distance: Float64[np.ndarray, "blocks blocks"],
    source: Int64[np.ndarray, "b blocks"],
) -> Float64[np.ndarray, " b"]:
    moved = distance[source, np.arange(source.shape[1])].sum(1)
    return xi * moved - (np.take_along_axis(s, source, 1) * z).sum(1)


def _check(
    saliency: Float64[np.ndarray, "b n n"],
    share: Float64[np.ndarray, "b n n"],
    xi: float | Float64[np.ndarray, " b"],
) -> tuple[
    Float64[np.ndarray, "b blocks"],
    Float64[np.ndarray, "b blocks"],
    Float64[np.ndarray, " b"],
]:
    b, rows, columns = saliency.shape
    blocks = rows * columns
    if share.shape != saliency.shape:
        raise ValueError(
            f"share must have the shape of saliency, {saliency.shape}, got {share.shape}"
        )
    weight = np.broadcast_to(np.asarray(xi, np.float64), (b,))
    for name, array, top in (
        ("saliency", saliency, np.inf),
        ("share", share, 1),
        ("xi", weight, np.inf),
    ):
        wrong = ~((array >= 0) & (array <= top) & (array < np.inf))
        if wrong.any():
            place = [int(k) for k in np.argwhere(wrong)[0]]
            allowed = "in [0, 1]" if top == 1 else "finite and >= 0"
            raise ValueError(f"{name}{place} is {array[tuple(place)]}; it must be {allowed}")
    weight = np.where(weight == 0, SMALLEST_XI, weight)
    # Copies, so that the compiled loops meet one memory layout and compile once.
    s, z = (np.array(array.reshape(b, blocks), np.float64) for array in (saliency, share))
    return s, z, weight
