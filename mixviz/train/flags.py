"""The flags of ``python -m mixviz.train``, and the recipe they ask for."""

import argparse
import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import torch

from mixviz.augment import SALIENCIES, mixable_inside, params_of
from mixviz.core.pairing import PAIRING_SOLVERS
from mixviz.networks import NETWORKS, SMALLEST, default_options
from mixviz.spec import Choice, notes
from mixviz.train.errors import DataError
from mixviz.train.objective import CRITERIA
from mixviz.train.presets import NO_METHOD, PRESETS
from mixviz.train.recipe import GUIDES, PRECISIONS, TAUGHT, Held, Mixing, Recipe, Stage, trainable
from mixviz.train.schedule import SCHEDULES, MultiStep, OneCycle
from mixviz.train.shelf import SHELVES
from mixviz.train.sources import TORCHVISION

Reader = Callable[[str], float]
"""Reads a flag's value."""

HUGE = 1e38
"""What single precision still holds."""

JUDGING_FLAGS = ("evaluate", "data", "dataset", "download", "photos", "keep", "device")

LAUNCHERS = ("MASTER_ADDR", "SLURM_NTASKS")
"""Variables of which whoever starts a run on several machines sets one."""

MIXING_FLAGS = ("pairing", "saliency", "alpha", "mix_prob", "hold", "clean", "jsd", "guide", "half")
SCHEDULE_FLAGS = {
    "one_cycle": ("warm_part", "start_divisor", "end_divisor"),
    "multi_step": ("milestones", "factor"),
}
"""Flags that set a schedule's attributes of the same name."""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Report a wrong command line in one line."""
        raise DataError(f"{message} (see --help)")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the flags, a preset's first.

    Raises:
        DataError: they cannot be read, or contradict each other.
    """
    parser = Parser(
        prog="python -m mixviz.train",
        description="Train a small classifier for mixviz, or judge a checkpoint.",
        allow_abbrev=False,
    )
    add = parser.add_argument_group("what").add_argument
    add("--data", type=Path, metavar="DIR", help="Parquet shards, image folders, or torchvision's")
    add("--dataset", choices=sorted(TORCHVISION), help="a torchvision data set kept in --data")
    add("--download", action="store_true", help="let torchvision fetch --dataset into --data")
    add("--per-class", type=between(int, 1), metavar="N", help="train on N images a class only")
    add("--data-name", metavar="TEXT", help="name of the data in the card (default: the folder's)")
    add("--terms", metavar="TEXT", help="terms of the data in the card")
    add("--out", type=Path, metavar="RUNDIR", help="folder for checkpoint, state and log")
    add("--name", help="file name of the checkpoint (default: DATA-NETWORK[-METHOD])")
    add("--resume", action="store_true", help="go on after the last finished epoch in RUNDIR")
    add("--keep", choices=tuple(SHELVES), default="memory", help="where images wait (memory)")
    add("--tensorboard", action="store_true", help="also log for TensorBoard, in RUNDIR")

    add = parser.add_argument_group("network").add_argument
    add("--network", choices=sorted(NETWORKS), default="preactresnet18")
    add("--width", type=WIDTH, help="channels that all stages are multiples of")
    add("--stem-stride", type=STEM_STRIDE, help="2: a quarter of the work (1)")

    add = parser.add_argument_group("recipe").add_argument
    add("--preset", choices=tuple(PRESETS), help="a paper's flags; those typed beside it count")
    add("--epochs", type=between(int, 1), help="epochs, where --sizes names none (60)")
    add("--sizes", default="64", metavar="S[:EPOCHS],…", help="image sizes, as 48:12,64:8 (64)")
    add("--batch", type=between(int, 2), default=512, help="images a step (512)")
    add("--lr", type=between(float, 0, HUGE), default=0.2, help="peak learning rate (0.2)")
    add("--schedule", choices=tuple(SCHEDULES), default="one_cycle", help="of the rate (one_cycle)")
    add("--warm-part", type=_part, help="one_cycle: share of the steps on which it rises (0.2)")
    add("--start-divisor", type=between(float, 1), help="one_cycle: peak over first rate (25)")
    add("--end-divisor", type=between(float, 1), help="one_cycle: first over last rate (10000)")
    add("--milestones", type=_parts, metavar="P,P…", help="multi_step: when it drops (1/3,2/3)")
    add("--factor", type=_part, help="multi_step: what it drops by (0.1)")
    add("--loss", choices=tuple(CRITERIA), default="cross_entropy", help="(cross_entropy)")
    add("--weight-decay", type=between(float, 0, HUGE), default=5e-4, help="(0.0005)")
    add("--label-smoothing", type=_part, default=0.1, help="(0.1)")
    add("--photo-crops", type=_part, default=0.5, metavar="P", help="chance of a zoomed crop (0.5)")
    add(
        "--jitter",
        type=_part,
        nargs="?",
        const=0.2,
        default=0.0,
        help="vary brightness, contrast and saturation by this part (0; without a value 0.2)",
    )
    add("--seed", type=between(int, 0, 2**32 - 1), default=0, help="(0)")

    add = parser.add_argument_group("mixing").add_argument
    add("--method", choices=(NO_METHOD, *trainable()), help="mix every batch so (none)")
    add("--pairing", choices=tuple(PAIRING_SOLVERS), help="who is mixed with whom (random)")
    add("--saliency", choices=SALIENCIES, help="of the network in training, or of the picture")
    add("--alpha", type=_positive, help="λ comes from Beta(alpha, alpha) (the paper's)")
    add("--mix-prob", type=_part, metavar="P", help="share of the batches that are mixed (1)")
    add(
        "--hold",
        type=_held,
        action="extend",
        metavar="NAME=V[,V…][;…]",
        help="take a parameter of the method from these values instead of drawing its own",
    )
    add(
        "--guide",
        choices=GUIDES,
        help="network that looks at a batch: its step's, or the one before",
    )
    add("--clean", type=between(float, 0), help="weight of the loss on unmixed images (0)")
    add(
        "--jsd",
        type=between(float, 0),
        metavar="WEIGHT",
        help="weight of the agreement of three views of each image (12 with augmix, else 0)",
    )
    add(
        "--half",
        action="store_true",
        default=None,
        help="half the epochs at twice the learning rate",
    )

    add = parser.add_argument_group("machine").add_argument
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--devices", type=between(int, 1), default=1, help="of each machine; processes on a CPU")
    add("--nodes", type=between(int, 1), default=1, help="machines, started by torchrun or Slurm")
    add("--precision", choices=tuple(PRECISIONS), help="of the forward pass (bf16)", default="bf16")
    add("--compile", action="store_true", help="compile the network at its first batch")

    add = parser.add_argument_group("judge").add_argument
    add("--evaluate", type=Path, metavar="FILE", help="measure a checkpoint instead of training")
    add("--photos", type=Path, metavar="DIR", help="also on photographs named WNID_name.JPEG")

    options = parser.parse_args(arguments)
    if options.preset is not None:
        words = PRESETS[options.preset].arguments(options.method)
        asked, preset = options, parser.parse_args(words)
        options = parser.parse_args([*words, *arguments])
        options = _let_go(options, asked, preset)
    if options.method == NO_METHOD:
        options.method = None
    if options.evaluate is None:
        missing = [flag for flag in ("data", "out") if getattr(options, flag) is None]
        if missing:
            parser.error(f"--{missing[0]} is needed to train")
        if options.photos is not None:
            parser.error("--photos goes with --evaluate")
    else:
        for name, usual in vars(parser.parse_args([])).items():
            if name not in JUDGING_FLAGS and getattr(options, name) != usual:
                parser.error(f"--{name.replace('_', '-')} does not go with --evaluate")
        if options.data is None and options.photos is None:
            parser.error("--evaluate needs --data, --photos or both")
    if options.method is None:
        for flag in MIXING_FLAGS:
            if getattr(options, flag) is not None:
                parser.error(f"--{flag.replace('_', '-')} goes with --method")
    for schedule, flags in SCHEDULE_FLAGS.items():
        for flag in flags if schedule != options.schedule else ():
            if getattr(options, flag) is not None:
                parser.error(f"--{flag.replace('_', '-')} goes with --schedule {schedule}")
    if options.compile and options.method in mixable_inside():
        parser.error(f"--compile does not go with {options.method}, which cuts the network open")
    if options.method in TAUGHT and options.devices * options.nodes > 1:
        parser.error(f"{options.method} trains in one process only: there is one agent")
    if options.batch % (options.devices * options.nodes):
        parser.error(
            f"--batch {options.batch} cannot be shared by {options.devices * options.nodes} "
            "processes alike"
        )
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: no CUDA device here")
    most, kind = _most_devices(options.device)
    if options.nodes > 1 and not any(name in os.environ for name in LAUNCHERS):
        parser.error("--nodes: start the command on each machine by torchrun or Slurm")
    if options.devices > most:
        parser.error(
            f"--devices {options.devices}: at most {most} here, the {kind} of this machine"
        )
    return options


def between(kind: type[int] | type[float], low: float, high: float = math.inf) -> Reader:
    """Return a reader of numbers from `low` to `high`, both allowed, infinity not."""

    def read(text: str) -> float:
        value = _number(kind, text)
        if not low <= value < math.inf:
            raise argparse.ArgumentTypeError(f"must be at least {low}, got {text}")
        if value > high:
            raise argparse.ArgumentTypeError(f"must be at most {high:g}, got {text}")
        return value

    return read


def _number(kind: type[int] | type[float], text: str) -> float:
    try:
        return kind(text)
    except ValueError:
        words = "a whole number" if kind is int else "a number"
        raise argparse.ArgumentTypeError(f"must be {words}, got {text!r}") from None


WIDTH, STEM_STRIDE = between(int, 1, 2048), between(int, 1, 16)
"""Readers of what makes a network smaller or larger."""


def _let_go(
    options: argparse.Namespace, typed: argparse.Namespace, preset: argparse.Namespace
) -> argparse.Namespace:
    """Let go of a preset's flags that belong to one which was typed otherwise."""
    dropped: tuple[str, ...] = ()
    if ":" in typed.sizes:
        dropped += ("epochs",)
    if options.network != preset.network:
        dropped += ("width", "stem_stride")
    if options.schedule != preset.schedule:
        dropped += SCHEDULE_FLAGS[preset.schedule]
    for flag in dropped:
        setattr(options, flag, getattr(typed, flag))
    return options


def _most_devices(choice: str) -> tuple[int, str]:
    """How many processes a machine is good for by a ``--device``, and what is counted."""
    if choice != "cpu" and torch.cuda.is_available():
        return torch.cuda.device_count(), "GPUs"
    # Every process holds its own libraries and images: more than cores would fill the memory.
    return max(2, os.cpu_count() or 1), "processor cores"


def recipe_of(options: argparse.Namespace) -> Recipe:
    """Return the recipe that flags ask for.

    Raises:
        DataError: they do not make one.
    """
    stages, peak_lr = read_stages(options.sizes, options.epochs), options.lr
    if options.half:
        stages = tuple(Stage(stage.size, math.ceil(stage.epochs / 2)) for stage in stages)
        peak_lr *= 2
    check_size(options.network, min(stage.size for stage in stages))
    return Recipe(
        network=options.network,
        options=network_options(options),
        stages=stages,
        batch=options.batch,
        peak_lr=peak_lr,
        schedule=_schedule(options),
        weight_decay=options.weight_decay,
        loss=options.loss,
        label_smoothing=options.label_smoothing,
        photo_crops=options.photo_crops,
        jitter=options.jitter,
        per_class=options.per_class,
        precision=options.precision,
        seed=options.seed,
        processes=options.devices * options.nodes,
        mixing=_mixing(options),
    )


def _mixing(options: argparse.Namespace) -> Mixing | None:
    if options.method is None:
        return None
    return Mixing.of(
        options.method,
        pairing=options.pairing,
        saliency=options.saliency,
        alpha=options.alpha,
        prob=options.mix_prob,
        hold=_hold(options),
        clean=options.clean,
        jsd=options.jsd,
        guide=options.guide,
    )


def _hold(options: argparse.Namespace) -> dict[str, tuple[Held, ...]] | None:
    if options.hold is None:
        return None
    # Choices are words, also where they read as numbers; taught methods refuse any value later.
    words = {} if options.method in TAUGHT else notes(params_of(options.method), Choice)
    return {
        name: tuple(str(one) for one in values) if name in words else values
        for name, values in options.hold
    }


def _schedule(options: argparse.Namespace) -> OneCycle | MultiStep:
    asked = {flag: getattr(options, flag) for flag in SCHEDULE_FLAGS[options.schedule]}
    return SCHEDULES[options.schedule](**{k: v for k, v in asked.items() if v is not None})


def network_options(options: argparse.Namespace) -> dict[str, int]:
    """The options of ``--network``, its own defaults where nothing was asked for."""
    usual = default_options(options.network)
    for name in ("width", "stem_stride"):
        if name not in usual and getattr(options, name) is not None:
            raise DataError(f"--{name.replace('_', '-')} does not go with {options.network}")
    asked = {name: getattr(options, name) for name in usual}
    return usual | {name: value for name, value in asked.items() if value is not None}


def check_size(network: str, size: int) -> None:
    """Refuse pictures that a network would make nothing of.

    Raises:
        DataError: they are too small.
    """
    least = SMALLEST.get(network, 0)
    if size < least:
        raise DataError(f"{network} takes pictures of {least} px at least, got {size}")


def read_stages(sizes: str, epochs: int | None) -> tuple[Stage, ...]:
    """Read ``64`` or ``48:12,64:8``; the epochs stand there or in ``epochs`` (60 by default).

    Raises:
        DataError: the text reads otherwise, a size is outside 16 to 512, or the epochs disagree.
    """
    stages = []
    for part in sizes.split(","):
        found = re.fullmatch(r"(\d{1,3})(?::(\d{1,4}))?", part.strip())
        if not found or (found[2] is None and "," in sizes):
            raise DataError(f"--sizes must read 64 or 48:12,64:8 (size:epochs), got {sizes!r}")
        stages.append(Stage(int(found[1]), int(found[2] or epochs or 60)))
    for stage in stages:
        if not 16 <= stage.size <= 512 or stage.epochs < 1:
            raise DataError(f"--sizes: sizes go from 16 to 512, epochs from 1, got {sizes!r}")
    total = sum(stage.epochs for stage in stages)
    if epochs is not None and epochs != total:
        raise DataError(f"--epochs {epochs} contradicts --sizes {sizes}, which make {total}")
    return tuple(stages)


def _positive(text: str) -> float:
    value = _number(float, text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be positive, got {text}")
    return value


def _part(text: str) -> float:
    value = _number(float, text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must lie in [0, 1], got {text}")
    return value


def _parts(text: str) -> tuple[float, ...]:
    shares = tuple(_fraction(part) for part in text.split(","))
    if list(shares) != sorted(set(shares)) or not all(0 < share < 1 for share in shares):
        raise argparse.ArgumentTypeError(f"must be shares of the run, ascending, got {text}")
    return shares


def _fraction(text: str) -> float:
    over, slash, under = text.partition("/")
    value = _number(float, over)
    if not slash:
        return value
    divisor = _number(float, under)
    return value / divisor if divisor else math.nan


def _held(text: str) -> list[tuple[str, tuple[Held, ...]]]:
    """Read ``num_patches=2,4;q0=0:0.99:10``: values, or so many from one to another, evenly."""
    found: list[tuple[str, tuple[Held, ...]]] = []
    for part in text.split(";"):
        name, equals, values = part.strip().partition("=")
        if not name or not equals or not values:
            raise argparse.ArgumentTypeError(
                f"must read NAME=VALUE,… or NAME=FIRST:LAST:COUNT, several apart by ;, got {part!r}"
            )
        if name in dict(found):
            raise argparse.ArgumentTypeError(f"{name} is held twice: {text!r}")
        found.append((name, _spaced(values) or tuple(_value(v.strip()) for v in values.split(","))))
    return found


def _spaced(values: str) -> tuple[float, ...]:
    if ":" not in values:
        return ()
    ends = re.fullmatch(r"(-?\d*\.?\d+):(-?\d*\.?\d+):([1-9]\d{0,3})", values)
    if not ends:
        raise argparse.ArgumentTypeError(
            f"evenly spaced values read FIRST:LAST:COUNT, COUNT from 1 to 9999, got {values!r}"
        )
    first, last, count = float(ends[1]), float(ends[2]), int(ends[3])
    return tuple(round(first + (last - first) * i / max(count - 1, 1), 6) for i in range(count))


def _value(text: str) -> Held:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
