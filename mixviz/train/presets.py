"""Recipes of the papers by name: the flags that a ``--preset`` stands for.

What a paper's text leaves open is said in `Preset.words`. Flags typed beside a preset count.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

NO_METHOD = "none"


@dataclass(frozen=True)
class Preset:
    """A protocol, and what its paper says about each method under it.

    Attributes:
        words: paper, table, and what is not from its text.
        flags: of ``python -m mixviz.train``, as typed.
        method: the method where none is typed.
        methods: more flags, by method.
    """

    words: str
    flags: str
    method: str = NO_METHOD
    methods: Mapping[str, str] = field(default_factory=dict)

    def arguments(self, method: str | None) -> list[str]:
        """Return the flags as words of a command line, for a method or the preset's own."""
        name = self.method if method is None else method
        return shlex.split(f"{self.flags} --method {name} {self.methods.get(name, '')}")


_PUZZLE = (
    "--label-smoothing 0 --photo-crops 0 --batch 100 --weight-decay 1e-4 --schedule multi_step"
)
_R_MIX = (
    "--dataset cifar100 --sizes 32 --label-smoothing 0 --photo-crops 0 --batch 100 --lr 0.3 "
    "--weight-decay 1e-4 --schedule one_cycle --warm-part 0.3 --start-divisor 100 "
    "--end-divisor 100"
)
_FINE = (
    "--label-smoothing 0 --photo-crops 0.5 --sizes 224 --epochs 200 --batch 16 --lr 0.01 "
    "--schedule multi_step --milestones 0.5,0.75 --network resnet18"
)
_IMAGENET = (
    "--sizes 224 --epochs 100 --batch 256 --lr 0.1 --weight-decay 1e-4 --label-smoothing 0 "
    "--photo-crops 1 --schedule one_cycle --network resnet50 --keep disk"
)
_SMALL_ALPHA = {
    "input_mixup": "--alpha 0.2",
    "manifold_mixup": "--alpha 0.2",
    "cutmix": "--alpha 0.2",
    "guided_sr": "--pairing greedy --mix-prob 0.5",
    "guided_ap": "--pairing greedy --mix-prob 0.8",
}
_ALPHA = {
    "input_mixup": "--alpha 1",
    "manifold_mixup": "--alpha 2",
    "cutmix": "--alpha 1",
    "guided_sr": "--pairing greedy --mix-prob 0.5",
    "guided_ap": "--pairing greedy --mix-prob 0.8",
}

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "puzzle-mix-cifar100": Preset(
            "Puzzle Mix, Table 3: PreActResNet-18, 1200 epochs. Rate, decay and milestones are "
            "those of the protocol it follows (Verma et al. 2019)",
            f"{_PUZZLE} --dataset cifar100 --sizes 32 --epochs 1200 --lr 0.1 --milestones 1/3,2/3",
            "puzzle_mix",
            _ALPHA | {"puzzle_adv": "--alpha 1"},
        ),
        "puzzle-mix-cifar100-wrn": Preset(
            "Puzzle Mix, Table 2: WRN-28-10, 400 epochs; otherwise as puzzle-mix-cifar100",
            f"{_PUZZLE} --dataset cifar100 --network wrn28_10 --sizes 32 --epochs 400 --lr 0.2 "
            "--milestones 0.5,0.75",
            "puzzle_mix",
            _ALPHA,
        ),
        "puzzle-mix-tiny-imagenet": Preset(
            "Puzzle Mix, Table 4: PreActResNet-18, λ_clean 1. Epochs, rate and milestones are "
            "those of the protocol it follows",
            f"{_PUZZLE} --sizes 64 --epochs 1200 --lr 0.2 --milestones 0.5,0.75",
            "puzzle_mix",
            _SMALL_ALPHA | {"puzzle_mix": "--clean 1", "puzzle_adv": "--clean 1"},
        ),
        "puzzle-mix-imagenet": Preset(
            "Puzzle Mix, Table 5: ResNet-50, 100 epochs under one cycle. Its phases of image size "
            "are not stated: 224 throughout",
            _IMAGENET,
            "puzzle_mix",
            _SMALL_ALPHA,
        ),
        "guided-fgvc": Preset(
            "GuidedMixup, Table 3: ResNet-18, batch 16, for CUB, Cars, Aircraft and Caltech. "
            "Epochs, decay and milestones are not stated: ours",
            _FINE,
            "guided_ap",
            _SMALL_ALPHA | {"snapmix": "--alpha 5"},
        ),
        "guided-scarce": Preset(
            "GuidedMixup, Table 6: WRN-28-10 on 10 % of CIFAR-100 (--per-class 50; 100 and 250 are "
            "its 20 and 50 %). Epochs and rate as puzzle-mix-cifar100-wrn",
            f"{_PUZZLE} --dataset cifar100 --network wrn28_10 --sizes 32 --epochs 400 --lr 0.2 "
            "--milestones 0.5,0.75 --per-class 50",
            "guided_ap",
            _ALPHA,
        ),
        "r-mix-cifar100": Preset(
            "R-Mix, Table 4: PreActResNet-18, 300 epochs, one cycle from 3e-3 over 0.3 to 3e-5",
            f"{_R_MIX} --epochs 300",
            "r_mix",
            _ALPHA | {"r_mix": "--alpha 1"},
        ),
        "r-mix-cifar100-wrn": Preset(
            "R-Mix, Table 4: WRN-28-10, 400 epochs; otherwise as r-mix-cifar100",
            f"{_R_MIX} --network wrn28_10 --epochs 400",
            "r_mix",
            _ALPHA | {"r_mix": "--alpha 1"},
        ),
        "cutmix-plus": Preset(
            "CutMix+ (R-Mix, Table 1): CutMix under the schedule of r-mix-cifar100",
            f"{_R_MIX} --epochs 300",
            "cutmix",
            _ALPHA,
        ),
        "rl-mix-cifar100": Preset(
            "RL-Mix (R-Mix, Table 9): the schedule of r-mix-cifar100",
            f"{_R_MIX} --epochs 300",
            "rl_mix",
            _ALPHA | {"rl_mix": "--alpha 1"},
        ),
        "r-mix-imagenet": Preset(
            "R-Mix, Table 5: ResNet-50, 100 epochs, α 0.2; otherwise as puzzle-mix-imagenet",
            _IMAGENET,
            "r_mix",
            _SMALL_ALPHA | {"r_mix": "--alpha 0.2"},
        ),
        "thin-tiny-imagenet": Preset(
            "the small classifiers in checkpoints/: PreActResNet-18 of half width, 40 epochs",
            "--width 32 --stem-stride 2 --epochs 40 --batch 256 --label-smoothing 0 "
            "--photo-crops 0",
            NO_METHOD,
            {"guidedmixup": "--pairing greedy --mix-prob 0.8"},
        ),
    }
)
