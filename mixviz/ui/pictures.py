"""Which two pictures are mixed: chosen from the bundled ones, uploaded, cropped, swapped."""

import base64
from collections.abc import Mapping
from io import BytesIO

import streamlit as st
from PIL import Image

from mixviz.samples import (
    MAX_PICTURES,
    MAX_ZOOM,
    SAMPLES,
    WORKING_SIZES,
    Picture,
    UploadError,
    check_count,
    decode_upload,
    load_sample,
    square_crop,
)
from mixviz.ui import state
from mixviz.ui.state import Field, number_field

OPENING = ("cat", "coffee")
SIDES = ("a", "b")
LETTERS = {"a": "A", "b": "B"}
UPLOAD = "u-"


def _parse_picture(text: str) -> str:
    if text in SAMPLES:
        return text
    digest = text.removeprefix(UPLOAD)
    if text.startswith(UPLOAD) and len(digest) == 16 and set(digest) <= set("0123456789abcdef"):
        return text
    raise ValueError(f"must be an upload or one of {', '.join(SAMPLES)}")


def _framing_fields(side: str, opening: str) -> list[Field]:
    return [
        Field(side, f"shown.{side}", opening, _parse_picture),
        number_field(f"{side}x", f"pair.{side}x", 0.5, 0.0, 1.0),
        number_field(f"{side}y", f"pair.{side}y", 0.5, 0.0, 1.0),
        number_field(f"{side}zoom", f"pair.{side}zoom", 1.0, 1.0, MAX_ZOOM),
    ]


SIZES = {str(size): size for size in WORKING_SIZES}
FIELDS = [
    *_framing_fields("a", OPENING[0]),
    *_framing_fields("b", OPENING[1]),
    Field("size", "pair.size", str(WORKING_SIZES[0]), state.one_of(SIZES)),
]
BY_NAME = {field.name: field for field in FIELDS}


def uploads() -> dict[str, Picture]:
    """Return this visitor's uploads by picture id; they live as long as the session."""
    held: dict[str, Picture] = st.session_state.setdefault("uploads", {})
    return held


def chosen(side: str) -> str:
    """Return the id of the picture on a side, an upload that is not here replaced in words."""
    field = BY_NAME[side]
    picture_id: str = state.get(field)
    if picture_id.startswith(UPLOAD) and picture_id not in uploads():
        told: set[tuple[str, str]] = st.session_state.setdefault("missing-told", set())
        if (side, picture_id) not in told:  # once, or it could not be dismissed
            told.add((side, picture_id))
            state.notify(
                f"The link shows an uploaded picture as {LETTERS[side]} ({picture_id}) that is not "
                f"on this server. Upload it again to see the same; until then {field.default} "
                "stands in."
            )
        return str(field.default)
    return picture_id


def picture(picture_id: str) -> Picture:
    """Return a picture by its id."""
    return uploads()[picture_id] if picture_id in uploads() else load_sample(picture_id)


def name_of(picture_id: str) -> str:
    """Return what a picture is called on screen."""
    return uploads()[picture_id].name if picture_id in uploads() else SAMPLES[picture_id].name


def framing(side: str) -> tuple[float, float, float]:
    """Return where the square of a side stands: x, y, zoom."""
    x, y, zoom = (state.get(BY_NAME[f"{side}{part}"]) for part in ("x", "y", "zoom"))
    return float(x), float(y), float(zoom)


def size() -> int:
    """Return the working size in pixels."""
    return SIZES[state.get(BY_NAME["size"])]


def swap() -> None:
    """Exchange A and B with their crops and labels."""
    keys = [(f"pair.a{part}", f"pair.b{part}") for part in ("x", "y", "zoom", "label")]
    keys.append(("shown.a", "shown.b"))
    kept = state.kept()
    defaults = {field.key: field.default for field in FIELDS}
    for first, second in keys:
        old = kept.get(first, defaults.get(first)), kept.get(second, defaults.get(second))
        state.put(first, old[1])
        state.put(second, old[0])


def choose(side: str, picture_id: str) -> None:
    """Put a picture on a side, cropped in the middle, its label predicted anew."""
    state.put(f"shown.{side}", picture_id)
    for part, value in (("x", 0.5), ("y", 0.5), ("zoom", 1.0)):
        state.put(f"pair.{side}{part}", value)
    state.put(f"pair.{side}label", None)


@st.cache_data(max_entries=512, show_spinner=False)
def _thumbnail(digest: str, place: tuple[float, float, float], _picture: Picture) -> str:
    file = BytesIO()
    pixels = square_crop(_picture, 128, *place)
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    return base64.b64encode(file.getvalue()).decode()


def thumbnail(picture_id: str, place: tuple[float, float, float] = (0.5, 0.5, 1.0)) -> str:
    """Return a small JPEG of a square as a data URI."""
    shown = picture(picture_id)
    return f"data:image/jpeg;base64,{_thumbnail(shown.digest, place, shown)}"


def _take_uploads() -> None:
    """Take in what came; the good become A and B in turn."""
    for side, picture_id in zip(SIDES, take_files(), strict=False):
        choose(side, picture_id)


def take_files() -> list[str]:
    """Decode what the uploader holds; return the ids of the good, the bad get a sentence."""
    turn = st.session_state.setdefault("upload-turn", 0)
    files = st.session_state.get(f"upload-{turn}") or []
    taken_in = []
    for file in files:
        try:
            taken = decode_upload(file.getvalue(), file.name)
            picture_id = f"{UPLOAD}{taken.digest}"
            if picture_id not in uploads():
                check_count(len(uploads()))
                uploads()[picture_id] = taken
        except UploadError as problem:
            state.notify(str(problem))
            continue
        taken_in.append(picture_id)
    # A new key forgets the files: what is worth keeping has been decoded.
    st.session_state["upload-turn"] = turn + 1
    return taken_in


@st.dialog("Pictures", width="large")
def _gallery() -> None:
    st.caption("A and B can be any two. Photographs come with scikit-image and scikit-learn.")
    everything = [*uploads(), *SAMPLES]
    columns = st.columns(6, gap="small")
    for index, picture_id in enumerate(everything):
        with columns[index % len(columns)]:
            credit = picture(picture_id).credit or "your upload"
            st.html(
                f'<img src="{thumbnail(picture_id)}" alt="" title="{_escape(credit)}" '
                f'style="width:100%;border-radius:4px"><div style="font-size:14px">'
                f"{_escape(name_of(picture_id))}</div>"
            )
            with st.container(horizontal=True, gap="small"):
                for side in SIDES:
                    if st.button(LETTERS[side], key=f"pick-{side}-{picture_id}"):
                        choose(side, picture_id)
                        st.rerun()


def _escape(text: str) -> str:
    return (
        text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    )


def _options() -> Mapping[str, str]:
    return {
        **{key: f"{value.name} (yours)" for key, value in uploads().items()},
        **{slug: sample.name for slug, sample in SAMPLES.items()},
    }


def _changed(side: str) -> None:
    choose(side, st.session_state[f"pair-{side}"])


def ask() -> None:
    """Draw the part of the sidebar that chooses the pictures."""
    options = _options()
    columns = st.columns(2, gap="small")
    for side, column in zip(SIDES, columns, strict=True):
        picture_id = chosen(side)
        with column:
            st.html(
                f'<div class="mv-thumb mv-{side}"><img src="'
                f'{thumbnail(picture_id, framing(side))}" alt="Picture {LETTERS[side]}: '
                f'{_escape(name_of(picture_id))}"></div>'
            )
            # Not the field's own key: an upload that is missing stays in the URL while another
            # picture stands in.
            key = f"pair-{side}"
            st.session_state[key] = picture_id
            st.selectbox(
                f"Picture {LETTERS[side]}",
                list(options),
                format_func=lambda name: options[name],
                key=key,
                label_visibility="collapsed",
                on_change=_changed,
                args=(side,),
            )
    with st.container(horizontal=True, gap="small"):
        st.button("Swap", on_click=swap, key="swap", help="Exchange A and B (S on the stage)")
        if st.button("Gallery", key="gallery"):
            _gallery()
        with st.popover("Crop"):
            for side in SIDES:
                _ask_crop(side)
            ask_size()
    with st.expander("Add your own"):
        turn = st.session_state.setdefault("upload-turn", 0)
        st.file_uploader(
            f"PNG, JPEG or WebP, up to 10 MB and {MAX_PICTURES} pictures",
            accept_multiple_files=True,
            key=f"upload-{turn}",
            on_change=_take_uploads,
        )


def _ask_crop(side: str) -> None:
    st.markdown(f"**Picture {LETTERS[side]}**")
    for part, words, low, high in (
        ("x", "left to right", 0.0, 1.0),
        ("y", "top to bottom", 0.0, 1.0),
        ("zoom", "zoom", 1.0, MAX_ZOOM),
    ):
        field = BY_NAME[f"{side}{part}"]
        key = state.widget_key(field.key)
        st.session_state.setdefault(key, float(state.get(field)))
        state.kept()[field.key] = st.slider(words, low, high, step=0.05, key=key)


def ask_size() -> None:
    """Draw the choice of the working size."""
    key = state.widget_key("pair.size")
    st.session_state.setdefault(key, state.get(BY_NAME["size"]))
    state.kept()["pair.size"] = st.segmented_control(
        "Pixels per side",
        list(SIZES),
        key=key,
        required=True,
        help="The size the methods work at: 224 for photographs, 64 Tiny-ImageNet, 32 CIFAR.",
    )
