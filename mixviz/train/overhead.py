"""What mixing costs a training step: ``python -m mixviz.train.overhead --help``.

The augmentation overhead of GuidedMixup, Section 5.3: (T_aug − T_vanilla) / T_vanilla, T the time
of whole training steps. Steps of all rows take turns, so that a machine that slows down slows
all of them.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Generator

from mixviz.networks import NETWORKS
from mixviz.train.command import methods, network_options, pick_device
from mixviz.train.errors import DataError, TrainingError
from mixviz.train.judge import Normaliser
from mixviz.train.recipe import (
    PRECISIONS,
    Learner,
    Mixing,
    Recipe,
    Stage,
    Work,
    build_objective,
    build_optimiser,
    place,
    take,
    take_step,
)
from mixviz.train.recipe import statistics as channel_statistics
from mixviz.train.sources import decode_split, open_source

ROUNDS = 10
WARM = 5
"""Steps of each row before the clock counts: libraries choose their kernels in them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table; returns the exit code."""
    options = _parse(arguments)
    try:
        rows = [_read_row(text) for text in options.rows or methods()]
        seconds = measure_steps(options, [None, *rows])
    except (DataError, TrainingError) as error:
        sys.stderr.write(f"mixviz.train.overhead: {error}\n")
        return 2
    names = ["vanilla", *(options.rows or methods())]
    sys.stdout.write(
        f"{'method:pairing:saliency':40} median ms  mean ms  overhead: of medians, means\n"
    )
    vanilla = seconds[0]
    for name, times in zip(names, seconds, strict=True):
        median, mean = statistics.median(times), statistics.mean(times)
        of_medians = median / statistics.median(vanilla) - 1
        of_means = mean / statistics.mean(vanilla) - 1
        sys.stdout.write(
            f"{name:40} {1e3 * median:9.2f} {1e3 * mean:8.2f}  "
            f"{100 * of_medians:+18.1f} % {100 * of_means:+6.1f} %\n"
        )
    return 0


def measure_steps(options: argparse.Namespace, rows: Sequence[Mixing | None]) -> list[list[float]]:
    """Return the seconds of each step of each row, the device idle before and after a step.

    Raises:
        DataError: the images cannot be used, or a row is no way to mix.
        TrainingError: a batch cannot be mixed.
    """
    device = pick_device(options.device)
    source = open_source(options.data, None, False, ("val",))
    classes = len(source.class_names)
    data = place(decode_split(source, "val", options.size, -(-options.batch // classes)), device)
    mean, std = channel_statistics(data.images)
    works = []
    for row in rows:
        torch.manual_seed(0)
        network = NETWORKS[options.network](num_classes=classes, **network_options(options))
        network = network.to(device).to(memory_format=torch.channels_last)
        recipe = Recipe(
            options.network,
            {},
            (Stage(options.size, 1),),
            peak_lr=0.01,
            precision=options.precision,
            mixing=row,
        )
        chance = Generator().manual_seed(0)
        objective = build_objective(recipe, Learner(network, network, classes, mean, std), chance)
        normalise = Normaliser.of(mean, std, device)
        works.append(Work(objective, build_optimiser(network, recipe), normalise, recipe, chance))
    generator, order = Generator(device).manual_seed(0), Generator().manual_seed(0)
    seconds: list[list[float]] = [[] for _ in rows]
    for turn in range(ROUNDS + 1):
        for work, times in zip(works, seconds, strict=True):
            for _ in range(-(-options.steps // ROUNDS) if turn else WARM):
                index = torch.randperm(len(data), generator=order)[: options.batch]
                images, labels = take(data, index.to(data.images.device), device)
                _wait(device)
                began = time.perf_counter()
                take_step(work, images, labels, generator)
                _wait(device)
                if turn:
                    times.append(time.perf_counter() - began)
    return seconds


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _read_row(text: str) -> Mixing:
    method, pairing, saliency = (*text.split(":"), "", "")[:3]
    if text.count(":") > 2:
        raise DataError(f"a row reads method:pairing:saliency, got {text!r}")
    return Mixing.of(method, pairing or None, saliency or None)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m mixviz.train.overhead",
        description="Measure how much longer a training step takes with mixing.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("rows", nargs="*", metavar="METHOD[:PAIRING[:SALIENCY]]", help="what to measure (all)")
    add("--data", type=Path, required=True, metavar="DIR", help="as for mixviz.train")
    add("--steps", type=int, default=200, help="of each row (200)")
    add("--batch", type=int, default=64, help="images a step (64)")
    add("--size", type=int, default=64, help="side of the images (64)")
    add("--network", choices=sorted(NETWORKS), default="preactresnet18")
    add("--width", type=int, help="as for mixviz.train")
    add("--stem-stride", type=int, help="as for mixviz.train")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--precision", choices=PRECISIONS, default="bf16", help="of the forward pass (bf16)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
