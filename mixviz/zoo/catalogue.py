"""Which classifiers there are, in menu order, and how one is loaded."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from mixviz.zoo.classifier import Classifier
from mixviz.zoo.header import CheckpointError
from mixviz.zoo.hub import Progress, ZooError, fetch, hub_file, hub_weights
from mixviz.zoo.own import load_own

CHECKPOINTS = Path(__file__).resolve().parents[2] / "checkpoints"


@dataclass(frozen=True)
class Entry:
    """A classifier on offer.

    Attributes:
        slug, title, description: its name in code, on screen, and what it is in a sentence.
        kind: in the repository, fetched on first use, or brought by the visitor.
        megabytes: size of its weights.
        terms: licence and terms of the weights.
    """

    slug: str
    title: str
    kind: Literal["bundled", "hub", "own"]
    description: str
    megabytes: int
    terms: str

    def path(self, folder: Path = CHECKPOINTS) -> Path:
        """Where its weights are, or will be."""
        return folder / f"{self.slug}.safetensors"


@dataclass(frozen=True)
class Listing:
    """An entry and whether its weights are here, in words for the menu."""

    entry: Entry
    is_here: bool
    words: str


@dataclass(frozen=True)
class Card:
    """What is known of a trained classifier.

    Attributes:
        architecture, options: what builds the network.
        class_names: one per logit.
        input_size: side in pixels of its input.
        mean, std: per channel, what its inputs were normalised with.
        top1, top5: accuracy on its validation set, as the source states it; None if unknown.
        sha256: of the weights file; None where the file is made here.
        data, terms: what it was trained on, and the licence and terms.
    """

    architecture: str
    class_names: tuple[str, ...]
    input_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    top1: float | None
    top5: float | None
    data: str
    terms: str
    sha256: str | None = None
    options: Mapping[str, int] = field(default_factory=dict)


_HUB_TERMS = (
    "Code and weights BSD-3-Clause (torchvision); trained on ImageNet-1k, "
    "whose pictures are for non-commercial research."
)

_TINY_TERMS = "MIT; trained on Tiny ImageNet, whose pictures are for non-commercial research."
# One small network trained alike but for the method, so that what a method teaches can be seen.
_TRAINED_WITH = {
    "vanilla": "no mixing",
    "cutmix": "CutMix",
    "puzzle-mix": "Puzzle Mix",
    "guidedmixup": "GuidedMixup",
    "r-mix": "R-Mix",
}
_STOPPED = {"puzzle-mix": "; this run was stopped after epoch 37 of 40"}

CATALOGUE = {
    entry.slug: entry
    for entry in (
        Entry(
            "tiny-imagenet-preactresnet18",
            "PreActResNet-18, Tiny ImageNet",
            "bundled",
            "The paper's network on 200 everyday classes at 64 pixels; comes with the app.",
            23,
            _TINY_TERMS,
        ),
        *(
            Entry(
                f"tiny-imagenet-thin-{slug}",
                f"Thin PreActResNet-18, {words}",
                "bundled",
                f"Half as wide, trained with {words}; five of them differ in the method alone"
                f"{_STOPPED.get(slug, '')}.",
                6,
                _TINY_TERMS,
            )
            for slug, words in _TRAINED_WITH.items()
        ),
        Entry(
            "resnet18",
            "ResNet-18, ImageNet",
            "hub",
            "Small and quick, 1000 classes at 224 pixels.",
            45,
            _HUB_TERMS,
        ),
        Entry(
            "resnet50",
            "ResNet-50, ImageNet",
            "hub",
            "The common reference, 1000 classes at 224 pixels.",
            98,
            _HUB_TERMS,
        ),
        Entry(
            "convnext_tiny",
            "ConvNeXt-Tiny, ImageNet",
            "hub",
            "A modern convolutional network, 1000 classes at 224 pixels.",
            109,
            _HUB_TERMS,
        ),
        Entry(
            "efficientnet_b0",
            "EfficientNet-B0, ImageNet",
            "hub",
            "The smallest download, 1000 classes at 224 pixels.",
            20,
            _HUB_TERMS,
        ),
    )
}

OWN = Entry(
    "own",
    "Your own",
    "own",
    "A safetensors file of a known architecture; it stays in your session.",
    400,
    "Yours.",
)


def list_entries(folder: Path = CHECKPOINTS) -> tuple[Listing, ...]:
    """The catalogue in menu order, with what is here."""
    return tuple(_listed(entry, folder) for entry in CATALOGUE.values())


def card(slug: str, folder: Path = CHECKPOINTS) -> Card:
    """What is known of a catalogue classifier, without its weights.

    Raises:
        ZooError: no such classifier, or its card is missing or unreadable.
    """
    entry = _entry(slug)
    if entry.kind == "hub":
        return _hub_card(entry)
    path = entry.path(folder).with_suffix(".json")
    if not path.exists():
        raise ZooError(_missing(path))
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return Card(
            architecture=facts["architecture"]["name"],
            options=facts["architecture"]["options"],
            class_names=tuple(facts["class_names"]),
            input_size=facts["input_size"],
            mean=tuple(facts["mean"]),
            std=tuple(facts["std"]),
            top1=facts["top1"],
            top5=facts["top5"],
            sha256=facts["sha256"],
            data=facts["data"],
            terms=facts["terms"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ZooError(f"The card {path.name} cannot be read ({error!r}).") from error


def load(
    slug: str,
    device: torch.device,
    folder: Path = CHECKPOINTS,
    progress: Progress = lambda share, words: None,
) -> Classifier:
    """A classifier of the catalogue on a device; hub weights are fetched on first use.

    Raises:
        ZooError: no such classifier, or its weights are missing, damaged or not to be had.
    """
    entry = _entry(slug)
    path = entry.path(folder)
    facts = card(slug, folder)
    if entry.kind == "hub" and not path.exists():
        fetch(facts.architecture, entry.title, hub_file(facts.architecture), path, progress)
    if not path.exists():
        raise ZooError(_missing(path))
    try:
        if facts.sha256 is not None and _sha256(path) != facts.sha256:
            raise CheckpointError("Its SHA-256 is not the one on its card.")
        classifier = load_own(
            path,
            facts.architecture,
            facts.class_names,
            facts.input_size,
            facts.mean,
            facts.std,
            facts.options,
            slug=entry.slug,
            title=entry.title,
            terms=facts.terms,
        )
    except CheckpointError as error:
        remedy = "delete it and it is fetched again" if entry.kind == "hub" else "restore it"
        raise ZooError(f"{path.name} is damaged; {remedy}. {error}") from error
    return classifier.to(device)


def _entry(slug: str) -> Entry:
    if slug not in CATALOGUE:
        raise ZooError(f"There is no classifier of that name, there are: {', '.join(CATALOGUE)}.")
    return CATALOGUE[slug]


def _listed(entry: Entry, folder: Path) -> Listing:
    if entry.path(folder).exists():
        return Listing(entry, True, "ready")
    if entry.kind == "hub":
        return Listing(entry, False, f"fetched on first use ({entry.megabytes} MB)")
    return Listing(entry, False, "missing from this copy")


def _hub_card(entry: Entry) -> Card:
    weights = hub_weights(entry.slug)
    preset = weights.transforms()
    scores = weights.meta["_metrics"]["ImageNet-1K"]
    return Card(
        architecture=entry.slug,
        class_names=tuple(weights.meta["categories"]),
        input_size=preset.crop_size[0],
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        top1=scores["acc@1"],
        top5=scores["acc@5"],
        data="ImageNet-1k",
        terms=entry.terms,
    )


def _missing(path: Path) -> str:
    return (
        f"The bundled classifier is missing: {path.parent.name}/{path.name} is not in this copy "
        "of the app; choose another classifier."
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
