"""Which classifier looks, at which label, and how its saliency is taken."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import streamlit as st

from mixviz import zoo
from mixviz.networks import NETWORKS, default_options
from mixviz.ui import compute, state
from mixviz.ui.state import Field

BUNDLED = next(iter(zoo.CATALOGUE))
OWN = "own"
PREDICTED = "predicted"  # an option that is None would show as nothing chosen
MAX_CARD = 1_000_000  # bytes; a card of 50,000 class names is smaller


def _parse_label(text: str) -> int | None:
    if text == PREDICTED:
        return None
    if text.isascii() and text.isdigit() and int(text) < 50_000:
        return int(text)
    raise ValueError("must be the number of a class, or absent for the predicted one")


def _write_label(label: int | str | None) -> str:
    return str(label) if isinstance(label, int) else PREDICTED


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
    value = state.get(BY_NAME[f"y{side}"])
    return value if isinstance(value, int) else None


def settle_labels(classes: int) -> None:
    """Let the predicted label stand where the one asked for is no class of the classifier."""
    for side in "ab":
        asked = label(side)
        if asked is not None and asked >= classes:
            state.notify(f"The classifier has {classes} classes; class {asked} is not one of them.")
            state.put(f"pair.{side}label", None)


def source() -> str:
    """Return where the saliency comes from."""
    value: str = state.get(BY_NAME["saliency"])
    return value


@dataclass(frozen=True)
class Description:
    """What a safetensors file does not say of itself."""

    architecture: str
    class_names: Sequence[str] = ()
    input_size: int = 64
    mean: Sequence[float] = (0.485, 0.456, 0.406)
    std: Sequence[float] = (0.229, 0.224, 0.225)
    options: Mapping[str, int] = field(default_factory=dict)


def _read_card(name: str, data: bytes) -> Description:
    """Read the card that the trainer writes beside the weights.

    Raises:
        CheckpointError: when it is not one.
    """
    try:
        if len(data) > MAX_CARD:
            raise ValueError(f"it has {len(data)} bytes, at most {MAX_CARD} are allowed")
        facts = json.loads(data)
        return Description(
            str(facts["architecture"]["name"]),
            [str(one) for one in facts["class_names"]],
            int(facts["input_size"]),
            [float(one) for one in facts["mean"]],
            [float(one) for one in facts["std"]],
            {str(key): int(value) for key, value in facts["architecture"]["options"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        reason = f"{type(problem).__name__}: {problem}"[:120]
        raise zoo.CheckpointError(
            f"{name} is not a checkpoint card ({reason}); allowed is the JSON file that "
            "mixviz.train writes beside the weights."
        ) from problem


def _typed_in() -> Description:
    held = st.session_state
    names = [name.strip() for name in held.get("own-names", "").splitlines() if name.strip()]
    architecture = held["own-architecture"]
    takes_stride = architecture in NETWORKS and "stem_stride" in default_options(architecture)
    options = {"stem_stride": held["own-stride"]} if takes_stride else {}
    return Description(architecture, names, int(held["own-size"]), options=options)


def _load_own() -> None:
    """Check a visitor's weights and put them to use."""
    turn = st.session_state.setdefault("weights-turn", 0)
    files = {
        file.name.rpartition(".")[2].lower(): file
        for file in st.session_state.get(f"weights-{turn}") or []
    }
    # A new key forgets the files: what is worth keeping has been loaded.
    st.session_state["weights-turn"] = turn + 1
    card = files.pop("json", None)
    if not files:
        state.notify("The card came alone; add the .safetensors file it belongs to.")
        return
    weights = next(iter(files.values())).getvalue()
    try:
        told = _read_card("The card", card.getvalue()) if card else _typed_in()
        loaded = zoo.load_own(
            weights,
            told.architecture,
            told.class_names,
            told.input_size,
            told.mean,
            told.std,
            told.options,
        )
    except zoo.CheckpointError as problem:
        state.notify(str(problem))
        return
    own().clear()
    own()[f"{OWN}-{compute.digest_of(hashlib.sha256(weights).hexdigest(), told)}"] = loaded.to(
        compute.device()
    )
    state.put("look.model", OWN)
    _forget_labels()


def _forget_labels() -> None:
    """Let the predicted labels stand again: class numbers mean other things elsewhere."""
    for side in "ab":
        state.put(f"pair.{side}label", None)


def ask(class_names: Sequence[str]) -> None:
    """Draw the part of the sidebar that chooses who looks; class names are the current ones."""
    title = zoo.CATALOGUE[model()].title if model() in zoo.CATALOGUE else zoo.OWN.title
    st.caption(f"{title}, on {compute.device_words()}")
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
            asked = label(side) if class_names else None
            st.session_state.setdefault(key, PREDICTED if asked is None else asked)
            state.kept()[f"pair.{side}label"] = st.selectbox(
                f"Label of {letter}, whose loss is differentiated",
                [PREDICTED, *range(len(class_names))],
                format_func=lambda number: (
                    "the predicted class" if number == PREDICTED else class_names[number]
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


def _ask_own() -> None:
    st.caption(
        "Weights as safetensors, up to 120 MB, and the JSON card that mixviz.train wrote beside "
        "them. Without a card, describe the network here first. It stays in your session."
    )
    st.selectbox("Architecture", list(zoo.ARCHITECTURES), key="own-architecture")
    st.number_input("Input size in pixels", 16, 512, 64, key="own-size")
    st.number_input("Stride of the stem (networks trained here)", 1, 2, 1, key="own-stride")
    st.text_area("Class names, one a line; none numbers them", key="own-names")
    turn = st.session_state.setdefault("weights-turn", 0)
    st.file_uploader(
        "Weights (.safetensors) and card (.json)",
        accept_multiple_files=True,
        key=f"weights-{turn}",
        on_change=_load_own,
    )
