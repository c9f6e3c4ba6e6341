"""A frozen classifier, and the device it stands on."""

import math
import os
import platform
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from mixviz.core.saliency import resize


class Classifier(nn.Module):
    """A trained network that never trains again and takes pictures as they are.

    Images come in [0, 1]; the normalisation belongs to the classifier. `forward` works at the
    size it is given, so that a gradient can be taken at any size; `predict` resizes first.

    Attributes:
        slug, title: its name in the catalogue and on screen.
        input_size: side in pixels of the square input it was trained on.
        class_names: one name per logit.
        terms: licence and terms of the weights, in words.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        slug: str,
        title: str,
        input_size: int,
        class_names: Sequence[str],
        mean: Sequence[float],
        std: Sequence[float],
        terms: str = "",
    ) -> None:
        super().__init__()
        self.network = network
        self.slug = slug
        self.title = title
        self.input_size = input_size
        self.class_names = tuple(class_names)
        self.terms = terms
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode whatever is asked: saliency needs fixed statistics."""
        del mode
        return super().train(False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.mean.device

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images in [0, 1], at the size they have.

        Raises:
            ValueError: x is not a batch of RGB images.
        """
        if x.ndim != 4 or x.shape[1] != 3:
            raise ValueError(f"{self.slug}: x must be (b, 3, h, w), got {tuple(x.shape)}")
        return self.network((x - self.mean) / self.std)

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Probabilities per class, of images resized (antialiased bilinear) to `input_size`."""
        return self(resize(x, self.input_size)).float().softmax(dim=1)


def pick_device() -> torch.device:
    """The fastest device here: CUDA, else Apple's GPU, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def device_words(device: torch.device) -> str:
    """The device as a person names it, with its memory."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name}, {_gigabytes(properties.total_memory)}"
    if device.type == "mps":
        return f"Apple GPU, {_gigabytes(_main_memory())} shared"
    cores = cpu_cores()
    counted = "1 core" if cores == 1 else f"{cores} cores"
    return f"CPU ({platform.machine()}, {counted}), {_gigabytes(_main_memory())}"


def cpu_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _main_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return 0


def _gigabytes(count: int) -> str:
    return f"{math.ceil(count / 2**30)} GB" if count else "memory unknown"
