"""Networks a checkpoint can be for, and whether its header fits one.

The comparison is with a model on the meta device, which has shapes and no memory.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from mixviz.networks import NETWORKS
from mixviz.zoo.header import FLOATS, CheckpointError, Stored, quoted, shape_words

MAX_CLASSES = 50_000
MAX_WIDTH = 1024
TORCHVISION = (
    "resnet34",
    "wide_resnet50_2",
    "resnext50_32x4d",
    "convnext_tiny",
    "efficientnet_b0",
    "mobilenet_v3_large",
)
ARCHITECTURES = (*NETWORKS, *TORCHVISION)
COUNTER = "num_batches_tracked"


def network_for(
    header: Mapping[str, Stored], architecture: str, options: Mapping[str, int], named: int = 0
) -> tuple[nn.Module, int]:
    """The network on the meta device whose tensors the header matches, and its class count.

    Raises:
        CheckpointError: unknown architecture or option, or a tensor does not fit.
    """
    build = _builder(architecture, options)
    classes = _classes(header, build)
    if named and classes != named:
        raise CheckpointError(f"The checkpoint has {classes} classes, but {named} names came.")
    settings = dict(options)
    if "width" in _options_of(architecture) and "width" not in settings:
        settings["width"] = _width(header, architecture, settings, classes)
    network = on_meta(_builder(architecture, settings), classes)
    compare(header, network, architecture)
    return network, classes


def compare(header: Mapping[str, Stored], network: nn.Module, architecture: str) -> None:
    """Refuses a header whose names, shapes or types are not the network's.

    A missing batch counter is let pass: evaluation never reads it, and old files lack it.

    Raises:
        CheckpointError: naming the first few tensors at fault.
    """
    wanted = network.state_dict()
    missing = [k for k in wanted if k not in header and not k.endswith(COUNTER)]
    if missing:
        raise CheckpointError(
            f"The checkpoint is not a {architecture}: {_count(missing, 'tensor')} missing, "
            f"{_first(missing)}."
        )
    extra = [name for name in header if name not in wanted]
    if extra:
        raise CheckpointError(
            f"The checkpoint is not a {architecture}: {_count(extra, 'tensor')} too many, "
            f"{_first(extra)}."
        )
    for name, stored in header.items():
        shape = tuple(wanted[name].shape)
        if stored.shape != shape:
            raise CheckpointError(
                f"The checkpoint's {quoted(name)} has shape {shape_words(stored.shape)}, "
                f"{architecture} needs {shape}."
            )
        allowed = FLOATS if wanted[name].is_floating_point() else {"I64": torch.int64}
        if stored.dtype not in allowed:
            raise CheckpointError(
                f"The checkpoint's {quoted(name)} is stored as {quoted(stored.dtype)}, "
                f"allowed: {', '.join(allowed)}."
            )


def on_meta(build: Callable[[int], nn.Module], classes: int) -> nn.Module:
    with torch.device("meta"):
        return build(classes)


def _options_of(architecture: str) -> tuple[str, ...]:
    if architecture not in NETWORKS:
        return ()
    parameters = inspect.signature(NETWORKS[architecture]).parameters
    return tuple(name for name in parameters if name != "num_classes")


def _builder(architecture: str, options: Mapping[str, int]) -> Callable[[int], nn.Module]:
    if architecture not in ARCHITECTURES:
        raise CheckpointError(
            f"Architecture {quoted(architecture)} is unknown, there are: "
            f"{', '.join(ARCHITECTURES)}."
        )
    known = _options_of(architecture)
    for name, value in options.items():
        if name not in known:
            raise CheckpointError(
                f"{architecture} has no option {quoted(str(name))}, it has: "
                f"{', '.join(known) or 'none'}."
            )
        limit = MAX_WIDTH if name == "width" else 8
        if type(value) is not int or not 1 <= value <= limit:
            raise CheckpointError(
                f"{architecture}: {name} must be a whole number from 1 to {limit}, "
                f"got {quoted(str(value))}."
            )
    if architecture in NETWORKS:
        return lambda classes: NETWORKS[architecture](num_classes=classes, **options)
    from torchvision.models import get_model  # takes a second, so only when it is wanted

    return lambda classes: get_model(architecture, weights=None, num_classes=classes)


def _classes(header: Mapping[str, Stored], build: Callable[[int], nn.Module]) -> int:
    # The output layer is the one tensor whose rows follow the number of classes.
    head = _first_varying(on_meta(build, 2), on_meta(build, 3))
    if head not in header or not header[head].shape:
        raise CheckpointError(f"The checkpoint has no output layer {quoted(head)}.")
    classes = header[head].shape[0]
    if not 2 <= classes <= MAX_CLASSES:
        raise CheckpointError(
            f"The checkpoint has {classes} classes, 2 to {MAX_CLASSES} are allowed."
        )
    return classes


def _width(
    header: Mapping[str, Stored], architecture: str, options: Mapping[str, int], classes: int
) -> int:
    # The first tensor whose rows follow the width is the stem; rows grow in proportion to it.
    at_8 = on_meta(_builder(architecture, {**options, "width": 8}), classes)
    at_16 = on_meta(_builder(architecture, {**options, "width": 16}), classes)
    stem = _first_varying(at_8, at_16)
    if stem not in header or not header[stem].shape:
        raise CheckpointError(f"The checkpoint is not a {architecture}: it has no {quoted(stem)}.")
    width = header[stem].shape[0] * 8 // at_8.state_dict()[stem].shape[0]
    if not 1 <= width <= MAX_WIDTH:
        raise CheckpointError(
            f"The checkpoint has width {width}, {architecture} allows 1 to {MAX_WIDTH}."
        )
    return width


def _first_varying(one: nn.Module, other: nn.Module) -> str:
    shapes = other.state_dict()
    return next(
        name
        for name, tensor in one.state_dict().items()
        if tensor.ndim and tensor.shape[0] != shapes[name].shape[0]
    )


def _count(names: Sequence[str], noun: str) -> str:
    return f"1 {noun} is" if len(names) == 1 else f"{len(names)} {noun}s are"


def _first(names: Sequence[str]) -> str:
    shown = ", ".join(quoted(name) for name in names[:3])
    return f"{shown}, …" if len(names) > 3 else shown
