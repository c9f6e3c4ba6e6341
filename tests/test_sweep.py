"""Sweeps: all combinations, each in a folder of its own, gone on with, in one table."""

import csv
import json
from pathlib import Path

import pytest
import torch
from test_train import SMALL, write_parquet

from mixviz.train.errors import DataError
from mixviz.train.sweep import list_cells, main, summarise


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_cells_are_all_combinations_and_off_leaves_a_flag_away() -> None:
    cells = list_cells([["method", "off", "r_mix"], ["hold", "num_patches=2,4", "num_patches=8"]])
    assert [cell.arguments for cell in cells] == [
        ["--hold=num_patches=2,4"],
        ["--hold=num_patches=8"],
        ["--method=r_mix", "--hold=num_patches=2,4"],
        ["--method=r_mix", "--hold=num_patches=8"],
    ]
    flags = list_cells([["half", "off", "on"]])
    assert [cell.arguments for cell in flags] == [[], ["--half"]]
    names = [cell.name for cell in cells]
    assert names[2] == "method=r_mix+hold=num_patches=2_4"
    assert len(set(names)) == 4


@pytest.mark.parametrize(
    ("over", "sentence"),
    [
        ([["seed"]], "needs values"),
        ([["seed", "1", "1"]], "needs values that differ"),
        ([["seed", "1"], ["--seed", "2"]], "each flag of mixviz.train once"),
        ([["../x", "1"]], "each flag of mixviz.train once"),
        ([["data", "a/b", "a_b"]], "would share a folder"),
        ([["out", "a", "b"]], "the sweep sets that flag itself"),
    ],
)
def test_what_is_no_grid_is_refused(over: list[list[str]], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        list_cells(over)


def test_a_sweep_trains_goes_on_and_tabulates(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each run in two processes: neither repeats the sweep."""
    data, out = write_parquet(tmp_path / "colours"), tmp_path / "sweep"
    grid = ["--out", str(out), "--over", "method", "none", "cutmix", "--over", "seed", "1"]
    command = [*grid, "--", "--data", str(data), *SMALL, "--epochs", "1", "--devices", "2"]
    assert main(command) == 0
    said = capfd.readouterr().out
    with (out / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["seed"]) for row in rows] == [
        ("none", "1"),
        ("cutmix", "1"),
    ]
    for row in rows:
        folder = out / f"method={row['method']}+seed={row['seed']}"
        (card,) = (json.loads(path.read_text()) for path in folder.glob("colours*.json"))
        assert float(row["top1"]) == card["top1"]
        assert (card["method"] or "none", str(card["seed"])) == (row["method"], row["seed"])
    assert said.count("run 2 of 2") == said.count("mean top-1") == 1
    assert said.count("epoch 1/1") == 2
    before = {path: path.stat().st_mtime_ns for path in out.rglob("state.safetensors")}
    assert main(command) == 0
    assert len(before) == 2
    assert {path: path.stat().st_mtime_ns for path in before} == before, "done runs are not redone"


def test_a_sweep_reads_every_command_before_the_first_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_parquet(tmp_path / "colours"), tmp_path / "sweep"
    grid = ["--out", str(out), "--over", "method", "none", "zzz"]
    assert main([*grid, "--", "--data", str(data), *SMALL, "--epochs", "1"]) == 2
    assert "invalid choice: 'zzz'" in capsys.readouterr().err
    assert not out.exists()


def test_a_run_that_fails_ends_the_sweep_with_its_code(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    grid = ["--out", str(tmp_path / "sweep"), "--over", "seed", "0", "1"]
    assert main([*grid, "--", "--data", str(tmp_path / "nowhere")]) == 2
    assert capfd.readouterr().err.count("no data folder at") == 1


def test_seeds_are_put_together() -> None:
    rows = [
        {"method": "cutmix", "seed": "0", "top1": 50.0, "top5": 80.0, "seconds": 1.0},
        {"method": "cutmix", "seed": "1", "top1": 54.0, "top5": 80.0, "seconds": 1.0},
        {"method": "none", "seed": "0", "top1": 60.0, "top5": 80.0, "seconds": 1.0},
    ]
    lines = summarise(rows).splitlines()
    assert lines[1].split()[0] == "60.00"
    assert "52.00 %  method cutmix  (50.00 to 54.00, 2 seeds)" in lines[2]
