"""The URL is the state: one serializer for every control of every page.

What a control holds lives in the session under `kept`, apart from Streamlit's own widget state,
which forgets a widget that is not on the page. The URL carries what differs from the defaults.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import streamlit as st

from mixviz.spec import Choice, Knob, Params, Switch, notes, validate

ECHO = 2.0  # seconds within which the browser may still name a URL that has been replaced


@dataclass(frozen=True)
class Field:
    """One value of the URL.

    Attributes:
        name: its name in the URL.
        key: where the session keeps it; pages that share a value share its key.
        default: what a URL without it means.
        parse: text → value; raises ValueError with what is allowed.
        write: value → text.
        repair: a wrong number → the nearest allowed one; None means back to the default.
    """

    name: str
    key: str
    default: Any
    parse: Callable[[str], Any]
    write: Callable[[Any], str] = str
    repair: Callable[[str], Any] | None = None


def _bounds(knob: Knob) -> tuple[float, float]:
    """Return what a link may ask for: what is valid, and no more than the slider's end.

    The mathematics allows any n or m; a server that strangers send links to does not.
    """
    low, high = knob.valid
    return low, min(high, max(knob.stops))


def _number(knob: Knob, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError("must be a number") from None
    if problem := validate(replace(knob, valid=_bounds(knob)), value):
        raise ValueError(problem)
    if knob.integer:
        return int(value)
    # A stop such as 8/255 is written with six digits and must come back as itself.
    stop = min(knob.stops, key=lambda stop: abs(stop - value))
    return stop if _write_number(stop) == _write_number(value) else value


def _nearest(knob: Knob, text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    if math.isnan(value):
        return None
    low, high = _bounds(knob)
    value = min(max(value, low), high)
    return round(value) if knob.integer else value


def _write_number(value: float) -> str:
    return f"{value:.6g}"


def one_of(options: Mapping[str, Any]) -> Callable[[str], str]:
    """Return a parser that accepts the names of a mapping."""

    def parse(text: str) -> str:
        if text not in options:
            raise ValueError(f"must be one of {', '.join(options)}")
        return text

    return parse


def _switch(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("must be 0 or 1")
    return text == "1"


def param_fields(slug: str, defaults: Params) -> list[Field]:
    """Return one field per knob, choice and switch of a parameter class."""
    fields = []
    noted: dict[str, Knob | Choice | Switch] = notes(type(defaults), Knob, Choice, Switch)
    for name, note in noted.items():
        default, key = getattr(defaults, name), f"{slug}.{name}"
        if isinstance(note, Choice):
            fields.append(Field(name, key, default, one_of(note.options)))
        elif isinstance(note, Switch):
            fields.append(Field(name, key, default, _switch, lambda value: str(int(value))))
        else:
            parse, repair = partial(_number, note), partial(_nearest, note)
            fields.append(Field(name, key, default, parse, _write_number, repair))
    return fields


def number_field(name: str, key: str, default: float, low: float, high: float) -> Field:
    """Return a field for a plain number in a closed interval."""
    knob = Knob(name, name, (low, high), "", (low, high))
    return Field(name, key, default, partial(_number, knob), _write_number, partial(_nearest, knob))


def switch_field(name: str, key: str) -> Field:
    """Return a field for something that is done or, unless asked for, left out."""
    return Field(name, key, False, _switch, lambda value: str(int(value)))


def whole_field(name: str, key: str, default: int | None, below: int) -> Field:
    """Return a field for a whole number from 0 on; None is written as nothing."""

    def parse(text: str) -> int:
        if text.isascii() and text.isdigit() and int(text) < below:
            return int(text)
        raise ValueError(f"must be a whole number below {below}")

    return Field(name, key, default, parse, lambda value: "" if value is None else str(value))


def _parse_block(text: str) -> tuple[int, int]:
    row, _, column = text.partition("-")
    if all(part.isascii() and part.isdigit() and len(part) < 4 for part in (row, column)):
        return int(row), int(column)
    raise ValueError("must be a row and a column, such as 3-4")


def join(value: tuple[object, object] | None) -> str:
    """Write a pair as in a URL, None as nothing."""
    return "" if value is None else f"{value[0]}-{value[1]}"


def block_field(name: str, key: str) -> Field:
    """Return a field for a block that may be pinned, as (row, column)."""
    return Field(name, key, None, _parse_block, join)


def kept() -> dict[str, Any]:
    """Return what this visitor has set, by key."""
    values: dict[str, Any] = st.session_state.setdefault("kept", {})
    return values


def get(field: Field) -> Any:
    """Return the value of a field."""
    return kept().get(field.key, field.default)


def widget_key(key: str) -> str:
    """Return the key of the widget that edits a value; also its CSS class, after `st-key-`."""
    return key.replace(".", "-")


def put(key: str, value: Any) -> None:
    """Set a value from code, and the widget that edits it; call before the widget is drawn."""
    kept()[key] = value
    # A widget drawn again under the same key would otherwise bring its old value back.
    st.session_state.pop(widget_key(key), None)


def notify(sentence: str) -> None:
    """Say something that stays on the page until it is dismissed."""
    sentences: list[str] = st.session_state.setdefault("notices", [])
    if sentence not in sentences:
        sentences.append(sentence)


def _shorten(text: str) -> str:
    """Make text from outside fit to be shown inside a sentence."""
    printable = "".join(letter for letter in text if letter.isprintable() and letter not in "`")
    return printable if len(printable) <= 40 else f"{printable[:37]}…"


def is_new_url(page: str) -> bool:
    """Say whether the URL is not the one this page wrote last."""
    now = (page, dict(st.query_params))
    last = st.session_state.get("url")
    if last == now:
        return False
    if last is None or last[0] != page:
        return True
    # A quick second key leaves the browser before it has heard what the first one wrote.
    recent: list[tuple[float, object]] = st.session_state.get("urls", [])
    return not any(url == now and time.monotonic() - when < ECHO for when, url in recent)


def take(page: str, fields: Sequence[Field]) -> None:
    """Take over the part of the URL that these fields carry; wrong values are clamped in words.

    On the page that is open already, what the URL leaves out is back at its default. On the way
    from another page it stays as it was: a link inside the app names only what pages share.
    """
    query = dict(st.query_params)
    last_page, _ = st.session_state.get("url", (None, None))
    for field in fields:
        if page != last_page:
            # To Streamlit the widget of another page is another one: it forgets what it held.
            st.session_state.pop(widget_key(field.key), None)
        if field.name not in query:
            if page == last_page and field.key in kept():
                put(field.key, field.default)
            continue
        text = query[field.name]
        try:
            put(field.key, field.parse(text))
        except ValueError as problem:
            repaired = field.repair(text) if field.repair else None
            value = field.default if repaired is None else repaired
            put(field.key, value)
            notify(
                f"The link asked for {field.name} = `{_shorten(text)}`; it {problem}. "
                f"{field.write(value)} is used instead."
            )


def sync(fields: Sequence[Field]) -> None:
    """Take over what the visitor just did, before anything is computed from it.

    The widgets below the picture are drawn after it, so their new values are read here.
    """
    for field in fields:
        widget = widget_key(field.key)
        if field.key in kept() and widget in st.session_state:
            kept()[field.key] = st.session_state[widget]


def ignore_unknown(fields: Sequence[Field]) -> None:
    """Say which names of the URL no field carries."""
    for name in dict(st.query_params).keys() - {field.name for field in fields}:
        notify(f"The link holds `{_shorten(name)}`, which this page does not know; it is ignored.")


def changed(fields: Sequence[Field]) -> dict[str, str]:
    """Return the query of the current state: what differs from the defaults."""
    written = {
        field.name: (field.write(get(field)), field.write(field.default)) for field in fields
    }
    return {name: now for name, (now, default) in written.items() if now != default}


def write_url(page: str, fields: Sequence[Field]) -> None:
    """Make the URL say what the page shows."""
    query = changed(fields)
    if dict(st.query_params) != query:
        st.query_params.from_dict(query)
    before = st.session_state.get("url")
    st.session_state["url"] = (page, query)
    if before is not None and before != (page, query):
        recent = [*st.session_state.get("urls", []), (time.monotonic(), before)]
        st.session_state["urls"] = recent[-16:]


def reset(fields: Sequence[Field]) -> None:
    """Bring every field back to its default."""
    for field in fields:
        put(field.key, field.default)
    st.session_state["notices"] = []
