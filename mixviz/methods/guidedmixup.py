"""GuidedMixup: each pixel is shared in proportion to the saliency of the two pictures there.

Kang and Kim, AAAI 2023, arXiv:2306.16612. The source s is image 0, the target t image 1.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from mixviz.core.blocks import (
    check_all_finite,
    check_finite,
    flat_items,
    items_of,
    sum_to_one,
)
from mixviz.core.saliency import gaussian_blur
from mixviz.core.types import Pair
from mixviz.methods.base import Law, Method, MixTrace, blend, flagged
from mixviz.spec import Knob, Panel, Params

REMARKS = ("flat_saliency_0", "flat_saliency_1", "no_saliency")
"""What a trace says of items that mixed otherwise than one would expect."""


@dataclass(frozen=True)
class GuidedMixupParams(Params):
    """The blur of the saliency; λ is not used.

    Raises:
        ValueError: also for an even kernel, which has no middle.
    """

    blur_kernel: Annotated[
        int,
        Knob(
            "k",
            "blur kernel",
            (1, 3, 5, 7, 9, 11, 15, 21, 31),
            "Side of the Gaussian in pixels, odd. 1 does not blur.",
            (1.0, float("inf")),
            paper=7,
            integer=True,
        ),
    ] = 7
    blur_sigma: Annotated[
        float,
        Knob(
            "σ",
            "blur width",
            (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0),
            "Standard deviation of the Gaussian in pixels; the kernel cuts it off.",
            (0.1, float("inf")),
            paper=3.0,
        ),
    ] = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.blur_kernel % 2 == 0:
            raise ValueError(
                f"GuidedMixupParams.blur_kernel (k) must be odd, got {self.blur_kernel!r}"
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class GuidedMixupTrace(MixTrace):
    """The mix and the maps that led to it.

    Attributes:
        blurred_0, blurred_1: saliency of the images, blurred; sums to 1.
    """

    blurred_0: Annotated[
        Float[Tensor, "b h w"], Panel("heatmap", "s(A), blurred", "What the mask is made of")
    ]
    blurred_1: Annotated[
        Float[Tensor, "b h w"], Panel("heatmap", "s(B), blurred", "What the mask is made of")
    ]


def blur(
    name: str, saliency: Float[Tensor, "b h w"], params: GuidedMixupParams
) -> Float[Tensor, "b h w"]:
    """Blur saliency maps and make them sum to 1, whatever their scale.

    Raises:
        ValueError: naming the tensor, when it is NaN, infinite or negative somewhere; and when
            the kernel does not fit the maps.
    """
    least, peak = saliency.detach().amin((1, 2)), saliency.detach().amax((1, 2))
    # One answer of the device for all: NaN and infinity survive in the ends.
    lowest, highest, dimmest = torch.stack((least.min(), peak.max(), peak.min())).tolist()
    if not math.isfinite(lowest) or not math.isfinite(highest):
        check_finite(name, saliency)
    if lowest < 0:
        raise ValueError(f"{name} must not be negative, got {lowest:.3g}")
    # Scaled to a peak of 1 first, so that no sum or product leaves the range of the number type.
    maps = saliency.detach() / (peak if dimmest > 0 else peak.where(peak > 0, 1))[:, None, None]
    if params.blur_kernel > 1:
        maps = gaussian_blur(maps, params.blur_kernel, params.blur_sigma)
    return maps / maps.sum((1, 2), keepdim=True) if dimmest > 0 else sum_to_one(maps)


def mix(pair: Pair, params: GuidedMixupParams) -> GuidedMixupTrace:
    """Show each picture where it is the more salient (eq. 2); labels follow the mask (eq. 3).

    The share of image 1 at a pixel is z₁/(z₀ + z₁), z the blurred maps; ½ where both are 0.

    Raises:
        ValueError: for NaN or infinite inputs, negative saliency, or a kernel larger than the
            picture.
    """
    z0, z1 = blur("s0", pair.s0, params), blur("s1", pair.s1, params)
    return mix_blurred(pair, z0, z1)


def mix_blurred(
    pair: Pair, z0: Float[Tensor, "b h w"], z1: Float[Tensor, "b h w"]
) -> GuidedMixupTrace:
    """Mix as `mix` does, with maps as `blur` returns them: a batch blurs each map once.

    Raises:
        ValueError: for NaN or infinite images.
    """
    check_all_finite(x0=pair.x0, x1=pair.x1)
    both = z0 + z1
    share = z1 / both
    remarks = torch.stack((flat_items(pair.s0), flat_items(pair.s1), both.amin((1, 2)) == 0))
    flags: dict[str, tuple[int, ...]] = {}
    if bool(remarks.any()):
        flags = flagged(**dict(zip(REMARKS, map(items_of, remarks), strict=True)))
        share.masked_fill_(both == 0, 0.5)
    return blend(
        GuidedMixupTrace,
        (pair.x0, pair.x1),
        share.to(pair.x0),
        flags=flags,
        blurred_0=z0,
        blurred_1=z1,
    )


def draw(rng: torch.Generator, items: int, alpha: float) -> GuidedMixupParams:
    """Return the paper's parameters: nothing here is left to chance."""
    return GuidedMixupParams()


METHOD = Method(
    slug="guidedmixup",
    title="GuidedMixup",
    summary="Each pixel is shared in proportion to how salient it is in either picture.",
    paper="https://arxiv.org/abs/2306.16612",
    contract="independent",
    needs=("s0", "s1"),
    laws=frozenset({Law.WEIGHTS_ARE_MASK_MEANS, Law.SELF_MIX, Law.MIRROR}),
    params=GuidedMixupParams,
    mix=mix,
    draw=draw,
)
