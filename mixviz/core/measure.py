"""What is measured on a mix (Puzzle Mix, Figure 2): the same numbers for every method."""

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
