"""How a method tells the interface what to ask (Knob, Choice, Switch) and what to show (Panel).

Plain data only: this module imports neither torch nor streamlit. The same notes drive validation,
sliders, the URL, presets and tests, so that a default or a range stands in one place.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import inf
from sys import float_info
from typing import Any, Literal, TypeVar, get_type_hints

Note = TypeVar("Note")
View = Literal["image", "heatmap", "mask", "blocks", "plan", "number"]


@dataclass(frozen=True)
class Knob:
    """One number: its symbol in the paper, where its slider stops, and what it does.

    Attributes:
        symbol: the symbol of the paper.
        words: what the number does, in a few words.
        stops: the values of the slider, ascending. They bound the slider only.
        help: one sentence for the tooltip.
        valid: the closed interval the mathematics allows; `Params` refuses anything outside.
        paper: the paper's own default, marked beside the slider; None where it has none.
        advanced: whether the control stands under "Advanced".
        integer: whether only whole numbers are valid.
        parts: the value is read as so many parts, such as 10/255; 1 for a plain number.
    """

    symbol: str
    words: str
    stops: tuple[float, ...]
    help: str
    valid: tuple[float, float] = (0.0, inf)
    paper: float | None = None
    advanced: bool = False
    integer: bool = False
    parts: int = 1


@dataclass(frozen=True)
class Choice:
    """A named alternative, such as a solver; `options` maps each name to what it stands for."""

    words: str
    options: Mapping[str, Any]
    help: str
    advanced: bool = True


@dataclass(frozen=True)
class Switch:
    """Something that is done or left out."""

    words: str
    help: str
    advanced: bool = True


@dataclass(frozen=True)
class Panel:
    """One intermediate result: how to draw it and what to call it."""

    view: View
    title: str
    caption: str


def notes(cls: type, *kinds: type[Note]) -> dict[str, Note]:
    """Return the notes of the given kinds of a dataclass by field name, in declaration order."""
    return {name: note for name, note in _all_notes(cls) if isinstance(note, kinds)}


@cache  # resolving annotations takes a millisecond, and every mix checks its parameters
def _all_notes(cls: type) -> tuple[tuple[str, Any], ...]:
    hints = get_type_hints(cls, include_extras=True)
    return tuple(
        (name, note) for name, hint in hints.items() for note in getattr(hint, "__metadata__", ())
    )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def validate(note: Knob | Choice | Switch, value: Any) -> str | None:
    """Say what is wrong with a value, or return None. All values of a tensor must hold."""
    if isinstance(note, Switch):
        return None if isinstance(value, bool) else "must be True or False"
    if isinstance(note, Choice):
        names = ", ".join(note.options)
        known = isinstance(value, str) and value in note.options
        return None if known else f"must be one of {names}"
    if not (_is_number(value) or hasattr(value, "min")):
        return "must be a number"
    if hasattr(value, "numel") and value.numel() == 0:
        return "must not be empty"
    ends = [value] if _is_number(value) else [value.min().item(), value.max().item()]
    low, high = note.valid
    if not all(low <= end <= high and abs(end) <= float_info.max for end in ends):
        return f"must lie in [{low:g}, {high:g}{']' if high < inf else ')'}"
    if note.integer:
        whole = value % 1 == 0
        if not (whole if isinstance(whole, bool) else whole.all()):
            return "must be a whole number"
    return None


class Params:
    """Base of every parameter dataclass: refuses what the mathematics excludes."""

    def __post_init__(self) -> None:
        checked: dict[str, Knob | Choice | Switch] = notes(type(self), Knob, Choice, Switch)
        for name, note in checked.items():
            value = getattr(self, name)
            if problem := validate(note, value):
                symbol = f" ({note.symbol})" if isinstance(note, Knob) else ""
                raise ValueError(f"{type(self).__name__}.{name}{symbol} {problem}, got {value!r}")
