"""Schedules against PyTorch's, and presets against the command line they stand for."""

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR, OneCycleLR

from mixviz.train.command import main
from mixviz.train.flags import parse, recipe_of
from mixviz.train.presets import PRESETS
from mixviz.train.schedule import MultiStep, OneCycle, Schedule


def rates(schedule: Schedule, steps: int, peak: float) -> list[float]:
    return [peak * schedule.part(step, steps) for step in range(steps)]


def of_torch(scheduler: LRScheduler, optimiser: SGD, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return found


def an_optimiser(rate: float) -> SGD:
    return SGD([torch.zeros(1, requires_grad=True)], rate)


@pytest.mark.parametrize(
    ("schedule", "steps"),
    [(OneCycle(), 40), (OneCycle(0.3, 100, 100), 300), (OneCycle(0.5, 10, 1), 7)],
)
def test_one_cycle_is_that_of_torch(schedule: OneCycle, steps: int) -> None:
    optimiser = an_optimiser(0.3)
    theirs = OneCycleLR(
        optimiser,
        0.3,
        total_steps=steps,
        pct_start=schedule.warm_part,
        div_factor=schedule.start_divisor,
        final_div_factor=schedule.end_divisor,
        cycle_momentum=False,
    )
    expected = of_torch(theirs, optimiser, steps - 1)
    assert rates(schedule, steps, 0.3)[: steps - 1] == pytest.approx(expected, rel=1e-9)


def test_the_cycle_of_r_mix_begins_and_ends_as_its_paper_says() -> None:
    found = rates(OneCycle(0.3, 100, 100), 300, 0.3)
    assert (found[0], max(found), found[-1]) == pytest.approx((3e-3, 0.3, 3e-5))
    assert found.index(max(found)) == 89


def test_multi_step_is_that_of_torch() -> None:
    optimiser = an_optimiser(0.2)
    theirs = MultiStepLR(optimiser, [4, 8], gamma=0.1)
    expected = of_torch(theirs, optimiser, 12)
    assert rates(MultiStep((1 / 3, 2 / 3)), 12, 0.2) == pytest.approx(expected)
    assert rates(MultiStep((0.5,), 0.5), 3, 1.0) == [1.0, 1.0, 0.5]


def test_one_step_has_a_rate() -> None:
    assert rates(OneCycle(), 1, 1.0) == [1.0] or rates(OneCycle(), 1, 1.0)[0] > 0
    assert rates(MultiStep(), 1, 1.0) == [1.0]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_reads_as_a_command(
    name: str, tmp_path: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    """Read to the end, for each of its methods; only the data are missing."""
    for method in (None, *PRESETS[name].methods):
        typed = [] if method is None else ["--method", method]
        missing = ["--data", f"{tmp_path}/none", "--out", f"{tmp_path}/run"]
        assert main([*missing, "--preset", name, *typed]) == 2
        said = capsys.readouterr().err
        assert "no data folder" in said, said


def test_what_is_typed_beside_a_preset_counts() -> None:
    folders = ["--data", "d", "--out", "o"]
    common = [*folders, "--preset", "r-mix-cifar100"]
    recipe = recipe_of(parse(common))
    assert (recipe.epochs, recipe.batch, recipe.peak_lr) == (300, 100, 0.3)
    assert recipe.mixing is not None
    assert (recipe.mixing.method, recipe.mixing.alpha) == ("r_mix", 1)
    recipe = recipe_of(parse([*common, "--method", "cutmix", "--epochs", "3", "--lr", "0.1"]))
    assert (recipe.epochs, recipe.peak_lr) == (3, 0.1)
    assert recipe.mixing is not None
    assert recipe.mixing.method == "cutmix"
    assert recipe_of(parse([*common, "--method", "none"])).mixing is None


@pytest.mark.parametrize(
    ("preset", "words", "finds"),
    [
        ("thin-tiny-imagenet", "--sizes 16:1", {"epochs": 1}),
        ("thin-tiny-imagenet", "--network resnet18", {"options": {}}),
        ("thin-tiny-imagenet", "--width 16", {"options": {"width": 16, "stem_stride": 2}}),
        ("puzzle-mix-tiny-imagenet", "--schedule one_cycle", {"schedule": OneCycle()}),
        ("r-mix-cifar100", "--schedule multi_step", {"schedule": MultiStep()}),
        ("r-mix-cifar100", "--schedule one_cycle", {"schedule": OneCycle(0.3, 100, 100)}),
    ],
)
def test_what_is_typed_takes_a_presets_dependent_flags_along(
    preset: str, words: str, finds: dict[str, object]
) -> None:
    recipe = recipe_of(parse(["--data", "d", "--out", "o", "--preset", preset, *words.split()]))
    assert {name: getattr(recipe, name) for name in finds} == finds
