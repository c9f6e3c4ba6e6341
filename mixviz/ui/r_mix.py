"""The R-Mix page: percentiles → patches → stage, the label counted out, and RL-Mix's search."""

import base64
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from html import escape
from io import BytesIO
from typing import Any, cast

import streamlit as st
import torch
from PIL import Image

from mixviz import stage
from mixviz.core.blocks import sum_to_one
from mixviz.core.energy import largest_pool
from mixviz.core.measure import measure
from mixviz.core.percentiles import CHOICES as PERCENTILE_COUNT
from mixviz.core.percentiles import PercentileChoice
from mixviz.detectors import check
from mixviz.methods import METHODS
from mixviz.methods.input_mixup import InputMixupParams
from mixviz.methods.r_mix import CASES, PERCENTILES, STRATEGIES, RMixParams, RMixTrace
from mixviz.methods.rl_mix import RLMixParams
from mixviz.ui import agent, as_code, classifier, compute, knobs, patch_staging, pictures, state
from mixviz.ui.engine import EngineError
from mixviz.ui.frame import Page
from mixviz.ui.guesses import show_guesses
from mixviz.ui.patch_staging import counts, rule_words, takes_lam
from mixviz.ui.pixel_staging import draw_pixels
from mixviz.ui.state import Field
from mixviz.ui.workbench import Bench, prepare
from mixviz.viz import agreement
from mixviz.viz.draw import to_rgb
from mixviz.viz.look import DARK, LIGHT
from mixviz.viz.rewards import reward_map

SLUG, SEARCHED = "r_mix", "rl_mix"
METHOD = METHODS[SLUG]
OPENING = cast(RMixParams, METHOD.opening(1))
TRIES = PERCENTILE_COUNT**2
# Top-1 accuracy of Table 12: CIFAR-100, PreActResNet-18.
TABLE_12 = {"1": "79.88", "2": "79.52", "3": "81.49", "4": "75.42"}
LEGEND = {"top_top": "both top", "least_least": "neither", "top_0": "A only", "top_1": "B only"}
SMALL, DRAWN = compute.Counted(256), compute.Counted(32)

STYLE = """
<style>
.mv-agree {width: 100%; max-width: 300px; aspect-ratio: 1; display: block; border-radius: 2px}
.mv-count {border-collapse: collapse; font-size: 14px; line-height: 20px; width: 100%;
  font-variant-numeric: tabular-nums}
.mv-count th, .mv-count td {padding: 4px 8px 4px 0; text-align: right; font-weight: 400;
  border-bottom: 1px solid rgba(128, 134, 145, .35); white-space: nowrap}
.mv-count th:nth-child(-n+2), .mv-count td:nth-child(2) {text-align: left}
.mv-count thead th {opacity: .8; vertical-align: bottom; white-space: normal}
.mv-count tfoot th, .mv-count tfoot td {font-weight: 600; border: 0}
.mv-count img {width: 22px; height: 22px; vertical-align: -6px; margin-right: 6px}
.mv-seven {font-size: 16px; line-height: 26px; margin-top: 10px; font-variant-numeric: tabular-nums}
.mv-said {border-left: 4px solid #64748B; padding: 6px 12px; margin-top: 6px; font-size: 16px;
  line-height: 24px; background: rgba(128, 134, 145, .12)}
.mv-tile {width: 100%; display: block; border-radius: 2px; outline-offset: 2px}
.mv-shown {outline: 3px solid #64748B}
</style>
"""


def _parse_searched(text: str) -> float:
    try:
        lam = float(text)
    except ValueError:
        lam = -1.0
    if not 0 <= lam <= 1:
        raise ValueError("must be the λ of a search, in [0, 1]")
    return lam


LINK = state.switch_field("link", "r_mix.link")
SEARCH = Field(
    "search", "r_mix.search", None, _parse_searched, lambda v: "" if v is None else f"{v:.6g}"
)
BLOCK = state.block_field("block", "r_mix.block")
OVERLAY = Field("overlay", "r_mix.overlay", "blocks", state.one_of(dict.fromkeys(stage.OVERLAYS)))


def fields() -> list[Field]:
    """Return what the URL of this page carries beside the pictures."""
    knobs_of_it = state.param_fields(SLUG, OPENING)
    return [*classifier.FIELDS, *knobs_of_it, LINK, SEARCH, BLOCK, OVERLAY]


def _params() -> RMixParams:
    return cast(RMixParams, knobs.params(SLUG, OPENING))


def _settle() -> RMixParams:
    """Return the parameters, those that do not fit mended in words."""
    size, params = pictures.size(), _params()
    if size % params.num_patches:
        fitting = largest_pool(size, params.num_patches)
        state.notify(
            f"{params.num_patches} patches do not divide {size} pixels; "
            f"{fitting} per side are used."
        )
        state.put("r_mix.num_patches", fitting)
    if _is_linked() and params.q0 != params.q1:
        state.notify(
            f"The link holds q₀ = {params.q0:g} and q₁ = {params.q1:g}, and joins them: "
            f"both are {params.q0:g}."
        )
        state.put("r_mix.q1", params.q0)
    return _params()


def _is_linked() -> bool:
    return bool(state.get(LINK))


def _percentile_moved(name: str) -> None:
    """Take the other percentile along where both are joined."""
    value = st.session_state[state.widget_key(f"r_mix.{name}")]
    state.kept()[f"r_mix.{name}"] = value
    if _is_linked():
        state.put("r_mix.q1" if name == "q0" else "r_mix.q0", value)


def _link_moved() -> None:
    linked = st.session_state["r-mix-linked"]
    state.kept()[LINK.key] = linked
    if linked:
        state.put("r_mix.q1", state.kept().get("r_mix.q0", OPENING.q0))


def _take(**values: Any) -> None:
    """Set parameters from a button; percentiles that differ are joined no more."""
    for name, value in values.items():
        state.put(f"r_mix.{name}", value)
    if values.get("q0") != values.get("q1"):
        state.put(LINK.key, False)


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def ask() -> None:
    """Draw the knobs of this page."""
    _settle()
    for name in ("q0", "q1"):
        knobs.ask(SLUG, OPENING, (name,), on_change=partial(_percentile_moved, name))
    st.session_state["r-mix-linked"] = _is_linked()
    st.toggle(
        "link *q₀* = *q₁*",
        key="r-mix-linked",
        on_change=_link_moved,
        help="Either slider moves both.",
    )
    knobs.ask(SLUG, OPENING, ("num_patches", "strategy"))
    st.caption(_sentence(STRATEGIES[_params().strategy].words))


def show(page: Page) -> None:
    """Draw the page below its title."""
    with st.sidebar:
        ask()
    params = _settle()
    bench = prepare(SLUG, params)
    with st.sidebar:
        classifier.ask(bench.seen.class_names if bench else ())
    page.finish()
    if bench is None:
        return
    found, seconds = compute.mix(bench.look, SLUG, params, bench.seen.pair)
    trace = cast(RMixTrace, found)
    _show_stage(bench, trace, params)
    page.finish()
    st.html(STYLE)
    left, right = st.columns([1, 2], gap="large")
    with left:
        _show_agreement(trace)
    with right:
        _show_label(bench, trace, params)
    _show_strategies(bench, params)
    left, right = st.columns([1.35, 1], gap="large")
    with left:
        st.subheader("Chosen for the pair: RL-Mix")
        searched = st.empty()
        policy = st.container()
    with right:
        _show_sight(bench, trace, params)
    _show_numbers(bench, trace, params, seconds)
    _show_paper_versus_code()
    as_code.offer(METHODS["r_mix"], params)
    with policy:
        _show_policy(bench)
    # A search takes seconds: all else stands before it begins.
    _show_search(bench, params, searched)
    page.finish()


# --- the stage


def _on_stage(result: stage.StageResult) -> None:
    """Carry what was done on the stage into the state; runs before the page does."""
    if result.lam is not None:
        state.kept()["r_mix.lam"] = result.lam
    state.kept()[BLOCK.key] = result.block
    if result.overlay is not None:
        state.kept()[OVERLAY.key] = result.overlay
    if result.action == "swap":
        pictures.swap()


def _show_stage(bench: Bench, trace: RMixTrace, params: RMixParams) -> None:
    pair = bench.seen.pair
    memory = (bench.look, bench.names, params.num_patches)
    drawn = DRAWN.get(memory)
    if drawn is None:
        maps = (pair.s0, pair.s1)
        drawn = draw_pixels(bench.names, (pair.x0, pair.x1), maps, params.num_patches)
        DRAWN.put(memory, drawn)
    logits = (bench.seen.a.explanation.logits, bench.seen.b.explanation.logits)
    key = compute.digest_of(bench.look, replace(params, lam=0.0))
    findings = check(trace, pair, params, METHOD, logits)
    scene = patch_staging.r_mix_scene(key, drawn, pair, trace, params, findings)
    stage.shelf([scene.picture_0, scene.saliency_0], key="r-mix-a")
    stage.shelf([scene.picture_1, scene.saliency_1], key="r-mix-b")
    block = state.get(BLOCK)
    stage.show_pixels(
        scene,
        lam=float(params.lam),
        key="r-mix",
        block=block if block is None or max(block) < params.num_patches else None,
        overlay=state.get(OVERLAY),
        on_change=_on_stage,
    )


# --- where they agree, and the label


def _svg(cases: Sequence[Sequence[int]], side: int, words: str, style: str = "") -> str:
    source = base64.b64encode(agreement.agreement_svg(cases, side).encode()).decode()
    return f'<img class="{style}" src="data:image/svg+xml;base64,{source}" alt="{escape(words)}">'


def _show_agreement(trace: RMixTrace) -> None:
    st.subheader("Where they agree", help="Whose top patch each is; what follows stands beside.")
    cases = trace.cases[0].tolist()
    words = f"Top patches, row by row: {agreement.letters(cases)}"
    st.html(_svg(cases, 300, words, "mv-agree"))


def _show_label(bench: Bench, trace: RMixTrace, params: RMixParams) -> None:
    st.subheader(
        "What the label becomes, and why",
        help="The share of patches in each case × the share of B in such a patch, summed.",
    )
    n2 = params.num_patches**2
    found, strategy = counts(trace, params.num_patches), STRATEGIES[params.strategy]
    rows = []
    for name, words in LEGEND.items():
        share = strategy.shares[CASES.index(name)]
        given = float(trace.shares[name][0])
        part = found[name] / n2 * given
        shown = f"{given:.2f}" if share is not None else f"λ = {given:.2f}"
        rows.append(
            f"<tr><th scope='row'>{_svg([[CASES.index(name)]], 44, '')}{words}</th>"
            f"<td>{rule_words(share)}</td><td>{found[name]}/{n2}</td><td>× {shown}</td>"
            f"<td>= {part:.3f}</td></tr>"
        )
    a, b = (float(weight) for weight in trace.weights[0])
    st.html(
        f'<table class="mv-count" data-label="{b:.6f}"><thead><tr><th>case</th><th>strategy '
        f"{params.strategy}</th><th>patches</th><th>share of B</th><th>of B’s label</th></tr>"
        f"</thead><tbody>{''.join(rows)}</tbody><tfoot><tr><th scope='row'>label</th>"
        f"<td>A {a:.3f}</td><td>{n2}/{n2}</td><td></td><td>B {b:.3f}</td></tr></tfoot></table>"
        + _equation(found, trace, params)
    )
    _show_all_top(bench, trace, params)


def _equation(found: dict[str, int], trace: RMixTrace, params: RMixParams) -> str:
    """Write the label as the paper does, for the paper's own strategy."""
    if params.strategy != "3":
        return ""
    n2, lam = params.num_patches**2, float(params.lam)
    a, b = (float(weight) for weight in trace.weights[0])
    agreed = found["top_top"] + found["least_least"]
    y = [f"<i>y</i><sub>{letter}</sub>" for letter in "AB"]
    return (
        f'<div class="mv-seven">Eq. 7: {agreed}/{n2} · ({1 - lam:.2f} {y[0]} + {lam:.2f} {y[1]}) + '
        f"{found['top_0']}/{n2} · {y[0]} + {found['top_1']}/{n2} · {y[1]} "
        f"= <b>{a:.3f} {y[0]} + {b:.3f} {y[1]}</b></div>"
        '<div class="mv-small">The paper’s λ is the share of A, 1 − λ here.</div>'
    )


def _say(sentence: str) -> None:
    """Say what matters here; in a neutral frame, as blue and orange are A and B."""
    st.html(f'<div class="mv-said" data-said="1">{escape(sentence)}</div>')


def _show_all_top(bench: Bench, trace: RMixTrace, params: RMixParams) -> None:
    """Say what remains of R-Mix when every patch is top, or offer to see it."""
    if params.q0 or params.q1:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.button("q₀ = q₁ = 0", key="all-top", on_click=partial(_take, q0=0.0, q1=0.0))
            st.html(
                '<div class="mv-small">Every patch is top then: what is left of the method?</div>'
            )
        return
    if not takes_lam(params):
        _say(
            f"Every patch is top in both, so strategy {params.strategy} shows A alone. "
            "Strategies 3 and 4 are Input Mixup here."
        )
        return
    plain, _ = compute.mix(bench.look, "input_mixup", InputMixupParams(params.lam), bench.seen.pair)
    same = all(
        torch.equal(getattr(trace, name), getattr(plain, name))
        for name in ("mixed", "mask", "weights")
    )
    if same:
        _say(
            "Every patch is top in both: this is Input Mixup exactly. Both were computed and "
            "compared just now; pixels, mask and label are equal bit for bit."
        )
    else:
        st.error("This should be Input Mixup, and is not: pixels, mask or label differ.")


# --- the strategies


def _jpeg(bench: Bench, params: RMixParams) -> tuple[str, tuple[float, float]]:
    """Return a mix as a small picture and its label weights."""
    key = (bench.look, params)
    known: tuple[str, tuple[float, float]] | None = SMALL.get(key)
    if known is not None:
        return known
    trace, _ = compute.mix(bench.look, SLUG, params, bench.seen.pair)
    file = BytesIO()
    Image.fromarray(to_rgb(trace.mixed[0].numpy())).save(file, "JPEG", quality=88)
    a, b = trace.weights[0].tolist()
    return SMALL.put(key, (base64.b64encode(file.getvalue()).decode(), (a, b)))


def _show_strategies(bench: Bench, params: RMixParams) -> None:
    st.subheader(
        "The four strategies of Table 12",
        help="Same pictures, percentiles, patches and λ. Accuracy: top-1 on CIFAR-100 with "
        "PreActResNet-18, as the paper reports it.",
    )
    with st.grid(4, min_column_width=150, gap="medium", key="strategies") as grid:
        for name, strategy in STRATEGIES.items():
            with grid.cell():
                source, (a, b) = _jpeg(bench, replace(params, strategy=name))
                chosen = name == params.strategy
                bars = "".join(
                    f'<div class="{side}" style="flex:{share:.4f}">'
                    f"{f'{side.upper()} {share:.0%}' if share > 0.18 else ''}</div>"
                    for side, share in (("a", a), ("b", b))
                    if share > 0
                )
                st.html(
                    f'<img class="mv-tile{" mv-shown" if chosen else ""}" alt="Mix by strategy '
                    f'{name}" src="data:image/jpeg;base64,{source}">'
                    f'<div class="mv-weights" role="img" aria-label="Label given: A {a:.1%}, '
                    f'B {b:.1%}" style="margin-top:6px">{bars}</div>'
                    f'<div class="mv-small" data-strategy="{name}" data-weight="{b:.6f}">'
                    f"{escape(_sentence(strategy.words))} Paper: {TABLE_12[name]} %.</div>"
                )
                st.button(
                    "Shown above" if chosen else f"Strategy {name}",
                    key=f"take-{name}",
                    disabled=chosen,
                    on_click=partial(state.put, "r_mix.strategy", name),
                )


# --- RL-Mix


def _start_search(lam: float) -> None:
    state.put(SEARCH.key, lam)
    st.session_state["searched-look"] = None


def _cancel_search() -> None:
    state.put(SEARCH.key, None)


def _show_search(
    bench: Bench, params: RMixParams, place: "st.delta_generator.DeltaGenerator"
) -> None:
    """Show the rewards of all percentiles, searched for when they were asked for."""
    lam = state.get(SEARCH)
    looked = st.session_state.get("searched-look")
    if lam is None or looked not in (None, bench.look):
        # Another pair, or another classifier: nobody asked for a search of these.
        state.put(SEARCH.key, None)
        _offer_search(place, float(params.lam))
        return
    st.session_state["searched-look"] = bench.look
    asked = RLMixParams(lam)
    choice: PercentileChoice | None = compute.CHOICES.get((bench.look, SEARCHED, asked, None))
    if choice is None:
        choice = _search(bench, asked, place)
    if choice is not None:
        with place.container():
            _show_rewards(choice, params, lam)


def _explain_search() -> None:
    st.html(
        '<div class="mv-small">RL-Mix lets an agent choose q₀ and q₁ for each pair, on 8×8 '
        "patches. Its reward: the cosine of a picture’s saliency and the mix’s, both pooled to "
        f"8×8. Here all {TRIES} pairs of percentiles are tried instead: <b>exhaustive search, not "
        "the learned policy</b>; the best that an agent could choose for this pair and λ.</div>"
    )


def _offer_search(place: "st.delta_generator.DeltaGenerator", lam: float) -> None:
    with place.container():
        _explain_search()
        st.button(
            f"Search {TRIES} pairs of percentiles",
            key="search",
            on_click=partial(_start_search, lam),
        )


def _search(
    bench: Bench, asked: RLMixParams, place: "st.delta_generator.DeltaGenerator"
) -> PercentileChoice | None:
    """Search under a bar; Cancel, or any newer run of the page, ends it."""
    with place.container():
        _explain_search()
        progress = st.progress(0.0, "The classifier is waiting …")
        st.button("Cancel", key="cancel", on_click=_cancel_search)

    def say(done: int, total: int) -> None:
        compute.yield_to_newer_run()
        progress.progress(done / total, f"{done} of {total} pairs of percentiles tried")

    try:
        return compute.search(bench.look, SEARCHED, asked, bench.seen.pair, classifier.own(), say)
    except (ValueError, EngineError) as problem:
        state.put(SEARCH.key, None)
        place.error(str(problem))
        return None


def _show_policy(bench: Bench) -> None:
    """Say what a loaded policy chooses for the pair, and offer to take it over."""
    agent.ask(len(bench.seen.class_names))
    chosen = agent.choose(bench)
    if chosen is None:
        if agent.own() is not None:
            st.caption("The loaded policy is for another number of classes: it is not asked.")
        return
    q0, q1 = (_nearest(float(q[0])) for q in chosen)
    st.caption(f"The loaded policy chooses q₀ {q0:.2f} and q₁ {q1:.2f}.")
    st.button(
        "Adopt the policy’s",
        key="policy-adopt",
        on_click=partial(_take, q0=q0, q1=q1, num_patches=RLMixParams().num_patches, strategy="3"),
    )


def _nearest(q: float) -> float:
    return min(PERCENTILES, key=lambda one: abs(one - q))


def _picked() -> None:
    """Adopt the percentiles of the cell that was clicked."""
    for point in st.session_state["rewards"]["selection"]["points"]:
        cell = point.get("customdata")
        if isinstance(cell, list) and len(cell) == 2:
            _adopt(*cell)


def _adopt(row: int, column: int) -> None:
    """Mix as the search did: with its percentiles, on its patches, by the paper's strategy."""
    if all(isinstance(i, int) and 0 <= i < PERCENTILE_COUNT for i in (row, column)):
        q0, q1 = PERCENTILES[row], PERCENTILES[column]
        _take(q0=q0, q1=q1, num_patches=RLMixParams().num_patches, strategy="3")


def _show_rewards(choice: PercentileChoice, params: RMixParams, lam: float) -> None:
    best = (_cell(float(choice.q0[0])), _cell(float(choice.q1[0])))
    assert best[0] is not None
    assert best[1] is not None
    row, column = best[0], best[1]
    rewards, cosines = choice.rewards[0].numpy(), choice.cosines[0].numpy()
    current = (_cell(float(params.q0)), _cell(float(params.q1)))
    as_searched = params.num_patches == RLMixParams().num_patches and params.strategy == "3"
    here = (current[0], current[1]) if None not in current and as_searched else None
    q0, q1 = PERCENTILES[row], PERCENTILES[column]
    said = (
        f"At λ = {lam:.2f} the best is q₀ = {q0:.2f}, q₁ = {q1:.2f}: reward "
        f"{rewards[row, column]:.3f}, the mean of A’s cosine {cosines[0, row, column]:.3f} and "
        f"B’s {cosines[1, row, column]:.3f}."
    )
    _explain_search()
    st.html(f'<div class="mv-head" data-best="{row}-{column}">{said}</div>')
    if lam != float(params.lam):
        st.html(
            f'<div class="mv-small" data-stale="1">▲ λ is {float(params.lam):.2f} by now; another '
            "λ has other rewards.</div>"
        )
    with st.container(horizontal=True, gap="small"):
        st.button(
            "Adopted" if here == (row, column) else "Adopt the best",
            key="adopt",
            on_click=partial(_adopt, row, column),
            disabled=here == (row, column),
            help="Sets q₀ and q₁, 8 patches per side and strategy 3, as searched.",
        )
        if lam != float(params.lam):
            st.button(
                f"Search again at λ = {float(params.lam):.2f}",
                key="search",
                on_click=partial(_start_search, float(params.lam)),
            )
    dark = st.context.theme.type == "dark"
    st.plotly_chart(
        reward_map(
            rewards,
            cosines,
            PERCENTILES,
            (row, column),
            cast("tuple[int, int] | None", here),
            DARK if dark else LIGHT,
        ),
        theme=None,
        width=480,
        key="rewards",
        on_select=_picked,
        selection_mode="points",
        config={"displayModeBar": False},
        alt=f"Reward of {TRIES} pairs of percentiles, {rewards.min():.3f} to {rewards.max():.3f}. "
        f"{said}",
    )
    now = (
        "Ring: what is mixed now."
        if here
        else "What is mixed now is not on the map: 8 patches, strategy 3 and its percentiles are."
    )
    st.caption(f"Outlined: the best. {now} A click on a cell mixes with it.")


def _cell(q: float) -> int | None:
    """Return which of the percentiles it is."""
    return next((i for i, one in enumerate(PERCENTILES) if abs(one - q) < 1e-6), None)


# --- what is seen and measured


def _show_sight(bench: Bench, trace: RMixTrace, params: RMixParams) -> None:
    st.subheader("What the classifier sees")
    seen = bench.seen
    probabilities, _ = compute.predict(
        bench.look, (bench.look, params), trace.mixed, classifier.own()
    )
    labels = [int(part.explanation.label[0]) for part in (seen.a, seen.b)]
    marked = {labels[1]: "b", labels[0]: "a"}
    show_guesses("The mix", probabilities, seen.class_names, marked)
    with st.expander("A and B alone"):
        for letter, part in (("A", seen.a), ("B", seen.b)):
            alone = part.explanation.logits.softmax(1)[0]
            show_guesses(f"Picture {letter}", alone, seen.class_names, marked)


def _show_numbers(bench: Bench, trace: RMixTrace, params: RMixParams, seconds: float) -> None:
    seen = bench.seen
    probabilities, predicting = compute.predict(
        bench.look, (bench.look, params), trace.mixed, classifier.own()
    )
    labels = torch.stack([seen.a.explanation.label, seen.b.explanation.label], 1)
    # One reference map for every method: the gradient, unblurred.
    maps = [sum_to_one(part.explanation.saliency) for part in (seen.a, seen.b)]
    found = measure(
        trace.mixed,
        METHOD.seen(trace, maps[0], maps[1]),
        trace.weights,
        probabilities.clamp_min(1e-12).log()[None],
        labels,
    )
    first = "yes" if bool(found.top_1[0]) else "no"
    both = "yes" if bool(found.top_2[0]) else "no"
    if bool(found.same_label[0]):
        both = "– (one label)"
    a, b = (float(weight) for weight in trace.weights[0])
    looking = seen.a.seconds + seen.b.seconds
    st.html(
        '<div class="mv-small" data-numbers="1">'
        f"λ asked {float(params.lam):.2f} · weights given A {a:.3f}, B {b:.3f}, sum {a + b:.3f} · "
        f"mask area of B {float(trace.mask.mean()):.3f} · "
        f"saliency exposed A {float(found.exposed_0[0]):.3f}, B {float(found.exposed_1[0]):.3f} · "
        f"total variation {float(found.total_variation[0]):.4f} · "
        f"loss against the label given {float(found.loss[0]):.2f} · "
        f"top-1 is A or B: {first} · top-2 are both: {both}<br>"
        f"Time: saliency of both {looking * 1e3:.0f} ms · whole mix {seconds * 1e3:.1f} ms · "
        f"prediction {predicting * 1e3:.0f} ms</div>"
    )


def _show_paper_versus_code() -> None:
    with st.expander("Paper and released code differ in places that matter here"):
        st.markdown(
            """
| | paper | released code | here |
|---|---|---|---|
| *p* | “size p × p” and “kernel size p” | kernel of 8 or 16 on 32 px | patches per side, 2 or 4 |
| λ | share of A | share of A | share of B |
| filter | “*m*_inter = max(*m*₀, *m*₁)” | as eq. 6 | as eq. 6 |
| strategy 2 | top and least pasted | A where both agree, B elsewhere | as the code |
| strategy 4 | the least salient one | so, but with the other’s label | label follows pixels |
| partner | a random permutation | CIFAR so; ImageNet reversed batch | the pair you choose |
| loss | binary cross-entropy | soft-target cross-entropy | cross-entropy |
| RL-Mix patches | 8 | the agent sees 8, the mix uses 2 or 4 | 8 for both |
| RL-Mix reward | cosine of the saliencies | one for the whole batch | one per picture, their mean |
| RL-Mix agent | PPO | does not start as released | your trained policy, else exhaustive search |
"""
        )
