"""The layers of a classifier: where Manifold Mixup can mix, and what the last one shows.

A network is cut into the pieces of its own forward pass: what comes before a layer and what comes
after are the same operations in the same order, so the logits are the same to the last bit. No
hooks; nothing is left on the network.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from mixviz.core.blocks import check_finite
from mixviz.core.saliency import resize
from mixviz.networks import NETWORKS, SmallNetwork
from mixviz.zoo.classifier import Classifier

Piece = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Pieces:
    """A network cut open: stages, one after the other, what finishes the last map, the head."""

    stages: tuple[Piece, ...]
    finish: Piece
    head: Piece

    def before(self, layer: int, x: Tensor) -> Tensor:
        """Return what leaves a layer; 0 is the input of the network."""
        return _run(self.stages[:layer], x)

    def after(self, layer: int, features: Tensor) -> Tensor:
        """Return the logits, from what left a layer."""
        return _run((*self.stages[layer:], self.finish, self.head), features)


@dataclass(frozen=True, eq=False)
class LastMaps:
    """What the last feature map holds for one class per image.

    Attributes:
        features: the last map before the average pool; channel, row, column.
        weight: how much the logit of the class rises with each channel's mean.
        label: the class.
        logits: of the images.
    """

    features: Float[Tensor, "b c u v"]
    weight: Float[Tensor, "b c"]
    label: Int[Tensor, " b"]
    logits: Float[Tensor, "b k"]


def layer_names(classifier: Classifier) -> tuple[str, ...]:
    """Return the names of the layers: the input, then a stage for each resolution.

    Raises:
        ValueError: for a network that is not one of the zoo's architectures.
    """
    stages = range(1, len(_cut(classifier).stages) + 1)
    return ("input", *(f"stage {stage}" for stage in stages))


def features_at(
    classifier: Classifier, layer: int, x: Float[Tensor, "b 3 h w"]
) -> Float[Tensor, "b c u v"]:
    """Return what leaves a layer, of images resized to the classifier's input size.

    Args:
        classifier: a classifier of the zoo.
        layer: an index into `layer_names`; 0 gives the resized and normalised images.
        x: images in [0, 1].

    Raises:
        ValueError: for a layer that the classifier does not have, or images that are not finite.
    """
    check_finite("x", x)
    pieces = _cut(classifier)
    _check_layer(classifier, layer, len(pieces.stages))
    features = (resize(x, classifier.input_size) - classifier.mean) / classifier.std
    return pieces.before(layer, features)


def logits_from(
    classifier: Classifier, layer: int, features: Float[Tensor, "b c u v"]
) -> Float[Tensor, "b k"]:
    """Finish the forward pass from what left a layer, as `features_at` returned it.

    Raises:
        ValueError: for a layer that the classifier does not have, or features that are not
            finite.
    """
    check_finite("features", features)
    pieces = _cut(classifier)
    _check_layer(classifier, layer, len(pieces.stages))
    return pieces.after(layer, features)


def last_maps(
    classifier: Classifier,
    x: Float[Tensor, "b 3 h w"],
    label: Int[Tensor, " b"] | None = None,
) -> LastMaps:
    """Return the last feature map and the weight of each channel for a class.

    The weight is the gradient of the logit with respect to the map, summed over places (Grad-CAM,
    arXiv:1610.02391). Where the head is an average pool and a linear layer, as in the residual
    networks, DenseNet and EfficientNet, that is the layer's own row, so CAM (arXiv:1512.04150);
    ConvNeXt normalises and MobileNet has a hidden layer in between, and have no other CAM.

    Args:
        classifier: a classifier of the zoo.
        x: images in [0, 1]; they are resized to the classifier's input size.
        label: the class to explain; the predicted class unless given.

    Raises:
        ValueError: when images or logits are not finite, or a label is not one of the classes.
    """
    pieces = _cut(classifier)
    with torch.no_grad():
        features = pieces.finish(features_at(classifier, len(pieces.stages), x))
    with torch.enable_grad():
        leaf = features.requires_grad_(True)
        logits = pieces.head(leaf)
        check_finite("logits", logits)
        chosen = logits.detach().argmax(1) if label is None else label.to(logits.device)
        if bool((chosen < 0).any()) or bool((chosen >= logits.shape[1]).any()):
            raise ValueError(f"label must lie in [0, {logits.shape[1] - 1}], got {chosen.tolist()}")
        (gradient,) = torch.autograd.grad(logits.gather(1, chosen[:, None]).sum(), leaf)
    return LastMaps(leaf.detach(), gradient.sum((2, 3)), chosen, logits.detach())


def class_activation(
    classifier: Classifier,
    x: Float[Tensor, "b 3 h w"],
    label: Int[Tensor, " b"] | None = None,
) -> Float[Tensor, "b h w"]:
    """Return the class activation map, signed, resized bilinearly to the images; see `last_maps`.

    Raises:
        ValueError: as `last_maps`.
    """
    last = last_maps(classifier, x, label)
    small = (last.weight[:, :, None, None] * last.features).sum(1, keepdim=True)
    return interpolate(small, size=x.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


def _check_layer(classifier: Classifier, layer: int, stages: int) -> None:
    if not 0 <= layer <= stages:
        raise ValueError(f"{classifier.slug}: layer must lie in [0, {stages}], got {layer}")


def _run(pieces: Sequence[Piece], x: Tensor) -> Tensor:
    for piece in pieces:
        x = piece(x)
    return x


def _cut(classifier: Classifier) -> Pieces:
    try:
        return cut_open(classifier.network)
    except ValueError as error:
        raise ValueError(f"{classifier.slug}: {error}") from error


def cut_open(network: nn.Module) -> Pieces:
    """Cut a network into its stages; they share its weights, and its mode.

    Raises:
        ValueError: for a network that is neither of `mixviz.networks` nor one of torchvision's
            that the zoo knows.
    """
    if isinstance(network, SmallNetwork):
        stem, *rest = network.stages
        return Pieces((nn.Sequential(network.stem, stem), *rest), network.finish, network.classify)
    # Whoever built another network has already paid for this import.
    from torchvision.models import ConvNeXt, DenseNet, EfficientNet, MobileNetV3, ResNet

    if isinstance(network, ResNet):
        stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
        return Pieces(
            (
                nn.Sequential(stem, network.layer1),
                network.layer2,
                network.layer3,
                network.layer4,
            ),
            nn.Identity(),
            lambda x: network.fc(network.avgpool(x).flatten(1)),
        )
    if isinstance(network, DenseNet):
        names = [name for name, _ in network.features.named_children()]
        end = names.index("norm5")
        return Pieces(
            _stages(network.features[:end]),
            nn.Sequential(*network.features[end:], nn.ReLU()),
            lambda x: network.classifier(adaptive_avg_pool2d(x, 1).flatten(1)),
        )
    if isinstance(network, ConvNeXt):
        return Pieces(
            _stages(network.features),
            nn.Identity(),
            lambda x: network.classifier(network.avgpool(x)),
        )
    if isinstance(network, (EfficientNet, MobileNetV3)):
        return Pieces(
            _stages(network.features),
            nn.Identity(),
            lambda x: network.classifier(network.avgpool(x).flatten(1)),
        )
    raise ValueError(
        f"the layers of {type(network).__name__} are not known; those of "
        f"{', '.join(NETWORKS)}, ResNet, DenseNet, ConvNeXt, EfficientNet and MobileNetV3 are"
    )


def _stages(features: nn.Sequential) -> tuple[nn.Sequential, ...]:
    """Cut a sequence of modules before each one that shrinks the map."""
    stages: list[list[nn.Module]] = [[]]
    for module in features:
        if stages[-1] and _shrinks(module):
            stages.append([])
        stages[-1].append(module)
    return tuple(nn.Sequential(*stage) for stage in stages)


def _shrinks(module: nn.Module) -> bool:
    return any(
        isinstance(part, nn.AvgPool2d) or (isinstance(part, nn.Conv2d) and max(part.stride) > 1)
        for part in module.modules()
    )
