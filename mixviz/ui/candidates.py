"""Who is compared: bundled classifiers, the visitor's own, checkpoints of runs; and on what."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from cachetools import LRUCache
from numpy.typing import NDArray
from torch import Tensor

from mixviz import zoo
from mixviz.core.saliency import resize
from mixviz.methods import BATCH_METHODS, METHODS
from mixviz.methods.variants import VARIANTS
from mixviz.samples import Picture
from mixviz.ui import classifier, compute, pictures, state
from mixviz.ui.compute import Framing, Look
from mixviz.ui.state import Field

# Whoever runs the server says where its runs are; nothing a visitor writes becomes a path.
RUNS = Path(os.environ.get("MIXVIZ_RUNS") or Path(__file__).resolve().parents[2] / "runs")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]{0,120}")
MAX_CARD = 1_000_000  # bytes
MOST_RUNS = 200
RUN = "run-"
_LOADED: LRUCache[str, zoo.Classifier] = LRUCache(8)
OBJECTS = compute.Counted(2 * MOST_RUNS)


@dataclass(frozen=True)
class Candidate:
    """A classifier that can be compared.

    Attributes:
        slug: its name in URLs.
        key: its name for `compute`.
        title: its name for people.
        words: whether it is here.
    """

    slug: str
    key: str
    title: str
    words: str


def _short(entry: zoo.Entry) -> str:
    """Leave out of a title what is alike in all of its family: lists and rows are narrow."""
    return entry.title.replace("Thin PreActResNet-18, ", "Thin, ").removesuffix(", Tiny ImageNet")


def method_title(slug: str) -> str:
    """Return what a way of mixing is called in cards and commands."""
    known: list[Mapping[str, Any]] = [METHODS, VARIANTS, BATCH_METHODS]
    found = next((names[slug] for names in known if slug in names), None)
    return "none" if found is None else str(found.title)


def run_folders() -> dict[str, Path]:
    """Return the folders of runs that hold a log, newest first: NAME, or SWEEP/CELL of a sweep."""
    found = []
    for path in (*RUNS.glob("*/log.csv"), *RUNS.glob("*/*/log.csv")):
        parts = path.parent.relative_to(RUNS).parts
        if all(NAME.fullmatch(part) for part in parts) and path.is_file():
            found.append((path.stat().st_mtime, "/".join(parts), path.parent))
    newest = sorted(found, key=lambda one: -one[0])[:MOST_RUNS]
    return {name: folder for _, name, folder in newest}


def read_card(folder: Path) -> dict[str, Any] | None:
    """Return the card of a run's checkpoint, None where there is none that can be read."""
    for path in sorted(folder.glob("*.json")):
        facts = read_object(path, MAX_CARD)
        if "architecture" in facts and "sha256" in facts:
            return facts | {"name": path.stem}
    return None


def read_object(path: Path, most: int) -> dict[str, Any]:
    """Return a JSON object of this server, read once for each time it was written.

    Args:
        path: of the file.
        most: bytes it may have.

    Returns:
        The object; an empty one for anything else.
    """
    try:
        about = path.stat()
        key = (str(path), about.st_mtime_ns)
        found: dict[str, Any] | None = OBJECTS.get(key)
        if found is None and about.st_size <= most:
            facts = json.loads(path.read_text(encoding="utf-8"))
            found = OBJECTS.put(key, facts if isinstance(facts, dict) else {})
    except (OSError, ValueError, RecursionError):
        return {}
    return found or {}


def candidates() -> dict[str, Candidate]:
    """Return all that can be chosen, by slug, in menu order."""
    found = {
        one.entry.slug: Candidate(one.entry.slug, one.entry.slug, _short(one.entry), one.words)
        for one in zoo.list_entries()
    }
    for key in classifier.own():
        found[classifier.OWN] = Candidate(classifier.OWN, key, zoo.OWN.title, "yours")
    for name, folder in run_folders().items():
        card = read_card(folder)
        if card is not None:
            key = f"{RUN}{name}-{str(card['sha256'])[:16]}"
            found[f"{RUN}{name}"] = Candidate(f"{RUN}{name}", key, f"Run {name}", "its last epoch")
    return found


def bundled() -> tuple[str, ...]:
    """Return the slugs of the bundled classifiers that are here."""
    return tuple(
        one.entry.slug for one in zoo.list_entries() if one.entry.kind == "bundled" and one.is_here
    )


def _read(text: str) -> tuple[str, ...]:
    asked = text.split(",")
    known = candidates()
    if not set(asked) <= set(known):
        raise ValueError("must name classifiers that are here")
    return _in_order(asked)


def _repair(text: str) -> tuple[str, ...] | None:
    return _in_order(text.split(",")) or None


def _in_order(slugs: Sequence[str]) -> tuple[str, ...]:
    return tuple(slug for slug in candidates() if slug in slugs)


def _write(slugs: Sequence[str]) -> str:
    return ",".join(_in_order(slugs))


WHO = Field("who", "judge.who", bundled(), _read, _write, _repair)
GUESSED = "guessed"  # an option that is None would show as nothing chosen


def _read_label(text: str) -> int | None:
    if text == GUESSED:
        return None
    if text.isascii() and text.isdigit() and int(text[:9]) < 50_000:
        return int(text)
    raise ValueError("must be the number of a class, or absent for the one guessed")


def _write_label(label: int | str | None) -> str:
    return str(label) if isinstance(label, int) else GUESSED


LABEL = Field("y", "judge.label", None, _read_label, _write_label)
FIELDS = [WHO, LABEL]


def chosen() -> list[Candidate]:
    """Return the classifiers that are compared."""
    known = candidates()
    return [known[slug] for slug in _in_order(state.get(WHO))]


def ask() -> None:
    """Draw the choice of the classifiers."""
    known = candidates()
    key = state.widget_key(WHO.key)
    st.session_state.setdefault(key, list(_in_order(state.get(WHO))))
    state.kept()[WHO.key] = st.multiselect(
        "Classifiers",
        list(known),
        format_func=lambda slug: known[slug].title,
        key=key,
        help="Bundled ones, checkpoints of runs on this server, torchvision’s (fetched on first "
        "use), and your own once it is loaded under “Classifier and saliency” of another page.",
    )


def label_asked() -> int | None:
    """Return the class that counts as true for A, None where it is guessed."""
    value = state.get(LABEL)
    return value if isinstance(value, int) else None


def ask_label(names: Sequence[str]) -> None:
    """Draw the choice of the label of A among the classes of the first classifier."""
    key = state.widget_key(LABEL.key)
    asked = label_asked()
    st.session_state.setdefault(key, GUESSED if asked is None else asked)
    value = st.selectbox(
        "Label of A",
        [GUESSED, *range(len(names))],
        format_func=lambda number: (
            "as the first classifier guesses" if number == GUESSED else names[number]
        ),
        key=key,
    )
    state.kept()[LABEL.key] = value if isinstance(value, int) else None


def brought(chosen: Sequence[Candidate]) -> dict[str, zoo.Classifier]:
    """Return what is no catalogue classifier: the visitor's own, and those of chosen runs.

    Raises:
        CheckpointError: a run's checkpoint cannot be loaded.
    """
    held = dict(classifier.own())
    folders = run_folders()
    for one in chosen:
        if one.slug.startswith(RUN) and one.slug not in zoo.CATALOGUE:
            if one.key not in _LOADED:
                _LOADED[one.key] = _load(folders[one.slug.removeprefix(RUN)])
            held[one.key] = _LOADED[one.key]
    return held


def _load(folder: Path) -> zoo.Classifier:
    card = read_card(folder)
    try:
        if card is None:
            raise zoo.CheckpointError("its card is gone")
        return zoo.load_own(
            folder / f"{card['name']}.safetensors",
            str(card["architecture"]["name"]),
            [str(name) for name in card["class_names"]],
            int(card["input_size"]),
            card["mean"],
            card["std"],
            card["architecture"]["options"],
        ).to(compute.device())
    except (zoo.CheckpointError, KeyError, TypeError, ValueError) as problem:
        raise zoo.CheckpointError(f"Run {folder.name}: {problem}") from problem


@dataclass(frozen=True, eq=False)
class Case:
    """What is judged, and by whom.

    Attributes:
        who: the classifiers; at least one.
        own: those of them that `compute` cannot load itself.
        held: the pictures by digest.
        a, b: the squares.
        names: what the pictures are called.
        size: pixels per side.
        label_a, label_b: names of the classes that count as true.
        is_asked: whether the label of A was chosen; else the first classifier guessed it.
    """

    who: Sequence[Candidate]
    own: Mapping[str, zoo.Classifier]
    held: Mapping[str, Picture]
    a: Framing
    b: Framing
    names: tuple[str, str]
    size: int
    label_a: str = ""
    label_b: str = ""
    is_asked: bool = False

    def classes(self, one: Candidate) -> tuple[str, ...]:
        """Return the class names of a classifier.

        Raises:
            ZooError: it is not to be had.
        """
        return compute.class_names(one.key, self.own)

    def label(self, one: Candidate, name: str) -> int | None:
        """Return which class of a classifier has a name, None where none has."""
        names = self.classes(one)
        return names.index(name) if name in names else None

    def look(self, one: Candidate, source: str = "gradient") -> Look:
        """Return how a classifier looks at the pair.

        Raises:
            ZooError: it is not to be had.
        """
        labels = (self.label(one, self.label_a), self.label(one, self.label_b))
        return Look(self.a, self.b, self.size, one.key, *labels, source)

    def pixels(self) -> NDArray[np.uint8]:
        """Return A as pixels (h, w, 3)."""
        return compute.crop(self.a, self.size, self.held)

    def image_at(self, size: int) -> Tensor:
        """Return A as a classifier of that input size gets it, (1, 3, size, size)."""
        return resize(compute.to_tensor(self.pixels()), size)

    def input_size(self, one: Candidate) -> int:
        """Return the side in pixels of what a classifier looks at.

        Raises:
            ZooError: it is not to be had.
        """
        self.classes(one)  # fetches what is not here, outside the engine
        found: int | None = SIZES.get(one.key)
        if found is None:
            size = compute.in_engine(
                "look",
                lambda: compute.classifier(one.key, self.own).input_size,
                compute.yield_to_newer_run,
            )
            found = SIZES.put(one.key, size)
        return found

    def predict(self, one: Candidate, key: object, images: Tensor) -> Tensor:
        """Return the probabilities (n, k) that a classifier gives to images.

        Raises:
            ZooError: it is not to be had.
        """
        self.classes(one)
        found: Tensor | None = ANSWERS.get((one.key, key))
        if found is None:

            def work() -> Tensor:
                network = compute.classifier(one.key, self.own)
                return network.predict(images.to(compute.device())).cpu()

            found = ANSWERS.put(
                (one.key, key), compute.in_engine("judge", work, compute.yield_to_newer_run)
            )
        return found


SIZES, ANSWERS = compute.Counted(64), compute.Counted(512)


def open_case(who: Sequence[Candidate], own: Mapping[str, zoo.Classifier]) -> Case:
    """Return the chosen pair, its labels not yet decided."""
    ids = [pictures.chosen(side) for side in pictures.SIDES]
    found = [pictures.picture(picture_id) for picture_id in ids]
    a, b = (
        Framing(one.digest, *pictures.framing(side))
        for one, side in zip(found, pictures.SIDES, strict=True)
    )
    held = {one.digest: one for one in found}
    names = (pictures.name_of(ids[0]), pictures.name_of(ids[1]))
    return Case(who, own, held, a, b, names, pictures.size())
