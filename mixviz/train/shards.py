"""Labelled pictures in Parquet shards: ``SPLIT-*.parquet`` and ``classes.tsv``."""

import csv
import re
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixviz.train.errors import DataError
from mixviz.train.items import (
    IMAGENET_TERMS,
    UNKNOWN_TERMS,
    Item,
    Source,
    Split,
    check_same_classes,
)

WORDNET_ID = re.compile(r"n\d{8}")


def open_shards(folder: Path, splits: Sequence[str]) -> Source:
    """Check the shards of a folder; only their labels are read.

    Raises:
        DataError: a file is missing or unreadable, or contradicts ``classes.tsv``.
    """
    class_names, wordnet_ids = read_classes(folder / "classes.tsv")
    found = {}
    for split in splits:
        shards = sorted(folder.glob(f"{split}-*.parquet"))
        if not shards:
            raise DataError(f"no {split}-*.parquet in {folder}")
        labels = np.concatenate([_read_labels(shard, len(class_names)) for shard in shards])
        groups = _groups(shards)
        kept = sum(group.size for group in groups)
        found[split] = Split(labels, _walker(shards), _picker(groups), kept)
    check_same_classes(folder, found, class_names)
    terms = IMAGENET_TERMS if wordnet_ids else UNKNOWN_TERMS
    return Source(folder.resolve().name, terms, class_names, wordnet_ids, found)


def read_classes(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if not path.is_file():
        raise DataError(f"no classes.tsv in {path.parent} (columns: label, WordNet id, name)")
    names, wordnet_ids = [], []
    with _decoding(path), path.open(encoding="utf-8", newline="") as lines:
        for expected, row in enumerate(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)):
            if len(row) != 3 or row[0] != str(expected):
                raise DataError(
                    f"{path} line {expected + 1}: expected label {expected}, a WordNet id and a "
                    f"name, separated by tabs; got {row}"
                )
            wordnet_ids.append(row[1])
            names.append(row[2])
    if not names:
        raise DataError(f"{path} names no class")
    known = all(WORDNET_ID.fullmatch(identity) for identity in wordnet_ids)
    return _shorten(names), tuple(wordnet_ids) if known else ()


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Tell in one sentence that a list cannot be read."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start})") from error
    except (csv.Error, OSError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _shorten(names: list[str]) -> tuple[str, ...]:
    """The first synonym of each class, or all of them where the first is not unique."""
    first = [name.split(",")[0].strip() for name in names]
    return tuple(s if first.count(s) == 1 else name for s, name in zip(first, names, strict=True))


def _read_labels(shard: Path, classes: int) -> np.ndarray:
    try:
        schema = pq.read_schema(shard)
        for column in ("image", "label"):
            if column not in schema.names:
                raise DataError(f"{shard}: no column {column!r}; it has {schema.names}")
        image = schema.field("image").type
        if not pa.types.is_struct(image) or image.get_field_index("bytes") < 0:
            raise DataError(f"{shard}: column 'image' must be a struct with 'bytes', got {image}")
        column = pq.read_table(shard, columns=["label"])["label"]
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{shard}: not a readable Parquet file ({reason})") from error
    if not pa.types.is_integer(column.type) or column.null_count:
        raise DataError(f"{shard}: column 'label' must hold whole numbers, got {column.type}")
    labels = column.to_numpy().astype(np.int64)
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{shard} row {row}: label {labels[row]}, but classes.tsv allows 0 to {classes - 1}"
        )
    return labels


@contextmanager
def _reading(shard: Path, group: int) -> Iterator[None]:
    """Tell in one sentence that a row group cannot be read."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{shard} row group {group}: {reason}") from error


def _encoded(file: pq.ParquetFile, group: int) -> pa.Array:
    """The pictures of a row group."""
    images = file.read_row_group(group, columns=["image.bytes"])["image"]
    return images.combine_chunks().field("bytes")


def _walker(shards: list[Path]) -> Callable[[np.ndarray], Iterator[Item]]:
    def read(wanted: np.ndarray) -> Iterator[Item]:
        position = 0
        for shard in shards:
            row = 0
            with pq.ParquetFile(shard) as file:
                for group in range(file.num_row_groups):
                    count = file.metadata.row_group(group).num_rows
                    keep = np.flatnonzero(wanted[position : position + count])
                    if len(keep):
                        with _reading(shard, group):
                            encoded = _encoded(file, group)
                        for index in keep:
                            picture = encoded[int(index)].as_py() or b""
                            yield Item(f"{shard} row {row + index}", picture)
                    position += count
                    row += count

    return read


@dataclass(frozen=True)
class _Group:
    """A row group: where its rows begin in the split and in its shard, and its pictures' bytes."""

    shard: Path
    index: int
    start: int
    first_row: int
    size: int


def _groups(shards: list[Path]) -> list[_Group]:
    groups, start = [], 0
    for shard in shards:
        row = 0
        with pq.ParquetFile(shard) as file:
            for index in range(file.num_row_groups):
                group = file.metadata.row_group(index)
                columns = [group.column(c) for c in range(group.num_columns)]
                size = sum(
                    column.total_uncompressed_size
                    for column in columns
                    if column.path_in_schema == "image.bytes"
                )
                groups.append(_Group(shard, index, start, row, size))
                row += group.num_rows
                start += group.num_rows
    return groups


def _picker(groups: list[_Group]) -> Callable[[int], Item]:
    """Random access: a row group stays in memory, encoded, once one of its rows was wanted."""
    starts = [group.start for group in groups]
    kept: dict[int, pa.Array] = {}
    lock = threading.Lock()

    def pick(row: int) -> Item:
        at = bisect_right(starts, row) - 1
        group = groups[at]
        with lock:
            if at not in kept:
                with _reading(group.shard, group.index), pq.ParquetFile(group.shard) as file:
                    kept[at] = _encoded(file, group.index)
        inside = row - group.start
        picture = kept[at][inside].as_py() or b""
        return Item(f"{group.shard} row {group.first_row + inside}", picture)

    return pick
