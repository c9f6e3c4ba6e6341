"""Chance variations of a batch, drawn per image and applied on the device in one resampling."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample

SHIFT_OF_64 = 6 / 64
"""Largest shift of the plain crop, as a part of the image side."""


@dataclass(frozen=True)
class Draws:
    """What chance decided for each image: the window to show, and colour factors.

    ``theta`` (b, 2, 3) maps the output square [-1, 1]² into the input square; ``factors``
    (3, b, 1, 1, 1) multiply brightness, contrast and saturation.
    """

    theta: Tensor
    factors: Tensor

    def part(self, which: int, of: int) -> "Draws":
        """One of so many equal parts of the images, which are as many."""
        return Draws(self.theta.chunk(of)[which], self.factors.chunk(of, dim=1)[which])


def draw(count: int, size: int, photo_crops: float, jitter: float, generator: Generator) -> Draws:
    """Draw a window for each of ``count`` images: a photo crop with that probability, else a shift.

    A shift moves the image by up to 6/64 of its side in whole pixels. A photo crop shows
    0.3 to 1 of the area at an aspect of 3/4 to 4/3. Either is flipped half of the time.
    """
    device = generator.device
    chance = torch.rand((9, count), generator=generator, device=device)
    flip = torch.where(chance[0] < 0.5, -1.0, 1.0)

    reach = round(SHIFT_OF_64 * size)
    shift = torch.floor(chance[1:3] * (2 * reach + 1)).clamp(max=2 * reach) - reach
    shift = shift * (2 / size)

    area = 0.3 + 0.7 * chance[3]
    stretch = (4 / 3) ** (chance[4] - 0.5)
    sides = torch.stack((area.sqrt() * stretch, area.sqrt() / stretch)).clamp(max=1)
    offset = (1 - sides) * (2 * chance[1:3] - 1)

    photo = chance[5] < photo_crops
    scale = torch.where(photo, sides, 1.0)
    centre = torch.where(photo, offset, shift)
    zero = torch.zeros_like(flip)
    theta = torch.stack(
        (
            torch.stack((scale[0] * flip, zero, centre[0]), dim=1),
            torch.stack((zero, scale[1], centre[1]), dim=1),
        ),
        dim=1,
    )
    factors = 1 + jitter * (2 * chance[6:9] - 1)
    return Draws(theta, factors[:, :, None, None, None])


def show_windows(images: Tensor, draws: Draws) -> Tensor:
    """Resample each image through its window, bilinearly, with mirrored borders."""
    grid = affine_grid(draws.theta, list(images.shape), align_corners=False)
    return grid_sample(images, grid, "bilinear", "reflection", align_corners=False)


def vary_colours(images: Tensor, draws: Draws) -> Tensor:
    """Scale brightness, then contrast around the mean grey, then saturation, within [0, 255]."""
    brightness, contrast, saturation = draws.factors
    images = (images * brightness).clamp(0, 255)
    mean = _grey(images).mean(dim=(2, 3), keepdim=True)
    images = (mean + contrast * (images - mean)).clamp(0, 255)
    grey = _grey(images)
    return (grey + saturation * (images - grey)).clamp(0, 255)


def _grey(images: Tensor) -> Tensor:
    red, green, blue = images[:, 0:1], images[:, 1:2], images[:, 2:3]
    return 0.299 * red + 0.587 * green + 0.114 * blue
