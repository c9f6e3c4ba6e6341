"""The whole Puzzle Mix step, as training takes it, and where its time goes."""

import cProfile
import pstats
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from mixviz.bench.report import Table, milliseconds
from mixviz.bench.solvers import smooth_saliency
from mixviz.core import compiled
from mixviz.core.types import Pair
from mixviz.methods import METHODS


def random_pair(generator: np.random.Generator, batch: int, size: int) -> Pair:
    """Noise with saliency like a network's."""
    images = [torch.from_numpy(generator.random((batch, 3, size, size), np.float32)) for _ in "01"]
    maps = [torch.from_numpy(smooth_saliency(generator, batch, size)).float() for _ in "01"]
    return Pair(images[0], images[1], maps[0], maps[1])


def steps(
    batch: int = 32,
    sizes: Sequence[tuple[int, int]] = ((64, 16), (64, 8), (224, 16), (224, 8)),
    xis: Sequence[float] = (0.8, 0.1),
    repeats: int = 15,
    slowest: int = 8,
) -> list[Table]:
    """Milliseconds per step by picture side and blocks per side, saliency given.

    The second table names the functions that a step at the first of the sizes spends most in,
    without what they call. Where others use the machine, the CPU's own time says more than the
    clock's.
    """
    compiled.warm()
    torch.set_num_threads(1)
    method = METHODS["puzzle_mix"]
    generator = np.random.default_rng(0)
    jobs = []
    for xi in xis:
        for size, grid in sizes:
            lam = torch.from_numpy(generator.random(batch))
            params = method.params(lam=lam, grid=grid, xi=xi)  # type: ignore[call-arg]
            jobs.append((size, grid, xi, random_pair(generator, batch, size), params))
    working: list[list[float]] = [[] for _ in jobs]
    whole: list[list[float]] = [[] for _ in jobs]
    solving: list[list[dict[str, float]]] = [[] for _ in jobs]
    moved = [0.0] * len(jobs)
    for turn in range(repeats + 1):
        for index, (_, grid, _, pair, params) in enumerate(jobs):
            start, worked = time.perf_counter(), time.thread_time()
            trace = method.mix(pair, params)
            worked, taken = time.thread_time() - worked, time.perf_counter() - start
            if turn:
                whole[index].append(taken)
                working[index].append(worked)
                solving[index].append(trace.seconds)  # type: ignore[attr-defined]
            sources = trace.source_0, trace.source_1  # type: ignore[attr-defined]
            still = torch.arange(grid * grid)
            moved[index] = float(sum((s != still).any(1).sum() for s in sources)) / 2 / batch
    rows = []
    for index, (size, grid, xi, _, _) in enumerate(jobs):
        step = milliseconds(whole[index])
        mask, transport = (
            milliseconds([seconds[name] for seconds in solving[index]])
            for name in ("mask", "transport")
        )
        rest = step - mask - transport
        where = (f"{size} px", f"{grid}×{grid}", xi, 100 * moved[index])
        rows.append((*where, step, milliseconds(working[index]), mask, transport, rest))
    columns = (
        "picture",
        "grid",
        "ξ",
        "pictures with a move %",
        "step ms",
        "CPU ms",
        "mask ms",
        "transport ms",
        "the rest ms",
    )
    size, grid, xi, pair, params = jobs[0]
    return [
        Table(f"Puzzle Mix step, batch of {batch}, medians", columns, tuple(rows)),
        Table(
            f"Where a step goes: {size} px, {grid}×{grid}, ξ = {xi:g}",
            ("function", "calls", "ms per step"),
            _profile(lambda: method.mix(pair, params), repeats, slowest),
        ),
    ]


def _profile(
    step: Callable[[], object], repeats: int, slowest: int
) -> tuple[tuple[str, int, float], ...]:
    profile = cProfile.Profile()
    for _ in range(repeats):
        profile.runcall(step)
    rows = []
    # pstats keeps (file, line, name) → (calls, calls without recursion, own, total, callers).
    for (_, _, name), (calls, _, own, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        plain = name.removeprefix("<built-in method ").removeprefix("<method ").rstrip(">")
        rows.append((plain.replace("|", "/"), calls // repeats, 1e3 * own / repeats))
    return tuple(sorted(rows, key=lambda row: -row[2])[:slowest])
