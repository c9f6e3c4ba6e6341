"""Networks for small images, 32 to 64 pixels: a 3×3 stem and nothing pooled before the end."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn.functional import relu


class SmallNetwork(nn.Module):
    """A residual network for small images: stem, stages, average pool, linear head.

    The map shrinks from stage to stage. What finishes the last map before the pool is nothing
    here, and a norm where the stages leave it to be done.
    """

    def __init__(self, stem: nn.Module, stages: Sequence[nn.Module]) -> None:
        super().__init__()
        self.stem = stem
        self.stages = nn.Sequential(*stages)

    def finish(self, x: Tensor) -> Tensor:
        """Make the last feature map of what leaves the last stage."""
        return x

    def features(self, x: Tensor) -> Tensor:
        """The last feature map, ready for the average pool."""
        return self.finish(self.stages(self.stem(x)))

    def classify(self, features: Tensor) -> Tensor:
        """Class logits of the last feature map."""
        return self.head(features.mean(dim=(2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        """Class logits of normalised images of any size."""
        return self.classify(self.features(x))

    def _close(self, channels: int, num_classes: int) -> None:
        """Add the head and draw the weights of the convolutions."""
        self.head = nn.Linear(channels, num_classes)
        for module in self.modules():
            # On the meta device there is nothing to draw, and drawing there costs two seconds of
            # imports.
            if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


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


class PreActResNet(SmallNetwork):
    """A pre-activation residual network: its last map is finished by a norm and a ReLU."""

    def __init__(
        self,
        num_classes: int,
        blocks: int,
        stem_channels: int,
        stage_channels: Sequence[int],
        stem_stride: int,
    ) -> None:
        super().__init__(
            nn.Conv2d(3, stem_channels, 3, stem_stride, padding=1, bias=False),
            _stages(PreActBlock, blocks, stem_channels, stage_channels),
        )
        self.norm = nn.BatchNorm2d(stage_channels[-1])
        self._close(stage_channels[-1], num_classes)

    def finish(self, x: Tensor) -> Tensor:
        """The last norm and its ReLU."""
        return relu(self.norm(x))


class BottleneckOfPaths(nn.Module):
    """1×1, grouped 3×3 and 1×1 convolutions, each with its batch norm (Xie et al. 2017, fig. 3c).

    The outputs are ``channels_out``; the group has ``paths`` paths of ``width`` channels.
    """

    def __init__(
        self, channels_in: int, channels_out: int, stride: int, paths: int, width: int
    ) -> None:
        super().__init__()
        inner = paths * width
        self.conv_1 = nn.Conv2d(channels_in, inner, 1, bias=False)
        self.norm_1 = nn.BatchNorm2d(inner)
        self.conv_2 = nn.Conv2d(inner, inner, 3, stride, padding=1, groups=paths, bias=False)
        self.norm_2 = nn.BatchNorm2d(inner)
        self.conv_3 = nn.Conv2d(inner, channels_out, 1, bias=False)
        self.norm_3 = nn.BatchNorm2d(channels_out)
        self.projection: nn.Module | None = None
        if stride != 1 or channels_in != channels_out:
            self.projection = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False),
                nn.BatchNorm2d(channels_out),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Add the residual to ``x``, or to its projection where the shape changes; then ReLU."""
        residual = relu(self.norm_1(self.conv_1(x)))
        residual = relu(self.norm_2(self.conv_2(residual)))
        residual = self.norm_3(self.conv_3(residual))
        return relu(residual + (x if self.projection is None else self.projection(x)))


class ResNeXt(SmallNetwork):
    """A residual network of grouped bottlenecks; stem and output widths are those of the paper."""

    def __init__(
        self, num_classes: int, blocks: int, paths: int, width: int, stem_stride: int
    ) -> None:
        stage_channels = (256, 512, 1024)

        def block(channels_in: int, channels_out: int, stride: int) -> nn.Module:
            path = width * channels_out // stage_channels[0]
            return BottleneckOfPaths(channels_in, channels_out, stride, paths, path)

        super().__init__(
            nn.Sequential(
                nn.Conv2d(3, 64, 3, stem_stride, padding=1, bias=False),
                nn.BatchNorm2d(64),
                nn.ReLU(),
            ),
            _stages(block, blocks, 64, stage_channels),
        )
        self._close(stage_channels[-1], num_classes)


def preact_resnet18(num_classes: int, width: int = 64, stem_stride: int = 1) -> nn.Module:
    """PreActResNet-18 for small images (He et al. 2016, "Identity Mappings", arXiv:1603.05027).

    A 3×3 stem, four stages of two pre-activation blocks with ``width`` × (1, 2, 4, 8) channels
    and strides 1, 2, 2, 2. ``stem_stride=2`` halves the resolution once more at the start: a
    quarter of the work on 64-pixel images.

    Raises:
        ValueError: an option is not a positive whole number.
    """
    check_positive("preact_resnet18", locals())
    channels = [width * scale for scale in (1, 2, 4, 8)]
    return PreActResNet(num_classes, 2, width, channels, stem_stride)


def wrn16_8(num_classes: int, width: int = 16, stem_stride: int = 1) -> nn.Module:
    """WRN-16-8, a wide residual network (Zagoruyko & Komodakis 2016, arXiv:1605.07146).

    A 3×3 stem of ``width`` channels, three stages of two pre-activation blocks with 8 × ``width``
    × (1, 2, 4) channels and strides 1, 2, 2; no dropout. ``stem_stride`` as in `preact_resnet18`.

    Raises:
        ValueError: an option is not a positive whole number.
    """
    check_positive("wrn16_8", locals())
    channels = [8 * width * scale for scale in (1, 2, 4)]
    return PreActResNet(num_classes, 2, width, channels, stem_stride)


def wrn28_10(num_classes: int, width: int = 16, stem_stride: int = 1) -> nn.Module:
    """WRN-28-10: as `wrn16_8`, four blocks a stage and 10 × ``width`` × (1, 2, 4) channels.

    Raises:
        ValueError: an option is not a positive whole number.
    """
    check_positive("wrn28_10", locals())
    channels = [10 * width * scale for scale in (1, 2, 4)]
    return PreActResNet(num_classes, 4, width, channels, stem_stride)


def resnext29_4x24(num_classes: int, width: int = 24, stem_stride: int = 1) -> nn.Module:
    """ResNeXt-29, 4×24d, for small images (Xie et al. 2017, arXiv:1611.05431, Section 5.3).

    A 3×3 stem of 64 channels, three stages of three blocks with 256, 512 and 1024 output channels
    and strides 1, 2, 2; in each block four paths, of ``width`` × (1, 2, 4) channels.
    ``stem_stride`` as in `preact_resnet18`.

    Raises:
        ValueError: an option is not a positive whole number.
    """
    check_positive("resnext29_4x24", locals())
    return ResNeXt(num_classes, 3, 4, width, stem_stride)


def _stages(
    block: Callable[[int, int, int], nn.Module],
    blocks: int,
    channels: int,
    stage_channels: Sequence[int],
) -> list[nn.Module]:
    """Build stages of so many blocks each; all but the first halve the resolution."""
    stages: list[nn.Module] = []
    for index, channels_out in enumerate(stage_channels):
        strides = [1 if index == 0 else 2] + [1] * (blocks - 1)
        stage = []
        for stride in strides:
            stage.append(block(channels, channels_out, stride))
            channels = channels_out
        stages.append(nn.Sequential(*stage))
    return stages


def check_positive(builder: str, options: dict[str, int]) -> None:
    """Refuse options below 1.

    Raises:
        ValueError: naming the builder and the option.
    """
    for name, value in options.items():
        if value < 1:
            raise ValueError(f"{builder}: {name} must be at least 1, got {value}")
