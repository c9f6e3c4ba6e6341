"""What a training step lowers: the loss of a batch, by the way the batch is mixed."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    kl_div,
    one_hot,
)

from mixviz.augment import Mix, MixInside

Forward = Callable[[Tensor], Tensor]
"""A network: normalised images to logits."""

Criterion = Callable[[Tensor, Tensor, float], Tensor]
"""Logits (b, k), class indices (b,) or weights per class (b, k), and label smoothing to a loss."""


def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Outcome:
    """What a step learns from.

    Attributes:
        loss: to be lowered.
        logits: in full precision.
        targets: what each of the logits should say: class indices, or a weight per class.
        images: what the network was shown, normalised.
        after: to be called once the loss has been differentiated.
    """

    loss: Tensor
    logits: Tensor
    targets: Tensor
    images: Tensor
    after: Callable[[], None] = _nothing

    def hits(self) -> Tensor:
        """How often the heaviest label came first."""
        heaviest = self.targets if self.targets.ndim == 1 else self.targets.argmax(1)
        return (self.logits.detach().argmax(1) == heaviest).sum()


class Objective(ABC):
    """What a step lowers, in three parts: look at a batch, make it ready, learn from it.

    Only the first and the last part use the network; what lies between may run beside a step.
    """

    def begin(self, images: Tensor, labels: Tensor) -> Callable[[], Any]:
        """Look at normalised images, as they were before mixing, and at their class indices.

        What is returned makes them ready to be learned from; it asks the network nothing.
        """
        return lambda: (images, labels)

    @abstractmethod
    def learn(self, ready: Any) -> Outcome:
        """Answer what was made ready, and compare."""

    def __call__(self, images: Tensor, labels: Tensor) -> Outcome:
        """Do all three at once."""
        return self.learn(self.begin(images, labels)())


@dataclass(frozen=True)
class LabelLoss(Objective):
    """The images as they are against their labels."""

    forward: Forward
    criterion: Criterion
    smoothing: float

    def learn(self, ready: tuple[Tensor, Tensor]) -> Outcome:
        """Compare the answer with indices, or with a weight per class."""
        images, targets = ready
        logits = self.forward(in_order(images)).float()
        return Outcome(self.criterion(logits, targets, self.smoothing), logits, targets, images)


@dataclass(frozen=True)
class MixLoss(LabelLoss):
    """Mixes of the images against their mixed labels."""

    mix: Mix

    def begin(self, images: Tensor, labels: Tensor) -> Callable[[], tuple[Tensor, Tensor]]:
        """Look at the images; what is returned solves and mixes."""
        return self.mix.begin(images, labels)


@dataclass(frozen=True)
class InsideLoss(Objective):
    """Feature maps mixed at a layer of the network, against mixed labels."""

    mix: MixInside
    criterion: Criterion
    smoothing: float

    def learn(self, ready: tuple[Tensor, Tensor]) -> Outcome:
        """Mix on the way through the network, and compare."""
        images, labels = ready
        logits, targets = self.mix(images, labels)
        logits = logits.float()
        return Outcome(self.criterion(logits, targets, self.smoothing), logits, targets, images)


@dataclass(frozen=True)
class ConsistencyLoss(Objective):
    """AugMix, Section 3: cross-entropy of the images, and agreement of three views of each.

    The views are the image itself and two mixes of it, in one forward pass; their disagreement is
    the Jensen-Shannon divergence of the three answers. Hendrycks et al. 2020, arXiv:1912.02781.
    """

    forward: Forward
    mix: Mix
    weight: float
    criterion: Criterion
    smoothing: float

    def begin(self, images: Tensor, labels: Tensor) -> Callable[[], tuple[Tensor, Tensor]]:
        """Draw both mixes; what is returned makes them."""
        one, other = self.mix.begin(images, labels), self.mix.begin(images, labels)
        return lambda: (torch.cat((images, one()[0], other()[0])), labels)

    def learn(self, ready: tuple[Tensor, Tensor]) -> Outcome:
        """Look at three views of each image."""
        views, labels = ready
        logits = self.forward(in_order(views)).float()
        clean, one, other = logits.chunk(3)
        loss = self.criterion(clean, labels, self.smoothing)
        loss = loss + self.weight * jensen_shannon(clean, one, other)
        return Outcome(loss, clean, labels, views[len(labels) : 2 * len(labels)])


@dataclass(frozen=True)
class CleanLoss(Objective):
    """Another objective, and λ_clean times the loss of the batch as it was before mixing."""

    mixed: Objective
    clean: Objective
    weight: float

    def begin(self, images: Tensor, labels: Tensor) -> Callable[[], tuple[Any, Any]]:
        """Begin with both."""
        mixed, clean = self.mixed.begin(images, labels), self.clean.begin(images, labels)
        return lambda: (mixed(), clean())

    def learn(self, ready: tuple[Any, Any]) -> Outcome:
        """Learn from both; the outcome is that of the mixed batch but for its loss."""
        mixed, clean = ready
        outcome = self.mixed.learn(mixed)
        return replace(outcome, loss=outcome.loss + self.weight * self.clean.learn(clean).loss)


def jensen_shannon(*logits: Tensor) -> Tensor:
    """Jensen-Shannon divergence of several answers to the same images, the mean over images."""
    chances = [one.softmax(1) for one in logits]
    # As the authors clamp it: a class that none expects must not give infinity times 0.
    mean = torch.stack(chances).mean(0).clamp(1e-7, 1).log()
    return torch.stack([kl_div(mean, one, reduction="batchmean") for one in chances]).mean()


def _softmax_loss(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    return cross_entropy(logits, targets, label_smoothing=smoothing)


def binary_loss(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Binary cross-entropy of every class by itself, the mean over classes and images.

    R-Mix names it "multi-label binary cross-entropy" (Section 3). Its gradient is about as many
    times smaller than that of the cross-entropy as there are classes.
    """
    classes = logits.shape[1]
    weights = one_hot(targets, classes).to(logits) if targets.ndim == 1 else targets.to(logits)
    # Weights that do not sum to 1, as SnapMix's, may exceed 1 in a class.
    weights = weights.clamp(0, 1) * (1 - smoothing) + smoothing / classes
    return binary_cross_entropy_with_logits(logits, weights)


CRITERIA: MappingProxyType[str, Criterion] = MappingProxyType(
    {"cross_entropy": _softmax_loss, "bce": binary_loss}
)
"""Losses by the name of ``--loss``; the first is of soft targets, as the papers train."""


def in_order(images: Tensor) -> Tensor:
    """Return images in the memory order convolutions like best."""
    return images.contiguous(memory_format=torch.channels_last)
