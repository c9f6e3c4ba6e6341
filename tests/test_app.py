"""The wiring of the pages, without a browser: state, URL, and what is not computed twice."""

import threading
import time
from pathlib import Path

import pytest
import streamlit as st
import torch
from streamlit.testing.v1 import AppTest

from mixviz.spec import Choice, Knob, Switch, notes
from mixviz.ui import compute, frame, home, pictures, puzzle, state
from mixviz.ui.engine import Engine, SupersededError

ROOT = Path(__file__).parents[1]


def open_page(file=frame.PUZZLE_MIX, **query):
    app = AppTest.from_file(str(ROOT / frame.HOME), default_timeout=60)
    if file != frame.HOME:
        app.switch_page(file)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def kept(app, key, default=None):
    return app.session_state["kept"].get(key, default)


def notices(app):
    return [warning.value for warning in app.warning]


@pytest.fixture(scope="module")
def page():
    return open_page()


def test_every_parameter_has_a_control(page):
    drawn = {
        element.key
        for kind in ("select_slider", "segmented_control", "button_group", "toggle")
        for element in page.get(kind)
    }
    controls = notes(puzzle.PuzzleMixParams, Knob, Choice, Switch)
    asked = {state.widget_key(f"{puzzle.SLUG}.{name}") for name in controls if name != "lam"}
    assert asked <= drawn
    assert set(controls) == {"lam", *puzzle.KNOBS, *puzzle.ADVANCED}


def test_the_pages_open_without_a_word_of_warning(page):
    assert notices(page) == []
    assert notices(open_page(frame.HOME)) == []


@pytest.mark.parametrize("fields", [puzzle.fields(), home.fields(), pictures.FIELDS])
def test_what_is_written_is_read_again(fields):
    for field in fields:
        if field.default is not None:
            assert field.parse(field.write(field.default)) == field.default
    assert len({field.name for field in fields}) == len(fields)
    assert len({field.key for field in fields}) == len(fields)


def test_a_link_opens_as_it_was_left():
    app = open_page(beta="2", grid="16", lam="0.3", mask_solver="swap", transport="0", b="dahlia")
    params = {name: kept(app, f"{puzzle.SLUG}.{name}") for name in ("beta", "grid", "lam")}
    assert params == {"beta": 2.0, "grid": 16, "lam": 0.3}
    assert kept(app, f"{puzzle.SLUG}.mask_solver") == "swap"
    assert kept(app, f"{puzzle.SLUG}.transport") is False
    assert kept(app, "shown.b") == "dahlia"
    assert notices(app) == []


@pytest.mark.parametrize(
    ("name", "text", "used"),
    [
        ("beta", "-3", 0.0),
        ("beta", "nan", puzzle.OPENING.beta),
        ("beta", "1e99", 20.0),
        ("grid", "abc", puzzle.OPENING.grid),
        ("levels", "99999", 8),
        ("lam", "2", 1.0),
        ("mask_solver", "magic", "exact"),
        ("transport", "yes", True),
        ("nu0", "0.5", 0),
    ],
)
def test_a_wrong_value_is_mended_in_words(name, text, used):
    app = open_page(**{name: text})
    assert kept(app, f"{puzzle.SLUG}.{name}") == used
    (words,) = notices(app)
    assert name in words
    assert text in words


def test_hostile_links_get_sentences():
    app = open_page(a="../../etc/passwd", zzz="1", b="u-0123456789abcdef", ya="4999")
    words = " ".join(notices(app))
    assert "must be an upload or one of" in words
    assert "`zzz`, which this page does not know" in words
    assert "(u-0123456789abcdef) that is not on this server" in words
    assert "class 4999 is not one of them" in words
    assert kept(app, "shown.a") == "cat"


def test_a_grid_that_does_not_divide_is_mended_in_words():
    app = open_page(grid="5")
    assert kept(app, f"{puzzle.SLUG}.grid") == 4
    assert "5 blocks do not divide 224 pixels" in notices(app)[0]


def test_a_knob_runs_neither_classifier_nor_old_mixes():
    app = open_page()
    seen, traces = compute.SEEN.computed, compute.TRACES.computed
    app.select_slider(key="puzzle_mix-beta").set_value(3.0).run()
    assert not app.exception
    assert compute.SEEN.computed == seen
    # The mix itself, and the mask of the other solver for the comparison.
    assert compute.TRACES.computed <= traces + 2
    assert kept(app, "puzzle_mix.beta") == 3.0
    again = compute.TRACES.computed
    app.select_slider(key="puzzle_mix-beta").set_value(puzzle.OPENING.beta).run()
    assert compute.TRACES.computed <= again + 2
    assert compute.SEEN.computed == seen


def test_a_preset_sets_all_but_the_visitors_own_question():
    app = open_page(lam="0.3", grid="16")
    app.selectbox(key="preset").set_value("released code").run()
    assert not app.exception
    assert kept(app, "puzzle_mix.xi") == 0.8
    assert kept(app, "puzzle_mix.mask_solver") == "swap"
    assert kept(app, "puzzle_mix.neigh_size") == 2  # the largest divisor of 14 up to 4
    assert kept(app, "puzzle_mix.lam") == 0.3
    assert kept(app, "puzzle_mix.grid") == 16
    assert app.selectbox(key="preset").value == "released code"


def test_swap_carries_crop_and_label():
    app = open_page(ax="0.2", azoom="2", ya="7")
    app.button(key="swap").click().run()
    assert not app.exception
    assert (kept(app, "shown.a"), kept(app, "shown.b")) == ("coffee", "cat")
    assert (kept(app, "pair.bx"), kept(app, "pair.bzoom"), kept(app, "pair.blabel")) == (0.2, 2, 7)
    assert (kept(app, "pair.ax"), kept(app, "pair.alabel")) == (0.5, None)


def test_reset_brings_everything_back():
    app = open_page(beta="2", b="dahlia", size="64", saliency="spectral")
    app.button(key="reset").click().run()
    fields = [*pictures.FIELDS, *puzzle.fields()]
    assert all(kept(app, one.key, one.default) == one.default for one in fields)


def test_hidden_options_hold():
    assert st.get_option("runner.postScriptGC") is False
    assert st.get_option("client.showErrorDetails") == "none"


class Slow(torch.nn.Module):
    """A classifier that takes 300 ms and counts its passes."""

    input_size = 16
    class_names = ("one", "two")

    def __init__(self):
        super().__init__()
        self.passes = 0

    def forward(self, x):
        self.passes += 1
        time.sleep(0.3)
        flat = x.mean((2, 3))
        return torch.stack((flat[:, 0] * 2, flat[:, 1] * 3), 1)


def test_of_twenty_quick_picture_changes_at_most_three_are_computed(monkeypatch):
    """Each change is a run of the page of its own; older ones stop when a newer one has begun."""
    engine, slow = Engine(), Slow()
    monkeypatch.setattr(
        compute,
        "_in_engine",
        lambda lane, work, poll: engine.submit("visitor", work, lane=lane).wait(poll),
    )
    monkeypatch.setattr(compute, "_fetch", lambda *_: None)
    newest, shown = [0], []
    held = {one.digest: one for one in map(pictures.load_sample, ("cat", "coffee"))}
    a, b = (compute.Framing(digest) for digest in held)

    def run(index):
        newest[0] = index

        def poll():
            if newest[0] != index:
                raise SupersededError

        look = compute.Look(compute.Framing(a.digest, x=index / 20), b, 64, "slow")
        try:
            seen = compute.look_at(
                look,
                "input_mixup",
                home.METHODS["input_mixup"].params(),
                held,
                {"slow": slow},
                poll,
            )
        except SupersededError:
            return
        shown.append((index, seen))

    runs = [threading.Thread(target=run, args=(index,)) for index in range(1, 21)]
    for one in runs:
        one.start()
        time.sleep(0.01)
    for one in runs:
        one.join(10)
    engine.close()
    # The first look passes A and B, the last its own A; what lay between was never begun.
    assert slow.passes <= 3
    assert [index for index, _ in shown][-1] == 20
