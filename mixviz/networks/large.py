"""Networks for photographs: torchvision's own, opened at their last feature map.

Their tensors have torchvision's names, so that weights go both ways, and are drawn by torchvision.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d
from torchvision.models import DenseNet, ResNet
from torchvision.models.resnet import BasicBlock, Bottleneck

__all__ = ["BasicBlock", "Bottleneck", "DenseNetwork", "ResidualNetwork"]


class ResidualNetwork(ResNet):  # type: ignore[misc]
    """A residual network: a stem that halves twice, four stages, average pool, linear head."""

    @property
    def head(self) -> nn.Linear:
        """The linear layer behind the average pool."""
        return self.fc

    def features(self, x: Tensor) -> Tensor:
        """The last feature map, ready for the average pool."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def classify(self, features: Tensor) -> Tensor:
        """Class logits of the last feature map."""
        return self.fc(adaptive_avg_pool2d(features, 1).flatten(1))


class DenseNetwork(DenseNet):  # type: ignore[misc]
    """A densely connected network: a stem that halves twice, four blocks, pool, linear head.

    Its module ``features`` ends in the ReLU that torchvision applies after it.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.features.add_module("relu5", nn.ReLU())

    @property
    def head(self) -> nn.Linear:
        """The linear layer behind the average pool."""
        return self.classifier

    def classify(self, features: Tensor) -> Tensor:
        """Class logits of the last feature map."""
        return self.classifier(adaptive_avg_pool2d(features, 1).flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        """Class logits of normalised images of any size."""
        return self.classify(self.features(x))
