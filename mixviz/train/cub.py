"""CUB-200-2011 as it is unpacked (Wah et al. 2011): images and four lists numbered alike."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from mixviz.train.errors import DataError
from mixviz.train.items import Source, check_files, check_same_classes, split_of_files

NAMES, LABELS, SIDES = "images.txt", "image_class_labels.txt", "train_test_split.txt"
LISTS = (SIDES, LABELS)
"""Files that no other layout has."""
TERMS = "CUB-200-2011 (Wah et al. 2011): for non-commercial research and education only."
SIDE_OF = {"train": "1", "val": "0"}
"""What the list of sides says of an image of ours: the official test images validate."""

T = TypeVar("T")


def open_cub(folder: Path, splits: Sequence[str]) -> Source:
    """Read the lists of an unpacked CUB-200-2011; its test images are the split ``val``.

    Raises:
        DataError: a list is missing, or a line is not what it must be, or an image is missing.
    """
    class_names = _read_list(folder / "classes.txt", str, "a class name")
    if not class_names:
        raise DataError(f"{folder / 'classes.txt'} names no class")
    names = _read_list(folder / NAMES, str, "a file below images/")
    allowed = {str(number) for number in range(1, len(class_names) + 1)}
    labels = _read_list(
        folder / LABELS, _one_of(allowed), f"a class from 1 to {len(class_names)}", len(names)
    )
    sides = _read_list(
        folder / SIDES, _one_of(set(SIDE_OF.values())), "1 (train) or 0 (test)", len(names)
    )
    found = {}
    for split in splits:
        rows = [row for row, side in enumerate(sides) if side == SIDE_OF[split]]
        paths = [folder / "images" / names[row] for row in rows]
        check_files(folder / "images", paths)
        found[split] = split_of_files(np.array([int(labels[row]) - 1 for row in rows]), paths)
    readable = tuple(_readable(name) for name in class_names)
    check_same_classes(folder, found, readable)
    return Source(folder.resolve().name, TERMS, readable, (), found)


def _read_list(
    path: Path, read: Callable[[str], T], what: str, count: int | None = None
) -> list[T]:
    """The second words of lines numbered from 1, as many as there are images."""
    if not path.is_file():
        raise DataError(f"no {path.name} in {path.parent}, which CUB-200-2011 has")
    values = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path} cannot be read ({error})") from error
    for number, line in enumerate(lines, 1):
        first, _, rest = line.strip().partition(" ")
        try:
            if first != str(number) or not rest:
                raise ValueError
            values.append(read(rest))
        except ValueError as error:
            raise DataError(
                f"{path} line {number}: expected the number {number} and {what}, "
                f"got {line.strip()[:80]!r}"
            ) from error
    if count is not None and len(values) != count:
        raise DataError(
            f"{path} ends at line {len(values)}, but {path.with_name(NAMES)} has {count} images"
        )
    return values


def _one_of(allowed: set[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError
        return text

    return read


def _readable(name: str) -> str:
    """``001.Black_footed_Albatross`` as Black footed Albatross."""
    number, _, words = name.partition(".")
    return (words if number.isdigit() and words else name).replace("_", " ")
