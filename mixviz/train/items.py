"""Labelled pictures that are not decoded yet, whatever they lie in."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mixviz.train.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")

IMAGENET_TERMS = "Derived from ImageNet: for non-commercial research and education only."
UNKNOWN_TERMS = "Not stated; ask whoever made the images."


@dataclass(frozen=True)
class Item:
    """One picture not yet decoded, and where it stands for an error message."""

    where: str
    picture: bytes | Path | np.ndarray


@dataclass(frozen=True)
class Split:
    """Rows of labelled pictures.

    Attributes:
        labels: of all rows.
        read: walks the rows wanted by a mask, in order.
        pick: one row's item, in any order and from several threads at once, where that is quicker
            than reading on.
        kept: bytes that stay in memory once every row was picked.
    """

    labels: np.ndarray
    read: Callable[[np.ndarray], Iterator[Item]]
    pick: Callable[[int], Item] | None = None
    kept: int = 0

    def at(self, row: int) -> Item:
        """The item of one row.

        Raises:
            DataError: the row cannot be read.
        """
        if self.pick is not None:
            return self.pick(row)
        wanted = np.zeros(len(self.labels), dtype=bool)
        wanted[row] = True
        return next(self.read(wanted))


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


def split_of(labels: Sequence[int] | np.ndarray, pick: Callable[[int], Item]) -> Split:
    """A split whose rows can be picked one by one."""

    def read(wanted: np.ndarray) -> Iterator[Item]:
        return (pick(int(row)) for row in np.flatnonzero(wanted))

    return Split(np.asarray(labels, dtype=np.int64), read, pick)


def split_of_files(labels: Sequence[int] | np.ndarray, paths: Sequence[Path]) -> Split:
    """A split of one file a row."""
    return split_of(labels, lambda row: Item(str(paths[row]), paths[row]))


def check_files(folder: Path, paths: Sequence[Path]) -> None:
    """Refuse a list of files of which one is missing or lies outside the folder.

    Raises:
        DataError: naming the first one.
    """
    for path in paths:
        if not path.is_relative_to(folder) or ".." in path.relative_to(folder).parts:
            raise DataError(f"{folder}: a list names {path}, which leads out of the folder")
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {len(paths)} listed images are missing, "
            f"the first is {missing[0]}"
        )


def check_same_classes(folder: Path, found: dict[str, Split], class_names: Iterable[str]) -> None:
    """Refuse splits of which one has a class without images.

    Raises:
        DataError: naming the first such class.
    """
    for split, rows in found.items():
        present = set(np.unique(rows.labels).tolist())
        for label, name in enumerate(class_names):
            if label not in present:
                raise DataError(f"{folder}: class {label} ({name}) has no {split} image")
