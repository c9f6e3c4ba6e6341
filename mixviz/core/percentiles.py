"""RL-Mix's choice of percentiles by exhaustive search (Luu et al., AAAI 2023, Section 5.2).

The paper lets an agent choose a percentile per image and rewards it with the cosine of the
saliency maps of the image and of the mix. K percentiles per image leave K² choices for a pair:
few enough to try them all.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mixviz.core.blocks import check_finite, pool_to_blocks
from mixviz.core.types import Images, Maps

CHOICES = 10
# Mixes whose saliency is asked for at once.
CHUNK = 32
# Rewards that differ by less are equal: a classifier rounds differently in another batch.
ROUNDING = 1e-6

Quantiles = Float[Tensor, " b"]


@dataclass(frozen=True, eq=False)
class PercentileChoice:
    """The percentiles of highest reward and all that were tried.

    Attributes:
        q0, q1: the percentile chosen for either image.
        percentiles: what could be chosen.
        rewards: mean of both images' cosines; indices are image, choice for image 0, for image 1.
        cosines: the same for image 0 and image 1 apart, along the second axis.
    """

    q0: Float64[Tensor, " b"]
    q1: Float64[Tensor, " b"]
    percentiles: Float64[Tensor, " choices"]
    rewards: Float64[Tensor, "b choices choices"]
    cosines: Float64[Tensor, "b 2 choices choices"]


def percentile_choices() -> Float64[Tensor, " choices"]:
    """Return the ten percentiles of the paper, evenly spaced from 0 to 0.99."""
    return torch.linspace(0, 0.99, CHOICES, dtype=torch.float64)


def percentile_reward(
    saliency: Float[Tensor, "b h w"], mixed: Float[Tensor, "b h w"], grid: int = 8
) -> Float64[Tensor, " b"]:
    """Return the cosine of two saliency maps, both pooled to grid×grid cells first.

    A map that is zero everywhere counts as uniform.

    Raises:
        ValueError: when a map is NaN, infinite or negative somewhere, or the grid does not divide
            it.
    """
    return _cosine(
        pool_to_blocks("saliency", saliency, grid), pool_to_blocks("saliency of mix", mixed, grid)
    )


def search_percentiles(
    saliency_of: Callable[[Images], Maps],
    s0: Float[Tensor, "b h w"],
    s1: Float[Tensor, "b h w"],
    mix: Callable[[Quantiles, Quantiles], Images],
    grid: int = 8,
    on_progress: Callable[[int, int], None] | None = None,
) -> PercentileChoice:
    """Try every pair of percentiles and keep the one of highest reward.

    The reward of a pair of images is the mean of their own, the cosine of the pooled saliency of
    the image and of the mix; every image of the batch has its own choice. The lowest percentiles
    win ties, those of image 0 first.

    Args:
        saliency_of: saliency of mixes, as s0 and s1 were computed; several mixes of the whole
            batch are asked for at once, one batch after the other.
        s0: saliency of image 0 itself.
        s1: saliency of image 1 itself.
        mix: the mixes at given percentiles, one pair (q0, q1) for each item of the batch.
        grid: cells per side of the maps compared; 8 in the paper.
        on_progress: called with the choices done and their number before the first and after
            every chunk; what it raises ends the search.

    Raises:
        ValueError: when a map or a mix is not finite, a map is negative, or the grid does not
            divide the maps.
    """
    own = torch.stack((pool_to_blocks("s0", s0, grid), pool_to_blocks("s1", s1, grid)), 1)
    batch = len(s0)
    percentiles = percentile_choices()
    tries = torch.cartesian_prod(percentiles, percentiles)
    cosines = torch.empty((batch, 2, len(tries)), dtype=torch.float64)
    report = on_progress or (lambda done, total: None)
    report(0, len(tries))
    step = max(1, CHUNK // max(batch, 1))
    for start in range(0, len(tries), step):
        some = tries[start : start + step]
        mixed = torch.cat([mix(q0.expand(batch), q1.expand(batch)) for q0, q1 in some])
        check_finite("mix", mixed)
        blocks = pool_to_blocks("saliency of mix", saliency_of(mixed), grid)
        of_mix = blocks.view(len(some), batch, 1, grid, grid)
        cosines[:, :, start : start + len(some)] = _cosine(own[None], of_mix).permute(1, 2, 0)
        report(start + len(some), len(tries))
    rewards = cosines.mean(1)
    best = (rewards >= rewards.amax(1, keepdim=True) - ROUNDING).int().argmax(1)
    square = (CHOICES, CHOICES)
    return PercentileChoice(
        q0=tries[best, 0],
        q1=tries[best, 1],
        percentiles=percentiles,
        rewards=rewards.view(batch, *square),
        cosines=cosines.view(batch, 2, *square),
    )


def _cosine(
    one: Float64[Tensor, "*#b n n"], other: Float64[Tensor, "*#b n n"]
) -> Float64[Tensor, "*b"]:
    inner = (one * other).sum((-2, -1))
    return inner / (one.square().sum((-2, -1)) * other.square().sum((-2, -1))).sqrt()
