"""Top-1 and top-5 of a network on decoded images or on full-size photographs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from mixviz.train.checkpoint import Card
from mixviz.train.errors import DataError
from mixviz.train.processes import total
from mixviz.train.shelf import Shelf
from mixviz.train.sources import SUFFIXES, WORDNET_ID, ImageSet, Item, decode_item


@dataclass(frozen=True)
class Accuracy:
    """Percentages of images whose class is the first, or among the first five, answers."""

    top1: float
    top5: float
    images: int


@dataclass(frozen=True)
class Normaliser:
    """Turns uint8 images, or floats in [0, 255], into network input; (1, 3, 1, 1) tensors."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, mean: list[float], std: list[float], device: torch.device) -> "Normaliser":
        """From per-channel mean and standard deviation of images in [0, 1]."""
        scaled = torch.tensor([mean, std], device=device) * 255
        return cls(scaled[0].view(1, 3, 1, 1), scaled[1].view(1, 3, 1, 1))

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise a batch, in the memory order convolutions like best."""
        normalised = (images.float() - self.mean) / self.std
        return normalised.contiguous(memory_format=torch.channels_last)

    def undo(self, images: Tensor) -> Tensor:
        """Return the uint8 images that were normalised, rounded."""
        return (images * self.std + self.mean).round().clamp(0, 255).to(torch.uint8)


@torch.inference_mode()
def measure(
    network: nn.Module,
    shelf: Shelf,
    normalise: Normaliser,
    fabric: Fabric | None = None,
    batch: int = 500,
) -> Accuracy:
    """Accuracy in fp32, whatever precision trained the network; one read-back at the end.

    With `fabric`, its processes share the images; every process is told the whole accuracy.
    """
    rank, world = (0, 1) if fabric is None else (fabric.global_rank, fabric.world_size)
    network.eval()
    hits = torch.zeros(2, dtype=torch.int64, device=normalise.mean.device)
    for images, labels in shelf.batches(torch.arange(rank, len(shelf), world), batch):
        logits = network(normalise(images))
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices
        right = best == labels[:, None]
        hits += torch.stack((right[:, 0].sum(), right.sum()))
    if fabric is not None:
        hits = total(fabric, hits)
    top1, top5 = (hits.double() * 100 / len(shelf)).tolist()
    return Accuracy(top1, top5, len(shelf))


def read_photos(folder: Path, card: Card) -> ImageSet:
    """Photographs named ``WNID_name.JPEG``, upright, centre square, at the card's input size.

    Raises:
        DataError: the folder holds none, one is broken, or its class is not one of the card's.
    """
    if not folder.is_dir():
        raise DataError(f"no folder of photographs at {folder}")
    wordnet_ids = card.get("wordnet_ids") or []
    if not wordnet_ids:
        raise DataError("the checkpoint's card has no WordNet ids, which name the photographs")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise DataError(f"no photographs in {folder}")
    images, labels = [], []
    for path in paths:
        found = WORDNET_ID.match(path.name)
        if found is None or found[0] not in wordnet_ids:
            raise DataError(f"{path}: the name must begin with one of the card's WordNet ids")
        labels.append(wordnet_ids.index(found[0]))
        images.append(decode_item(Item(str(path), path), card["input_size"]))
    return ImageSet(torch.from_numpy(np.stack(images)), torch.tensor(labels))
