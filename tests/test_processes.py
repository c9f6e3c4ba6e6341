"""Several processes share a run: DDP on the CPU against one process."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from test_train import write_parquet

from mixviz.train import flags
from mixviz.train.command import main

PROGRAM = Path(__file__).with_name("one_more_network.py")
SMALL = ("--sizes", "16", "--batch", "8", "--device", "cpu", "--precision", "fp32", "--lr", "0.05")


def run(data: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAM), "--data", str(data), "--out", str(out), *SMALL, *more]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    root = PROGRAM.parents[1]
    env["PYTHONPATH"] = os.pathsep.join([str(root), env.get("PYTHONPATH", "")])
    return subprocess.run(
        command, env=env, cwd=out.parent, capture_output=True, text=True, timeout=300, check=False
    )


def weights(out: Path) -> dict[str, torch.Tensor]:
    (path,) = out.glob("[!s]*.safetensors")
    return safetensors.torch.load_file(path)


def log(out: Path) -> list[dict[str, float]]:
    with (out / "log.csv").open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parquet(tmp_path_factory.mktemp("data") / "colours")


def test_two_processes_learn_what_one_learns(colours: Path, tmp_path: Path) -> None:
    """Augmentation, order, gradients, accuracy; only sums are rounded in another order."""
    more = ("--network", "plain", "--epochs", "2", "--name", "net", "--jitter")
    assert run(colours, tmp_path / "one", *more).returncode == 0
    two = run(colours, tmp_path / "two", *more, "--devices", "2")
    assert two.returncode == 0, two.stderr
    assert two.stdout.count("epoch 2/2") == 1, "only one process speaks"
    alone, shared = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert alone.keys() == shared.keys()
    for name, tensor in alone.items():
        torch.testing.assert_close(shared[name].float(), tensor.float(), rtol=2e-3, atol=1e-4)
    for ours, theirs in zip(log(tmp_path / "two"), log(tmp_path / "one"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
    card = json.loads((tmp_path / "two" / "net.json").read_text())
    assert card["recipe"]["processes"] == 2
    assert card["hardware"].startswith("2 × CPU")


def test_processes_mix_their_parts(colours: Path, tmp_path: Path) -> None:
    """Norms, the loss of the clean batch as well, and a method that cuts the network open."""
    network = ("--network", "preactresnet18", "--width", "4", "--name", "net")
    more = ("--method", "manifold_mixup", "--clean", "0.5", "--epochs", "4", "--devices", "2")
    done = run(colours, tmp_path / "run", *network, *more)
    assert done.returncode == 0, done.stderr
    losses = [row["loss"] for row in log(tmp_path / "run")]
    assert losses[-1] < losses[0]
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path / "run").values())


def test_all_processes_stop_with_one_sentence(colours: Path, tmp_path: Path) -> None:
    more = ("--network", "plain", "--epochs", "1", "--devices", "2", "--lr", "1e30")
    done = run(colours, tmp_path / "run", *more)
    assert done.returncode == 1
    assert done.stderr.count("the loss is nan in epoch 1") == 1, done.stderr
    assert "threads left" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_batch_is_shared_alike(
    colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ["--data", str(colours), "--out", str(tmp_path / "run")]
    assert main([*folders, *SMALL, "--devices", "3"]) == 2
    assert "--batch 8 cannot be shared by 3 processes alike" in capsys.readouterr().err


def test_no_more_processes_than_cores(
    colours: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(flags.os, "cpu_count", lambda: 3)
    folders = ["--data", str(colours), "--out", str(tmp_path / "run")]
    assert main([*folders, *SMALL, "--devices", "4"]) == 2
    assert "--devices 4: at most 3 here, the processor cores" in capsys.readouterr().err
