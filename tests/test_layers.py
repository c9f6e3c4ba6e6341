"""A classifier cut at a layer is the same classifier."""

import pytest
import torch
from torch import nn

from mixviz.core.saliency import resize
from mixviz.networks import NETWORKS, default_options
from mixviz.zoo.architectures import TORCHVISION
from mixviz.zoo.classifier import Classifier
from mixviz.zoo.layers import (
    class_activation,
    features_at,
    last_maps,
    layer_names,
    logits_from,
)

STAGES = {
    "wrn16_8": 3,
    "wrn28_10": 3,
    "resnext29_4x24": 3,
    "convnext_tiny": 4,
    "efficientnet_b0": 5,
    "mobilenet_v3_large": 5,
}
NAMES = tuple(dict.fromkeys((*NETWORKS, *TORCHVISION)))
# Heads with something between the average pool and the last linear layer.
DEEP_HEADS = ("convnext_tiny", "mobilenet_v3_large")


def classifier_of(network, size):
    return Classifier(
        network,
        slug="toy",
        title="Toy",
        input_size=size,
        class_names=[str(k) for k in range(7)],
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.3, 0.25),
    )


def build(name):
    torch.manual_seed(0)
    if name in NETWORKS and "width" in default_options(name):
        return classifier_of(NETWORKS[name](7, width=4), 16)
    if name in NETWORKS:
        return classifier_of(NETWORKS[name](7), 32)
    from torchvision.models import get_model

    return classifier_of(get_model(name, weights=None, num_classes=7), 32)


@pytest.fixture(scope="module", params=NAMES)
def named(request):
    return request.param, build(request.param)


@pytest.fixture(scope="module")
def preact():
    return build("preactresnet18")


def images(count=2, size=40, seed=1):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_every_layer_gives_the_logits_bit_for_bit(named):
    name, classifier = named
    x = images()
    before = {key: value.clone() for key, value in classifier.state_dict().items()}
    with torch.no_grad():
        wanted = classifier(resize(x, classifier.input_size))
        names = layer_names(classifier)
        assert names == ("input", *(f"stage {k}" for k in range(1, STAGES.get(name, 4) + 1)))
        sides = []
        for layer in range(len(names)):
            features = features_at(classifier, layer, x)
            sides.append(features.shape[-1])
            assert torch.equal(logits_from(classifier, layer, features), wanted), names[layer]
        assert torch.equal(classifier(resize(x, classifier.input_size)), wanted)
    assert sides == sorted(sides, reverse=True)
    assert len(set(sides[2:])) == len(sides[2:]), "a stage per resolution"
    assert all(torch.equal(before[k], v) for k, v in classifier.state_dict().items())
    for module in classifier.modules():
        assert not module._forward_hooks
        assert not module.training


def test_torchvisions_own_densenet_is_cut_as_ours():
    from torchvision.models import densenet121

    torch.manual_seed(0)
    theirs = classifier_of(densenet121(weights=None, num_classes=7), 32)
    ours = build("densenet121")
    x = images()
    with torch.no_grad():
        wanted = theirs(resize(x, 32))
        assert layer_names(theirs) == layer_names(ours)
        for layer in range(len(layer_names(theirs))):
            assert torch.equal(logits_from(theirs, layer, features_at(theirs, layer, x)), wanted)
    there, here = last_maps(theirs, x), last_maps(ours, x)
    assert torch.equal(there.features, here.features)
    assert (there.features >= 0).all()


def test_the_input_layer_is_the_picture_normalised(preact):
    x = images(size=16)
    features = features_at(preact, 0, x)
    assert torch.equal(features, (x - preact.mean) / preact.std)


def test_a_gradient_passes_through_a_layer(preact):
    x = images(size=16).requires_grad_(True)
    features = features_at(preact, 2, x)
    (gradient,) = torch.autograd.grad(logits_from(preact, 2, features).sum(), x)
    assert gradient.abs().sum() > 0


def linear_of(classifier):
    return [m for m in classifier.modules() if isinstance(m, nn.Linear)][-1]


def test_where_the_head_is_linear_the_weight_is_its_row(named):
    name, classifier = named
    x = images(3)
    label = torch.tensor([0, 6, 2])
    last = last_maps(classifier, x, label)
    with torch.no_grad():
        assert torch.equal(last.logits, classifier(resize(x, classifier.input_size)))
    assert torch.equal(last.label, label)
    head = linear_of(classifier)
    linear = head.weight.shape[1] == last.weight.shape[1] and name not in DEEP_HEADS
    assert linear is (name not in DEEP_HEADS)
    if linear:
        torch.testing.assert_close(last.weight, head.weight[label])
        mean = (last.weight * last.features.mean((2, 3))).sum(1) + head.bias[label]
        torch.testing.assert_close(mean, last.logits.gather(1, label[:, None])[:, 0])
    else:
        assert last.weight.abs().sum() > 0
    assert not last.features.requires_grad


def test_the_weight_of_a_deep_head_is_its_slope():
    classifier = build("mobilenet_v3_large").double()
    x, label = images(1).double(), torch.tensor([3])
    last = last_maps(classifier, x, label)
    step = 1e-6
    final = len(layer_names(classifier)) - 1
    for channel in (0, 5, 100):
        logits = []
        for sign in (1, -1):
            nudged = last.features.clone()
            nudged[:, channel] += sign * step
            logits.append(logits_from(classifier, final, nudged)[0, 3])
        slope = (logits[0] - logits[1]) / (2 * step)
        torch.testing.assert_close(last.weight[0, channel], slope, rtol=1e-4, atol=1e-9)


def test_class_activation_has_the_size_of_the_picture(preact):
    x = images(2, size=16)
    maps = class_activation(preact, x)
    assert maps.shape == (2, 16, 16)
    predicted = preact(x).argmax(1)
    assert torch.equal(maps, class_activation(preact, x, predicted))
    last = last_maps(preact, x)
    exact = (last.weight[:, :, None, None] * last.features).sum(1)
    up = nn.functional.interpolate(exact[:, None], size=(16, 16), mode="bilinear")[:, 0]
    torch.testing.assert_close(maps, up)


def test_what_is_not_there_is_refused(preact):
    x = images(size=16)
    with pytest.raises(ValueError, match=r"toy: layer must lie in \[0, 4\], got 5"):
        features_at(preact, 5, x)
    with pytest.raises(ValueError, match=r"layer must lie in \[0, 4\], got -1"):
        logits_from(preact, -1, x)
    with pytest.raises(ValueError, match=r"label must lie in \[0, 6\]"):
        last_maps(preact, x, torch.tensor([0, 7]))
    with pytest.raises(ValueError, match="layers of Sequential are not known"):
        layer_names(classifier_of(nn.Sequential(nn.Flatten()), 16))
    x[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="x must be finite"):
        features_at(preact, 1, x)
    with pytest.raises(ValueError, match="features must be finite"):
        logits_from(preact, 0, x)
