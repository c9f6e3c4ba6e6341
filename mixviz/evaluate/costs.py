"""What mixing adds to the time of training: as published, and as measured on the trainer here.

The augmentation overhead of GuidedMixup, Section 5.3: (T_aug − T_vanilla)/T_vanilla in percent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BATCHES = (16, 32, 64)
"""Batch sizes of GuidedMixup's Table 2."""

PUBLISHED_ON = "CUB"
PUBLISHED_NETWORK = "ResNet-50"
MEASURED_ON = "H200, bf16, PreActResNet-18 at 64 px, batch 64"


@dataclass(frozen=True)
class Cost:
    """One method.

    Attributes:
        method: as GuidedMixup's Table 2 names it; ours where it is not in there.
        row: what `mixviz.train.overhead` and the cards' recipes call it; "" where none was run.
        has_extra_pass: whether mixing runs the network once more (GuidedMixup, Section 5.1).
        published: percent, by batch size of `BATCHES`; empty where not published.
        accuracy: top-1 in percent on CUB with ResNet-50 (Table 3); None where not published.
        measured: percent, as checkpoints/README.md says; None where not measured.
    """

    method: str
    row: str
    has_extra_pass: bool
    published: tuple[float, ...] = ()
    accuracy: float | None = None
    measured: float | None = None


COSTS = (
    Cost("Vanilla", "none", False, (0.0, 0.0, 0.0), 65.50, 0.0),
    Cost("Mixup", "input_mixup", False, (0.9, 0.6, 0.4), 71.33, 8.0),
    Cost("CutMix", "cutmix", False, (1.5, 1.0, 0.6), 72.58, 11.0),
    Cost("SaliencyMix", "saliencymix", False, (353.3, 701.8, 923.3), 66.66, 96.0),
    Cost("Guided-SR (random)", "", False, (6.4, 4.2, 2.7)),
    Cost(
        "Guided-SR",
        "guidedmixup:greedy:spectral_residual",
        False,
        (7.7, 7.1, 7.0),
        74.08,
        54.0,
    ),
    Cost("SnapMix", "snapmix", True, (67.4, 64.9, 60.2), 75.53, 88.0),
    Cost("Puzzle Mix", "puzzle_mix", True, (138.5, 139.9, 134.1), 74.85, 218.0),
    Cost("Co-Mixup", "comixup", True, (292.1, 490.2, 716.6), 72.83),
    Cost("Guided-AP (random)", "guidedmixup", True, (87.8, 81.9, 70.1)),
    Cost("Guided-AP", "guidedmixup:greedy", True, (89.2, 83.0, 77.5), 77.08, 135.0),
    Cost("R-Mix", "r_mix", True, measured=110.0),
)
"""GuidedMixup, Tables 2 and 3, beside `python -m mixviz.train.overhead` (checkpoints/README.md)."""


SAME = {"guided_sr": "guidedmixup", "guided_ap": "guidedmixup"}
"""Variants that are their method with another saliency, which a row names by itself."""


def row_of(mixing: Mapping[str, Any] | None) -> str:
    """Return what `mixviz.train.overhead` calls the mixing of a card's recipe.

    Args:
        mixing: `recipe.mixing` of the card, None where nothing was mixed.
    """
    if not mixing:
        return COSTS[0].row
    method = str(mixing.get("method"))
    parts = [SAME.get(method, method), mixing.get("pairing"), mixing.get("saliency")]
    while len(parts) > 1 and parts[-1] in (None, "random", "gradient"):
        parts.pop()
    return ":".join(str(part) for part in parts)


def cost_of(row: str) -> Cost | None:
    """Return what a way of mixing costs, by its row; None where nothing is known."""
    return next((cost for cost in COSTS if row and cost.row == row), None)
