import csv
import errno
import hashlib
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import entropy
from torch import nn
from torch._dynamo.backends.debugging import aot_eager

from mixviz.augment import Mix, MixInside
from mixviz.core.percentiles import percentile_choices
from mixviz.methods import METHODS
from mixviz.networks import preact_resnet18
from mixviz.train import checkpoint, command, overhead, sources
from mixviz.train.augment import Draws, draw, show_windows, vary_colours
from mixviz.train.command import main
from mixviz.train.errors import DataError
from mixviz.train.feed import in_turn
from mixviz.train.flags import LAUNCHERS, read_stages
from mixviz.train.judge import Normaliser, measure
from mixviz.train.objective import CRITERIA, ConsistencyLoss, jensen_shannon
from mixviz.train.recipe import Mixing, Recipe, Stage, trainable
from mixviz.train.schedule import OneCycle
from mixviz.train.shelf import Held
from mixviz.train.sources import ImageSet
from mixviz.train.work import (
    Learner,
    build_fabric,
    build_network,
    build_objective,
    build_optimiser,
    build_work,
    take_step,
    vary,
)
from mixviz.zoo.policy import choose_percentiles, load_policy

XY = ("--data", "x", "--out", "y")
RUNS = ("plain", "compiled")
CLASSES = (("n00000001", "red, crimson"), ("n00000002", "green"), ("n00000003", "blue"))
SMALL = ("--width", "4", "--sizes", "16", "--batch", "8", "--device", "cpu", "--lr", "0.05")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Runs compared bit by bit must split their sums alike."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def picture(label: int, number: int, side: int = 16) -> np.ndarray:
    """Noise (side, side, 3) with one channel, the label's, brighter than the others."""
    noise = np.random.default_rng(100 * label + number).integers(0, 90, (side, side, 3))
    noise[:, :, label] += 120
    return noise.astype(np.uint8)


def encode(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def write_shard(path: Path, rows: list[tuple[bytes | None, int]]) -> None:
    images = [{"bytes": encoded, "path": f"{i}.png"} for i, (encoded, _) in enumerate(rows)]
    table = pa.table({"image": images, "label": pa.array([label for _, label in rows], pa.int16())})
    pq.write_table(table, path, row_group_size=7)


def write_parquet(folder: Path) -> Path:
    folder.mkdir(parents=True)
    text = "".join(f"{i}\t{wnid}\t{name}\n" for i, (wnid, name) in enumerate(CLASSES))
    (folder / "classes.tsv").write_text(text)
    rows = [(encode(picture(i % 3, i)), i % 3) for i in range(30)]
    write_shard(folder / "train-00000-of-00002.parquet", rows[:15])
    write_shard(folder / "train-00001-of-00002.parquet", rows[15:])
    write_shard(
        folder / "val-00000-of-00001.parquet",
        [(encode(picture(i % 3, 50 + i)), i % 3) for i in range(15)],
    )
    return folder


def write_folders(folder: Path) -> Path:
    for split, count, first in (("train", 8, 0), ("val", 3, 50)):
        for label, (_, name) in enumerate(CLASSES):
            inside = folder / split / name.split(",")[0]
            inside.mkdir(parents=True)
            for number in range(count):
                pixels = picture(label, first + number, side=20)
                (inside / f"{number}.jpg").write_bytes(encode(pixels, "JPEG"))
    return folder


def write_cifar(folder: Path) -> type[torchvision.datasets.CIFAR10]:
    """A three-class set in the layout of CIFAR-10, and torchvision's reader with its MD5 sums."""
    inside = folder / "tiny-cifar"
    inside.mkdir(parents=True)
    sums = {}
    for name, count, first in (("data_batch_1", 24, 0), ("test_batch", 9, 50)):
        rows = [picture(i % 3, first + i, 32).transpose(2, 0, 1).ravel() for i in range(count)]
        content = {"data": np.stack(rows), "labels": [i % 3 for i in range(count)]}
        (inside / name).write_bytes(pickle.dumps(content))
    (inside / "batches.meta").write_bytes(pickle.dumps({"label_names": ["red", "green", "blue"]}))
    for path in inside.iterdir():
        sums[path.name] = hashlib.md5(path.read_bytes()).hexdigest()

    class TinyCifar(torchvision.datasets.CIFAR10):
        base_folder = "tiny-cifar"
        train_list = (("data_batch_1", sums["data_batch_1"]),)
        test_list = (("test_batch", sums["test_batch"]),)

    TinyCifar.meta = {
        "filename": "batches.meta",
        "key": "label_names",
        "md5": sums["batches.meta"],
    }
    return TinyCifar


def read_log(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def without_seconds(run: Path) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_log(run)]


def train(data: Path, run: Path, *more: str) -> int:
    return main(["--data", str(data), "--out", str(run), *SMALL, *more])


# Augmentation -----------------------------------------------------------------------------------


@given(st.integers(0, 2**31), st.sampled_from([16, 48, 64]))
@settings(max_examples=25, deadline=None)
def test_photo_crops_stay_inside_with_allowed_area_and_aspect(seed: int, size: int) -> None:
    draws = draw(64, size, 1.0, 0.0, torch.Generator().manual_seed(seed))
    scale = torch.stack((draws.theta[:, 0, 0].abs(), draws.theta[:, 1, 1]))
    centre = draws.theta[:, :, 2].T
    assert (centre.abs() + scale <= 1 + 1e-5).all()
    assert (scale.prod(0) >= 0.3 - 1e-5).all()
    assert (scale.prod(0) <= 1).all()
    aspect = scale[0] / scale[1]
    assert (aspect >= 3 / 4 - 1e-5).all()
    assert (aspect <= 4 / 3 + 1e-5).all()
    assert (draws.factors == 1).all()


def test_shifts_are_whole_pixels_up_to_six_at_64_and_flips_are_half() -> None:
    draws = draw(4000, 64, 0.0, 0.2, torch.Generator().manual_seed(0))
    pixels = draws.theta[:, :, 2] * 32
    assert torch.allclose(pixels, pixels.round(), atol=1e-5)
    assert pixels.round().unique().tolist() == list(range(-6, 7))
    assert 0.45 < (draws.theta[:, 0, 0] < 0).float().mean() < 0.55
    assert (draws.theta[:, 0, 0].abs() == 1).all()
    assert 0.8 <= draws.factors.min() < 0.85
    assert 1.15 < draws.factors.max() <= 1.2


def test_a_shifted_and_flipped_window_shows_the_very_pixels_and_mirrors_the_border() -> None:
    image = torch.rand(1, 3, 8, 8)
    two_right = Draws(torch.tensor([[[1.0, 0, 0.5], [0, 1, 0]]]), torch.ones(3, 1, 1, 1, 1))
    shown = show_windows(image, two_right)
    assert torch.allclose(shown[..., :6], image[..., 2:], atol=1e-5)
    assert torch.allclose(shown[..., 6:], image[..., 6:].flip(3), atol=1e-5)
    flipped = Draws(torch.tensor([[[-1.0, 0, 0], [0, 1, 0]]]), torch.ones(3, 1, 1, 1, 1))
    assert torch.allclose(show_windows(image, flipped), image.flip(3), atol=1e-5)


def test_colour_factors_of_one_change_nothing_and_zero_saturation_is_grey() -> None:
    images = torch.rand(2, 3, 4, 4) * 255
    factors = torch.ones(3, 2, 1, 1, 1)
    theta = torch.eye(2, 3).expand(2, 2, 3)
    assert torch.allclose(vary_colours(images, Draws(theta, factors)), images, atol=1e-3)
    factors[2] = 0
    grey = vary_colours(images, Draws(theta, factors))
    assert torch.allclose(grey[:, 0], grey[:, 1], atol=1e-3)
    assert torch.allclose(grey[:, 1], grey[:, 2], atol=1e-3)


# Recipe -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_one_cycle_of_few_steps_stays_in_range(steps: int) -> None:
    rates = [OneCycle().part(step, steps) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)


def test_norms_and_biases_have_no_weight_decay() -> None:
    network = preact_resnet18(3, width=4)
    made = Recipe("preactresnet18", {}, (Stage(16, 1),))
    groups = build_optimiser(network, made).param_groups
    decayed = {id(p) for p in groups[0]["params"]}
    for name, parameter in network.named_parameters():
        module = network.get_submodule(name.rpartition(".")[0])
        exempt = isinstance(module, torch.nn.BatchNorm2d) or name.endswith("bias")
        assert (id(parameter) in decayed) != exempt
    assert (groups[0]["weight_decay"], groups[1]["weight_decay"]) == (5e-4, 0)


def test_stages_are_read_and_refused() -> None:
    assert read_stages("64", None) == (Stage(64, 60),)
    assert read_stages("48:12, 64:8", 20) == (Stage(48, 12), Stage(64, 8))
    for sizes, epochs, sentence in [
        ("48,64", None, "must read 64 or 48:12,64:8"),
        ("big", None, "got 'big'"),
        ("8:2", None, "from 16 to 512"),
        ("48:2,64:2", 5, "contradicts"),
    ]:
        with pytest.raises(DataError, match=sentence):
            read_stages(sizes, epochs)


def test_statistics_are_those_of_numpy() -> None:
    images = torch.randint(0, 256, (2500, 3, 4, 4), dtype=torch.uint8)
    mean, std = Held(ImageSet(images, torch.zeros(2500)), torch.device("cpu")).statistics()
    scaled = images.numpy() / 255
    np.testing.assert_allclose(mean, scaled.mean((0, 2, 3)), atol=1e-4)
    np.testing.assert_allclose(std, scaled.std((0, 2, 3)), atol=1e-4)


def test_measure_counts_first_and_first_five() -> None:
    class Fixed(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.arange(8.0).expand(len(x), 8)  # answers 7, 6, 5, 4, 3, in this order

    data = ImageSet(torch.zeros(4, 3, 4, 4, dtype=torch.uint8), torch.tensor([7, 3, 2, 6]))
    normalise = Normaliser.of([0.5] * 3, [0.25] * 3, torch.device("cpu"))
    accuracy = measure(Fixed(), Held(data, torch.device("cpu")), normalise, batch=3)
    assert (accuracy.top1, accuracy.top5, accuracy.images) == (25, 75, 4)


# Whole runs -------------------------------------------------------------------------------------


def test_parquet_run_learns_and_evaluate_reprints_its_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = write_parquet(tmp_path / "colours"), tmp_path / "run"
    more = ("--sizes", "16:3,20:3", "--jitter", "--data-name", "Colours-3")
    assert train(data, run, *more) == 0
    log = read_log(run)
    assert [row["size"] for row in log] == ["16"] * 3 + ["20"] * 3
    assert float(log[-1]["loss"]) < float(log[0]["loss"]) - 0.2
    card = json.loads((run / "colours-preactresnet18.json").read_text())
    assert card["architecture"] == {
        "name": "preactresnet18",
        "options": {"width": 4, "stem_stride": 1},
    }
    assert card["class_names"] == ["red", "green", "blue"]
    assert card["wordnet_ids"] == [wnid for wnid, _ in CLASSES]
    assert (card["input_size"], card["epochs"], card["seed"]) == (20, 6, 0)
    assert card["top5"] == 100
    assert card["top1"] > 60
    assert card["data"] == "Colours-3: 30 training and 15 validation images, 3 classes"
    assert "non-commercial" in card["terms"]
    assert str(tmp_path) not in json.dumps(card)
    assert "--out run" in card["command"]
    weights = (run / "colours-preactresnet18.safetensors").read_bytes()
    assert card["sha256"] == hashlib.sha256(weights).hexdigest()
    loaded = safetensors.torch.load(weights)
    assert loaded["stem.weight"].dtype == torch.float16
    assert loaded["norm.running_var"].dtype == torch.float32

    photos = tmp_path / "photos"
    photos.mkdir()
    for label, (wnid, _) in enumerate(CLASSES):
        (photos / f"{wnid}_x.JPEG").write_bytes(encode(picture(label, 99, side=40), "JPEG"))
    capsys.readouterr()
    file = str(run / "colours-preactresnet18.safetensors")
    assert main(["--evaluate", file, "--data", str(data), "--photos", str(photos)]) == 0
    validation, photographs = capsys.readouterr().out.splitlines()
    stated = f"top-1 {card['top1']:.2f} %, top-5 100.00 %"
    assert validation == f"validation: {stated} of 15 images (card: {stated})"
    assert photographs.endswith("of 3 images")


def test_folder_run_learns(tmp_path: Path) -> None:
    data, run = write_folders(tmp_path / "pictures"), tmp_path / "run"
    assert train(data, run, "--epochs", "6", "--per-class", "7") == 0
    log = read_log(run)
    assert float(log[-1]["loss"]) < float(log[0]["loss"]) - 0.2
    card = json.loads((run / "pictures-preactresnet18.json").read_text())
    assert card["class_names"] == ["blue", "green", "red"]
    assert card["wordnet_ids"] == []
    assert card["terms"].startswith("Not stated")
    assert card["data"].startswith("pictures: 21 training and 9 validation images")


def test_torchvision_run_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = write_cifar(tmp_path / "data")
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", tiny)
    run = tmp_path / "run"
    assert train(tmp_path / "data", run, "--dataset", "cifar10", "--epochs", "6") == 0
    log = read_log(run)
    assert float(log[-1]["loss"]) < float(log[0]["loss"]) - 0.2
    card = json.loads((run / "cifar10-preactresnet18.json").read_text())
    assert card["class_names"] == ["red", "green", "blue"]
    assert "CIFAR" in card["terms"]


def test_a_killed_run_resumes_to_the_same_metrics_and_weights(tmp_path: Path) -> None:
    data = write_parquet(tmp_path / "colours")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    more = ("--sizes", "16:3,24:9", "--name", "net", "--jitter")
    words = ["--data", str(data), "--out", str(killed), *SMALL, *more]
    process = subprocess.Popen(
        [sys.executable, "-m", "mixviz.train", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while not (killed / "log.csv").exists() or len(read_log(killed)) < 2:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    reached = len(read_log(killed))
    assert 2 <= reached < 12
    assert (killed / "net.safetensors").exists()
    assert train(data, killed, *more, "--resume") == 0
    assert train(data, whole, *more) == 0
    assert without_seconds(killed) == without_seconds(whole)
    assert (killed / "net.safetensors").read_bytes() == (whole / "net.safetensors").read_bytes()
    first, second = (safetensors.torch.load_file(f / "state.safetensors") for f in (whole, killed))
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_cleanly_and_says_what_is_saved(
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data, run = write_parquet(tmp_path / "colours"), tmp_path / "run"

    def signal_after_two(text: str) -> None:
        if text.startswith("epoch 2/"):
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    monkeypatch.setattr(command, "_say", signal_after_two)
    assert train(data, run, "--epochs", "5") == 128 + number
    assert "2 finished epochs" in capsys.readouterr().err
    assert len(read_log(run)) == 2
    assert not list(run.glob("*.partial"))
    assert signal.getsignal(number) is before


def test_a_run_is_neither_overwritten_nor_resumed_with_another_recipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = write_parquet(tmp_path / "colours"), tmp_path / "run"
    assert train(data, run, "--epochs", "1", "--resume") == 2
    assert "nothing to resume" in capsys.readouterr().err
    assert train(data, run, "--epochs", "1") == 0
    assert train(data, run, "--epochs", "1") == 2
    assert "already holds a run" in capsys.readouterr().err
    assert train(data, run, "--epochs", "1", "--resume", "--seed", "3") == 2
    assert "began with seed = 0, this command says 3" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_stops_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = write_parquet(tmp_path / "colours"), tmp_path / "run"
    assert train(data, run, "--epochs", "2", "--lr", "1e30") == 1
    error = capsys.readouterr().err
    assert "the loss is nan in epoch 1" in error
    assert "lower --lr than 1e+30" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", ["state", "batch", "log", "net.policy", "n" * 101, "a/b", ".x"])
def test_a_name_that_would_harm_the_run_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_parquet(tmp_path / "colours")
    assert train(data, tmp_path / "run", "--epochs", "1", "--name", name) == 2
    assert f"--name {name}" in (said := capsys.readouterr().err) or f"got {name!r}" in said
    assert not (tmp_path / "run").exists()


def test_a_data_folder_may_have_any_name(tmp_path: Path) -> None:
    data, run = write_parquet(tmp_path / "Meine Fotos, фото"), tmp_path / "run"
    assert train(data, run, "--epochs", "1") == 0
    assert [path.name for path in run.glob("Meine*.json")] == ["Meine-Fotos-preactresnet18.json"]


def test_names_in_no_known_encoding_are_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_parquet(tmp_path / "colours")
    assert train(data, tmp_path / "run", "--epochs", "1", "--data-name", "caf\udce9") == 2
    assert "'caf\\udce9' is not UTF-8" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert train(data, tmp_path / "caf\udce9", "--epochs", "1") == 2
    assert "is not UTF-8" in capsys.readouterr().err
    (data / "classes.tsv").write_bytes("0\tn00000001\tcaf\u00e9\n".encode("latin-1"))
    assert train(data, tmp_path / "run", "--epochs", "1") == 2
    assert "classes.tsv is not UTF-8" in capsys.readouterr().err


def test_a_finished_run_says_that_nothing_was_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = write_parquet(tmp_path / "colours"), tmp_path / "run"
    assert train(data, run, "--epochs", "1") == 0
    capsys.readouterr()
    assert train(data, run, "--epochs", "1", "--resume", "--name", "new") == 0
    said = capsys.readouterr().out
    assert "were finished before; nothing was written" in said
    assert "wrote" not in said
    assert not list(run.glob("new*"))


def test_a_state_whose_numbers_changed_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = write_parquet(tmp_path / "colours"), tmp_path / "run"
    assert train(data, run, "--epochs", "1") == 0
    state = run / "state.safetensors"
    content = bytearray(state.read_bytes())
    content[-8:] = b"\xff" * 8
    state.write_bytes(content)
    assert train(data, run, "--epochs", "1", "--resume") == 2
    error = capsys.readouterr().err
    assert "state.safetensors is damaged (its tensors do not have the sum they had)" in error
    assert error.count("\n") == 1


def test_a_full_disk_stops_the_run_and_keeps_the_last_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = write_parquet(tmp_path / "colours"), tmp_path / "run"
    synced = 0

    def fill_up(_descriptor: int) -> None:
        nonlocal synced
        synced += 1
        if synced > 6:  # batch (2), checkpoint, card, state and log of the first epoch
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", fill_up)
    assert train(data, run, "--epochs", "3") == 1
    error = capsys.readouterr().err
    assert "no space left for" in error
    assert error.count("\n") == 1
    assert len(read_log(run)) == 1
    assert not list(run.glob("*.partial"))
    assert main(["--evaluate", str(next(run.glob("colours*.json"))), "--data", str(data)]) == 0


def compile_by(backend: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let PyTorch trace a network as ever, and something that needs no C++ compiler run it."""
    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))


def test_a_compiled_network_learns_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sizes, two modes, and the gradients at the pictures that saliency asks for."""
    data, traced = write_parquet(tmp_path / "colours"), []

    def count(graph: torch.fx.GraphModule, examples: list[torch.Tensor]) -> object:
        traced.append(len(examples))
        return aot_eager(graph, examples)

    words = ("--sizes", "16:1,32:1", "--method", "puzzle_mix", "--precision", "fp32")
    assert train(data, tmp_path / "plain", *words) == 0
    compile_by(count, monkeypatch)
    assert train(data, tmp_path / "compiled", *words, "--compile") == 0
    assert traced, "nothing was compiled"
    losses = [[float(row["loss"]) for row in read_log(tmp_path / name)] for name in RUNS]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    plain, compiled = (next((tmp_path / name).glob("colours*.json")) for name in RUNS)
    assert checkpoint.read_checkpoint(plain)[1].state_dict().keys() == (
        checkpoint.read_checkpoint(compiled)[1].state_dict().keys()
    )


def test_a_machine_that_cannot_compile_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_graph: torch.fx.GraphModule, _examples: list[torch.Tensor]) -> object:
        raise RuntimeError("no C++ compiler\nand a long story")

    compile_by(fail, monkeypatch)
    data = write_parquet(tmp_path / "colours")
    assert train(data, tmp_path / "run", "--epochs", "1", "--compile") == 1
    error = capsys.readouterr().err
    assert "the network cannot be compiled here" in error
    assert "no C++ compiler" in error
    assert "leave out --compile" in error
    assert error.count("\n") == 1
    rows = ["--data", str(data), "--device", "cpu", "--compile", "manifold_mixup"]
    assert overhead.main(rows) == 2
    assert "--compile does not go with manifold_mixup" in capsys.readouterr().err


# Mixing -----------------------------------------------------------------------------------------


def card_of(run: Path) -> dict[str, Any]:
    return json.loads(next(run.glob("colours*.json")).read_text())


@pytest.mark.parametrize("method", trainable())
def test_every_method_trains_and_stands_in_the_card(method: str, tmp_path: Path) -> None:
    data, run = write_parquet(tmp_path / "colours"), tmp_path / "run"
    assert train(data, run, "--epochs", "2", "--method", method) == 0
    assert all(0 < float(row["loss"]) < 10 for row in read_log(run))
    assert (run / f"colours-preactresnet18-{method}.safetensors").is_file()
    card = card_of(run)
    assert card["method"] == method
    mixing = card["recipe"]["mixing"]
    single = ("cutout", "augmix")
    unpaired = ("comixup", "manifold_mixup", "rl_mix", *single)
    pairing = None if method in unpaired else "random"
    assert (mixing["method"], mixing["pairing"], mixing["prob"]) == (method, pairing, 1.0)
    assert (mixing["alpha"] is None) == (method in single or method.startswith("guided"))
    assert mixing["jsd"] == (12 if method == "augmix" else 0)
    blind = ("manifold_mixup", "rl_mix", "input_mixup", "cutmix", "snapmix", *single)
    known = {"guided_sr": "spectral_residual"} | dict.fromkeys(blind)
    assert mixing["saliency"] == known.get(method, "gradient")


@pytest.mark.parametrize("network", ["wrn16_8", "resnext29_4x24"])
def test_every_network_trains_with_its_own_options(network: str, tmp_path: Path) -> None:
    data, run = write_parquet(tmp_path / "colours"), tmp_path / "run"
    small = ("--network", network, "--width", "1", "--per-class", "4", "--stem-stride", "2")
    assert train(data, run, "--epochs", "1", *small) == 0
    card = card_of(run)
    assert card["architecture"] == {"name": network, "options": {"width": 1, "stem_stride": 2}}
    loaded, rebuilt = checkpoint.read_checkpoint(next(run.glob("colours*.json")))
    assert loaded == card
    assert rebuilt.head.out_features == 3


def test_a_run_without_a_method_says_so(tmp_path: Path) -> None:
    data, run = write_parquet(tmp_path / "colours"), tmp_path / "run"
    assert train(data, run, "--epochs", "1") == 0
    card = json.loads((run / "colours-preactresnet18.json").read_text())
    assert (card["method"], card["recipe"]["mixing"]) == (None, None)


@pytest.mark.parametrize(
    "mixing",
    [
        ("--method", "puzzle_mix", "--alpha", "0.5"),
        ("--method", "guidedmixup", "--pairing", "greedy", "--mix-prob", "0.6", "--clean", "1"),
        ("--method", "cutmix", "--pairing", "improved", "--saliency", "spectral_residual"),
        ("--method", "manifold_mixup", "--mix-prob", "0.7"),
        ("--method", "augmix", "--jsd", "3"),
        ("--method", "guided_aug"),
        ("--method", "rl_mix", "--clean", "0.5"),
        ("--method", "puzzle_mix", "--guide", "previous", "--hold", "grid=2,4"),
        ("--schedule", "multi_step", "--milestones", "1/2", "--loss", "bce", "--keep", "disk"),
    ],
)
def test_a_stopped_mixing_run_resumes_bit_by_bit(
    mixing: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_parquet(tmp_path / "colours")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    more = ("--epochs", "4", "--name", "net", *mixing)

    def stop_after_two(text: str) -> None:
        if text.startswith("epoch 2/"):
            raise command.Interrupt(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(command, "_say", stop_after_two)
        assert train(data, stopped, *more) == 128 + signal.SIGINT
    assert len(read_log(stopped)) == 2
    torch.manual_seed(123)  # what the process drew elsewhere must not matter
    assert train(data, stopped, *more, "--resume") == 0
    assert train(data, whole, *more) == 0
    assert without_seconds(stopped) == without_seconds(whole)
    assert (stopped / "net.safetensors").read_bytes() == (whole / "net.safetensors").read_bytes()


def test_the_agent_of_a_run_can_be_opened_by_the_app(tmp_path: Path) -> None:
    data, run = write_parquet(tmp_path / "colours"), tmp_path / "run"
    assert train(data, run, "--epochs", "2", "--name", "net", "--method", "rl_mix") == 0
    policy = load_policy((run / "net.policy.safetensors").read_bytes(), 3)
    rng = torch.Generator().manual_seed(0)
    saliency, logits = torch.rand(5, 16, 16, generator=rng), torch.randn(5, 3, generator=rng)
    chosen = choose_percentiles(policy, saliency, logits)
    assert set(chosen.tolist()) <= set(percentile_choices().tolist())
    rewards = [float(row["reward"]) for row in read_log(run)]
    assert all(0 < reward <= 1 for reward in rewards)
    assert json.loads((run / "net.json").read_text())["recipe"]["mixing"]["alpha"] == 1.0


def test_values_are_held_and_drawn_from(tmp_path: Path) -> None:
    """R-Mix, Table 7: K percentiles and other patches, told on the card."""
    data, run = write_parquet(tmp_path / "colours"), tmp_path / "run"
    hold = ("--hold", "num_patches=2,4,8;q0=0:0.99:5;strategy=3,4", "--hold", "q1=0,0.5")
    assert train(data, run, "--epochs", "1", "--method", "r_mix", *hold) == 0
    held = card_of(run)["recipe"]["mixing"]["hold"]
    five = [0, 0.2475, 0.495, 0.7425, 0.99]
    drawn = {"num_patches": [2, 4, 8], "q0": five, "q1": [0, 0.5], "strategy": ["3", "4"]}
    assert held == drawn


def test_a_run_does_not_resume_with_other_mixing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = write_parquet(tmp_path / "colours"), tmp_path / "run"
    mixing = ("--method", "guidedmixup")
    assert train(data, run, "--epochs", "1", *mixing) == 0
    assert train(data, run, "--epochs", "1", *mixing, "--mix-prob", "0.5", "--resume") == 2
    assert "cannot resume: the run began with mixing = " in capsys.readouterr().err


def test_half_is_half_the_epochs_at_twice_the_rate(tmp_path: Path) -> None:
    data, run = write_parquet(tmp_path / "colours"), tmp_path / "run"
    mixing = ("--method", "input_mixup", "--half")
    assert train(data, run, "--sizes", "16:3,20:2", *mixing) == 0
    card = json.loads((run / "colours-preactresnet18-input_mixup.json").read_text())
    assert (card["epochs"], card["recipe"]["peak_lr"]) == (3, 0.1)
    assert [row["size"] for row in read_log(run)] == ["16", "16", "20"]


SCALE = ([0.5] * 3, [0.25] * 3)


def loss_of(mixing: Mixing | None) -> float:
    """Loss of one step of the same network on the same batch, with the same chance."""
    torch.manual_seed(0)
    images = torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8)
    options = {"width": 4, "stem_stride": 1}
    made = Recipe("preactresnet18", options, (Stage(16, 1),), precision="fp32", mixing=mixing)
    fabric = build_fabric("cpu", made)
    network = build_network(made, 3, fabric)
    work = build_work(made, Learner(network, network, 3, *SCALE), fabric, len(images))
    work.chance.manual_seed(0)
    varied = vary(work, images, torch.Generator().manual_seed(0))
    (ready,) = in_turn(work.objective, [(varied, torch.arange(6) % 3)])
    return take_step(work, ready).loss.item()


def test_the_clean_loss_is_added_with_its_weight() -> None:
    clean, mixed = loss_of(None), loss_of(Mixing("cutmix"))
    both = loss_of(Mixing("cutmix", clean=0.7))
    assert both == pytest.approx(mixed + 0.7 * clean, rel=1e-5)
    assert mixed != pytest.approx(clean, rel=1e-3)


def test_consistency_is_cross_entropy_and_divergence_of_three_views_in_one_pass() -> None:
    images, labels = torch.rand(4, 3, 16, 16), torch.arange(4) % 3
    network, passes = preact_resnet18(3, width=4), []

    def forward(x: torch.Tensor) -> torch.Tensor:
        passes.append(x)
        return network(x)

    mix = Mix("augmix", num_classes=3, generator=torch.Generator().manual_seed(2))
    outcome = ConsistencyLoss(forward, mix, 5.0, CRITERIA["cross_entropy"], 0.0)(images, labels)
    again = Mix("augmix", num_classes=3, generator=torch.Generator().manual_seed(2))
    views = torch.cat((images, again(images, labels)[0], again(images, labels)[0]))
    assert len(passes) == 1
    assert torch.equal(passes[0], views)
    assert not torch.equal(views[4:8], views[8:])
    logits = network.train()(views)
    clean = logits[:4]
    expected = nn.functional.cross_entropy(clean, labels) + 5 * jensen_shannon(*logits.chunk(3))
    torch.testing.assert_close(outcome.loss, expected)
    assert torch.equal(outcome.hits(), (clean.argmax(1) == labels).sum())


def test_the_divergence_is_that_of_scipy_and_nothing_between_equals() -> None:
    logits = torch.randn(3, 6, 5, dtype=torch.float64)
    chances = logits.softmax(2).numpy()
    mean = chances.mean(0)
    expected = entropy(mean, axis=1) - entropy(chances, axis=2).mean(0)
    assert jensen_shannon(*logits).item() == pytest.approx(expected.mean(), rel=1e-6)
    assert jensen_shannon(logits[0], logits[0], logits[0]).item() == pytest.approx(0, abs=1e-9)
    sure = torch.tensor([[1e4, 0.0], [0.0, 1e4]])
    assert jensen_shannon(sure, sure.flip(0)).item() == pytest.approx(np.log(2), rel=1e-5)


def test_augmix_without_consistency_learns_from_its_mixes() -> None:
    assert METHODS["augmix"].contract == "single"
    with_views, alone, clean = (
        loss_of(mixing) for mixing in (Mixing.of("augmix"), Mixing.of("augmix", jsd=0.0), None)
    )
    assert len({round(value, 4) for value in (with_views, alone, clean)}) == 3


def test_manifold_mixup_learns_from_what_its_layers_make_of_mixed_features() -> None:
    torch.manual_seed(0)
    network = preact_resnet18(3, width=4)
    images, labels = torch.rand(6, 3, 16, 16), torch.arange(6) % 3
    made = Recipe("x", {}, (), label_smoothing=0.1, mixing=Mixing.of("manifold_mixup"))
    learner = Learner(network, network, 3, *SCALE)
    outcome = build_objective(made, learner, torch.Generator().manual_seed(5))(images, labels)
    mix = MixInside(network, num_classes=3, generator=torch.Generator().manual_seed(5))
    logits, soft = mix(images, labels)
    expected = nn.functional.cross_entropy(logits, soft, label_smoothing=0.1)
    torch.testing.assert_close(outcome.loss, expected)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("cutmix", "--jsd", "1"), "jsd asks views of one image to agree, and cutmix mixes sev"),
        (("manifold_mixup", "--pairing", "greedy"), "pairing does not apply to manifold_mixup"),
        (("manifold_mixup", "--jsd", "1"), "jsd does not apply to manifold_mixup"),
        (("comixup", "--pairing", "greedy"), "pairing does not apply to comixup"),
        (("guided_sr", "--saliency", "gradient"), "saliency of guided_sr is spectral_residual"),
        (("cutout", "--pairing", "exact"), "pairing does not apply to cutout: it pairs no images"),
        (("cutmix", "--saliency", "gradient"), "saliency does not apply to cutmix"),
        (("guided_ap", "--alpha", "2"), "alpha does not apply to guided_ap: it draws no λ"),
        (("r_mix", "--hold", "q0=0:1:0"), "evenly spaced values read FIRST:LAST:COUNT"),
        (("r_mix", "--hold", "q0=0.1;q0=0.2"), "q0 is held twice"),
        (("r_mix", "--network", "densenet121"), "densenet121 takes pictures of 32 px at least"),
        (("manifold_mixup", "--compile"), "--compile does not go with manifold_mixup"),
        (("rl_mix", "--pairing", "greedy"), "pairing does not apply to rl_mix: its agent decides"),
        (("rl_mix", "--guide", "previous"), "rl_mix needs guide current"),
        (("r_mix", "--hold", "patches=2"), "r_mix has no parameter 'patches'; it has lam, num_p"),
        (("r_mix", "--hold", "num_patches=0"), "num_patches (p) must lie in [1, inf), got 0"),
        (("r_mix", "--hold", "num_patches"), "must read NAME=VALUE,… or NAME=FIRST:LAST:COUNT"),
        (("r_mix", "--milestones", "1/2"), "--milestones goes with --schedule multi_step"),
        (
            ("r_mix", "--schedule", "multi_step", "--milestones", "2/3,1/3"),
            "ascending, got 2/3",
        ),
    ],
)
def test_what_a_method_cannot_do_is_told_in_one_line(
    words: tuple[str, ...], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_parquet(tmp_path / "colours")
    assert train(data, tmp_path / "run", "--epochs", "1", "--method", *words) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_a_batch_that_cannot_be_mixed_stops_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_parquet(tmp_path / "colours")
    words = ("--epochs", "1", "--sizes", "17", "--method", "r_mix")
    assert train(data, tmp_path / "run", *words) == 1
    error = capsys.readouterr().err
    assert "r_mix: num_patches = " in error
    assert "must divide a square picture, got 17×17 pixels" in error
    assert error.count("\n") == 1


def test_overhead_is_measured_against_the_step_that_mixes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_parquet(tmp_path / "colours")
    small = ["--data", str(data), "--width", "4", "--size", "16", "--batch", "4", "--steps", "10"]
    rows = ["input_mixup", "guidedmixup:greedy:spectral_residual", "puzzle_mix:::previous"]
    assert overhead.main([*small, "--device", "cpu", "--precision", "fp32", *rows]) == 0
    header, vanilla, *mixing = capsys.readouterr().out.splitlines()
    assert header.startswith("method:pairing:saliency")
    assert vanilla.split()[0] == "vanilla"
    assert vanilla.split()[3::2] == ["+0.0", "+0.0"]
    assert [line.split()[0] for line in mixing] == rows
    for line in mixing:
        median, mean = map(float, line.split()[1:3])
        assert 0 < median < 1000
        assert 0 < mean < 1000
    assert overhead.main([*small, "cutmix::::"]) == 2
    assert "reads method:pairing:saliency:guide, got 'cutmix::::'" in capsys.readouterr().err
    for words, sentence in (
        (("--batch", "16"), "has 15 validation images for --batch 16"),
        (("--batch", "-3"), "--batch: must be at least 2, got -3"),
        (("--steps", "0"), "--steps: must be at least 1, got 0"),
        (("--size", "8"), "--size: must be at least 16, got 8"),
        (("--width", "0"), "--width: must be at least 1, got 0"),
        (("--network", "densenet121"), "densenet121 takes pictures of 32 px at least"),
    ):
        assert overhead.main([*small, *words, "cutmix"]) == 2
        assert sentence in (error := capsys.readouterr().err)
        assert error.count("\n") == 1
    assert overhead.main([*small, "--device", "cpu", "cutmix:best"]) == 2
    assert "pairing must be one of" in capsys.readouterr().err


# Data that cannot be used -----------------------------------------------------------------------


def no_shards(folder: Path) -> None:
    (folder / "val-00000-of-00001.parquet").unlink()


def no_label_column(folder: Path) -> None:
    path = folder / "train-00001-of-00002.parquet"
    pq.write_table(pq.read_table(path).drop_columns("label"), path)


def plain_bytes_column(folder: Path) -> None:
    path = folder / "train-00001-of-00002.parquet"
    pq.write_table(pa.table({"image": [b"x"], "label": [0]}), path)


def text_labels(folder: Path) -> None:
    path = folder / "train-00001-of-00002.parquet"
    images = pq.read_table(path)["image"]
    pq.write_table(pa.table({"image": images, "label": ["a"] * len(images)}), path)


def broken_picture(folder: Path) -> None:
    rows: list[tuple[bytes | None, int]] = [(encode(picture(i % 3, i)), i % 3) for i in range(15)]
    rows[9] = (b"\xff\xd8 no picture", 0)
    write_shard(folder / "train-00001-of-00002.parquet", rows)


def cut_picture(folder: Path) -> None:
    rows: list[tuple[bytes | None, int]] = [(encode(picture(i % 3, i)), i % 3) for i in range(15)]
    rows[8] = (encode(picture(2, 8))[:200], 2)
    write_shard(folder / "train-00001-of-00002.parquet", rows)


def no_picture(folder: Path) -> None:
    rows: list[tuple[bytes | None, int]] = [(encode(picture(i % 3, i)), i % 3) for i in range(15)]
    rows[3] = (None, 0)
    write_shard(folder / "train-00001-of-00002.parquet", rows)


def label_out_of_range(folder: Path) -> None:
    write_shard(folder / "val-00000-of-00001.parquet", [(encode(picture(0, 0)), 3)])


def class_missing_in_val(folder: Path) -> None:
    rows: list[tuple[bytes | None, int]] = [(encode(picture(i % 2, i)), i % 2) for i in range(4)]
    write_shard(folder / "val-00000-of-00001.parquet", rows)


def not_parquet(folder: Path) -> None:
    (folder / "train-00000-of-00002.parquet").write_bytes(b"PAR1 this is not one")


def no_classes(folder: Path) -> None:
    (folder / "classes.tsv").unlink()


def odd_classes(folder: Path) -> None:
    (folder / "classes.tsv").write_text("0\tn00000001\tred\n7\tn00000002\tgreen\n")


def one_class(folder: Path) -> None:
    (folder / "classes.tsv").write_text("0\tn00000001\tred\n")
    for path in folder.glob("*.parquet"):
        write_shard(path, [(encode(picture(0, i)), 0) for i in range(4)])


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (no_shards, "no val-*.parquet in"),
        (no_label_column, "no column 'label'; it has ['image']"),
        (plain_bytes_column, "column 'image' must be a struct with 'bytes', got binary"),
        (text_labels, "column 'label' must hold whole numbers, got string"),
        (broken_picture, "train-00001-of-00002.parquet row 9: the image cannot be decoded"),
        (cut_picture, "train-00001-of-00002.parquet row 8: the image cannot be decoded"),
        (no_picture, "train-00001-of-00002.parquet row 3: the image cannot be decoded"),
        (label_out_of_range, "row 0: label 3, but classes.tsv allows 0 to 2"),
        (class_missing_in_val, "class 2 (blue) has no val image"),
        (not_parquet, "train-00000-of-00002.parquet: not a readable Parquet file"),
        (no_classes, "no classes.tsv in"),
        (odd_classes, "classes.tsv line 2: expected label 1"),
        (one_class, "has one class only"),
    ],
)
def test_unusable_shards_are_told_in_one_line(
    spoil: Callable[[Path], None],
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = write_parquet(tmp_path / "colours")
    spoil(data)
    assert train(data, tmp_path / "run", "--epochs", "1") == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_unusable_folders_are_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(data: Path, *more: str) -> str:
        assert train(data, tmp_path / "run", "--epochs", "1", *more) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    assert "no data folder at" in refused(tmp_path / "nowhere")
    assert "has neither Parquet shards" in refused(tmp_path)
    assert "no data folder at" in refused(tmp_path / "nowhere", "--dataset", "cifar100")
    assert "add --download to fetch it" in refused(tmp_path, "--dataset", "cifar100")
    data = write_folders(tmp_path / "pictures")
    (data / "val" / "blue" / "0.jpg").write_bytes(b"no picture")
    assert "val/blue/0.jpg: the image cannot be decoded" in refused(data)
    (data / "val" / "yellow").mkdir()
    assert "class 'yellow' is in val but not in train" in refused(data)
    (data / "train" / "yellow").mkdir()
    assert "no images in" in refused(data)


def test_too_little_memory_is_told_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_parquet(tmp_path / "colours")
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 99 kB\nMemAvailable:       20 kB\n")
    monkeypatch.setattr(sources, "MEMINFO", meminfo)
    assert train(data, tmp_path / "run", "--epochs", "1") == 2
    assert "not enough memory: 30 images at 16 px" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--data", "x"], "--out is needed to train"),
        (["--data", "x", "--out", "y", "--batch", "1"], "--batch: must be at least 2, got 1"),
        (["--data", "x", "--out", "y", "--lr", "nan"], "--lr: must be at least 0, got nan"),
        (["--data", "x", "--out", "y", "--photo-crops", "2"], "must lie in [0, 1], got 2"),
        (["--data", "x", "--out", "y", "--photos", "z"], "--photos goes with --evaluate"),
        (["--data", "x", "--out", "y", "--clean", "1"], "--clean goes with --method"),
        (["--data", "x", "--out", "y", "--jsd", "1"], "--jsd goes with --method"),
        (["--data", "x", "--out", "y", "--half"], "--half goes with --method"),
        (["--data", "x", "--out", "y", "--method", "mixup"], "--method: invalid choice: 'mixup'"),
        (["--data", "x", "--out", "y", "--alpha", "0"], "--alpha: must be positive, got 0"),
        ([*XY, "--seed", "9" * 20], "--seed: must be at most"),
        ([*XY, "--lr", "1e300"], "--lr: must be at most 1e+38, got 1e300"),
        ([*XY, "--width", "99999"], "--width: must be at most 2048, got 99999"),
        ([*XY, "--epochs", "1.5"], "--epochs: must be a whole number, got '1.5'"),
        ([*XY, "--milestones", "0.3/0"], "--milestones: must be shares of the run"),
        ([*XY, "--nodes", "2"], "--nodes: start the command on each machine by torchrun or Slurm"),
        (["--data", "x" * 300, "--out", "y"], "File name too long"),
        (["--evaluate", ".", "--data", "y"], "'.' is a folder, not a checkpoint file"),
        (["--evaluate", "x", "--epochs", "9"], "--epochs does not go with --evaluate"),
        (["--evaluate", "x", "--out", "y"], "--out does not go with --evaluate"),
        ([*XY, "--method", "rl_mix", "--devices", "2"], "rl_mix trains in one process only"),
        (["--evaluate", "x"], "--evaluate needs --data, --photos or both"),
        (["--evaluate", "x.json", "--data", "y"], "no checkpoint file x.json"),
        (["--frobnicate"], "unrecognized arguments"),
    ],
)
def test_wrong_command_lines_are_told_in_one_line(
    words: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for launcher in LAUNCHERS:
        monkeypatch.delenv(launcher, raising=False)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_damaged_checkpoints_are_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = checkpoint.round_weights(preact_resnet18(3, width=4))
    card = {
        "architecture": {"name": "preactresnet18", "options": {"width": 4}},
        "class_names": ["a", "b", "c"],
        "input_size": 16,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "top1": 33.0,
        "top5": 100.0,
    }

    def refused() -> str:
        assert main(["--evaluate", str(tmp_path / "net.json"), "--photos", str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    checkpoint.write_checkpoint(tmp_path, "net", weights, card)
    assert "has no WordNet ids" in refused()
    (tmp_path / "net.safetensors").write_bytes(b"cut")
    assert "is damaged: its SHA-256" in refused()
    wider = card | {"architecture": {"name": "preactresnet18", "options": {"width": 8}}}
    checkpoint.write_checkpoint(tmp_path, "net", weights, wider)
    assert "does not fit its card" in refused()
    strange = card | {"architecture": {"name": "vgg", "options": {}}}
    checkpoint.write_checkpoint(tmp_path, "net", weights, strange)
    assert "unknown network 'vgg'" in refused()
    del card["mean"]
    checkpoint.write_checkpoint(tmp_path, "net", weights, card)
    assert "it has no 'mean'" in refused()
    (tmp_path / "net.json").write_text("{")
    assert "is not a checkpoint card" in refused()
