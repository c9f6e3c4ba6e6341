"""Labelled images as uint8 tensors, from Parquet shards, image folders or torchvision.

Every image is decoded once, when a run starts, and stays in memory.
"""

import csv
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from mixviz.train.errors import DataError

WORDNET_ID = re.compile(r"n\d{8}")
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
MEMINFO = Path("/proc/meminfo")
TORCHVISION = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}

IMAGENET_TERMS = "Derived from ImageNet: for non-commercial research and education only."
CIFAR_TERMS = "CIFAR (Krizhevsky 2009) states no licence; cite its technical report."
UNKNOWN_TERMS = "Not stated; ask whoever made the images."


@dataclass(frozen=True)
class ImageSet:
    """Decoded images (n, 3, size, size), uint8, and their labels (n,), int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Item:
    """One picture not yet decoded, and where it stands for an error message."""

    where: str
    picture: bytes | Path | np.ndarray


@dataclass(frozen=True)
class Split:
    """Labels of all rows, and a reader that walks the wanted rows in order."""

    labels: np.ndarray
    read: Callable[[np.ndarray], Iterator[Item]]


@dataclass(frozen=True)
class Source:
    """Where labelled images come from; nothing is decoded yet.

    ``wordnet_ids`` is empty where the classes have none.
    """

    name: str
    terms: str
    class_names: tuple[str, ...]
    wordnet_ids: tuple[str, ...]
    splits: dict[str, Split]


def open_source(folder: Path, dataset: str | None, download: bool, splits: Sequence[str]) -> Source:
    """Find out what ``folder`` holds and check its classes and labels.

    Raises:
        DataError: the folder is missing, holds no known layout, or contradicts itself.
    """
    if dataset is not None:
        return _open_torchvision(folder, dataset, download, splits)
    if not folder.is_dir():
        raise DataError(f"no data folder at {folder}")
    if any(folder.glob("*.parquet")):
        return _open_parquet(folder, splits)
    if any((folder / split).is_dir() for split in ("train", "val")):
        return _open_folders(folder, splits)
    raise DataError(
        f"{folder} has neither Parquet shards (train-*.parquet, val-*.parquet) "
        "nor image folders (train/CLASS/*.jpg, val/CLASS/*.jpg)"
    )


def decode_split(source: Source, split: str, size: int, per_class: int | None = None) -> ImageSet:
    """Decode one split to ``size`` pixels square, all of it or ``per_class`` images a class.

    The images kept under ``per_class`` are the first of each class, so that larger values
    contain smaller ones.

    Raises:
        DataError: an image cannot be decoded, or the memory does not suffice.
    """
    labels = source.splits[split].labels
    wanted = np.ones(len(labels), dtype=bool)
    if per_class is not None:
        wanted[:] = False
        for label in range(len(source.class_names)):
            wanted[np.flatnonzero(labels == label)[:per_class]] = True
    count = int(wanted.sum())
    _check_memory(count, size)
    try:
        images = np.empty((count, 3, size, size), dtype=np.uint8)
    except MemoryError as error:
        raise DataError(_memory_sentence(count, size)) from error
    items = source.splits[split].read(wanted)
    workers = min(16, os.cpu_count() or 1)

    def decode_into(start: int, chunk: list[Item]) -> int:
        for offset, item in enumerate(chunk):
            images[start + offset] = decode_item(item, size)
        return len(chunk)

    bar = tqdm(total=count, desc=f"decoding {split}", unit="image", disable=None, leave=False)
    with bar, ThreadPoolExecutor(workers) as pool:
        start = 0
        while group := list(islice(items, 2048)):
            chunks = [group[i : i + 64] for i in range(0, len(group), 64)]
            starts = range(start, start + len(group), 64)
            for done in pool.map(decode_into, starts, chunks):
                bar.update(done)
            start += len(group)
    kept = torch.from_numpy(labels[wanted].astype(np.int64))
    return ImageSet(torch.from_numpy(images), kept)


def read_square(picture: bytes | Path, size: int) -> np.ndarray:
    """One picture as uint8 (3, size, size): upright, RGB, centre square, antialiased."""
    file = io.BytesIO(picture) if isinstance(picture, bytes) else picture
    with Image.open(file, formats=FORMATS) as opened:
        upright = ImageOps.exif_transpose(opened).convert("RGB")
    return _to_square(upright, size)


def _to_square(image: Image.Image, size: int) -> np.ndarray:
    side = min(image.size)
    if image.size != (size, size):
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box = (left, top, left + side, top + side)
        image = image.resize((size, size), Image.Resampling.BICUBIC, box)
    return np.asarray(image).transpose(2, 0, 1)


def decode_item(item: Item, size: int) -> np.ndarray:
    try:
        if isinstance(item.picture, np.ndarray):
            return _to_square(Image.fromarray(item.picture), size)
        return read_square(item.picture, size)
    except MemoryError:
        raise
    except Exception as error:  # a broken file can make a decoder raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{item.where}: the image cannot be decoded ({reason})") from error


def _check_memory(count: int, size: int) -> None:
    if not MEMINFO.exists():
        return
    found = re.search(r"MemAvailable:\s+(\d+) kB", MEMINFO.read_text())
    if found and count * 3 * size * size > 1024 * int(found[1]):
        raise DataError(_memory_sentence(count, size))


def _memory_sentence(count: int, size: int) -> str:
    gigabytes = count * 3 * size * size / 1e9
    return (
        f"not enough memory: {count} images at {size} px take {gigabytes:.1f} GB; "
        "use smaller --sizes or fewer images with --per-class"
    )


# Parquet shards ---------------------------------------------------------------------------------


def _open_parquet(folder: Path, splits: Sequence[str]) -> Source:
    class_names, wordnet_ids = _read_classes(folder / "classes.tsv")
    found = {}
    for split in splits:
        shards = sorted(folder.glob(f"{split}-*.parquet"))
        if not shards:
            raise DataError(f"no {split}-*.parquet in {folder}")
        labels = np.concatenate([_read_labels(shard, len(class_names)) for shard in shards])
        found[split] = Split(labels, _parquet_reader(shards))
    _check_same_classes(folder, found, class_names)
    terms = IMAGENET_TERMS if wordnet_ids else UNKNOWN_TERMS
    return Source(folder.resolve().name, terms, class_names, wordnet_ids, found)


def _read_classes(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if not path.is_file():
        raise DataError(f"no classes.tsv in {path.parent} (columns: label, WordNet id, name)")
    names, wordnet_ids = [], []
    with path.open(encoding="utf-8", newline="") as lines:
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


def _parquet_reader(shards: list[Path]) -> Callable[[np.ndarray], Iterator[Item]]:
    def read(wanted: np.ndarray) -> Iterator[Item]:
        position = 0
        for shard in shards:
            row = 0
            with pq.ParquetFile(shard) as file:
                for group in range(file.num_row_groups):
                    count = file.metadata.row_group(group).num_rows
                    keep = np.flatnonzero(wanted[position : position + count])
                    if len(keep):
                        try:
                            images = file.read_row_group(group, columns=["image.bytes"])["image"]
                        except (pa.ArrowException, OSError) as error:
                            reason = str(error).splitlines()[0]
                            raise DataError(f"{shard} row group {group}: {reason}") from error
                        encoded = images.combine_chunks().field("bytes")
                        for index in keep:
                            picture = encoded[int(index)].as_py() or b""
                            yield Item(f"{shard} row {row + index}", picture)
                    position += count
                    row += count

    return read


# Image folders ----------------------------------------------------------------------------------


def _open_folders(folder: Path, splits: Sequence[str]) -> Source:
    listing = {}
    for split in splits:
        if not (folder / split).is_dir():
            raise DataError(f"no folder {folder / split}")
        listing[split] = sorted(p.name for p in (folder / split).iterdir() if p.is_dir())
        if not listing[split]:
            raise DataError(f"no class folders in {folder / split}")
    classes = listing[splits[0]]
    for split in splits[1:]:
        for name in sorted(set(classes) ^ set(listing[split])):
            here, there = (splits[0], split) if name in classes else (split, splits[0])
            raise DataError(f"{folder}: class {name!r} is in {here} but not in {there}")
    found = {}
    for split in splits:
        paths, labels = [], []
        for label, name in enumerate(classes):
            inside = (folder / split / name).rglob("*")
            files = sorted(path for path in inside if path.suffix.lower() in SUFFIXES)
            if not files:
                raise DataError(f"no images in {folder / split / name} ({' '.join(SUFFIXES)})")
            paths += files
            labels += [label] * len(files)
        found[split] = Split(np.array(labels), _path_reader(paths))
    wordnet_ids = tuple(classes) if all(WORDNET_ID.fullmatch(c) for c in classes) else ()
    names = tuple(classes)
    if wordnet_ids and (folder / "classes.tsv").is_file():
        listed, identities = _read_classes(folder / "classes.tsv")
        readable = dict(zip(identities, listed, strict=False))
        names = tuple(readable.get(identity, identity) for identity in wordnet_ids)
    terms = IMAGENET_TERMS if wordnet_ids else UNKNOWN_TERMS
    return Source(folder.resolve().name, terms, names, wordnet_ids, found)


def _path_reader(paths: list[Path]) -> Callable[[np.ndarray], Iterator[Item]]:
    def read(wanted: np.ndarray) -> Iterator[Item]:
        for index in np.flatnonzero(wanted):
            yield Item(str(paths[index]), paths[index])

    return read


# torchvision ------------------------------------------------------------------------------------


def _open_torchvision(folder: Path, dataset: str, download: bool, splits: Sequence[str]) -> Source:
    # Imported here: the other sources work without torchvision.
    from torchvision import datasets

    if not download and not folder.is_dir():
        raise DataError(f"no data folder at {folder}; add --download to fetch {dataset} there")
    build = getattr(datasets, TORCHVISION[dataset])
    found, class_names = {}, ()
    for split in splits:
        try:
            # torchvision compares the files with known MD5 sums before it opens them.
            opened = build(folder, train=split == "train", download=download)
        except (RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())
            hint = "" if download else "; add --download to fetch it"
            raise DataError(f"{dataset} in {folder}: {reason}{hint}") from error
        class_names = tuple(name.replace("_", " ") for name in opened.classes)
        found[split] = Split(np.array(opened.targets), _array_reader(opened.data, split))
    _check_same_classes(folder, found, class_names)
    return Source(dataset, CIFAR_TERMS, class_names, (), found)


def _array_reader(images: np.ndarray, split: str) -> Callable[[np.ndarray], Iterator[Item]]:
    def read(wanted: np.ndarray) -> Iterator[Item]:
        for index in np.flatnonzero(wanted):
            yield Item(f"{split} image {index}", images[index])

    return read


def _check_same_classes(folder: Path, found: dict[str, Split], class_names: Iterable[str]) -> None:
    for split, rows in found.items():
        for label, name in enumerate(class_names):
            if not np.any(rows.labels == label):
                raise DataError(f"{folder}: class {label} ({name}) has no {split} image")
