"""The Compare page, without a browser: what its link says, its numbers, its files."""

import csv
import io
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

from mixviz.core.percentiles import percentile_choices
from mixviz.methods.variants import MAIN, VARIANTS
from mixviz.ui import compare, compute, frame, inside
from mixviz.viz import comparison
from mixviz.viz.comparison import Entry
from mixviz.viz.look import DARK, LIGHT

ROOT = Path(__file__).parents[1]


@pytest.fixture
def quick_search(monkeypatch):
    """Choose percentiles at once: the search itself is tested in test_percentiles."""

    def choose(look, slug, params, pair, own, say, stamp=None):
        say(1, 1)
        key = (look, slug, params, stamp)
        half = torch.tensor([0.33], dtype=torch.float64)
        grid = torch.zeros((1, 10, 10), dtype=torch.float64)
        both = grid[:, None].repeat(1, 2, 1, 1)
        choice = compute.PercentileChoice(half, half, percentile_choices(), grid, both)
        return compute.CHOICES.put(key, choice)

    monkeypatch.setattr(compute, "search", choose)


def open_page(**query):
    app = AppTest.from_file(str(ROOT / frame.HOME), default_timeout=90)
    app.switch_page(frame.COMPARE)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def table(app):
    return app.dataframe[0].value.set_index("method")


@pytest.mark.usefixtures("quick_search")
def test_every_method_is_in_the_table():
    rows = table(open_page())
    assert list(rows.index) == [VARIANTS[slug].title for slug in MAIN]
    assert (rows["ms"] > 0).all()
    assert rows.loc["Input Mixup", "weight B"] == 0.4
    assert rows.loc["Cutout", "weight A"] == 1
    assert rows.loc["SnapMix", "sum"] < 1


@pytest.mark.usefixtures("quick_search")
def test_all_variants_are_one_switch_away():
    app = open_page()
    app.toggle(key="compare-more").set_value(True).run()
    assert list(table(app).index) == [variant.title for variant in VARIANTS.values()]
    assert app.query_params["more"] == "1"


@pytest.mark.usefixtures("quick_search")
def test_seed_and_lambda_come_from_the_link_and_give_the_same_numbers():
    rows = table(open_page(lam="0.3", seed="11"))
    again = table(open_page(lam="0.3", seed="11"))
    assert rows.drop(columns="ms").equals(again.drop(columns="ms"))
    other = table(open_page(lam="0.3", seed="12"))
    moved = rows["kept A"] != other["kept A"]
    assert moved["CutMix"]
    assert moved["Cutout"]
    assert not moved["Puzzle Mix"]
    assert rows.loc["Input Mixup", "weight B"] == 0.3


@pytest.mark.usefixtures("quick_search")
def test_a_new_seed_is_one_press_away():
    app = open_page(seed="11")
    app.button(key="new-seed").click().run()
    assert app.query_params["seed"] == "12"
    assert app.number_input(key="compare-seed").value == 12


@pytest.mark.usefixtures("quick_search")
@pytest.mark.parametrize(
    ("name", "value"), [("lam", "2"), ("seed", "-1"), ("pin", "nobody"), ("view", "x")]
)
def test_a_wrong_link_is_mended_in_words(name, value):
    app = open_page(**{name: value})
    assert any(name in warning.value for warning in app.warning)
    assert len(table(app)) == len(MAIN)


def test_every_field_is_read_as_written():
    for field in compare.fields():
        assert field.parse(field.write(field.default)) == field.default


def test_the_csv_is_the_table():
    rows = [{"method": "CutMix, a", "loss": 1.5}, {"method": "R-Mix", "loss": 0.25}]
    read = list(csv.DictReader(io.StringIO(compare._csv(rows))))
    assert read == [{"method": "CutMix, a", "loss": "1.5"}, {"method": "R-Mix", "loss": "0.25"}]


def entries(count):
    rng = np.random.default_rng(0)
    return [
        Entry(
            f"Method <{i}>",
            rng.integers(0, 256, (224, 224, 3)).astype(np.uint8),
            (0.6, 0.2 if i == 1 else 0.4),
            (0.7, 0.5),
            "exactly λ",
            i == 2,
        )
        for i in range(count)
    ]


def test_the_png_shows_each_mix_as_it_is():
    shown = entries(8)
    sheet = np.asarray(Image.open(io.BytesIO(comparison.sheet_png(shown))))
    _, _, corners = comparison._places(8)
    for entry, (x, y) in zip(shown, corners, strict=True):
        top = y + comparison.HEAD
        assert np.array_equal(sheet[top : top + 224, x : x + 224], entry.pixels)


def test_the_svg_is_well_formed_and_holds_each_mix():
    shown = entries(7)
    root = ElementTree.fromstring(comparison.sheet_svg(shown))
    names = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "Method <3>" in names
    assert any("sum 0.80" in name for name in names)
    assert len(list(root.iter("{http://www.w3.org/2000/svg}image"))) == 7


@pytest.mark.parametrize("look", [LIGHT, DARK])
def test_the_chart_has_a_dot_for_every_number(look):
    shown = entries(5)
    figure = comparison.dots(shown, 0.4, look)
    weights, kept_a, kept_b = (t for t in figure.data if t.mode == "markers")
    assert list(weights.x) == [e.weights[1] for e in shown]
    assert list(kept_a.x) == [e.kept[0] for e in shown]
    assert list(kept_b.x) == [e.kept[1] for e in shown]
    assert kept_a.marker.symbol != kept_b.marker.symbol
    assert sum(shape.type == "rect" for shape in figure.layout.shapes) == 1


@pytest.mark.usefixtures("quick_search")
def test_manifold_mixup_is_seen_from_inside():
    app = open_page(layer="3")
    bodies = [element.proto.body for element in app.get("html")]
    (maps,) = [body for body in bodies if "data-features" in body]
    assert maps.count("<img") == 3 * inside.CHANNELS
    assert "After stage 3: 256 × 16 × 16" in maps
    assert sum("Mixed inside" in body for body in bodies) == 1


@pytest.mark.usefixtures("quick_search")
def test_at_the_input_both_ways_of_mixing_are_one():
    """Inside after nothing is outside: the layer before all layers is the picture."""
    app = open_page(layer="0")
    assert app.query_params["layer"] == "0"
    bodies = [element.proto.body for element in app.get("html")]
    guesses = [body.partition('<div class="mv-guess">')[2] for body in bodies if "Mixed" in body]
    assert len(guesses) == 2
    assert guesses[0] == guesses[1]
