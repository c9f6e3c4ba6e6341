"""How batches become ready: at once, or one step ahead; and what a run shows of them."""

import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from mixviz.augment import Mix
from mixviz.networks import NETWORKS
from mixviz.train.board import Board
from mixviz.train.errors import DataError, TrainingError
from mixviz.train.feed import FEEDS, in_turn, one_ahead
from mixviz.train.judge import Normaliser
from mixviz.train.objective import CRITERIA, CleanLoss, LabelLoss, MixLoss, Objective, Outcome
from mixviz.train.recipe import GUIDES
from mixviz.train.sheet import draw_sheet, write_sheet

PLAIN = CRITERIA["cross_entropy"]


class Told(Objective):
    """Writes down who did what, in which thread."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []
        self.threads: set[int] = set()

    def begin(self, images: Tensor, labels: Tensor) -> Callable[[], Any]:
        number = int(labels[0])
        self.events.append(("look", number))

        def make() -> tuple[Tensor, Tensor]:
            self.threads.add(threading.get_ident())
            return images, labels

        return make

    def learn(self, ready: tuple[Tensor, Tensor]) -> Outcome:
        self.events.append(("step", int(ready[1][0])))
        return Outcome(ready[0].sum(), ready[0], ready[1], ready[0])


def batches(count: int) -> list[tuple[Tensor, Tensor]]:
    return [(torch.full((2, 3), float(i)), torch.full((2,), i)) for i in range(count)]


def test_every_guide_has_a_feed() -> None:
    assert tuple(FEEDS) == GUIDES


def test_in_turn_looks_before_each_step_and_one_ahead_before_the_step_before() -> None:
    told = Told()
    for ready in in_turn(told, batches(3)):
        told.learn(ready)
    assert told.events == [(what, i) for i in range(3) for what in ("look", "step")]
    assert told.threads == {threading.get_ident()}

    told = Told()
    for ready in one_ahead(told, batches(3)):
        told.learn(ready)
    assert told.events == [
        ("look", 0),
        ("look", 1),
        ("step", 0),
        ("look", 2),
        ("step", 1),
        ("step", 2),
    ]
    assert threading.get_ident() not in told.threads
    assert list(one_ahead(told, [])) == []


def test_an_error_beside_a_step_reaches_the_step() -> None:
    class Wrong(Told):
        def begin(self, images: Tensor, labels: Tensor) -> Callable[[], Any]:
            def make() -> None:
                raise ValueError(f"batch {int(labels[0])} cannot be mixed")

            return make

    with pytest.raises(ValueError, match="batch 0 cannot be mixed"):
        list(one_ahead(Wrong(), batches(3)))
    assert not [one for one in threading.enumerate() if one.name.startswith("mixing")]


@pytest.mark.parametrize("method", ["cutmix", "puzzle_mix", "guidedmixup", "augmix", "comixup"])
def test_a_network_that_does_not_change_gets_the_same_mixes_either_way(method: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS["preactresnet18"](num_classes=3, width=4)
    given = [(torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 2, 0])) for _ in range(3)]

    def mixes(feed: Callable[..., Any]) -> list[tuple[Tensor, Tensor]]:
        chance = torch.Generator().manual_seed(7)
        mix = Mix(method, num_classes=3, classifier=network, generator=chance)
        objective = MixLoss(network, PLAIN, 0.0, mix)
        clean = LabelLoss(network, PLAIN, 0.0)
        return [ready[0] for ready in feed(CleanLoss(objective, clean, 1.0), given)]

    for (one, weights), (other, same) in zip(mixes(in_turn), mixes(one_ahead), strict=True):
        assert torch.equal(one, other)
        assert torch.equal(weights, same)


# What a run shows --------------------------------------------------------------------------------


def shown(count: int, targets: Tensor) -> tuple[Outcome, Normaliser, Tensor]:
    pixels = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8)
    normalise = Normaliser.of([0.4, 0.5, 0.6], [0.2, 0.3, 0.25], torch.device("cpu"))
    return (
        Outcome(torch.zeros(()), torch.zeros(count, 3), targets, normalise(pixels)),
        normalise,
        pixels,
    )


def test_the_sheet_shows_the_very_pixels_and_labels(tmp_path: Path) -> None:
    outcome, normalise, pixels = shown(6, torch.tensor([[0.7, 0.0, 0.3]]).repeat(6, 1))
    sheet = draw_sheet(outcome, normalise, ("red", "green", "blue"), 4)
    write_sheet(tmp_path, sheet)
    facts = json.loads((tmp_path / "batch.json").read_text())
    assert (facts["epoch"], facts["size"], facts["count"], facts["columns"]) == (4, 8, 6, 4)
    assert facts["labels"] == [[["red", 0.7], ["blue", 0.3]]] * 6
    read = np.asarray(Image.open(tmp_path / "batch.png"))
    assert read.shape == (16, 32, 3)
    for place in range(6):
        top, left = 8 * (place // 4), 8 * (place % 4)
        cell = read[top : top + 8, left : left + 8]
        assert np.array_equal(cell, pixels[place].permute(1, 2, 0).numpy())
    assert not read[8:, 16:].any()


def test_the_sheet_is_cut_at_sixteen_and_reads_class_indices() -> None:
    outcome, normalise, _ = shown(20, torch.arange(20) % 3)
    sheet = draw_sheet(outcome, normalise, ("red", "green", "blue"), 1)
    assert sheet.pixels.shape == (32, 32, 3)
    assert sheet.labels[:4] == [[("red", 1.0)], [("green", 1.0)], [("blue", 1.0)], [("red", 1.0)]]


def test_tensorboard_reads_the_log_and_the_batch(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    outcome, normalise, _ = shown(4, torch.arange(4) % 3)
    sheet = draw_sheet(outcome, normalise, ("red", "green", "blue"), 1)
    board = Board(tmp_path)
    board.show(sheet)
    for epoch in (1, 2, 3):
        board.add({"epoch": epoch, "loss": 1.0 / epoch, "val_top1": 10.0 * epoch})
    Board(tmp_path, 2).add({"epoch": 3, "loss": 0.25, "val_top1": 31.0})
    read = EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    assert [(one.step, one.value) for one in read.Scalars("val_top1")] == [
        (1, 10),
        (2, 20),
        (3, 31),
    ]
    (image,) = read.Images("batch")
    assert (image.width, image.height, image.step) == (32, 8, 1)


def test_a_full_disk_is_told_by_tensorboard_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board(tmp_path)

    def fill_up(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(board._writer, "flush", fill_up)
    with pytest.raises(TrainingError, match=r"cannot write .*tensorboard: No space left on device"):
        board.add({"epoch": 1, "loss": 1.0})


def test_without_tensorboard_one_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(DataError, match=r"pip install -r requirements-train\.txt"):
        Board(tmp_path)
