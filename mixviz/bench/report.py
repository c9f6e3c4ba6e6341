"""What a measurement is shown as, and what it was measured on."""

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

PACKAGES = ("torch", "numpy", "scipy", "numba", "streamlit")

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """One table of figures.

    Attributes:
        title: what was measured, with the unit where all columns share it.
        columns: their names, with units.
        rows: one cell per column; None where there is nothing to say.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.title}: {row} does not fit the columns {self.columns}")

    def markdown(self) -> str:
        """The table for people."""
        lines = [self.columns, ("---",) * len(self.columns), *self.rows]
        body = "\n".join(f"| {' | '.join(map(_text, line))} |" for line in lines)
        return f"### {self.title}\n\n{body}\n"

    def records(self) -> list[dict[str, Cell]]:
        """The table for programs: one record per row."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def _text(cell: Cell) -> str:
    if cell is None:
        return "–"
    return (
        f"{cell:.3g}"
        if isinstance(cell, float) and abs(cell) < 100
        else f"{cell:.0f}"
        if (isinstance(cell, float))
        else str(cell)
    )


def milliseconds(seconds: Sequence[float], percentile: float = 50) -> float:
    """A percentile of some times, in milliseconds; NaN of none."""
    return 1e3 * float(np.percentile(seconds, percentile)) if len(seconds) else float("nan")


def interleave(
    contenders: Mapping[str, Callable[..., object]],
    cases: Sequence[tuple[object, ...]],
    repeats: int,
) -> dict[str, list[float]]:
    """Seconds of each contender on each case, in turns, so that load hits all alike.

    The first round warms up and is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeats + 1):
        for case in cases:
            for name, run in contenders.items():
                start = time.perf_counter()
                run(*case)
                if turn:
                    seconds[name].append(time.perf_counter() - start)
    return seconds


def environment() -> dict[str, Cell]:
    """Where this runs: what a figure cannot be read without."""
    found: dict[str, Cell] = {
        "machine": f"{platform.system()} {platform.machine()}",
        "CPUs": os.cpu_count(),
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg())
        if hasattr(os, "getloadavg")
        else None,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        "python": platform.python_version(),
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def trainings(processes: Path = Path("/proc")) -> list[int]:
    """The processes that train at the moment, where the system lists processes as files."""
    found = []
    for place in processes.glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes().split(b"\0")
        except OSError:  # it has ended, or belongs to somebody else
            continue
        if b"mixviz.train" in words:
            found.append(int(place.parent.name))
    return sorted(found)
