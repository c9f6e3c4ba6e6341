"""What mixing costs a training step: ``python -m mixviz.train.overhead --help``.

The augmentation overhead of GuidedMixup, Section 5.3: (T_aug − T_vanilla) / T_vanilla, T the time
of whole training steps. Steps of all rows take turns, so that a machine that slows down slows
all of them.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Generator, Sequence
from itertools import count
from pathlib import Path

import torch

from mixviz.augment import mixable_inside
from mixviz.networks import NETWORKS
from mixviz.train.command import pick_device
from mixviz.train.errors import DataError, TrainingError
from mixviz.train.feed import FEEDS
from mixviz.train.flags import STEM_STRIDE, WIDTH, Parser, between, check_size, network_options
from mixviz.train.recipe import GUIDES, PRECISIONS, Mixing, Recipe, Stage, trainable
from mixviz.train.shelf import SHELVES, Shelf
from mixviz.train.sources import open_source
from mixviz.train.work import (
    Learner,
    build_fabric,
    build_network,
    build_work,
    compiled,
    take_step,
    vary,
)

ROUNDS = 10
WARM = 5
"""Steps of each row before the clock counts: libraries choose their kernels in them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table; returns the exit code."""
    try:
        options = _parse(arguments)
        check_size(options.network, options.size)
        rows = [_read_row(text) for text in options.rows or trainable()]
        seconds = measure_steps(options, [None, *rows])
    except (DataError, TrainingError) as error:
        sys.stderr.write(f"mixviz.train.overhead: {error}\n")
        return 2
    names = ["vanilla", *(options.rows or trainable())]
    sys.stdout.write(
        f"{'method:pairing:saliency:guide':40} median ms  mean ms  overhead: of medians, means\n"
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
    for row in rows:
        if options.compile and row is not None and row.method in mixable_inside():
            raise DataError(f"--compile does not go with {row.method}, which cuts the network open")
    device = pick_device(options.device)
    source = open_source(options.data, None, False, ("val",))
    classes = len(source.class_names)
    each = -(-options.batch // classes)
    shelf = SHELVES["memory"](source, "val", options.size, each, device)
    if len(shelf) < options.batch:
        raise DataError(
            f"{options.data} has {len(shelf)} validation images for --batch {options.batch}"
        )
    streams = [_stream(options, row, shelf, classes) for row in rows]
    seconds: list[list[float]] = [[] for _ in rows]
    for turn in range(ROUNDS + 1):
        for stream, times in zip(streams, seconds, strict=True):
            # The first step of a round finds ready what was begun before others had their turn.
            next(stream)
            for _ in range(-(-options.steps // ROUNDS) if turn else WARM):
                _wait(device)
                began = time.perf_counter()
                next(stream)
                _wait(device)
                if turn:
                    times.append(time.perf_counter() - began)
    for stream in streams:
        stream.close()
    return seconds


def _stream(
    options: argparse.Namespace, mixing: Mixing | None, shelf: Shelf, classes: int
) -> Generator[None]:
    """Train without end, a step for every time it is asked."""
    recipe = Recipe(
        options.network,
        network_options(options),
        (Stage(options.size, 1),),
        batch=options.batch,
        peak_lr=0.01,
        precision=options.precision,
        mixing=mixing,
    )
    fabric = build_fabric(pick_device(options.device).type, recipe)
    network = build_network(recipe, classes, fabric)
    mean, std = shelf.statistics()
    forward = compiled(network) if options.compile else network
    work = build_work(recipe, Learner(network, forward, classes, mean, std), fabric, options.batch)
    work.chance.manual_seed(0)
    generator = torch.Generator(fabric.device).manual_seed(0)
    order = torch.Generator().manual_seed(0)
    batches = (
        (vary(work, images, generator), labels)
        for _ in count()
        for images, labels in shelf.batches(
            torch.randperm(len(shelf), generator=order)[: options.batch], options.batch
        )
    )
    guide = "current" if mixing is None else mixing.guide
    try:
        for ready in FEEDS[guide](work.objective, batches):
            take_step(work, ready)
            yield
    except ValueError as error:
        raise TrainingError(str(error)) from error


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _read_row(text: str) -> Mixing:
    method, pairing, saliency, guide = (*text.split(":"), "", "", "")[:4]
    if text.count(":") > 3 or guide not in ("", *GUIDES):
        raise DataError(f"a row reads method:pairing:saliency:guide, got {text!r}")
    return Mixing.of(
        method, pairing=pairing or None, saliency=saliency or None, guide=guide or None
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m mixviz.train.overhead",
        description="Measure how much longer a training step takes with mixing.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("rows", nargs="*", metavar="METHOD[:PAIRING[:SALIENCY[:GUIDE]]]", help="(all methods)")
    add("--data", type=Path, required=True, metavar="DIR", help="as for mixviz.train")
    add("--steps", type=between(int, 1), default=200, help="of each row (200)")
    add("--batch", type=between(int, 2), default=64, help="images a step (64)")
    add("--size", type=between(int, 16, 512), default=64, help="side of the images (64)")
    add("--network", choices=sorted(NETWORKS), default="preactresnet18")
    add("--width", type=WIDTH, help="as for mixviz.train")
    add("--stem-stride", type=STEM_STRIDE, help="as for mixviz.train")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--precision", choices=tuple(PRECISIONS), default="bf16", help="of the forward pass (bf16)")
    add("--compile", action="store_true", help="compile the networks first, vanilla's too")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
