"""Saliency against finite differences, a model worked by hand, and the published formulas."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import nn
from torch.nn.functional import cross_entropy, interpolate
from torchvision.transforms.v2 import functional as vision

from mixviz.core.blocks import sum_to_one
from mixviz.core.saliency import (
    class_activation_map,
    explain,
    gaussian_blur,
    gradient_saliency,
    resize,
    spectral_residual,
)


def random_images(batch=2, size=6, seed=0, dtype=torch.float64):
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 3, size, size, generator=rng, dtype=dtype)


def smooth_network(seed=0, classes=4):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(5, 4, 3, stride=2),
        nn.Softplus(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, classes),
    ).double()


class Batchy(nn.Module):
    """Everything that has a state: running statistics, dropout, an own input size."""

    input_size = None

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5)
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

    def forward(self, x):
        return self.head(self.body(x))


# --- the gradient of a classifier


@pytest.mark.parametrize("label", [None, [2, 0]], ids=["predicted", "given"])
def test_gradient_is_the_finite_difference_of_the_loss(label):
    network, x = smooth_network(), random_images()
    label = network(x).argmax(1) if label is None else torch.tensor(label)
    step = 1e-5
    slow = torch.zeros_like(x)
    with torch.no_grad():
        for item in range(len(x)):
            nudges = torch.eye(x[0].numel(), dtype=x.dtype).view(-1, *x.shape[1:]) * step
            many = label[item].expand(len(nudges))
            rise = cross_entropy(network(x[item] + nudges), many, reduction="none")
            fall = cross_entropy(network(x[item] - nudges), many, reduction="none")
            slow[item] = ((rise - fall) / (2 * step)).view(x.shape[1:])
    found = explain(network, x, label)
    torch.testing.assert_close(found.gradient, slow, rtol=1e-5, atol=1e-9)
    norm = (slow[:, 0] ** 2 + slow[:, 1] ** 2 + slow[:, 2] ** 2) ** 0.5
    torch.testing.assert_close(found.saliency, norm, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(gradient_saliency(network, x, label), found.saliency)


def test_a_linear_softmax_worked_by_hand():
    # Two classes, one pixel: logits a·r + b·g and c·b; at x = 0 both chances are a half.
    weight = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 12.0]])
    x = torch.zeros(1, 3, 1, 1)

    def classifier(images):
        return images.flatten(1) @ weight.T

    # ∇ = Wᵀ(p − e_y): for y = 0, (−3/2, −4/2, 12/2) of norm 13/2; y = 1 is its negative.
    for label, sign in ((0, 1.0), (1, -1.0)):
        found = explain(classifier, x, torch.tensor([label]))
        assert found.gradient.flatten().tolist() == [-1.5 * sign, -2.0 * sign, 6.0 * sign]
        assert found.saliency.flatten().tolist() == [6.5]
        assert found.logits.tolist() == [[0.0, 0.0]]


def test_a_linear_softmax_everywhere():
    rng = torch.Generator().manual_seed(3)
    weight = torch.randn(5, 3 * 16, generator=rng).double()
    x = random_images(3, 4)
    logits = x.flatten(1) @ weight.T
    label = torch.tensor([4, 0, 2])
    error = logits.softmax(1) - nn.functional.one_hot(label, 5)
    slow = (error @ weight).view_as(x)
    found = explain(lambda images: images.flatten(1) @ weight.T, x, label)
    torch.testing.assert_close(found.gradient, slow)
    torch.testing.assert_close(found.saliency, slow.square().sum(1).sqrt())


def test_without_a_label_the_predicted_class_is_explained():
    network, x = smooth_network(), random_images(8)
    predicted = network(x).argmax(1)
    found = explain(network, x)
    assert torch.equal(found.label, predicted)
    assert torch.equal(found.saliency, gradient_saliency(network, x, predicted))
    other = (predicted + 1) % 4
    assert not torch.allclose(found.saliency, gradient_saliency(network, x, other))
    torch.testing.assert_close(found.logits, network(x).detach())


def test_a_batch_equals_its_items():
    network, x = Batchy().double().train(), random_images(5)
    together = explain(network, x)
    for item in range(5):
        alone = explain(network, x[item : item + 1])
        torch.testing.assert_close(together.saliency[item], alone.saliency[0])
        torch.testing.assert_close(together.gradient[item], alone.gradient[0])


def state_of(network):
    return (
        [module.training for module in network.modules()],
        [(p.requires_grad, p.grad) for p in network.parameters()],
        {name: value.clone() for name, value in network.state_dict().items()},
        [len(module._forward_hooks) for module in network.modules()],
    )


def assert_untouched(network, before):
    modes, gradients, values, hooks = state_of(network)
    assert modes == before[0]
    assert gradients == before[1]
    assert all(torch.equal(values[name], before[2][name]) for name in values)
    assert hooks == before[3]


def test_nothing_is_left_behind_on_the_classifier():
    network, x = Batchy().double().train(), random_images()
    network.head.eval()  # a part that stands apart
    network.body[0].weight.requires_grad_(False)
    before, image = state_of(network), x.clone()
    found = explain(network, x)
    assert_untouched(network, before)
    assert torch.equal(x, image)
    assert x.grad is None
    assert not x.requires_grad
    for result in (found.saliency, found.gradient, found.logits):
        assert not result.requires_grad
    torch.testing.assert_close(found.saliency, gradient_saliency(network.eval(), x))


def test_nothing_is_left_behind_when_the_classifier_fails():
    network = Batchy().double().train()
    network.head[2] = nn.Linear(7, 3).double()
    before = state_of(network)
    with pytest.raises(RuntimeError):
        explain(network, random_images())
    assert_untouched(network, before)


def test_it_works_where_gradients_are_switched_off():
    network, x = smooth_network(), random_images()
    with torch.no_grad():
        inside = gradient_saliency(network, x)
        assert not torch.is_grad_enabled()
    assert torch.equal(inside, gradient_saliency(network, x))


@pytest.mark.parametrize("size", [16, 5])
def test_a_classifier_of_another_size_sees_resized_pictures(size):
    network, x = smooth_network(), random_images(2, 8)
    network.input_size = size
    small = vision.resize(x, [size, size], antialias=True)
    torch.testing.assert_close(resize(x, size), small)
    found = explain(network, x)
    network.input_size = None
    at_input = explain(network, small)
    torch.testing.assert_close(found.logits, at_input.logits)
    grown = interpolate(at_input.saliency[:, None], size=8, mode="bilinear")[:, 0]
    torch.testing.assert_close(found.saliency, grown)
    # The signed gradient is that of the picture itself, through the resizing.
    leaf = x.clone().requires_grad_(True)
    loss = cross_entropy(network(resize(leaf, size)), found.label, reduction="sum")
    torch.testing.assert_close(found.gradient, torch.autograd.grad(loss, leaf)[0])


@pytest.mark.parametrize("label", [[0, 4], [-1, 0]])
def test_a_label_that_is_no_class_is_refused(label):
    with pytest.raises(ValueError, match=r"label must lie in \[0, 3\], got \[") as refusal:
        gradient_saliency(smooth_network(), random_images(), torch.tensor(label))
    assert str(label) in str(refusal.value)


def test_what_is_not_finite_is_refused_by_name():
    network, x = smooth_network(), random_images()
    spoilt = x.clone()
    spoilt[1, 2, 0, 3] = math.nan
    with pytest.raises(ValueError, match=r"x must be finite, got nan at index \(1, 2, 0, 3\)"):
        gradient_saliency(network, spoilt)
    with pytest.raises(ValueError, match="x must be finite, got inf"):
        spectral_residual(torch.where(spoilt.isnan(), math.inf, spoilt))
    network[-1].bias.data[0] = math.inf
    with pytest.raises(ValueError, match="logits must be finite, got inf"):
        gradient_saliency(network, x)

    def steep(images):  # √0: finite, with an infinite slope
        return (images - images.detach()).sqrt().flatten(1)

    with pytest.raises(ValueError, match="gradient must be finite"):
        gradient_saliency(steep, x)


# --- the spectral residual


def hou_zhang(image, squared):
    """R = log|F| − h₃ * log|F|; S = |F⁻¹[exp(R + i·phase)]|², in NumPy."""
    grey = 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]
    spectrum = np.fft.fft2(grey)
    log_amplitude = np.log(np.abs(spectrum) + 1e-8)
    residual = log_amplitude - ndimage.uniform_filter(log_amplitude, 3, mode="wrap")
    back = np.fft.ifft2(np.exp(residual) * spectrum / np.abs(spectrum))
    return np.abs(back) ** (2 if squared else 1)


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("size", [5, 16, 33])
def test_spectral_residual_is_hou_and_zhang_s(size, squared):
    x = random_images(3, size, seed=size)
    ours = spectral_residual(x, squared)
    for item in range(3):
        slow = hou_zhang(x[item].numpy(), squared)
        np.testing.assert_allclose(ours[item], slow, rtol=1e-7, atol=1e-12)
    loose = spectral_residual(x.float(), squared)
    torch.testing.assert_close(loose.double(), ours, rtol=1e-3, atol=1e-5)


def test_squared_is_the_default():
    x = random_images()
    assert torch.equal(spectral_residual(x), spectral_residual(x, squared=True))
    torch.testing.assert_close(spectral_residual(x), spectral_residual(x, False) ** 2)


def test_a_larger_picture_is_shrunk_and_its_map_grown_back():
    x = random_images(2, 24)
    small = vision.resize(x, [8, 8], antialias=True)
    grown = interpolate(spectral_residual(small)[:, None], size=24, mode="bilinear")[:, 0]
    torch.testing.assert_close(spectral_residual(x, size=8), grown)
    assert torch.equal(spectral_residual(x, size=24), spectral_residual(x, size=128))
    assert spectral_residual(random_images(1, 160)).shape == (1, 160, 160)
    with pytest.raises(ValueError, match="size must be at least 3, got 2"):
        spectral_residual(x, size=2)


@pytest.mark.parametrize("grey", [0.0, 0.5, 0.7, 1.0])
def test_a_flat_picture_is_uniform_beside_one_that_is_not(grey):
    x = random_images(2, 16, dtype=torch.float32)
    x[1] = grey
    found = spectral_residual(x)
    torch.testing.assert_close(sum_to_one(found)[1], torch.full((16, 16), 1 / 256))
    assert found[0].std() > 0
    assert torch.equal(found[0], spectral_residual(x[:1])[0])


@settings(max_examples=20, deadline=None, derandomize=True)
@given(down=st.integers(0, 15), right=st.integers(0, 15), seed=st.integers(0, 99))
def test_spectral_residual_moves_with_the_picture_around_the_edges(down, right, seed):
    x = random_images(1, 16, seed)
    moved = spectral_residual(x.roll((down, right), (2, 3)))
    torch.testing.assert_close(moved, spectral_residual(x).roll((down, right), (1, 2)))


def test_a_single_stranger_stands_out():
    x = torch.full((1, 3, 32, 32), 0.5)
    x[:, :, :, ::4] = 0.6
    x[0, :, 9:12, 21:24] = 1.0
    row, column = divmod(int(spectral_residual(x)[0].argmax()), 32)
    assert 8 <= row <= 12
    assert 20 <= column <= 24


# --- options on any map


@pytest.mark.parametrize(("kernel", "sigma"), [(7, 3.0), (3, 0.5), (5, 10.0), (1, 2.0)])
def test_gaussian_blur_is_scipy_s_and_torchvision_s(kernel, sigma):
    maps = torch.rand(2, 9, 11, generator=torch.Generator().manual_seed(0)).double()
    ours = gaussian_blur(maps, kernel, sigma)
    theirs = vision.gaussian_blur(maps[:, None], [kernel, kernel], [sigma, sigma])[:, 0]
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)
    for item in range(2):
        slow = ndimage.gaussian_filter(maps[item], sigma, mode="mirror", radius=kernel // 2)
        np.testing.assert_allclose(ours[item], slow, rtol=1e-9)


def test_guidedmixup_s_blur_is_the_default():
    maps = random_images(1, 12)[:, 0]
    assert torch.equal(gaussian_blur(maps), gaussian_blur(maps, 7, 3.0))
    assert not torch.equal(gaussian_blur(maps), maps)


@pytest.mark.parametrize(
    ("kernel", "sigma", "message"),
    [
        (4, 3.0, "kernel must be odd and smaller than the map, got 4"),
        (0, 3.0, "kernel must be odd"),
        (-3, 3.0, "kernel must be odd"),
        (13, 3.0, "kernel must be odd and smaller than the map, got 13"),
        (3, 0.0, "sigma must be positive, got 0.0"),
        (3, -1.0, "sigma must be positive"),
        (3, math.nan, "sigma must be positive, got nan"),
    ],
)
def test_a_blur_that_cannot_be_is_refused(kernel, sigma, message):
    with pytest.raises(ValueError, match=message):
        gaussian_blur(torch.ones(1, 6, 6), kernel, sigma)


def test_sum_to_one_keeps_proportions_and_makes_nothing_uniform():
    maps = torch.tensor([[[1.0, 3.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
    expected = torch.tensor([[[0.125, 0.375], [0.0, 0.5]], [[0.25, 0.25], [0.25, 0.25]]])
    assert torch.equal(sum_to_one(maps), expected)
    assert torch.equal(sum_to_one(maps.flatten(1)), expected.flatten(1))
    tiny = sum_to_one(maps.double() * 1e-300)
    torch.testing.assert_close(tiny, expected.double())


# --- class activation maps


def test_activation_is_the_linear_layer_before_the_average():
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(2, 5, 4, 4, generator=rng, dtype=torch.float64)
    weight = torch.randn(3, 5, generator=rng, dtype=torch.float64)
    label = torch.tensor([2, 0])
    maps = class_activation_map(features, weight, label, 4)
    slow = torch.zeros(2, 4, 4, dtype=torch.float64)
    for item in range(2):
        for channel in range(5):
            slow[item] += weight[label[item], channel] * features[item, channel]
    torch.testing.assert_close(maps, slow)
    # Averaged, it is the logit of that class.
    logits = features.mean((2, 3)) @ weight.T
    torch.testing.assert_close(maps.mean((1, 2)), logits[torch.arange(2), label])


def test_activation_grows_bilinearly():
    features, weight = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), torch.tensor([[0.0], [2.0]])
    maps = class_activation_map(features, weight, torch.tensor([1]), 4)
    row = torch.tensor([2.0, 2.5, 3.5, 4.0])
    torch.testing.assert_close(maps[0], row + torch.tensor([[0.0], [1.0], [3.0], [4.0]]))


def test_activation_refuses_what_is_not_finite_and_labels_that_are_no_class():
    features, weight = torch.ones(1, 2, 3, 3), torch.ones(4, 2)
    for wrong in (-1, 4):
        with pytest.raises(ValueError, match=rf"^label must lie in \[0, 3\], got \[{wrong}\]$"):
            class_activation_map(features, weight, torch.tensor([wrong]), 6)
    label = torch.tensor([1])
    with pytest.raises(ValueError, match="features must be finite, got nan"):
        class_activation_map(features * math.nan, weight, label, 6)
    with pytest.raises(ValueError, match="weight must be finite, got inf"):
        class_activation_map(features, weight * math.inf, label, 6)
