"""R-Mix: blend where two pictures agree on what matters, else show the one that matters there.

Luu et al. 2022, arXiv:2212.04875. λ is the share of image 1; the paper's own λ is the share of
image 0.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mixviz.core.adversarial import per_item
from mixviz.core.blocks import check_finite, is_flat, sum_to_one
from mixviz.core.draws import draw_lam, draw_one
from mixviz.core.types import Pair
from mixviz.methods.base import Lam, Law, Method, MixTrace, blend, flagged, read
from mixviz.spec import Choice, Knob, Panel, Params

Number = float | Tensor

# K = 10 values from 0 to 0.99, of which training draws one for each image (Section 3).
PERCENTILES = tuple(round(0.11 * step, 2) for step in range(10))
PATCHES = (2, 4)
# What a patch is to both pictures; the index is 2·(top of image 0) + (top of image 1).
CASES = ("least_least", "top_1", "top_0", "top_top")


@dataclass(frozen=True)
class Strategy:
    """One row of Table 12.

    Attributes:
        words: what it does with a patch.
        shares: share of image 1 in each of `CASES`; None stands for λ.
    """

    words: str
    shares: tuple[float | None, float | None, float | None, float | None]


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "1": Strategy("A where A is salient, B elsewhere", (1.0, 1.0, 0.0, 0.0)),
        "2": Strategy("A where both agree, B where they differ", (0.0, 1.0, 1.0, 0.0)),
        "3": Strategy(
            "R-Mix: blend where both agree, else the salient one", (None, 1.0, 0.0, None)
        ),
        "4": Strategy("blend where both agree, else the one not salient", (None, 0.0, 1.0, None)),
    }
)

Patches = Annotated[
    int,
    Knob(
        "p",
        "patches per side",
        (1, 2, 4, 8, 16, 32),
        "Saliency is compared on p×p patches; the paper draws 2 or 4.",
        (1.0, float("inf")),
        integer=True,
    ),
]


@dataclass(frozen=True)
class RMixParams(Params):
    """λ, the patches, and which share of them counts as least salient in each image."""

    lam: Lam = 0.5
    num_patches: Patches = 4
    q0: Annotated[
        Number,
        Knob(
            "q₀",
            "percentile of A",
            PERCENTILES,
            "Patches of A at or above this percentile are its top ones; 0 takes all.",
            (0.0, 1.0),
        ),
    ] = 0.55
    q1: Annotated[
        Number,
        Knob(
            "q₁",
            "percentile of B",
            PERCENTILES,
            "Patches of B at or above this percentile are its top ones; 0 takes all.",
            (0.0, 1.0),
        ),
    ] = 0.55
    strategy: Annotated[
        str,
        Choice(
            "strategy",
            STRATEGIES,
            "Table 12. " + "; ".join(f"{name}: {row.words}" for name, row in STRATEGIES.items()),
            advanced=False,
        ),
    ] = "3"


@dataclass(frozen=True, eq=False, kw_only=True)
class RMixTrace(MixTrace):
    """The mix and the patches that led to it, counted row by row.

    Attributes:
        z: share of image 1 per patch.
        cases: what each patch is to both images, an index into `CASES`.
        top_0, top_1: patches at or above the percentile of their image.
        blocks_0, blocks_1: saliency per patch; sums to 1.
        threshold_0, threshold_1: the saliency at the percentile.
        label: share of the patches in each of `CASES`; the shares sum to 1.
        shares: share of image 1 in a patch of each of `CASES`. Σ label·shares is the weight of
            image 1 (eq. 7).
    """

    z: Annotated[Float[Tensor, "b n n"], Panel("blocks", "Mask", "Share of B, per patch")]
    cases: Annotated[
        Int[Tensor, "b n n"], Panel("blocks", "Agreement", "0 neither, 1 B's, 2 A's, 3 both's top")
    ]
    top_0: Annotated[Bool[Tensor, "b n n"], Panel("blocks", "Top of A", "At or above q₀")]
    top_1: Annotated[Bool[Tensor, "b n n"], Panel("blocks", "Top of B", "At or above q₁")]
    blocks_0: Annotated[Float[Tensor, "b n n"], Panel("heatmap", "s(A)", "Saliency per patch")]
    blocks_1: Annotated[Float[Tensor, "b n n"], Panel("heatmap", "s(B)", "Saliency per patch")]
    threshold_0: Annotated[Float[Tensor, " b"], Panel("number", "Threshold of A", "At q₀")]
    threshold_1: Annotated[Float[Tensor, " b"], Panel("number", "Threshold of B", "At q₁")]
    label: dict[str, Float[Tensor, " b"]]
    shares: dict[str, Float[Tensor, " b"]]


@dataclass(frozen=True, eq=False)
class _Pooled:
    """Saliency per patch, which sums to 1, and whether all patches are equal in some item."""

    blocks: Float[Tensor, "b n n"]
    some_equal: bool


def pool(patches: int, **saliency: Float[Tensor, "b h w"]) -> list[_Pooled]:
    """Average maps over patches and make them sum to 1, where the maps live (eq. 3).

    Raises:
        ValueError: naming the map, when it is NaN, infinite or negative somewhere; and when the
            patches do not divide the picture.
    """
    sums = [_add_up(one, patches) for one in saliency.values()]
    ends = [(one.flatten(1).amin(1), one.flatten(1).amax(1)) for one in sums]
    # One answer of the device for all: NaN and infinity survive in the ends.
    facts = [(low.min(), high.max(), high.min(), (low == high).any()) for low, high in ends]
    told = torch.stack([torch.stack([one.double() for one in row]) for row in facts]).tolist()
    found = []
    for (name, values), blocks, (least, most, dimmest, equal) in zip(
        saliency.items(), sums, told, strict=True
    ):
        if not math.isfinite(least) or not math.isfinite(most):
            check_finite(name, values)
            raise ValueError(f"{name} is too large to be summed")
        if least < 0:
            raise ValueError(f"{name} must not be negative, got {values.min().item():.3g}")
        total = blocks.sum((1, 2), keepdim=True)
        shares = blocks / total if dimmest > 0 else sum_to_one(blocks)
        found.append(_Pooled(shares, bool(equal)))
    return found


def _add_up(saliency: Float[Tensor, "b h w"], patches: int) -> Float[Tensor, "b n n"]:
    batch, height, width = saliency.shape
    if height != width or height % patches:
        raise ValueError(
            f"num_patches = {patches} must divide a square picture, got {height}×{width} pixels"
        )
    side = height // patches
    # Rows first: whole lines of memory are added at once, and only few sums are widened.
    rows = saliency.detach().reshape(batch, patches, side, width).sum(2).double()
    return rows.view(batch, patches, patches, side).sum(3)


def quantile(blocks: Float[Tensor, "b n n"], q: float | Tensor) -> Float[Tensor, " b"]:
    """Return the value at percentile q of each map, linear between neighbours (eq. 4)."""
    ranked = blocks.flatten(1).sort(1).values
    last = ranked.shape[1] - 1
    place = per_item(q, len(ranked)).to(ranked.device) * last
    below = place.long()
    ends = ranked.gather(1, torch.stack((below, (below + 1).clamp_max(last)), 1))
    return torch.lerp(ends[:, 0], ends[:, 1], place - below)


def mix(pair: Pair, params: RMixParams) -> RMixTrace:
    """Mix patch by patch (eq. 6); the label follows the patches (eq. 7).

    Raises:
        ValueError: for NaN or infinite inputs, negative saliency, or patches that do not divide
            the picture.
    """
    x0, x1 = read(pair, "x0", "x1")
    batch, patches, size = x0.shape[0], params.num_patches, x0.shape[-1]
    pooled_0, pooled_1 = pool(patches, s0=pair.s0, s1=pair.s1)
    blocks_0, blocks_1 = pooled_0.blocks, pooled_1.blocks
    threshold_0, threshold_1 = quantile(blocks_0, params.q0), quantile(blocks_1, params.q1)
    top_0 = blocks_0 >= threshold_0[:, None, None]
    top_1 = blocks_1 >= threshold_1[:, None, None]
    cases = torch.add(top_1.long(), top_0, alpha=2)
    lam = per_item(params.lam, batch)
    strategy = STRATEGIES[params.strategy]
    columns = [lam if share is None else torch.full_like(lam, share) for share in strategy.shares]
    shares = torch.stack(columns, 1).to(x0)
    z = shares.gather(1, cases.flatten(1)).view_as(cases)
    side = size // patches
    tall = z[:, :, None, :, None].expand(batch, patches, side, patches, side)
    counted = (cases.flatten(1)[:, None] == torch.arange(4, device=cases.device)[:, None]).sum(2)
    found = counted.double() / patches**2
    share = (found * shares).sum(1)
    return blend(
        RMixTrace,
        (x0, x1),
        tall.reshape(batch, size, size),
        torch.stack((1 - share, share), 1).to(x0),
        # Only maps of equal patches can be flat, and they are rare.
        flags=flagged(
            flat_saliency_0=is_flat(pair.s0) if pooled_0.some_equal else (),
            flat_saliency_1=is_flat(pair.s1) if pooled_1.some_equal else (),
        ),
        z=z,
        cases=cases,
        top_0=top_0,
        top_1=top_1,
        blocks_0=blocks_0,
        blocks_1=blocks_1,
        threshold_0=threshold_0,
        threshold_1=threshold_1,
        label=dict(zip(CASES, found.unbind(1), strict=True)),
        shares=dict(zip(CASES, shares.unbind(1), strict=True)),
    )


def draw(rng: torch.Generator, items: int, alpha: float) -> RMixParams:
    """Draw λ and both percentiles for each item, and the patches of the batch."""
    return RMixParams(
        lam=draw_lam(alpha, items, rng),
        num_patches=PATCHES[int(torch.randint(len(PATCHES), (), generator=rng))],
        q0=draw_one(PERCENTILES, items, rng),
        q1=draw_one(PERCENTILES, items, rng),
    )


METHOD = Method(
    slug="r_mix",
    title="R-Mix",
    summary="Patches that matter alike in both are blended; else the one that matters shows.",
    paper="https://arxiv.org/abs/2212.04875",
    contract="recomputed",
    needs=("s0", "s1"),
    laws=frozenset(
        {Law.WEIGHTS_ARE_MASK_MEANS, Law.SELF_MIX, Law.MIRROR, Law.ALL_TOP_IS_INPUT_MIXUP}
    ),
    params=RMixParams,
    mix=mix,
    draw=draw,
)
