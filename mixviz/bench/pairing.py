"""GuidedMixup: distances and pairing by the size of the batch, and the whole step with saliency."""

import time
from collections.abc import Sequence

import numpy as np
import torch

from mixviz.bench.report import Cell, Table, milliseconds
from mixviz.bench.solvers import smooth_saliency
from mixviz.core.pairing import pair_by_distance, pair_distances
from mixviz.core.saliency import spectral_residual
from mixviz.core.types import Pair
from mixviz.methods.guidedmixup import GuidedMixupParams, blur, mix_blurred


def pairings(
    counts: Sequence[int] = (32, 64, 128, 256),
    sizes: Sequence[int] = (64, 224),
    batch: int = 32,
    repeats: int = 15,
) -> list[Table]:
    """Milliseconds of distances and greedy pairing, and of a Guided-SR step of one batch."""
    torch.set_num_threads(1)
    return [_pairings(counts, sizes, repeats), _step(batch, sizes[0], repeats)]


def _pairings(counts: Sequence[int], sizes: Sequence[int], repeats: int) -> Table:
    generator = np.random.default_rng(0)
    rows: list[tuple[Cell, ...]] = []
    for size in sizes:
        whole = torch.from_numpy(smooth_saliency(generator, max(counts), size)).float()
        for count in counts:
            maps = whole[:count]
            seconds: dict[str, list[float]] = {"distances": [], "greedy": [], "improved": []}
            for turn in range(repeats + 1):
                start = time.perf_counter()
                distances = pair_distances(maps)
                taken = {"distances": time.perf_counter() - start}
                for solver in ("greedy", "improved"):
                    start = time.perf_counter()
                    pair_by_distance(distances, solver)
                    taken[solver] = time.perf_counter() - start
                if turn:
                    for name, value in taken.items():
                        seconds[name].append(value)
            shown = (milliseconds(seconds[name]) for name in ("distances", "greedy", "improved"))
            both = [a + b for a, b in zip(seconds["distances"], seconds["greedy"], strict=True)]
            rows.append((f"{size} px", count, *shown, milliseconds(both)))
    columns = ("pictures", "batch", "distances ms", "greedy ms", "improved ms", "both ms")
    return Table("Pairing a batch, medians; both: distances and greedy", columns, tuple(rows))


def _step(batch: int, size: int, repeats: int) -> Table:
    """Time saliency, blur, pairing and mix of a batch of pictures one after the other."""
    images = torch.rand((batch, 3, size, size), generator=torch.Generator().manual_seed(0))
    params = GuidedMixupParams()
    parts = ("saliency", "blur", "pairing", "mix", "all")
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for turn in range(repeats + 1):
        at = [time.perf_counter()]
        saliency = spectral_residual(images)
        at.append(time.perf_counter())
        blurred = blur("saliency", saliency, params)
        at.append(time.perf_counter())
        partner = pair_by_distance(pair_distances(blurred), "greedy").partner
        at.append(time.perf_counter())
        # The blurred maps of the batch serve source and target alike. The mix is kept until the
        # next, as a training step keeps it.
        maps = blurred, blurred[partner]
        kept = mix_blurred(Pair(images, images[partner], *maps), *maps)
        at.append(time.perf_counter())
        del saliency, blurred
        if turn and len(kept.mixed):
            for name, start, end in zip(parts, at, at[1:], strict=False):
                seconds[name].append(end - start)
            seconds["all"].append(at[-1] - at[0])
    rows = tuple((name, milliseconds(seconds[name])) for name in parts)
    title = f"Guided-SR step, batch of {batch}, {size} px, saliency included, medians"
    return Table(title, ("part", "ms"), rows)
