"""The batch that a network is seeing, as a picture and its labels in the run's folder."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mixviz.train.checkpoint import write_atomically
from mixviz.train.judge import Normaliser
from mixviz.train.objective import Outcome

PICTURE, FACTS = "batch.png", "batch.json"
PICTURES, COLUMNS = 16, 4
LABELS, LEAST = 3, 0.005
"""A picture is shown with so many labels, of at least that weight."""

Label = list[tuple[str, float]]


@dataclass(frozen=True)
class Sheet:
    """The first pictures of a batch.

    Attributes:
        epoch: in which the network was shown them, counted from 1.
        pixels: (rows·side, `COLUMNS`·side, 3), uint8, row by row without gaps.
        side: of a picture, in pixels.
        labels: of each picture, its classes and their weights, the heaviest first.
    """

    epoch: int
    pixels: np.ndarray
    side: int
    labels: list[Label]


@torch.no_grad()
def draw_sheet(
    outcome: Outcome, normalise: Normaliser, class_names: tuple[str, ...], epoch: int
) -> Sheet:
    """Draw what a network was shown in a step."""
    shown = outcome.images[:PICTURES]
    pictures = normalise.undo(shown.float()).cpu().permute(0, 2, 3, 1).numpy()
    count, side = len(pictures), pictures.shape[1]
    rows = -(-count // COLUMNS)
    cells = np.zeros((rows * COLUMNS, side, side, 3), np.uint8)
    cells[:count] = pictures
    sheet = cells.reshape(rows, COLUMNS, side, side, 3).transpose(0, 2, 1, 3, 4)
    labels = [_label(one, class_names) for one in outcome.targets[:count].cpu()]
    return Sheet(epoch, sheet.reshape(rows * side, COLUMNS * side, 3), side, labels)


def write_sheet(folder: Path, sheet: Sheet) -> None:
    """Write picture and labels.

    Raises:
        TrainingError: the disk is full, or a file cannot be written.
    """
    file = io.BytesIO()
    Image.fromarray(sheet.pixels).save(file, "PNG")
    facts = {
        "epoch": sheet.epoch,
        "size": sheet.side,
        "count": len(sheet.labels),
        "columns": COLUMNS,
        "labels": sheet.labels,
    }
    write_atomically(folder / PICTURE, file.getvalue())
    text = json.dumps(facts, ensure_ascii=False) + "\n"
    write_atomically(folder / FACTS, text.encode())


def _label(target: Tensor, class_names: tuple[str, ...]) -> Label:
    if target.ndim == 0:
        return [(class_names[int(target)], 1.0)]
    weights, classes = target.float().topk(min(LABELS, len(class_names)))
    return [
        (class_names[index], round(weight, 4))
        for index, weight in zip(classes.tolist(), weights.tolist(), strict=True)
        if weight >= LEAST
    ]
