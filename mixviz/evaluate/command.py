"""The command line of ``python -m mixviz.evaluate``."""

import argparse
import io
import json
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch
from tqdm import tqdm

from mixviz.evaluate.data import Validation, open_validation
from mixviz.evaluate.measures import MEASURES, NotApplicableError, Subject
from mixviz.evaluate.papers import PROTOCOLS, reported_on
from mixviz.evaluate.pictures import draw_corruptions, draw_reliability
from mixviz.evaluate.report import OVERHEAD, Judged, overhead, write_table
from mixviz.train.checkpoint import Card, read_checkpoint, write_atomically
from mixviz.train.errors import DataError, TrainingError
from mixviz.train.flags import Parser, between
from mixviz.train.sources import TORCHVISION, ImageSet
from mixviz.zoo import Classifier, device_words, pick_device

FOLDER_FLAGS = ("--data", "--json", "--pictures")
LIBRARIES = ("torch", "numpy", "scipy", "pillow")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 1 stopped, 2 unusable, 130 Ctrl-C."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _evaluate(_parse(arguments), arguments)
    except (DataError, TrainingError) as error:
        sys.stderr.write(f"mixviz.evaluate: {error}\n")
        return 2 if isinstance(error, DataError) else 1
    except OSError as error:
        sys.stderr.write(f"mixviz.evaluate: {error.strerror or error}\n")
        return 2
    except (MemoryError, torch.OutOfMemoryError):
        sys.stderr.write("mixviz.evaluate: not enough memory: lower --batch or --limit\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("mixviz.evaluate: stopped, nothing was written\n")
        return 130
    return 0


def judge(judged: Judged, subject: Subject, metrics: Sequence[str]) -> None:
    """Measure, and write down what was found, or why it was left out.

    Raises:
        DataError: the classifier's answers are not numbers.
    """
    began = time.perf_counter()
    for name in metrics:
        measure = MEASURES[name]
        total = measure.rounds * len(subject.data)
        with tqdm(total=total, desc=f"{judged.name}: {name}", unit="image", disable=None) as bar:
            try:
                found = measure.find(subject, bar)
            except NotApplicableError as reason:
                judged.left_out[name] = str(reason)
                continue
            except ValueError as error:
                raise DataError(f"{judged.name}, {name}: {error}") from error
        judged.figures |= found.columns
        if found.details:
            judged.details[name] = found.details
    judged.seconds = time.perf_counter() - began


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="python -m mixviz.evaluate",
        description="Judge trained classifiers by the papers' measures.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT", help="FILE.safetensors or .json")
    add("--data", type=Path, required=True, metavar="DIR", help="its validation images, as trained")
    add("--dataset", choices=sorted(TORCHVISION), help="a torchvision data set kept in --data")
    add("--download", action="store_true", help="let torchvision fetch --dataset into --data")
    add("--metrics", default=",".join(MEASURES), metavar="A,B,…", help=f"({','.join(MEASURES)})")
    add("--limit", type=between(int, 1), metavar="N", help="judge on N images, the classes in turn")
    add(
        "--batch",
        type=between(int, 1),
        default=100,
        help="images at a time (100; on a CPU 20 is faster)",
    )
    add("--seed", type=int, default=0, help="of noise, places and starts (0)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--json", type=Path, metavar="FILE", help="write everything here")
    add("--pictures", type=Path, metavar="DIR", help="draw the corruptions and the calibration")
    options = parser.parse_args(arguments)
    options.metrics = list(dict.fromkeys(options.metrics.split(",")))
    unknown = [name for name in options.metrics if name not in MEASURES]
    if unknown:
        parser.error(f"--metrics: no {unknown[0]!r}, there are {', '.join(MEASURES)}")
    if not 0 <= options.seed < 2**32:
        parser.error(f"--seed must lie in [0, 2³²), got {options.seed}")
    if options.json is not None and options.json.is_dir():
        parser.error(f"--json: {str(options.json)!r} is a folder")
    if options.json is not None and not options.json.parent.is_dir():
        parser.error(f"--json: no folder {options.json.parent}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: no CUDA device here")
    return options


def _evaluate(options: argparse.Namespace, arguments: Sequence[str]) -> None:
    read = [(path.stem, *_read(path)) for path in options.checkpoints]
    device = torch.device("cpu") if options.device == "cpu" else pick_device()
    if options.pictures is not None:
        try:
            options.pictures.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"--pictures {options.pictures}: {error.strerror}") from error
    first = read[0][1]
    validation = open_validation(
        options.data,
        options.dataset,
        options.download,
        first.get("wordnet_ids") or [],
        first["class_names"],
        options.limit,
    )
    for name, card, _ in read:
        if list(validation.source.class_names) != list(card["class_names"]):
            raise DataError(f"{options.data} does not have the classes of {name}")
    runs, decoded = [], dict[int, ImageSet]()
    for name, card, classifier in read:
        size = classifier.input_size
        if size not in decoded:
            decoded = {size: validation.decode(size)}
        data = decoded[size]
        judged = Judged(name, card, len(data))
        boxes = validation.boxes_at(size) if "localisation" in options.metrics else None
        subject = Subject(classifier.to(device), data, boxes, options.batch, options.seed)
        # fp32 throughout and one algorithm for each convolution: the same run, the same figures.
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ):
            judge(judged, subject, options.metrics)
        more = overhead(card, [other for _, other, _ in read])
        if more is not None:
            judged.figures[OVERHEAD] = more
        runs.append(judged)
        if options.pictures is not None:
            _draw(options.pictures, judged, data, options.seed)
        classifier.cpu()
    names = (validation.source.name, options.dataset or "", first.get("data") or "")
    reported = reported_on(names)
    protocols = {name: MEASURES[name].protocol for name in options.metrics}
    _say(write_table(runs, reported, protocols))
    for run in runs:
        for metric, reason in run.left_out.items():
            _say(f"{run.name}: {metric} left out: {reason}.")
    if options.json is not None:
        report = {
            "command": _command(arguments),
            "date": datetime.now(UTC).date().isoformat(),
            "data": _describe(validation),
            "protocol": {
                "images": "upright, centre square, resized to the classifier's input size",
                "batch": options.batch,
                "seed": options.seed,
                **protocols,
                OVERHEAD: "(T_aug − T_vanilla)/T_vanilla of the cards' training times, where an "
                "unmixed run of the same recipe, data and hardware is judged along.",
            },
            "device": device_words(device),
            "versions": {"python": platform.python_version()}
            | {library: version(library) for library in LIBRARIES},
            "runs": [run.facts() for run in runs],
            "papers": [
                {
                    "table": row.table,
                    "dataset": row.dataset,
                    "network": row.network,
                    "method": row.method,
                    "protocol": PROTOCOLS[row.table],
                    "percent": row.figures,
                }
                for row in reported
            ],
        }
        text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_atomically(options.json, text.encode())
        _say(f"wrote {options.json}")


def _read(path: Path) -> tuple[Card, Classifier]:
    card, network = read_checkpoint(path)
    try:
        classifier = Classifier(
            network,
            slug=path.stem,
            title=path.stem,
            input_size=int(card["input_size"]),
            class_names=card["class_names"],
            mean=card["mean"],
            std=card["std"],
            terms=card.get("terms") or "",
        )
    except (RuntimeError, TypeError, ValueError) as error:
        raise DataError(f"{path}: the card's input_size, mean or std is wrong ({error})") from error
    return card, classifier


def _describe(validation: Validation) -> dict[str, str | int]:
    return {
        "name": validation.source.name,
        "terms": validation.source.terms,
        "split": "val",
        "images": len(validation.source.splits["val"].labels),
        "of": validation.total,
        "classes": len(validation.source.class_names),
    }


def _draw(folder: Path, judged: Judged, data: ImageSet, seed: int) -> None:
    pictures = {}
    if "corruptions" in judged.details:
        pictures[f"{judged.name}-corruptions.png"] = draw_corruptions(data.images[0] / 255, seed)
    if "calibration" in judged.details:
        title = f"ECE {judged.figures['ECE']:.2f} % on {judged.images} images"
        bins = judged.details["calibration"]["bins"]
        pictures[f"{judged.name}-reliability.png"] = draw_reliability(bins, title)
    for name, picture in pictures.items():
        file = io.BytesIO()
        picture.save(file, "PNG")
        write_atomically(folder / name, file.getvalue())
        _say(f"drew {folder / name}")


def _command(arguments: Sequence[str]) -> str:
    """The command as typed, paths by their last name: a report tells no one's directory tree."""
    words = []
    for word in arguments:
        flag, equals, value = word.partition("=")
        if equals and flag in FOLDER_FLAGS:
            word = f"{flag}={Path(value).name}"
        elif not word.startswith("-"):
            word = Path(word).name
        words.append(word)
    return shlex.join(["python", "-m", "mixviz.evaluate", *words])


def _say(text: str) -> None:
    tqdm.write(text)
    sys.stdout.flush()
