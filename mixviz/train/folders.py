"""Labelled pictures in folders: ``SPLIT/CLASS/*.jpg``, as ImageNet is unpacked too."""

from collections.abc import Sequence
from pathlib import Path

from mixviz.train.errors import DataError
from mixviz.train.items import IMAGENET_TERMS, SUFFIXES, UNKNOWN_TERMS, Source, split_of_files
from mixviz.train.shards import WORDNET_ID, read_classes


def open_folders(folder: Path, splits: Sequence[str]) -> Source:
    """List the files of the class folders; a class is a folder's name.

    WordNet ids as names get readable ones from ``classes.tsv``, where there is one.

    Raises:
        DataError: a folder is missing or empty, or the splits have different classes.
    """
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
        found[split] = split_of_files(labels, paths)
    wordnet_ids = tuple(classes) if all(WORDNET_ID.fullmatch(c) for c in classes) else ()
    names = tuple(classes)
    if wordnet_ids and (folder / "classes.tsv").is_file():
        listed, identities = read_classes(folder / "classes.tsv")
        readable = dict(zip(identities, listed, strict=False))
        names = tuple(readable.get(identity, identity) for identity in wordnet_ids)
    terms = IMAGENET_TERMS if wordnet_ids else UNKNOWN_TERMS
    return Source(folder.resolve().name, terms, names, wordnet_ids, found)
