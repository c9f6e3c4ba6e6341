"""The GuidedMixup page: a batch, who is paired with whom, and which pixel goes to whom."""

import base64
import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from typing import Any, cast

import numpy as np
import streamlit as st
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mixviz import stage, zoo
from mixviz.core.pairing import (
    EXACT_LIMIT,
    PAIRING_FLAGS,
    PAIRING_SOLVERS,
    Pairing,
    pair_by_distance,
    pair_distances,
)
from mixviz.core.saliency import explain, spectral_residual
from mixviz.core.types import Pair
from mixviz.methods import METHODS
from mixviz.methods.guidedmixup import GuidedMixupParams, GuidedMixupTrace, blur
from mixviz.samples import SAMPLES, Picture
from mixviz.ui import classifier, compute, joint, knobs, pictures, pixel_staging, state
from mixviz.ui.compute import Framing
from mixviz.ui.frame import Page
from mixviz.ui.state import Field, one_of
from mixviz.viz import pairing as charts
from mixviz.viz.draw import heat, mask_colours, to_png, to_rgb
from mixviz.viz.look import DARK, LIGHT, Look

SLUG = "guidedmixup"
METHOD = METHODS[SLUG]
SIZES = (8, 16, 32, 64)  # of the sample batches
LEAST, MOST = 3, 64
SOURCES = {"spectral": "spectral residual (SR)", "gradient": "gradient (AP)"}
ORDERS = {"greedy": "as the greedy cycle", "cycles": "by the cycles shown"}
WHOLE = (0.5, 0.5, 1.0)
TIME_LIMIT = 2.0  # seconds that a visitor waits for the exact pairing
CHUNK = 8  # pictures explained at once
MAPS, PAIRINGS, SMALL = compute.Counted(256), compute.Counted(64), compute.Counted(512)


@dataclass(frozen=True)
class Item:
    """One picture of the batch: a bundled or uploaded picture and the square taken of it."""

    picture: str
    x: float = 0.5
    y: float = 0.5
    zoom: float = 1.0

    def square(self) -> tuple[float, float, float]:
        """Return where the square stands: x, y, zoom."""
        return self.x, self.y, self.zoom

    def framing(self) -> Framing:
        """Return the square for `compute`."""
        return Framing(pictures.picture(self.picture).digest, self.x, self.y, self.zoom)


def sample_batch(count: int) -> tuple[Item, ...]:
    """Return a batch of bundled photographs: all whole ones first, then closer squares of them."""
    whole = [Item(slug) for slug in SAMPLES]
    places = ((0.0, 0.0), (1.0, 1.0), (1.0, 0.0), (0.0, 1.0))
    closer = [Item(slug, x, y, 1.6) for x, y in places for slug in SAMPLES]
    return tuple([*whole, *closer][:count])


def _read_item(text: str) -> Item:
    name, *rest = text.split("~")
    picture = pictures.BY_NAME["a"].parse(name)
    if not rest:
        return Item(picture)
    if len(rest) != 3:
        raise ValueError("must name pictures, each with nothing or ~x~y~zoom behind it")
    x, y, zoom = (
        pictures.BY_NAME[field].parse(part)
        for field, part in zip(("ax", "ay", "azoom"), rest, strict=True)
    )
    return Item(picture, x, y, zoom)


def _read_batch(text: str) -> tuple[Item, ...]:
    if text in {f"sample-{size}" for size in SIZES}:
        return sample_batch(int(text.removeprefix("sample-")))
    items = tuple(_read_item(part) for part in text.split(","))
    if not LEAST <= len(items) <= MOST:
        raise ValueError(f"must name {LEAST} to {MOST} pictures")
    return items


def _write_batch(items: tuple[Item, ...]) -> str:
    if len(items) in SIZES and items == sample_batch(len(items)):
        return f"sample-{len(items)}"
    whole = [
        one.picture
        if one == Item(one.picture)
        else f"{one.picture}~{one.x:g}~{one.y:g}~{one.zoom:g}"
        for one in items
    ]
    return ",".join(whole)


def batch_around_the_pair() -> str:
    """Return, as in a URL, a batch of eight that begins with the pair the other pages look at."""
    fields = {name: state.get(field) for name, field in pictures.BY_NAME.items()}
    pair = [
        Item(fields[side], *(fields[f"{side}{name}"] for name in ("x", "y", "zoom")))
        for side in "ab"
    ]
    taken = {item.picture for item in pair}
    others = [item for item in sample_batch(len(SAMPLES)) if item.picture not in taken]
    return _write_batch((*pair, *others[: 8 - len(pair)]))


BATCH = Field("batch", "guided.batch", sample_batch(16), _read_batch, _write_batch)
FIELDS = [
    BATCH,
    Field("source", "guided.source", "spectral", one_of(SOURCES)),
    Field("solver", "guided.solver", "greedy", one_of(PAIRING_SOLVERS)),
    Field("order", "guided.order", "greedy", one_of(ORDERS)),
    state.whole_field("draw", "guided.draw", 0, MOST),
    state.whole_field("pick", "guided.pick", 0, MOST),
    state.whole_field("step", "guided.step", None, MOST),
]
BY_NAME = {field.name: field for field in FIELDS}


def fields() -> list[Field]:
    """Return what the URL of this page carries."""
    model = [field for field in classifier.FIELDS if field.name == "model"]
    return [*FIELDS, *model, *state.param_fields(SLUG, METHOD.opening(1)), *joint.fields()]


def _get(name: str) -> Any:
    return state.get(BY_NAME[name])


def _batch() -> tuple[Item, ...]:
    """Return the batch; uploads that are not on this server are left out in words."""
    items: tuple[Item, ...] = _get("batch")
    here = tuple(
        item
        for item in items
        if not item.picture.startswith(pictures.UPLOAD) or item.picture in pictures.uploads()
    )
    if len(here) < len(items):
        state.notify(
            f"Uploaded pictures of the link that are not on this server: {len(items) - len(here)}; "
            "upload them again to see the same batch."
        )
    return here if len(here) >= LEAST else sample_batch(8)


def _set_batch(items: tuple[Item, ...]) -> None:
    state.put("guided.batch", items)
    state.put("guided.pick", 0)
    state.put("guided.step", None)


def _take_uploads() -> None:
    new = [name for name in pictures.take_files() if Item(name) not in _batch()]
    room = MOST - len(_batch())
    if len(new) > room:
        state.notify(f"A batch holds {MOST} pictures; {len(new) - room} were left out.")
    _set_batch((*_batch(), *(Item(name) for name in new[:room])))


def _remove(index: int) -> None:
    items = _batch()
    if len(items) <= LEAST:
        state.notify(f"A batch holds at least {LEAST} pictures.")
        return
    _set_batch(items[:index] + items[index + 1 :])


def _ask_batch() -> None:
    """Draw the part of the sidebar that makes the batch."""
    items = _batch()
    st.markdown(f"**Batch of {len(items)} pictures**")
    with st.container(horizontal=True, gap="small"):
        for size in SIZES:
            st.button(
                str(size),
                key=f"sample-{size}",
                on_click=_set_batch,
                args=(sample_batch(size),),
                help=f"The sample batch of {size}",
            )
    with st.expander("Change the batch"):
        turn = st.session_state.setdefault("upload-turn", 0)
        st.file_uploader(
            "Add PNG, JPEG or WebP, up to 10 MB each",
            accept_multiple_files=True,
            key=f"upload-{turn}",
            on_change=_take_uploads,
        )
        missing = [slug for slug in SAMPLES if Item(slug) not in items]
        st.selectbox(
            "Add a bundled picture",
            [None, *missing],
            format_func=lambda slug: "choose" if slug is None else SAMPLES[slug].name,
            key="guided-add",
            on_change=_add_bundled,
        )
        st.button("Clear to the first three", on_click=_set_batch, args=(items[:LEAST],))


def _add_bundled() -> None:
    slug = st.session_state.get("guided-add")
    if slug is not None and len(_batch()) < MOST:
        _set_batch((*_batch(), Item(slug)))
    st.session_state["guided-add"] = None


def _choose(name: str, label: str, options: Mapping[str, str], help_text: str) -> None:
    key = _hold(name, options)
    state.kept()[BY_NAME[name].key] = st.selectbox(
        label, list(options), format_func=lambda one: options[one], key=key, help=help_text
    )


def _hold(name: str, options: Container[Any]) -> str:
    """Give a widget the value that is kept, and return its key."""
    key = state.widget_key(BY_NAME[name].key)
    st.session_state.setdefault(key, _get(name))
    if st.session_state[key] not in options:
        st.session_state[key] = BY_NAME[name].default
    return key


def _ask() -> None:
    words = {
        "greedy": "greedy (the paper)",
        "improved": "greedy, improved",
        "exact": "exact",
        "random": "random",
    }
    options = {name: words[name] for name in PAIRING_SOLVERS}
    if len(_batch()) > EXACT_LIMIT:
        del options["exact"]
    _choose("solver", "Pairing", options, "random is what the released CIFAR code really does.")
    if _get("solver") == "random":
        key = _hold("draw", range(MOST))
        state.kept()["guided.draw"] = st.number_input(
            "Draw", 0, MOST - 1, key=key, help="The seed of the permutation."
        )
    _choose("source", "Saliency", SOURCES, "SR needs no classifier; AP asks it once per picture.")
    knobs.ask(SLUG, METHOD.opening(1), ("blur_kernel", "blur_sigma"))
    _choose("order", "Order of the ring", ORDERS, "The matrix follows the same order.")
    st.slider(
        "*λ* share of B asked for",
        0.0,
        1.0,
        0.5,
        disabled=True,
        help="GuidedMixup does not use λ: the saliencies alone decide the shares.",
    )
    st.caption("λ is not used: the label is independent of it.")


def _saliency(items: Sequence[Item], source: str) -> Tensor:
    """Return the maps (M, h, w), the ones not known yet computed in chunks under a bar."""
    size = pictures.size()
    model = classifier.model() if source == "gradient" else ""
    keys = [(item.framing(), size, source, model) for item in items]
    held = _held(items)
    missing = [index for index, key in enumerate(keys) if MAPS.get(key) is None]
    place = st.empty()
    began = time.monotonic()
    for start in range(0, len(missing), CHUNK):
        part = missing[start : start + CHUNK]
        images = torch.cat([_image(items[index], held) for index in part])
        for index, found in zip(part, _maps(images, source, model), strict=True):
            MAPS.put(keys[index], found)
        if time.monotonic() - began > 0.3:
            done = start + len(part)
            place.progress(done / len(missing), f"Saliency of {done} of {len(missing)} pictures")
        compute.yield_to_newer_run()
    place.empty()
    return torch.stack([cast(Tensor, MAPS.get(key)) for key in keys])


def _held(items: Sequence[Item]) -> dict[str, Picture]:
    """Return the pictures of a batch by digest."""
    found = (pictures.picture(item.picture) for item in items)
    return {picture.digest: picture for picture in found}


def _image(item: Item, held: Mapping[str, Picture]) -> Tensor:
    return compute.to_tensor(compute.crop(item.framing(), pictures.size(), held))


def _maps(images: Tensor, source: str, model: str) -> Tensor:
    if source == "spectral":
        return spectral_residual(images)

    def work() -> Tensor:
        network = compute.classifier(model, classifier.own())
        return explain(network, images.to(compute.device())).saliency.cpu()

    compute.class_names(model, classifier.own())
    return compute.in_engine("batch", work, compute.yield_to_newer_run)


def _pairings(maps: Tensor, key: object) -> dict[str, Pairing]:
    """Return the pairing of every solver; one distance matrix serves all."""
    found: dict[str, Pairing] = {}
    distances = PAIRINGS.get((key, "distances"))
    if distances is None:
        distances = PAIRINGS.put((key, "distances"), pair_distances(maps))
    for solver in PAIRING_SOLVERS:
        if solver == "exact" and len(maps) > EXACT_LIMIT:
            continue
        drawn = _get("draw") if solver == "random" else 0
        one = PAIRINGS.get((key, solver, drawn))
        if one is None:
            one = PAIRINGS.put(
                (key, solver, drawn), pair_by_distance(distances, solver, drawn, 2.0)
            )
        found[solver] = one
    return found


def _thumbnail(item: Item) -> str:
    key = (item, "thumbnail")
    found: str | None = SMALL.get(key)
    if found is None:
        found = SMALL.put(key, pictures.thumbnail(item.picture, item.square()))
    return found


def _name(item: Item) -> str:
    name = pictures.name_of(item.picture)
    return name if item.zoom == 1 else f"{name}, closer"


def show(page: Page) -> None:
    """Draw the page below its title."""
    items = _batch()
    with st.sidebar:
        _ask_batch()
        _ask()
    params = cast(GuidedMixupParams, knobs.params(SLUG, METHOD.opening(1)))
    try:
        maps = _saliency(items, _get("source"))
    except zoo.ZooError as problem:
        st.error(str(problem))
        return
    blurred = blur("saliency", maps, params)
    key = (items, pictures.size(), _get("source"), classifier.model(), params)
    pairings = _pairings(blurred, key)
    solver = _get("solver") if _get("solver") in pairings else "greedy"
    shown = pairings[solver]
    partner = [int(j) for j in shown.partner]
    step = _step(shown)
    pick = min(int(_get("pick")), len(items) - 1) if step is None else shown.steps[step].source
    built = dict(enumerate(partner))
    if step is not None:
        built = {one.source: one.target for one in shown.steps[: step + 1]}
    order = _order(pairings["greedy"] if _get("order") == "greedy" else shown)
    names = [_name(item) for item in items]
    look = DARK if st.context.theme.type == "dark" else LIGHT
    _say(shown, partner, names, pick)
    _ask_step(shown, names)
    struck = [] if step is None else [one.source for one in shown.steps[: step + 1]]
    # The first step takes the largest distance of all rows.
    scanned = pick if step else None
    weight = shown.distances.cpu().numpy()
    small = [_thumbnail(i) for i in items]
    ring = charts.ring(order, built, weight, names, small, pick, look)
    grid = charts.matrix(order, built, weight, names, pick, struck, scanned, look)
    # Above two dozen pictures the ring is a bird's nest: the matrix comes first.
    figures = [("ring", ring, "Who is mixed with whom"), ("matrix", grid, "Distances")]
    who = "; ".join(f"{names[i]} to {names[j]}" for i, j in built.items())
    for column, (name, figure, title) in zip(
        st.columns(2, gap="large"), figures if len(items) <= 24 else figures[::-1], strict=True
    ):
        with column:
            st.subheader(title)
            st.plotly_chart(
                figure,
                theme=None,
                key=f"{name}-{len(items)}",
                on_select=lambda name=name: _picked(f"{name}-{len(items)}"),
                selection_mode="points",
                config={"displayModeBar": False},
                alt=f"{title}: {who}",
            )
    page.finish()
    _show_solvers(pairings, solver, blurred, look)
    _show_pair(items, maps, partner, pick, params)
    _show_sources([items[pick], items[partner[pick]]], params)
    _show_gallery(items, maps, partner, pick, params)
    held = _held(items)
    joint.show(
        lambda: torch.cat([_image(item, held) for item in items]),
        maps,
        names,
        (items, pictures.size(), _get("source"), classifier.model()),
        look,
    )
    _show_paper_versus_code()


def _pick(index: int) -> None:
    """Look at the pair of this source; that ends the walk through the greedy."""
    state.put("guided.pick", index)
    state.put("guided.step", None)


def _order(pairing: Pairing) -> list[int]:
    return [index for cycle in pairing.cycles for index in cycle]


def _picked(chart: str) -> None:
    """Take the pair that was clicked in ring or matrix."""
    points = st.session_state[chart]["selection"]["points"]
    for point in points:
        data = point.get("customdata")
        index = data[0] if isinstance(data, list) else data
        if isinstance(index, int):
            _pick(index)


def _say(pairing: Pairing, partner: list[int], names: list[str], pick: int) -> None:
    cycles = len(pairing.cycles)
    words = [
        f"{names[pick]} ({pick + 1}) is mixed with {names[partner[pick]]} ({partner[pick] + 1}); "
        f"{'one cycle' if cycles == 1 else f'{cycles} cycles'} through {len(partner)} pictures."
    ]
    words += [
        f"▲ {PAIRING_FLAGS[name]} ({', '.join(names[i] for i in found[:4])}"
        f"{' …' if len(found) > 4 else ''})"
        for name, found in pairing.flags.items()
    ]
    st.html(f'<div class="mv-small" data-pick="{pick}">{escape(" ".join(words))}</div>')


def _step(pairing: Pairing) -> int | None:
    """Return the step of the greedy that is looked at, None for its result."""
    step = _get("step")
    return step if step is not None and step < len(pairing.steps) else None


def _ask_step(pairing: Pairing, names: list[str]) -> None:
    """Walk through the greedy."""
    if not pairing.steps:
        return
    last = len(pairing.steps)
    options: list[int | None] = [None, *range(last)]
    key = _hold("step", options)
    step = state.kept()["guided.step"] = st.select_slider(
        "Step through the greedy",
        options,
        format_func=lambda at: "result" if at is None else f"{at + 1} of {last}",
        key=key,
    )
    if step is None:
        return
    one = pairing.steps[step]
    row, target = (
        f"{names[one.source]} ({one.source + 1})",
        f"{names[one.target]} ({one.target + 1})",
    )
    scanned = (
        f"All rows: the largest distance is from {row} to {target}"
        if step == 0
        else f"Row {row}: all others are taken, the cycle closes with {target}"
        if step == last - 1
        else f"Row {row}: its farthest picture left is {target}"
    )
    st.caption(
        f"{scanned}, distance {one.distance:.4f}. The column of the row just used is struck out, "
        "so that nobody comes back before the end."
    )


def _overlap(blurred: Tensor, partner: Tensor) -> float:
    """Return the mean over pairs of Σ min of the two saliency maps."""
    return float(torch.minimum(blurred, blurred[partner]).sum((1, 2)).mean())


def _show_solvers(
    pairings: Mapping[str, Pairing], solver: str, blurred: Tensor, look: Look
) -> None:
    st.subheader("Beside the other solvers", help="The dotted line is what no pairing exceeds.")
    best = pairings.get("exact", pairings["improved"])
    left, right = st.columns([1, 1.4], gap="large")
    with left:
        rows = [(name, one.total, name == solver) for name, one in pairings.items()]
        summary = "; ".join(f"{name} {total:.4f}" for name, total, _ in rows)
        st.plotly_chart(
            charts.totals(rows, best.bound, look),
            theme=None,
            key="totals",
            config={"displayModeBar": False},
            alt=f"Total distance by solver: {summary}",
        )
    with right:
        st.dataframe(
            [
                {
                    "solver": name,
                    "Σ distance": round(one.total, 4),
                    "% of the best": round(100 * one.total / best.total, 2) if best.total else None,
                    "overlap": round(_overlap(blurred, one.partner), 4),
                    "cycles": len(one.cycles),
                    "self-pairs": len(one.flags.get("self_pair", ())),
                    "2-cycles": len(one.flags.get("two_cycle", ())) // 2,
                    "ms": round(one.seconds * 1e3, 2),
                }
                for name, one in pairings.items()
            ],
            hide_index=True,
        )


def _mix(
    items: Sequence[Item], maps: Tensor, pairs: Sequence[tuple[int, int]], params: GuidedMixupParams
) -> GuidedMixupTrace:
    held = _held(items)
    first, second = ([pair[side] for pair in pairs] for side in (0, 1))
    images = [torch.cat([_image(items[i], held) for i in side]) for side in (first, second)]
    pair = Pair(images[0], images[1], maps[first], maps[second])
    return cast(GuidedMixupTrace, METHOD.mix(pair, params))


def _figure(title: str, pixels: NDArray[np.uint8], extra: str = "") -> str:
    source = base64.b64encode(to_png(pixels)).decode()
    return (
        f'<figure class="{extra}"><figcaption>{title}</figcaption>'
        f'<img src="data:image/png;base64,{source}" alt=""></figure>'
    )


def _on_stage(result: stage.StageResult) -> None:
    if result.overlay is not None:
        state.kept()["guided.overlay"] = result.overlay


def _show_pair(
    items: Sequence[Item], maps: Tensor, partner: list[int], pick: int, params: GuidedMixupParams
) -> None:
    st.subheader("The pair")
    other = partner[pick]
    trace = _mix(items, maps, [(pick, other)], params)
    held = {
        pictures.picture(items[i].picture).digest: pictures.picture(items[i].picture)
        for i in (pick, other)
    }
    scene = pixel_staging.guided_scene(
        (pick, other),
        (_name(items[pick]), _name(items[other])),
        (_image(items[pick], held), _image(items[other], held)),
        (maps[pick : pick + 1], maps[other : other + 1]),
        trace,
    )
    stage.shelf([scene.picture_0, scene.saliency_0], key="pair-a")
    stage.shelf([scene.picture_1, scene.saliency_1], key="pair-b")
    stage.show_pixels(
        scene,
        lam=0.5,
        key="pair",
        overlay=state.kept().get("guided.overlay", "heat"),
        on_change=_on_stage,
    )
    _show_weights(trace, 0)
    st.html(
        '<div class="mv-small">Share of B at a pixel = z_B / (z_A + z_B) of the blurred maps; the '
        f"label is their mean: A {float(trace.weights[0, 0]):.3f}, "
        f"B {float(trace.weights[0, 1]):.3f}, sum {float(trace.weights[0].sum()):.3f}; mask area "
        f"of B {float(trace.mask.mean()):.3f}; λ is not used.</div>"
    )


def _show_sources(pair: Sequence[Item], params: GuidedMixupParams) -> None:
    """Show what either saliency says of the pair, blurred as it is compared."""
    st.subheader(
        "SR beside AP", help="The same two pictures seen by their spectrum and by the classifier."
    )
    figures, sentences = [], []
    for source, title in SOURCES.items():
        try:
            blurred = blur("saliency", _saliency(pair, source), params)
        except zoo.ZooError as problem:
            st.warning(str(problem))
            return
        peak = float(blurred.quantile(0.995))
        share = (blurred[1] / (blurred[0] + blurred[1])).nan_to_num(0.5)
        short = title.partition("(")[2].rstrip(")")
        figures += [
            _figure(f'<span class="mv-tag">A</span> {short}', heat(blurred[0].numpy(), peak)),
            _figure(f'<span class="mv-tag mv-b">B</span> {short}', heat(blurred[1].numpy(), peak)),
            _figure(f"Mask by {short}", mask_colours(share.numpy())),
        ]
        distance = float(pair_distances(blurred)[0, 1])
        sentences.append(f"{title}: distance {distance:.4f}, B gets {float(share.mean()):.1%}")
    st.html(
        f'<div class="mv-panels" data-sources="1">{"".join(figures)}</div>'
        f'<div class="mv-small">{"; ".join(sentences)}. Choose at the left which of the two '
        "the batch is paired by.</div>"
    )


def _show_weights(trace: GuidedMixupTrace, item: int) -> None:
    a, b = (float(share) for share in trace.weights[item])
    st.html(
        f'<div class="mv-weights" role="img" aria-label="Label given: A {a:.1%}, B {b:.1%}">'
        f'<div class="a" style="flex:{a:.4f}">A {a:.0%}</div>'
        f'<div class="b" style="flex:{b:.4f}">B {b:.0%}</div></div>'
    )


def _show_gallery(
    items: Sequence[Item], maps: Tensor, partner: list[int], pick: int, params: GuidedMixupParams
) -> None:
    st.subheader("All mixes of the batch")
    trace = _mix(items, maps, list(enumerate(partner)), params)
    columns = st.columns(8, gap="small")
    for i, j in enumerate(partner):
        with columns[i % 8]:
            file = BytesIO()
            Image.fromarray(to_rgb(trace.mixed[i].numpy())).resize((112, 112)).save(
                file, "JPEG", quality=85
            )
            source = base64.b64encode(file.getvalue()).decode()
            a, b = (float(share) for share in trace.weights[i])
            outline = "outline:3px solid #0072B2" if i == pick else ""
            st.html(
                f'<img src="data:image/jpeg;base64,{source}" style="width:100%;{outline}" '
                f'alt="{escape(_name(items[i]))} and {escape(_name(items[j]))}">'
                f'<div class="mv-small">{i + 1} → {j + 1}: {a:.0%}, {b:.0%}</div>'
            )
            with st.container(horizontal=True, gap="small"):
                st.button(
                    "Show",
                    key=f"show-{i}",
                    type="tertiary",
                    on_click=_pick,
                    args=(i,),
                    disabled=i == pick,
                )
                st.button(
                    "✕",
                    key=f"remove-{i}",
                    type="tertiary",
                    on_click=_remove,
                    args=(i,),
                    help=f"Take {_name(items[i])} out of the batch",
                )


def _show_paper_versus_code() -> None:
    with st.expander("Paper and released code differ in places that matter here"):
        st.markdown(
            """
| | paper | released code | here |
|---|---|---|---|
| greedy | strikes out the wrong column | right in one folder | the column of the row used |
| CIFAR, Tiny-ImageNet | greedy | asks for a name nobody knows: random | greedy unless chosen |
| blur of SR | once | twice | once |
| magnitude of SR | as Hou and Zhang | not squared | squared |
| 0/0 in the mask | – | NaN | ½ |
| λ | not needed | drawn, never used | not used |
"""
        )
