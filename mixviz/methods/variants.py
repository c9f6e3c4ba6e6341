"""Everything the pages can compare: each method, and the variants that the papers' tables name.

A variant is a method with some parameters fixed, on the pictures or on AugMix of them. λ and a
seed decide the rest, so that all of them can be seen on one pair alike.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from mixviz.core.types import Images
from mixviz.methods import (
    augmix,
    cutmix,
    cutout,
    guidedmixup,
    input_mixup,
    manifold_mixup,
    puzzle_mix,
    r_mix,
    rl_mix,
    saliencymix,
    snapmix,
)
from mixviz.methods.base import Method, draw
from mixviz.spec import Params

# Who decides what is shown, in the order of the pages.
GROUPS: Mapping[str, str] = MappingProxyType(
    {
        "chance": "Chance decides where",
        "box": "Saliency picks a box",
        "shares": "Saliency sets the shares",
        "optimised": "Saliency is optimised",
    }
)


def as_they_are(images: Images, seed: int) -> Images:
    """Return the pictures themselves."""
    return images


def augmented(images: Images, seed: int) -> Images:
    """Return AugMix of the pictures."""
    return augmix.augment(images, augmix.AugMixParams(seed=seed)).mixed


@dataclass(frozen=True)
class Variant:
    """One way to mix that can be compared with the others.

    Attributes:
        slug: its name in URLs.
        title: its name for people.
        method: the method.
        group: who decides what is shown, a key of `GROUPS`.
        words: what sets it apart from its method; empty for the method itself.
        fixed: parameters that make it what it is.
        drawn: parameters that the seed decides, as training draws them.
        inputs: what becomes of the pictures first, by a seed.
        source: where its saliency comes from, "gradient" or "spectral"; None leaves it open.
    """

    slug: str
    title: str
    method: Method
    group: str
    words: str = ""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    drawn: tuple[str, ...] = ()
    inputs: Callable[[Images, int], Images] = as_they_are
    source: str | None = None

    def params(self, lam: float, seed: int, block: int) -> Params:
        """Return the parameters at one λ and seed.

        Args:
            lam: share of image 1 asked for, where the method asks.
            seed: decides what training would draw.
            block: side in pixels of a block of the default grid, for the opening preset.
        """
        opening = self.method.opening(block)
        chance = draw(self.method, torch.Generator().manual_seed(seed))
        values = {name: _number(getattr(chance, name)) for name in self.drawn}
        asked = {one.name: lam for one in fields(opening) if one.name.startswith("lam")}  # type: ignore[arg-type]
        return replace(opening, **{**values, **asked, **self.fixed})  # type: ignore[type-var]


def _number(value: Any) -> Any:
    return value.reshape(()).item() if isinstance(value, Tensor) else value


_ATTACK = {"nu0": 1, "nu1": 0, "delta": 0.5}
_ALL = (
    Variant("input_mixup", "Input Mixup", input_mixup.METHOD, "chance"),
    Variant("manifold_mixup", "Manifold Mixup", manifold_mixup.METHOD, "chance"),
    Variant("cutmix", "CutMix", cutmix.METHOD, "chance", drawn=("centre_x", "centre_y")),
    Variant("cutout", "Cutout", cutout.METHOD, "chance", drawn=("centre_x", "centre_y")),
    Variant("augmix", "AugMix", augmix.METHOD, "chance", drawn=("seed",)),
    Variant("saliencymix", "SaliencyMix", saliencymix.METHOD, "box"),
    Variant(
        "snapmix",
        "SnapMix",
        snapmix.METHOD,
        "box",
        drawn=("centre_x_0", "centre_y_0", "centre_x_1", "centre_y_1"),
    ),
    Variant("guided_sr", "Guided-SR", guidedmixup.METHOD, "shares", source="spectral"),
    Variant("guided_ap", "Guided-AP", guidedmixup.METHOD, "shares", source="gradient"),
    Variant(
        "guided_aug",
        "Guided, AugMix",
        guidedmixup.METHOD,
        "shares",
        "on AugMix of the pictures",
        inputs=augmented,
    ),
    Variant("r_mix", "R-Mix", r_mix.METHOD, "shares", drawn=("q0", "q1", "num_patches")),
    Variant("rl_mix", "RL-Mix", rl_mix.METHOD, "shares"),
    Variant(
        "puzzle_binary",
        "Puzzle, binary",
        puzzle_mix.METHOD,
        "optimised",
        "two labels, 0 and 1",
        {"levels": 1},
    ),
    Variant(
        "puzzle_mask",
        "Puzzle, mask only",
        puzzle_mix.METHOD,
        "optimised",
        "blocks do not move",
        {"transport": False},
    ),
    Variant("puzzle_mix", "Puzzle Mix", puzzle_mix.METHOD, "optimised"),
    Variant(
        "puzzle_adv",
        "Puzzle, adv",
        puzzle_mix.METHOD,
        "optimised",
        "A attacked, δ = ½",
        _ATTACK,
        ("seed",),
    ),
    Variant(
        "puzzle_fgsm",
        "Puzzle, fgsm",
        puzzle_mix.METHOD,
        "optimised",
        "A attacked in full, δ = 1",
        {**_ATTACK, "delta": 1.0},
        ("seed",),
    ),
    Variant(
        "puzzle_both",
        "Puzzle, ν₀ = ν₁",
        puzzle_mix.METHOD,
        "optimised",
        "A and B attacked, δ = ½",
        {**_ATTACK, "nu1": 1},
        ("seed",),
    ),
    Variant(
        "puzzle_aug",
        "Puzzle, AugMix",
        puzzle_mix.METHOD,
        "optimised",
        "on AugMix of the pictures",
        inputs=augmented,
    ),
)

VARIANTS: Mapping[str, Variant] = MappingProxyType({one.slug: one for one in _ALL})
# What a page shows before more is asked for: each method once, and the two variants of Puzzle Mix
# that its first table compares.
MAIN: tuple[str, ...] = tuple(
    slug
    for slug in VARIANTS
    if slug not in ("guided_aug", "puzzle_adv", "puzzle_fgsm", "puzzle_both", "puzzle_aug")
)
