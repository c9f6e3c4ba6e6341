"""AugMix: a picture mixed with chains of its own distortions (Hendrycks et al. 2020).

arXiv:1912.02781. Operations, strengths and the order of the draws are those of torchvision's
`v2.AugMix` without the operations that overlap with common corruptions.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor

from mixviz.core.blocks import check_finite
from mixviz.core.types import Pair
from mixviz.methods.base import Method, MixTrace, alone, only_image_0
from mixviz.spec import Knob, Panel, Params

STRONGEST = 10
MANY = (1.0, float("inf"))


@dataclass(frozen=True)
class AugMixParams(Params):
    """How far, how many and how long; the seed decides everything else."""

    severity: Annotated[
        int,
        Knob(
            "severity",
            "of each operation",
            tuple(range(1, STRONGEST + 1)),
            "Each operation is drawn from so many strengths, the first of ten.",
            (1.0, float(STRONGEST)),
            paper=3,
            integer=True,
        ),
    ] = 3
    width: Annotated[
        int,
        Knob("k", "chains", (1, 2, 3, 4, 5), "Chains that are mixed.", MANY, paper=3, integer=True),
    ] = 3
    depth: Annotated[
        int,
        Knob(
            "depth",
            "operations, at most",
            (1, 2, 3, 4, 5),
            "Each chain has from one to so many operations.",
            MANY,
            paper=3,
            integer=True,
        ),
    ] = 3
    seed: Annotated[
        int | Tensor,
        Knob(
            "seed",
            "of all chance",
            tuple(range(10)),
            "Decides chains, strengths and shares.",
            (0.0, 2.0**31),
            integer=True,
        ),
    ] = 0


@dataclass(frozen=True)
class Step:
    """One operation of a chain and its strength, in the unit of the operation; 0 where it has none.

    Units: degrees for rotate, slope for shear, pixels for translate, bits for posterize, grey
    value in [0, 1] for solarize.
    """

    name: str
    strength: float


Chains = tuple[tuple[Step, ...], ...]


@dataclass(frozen=True, eq=False)
class Augmented:
    """Pictures after AugMix, and how they came about.

    Attributes:
        mixed: share·image + (1 − share)·Σ chain_shares·chain_images.
        share: of the picture itself, from Beta(1, 1).
        chain_images: the picture after each chain.
        chain_shares: of each chain, from Dirichlet(1); they sum to 1.
        chains: by item, the operations of each chain.
    """

    mixed: Float[Tensor, "b 3 h w"]
    share: Float[Tensor, " b"]
    chain_images: Float[Tensor, "b k 3 h w"]
    chain_shares: Float[Tensor, "b k"]
    chains: tuple[Chains, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class AugMixTrace(MixTrace):
    """The mix and the chains it is made of; see `Augmented`.

    Attributes:
        distorted: the chains mixed, without the picture itself.
    """

    distorted: Annotated[Float[Tensor, "b 3 h w"], Panel("image", "Chains", "Without A itself")]
    share: Annotated[Float[Tensor, " b"], Panel("number", "Share of A itself", "Drawn evenly")]
    chain_shares: Annotated[Float[Tensor, "b k"], Panel("number", "Chains", "Share of each")]
    chain_images: Float[Tensor, "b k 3 h w"]
    chains: tuple[Chains, ...]


@dataclass(frozen=True)
class _Operation:
    """What a step can do.

    Attributes:
        strengths: the ten strengths for a height and a width, or None where it has none.
        signed: whether a sign is drawn for the strength.
        apply: the operation on torchvision's functions, images and a strength.
    """

    strengths: Callable[[int, int], Tensor] | None
    signed: bool
    apply: Callable[[Any, Tensor, float], Tensor]


def _to(last: float) -> Callable[[int, int], Tensor]:
    return lambda height, width: torch.linspace(0.0, last, STRONGEST)


def _bits(height: int, width: int) -> Tensor:
    return (4 - torch.arange(STRONGEST) / ((STRONGEST - 1) / 4)).round()


def _affine(vision: Any, image: Tensor, **changes: Any) -> Tensor:
    still = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
    bilinear = vision.InterpolationMode.BILINEAR
    return vision.affine(image, **(still | changes), interpolation=bilinear)


def _slope(strength: float) -> float:
    return math.degrees(math.atan(strength))


# In torchvision's order, so that the same draws choose the same operations.
OPERATIONS: Mapping[str, _Operation] = MappingProxyType(
    {
        "shear x": _Operation(
            _to(0.3),
            True,
            lambda vision, image, by: _affine(
                vision, image, shear=[_slope(by), 0.0], center=[0, 0]
            ),
        ),
        "shear y": _Operation(
            _to(0.3),
            True,
            lambda vision, image, by: _affine(
                vision, image, shear=[0.0, _slope(by)], center=[0, 0]
            ),
        ),
        "translate x": _Operation(
            lambda height, width: torch.linspace(0.0, width / 3.0, STRONGEST),
            True,
            lambda vision, image, by: _affine(vision, image, translate=[int(by), 0]),
        ),
        "translate y": _Operation(
            lambda height, width: torch.linspace(0.0, height / 3.0, STRONGEST),
            True,
            lambda vision, image, by: _affine(vision, image, translate=[0, int(by)]),
        ),
        "rotate": _Operation(
            _to(30.0),
            True,
            lambda vision, image, by: vision.rotate(
                image, by, interpolation=vision.InterpolationMode.BILINEAR
            ),
        ),
        "posterize": _Operation(
            _bits, False, lambda vision, image, bits: vision.posterize(image, int(bits))
        ),
        "solarize": _Operation(
            lambda height, width: torch.linspace(1.0, 0.0, STRONGEST),
            False,
            lambda vision, image, above: vision.solarize(image, above),
        ),
        "autocontrast": _Operation(
            None, False, lambda vision, image, _: vision.autocontrast(image)
        ),
        "equalize": _Operation(None, False, lambda vision, image, _: vision.equalize(image)),
    }
)


def _whole(end: int, rng: torch.Generator) -> int:
    return int(torch.randint(end, (), generator=rng))


def _draw_step(height: int, width: int, severity: int, rng: torch.Generator) -> Step:
    name = tuple(OPERATIONS)[_whole(len(OPERATIONS), rng)]
    operation = OPERATIONS[name]
    if operation.strengths is None:
        return Step(name, 0.0)
    strength = float(operation.strengths(height, width)[_whole(severity, rng)])
    turned = operation.signed and float(torch.rand((), generator=rng)) <= 0.5
    return Step(name, -strength if turned else strength)


def _augment_one(
    image: Float[Tensor, "1 3 h w"], params: AugMixParams, seed: int, vision: Any
) -> tuple[Tensor, Tensor, Chains, Tensor]:
    """Return the share of the image, those of the chains, the chains, and what they make of it."""
    rng = torch.Generator().manual_seed(seed)
    height, width = image.shape[2:]
    share = torch._sample_dirichlet(torch.ones(2), generator=rng)[0]
    chain_shares = torch._sample_dirichlet(torch.ones(params.width), generator=rng)
    chains, images = [], []
    for _ in range(params.width):
        length = 1 + _whole(params.depth, rng)
        # The length is drawn before the steps, and the steps one by one.
        chain = tuple(_draw_step(height, width, params.severity, rng) for _ in range(length))
        distorted = image
        for step in chain:
            distorted = OPERATIONS[step.name].apply(vision, distorted, step.strength)
        chains.append(chain)
        images.append(distorted)
    return share, chain_shares, tuple(chains), torch.stack(images, 1)


def augment(images: Float[Tensor, "b 3 h w"], params: AugMixParams) -> Augmented:
    """Mix each picture with chains of its own distortions.

    Any method can take the result for its inputs. One seed for the batch distorts every picture
    alike; training passes one per item.

    Raises:
        ValueError: when an image is not finite.
    """
    # Imported here, as it takes most of a second.
    from torchvision.transforms.v2 import functional as vision

    check_finite("x0", images)
    batch = images.shape[0]
    seeds = torch.as_tensor(params.seed).expand(batch).tolist()
    found = [
        _augment_one(image[None], params, int(seed), vision)
        for image, seed in zip(images, seeds, strict=True)
    ]
    share = torch.stack([one[0] for one in found]).to(images)
    chain_shares = torch.stack([one[1] for one in found]).to(images)
    chain_images = torch.cat([one[3] for one in found])
    mixed = share[:, None, None, None] * images
    for chain, weight in zip(chain_images.unbind(1), chain_shares.unbind(1), strict=True):
        mixed += (weight * (1 - share))[:, None, None, None] * chain
    return Augmented(
        mixed.clamp_(0, 1), share, chain_images, chain_shares, tuple(one[2] for one in found)
    )


def mix(pair: Pair, params: AugMixParams) -> AugMixTrace:
    """Mix image 0 with chains of its own distortions; image 1 takes no part.

    Raises:
        ValueError: when image 0 is not finite.
    """
    found = augment(pair.x0, params)
    weight = found.chain_shares[:, :, None, None, None]
    return alone(
        AugMixTrace,
        found.mixed,
        distorted=(weight * found.chain_images).sum(1).clamp(0, 1),
        share=found.share,
        chain_shares=found.chain_shares,
        chain_images=found.chain_images,
        chains=found.chains,
    )


def draw(rng: torch.Generator, items: int, alpha: float) -> AugMixParams:
    """Draw a seed for each item."""
    return AugMixParams(seed=torch.randint(2**31, (items,), generator=rng))


METHOD = Method(
    slug="augmix",
    title="AugMix",
    summary="A mixed with distortions of itself; B takes no part.",
    paper="https://arxiv.org/abs/1912.02781",
    contract="single",
    needs=(),
    laws=frozenset(),
    params=AugMixParams,
    mix=mix,
    draw=draw,
    seen=only_image_0,
)
