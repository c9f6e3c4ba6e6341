"""The header of a safetensors file, read by hand and believed only when every byte fits.

Formats that can hold code are named and refused, never opened.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch

MAX_BYTES = 400 * 2**20
MAX_HEADER = 2**20
FLOATS = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}
DTYPES = {**FLOATS, "I64": torch.int64}
# What wrappers put before every name: DistributedDataParallel, torch.compile, our Classifier.
WRAPPERS = ("module.", "_orig_mod.", "network.", "model.")


class CheckpointError(ValueError):
    """The weights cannot be used; the message is one sentence that says why."""


@dataclass(frozen=True)
class Stored:
    """One tensor as the header announces it; `begin` and `end` count bytes of the data part."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(view: memoryview) -> tuple[dict[str, Stored], memoryview]:
    """The tensors a safetensors file announces, by plain name, and its data part.

    Raises:
        CheckpointError: it is no safetensors file, or the header and the data do not fit.
    """
    if len(view) > MAX_BYTES:
        raise CheckpointError(
            f"The checkpoint has {_megabytes(len(view))}, at most {_megabytes(MAX_BYTES)} fit."
        )
    length = int.from_bytes(view[:8], "little")
    # A header is JSON padded to 8 bytes, so byte 8 tells it from every other format.
    if len(view) < 8 or length > MAX_HEADER or bytes(view[8:9]) not in (b"{", b""):
        raise CheckpointError(_what_it_is(view, length))
    if length > len(view) - 8:
        raise CheckpointError(
            f"The checkpoint is truncated: its header should have {length} bytes, "
            f"{len(view) - 8} are there."
        )
    entries = _parsed(bytes(view[8 : 8 + length]))
    data = view[8 + length :]
    header = {name: _stored(name, entry) for name, entry in entries.items()}
    if not header:
        raise CheckpointError("The checkpoint holds no tensors.")
    _check_tiling(header, len(data))
    return _unwrapped(header), data


def quoted(name: str) -> str:
    """A name from a file, made harmless for a page and short."""
    plain = re.sub(r"[^A-Za-z0-9_.\-]", "?", name[:61])
    return f"'{plain[:60]}…'" if len(name) > 60 else f"'{plain}'"


def _what_it_is(view: memoryview, length: int) -> str:
    if not len(view):
        return "The checkpoint is empty."
    head = bytes(view[:4096])
    for start, name in (
        (b"\x1f\x8b", "a gzip archive"),
        (b"\x89HDF", "an HDF5 (Keras) file"),
        (b"GGUF", "a GGUF file"),
        (b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
        (b"\x89PNG", "a PNG picture"),
        (b"\xff\xd8\xff", "a JPEG picture"),
    ):
        if head.startswith(start):
            return _refusal(name)
    if head.startswith(b"PK\x03\x04"):
        # The list of members ends a zip; a few bytes of it are enough, nothing is inflated.
        tail = head + bytes(view[-(2**16) :])
        if b"constants.pkl" in tail:
            return _refusal("a TorchScript archive, which can hold code")
        if b"data.pkl" in tail:
            return _refusal("a PyTorch .pth (pickle) file, which can hold code")
        return _refusal("a zip archive")
    if head[:1] == b"\x80" and len(head) > 1 and 2 <= head[1] <= 5:
        return _refusal("a Python pickle (.pth, .pkl), which can hold code")
    if head.lstrip()[:1] == b"<":
        return _refusal("an HTML or XML page")
    if head.lstrip()[:1] in (b"{", b"["):
        return _refusal("JSON text")
    if head[:1] == b"\x08" and head[1:2] < b"\x20" and head[2:3] in (b"\x12", b"\x1a", b"\x3a"):
        return _refusal("an ONNX file")
    if len(view) < 8:
        return f"The checkpoint is truncated: it has {len(view)} bytes."
    if length > MAX_HEADER:
        return (
            f"The checkpoint is no safetensors file: its header would have {length} bytes, "
            f"at most {MAX_HEADER} are allowed."
        )
    return "The checkpoint is no safetensors file: its header is not JSON."


def _refusal(name: str) -> str:
    return f"The checkpoint is {name}; only safetensors files are read."


def _parsed(text: bytes) -> dict[str, object]:
    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found: dict[str, object] = {}
        for key, value in pairs:
            if key in found:
                raise CheckpointError(f"The checkpoint's header names {quoted(key)} twice.")
            found[key] = value
        return found

    try:
        entries = json.loads(text, object_pairs_hook=once)
    except RecursionError:
        raise CheckpointError("The checkpoint's header is nested too deep.") from None
    except CheckpointError:
        raise
    except ValueError as error:  # bad JSON, bad UTF-8, an integer of thousands of digits
        raise CheckpointError("The checkpoint's header is not valid JSON.") from error
    if not isinstance(entries, dict):
        raise CheckpointError("The checkpoint's header is not a JSON object.")
    entries.pop("__metadata__", None)
    return entries


def _stored(name: str, entry: object) -> Stored:
    if isinstance(entry, dict) and set(entry) == {"dtype", "shape", "data_offsets"}:
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if (
            isinstance(dtype, str)
            and _counts(shape)
            and len(shape) <= 8
            and _counts(offsets)
            and len(offsets) == 2
        ):
            return Stored(dtype, tuple(shape), offsets[0], offsets[1])
    raise CheckpointError(f"The checkpoint's header entry {quoted(name)} is malformed.")


def _counts(value: object) -> bool:
    return isinstance(value, list) and all(type(i) is int and 0 <= i < 2**63 for i in value)


def _check_tiling(header: Mapping[str, Stored], available: int) -> None:
    # The data part must be covered once and whole: no overlap, no gap, nothing left over.
    position = 0
    for name, stored in sorted(header.items(), key=lambda item: (item[1].begin, item[1].end)):
        if stored.dtype not in DTYPES:
            raise CheckpointError(
                f"The checkpoint's {quoted(name)} is stored as {quoted(stored.dtype)}, "
                f"allowed: {', '.join(DTYPES)}."
            )
        needed = math.prod(stored.shape) * DTYPES[stored.dtype].itemsize
        if stored.end - stored.begin != needed:
            raise CheckpointError(
                f"The checkpoint's {quoted(name)} of shape {shape_words(stored.shape)} needs "
                f"{needed} bytes, its header gives {stored.end - stored.begin}."
            )
        if stored.begin != position:
            what = "overlaps the tensor before it" if stored.begin < position else "leaves a gap"
            raise CheckpointError(f"The checkpoint's {quoted(name)} {what}.")
        position = stored.end
    if position != available:
        what = "is truncated" if position > available else "has bytes left over"
        raise CheckpointError(
            f"The checkpoint {what}: its tensors need {position} bytes, {available} are there."
        )


def _unwrapped(header: dict[str, Stored]) -> dict[str, Stored]:
    for prefix in WRAPPERS:
        if all(name.startswith(prefix) for name in header):
            return {name.removeprefix(prefix): stored for name, stored in header.items()}
    return header


def shape_words(shape: tuple[int, ...]) -> str:
    return f"({', '.join(str(side) for side in shape)})"


def _megabytes(count: int) -> str:
    return f"{math.ceil(count / 2**20)} MB"
