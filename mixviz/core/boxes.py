"""Boxes cut from one picture and laid over another. A box is left, top, right, bottom in pixels."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def pixel_at(place: Float[Tensor, " b"], length: int) -> Int[Tensor, " b"]:
    """Return the pixel that holds a place in [0, 1] of a side; 1 itself is in the last pixel."""
    return (place * length).long().clamp_max(length - 1)


def place_boxes(
    side: Float[Tensor, " b"],
    centre_x: Int[Tensor, " b"],
    centre_y: Int[Tensor, " b"],
    height: int,
    width: int,
) -> Int[Tensor, "b 4"]:
    """Place boxes around pixels and clip them at the borders (CutMix, as torchvision rounds it).

    The half side is int(0.5·side·length), so the side is even and may fall short by a pixel.

    Args:
        side: share of the picture's side, √λ for a share λ of its area.
        centre_x: the pixel right of the middle of the box.
        centre_y: the pixel below it.
        height: of the picture.
        width: of the picture.

    Returns:
        left, top, right, bottom; right and bottom are the first pixels outside.
    """
    half_x, half_y = (0.5 * side * width).long(), (0.5 * side * height).long()
    return torch.stack(
        (
            (centre_x - half_x).clamp_min(0),
            (centre_y - half_y).clamp_min(0),
            (centre_x + half_x).clamp_max(width),
            (centre_y + half_y).clamp_max(height),
        ),
        1,
    )


def areas(boxes: Int[Tensor, "b 4"]) -> Int[Tensor, " b"]:
    """Return how many pixels each box holds."""
    left, top, right, bottom = boxes.unbind(1)
    return (right - left) * (bottom - top)


def inside(
    boxes: Int[Tensor, "b 4"], height: int, width: int
) -> Bool[Tensor, "b {height} {width}"]:
    """Say which pixels lie in the box."""
    left, top, right, bottom = boxes[:, :, None].unbind(1)
    column = torch.arange(width, device=boxes.device)
    row = torch.arange(height, device=boxes.device)
    across, down = (column >= left) & (column < right), (row >= top) & (row < bottom)
    return down[:, :, None] & across[:, None, :]
