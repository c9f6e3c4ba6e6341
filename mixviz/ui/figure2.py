"""The Figure 2 page: what Puzzle Mix claims of its mixes, and what is measured here."""

import base64
import csv
import io
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any, TypeVar

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image

from mixviz import zoo
from mixviz.figure2 import (
    OURS,
    PAPER,
    STATISTICS,
    Curves,
    Plan,
    Rates,
    Sight,
    Subject,
    Verdict,
    collect,
    draw_pairs,
    expect,
    judge,
    leaves_to_chance,
    measure_pairs,
    rows,
)
from mixviz.methods.variants import GROUPS, MAIN, VARIANTS
from mixviz.samples import SAMPLES, square_crop
from mixviz.samples.local import VARIABLE, LocalError, decode_local, named_place, open_local
from mixviz.ui import classifier, compute, pictures, state
from mixviz.ui.compute import Framing
from mixviz.ui.engine import EngineError
from mixviz.ui.frame import Page
from mixviz.ui.state import Field, one_of
from mixviz.viz import curves as charts
from mixviz.viz.look import DARK, LIGHT, Look

T = TypeVar("T")

SETS = {"bundled": "Bundled photographs", "uploads": "Your uploads", "local": "On this server"}
PAIRS, DRAWS, SEEDS = (4, 64), (1, 5), 10_000
SEARCHED = "rl_mix"
OFFERED = tuple(slug for slug in MAIN if slug != SEARCHED)
REDRAW = 2.0  # seconds between two looks at the curves while they grow
SHOWN = 8  # pairs whose pictures are shown
DECODED = 16  # pictures decoded between two looks at whether somebody waits
SIGNS = {
    "agrees": "✓",
    "does not agree": "✗",
    "too close to call": "≈",
    "no claim": "–",
    "not measured": "–",
}
PARTS, LOOKS, SQUARES = compute.Counted(60_000), compute.Counted(256), compute.Counted(512)
RATES = compute.Counted(8)


def _whole(low: int, high: int) -> tuple[Callable[[str], int], Callable[[str], int | None]]:
    """Return what reads a whole number in a range, and what brings one into it."""

    def parse(text: str) -> int:
        if text.isascii() and text.isdigit() and len(text) < 8 and low <= int(text) <= high:
            return int(text)
        raise ValueError(f"must be a whole number from {low} to {high}")

    def repair(text: str) -> int | None:
        if text.isascii() and text.isdigit() and len(text) < 8:
            return min(max(int(text), low), high)
        return None

    return parse, repair


def _whole_field(name: str, default: int, low: int, high: int) -> Field:
    parse, repair = _whole(low, high)
    return Field(name, f"figure2.{name}", default, parse, str, repair)


def _read_methods(text: str) -> tuple[str, ...]:
    asked = text.split(",")
    if not set(asked) <= set(VARIANTS):
        raise ValueError(f"must name some of {', '.join(VARIANTS)}")
    return _in_order(asked)


def _in_order(slugs: Sequence[str]) -> tuple[str, ...]:
    return tuple(slug for slug in VARIANTS if slug in slugs)


def _write_methods(slugs: Sequence[str]) -> str:
    return ",".join(_in_order(slugs))


FIELDS = [
    Field("set", "figure2.set", "bundled", one_of(SETS)),
    _whole_field("pairs", 8, *PAIRS),
    _whole_field("draws", 1, *DRAWS),
    Field("methods", "figure2.methods", OFFERED, _read_methods, _write_methods),
    state.whole_field("seed", "figure2.seed", 7, SEEDS),
]
BY_NAME = {field.name: field for field in FIELDS}
MODEL = classifier.BY_NAME["model"]


def fields() -> list[Field]:
    """Return what the URL of this page carries beside the pictures."""
    return [*FIELDS, MODEL]


def _get(name: str) -> Any:
    return state.get(BY_NAME[name])


@dataclass(frozen=True, eq=False)
class Gathered:
    """The pictures of a set.

    Attributes:
        subjects: the pictures, for measuring.
        squares: how to get each as pixels.
        groups: what must not be paired with its like.
        words: what there is.
    """

    subjects: Sequence[Subject]
    squares: Sequence[Callable[[], NDArray[np.uint8]]]
    groups: Sequence[str]
    words: str


@dataclass(frozen=True)
class _Square:
    """A picture of the server, cut; or why there is none."""

    digest: str = ""
    name: str = ""
    pixels: NDArray[np.uint8] | None = None
    problem: str = ""


# ---- controls -----------------------------------------------------------------------------------


def _keep(name: str) -> str:
    """Give a widget the value that is kept, and return its key."""
    key = state.widget_key(BY_NAME[name].key)
    value = _get(name)
    st.session_state.setdefault(key, list(value) if isinstance(value, tuple) else value)
    return key


def _ask_set() -> None:
    options = [name for name in SETS if name != "local" or _get("set") == name or named_place()]
    captions = {
        "bundled": f"{len(SAMPLES)} squares of photographs",
        "uploads": f"{len(pictures.uploads())} so far",
        "local": "a folder or Parquet file that its keeper names",
    }
    state.kept()["figure2.set"] = st.radio(
        "Pictures",
        options,
        format_func=lambda name: SETS[name],
        captions=[captions[name] for name in options],
        key=_keep("set"),
    )
    if state.kept()["figure2.set"] == "uploads":
        turn = st.session_state.setdefault("upload-turn", 0)
        st.file_uploader(
            "PNG, JPEG or WebP, up to 10 MB each",
            accept_multiple_files=True,
            key=f"upload-{turn}",
            on_change=_take_uploads,
        )


def _take_uploads() -> None:
    pictures.take_files()


def _ask() -> None:
    _ask_set()
    state.kept()["figure2.pairs"] = st.slider(
        "Pairs", *PAIRS, key=_keep("pairs"), help="The band narrows with more pairs."
    )
    state.kept()["figure2.draws"] = st.slider(
        "Draws of chance",
        *DRAWS,
        key=_keep("draws"),
        help="How often each pair’s boxes, percentiles and chains are drawn; methods without "
        "chance are measured once.",
    )
    state.kept()["figure2.methods"] = st.multiselect(
        "Methods",
        list(VARIANTS),
        format_func=lambda slug: VARIANTS[slug].title,
        key=_keep("methods"),
        help="RL-Mix is left out unless chosen: for every pair and λ it searches a hundred mixes, "
        "each with a saliency map of its own.",
    )
    with st.container(horizontal=True, gap="small"):
        every = [slug for slug in VARIANTS if slug != SEARCHED]
        for words, slugs in (("Default", OFFERED), ("Paper’s", PAPER), ("All", every)):
            st.button(words, key=f"methods-{len(slugs)}", on_click=_choose, args=(slugs,))
    state.kept()["figure2.seed"] = st.number_input(
        "Seed",
        0,
        SEEDS - 1,
        key=_keep("seed"),
        help="Decides which pictures are paired, and what is left to chance.",
    )
    _ask_model()


def _choose(slugs: Sequence[str]) -> None:
    state.put("figure2.methods", list(slugs))


def _ask_model() -> None:
    options = {one.entry.slug: f"{one.entry.title}, {one.words}" for one in zoo.list_entries()}
    if classifier.own() or state.get(MODEL) == classifier.OWN:
        options[classifier.OWN] = zoo.OWN.title
    key = state.widget_key(MODEL.key)
    st.session_state.setdefault(key, state.get(MODEL))
    state.kept()[MODEL.key] = st.selectbox(
        "Classifier",
        list(options),
        format_func=lambda slug: options[slug],
        key=key,
        on_change=_forget_labels,
    )


def _forget_labels() -> None:
    """Let the predicted labels of the pair stand again on the other pages."""
    for side in pictures.SIDES:
        state.put(f"pair.{side}label", None)


# ---- pictures -----------------------------------------------------------------------------------


def _gather(model: str) -> Gathered | None:
    """Return the pictures of the set chosen; None, with a sentence on the page, without any."""
    name = _get("set")
    if name == "local":
        return _gather_local(model)
    ids = list(SAMPLES) if name == "bundled" else list(pictures.uploads())
    if len(ids) < 2:
        st.info("Upload two pictures or more in the sidebar; then they are paired and measured.")
        return None
    size = pictures.size()
    held = {picture_id: pictures.picture(picture_id) for picture_id in ids}
    squares = [
        partial(compute.crop, Framing(held[one].digest), size, {held[one].digest: held[one]})
        for one in ids
    ]
    subjects = [
        Subject((held[one].digest, size), pictures.name_of(one), partial(_tensor, square))
        for one, square in zip(ids, squares, strict=True)
    ]
    if name == "bundled":
        groups = [SAMPLES[one].source.file for one in ids]
        words = f"{len(ids)} squares of {len(set(groups))} bundled photographs; two squares of one "
        return Gathered(subjects, squares, groups, f"{words}photograph are never paired")
    return Gathered(subjects, squares, ids, f"{len(ids)} uploaded pictures")


def _tensor(square: Callable[[], NDArray[np.uint8]]) -> Any:
    return compute.to_tensor(square())


def _gather_local(model: str) -> Gathered | None:
    place = named_place()
    if place is None:
        st.info(
            f"This server names no pictures of its own. Whoever runs it can set {VARIABLE} to a "
            "folder of pictures or a Parquet file."
        )
        return None
    try:
        local = open_local(place)
        names = compute.class_names(model, classifier.own()) if any(local.class_of) else ()
    except (LocalError, zoo.ZooError) as problem:
        st.error(str(problem))
        return None
    order = np.random.default_rng(int(_get("seed"))).permutation(len(local))
    wanted = [int(index) for index in order[: 2 * int(_get("pairs"))]]
    size = pictures.size()
    keys = {index: (str(place), index, size) for index in wanted}
    missing = [index for index in wanted if SQUARES.get(keys[index]) is None]
    bar = st.empty()
    for start in range(0, len(missing), DECODED):
        part = missing[start : start + DECODED]
        if start:
            bar.progress(start / len(missing), f"Decoding pictures: {start} of {len(missing)}")
        found, problems = decode_local(local, part)
        for index in part:
            square = _Square(problem="; ".join(problems) or "not decoded")
            if index in found:
                cut = square_crop(found[index], size)
                square = _Square(found[index].digest, found[index].name, cut)
            SQUARES.put(keys[index], square)
        compute.yield_to_newer_run()
    bar.empty()
    subjects, squares, groups, broken = [], [], [], 0
    for index in wanted:
        one: _Square | None = SQUARES.get(keys[index])
        if one is None or one.pixels is None:
            broken += 1
            continue
        shown = partial(_pixels, one.pixels)
        label = names.index(local.class_of[index]) if local.class_of[index] in names else None
        called = local.class_of[index] or one.name
        subjects.append(Subject((one.digest, size), called, partial(_tensor, shown), label))
        squares.append(shown)
        groups.append(str(index))
    if len(subjects) < 2:
        st.error(f"{local.name} on this server holds fewer than two pictures that can be decoded.")
        return None
    known = sum(subject.label is not None for subject in subjects)
    words = f"{len(subjects)} of {len(local):,} pictures in {local.name}, drawn by the seed"
    words += f"; the true label is known of {known}" if known else ""
    words += f"; {broken} could not be decoded" if broken else ""
    return Gathered(subjects, squares, groups, words)


def _pixels(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels


# ---- the page -----------------------------------------------------------------------------------


# The chips of chosen methods, and the button, would be white on the pale slate of the dark theme.
STYLE = """
<style>
.st-key-figure2-measure button:enabled * {color: PAGE}
.st-key-figure2-methods [data-tag] {background: rgba(128, 128, 128, .25)}
.st-key-figure2-methods [data-tag], .st-key-figure2-methods [data-tag] * {color: inherit}
.mv-claims {overflow-x: auto}
.mv-claims table {border-collapse: collapse; font-size: 14px; line-height: 20px; min-width: 760px;
  width: 100%}
.mv-claims td, .mv-claims th {text-align: left; vertical-align: top; padding: 6px 12px 6px 0;
  border-bottom: 1px solid rgba(128, 128, 128, .35); font-weight: 400}
.mv-claims thead th {font-weight: 600}
[data-table="numbers"] td {white-space: nowrap; font-variant-numeric: tabular-nums}
[data-table="verdicts"] td:last-child {font-weight: 600}
</style>
"""


def show(page: Page) -> None:
    """Draw the page below its title."""
    look = DARK if st.context.theme.type == "dark" else LIGHT
    st.html(STYLE.replace("PAGE", look.page))
    if state.is_new_url(page.file):
        st.session_state.pop("figure2-running", None)  # a link computes nothing by itself
    with st.sidebar:
        _ask()
    model = classifier.model()
    page.finish()
    methods = _in_order(_get("methods"))
    if not methods:
        st.info("Choose at least one method in the sidebar.")
        return
    gathered = _gather(model)
    if gathered is None:
        return
    pairs = draw_pairs(gathered.groups, int(_get("pairs")), int(_get("seed")))
    plan = Plan(pairs, methods, int(_get("draws")), int(_get("seed")))
    own = classifier.own()
    sight = Sight(model, partial(_in_engine, model, own), LOOKS, PARTS)
    curves = collect(plan, gathered.subjects, sight)
    known: Rates | None = RATES.get(model)
    rates = curves.rates if curves.rates.mixing else known or curves.rates
    if curves.rates.mixing:
        RATES.put(model, curves.rates)
    running = _is_running((plan, model, tuple(one.key for one in gathered.subjects)), curves)
    _say(plan, gathered, curves, expect(plan, gathered.subjects, sight, rates))
    place = _act(curves, running)
    _show_curves(curves, running, look)
    _show_verdicts(curves, model)
    if curves.finished:
        _show_numbers(curves, model)
    _show_pairs(plan, gathered)
    _show_notes(plan)
    if running:
        _go_on(plan, gathered.subjects, sight, rates, place)


def _in_engine(
    model: str, own: dict[str, zoo.Classifier], work: Callable[[zoo.Classifier], T]
) -> T:
    return compute.in_engine(
        "figure2", lambda: work(compute.classifier(model, own)), compute.yield_to_newer_run
    )


def _start() -> None:
    st.session_state["figure2-asked"] = True


def _cancel() -> None:
    st.session_state.pop("figure2-running", None)


def _is_running(what: object, curves: Curves) -> bool:
    """Say whether to measure now; another setting than the one started with ends it."""
    if st.session_state.pop("figure2-asked", False):
        st.session_state["figure2-running"] = what
    if curves.is_complete or st.session_state.get("figure2-running") != what:
        st.session_state.pop("figure2-running", None)
        return False
    return True


def _seconds(seconds: float) -> str:
    if seconds >= 90:
        return f"about {math.ceil(seconds / 60)} min"
    return f"about {max(1, round(seconds))} s"


def _pairs(number: int) -> str:
    return f"{number} {'pair' if number == 1 else 'pairs'}"


def _say(plan: Plan, gathered: Gathered, curves: Curves, left: float) -> None:
    """Say what is measured, what there is of it, and what it costs."""
    pairs, done = len(plan.pairs), len(curves.finished)
    by_chance = sum(leaves_to_chance(VARIANTS[slug]) for slug in plan.variants)
    words = [
        f"{gathered.words}. {_pairs(pairs)}, "
        f"{len(plan.variants)} methods, {len(plan.lams)} values of λ"
        + (f", {plan.draws} draws for the {by_chance} left to chance" if plan.draws > 1 else "")
        + f": {plan.mixes():,} mixes."
    ]
    if pairs < int(_get("pairs")):
        words.append(f"These pictures make no more than {pairs} different pairs.")
    if curves.is_complete:
        words.append(f"All measured; {_spent(curves)}.")
    elif done:
        words.append(f"Measured so far: {done} of {pairs} pairs; the rest takes {_seconds(left)}.")
    else:
        words.append(f"Nothing is measured yet; it takes {_seconds(left)} on this machine.")
    if curves.excluded:
        words.append(
            f"Top-2 leaves out {_pairs(curves.excluded)} whose pictures have the same label."
        )
    at = "done" if curves.is_complete else "part" if done else "none"
    st.html(
        f'<div class="mv-small" data-figure2="{at}" data-pairs="{done}/{pairs}">'
        f"{escape(' '.join(words))}</div>"
    )


def _spent(curves: Curves) -> str:
    pictures_seen, seconds = curves.looked
    each = f"{1e3 * seconds / pictures_seen:.0f} ms a picture, " if pictures_seen else ""
    return f"saliency {each}prediction {1e3 * curves.rates.prediction:.0f} ms a mix"


def _act(curves: Curves, running: bool) -> "st.delta_generator.DeltaGenerator":
    """Draw the buttons and the place of the bar; nothing of it moves when a run begins or ends."""
    words = "Measured" if curves.is_complete else "Go on" if curves.finished else "Measure"
    with st.container(horizontal=True, gap="small", key="figure2-act"):
        st.button(
            words,
            key="figure2-measure",
            type="primary",
            on_click=_start,
            disabled=running or curves.is_complete,
        )
        st.button("Cancel", key="figure2-cancel", on_click=_cancel, disabled=not running)
    bar = st.empty()
    if running:
        total = curves.plan.mixes()
        bar.progress(curves.mixes / total, f"{curves.mixes:,} of {total:,} mixes")
    return bar


def _go_on(
    plan: Plan,
    subjects: Sequence[Subject],
    sight: Sight,
    rates: Rates,
    place: "st.delta_generator.DeltaGenerator",
) -> None:
    """Measure on; every few seconds the page is drawn anew with what has come."""
    began, first = time.monotonic(), -1
    try:
        compute.class_names(classifier.model(), classifier.own(), say=_say_download(place))
        for step in measure_pairs(plan, subjects, sight, rates):
            compute.yield_to_newer_run()
            left = f"; {_seconds(step.left)} left" if step.left else ""
            place.progress(
                step.done / max(step.total, 1),
                f"{step.words}: {step.done:,} of {step.total:,} mixes{left}",
            )
            first = step.pair if first < 0 else first
            if step.pair != first and time.monotonic() - began > REDRAW:
                break
    except (zoo.ZooError, EngineError, ValueError) as problem:
        st.session_state.pop("figure2-running", None)
        place.error(str(problem))
        return
    st.rerun()


def _say_download(
    place: "st.delta_generator.DeltaGenerator",
) -> Callable[[float, str], None]:
    def say(share: float, words: str) -> None:
        compute.yield_to_newer_run()
        place.progress(min(max(share, 0.0), 1.0), words)

    return say


def _title(slug: str) -> str:
    return VARIANTS[slug].title


def _curves_of(curves: Curves, index: int) -> list[charts.Curve]:
    """Return the curves of one panel; colour and dashes come from the place in the whole menu."""
    shown = []
    for slug in curves.plan.variants:
        group = VARIANTS[slug].group
        others = [one for one in VARIANTS if VARIANTS[one].group == group]
        shown.append(
            charts.Curve(
                _title(slug),
                list(GROUPS).index(group),
                others.index(slug),
                curves.mean(slug)[index],
                curves.error(slug)[index],
                slug == OURS,
            )
        )
    return shown


def _show_curves(curves: Curves, running: bool, look: Look) -> None:
    if not curves.finished:
        return
    cells = [cell for _ in range(3) for cell in st.columns(2, gap="medium")]
    for index, (name, statistic) in enumerate(STATISTICS.items()):
        shown = _curves_of(curves, index)
        overall = {slug: float(curves.overall(slug)[0][index]) for slug in curves.plan.variants}
        spoken = "; ".join(
            f"{_title(slug)} {value:.3f}" for slug, value in overall.items() if np.isfinite(value)
        )
        with cells[index]:
            st.plotly_chart(
                charts.panel(
                    curves.plan.lams,
                    shown,
                    f"({statistic.panel}) {statistic.title}",
                    name.startswith("top"),
                    look,
                ),
                theme=None,
                key=f"curves-{name}",
                config={"displayModeBar": False},
                alt=f"{statistic.title} over λ, {statistic.words}. Averaged over λ: {spoken}.",
            )
    pairs = len(curves.finished)
    with cells[-1]:
        st.markdown(
            f"**How to read it.** {'So far ' if running else ''}"
            f"{_pairs(pairs)}; the band is ± one standard error over pairs, "
            "the draws of a pair averaged first. A flat line does not use λ. All saliency is the "
            "classifier’s gradient, unblurred, one map a picture for all methods, moved and masked "
            "as the pixels are.\n\nManifold Mixup is left out of (a) and (b), as in the paper: its "
            "mix is no picture. Cutout and AugMix change A alone, so they keep none of B. "
            "Where λ is 0 or 1, most methods show one picture whole."
        )


def _number(index: int, value: float) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{value:.1%}" if index >= 3 else f"{value:.4f}" if index == 1 else f"{value:.3f}"


def _found(curves: Curves, verdict: Verdict, index: int) -> str:
    """Say what was measured, as numbers."""
    if verdict.best is None:
        return "–"
    said = [verdict.best]
    said += [slug for slug in (OURS, verdict.rival) if slug and slug not in said]
    known = [slug for slug in said if slug in curves.plan.variants]
    values = {slug: float(curves.overall(slug)[0][index]) for slug in known}
    return ", ".join(f"{_title(slug)} {_number(index, values[slug])}" for slug in known)


def _best(curves: Curves, slug: str, index: int) -> str:
    """Name the best of all that mix two pictures, and whoever is exactly as good."""
    value = float(curves.overall(slug)[0][index])
    level = [
        one
        for one in curves.plan.variants
        if VARIANTS[one].method.contract != "single"
        and float(curves.overall(one)[0][index]) == value
    ]
    named = _title(slug) if len(level) == 1 else f"{len(level)} methods alike"
    return f"{named} {_number(index, value)}"


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]], name: str) -> str:
    """Return a table for people and screen readers; it scrolls where it does not fit."""
    head = "".join(f'<th scope="col">{escape(one)}</th>' for one in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in lines
    )
    return (
        f'<div class="mv-claims" tabindex="0" data-table="{name}"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _show_verdicts(curves: Curves, model: str) -> None:
    st.subheader("What the paper says, and what is measured here")
    lines = []
    for index, verdict in enumerate(judge(curves)):
        statistic = STATISTICS[verdict.statistic]
        outcome = verdict.outcome if curves.finished else "not measured"
        margin = ""
        if outcome in ("agrees", "does not agree", "too close to call"):
            margin = f" ({verdict.margin:+.3g} ± {np.nan_to_num(verdict.error):.2g})".replace(
                "-", "−"
            )
        of_all = "–"
        if curves.finished and verdict.best_of_all:
            of_all = _best(curves, verdict.best_of_all, index)
        lines.append(
            (
                f"({statistic.panel}) {statistic.title}",
                statistic.claim,
                _found(curves, verdict, index) if curves.finished else "–",
                of_all,
                f"{SIGNS[outcome]} {outcome}{margin}",
            )
        )
    heads = (
        "Statistic",
        "The paper",
        "Here, averaged over λ: best of the paper’s methods first",
        "Best of all that mix two pictures",
        "Verdict (how much better Puzzle Mix is)",
    )
    st.html(_table(heads, lines, "verdicts"))
    title = zoo.CATALOGUE[model].title if model in zoo.CATALOGUE else zoo.OWN.title
    st.caption(
        f"In the paper a vanilla ResNet18 looks, here {title}. "
        "Its claims are among Input Mixup, Manifold Mixup, CutMix and Puzzle Mix. A verdict needs "
        "a margin of more than two standard errors over pairs."
    )


def _show_numbers(curves: Curves, model: str) -> None:
    st.subheader("Averaged over λ", help="± one standard error over pairs.")
    lines = []
    for slug in curves.plan.variants:
        mean, error = curves.overall(slug)
        cells = [_title(slug)]
        for index in range(len(STATISTICS)):
            shown, spread = (_number(index, float(one[index])) for one in (mean, error))
            cells.append(shown if spread == "–" else f"{shown} ± {spread}")
        cells += [str(curves.plan.draws_of(slug)), f"{1e3 * curves.rates.of(slug):.2g}"]
        lines.append(cells)
    heads = ["Method", *(one.title for one in STATISTICS.values()), "Draws", "Mixing, ms"]
    st.html(_table(heads, lines, "numbers"))
    st.download_button(
        "All numbers as CSV",
        lambda: _csv(curves, model),
        "mixviz-figure-2.csv",
        "text/csv",
        on_click="ignore",
        key="figure2-csv",
    )


def _csv(curves: Curves, model: str) -> str:
    file = io.StringIO()
    table = [{**row, "pictures": _get("set"), "classifier": model} for row in rows(curves)]
    writer = csv.DictWriter(file, list(table[0]))
    writer.writeheader()
    for row in table:
        missing = {name: "" for name, value in row.items() if value != value}
        writer.writerow(row | missing)
    return file.getvalue()


@st.cache_data(max_entries=1024, show_spinner=False)
def _thumbnail(key: object, _square: Callable[[], NDArray[np.uint8]]) -> str:
    file = io.BytesIO()
    Image.fromarray(_square()).resize((72, 72)).save(file, "JPEG", quality=85)
    return base64.b64encode(file.getvalue()).decode()


def _show_pairs(plan: Plan, gathered: Gathered) -> None:
    """Show the first pairs, so that one knows what is measured."""
    shown = plan.pairs[:SHOWN]
    title = "The pairs" if len(shown) == len(plan.pairs) else f"The first {len(shown)} pairs"
    figures = []
    for first, second in shown:
        images = []
        for index, kind in ((first, "a"), (second, "b")):
            subject = gathered.subjects[index]
            source = _thumbnail(subject.key, gathered.squares[index])
            images.append(
                f'<div class="mv-thumb mv-{kind}"><img src="data:image/jpeg;base64,{source}" '
                f'alt="{escape(subject.name)}"></div>'
            )
        names = " × ".join(escape(gathered.subjects[index].name) for index in (first, second))
        figures.append(
            f'<figure><figcaption title="{names}">{names}</figcaption>'
            f'<div style="display:flex;gap:4px">{"".join(images)}</div></figure>'
        )
    st.subheader(title)
    st.html(f'<div class="mv-panels">{"".join(figures)}</div>')


def _show_notes(plan: Plan) -> None:
    notes = [
        "Every pair and draw has one seed for all methods, and keeps it over λ. The label of a "
        "picture is the true one where it is known, else the class predicted for it.",
    ]
    if OURS in plan.variants:
        notes.append(
            "Puzzle Mix runs with the parameters the other pages open with: exact solvers, 8×8 "
            "blocks, ξ = 0.05, so that blocks of photographs move; the paper’s ξ is 0.8."
        )
    if SEARCHED not in plan.variants:
        notes.append(
            "RL-Mix is left out unless chosen: for every pair and λ it searches a hundred mixes, "
            "each with a saliency map of its own."
        )
    st.caption(" ".join(notes))
