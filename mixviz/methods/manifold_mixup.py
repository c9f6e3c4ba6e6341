"""Manifold Mixup: Input Mixup at a layer of the classifier.

Verma et al. 2019, arXiv:1806.05236.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from mixviz.core.adversarial import per_item
from mixviz.core.draws import draw_lam
from mixviz.core.types import Pair
from mixviz.methods import input_mixup
from mixviz.methods.base import Lam, Law, Method, MixTrace, flagged, read
from mixviz.spec import Knob, Params

LAYERS = 3  # the paper draws one of the input and the first two hidden layers


@dataclass(frozen=True)
class ManifoldMixupParams(Params):
    """λ is the share of image 1; one layer for the whole batch."""

    lam: Lam = 0.5
    layer: Annotated[
        int,
        Knob(
            "k",
            "layer",
            (0, 1, 2, 3, 4),
            "Where the classifier mixes; 0 is its input. The paper draws 0, 1 or 2.",
            integer=True,
        ),
    ] = 2


@dataclass(frozen=True, eq=False, kw_only=True)
class ManifoldMixupTrace(MixTrace):
    """Feature maps mixed at a layer; `mixed` is the same share of the pictures, for the eye.

    Attributes:
        layer: where the classifier mixes; with 0 it sees `mixed`, else never.
        features_0, features_1: feature maps of the images at that layer.
        features: what goes on through the classifier.
    """

    layer: int
    features_0: Float[Tensor, "b c u v"]
    features_1: Float[Tensor, "b c u v"]
    features: Float[Tensor, "b c u v"]

    @property
    def inside(self) -> tuple[int, Tensor] | None:
        """The layer and the mixed features; None at the input, which `mixed` is."""
        return (self.layer, self.features) if self.layer else None


def mix(pair: Pair, params: ManifoldMixupParams) -> ManifoldMixupTrace:
    """Return (1−λ)·f0 + λ·f1, f the features of the images at the layer, and the same for labels.

    Raises:
        ValueError: when an image or a feature map is missing or not finite, or the feature maps
            differ in shape.
    """
    x0, _, f0, f1 = read(pair, "x0", "x1", "f0", "f1")
    if f0.shape != f1.shape:
        raise ValueError(f"f1 must be shaped as f0, {tuple(f0.shape)}, got {tuple(f1.shape)}")
    batch = x0.shape[0]
    shown = input_mixup.mix(pair, input_mixup.InputMixupParams(params.lam))
    lam = per_item(params.lam, batch).to(f0)[:, None, None, None]
    return ManifoldMixupTrace(
        mixed=shown.mixed,
        mask=shown.mask,
        weights=shown.weights,
        flags=flagged(mixed_inside=range(batch) if params.layer else ()),
        layer=params.layer,
        features_0=f0,
        features_1=f1,
        features=torch.lerp(f0, f1, lam),
    )


def draw(rng: torch.Generator, items: int, alpha: float) -> ManifoldMixupParams:
    """Draw λ for each item and one layer for the batch, 0 included."""
    lam = draw_lam(alpha, items, rng)
    return ManifoldMixupParams(lam, int(torch.randint(LAYERS, (), generator=rng)))


METHOD = Method(
    slug="manifold_mixup",
    title="Manifold Mixup",
    summary="Input Mixup inside the classifier, on the feature maps of a layer.",
    paper="https://arxiv.org/abs/1806.05236",
    contract="exact",
    needs=("f0", "f1"),
    laws=frozenset({Law.WEIGHTS_ARE_MASK_MEANS, Law.SELF_MIX, Law.ENDPOINTS, Law.MIRROR}),
    params=ManifoldMixupParams,
    mix=mix,
    draw=draw,
    alpha=2.0,
)
