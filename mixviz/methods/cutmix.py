"""CutMix: a box of image 1 laid over image 0 (Yun et al. 2019, arXiv:1905.04899).

λ is the share of image 1; the paper's own λ is the share of image 0.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from mixviz.core.adversarial import per_item
from mixviz.core.boxes import inside, pixel_at, place_boxes
from mixviz.core.draws import draw_lam, draw_places
from mixviz.core.types import Pair
from mixviz.methods.base import CentreX, CentreY, Lam, Law, Method, MixTrace, blend, read
from mixviz.spec import Params


@dataclass(frozen=True)
class CutMixParams(Params):
    """λ is the share of the box before it is clipped; the weights follow what is left of it."""

    lam: Lam = 0.5
    centre_x: CentreX = 0.5
    centre_y: CentreY = 0.5


@dataclass(frozen=True, eq=False, kw_only=True)
class BoxTrace(MixTrace):
    """The mix and the box that made it.

    Attributes:
        box: left, top, right, bottom in pixels; right and bottom are the first ones outside.
    """

    box: Int[Tensor, "b 4"]


def paste(pair: Pair, box: Int[Tensor, "b 4"], flags: dict[str, tuple[int, ...]]) -> BoxTrace:
    """Lay a box of image 1 over image 0, at the same place; the label follows its area."""
    box = box.to(pair.x0.device)
    mask = inside(box, *pair.x0.shape[2:]).to(pair.x0)
    return blend(BoxTrace, (pair.x0, pair.x1), mask, flags=flags, box=box)


def mix(pair: Pair, params: CutMixParams) -> BoxTrace:
    """Lay a box of image 1 over image 0; weights are recomputed from its clipped area.

    Raises:
        ValueError: when an image is missing or not finite.
    """
    x0, _ = read(pair, "x0", "x1")
    batch, _, height, width = x0.shape
    box = place_boxes(
        per_item(params.lam, batch).sqrt(),
        pixel_at(per_item(params.centre_x, batch), width),
        pixel_at(per_item(params.centre_y, batch), height),
        height,
        width,
    )
    return paste(pair, box, {})


def draw(rng: torch.Generator, items: int, alpha: float) -> CutMixParams:
    """Draw λ and a centre for each item; every pixel is as likely."""
    lam = draw_lam(alpha, items, rng)
    return CutMixParams(lam, *draw_places(2, items, rng))


METHOD = Method(
    slug="cutmix",
    title="CutMix",
    summary="A box of B laid over A, anywhere.",
    paper="https://arxiv.org/abs/1905.04899",
    contract="recomputed",
    needs=(),
    laws=frozenset({Law.WEIGHTS_ARE_MASK_MEANS, Law.SELF_MIX}),
    params=CutMixParams,
    mix=mix,
    draw=draw,
)
