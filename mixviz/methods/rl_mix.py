"""RL-Mix: R-Mix with percentiles that a learned policy chose (Luu et al. 2022, Section 5.2).

Choosing them, by a policy or by search, is the caller's: they come with the pair.
"""

from dataclasses import dataclass

import torch

from mixviz.core.draws import draw_lam
from mixviz.core.types import Pair
from mixviz.methods import r_mix
from mixviz.methods.base import Lam, Law, Method, read
from mixviz.methods.r_mix import Patches, RMixParams, RMixTrace
from mixviz.spec import Params


@dataclass(frozen=True)
class RLMixParams(Params):
    """λ is the share of image 1. The agent of the paper sees 8×8 patches."""

    lam: Lam = 0.5
    num_patches: Patches = 8


def mix(pair: Pair, params: RLMixParams) -> RMixTrace:
    """Mix as R-Mix does (eq. 6, 7), with the pair's own percentiles.

    Raises:
        ValueError: as R-Mix does, and when a percentile is missing, not finite or outside [0, 1].
    """
    q0, q1 = read(pair, "q0", "q1")
    return r_mix.mix(pair, RMixParams(params.lam, params.num_patches, q0, q1))


def draw(rng: torch.Generator, items: int, alpha: float) -> RLMixParams:
    """Draw λ for each item; the patches are the agent's."""
    return RLMixParams(draw_lam(alpha, items, rng))


METHOD = Method(
    slug="rl_mix",
    title="RL-Mix",
    summary="R-Mix with percentiles chosen for the pair instead of drawn.",
    paper="https://arxiv.org/abs/2212.04875",
    contract="recomputed",
    needs=("s0", "s1", "q0", "q1"),
    laws=frozenset(
        {Law.WEIGHTS_ARE_MASK_MEANS, Law.SELF_MIX, Law.MIRROR, Law.ALL_TOP_IS_INPUT_MIXUP}
    ),
    params=RLMixParams,
    mix=mix,
    draw=draw,
)
