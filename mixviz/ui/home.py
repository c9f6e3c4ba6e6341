"""The first page: a real pair, already mixed by every method."""

import base64
from html import escape

import numpy as np
import streamlit as st
from torch import Tensor

from mixviz.core.blocks import sum_to_one
from mixviz.detectors import UNSURE
from mixviz.methods import METHODS
from mixviz.methods.base import MixTrace
from mixviz.methods.variants import VARIANTS
from mixviz.ui import classifier, compute, guided, lineup, pictures, state
from mixviz.ui.frame import COMPARE, GUIDED_MIXUP, PAGES, PUZZLE_MIX, R_MIX, Page
from mixviz.ui.guesses import show_guesses
from mixviz.ui.staging import CONTRACTS
from mixviz.ui.state import Field
from mixviz.ui.workbench import Bench, prepare
from mixviz.viz.draw import heat, mask_colours, to_png, to_rgb

FIRST = "puzzle_mix"
TILE = 190  # pixels across; five stand in a row of a wide window
SEED = 7  # of boxes, percentiles and chains, as the Compare page opens with
ONCE = (
    "input_mixup",
    "manifold_mixup",
    "cutmix",
    "cutout",
    "saliencymix",
    "snapmix",
    "puzzle_mix",
    "guided_ap",
    "r_mix",
    "augmix",
)
PAGE_OF = {FIRST: PUZZLE_MIX, guided.SLUG: GUIDED_MIXUP, "r_mix": R_MIX}


def fields() -> list[Field]:
    """Return what the URL of this page carries beside the pictures."""
    return list(classifier.FIELDS)


def _image(title: str, pixels: np.ndarray, extra: str = "", alt: str = "") -> str:
    source = base64.b64encode(to_png(pixels)).decode()
    return (
        f'<figure class="{extra}"><figcaption>{title}</figcaption>'
        f'<img src="data:image/png;base64,{source}" alt="{escape(alt)}"></figure>'
    )


def _saliency(title: str, maps: Tensor, alt: str) -> str:
    scaled = sum_to_one(maps)[0].numpy()
    # The 99.5th percentile, as a gradient has a few pixels that would leave the rest black.
    return _image(title, heat(scaled, float(np.quantile(scaled, 0.995))), alt=alt)


def show(page: Page) -> None:
    """Draw the page below its title."""
    place = st.container()
    with st.sidebar:
        controls = st.container()
    method = METHODS[FIRST]
    block = pictures.size() // 8
    with place:
        bench = prepare(FIRST, method.opening(block))
    with controls:
        classifier.ask(bench.seen.class_names if bench else ())
    page.finish()
    if bench is None:
        return
    trace, _ = compute.mix(bench.look, FIRST, method.opening(block), bench.seen.pair)
    with place:
        _show_first(bench, trace)
        _show_sight(bench, trace, block)
        st.subheader("The same pair by every method")
        st.caption(
            "λ = ½ is asked of each, at one seed; the bar is the label given. SnapMix’s weights "
            "need not sum to 1."
        )
        _show_tiles(bench, block)


def _show_first(bench: Bench, trace: MixTrace) -> None:
    a, b = (escape(name) for name in bench.names)
    pair = bench.seen.pair
    st.html(
        '<div class="mv-panels" data-first="1">'
        + _image(f'<span class="mv-tag">A</span> {a}', to_rgb(pair.x0[0].numpy()), "mv-frame-a", a)
        + _image(
            f'<span class="mv-tag mv-b">B</span> {b}', to_rgb(pair.x1[0].numpy()), "mv-frame-b", b
        )
        + _saliency("Saliency of A", pair.s0, f"Saliency of {a}")
        + _saliency("Saliency of B", pair.s1, f"Saliency of {b}")
        + _image("Mask: blue A, orange B", mask_colours(trace.mask[0].numpy()), alt="Mask")
        + _image("The mix", to_rgb(trace.mixed[0].numpy()), alt="Mixed picture")
        + "</div>"
    )
    _show_weights(trace)


def _show_weights(trace: MixTrace) -> None:
    a, b = (float(share) for share in trace.weights[0])
    rest = max(0.0, 1 - a - b)
    bars = "".join(
        f'<div class="{side}" style="flex:{share:.4f}">'
        f"{f'{side.upper()} {share:.0%}' if side and share > 0.12 else ''}</div>"
        for side, share in (("a", a), ("b", b), ("", rest))
        if share > 0.005
    )
    st.html(
        f'<div class="mv-weights" role="img" aria-label="Label given: A {a:.1%}, B {b:.1%}">'
        f"{bars}</div>"
    )


def _show_sight(bench: Bench, trace: MixTrace, block: int) -> None:
    seen = bench.seen
    params = METHODS[FIRST].opening(block)
    labels = [int(part.explanation.label[0]) for part in (seen.a, seen.b)]
    marked = {labels[1]: "b", labels[0]: "a"}
    st.subheader("What the classifier sees")
    columns = st.columns(3, gap="large")
    for column, title, part in zip(
        columns[:2], ("Picture A", "Picture B"), (seen.a, seen.b), strict=True
    ):
        with column:
            alone = part.explanation.logits.softmax(1)[0]
            unsure = "It has no idea." if float(alone.max()) < UNSURE else ""
            show_guesses(title, alone, seen.class_names, marked, unsure)
    with columns[2]:
        probabilities, _ = compute.predict(
            bench.look, (bench.look, params), trace.mixed, classifier.own()
        )
        show_guesses("The mix", probabilities, seen.class_names, marked)


def _show_tiles(bench: Bench, block: int) -> None:
    """Show each method once, at λ = ½; RL-Mix has to search first, which Compare does."""
    shown = [variant for slug, variant in VARIANTS.items() if slug in ONCE]
    with st.container(horizontal=True, gap="medium"):
        for variant in shown:
            found = lineup.mix(lineup.place(variant, bench, 0.5, SEED, block))
            if found is not None:
                with st.container(width=TILE):
                    _show_tile(variant.method.slug, found[0])
    shared = state.changed([*pictures.FIELDS, *classifier.FIELDS])
    st.page_link(COMPARE, label="Compare them all, with RL-Mix and variants", query_params=shared)


def _show_tile(slug: str, trace: MixTrace) -> None:
    method = METHODS[slug]
    image = _image(f"<b>{method.title}</b>", to_rgb(trace.mixed[0].numpy()), alt=method.title)
    st.html(f'<div class="mv-panels">{image}</div>')
    _show_weights(trace)
    st.html(
        f'<div class="mv-small">{escape(method.summary)} '
        f"Its label is {CONTRACTS[method.contract]}; mask area of B "
        f"{float(trace.mask.mean()):.0%}, weights sum to {float(trace.weights.sum()):.2f}.</div>"
    )
    if slug in PAGE_OF:
        shared = state.changed([*pictures.FIELDS, *classifier.FIELDS])
        if slug == guided.SLUG:
            shared |= {"batch": guided.batch_around_the_pair()}
        st.page_link(PAGE_OF[slug], label=f"Take {PAGES[PAGE_OF[slug]]} apart", query_params=shared)
