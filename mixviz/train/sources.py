"""Labelled images as uint8 tensors, from every layout that is known."""

import io
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from mixviz.train.cub import LISTS, open_cub
from mixviz.train.errors import DataError
from mixviz.train.folders import open_folders
from mixviz.train.items import IMAGENET_TERMS, SUFFIXES, Item, Source, Split
from mixviz.train.published import TORCHVISION, open_published
from mixviz.train.shards import WORDNET_ID, open_shards

__all__ = [
    "FORMATS",
    "IMAGENET_TERMS",
    "SUFFIXES",
    "TORCHVISION",
    "WORDNET_ID",
    "WORKERS",
    "ImageSet",
    "Item",
    "Source",
    "Split",
    "check_memory",
    "decode_item",
    "decode_split",
    "first_of_each",
    "open_source",
    "read_square",
]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
MEMINFO = Path("/proc/meminfo")
WORKERS = min(16, os.cpu_count() or 1)
"""Threads that decode."""


@dataclass(frozen=True)
class ImageSet:
    """Decoded images (n, 3, size, size), uint8, and their labels (n,), int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def open_source(folder: Path, dataset: str | None, download: bool, splits: Sequence[str]) -> Source:
    """Find out what ``folder`` holds and check its classes and labels.

    Args:
        folder: where the data are, or where torchvision may put them.
        dataset: one of `TORCHVISION`; None looks for shards, CUB's lists or image folders.
        download: whether torchvision may fetch it.
        splits: of "train" and "val".

    Raises:
        DataError: the folder is missing, holds no known layout, or contradicts itself.
    """
    if dataset is not None:
        return open_published(folder, dataset, download, splits)
    if not folder.is_dir():
        raise DataError(f"no data folder at {folder}")
    if any(folder.glob("*.parquet")):
        return open_shards(folder, splits)
    if any((folder / name).is_file() for name in LISTS):
        return open_cub(folder, splits)
    if any((folder / split).is_dir() for split in ("train", "val")):
        return open_folders(folder, splits)
    raise DataError(
        f"{folder} has neither Parquet shards (train-*.parquet, val-*.parquet) "
        "nor image folders (train/CLASS/*.jpg, val/CLASS/*.jpg) nor the lists of CUB-200-2011 "
        f"({', '.join(LISTS)})"
    )


def decode_split(source: Source, split: str, size: int, per_class: int | None = None) -> ImageSet:
    """Decode one split to ``size`` pixels square, all of it or what `first_of_each` keeps.

    Raises:
        DataError: an image cannot be decoded, or the memory does not suffice.
    """
    labels = source.splits[split].labels
    wanted = first_of_each(labels, per_class)
    count = int(wanted.sum())
    check_memory(count * 3 * size * size, _memory_sentence(count, size))
    try:
        images = np.empty((count, 3, size, size), dtype=np.uint8)
    except MemoryError as error:
        raise DataError(_memory_sentence(count, size)) from error
    items = source.splits[split].read(wanted)

    def decode_into(start: int, chunk: list[Item]) -> int:
        for offset, item in enumerate(chunk):
            images[start + offset] = decode_item(item, size)
        return len(chunk)

    bar = tqdm(total=count, desc=f"decoding {split}", unit="image", disable=None, leave=False)
    with bar, ThreadPoolExecutor(WORKERS) as pool:
        start = 0
        while group := list(islice(items, 2048)):
            chunks = [group[i : i + 64] for i in range(0, len(group), 64)]
            starts = range(start, start + len(group), 64)
            for done in pool.map(decode_into, starts, chunks):
                bar.update(done)
            start += len(group)
    kept = torch.from_numpy(labels[wanted].astype(np.int64))
    return ImageSet(torch.from_numpy(images), kept)


def first_of_each(labels: np.ndarray, per_class: int | None) -> np.ndarray:
    """A mask over the rows: all of them, or the first ``per_class`` of each class.

    Larger values contain smaller ones.
    """
    wanted = np.ones(len(labels), dtype=bool)
    if per_class is not None:
        for label in np.unique(labels):
            wanted[np.flatnonzero(labels == label)[per_class:]] = False
    return wanted


def read_square(picture: bytes | Path, size: int) -> np.ndarray:
    """One picture as uint8 (3, size, size): upright, RGB, centre square, antialiased."""
    file = io.BytesIO(picture) if isinstance(picture, bytes) else picture
    with Image.open(file, formats=FORMATS) as opened:
        upright = ImageOps.exif_transpose(opened)
        if upright.mode.startswith("I"):
            # Pillow clips 16 bits to 8 instead of scaling them: all would be white.
            levels = np.asarray(upright).astype(np.int64) >> 8
            upright = Image.fromarray(levels.clip(0, 255).astype(np.uint8))
        upright = upright.convert("RGB")
    return _to_square(upright, size)


def _to_square(image: Image.Image, size: int) -> np.ndarray:
    side = min(image.size)
    if image.size != (size, size):
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box = (left, top, left + side, top + side)
        image = image.resize((size, size), Image.Resampling.BICUBIC, box)
    return np.asarray(image).transpose(2, 0, 1)


def decode_item(item: Item, size: int) -> np.ndarray:
    """One picture as `read_square` gives it.

    Raises:
        DataError: it cannot be decoded, naming where it stands.
    """
    try:
        if isinstance(item.picture, np.ndarray):
            return _to_square(Image.fromarray(item.picture), size)
        return read_square(item.picture, size)
    except MemoryError:
        raise
    except Exception as error:  # a broken file can make a decoder raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{item.where}: the image cannot be decoded ({reason})") from error


def check_memory(needed: int, sentence: str) -> None:
    """Refuse what needs more bytes than the system has to give, where it tells.

    Raises:
        DataError: the sentence.
    """
    if not MEMINFO.exists():
        return
    found = re.search(r"MemAvailable:\s+(\d+) kB", MEMINFO.read_text())
    if found and needed > 1024 * int(found[1]):
        raise DataError(sentence)


def _memory_sentence(count: int, size: int) -> str:
    gigabytes = count * 3 * size * size / 1e9
    return (
        f"not enough memory: {count} images at {size} px take {gigabytes:.1f} GB; "
        "use --keep disk, smaller --sizes or fewer images with --per-class"
    )
