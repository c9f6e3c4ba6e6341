"""One step of every method of the menu, what it reads of a pair given."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from mixviz.bench.report import Table, interleave, milliseconds
from mixviz.bench.solvers import smooth_saliency
from mixviz.core import compiled
from mixviz.core.types import Pair
from mixviz.methods import METHODS

CLASSES = 100
FEATURES = (64, 16, 16)  # channels and sides of the maps that Manifold Mixup mixes


def full_pair(generator: np.random.Generator, batch: int, size: int) -> Pair:
    """Noise in every field of a pair; its saliency is smooth like a network's."""

    def noise(*shape: int) -> Tensor:
        return torch.from_numpy(generator.random((batch, *shape), np.float32))

    def maps() -> Tensor:
        return torch.from_numpy(smooth_saliency(generator, batch, size)).float()

    both: Mapping[str, Tensor] = {
        f"{name}{digit}": part
        for digit in "01"
        for name, part in (
            ("x", noise(3, size, size)),
            ("s", maps()),
            ("y", torch.from_numpy(generator.integers(0, CLASSES, batch))),
            ("g", noise(3, size, size) - 0.5),
            ("c", maps()),
            ("f", noise(*FEATURES)),
            ("q", noise()),
        )
    }
    return Pair(**both)


def menu(batch: int = 32, size: int = 64, repeats: int = 15) -> list[Table]:
    """Milliseconds of one step of each method at the parameters that a page opens with."""
    compiled.warm()
    torch.set_num_threads(1)
    pair = full_pair(np.random.default_rng(0), batch, size)
    opening = {slug: method.opening(size // 8) for slug, method in METHODS.items()}
    seconds = interleave(
        {slug: lambda slug=slug: METHODS[slug].mix(pair, opening[slug]) for slug in METHODS},
        [()],
        repeats,
    )
    rows = tuple(
        (
            METHODS[slug].title,
            ", ".join(METHODS[slug].needs) or None,
            milliseconds(taken),
            milliseconds(taken, 95),
        )
        for slug, taken in seconds.items()
    )
    title = f"One step of every method, batch of {batch}, {size} px, what it reads given"
    return [Table(title, ("method", "reads", "median ms", "p95 ms"), rows)]
