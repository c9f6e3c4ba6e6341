"""Networks that mixviz trains and bundles, by the name a checkpoint card records."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import relu


class PreActBlock(nn.Module):
    """Two 3×3 convolutions, each after its own batch norm and ReLU (He et al. 2016, fig. 4e)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.norm_1 = nn.BatchNorm2d(channels_in)
        self.conv_1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.norm_2 = nn.BatchNorm2d(channels_out)
        self.conv_2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.projection: nn.Module | None = None
        if stride != 1 or channels_in != channels_out:
            self.projection = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add the residual to ``x``, or to its projection where the shape changes."""
        activated = relu(self.norm_1(x))
        residual = self.conv_2(relu(self.norm_2(self.conv_1(activated))))
        shortcut = x if self.projection is None else self.projection(activated)
        return residual + shortcut


class PreActResNet(nn.Module):
    """A pre-activation residual network for small images: stem, stages, norm, pool, linear."""

    def __init__(
        self, num_classes: int, blocks: tuple[int, ...], width: int, stem_stride: int
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, stem_stride, padding=1, bias=False)
        stages = []
        channels = width
        for index, count in enumerate(blocks):
            channels_out = width * 2**index
            strides = [1 if index == 0 else 2] + [1] * (count - 1)
            stage = []
            for stride in strides:
                stage.append(PreActBlock(channels, channels_out, stride))
                channels = channels_out
            stages.append(nn.Sequential(*stage))
        self.stages = nn.Sequential(*stages)
        self.norm = nn.BatchNorm2d(channels)
        self.head = nn.Linear(channels, num_classes)
        for module in self.modules():
            # On the meta device there is nothing to draw, and drawing there costs two seconds of
            # imports.
            if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor) -> Tensor:
        """The last feature map, after its norm and ReLU and before the average pool."""
        return relu(self.norm(self.stages(self.stem(x))))

    def forward(self, x: Tensor) -> Tensor:
        """Class logits of normalised images of any size."""
        return self.head(self.features(x).mean(dim=(2, 3)))


def preact_resnet18(num_classes: int, width: int = 64, stem_stride: int = 1) -> nn.Module:
    """PreActResNet-18 for small images (He et al. 2016, "Identity Mappings", arXiv:1603.05027).

    A 3×3 stem, four stages of two pre-activation blocks with ``width`` × (1, 2, 4, 8) channels
    and strides 1, 2, 2, 2. ``stem_stride=2`` halves the resolution once more at the start: a
    quarter of the work on 64-pixel images.

    Raises:
        ValueError: an option is not a positive whole number.
    """
    options = {"num_classes": num_classes, "width": width, "stem_stride": stem_stride}
    for name, value in options.items():
        if value < 1:
            raise ValueError(f"preact_resnet18: {name} must be at least 1, got {value}")
    return PreActResNet(num_classes, (2, 2, 2, 2), width, stem_stride)


NETWORKS: dict[str, Callable[..., nn.Module]] = {"preactresnet18": preact_resnet18}
"""Builders by name; each takes ``num_classes`` and the keyword options its card records."""
