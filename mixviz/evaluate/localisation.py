"""Does the class activation map point at the object? Boxes from maps against boxes by hand."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from mixviz.train.errors import DataError

THRESHOLD = 0.2
"""Share of the map's maximum from which a pixel counts (Zhou et al. 2016, arXiv:1512.04150)."""
OVERLAP = 0.5
SWEEP = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

Boxes = np.ndarray
"""(n, 4): left, top, right, bottom in pixels; right and bottom are the first outside."""


@dataclass(frozen=True)
class Localisation:
    """How well boxes from class activation maps of the true class fit the boxes by hand.

    Attributes:
        known: share of images whose intersection over union reaches 0.5 (the class is given).
        top1: likewise where the first answer is right as well.
        mean_overlap: mean intersection over union.
        by_overlap: `known` at the intersections over union of `SWEEP`, threshold 0.2.
        by_threshold: `known` at the thresholds of `SWEEP`, intersection over union 0.5.
    """

    known: float
    top1: float
    mean_overlap: float
    by_overlap: tuple[float, ...]
    by_threshold: tuple[float, ...]


def find_box(activation: np.ndarray, threshold: float = THRESHOLD) -> np.ndarray:
    """Return the box around the largest connected region of a map (h, w), as one row of Boxes.

    A pixel belongs to it from ``threshold`` times the maximum on; pixels touch at their sides.
    Of equally large regions the first in reading order counts. A map that is nowhere positive
    gives the empty box 0, 0, 0, 0.
    """
    highest = float(activation.max())
    if not highest > 0:
        return np.zeros(4, dtype=np.int64)
    regions, _ = ndimage.label(activation >= threshold * highest)
    sizes = np.bincount(regions.ravel())
    largest = int(sizes[1:].argmax()) + 1
    down, across = ndimage.find_objects(regions, max_label=largest)[largest - 1]
    return np.array([across.start, down.start, across.stop, down.stop])


def overlap(found: Boxes, given: Boxes) -> np.ndarray:
    """Return intersection over union, row by row, in [0, 1]; 0 where both are empty."""
    low = np.maximum(found[:, :2], given[:, :2])
    high = np.minimum(found[:, 2:], given[:, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=1)
    union = _area(found) + _area(given) - common
    return np.divide(common, union, out=np.zeros(len(found)), where=union > 0)


def sweep_boxes(activations: Iterable[np.ndarray]) -> np.ndarray:
    """The box of each map (h, w) at each threshold of `SWEEP`, (9, n, 4)."""
    maps = list(activations)
    return np.stack([[find_box(each, threshold) for each in maps] for threshold in SWEEP])


def localise(found: np.ndarray, right: np.ndarray, given: Boxes) -> Localisation:
    """Measure boxes from maps of the true class.

    Args:
        found: as `sweep_boxes` returns them.
        right: whether the first answer was the true class, per image.
        given: the boxes by hand.
    """
    overlaps = np.stack([overlap(boxes, given) for boxes in found])
    usual = overlaps[SWEEP.index(THRESHOLD)]
    return Localisation(
        known=float((usual >= OVERLAP).mean()),
        top1=float(((usual >= OVERLAP) & right).mean()),
        mean_overlap=float(usual.mean()),
        by_overlap=tuple(float((usual >= least).mean()) for least in SWEEP),
        by_threshold=tuple(float((row >= OVERLAP).mean()) for row in overlaps),
    )


def read_boxes(path: Path) -> dict[str, np.ndarray]:
    """Boxes by the name of the picture, as one row of Boxes each, in the picture's own pixels.

    Reads the ``val_annotations.txt`` that Tiny-ImageNet ships (name, WordNet id and four corners,
    tabs between) and the same without the WordNet id under a heading (``val-boxes.tsv``). The
    corners are pixels, the last still inside.

    Raises:
        DataError: a line reads otherwise.
    """
    boxes = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        cells = line.split("\t")
        if number == 1 and cells == ["path", "x0", "y0", "x1", "y1"]:
            continue
        try:
            x0, y0, x1, y1 = (int(cell) for cell in cells[-4:])
            name = cells[0]
        except ValueError:
            name = ""
        if not name or len(cells) not in (5, 6) or not (0 <= x0 <= x1 and 0 <= y0 <= y1):
            raise DataError(
                f"{path} line {number}: expected a name, maybe a WordNet id, and the corners "
                f"x0 ≤ x1 and y0 ≤ y1, separated by tabs; got {line[:80]!r}"
            )
        boxes[name] = np.array([x0, y0, x1 + 1, y1 + 1])
    return boxes


def to_square(box: np.ndarray, width: int, height: int, size: int) -> np.ndarray:
    """A box after the picture's centre square became ``size`` pixels; float, cut at its borders."""
    side = min(width, height)
    corner = np.array([(width - side) // 2, (height - side) // 2] * 2)
    return np.clip((box - corner) * (size / side), 0, size)


def _area(boxes: Boxes) -> np.ndarray:
    return np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
