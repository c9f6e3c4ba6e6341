"""The contact sheet: many mixes of one pair, of one size, zoomed together, one of them pinned.

A component in plain JavaScript beside the stage. Zooming and the view never ask the server; the
tile that is pinned and the view reach Python.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import streamlit as st

_HERE = Path(__file__).parent
_sheet = st.components.v2.component(
    "mixviz_sheet",
    html='<div class="sheet"></div>',
    css=(_HERE / "sheet.css").read_text(encoding="utf-8"),
    js=(_HERE / "sheet.js").read_text(encoding="utf-8"),
)
VIEWS = ("mix", "mask", "difference")


@dataclass(frozen=True)
class Tile:
    """One mix as it is shown.

    Attributes:
        slug: its name in the URL.
        title: its name for people.
        words: what sets it apart, below its title; may be empty.
        mix, mask: data URIs of the pictures; empty while they are not there.
        weights: label weights given to A and B.
        contract: how they relate to λ, in a word or two.
        kept: the share of the saliency of A and of B that is still to be seen.
        waiting: why there is no picture yet; empty when there is.
    """

    slug: str
    title: str
    words: str
    mix: str
    mask: str
    weights: tuple[float, float]
    contract: str
    kept: tuple[float, float]
    waiting: str = ""


@dataclass(frozen=True)
class SheetResult:
    """What the visitor did: the tile that is pinned and the view, None where nothing was done."""

    pinned: str | None = None
    view: str | None = None


def show_sheet(
    groups: Sequence[tuple[str, Sequence[Tile]]],
    *,
    pinned: str,
    view: str,
    key: str = "sheet",
    on_change: Callable[[SheetResult], None],
) -> None:
    """Draw the sheet.

    Args:
        groups: a heading and its tiles.
        pinned: the tile that the others are compared with; empty for none.
        view: one of `VIEWS`.
        key: names this sheet.
        on_change: called before the rerun when the visitor pinned a tile or chose a view.

    Raises:
        ValueError: for an unknown view.
    """
    if view not in VIEWS:
        raise ValueError(f"view must be one of {VIEWS}, got {view!r}")

    def tell() -> None:
        held: Any = st.session_state.get(key)
        state: Mapping[str, Any] = held if isinstance(held, Mapping) else {}
        on_change(SheetResult(_text(state, "pinned"), _text(state, "view")))

    _sheet(
        key=key,
        data={
            "groups": [[title, [asdict(tile) for tile in tiles]] for title, tiles in groups],
            "pinned": pinned,
            "view": view,
        },
        on_pinned_change=tell,
        on_view_change=tell,
    )


def _text(state: Mapping[str, Any], name: str) -> str | None:
    value = state.get(name)
    return value if isinstance(value, str) else None
