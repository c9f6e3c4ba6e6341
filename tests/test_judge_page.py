"""The Train & judge page, without a browser: links, numbers, reports, the demo run and its end."""

import json
import os
import shutil
import time
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

from mixviz import zoo
from mixviz.augment import mixable
from mixviz.evaluate.corruptions import CORRUPTIONS
from mixviz.ui import candidates, compute, frame, judge, training, trials, verdicts
from mixviz.viz import judgement as charts
from mixviz.viz.look import DARK, LIGHT

ROOT = Path(__file__).parents[1]
BUNDLED = [slug for slug, entry in zoo.CATALOGUE.items() if entry.kind == "bundled"]
TWO = f"{BUNDLED[0]},{BUNDLED[2]}"


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """An empty runs/ folder of its own."""
    folder = tmp_path / "runs"
    folder.mkdir()
    for module in (candidates, verdicts, training):
        monkeypatch.setattr(module, "RUNS", folder)
    verdicts._read_json.clear()
    return folder


@pytest.fixture
def no_demo():
    """A server whose demo runs are ended."""
    training.workshop().close()
    yield
    training.workshop().close()


def open_page(**query):
    app = AppTest.from_file(str(ROOT / frame.HOME), default_timeout=90)
    app.switch_page(frame.JUDGE)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception, app.exception
    return app


def bodies(app):
    return [element.proto.body for element in app.get("html")]


def rows(app):
    return [body for body in bodies(app) if "data-who=" in body]


def url(app):
    return {
        name: value[0] if isinstance(value, list) else value
        for name, value in app.query_params.items()
    }


def table(app, name):
    (body,) = [unescape(body) for body in bodies(app) if f'data-table="{name}"' in body]
    return body


def write_run(folder, epochs=3, total=3, card=None):
    folder.mkdir(parents=True)
    lines = ["epoch,size,loss,train_top1,val_top1,val_top5,seconds"]
    lines += [f"{k + 1},32,{2 / (k + 1):.3f},{10 * k},{12 * k},50,1.5" for k in range(epochs)]
    (folder / "log.csv").write_text("\n".join(lines) + "\n")
    if card is not None:
        weights = zoo.CATALOGUE[card].path()
        facts = json.loads(weights.with_suffix(".json").read_text())
        facts["recipe"]["stages"] = [{"size": 64, "epochs": total}]
        (folder / "mine.json").write_text(json.dumps(facts))
        shutil.copy(weights, folder / "mine.safetensors")


def report(slugs, name="other"):
    """What mixviz.evaluate writes, with numbers that tell rows apart."""
    found = []
    for place, slug in enumerate(slugs):
        card = json.loads(zoo.CATALOGUE[slug].path().with_suffix(".json").read_text())
        bins = [{"confidence": 0.5, "accuracy": 0.25, "count": 4}]
        found.append(
            {
                "checkpoint": name,
                "sha256": card["sha256"],
                "images": 1234,
                "percent": {
                    "FGSM 4/255": 80.5 + place,
                    "ECE": 7.25 - place,
                    "CAM box ↑": 40 + place,
                },
                "details": {
                    "calibration": {"bins": bins},
                    "corruptions": {
                        "by_severity": {key: [40 + place, 50, 60, 70, 80] for key in CORRUPTIONS}
                    },
                },
            }
        )
    papers = [
        {
            "method": "Vanilla",
            "table": "Puzzle Mix, Table 4",
            "network": "PreActResNet-18",
            "percent": {"top-1": 42.77},
        }
    ]
    return {"runs": found, "papers": papers}


# ---- links


def test_every_field_is_read_as_written():
    for field in judge.fields():
        if field.name != "target":  # nobody is asked for by name unless somebody is
            assert field.parse(field.write(field.default)) == field.default


@pytest.mark.usefixtures("runs")
def test_all_bundled_classifiers_stand_side_by_side():
    app = open_page()
    assert url(app) == {}
    shown = rows(app)
    assert len(shown) == len(BUNDLED)
    for slug, body in zip(BUNDLED, shown, strict=True):
        assert f'data-who="{slug}"' in body
        assert body.count("<img") == 4
        assert "A 4" in body or "A 5" in body
    assert len(set(shown)) == len(BUNDLED)
    again = rows(open_page())
    assert again == shown, "the same link, the same pictures"


@pytest.mark.usefixtures("runs")
def test_who_is_compared_stands_in_the_link():
    app = open_page(who=TWO)
    shown = rows(app)
    assert len(shown) == 2
    for slug, body in zip(TWO.split(","), shown, strict=True):
        assert f'data-who="{slug}"' in body
    app.multiselect(key="judge-who").set_value([BUNDLED[1]]).run()
    assert url(app) == {"who": BUNDLED[1]}
    assert len(rows(app)) == 1
    app.multiselect(key="judge-who").set_value([]).run()
    assert any("at least one" in info.value for info in app.info)


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("section", "everything"),
        ("who", "nobody"),
        ("who", "../../etc"),
        ("mix", "rl_mix"),
        ("lam", "7"),
        ("eps", "99"),
        ("corruption", "x"),
        ("attack", "x"),
        ("run", "../checkpoints"),
        ("teach", "x"),
        ("y", "-1"),
        ("y", "9999"),
    ],
)
def test_a_wrong_link_is_mended_in_words(name, value):
    app = open_page(**{"who": TWO, name: value})
    assert app.warning
    assert not app.error
    assert url(app).get(name) != value


@pytest.mark.usefixtures("runs")
def test_nothing_of_other_sections_is_computed():
    before = trials.RESULTS.computed, trials.CURVES.computed, candidates.ANSWERS.computed
    open_page(a="roof", who=TWO)
    assert before == (trials.RESULTS.computed, trials.CURVES.computed, candidates.ANSWERS.computed)
    mixes = compute.TRACES.computed
    open_page(a="roof", who=TWO, section="corrupted")
    assert compute.TRACES.computed == mixes


@pytest.mark.usefixtures("runs")
def test_the_mix_follows_variant_and_lambda():
    app = open_page(who=TWO)
    before = rows(app)
    app.selectbox(key="judge-mix").set_value("input_mixup").run()
    app.select_slider(key="judge-lam").set_value(0.3).run()
    assert url(app) == {"who": TWO, "mix": "input_mixup", "lam": "0.3"}
    assert all("A 70%" in body for body in rows(app))
    assert before != rows(app)


# ---- attacked


def html_of(app, mark):
    (body,) = [unescape(body) for body in bodies(app) if mark in body]
    return body


@pytest.mark.usefixtures("runs")
def test_an_attack_changes_picture_and_answer():
    app = open_page(section="attacked", who=TWO, eps="0", target=BUNDLED[0])
    still = html_of(app, "data-attack=")
    assert 'data-fooled="0"' in still
    pictures = [part.split('"')[1] for part in still.split("<img ")[1:]]
    assert pictures[0] == pictures[2], "at ε = 0 nothing moves"
    app.select_slider(key="judge-eps").set_value(8.0).run()
    assert url(app)["eps"] == "8"
    fooled = html_of(app, "data-attack=")
    assert 'data-fooled="1"' in fooled
    pictures = [part.split('"')[1] for part in fooled.split("<img ")[1:]]
    assert len(set(pictures)) == 3
    app.segmented_control(key="judge-attack").set_value("pgd").run()
    assert html_of(app, 'data-attack="pgd-8"') != fooled
    transfer = table(app, "transfer")
    assert transfer.count('<th scope="row">') == 2


def flat_case():
    """A case judged by a classifier of known gradient."""
    one = candidates.Candidate("flat", "flat", "Flat", "")
    picture = candidates.pictures.load_sample("cat")
    framing = compute.Framing(picture.digest)
    held, own = {picture.digest: picture}, {"flat": _Flat()}
    return candidates.Case([one], own, held, framing, framing, ("A", "A"), 64, "b", "b"), one


def test_an_attack_stays_within_its_radius():
    case, one = flat_case()
    clean = case.image_at(16)
    for kind in trials.ATTACKS:
        attacked = trials.attack(case, one, kind, 4.0, 0)
        assert attacked.shape == clean.shape
        moved = (attacked - clean).abs()
        assert 3.9 / 255 < float(moved.max()) < 4.001 / 255
        assert float(attacked.min()) >= 0
        assert float(attacked.max()) <= 1


def test_the_curve_holds_what_each_attack_does():
    case, one = flat_case()
    curve = trials._curve(case, one)
    assert curve == sorted(curve, reverse=True)
    assert curve[0] - curve[-1] > 0.1
    for radius, sure in zip(trials.RADII, curve, strict=True):
        attacked = trials.attack(case, one, "fgsm", radius, 0)
        assert case.own["flat"].predict(attacked)[0, 1].item() == pytest.approx(sure, abs=1e-5)


class _Flat(zoo.Classifier):
    """Two classes: dark and bright."""

    def __init__(self):
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 2))
        with torch.no_grad():
            network[1].weight.copy_(torch.tensor([[-1.0], [1.0]]) / 100)
            network[1].bias.copy_(torch.tensor([3.84, -3.84]))
        super().__init__(
            network,
            slug="flat",
            title="Flat",
            input_size=16,
            class_names=("a", "b"),
            mean=(0.0,) * 3,
            std=(1.0,) * 3,
        )


@pytest.mark.parametrize(("radius", "times"), [(0, 1), (0.5, 128), (4, 16), (8, 8), (16, 4)])
def test_a_perturbation_is_enlarged_as_far_as_it_fits(radius, times):
    eight_bits = radius / 255 * trials.gain(radius)
    assert trials.gain(radius) in (times, times // 2)
    assert eight_bits <= 0.5


# ---- corrupted and judged


@pytest.mark.usefixtures("runs")
def test_a_corruption_is_shown_at_five_severities():
    app = open_page(section="corrupted", who=TWO, corruption="contrast")
    body = html_of(app, "data-corruption=")
    assert 'data-corruption="contrast"' in body
    pictures = [part.split('"')[1] for part in body.split("<img ")[1:]]
    assert len(set(pictures)) == 6
    assert body.count("mv-cell") == 6 * 2


def test_without_a_report_the_page_says_how_to_make_one(monkeypatch):
    monkeypatch.setattr(verdicts, "_files", list)
    app = open_page(section="corrupted", who=TWO, corruption="contrast")
    assert any("No report" in info.value for info in app.info)
    assert any("mixviz.evaluate" in code.value for code in app.code)


def test_the_reports_of_the_repository_are_of_its_classifiers():
    known = candidates.candidates()
    found = verdicts.reported([one for one in known.values() if "thin" in one.slug])
    assert len(found) == 5
    assert all(set(one.percent) > {"ECE", "FGSM 4/255", "corrupted"} for one in found.values())


def test_the_card_s_accuracy_stands_before_that_of_a_report_on_fewer_pictures():
    app = open_page(section="judged", who=TWO)
    assert "42.42" in table(app, "judged")


def test_a_report_fills_table_heat_map_and_reliability(runs):
    (runs / "tiny.report.json").write_text(json.dumps(report(TWO.split(","))))
    app = open_page(section="judged", who=TWO)
    body = table(app, "judged")
    assert "80.50" in body
    assert "1,234" in body
    assert "<td class=mv-best>6.25</td>" in body, "of errors the lowest is best"
    assert "<td class=mv-best>41.00</td>" in body, "of what ↑ marks the highest"
    assert "42.77" in table(app, "papers")
    assert len(app.get("plotly_chart")) == 2
    assert not app.info
    app = open_page(section="corrupted", who=TWO)
    figure = json.loads(app.get("plotly_chart")[0].proto.spec)
    words = figure["layout"]["yaxis"]["ticktext"]
    assert [word.removeprefix("<b>").removesuffix("</b>") for word in words] == [
        name.replace("_", " ") for name in CORRUPTIONS
    ]
    assert not app.info


def test_the_newer_report_counts_and_odd_files_are_passed_over(runs):
    (runs / "a.report.json").write_text(json.dumps(report(BUNDLED[:1])))
    newer = report(BUNDLED[:1])
    newer["runs"][0]["percent"] = {"ECE": 1.5}
    newer["runs"][0]["details"] = {"calibration": {"bins": [{"confidence": "high"}]}}
    (runs / "b.report.json").write_text(json.dumps(newer))
    os.utime(runs / "a.report.json", (1, 1))
    for name, text in {
        "c": "[1, 2]",
        "d": "{",
        "e": '{"runs": [3, {"sha256": 4}], "papers": 5}',
        "f": "[" * 100_000,
    }.items():
        (runs / f"{name}.report.json").write_text(text)
    (one,) = [one for one in candidates.candidates().values() if one.slug == BUNDLED[0]]
    found = verdicts.reported([one])[BUNDLED[0]]
    assert found.percent == {"FGSM 4/255": 80.5, "ECE": 1.5, "CAM box ↑": 40}
    assert len(found.bins) == 1
    assert found.corrupted["fog"] == [40, 50, 60, 70, 80]


@pytest.mark.usefixtures("runs")
def test_cards_fill_the_table_without_a_report():
    body = table(open_page(section="judged"), "judged")
    for slug in BUNDLED:
        card = json.loads(zoo.CATALOGUE[slug].path().with_suffix(".json").read_text())
        assert f"{100 - card['top1']:.2f}" in body
    assert "Puzzle Mix" in body


# ---- runs


def test_a_run_is_listed_watched_and_compared(runs):
    write_run(runs / "first", epochs=2, total=5, card=BUNDLED[1])
    write_run(runs / ".hidden")
    write_run(runs / "no card")
    app = open_page(section="trained", run="first")
    assert app.selectbox(key="judge-run").options == ["Demo run on shapes", "first"]
    assert 'data-run="active" data-epochs="2/5"' in html_of(app, "data-run=")
    assert len(app.get("plotly_chart")) == 2
    os.utime(runs / "first" / "log.csv", (1, 1))
    assert 'data-run="ended"' in html_of(open_page(section="trained", run="first"), "data-run=")
    app = open_page(who=f"{BUNDLED[1]},run-first")
    one, same = rows(app)
    assert "Run first" in same
    assert [p.split('"')[1] for p in one.split("<img ")[1:]] == [
        p.split('"')[1] for p in same.split("<img ")[1:]
    ], "the same weights see the same"


def test_a_damaged_checkpoint_is_left_out_in_words(runs):
    write_run(runs / "broken", card=BUNDLED[1])
    (runs / "broken" / "mine.safetensors").write_bytes(b"no weights")
    app = open_page(who=f"{BUNDLED[1]},run-broken")
    assert any("Run broken is left out" in error.value for error in app.error)
    assert len(rows(app)) == 1


@pytest.mark.parametrize("text", ["", "epoch\n1\n", "epoch,loss,train_top1,val_top1\n1,nan,2,3\n"])
def test_a_log_that_is_none_has_no_epochs(tmp_path, text):
    (tmp_path / "log.csv").write_text(text)
    assert training.read_log(tmp_path) == []


# ---- the demo run


def test_shapes_are_drawn_by_their_seed(tmp_path):
    for name in ("one", "two"):
        training.write_shapes(tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.png"))
    assert len(files) == sum(training.PER_CLASS.values()) * len(training.SHAPES)
    for file in files[::40]:
        first, second = (np.asarray(Image.open(tmp_path / name / file)) for name in ("one", "two"))
        assert np.array_equal(first, second)


@pytest.mark.parametrize("method", [training.UNMIXED, *mixable()])
def test_a_batch_is_mixed_by_every_method(method):
    class Begun:
        def __init__(self):
            self.method = method

    pictures, mixed, weights = training.mix_batch(Begun(), 0)
    assert mixed.shape == pictures.shape
    assert float(mixed.min()) >= 0
    assert float(mixed.max()) <= 1
    assert bool((weights >= 0).all())
    again = training.mix_batch(Begun(), 0)[1]
    assert torch.equal(mixed, again)
    assert (method == training.UNMIXED) == torch.equal(mixed, pictures)


@pytest.mark.usefixtures("no_demo", "runs")
def test_a_demo_run_starts_learns_and_is_cancelled():
    app = open_page(section="trained", teach="input_mixup")
    assert 'data-run="none"' in html_of(app, "data-run=")
    app.button(key="demo-start").click().run()
    demo = training.workshop().demo
    assert demo.is_running
    training.workshop().start("cutmix")
    assert training.workshop().demo is demo, "one at a time"
    deadline = time.monotonic() + 40
    while not training.read_log(demo.run):
        assert time.monotonic() < deadline
        assert demo.is_running, demo.problem
        time.sleep(0.2)
    app.run()
    assert len(app.get("plotly_chart")) == 2
    assert "data-batch=" in "".join(bodies(app))
    app.button(key="demo-cancel").click().run()
    assert not demo.is_running
    assert demo.problem == ""
    assert "cancelled after" in html_of(app, "data-run=")
    folder = demo.run.parent
    training.workshop().close()
    assert not folder.exists()


@pytest.mark.usefixtures("no_demo")
def test_a_demo_run_that_fails_says_why(monkeypatch):
    monkeypatch.setattr(training, "SHAPES", training.SHAPES[:1])
    training.workshop().start(training.UNMIXED)
    demo = training.workshop().demo
    deadline = time.monotonic() + 30
    while demo.is_running:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert demo.problem.startswith("The run stopped. ")
    assert "one class only" in demo.problem


# ---- charts


@pytest.mark.parametrize("look", [LIGHT, DARK])
def test_reliability_shows_each_filled_bin_and_what_lacks(look):
    bins = [
        {"confidence": 0.2, "accuracy": 0.3, "count": 5},
        {"confidence": 0.0, "accuracy": 0.0, "count": 0},
        {"confidence": 0.9, "accuracy": 0.6, "count": 5},
    ]
    right, gap = charts.reliability(bins, "x", look).data
    assert list(right.y) == [0.3, 0.6]
    assert [base + lack for base, lack in zip(gap.base, gap.y, strict=True)] == [0.2, 0.9]


def test_lines_of_an_attack_carry_their_names():
    lines = [charts.Line("one", 0, [0.9, 0.1]), charts.Line("two", 1, [0.9, 0.3])]
    figure = charts.attack_curves([0, 4], lines, 4, LIGHT)
    assert [note.text for note in figure.layout.annotations] == ["one", "two"]
    places = [1 - 0.9 + note.ay for note in figure.layout.annotations]
    assert abs(places[0] - places[1]) >= charts.LINE - 1e-6
