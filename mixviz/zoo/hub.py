"""Weights published by torchvision, fetched once and kept as safetensors."""

import hashlib
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from mixviz.zoo.architectures import compare, on_meta
from mixviz.zoo.header import CheckpointError, Stored

CHUNK = 2**18
SILENCE_SECONDS = 20.0
MOST_SECONDS = 900.0
SAFETENSORS_NAMES = {
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.int64: "I64",
}

Progress = Callable[[float, str], None]
"""Told the share done, 0 to 1, and words for a person."""

_fetching = threading.Lock()


class ZooError(RuntimeError):
    """A classifier of the catalogue cannot be had; the message is one sentence that says why."""


@dataclass(frozen=True)
class HubFile:
    """What is fetched: where it is, the first hex digits of its SHA-256, the most it may weigh."""

    url: str
    sha256_start: str
    max_bytes: int


def fetch(architecture: str, title: str, source: HubFile, target: Path, progress: Progress) -> None:
    """Puts torchvision's weights at `target` as safetensors, whole or not at all.

    One file is fetched at a time; who comes second finds it done.

    Raises:
        ZooError: no network, refused, too slow, too big, broken off, not what was published.
    """
    while not _fetching.acquire(timeout=0.2):
        progress(0.0, f"{title}: another download is under way")
    try:
        if not target.exists():
            _fetch(architecture, title, source, target, progress)
    except (
        OSError,
        HTTPException,
        UnpicklingError,
        SafetensorError,
        RuntimeError,
        ValueError,
    ) as error:
        raise ZooError(
            f"{title} could not be fetched ({_reason(error)}); "
            "the app goes on with the bundled classifier."
        ) from error
    finally:
        _fetching.release()


def _fetch(
    architecture: str, title: str, source: HubFile, target: Path, progress: Progress
) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Everything half-done lives in this folder, which goes whatever happens.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as folder:
        pth = Path(folder) / "weights.pth"
        try:
            download(source, pth, title, progress)
        except urllib.error.HTTPError as error:
            with error:  # it holds the connection
                raise OSError(f"the server answered {error.code}") from error
        finished = Path(folder) / target.name
        save_file(_state_dict(pth, architecture), finished)
        finished.replace(target)


def download(source: HubFile, path: Path, title: str, progress: Progress) -> None:
    """Streams the file to `path` and checks its size and hash.

    Raises:
        OSError: the network, the disk, or a file that is not the published one.
    """
    digest = hashlib.sha256()
    deadline = time.monotonic() + MOST_SECONDS
    done = 0
    # The addresses come from torchvision's own table, never from a visitor.
    with (
        urllib.request.urlopen(source.url, timeout=SILENCE_SECONDS) as stream,
        path.open("wb") as file,
    ):
        announced = int(stream.headers.get("Content-Length") or source.max_bytes)
        if announced > source.max_bytes:
            raise OSError(f"it has {announced} bytes, {source.max_bytes} were expected")
        shown = -1
        # read1 gives what has come, so that a trickle meets the deadline.
        while chunk := stream.read1(CHUNK):
            done += len(chunk)
            if done > source.max_bytes:
                raise OSError(f"it has more than the {source.max_bytes} bytes expected")
            if time.monotonic() > deadline:
                raise TimeoutError
            digest.update(chunk)
            file.write(chunk)
            share = min(1.0, done / announced)
            if int(100 * share) > shown:
                shown = int(100 * share)
                whole = f"{done / 2**20:.0f} of {announced / 2**20:.0f} MB"
                progress(share, f"{title}: {whole}")
        if "Content-Length" in stream.headers and done != announced:
            raise OSError(f"it broke off after {done} of {announced} bytes")
    if not digest.hexdigest().startswith(source.sha256_start):
        raise OSError("its hash is not the published one")


def hub_weights(architecture: str) -> Any:
    """Torchvision's default weights entry: url, transforms, meta."""
    from torchvision.models import get_model_weights  # takes a second, so only when it is wanted

    return get_model_weights(architecture).DEFAULT


def hub_file(architecture: str) -> HubFile:
    """What torchvision publishes for an architecture; its file names end in the hash."""
    weights = hub_weights(architecture)
    megabytes = weights.meta["_file_size"]
    return HubFile(
        url=weights.url,
        sha256_start=Path(weights.url).stem.rsplit("-", 1)[1],
        max_bytes=int((megabytes + 0.1) * 2**20),
    )


def _state_dict(pth: Path, architecture: str) -> dict[str, Tensor]:
    # torchvision publishes pickles only. Eight hex digits stop a mix-up, not somebody who can
    # spend 2^32 hashes, so even now nothing but tensors may be built (weights_only), and they are
    # compared with the model before they are copied; the pickle is then gone for good.
    state = torch.load(pth, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise CheckpointError("it holds more than tensors")
    header = {
        str(name): Stored(SAFETENSORS_NAMES.get(t.dtype, str(t.dtype)), tuple(t.shape), 0, 0)
        for name, t in state.items()
    }
    compare(header, on_meta(_torchvision(architecture), classes=1000), architecture)
    return {str(name): tensor.clone().contiguous() for name, tensor in state.items()}


def _torchvision(architecture: str) -> Callable[[int], torch.nn.Module]:
    from torchvision.models import get_model

    return lambda classes: get_model(architecture, weights=None, num_classes=classes)


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    return str(cause).split("\n")[0].rstrip(".")[:200] or type(cause).__name__
