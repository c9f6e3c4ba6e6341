"""Manifold Mixup from inside: feature maps of A, of B and of the mix, and what comes of them."""

import base64
from dataclasses import replace

import numpy as np
import streamlit as st
import torch
from numpy.typing import NDArray

from mixviz.methods.base import MixTrace
from mixviz.methods.input_mixup import InputMixupParams
from mixviz.methods.input_mixup import mix as mix_inputs
from mixviz.methods.manifold_mixup import ManifoldMixupParams, ManifoldMixupTrace
from mixviz.methods.variants import VARIANTS
from mixviz.ui import classifier, compute, lineup, state
from mixviz.ui.guesses import show_guesses
from mixviz.ui.workbench import Bench
from mixviz.viz.draw import heat, to_png

VARIANT = VARIANTS["manifold_mixup"]
LAYERS = 9  # more than any classifier here has
CHANNELS = 6
SCALE = "Cividis"  # not the saliency's: these are activations


LAYER = state.whole_field("layer", "inside.layer", 2, LAYERS)


def show(bench: Bench, lam: float, layers: tuple[str, ...]) -> None:
    """Draw the section.

    Args:
        bench: the pair.
        lam: share of B.
        layers: names of the classifier's layers, "input" first.
    """
    st.subheader(
        "Inside Manifold Mixup",
        help="The classifier never sees a mixed picture: it mixes what one of its layers puts out.",
    )
    key = state.widget_key(LAYER.key)
    st.session_state.setdefault(key, state.get(LAYER))
    if st.session_state[key] >= len(layers):
        st.session_state[key] = len(layers) - 1
    chosen = st.segmented_control(
        "Mixed after",
        range(len(layers)),
        format_func=lambda index: layers[index],
        key=key,
        required=True,
    )
    layer = state.kept()[LAYER.key] = int(chosen or 0)
    place = lineup.place(VARIANT, bench, lam, 0, 1)
    place = replace(place, params=ManifoldMixupParams(lam, layer))
    found = lineup.mix(place)
    assert found is not None
    trace = found[0]
    assert isinstance(trace, ManifoldMixupTrace)
    left, right = st.columns([1.7, 1], gap="large")
    with left:
        _show_maps(trace, layers[layer])
    with right:
        _show_guesses(bench, place.key, trace, lam)


def strongest(trace: ManifoldMixupTrace, count: int = CHANNELS) -> list[int]:
    """Return the channels of the mix that vary most over the picture."""
    spread = trace.features[0].flatten(1).std(1)
    return sorted(int(i) for i in spread.topk(min(count, len(spread))).indices)


def _show_maps(trace: ManifoldMixupTrace, name: str) -> None:
    channels = strongest(trace)
    rows = (
        ('<span class="mv-tag">A</span>', "A", trace.features_0),
        ('<span class="mv-tag mv-b">B</span>', "B", trace.features_1),
        ("mix", "the mix", trace.features),
    )
    cells = ["<span></span>", *(f"<span>channel {c}</span>" for c in channels)]
    for tag, words, features in rows:
        cells.append(f"<span>{tag}</span>")
        for channel in channels:
            three = torch.stack([part[0, channel] for _, _, part in rows])
            low, high = float(three.min()), float(three.max())
            values = (features[0, channel] - low).float().numpy()
            cells.append(
                _picture(
                    np.asarray(values, np.float32), high - low, f"Channel {channel} of {words}"
                )
            )
    shape = " × ".join(str(size) for size in trace.features.shape[1:])
    st.html(
        f'<div class="mv-features" data-features="{len(channels)}" '
        f'style="--columns:{len(channels)}">{"".join(cells)}</div>'
        f'<div class="mv-small">After {name}: {shape} values (channels, rows, columns); the '
        f"{len(channels)} channels that vary most, each on one scale for its three maps.</div>"
    )


def _picture(values: NDArray[np.float32], peak: float, alt: str) -> str:
    source = base64.b64encode(to_png(heat(values, peak, SCALE))).decode()
    return f'<img src="data:image/png;base64,{source}" alt="{alt}">'


def _show_guesses(bench: Bench, key: lineup.Memory, trace: ManifoldMixupTrace, lam: float) -> None:
    outside: MixTrace = mix_inputs(bench.seen.pair, InputMixupParams(lam))
    names = {"inside": key, "outside": (bench.look, InputMixupParams(lam))}
    logits = compute.predict_all(
        bench.look, {names["inside"]: trace, names["outside"]: outside}, classifier.own()
    )
    labels = [int(part.explanation.label[0]) for part in (bench.seen.a, bench.seen.b)]
    marked = {labels[1]: "b", labels[0]: "a"}
    for title, name in (("Mixed inside", "inside"), ("Mixed as pictures", "outside")):
        show_guesses(title, logits[names[name]].softmax(0), bench.seen.class_names, marked)
