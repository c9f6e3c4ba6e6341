"""The R-Mix page, without a browser: knobs, their link, strategies, the label, the search."""

import base64
import re
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from mixviz.core.percentiles import percentile_choices
from mixviz.core.types import Pair
from mixviz.methods import METHODS
from mixviz.methods.r_mix import CASES, PERCENTILES, STRATEGIES, RMixParams
from mixviz.methods.rl_mix import RLMixParams
from mixviz.stage.wire import pack_arrays, pack_pixels
from mixviz.ui import compute, frame, home, patch_staging, r_mix
from mixviz.ui.pixel_staging import draw_pixels
from mixviz.viz import agreement
from mixviz.viz.look import DARK, LIGHT
from mixviz.viz.rewards import reward_map

ROOT = Path(__file__).parents[1]


def open_page(**query):
    app = AppTest.from_file(str(ROOT / frame.HOME), default_timeout=60)
    app.switch_page(frame.R_MIX)
    for name, value in {"size": "64", **query}.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def url(app):
    given = {name: v[0] if isinstance(v, list) else v for name, v in app.query_params.items()}
    return {name: value for name, value in given.items() if name != "size"}


def bodies(app, mark):
    """What st.html holds; it has no element of its own in AppTest."""
    return [e.proto.body for e in app.get("html") if mark in e.proto.body]


def label(app):
    """The label of B that the table sums up, its parts, and that of each strategy's tile."""
    (table,) = bodies(app, "data-label")
    parts = [float(part) for part in re.findall(r"<td>= ([\d.]+)</td>", table)]
    tiles = {
        found[1]: float(found[2])
        for tile in bodies(app, "data-strategy")
        if (found := re.search(r'data-strategy="(\d)" data-weight="([\d.]+)"', tile))
    }
    return float(re.search(r'data-label="([\d.]+)"', table)[1]), parts, tiles


# ---- what the link says


def test_it_opens_without_a_word_of_trouble():
    app = open_page()
    assert not app.warning
    assert not app.error
    assert url(app) == {}
    assert {e.proto.component_name for e in app.get("bidi_component")} >= {"mixviz_pixels"}


def test_every_field_is_read_as_written():
    values = {"search": [0.34, None], "block": [(1, 2), None], "q0": list(PERCENTILES)}
    for field in r_mix.fields():
        for value in values.get(field.name, [field.default]):
            if value is not None:
                assert field.parse(field.write(value)) == value


def test_a_link_with_everything_comes_back_as_it_was():
    asked = {
        "lam": "0.34",
        "q0": "0.22",
        "q1": "0.88",
        "num_patches": "8",
        "strategy": "4",
        "block": "3-5",
        "overlay": "heat",
    }
    app = open_page(**asked)
    assert not app.warning
    assert url(app) == asked


@pytest.mark.parametrize(
    ("query", "words", "left"),
    [
        ({"q0": "1.5"}, "q0 = `1.5`; it must lie in", {"q0": "0.99"}),
        ({"q1": "high"}, "q1 = `high`; it must be a number", {}),
        ({"strategy": "5"}, "strategy = `5`; it must be one of 1, 2, 3, 4", {}),
        (
            {"num_patches": "3"},
            "3 patches do not divide 64 pixels; 2 per side",
            {"num_patches": "2"},
        ),
        ({"link": "yes"}, "link = `yes`; it must be 0 or 1", {}),
        ({"link": "1", "q0": "0.22"}, "joins them: both are 0.22", None),
        ({"search": "2"}, "search = `2`; it must be the λ of a search", {}),
        ({"block": "a"}, "block = `a`; it must be a row and a column", {}),
    ],
)
def test_a_link_is_mended_in_words(query, words, left):
    app = open_page(**query)
    assert any(words in warning.value for warning in app.warning), app.warning
    expected = {"link": "1", "q0": "0.22", "q1": "0.22"} if left is None else left
    assert url(app) == expected


# ---- knobs


def test_a_percentile_moves_alone_and_linked_both_do():
    app = open_page()
    app.select_slider(key="r_mix-q0").set_value(0.77).run()
    assert (url(app)["q0"], app.select_slider(key="r_mix-q1").value) == ("0.77", 0.55)
    app.toggle(key="r-mix-linked").set_value(True).run()
    assert url(app) == {"q0": "0.77", "q1": "0.77", "link": "1"}
    app.select_slider(key="r_mix-q1").set_value(0.11).run()
    assert url(app) == {"q0": "0.11", "q1": "0.11", "link": "1"}
    assert app.select_slider(key="r_mix-q0").value == 0.11
    assert not app.warning
    app.toggle(key="r-mix-linked").set_value(False).run()
    app.select_slider(key="r_mix-q0").set_value(0.99).run()
    assert url(app) == {"q0": "0.99", "q1": "0.11"}


def test_the_label_is_the_sum_of_its_cases_for_every_strategy():
    app = open_page(lam="0.3", q0="0.22", q1="0.77")
    seen = set()
    for name in "1234":
        button = app.button(key=f"take-{name}")
        if not button.disabled:
            button.click().run()
        given, parts, tiles = label(app)
        assert sum(parts) == pytest.approx(given, abs=2e-3)
        assert tiles[name] == pytest.approx(given, abs=1e-6)
        assert app.button(key=f"take-{name}").disabled
        assert bool(bodies(app, "Eq. 7")) == (name == "3")
        seen.add(round(given, 6))
    assert len(seen) > 2


def test_a_strategy_is_chosen_by_its_tile():
    app = open_page()
    app.button(key="take-2").click().run()
    assert url(app) == {"strategy": "2"}
    assert app.segmented_control(key="r_mix-strategy").value == "2"


@pytest.mark.parametrize("strategy", ["3", "4"])
def test_all_on_top_is_input_mixup_and_the_page_has_compared(strategy, monkeypatch):
    app = open_page(lam="0.37", strategy=strategy)
    assert not bodies(app, "data-said")
    app.button(key="all-top").click().run()
    assert (url(app)["q0"], url(app)["q1"]) == ("0", "0")
    (said,) = bodies(app, "data-said")
    assert "this is Input Mixup exactly" in said
    assert label(app)[0] == pytest.approx(0.37)
    # The sentence follows the comparison: another picture is noticed.
    real = compute.mix

    def other(look, slug, params, pair, stamp=None):
        trace, seconds = real(look, slug, params, pair, stamp)
        if slug == "input_mixup":
            values = vars(trace) | {"mixed": trace.mixed + 1e-7}
            trace = SimpleNamespace(**values)
        return trace, seconds

    monkeypatch.setattr(compute, "mix", other)
    app.run()
    assert not bodies(app, "Input Mixup exactly")
    assert "is not" in app.error[0].value


def test_where_lambda_is_not_used_the_page_says_so():
    app = open_page(q0="0", q1="0", strategy="1")
    (said,) = bodies(app, "data-said")
    assert "strategy 1 shows A alone" in said
    assert label(app)[0] == 0


def test_the_code_says_what_is_shown():
    app = open_page(q0="0.22", num_patches="8")
    app.button(key="code").click().run()
    (code,) = app.code
    assert "RMixParams(num_patches=8, q0=0.22)" in code.value
    compile(code.value, "shown", "exec")


# ---- RL-Mix


@pytest.fixture
def searches(monkeypatch):
    """Choose percentiles at once: the search itself is tested in test_percentiles."""
    asked = []

    def choose(look, slug, params, pair, own, say, stamp=None):
        asked.append((slug, params))
        say(1, 100)
        rewards = torch.rand((1, 10, 10), dtype=torch.float64) * 0.5
        rewards[0, 7, 2] = 0.9
        tries = percentile_choices()
        choice = compute.PercentileChoice(
            tries[[7]], tries[[2]], tries, rewards, rewards[:, None].repeat(1, 2, 1, 1)
        )
        return compute.CHOICES.put((look, slug, params, stamp), choice)

    monkeypatch.setattr(compute, "search", choose)
    yield asked
    compute.CHOICES.clear()


def test_a_search_is_shown_adopted_and_kept_in_the_link(searches):
    app = open_page(lam="0.3", strategy="2", link="1")
    assert not searches
    app.button(key="search").click().run()
    assert searches == [("rl_mix", RLMixParams(0.3))]
    assert bodies(app, 'data-best="7-2"')
    assert "not the learned policy" in bodies(app, "exhaustive search")[0].replace("<b>", "")
    assert url(app)["search"] == "0.3"
    assert any("is not on the map" in caption.value for caption in app.caption)
    app.button(key="adopt").click().run()
    assert any("Ring: what is mixed now" in caption.value for caption in app.caption)
    assert url(app) == {
        "lam": "0.3",
        "q0": "0.77",
        "q1": "0.22",
        "num_patches": "8",
        "search": "0.3",
    }
    assert app.button(key="adopt").disabled
    assert len(searches) == 1
    # On a server that has not searched, the link searches again.
    compute.CHOICES.clear()
    again = open_page(**url(app))
    assert len(searches) == 2
    assert bodies(again, 'data-best="7-2"')
    assert label(again)[0] == label(app)[0]


def test_rewards_of_another_lambda_say_so(searches):
    app = open_page(lam="0.4", search="0.3")
    assert searches == [("rl_mix", RLMixParams(0.3))]
    (stale,) = bodies(app, "data-stale")
    assert "λ is 0.40 by now" in stale
    app.button(key="search").click().run()
    assert searches[-1] == ("rl_mix", RLMixParams(0.4))
    assert not bodies(app, "data-stale")
    assert url(app)["search"] == "0.4"


def test_nobody_asked_for_a_search_of_another_pair(searches):
    app = open_page(search="0.5")
    app.button(key="swap").click().run()
    assert len(searches) == 1
    assert "search" not in url(app)
    assert app.button(key="search").label == "Search 100 pairs of percentiles"


@pytest.mark.parametrize("cell", [(3, 5), (99, 0), ("x", 1), (True, -1)])
def test_a_cell_of_the_map_is_adopted_unless_it_is_none(cell, monkeypatch):
    taken = {}
    monkeypatch.setattr(r_mix, "_take", lambda **values: taken.update(values))
    r_mix._adopt(*cell)
    assert taken == (
        {"q0": 0.33, "q1": 0.55, "num_patches": 8, "strategy": "3"} if cell == (3, 5) else {}
    )


# ---- what is drawn


def make_scene(params, size=32):
    rng = torch.Generator().manual_seed(1)
    images = [torch.rand((1, 3, size, size), generator=rng) for _ in "01"]
    maps = [torch.rand((1, size, size), generator=rng) ** 3 for _ in "01"]
    pair = Pair(*images, *maps)
    trace = METHODS["r_mix"].mix(pair, params)
    drawn = draw_pixels(("one", "two"), tuple(images), tuple(maps), params.num_patches)
    return trace, patch_staging.r_mix_scene("key", drawn, pair, trace, params)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_the_stage_is_given_the_mask_of_every_lambda(strategy, lam):
    params = RMixParams(num_patches=4, q0=0.33, q1=0.66, strategy=strategy)
    scene = make_scene(params)[1]
    trace, _ = make_scene(RMixParams(lam, 4, 0.33, 0.66, strategy))
    assert np.array_equal(np.where(scene.free, np.float32(lam), scene.fixed), trace.mask[0])
    assert np.array_equal(scene.guide.map_0, trace.top_0[0])
    assert (scene.contract == "independent") == (not scene.free.any())
    pack_arrays(scene)
    pack_pixels(scene, lam, {})
    case = next(row for row in scene.rows if row.name == "case")
    assert [case.labels[int(i)] for i in case.values.flat] == [
        patch_staging.CASE_WORDS[CASES[i]] for i in trace.cases.flatten().tolist()
    ]


@pytest.mark.parametrize("patches", [1, 2, 32])
def test_few_and_many_patches_are_drawn(patches):
    trace, scene = make_scene(RMixParams(0.5, patches))
    assert scene.grid == patches
    svg = agreement.agreement_svg(trace.cases[0].tolist(), 300)
    assert len(ElementTree.fromstring(svg)) > patches**2
    assert ("<text" in svg) == (patches <= agreement.LETTERED and trace.cases.any())


def test_every_case_has_its_letters():
    svg = agreement.agreement_svg([[0, 1], [2, 3]], 100)
    assert re.findall(r">([AB])</text>", svg) == ["B", "A", "A", "B"]
    assert agreement.letters([[0, 1], [2, 3]]) == "– B; A AB"
    drawn = r_mix._svg([[3]], 20, "a & b")
    assert 'alt="a &amp; b"' in drawn
    assert base64.b64decode(drawn.partition("base64,")[2].partition('"')[0]).startswith(b"<svg")


@pytest.mark.parametrize("look", [LIGHT, DARK])
def test_the_map_has_a_marker_on_every_cell(look):
    rewards = np.random.default_rng(0).random((10, 10))
    figure = reward_map(rewards, np.stack((rewards, rewards)), PERCENTILES, (2, 3), (4, 5), look)
    assert [list(cell) for cell in figure.data[1].customdata] == [
        [i, j] for i in range(10) for j in range(10)
    ]
    assert {(s.x0, s.y0) for s in figure.layout.shapes} == {(2.5, 1.5)}
    assert (figure.data[-1].x, figure.data[-1].y) == ((5,), (4,))
    nowhere = reward_map(rewards, np.stack((rewards, rewards)), PERCENTILES, (2, 3), None, look)
    assert len(nowhere.data) == 2


def test_the_first_page_leads_here():
    assert home.PAGE_OF["r_mix"] == frame.R_MIX
    assert list(frame.PAGES.values()).index("R-Mix") == 3
