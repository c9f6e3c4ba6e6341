"""The command line of ``python -m mixviz.train``."""

import argparse
import math
import platform
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import NoReturn

import safetensors
import torch
from tqdm import tqdm

from mixviz.augment import SALIENCIES, mixable, mixable_inside
from mixviz.core.pairing import PAIRING_SOLVERS
from mixviz.networks import NETWORKS, default_options
from mixviz.train.checkpoint import STATE, Card, read_checkpoint, read_state
from mixviz.train.errors import DataError, TrainingError
from mixviz.train.judge import Accuracy, Normaliser, measure, read_photos
from mixviz.train.recipe import PRECISIONS, Data, Mixing, Progress, Recipe, Run, Stage, fit
from mixviz.train.sources import TORCHVISION, Source, decode_split, open_source

FOLDER_FLAGS = ("--data", "--out", "--evaluate", "--photos")
MIXING_FLAGS = ("pairing", "saliency", "alpha", "mix_prob", "clean", "jsd", "half")


class Interrupt(BaseException):
    """Ctrl-C or SIGTERM; carries the signal's number."""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Report a wrong command line in one line."""
        raise DataError(f"{message} (see --help)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 1 stopped, 2 unusable, 128+n signal."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = _parse(arguments)
        with _interruptible():
            if options.evaluate is not None:
                _evaluate(options)
            else:
                _train(options, arguments)
    except (DataError, TrainingError) as error:
        sys.stderr.write(f"mixviz.train: {error}\n")
        return 2 if isinstance(error, DataError) else 1
    except (MemoryError, torch.OutOfMemoryError):
        sys.stderr.write("mixviz.train: not enough memory: lower --batch, --width or --sizes\n")
        return 1
    except Interrupt as interrupt:
        sys.stderr.write(f"mixviz.train: stopped{_what_is_saved(options)}\n")
        return 128 + int(interrupt.args[0])
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="python -m mixviz.train",
        description="Train a small classifier for mixviz, or judge a checkpoint.",
        allow_abbrev=False,
    )
    add = parser.add_argument_group("what").add_argument
    add("--data", type=Path, metavar="DIR", help="Parquet shards, image folders, or torchvision's")
    add("--dataset", choices=sorted(TORCHVISION), help="a torchvision data set kept in --data")
    add("--download", action="store_true", help="let torchvision fetch --dataset into --data")
    add("--per-class", type=_at_least(int, 1), metavar="N", help="train on N images a class only")
    add("--data-name", metavar="TEXT", help="name of the data in the card (default: the folder's)")
    add("--terms", metavar="TEXT", help="terms of the data in the card")
    add("--out", type=Path, metavar="RUNDIR", help="folder for checkpoint, state and log")
    add("--name", help="file name of the checkpoint (default: DATA-NETWORK[-METHOD])")
    add("--resume", action="store_true", help="go on after the last finished epoch in RUNDIR")

    add = parser.add_argument_group("network").add_argument
    add("--network", choices=sorted(NETWORKS), default="preactresnet18")
    add("--width", type=_at_least(int, 1), help="channels that all stages are multiples of")
    add("--stem-stride", type=_at_least(int, 1), help="2: a quarter of the work (1)")

    add = parser.add_argument_group("recipe").add_argument
    add("--epochs", type=_at_least(int, 1), help="epochs, where --sizes names none (60)")
    add("--sizes", default="64", metavar="S[:EPOCHS],…", help="image sizes, as 48:12,64:8 (64)")
    add("--batch", type=_at_least(int, 2), default=512, help="images a step (512)")
    add("--lr", type=_at_least(float, 0), default=0.2, help="peak learning rate (0.2)")
    add("--weight-decay", type=_at_least(float, 0), default=5e-4, help="(0.0005)")
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
    add("--seed", type=_at_least(int, 0), default=0, help="(0)")

    add = parser.add_argument_group("mixing").add_argument
    add("--method", choices=methods(), help="mix every batch so (without: nothing is mixed)")
    add("--pairing", choices=tuple(PAIRING_SOLVERS), help="who is mixed with whom (random)")
    add("--saliency", choices=SALIENCIES, help="of the network in training, or of the picture")
    add("--alpha", type=_positive, help="λ comes from Beta(alpha, alpha) (the paper's)")
    add("--mix-prob", type=_part, metavar="P", help="share of the batches that are mixed (1)")
    add("--clean", type=_at_least(float, 0), help="weight of the loss on unmixed images (0)")
    add(
        "--jsd",
        type=_at_least(float, 0),
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
    add("--precision", choices=PRECISIONS, help="of the forward pass (bf16)", default="bf16")
    add("--compile", action="store_true", help="compile the network first (minutes, then faster)")

    add = parser.add_argument_group("judge").add_argument
    add("--evaluate", type=Path, metavar="FILE", help="measure a checkpoint instead of training")
    add("--photos", type=Path, metavar="DIR", help="also on photographs named WNID_name.JPEG")

    options = parser.parse_args(arguments)
    if options.evaluate is None:
        missing = [flag for flag in ("data", "out") if getattr(options, flag) is None]
        if missing:
            parser.error(f"--{missing[0]} is needed to train")
        if options.photos is not None:
            parser.error("--photos goes with --evaluate")
    elif options.data is None and options.photos is None:
        parser.error("--evaluate needs --data, --photos or both")
    if options.method is None:
        for flag in MIXING_FLAGS:
            if getattr(options, flag) is not None:
                parser.error(f"--{flag.replace('_', '-')} goes with --method")
    if options.compile and options.method in mixable_inside():
        parser.error(f"--compile does not go with {options.method}, which cuts the network open")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: no CUDA device here")
    return options


def _train(options: argparse.Namespace, arguments: Sequence[str]) -> None:
    recipe = _recipe(options)
    folder: Path = options.out
    if (folder / STATE).is_file() and not options.resume:
        raise DataError(f"{folder} already holds a run: add --resume, or name another --out")
    if options.resume:
        read_state(folder)
    source = open_source(options.data, options.dataset, options.download, ("train", "val"))
    if len(source.class_names) < 2:
        raise DataError(f"{options.data} has one class only; a classifier needs at least 2")
    largest = max(stage.size for stage in recipe.stages)
    train = decode_split(source, "train", largest, recipe.per_class)
    val = decode_split(source, "val", largest)
    data = Data(train, val, source.class_names, options.data_name or source.name)
    method = "" if recipe.mixing is None else f"-{recipe.mixing.method}"
    name = options.name or f"{options.dataset or source.name}-{recipe.network}{method}"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise DataError(f"--name may hold letters, digits, '.', '_' and '-', got {name!r}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"--out {folder}: {error.strerror}") from error
    device = pick_device(options.device)
    _say(
        f"{data.name}: {len(train)} training and {len(val)} validation images, "
        f"{len(data.class_names)} classes; {recipe.epochs} epochs on {_hardware(device)}"
    )

    def describe(progress: Progress) -> Card:
        return _card(data, source, recipe, options, arguments, device, progress)

    run = Run(folder, name, device, _say, options.compile, options.resume)
    fit(data, recipe, run, describe)
    _say(f"wrote {folder / name}.safetensors and its card {name}.json")


def _evaluate(options: argparse.Namespace) -> None:
    card, network = read_checkpoint(options.evaluate)
    device = pick_device(options.device)
    network = network.to(device).to(memory_format=torch.channels_last)
    normalise = Normaliser.of(card["mean"], card["std"], device)
    if options.data is not None:
        source = open_source(options.data, options.dataset, options.download, ("val",))
        if list(source.class_names) != card["class_names"]:
            raise DataError(f"{options.data} does not have the classes of {options.evaluate}")
        accuracy = measure(network, decode_split(source, "val", card["input_size"]), normalise)
        _say(
            f"validation: {_in_words(accuracy)} "
            f"(card: top-1 {card['top1']:.2f} %, top-5 {card['top5']:.2f} %)"
        )
    if options.photos is not None:
        accuracy = measure(network, read_photos(options.photos, card), normalise)
        _say(f"photographs: {_in_words(accuracy)}")


def _recipe(options: argparse.Namespace) -> Recipe:
    stages, peak_lr = read_stages(options.sizes, options.epochs), options.lr
    if options.half:
        stages = tuple(Stage(stage.size, math.ceil(stage.epochs / 2)) for stage in stages)
        peak_lr *= 2
    return Recipe(
        network=options.network,
        options=network_options(options),
        stages=stages,
        batch=options.batch,
        peak_lr=peak_lr,
        weight_decay=options.weight_decay,
        label_smoothing=options.label_smoothing,
        photo_crops=options.photo_crops,
        jitter=options.jitter,
        per_class=options.per_class,
        precision=options.precision,
        seed=options.seed,
        mixing=_mixing(options),
    )


def _mixing(options: argparse.Namespace) -> Mixing | None:
    if options.method is None:
        return None
    return Mixing.of(
        options.method,
        options.pairing,
        options.saliency,
        options.alpha,
        options.mix_prob,
        options.clean,
        options.jsd,
    )


def methods() -> tuple[str, ...]:
    """The names that ``--method`` takes."""
    return (*mixable(), *mixable_inside())


def network_options(options: argparse.Namespace) -> dict[str, int]:
    """The options of ``--network``, its own defaults where nothing was asked for."""
    usual = default_options(options.network)
    asked = {name: getattr(options, name) for name in usual}
    return usual | {name: value for name, value in asked.items() if value is not None}


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


def _card(
    data: Data,
    source: Source,
    recipe: Recipe,
    options: argparse.Namespace,
    arguments: Sequence[str],
    device: torch.device,
    progress: Progress,
) -> Card:
    return {
        "architecture": {"name": recipe.network, "options": recipe.options},
        "class_names": list(source.class_names),
        "wordnet_ids": list(source.wordnet_ids),
        "input_size": progress.size,
        "mean": progress.mean,
        "std": progress.std,
        "top1": round(progress.accuracy.top1, 2),
        "top5": round(progress.accuracy.top5, 2),
        "data": (
            f"{data.name}: {len(data.train)} training and {len(data.val)} validation images, "
            f"{len(data.class_names)} classes"
        ),
        "terms": options.terms or source.terms,
        "method": None if recipe.mixing is None else recipe.mixing.method,
        "epochs": progress.epochs,
        "seed": recipe.seed,
        "recipe": asdict(recipe) | {"schedule": "one cycle", "optimiser": "SGD, Nesterov"},
        "command": _command(arguments),
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": round(progress.seconds, 1),
        "hardware": _hardware(device),
        "versions": {
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "safetensors": str(safetensors.__version__),
        },
    }


def _command(arguments: Sequence[str]) -> str:
    """The command as typed, folders by their last name: a card tells no one's directory tree."""
    words, shorten = [], False
    for word in arguments:
        flag, equals, value = word.partition("=")
        if shorten:
            word = Path(word).name
        elif equals and flag in FOLDER_FLAGS:
            word = f"{flag}={Path(value).name}"
        shorten = word in FOLDER_FLAGS
        words.append(word)
    return shlex.join(["python", "-m", "mixviz.train", *words])


def pick_device(choice: str) -> torch.device:
    """The device of a ``--device`` option, its libraries set up for training."""
    if choice == "cpu" or (choice == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    return torch.device("cuda", torch.cuda.current_device())


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def _in_words(accuracy: Accuracy) -> str:
    return f"top-1 {accuracy.top1:.2f} %, top-5 {accuracy.top5:.2f} % of {accuracy.images} images"


def _say(text: str) -> None:
    tqdm.write(text)
    sys.stdout.flush()


def _what_is_saved(options: argparse.Namespace) -> str:
    if options.evaluate is not None or not (options.out / STATE).is_file():
        return ""
    epochs = len(read_state(options.out).history)
    return f"; {epochs} finished epochs are in {options.out}, --resume goes on"


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into Interrupt; files are written atomically, so any time is fine."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise Interrupt(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _at_least(kind: type[int] | type[float], low: int) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = kind(text)
        if not low <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be at least {low}, got {text}")
        return value

    read.__name__ = kind.__name__
    return read


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be positive, got {text}")
    return value


def _part(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must lie in [0, 1], got {text}")
    return value
