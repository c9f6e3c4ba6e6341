"""Classifiers: one in the repository, some of torchvision's, and a visitor's own."""

from mixviz.zoo.architectures import ARCHITECTURES
from mixviz.zoo.catalogue import (
    CATALOGUE,
    CHECKPOINTS,
    OWN,
    Card,
    Entry,
    Listing,
    card,
    list_entries,
    load,
)
from mixviz.zoo.classifier import Classifier, cpu_cores, device_words, pick_device
from mixviz.zoo.header import CheckpointError
from mixviz.zoo.hub import ZooError
from mixviz.zoo.own import load_own

__all__ = [
    "ARCHITECTURES",
    "CATALOGUE",
    "CHECKPOINTS",
    "OWN",
    "Card",
    "CheckpointError",
    "Classifier",
    "Entry",
    "Listing",
    "ZooError",
    "card",
    "cpu_cores",
    "device_words",
    "list_entries",
    "load",
    "load_own",
    "pick_device",
]
