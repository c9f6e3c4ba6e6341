"""Networks that mixviz trains and bundles, by the name a checkpoint card records."""

import inspect
from collections.abc import Callable

from torch import nn

from mixviz.networks.small import (
    PreActResNet,
    ResNeXt,
    SmallNetwork,
    check_positive,
    preact_resnet18,
    resnext29_4x24,
    wrn16_8,
    wrn28_10,
)

__all__ = [
    "NETWORKS",
    "SMALLEST",
    "PreActResNet",
    "ResNeXt",
    "SmallNetwork",
    "default_options",
    "densenet121",
    "preact_resnet18",
    "resnet18",
    "resnet50",
    "resnext29_4x24",
    "wrn16_8",
    "wrn28_10",
]


def resnet18(num_classes: int) -> nn.Module:
    """ResNet-18 for photographs (He et al. 2015, arXiv:1512.03385), as torchvision builds it.

    Raises:
        ValueError: ``num_classes`` is not positive.
    """
    check_positive("resnet18", locals())
    # Imported when wanted, here and below: torchvision takes a second.
    from mixviz.networks.large import BasicBlock, ResidualNetwork

    return ResidualNetwork(BasicBlock, [2, 2, 2, 2], num_classes)


def resnet50(num_classes: int) -> nn.Module:
    """ResNet-50, as `resnet18`.

    Raises:
        ValueError: ``num_classes`` is not positive.
    """
    check_positive("resnet50", locals())
    from mixviz.networks.large import Bottleneck, ResidualNetwork

    return ResidualNetwork(Bottleneck, [3, 4, 6, 3], num_classes)


def densenet121(num_classes: int) -> nn.Module:
    """DenseNet-121 (Huang et al. 2017, arXiv:1608.06993), as torchvision builds it.

    Raises:
        ValueError: ``num_classes`` is not positive.
    """
    check_positive("densenet121", locals())
    from mixviz.networks.large import DenseNetwork

    return DenseNetwork(num_classes=num_classes)


def default_options(name: str) -> dict[str, int]:
    """The options of a network of `NETWORKS` and their defaults, as a card records them."""
    parameters = inspect.signature(NETWORKS[name]).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not one.empty}


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "preactresnet18": preact_resnet18,
    "wrn16_8": wrn16_8,
    "wrn28_10": wrn28_10,
    "resnext29_4x24": resnext29_4x24,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "densenet121": densenet121,
}
"""Builders by name; each takes ``num_classes`` and the keyword options its card records."""

SMALLEST = {"densenet121": 32}
"""Sides in pixels below which a feature map vanishes, of the networks that have such a limit."""
