"""Manifold Mixup: the features are mixed as the labels are, and the picture is for the eye."""

import pytest
import torch
from torch import nn

from mixviz.core.types import Pair
from mixviz.methods import METHODS
from mixviz.methods.input_mixup import InputMixupParams
from mixviz.methods.manifold_mixup import ManifoldMixupParams

METHOD = METHODS["manifold_mixup"]


def pair_of(batch=3, seed=0):
    rng = torch.Generator().manual_seed(seed)
    x0, x1 = torch.rand(2, batch, 3, 8, 8, generator=rng)
    nothing = torch.full((batch, 8, 8), float("nan"))
    f0, f1 = torch.randn(2, batch, 4, 2, 2, generator=rng)
    return Pair(x0, x1, nothing, nothing, f0=f0, f1=f1)


def test_features_are_mixed_item_by_item():
    pair, lam = pair_of(), torch.tensor([0.0, 0.3, 1.0])
    trace = METHOD.mix(pair, ManifoldMixupParams(lam))
    assert torch.equal(trace.features[0], pair.f0[0])
    assert torch.equal(trace.features[2], pair.f1[2])
    torch.testing.assert_close(trace.features[1], 0.7 * pair.f0[1] + 0.3 * pair.f1[1])
    torch.testing.assert_close(trace.weights, torch.stack((1 - lam, lam), 1))
    assert trace.features_0 is pair.f0
    assert trace.features_1 is pair.f1


def test_the_picture_is_input_mixup_s():
    pair = pair_of()
    ours = METHOD.mix(pair, ManifoldMixupParams(0.3))
    theirs = METHODS["input_mixup"].mix(pair, InputMixupParams(0.3))
    assert torch.equal(ours.mixed, theirs.mixed)
    assert torch.equal(ours.mask, theirs.mask)


def test_it_says_that_the_classifier_never_sees_the_picture():
    pair = pair_of()
    assert METHOD.mix(pair, ManifoldMixupParams(layer=0)).flags == {}
    for layer in (1, 4):
        trace = METHOD.mix(pair, ManifoldMixupParams(layer=layer))
        assert trace.flags == {"mixed_inside": (0, 1, 2)}
        assert trace.layer == layer


def test_where_the_rest_is_linear_it_makes_no_difference_where_it_mixes():
    torch.manual_seed(0)
    first, rest = nn.Conv2d(3, 4, 3), nn.Sequential(nn.Conv2d(4, 2, 3), nn.Flatten())
    pair = pair_of()
    with torch.no_grad():
        pair = Pair(pair.x0, pair.x1, pair.s0, pair.s1, f0=first(pair.x0), f1=first(pair.x1))
        trace = METHOD.mix(pair, ManifoldMixupParams(0.3))
        torch.testing.assert_close(rest(trace.features), rest(first(trace.mixed)))


def test_feature_maps_must_be_of_one_shape():
    pair = pair_of()
    object.__setattr__(pair, "f1", torch.zeros(3, 4, 1, 1))  # as where types are not checked
    with pytest.raises(ValueError, match=r"^f1 must be shaped as f0, \(3, 4, 2, 2\), got"):
        METHOD.mix(pair, ManifoldMixupParams())


def test_training_draws_the_first_three_layers():
    drawn = [METHOD.draw(torch.Generator().manual_seed(seed), 2, 2.0) for seed in range(30)]
    assert {params.layer for params in drawn} == {0, 1, 2}
    assert METHOD.alpha == 2.0
