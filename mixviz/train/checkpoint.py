"""What a run writes: checkpoint and card, resumable state, log. Nothing is ever pickled."""

import csv
import errno
import hashlib
import io
import json
import math
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from mixviz.networks import NETWORKS
from mixviz.train.errors import DataError, TrainingError

Card = dict[str, Any]
STATE = "state.safetensors"
LOG = "log.csv"
NEEDED = ("architecture", "class_names", "input_size", "mean", "std", "top1", "top5", "sha256")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _are_channels(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_is_number, value))


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)


_SHAPES: dict[str, Callable[[Any], bool]] = {
    "architecture": lambda v: (
        isinstance(v, dict)
        and isinstance(v.get("name"), str)
        and isinstance(v.get("options"), dict)
    ),
    "class_names": lambda v: _are_texts(v) and bool(v),
    "wordnet_ids": lambda v: v is None or _are_texts(v),
    "input_size": lambda v: type(v) is int and 16 <= v <= 512,
    "mean": _are_channels,
    "std": lambda v: _are_channels(v) and min(v) > 0,
    "top1": _is_number,
    "top5": _is_number,
    "recipe": lambda v: v is None or isinstance(v, dict),
    "method": _is_text,
    "data": _is_text,
    "terms": _is_text,
    "sha256": lambda v: isinstance(v, str),
}
"""What the lines of a card must look like where they are there."""


@dataclass(frozen=True)
class State:
    """Everything needed to go on after a finished epoch.

    Chance needs no state: every epoch draws from a seed made of the run's seed and its number.
    The learning rate needs none either: it is a function of the step.
    """

    settings: dict[str, Any]
    history: list[dict[str, float]]
    weights: dict[str, Tensor]
    momentum: dict[str, Tensor]
    agent: dict[str, Tensor] = field(default_factory=dict)


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` whole or not at all.

    Raises:
        TrainingError: the disk is full, or the file cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            needed = f"{len(content) / 1e6:.1f} MB"
            raise TrainingError(f"no space left for {path} ({needed})") from error
        raise TrainingError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def round_weights(network: nn.Module) -> dict[str, Tensor]:
    """The weights as a checkpoint holds them, on the CPU.

    Convolution and linear weights become fp16. One-dimensional tensors (norms, their running
    statistics, biases) keep fp32: they are small, and a variance may not fit fp16.
    """
    rounded = {}
    for name, tensor in network.state_dict().items():
        half = tensor.is_floating_point() and tensor.ndim > 1
        kept = tensor.to(torch.float16 if half else tensor.dtype)
        rounded[name] = kept.to("cpu", copy=True, memory_format=torch.contiguous_format)
    return rounded


def write_checkpoint(folder: Path, name: str, weights: dict[str, Tensor], card: Card) -> None:
    """Write ``name.safetensors`` and its card ``name.json``, which gets the sum of the former."""
    content = safetensors.torch.save(weights)
    card = card | {"sha256": hashlib.sha256(content).hexdigest()}
    write_atomically(folder / f"{name}.safetensors", content)
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    write_atomically(folder / f"{name}.json", text.encode())


def write_policy(folder: Path, name: str, weights: dict[str, Tensor]) -> None:
    """Write the agent that chose the percentiles, as ``NAME.policy.safetensors``."""
    write_atomically(folder / f"{name}.policy.safetensors", safetensors.torch.save(weights))


def read_checkpoint(path: Path) -> tuple[Card, nn.Module]:
    """The card and the network of a checkpoint, given either of its two files.

    Raises:
        DataError: a file is missing or damaged, or the card does not describe the weights.
    """
    if not path.name:
        raise DataError(f"{str(path)!r} is a folder, not a checkpoint file")
    card_path, weights_path = path.with_suffix(".json"), path.with_suffix(".safetensors")
    for needed in (card_path, weights_path):
        if not needed.is_file():
            raise DataError(f"no checkpoint file {needed}")
    try:
        card = json.loads(card_path.read_text(encoding="utf-8"))
        missing = [key for key in NEEDED if key not in card]
        if missing:
            raise DataError(f"{card_path} is not a checkpoint card: it has no {missing[0]!r}")
        wrong = [key for key, fits in _SHAPES.items() if key in card and not fits(card[key])]
        if wrong:
            raise DataError(
                f"{card_path}: {wrong[0]!r} cannot be {json.dumps(card[wrong[0]])[:60]}"
            )
        name, options = card["architecture"]["name"], card["architecture"]["options"]
        classes = len(card["class_names"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{card_path} is not a checkpoint card ({error!r})") from error
    content = weights_path.read_bytes()
    if hashlib.sha256(content).hexdigest() != card["sha256"]:
        raise DataError(f"{weights_path} is damaged: its SHA-256 sum is not the one in its card")
    if name not in NETWORKS:
        raise DataError(f"{card_path}: unknown network {name!r}, known are {sorted(NETWORKS)}")
    try:
        network = NETWORKS[name](num_classes=classes, **options)
        network.load_state_dict(safetensors.torch.load(content))
    except (RuntimeError, TypeError, ValueError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{weights_path} does not fit its card: {reason}") from error
    return card, network.eval()


def write_state(folder: Path, state: State) -> None:
    """Write the state as one file, tensors and JSON header together, then the log it implies."""
    tensors = {}
    for prefix in ("weights", "momentum", "agent"):
        named: dict[str, Tensor] = getattr(state, prefix)
        for name, tensor in named.items():
            tensors[f"{prefix}/{name}"] = tensor.detach().cpu().contiguous()
    header = {
        "settings": json.dumps(state.settings),
        "history": json.dumps(state.history),
        "sha256": _sum(tensors),
    }
    write_atomically(folder / STATE, safetensors.torch.save(tensors, metadata=header))
    text = io.StringIO()
    log = csv.DictWriter(text, list(state.history[0]), lineterminator="\n")
    log.writeheader()
    log.writerows(state.history)
    write_atomically(folder / LOG, text.getvalue().encode())


def _sum(tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 sum of tensors, whatever their order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(safetensors.torch.save({"": tensors[name]}))
    return digest.hexdigest()


def read_state(folder: Path) -> State:
    """The state of the last finished epoch.

    Raises:
        DataError: there is none, or it is damaged.
    """
    path = folder / STATE
    if not path.is_file():
        raise DataError(f"nothing to resume: no {STATE} in {folder}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata()
            tensors = {key: file.get_tensor(key) for key in list(file.keys())}
        settings, history = json.loads(header["settings"]), json.loads(header["history"])
        if not history:
            raise ValueError("it knows of no epoch")
        if header["sha256"] != _sum(tensors):
            raise ValueError("its tensors do not have the sum they had")
        parts: dict[str, dict[str, Tensor]] = {"weights": {}, "momentum": {}, "agent": {}}
        for key, tensor in tensors.items():
            prefix, _, name = key.partition("/")
            parts[prefix][name] = tensor
    except (ValueError, KeyError, TypeError, OSError, safetensors.SafetensorError) as error:
        raise DataError(f"{path} is damaged ({error}); start anew in another folder") from error
    return State(settings, history, **parts)
