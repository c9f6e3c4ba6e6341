"""A decoded picture, and the square of it that the methods work on."""

import hashlib
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_KEPT_SIDE = 1024
"""Longest side kept of any picture, in pixels; larger ones are scaled down once, on arrival."""

WORKING_SIZES = (224, 128, 64, 32)
"""Sides of the square crops that methods work on, in pixels; the first is the default."""

MAX_ZOOM = 8.0
"""How far `square_crop` may shrink the square it takes."""


@dataclass(frozen=True)
class Picture:
    """A decoded picture; two pictures are equal when all but their arrays are.

    Attributes:
        digest: First 16 hexadecimal digits of the SHA-256 over size and pixels. The same pixels
            have the same digest whatever file they came in.
        name: What to call it on screen; for an upload the cleaned file name.
        credit: Author and licence of a bundled photograph, None for an upload.
        kind: Where it came from.
        pixels: Read-only RGB, uint8 of shape (height, width, 3).
    """

    digest: str
    name: str
    credit: str | None
    kind: Literal["sample", "upload"]
    pixels: NDArray[np.uint8] = field(repr=False, compare=False)

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.pixels.shape[1]

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.pixels.shape[0]


def shrink(image: Image.Image) -> Image.Image:
    """Scale an image down, antialiased, until no side is longer than `MAX_KEPT_SIDE`."""
    long = max(image.size)
    if long <= MAX_KEPT_SIDE:
        return image
    size = [max(1, round(side * MAX_KEPT_SIDE / long)) for side in image.size]
    return image.resize((size[0], size[1]), Image.Resampling.LANCZOS)


def picture_from(
    image: Image.Image, name: str, credit: str | None, kind: Literal["sample", "upload"]
) -> Picture:
    """Freeze an RGB image into a `Picture`."""
    pixels = np.array(image, dtype=np.uint8)
    pixels.setflags(write=False)
    # The size belongs to the identity: a flat 32 × 64 and a flat 64 × 32 have the same bytes.
    digest = hashlib.sha256(f"{image.width}x{image.height}:".encode() + pixels.tobytes())
    return Picture(digest.hexdigest()[:16], name, credit, kind, pixels)


def square_crop(
    picture: Picture,
    size: int = WORKING_SIZES[0],
    centre_x: float = 0.5,
    centre_y: float = 0.5,
    zoom: float = 1.0,
) -> NDArray[np.uint8]:
    """Cut a square out of a picture and scale it, antialiased, to a working size.

    Args:
        picture: The picture to cut.
        size: Side of the result in pixels, one of `WORKING_SIZES`.
        centre_x: Where the square stands in its free play from left (0) to right (1).
        centre_y: Where the square stands in its free play from top (0) to bottom (1).
        zoom: 1 takes the largest square that fits; larger values divide its side.

    Returns:
        RGB, uint8 of shape (size, size, 3).

    Raises:
        ValueError: If an argument is out of its range.
    """
    if size not in WORKING_SIZES:
        allowed = ", ".join(map(str, WORKING_SIZES))
        raise ValueError(f"square_crop: size is {size}; allowed are {allowed}.")
    for name, value in (("centre_x", centre_x), ("centre_y", centre_y)):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"square_crop: {name} is {value}; allowed is 0 to 1.")
    if not 1.0 <= zoom <= MAX_ZOOM:
        raise ValueError(f"square_crop: zoom is {zoom}; allowed is 1 to {MAX_ZOOM:g}.")
    # Whole pixels, so that a square that is already of the right size is copied unchanged.
    side = max(1, round(min(picture.width, picture.height) / zoom))
    left = round(centre_x * (picture.width - side))
    top = round(centre_y * (picture.height - side))
    square = Image.fromarray(picture.pixels[top : top + side, left : left + side])
    return np.array(square.resize((size, size), Image.Resampling.LANCZOS), dtype=np.uint8)
