"""One picture put to the test: attacked, and corrupted at five severities."""

import base64
import io
import math
from collections.abc import Hashable, Sequence
from html import escape

import streamlit as st
import torch
from PIL import Image
from torch import Generator, Tensor

from mixviz import zoo
from mixviz.core.saliency import explain
from mixviz.evaluate.attacks import fgsm, pgd
from mixviz.evaluate.corruptions import CORRUPTIONS, SEVERITIES
from mixviz.ui import compute, state, verdicts
from mixviz.ui.candidates import Candidate, Case
from mixviz.ui.engine import EngineError
from mixviz.ui.frame import Page
from mixviz.ui.guesses import show_guesses
from mixviz.ui.state import Field, one_of
from mixviz.ui.tables import Part, Row, write_table
from mixviz.viz import judgement as charts
from mixviz.viz.draw import to_rgb
from mixviz.viz.look import Look

RADII = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)  # in 255ths
ATTACKS = {"fgsm": "FGSM", "pgd": "PGD, 7 steps"}
STEP, STEPS = 2 / 255, 7  # as the papers' PGD
SEEDS = 10_000


def _read_radius(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"must be a number from 0 to {RADII[-1]:g}") from None
    if not 0 <= value <= RADII[-1]:
        raise ValueError(f"must lie in [0, {RADII[-1]:g}]")
    return min(RADII, key=lambda stop: abs(stop - value))


def _repair_radius(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return None if math.isnan(value) else min(max(value, 0.0), RADII[-1])


def _read_target(text: str) -> str:
    if not 0 < len(text) <= 120:
        raise ValueError("must name a classifier")
    return text


FIELDS = [
    Field("target", "judge.target", "", _read_target),
    Field("attack", "judge.attack", "fgsm", one_of(ATTACKS)),
    Field("eps", "judge.eps", 4.0, _read_radius, lambda value: f"{value:g}", _repair_radius),
    Field("corruption", "judge.corruption", "fog", one_of(CORRUPTIONS)),
    state.whole_field("chance", "judge.chance", 0, SEEDS),
]
BY_NAME = {field.name: field for field in FIELDS}
RESULTS, CURVES = compute.Counted(128), compute.Counted(64)


def _keep(name: str) -> str:
    """Give a widget the value that is kept, and return its key."""
    key = state.widget_key(BY_NAME[name].key)
    st.session_state.setdefault(key, state.get(BY_NAME[name]))
    return key


def _ask_chance() -> int:
    value = state.kept()["judge.chance"] = st.number_input(
        "Seed", 0, SEEDS - 1, key=_keep("chance"), help="Decides what chance draws.", width=140
    )
    return int(value)


def _png(image: Tensor) -> str:
    """Return an image (3, h, w) in [0, 1] as it is, as a data URI."""
    file = io.BytesIO()
    Image.fromarray(to_rgb(image.numpy())).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


# ---- attacked -----------------------------------------------------------------------------------


def _ask_target(case: Case) -> Candidate:
    """Draw the choice of who is attacked; a target that is not compared is mended in words."""
    known = {one.slug: one for one in case.who}
    asked = str(state.get(BY_NAME["target"]))
    first = case.who[0].slug
    if asked and asked not in known:
        state.notify(
            "The classifier to attack is not among those compared; "
            f"{known[first].title} is attacked instead."
        )
        state.put("judge.target", "")
        asked = ""
    key = state.widget_key("judge.target")
    st.session_state.setdefault(key, asked or first)
    if st.session_state[key] not in known:
        st.session_state[key] = first
    chosen = st.selectbox(
        "Attacked",
        list(known),
        format_func=lambda slug: known[slug].title,
        key=key,
        help="Its gradient decides where each pixel goes; the others see the same picture.",
        width=300,
    )
    state.kept()["judge.target"] = chosen
    return known[chosen]


def show_attacked(page: Page, case: Case, look: Look) -> None:
    """Draw the section."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium", key="attack-ask"):
        target = _ask_target(case)
        kind = state.kept()["judge.attack"] = st.segmented_control(
            "Attack",
            list(ATTACKS),
            format_func=lambda name: ATTACKS[name],
            key=_keep("attack"),
            required=True,
        )
        radius = state.kept()["judge.eps"] = st.select_slider(
            "*ε* how far each value may move",
            RADII,
            format_func=lambda value: f"{value:g}/255",
            key=_keep("eps"),
            width=300,
        )
        chance = _ask_chance() if kind == "pgd" else int(state.get(BY_NAME["chance"]))
    page.finish()
    try:
        _show_attack(case, target, str(kind), float(radius), chance)
        _show_others(case, target, str(kind), float(radius), chance)
        _show_curves(case, float(radius), look)
    except (zoo.ZooError, ValueError, EngineError) as problem:
        st.error(str(problem))


def _place(case: Case, one: Candidate, size: int) -> tuple[Hashable, Tensor, Tensor]:
    """Return what names A for a classifier, A as it gets it, and the label as (1,)."""
    label = case.label(one, case.label_a)
    image = case.image_at(size)
    if label is None:
        label = int(case.predict(one, ("clean", case.a, case.size), image)[0].argmax())
    return (case.a, case.size, label), image, torch.tensor([label])


def attack(case: Case, one: Candidate, kind: str, radius: float, chance: int) -> Tensor:
    """Return A attacked under a classifier, (1, 3, h, w) at its input size.

    Raises:
        ZooError: the classifier is not to be had.
    """
    place, image, label = _place(case, one, case.input_size(one))
    drawn = chance if kind == "pgd" else None
    key = (one.key, place, kind, radius, drawn)
    found: Tensor | None = RESULTS.get(key)
    if found is None:
        eps = radius / 255

        def work() -> Tensor:
            network = compute.classifier(one.key, case.own)
            x, y = image.to(compute.device()), label.to(compute.device())
            if kind == "fgsm":
                return fgsm(network, x, y, eps).cpu()
            start = Generator().manual_seed(chance)
            return pgd(network, x, y, eps, STEP, STEPS, start).cpu()

        found = RESULTS.put(key, compute.in_engine("attack", work, compute.yield_to_newer_run))
    return found


def gain(radius: float) -> int:
    """Return how many times a perturbation is enlarged so that it can be seen."""
    return 1 if radius <= 0 else max(1, 2 ** int(math.log2(0.5 * 255 / radius)))


def _show_attack(case: Case, target: Candidate, kind: str, radius: float, chance: int) -> None:
    size = case.input_size(target)
    place, image, label = _place(case, target, size)
    attacked = attack(case, target, kind, radius, chance)
    times = gain(radius)
    enlarged = (0.5 + times * (attacked - image)).clamp(0, 1)
    names = case.classes(target)
    shown = [
        ("Clean", image, "The picture as the classifier gets it"),
        (f"Perturbation × {times}, grey is 0", enlarged, f"What was added, {times} times enlarged"),
        (f"Attacked, ε = {radius:g}/255", attacked, "The picture under attack"),
    ]
    figures = "".join(
        f"<figure><figcaption>{caption}</figcaption>"
        f'<img src="{_png(part[0])}" alt="{alt}"></figure>'
        for caption, part, alt in shown
    )
    answers = [
        case.predict(target, ("clean", case.a, case.size), image)[0],
        case.predict(target, (target.key, place, kind, radius, chance), attacked)[0],
    ]
    before, after = (names[int(answer.argmax())] for answer in answers)
    verdict = "still says" if before == after else f"said “{before}”, now says"
    st.html(
        f'<div class="mv-small" data-attack="{kind}-{radius:g}" '
        f'data-fooled="{int(before != after)}">{escape(target.title)} {escape(verdict)} '
        f"“{escape(after)}”. The loss at “{escape(names[int(label)])}” is raised, at the "
        f"classifier’s own {size} × {size} pixels; each value moves by {radius:g}/255 at most."
        f'</div><div class="mv-trial">{figures}</div>'
    )
    marked = {int(label): "a"}
    left, right = st.columns(2, gap="large")
    with left:
        show_guesses("Clean", answers[0], names, marked)
    with right:
        show_guesses("Attacked", answers[1], names, marked)


def _show_others(case: Case, target: Candidate, kind: str, radius: float, chance: int) -> None:
    """Show what everybody says of the picture made for one, and of one made for each."""
    theirs = attack(case, target, kind, radius, chance)
    st.subheader(
        "The same picture to all of them",
        help="An attack on one classifier often fools another: it transfers.",
    )
    lines = []
    for one in case.who:
        place, image, label = _place(case, one, case.input_size(one))
        names = case.classes(one)
        clean = case.predict(one, ("clean", case.a, case.size), image)[0]
        key = (target.key, place, kind, radius, chance)
        moved = case.predict(one, key, theirs)[0]
        own = attack(case, one, kind, radius, chance)
        alone = case.predict(one, (one.key, place, kind, radius, chance), own)[0]
        cells = []
        for answer in (clean, moved, alone):
            guess = names[int(answer.argmax())]
            cells.append(f"{float(answer[int(label)]):.0%} · {guess}")
        lines.append(Row(one.title, cells))
    heads = ["Classifier", "Clean", f"Made for {target.title}", "Made for itself"]
    st.html(write_table(heads, [Part("", "", lines)], "transfer"))
    st.caption(f"How sure of “{case.label_a}”, and the first guess.")


def _show_curves(case: Case, radius: float, look: Look) -> None:
    st.subheader(
        "How sure each stays as ε grows",
        help="FGSM, each attacked by its own gradient at its own input size.",
    )
    lines = [charts.Line(one.title, place, _curve(case, one)) for place, one in enumerate(case.who)]
    index = RADII.index(radius)
    st.plotly_chart(
        charts.attack_curves(RADII, lines, radius, look),
        theme=None,
        key="attack-curves",
        config={"displayModeBar": False},
        alt=f"At ε {radius:g}/255: "
        + "; ".join(f"{line.title} {line.values[index]:.0%} sure" for line in lines),
    )


def _curve(case: Case, one: Candidate) -> list[float]:
    place, image, label = _place(case, one, case.input_size(one))
    found: list[float] | None = CURVES.get((one.key, place))
    if found is None:

        def work() -> list[float]:
            network = compute.classifier(one.key, case.own)
            x, y = image.to(compute.device()), label.to(compute.device())
            sign = explain(network, x, y).gradient.sign()
            radii = torch.tensor(RADII, device=x.device).view(-1, 1, 1, 1) / 255
            batch = (x + radii * sign).clamp(0, 1)
            sure: list[float] = network.predict(batch)[:, int(label)].tolist()
            return sure

        found = CURVES.put(
            (one.key, place), compute.in_engine("curve", work, compute.yield_to_newer_run)
        )
    return found


# ---- corrupted ----------------------------------------------------------------------------------


def corrupt(case: Case, name: str, size: int, chance: int) -> Tensor:
    """Return A, clean and at the five severities, (6, 3, size, size)."""
    key = (case.a, case.size, name, size, chance)
    found: Tensor | None = RESULTS.get(key)
    if found is None:
        image = case.image_at(size)
        parts = [
            CORRUPTIONS[name].apply(image, severity, Generator().manual_seed(chance))
            for severity in SEVERITIES
        ]
        found = RESULTS.put(key, torch.cat([image, *parts]))
    return found


def show_corrupted(page: Page, case: Case, look: Look) -> None:
    """Draw the section."""
    with st.container(
        horizontal=True, vertical_alignment="bottom", gap="medium", key="corrupt-ask"
    ):
        name = state.kept()["judge.corruption"] = st.selectbox(
            "Corruption",
            list(CORRUPTIONS),
            format_func=lambda slug: f"{_plain(slug)} ({CORRUPTIONS[slug].group})",
            key=_keep("corruption"),
            width=280,
        )
        chance = _ask_chance()
    page.finish()
    try:
        _show_steps(case, str(name), chance)
    except (zoo.ZooError, ValueError, EngineError) as problem:
        st.error(str(problem))
    _show_errors(case.who, str(name), look)


def _plain(slug: str) -> str:
    return slug.replace("_", " ")


def _show_steps(case: Case, name: str, chance: int) -> None:
    """Show the picture getting worse, and under it how sure each classifier stays."""
    size = case.input_size(case.who[0])
    heads = ["clean", *(f"severity {severity}" for severity in SEVERITIES)]
    cells = ['<div class="mv-of"></div>']
    cells += [
        f'<img src="{_png(part)}" alt="{escape(_plain(name))}, {head}" title="{head}">'
        for head, part in zip(heads, corrupt(case, name, size, chance), strict=True)
    ]
    cells += ['<div class="mv-of mv-small">How sure of the label</div>']
    cells += [f'<div class="mv-small">{"clean" if k == 0 else k}</div>' for k in range(6)]
    for one in case.who:
        side = case.input_size(one)
        place, _, label = _place(case, one, side)
        images = corrupt(case, name, side, chance)
        answers = case.predict(one, ("corrupted", place, name, chance), images)
        cells.append(f'<div class="mv-of">{escape(one.title)}</div>')
        for head, answer in zip(heads, answers, strict=True):
            sure, right = float(answer[int(label)]), int(answer.argmax()) == int(label)
            guess = case.classes(one)[int(answer.argmax())]
            cells.append(
                f'<div class="mv-cell" title="{escape(one.title)}, {head}: first guess '
                f'{escape(guess)}"><i style="width:{sure:.1%}"></i><b>{sure:.0%}'
                f"{' ✓' if right else ''}</b></div>"
            )
    st.html(
        f'<div class="mv-small">{escape(CORRUPTIONS[name].words)}. “{escape(case.label_a)}” is the '
        f"label; ✓ where it is the first guess. Corrupted at {size} × {size} pixels, as the "
        f'classifiers get it.</div><div class="mv-steps" data-corruption="{name}" role="group" '
        f'aria-label="Confidence by severity">{"".join(cells)}</div>'
    )


def _show_errors(who: Sequence[Candidate], chosen: str, look: Look) -> None:
    st.subheader("Error under each corruption")
    found = {slug: one for slug, one in verdicts.reported(who).items() if one.corrupted}
    if not found:
        verdicts.say_command("errors under corruptions")
        return
    judged = [one for one in who if one.slug in found]
    names = [
        name for name in CORRUPTIONS if all(name in found[one.slug].corrupted for one in judged)
    ]
    errors = [
        [
            sum(found[one.slug].corrupted[name]) / len(found[one.slug].corrupted[name])
            for one in judged
        ]
        for name in names
    ]
    titles = [one.title.rpartition(", ")[2] for one in judged]
    labels = [f"<b>{_plain(name)}</b>" if name == chosen else _plain(name) for name in names]
    st.plotly_chart(
        charts.corruption_errors(labels, titles, errors, look),
        theme=None,
        key="corruption-errors",
        config={"displayModeBar": False},
        alt="; ".join(
            f"{title}: mean error {sum(row[k] for row in errors) / max(len(errors), 1):.1f} %"
            for k, title in enumerate(titles)
        ),
    )
    counts = verdicts.count_words(found[one.slug].images for one in judged)
    st.caption(
        f"Top-1 error in percent on {counts} validation pictures, the mean over five severities."
    )
