"""The Puzzle Mix page: knobs → mix → stage, then what each step bought and what is seen."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import streamlit as st
import torch

from mixviz import stage
from mixviz.core.blocks import grow, move_blocks, sum_to_one
from mixviz.core.energy import largest_pool
from mixviz.core.mask import MASK_SOLVERS
from mixviz.core.measure import (
    exposed_saliency,
    soft_cross_entropy,
    top_1_counts,
    top_2_counts,
    total_variation,
)
from mixviz.core.transport import TRANSPORT_SOLVERS
from mixviz.core.types import Pair
from mixviz.detectors import AT_ONCE, Case, check, examine
from mixviz.methods import METHODS
from mixviz.methods.base import LAM_STOPS
from mixviz.methods.puzzle_mix import TRANSPORT_MASKS, PuzzleMixParams, PuzzleMixTrace
from mixviz.spec import notes
from mixviz.ui import as_code, classifier, compute, knobs, pictures, staging, state
from mixviz.ui.compute import Look
from mixviz.ui.frame import Page
from mixviz.ui.guesses import show_guesses
from mixviz.ui.state import Field
from mixviz.ui.workbench import Bench, prepare
from mixviz.viz.charts import energy_bars

SLUG = "puzzle_mix"
METHOD = METHODS[SLUG]
KNOBS = ("beta", "gamma", "eta", "xi", "grid", "levels")
ADVANCED = (
    "transport",
    "mask_solver",
    "transport_solver",
    "transport_mask",
    "data_term",
    "neigh_size",
    "cycles",
    "nu0",
    "nu1",
    "eps",
    "tau",
    "delta",
    "seed",
)
OPENING = cast(PuzzleMixParams, METHOD.opening(224 // PuzzleMixParams().grid))
PICTURE = "picture"  # the fragment that follows a knob
HEAD_START, FIRST_HEAD_START = 0.03, 1.2  # seconds
CHUNK = 10  # values of λ sent in one message
FRAMES, DRAWN = compute.Counted(1500), compute.Counted(16)


def _parse_step(text: str) -> tuple[str, int] | None:
    kind, _, index = text.rpartition("-")
    if kind in stage.STEP_KINDS and index.isascii() and index.isdigit() and len(index) < 6:
        return kind, int(index)
    raise ValueError("must be a kind and a number, such as swap-3")


STAGE_FIELDS = [
    Field("step", "stage.step", None, _parse_step, state.join),
    state.block_field("block", "stage.block"),
    Field("overlay", "stage.overlay", "blocks", state.one_of(dict.fromkeys(stage.OVERLAYS))),
]


def fields() -> list[Field]:
    """Return what the URL of this page carries beside the pictures."""
    return [*classifier.FIELDS, *state.param_fields(SLUG, OPENING), *STAGE_FIELDS]


def _presets() -> dict[str, PuzzleMixParams]:
    block = pictures.size() // int(state.kept().get(f"{SLUG}.grid", OPENING.grid))
    return {
        name: cast(PuzzleMixParams, make(max(block, 1))) for name, make in METHOD.presets.items()
    }


def _apply_preset() -> None:
    """Set every parameter but λ and the grid, which are the visitor's own question."""
    chosen = st.session_state["preset"]
    if chosen not in _presets():
        return
    preset = _presets()[chosen]
    for name in notes(PuzzleMixParams, object):
        if name not in ("lam", "grid", "seed"):
            state.put(f"{SLUG}.{name}", getattr(preset, name))


def _matching_preset(params: PuzzleMixParams) -> str:
    for name, preset in _presets().items():
        if replace(preset, lam=params.lam, grid=params.grid, seed=params.seed) == params:
            return name
    return "your own"


def _params() -> PuzzleMixParams:
    return cast(PuzzleMixParams, knobs.params(SLUG, OPENING))


def _settle() -> PuzzleMixParams:
    """Return the parameters, those that do not fit the picture mended in words."""
    size = pictures.size()
    grid = int(state.kept().get(f"{SLUG}.grid", OPENING.grid))
    if size % grid:
        fitting = largest_pool(size, grid)
        state.notify(f"{grid} blocks do not divide {size} pixels; {fitting} per side are used.")
        state.put(f"{SLUG}.grid", fitting)
        grid = fitting
    pool = int(state.kept().get(f"{SLUG}.neigh_size", OPENING.neigh_size))
    block = size // grid
    if block % pool:
        fitting = largest_pool(block, pool)
        state.notify(
            f"Seam pooling {pool} does not divide blocks of {block} pixels; {fitting} is used."
        )
        state.put(f"{SLUG}.neigh_size", fitting)
    return _params()


def _disabled(params: PuzzleMixParams) -> dict[str, str]:
    """Say which controls do nothing here, and why."""
    why = {}
    if params.beta == 0:
        why["gamma"] = "β is 0, and γ scales β: it does nothing here."
    if not params.transport:
        for name in ("xi", "transport_solver", "transport_mask"):
            why[name] = "Blocks do not move: this does nothing here."
    if params.levels == 1:
        why["data_term"] = "With two labels both are Definition 2."
    if not (params.nu0 or params.nu1):
        for name in ("eps", "tau", "delta", "seed"):
            why[name] = "Neither picture is attacked: this does nothing here."
    return why


def _sidebar_looks(params: PuzzleMixParams) -> tuple[object, ...]:
    """Return what the sidebar shows beside the values themselves."""
    return _matching_preset(params), tuple(_disabled(params)), len(st.session_state["notices"])


def _knob_moved() -> None:
    """Run the picture alone after a move of a knob, unless the sidebar has to change too.

    A run of the whole page sends some ninety elements, of the picture thirty; the picture is what
    the visitor waits for.
    """
    st.session_state.setdefault("notices", [])
    before = _sidebar_looks(_params())
    state.sync(fields())
    if _sidebar_looks(_settle()) == before and st.session_state.get("picture-drawn"):
        st.rerun(PICTURE)


def ask() -> None:
    """Draw the knobs of this page."""
    params = _settle()
    matching = _matching_preset(params)
    st.session_state["preset"] = matching
    st.selectbox(
        "Start from",
        [*METHOD.presets, *(["your own"] if matching == "your own" else [])],
        key="preset",
        on_change=_apply_preset,
        help="moves: ξ 0.05, so that blocks move. paper: ξ 0.8 with swap and Algorithm 1. "
        "released code: what the published command line computes.",
    )
    disabled = _disabled(params)
    knobs.ask(SLUG, OPENING, KNOBS, disabled, _knob_moved)
    with st.expander("Advanced: solvers, cycles, attack"):
        knobs.ask(SLUG, OPENING, ADVANCED, disabled, _knob_moved)


def _on_stage(result: stage.StageResult) -> None:
    """Carry what was done on the stage into the state; runs before the page does."""
    if result.lam is not None:
        state.kept()[f"{SLUG}.lam"] = result.lam
    state.kept()["stage.block"] = result.block
    state.kept()["stage.step"] = result.step
    if result.overlay is not None:
        state.kept()["stage.overlay"] = result.overlay
    if result.action == "swap":
        pictures.swap()
    elif result.action is not None and result.action.startswith("set_xi:"):
        try:
            xi = float(result.action.removeprefix("set_xi:"))
            replace(OPENING, xi=xi)
        except ValueError:
            return
        state.put(f"{SLUG}.xi", xi)


def _spread(pair: Pair, count: int) -> Pair:
    """Repeat a pair of one along the batch, without copying."""
    parts = {name: value for name, value in vars(pair).items() if value is not None}
    return Pair(**{name: part.expand(count, *part.shape[1:]) for name, part in parts.items()})


def _frames(
    look: Look, params: PuzzleMixParams, pair: Pair, lams: Sequence[float]
) -> list[stage.Frame]:
    """Return the frames of several λ, those not known yet solved as one batch."""
    still = replace(params, lam=0.0)
    found = {lam: FRAMES.get((look, still, lam)) for lam in lams}
    missing = [lam for lam, frame in found.items() if frame is None]
    if missing:
        batch = replace(params, lam=torch.tensor(missing, dtype=torch.float64))
        many = _spread(pair, len(missing))
        trace = cast(PuzzleMixTrace, METHOD.mix(many, batch))
        # Fifty λ that may never be looked at are not worth a search.
        findings = examine(Case(trace, many, batch, METHOD), AT_ONCE)
        for item, lam in enumerate(missing):
            frame = staging.stage_frame(trace, params, lam, item, findings)
            found[lam] = FRAMES.put((look, still, lam), frame)
    return [cast(stage.Frame, found[lam]) for lam in lams]


def _walkable(trace: PuzzleMixTrace, params: PuzzleMixParams) -> PuzzleMixTrace:
    """Return the trace with the paper's own solvers' steps, whichever solver was asked for."""
    steps = MASK_SOLVERS["swap"](trace.mask_problem).steps
    if not params.transport:
        return replace(trace, mask_steps=steps)
    see = TRANSPORT_MASKS[params.transport_mask]
    rounds = [
        TRANSPORT_SOLVERS["paper"](
            blocks.numpy(), see(share).double().numpy(), trace.units.xi.numpy()
        ).rounds
        for blocks, share in ((trace.blocks_0, 1 - trace.z), (trace.blocks_1, trace.z))
    ]
    return replace(trace, mask_steps=steps, rounds_0=rounds[0], rounds_1=rounds[1])


def show(page: Page) -> None:
    """Draw the page below its title."""
    with st.sidebar:
        ask()
    bench = prepare(SLUG, _settle())
    with st.sidebar:
        classifier.ask(bench.seen.class_names if bench else ())
    page.finish()
    if bench is not None:
        _picture(page)


@st.fragment(key=PICTURE)
def _picture(page: Page) -> None:
    """Draw all that follows a knob; also alone, when nothing else has to change."""
    params = _settle()
    bench = prepare(SLUG, params)
    if bench is None:
        return
    trace, seconds = compute.mix(bench.look, SLUG, params, bench.seen.pair)
    trace = cast(PuzzleMixTrace, trace)
    scene = _show_stage(bench, trace, params)
    page.finish()
    below, sweep = st.container(), st.container(key="sweep")
    # The browser draws what has come before it looks at what comes next: let the picture go
    # ahead of the charts, the more so when their library still has to be loaded.
    is_first = not st.session_state.get("picture-drawn")
    # From here on the fragment can run alone, even if a hasty visitor ends this run early.
    st.session_state["picture-drawn"] = True
    if is_first:
        with sweep:
            _send_sweep(bench, params, scene)
    time.sleep(FIRST_HEAD_START if is_first else HEAD_START)
    with below:
        _show_below(bench, trace, params, seconds)
    if not is_first:
        with sweep:
            _send_sweep(bench, params, scene)


def _show_stage(bench: Bench, trace: PuzzleMixTrace, params: PuzzleMixParams) -> stage.Scene:
    key = compute.digest_of(bench.look, replace(params, lam=0.0))
    maps = (bench.seen.pair.s0, bench.seen.pair.s1)
    attack = (params.nu0, params.nu1, params.eps, params.tau, params.delta, params.seed)
    drawn = DRAWN.get((bench.look, bench.names, attack))
    if drawn is None:
        drawn = DRAWN.put(
            (bench.look, bench.names, attack), staging.draw_pair(bench.names, maps, trace)
        )
    scene = staging.stage_scene(key, drawn, trace, params, METHOD.contract)
    stage.shelf([scene.picture_0, scene.saliency_0], key="shelf-a")
    stage.shelf([scene.picture_1, scene.saliency_1], key="shelf-b")
    walkable = staging.stage_steps(_walkable(trace, params), params)
    logits = (bench.seen.a.explanation.logits, bench.seen.b.explanation.logits)
    findings = check(trace, bench.seen.pair, params, METHOD, logits)
    frame = staging.stage_frame(trace, params, float(params.lam), findings=findings)
    step, block = state.kept().get("stage.step"), state.kept().get("stage.block")
    lengths = {steps.kind: len(steps.captions) for steps in walkable}
    if step is not None and step[1] >= lengths.get(step[0], 0):
        step = None
    if block is not None and max(block) >= params.grid:
        block = None
    stage.show(
        scene,
        frame,
        walkable,
        step=step,
        block=block,
        overlay=state.kept().get("stage.overlay", "blocks"),
        on_change=_on_stage,
    )
    return scene


def _send_sweep(bench: Bench, params: PuzzleMixParams, scene: stage.Scene) -> None:
    """Send the other λ in chunks; a newer run of the page takes over between two of them."""
    chunks = [LAM_STOPS[start : start + CHUNK] for start in range(0, len(LAM_STOPS), CHUNK)]
    nearest = sorted(
        range(len(chunks)), key=lambda index: abs(chunks[index][0] + 0.09 - float(params.lam))
    )
    places = [st.container(key=f"sweep-{index}") for index in range(len(chunks))]
    for index in nearest:
        compute.yield_to_newer_run()
        frames = _frames(bench.look, params, bench.seen.pair, chunks[index])
        with places[index]:
            stage.feed(scene.key, frames, key=f"feed-{index}")


def _show_below(
    bench: Bench, trace: PuzzleMixTrace, params: PuzzleMixParams, seconds: float
) -> None:
    left, right = st.columns([1.7, 1], gap="large")
    with left:
        _show_ladder(bench, trace, params)
    with right:
        _show_sight(bench, trace, params)
    _show_numbers(bench, trace, params, seconds)
    _show_paper_versus_code()
    as_code.offer(METHODS["puzzle_mix"], params)


def _show_ladder(bench: Bench, trace: PuzzleMixTrace, params: PuzzleMixParams) -> None:
    st.subheader("What each step bought", help="Every bar is the sum of the terms above.")
    ladder = {
        name: {term: float(v[0]) for term, v in terms.items()} for name, terms in trace.ladder
    }
    other = "swap" if params.mask_solver == "exact" else "exact"
    only_mask = replace(params, mask_solver=other, transport=False, cycles=1)
    rival = cast(
        PuzzleMixTrace,
        compute.mix(bench.look, SLUG, only_mask, bench.seen.pair)[0],
    )
    masks = {
        params.mask_solver: ladder["mask"],
        other: {term: float(v[0]) for term, v in dict(rival.ladder)["mask"].items()},
    }
    gap = masks["swap"]["total"] - masks["exact"]["total"]
    moved = ladder["move"]["total"] - ladder["mask"]["total"]
    rows = [
        ("Before: all A", ladder["start"], ""),
        ("Swap mask", masks["swap"], f"gap {max(gap, 0):.4f}"),
        ("Exact mask", masks["exact"], "the optimum"),
    ]
    if params.transport:
        rows.append(("Blocks moved", ladder["move"], f"{moved:+.4f}"))
    rows += [
        (name.capitalize(), terms, "kept") for name, terms in ladder.items() if "cycle" in name
    ]
    dark = st.context.theme.type == "dark"
    figure = energy_bars(rows, "#E7EAEF" if dark else "#1B1F24")
    summary = "; ".join(f"{name}: {terms['total']:.4f}" for name, terms, _ in rows)
    st.plotly_chart(
        figure,
        theme=None,
        key="ladder",
        config={"displayModeBar": False},
        alt=f"Objective by step. {summary}",
    )


def _show_sight(bench: Bench, trace: PuzzleMixTrace, params: PuzzleMixParams) -> None:
    st.subheader("What the classifier sees")
    seen = bench.seen
    probabilities, _ = compute.predict(
        bench.look, (bench.look, params), trace.mixed, classifier.own()
    )
    labels = [int(part.explanation.label[0]) for part in (seen.a, seen.b)]
    marked = {labels[1]: "b", labels[0]: "a"}
    pair_labels = torch.tensor([labels])
    logits = probabilities.clamp_min(1e-12).log()[None]
    first = "yes" if bool(top_1_counts(logits, pair_labels)[0]) else "no"
    both = "yes" if bool(top_2_counts(logits, pair_labels)[0]) else "no"
    remark = f"Top-1 is A or B: {first}. Top-2 are A and B: {both}."
    if labels[0] == labels[1]:
        remark = "A and B have the same label: top-2 does not apply."
    show_guesses("The mix", probabilities, seen.class_names, marked, remark)
    with st.expander("A and B alone"):
        for letter, part in (("A", seen.a), ("B", seen.b)):
            alone = part.explanation.logits.softmax(1)[0]
            show_guesses(f"Picture {letter}", alone, seen.class_names, marked)


def _show_numbers(
    bench: Bench, trace: PuzzleMixTrace, params: PuzzleMixParams, seconds: float
) -> None:
    maps = [
        move_blocks(sum_to_one(s)[:, None], source)[:, 0]
        for s, source in (
            (bench.seen.pair.s0, trace.source_0),
            (bench.seen.pair.s1, trace.source_1),
        )
    ]
    mask = grow(trace.z, trace.mixed.shape[-1])
    probabilities, predicting = compute.predict(
        bench.look, (bench.look, params), trace.mixed, classifier.own()
    )
    labels = torch.stack([bench.seen.a.explanation.label, bench.seen.b.explanation.label], 1)
    loss = soft_cross_entropy(probabilities.clamp_min(1e-12).log()[None], labels, trace.weights)
    looking = bench.seen.a.seconds + bench.seen.b.seconds
    st.html(
        '<div class="mv-small" data-numbers="1">'
        f"λ asked {float(params.lam):.2f} · weights given A {float(trace.weights[0, 0]):.3f}, "
        f"B {float(trace.weights[0, 1]):.3f}, sum {float(trace.weights[0].sum()):.3f} · "
        f"mask area of B {float(trace.mask.mean()):.3f} · "
        f"saliency exposed {float(exposed_saliency(maps[0], maps[1], mask)[0]):.3f} · "
        f"total variation {float(total_variation(trace.mixed)[0]):.4f} · "
        f"loss against the label given {float(loss[0]):.2f}<br>"
        f"Time: saliency of both {looking * 1e3:.0f} ms · whole mix {seconds * 1e3:.1f} ms, of it "
        f"mask {trace.seconds['mask'] * 1e3:.2f} ms ({trace.mask_engine}) and transport "
        f"{trace.seconds['transport'] * 1e3:.2f} ms · prediction {predicting * 1e3:.0f} ms</div>"
    )


def _show_paper_versus_code() -> None:
    with st.expander("Paper and released code differ in places that matter here"):
        st.markdown(
            """
| | paper | released code | here |
|---|---|---|---|
| direction of λ | share of image 1 | share of image 0 | the paper's |
| β, γ, η | raw | β/(16 n), γ relative to β, η/n² | the code's units, converted; both shown |
| φ with 3+ labels | Definition 3, linear | keeps the residual | `seam term`: the paper's |
| seams | the two pixel rows that touch | pooled by up to 4 pixels first | `seam pooling` |
| mask solver | α-β swap, local | swap, integers can overflow | exact, or swap without overflow |
| transport under ½ | z as a fraction (eq. 5) | z > 0 counts as shown | `mask seen by transport` |
| Algorithm 1 | until it converges | n rounds, some places empty | converged, a permutation |
| zero saliency | – | NaN, then a mask of ones | uniform, and said so |
"""
        )
