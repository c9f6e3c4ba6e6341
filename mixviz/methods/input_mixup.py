"""Input Mixup: blend everywhere by the same share (Zhang et al. 2018, arXiv:1710.09412)."""

from dataclasses import dataclass

import torch

from mixviz.core.blocks import check_finite
from mixviz.core.draws import draw_lam
from mixviz.core.types import Pair
from mixviz.methods.base import Lam, Law, Method, MixTrace, blend
from mixviz.spec import Params


@dataclass(frozen=True)
class InputMixupParams(Params):
    """λ is the share of image 1; the paper's own λ is the share of image 0."""

    lam: Lam = 0.5


def mix(pair: Pair, params: InputMixupParams) -> MixTrace:
    """Return (1−λ)·x0 + λ·x1, and the same for the labels.

    Raises:
        ValueError: when an image is not finite.
    """
    check_finite("x0", pair.x0)
    check_finite("x1", pair.x1)
    lam = torch.as_tensor(params.lam, dtype=torch.float64).to(pair.x0).reshape(-1, 1, 1)
    mask = lam.expand(pair.x0.shape[0], *pair.x0.shape[2:])
    return blend(MixTrace, (pair.x0, pair.x1), mask)


def draw(rng: torch.Generator, items: int, alpha: float) -> InputMixupParams:
    """Draw λ for each item."""
    return InputMixupParams(draw_lam(alpha, items, rng))


METHOD = Method(
    slug="input_mixup",
    title="Input Mixup",
    summary="Both pictures everywhere, as two slides laid over each other.",
    paper="https://arxiv.org/abs/1710.09412",
    contract="exact",
    needs=(),
    laws=frozenset({Law.WEIGHTS_ARE_MASK_MEANS, Law.SELF_MIX, Law.ENDPOINTS, Law.MIRROR}),
    params=InputMixupParams,
    mix=mix,
    draw=draw,
)
