"""Turn arrays into pictures. numpy in, encoded bytes or uint8 RGB out."""

from functools import cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from plotly.colors import get_colorscale, sample_colorscale, unlabel_rgb

A, B, HALF = (0, 114, 178), (213, 94, 0), (232, 234, 235)

Floats = NDArray[np.float32]
Rgb = NDArray[np.uint8]


@cache
def palette(name: str) -> Rgb:
    """Return a colour scale as 256 RGB rows."""
    colours = sample_colorscale(get_colorscale(name), np.linspace(0, 1, 256).tolist())
    return np.array([unlabel_rgb(colour) for colour in colours]).round().astype(np.uint8)


def to_rgb(image: Floats) -> Rgb:
    """Turn (3, h, w) in [0, 1] into uint8 (h, w, 3)."""
    return (np.moveaxis(image, 0, -1).clip(0, 1) * 255).round().astype(np.uint8)


def heat(values: Floats, peak: float, scale: str = "magma") -> Rgb:
    """Colour values between 0 and peak."""
    index = (values / max(peak, 1e-12)).clip(0, 1) * 255
    return palette(scale)[index.round().astype(np.uint8)]


def mask_colours(share: Floats) -> Rgb:
    """Colour shares of B, diverging about ½: A blue, B orange."""
    ends = np.where(share[..., None] < 0.5, A, B)
    weight = np.abs(share[..., None] - 0.5) * 2
    return (ends * weight + np.array(HALF) * (1 - weight)).round().astype(np.uint8)


def enlarge(pixels: Rgb, size: int) -> Rgb:
    """Repeat pixels so that blocks stay sharp."""
    return pixels.repeat(size // len(pixels), 0).repeat(size // len(pixels), 1)


def to_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode losslessly; level 1, as speed matters more than size on the way to the browser."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
