"""RL-Mix's agent: a small network that chooses the percentile of a picture, from saved weights.

No policy was published. What one sees and how its weights are named is fixed here: the names are
those of the actor of Stable-Baselines3's `MlpPolicy` with one discrete action, so that
`safetensors.torch.save_file(model.policy.state_dict(), "policy.safetensors")` gives such a file.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from mixviz.core.blocks import pool_to_blocks
from mixviz.core.percentiles import CHOICES, percentile_choices
from mixviz.zoo.header import CheckpointError, Stored, quoted, shape_words
from mixviz.zoo.own import load_network

SIGHT = 8  # cells per side of the saliency that the agent sees
WIDEST = 1024
FIRST, SECOND, LAST = "mlp_extractor.policy_net.0", "mlp_extractor.policy_net.2", "action_net"


class Policy(nn.Module):
    """Two hidden layers with tanh, then one score for each percentile."""

    def __init__(self, classes: int, widths: tuple[int, int]) -> None:
        super().__init__()
        self.classes = classes
        hidden = nn.Sequential(
            nn.Linear(SIGHT * SIGHT + classes, widths[0]),
            nn.Tanh(),
            nn.Linear(widths[0], widths[1]),
            nn.Tanh(),
        )
        # Nested for the names of its tensors.
        self.mlp_extractor = nn.ModuleDict({"policy_net": hidden})
        self.action_net = nn.Linear(widths[1], CHOICES)

    def forward(self, observation: Float[Tensor, "b i"]) -> Float[Tensor, "b choices"]:
        """Score the percentiles."""
        return self.action_net(self.mlp_extractor["policy_net"](observation))


def load_policy(weights: bytes | Path, classes: int) -> Policy:
    """Return an agent for a classifier of so many classes; other tensors are passed over.

    Raises:
        CheckpointError: the file is no safetensors file, lacks a layer, or its layers do not fit
            each other, the saliency and the classifier.
    """

    def network_for(header: Mapping[str, Stored]) -> Policy:
        widths = _rows(header, FIRST), _rows(header, SECOND)
        wanted = {
            FIRST: (widths[0], SIGHT * SIGHT + classes),
            SECOND: (widths[1], widths[0]),
            LAST: (CHOICES, widths[1]),
        }
        for layer, shape in wanted.items():
            for name, expected in ((f"{layer}.weight", shape), (f"{layer}.bias", shape[:1])):
                found = header[name].shape if name in header else None
                if found != expected:
                    has = "is missing" if found is None else f"has shape {shape_words(found)}"
                    raise CheckpointError(
                        f"The policy's {quoted(name)} {has}; for {classes} classes, "
                        f"{SIGHT}×{SIGHT} saliency and {CHOICES} percentiles it must be "
                        f"{shape_words(expected)}."
                    )
        with torch.device("meta"):
            return Policy(classes, widths)

    policy = load_network(weights, network_for)
    policy.requires_grad_(False)
    return policy


def _rows(header: Mapping[str, Stored], layer: str) -> int:
    name = f"{layer}.weight"
    if name not in header:
        raise CheckpointError(
            f"The policy has no {quoted(name)}: its tensors must be named as Stable-Baselines3 "
            "names the actor of an MlpPolicy."
        )
    shape = header[name].shape
    if len(shape) != 2 or not 1 <= shape[0] <= WIDEST:
        raise CheckpointError(
            f"The policy's {quoted(name)} has shape {shape_words(shape)}; 1 to {WIDEST} rows of "
            "inputs are allowed."
        )
    return shape[0]


def observe(saliency: Float[Tensor, "b h w"], logits: Float[Tensor, "b k"]) -> Float[Tensor, "b i"]:
    """Return what the agent sees of each picture: 8×8 saliency of mean 1, then the logits.

    Raises:
        ValueError: when a map is not finite or negative somewhere, or 8 does not divide it.
    """
    blocks = pool_to_blocks("saliency", saliency, SIGHT) * SIGHT**2
    return torch.cat((blocks.flatten(1).float(), logits.detach().float().cpu()), 1)


@torch.no_grad()
def choose_percentiles(
    policy: Policy, saliency: Float[Tensor, "b h w"], logits: Float[Tensor, "b k"]
) -> Float64[Tensor, " b"]:
    """Return the percentile of the highest score for each picture; the lowest wins ties.

    Raises:
        ValueError: for another number of classes than the policy's, and as `observe`.
    """
    if logits.shape[1] != policy.classes:
        raise ValueError(
            f"the policy is for {policy.classes} classes, the classifier has {logits.shape[1]}"
        )
    return percentile_choices()[policy(observe(saliency, logits)).argmax(1)]
