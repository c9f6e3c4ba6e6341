"""The networks that can be trained have the sizes of their papers."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision.models
from torch import nn

from mixviz.networks import (
    NETWORKS,
    ResNeXt,
    default_options,
    densenet121,
    preact_resnet18,
    resnet18,
    resnet50,
    resnext29_4x24,
    wrn16_8,
    wrn28_10,
)
from mixviz.train.checkpoint import read_checkpoint, round_weights, write_checkpoint
from mixviz.zoo import CheckpointError, load_own


def count(build: Callable[[], nn.Module]) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in build().parameters())


def test_networks_have_as_many_parameters_as_the_literature_says() -> None:
    assert count(lambda: preact_resnet18(200)) == 11_269_640
    # Zagoruyko & Komodakis, Table 4: 36.5 M and 11.0 M.
    assert count(lambda: wrn28_10(10)) == 36_479_194
    assert count(lambda: wrn28_10(100)) == 36_479_194 + 90 * 641
    assert count(lambda: wrn16_8(10)) == 10_961_370
    assert round(count(lambda: wrn16_8(100)) / 1e6, 1) == 11.0
    # Xie et al., Table 7: ResNeXt-29 has 34.4 M with 8×64d and 68.1 M with 16×64d.
    assert count(lambda: ResNeXt(10, 3, 8, 64, 1)) == pytest.approx(34.4e6, abs=5e4)
    assert count(lambda: ResNeXt(10, 3, 16, 64, 1)) == pytest.approx(68.1e6, abs=6e4)


def test_resnext29_4x24_is_counted_by_hand() -> None:
    total = 3 * 64 * 9 + 2 * 64
    channels_in = 64
    for out in (256, 512, 1024):
        path = 24 * out // 256
        inner = 4 * path
        for place in range(3):
            total += channels_in * inner + 2 * inner  # 1×1
            total += 4 * path * path * 9 + 2 * inner  # 3×3 in four paths
            total += inner * out + 2 * out  # 1×1
            if place == 0:
                total += channels_in * out + 2 * out  # projection
            channels_in = out
    assert count(lambda: resnext29_4x24(10)) == total + 1024 * 10 + 10
    assert count(lambda: resnext29_4x24(100)) == total + 1024 * 100 + 100


def test_the_bundled_network_makes_a_small_file() -> None:
    assert len(safetensors.torch.save(round_weights(preact_resnet18(200)))) < 25e6


SMALL = ("preactresnet18", "wrn16_8", "wrn28_10", "resnext29_4x24")
LARGE = ("resnet18", "resnet50", "densenet121")


def tiny(name: str, classes: int) -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS[name](num_classes=classes, **({"width": 3} if name in SMALL else {}))


def test_every_network_is_small_or_large() -> None:
    assert (*SMALL, *LARGE) == tuple(NETWORKS)


def test_large_networks_have_as_many_parameters_as_torchvision_says() -> None:
    for build, total, channels in (
        (resnet18, 11_689_512, 512),
        (resnet50, 25_557_032, 2048),
        (densenet121, 7_978_856, 1024),
    ):
        assert count(lambda build=build: build(1000)) == total
        fewer = count(lambda build=build: build(200))
        assert fewer == total - 800 * (channels + 1)


@pytest.mark.parametrize("name", LARGE)
def test_large_networks_are_torchvisions_own(name: str) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name, weights=None, num_classes=5)
    ours = tiny(name, 5)
    weights = theirs.state_dict()
    assert list(ours.state_dict()) == list(weights)
    assert all(torch.equal(value, weights[k]) for k, value in ours.state_dict().items())
    for mode in (True, False):
        images = torch.randn(2, 3, 64, 64)
        theirs.train(mode)
        ours.train(mode)
        with torch.no_grad():
            expected = theirs(images)
            assert torch.equal(ours(images), expected)
            if not mode:
                features = ours.features(images)
                assert features.shape == (2, ours.head.in_features, 2, 2)
                assert (features >= 0).all()
                assert torch.equal(ours.classify(features), expected)
                pooled = ours.head(features.mean((2, 3)))
                torch.testing.assert_close(pooled, expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_learns_from_a_tiny_batch(name: str) -> None:
    network = tiny(name, 4)
    images, labels = torch.randn(4, 3, 32, 32), torch.arange(4)
    loss = nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    # So short a step downhill that the loss must fall, batch norm or not.
    with torch.no_grad():
        for parameter in network.parameters():
            assert parameter.grad.isfinite().all()
            parameter -= 1e-5 * parameter.grad
        assert nn.functional.cross_entropy(network(images), labels) < loss


@pytest.mark.parametrize("name", LARGE)
def test_a_checkpoint_of_a_large_network_comes_back(name: str, tmp_path: Path) -> None:
    network = tiny(name, 3).eval()
    weights = round_weights(network)
    card = {
        "architecture": {"name": name, "options": default_options(name)},
        "class_names": ["a", "b", "c"],
        "input_size": 32,
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "top1": 0.0,
        "top5": 0.0,
    }
    write_checkpoint(tmp_path, "toy", weights, card)
    _, loaded = read_checkpoint(tmp_path / "toy.json")
    assert all(torch.equal(v, weights[k].to(v.dtype)) for k, v in loaded.state_dict().items())
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), network(images), atol=0.05, rtol=0.05)


def test_nobody_waits_for_torchvision_who_does_not_want_it() -> None:
    text = (
        "import sys, mixviz.networks, mixviz.zoo.layers, mixviz.train.sources, mixviz.train.shelf; "
        "assert 'torchvision' not in sys.modules; "
        "mixviz.networks.preact_resnet18(2, width=1); assert 'torchvision' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


STAGES = {"preactresnet18": (1, 2, 4, 8), "wrn16_8": (8, 16, 32), "wrn28_10": (10, 20, 40)}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("side", "stride"), [(16, 1), (33, 1), (64, 2)])
def test_networks_take_any_size(name: str, side: int, stride: int) -> None:
    network = NETWORKS[name](num_classes=5, width=2, stem_stride=stride).eval()
    images = torch.randn(2, 3, side, side)
    expected = -(-side // stride)
    channels = [2 * scale for scale in STAGES.get(name, (128, 256, 512))]
    with torch.no_grad():
        x = network.stem(images)
        assert x.shape[-1] == expected
        for index, stage in enumerate(network.stages):
            x = stage(x)
            expected = expected if index == 0 else -(-expected // 2)
            assert x.shape == (2, channels[index], expected, expected)
        features = network.features(images)
        assert features.shape == x.shape
        assert (features >= 0).all()
        assert torch.equal(network(images), network.head(features.mean((2, 3))))


@pytest.mark.parametrize("name", NETWORKS)
def test_own_weights_are_taken_and_their_width_is_read(name: str) -> None:
    network = tiny(name, 3).eval()
    tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
    loaded = load_own(safetensors.torch.save(tensors), name, input_size=32, mean=[0] * 3)
    assert all(torch.equal(value, tensors[k]) for k, value in loaded.network.state_dict().items())
    if name != "preactresnet18":
        with pytest.raises(CheckpointError, match=r"is not a preactresnet18|has no output layer"):
            load_own(safetensors.torch.save(tensors), "preactresnet18")


def test_options_are_told_and_checked() -> None:
    assert default_options("preactresnet18") == {"width": 64, "stem_stride": 1}
    assert default_options("wrn28_10") == {"width": 16, "stem_stride": 1}
    assert default_options("resnext29_4x24") == {"width": 24, "stem_stride": 1}
    for name, build in NETWORKS.items():
        if name in LARGE:
            assert default_options(name) == {}
        else:
            sentence = rf"{build.__name__}: width must be at least 1, got 0"
            with pytest.raises(ValueError, match=sentence):
                build(10, width=0)
        with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
            build(0)
