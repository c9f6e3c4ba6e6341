"""Figure 2 measured: the same numbers as a slow loop, and nothing lost when it stops."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

from mixviz import figure2
from mixviz.bench import figure2 as bench
from mixviz.core.blocks import sum_to_one
from mixviz.core.measure import measure
from mixviz.core.saliency import explain, resize, spectral_residual
from mixviz.core.types import Pair
from mixviz.figure2 import LAMS, STATISTICS, Curves, Held, Plan, Rates, Sight, Subject
from mixviz.methods.variants import VARIANTS, as_they_are
from mixviz.networks import preact_resnet18
from mixviz.samples import decode_upload, local
from mixviz.ui import figure2 as page
from mixviz.ui import frame
from mixviz.viz import curves as charts
from mixviz.viz.look import DARK, LIGHT
from mixviz.zoo.classifier import Classifier
from mixviz.zoo.layers import class_activation, features_at, logits_from

ROOT = Path(__file__).parents[1]
SIZE = 32
EVERY = tuple(slug for slug in VARIANTS if slug != "rl_mix")


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    return Classifier(
        preact_resnet18(5, width=4),
        slug="toy",
        title="Toy",
        input_size=16,
        class_names=list("abcde"),
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.3, 0.25),
    )


def image(seed):
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand((1, 3, 8, 8), generator=rng)
    return torch.nn.functional.interpolate(coarse, SIZE, mode="bilinear")


def subjects(labels=(0, 1, 2, 3)):
    return [
        Subject(seed, f"picture {seed}", lambda seed=seed: image(seed), label)
        for seed, label in enumerate(labels)
    ]


def sight_of(classifier, looks=None, parts=None):
    return Sight("toy", lambda work: work(classifier), looks or Held(), parts or Held())


def run(plan, pictures, sight):
    steps = list(figure2.measure_pairs(plan, pictures, sight, Rates()))
    return steps, figure2.collect(plan, pictures, sight)


def slowly(variant, lam, seed, pair, labels, classifier):
    """The five numbers of one mix, by the plainest way."""
    params = variant.params(lam, seed, SIZE // 8)
    y0, y1 = (torch.tensor([label]) for label in labels)
    x0, x1 = (variant.inputs(image(index), seed) for index in pair)
    noise = variant.method.noise((x0, x1), params) or (torch.zeros_like(x0),) * 2
    e0, e1 = (
        explain(classifier, x + k, y) for x, k, y in zip((x0, x1), noise, (y0, y1), strict=True)
    )
    s0, s1 = e0.saliency, e1.saliency
    if variant.source == "spectral":
        s0, s1 = spectral_residual(x0), spectral_residual(x1)
    layer = getattr(params, "layer", 0)
    made = variant.method.mix(
        Pair(
            x0,
            x1,
            s0,
            s1,
            y0=y0,
            y1=y1,
            g0=e0.gradient,
            g1=e1.gradient,
            c0=class_activation(classifier, x0, y0),
            c1=class_activation(classifier, x1, y1),
            f0=features_at(classifier, layer, x0),
            f1=features_at(classifier, layer, x1),
        ),
        params,
    )
    with torch.no_grad():
        if made.inside is None:
            logits = classifier(resize(made.mixed, classifier.input_size))
        else:
            logits = logits_from(classifier, *made.inside)
    clean = [
        sum_to_one(explain(classifier, image(index), y).saliency)
        for index, y in zip(pair, (y0, y1), strict=True)
    ]
    shown = variant.method.seen(made, *clean)
    found = measure(made.mixed, shown, made.weights, logits, torch.tensor([labels]))
    row = [found.exposed, found.total_variation, found.loss, found.top_1, found.top_2]
    row = np.array([float(value) for value in row])
    if made.inside is not None:
        row[:2] = np.nan
    return row


@pytest.mark.parametrize("slug", EVERY)
def test_all_lambdas_at_once_equal_a_slow_loop(slug, classifier):
    lams = (0.0, 0.3, 0.8, 1.0)
    plan = Plan(((0, 1), (3, 2)), (slug,), draws=2, seed=3, lams=lams)
    pictures = subjects()
    _, curves = run(plan, pictures, sight_of(classifier))
    variant = VARIANTS[slug]
    draws = plan.draws_of(slug)
    assert draws == (2 if variant.drawn or variant.inputs is not as_they_are else 1)
    for pair, draw in [(pair, draw) for pair in (0, 1) for draw in range(draws)]:
        seed = figure2.chance(plan, figure2.Part(pair, slug, draw))
        indices = plan.pairs[pair]
        labels = [pictures[index].label for index in indices]
        wanted = [slowly(variant, lam, seed, indices, labels, classifier) for lam in lams]
        found = curves.values[slug][pair, draw]
        np.testing.assert_allclose(found, np.transpose(wanted), rtol=2e-4, atol=2e-5)


def test_the_same_seed_gives_the_same_numbers_and_another_others(classifier):
    pictures = subjects()
    plan = Plan(((0, 1),), ("cutmix", "puzzle_mix", "r_mix"), draws=2, seed=5)
    first, second = (run(plan, pictures, sight_of(classifier))[1] for _ in "ab")
    other = run(replace(plan, seed=6), pictures, sight_of(classifier))[1]
    for slug in plan.variants:
        np.testing.assert_array_equal(first.values[slug], second.values[slug])
    assert not np.array_equal(first.values["cutmix"], other.values["cutmix"])
    np.testing.assert_array_equal(first.values["puzzle_mix"], other.values["puzzle_mix"])
    assert not np.array_equal(first.values["cutmix"][:, 0], first.values["cutmix"][:, 1])


def test_a_run_that_stops_keeps_finished_parts_and_goes_on(classifier):
    pictures = subjects()
    plan = Plan(((0, 1), (2, 3)), ("input_mixup", "cutmix", "guided_ap"))
    sight = sight_of(classifier)
    work = figure2.measure_pairs(plan, pictures, sight, Rates())
    for step in work:
        if step.done >= 11 + 11:  # the first two parts of the first pair
            break
    work.close()
    half = figure2.collect(plan, pictures, sight)
    assert half.finished == ()
    assert half.mixes == 22
    assert half.looked[0] == 2
    asked = []

    def ask(job):
        asked.append(job)
        return job(classifier)

    rest = replace(sight, ask=ask)
    left = figure2.expect(plan, pictures, rest, Rates())
    assert 0 < left < figure2.expect(plan, pictures, sight_of(classifier), Rates())
    steps, whole = run(plan, pictures, rest)
    assert steps[0].done == 22
    assert steps[-1].done == steps[-1].total == plan.mixes() == 2 * 23
    # One part of the first pair is left; the second has two pictures and three parts.
    assert len(asked) == 1 + 2 + 3
    assert whole.is_complete
    once = run(plan, pictures, sight_of(classifier))[1]
    for slug in plan.variants:
        np.testing.assert_array_equal(whole.values[slug], once.values[slug])
    asked.clear()
    again, _ = run(plan, pictures, rest)
    assert len(again) == 1
    assert not asked


def test_each_picture_is_explained_once(classifier):
    pictures = subjects()
    plan = Plan(((0, 1), (0, 2), (1, 2)), ("input_mixup", "puzzle_mask"), lams=(0.5,))
    steps, curves = run(plan, pictures, sight_of(classifier))
    assert curves.looked[0] == 3
    assert sum(step.words.startswith("Saliency of") for step in steps) == 3


def test_equal_labels_are_left_out_of_top_2_and_counted(classifier):
    pictures = subjects((1, 1, 2, 3))
    plan = Plan(((0, 1), (2, 3)), ("input_mixup", "cutmix"), lams=(0.2, 0.5))
    _, curves = run(plan, pictures, sight_of(classifier))
    assert curves.excluded == 1
    top_2 = list(STATISTICS).index("top_2")
    assert np.isnan(curves.values["cutmix"][0, :, top_2]).all()
    assert np.isfinite(curves.values["cutmix"][0, :, :top_2]).all()
    np.testing.assert_array_equal(
        curves.mean("cutmix")[top_2], curves.values["cutmix"][1, 0, top_2]
    )
    rows = figure2.rows(curves)
    assert {row["excluded_pairs"] for row in rows if row["statistic"] == "top_2"} == {1}
    assert {row["pairs"] for row in rows if row["statistic"] == "top_2"} == {1}
    assert {row["pairs"] for row in rows if row["statistic"] == "loss"} == {2}
    _, none = run(Plan(((0, 1),), ("cutmix",)), pictures, sight_of(classifier))
    assert np.isnan(none.mean("cutmix")[top_2]).all()


def test_unknown_labels_are_predicted(classifier):
    pictures = subjects((None, None, None, None))
    plan = Plan(((0, 1),), ("input_mixup",), lams=(0.0, 1.0))
    _, curves = run(plan, pictures, sight_of(classifier))
    top_1 = list(STATISTICS).index("top_1")
    assert (curves.values["input_mixup"][0, 0, top_1] == 1).all()  # either picture whole


def test_rl_mix_is_searched_at_every_lambda(classifier):
    plan = Plan(((0, 1),), ("rl_mix",), lams=(0.2, 0.7))
    steps, curves = run(plan, subjects(), sight_of(classifier))
    assert sum("100 pairs of percentiles" in step.words for step in steps) == 2
    assert np.isfinite(curves.values["rl_mix"]).all()


def test_mean_and_error_are_over_pairs():
    values = np.array([[1.0, np.nan], [2.0, np.nan], [6.0, 5.0]])
    mean, error = figure2._mean_and_error(values)
    np.testing.assert_allclose(mean, [3.0, 5.0])
    assert error[0] == pytest.approx(np.std([1, 2, 6], ddof=1) / np.sqrt(3))
    assert np.isnan(error[1])


def judged(**scores):
    """Verdicts on pairs whose five statistics all have the same value."""
    count = len(next(iter(scores.values())))
    plan = Plan(tuple((0, 1) for _ in range(count)), tuple(scores), lams=(0.5,))
    values = {
        slug: np.repeat(np.array(row, float), 5).reshape(count, 1, 5, 1)
        for slug, row in scores.items()
    }
    curves = Curves(plan, tuple(range(count)), values, 0, 0, Rates(), (0, 0.0))
    return {verdict.statistic: verdict for verdict in figure2.judge(curves)}


def test_verdicts_need_a_clear_margin():
    clear = judged(puzzle_mix=[3, 4, 5.1], cutmix=[2, 3, 4], guided_ap=[9, 9, 9])
    assert clear["saliency"].outcome == "agrees"
    assert clear["saliency"].best == "puzzle_mix"
    assert clear["saliency"].best_of_all == "guided_ap"
    assert clear["saliency"].margin == pytest.approx(3.1 / 3)
    assert clear["loss"].outcome == "does not agree"
    assert clear["loss"].best == clear["loss"].best_of_all == "cutmix"
    assert clear["variation"].outcome == "no claim"
    close = judged(puzzle_mix=[3, 1, 5], input_mixup=[2, 3, 4], cutmix=[0, 0, 0])
    assert close["top_1"].outcome == "too close to call"
    assert close["top_1"].rival == "input_mixup"
    assert judged(puzzle_mix=[3], cutmix=[2])["top_2"].outcome == "too close to call"
    assert judged(cutmix=[3, 2])["loss"].outcome == "not measured"
    alone = judged(puzzle_mix=[3, 2], augmix=[9, 9])["saliency"]
    assert (alone.outcome, alone.best_of_all) == ("not measured", "puzzle_mix")


def test_pairs_are_different_and_never_within_a_group():
    groups = ["a", "a", "b", "c", "d", "d", "e"]
    pairs = figure2.draw_pairs(groups, 12, 4)
    assert len({frozenset(pair) for pair in pairs}) == len(pairs) == 12
    assert all(groups[i] != groups[j] for i, j in pairs)
    assert pairs == figure2.draw_pairs(groups, 12, 4)
    assert pairs[:5] == figure2.draw_pairs(groups, 5, 4)
    assert len(figure2.draw_pairs(groups, 64, 0)) == 21 - 2
    assert len({i for pair in figure2.draw_pairs("abcdefgh", 4, 1) for i in pair}) == 8
    assert figure2.draw_pairs("aa", 4, 0) == ()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"variants": ("nobody",)}, "nobody"), ({"draws": 0}, "draws"), ({"lams": (1.5,)}, "lams")],
)
def test_a_plan_refuses_what_it_cannot_measure(wrong, words):
    with pytest.raises(ValueError, match=words):
        replace(Plan(((0, 1),), ("cutmix",)), **wrong)


def test_every_variant_says_whether_it_uses_lambda():
    flat = {slug for slug, variant in VARIANTS.items() if not figure2.lam_names(variant)}
    assert flat == {"cutout", "augmix", "guided_sr", "guided_ap", "guided_aug"}


def test_labels_stand_apart_in_order():
    assert charts.spread([5, 5, 5], 10, 0, 100) == [0, 10, 20]
    assert charts.spread([50, 51, 90], 10, 0, 100) == [45.5, 55.5, 90]
    assert charts.spread([99, 100], 10, 0, 100) == [90, 100]
    assert charts.spread([1, 2, 3], 10, 0, 10) == [0, 5, 10]
    assert charts.spread([], 10, 0, 10) == []


@pytest.mark.parametrize("look", [LIGHT, DARK])
def test_a_panel_labels_every_curve_and_bands_what_is_known(look):
    mean = np.linspace(0, 1, 11)
    shown = [
        charts.Curve("One", 0, 0, mean, np.full(11, 0.1)),
        charts.Curve("Ours", 3, 2, mean / 2, np.full(11, np.nan), True),
        charts.Curve("Nowhere", 1, 0, np.full(11, np.nan), np.full(11, np.nan)),
    ]
    figure = charts.panel(LAMS, shown, "Title", False, look)
    assert [one.name for one in figure.data if one.mode != "none"] == ["One", "Ours"]
    assert sum(one.mode == "none" for one in figure.data) == 1
    texts = {one.text for one in figure.layout.annotations}
    assert texts == {"One", "<b>Ours</b>", "<b>Title</b>"}
    colours = {(slug, charts.colour_of(slug, look)) for slug in shown}
    assert len({colour for _, colour in colours}) == 3


def test_a_share_of_nothing_is_not_drawn_as_something():
    flat = charts.Curve("Flat", 0, 0, np.zeros(11), np.zeros(11), True)
    low, high = charts.panel(LAMS, [flat], "Top-2", True, LIGHT).layout.yaxis.range
    assert -0.05 < low < 0
    assert high > 0.2


# ---- pictures on the server ----------------------------------------------------------------------


def picture_bytes(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def fill(folder):
    for index, name in enumerate(("n01443537", "n01443537", "n01629819")):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / f"{index}.png").write_bytes(picture_bytes(index))
    (folder / "notes.txt").write_text("no picture")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnot much")
    (folder / "classes.tsv").write_text(
        "0\tn01443537\tgoldfish, Carassius auratus\n1\tn01629819\tsalamander\n"
    )


def test_a_folder_names_classes_and_says_what_is_broken(tmp_path):
    fill(tmp_path)
    opened = local.open_local(tmp_path)
    assert opened.class_of == ("", "goldfish", "goldfish", "salamander")
    found, problems = local.decode_local(opened, range(4))
    assert sorted(found) == [1, 2, 3]
    (problem,) = problems
    assert "broken" in problem


def test_shards_are_read_by_row_and_validation_is_preferred(tmp_path):
    (tmp_path / "classes.tsv").write_text("0\tn01443537\tgoldfish, x\n1\tn01629819\tgoldfish, y\n")
    for split, seeds in (("train", range(3)), ("val", range(10, 17))):
        table = pa.table(
            {
                "image": [{"bytes": picture_bytes(s), "path": ""} for s in seeds],
                "label": [s % 2 for s in seeds],
            }
        )
        pq.write_table(table, tmp_path / f"{split}-0.parquet", row_group_size=3)
    opened = local.open_local(tmp_path)
    assert len(opened) == 7
    assert opened.class_of[:2] == ("goldfish, x", "goldfish, y")
    found, problems = local.decode_local(opened, [6, 0, 4])
    assert not problems
    for index, shown in found.items():
        wanted = np.asarray(Image.open(io.BytesIO(picture_bytes(10 + index))))
        np.testing.assert_array_equal(shown.pixels, wanted)
    assert len(local.open_local(tmp_path / "train-0.parquet")) == 3


def test_what_holds_no_pictures_is_refused_in_words(tmp_path):
    with pytest.raises(local.LocalError, match="no folder"):
        local.open_local(tmp_path / "nowhere")
    with pytest.raises(local.LocalError, match="without"):
        local.open_local(tmp_path)
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(local.LocalError, match="no readable"):
        local.open_local(tmp_path / "x.parquet")
    pq.write_table(pa.table({"image": [1]}), tmp_path / "y.parquet")
    with pytest.raises(local.LocalError, match="no column image"):
        local.open_local(tmp_path / "y.parquet")


# ---- the page ------------------------------------------------------------------------------------


def open_page(**query):
    app = AppTest.from_file(str(ROOT / frame.HOME), default_timeout=60)
    app.switch_page(frame.FIGURE_2)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def body(app, mark):
    """What stands in the st.html with this mark; it has no element of its own in AppTest."""
    bodies = [element.proto.body for element in app.get("html")]
    return next(one for one in bodies if mark in one)


def test_every_field_is_read_as_written():
    for field in page.fields():
        assert field.parse(field.write(field.default)) == field.default
    assert page.BY_NAME["methods"].write(["puzzle_mix", "cutmix"]) == "cutmix,puzzle_mix"


@pytest.mark.parametrize(
    ("name", "text", "repaired"),
    [
        ("pairs", "3", 4),
        ("pairs", "99", 64),
        ("pairs", "x", None),
        ("draws", "0", 1),
        ("draws", "9" * 50, None),
        ("set", "../x", None),
        ("methods", "cutmix,magic", None),
        ("seed", "-1", None),
    ],
)
def test_what_is_no_value_is_refused_in_words(name, text, repaired):
    field = page.BY_NAME[name]
    with pytest.raises(ValueError, match="must"):
        field.parse(text)
    assert (field.repair(text) if field.repair else None) == repaired


def test_a_page_opens_without_measuring_and_measures_when_asked():
    app = open_page(pairs="4", methods="input_mixup,puzzle_mix", size="32", seed="3")
    said = body(app, "data-figure2")
    assert 'data-figure2="none"' in said
    assert "4 pairs, 2 methods, 11 values of λ: 88 mixes" in said
    assert "Nothing is measured yet" in said
    assert not app.get("plotly_chart")
    assert body(app, 'data-table="verdicts"').count("not measured") == 5
    before = page.PARTS.computed
    app.button(key="figure2-measure").click().run()
    assert not app.exception
    assert page.PARTS.computed == before + 8
    assert 'data-figure2="done"' in body(app, "data-figure2")
    assert len(app.get("plotly_chart")) == 5
    numbers = body(app, 'data-table="numbers"')
    assert re.findall(r'<th scope="row">(.*?)</th>', numbers) == ["Input Mixup", "Puzzle Mix"]
    assert "<td>1.000 ± 0.000</td>" in numbers  # what Input Mixup always exposes
    verdicts = body(app, 'data-table="verdicts"')
    assert verdicts.count('<th scope="row">') == 5
    assert "not measured" not in verdicts
    app.slider(key="figure2-pairs").set_value(5).run()
    assert 'data-pairs="4/5"' in body(app, "data-figure2")  # what is measured serves on
    assert app.button(key="figure2-measure").label == "Go on"


def test_the_table_taken_away_is_the_figure(monkeypatch):
    plan = Plan(((0, 1), (2, 3)), ("manifold_mixup", "cutmix"), draws=3)
    values = {
        slug: np.random.default_rng(0).random((2, plan.draws_of(slug), 5, 11))
        for slug in plan.variants
    }
    values["manifold_mixup"][:, :, :2] = np.nan
    curves = Curves(plan, (0, 1), values, 0, 0, Rates(), (4, 0.2))
    # Which set was measured is read from the page's state; here there is none.
    monkeypatch.setattr(page.state, "kept", dict)
    lines = list(csv.DictReader(io.StringIO(page._csv(curves, "toy"))))
    assert len(lines) == 5 * 2 * 11
    one = next(
        line
        for line in lines
        if (line["statistic"], line["variant"], line["lam"]) == ("loss", "cutmix", "0.3")
    )
    assert float(one["mean"]) == pytest.approx(values["cutmix"][:, :, 2, 3].mean())
    assert (one["draws"], one["pairs"], one["classifier"]) == ("3", "2", "toy")
    blank = [line["mean"] for line in lines if line["variant"] == "manifold_mixup"]
    assert blank.count("") == 22


def test_links_are_repaired_and_empty_choices_answered():
    app = open_page(pairs="2", methods="magic", set="uploads")
    words = [warning.value for warning in app.warning]
    assert any("pairs" in one and "4 to 64" in one for one in words)
    assert any("methods" in one for one in words)
    assert any("Upload two pictures" in one.value for one in app.info)
    app.multiselect(key="figure2-methods").set_value([]).run()
    assert any("at least one method" in one.value for one in app.info)


def test_the_server_names_its_pictures_or_none(tmp_path, monkeypatch):
    monkeypatch.delenv(local.VARIABLE, raising=False)
    app = open_page(set="local")
    assert any(local.VARIABLE in one.value for one in app.info)
    fill(tmp_path)
    monkeypatch.setenv(local.VARIABLE, str(tmp_path))
    app = open_page(set="local", pairs="4", size="32", methods="input_mixup")
    said = body(app, "data-figure2")
    assert f"3 of 4 pictures in {tmp_path.name}" in said
    assert "the true label is known of 2" in said  # no class is called “salamander”
    assert "1 could not be decoded" in said
    assert "no more than 3 different pairs" in said
    assert str(tmp_path) not in said
    monkeypatch.setenv(local.VARIABLE, str(tmp_path / "nowhere"))
    app = open_page(set="local")
    assert any("no folder" in one.value for one in app.error)


def test_uploads_are_paired_once_there_are_two():
    app = open_page(set="uploads", size="32", methods="cutmix,cutout", pairs="4")
    assert any("Upload two pictures" in one.value for one in app.info)
    taken = [decode_upload(picture_bytes(seed), f"mine-{seed}.png") for seed in range(3)]
    app.session_state["uploads"] = {f"u-{one.digest}": one for one in taken}
    app.run()
    assert not app.exception
    said = body(app, "data-figure2")
    assert "3 uploaded pictures" in said
    assert "3 pairs, 2 methods, 11 values of λ: 36 mixes" in said
    assert "no more than 3 different pairs" in said
    assert "mine-0.png" in body(app, "mv-panels")


def test_the_bench_measures_cost_and_claims():
    tables = bench.figure2(
        pairs=2, lams=(0.3, 0.7), variants=("input_mixup", "cutmix", "puzzle_mix"), size=32
    )
    cost, statistics, verdicts = (table.records() for table in tables)
    assert [row["stage"] for row in cost][-1] == "all of it"
    assert all(row["ms each"] > 0 for row in cost)
    assert [row["variant"] for row in statistics] == ["Input Mixup", "CutMix", "Puzzle Mix"]
    assert [row["statistic"] for row in verdicts] == [one.title for one in STATISTICS.values()]
