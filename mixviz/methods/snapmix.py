"""SnapMix: a box of image 1 fitted into a box of image 0 (Huang et al. 2021, arXiv:2012.04846).

The label weights say how much of each picture's class activation is left to be seen, so they
need not sum to 1.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import interpolate

from mixviz.core.adversarial import per_item
from mixviz.core.blocks import is_flat, sum_to_one
from mixviz.core.boxes import areas, inside, pixel_at, place_boxes
from mixviz.core.draws import draw_lam, draw_places
from mixviz.core.types import Pair
from mixviz.methods.base import (
    LAM_STOPS,
    PLACE_STOPS,
    Method,
    MixTrace,
    blend,
    flagged,
    read,
)
from mixviz.spec import Knob, Panel, Params

UNIT = (0.0, 1.0)
Number = float | Tensor


@dataclass(frozen=True)
class SnapMixParams(Params):
    """One box in each picture, each with a size of its own."""

    lam_0: Annotated[
        Number, Knob("λ₀", "box in A", LAM_STOPS, "Share of A that is covered.", UNIT)
    ] = 0.5
    lam_1: Annotated[
        Number, Knob("λ₁", "box in B", LAM_STOPS, "Share of B that is cut out.", UNIT)
    ] = 0.5
    centre_x_0: Annotated[
        Number, Knob("x₀", "centre in A, across", PLACE_STOPS, "0 is the left, 1 the right.", UNIT)
    ] = 0.5
    centre_y_0: Annotated[
        Number, Knob("y₀", "centre in A, down", PLACE_STOPS, "0 is the top, 1 the bottom.", UNIT)
    ] = 0.5
    centre_x_1: Annotated[
        Number, Knob("x₁", "centre in B, across", PLACE_STOPS, "0 is the left, 1 the right.", UNIT)
    ] = 0.5
    centre_y_1: Annotated[
        Number, Knob("y₁", "centre in B, down", PLACE_STOPS, "0 is the top, 1 the bottom.", UNIT)
    ] = 0.5


@dataclass(frozen=True, eq=False, kw_only=True)
class SnapMixTrace(MixTrace):
    """The mix, both boxes and the maps that the weights are read from.

    Attributes:
        box_0, box_1: left, top, right, bottom in pixels; right and bottom are the first outside.
        inside_0, inside_1: 1 inside the boxes.
        cam_0, cam_1: class activation, its minimum subtracted; sums to 1.
        same_label: where both pictures have one label, whose weight is then the sum of both.
    """

    cam_0: Annotated[Float[Tensor, "b h w"], Panel("heatmap", "Activation of A", "Sums to 1")]
    cam_1: Annotated[Float[Tensor, "b h w"], Panel("heatmap", "Activation of B", "Sums to 1")]
    inside_0: Annotated[Float[Tensor, "b h w"], Panel("mask", "Box in A", "What is covered")]
    inside_1: Annotated[Float[Tensor, "b h w"], Panel("mask", "Box in B", "What is cut out")]
    box_0: Int[Tensor, "b 4"]
    box_1: Int[Tensor, "b 4"]
    same_label: Bool[Tensor, " b"]


def _fit(
    images: Float[Tensor, "b 3 h w"],
    over: Float[Tensor, "b 3 h w"],
    box_1: Int[Tensor, "b 4"],
    box_0: Int[Tensor, "b 4"],
) -> Float[Tensor, "b 3 h w"]:
    """Resize box 1 of `images` into box 0 of `over`; empty boxes leave `over` as it is."""
    fitted = over.clone()
    for item, (ours, theirs) in enumerate(zip(box_1.tolist(), box_0.tolist(), strict=True)):
        (x, y, right, bottom), (left, top, end, foot) = ours, theirs
        if right > x and bottom > y and end > left and foot > top:
            fitted[item, :, top:foot, left:end] = interpolate(
                images[item : item + 1, :, y:bottom, x:right],
                size=(foot - top, end - left),
                mode="bilinear",
                align_corners=False,
                antialias=True,
            )[0]
    return fitted


def _activation(maps: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    maps = maps.double()
    return sum_to_one(maps - maps.amin((1, 2), keepdim=True))


def mix(pair: Pair, params: SnapMixParams) -> SnapMixTrace:
    """Fit a box of image 1 into a box of image 0; weights are the activation left to be seen.

    ρ₀ = 1 − Σ CAM₀ in box 0 and ρ₁ = Σ CAM₁ in box 1. They stay one per image: a label vector adds
    each to the entry of its label, so that equal labels add up. Where either box is empty nothing
    is pasted, both boxes count as empty, and the weights are 1 and 0.

    Raises:
        ValueError: when an image, a class activation map or a label is missing or not finite.
    """
    x0, x1, c0, c1, y0, y1 = read(pair, "x0", "x1", "c0", "c1", "y0", "y1")
    batch, _, height, width = x0.shape
    box_0, box_1 = (
        place_boxes(
            per_item(lam, batch).sqrt(),
            pixel_at(per_item(centre_x, batch), width),
            pixel_at(per_item(centre_y, batch), height),
            height,
            width,
        )
        for lam, centre_x, centre_y in (
            (params.lam_0, params.centre_x_0, params.centre_y_0),
            (params.lam_1, params.centre_x_1, params.centre_y_1),
        )
    )
    empty = (areas(box_0) == 0) | (areas(box_1) == 0)
    box_0, box_1 = (box.masked_fill(empty[:, None], 0).to(x0.device) for box in (box_0, box_1))
    inside_0, inside_1 = inside(box_0, height, width), inside(box_1, height, width)
    cam_0, cam_1 = _activation(c0), _activation(c1)
    lost, shown = (cam_0 * inside_0).sum((1, 2)), (cam_1 * inside_1).sum((1, 2))
    return blend(
        SnapMixTrace,
        (x0, _fit(x1, x0, box_1, box_0)),
        inside_0.to(x0),
        torch.stack((1 - lost, shown), 1).clamp(0, 1).to(x0),
        flags=flagged(
            flat_activation_0=is_flat(c0),
            flat_activation_1=is_flat(c1),
            empty_box=empty.nonzero().flatten().tolist(),
        ),
        cam_0=cam_0,
        cam_1=cam_1,
        inside_0=inside_0.to(x0),
        inside_1=inside_1.to(x0),
        box_0=box_0,
        box_1=box_1,
        same_label=y0 == y1,
    )


def seen(
    trace: SnapMixTrace, map_0: Float[Tensor, "b h w"], map_1: Float[Tensor, "b h w"]
) -> tuple[Float[Tensor, "b h w"], Float[Tensor, "b h w"]]:
    """Return image 0 outside its box and image 1 inside its own, fitted but none of it lost."""
    return map_0 * (1 - trace.inside_0), map_1 * trace.inside_1


def draw(rng: torch.Generator, items: int, alpha: float) -> SnapMixParams:
    """Draw λ and a centre for each box of each item."""
    lam_0, lam_1 = draw_lam(alpha, items, rng), draw_lam(alpha, items, rng)
    return SnapMixParams(lam_0, lam_1, *draw_places(4, items, rng))


METHOD = Method(
    slug="snapmix",
    title="SnapMix",
    summary="A box of B fitted into a box of A; labels by the activation left to be seen.",
    paper="https://arxiv.org/abs/2012.04846",
    contract="recomputed",
    needs=("c0", "c1", "y0", "y1"),
    laws=frozenset(),
    params=SnapMixParams,
    mix=mix,
    draw=draw,
    seen=seen,
    alpha=5.0,
)
