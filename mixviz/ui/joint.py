"""Co-Mixup on the batch page: which pictures feed which mixes, beside GuidedMixup's pairs."""

import base64
from collections.abc import Callable, Hashable, Sequence
from html import escape
from io import BytesIO
from typing import cast

import numpy as np
import streamlit as st
from PIL import Image
from torch import Tensor

from mixviz.methods import BATCH_METHODS
from mixviz.methods.batch import BATCH_FLAGS
from mixviz.methods.comixup import LARGEST_PART, CoMixupParams, CoMixupTrace
from mixviz.ui import compute, knobs, pictures, state
from mixviz.ui.state import Field
from mixviz.viz import joint as charts
from mixviz.viz.draw import to_rgb
from mixviz.viz.look import Look

SLUG = "comixup"
METHOD = BATCH_METHODS[SLUG]
OPENING = CoMixupParams()
KNOBS = ("beta", "gamma", "eta", "tau", "grid", "seed")
ADVANCED = ("omega", "alpha", "sweeps")
SHOWN = state.switch_field("joint", "joint.shown")
TRACES = compute.Counted(8)


def fields() -> list[Field]:
    """Return what the URL of the page carries for this part."""
    return [SHOWN, *state.param_fields(SLUG, OPENING)]


def _settle() -> CoMixupParams:
    """Return the parameters, a grid that does not fit the picture mended in words."""
    size, grid = pictures.size(), int(state.kept().get(f"{SLUG}.grid", OPENING.grid))
    if size % grid:
        fitting = max(n for n in range(1, grid + 1) if size % n == 0)
        state.notify(f"{grid} blocks do not divide {size} pixels; {fitting} per side are used.")
        state.put(f"{SLUG}.grid", fitting)
    return cast(CoMixupParams, knobs.params(SLUG, OPENING))


def show(
    images: Callable[[], Tensor],
    maps: Tensor,
    names: Sequence[str],
    key: Hashable,
    look: Look,
) -> None:
    """Draw the section; nothing is computed before it is asked for.

    Args:
        images: gives those of the batch.
        maps: their saliency.
        names: of the pictures.
        key: names images and maps, for the memory.
        look: colours of the theme.
    """
    st.subheader(
        "Co-Mixup of the same batch",
        help="Many pictures to many mixes, instead of pairs (Kim et al. 2021).",
    )
    widget = state.widget_key(SHOWN.key)
    st.session_state.setdefault(widget, state.get(SHOWN))
    wanted = state.kept()[SHOWN.key] = st.toggle("Mix the whole batch jointly", key=widget)
    if not wanted:
        st.caption("It takes from a tenth of a second to a few seconds, by pictures and blocks.")
        return
    left, right = st.columns([1, 2.2], gap="large")
    with left, st.container(key="joint-knobs", gap="small"):
        _settle()
        knobs.ask(SLUG, OPENING, KNOBS)
        with st.expander("Advanced"):
            knobs.ask(SLUG, OPENING, ADVANCED)
        params = _settle()
    trace: CoMixupTrace | None = TRACES.get((key, params))
    if trace is None:
        with right, st.spinner("Solving mix after mix …"):
            trace = TRACES.put(
                (key, params), cast(CoMixupTrace, METHOD.mix(images(), maps, params))
            )
    with right:
        _show_shares(trace, names, look)
    _show_terms(trace)
    _show_mixes(trace, names)


def _show_shares(trace: CoMixupTrace, names: Sequence[str], look: Look) -> None:
    labels = trace.labels.double().numpy()
    feeds = (labels > 0).sum(1)
    used = int((labels.sum(0) > 0).sum())
    said = "; ".join(f"mix {j + 1}: {_recipe(labels[j], names)}" for j in range(len(names)))
    st.plotly_chart(
        charts.shares(labels, names, look),
        theme=None,
        key=f"joint-{len(names)}",
        config={"displayModeBar": False},
        alt=f"Share of each input in each mix. {said}",
    )
    st.html(
        f'<div class="mv-small" data-joint="{len(names)}">A mix holds {feeds.min()} to '
        f"{feeds.max()} pictures, {feeds.mean():.1f} on average; {used} of {len(names)} pictures "
        f"are used. GuidedMixup always takes two.{_remarks(trace)}</div>"
    )


def _remarks(trace: CoMixupTrace) -> str:
    parts = len(trace.parts)
    words = [f" Mixed in {parts} parts of at most {LARGEST_PART}."] if parts > 1 else []
    words += [
        f" ▲ {escape(BATCH_FLAGS[name])} ({', '.join(str(i + 1) for i in found[:6])}"
        f"{' …' if len(found) > 6 else ''})"
        for name, found in trace.flags.items()
    ]
    return "".join(words)


def _recipe(row: np.ndarray, names: Sequence[str], most: int = 3) -> str:
    order = [int(i) for i in np.argsort(-row, kind="stable") if row[i] > 0]
    words = [f"{names[i]} {row[i]:.0%}" for i in order[:most]]
    rest = float(row[order[most:]].sum())
    return ", ".join([*words, *([f"others {rest:.0%}"] if rest else [])])


TERMS = {
    "saliency": "saliency shown (negative)",
    "label_smooth": "neighbours differ, β",
    "prior": "shares off the draw, η",
    "diversity": "mixes alike, γ",
    "total": "the objective",
}


def _show_terms(trace: CoMixupTrace) -> None:
    terms = "; ".join(
        f"{TERMS.get(name, name)} {value:.3f}" for name, value in trace.objective.items()
    )
    steps = " → ".join(f"{value:.3f}" for value in trace.history[0])
    st.html(
        f'<div class="mv-small">{terms}. By sweep{" of the first part" * (len(trace.parts) > 1)}: '
        f"{steps}. Solved in {trace.seconds * 1e3:.0f} ms.</div>"
    )


def _show_mixes(trace: CoMixupTrace, names: Sequence[str]) -> None:
    tiles = []
    for j, (mixed, row) in enumerate(zip(trace.mixed, trace.labels.double().numpy(), strict=True)):
        file = BytesIO()
        image = Image.fromarray(to_rgb(mixed.numpy())).resize((128, 128))
        image.save(file, "JPEG", quality=85)
        source = base64.b64encode(file.getvalue()).decode()
        recipe = escape(_recipe(row, names))
        tiles.append(
            f'<figure><img src="data:image/jpeg;base64,{source}" alt="Mix {j + 1}: {recipe}">'
            f'<div class="mv-small">{j + 1}: {recipe}</div></figure>'
        )
    st.html(f'<div class="mv-panels">{"".join(tiles)}</div>')
