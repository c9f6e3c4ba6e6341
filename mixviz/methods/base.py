"""What a mixing method is: a way to choose a mask (and, for some, to move pixels first)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from mixviz.core.blocks import check_all_finite
from mixviz.core.types import Pair
from mixviz.spec import Knob, Panel, Params

Contract = Literal["exact", "recomputed", "encouraged", "independent", "single"]

LAM_STOPS = tuple(step / 50 for step in range(51))
PLACE_STOPS = tuple(step / 20 for step in range(21))

Lam = Annotated[
    float | Tensor,
    Knob("λ", "share of B asked for", LAM_STOPS, "Share of picture B asked for.", (0.0, 1.0)),
]
CentreX = Annotated[
    float | Tensor,
    Knob("x", "centre, across", PLACE_STOPS, "0 is the left end, 1 the right.", (0.0, 1.0)),
]
CentreY = Annotated[
    float | Tensor,
    Knob("y", "centre, down", PLACE_STOPS, "0 is the top, 1 the bottom.", (0.0, 1.0)),
]


class Law(StrEnum):
    """Laws a method can obey, beside those that all of them must; each is a test."""

    WEIGHTS_ARE_MASK_MEANS = "label weights are the shares of the mask"
    SELF_MIX = "an image mixed with itself is itself, with default parameters"
    ENDPOINTS = "λ = 0 and λ = 1 give image 0 and image 1"
    MIRROR = "swapping the images with λ → 1−λ mirrors the mix"
    ALL_TOP_IS_INPUT_MIXUP = "with both percentiles at 0 it is Input Mixup, bit for bit"


# What a flag of a trace means, in words.
FLAGS: Mapping[str, str] = MappingProxyType(
    {
        "flat_saliency_0": "The saliency of A is the same everywhere, so it guides nothing.",
        "flat_saliency_1": "The saliency of B is the same everywhere, so it guides nothing.",
        "no_saliency": "Somewhere neither picture has any saliency; there they share evenly.",
        "clamped_seam": "The seam term outweighs β on some edge, where a cut cannot follow; "
        "it was clamped there.",
        "flat_activation_0": "The class activation of A is the same everywhere: "
        "its label follows areas.",
        "flat_activation_1": "The class activation of B is the same everywhere: "
        "its label follows areas.",
        "empty_box": "A box is smaller than two pixels, so nothing is pasted.",
        "mixed_inside": "The classifier never sees this picture: it mixes feature maps inside.",
    }
)


@dataclass(frozen=True, eq=False, kw_only=True)
class MixTrace:
    """What every method returns. A subclass adds the steps that led to it.

    Attributes:
        mixed: the training input.
        mask: share of image 1 per pixel, 1 shows image 1.
        weights: the label weights assigned to images 0 and 1.
        flags: names from `FLAGS` with the batch items they concern; empty when all is well.
    """

    mixed: Annotated[Float[Tensor, "b 3 h w"], Panel("image", "Mix", "The training input")]
    mask: Annotated[Float[Tensor, "b h w"], Panel("mask", "Mask", "Share of B, per pixel")]
    weights: Annotated[Float[Tensor, "b 2"], Panel("number", "Label weights", "Of A and of B")]
    flags: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def inside(self) -> "tuple[int, Tensor] | None":
        """A layer of the classifier and what goes on from there, where it never sees `mixed`."""
        return None

    @property
    def lam_label(self) -> Float[Tensor, " b"]:
        """The weight of label 1."""
        return self.weights[:, 1]


Trace = TypeVar("Trace", bound=MixTrace)


def seen_by_mask(
    trace: Any, map_0: Float[Tensor, "b h w"], map_1: Float[Tensor, "b h w"]
) -> tuple[Float[Tensor, "b h w"], Float[Tensor, "b h w"]]:
    """Return what is left of two maps under the mask."""
    return map_0 * (1 - trace.mask), map_1 * trace.mask


def no_noise(pair_images: tuple[Tensor, Tensor], params: Any) -> tuple[Tensor, Tensor] | None:
    """Say that a method looks at the pictures as they are."""
    return None


@dataclass(frozen=True)
class Method:
    """One row of the menu.

    Attributes:
        slug: its name in URLs and menus.
        title: its name for people.
        summary: what it does, in one sentence.
        paper: where it was published.
        contract: how its label weights relate to λ.
        needs: names of the fields of `Pair` it reads beside x0, x1; whoever calls it fills these.
        laws: what it obeys beyond the laws of all methods.
        params: its parameters.
        mix: the method itself.
        draw: parameters for so many items of a training batch, drawn from a generator, λ from
            Beta(alpha, alpha).
        alpha: what the paper trains with, where it names one.
        seen: what a mix still shows of two maps laid over the images, each at its own place or
            moved as the pixels are.
        presets: names of sets of parameters, made for a block of the default grid with the given
            side in pixels; the first is the opening one. Without any, the defaults open.
        noise: what it adds to the images before their saliency is taken, or None for nothing.
    """

    slug: str
    title: str
    summary: str
    paper: str
    contract: Contract
    needs: tuple[str, ...]
    laws: frozenset[Law]
    params: type[Params]
    mix: Callable[[Pair, Any], MixTrace]
    draw: Callable[[torch.Generator, int, float], Any]
    alpha: float = 1.0
    noise: Callable[[tuple[Tensor, Tensor], Any], tuple[Tensor, Tensor] | None] = no_noise
    seen: Callable[[Any, Tensor, Tensor], tuple[Tensor, Tensor]] = seen_by_mask
    presets: Mapping[str, Callable[[int], Params]] = field(default_factory=dict)

    def opening(self, block: int) -> Params:
        """Return the parameters that a page opens with."""
        return next(iter(self.presets.values()))(block) if self.presets else self.params()


def blend(
    trace: type[Trace],
    images: tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b 3 h w"]],
    mask: Float[Tensor, "b h w"],
    weights: Float[Tensor, "b 2"] | None = None,
    **steps: Any,
) -> Trace:
    """Mix two images under a mask; the label weights follow the mask's mean unless given."""
    mixed = torch.lerp(*images, mask[:, None].expand_as(images[0]))
    if weights is None:
        share = mask.sum((1, 2), dtype=torch.float64) / max(mask[0].numel(), 1)
        weights = torch.stack((1 - share, share), 1).to(mask.dtype)
    return trace(mixed=mixed, mask=mask, weights=weights, **steps)


def alone(trace: type[Trace], mixed: Float[Tensor, "b 3 h w"], **steps: Any) -> Trace:
    """Return the trace of a method that changes image 0 alone: its label keeps weight 1."""
    return trace(
        mixed=mixed,
        mask=torch.zeros_like(mixed[:, 0]),
        weights=mixed.new_tensor((1.0, 0.0)).repeat(len(mixed), 1),
        **steps,
    )


def only_image_0(
    trace: Any, map_0: Float[Tensor, "b h w"], map_1: Float[Tensor, "b h w"]
) -> tuple[Float[Tensor, "b h w"], Float[Tensor, "b h w"]]:
    """Return the map of image 0 and nothing of image 1, which takes no part."""
    return map_0, torch.zeros_like(map_1)


def read(pair: Pair, *names: str) -> tuple[Tensor, ...]:
    """Return fields of a pair.

    Raises:
        ValueError: naming the field that is missing, or holds NaN or infinity.
    """
    found = {name: getattr(pair, name) for name in names}
    for name, values in found.items():
        if values is None:
            raise ValueError(f"Pair.{name} is missing: this method reads it")
    check_all_finite(**found)
    return tuple(found.values())


def flagged(**found: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Return the flags that concern any item, each with its items."""
    return {name: tuple(items) for name, items in found.items() if items}


def draw(method: Method, rng: torch.Generator, items: int = 1, alpha: float | None = None) -> Any:
    """Draw parameters as training does, for so many items of a batch.

    Args:
        method: a row of the menu.
        rng: where the chance comes from.
        items: how many items the batch has.
        alpha: λ comes from Beta(alpha, alpha), where the method uses λ; the paper's unless given.

    Raises:
        ValueError: unless items ≥ 1 and alpha > 0.
    """
    if items < 1:
        raise ValueError(f"items must be at least 1, got {items}")
    return method.draw(rng, items, method.alpha if alpha is None else alpha)
