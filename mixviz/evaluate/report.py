"""One table of ours and theirs, and the cost of training read from the cards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mixviz.evaluate.papers import PROTOCOLS, Reported
from mixviz.train.checkpoint import Card

OVERHEAD = "overhead"


@dataclass
class Judged:
    """A classifier and what was found of it.

    Attributes:
        name: of the checkpoint.
        card: what its training left.
        images: how many it was judged on.
        figures: percent, by heading.
        details: by measure.
        left_out: why, by measure.
        seconds: how long judging took.
    """

    name: str
    card: Card
    images: int
    figures: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def method(self) -> str:
        """What mixed its training batches."""
        return self.card.get("method") or "none"

    @property
    def per_class(self) -> int | None:
        """Training images a class, where the run was limited to some (data scarcity)."""
        return (self.card.get("recipe") or {}).get("per_class")

    def facts(self) -> dict[str, Any]:
        """All of it for JSON, with the lines of the card that say how it was trained."""
        known = ("method", "epochs", "seed", "recipe", "seconds", "hardware", "top1", "top5")
        return {
            "checkpoint": self.name,
            "sha256": self.card["sha256"],
            "trained": {key: self.card.get(key) for key in known},
            "images": self.images,
            "percent": {key: round(value, 4) for key, value in self.figures.items()},
            "details": self.details,
            "left_out": self.left_out,
            "seconds": round(self.seconds, 1),
        }


def overhead(card: Card, others: Sequence[Card]) -> float | None:
    """Percent more training time than the same run without mixing (GuidedMixup, Section 5.3).

    (T_aug − T_vanilla)/T_vanilla of the whole training times on the cards; None unless ``others``
    hold an unmixed run of the same recipe, data and hardware.
    """
    if not card.get("method"):
        return None
    for other in others:
        alike = all(
            card.get(key) is not None and card[key] == other.get(key)
            for key in ("data", "hardware", "epochs")
        )
        if not other.get("method") and alike and _unmixed(other) == _unmixed(card):
            return 100 * (card["seconds"] - other["seconds"]) / other["seconds"]
    return None


def write_table(
    judged: Sequence[Judged], reported: Sequence[Reported], protocols: Mapping[str, str]
) -> str:
    """A Markdown table: ours, then the papers' rows that share a column, then how each was found.

    Args:
        judged: a row each.
        reported: rows of the papers on the same data.
        protocols: of our measures, by name.
    """
    headings = list(dict.fromkeys(key for run in judged for key in run.figures))
    rows = [
        [run.name, run.method, _amount(run), f"{run.images} images"]
        + [_cell(run.figures.get(key)) for key in headings]
        for run in judged
    ]
    shared = [row for row in reported if any(key in row.figures for key in headings)]
    rows += [
        [row.network, row.method, "", row.table] + [_cell(row.figures.get(k)) for k in headings]
        for row in shared
    ]
    titles = ["classifier", "method", "trained on", "source", *headings]
    table = [titles, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(titles))]
    lines = [_line(row, widths) for row in table]
    rule = ["-" * width if i < 4 else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    lines.insert(1, _line(rule, widths))
    tables = dict.fromkeys(row.table for row in shared)
    notes = [f"- Ours, {name}: {protocol}" for name, protocol in protocols.items()]
    notes += [f"- {name}: {PROTOCOLS[name]}." for name in tables]
    heading = "Errors in percent, lower is better, but for the columns with ↑."
    return "\n".join([*lines, "", heading, *notes])


def _unmixed(card: Card) -> dict[str, Any]:
    return {key: value for key, value in (card.get("recipe") or {}).items() if key != "mixing"}


def _amount(run: Judged) -> str:
    return "all" if run.per_class is None else f"{run.per_class} a class"


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.ljust(width) if index < 4 else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"
