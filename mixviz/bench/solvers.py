"""Time the mask and transport solvers against pyGCO and SciPy on problems like Puzzle Mix's.

`python -m mixviz.bench.solvers` prints the medians for the sizes the paper trains with.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float64
from scipy.optimize import linear_sum_assignment
from scipy.special import gammaln

from mixviz.core import compiled, mask, transport


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
    generator: np.random.Generator, batch: int, n: int, levels: int
) -> mask.MaskProblem:
    """Eq. (4) at the default weights for random maps and mixing ratios."""
    saliency_0, saliency_1 = (smooth_saliency(generator, batch, n) for _ in range(2))
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


def compare_masks(batch: int, n: int, levels: int, repeats: int) -> Mapping[str, float]:
    """Median seconds per batch of each mask solver, interleaved so that load hits all alike."""
    compiled.warm()
    generator = np.random.default_rng(0)
    problems = [puzzle_mix_problem(generator, batch, n, levels) for _ in range(4)]
    solvers = {"exact": mask.solve_exact, "swap": mask.solve_swap}
    if mask.pygco_available():
        solvers["pyGCO swap"] = mask.solve_swap_pygco
    return _medians(solvers, [(problem,) for problem in problems], repeats)


def compare_transports(batch: int, n: int, xi: float, repeats: int) -> Mapping[str, float]:
    """Median seconds per batch of each transport solver, with masks from `solve_exact`."""
    compiled.warm()
    generator = np.random.default_rng(0)
    cases = []
    for _ in range(4):
        problem = puzzle_mix_problem(generator, batch, n, 2)
        share = mask.solve_exact(problem).labels / 2
        cases.append((smooth_saliency(generator, batch, n), share, xi))
    solvers = {
        "exact": transport.solve_exact,
        "Algorithm 1": transport.solve_paper,
        "SciPy": _assign_with_scipy,
    }
    return _medians(solvers, cases, repeats)


def _assign_with_scipy(
    saliency: Float64[np.ndarray, "b n n"], share: Float64[np.ndarray, "b n n"], xi: float
) -> None:
    distance = xi * transport.distance_cost(saliency.shape[1])
    for s, z in zip(saliency, share, strict=True):
        linear_sum_assignment(distance - s.reshape(-1, 1) * z.reshape(-1))


def _medians(
    solvers: Mapping[str, Callable[..., object]], cases: Sequence[tuple[object, ...]], repeats: int
) -> Mapping[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in solvers}
    for _ in range(repeats):
        for case in cases:
            for name, solve in solvers.items():
                start = time.perf_counter()
                solve(*case)
                seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(taken)) for name, taken in seconds.items()}


def main() -> None:
    """Print the medians in milliseconds for a batch of 32."""
    lines = []
    for n, levels in ((4, 2), (8, 2), (16, 2), (16, 4)):
        lines.append((f"mask {n}x{n}, {levels + 1} labels", compare_masks(32, n, levels, 10)))
    for n, xi in ((8, 0.8), (16, 0.8), (16, 0.1)):
        lines.append((f"transport {n}x{n}, xi {xi}", compare_transports(32, n, xi, 3)))
    for title, medians in lines:
        figures = " | ".join(f"{name} {1e3 * value:.2f} ms" for name, value in medians.items())
        sys.stdout.write(f"{title}: {figures}\n")


if __name__ == "__main__":
    main()
