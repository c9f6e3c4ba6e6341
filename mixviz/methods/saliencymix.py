"""SaliencyMix: CutMix around the most salient pixel of image 1 (Uddin et al. 2021)."""

from dataclasses import dataclass

import torch

from mixviz.core.adversarial import per_item
from mixviz.core.blocks import is_flat
from mixviz.core.boxes import place_boxes
from mixviz.core.draws import draw_lam
from mixviz.core.types import Pair
from mixviz.methods.base import Lam, Law, Method, flagged, read
from mixviz.methods.cutmix import BoxTrace, paste
from mixviz.spec import Params


@dataclass(frozen=True)
class SaliencyMixParams(Params):
    """λ is the share of the box before it is clipped; where it lies, the saliency decides."""

    lam: Lam = 0.5


def mix(pair: Pair, params: SaliencyMixParams) -> BoxTrace:
    """Lay the box around the peak of s1 over image 0, at the same place.

    The first of several peaks counts. A flat map has none: the box is put in the middle.

    Raises:
        ValueError: when an image or the saliency of image 1 is not finite.
    """
    x0, _, s1 = read(pair, "x0", "x1", "s1")
    batch, _, height, width = x0.shape
    peak = s1.flatten(1).argmax(1).cpu()
    flat = is_flat(s1)
    peak[flat] = height // 2 * width + width // 2
    side = per_item(params.lam, batch).sqrt()
    box = place_boxes(side, peak % width, peak // width, height, width)
    return paste(pair, box, flagged(flat_saliency_1=flat))


def draw(rng: torch.Generator, items: int, alpha: float) -> SaliencyMixParams:
    """Draw λ for each item."""
    return SaliencyMixParams(draw_lam(alpha, items, rng))


METHOD = Method(
    slug="saliencymix",
    title="SaliencyMix",
    summary="A box around the most salient point of B laid over A.",
    paper="https://arxiv.org/abs/2006.01791",
    contract="recomputed",
    needs=("s1",),
    laws=frozenset({Law.WEIGHTS_ARE_MASK_MEANS, Law.SELF_MIX}),
    params=SaliencyMixParams,
    mix=mix,
    draw=draw,
)
