"""Adversarial pictures: the smallest change of every pixel that raises the loss most."""

import torch
from torch import Generator, Tensor

from mixviz.core.saliency import Classifier, explain


def fgsm(classifier: Classifier, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Return x + ε·sign ∇loss inside [0, 1] (Goodfellow et al. 2015, arXiv:1412.6572).

    The classifier is held in eval() mode; nothing is left behind on it.

    Args:
        classifier: images in [0, 1] → logits; normalisation belongs to it.
        x: images (b, 3, h, w) in [0, 1].
        y: their true classes (b,).
        eps: how far each value may move, in units of the image.

    Raises:
        ValueError: eps is negative, or see `mixviz.core.saliency.explain`.
    """
    _check("eps", eps)
    return (x + eps * explain(classifier, x, y).gradient.sign()).clamp(0, 1)


def pgd(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    eps: float,
    step: float,
    steps: int,
    generator: Generator | None = None,
) -> Tensor:
    """Return images after signed gradient steps, each projected back onto the ball and [0, 1].

    Madry et al. 2018 (arXiv:1706.06083).

    Args:
        classifier: as for `fgsm`.
        x: images (b, 3, h, w) in [0, 1].
        y: their true classes (b,).
        eps: radius of the ball around x, in the maximum norm.
        step: how far each value moves in a step.
        steps: how often.
        generator: draws the start uniformly from the ball; without it the start is x.

    Raises:
        ValueError: a number is negative, or see `mixviz.core.saliency.explain`.
    """
    for name, value in (("eps", eps), ("step", step), ("steps", steps)):
        _check(name, value)
    attacked = x
    if generator is not None:
        drawn = torch.rand(x.shape, generator=generator, device=generator.device) * 2 - 1
        attacked = (x + eps * drawn.to(x)).clamp(0, 1)
    for _ in range(steps):
        gradient = explain(classifier, attacked, y).gradient
        moved = (attacked - x + step * gradient.sign()).clamp(-eps, eps)
        attacked = (x + moved).clamp(0, 1)
    return attacked


def _check(name: str, value: float) -> None:
    if not value >= 0:
        raise ValueError(f"{name} must not be negative, got {value}")
