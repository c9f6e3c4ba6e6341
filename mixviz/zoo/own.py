"""A classifier from somebody's weights: nothing is copied before the header fits a network."""

import mmap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from mixviz.zoo.architectures import network_for
from mixviz.zoo.classifier import Classifier
from mixviz.zoo.header import DTYPES, CheckpointError, Stored, quoted, read_header

MAX_NAME = 200
N = TypeVar("N", bound=nn.Module)


def load_own(
    weights: bytes | Path,
    architecture: str,
    class_names: Sequence[str] = (),
    input_size: int = 224,
    mean: Sequence[float] = (0.485, 0.456, 0.406),
    std: Sequence[float] = (0.229, 0.224, 0.225),
    options: Mapping[str, int] | None = None,
    *,
    slug: str = "own",
    title: str = "Your classifier",
    terms: str = "",
) -> Classifier:
    """A classifier, on the CPU, from somebody's safetensors file.

    Args:
        weights: the file, or its bytes.
        architecture: one of `ARCHITECTURES`.
        class_names: one per logit; none at all means "class 0", "class 1", ...
        input_size: side in pixels of the images it was trained on.
        mean: mean per channel its inputs were normalised with.
        std: standard deviation per channel, likewise.
        options: the architecture's own options; `width` is read from the weights if not given.
        slug: its name in the catalogue.
        title: its name on screen.
        terms: licence and terms, in words.

    Raises:
        CheckpointError: anything about the file or its description is wrong.
    """
    size = _checked_size(input_size)
    channel_mean = _three_numbers("mean", mean, positive=False)
    channel_std = _three_numbers("std", std, positive=True)
    names = _checked_names(class_names)
    with _opened(weights) as view:
        header, data = read_header(view)
        network, classes = network_for(header, architecture, options or {}, len(names))
        fill(network, {name: _copied(data, tensor) for name, tensor in header.items()})
    classifier = Classifier(
        network,
        slug=slug,
        title=title,
        input_size=size,
        class_names=names or [f"class {index}" for index in range(classes)],
        mean=channel_mean,
        std=channel_std,
        terms=terms,
    )
    _probe(classifier)
    return classifier


def load_network(weights: bytes | Path, network_for: Callable[[Mapping[str, Stored]], N]) -> N:
    """Fill the network on the meta device that a header asks for; other tensors are passed over.

    Raises:
        CheckpointError: the file is no safetensors file or holds NaN, or what `network_for` says.
    """
    with _opened(weights) as view:
        header, data = read_header(view)
        network = network_for(header)
        fill(network, {name: _copied(data, header[name]) for name in network.state_dict()})
    return network


def fill(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Gives a network on the meta device its weights, as float32.

    Raises:
        CheckpointError: a value no trained network has (NaN, infinity, a negative variance).
    """
    ready: dict[str, Tensor] = {}
    for name, expected in network.state_dict().items():
        if name not in tensors:
            ready[name] = torch.zeros(expected.shape, dtype=expected.dtype)
            continue
        tensor = tensors[name].to(expected.dtype)
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"The checkpoint's {quoted(name)} holds NaN or infinity.")
        if name.endswith("running_var") and bool((tensor < 0).any()):
            raise CheckpointError(f"The checkpoint's {quoted(name)} holds a negative variance.")
        ready[name] = tensor
    network.load_state_dict(ready, assign=True)


@contextmanager
def _opened(weights: bytes | Path) -> Iterator[memoryview]:
    if isinstance(weights, bytes):
        yield memoryview(weights)
        return
    try:
        with weights.open("rb") as file:
            if not weights.stat().st_size:  # an empty file cannot be mapped
                yield memoryview(b"")
                return
            # Not closed by hand: a traceback may still hold views of it.
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            yield memoryview(mapped)
    except OSError as error:
        raise CheckpointError(f"{weights.name} cannot be read ({error.strerror}).") from error


def _copied(data: memoryview, stored: Stored) -> Tensor:
    raw = bytearray(data[stored.begin : stored.end])  # writable, as torch wants it
    return torch.frombuffer(raw, dtype=DTYPES[stored.dtype]).view(stored.shape)


@torch.no_grad()
def _probe(classifier: Classifier) -> None:
    # Finite weights can still overflow on the way; a picture must never be judged by NaN.
    grey = torch.full((1, 3, classifier.input_size, classifier.input_size), 0.5)
    try:
        logits = classifier(grey)
    except RuntimeError as error:
        raise CheckpointError(
            f"The classifier cannot take pictures of {classifier.input_size} pixels."
        ) from error
    if not bool(torch.isfinite(logits).all()):
        raise CheckpointError("The classifier answers a grey picture with NaN or infinity.")


def _checked_size(size: int) -> int:
    if type(size) is not int or not 16 <= size <= 512:
        raise CheckpointError(f"The input size must lie in [16, 512] pixels, got {size}.")
    return size


def _three_numbers(what: str, values: Sequence[float], *, positive: bool) -> tuple[float, ...]:
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        numbers = ()
    usable = all(abs(v) <= 1000 and (v >= 1e-3 or not positive) for v in numbers)
    if len(numbers) != 3 or not usable:
        kind = "positive numbers" if positive else "numbers"
        raise CheckpointError(f"The {what} must be three {kind}, one per channel (R, G, B).")
    return numbers


def _checked_names(names: Sequence[str]) -> tuple[str, ...]:
    clean = tuple(name.strip() for name in names)
    for index, name in enumerate(clean):
        if not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise CheckpointError(
                f"Class name {index} must be one line of 1 to {MAX_NAME} characters, "
                f"got {quoted(name)}."
            )
    return clean
