"""Published data sets in the layouts that torchvision reads, and may fetch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mixviz.train.errors import DataError
from mixviz.train.items import (
    SUFFIXES,
    Item,
    Source,
    Split,
    check_files,
    check_same_classes,
    split_of,
    split_of_files,
)

CALTECH_TRAIN = 30
"""Training images of each class of Caltech-101, as customary; there is no official split."""
CALTECH_SEED = 0


@dataclass(frozen=True)
class Published:
    """A data set and how it is read.

    Attributes:
        terms: what its authors allow, in words.
        read: from folder, split and whether to download, to class names and rows.
        offered: whether it can be downloaded.
        remedy: what to do where it is not in the folder.
    """

    terms: str
    read: Callable[[Path, str, bool], tuple[Sequence[str], Split]]
    offered: bool = True
    remedy: str = "add --download to fetch it"


def open_published(folder: Path, dataset: str, download: bool, splits: Sequence[str]) -> Source:
    """Read what torchvision has put, or now puts, into a folder.

    Raises:
        DataError: it is not there, or its lists cannot be read or contradict each other.
    """
    published = TORCHVISION[dataset]
    download = download and published.offered
    if not download and not folder.is_dir():
        raise DataError(f"no data folder at {folder}; {published.remedy}")
    found: dict[str, Split] = {}
    class_names: tuple[str, ...] = ()
    for split in splits:
        try:
            names, found[split] = published.read(folder, split, download)
        except DataError:
            raise
        except (RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())
            hint = "" if download else f"; {published.remedy}"
            raise DataError(f"{dataset} in {folder}: {reason}{hint}") from error
        except Exception as error:  # broken lists can make their readers raise anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise DataError(
                f"{dataset} in {folder}: its lists cannot be read ({reason})"
            ) from error
        class_names = tuple(name.replace("_", " ") for name in names)
        _check_labels(f"{dataset} in {folder}", found[split].labels, len(class_names))
    check_same_classes(folder, found, class_names)
    return Source(dataset, published.terms, class_names, (), found)


def _check_labels(where: str, labels: np.ndarray, classes: int) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        row = int(wrong[0])
        raise DataError(f"{where}: image {row} has label {labels[row]}, not 0 to {classes - 1}")


def _reader_of(name: str) -> Any:
    # Imported when wanted: the other sources work without torchvision.
    from torchvision import datasets

    return getattr(datasets, name)


def _read_arrays(name: str, folder: Path, split: str, download: bool) -> tuple[list[str], Split]:
    """CIFAR; torchvision compares its files with known MD5 sums before it opens them."""
    opened = _reader_of(name)(folder, train=split == "train", download=download)

    def pick(row: int) -> Item:
        return Item(f"{split} image {row}", opened.data[row])

    return opened.classes, split_of(opened.targets, pick)


def _read_files(
    name: str, splits: dict[str, str], folder: Path, split: str, download: bool
) -> tuple[list[str], Split]:
    """A set of files, whose paths it gives away where loading one does nothing."""
    opened = _reader_of(name)(folder, split=splits[split], download=download, loader=Path)
    rows = [opened[row] for row in range(len(opened))]
    paths = [path for path, _ in rows]
    check_files(folder, paths)
    return opened.classes, split_of_files([label for _, label in rows], paths)


def _read_caltech(folder: Path, split: str, download: bool) -> tuple[list[str], Split]:
    """Caltech-101 without its background class; 30 drawn images of each class train."""
    inside = folder / "caltech101" / "101_ObjectCategories"
    if not inside.is_dir():
        if not download:
            raise FileNotFoundError(f"no folder {inside}")
        _reader_of("Caltech101")(folder, download=True)
    names = sorted(path.name for path in inside.iterdir() if path.is_dir())
    names = [name for name in names if name != "BACKGROUND_Google"]
    if not names:
        raise DataError(f"no class folders in {inside}")
    labels: list[int] = []
    paths: list[Path] = []
    for label, name in enumerate(names):
        files = sorted(p for p in (inside / name).iterdir() if p.suffix.lower() in SUFFIXES)
        order = np.random.default_rng((CALTECH_SEED, label)).permutation(len(files))
        rows = order[:CALTECH_TRAIN] if split == "train" else order[CALTECH_TRAIN:]
        paths += [files[row] for row in sorted(rows)]
        labels += [label] * len(rows)
    return names, split_of_files(labels, paths)


CIFAR_TERMS = "CIFAR (Krizhevsky 2009) states no licence; cite its technical report."
TO_TEST = {"train": "train", "val": "test"}
"""Both splits by their official names: the test images validate, as in the papers' tables."""

TORCHVISION = {
    "cifar10": Published(CIFAR_TERMS, partial(_read_arrays, "CIFAR10")),
    "cifar100": Published(CIFAR_TERMS, partial(_read_arrays, "CIFAR100")),
    # Ten training images a class, as GuidedMixup's Table 7 has them: the official split "train".
    "flowers102": Published(
        "Oxford 102 Flowers (Nilsback & Zisserman 2008) states no licence; cite the paper.",
        partial(_read_files, "Flowers102", TO_TEST),
    ),
    "aircraft": Published(
        "FGVC-Aircraft (Maji et al. 2013): for non-commercial research only.",
        partial(_read_files, "FGVCAircraft", {"train": "trainval", "val": "test"}),
    ),
    "cars": Published(
        "Stanford Cars (Krause et al. 2013) states no licence; cite the paper.",
        partial(_read_files, "StanfordCars", TO_TEST),
        offered=False,
        remedy=(
            "its authors no longer offer it for download: put cars_train/, cars_test/, "
            "cars_test_annos_withlabels.mat, devkit/cars_meta.mat and "
            "devkit/cars_train_annos.mat into a folder stanford_cars there"
        ),
    ),
    "caltech101": Published("Caltech-101 (Li et al. 2004): CC BY 4.0.", _read_caltech),
}
"""Data sets by the name the command line takes; the official splits, where there are some."""
