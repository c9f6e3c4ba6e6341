"""The GuidedMixup page, without a browser: the batch in the URL, pairs, solvers, steps."""

from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from mixviz.samples import SAMPLES
from mixviz.ui import frame, guided, joint
from mixviz.viz import joint as joint_charts
from mixviz.viz import pairing as charts
from mixviz.viz.look import DARK, LIGHT

ROOT = Path(__file__).parents[1]


def open_page(**query):
    app = AppTest.from_file(str(ROOT / frame.HOME), default_timeout=60)
    app.switch_page(frame.GUIDED_MIXUP)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def said(app):
    """The line that names the pair; st.html has no element of its own in AppTest."""
    bodies = [element.proto.body for element in app.get("html")]
    return next(body for body in bodies if "data-pick" in body)


@pytest.mark.parametrize("size", guided.SIZES)
def test_sample_batches_have_no_two_alike(size):
    items = guided.sample_batch(size)
    assert len(set(items)) == size
    assert guided._read_batch(f"sample-{size}") == items
    assert guided._write_batch(items) == f"sample-{size}"


def test_a_batch_is_written_as_it_is_read():
    text = "cat,u-0123456789abcdef,coffee~0~0.25~1.6"
    items = guided._read_batch(text)
    assert items[2] == guided.Item("coffee", 0.0, 0.25, 1.6)
    assert guided._write_batch(items) == text


@pytest.mark.parametrize(
    "text", ["cat", "cat,coffee", "cat,coffee,../x", "cat,coffee,cup~1", "sample-7", "cat," * 70]
)
def test_what_is_no_batch_is_refused_in_words(text):
    with pytest.raises(ValueError, match="must"):
        guided._read_batch(text)


def test_every_field_is_read_as_written():
    for field in guided.fields():
        if field.default is not None:
            assert field.parse(field.write(field.default)) == field.default


@pytest.mark.parametrize("solver", ["greedy", "improved", "exact", "random"])
def test_every_solver_is_shown(solver):
    app = open_page(solver=solver, batch="sample-8")
    assert "Cat (1) is mixed with" in said(app)
    (table,) = app.dataframe
    rows = table.value.set_index("solver")
    assert list(rows.index) == ["greedy", "improved", "exact", "random"]
    total = rows["Σ distance"]
    assert total["greedy"] <= total["improved"] + 1e-4 <= total["exact"] + 2e-4
    assert rows.loc["exact", "% of the best"] == 100
    assert rows.loc["greedy", "cycles"] == 1


def test_the_picked_pair_and_the_step_come_from_the_link():
    app = open_page(pick="3", batch="sample-8")
    assert said(app).count("Rocket (4) is mixed with") == 1
    assert app.select_slider(key="guided-step").value is None


def test_a_step_of_the_greedy_is_the_pair_looked_at():
    app = open_page(pick="3", step="2", batch="sample-8")
    assert app.select_slider(key="guided-step").value == 2
    (row,) = [caption.value for caption in app.caption if "is struck out" in caption.value]
    source = row.partition("Row ")[2].partition(":")[0]
    assert f"{source} is mixed with" in said(app)
    other = next(i for i in range(8) if f"({i + 1})" not in source)
    app.button(key=f"show-{other}").click().run()
    assert f"({other + 1}) is mixed with" in said(app)
    assert app.select_slider(key="guided-step").value is None


def test_a_button_of_the_gallery_picks_its_pair():
    app = open_page(batch="sample-8")
    app.button(key="show-5").click().run()
    assert "Dahlia (6) is mixed with" in said(app)


def test_a_picture_can_be_taken_out_but_not_below_three():
    app = open_page(batch="cat,coffee,cup,temple")
    app.button(key="remove-0").click().run()
    assert app.session_state["kept"]["guided.batch"] == tuple(
        guided.Item(slug) for slug in ("coffee", "cup", "temple")
    )
    app.button(key="remove-0").click().run()
    assert len(app.session_state["kept"]["guided.batch"]) == 3
    assert any("at least 3" in warning.value for warning in app.warning)


def test_lambda_is_disabled_with_its_reason():
    app = open_page(batch="sample-8")
    (slider,) = [one for one in app.slider if "share of B" in one.label]
    assert slider.disabled
    assert any("λ is not used" in caption.value for caption in app.caption)


def test_missing_uploads_are_named_and_the_rest_stays():
    app = open_page(batch="cat,coffee,cup,u-0123456789abcdef")
    assert any("not on this server: 1" in warning.value for warning in app.warning)
    assert "3 pictures" in said(app)


def test_the_same_picture_twice_is_said():
    app = open_page(batch="cat,cat,coffee,cup")
    assert "▲" in said(app)


def test_the_ring_has_one_arrow_trace_and_all_pictures():
    count = 7
    partner = {i: (i + 1) % count for i in range(count)}
    distances = np.random.default_rng(0).random((count, count))
    distances += distances.T
    names = list(SAMPLES)[:count]
    figure = charts.ring(range(count), partner, distances, names, ["data:,"] * count, 2, LIGHT)
    arrows = [t for t in figure.data if t.mode == "markers" and t.marker.symbol == "triangle-up"]
    assert len(arrows) == 1
    assert sorted(arrows[0].customdata) == list(range(count))
    assert len(figure.layout.images) == count
    assert not figure.layout.annotations
    table = charts.matrix(range(count), partner, distances, names, 2, [0, 1], 1, LIGHT)
    marks = table.data[1]
    assert dict(zip(marks.y, marks.x, strict=True)) == partner
    assert np.isnan(np.diag(np.array(table.data[0].z, dtype=float))).all()


def test_while_the_greedy_walks_the_ring_holds_its_edges_so_far():
    partner = {4: 1, 1: 0}
    distances = 1 - np.eye(5)
    names = list(SAMPLES)[:5]
    figure = charts.ring(range(5), partner, distances, names, ["data:,"] * 5, 1, DARK)
    arrows, nodes = (t for t in figure.data if t.mode == "markers")
    assert sorted(arrows.customdata) == [1, 4]
    assert sum("not paired yet" in words for words in nodes.text) == 3
    table = charts.matrix(range(5), partner, distances, names, 1, [4], None, DARK)
    assert list(table.data[1].customdata) == [1, 4]
    assert len(table.layout.shapes) == 2  # the pair looked at, and the column struck out


def test_both_saliencies_of_the_pair_are_shown():
    app = open_page(batch="sample-8")
    bodies = [element.proto.body for element in app.get("html")]
    (both,) = [body for body in bodies if "data-sources" in body]
    assert both.count("<figure") == 6
    assert both.count("distance") == 2


def test_co_mixup_is_solved_when_asked_for():
    app = open_page(batch="sample-8")
    assert not joint_words(app)
    app.toggle(key="joint-shown").set_value(True).run()
    assert "A mix holds" in joint_words(app)
    assert app.query_params["joint"] == "1"
    solved = joint.TRACES.computed
    app.run()
    assert joint.TRACES.computed == solved, "what is known is not solved again"
    app.select_slider(key="comixup-beta").set_value(0.0).run()
    assert joint.TRACES.computed == solved + 1


def test_co_mixup_comes_from_the_link_and_mends_its_grid():
    app = open_page(batch="cat,coffee,cup", joint="1", grid="7.5", seed="3")
    assert any("grid" in warning.value for warning in app.warning)
    assert "of 3 pictures are used" in joint_words(app)


def test_the_shares_of_the_chart_are_those_of_the_mixes():
    labels = np.array([[0.5, 0.5, 0.0], [0.0, 0.25, 0.75], [1.0, 0.0, 0.0]])
    figure = joint_charts.shares(labels, ["a", "b", "c"], LIGHT)
    shown = np.nan_to_num(np.array(figure.data[0].z, dtype=float))
    assert np.array_equal(shown, labels)
    assert figure.data[0].text[1][2] == "75%"


def joint_words(app):
    bodies = [element.proto.body for element in app.get("html")]
    return "".join(body for body in bodies if "data-joint" in body)
