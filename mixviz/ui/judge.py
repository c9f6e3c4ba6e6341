"""The Train & judge page: classifiers side by side on one picture, tried, judged and trained."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape

import numpy as np
import streamlit as st
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from mixviz import zoo
from mixviz.evaluate.localisation import THRESHOLD, find_box
from mixviz.methods import METHODS
from mixviz.methods.base import LAM_STOPS, MixTrace
from mixviz.methods.variants import VARIANTS, Variant, as_they_are
from mixviz.ui import (
    batch,
    candidates,
    compute,
    standings,
    state,
    tables,
    training,
    trials,
    verdicts,
)
from mixviz.ui.candidates import Candidate, Case
from mixviz.ui.compute import UNCHANGED, Inputs, SeenPair
from mixviz.ui.engine import EngineError
from mixviz.ui.frame import Page
from mixviz.ui.guesses import TAGS
from mixviz.ui.state import Field, one_of
from mixviz.viz.draw import heat, to_rgb
from mixviz.viz.look import DARK, LIGHT
from mixviz.zoo.layers import class_activation

SECTIONS = {
    "picture": "One picture",
    "attacked": "Attacked",
    "corrupted": "Corrupted",
    "judged": "Judged",
    "trained": "Trained",
}
SEEDS = 10_000
SEARCHED = "rl_mix"  # a hundred mixes for each classifier
OFFERED = tuple(slug for slug in VARIANTS if slug != SEARCHED)
FIRST = "input_mixup"  # looks at the pictures as they are
BRIGHTEST = 0.995  # quantile of a saliency map from which it is drawn brightest
GUESSES = 3


def _read_lam(text: str) -> float:
    value = float(text) if len(text) < 8 else -1.0
    if not 0 <= value <= 1:
        raise ValueError("must lie in [0, 1]")
    return min(LAM_STOPS, key=lambda stop: abs(stop - value))


FIELDS = [
    Field("section", "judge.section", "picture", one_of(SECTIONS)),
    Field("mix", "judge.mix", "puzzle_mix", one_of(dict.fromkeys(OFFERED))),
    Field("lam", "judge.lam", 0.5, _read_lam, lambda value: f"{value:g}"),
    state.whole_field("seed", "judge.seed", 7, SEEDS),
]
BY_NAME = {field.name: field for field in FIELDS}

STYLE = """
.st-key-judge-who [data-tag] {background: rgba(128, 128, 128, .25)}
.st-key-judge-who [data-tag], .st-key-judge-who [data-tag] * {color: inherit}
.st-key-demo-start button:enabled * {color: PAGE}
.mv-judge {display: grid; gap: 8px 14px; align-items: start;
  grid-template-columns: minmax(8rem, .8fr) repeat(4, minmax(0, 126px))
    repeat(2, minmax(9.5rem, 1.4fr))}
.mv-judge figure {margin: 0}
.mv-judge figure img {width: 100%; display: block; border-radius: 2px}
.mv-judge figcaption, .mv-judge .mv-over {font-size: 14px; line-height: 20px; margin-bottom: 4px}
.mv-guesses {display: grid; gap: 3px}
.mv-guesses .mv-cell {display: flex; justify-content: space-between; gap: 6px}
.mv-guesses b:first-of-type {overflow: hidden; text-overflow: ellipsis}
.mv-judge .mv-weights {margin-top: 4px; height: 22px; line-height: 22px}
.mv-judge .mv-weights > * {padding: 0 4px}
.mv-later figcaption, .mv-later .mv-over {display: none}
@media (max-width: 900px) {
  .mv-judge {grid-template-columns: 1fr 1fr}
  .mv-judge .mv-who, .mv-judge .mv-answer {grid-column: 1 / -1}
  .mv-later figcaption, .mv-later .mv-over {display: block}}
.mv-trial {display: grid; gap: 8px 20px; max-width: 960px; align-items: end;
  grid-template-columns: repeat(3, minmax(0, 1fr))}
.mv-trial, .mv-steps {margin-top: 10px}
.mv-trial figure {margin: 0}
.mv-trial img, .mv-steps img {width: 100%; display: block; border-radius: 2px;
  image-rendering: pixelated}
.mv-trial figcaption {font-size: 14px; line-height: 20px; margin-bottom: 4px}
@media (max-width: 640px) {.mv-trial {gap: 8px}}
.mv-steps {display: grid; gap: 6px 10px; font-size: 14px; line-height: 20px; align-items: center;
  grid-template-columns: minmax(8rem, 14rem) repeat(6, minmax(44px, 1fr));
  font-variant-numeric: tabular-nums; max-width: 1100px}
.mv-cell {position: relative; height: 26px; line-height: 26px; padding: 0 6px; font-size: 14px;
  background: rgba(128, 128, 128, .14)}
.mv-cell i {position: absolute; left: 0; top: 0; bottom: 0; background: rgba(128, 134, 146, .45)}
.mv-cell b {position: relative; font-weight: 400; white-space: nowrap}
.mv-cell .mv-tag {line-height: 18px; height: 18px; width: 18px; vertical-align: top;
  margin: 4px 0 0 2px}
@media (max-width: 640px) {
  .mv-steps {grid-template-columns: repeat(6, minmax(0, 1fr)); gap: 4px}
  .mv-steps .mv-of {grid-column: 1 / -1; margin-top: 4px}
  .mv-steps .mv-cell {padding: 0 2px}}
"""


def fields() -> list[Field]:
    """Return what the URL of this page carries beside the pictures."""
    return [*FIELDS, *candidates.FIELDS, *trials.FIELDS, *training.FIELDS]


def _keep(name: str) -> str:
    """Give a widget the value that is kept, and return its key."""
    key = state.widget_key(BY_NAME[name].key)
    st.session_state.setdefault(key, state.get(BY_NAME[name]))
    return key


def show(page: Page) -> None:
    """Draw the page below its title."""
    look = DARK if st.context.theme.type == "dark" else LIGHT
    styles = (STYLE, tables.STYLE, batch.STYLE)
    st.html(f"<style>{''.join(styles).replace('PAGE', look.page)}</style>")
    section = state.kept()["judge.section"] = st.segmented_control(
        "Section",
        list(SECTIONS),
        format_func=lambda name: SECTIONS[name],
        key=_keep("section"),
        required=True,
        label_visibility="collapsed",
    )
    with st.sidebar:
        candidates.ask()
        labels = st.container()
    who = candidates.chosen()
    if section == "trained":
        training.show(page, look)
        return
    if not who:
        page.finish()
        st.info("Choose at least one classifier in the sidebar.")
        return
    waiting = st.empty()
    case = _open(who, waiting)
    if case is None:
        page.finish()
        return
    with labels:
        candidates.ask_label(case.classes(case.who[0]))
    match section:
        case "attacked":
            trials.show_attacked(page, case, look)
        case "corrupted":
            trials.show_corrupted(page, case, look)
        case "judged":
            page.finish()
            standings.show(case.who, look)
        case _:
            _show_picture(page, case)


def _open(who: Sequence[Candidate], waiting: "st.delta_generator.DeltaGenerator") -> Case | None:
    """Load who is asked, leave out in words who is not to be had, and settle the labels."""

    def say(share: float, words: str) -> None:
        compute.yield_to_newer_run()
        waiting.progress(min(max(share, 0.0), 1.0), words)

    ready: list[Candidate] = []
    own: dict[str, zoo.Classifier] = {}
    for one in who:
        try:
            own |= candidates.brought([one])
            compute.class_names(one.key, own, say=say)
            ready.append(one)
        except (zoo.ZooError, zoo.CheckpointError, EngineError) as problem:
            st.error(f"{one.title} is left out. {problem}")
    waiting.empty()
    if not ready:
        return None
    case = candidates.open_case(ready, own)
    first = ready[0]
    names = case.classes(first)
    before = st.session_state.get("judge-classes")
    asked = candidates.label_asked()
    if asked is not None and (asked >= len(names) or before not in (None, names)):
        # A number means another class to another classifier.
        if asked >= len(names):
            state.notify(f"{first.title} has {len(names)} classes; {asked} is not one of them.")
        state.put(candidates.LABEL.key, None)
        asked = None
    st.session_state["judge-classes"] = names
    try:
        seen = _plain(case, first)
    except (ValueError, EngineError) as problem:
        st.error(str(problem))
        return None
    guessed = [int(part.explanation.logits[0].argmax()) for part in (seen.a, seen.b)]
    return replace(
        case,
        label_a=names[guessed[0] if asked is None else asked],
        label_b=names[guessed[1]],
        is_asked=asked is not None,
    )


def _plain(case: Case, one: Candidate) -> SeenPair:
    """Look at the pair as it is."""
    return compute.look_at(case.look(one), FIRST, METHODS[FIRST].params(), case.held, case.own)


# ---- one picture --------------------------------------------------------------------------------


def _ask_mix() -> tuple[Variant, float, int]:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium", key="judge-ask"):
        slug = state.kept()["judge.mix"] = st.selectbox(
            "Mix of the pair by",
            OFFERED,
            format_func=lambda name: VARIANTS[name].title,
            key=_keep("mix"),
            help="RL-Mix is not offered: it would search a hundred mixes for each classifier.",
            width=220,
        )
        lam = state.kept()["judge.lam"] = st.select_slider(
            "*λ* share of B asked for",
            LAM_STOPS,
            format_func=lambda value: f"{value:.2f}",
            key=_keep("lam"),
            width=260,
        )
        seed = state.kept()["judge.seed"] = st.number_input(
            "Seed", 0, SEEDS - 1, key=_keep("seed"), help="Decides what chance draws.", width=140
        )
    return VARIANTS[slug], float(lam), int(seed)


def _say_label(case: Case) -> str:
    who = "chosen" if case.is_asked else f"as {case.who[0].title} guesses"
    return f"{escape(case.names[0])} counts as “{escape(case.label_a)}”, {escape(who)}"


def _show_picture(page: Page, case: Case) -> None:
    variant, lam, seed = _ask_mix()
    page.finish()
    st.html(
        f'<div class="mv-small">{_say_label(case)}; {escape(case.names[1])} as '
        f"“{escape(case.label_b)}”. Saliency is the gradient of the loss at that label, each "
        f"map on a scale of its own; the box holds the largest region above {THRESHOLD:g} of "
        "the class activation’s maximum.</div>"
    )
    for index, one in enumerate(case.who):
        try:
            body = _row(case, one, variant, lam, seed)
        except (zoo.ZooError, ValueError, EngineError) as problem:
            st.error(f"{one.title}: {problem}")
            continue
        later = "mv-later" if index else ""
        st.html(f'<div class="mv-judge {later}" data-who="{escape(one.slug)}">{body}</div>')
    st.html(
        f'<div class="mv-small" data-judge="{len(case.who)}">Same pair, λ, seed and labels for all;'
        " only the classifier differs.</div>"
    )


def _mix(
    case: Case, one: Candidate, variant: Variant, lam: float, seed: int
) -> tuple[MixTrace, Tensor]:
    """Mix the pair under a classifier's saliency; return the trace and what it answers."""
    look = case.look(one, variant.source or "gradient")
    slug, params = variant.method.slug, variant.params(lam, seed, case.size // 8)
    inputs = UNCHANGED
    if variant.inputs is not as_they_are:
        change = variant.inputs
        inputs = Inputs((change.__name__, seed), lambda images: change(images, seed))
    seen = compute.look_at(look, slug, params, case.held, case.own, inputs=inputs)
    pair = compute.complete(look, slug, params, seen.pair, case.own, stamp=inputs.stamp)
    assert pair is not None  # what has to be searched for is not offered
    trace, _ = compute.mix(look, slug, params, pair, inputs.stamp)
    key = (look, params, inputs.stamp, slug)
    return trace, compute.predict_all(look, {key: trace}, case.own)[key]


ROWS, BOXES = compute.Counted(64), compute.Counted(64)


def _row(case: Case, one: Candidate, variant: Variant, lam: float, seed: int) -> str:
    key = (case.look(one), variant.slug, lam, seed, case.names)
    found: str | None = ROWS.get(key)
    if found is None:
        found = ROWS.put(key, _draw_row(case, one, variant, lam, seed))
    return found


def _draw_row(case: Case, one: Candidate, variant: Variant, lam: float, seed: int) -> str:
    seen = _plain(case, one)
    trace, logits = _mix(case, one, variant, lam, seed)
    maps = torch.cat([part.explanation.saliency for part in (seen.a, seen.b)])
    peaks = maps.flatten(1).quantile(BRIGHTEST, 1).tolist()
    hot = [_jpeg(heat(part.numpy(), peak)) for part, peak in zip(maps, peaks, strict=True)]
    labels = {
        int(seen.b.explanation.label[0]): "b",
        int(seen.a.explanation.label[0]): "a",
    }
    a, b = trace.weights[0].tolist()
    given = f"A {a:.0%}, B {b:.0%}"
    answers = [
        _bars(part.softmax(-1), seen.class_names, labels)
        for part in (seen.a.explanation.logits[0], logits)
    ]
    facts = verdicts.in_words(one)
    figures = [
        (f"Saliency of {TAGS['a']}", hot[0], f"Saliency of A for {one.title}"),
        ("CAM’s box", _draw_box(case, one), f"Box of the class activation for {one.title}"),
        (f"Saliency of {TAGS['b']}", hot[1], f"Saliency of B for {one.title}"),
        (
            escape(variant.title),
            _jpeg(to_rgb(trace.mixed[0].numpy())),
            f"Mix by {variant.title} for {one.title}, label {given}",
        ),
    ]
    shown = [
        f"<figure><figcaption>{caption}</figcaption>"
        f'<img src="{source}" alt="{escape(alt)}"></figure>'
        for caption, source, alt in figures
    ]
    weights = (
        f'<div class="mv-weights" title="Label given: {given}">'
        f'<div class="a" style="width:{a:.2%}">A {a:.0%}</div>'
        f'<div class="b" style="width:{b:.2%}">B {b:.0%}</div></div>'
    )
    shown[-1] = shown[-1].replace("</figure>", f"{weights}</figure>")
    return (
        f'<div class="mv-who"><b>{escape(one.title)}</b><div class="mv-small">{facts}</div></div>'
        f"{''.join(shown)}"
        f'<div class="mv-answer"><div class="mv-over">Sees in {TAGS["a"]}</div>{answers[0]}</div>'
        f'<div class="mv-answer"><div class="mv-over">and in the mix</div>{answers[1]}</div>'
    )


def _draw_box(case: Case, one: Candidate) -> str:
    """Draw A with the box of the class activation at its label."""
    label = case.label(one, case.label_a)
    key = (one.key, case.a, case.size, label)
    box: NDArray[np.int64] | None = BOXES.get(key)
    if box is None:
        image = compute.to_tensor(case.pixels())
        asked = None if label is None else torch.tensor([label])

        def work() -> Tensor:
            network = compute.classifier(one.key, case.own)
            there = compute.device()
            at = None if asked is None else asked.to(there)
            return class_activation(network, image.to(there), at).cpu()

        activation = compute.in_engine("maps", work, compute.yield_to_newer_run)
        box = BOXES.put(key, find_box(activation[0].numpy()))
    picture = Image.fromarray(case.pixels())
    pen = ImageDraw.Draw(picture)
    left, top, right, bottom = (int(part) for part in box)
    if right > left:
        wide = max(1, case.size // 64)
        pen.rectangle((left, top, right - 1, bottom - 1), outline="#14110e", width=2 * wide)
        pen.rectangle((left, top, right - 1, bottom - 1), outline="#FFFFFF", width=wide)
    return _jpeg(np.asarray(picture))


def _bars(probabilities: Tensor, names: Sequence[str], marked: Mapping[int, str]) -> str:
    top = torch.topk(probabilities, min(GUESSES, len(probabilities)))
    rows = "".join(
        f'<div class="mv-cell" title="{escape(names[index])}"><i style="width:{share:.1%}"></i>'
        f"<b>{escape(names[index])}{TAGS[marked[index]] if index in marked else ''}</b>"
        f"<b>{share:.0%}</b></div>"
        for share, index in zip(top.values.tolist(), top.indices.tolist(), strict=True)
    )
    return f'<div class="mv-guesses">{rows}</div>'


def _jpeg(pixels: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
