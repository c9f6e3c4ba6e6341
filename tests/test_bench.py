"""Each section measures what it says, on tiny input; no test looks at a clock."""

import json
import math
import os

import numpy as np
import pytest
import torch

from mixviz.bench import browser, command, menu, pairing, report, sight, solvers, steps
from mixviz.bench.report import Table
from mixviz.core import mask
from mixviz.core.blocks import check_finite, identity_plan, move_blocks
from mixviz.methods import METHODS


def timed(records, *columns):
    """Every named column of every record is a positive time."""
    return all(0 < record[name] < math.inf for record in records for name in columns)


def test_masks_compare_three_solvers():
    (table,) = solvers.masks(batch=2, sizes=((4, 2), (4, 4)), repeats=1)
    records = table.records()
    assert [(r["grid"], r["labels"]) for r in records] == [("4×4", 3), ("4×4", 5)]
    assert timed(records, "exact", "own swap")
    for record in records:
        assert (record["pyGCO swap"] is not None) == mask.pygco_available()
        if record["pyGCO swap"]:
            ratio = record["exact"] / record["pyGCO swap"]
            assert record["exact / pyGCO"] == pytest.approx(ratio)


def test_algorithm_1_is_compared_with_the_optimum():
    grids, xis = (2, 8), (0.8, 0.05)
    tables = solvers.algorithm1(batch=8, grids=grids, xis=xis, repeats=1)
    assert [table.title.split(",")[0] for table in tables] == [
        "Algorithm 1 at ξ = 0.8",
        "Algorithm 1 at ξ = 0.05",
    ]
    for table in tables:
        records = table.records()
        assert [r["grid"] for r in records] == ["2×2", "8×8"]
        assert all(0 <= r["error %"] < 100 for r in records)
        assert all(1 <= r["most rounds"] <= 64 * 63 // 2 + 1 for r in records)
        assert timed(records, "Algorithm 1 ms", "exact ms", "SciPy ms")
    cheap = tables[1].records()[1]
    assert cheap["error %"] > 0
    assert cheap["blocks that should move %"] > tables[0].records()[1]["blocks that should move %"]


def test_a_step_is_its_solvers_and_the_rest():
    whole, parts = steps.steps(batch=2, sizes=((32, 4), (64, 8)), xis=(0.8,), repeats=2, slowest=5)
    records = whole.records()
    assert [(r["picture"], r["grid"], r["ξ"]) for r in records] == [
        ("32 px", "4×4", 0.8),
        ("64 px", "8×8", 0.8),
    ]
    assert timed(records, "step ms", "CPU ms", "mask ms", "transport ms")
    for r in records:
        shares = r["mask ms"] + r["transport ms"] + r["the rest ms"]
        assert shares == pytest.approx(r["step ms"])
    own = [r["ms per step"] for r in parts.records()]
    assert len(own) == 5
    assert own == sorted(own, reverse=True)


def test_every_method_of_the_menu_takes_one_step():
    (table,) = menu.menu(batch=2, size=32, repeats=1)
    records = table.records()
    assert [r["method"] for r in records] == [method.title for method in METHODS.values()]
    assert timed(records, "median ms", "p95 ms")
    reads = {r["method"]: r["reads"] for r in records}
    assert (reads["R-Mix"], reads["Input Mixup"]) == ("s0, s1", None)


def test_pairing_is_timed_by_the_size_of_the_batch_and_within_a_step():
    pairing_table, step = pairing.pairings(counts=(4, 6), sizes=(16,), batch=4, repeats=2)
    records = pairing_table.records()
    assert [r["batch"] for r in records] == [4, 6]
    assert timed(records, "distances ms", "greedy ms", "improved ms", "both ms")
    parts = {r["part"]: r["ms"] for r in step.records()}
    assert list(parts) == ["saliency", "blur", "pairing", "mix", "all"]
    assert max(value for name, value in parts.items() if name != "all") < parts["all"] < math.inf


def test_saliency_is_timed_in_a_new_process_and_warm():
    (table,) = sight.saliency(size=64, repeats=1, cold=1)
    records = {record["what"]: record for record in table.records()}
    assert timed(records.values(), "median ms", "p95 ms")
    cold = [r["median ms"] for name, r in records.items() if name.startswith("New process")]
    assert len(cold) == 4
    assert cold[-1] > sum(cold[:-1])
    assert len(records) == 6


def test_without_chromium_the_browser_section_is_one_line(monkeypatch, capsys):
    monkeypatch.setenv("CHROMIUM", "no-such-program")
    assert browser.browser() == []
    assert capsys.readouterr().out.strip() == "browser: skipped, Chromium is not installed"


def test_a_walk_over_the_knobs_never_comes_back():
    walk = browser._path(36)
    assert len(walk) >= 30
    places = dict.fromkeys(browser.KNOBS, 0)
    seen = {tuple(places.values())}
    for knob, key in walk:
        places[knob] += 1 if key == "ArrowRight" else -1
        seen.add(tuple(places.values()))
    assert len(seen) == len(walk) + 1


def test_the_command_prints_markdown_and_writes_the_same_as_json(monkeypatch, capsys, tmp_path):
    table = Table("Speed", ("who", "ms", "note"), (("exact", 1.23456, None), ("swap", 250.4, "x")))
    monkeypatch.setattr(command, "SECTIONS", {"one": lambda: [table], "two": lambda: []})
    monkeypatch.setattr(report, "trainings", lambda: [7, 9])
    file = tmp_path / "figures.json"
    assert command.main(["one", "--json", str(file)]) == 0
    out, err = capsys.readouterr()
    assert "### Speed\n\n| who | ms | note |\n| --- | --- | --- |\n" in out
    assert "| exact | 1.23 | – |\n| swap | 250 | x |" in out
    assert f"CPUs {os.cpu_count()}" in out
    assert "load " in out
    assert "a training runs (process 7, 9)" in err
    written = json.loads(file.read_text(encoding="utf-8"))
    assert written["sections"] == {"one": [{"title": "Speed", "rows": table.records()}]}
    assert written["environment"]["torch"] == torch.__version__.partition("+")[0]


def test_an_unknown_section_is_named_with_those_there_are(capsys):
    with pytest.raises(SystemExit):
        command.main(["speed"])
    assert "no section speed; there are masks, steps, menu, algorithm1" in capsys.readouterr().err


def test_a_row_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        Table("T", ("a", "b"), ((1,),))


def test_running_trainings_are_found(tmp_path):
    for process, words in (
        ("31", "python\0-m\0mixviz.train\0--help"),
        ("4", "vi\0mixviz.train.md"),
    ):
        (tmp_path / process).mkdir()
        (tmp_path / process / "cmdline").write_text(words, encoding="utf-8")
    (tmp_path / "99").mkdir()  # ended between the listing and the reading
    assert report.trainings(tmp_path) == [31]


# What was made fast must still be right.


@pytest.mark.parametrize("layout", ["plain", "expanded", "channels last"])
@pytest.mark.parametrize(("grid", "size"), [(1, 6), (2, 6), (3, 6), (6, 6)])
def test_moved_blocks_are_those_of_the_plan(grid, size, layout):
    generator = torch.Generator().manual_seed(grid)
    images = torch.rand(3, 2, size, size, generator=generator)
    if layout == "expanded":
        images = images[:1].expand(3, -1, -1, -1)
    if layout == "channels last":
        images = images.to(memory_format=torch.channels_last)
    sources = [torch.randperm(grid * grid, generator=generator) for _ in range(2)]
    source = torch.stack([*sources, torch.arange(grid * grid)])
    moved = move_blocks(images, source)
    side = size // grid
    for item in range(3):
        for place, block in enumerate(source[item].tolist()):
            there, here = (
                tuple(slice(side * k, side * (k + 1)) for k in divmod(index, grid))
                for index in (place, block)
            )
            assert torch.equal(moved[item, :, *there], images[item, :, *here])
    assert move_blocks(images, identity_plan(3, grid)) is images


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_value_among_many_is_found_and_named(bad):
    values = torch.zeros(3, 50)
    values[1, 7] = bad
    with pytest.raises(ValueError, match=r"x must be finite, got -?(nan|inf) at index \(1, 7\)"):
        check_finite("x", values)
    values[2, 9] = -bad  # infinities that cancel are no number either
    with pytest.raises(ValueError, match="x must be finite"):
        check_finite("x", values)


def test_finite_values_whose_sum_is_not_are_finite():
    check_finite("x", torch.full((4,), 3e38))
    check_finite("x", torch.empty(0))
