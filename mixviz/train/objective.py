"""What a training step lowers: the loss of a batch, by the way the batch is mixed."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div

from mixviz.augment import Mix

Forward = Callable[[Tensor], Tensor]
"""A network: normalised images to logits."""

Answer = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Images and class indices to logits and what they should say: indices, or a weight per class."""


@dataclass(frozen=True)
class Outcome:
    """What a step learns from.

    Attributes:
        loss: to be lowered.
        logits: in full precision.
        targets: what each of the logits should say: class indices, or a weight per class.
    """

    loss: Tensor
    logits: Tensor
    targets: Tensor

    def hits(self) -> Tensor:
        """How often the heaviest label came first."""
        heaviest = self.targets if self.targets.ndim == 1 else self.targets.argmax(1)
        return (self.logits.detach().argmax(1) == heaviest).sum()


Objective = Callable[[Tensor, Tensor], Outcome]
"""Normalised images, as they were before mixing, and class indices to an outcome."""


@dataclass(frozen=True)
class LabelLoss:
    """Cross-entropy between an answer and its labels."""

    answer: Answer
    smoothing: float

    def __call__(self, images: Tensor, labels: Tensor) -> Outcome:
        """Answer, and compare."""
        logits, targets = self.answer(images, labels)
        logits = logits.float()
        loss = cross_entropy(logits, targets, label_smoothing=self.smoothing)
        return Outcome(loss, logits, targets)


@dataclass(frozen=True)
class ConsistencyLoss:
    """AugMix, Section 3: cross-entropy of the images, and agreement of three views of each.

    The views are the images and two mixes of them, in one forward pass; their disagreement is
    the Jensen-Shannon divergence of the three answers. Hendrycks et al. 2020, arXiv:1912.02781.
    """

    forward: Forward
    mix: Mix
    weight: float
    smoothing: float

    def __call__(self, images: Tensor, labels: Tensor) -> Outcome:
        """Look at three views of each image."""
        views = torch.cat((images, self.mix(images, labels)[0], self.mix(images, labels)[0]))
        logits = self.forward(_in_order(views)).float()
        clean, one, other = logits.chunk(3)
        loss = cross_entropy(clean, labels, label_smoothing=self.smoothing)
        loss = loss + self.weight * jensen_shannon(clean, one, other)
        return Outcome(loss, clean, labels)


@dataclass(frozen=True)
class CleanLoss:
    """Another objective, and λ_clean times the loss of the batch as it was before mixing."""

    mixed: Objective
    clean: Objective
    weight: float

    def __call__(self, images: Tensor, labels: Tensor) -> Outcome:
        """Learn from both; the outcome is that of the mixed batch but for its loss."""
        outcome = self.mixed(images, labels)
        loss = outcome.loss + self.weight * self.clean(images, labels).loss
        return Outcome(loss, outcome.logits, outcome.targets)


def as_it_is(forward: Forward) -> Answer:
    """Answer a batch that nothing happens to."""
    return lambda images, labels: (forward(images), labels)


def to_mixes(forward: Forward, mix: Mix) -> Answer:
    """Answer the mixes of a batch."""

    def answer(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        mixed, targets = mix(images, labels)
        return forward(_in_order(mixed)), targets

    return answer


def jensen_shannon(*logits: Tensor) -> Tensor:
    """Jensen-Shannon divergence of several answers to the same images, the mean over images."""
    chances = [one.softmax(1) for one in logits]
    # As the authors clamp it: a class that none expects must not give infinity times 0.
    mean = torch.stack(chances).mean(0).clamp(1e-7, 1).log()
    return torch.stack([kl_div(mean, one, reduction="batchmean") for one in chances]).mean()


def _in_order(images: Tensor) -> Tensor:
    """Return images in the memory order convolutions like best."""
    return images.contiguous(memory_format=torch.channels_last)
