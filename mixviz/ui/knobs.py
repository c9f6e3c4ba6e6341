"""Sliders, choices and switches made from the notes of a parameter class."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import streamlit as st

from mixviz.spec import Choice, Knob, Params, Switch, notes
from mixviz.ui import state

FEW = 5  # up to so many stops are buttons, more are a slider


def _label(knob: Knob, stop: float) -> str:
    return f"{stop:.4g}" if knob.parts == 1 else f"{stop * knob.parts:.3g}/{knob.parts}"


def _slide(
    knob: Knob, key: str, value: Any, disabled: str | None, on_change: Callable[[], None] | None
) -> Any:
    stops = sorted({*knob.stops, value})
    if knob.integer:
        stops = [int(stop) for stop in stops]
    help_text = disabled or knob.help
    if knob.paper is not None:
        help_text += f" Paper: {_label(knob, knob.paper)}."
    label = f"*{knob.symbol}* {knob.words}"
    widget = state.widget_key(key)
    if len(stops) <= FEW:
        st.session_state.setdefault(widget, value)
        return st.segmented_control(
            label,
            stops,
            format_func=partial(_label, knob),
            key=widget,
            required=True,
            help=help_text,
            disabled=disabled is not None,
            width="content" if knob.advanced else "stretch",
            on_change=on_change,
        )
    st.session_state.setdefault(widget, value)
    return st.select_slider(
        label,
        stops,
        format_func=partial(_label, knob),
        key=widget,
        help=help_text,
        disabled=disabled is not None,
        on_change=on_change,
    )


def _paper_mark(knob: Knob, key: str, value: Any) -> None:
    """Mark the paper's default under a slider that stands elsewhere; a click snaps to it."""
    if knob.paper is None or knob.advanced or len({*knob.stops, value}) <= FEW:
        return
    st.button(
        f"▴ {_label(knob, knob.paper)} paper",
        key=f"{state.widget_key(key)}-paper",
        type="tertiary",
        on_click=state.put,
        args=(key, knob.paper),
    )


def ask(
    slug: str,
    defaults: Params,
    names: Iterable[str],
    disabled: dict[str, str] | None = None,
    on_change: Callable[[], None] | None = None,
) -> None:
    """Draw the controls of the named parameters; their values are kept by `state`.

    Args:
        slug: the method.
        defaults: the page's opening parameters.
        names: which parameters, in order.
        disabled: parameter → why it does nothing here.
        on_change: called before the run that a change starts.
    """
    noted: dict[str, Knob | Choice | Switch] = notes(type(defaults), Knob, Choice, Switch)
    for name in names:
        note, key = noted[name], f"{slug}.{name}"
        why = (disabled or {}).get(name)
        value = state.kept().get(key, getattr(defaults, name))
        widget = state.widget_key(key)
        if isinstance(note, Knob):
            state.kept()[key] = _slide(note, key, value, why, on_change)
            _paper_mark(note, key, state.kept()[key])
            continue
        st.session_state.setdefault(widget, value)
        if isinstance(note, Choice):
            state.kept()[key] = st.segmented_control(
                note.words,
                list(note.options),
                key=widget,
                required=True,
                help=why or note.help,
                disabled=why is not None,
                width="content",
                on_change=on_change,
            )
        else:
            state.kept()[key] = st.toggle(
                note.words,
                key=widget,
                help=why or note.help,
                disabled=why is not None,
                on_change=on_change,
            )


def params(slug: str, defaults: Params) -> Params:
    """Return the parameters as they are kept."""
    names: dict[str, Knob | Choice | Switch] = notes(type(defaults), Knob, Choice, Switch)
    values = {name: state.kept().get(f"{slug}.{name}", getattr(defaults, name)) for name in names}
    return type(defaults)(**values)
