"""The command line of ``python -m mixviz.train``."""

import argparse
import os
import platform
import re
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import safetensors
import torch
from lightning_fabric import Fabric
from tqdm import tqdm

from mixviz.train.board import Board
from mixviz.train.checkpoint import LOG, STATE, Card, read_checkpoint, read_state
from mixviz.train.errors import DataError, TrainingError
from mixviz.train.fit import Data, Progress, Run, fit
from mixviz.train.flags import parse, recipe_of
from mixviz.train.judge import Accuracy, Normaliser, measure, read_photos
from mixviz.train.processes import together
from mixviz.train.recipe import Recipe
from mixviz.train.sheet import FACTS
from mixviz.train.shelf import SHELVES
from mixviz.train.shelf import Held as HeldImages
from mixviz.train.sources import Source, open_source
from mixviz.train.work import build_fabric

RESERVED = {Path(name).stem for name in (STATE, LOG, FACTS)}
FOLDER_FLAGS = ("--data", "--out", "--evaluate", "--photos")


class Interrupt(BaseException):
    """Ctrl-C or SIGTERM; carries the signal's number."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 1 stopped, 2 unusable, 128+n signal."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = parse(arguments)
        with _interruptible():
            if options.evaluate is not None:
                _evaluate(options)
            else:
                _train(options, arguments)
    except (DataError, TrainingError) as error:
        if _speaks():
            sys.stderr.write(f"mixviz.train: {error}\n")
        return 2 if isinstance(error, DataError) else 1
    except OSError as error:
        if _speaks():
            sys.stderr.write(f"mixviz.train: {_tell(error)}\n")
        return 2
    except (MemoryError, torch.OutOfMemoryError):
        return _without_memory()
    except RuntimeError as error:
        if "allocate memory" not in str(error):
            raise
        return _without_memory()
    except Interrupt as interrupt:
        if _speaks():
            sys.stderr.write(f"mixviz.train: stopped{_what_is_saved(options)}\n")
        return 128 + int(interrupt.args[0])
    return 0


def _without_memory() -> int:
    sys.stderr.write("mixviz.train: not enough memory: lower --batch, --width or --sizes\n")
    return 1


def _tell(error: OSError) -> str:
    if error.strerror is None or error.filename is None:
        return str(error)
    name = str(error.filename)
    return f"{error.strerror}: {name if len(name) <= 80 else name[:70] + '…'}"


def _train(options: argparse.Namespace, arguments: Sequence[str]) -> None:
    recipe = recipe_of(options)
    folder: Path = options.out
    if (folder / STATE).is_file() and not options.resume:
        raise DataError(f"{folder} already holds a run: add --resume, or name another --out")
    if options.resume:
        read_state(folder)
    source = open_source(options.data, options.dataset, options.download, ("train", "val"))
    if len(source.class_names) < 2:
        raise DataError(f"{options.data} has one class only; a classifier needs at least 2")
    method = "" if recipe.mixing is None else f"-{recipe.mixing.method}"
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", options.dataset or source.name).strip("-._")[:60]
    name = options.name or f"{plain or 'images'}-{recipe.network}{method}"
    _check_name(name)
    named = (options.data_name or source.name, options.terms or "", str(folder))
    _check_texts([*source.class_names, *named])
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"--out {folder}: {error.strerror}") from error
    fabric = build_fabric(pick_device(options.device).type, recipe, options.devices, options.nodes)
    with together(fabric):
        _carry_out(fabric, source, recipe, options, arguments, name)


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise DataError(
            "--name may hold up to 100 letters, digits, '.', '_' and '-', and begins with one of "
            f"the first two; got {name!r}"
        )
    if name in RESERVED or name.endswith(".policy"):
        raise DataError(f"--name {name}: a run writes other files of that name; take another")


def _check_texts(texts: Sequence[str]) -> None:
    """Refuse what no file can hold, such as names of folders in another encoding."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"the name {text!r} is not UTF-8: rename it") from error


def _carry_out(
    fabric: Fabric,
    source: Source,
    recipe: Recipe,
    options: argparse.Namespace,
    arguments: Sequence[str],
    name: str,
) -> None:
    """What every process of a run does."""
    folder: Path = options.out
    largest = max(stage.size for stage in recipe.stages)
    keep = SHELVES[options.keep]
    train = keep(source, "train", largest, recipe.per_class, fabric.device)
    val = keep(source, "val", largest, None, fabric.device)
    data = Data(train, val, source.class_names, options.data_name or source.name)
    hardware = _hardware(fabric.device, options.devices, options.nodes)
    say = _say if fabric.is_global_zero else _say_nothing
    say(
        f"{data.name}: {len(train)} training and {len(val)} validation images, "
        f"{len(data.class_names)} classes; {recipe.epochs} epochs on {hardware}"
    )

    def describe(progress: Progress) -> Card:
        return _card(data, source, recipe, options, arguments, hardware, progress)

    done = len(read_state(folder).history) if options.resume else 0
    board = None
    if options.tensorboard and fabric.is_global_zero:
        board = Board(folder, done)
    run = Run(folder, name, fabric, say, options.compile, options.resume, board)
    trained = len(fit(data, recipe, run, describe)) - done
    if not trained:
        say(f"all {recipe.epochs} epochs in {folder} were finished before; nothing was written")
        return
    say(f"wrote {folder / name}.safetensors and its card {name}.json")


def _evaluate(options: argparse.Namespace) -> None:
    card, network = read_checkpoint(options.evaluate)
    device = pick_device(options.device)
    network = network.to(device).to(memory_format=torch.channels_last)
    normalise = Normaliser.of(card["mean"], card["std"], device)
    if options.data is not None:
        source = open_source(options.data, options.dataset, options.download, ("val",))
        if list(source.class_names) != card["class_names"]:
            raise DataError(f"{options.data} does not have the classes of {options.evaluate}")
        shelf = SHELVES[options.keep](source, "val", card["input_size"], None, device)
        accuracy = measure(network, shelf, normalise)
        _say(
            f"validation: {_in_words(accuracy)} "
            f"(card: top-1 {card['top1']:.2f} %, top-5 {card['top5']:.2f} %)"
        )
    if options.photos is not None:
        photos = HeldImages.near(read_photos(options.photos, card), device)
        accuracy = measure(network, photos, normalise)
        _say(f"photographs: {_in_words(accuracy)}")


def _card(
    data: Data,
    source: Source,
    recipe: Recipe,
    options: argparse.Namespace,
    arguments: Sequence[str],
    hardware: str,
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
        "recipe": recipe.settings() | {"optimiser": "SGD, Nesterov"},
        "command": _command(arguments),
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": round(progress.seconds, 1),
        "hardware": hardware,
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
    command = shlex.join(["python", "-m", "mixviz.train", *words])
    return command.encode(errors="replace").decode()


def pick_device(choice: str) -> torch.device:
    """The device of a ``--device`` option, its libraries set up for training."""
    if choice == "cpu" or (choice == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    return torch.device("cuda", torch.cuda.current_device())


def _hardware(device: torch.device, devices: int = 1, nodes: int = 1) -> str:
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"CPU, {torch.get_num_threads()} threads"
    each = name if devices == 1 else f"{devices} × {name}"
    return each if nodes == 1 else f"{nodes} machines: {each}"


def _in_words(accuracy: Accuracy) -> str:
    return f"top-1 {accuracy.top1:.2f} %, top-5 {accuracy.top5:.2f} % of {accuracy.images} images"


def _say(text: str) -> None:
    tqdm.write(text)
    sys.stdout.flush()


def _say_nothing(text: str) -> None:
    """Leave speaking to the first process."""


def _speaks() -> bool:
    """Say whether this is the process of this machine that people listen to."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


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
