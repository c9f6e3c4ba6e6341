"""GuidedMixup's mask and labels against a numpy oracle written from eqs. 2 and 3."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mixviz.core.pairing import pair_batch
from mixviz.core.saliency import gaussian_blur, spectral_residual
from mixviz.core.types import Pair
from mixviz.methods import METHODS
from mixviz.methods.base import FLAGS
from mixviz.methods.guidedmixup import METHOD, GuidedMixupParams, blur, mix, mix_blurred

seeds = st.integers(0, 2**16)
few = settings(max_examples=20, deadline=None, derandomize=True, phases=[Phase.generate])


def make_pair(batch=2, size=16, seed=0, dtype=torch.float64):
    rng = torch.Generator().manual_seed(seed)
    images = torch.rand(2, batch, 3, size, size, generator=rng).to(dtype)
    maps = torch.rand(2, batch, size, size, generator=rng).to(dtype) ** 3
    return Pair(*images, *maps)


def by_the_paper(pair, params):
    """Return mix, mask and weights of eqs. 2 and 3, image by image in numpy."""
    mixed, masks, weights = [], [], []
    for x0, x1, *maps in zip(pair.x0, pair.x1, pair.s0, pair.s1, strict=True):
        z0, z1 = (
            ndimage.gaussian_filter(
                s.numpy(), params.blur_sigma, mode="mirror", radius=params.blur_kernel // 2
            )
            for s in maps
        )
        z0, z1 = z0 / z0.sum(), z1 / z1.sum()
        masks.append(z1 / (z0 + z1))
        mixed.append(z0 / (z0 + z1) * x0.numpy() + z1 / (z0 + z1) * x1.numpy())
        weights.append([(z0 / (z0 + z1)).mean(), (z1 / (z0 + z1)).mean()])
    return np.array(mixed), np.array(masks), np.array(weights)


@few
@given(
    seed=seeds,
    kernel=st.sampled_from([1, 3, 7, 15, 31]),
    sigma=st.sampled_from([0.1, 0.5, 3.0, 10.0, 1e9]),
)
def test_mask_mix_and_weights_are_the_paper_s(seed, kernel, sigma):
    pair, params = make_pair(seed=seed), GuidedMixupParams(kernel, sigma)
    trace = mix(pair, params)
    mixed, mask, weights = by_the_paper(pair, params)
    np.testing.assert_allclose(trace.mixed, mixed, rtol=0, atol=1e-9)
    np.testing.assert_allclose(trace.mask, mask, rtol=0, atol=1e-9)
    np.testing.assert_allclose(trace.weights, weights, rtol=0, atol=1e-9)
    assert trace.flags == {}


def test_the_paper_s_blur_is_the_default():
    pair = make_pair()
    assert GuidedMixupParams() == GuidedMixupParams(blur_kernel=7, blur_sigma=3.0)
    trace = mix(pair, GuidedMixupParams())
    for blurred, s in ((trace.blurred_0, pair.s0), (trace.blurred_1, pair.s1)):
        once = gaussian_blur(s, 7, 3.0)
        torch.testing.assert_close(blurred, once / once.sum((1, 2), keepdim=True))
        torch.testing.assert_close(blurred.sum((1, 2)), torch.ones(2).double())


@few
@given(seed=seeds)
def test_the_mirror_is_exact_to_rounding(seed):
    pair = make_pair(seed=seed)
    turned = Pair(pair.x1, pair.x0, pair.s1, pair.s0)
    ours, theirs = mix(pair, GuidedMixupParams()), mix(turned, GuidedMixupParams())
    torch.testing.assert_close(ours.mask, 1 - theirs.mask, rtol=0, atol=1e-14)
    torch.testing.assert_close(ours.mixed, theirs.mixed, rtol=0, atol=1e-14)
    torch.testing.assert_close(ours.weights, theirs.weights.flip(1), rtol=0, atol=1e-14)
    assert torch.equal(ours.blurred_0, theirs.blurred_1)


def test_equal_saliency_shares_evenly_and_a_picture_with_itself_is_itself():
    pair = make_pair(dtype=torch.float32)
    same = mix(replace(pair, s1=pair.s0), GuidedMixupParams())
    assert torch.equal(same.mask, torch.full_like(same.mask, 0.5))
    itself = mix(Pair(pair.x0, pair.x0, pair.s0, pair.s1), GuidedMixupParams())
    torch.testing.assert_close(itself.mixed, pair.x0)


def spike(row, column, size=16):
    maps = torch.zeros(1, size, size)
    maps[0, row, column] = 1
    return maps


def test_where_neither_is_salient_they_share_evenly_and_it_is_said():
    pair = replace(make_pair(1, dtype=torch.float32), s0=spike(2, 2), s1=spike(12, 12))
    trace = mix(pair, GuidedMixupParams(blur_kernel=3))
    assert trace.mask.isfinite().all()
    assert (trace.mask[0, 1:4, 1:4] == 0).all()
    assert (trace.mask[0, 11:14, 11:14] == 1).all()
    away = torch.ones(16, 16, dtype=torch.bool)
    away[1:4, 1:4] = away[11:14, 11:14] = False
    assert (trace.mask[0][away] == 0.5).all()
    assert trace.flags == {"no_saliency": (0,)}
    assert set(trace.flags) <= set(FLAGS)
    torch.testing.assert_close(trace.weights, torch.full((1, 2), 0.5))


def test_only_the_item_concerned_is_flagged():
    pair = make_pair(3, dtype=torch.float32)
    pair.s0[1], pair.s1[1] = spike(2, 2)[0], spike(12, 12)[0]
    pair.s1[2] = 0
    trace = mix(pair, GuidedMixupParams())
    assert trace.flags == {"no_saliency": (1,), "flat_saliency_1": (2,)}
    torch.testing.assert_close(trace.blurred_1[2], torch.full((16, 16), 1 / 256))


@pytest.mark.parametrize("scale", [1e-44, 1e-38, 1e-20, 1.0, 1e20, 3e38])
def test_the_scale_of_saliency_does_not_matter(scale):
    pair = make_pair(dtype=torch.float32)
    pair = replace(pair, s0=(pair.s0 > 0.3).float())
    scaled = replace(pair, s0=pair.s0 * scale)
    ours, theirs = mix(pair, GuidedMixupParams()), mix(scaled, GuidedMixupParams())
    torch.testing.assert_close(ours.mask, theirs.mask)


def test_the_more_salient_picture_shows():
    pair = replace(
        make_pair(1, dtype=torch.float32), s0=spike(4, 4) + 0.01, s1=spike(11, 11) + 0.01
    )
    mask = mix(pair, GuidedMixupParams(blur_kernel=3)).mask[0]
    assert mask[4, 4] < 0.2
    assert mask[11, 11] > 0.8
    assert mask[0, 15] == pytest.approx(0.5)


@pytest.mark.parametrize("kernel", [2, 4, 8, 30])
def test_an_even_kernel_is_refused_in_the_same_form(kernel):
    message = rf"^GuidedMixupParams\.blur_kernel \(k\) must be odd, got {kernel}$"
    with pytest.raises(ValueError, match=message):
        GuidedMixupParams(blur_kernel=kernel)


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf, 0.05])
def test_a_width_that_is_none_is_refused(sigma):
    with pytest.raises(ValueError, match=r"blur_sigma \(σ\) must lie in \[0.1, inf\), got"):
        GuidedMixupParams(blur_sigma=sigma)


def test_saliency_that_cannot_be_is_refused():
    pair = make_pair()
    for name in ("s0", "s1"):
        bad = getattr(pair, name).clone()
        bad[1, 2, 3] = -0.25
        with pytest.raises(ValueError, match=f"{name} must not be negative, got -0.25"):
            mix(replace(pair, **{name: bad}), GuidedMixupParams())
        bad[1, 2, 3] = math.nan
        with pytest.raises(ValueError, match=rf"{name} must be finite, got nan at index \(1, 2, 3"):
            mix(replace(pair, **{name: bad}), GuidedMixupParams())
    with pytest.raises(ValueError, match="kernel must be odd and smaller than the map, got 33"):
        mix(pair, GuidedMixupParams(blur_kernel=33))


def test_a_step_of_training_blurs_once():
    """A batch: pairs by the blurred maps, which then need no second blur."""
    x = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    saliency = spectral_residual(x)
    blurred = gaussian_blur(saliency)
    partner = pair_batch(blurred).partner
    again = METHOD.mix(Pair(x, x[partner], saliency, saliency[partner]), GuidedMixupParams())
    once = METHOD.mix(
        Pair(x, x[partner], blurred, blurred[partner]), GuidedMixupParams(blur_kernel=1)
    )
    torch.testing.assert_close(again.mixed, once.mixed)
    torch.testing.assert_close(again.weights, once.weights)


def test_it_is_on_the_menu():
    assert METHODS["guidedmixup"] is METHOD
    assert METHOD.contract == "independent"
    assert METHOD.opening(8) == GuidedMixupParams()


@pytest.mark.parametrize("kernel", [1, 7])
def test_maps_blurred_once_for_a_batch_mix_as_those_blurred_for_a_pair(kernel):
    pair, params = make_pair(batch=3), GuidedMixupParams(blur_kernel=kernel)
    partner = torch.tensor([2, 0, 1])
    batch = blur("saliency", pair.s0, params)
    both = Pair(pair.x0, pair.x0[partner], pair.s0, pair.s0[partner])
    expected, found = mix(both, params), mix_blurred(both, batch, batch[partner])
    for name in ("mixed", "mask", "weights", "blurred_0", "blurred_1"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
