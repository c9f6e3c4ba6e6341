"""What a method is that mixes a whole batch at once: as many outputs as inputs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor

from mixviz.core.types import Images, Maps
from mixviz.methods.base import Contract
from mixviz.spec import Panel, Params

# What a flag of a batch trace means, in words; its items are inputs or outputs, as it says.
BATCH_FLAGS: Mapping[str, str] = MappingProxyType(
    {
        "flat_saliency": "The saliency of the input is the same everywhere, so it guides nothing.",
        "identical_inputs": "The saliency of the input equals that of another one by blocks: "
        "nothing tells the two apart but the prior.",
        "single_source": "The output shows a single input: nothing is mixed.",
        "sweeps_ran_out": "The sweeps over the outputs ran out before the objective settled; "
        "more may lower it.",
    }
)


@dataclass(frozen=True, eq=False, kw_only=True)
class BatchTrace:
    """What every batch method returns. A subclass adds the steps that led to it.

    Attributes:
        mixed: the training inputs, one per output.
        labels: the share of each input's label (second axis) in each output (first); rows sum
            to 1.
        flags: names from `BATCH_FLAGS` with the inputs or outputs they concern; empty when all is
            well.
    """

    mixed: Annotated[Float[Tensor, "m 3 h w"], Panel("image", "Mixes", "The training inputs")]
    labels: Annotated[
        Float[Tensor, "m m"], Panel("heatmap", "Labels", "Share of each input in each output")
    ]
    flags: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class BatchMethod:
    """One row of the menu of batch methods; fields mean what they mean in `Method`.

    Attributes:
        slug: its name in URLs and menus.
        title: its name for people.
        summary: what it does, in one sentence.
        paper: where it was published.
        contract: how its label weights relate to what was asked for.
        needs: what it reads beside the images.
        params: its parameters.
        mix: the method itself, of images in [0, 1] and their saliency.
        draw: parameters for a training batch of so many items, drawn from a generator; alpha is
            the parameter of the distribution of the shares.
        alpha: what the paper trains with.
    """

    slug: str
    title: str
    summary: str
    paper: str
    contract: Contract
    needs: tuple[str, ...]
    params: type[Params]
    mix: Callable[[Images, Maps, Any], BatchTrace]
    draw: Callable[[torch.Generator, int, float], Any]
    alpha: float
