"""The Compare page: one pair, λ and seed by every method, judged by the same numbers."""

import base64
import csv
import io
from collections.abc import Mapping, Sequence

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image

from mixviz.methods import METHODS
from mixviz.methods.base import LAM_STOPS, MixTrace
from mixviz.methods.variants import GROUPS, MAIN, VARIANTS
from mixviz.spec import Knob, notes
from mixviz.stage.sheet import VIEWS, SheetResult, Tile, show_sheet
from mixviz.ui import classifier, compute, inside, lineup, pictures, state
from mixviz.ui.frame import Page
from mixviz.ui.lineup import Row
from mixviz.ui.staging import CONTRACTS
from mixviz.ui.state import Field, one_of
from mixviz.ui.workbench import Bench, prepare
from mixviz.viz import comparison
from mixviz.viz.comparison import Entry
from mixviz.viz.draw import mask_colours, to_png, to_rgb
from mixviz.viz.look import DARK, LIGHT

SEEDS = 10_000
SAID = ("q₀", "q₁", "p")  # what chance drew that a picture does not show by itself
FIRST = "input_mixup"  # looks at the pictures as they are
SHORT = {
    "exact": "= exact",
    "recomputed": "↻ recomputed",
    "encouraged": "≈ encouraged",
    "independent": "∥ independent",
    "single": "– A alone",
}


def _read_lam(text: str) -> float:
    value = float(text) if len(text) < 8 else -1.0
    if not 0 <= value <= 1:
        raise ValueError("must lie in [0, 1]")
    return min(LAM_STOPS, key=lambda stop: abs(stop - value))


FIELDS = [
    Field("lam", "compare.lam", 0.4, _read_lam, lambda value: f"{value:g}"),
    state.whole_field("seed", "compare.seed", 7, SEEDS),
    state.switch_field("more", "compare.more"),
    Field("pin", "compare.pin", "", one_of({"": None, **dict.fromkeys(VARIANTS)})),
    Field("view", "compare.view", "mix", one_of(dict.fromkeys(VIEWS))),
]
BY_NAME = {field.name: field for field in FIELDS}


def fields() -> list[Field]:
    """Return what the URL of this page carries beside the pictures."""
    return [*FIELDS, inside.LAYER, *classifier.FIELDS]


def _get(name: str) -> str:
    value: str = state.get(BY_NAME[name])
    return value


def _new_seed() -> None:
    state.put("compare.seed", (state.get(BY_NAME["seed"]) + 1) % SEEDS)


def _ask() -> None:
    key = state.widget_key("compare.lam")
    st.session_state.setdefault(key, state.get(BY_NAME["lam"]))
    state.kept()["compare.lam"] = st.select_slider(
        "*λ* share of B asked for",
        LAM_STOPS,
        format_func=lambda value: f"{value:.2f}",
        key=key,
        help="Each method makes of it what its contract says.",
    )
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        key = state.widget_key("compare.seed")
        st.session_state.setdefault(key, state.get(BY_NAME["seed"]))
        state.kept()["compare.seed"] = st.number_input(
            "Seed",
            0,
            SEEDS - 1,
            key=key,
            help="Places the boxes of CutMix, Cutout and SnapMix, draws R-Mix’s percentiles and "
            "patches, AugMix’s chains and the noise of an attack.",
        )
        st.button("New seed", on_click=_new_seed, key="new-seed", shortcut="D")
    key = state.widget_key("compare.more")
    st.session_state.setdefault(key, state.get(BY_NAME["more"]))
    state.kept()["compare.more"] = st.toggle(
        "All variants of the tables",
        key=key,
        help="Adversarial Puzzle Mix, and Puzzle Mix and GuidedMixup on AugMix of the pictures.",
    )


def show(page: Page) -> None:
    """Draw the page below its title."""
    with st.sidebar:
        _ask()
    bench = prepare(FIRST, METHODS[FIRST].params())
    with st.sidebar:
        classifier.ask(bench.seen.class_names if bench else ())
    page.finish()
    if bench is None:
        return
    lam, seed = float(state.get(BY_NAME["lam"])), int(state.get(BY_NAME["seed"]))
    block = pictures.size() // 8
    chosen = lineup.variants(state.get(BY_NAME["more"]), MAIN)
    rows = lineup.line_up([lineup.place(one, bench, lam, seed, block) for one in chosen], bench)
    _say(rows, lam, seed)
    _show_sheet(rows)
    waiting = [row for row in rows if row.trace is None]
    progress = st.empty()
    done = [row for row in rows if row.trace is not None]
    entries = [_entry(row) for row in done]
    st.subheader("What each method did with λ", help="The bar is the distance from what was asked.")
    dark = st.context.theme.type == "dark"
    st.plotly_chart(
        comparison.dots(entries, lam, DARK if dark else LIGHT),
        theme=None,
        key="dots",
        config={"displayModeBar": False},
        alt="; ".join(f"{e.title}: B {e.weights[1]:.2f}" for e in entries),
    )
    table = [_numbers(row, bench) for row in done]
    st.dataframe(table, hide_index=True, height=35 * len(table) + 38)
    st.caption(
        "Saliency kept and loss are measured on one map for all: the classifier’s gradient, "
        "unblurred. Top-1: the first guess is A or B; top-2: the first two are A and B. "
        "Manifold Mixup is judged where the classifier mixes, not on the picture."
    )
    _offer_files(entries, table)
    inside.show(bench, lam, compute.layers(bench.look.model, classifier.own()))
    for row in waiting:
        _search(row, progress)
    if waiting:
        st.rerun()


def _say(rows: Sequence[Row], lam: float, seed: int) -> None:
    best = max((row for row in rows if row.measures), key=lambda row: float(row.measures.exposed))  # type: ignore[union-attr]
    assert best.measures is not None
    st.html(
        f'<div class="mv-small" data-compare="{len(rows)}">λ = {lam:.2f} asked for B, seed {seed}. '
        f"Most saliency kept: {best.place.variant.title}, "
        f"{float(best.measures.exposed_0):.0%} of A’s and {float(best.measures.exposed_1):.0%} "
        "of B’s.</div>"
    )


def _uri(pixels: NDArray[np.uint8], kind: str) -> str:
    if kind == "png":
        return f"data:image/png;base64,{base64.b64encode(to_png(pixels)).decode()}"
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=92)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


DRAWN = compute.Counted(256)


def _pictures(row: Row, trace: MixTrace) -> tuple[str, str]:
    found: tuple[str, str] | None = DRAWN.get(row.place.key)
    if found is None:
        found = DRAWN.put(
            row.place.key,
            (
                _uri(to_rgb(trace.mixed[0].numpy()), "jpeg"),
                _uri(mask_colours(trace.mask[0].numpy()), "png"),
            ),
        )
    return found


def _weights(trace: MixTrace) -> tuple[float, float]:
    a, b = trace.weights[0].tolist()
    return a, b


def _tile(row: Row) -> Tile:
    variant = row.place.variant
    contract = SHORT[variant.method.contract]
    if row.trace is None or row.measures is None:
        why = "searching 100 pairs of percentiles for the best reward"
        return Tile(variant.slug, variant.title, "", "", "", (0, 0), contract, (0, 0), why)
    kept = float(row.measures.exposed_0), float(row.measures.exposed_1)
    return Tile(
        variant.slug,
        variant.title,
        variant.words or _words(row),
        *_pictures(row, row.trace),
        _weights(row.trace),
        contract,
        kept,
    )


def _words(row: Row) -> str:
    """Say what chance or a search decided, in a few characters."""
    place = row.place
    if row.trace is not None and row.trace.inside is not None:
        return f"inside, after stage {row.trace.inside[0]}"
    if place.chosen is not None:
        q0, q1 = (float(q[0]) for q in place.chosen)
        return f"policy: q₀ {q0:.2f}, q₁ {q1:.2f}"
    choice = compute.CHOICES.get((place.look, place.variant.method.slug, place.params, place.stamp))
    if choice is not None:
        return f"search: q₀ {float(choice.q0[0]):.2f}, q₁ {float(choice.q1[0]):.2f}"
    drawn = {name: getattr(place.params, name) for name in place.variant.drawn}
    known = {name: note.symbol for name, note in notes(type(place.params), Knob).items()}
    return ", ".join(
        f"{known[name]} {value:g}" for name, value in drawn.items() if known[name] in SAID
    )


def _show_sheet(rows: Sequence[Row]) -> None:
    groups = [
        (title, [_tile(row) for row in rows if row.place.variant.group == group])
        for group, title in GROUPS.items()
    ]
    show_sheet(groups, pinned=_get("pin"), view=_get("view"), on_change=_on_sheet)


def _on_sheet(result: SheetResult) -> None:
    """Carry what was done on the sheet into the state; runs before the page does."""
    for name, value in (("pin", result.pinned), ("view", result.view)):
        if value is not None:
            try:
                state.put(f"compare.{name}", BY_NAME[name].parse(value))
            except ValueError:
                continue


def _entry(row: Row) -> Entry:
    assert row.trace is not None
    assert row.measures is not None
    variant = row.place.variant
    return Entry(
        variant.title,
        to_rgb(row.trace.mixed[0].numpy()),
        _weights(row.trace),
        (float(row.measures.exposed_0), float(row.measures.exposed_1)),
        CONTRACTS[variant.method.contract],
        variant.slug == _get("pin"),
    )


def _numbers(row: Row, bench: Bench) -> dict[str, object]:
    assert row.trace is not None
    assert row.measures is not None
    assert row.logits is not None
    m = row.measures
    a, b = _weights(row.trace)
    first = bench.seen.class_names[int(row.logits.argmax())]
    return {
        "method": row.place.variant.title,
        "contract": CONTRACTS[row.place.variant.method.contract],
        "weight A": round(a, 3),
        "weight B": round(b, 3),
        "sum": round(a + b, 3),
        "mask area B": round(float(row.trace.mask.mean()), 3),
        "kept A": round(float(m.exposed_0), 3),
        "kept B": round(float(m.exposed_1), 3),
        "total variation": round(float(m.total_variation), 4),
        "loss": round(float(m.loss), 3),
        "top-1": "yes" if bool(m.top_1) else "no",
        "top-2": "–" if bool(m.same_label) else "yes" if bool(m.top_2) else "no",
        "first guess": first,
        "ms": round(row.seconds * 1e3, 1),
    }


def _offer_files(entries: Sequence[Entry], table: Sequence[Mapping[str, object]]) -> None:
    """Offer the sheet as pictures and the table as CSV; they are made when asked for."""
    with st.container(horizontal=True, key="files"):
        st.download_button(
            "Sheet as PNG",
            lambda: comparison.sheet_png(entries),
            "mixviz-compare.png",
            "image/png",
            on_click="ignore",
        )
        st.download_button(
            "Sheet as SVG",
            lambda: comparison.sheet_svg(entries),
            "mixviz-compare.svg",
            "image/svg+xml",
            on_click="ignore",
        )
        st.download_button(
            "Table as CSV",
            lambda: _csv(table),
            "mixviz-compare.csv",
            "text/csv",
            on_click="ignore",
        )


def _csv(table: Sequence[Mapping[str, object]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(table[0]))
    writer.writeheader()
    writer.writerows(table)
    return file.getvalue()


def _search(row: Row, progress: "st.delta_generator.DeltaGenerator") -> None:
    """Search percentiles under a bar; a newer run of the page ends it."""
    place = row.place

    def say(done: int, total: int) -> None:
        compute.yield_to_newer_run()
        progress.progress(
            done / total, f"{place.variant.title}: {done} of {total} pairs of percentiles tried"
        )

    compute.search(
        place.look,
        place.variant.method.slug,
        place.params,
        place.pair,
        classifier.own(),
        say,
        stamp=place.stamp,
    )
    progress.empty()
