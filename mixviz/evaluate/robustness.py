"""Noise over the whole picture, and squares replaced by another picture."""

import torch
from torch import Generator, Tensor


def add_noise(images: Tensor, sigma: float, generator: Generator) -> Tensor:
    """Add Gaussian noise of standard deviation σ to images in [0, 1] and clip them.

    Raises:
        ValueError: sigma is negative.
    """
    if not sigma >= 0:
        raise ValueError(f"sigma must not be negative, got {sigma}")
    noise = torch.randn(images.shape, generator=generator, device=generator.device)
    return (images + sigma * noise.to(images)).clamp(0, 1)


def replace_square(images: Tensor, others: Tensor, side: float, generator: Generator) -> Tensor:
    """Replace a square by what another picture shows at the same place.

    Args:
        images: (b, 3, h, w).
        others: as many pictures of the same size, which the squares come from.
        side: of the square, as a share of the picture's shorter side; rounded to pixels.
        generator: draws the places, each equally likely, always wholly inside.

    Raises:
        ValueError: side is outside [0, 1], or the shapes differ.
    """
    if not 0 <= side <= 1:
        raise ValueError(f"side must lie in [0, 1], got {side}")
    if images.shape != others.shape:
        raise ValueError(
            f"others must have the shape of images, got {tuple(others.shape)} "
            f"and {tuple(images.shape)}"
        )
    batch, _, height, width = images.shape
    pixels = round(side * min(height, width))
    drawn = torch.rand((2, batch), generator=generator, device=generator.device).to(images.device)
    top = (drawn[0] * (height - pixels + 1)).long()[:, None]
    left = (drawn[1] * (width - pixels + 1)).long()[:, None]
    row = torch.arange(height, device=images.device)
    column = torch.arange(width, device=images.device)
    down, across = (row >= top) & (row < top + pixels), (column >= left) & (column < left + pixels)
    return torch.where((down[:, :, None] & across[:, None, :])[:, None], others, images)
