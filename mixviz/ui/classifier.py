"""Which classifier looks, at which label, and how its saliency is taken."""

import json
from collections.abc import Sequence

import streamlit as st

from mixviz import zoo
from mixviz.samples.decode import MAX_BYTES
from mixviz.ui import compute, state
from mixviz.ui.state import Field

BUNDLED = next(iter(zoo.CATALOGUE))
OWN = "own"


def _parse_label(text: str) -> int | None:
    if text == "predicted":
        return None
    if text.isascii() and text.isdigit() and int(text) < 50_000:
        return int(text)
    raise ValueError("must be the number of a class, or absent for the predicted one")


def _write_label(label: int | None) -> str:
    return "predicted" if label is None else str(label)


MODELS = {**{slug: entry.title for slug, entry in zoo.CATALOGUE.items()}, OWN: zoo.OWN.title}
FIELDS = [
    Field("model", "look.model", BUNDLED, state.one_of(MODELS)),
    Field("ya", "pair.alabel", None, _parse_label, _write_label),
    Field("yb", "pair.blabel", None, _parse_label, _write_label),
    Field("saliency", "look.source", "gradient", state.one_of(compute.SOURCES)),
]
BY_NAME = {field.name: field for field in FIELDS}


def own() -> dict[str, zoo.Classifier]:
    """Return this visitor's own classifier, under the name its results are remembered by."""
    held: dict[str, zoo.Classifier] = st.session_state.setdefault("own", {})
    return held


def model() -> str:
    """Return the name of the classifier in use, for `compute`."""
    slug: str = state.get(BY_NAME["model"])
    if slug != OWN:
        return slug
    if own():
        return next(iter(own()))
    return BUNDLED


def fall_back(problem: str) -> None:
    """Go on with the bundled classifier, and say why."""
    state.notify(problem)
    state.put("look.model", BUNDLED)


def label(side: str) -> int | None:
    """Return the class explained on a side, None for the predicted one."""
    value: int | None = state.get(BY_NAME[f"y{side}"])
    return value


def source() -> str:
    """Return where the saliency comes from."""
    value: str = state.get(BY_NAME["saliency"])
    return value


def _load_own() -> None:
    """Check a visitor's weights and put them to use."""
    turn = st.session_state.setdefault("weights-turn", 0)
    file = st.session_state.get(f"weights-{turn}")
    if file is None:
        return
    words: str = st.session_state.get("own-names", "")
    try:
        names = json.loads(words) if words.lstrip().startswith("[") else words.split("\n")
        names = [str(name).strip() for name in names if str(name).strip()]
        loaded = zoo.load_own(
            file.getvalue(),
            st.session_state["own-architecture"],
            names,
            int(st.session_state["own-size"]),
            (0.485, 0.456, 0.406),
            (0.229, 0.224, 0.225),
        )
    except (zoo.CheckpointError, json.JSONDecodeError) as problem:
        state.notify(f"{problem}")
    else:
        digest = compute.digest_of(file.getvalue(), st.session_state["own-architecture"], names)
        own().clear()
        own()[f"{OWN}-{digest}"] = loaded.to(compute.device())
        state.put("look.model", OWN)
        state.put("pair.alabel", None)
        state.put("pair.blabel", None)
    st.session_state["weights-turn"] = turn + 1


def _forget_labels() -> None:
    """Let the predicted labels stand again: class numbers mean other things elsewhere."""
    for side in "ab":
        state.put(f"pair.{side}label", None)


def ask(class_names: Sequence[str]) -> None:
    """Draw the part of the sidebar that chooses who looks; class names are the current ones."""
    with st.expander("Classifier and saliency"):
        options = {
            **{item.entry.slug: f"{item.entry.title}, {item.words}" for item in zoo.list_entries()},
            OWN: zoo.OWN.title,
        }
        key = state.widget_key("look.model")
        current = state.get(BY_NAME["model"])
        st.session_state.setdefault(key, current)
        state.kept()["look.model"] = st.selectbox(
            "Classifier",
            list(options),
            format_func=lambda slug: options[slug],
            key=key,
            on_change=_forget_labels,
        )
        if state.kept()["look.model"] == OWN:
            _ask_own()
        for side, letter in (("a", "A"), ("b", "B")):
            key = state.widget_key(f"pair.{side}label")
            if label(side) is not None and label(side) >= len(class_names):
                state.notify(f"Class {label(side)} of {letter} is not one of {len(class_names)}.")
                state.put(f"pair.{side}label", None)
            st.session_state.setdefault(key, label(side))
            state.kept()[f"pair.{side}label"] = st.selectbox(
                f"Label of {letter}, whose loss is differentiated",
                [None, *range(len(class_names))],
                format_func=lambda number: (
                    "the predicted class" if number is None else f"{class_names[number]}"
                ),
                key=key,
            )
        key = state.widget_key("look.source")
        st.session_state.setdefault(key, source())
        state.kept()["look.source"] = st.selectbox(
            "Saliency",
            list(compute.SOURCES),
            format_func=lambda name: compute.SOURCES[name],
            key=key,
        )
        st.caption(f"Runs on: {compute.device_words()}")


def _ask_own() -> None:
    st.caption(
        "A safetensors state dict, at most "
        f"{zoo.OWN.megabytes} MB ({MAX_BYTES // 10**6} MB through this server). "
        "It stays in your session."
    )
    st.selectbox("Architecture", list(zoo.ARCHITECTURES), key="own-architecture")
    st.number_input("Input size in pixels", 16, 512, 64, key="own-size")
    st.text_area("Class names, one a line (or a JSON list); empty numbers them", key="own-names")
    turn = st.session_state.setdefault("weights-turn", 0)
    st.file_uploader("Weights (.safetensors)", key=f"weights-{turn}", on_change=_load_own)
