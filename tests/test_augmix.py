"""AugMix against torchvision's, given the same draws."""

import math

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from mixviz.core.types import Pair
from mixviz.methods import METHODS
from mixviz.methods.augmix import OPERATIONS, AugMixParams, augment

METHOD = METHODS["augmix"]


def images_of(batch=2, size=24, seed=0):
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, 6, 6, generator=rng)
    return torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")


def pair_of(images):
    nothing = torch.full((len(images), *images.shape[2:]), math.nan)
    return Pair(images, torch.full_like(images, math.nan), nothing, nothing)


@pytest.mark.parametrize(("severity", "width"), [(3, 3), (1, 2), (10, 5)])
@pytest.mark.parametrize("seed", range(8))
def test_it_is_torchvision_s_given_the_same_draws(seed, severity, width):
    image = images_of(1, seed=seed)
    transform = v2.AugMix(severity=severity, mixture_width=width, all_ops=False)
    torch.manual_seed(seed)
    expected = transform(image)
    found = augment(image, AugMixParams(severity, width, 3, seed))
    torch.testing.assert_close(found.mixed, expected, atol=1e-5, rtol=0)


def test_every_operation_is_drawn_and_none_else():
    image = images_of(1, size=8)
    drawn = {
        step.name: step
        for seed in range(40)
        for chain in augment(image, AugMixParams(10, 5, 3, seed)).chains[0]
        for step in chain
    }
    assert set(drawn) == set(OPERATIONS)
    assert len(drawn) == 9


def test_the_mix_is_what_its_parts_say():
    found = augment(images_of(), AugMixParams(seed=torch.tensor([4, 5])))
    torch.testing.assert_close(found.chain_shares.sum(1), torch.ones(2))
    for item in range(2):
        chains = zip(found.chain_shares[item], found.chain_images[item], strict=True)
        distorted = sum(share * image for share, image in chains)
        kept = found.share[item]
        expected = kept * images_of()[item] + (1 - kept) * distorted
        torch.testing.assert_close(found.mixed[item], expected)


@pytest.mark.parametrize(("width", "depth"), [(1, 1), (3, 3), (4, 2)])
def test_chains_are_as_many_and_as_long_as_asked(width, depth):
    lengths = set()
    for seed in range(12):
        found = augment(images_of(1, size=8), AugMixParams(3, width, depth, seed))
        assert len(found.chains[0]) == width
        lengths |= {len(chain) for chain in found.chains[0]}
    assert lengths == set(range(1, depth + 1))


def test_severity_bounds_the_strength():
    images = images_of(1, size=30)
    strongest = {1: {}, 3: {}}
    for severity, found in strongest.items():
        for seed in range(60):
            for chain in augment(images, AugMixParams(severity, 5, 3, seed)).chains[0]:
                for step in chain:
                    found[step.name] = max(found.get(step.name, 0), abs(step.strength))
    for name in ("rotate", "shear x", "shear y", "translate x", "translate y"):
        assert strongest[1][name] == 0, "the first of ten strengths does nothing"
    assert strongest[3]["rotate"] == pytest.approx(30 * 2 / 9, rel=1e-6)
    assert strongest[3]["translate x"] == pytest.approx(10 * 2 / 9, rel=1e-6)


def test_shares_are_drawn_evenly():
    found = augment(torch.zeros(3000, 3, 2, 2), AugMixParams(1, 2, 1, torch.arange(3000)))
    for values in (found.share, found.chain_shares[:, 0]):
        ranked = np.sort(values.numpy())
        uniform = np.arange(1, 3001) / 3000
        assert np.abs(ranked - uniform).max() < 0.04


def test_seeds_decide_alone():
    images = images_of(3)
    state = torch.get_rng_state()
    one = augment(images, AugMixParams(seed=torch.tensor([1, 2, 1])))
    assert torch.equal(torch.get_rng_state(), state), "the global generator was used"
    assert one.chains[0] == one.chains[2] != one.chains[1]
    again = augment(images[1:2], AugMixParams(seed=2))
    assert torch.equal(again.mixed[0], one.mixed[1])


def test_only_the_first_picture_takes_part():
    images = images_of()
    trace = METHOD.mix(pair_of(images), AugMixParams(seed=3))
    found = augment(images, AugMixParams(seed=3))
    assert torch.equal(trace.mixed, found.mixed)
    assert trace.weights.tolist() == [[1.0, 0.0]] * 2
    assert not trace.mask.any()
    assert trace.chains == found.chains
    kept = trace.share[:, None, None, None]
    torch.testing.assert_close(trace.mixed, kept * images + (1 - kept) * trace.distorted)


def test_other_methods_take_its_pictures():
    images = images_of()
    inputs = [augment(images, AugMixParams(seed=seed)).mixed for seed in (1, 2)]
    saliency = torch.ones(2, 24, 24)
    trace = METHODS["guidedmixup"].mix(
        Pair(*inputs, saliency, saliency), METHODS["guidedmixup"].params()
    )
    torch.testing.assert_close(trace.mixed, (inputs[0] + inputs[1]) / 2)
