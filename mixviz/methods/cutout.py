"""Cutout: a box of the picture hidden (DeVries and Taylor 2017, arXiv:1708.04552)."""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mixviz.core.adversarial import per_item
from mixviz.core.boxes import inside, pixel_at, place_boxes
from mixviz.core.draws import draw_places
from mixviz.core.types import Pair
from mixviz.methods.base import CentreX, CentreY, Method, MixTrace, alone, only_image_0, read
from mixviz.spec import Knob, Panel, Params


@dataclass(frozen=True)
class CutoutParams(Params):
    """The box; image 1 and λ are not used."""

    size: Annotated[
        float | Tensor,
        Knob(
            "L",
            "side of the box",
            tuple(step / 20 for step in range(21)),
            "Share of the picture's side. The paper hides 16 of 32 pixels on CIFAR-10.",
            (0.0, 1.0),
            paper=0.5,
        ),
    ] = 0.5
    centre_x: CentreX = 0.5
    centre_y: CentreY = 0.5


@dataclass(frozen=True, eq=False, kw_only=True)
class CutoutTrace(MixTrace):
    """The picture with its hole.

    Attributes:
        box: left, top, right, bottom in pixels; right and bottom are the first ones outside.
        hidden: 1 where the picture is hidden.
        colour: the mean of the picture, which fills the box.
    """

    hidden: Annotated[Float[Tensor, "b h w"], Panel("heatmap", "Hidden", "What was cut out of A")]
    box: Int[Tensor, "b 4"]
    colour: Float[Tensor, "b 3"]


def mix(pair: Pair, params: CutoutParams) -> CutoutTrace:
    """Fill a box of image 0 with its mean colour; the label stays that of image 0.

    Raises:
        ValueError: when image 0 is not finite.
    """
    (x0,) = read(pair, "x0")
    batch, _, height, width = x0.shape
    box = place_boxes(
        per_item(params.size, batch),
        pixel_at(per_item(params.centre_x, batch), width),
        pixel_at(per_item(params.centre_y, batch), height),
        height,
        width,
    ).to(x0.device)
    hidden = inside(box, height, width)
    colour = x0.mean((2, 3))
    mixed = torch.where(hidden[:, None], colour[:, :, None, None], x0)
    return alone(CutoutTrace, mixed, hidden=hidden.to(x0), box=box, colour=colour)


def seen(
    trace: CutoutTrace, map_0: Float[Tensor, "b h w"], map_1: Float[Tensor, "b h w"]
) -> tuple[Float[Tensor, "b h w"], Float[Tensor, "b h w"]]:
    """Return image 0 without what is hidden, and nothing of image 1."""
    return only_image_0(trace, map_0 * (1 - trace.hidden), map_1)


def draw(rng: torch.Generator, items: int, alpha: float) -> CutoutParams:
    """Draw a centre for each item; every pixel is as likely."""
    centre_x, centre_y = draw_places(2, items, rng)
    return CutoutParams(centre_x=centre_x, centre_y=centre_y)


METHOD = Method(
    slug="cutout",
    title="Cutout",
    summary="A box of A hidden behind its mean colour; B takes no part.",
    paper="https://arxiv.org/abs/1708.04552",
    contract="single",
    needs=(),
    laws=frozenset(),
    params=CutoutParams,
    mix=mix,
    draw=draw,
    seen=seen,
)
