"""The Train & judge page, without a browser: links, numbers, reports, the demo run and its end."""

import base64
import io
import json
import os
import re
import shutil
import time
from html import unescape
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

from mixviz import zoo
from mixviz.evaluate.corruptions import CORRUPTIONS
from mixviz.ui import (
    batch,
    candidates,
    compute,
    frame,
    judge,
    standings,
    training,
    trials,
    verdicts,
)
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
    candidates.OBJECTS.clear()
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
    return {"protocol": {"fgsm": "One step."}, "runs": found}


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
    assert "<td class=mv-best>41.00</td>" in table(app, "further"), "of what ↑ marks the highest"
    assert "Puzzle Mix, Table 4" in body
    assert "median of the last 10 epochs" in body, "the protocol is named"
    assert "42.77" in body, "the paper's vanilla, in the columns of ours"
    assert len(app.get("plotly_chart")) == 3, "two of reliability, and what is published of costs"
    assert any("One step." in text.value for text in app.text)
    assert not app.info
    app = open_page(section="corrupted", who=TWO)
    figure = json.loads(app.get("plotly_chart")[0].proto.spec)
    words = figure["layout"]["yaxis"]["ticktext"]
    assert [word.removeprefix("<b>").removesuffix("</b>") for word in words] == [
        name.replace("_", " ") for name in CORRUPTIONS
    ]
    assert not app.info


def test_the_newer_report_counts_and_odd_files_are_passed_over(runs, monkeypatch):
    monkeypatch.setattr(zoo, "CHECKPOINTS", runs)
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


# ---- sweeps and seeds


def write_cell(folder, card, seed, top1):
    write_run(folder, card=card)
    facts = json.loads((folder / "mine.json").read_text())
    facts["seed"] = facts["recipe"]["seed"] = seed
    facts["top1"] = top1
    (folder / "mine.json").write_text(json.dumps(facts))


def test_runs_that_differ_in_the_seed_alone_share_a_line(runs):
    for seed, top1 in ((1, 57.0), (0, 58.5)):
        write_cell(runs / "equal" / f"method=cutmix+seed={seed}", BUNDLED[2], seed, top1)
    write_cell(runs / "other", BUNDLED[3], 0, 57.0)
    cells = [f"run-equal/method=cutmix+seed={seed}" for seed in (0, 1)]
    app = open_page(section="judged", who=",".join([*cells, "run-other"]))
    assert not app.warning
    ours = table(app, "judged").partition("mv-part")[2].partition("</tbody>")[0]
    assert ours.count('<th scope="row">') == 2
    assert "CutMix, 2 seeds" in ours
    assert "42.25 ± 0.75" in ours, "mean and half the range of 43.0 and 41.5"
    assert "seeds 0, 1 (Run equal/method=cutmix+seed=0, Run equal/method=cutmix+seed=1)" in ours
    assert "43.00</td>" in ours, "one run has no spread"
    assert any("half their range" in one.value for one in app.caption)


def test_one_run_listed_twice_does_not_count_as_two_seeds(runs):
    for name in ("first", "again"):
        write_cell(runs / name, BUNDLED[2], 4, 57.0)
    app = open_page(section="judged", who="run-first,run-again")
    body = table(app, "judged")
    assert "seeds" not in body
    assert "Run first" in body
    assert "Run again" in body


def test_a_changed_card_is_read_anew(runs):
    write_cell(runs / "first", BUNDLED[2], 0, 57.0)
    assert candidates.read_card(runs / "first")["top1"] == 57.0
    write = runs / "first" / "mine.json"
    write.write_text(write.read_text().replace("57.0", "57.5"))
    os.utime(write, (2, 2))
    assert candidates.read_card(runs / "first")["top1"] == 57.5


@pytest.mark.usefixtures("runs")
def test_overhead_and_accuracy_stand_beside_the_published():
    app = open_page(section="judged")
    ours, theirs = (json.loads(one.proto.spec) for one in app.get("plotly_chart")[-2:])
    names = {note["text"] for note in ours["layout"]["annotations"][:-1]}
    assert names == {"Vanilla", "CutMix", "Puzzle Mix", "Guided-AP", "R-Mix"}
    published = {note["text"] for note in theirs["layout"]["annotations"][:-1]}
    assert {"Guided-SR", "SaliencyMix", "Co-Mixup"} < published
    rows = table(app, "costs")
    guided = rows.partition("Guided-AP</th>")[2].partition("</tr>")[0]
    assert [part.partition("<")[0] for part in guided.split("<td>")[1:]] == [
        "+89.2",
        "+83",
        "+77.5",
        "+135",
    ]


def test_only_classifiers_of_one_setting_are_compared_by_their_cost():
    known = candidates.candidates()
    who = [known[slug] for slug in BUNDLED[:3]]  # the first was trained otherwise
    told = {one.slug: verdicts.facts(one) for one in who}
    points = standings.our_points(standings.stand(who, told, {}))
    assert [(one.title, one.accuracy) for one in points] == [
        ("Vanilla", pytest.approx(58.0)),
        ("CutMix", pytest.approx(57.58)),
    ]
    assert standings.our_points(standings.stand(who[:2], told, {})) == []


# ---- the batch a run shows


def write_batch(folder, count=6, size=16, columns=4, changes=None):
    """A batch whose pictures are flat, each of its own grey."""
    tiles = np.zeros((-(-count // columns), columns, size, size, 3), np.uint8)
    tiles.reshape(-1, size, size, 3)[:count] = (10 * np.arange(count) + 5)[:, None, None, None]
    height, width = tiles.shape[0] * size, columns * size
    Image.fromarray(tiles.transpose(0, 2, 1, 3, 4).reshape(height, width, 3)).save(
        folder / "batch.png"
    )
    labels = [[[f"<kind {k}>", 0.75], ["other", 0.25]] for k in range(count)]
    facts = {"epoch": 3, "size": size, "count": count, "columns": columns, "labels": labels}
    (folder / "batch.json").write_text(json.dumps(facts | (changes or {})))


@pytest.mark.parametrize("size", [16, 64, 300])
def test_each_picture_of_a_batch_is_cut_out_with_its_label(tmp_path, size):
    write_batch(tmp_path, size=size)
    found = batch.read_batch(tmp_path)
    assert found.epoch == 3
    assert found.labels[5] == (("<kind 5>", 0.75), ("other", 0.25))
    for place, source in enumerate(found.pictures):
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))
        inner = picture[2:-2, 2:-2]  # a sheet of 1,200 pixels was scaled down
        assert set(np.unique(inner)) == {10 * place + 5}
        assert picture.shape[0] == picture.shape[1] == min(size, 256)


def test_a_batch_is_shown_with_its_epoch_and_names_as_text(runs):
    write_run(runs / "first", card=BUNDLED[1])
    write_batch(runs / "first")
    app = open_page(section="trained", run="first")
    (body,) = [one for one in bodies(app) if 'data-batch="3"' in one]
    assert "Epoch 3: 6 of its pictures" in body
    assert body.count("<img") == 6
    assert "75% &lt;kind 0&gt;" in body
    assert "<kind" not in body


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epoch": 0}, "epoch must be a whole number from 1"),
        ({"epoch": True}, "epoch must be a whole number from 1"),
        ({"size": 15}, "does not show the 6 mixes of 15 pixels"),
        ({"size": 10**9}, "size must be a whole number from 1 to 2048"),
        ({"columns": 3}, "does not show the 6 mixes of 16 pixels in 3 columns"),
        ({"count": 7}, "labels must be a list of 7"),
        ({"count": 17}, "count must be a whole number from 1 to 16"),
        ({"labels": None}, "labels must be a list of 6"),
        ({"labels": [3] * 6}, "pairs of a class name and a weight"),
        ({"labels": [[["a", float("nan")]]] * 6}, "a weight from 0 to 2"),
        ({"labels": [[["a", 10**400]]] * 6}, "a weight from 0 to 2"),
        ({"labels": [[["a", 0.1]] * 4] * 6}, "at most 3 pairs"),
        ({"labels": [[[1, 0.5]]] * 6}, "pairs of a class name and a weight"),
    ],
)
def test_a_batch_that_is_none_is_refused_in_words(runs, changes, said):
    write_run(runs / "first", card=BUNDLED[1])
    write_batch(runs / "first", changes=changes)
    app = open_page(section="trained", run="first")
    body = html_of(app, 'data-batch="bad"')
    assert said in body
    assert "<img" not in body


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("batch.json", b"{", "batch.json is no JSON"),
        ("batch.json", b"[" * 50_000, "batch.json is no JSON"),
        ("batch.json", b"\xff\xfe\x00", "batch.json is no JSON"),
        ("batch.json", b"[]", "batch.json holds no object"),
        ("batch.json", b" " * (batch.MAX_FACTS + 1), "larger than the 0.1 MB"),
        ("batch.png", b"\x80\x04pickle", "is a Python pickle"),
        ("batch.png", b"\x89PNG\r\n\x1a\n", "is a PNG picture of 8 bytes"),
        ("batch.png", b"\0" * 10_000_001, "larger than the 10 MB"),
    ],
)
def test_files_of_a_batch_are_held_to_limits(tmp_path, name, content, said):
    write_batch(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(batch.BatchError, match=said):
        batch.read_batch(tmp_path)


def test_until_there_is_a_batch_the_page_says_so(runs):
    write_run(runs / "begun", epochs=0, card=BUNDLED[1])
    write_run(runs / "older", card=BUNDLED[1])
    app = open_page(section="trained", run="begun")
    assert "comes with the first epoch" in html_of(app, 'data-batch="none"')
    app = open_page(section="trained", run="older")
    assert "has kept no batch" in html_of(app, 'data-batch="none"')


# ---- the demo run


def test_shapes_are_drawn_by_their_seed(tmp_path):
    for name in ("one", "two"):
        training.write_shapes(tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.png"))
    assert len(files) == sum(training.PER_CLASS.values()) * len(training.SHAPES)
    for file in files[::40]:
        first, second = (np.asarray(Image.open(tmp_path / name / file)) for name in ("one", "two"))
        assert np.array_equal(first, second)


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
    assert re.search(r'data-batch="\d+"', "".join(bodies(app)))
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


@pytest.mark.parametrize("look", [LIGHT, DARK])
def test_names_of_a_cost_chart_lie_apart_and_inside(look):
    points = standings.published_points()
    figure = charts.overhead_scatter(points, "x", look)
    notes = figure.layout.annotations[:-1]
    low, high = figure.layout.yaxis.range
    pixels = figure.layout.height - figure.layout.margin.t - figure.layout.margin.b
    tops = [(high - note.y) / (high - low) * pixels + note.ay for note in notes]
    assert min(b - a for a, b in pairwise(tops)) >= charts.LINE - 1e-6
    assert tops[0] > 0
    assert tops[-1] < pixels
    right = figure.layout.xaxis.range[1]
    assert all(note.xanchor == "right" for note in notes if note.x > 0.6 * right)
    assert {mark for trace in figure.data for mark in [trace.marker.symbol]} == {
        "circle",
        "diamond",
    }, "colour alone does not tell the two groups apart"
