"""Mask and transport solvers on problems like Puzzle Mix's, against pyGCO and SciPy."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float64
from scipy.optimize import linear_sum_assignment
from scipy.special import gammaln

from mixviz.bench.report import Cell, Table, interleave
from mixviz.core import compiled, mask, transport

Maps = Float64[np.ndarray, "b n n"]


def smooth_saliency(
    generator: np.random.Generator, batch: int, n: int
) -> Float64[np.ndarray, "b n n"]:
    """Maps of one to three blobs under speckle, as gradients of a network look; sum 1."""
    row, column = np.mgrid[:n, :n] / n
    maps = np.full((batch, n, n), 1e-3)
    for item in range(batch):
        for _ in range(generator.integers(1, 4)):
            y, x = generator.random(2)
            high, wide = generator.uniform(0.08, 0.3, 2)
            maps[item] += np.exp(-(((row - y) / high) ** 2 + ((column - x) / wide) ** 2) / 2)
    maps *= generator.gamma(2.0, size=maps.shape)
    return maps / maps.sum((1, 2), keepdims=True)


def puzzle_mix_problem(
    generator: np.random.Generator, saliency_0: Maps, saliency_1: Maps, levels: int
) -> mask.MaskProblem:
    """Eq. (4) at the default weights, for random seams and mixing ratios."""
    batch, n, _ = saliency_0.shape
    lam = generator.uniform(size=(batch, 1))
    t = np.arange(levels + 1)
    log_prior = gammaln(levels + 1) - gammaln(t + 1) - gammaln(levels - t + 1)
    log_prior = log_prior + t * np.log(lam) + (levels - t) * np.log1p(-lam)
    seams = generator.uniform(-0.1, 0.1, (batch, n, n)) * 1.2 * 0.5 / (16 * n)
    unary = (saliency_0 - saliency_1 + seams)[..., None] * t / levels
    weight = 1.2 / (16 * n)
    return mask.MaskProblem(
        unary - 0.2 / n**2 * log_prior[:, None, None],
        np.full((batch, n, n - 1), weight),
        np.full((batch, n - 1, n), weight),
    )


def _maps(generator: np.random.Generator, batch: int, n: int) -> tuple[Maps, Maps]:
    return smooth_saliency(generator, batch, n), smooth_saliency(generator, batch, n)


def transport_case(batch: int, n: int) -> tuple[Maps, Maps]:
    """Saliency of image 1 and its share in the exact mask of a random pair."""
    generator = np.random.default_rng(0)
    saliency_0, saliency_1 = _maps(generator, batch, n)
    problem = puzzle_mix_problem(generator, saliency_0, saliency_1, 2)
    return saliency_1, mask.solve_exact(problem).labels / 2


def compare_masks(batch: int, n: int, levels: int, repeats: int) -> Mapping[str, float]:
    """Median seconds per batch of each mask solver."""
    compiled.warm()
    generator = np.random.default_rng(0)
    solvers: dict[str, Callable[..., object]] = {
        "exact": mask.solve_exact,
        "swap": mask.solve_swap,
    }
    if mask.pygco_available():
        solvers["pyGCO swap"] = mask.solve_swap_pygco
    cases = [
        (puzzle_mix_problem(generator, *_maps(generator, batch, n), levels),) for _ in range(4)
    ]
    return _medians(interleave(solvers, cases, repeats))


def compare_transports(batch: int, n: int, xi: float, repeats: int) -> Mapping[str, float]:
    """Median seconds per batch of each transport solver, with masks from `solve_exact`."""
    compiled.warm()
    solvers: dict[str, Callable[..., object]] = {
        "exact": transport.solve_exact,
        "Algorithm 1": transport.solve_paper,
        "SciPy": _assign_with_scipy,
    }
    return _medians(interleave(solvers, [(*transport_case(batch, n), xi)], repeats))


def masks(
    batch: int = 32,
    sizes: Sequence[tuple[int, int]] = ((16, 2), (8, 2), (16, 4), (8, 4)),
    repeats: int = 10,
) -> list[Table]:
    """Median milliseconds per batch of each mask solver, by blocks per side and levels."""
    rows: list[tuple[Cell, ...]] = []
    for n, levels in sizes:
        taken = {k: 1e3 * v for k, v in compare_masks(batch, n, levels, repeats).items()}
        rival = taken.get("pyGCO swap")
        ratio = None if rival is None else taken["exact"] / rival
        rows.append((f"{n}×{n}", levels + 1, taken["exact"], rival, taken["swap"], ratio))
    columns = ("grid", "labels", "exact", "pyGCO swap", "own swap", "exact / pyGCO")
    return [Table(f"Masks, batch of {batch}, median ms", columns, tuple(rows))]


def algorithm1(
    batch: int = 32,
    grids: Sequence[int] = (2, 4, 6, 8, 10, 12, 14, 16),
    xis: Sequence[float] = (0.8, 0.1, 0.05),
    repeats: int = 5,
) -> list[Table]:
    """How far Algorithm 1 ends from the optimum of eq. (5), and what both cost.

    As in the paper's Supplementary B: the error is Σ(F − F*) / Σ|F*| over the batch, F = ⟨Π, C'⟩,
    for image 1 under its exact mask.
    """
    tables = []
    for xi in xis:
        rows: list[tuple[Cell, ...]] = []
        for n in grids:
            saliency, share = transport_case(batch, n)
            best = transport.solve_exact(saliency, share, xi)
            found = transport.solve_paper(saliency, share, xi)
            missed = 100 * (found.objective - best.objective).sum() / np.abs(best.objective).sum()
            still = -(saliency * share).sum((1, 2))
            harmed = 100 * (found.objective > still + 1e-12).mean()
            moves = 100 * (best.source != np.arange(n * n)).mean()
            most = max(map(len, found.rounds))
            taken = compare_transports(batch, n, xi, repeats)
            times = [1e3 * taken[name] for name in ("Algorithm 1", "exact", "SciPy")]
            rows.append((f"{n}×{n}", float(missed), float(harmed), float(moves), most, *times))
        columns = (
            "grid",
            "error %",
            "pairs worse than no move %",
            "blocks that should move %",
            "most rounds",
            "Algorithm 1 ms",
            "exact ms",
            "SciPy ms",
        )
        tables.append(Table(f"Algorithm 1 at ξ = {xi:g}, batch of {batch}", columns, tuple(rows)))
    return tables


def _medians(seconds: Mapping[str, Sequence[float]]) -> Mapping[str, float]:
    return {name: float(np.median(taken)) for name, taken in seconds.items()}


def _assign_with_scipy(saliency: Maps, share: Maps, xi: float) -> None:
    distance = xi * transport.distance_cost(saliency.shape[1])
    for s, z in zip(saliency, share, strict=True):
        linear_sum_assignment(distance - s.reshape(-1, 1) * z.reshape(-1))
