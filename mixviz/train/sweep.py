r"""Runs over a grid of settings: ``python -m mixviz.train.sweep --help``.

    python -m mixviz.train.sweep --out SWEEP --over method none cutmix puzzle_mix \
        --over seed 0 1 -- --data DIR --epochs 40

trains every combination into a folder of its own, alike but for what is named, and writes
``SWEEP/table.csv``. A sweep that was stopped goes on where it was when it is started again.
"""

import argparse
import csv
import io
import itertools
import json
import os
import re
import signal
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mixviz.train.checkpoint import STATE, write_atomically
from mixviz.train.errors import DataError, TrainingError
from mixviz.train.flags import Parser, parse, recipe_of

TABLE = "table.csv"
SEED = "seed"
SCORES = ("top1", "top5", "seconds")
OFF, ON = "off", "on"
"""Values that leave a flag away, and that set one which takes none."""

TAKEN = ("out", "resume")
"""Flags that the sweep itself sets."""


@dataclass(frozen=True)
class Cell:
    """One combination: the values of the flags that the sweep goes over, in order."""

    flags: tuple[str, ...]
    values: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of its folder."""
        words = [f"{f}={v}" for f, v in zip(self.flags, self.values, strict=True)]
        return re.sub(r"[^A-Za-z0-9._=+-]", "_", "+".join(words))

    @property
    def arguments(self) -> list[str]:
        """Return what is added to the command."""
        words: list[str] = []
        for flag, value in zip(self.flags, self.values, strict=True):
            words += {OFF: [], ON: [f"--{flag}"]}.get(value, [f"--{flag}={value}"])
        return words


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sweep; 0 when every run is done, else the exit code of the one that was not."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    own, _, common = _split(arguments)
    try:
        options = _parse(own)
        cells = list_cells(options.over)
        for cell in cells:
            recipe_of(parse([*common, *cell.arguments, "--out", str(options.out / cell.name)]))
        rows = []
        for number, cell in enumerate(cells, 1):
            sys.stdout.write(f"run {number} of {len(cells)}: {cell.name}\n")
            sys.stdout.flush()
            folder = options.out / cell.name
            code = _run(folder, [*common, *cell.arguments])
            if code:
                return code
            rows.append(dict(zip(cell.flags, cell.values, strict=True)) | read_scores(folder))
            write_table(options.out, rows)
    except (DataError, TrainingError) as error:
        sys.stderr.write(f"mixviz.train.sweep: {error}\n")
        return 2 if isinstance(error, DataError) else 1
    sys.stdout.write(summarise(rows))
    return 0


def list_cells(over: Sequence[Sequence[str]]) -> list[Cell]:
    """Return all combinations; the flag named last changes first.

    Raises:
        DataError: a flag is no word, is named twice, or has no value or one value twice.
    """
    flags = tuple(flag.removeprefix("--") for flag, *_ in over)
    for flag, (_, *values) in zip(flags, over, strict=True):
        if not re.fullmatch(r"[a-z][a-z0-9-]*", flag) or flags.count(flag) > 1:
            raise DataError(f"--over takes each flag of mixviz.train once, got {flag!r}")
        if flag in TAKEN:
            raise DataError(f"--over {flag}: the sweep sets that flag itself")
        if not values or len(set(values)) < len(values):
            raise DataError(f"--over {flag} needs values that differ, got {values}")
    cells = [Cell(flags, values) for values in itertools.product(*(one[1:] for one in over))]
    if len({cell.name for cell in cells}) < len(cells):
        raise DataError("--over: two combinations would share a folder; spell them otherwise")
    return cells


def read_scores(folder: Path) -> dict[str, float]:
    """Return what the card of a finished run says."""
    for path in sorted(folder.glob("*.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        if "top1" in facts:
            return {name: facts[name] for name in SCORES}
    raise DataError(f"{folder} holds no card of a run")


def write_table(folder: Path, rows: Sequence[dict[str, float | str]]) -> None:
    """Write the rows that are done."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_atomically(folder / TABLE, text.getvalue().encode())


def summarise(rows: Sequence[dict[str, float | str]]) -> str:
    """Return one line for all seeds of a setting: mean top-1, and how far its seeds lie apart."""
    groups: dict[tuple[tuple[str, str], ...], list[float]] = {}
    for row in rows:
        names = [name for name in row if name not in (*SCORES, SEED)]
        setting = tuple((name, str(row[name])) for name in names)
        groups.setdefault(setting, []).append(float(row["top1"]))
    lines = []
    for setting, scores in sorted(groups.items(), key=lambda group: -statistics.mean(group[1])):
        words = "  ".join(f"{name} {value}" for name, value in setting) or "all runs"
        apart = f"  ({min(scores):.2f} to {max(scores):.2f}, {len(scores)} seeds)"
        several = apart if len(scores) > 1 else ""
        lines.append(f"{statistics.mean(scores):6.2f} %  {words}{several}\n")
    return "".join(["mean top-1\n", *lines])


def _run(folder: Path, arguments: list[str]) -> int:
    """Train in a process of its own: where it starts others, they repeat its command alone."""
    more = ["--resume"] if (folder / STATE).is_file() else []
    command = [sys.executable, "-m", "mixviz.train", *arguments, *more, "--out", str(folder)]
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with subprocess.Popen(command, env=env) as run:
        before = signal.signal(signal.SIGTERM, lambda *_: run.terminate())
        try:
            code = _wait(run)
        finally:
            signal.signal(signal.SIGTERM, before)
    return code if code >= 0 else 128 - code


def _wait(run: "subprocess.Popen[bytes]") -> int:
    while True:
        try:
            return run.wait()
        except KeyboardInterrupt:
            # Ctrl-C reaches the run as well, which stops in order and says what is saved.
            continue


def _split(arguments: list[str]) -> tuple[list[str], str, list[str]]:
    """Part the command at ``--``."""
    if "--" not in arguments:
        return arguments, "", []
    at = arguments.index("--")
    return arguments[:at], "--", arguments[at + 1 :]


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="python -m mixviz.train.sweep",
        description="Train over a grid of settings. What follows -- is mixviz.train's, for all.",
        allow_abbrev=False,
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder per run")
    parser.add_argument(
        "--over",
        nargs="+",
        action="append",
        required=True,
        metavar=("FLAG", "VALUE"),
        help="a flag of mixviz.train and its values; off leaves it away, on sets one without value",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
