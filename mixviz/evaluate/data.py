"""Validation images to judge on, and their boxes where the data ship some."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from mixviz.evaluate.localisation import Boxes, read_boxes, to_square
from mixviz.train.errors import DataError
from mixviz.train.sources import (
    FORMATS,
    IMAGENET_TERMS,
    ImageSet,
    Item,
    Source,
    Split,
    decode_split,
    open_source,
)

BOX_FILES = ("val/val_annotations.txt", "val_annotations.txt", "val-boxes.tsv")
NO_BOXES = f"the data have no boxes ({', '.join(BOX_FILES)})"


@dataclass(frozen=True)
class Validation:
    """What classifiers are judged on, not yet decoded.

    Attributes:
        source: of the chosen images only, as the split ``val``.
        names: the file name of each chosen image; empty where the data have none.
        total: images in the whole split.
        boxes: boxes by file name; empty where the data have none.
    """

    source: Source
    names: tuple[str, ...]
    total: int
    boxes: dict[str, np.ndarray]

    def decode(self, size: int) -> ImageSet:
        """The images at ``size`` pixels square.

        Raises:
            DataError: as `decode_split`.
        """
        return decode_split(self.source, "val", size)

    def boxes_at(self, size: int) -> Boxes | None:
        """The boxes at ``size`` pixels square, or None unless every image has one."""
        if not self.boxes or any(name not in self.boxes for name in self.names):
            return None
        split, rows = self.source.splits["val"], []
        items = split.read(np.ones(len(split.labels), dtype=bool))
        for name, item in zip(self.names, items, strict=True):
            rows.append(to_square(self.boxes[name], *_size_of(item), size))
        return np.stack(rows)


def open_validation(
    folder: Path,
    dataset: str | None,
    download: bool,
    wordnet_ids: Sequence[str],
    class_names: Sequence[str],
    limit: int | None,
) -> Validation:
    """The validation images of a folder in one of the layouts of `open_source`.

    Or in the one Tiny-ImageNet is published in: ``val/images`` and ``val/val_annotations.txt``.
    Under ``limit`` the classes take turns: none is there more than once oftener than another, and
    a larger limit contains a smaller one.

    Args:
        folder: where the data are.
        dataset: one of torchvision's, or None.
        download: whether torchvision may fetch it.
        wordnet_ids: of the classifier's classes; only the published layout needs them.
        class_names: of the classifier, likewise.
        limit: how many images at most.

    Raises:
        DataError: the folder is missing, holds no known layout, or contradicts itself.
    """
    if dataset is None and (folder / "val" / "images").is_dir():
        source, names = _open_published(folder, tuple(wordnet_ids), tuple(class_names))
    else:
        source = open_source(folder, dataset, download, ("val",))
        names = [] if dataset is not None else _names(folder, source)
    split = source.splits["val"]
    total = len(split.labels)
    chosen = _take_turns(split.labels, total if limit is None else min(limit, total))
    found = [folder / name for name in BOX_FILES if (folder / name).is_file()]
    return Validation(
        replace(source, splits={"val": _choose(split, chosen)}),
        tuple(names[index] for index in chosen) if names else (),
        total,
        read_boxes(found[0]) if found and names else {},
    )


def _take_turns(labels: np.ndarray, count: int) -> np.ndarray:
    """Rows, ascending: an image of every class, then another of every class, ...

    Within a round the classes come in one shuffled order, so that a part of a round is a fair part.
    """
    shuffled = np.random.default_rng(0).permutation(int(labels.max()) + 1)
    order = np.argsort(labels, kind="stable")
    sorted_labels = labels[order]
    round_of = np.empty(len(labels), dtype=np.int64)
    round_of[order] = np.arange(len(labels)) - np.searchsorted(sorted_labels, sorted_labels)
    return np.sort(np.lexsort((shuffled[labels], round_of))[:count])


def _choose(split: Split, chosen: np.ndarray) -> Split:
    def read(wanted: np.ndarray) -> Iterator[Item]:
        rows = np.zeros(len(split.labels), dtype=bool)
        rows[chosen[wanted]] = True
        return split.read(rows)

    return Split(split.labels[chosen], read)


def _names(folder: Path, source: Source) -> list[str]:
    shards = sorted(folder.glob("val-*.parquet"))
    if not shards:
        split = source.splits["val"]
        return [
            Path(item.where).name for item in split.read(np.ones(len(split.labels), dtype=bool))
        ]
    names: list[str] = []
    for shard in shards:
        image = pq.read_schema(shard).field("image").type
        if image.get_field_index("path") < 0:
            return []
        with pq.ParquetFile(shard) as file:
            images = file.read(columns=["image.path"])["image"].combine_chunks()
        names += [path.as_py() or "" for path in images.field("path")]
    return names


def _open_published(
    folder: Path, wordnet_ids: tuple[str, ...], class_names: tuple[str, ...]
) -> tuple[Source, list[str]]:
    listing = folder / "val" / "val_annotations.txt"
    if not listing.is_file():
        raise DataError(f"{folder / 'val' / 'images'} needs {listing}, which names the classes")
    if not wordnet_ids:
        raise DataError(f"{listing} names classes by WordNet id; the checkpoint's card has none")
    label_of = {identity: label for label, identity in enumerate(wordnet_ids)}
    names, labels = [], []
    with listing.open(encoding="utf-8", newline="") as lines:
        rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        for number, row in enumerate(rows, 1):
            if len(row) != 6 or row[1] not in label_of or Path(row[0]).name != row[0]:
                raise DataError(
                    f"{listing} line {number}: expected a file name, one of the card's WordNet "
                    f"ids and four corners, separated by tabs; got {row[:2]}"
                )
            names.append(row[0])
            labels.append(label_of[row[1]])
    if not names:
        raise DataError(f"{listing} names no image")
    paths = [folder / "val" / "images" / name for name in names]

    def read(wanted: np.ndarray) -> Iterator[Item]:
        for index in np.flatnonzero(wanted):
            yield Item(str(paths[index]), paths[index])

    split = Split(np.array(labels), read)
    name = folder.resolve().name
    return Source(name, IMAGENET_TERMS, class_names, wordnet_ids, {"val": split}), names


def _size_of(item: Item) -> tuple[int, int]:
    if isinstance(item.picture, np.ndarray):
        return item.picture.shape[1], item.picture.shape[0]
    file = io.BytesIO(item.picture) if isinstance(item.picture, bytes) else item.picture
    with Image.open(file, formats=FORMATS) as opened:
        return opened.size
