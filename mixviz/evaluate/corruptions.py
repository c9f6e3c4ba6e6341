"""The 19 corruptions of CIFAR-C at five severities, in torch.

Hendrycks and Dietterich 2019 (arXiv:1903.12261). Drawn anew here, so not the bits of the published
files. The strengths are those of their Tiny-ImageNet-C, at 64 pixels; lengths grow with larger
pictures, so that one picture at twice the size is corrupted alike. What differs:
- frost is drawn, where theirs lays photographs of frost over the picture,
- glass takes each pixel from a random place nearby, where theirs swaps neighbours in turn,
- fog is a sum of octaves of smooth noise, where theirs is diamond-square,
- spatter fixes how much of the picture is wet, elastic how far pixels wander, and these, glass,
  frost and defocus have strengths of their own,
- saturate has their five strengths in another order.
So the mean distance from the original grows with the severity of every corruption, over many
photographs; of a single one, of strong colours, it may not for saturate.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn.functional import conv2d, grid_sample, interpolate, pad

from mixviz.core import saliency

SEVERITIES = (1, 2, 3, 4, 5)
BASE = 64
"""Side in pixels of the pictures that lengths are stated for."""

Distortion = Callable[[Tensor, int, Generator], Tensor]


@dataclass(frozen=True)
class Corruption:
    """One way pictures go wrong.

    Attributes:
        group: noise, blur, weather or digital.
        words: what it looks like, and what its severity is.
        distort: images (b, 3, h, w) in [0, 1], severity and chance → images, not yet clipped.
    """

    group: str
    words: str
    distort: Distortion

    def apply(self, images: Tensor, severity: int, generator: Generator) -> Tensor:
        """Corrupt images (b, 3, h, w) in [0, 1], rounded to the 8 bits that CIFAR-C is kept in.

        Raises:
            ValueError: the severity is not 1 to 5, or images are no such batch.
        """
        if severity not in SEVERITIES:
            raise ValueError(f"severity must be 1, 2, 3, 4 or 5, got {severity}")
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < 16:
            raise ValueError(
                "images must be (b, 3, h, w) of at least 16 pixels a side, "
                f"got {tuple(images.shape)}"
            )
        corrupted = self.distort(images, severity, generator)
        return (corrupted.clamp(0, 1) * 255).round() / 255


# Noise ------------------------------------------------------------------------------------------


def _gaussian_noise(images: Tensor, severity: int, generator: Generator) -> Tensor:
    sigma = (0.04, 0.08, 0.12, 0.15, 0.18)[severity - 1]
    return images + sigma * _normal(images, generator)


def _shot_noise(images: Tensor, severity: int, generator: Generator) -> Tensor:
    photons = (250, 100, 50, 30, 15)[severity - 1]
    rate = (images * photons).float().to(generator.device)
    return (torch.poisson(rate, generator=generator) / photons).to(images)


def _impulse_noise(images: Tensor, severity: int, generator: Generator) -> Tensor:
    share = (0.01, 0.02, 0.05, 0.08, 0.14)[severity - 1]
    drawn = _uniform(images.shape, generator).to(images)
    salted = torch.where(drawn < share / 2, 1.0, images)
    return torch.where(drawn > 1 - share / 2, 0.0, salted).to(images)


def _speckle_noise(images: Tensor, severity: int, generator: Generator) -> Tensor:
    sigma = (0.15, 0.2, 0.25, 0.3, 0.35)[severity - 1]
    return images * (1 + sigma * _normal(images, generator))


# Blur -------------------------------------------------------------------------------------------


def _defocus_blur(images: Tensor, severity: int, generator: Generator) -> Tensor:
    del generator
    radius = (0.7, 1.1, 1.6, 2.5, 3)[severity - 1]
    kernel = _disk(radius * _scale(images)).to(images)
    half = kernel.shape[-1] // 2
    colours = images.flatten(0, 1)[:, None]
    blurred = conv2d(pad(colours, (half,) * 4, mode="reflect"), kernel[None, None])
    return _blur(blurred.view_as(images), 0.3 * _scale(images))


def _glass_blur(images: Tensor, severity: int, generator: Generator) -> Tensor:
    sigma, reach = ((0.2, 0.35), (0.4, 0.45), (0.5, 0.6), (0.6, 0.9), (0.8, 1.2))[severity - 1]
    batch, _, height, width = images.shape
    drawn = torch.randn((2, batch, height, width), generator=generator, device=generator.device)
    shift = (drawn * reach * _scale(images)).round().long().to(images.device)
    row = torch.arange(height, device=images.device)[:, None]
    column = torch.arange(width, device=images.device)
    item = torch.arange(batch, device=images.device)[:, None, None]
    rows, columns = (row + shift[0]).clamp(0, height - 1), (column + shift[1]).clamp(0, width - 1)
    seen = _blur(images, sigma * _scale(images))[item, :, rows, columns].permute(0, 3, 1, 2)
    return _blur(seen, sigma * _scale(images))


def _motion_blur(images: Tensor, severity: int, generator: Generator) -> Tensor:
    reach, sigma = ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3))[severity - 1]
    angle = (_uniform((len(images),), generator) - 0.5) * math.pi / 2
    return _smear(images, reach, sigma, angle)


def _zoom_blur(images: Tensor, severity: int, generator: Generator) -> Tensor:
    del generator
    total, steps = images.clone(), 5 * severity + 1
    for step in range(steps):
        theta = torch.eye(2, 3).to(images) / (1 + 0.01 * step)
        total += _sample(images, _grid(theta.expand(len(images), 2, 3), images))
    return total / (steps + 1)


def _gaussian_blur(images: Tensor, severity: int, generator: Generator) -> Tensor:
    del generator
    return _blur(images, (0.5, 0.75, 1, 1.25, 1.5)[severity - 1] * _scale(images))


# Weather ----------------------------------------------------------------------------------------


def _snow(images: Tensor, severity: int, generator: Generator) -> Tensor:
    mean, spread, size, least, reach, sigma, kept = (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
    )[severity - 1]
    # Flakes fall at 64 px and grow with the picture: grown noise would have fewer peaks.
    height, width = (round(length / _scale(images)) for length in images.shape[2:])
    base = images.new_empty((len(images), 1, height, width))
    flakes = mean + spread * _layer(base, min(height, width) / size, generator)
    flakes = torch.where(flakes < least, 0.0, flakes.clamp(0, 1)).to(images)
    angle = -math.pi / 4 - _uniform((len(images),), generator) * math.pi / 2
    flakes = interpolate(_smear(flakes, reach, sigma, angle), images.shape[2:], mode="bilinear")
    pale = torch.maximum(images, 1.5 * _grey(images) + 0.5)
    return torch.lerp(pale, images, kept) + flakes + flakes.flip(2, 3)


def _frost(images: Tensor, severity: int, generator: Generator) -> Tensor:
    kept, laid = ((1, 0.2), (0.95, 0.3), (0.9, 0.4), (0.85, 0.5), (0.8, 0.6))[severity - 1]
    # Where smooth noise changes its sign run thin bright lines: the ribs of ice.
    ribs = 1 - (2 * _clouds(images, 1.6, generator) - 1).abs()
    ice = 0.35 + 0.65 * ribs.pow(3) * (0.5 + 0.5 * _clouds(images, 2.0, generator))
    tint = torch.tensor([0.86, 0.95, 1.0]).to(images).view(1, 3, 1, 1)
    return kept * images + laid * ice * tint


def _fog(images: Tensor, severity: int, generator: Generator) -> Tensor:
    dense, decay = ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75))[severity - 1]
    brightest = images.amax((1, 2, 3), keepdim=True)
    fogged = images + dense * _clouds(images, decay, generator)
    return fogged * brightest / (brightest + dense)


def _brightness(images: Tensor, severity: int, generator: Generator) -> Tensor:
    del generator
    # The value of HSV rises, hue and saturation stay: all channels by one factor.
    value = images.amax(1, keepdim=True)
    lifted = (value + 0.1 * severity).clamp_max(1)
    return torch.where(value > 0, images * lifted / value.clamp_min(1e-6), lifted)


def _spatter(images: Tensor, severity: int, generator: Generator) -> Tensor:
    wet, strength, sigma = (
        (0.08, 0.45, 1.0),
        (0.14, 0.5, 1.0),
        (0.22, 0.55, 1.2),
        (0.24, 0.9, 0.9),
        (0.34, 0.9, 0.8),
    )[severity - 1]
    drops = _blur(_layer(images, BASE, generator), sigma * _scale(images))
    least = drops.flatten(1).quantile(1 - wet, dim=1)[:, None, None, None]
    edge = (drops.flatten(1).amax(1)[:, None, None, None] - least).clamp_min(1e-6)
    if severity <= 3:  # water: pale turquoise, thicker in the middle of a drop
        colour = torch.tensor([175, 238, 238]).to(images).view(1, 3, 1, 1) / 255
        thick = ((drops - least) / edge).clamp(0, 1).sqrt()
        return torch.lerp(images, colour.expand_as(images), strength * thick)
    colour = torch.tensor([63, 42, 20]).to(images).view(1, 3, 1, 1) / 255
    mud = _blur((drops > least).to(images), 0.4 * _scale(images))
    return torch.lerp(images, colour.expand_as(images), strength * mud)


# Digital ----------------------------------------------------------------------------------------


def _contrast(images: Tensor, severity: int, generator: Generator) -> Tensor:
    del generator
    kept = (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1]
    return torch.lerp(images.mean((2, 3), keepdim=True), images, kept)


def _elastic_transform(images: Tensor, severity: int, generator: Generator) -> Tensor:
    # Lean of the whole picture, mean wander of a pixel, and how far neighbours wander together.
    lean, wander, together = (
        (0.01, 0.6, 4.0),
        (0.02, 1.0, 4.0),
        (0.03, 1.4, 3.5),
        (0.04, 1.8, 3.0),
        (0.05, 2.3, 3.0),
    )[severity - 1]
    batch = len(images)
    tilt = (_uniform((batch, 2, 3), generator) * 2 - 1).to(images) * lean
    grid = _grid(torch.eye(2, 3).to(images) + tilt, images)
    both = torch.cat([_layer(images, BASE, generator) for _ in range(2)], 1)
    field = _blur(both, together * _scale(images))
    field = field / field.flatten(1).std(1)[:, None, None, None].clamp_min(1e-6)
    return _sample(images, grid + field.permute(0, 2, 3, 1) * wander * 2 / BASE)


def _pixelate(images: Tensor, severity: int, generator: Generator) -> Tensor:
    del generator
    kept = (0.9, 0.8, 0.7, 0.6, 0.5)[severity - 1] / _scale(images)
    height, width = images.shape[2:]
    small = max(1, int(height * kept)), max(1, int(width * kept))
    shrunk = interpolate(images, small, mode="bilinear", align_corners=False, antialias=True)
    return interpolate(shrunk, (height, width), mode="nearest-exact")


def _jpeg_compression(images: Tensor, severity: int, generator: Generator) -> Tensor:
    del generator
    quality = (65, 58, 50, 40, 25)[severity - 1]
    pixels = (images.clamp(0, 1) * 255).round().to("cpu", torch.uint8).permute(0, 2, 3, 1).numpy()
    decoded = []
    for picture in pixels:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality)
        with Image.open(file, formats=("JPEG",)) as opened:
            decoded.append(np.array(opened))
    return torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).to(images) / 255


def _saturate(images: Tensor, severity: int, generator: Generator) -> Tensor:
    del generator
    factor, more = ((2, 0), (0.3, 0), (0.1, 0), (5, 0.1), (30, 0.2))[severity - 1]
    # The saturation of HSV, hue and value kept. Grey has no hue and stays grey.
    value = images.amax(1, keepdim=True)
    below = value - images
    saturation = below.amax(1, keepdim=True) / value.clamp_min(1e-6)
    wanted = (saturation * factor + more).clamp(0, 1)
    return value - below * wanted / saturation.clamp_min(1e-6)


CORRUPTIONS = {
    "gaussian_noise": Corruption("noise", "Gaussian noise, σ 0.04 to 0.18", _gaussian_noise),
    "shot_noise": Corruption("noise", "photons counted, 250 to 15 for white", _shot_noise),
    "impulse_noise": Corruption("noise", "1 to 14 % of the values black or white", _impulse_noise),
    "speckle_noise": Corruption("noise", "noise times brightness, σ 0.15 to 0.35", _speckle_noise),
    "defocus_blur": Corruption("blur", "out of focus, radius 0.7 to 3 px", _defocus_blur),
    "glass_blur": Corruption(
        "blur", "through frosted glass, pixels 0.35 to 1.2 px off", _glass_blur
    ),
    "motion_blur": Corruption("blur", "camera moved, σ 1 to 3 px", _motion_blur),
    "zoom_blur": Corruption("blur", "camera moved forward, up to 5 to 25 %", _zoom_blur),
    "gaussian_blur": Corruption("blur", "soft, σ 0.5 to 1.5 px", _gaussian_blur),
    "snow": Corruption("weather", "falling snow, ever denser", _snow),
    "frost": Corruption("weather", "ice on the window, drawn, 20 to 60 %", _frost),
    "fog": Corruption("weather", "fog, 0.4 to 2 times white", _fog),
    "brightness": Corruption("weather", "value of HSV raised by 0.1 to 0.5", _brightness),
    "spatter": Corruption("weather", "water on 8 to 22 %, then mud on 24 to 34 %", _spatter),
    "contrast": Corruption("digital", "0.4 to 0.05 of the contrast kept", _contrast),
    "elastic_transform": Corruption("digital", "stretched by 0.6 to 2.3 px", _elastic_transform),
    "pixelate": Corruption("digital", "reduced to 0.9 to 0.5 of 64 px", _pixelate),
    "jpeg_compression": Corruption("digital", "JPEG of quality 65 to 25", _jpeg_compression),
    "saturate": Corruption("digital", "saturation × 2, 0.3, 0.1, 5, 30", _saturate),
}
"""The 19 of CIFAR-C by name, in the order of its paper; lengths in words are at 64 px."""


# What they are made of --------------------------------------------------------------------------


def _scale(images: Tensor) -> float:
    return max(1.0, min(images.shape[2:]) / BASE)


def _normal(images: Tensor, generator: Generator) -> Tensor:
    return torch.randn(images.shape, generator=generator, device=generator.device).to(images)


def _uniform(shape: tuple[int, ...], generator: Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


def _grey(images: Tensor) -> Tensor:
    weight = torch.tensor([0.299, 0.587, 0.114]).to(images).view(1, 3, 1, 1)
    return (images * weight).sum(1, keepdim=True)


def _blur(images: Tensor, sigma: float) -> Tensor:
    """Blur by a Gaussian cut at 4σ, edges reflected; below σ = 0.2 nothing would change."""
    reach = min(math.ceil(4 * sigma), min(images.shape[2:]) - 1)
    if sigma < 0.2:
        return images
    flat = saliency.gaussian_blur(images.flatten(0, 1), 2 * reach + 1, sigma)
    return flat.view_as(images)


def _disk(radius: float) -> Tensor:
    """A filled circle, (k, k) and summing to 1, each pixel by the share that it covers."""
    half, fine = math.ceil(radius), 9
    place = (torch.arange((2 * half + 1) * fine) + 0.5) / fine - half - 0.5
    inside = (place[:, None].square() + place.square() <= radius**2).float()
    covered = inside.unfold(0, fine, fine).unfold(1, fine, fine).mean((2, 3))
    return covered / covered.sum()


def _grid(theta: Tensor, images: Tensor) -> Tensor:
    """Where each pixel looks, x and y in [−1, 1]; theta (b, 2, 3) is an affine map."""
    height, width = images.shape[2:]
    y = ((torch.arange(height) + 0.5) * 2 / height - 1).to(images)[:, None].expand(height, width)
    x = ((torch.arange(width) + 0.5) * 2 / width - 1).to(images).expand(height, width)
    return torch.einsum("bij,hwj->bhwi", theta, torch.stack((x, y, torch.ones_like(x)), -1))


def _sample(images: Tensor, grid: Tensor) -> Tensor:
    return grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _smear(images: Tensor, reach: float, sigma: float, angle: Tensor) -> Tensor:
    """Draw pictures out to one side, ever fainter, along an angle (b,) in radians."""
    scale = _scale(images)
    pixels = round(reach * scale)
    bell = torch.exp(-0.5 * (torch.arange(pixels + 1) / (sigma * scale)) ** 2)
    weight = (bell / bell.sum()).tolist()
    size = torch.tensor([images.shape[3], images.shape[2]])
    step = (2 * torch.stack((angle.cos(), angle.sin()), 1).cpu() / size).to(images)
    grid = _grid(torch.eye(2, 3).to(images).expand(len(images), 2, 3), images)
    total = weight[0] * images
    for distance in range(1, pixels + 1):
        shifted = _sample(images, grid + distance * step[:, None, None])
        total = total + weight[distance] * shifted
    return total


def _layer(images: Tensor, side: float, generator: Generator) -> Tensor:
    """Normal noise (b, 1, h, w) whose grains are those of a picture of ``side`` pixels."""
    batch, _, height, width = images.shape
    side = min(side, height, width)
    grains = round(side * height / min(height, width)), round(side * width / min(height, width))
    drawn = torch.randn((batch, 1, *grains), generator=generator, device=generator.device)
    if grains == (height, width):
        return drawn.to(images)
    return interpolate(drawn, (height, width), mode="bilinear", align_corners=False).to(images)


def _clouds(images: Tensor, decay: float, generator: Generator) -> Tensor:
    """Smooth noise from 0 to 1, (b, 1, h, w): each octave finer and ``decay`` times weaker."""
    octaves = [_layer(images, side, generator) for side in (2, 4, 8, 16, 32, 64)]
    total = octaves[0]
    for power, octave in enumerate(octaves[1:], 1):
        total = total + octave / decay**power
    low, high = total.amin((2, 3), keepdim=True), total.amax((2, 3), keepdim=True)
    return (total - low) / (high - low).clamp_min(1e-6)
