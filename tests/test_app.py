"""The pages without a browser: that they run, what they remember, and how they read links."""

from pathlib import Path

import pytest
import streamlit as st
from hypothesis import given
from hypothesis import strategies as some
from streamlit.testing.v1 import AppTest

from mixviz.methods.puzzle_mix import PuzzleMixParams
from mixviz.samples import MAX_ZOOM, SAMPLES
from mixviz.spec import Choice, Knob, Switch, notes
from mixviz.ui import classifier, compute, home, pictures, puzzle
from mixviz.ui.frame import PUZZLE_MIX
from mixviz.ui.puzzle import OPENING, SLUG
from mixviz.ui.state import Field

ROOT = Path(__file__).resolve().parents[1]
FIELDS: dict[str, Field] = {
    field.name: field for field in [*pictures.FIELDS, *puzzle.fields(), *home.fields()]
}
NOTED: dict[str, Knob | Choice | Switch] = notes(PuzzleMixParams, Knob, Choice, Switch)


@pytest.fixture(autouse=True)
def _no_browser_to_wait_for(monkeypatch):
    monkeypatch.setattr(puzzle, "HEAD_START", 0)
    monkeypatch.setattr(puzzle, "FIRST_HEAD_START", 0)


def opened(page: str | None = PUZZLE_MIX, **query: str) -> AppTest:
    """Open a page by its link, in a session of its own."""
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    if page is not None:
        app.switch_page(page)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception, app.exception
    return app


def url(app: AppTest) -> dict[str, str]:
    return {
        name: value[0] if isinstance(value, list) else value
        for name, value in app.query_params.items()
    }


def stage_of(app: AppTest) -> str:
    """Say which stages there are, without what is on them."""
    return ", ".join(part.proto.component_name for part in app.get("bidi_component"))


@pytest.mark.parametrize("page", [None, PUZZLE_MIX])
def test_a_page_opens_without_a_word_of_trouble(page):
    app = opened(page)
    assert url(app) == {}
    assert not app.warning
    assert not app.error
    if page == PUZZLE_MIX:
        assert "mixviz_stage" in stage_of(app)


def test_the_collection_after_every_run_is_off():
    assert st.get_option("runner.postScriptGC") is False


# ---- what is computed


def test_a_knob_looks_at_nothing_again_and_mixes_what_it_must():
    app = opened(lam="0.44")
    seen, traces = compute.SEEN.computed, compute.TRACES.computed
    app.select_slider(key="puzzle_mix-beta").set_value(1.5).run()
    assert url(app) == {"lam": "0.44", "beta": "1.5"}
    assert compute.SEEN.computed == seen
    assert compute.TRACES.computed == traces + 2, "the mix, and the other solver's beside it"
    app.select_slider(key="puzzle_mix-beta").set_value(1.2).run()
    app.select_slider(key="puzzle_mix-beta").set_value(1.5).run()
    assert compute.TRACES.computed == traces + 2, "what is known is not mixed again"
    app.run()
    assert (compute.SEEN.computed, compute.TRACES.computed) == (seen, traces + 2)
    assert not app.exception


def test_a_picture_is_looked_at_once_wherever_it_is_shown():
    app = opened()
    before = compute.SEEN.computed
    app.selectbox(key="pair-a").set_value("roof").run()
    assert compute.SEEN.computed == before + 1, "B has been seen"
    app.switch_page("app.py").run()
    assert compute.SEEN.computed == before + 1, "the other page asks for the same"
    opened(a="roof")
    assert compute.SEEN.computed == before + 1, "and so does another visitor"


def test_a_label_or_an_attack_looks_again():
    compute.SEEN.clear()  # other tests of this process look at the same pictures
    app = opened()
    before = compute.SEEN.computed
    app.selectbox(key="pair-blabel").set_value(7).run()
    assert compute.SEEN.computed == before + 1
    assert url(app) == {"yb": "7"}
    opened(nu0="1")
    assert compute.SEEN.computed == before + 2


def test_twenty_pictures_in_quick_succession():
    app = opened()
    names = [name for name in SAMPLES if name not in pictures.OPENING][:10]
    for name in [*names, *names]:
        app.selectbox(key="pair-a").set_value(name).run()
        assert not app.exception
        assert not app.error
    assert url(app).get("a", "cat") == names[-1]


# ---- links


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"beta": "nan"}, "it must"),
        ({"grid": "-1"}, "it must lie"),
        ({"grid": "9"}, "do not divide"),
        ({"neigh_size": "14", "grid": "16"}, None),
        ({"neigh_size": "5"}, "does not divide"),
        ({"ya": "500"}, "classes"),
        ({"a": "u-0123456789abcdef"}, "Upload it again"),
        ({"step": "swap-99999", "block": "900-900"}, None),
        ({"what": "is this"}, "does not know"),
        ({"xi": "1e999", "levels": "2.5", "seed": "-0"}, "it must"),
    ],
)
def test_a_link_is_mended_in_words(query, words):
    app = opened(**query)
    said = [warning.value for warning in app.warning]
    assert not app.error
    assert any(words in sentence for sentence in said) if words else True, said
    kept = url(app)
    for index in range(len(said), 0, -1):
        app.button(key=f"dismiss-{index - 1}").click().run()
        assert len(app.warning) == index - 1
    assert url(app) == kept
    again = opened(**kept)
    mended = [text for text in (w.value for w in again.warning) if "Upload it again" not in text]
    assert not mended, "the link that the page wrote is right"


def test_a_link_with_everything_comes_back_as_it_was():
    query = {
        **{"a": "dahlia", "b": "rocket", "ax": "0.25", "bzoom": "1.5", "size": "64"},
        **{"lam": "0.3", "beta": "0.37", "gamma": "0.6", "eta": "0.1", "xi": "0.02"},
        **{"grid": "16", "levels": "3", "mask_solver": "swap", "transport_solver": "paper"},
        **{"transport_mask": "nonzero", "data_term": "official", "neigh_size": "2"},
        **{"cycles": "2", "nu0": "1", "eps": "0.0313725", "tau": "0.0392157", "delta": "0.5"},
        **{"seed": "3", "ya": "11", "yb": "4", "overlay": "heat", "block": "3-4"},
    }
    app = opened(**query)
    assert not app.warning
    assert url(app) == query


def test_switching_pages_keeps_what_was_set():
    app = opened(a="dahlia", beta="2")
    app.switch_page("app.py").run()
    assert url(app) == {"a": "dahlia"}
    app.switch_page(PUZZLE_MIX).run()
    assert url(app) == {"a": "dahlia", "beta": "2"}
    assert app.select_slider(key="puzzle_mix-beta").value == 2
    assert app.selectbox(key="pair-a").value == "dahlia"
    assert app.selectbox(key="pair-b").value == "coffee"


def test_reset_all_brings_back_the_opening():
    app = opened(a="dahlia", beta="2", ya="3", size="64", overlay="heat", nonsense="1")
    assert app.warning
    app.button(key="reset").click().run()
    assert url(app) == {}
    assert not app.warning
    assert app.select_slider(key="puzzle_mix-beta").value == OPENING.beta


# ---- fields


def _values(field: Field) -> list[object]:
    """Everything, or enough of everything, that a control can set a field to."""
    if field.key.startswith(f"{SLUG}."):
        note = NOTED[field.name]
        if isinstance(note, Switch):
            return [True, False]
        return list(note.options if isinstance(note, Choice) else note.stops)
    if field.name in ("a", "b"):
        return [*SAMPLES, "u-0123456789abcdef"]
    if field.name in ("ya", "yb"):
        return [None, 0, 199]
    if field.name.endswith("zoom"):
        return [1.0, 1.05, MAX_ZOOM]
    if field.name in ("ax", "ay", "bx", "by"):
        return [step / 20 for step in range(21)]
    known: dict[str, list[object]] = {
        "size": list(pictures.SIZES),
        "model": list(classifier.MODELS),
        "saliency": list(compute.SOURCES),
        "overlay": ["blocks", "heat", "contour", "spotlight"],
        "block": [(0, 0), (15, 3)],
        "step": [("swap", 0), ("rounds_0", 12)],
    }
    return known[field.name]


@pytest.mark.parametrize("name", FIELDS)
def test_what_a_field_writes_it_reads(name):
    field = FIELDS[name]
    for value in [field.default, *_values(field)]:
        if value is None and field.write(value) == "":
            continue  # nothing pinned: the URL leaves it out
        assert field.parse(field.write(value)) == value


@given(text=some.text() | some.floats().map(str) | some.integers().map(str))
@pytest.mark.parametrize("name", FIELDS)
def test_whatever_a_link_says_is_read_mended_or_refused(name, text):
    field = FIELDS[name]
    try:
        value = field.parse(text)
    except ValueError:
        value = field.repair(text) if field.repair else None
        if value is None:
            return
    again = field.parse(field.write(value))
    # Only numbers may lose digits on the way; a name must come back as it is.
    expected = pytest.approx(value, rel=1e-5) if isinstance(value, int | float) else value
    assert again == expected, "and stays so"
