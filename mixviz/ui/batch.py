"""The mixes that a network in training was given last, as its run folder shows them.

A run writes `batch.png` and `batch.json` after each epoch (checkpoints/README.md). Both may have
been written by anybody: they are held to limits, and what is wrong with them is said.
"""

import base64
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from mixviz.samples import UploadError, decode_upload
from mixviz.samples.decode import MAX_BYTES
from mixviz.samples.picture import MAX_KEPT_SIDE

PICTURE, FACTS = "batch.png", "batch.json"
MAX_FACTS = 100_000  # bytes
MOST_PICTURES, MOST_LABELS = 16, 3
MAX_SIDE = 2048  # pixels of one mix
MAX_NAME = 120  # letters of a class
MOST_WEIGHT = 2  # of one class: SnapMix's two weights need not sum to 1

STYLE = """
.mv-batch {display: grid; gap: 10px 12px; max-width: 960px; margin-top: 6px;
  grid-template-columns: repeat(auto-fill, minmax(104px, 1fr))}
.mv-batch figure {margin: 0; min-width: 0}
.mv-batch img {width: 100%; display: block; border-radius: 2px; image-rendering: pixelated}
.mv-batch figcaption {font-size: 14px; line-height: 18px; margin-top: 3px}
.mv-batch figcaption span {display: block; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap}
@media (max-width: 640px) {.mv-batch {grid-template-columns: repeat(3, minmax(0, 1fr))}}
"""

Label = tuple[tuple[str, float], ...]


class BatchError(ValueError):
    """A batch that cannot be shown; one sentence for people."""


@dataclass(frozen=True)
class Batch:
    """What the network was given.

    Attributes:
        epoch: in which, counted from 1.
        pictures: the mixes, as PNG data URIs.
        labels: of each the names and weights of its classes, heaviest first.
    """

    epoch: int
    pictures: Sequence[str]
    labels: Sequence[Label]


def read_batch(folder: Path) -> Batch | None:
    """Return the batch that a run shows, None where it has written none.

    Raises:
        BatchError: the files are no such batch.
    """
    if not (folder / FACTS).is_file() or not (folder / PICTURE).is_file():
        return None
    text = _read_bytes(folder / FACTS, MAX_FACTS)
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BatchError(f"{FACTS} is no JSON.") from error
    epoch, size, columns, labels = _check_facts(facts)
    data = _read_bytes(folder / PICTURE, MAX_BYTES)
    try:
        sheet = decode_upload(data, PICTURE)
    except UploadError as error:
        raise BatchError(str(error)) from error
    rows = math.ceil(len(labels) / columns)
    wide, high = columns * size, rows * size
    scale = min(1.0, MAX_KEPT_SIDE / max(wide, high))  # as the decoder keeps it
    if (sheet.width, sheet.height) != (round(wide * scale), round(high * scale)):
        raise BatchError(
            f"{PICTURE} does not show the {len(labels)} mixes of {size} pixels in {columns} "
            f"columns that {FACTS} names."
        )
    edge = size * scale
    pictures = [
        _png(Image.fromarray(sheet.pixels), place, columns, edge) for place in range(len(labels))
    ]
    return Batch(epoch, pictures, labels)


def _read_bytes(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise BatchError(f"{path.name} cannot be read: {error.strerror}.") from error
    if len(data) > most:
        raise BatchError(f"{path.name} is larger than the {most / 1e6:g} MB that are allowed.")
    return data


def _check_facts(facts: Any) -> tuple[int, int, int, list[Label]]:
    """Return epoch, side, columns and labels."""
    if not isinstance(facts, dict):
        raise BatchError(f"{FACTS} holds no object.")
    epoch = _whole(facts, "epoch", 10**9)
    size = _whole(facts, "size", MAX_SIDE)
    count = _whole(facts, "count", MOST_PICTURES)
    columns = _whole(facts, "columns", MOST_PICTURES)
    labels = facts.get("labels")
    if not isinstance(labels, list) or len(labels) != count:
        raise BatchError(f"{FACTS}: labels must be a list of {count}, one for each picture.")
    return epoch, size, columns, [_check_label(label) for label in labels]


def _whole(facts: dict[str, Any], name: str, most: int) -> int:
    value = facts.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise BatchError(f"{FACTS}: {name} must be a whole number from 1 to {most}.")
    return value


def _check_label(label: Any) -> Label:
    held: list[Any] = label if isinstance(label, list) else [None]
    if len(held) > MOST_LABELS or not all(_is_share(pair) for pair in held):
        raise BatchError(
            f"{FACTS}: a label must be a list of at most {MOST_LABELS} pairs of a class name and a "
            f"weight from 0 to {MOST_WEIGHT}."
        )
    return tuple((name[:MAX_NAME], float(weight)) for name, weight in held)


def _is_share(pair: Any) -> bool:
    return (
        isinstance(pair, list)
        and len(pair) == 2
        and isinstance(pair[0], str)
        and isinstance(pair[1], (int, float))
        and 0 <= pair[1] <= MOST_WEIGHT
    )


def _png(sheet: Image.Image, place: int, columns: int, edge: float) -> str:
    left, top = place % columns, place // columns
    ends = (left * edge, top * edge, (left + 1) * edge, (top + 1) * edge)
    left_end, top_end, right_end, bottom_end = (round(end) for end in ends)
    file = io.BytesIO()
    sheet.crop((left_end, top_end, right_end, bottom_end)).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def write_sheet(batch: Batch) -> str:
    """Return the contact sheet as HTML."""
    tiles = ""
    for picture, label in zip(batch.pictures, batch.labels, strict=True):
        said = [f"{weight:.0%} {name}" for name, weight in label]
        lines = "".join(f'<span title="{escape(line)}">{escape(line)}</span>' for line in said)
        tiles += (
            f'<figure><img src="{picture}" alt="A mix, label {escape(", ".join(said))}">'
            f"<figcaption>{lines}</figcaption></figure>"
        )
    return f'<div class="mv-batch" data-batch="{batch.epoch}">{tiles}</div>'
