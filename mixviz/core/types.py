"""What a method receives. b: batch, h, w: pixels, n: blocks per side, k: classes."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

Images = Float[Tensor, "b 3 h w"]
Maps = Float[Tensor, "b h w"]


@dataclass(frozen=True, eq=False)
class Pair:
    """Images to be mixed, image 0 ("A") and image 1 ("B"), and what guides the mix.

    Images lie in [0, 1]; saliency is non-negative with any positive scale. The optional fields
    are filled only where `Method.needs` names them.

    Attributes:
        x0, x1: the images.
        s0, s1: their saliency, one value per pixel.
        y0, y1: their labels, as class indices.
        g0, g1: signed gradients of the loss with respect to the images.
        c0, c1: class activation maps.
        f0, f1: feature maps at the layer where Manifold Mixup mixes.
        q0, q1: saliency percentiles that a policy, or a search, chose for RL-Mix.
    """

    x0: Float[Tensor, "b 3 h w"]
    x1: Float[Tensor, "b 3 h w"]
    s0: Float[Tensor, "b h w"]
    s1: Float[Tensor, "b h w"]
    y0: Int[Tensor, " b"] | None = None
    y1: Int[Tensor, " b"] | None = None
    g0: Float[Tensor, "b 3 h w"] | None = None
    g1: Float[Tensor, "b 3 h w"] | None = None
    c0: Float[Tensor, "b h w"] | None = None
    c1: Float[Tensor, "b h w"] | None = None
    f0: Float[Tensor, "b c u v"] | None = None
    f1: Float[Tensor, "b c u v"] | None = None
    q0: Float[Tensor, " b"] | None = None
    q1: Float[Tensor, " b"] | None = None
