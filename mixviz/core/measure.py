"""What is measured on a mix (Puzzle Mix, Figure 2): the same numbers for every method."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def exposed_saliency(
    map_0: Float[Tensor, "b h w"], map_1: Float[Tensor, "b h w"], mask: Float[Tensor, "b h w"]
) -> Float[Tensor, " b"]:
    """Return Σ of the mixed saliency map; each map sums to 1 and is moved as the pixels are."""
    return torch.lerp(map_0, map_1, mask).sum((1, 2))


def total_variation(images: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    """Return the mean absolute difference of neighbouring pixels over both axes and channels."""
    down = (images[:, :, 1:] - images[:, :, :-1]).abs()
    right = (images[:, :, :, 1:] - images[:, :, :, :-1]).abs()
    return torch.cat((down.flatten(1), right.flatten(1)), 1).mean(1)


def soft_cross_entropy(
    logits: Float[Tensor, "b k"],
    labels: Int[Tensor, "b 2"],
    weights: Float[Tensor, "b 2"],
) -> Float[Tensor, " b"]:
    """Return the cross-entropy of the prediction against the label weights given."""
    return -(weights * logits.log_softmax(1).gather(1, labels)).sum(1)


def top_1_counts(logits: Float[Tensor, "b k"], labels: Int[Tensor, "b 2"]) -> Bool[Tensor, " b"]:
    """Say whether the first guess is either label."""
    return (logits.argmax(1, keepdim=True) == labels).any(1)


def top_2_counts(logits: Float[Tensor, "b k"], labels: Int[Tensor, "b 2"]) -> Bool[Tensor, " b"]:
    """Say whether the first two guesses are both labels; False for equal labels."""
    guesses = logits.topk(2, 1).indices.sort(1).values
    return (guesses == labels.sort(1).values).all(1)


@dataclass(frozen=True, eq=False)
class Measures:
    """The numbers of Puzzle Mix, Figure 2, of each mix of a batch.

    Attributes:
        exposed_0, exposed_1: share of the saliency of either image that is still to be seen.
        total_variation: see `total_variation`.
        loss: cross-entropy against the label weights given.
        top_1: whether the first guess is either label.
        top_2: whether the first two guesses are both labels; meaningless where `same_label`.
        same_label: where both images have one label, so that top-2 does not apply.
    """

    exposed_0: Float[Tensor, " b"]
    exposed_1: Float[Tensor, " b"]
    total_variation: Float[Tensor, " b"]
    loss: Float[Tensor, " b"]
    top_1: Bool[Tensor, " b"]
    top_2: Bool[Tensor, " b"]
    same_label: Bool[Tensor, " b"]

    @property
    def exposed(self) -> Float[Tensor, " b"]:
        """The saliency of both images that is still to be seen, of 2."""
        return self.exposed_0 + self.exposed_1


def measure(
    mixed: Float[Tensor, "b 3 h w"],
    shown: tuple[Float[Tensor, "b h w"], Float[Tensor, "b h w"]],
    weights: Float[Tensor, "b 2"],
    logits: Float[Tensor, "b k"],
    labels: Int[Tensor, "b 2"],
) -> Measures:
    """Measure mixes alike, whichever method made them.

    Args:
        mixed: the mixes.
        shown: what the mix still shows of the saliency map of either image, each map summing to 1
            before it was moved and masked as the pixels were.
        weights: the label weights given.
        logits: what the classifier says of the mixes.
        labels: of images 0 and 1.
    """
    exposed_0, exposed_1 = (part.sum((1, 2)) for part in shown)
    return Measures(
        exposed_0,
        exposed_1,
        total_variation(mixed),
        soft_cross_entropy(logits, labels, weights),
        top_1_counts(logits, labels),
        top_2_counts(logits, labels),
        labels[:, 0] == labels[:, 1],
    )
