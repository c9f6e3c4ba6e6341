"""Checkpoint files nobody should send, and the words each must be refused with."""

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable

import torch
from safetensors.torch import save

from mixviz.networks import NETWORKS

ARCHITECTURE = "preactresnet18"
CLASSES = 5
WIDTH = 2
Header = dict[str, dict[str, object]]


def good_state() -> dict[str, torch.Tensor]:
    """A tiny network of the bundled architecture, always the same."""
    generator = torch.Generator().manual_seed(0)
    state = NETWORKS[ARCHITECTURE](num_classes=CLASSES, width=WIDTH).state_dict()
    for name, tensor in state.items():
        if tensor.ndim > 1 or name == "head.bias":
            state[name] = torch.randn(tensor.shape, generator=generator) * 0.3
    return state


def good_bytes() -> bytes:
    return save(good_state())


def changed_state(change: Callable[[dict[str, torch.Tensor]], object]) -> bytes:
    state = good_state()
    change(state)
    return save(state)


def changed_header(change: Callable[[Header], object]) -> bytes:
    """The good file with a header that lies about the same data."""
    whole = good_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    change(header)
    return packed(json.dumps(header).encode(), whole[8 + length :])


def packed(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def overlap(header: Header, one: str, other: str) -> None:
    header[one]["data_offsets"] = list(header[other]["data_offsets"])  # type: ignore[call-overload]


class Runs:
    """Unpickled, it would leave a mark."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("import builtins; builtins.mixviz_was_here = True",))


def torch_zip() -> bytes:
    buffer = io.BytesIO()
    torch.save(good_state(), buffer)
    return buffer.getvalue()


def torch_legacy() -> bytes:
    buffer = io.BytesIO()
    torch.save(good_state(), buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def zip_bomb() -> bytes:
    """320 MB of zeros in 320 KB, under the names PyTorch uses."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        with archive.open("archive/data/0", "w") as member:
            for _ in range(20):
                member.write(bytes(2**24))
    return buffer.getvalue()


def zip_of(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


def one_tensor(name: str, shape: list[object], offsets: list[object], size: int) -> bytes:
    entry = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
    return packed(json.dumps({name: entry}).encode(), bytes(size))


def hostile_checkpoints() -> dict[str, tuple[bytes, str]]:
    good = good_bytes()
    stem = "stem.weight"
    entry = b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    twice = b"{" + entry + b"," + entry + b"}"
    deep = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    return {
        "empty": (b"", "is empty"),
        "seven bytes": (b"\x10\x00\x00\x00\x00\x00\x00", "truncated: it has 7 bytes"),
        "header of 2^60 bytes": (
            struct.pack("<Q", 2**60) + b"{}",
            "its header would have 1152921504606846976 bytes",
        ),
        "header longer than the file": (packed(b"{" * 9)[:12], "truncated: its header should"),
        "cut in the header": (good[:100], "truncated: its header should"),
        "cut in the data": (good[:-10], "The checkpoint is truncated: its tensors need"),
        "bytes left over": (good + bytes(64), "has bytes left over"),
        "header is no JSON": (packed(b"{nonsense}"), "header is not valid JSON"),
        "header is no UTF-8": (packed(b'{"\xff\xfe": 1}'), "header is not valid JSON"),
        "nested 100 000 deep": (packed(deep), "header is nested too deep"),
        "an integer of 5000 digits": (
            packed(b'{"a":' + b"9" * 5000 + b"}"),
            "header is not valid JSON",
        ),
        "no tensors": (packed(b"{}"), "holds no tensors"),
        "a name twice": (packed(twice, bytes(4)), "names 'a' twice"),
        "an entry of the wrong kind": (packed(b'{"a": 7}'), "entry 'a' is malformed"),
        "a negative side": (one_tensor(stem, [-1], [0, 4], 4), "malformed"),
        "a fractional side": (one_tensor(stem, [1.5], [0, 4], 4), "malformed"),
        "true for a side": (one_tensor(stem, [True], [0, 4], 4), "malformed"),
        "shape of 149 GiB": (
            changed_header(lambda h: h[stem].update(shape=[200_000, 200_000])),
            "needs 160000000000 bytes",
        ),
        "sides that overflow 64 bits": (
            changed_header(lambda h: h[stem].update(shape=[2**62, 2**62])),
            "its header gives",
        ),
        "offsets before the data": (
            changed_header(lambda h: h[stem].update(data_offsets=[-216, 0])),
            "malformed",
        ),
        "tensors that overlap": (
            changed_header(
                lambda h: overlap(h, "stages.0.0.conv_2.weight", "stages.0.0.conv_1.weight")
            ),
            "overlaps the tensor before it",
        ),
        "a hole in the data": (one_tensor(stem, [1], [4, 8], 8), "leaves a gap"),
        "NaN": (
            changed_state(lambda s: s[stem].view(-1)[7:8].fill_(float("nan"))),
            "'stem.weight' holds NaN or infinity",
        ),
        "infinity": (
            changed_state(lambda s: s["head.bias"].fill_(float("inf"))),
            "'head.bias' holds NaN or infinity",
        ),
        "a negative variance": (
            changed_state(lambda s: s["norm.running_var"].fill_(-1.0)),
            "'norm.running_var' holds a negative variance",
        ),
        "finite weights that overflow": (
            changed_state(lambda s: s["head.weight"].fill_(3e38)),
            "answers a grey picture with NaN or infinity",
        ),
        "float64": (
            changed_state(lambda s: s.update({stem: s[stem].double()})),
            "'stem.weight' is stored as 'F64', allowed: F16, BF16, F32, I64",
        ),
        "whole numbers for weights": (
            changed_state(lambda s: s.update({stem: s[stem].long()})),
            "'stem.weight' is stored as 'I64', allowed: F16, BF16, F32",
        ),
        "a tensor missing": (
            changed_state(lambda s: s.pop("stages.1.0.norm_1.weight")),
            "1 tensor is missing, 'stages.1.0.norm_1.weight'",
        ),
        "the output layer missing": (
            changed_state(lambda s: s.pop("head.weight")),
            "no output layer 'head.weight'",
        ),
        "a tensor too many": (
            changed_state(lambda s: s.update({"extra": torch.zeros(1)})),
            "1 tensor is too many, 'extra'",
        ),
        "a name that is markup": (
            changed_state(lambda s: s.update({"<img src=x>![](http://a)\n": torch.zeros(1)})),
            "too many, '?img?src?x?????http???a??'",
        ),
        "a name without end": (
            changed_state(lambda s: s.update({"x" * 10_000: torch.zeros(1)})),
            f"too many, '{'x' * 60}…'",
        ),
        "another shape": (
            changed_state(
                lambda s: s.update({"stages.2.0.conv_1.weight": torch.zeros(8, 4, 5, 5)})
            ),
            "has shape (8, 4, 5, 5), preactresnet18 needs (8, 4, 3, 3)",
        ),
        "one class": (
            changed_state(lambda s: s.update({"head.weight": torch.zeros(1, 16)})),
            "has 1 classes, 2 to 50000 are allowed",
        ),
        "a width past the limit": (
            changed_state(lambda s: s.update({stem: torch.zeros(2000, 3, 3, 3)})),
            "has width 2000",
        ),
        "a pickle": (pickle.dumps(Runs()), "a Python pickle (.pth, .pkl), which can hold code"),
        "an old .pth": (torch_legacy(), "a Python pickle (.pth, .pkl), which can hold code"),
        "a .pth": (torch_zip(), "a PyTorch .pth (pickle) file, which can hold code"),
        "a zip bomb": (zip_bomb(), "a PyTorch .pth (pickle) file, which can hold code"),
        "a TorchScript archive": (
            zip_of("m/data.pkl", "m/constants.pkl", "m/code/__torch__.py"),
            "a TorchScript archive, which can hold code",
        ),
        "another zip": (zip_of("readme.txt"), "is a zip archive"),
        "a gzip": (b"\x1f\x8b\x08\x00" + bytes(60), "a gzip archive"),
        "an ONNX file": (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0:\x80\x01", "an ONNX file"),
        "an HDF5 file": (b"\x89HDF\r\n\x1a\n" + bytes(60), "an HDF5 (Keras) file"),
        "a web page": (b"<!doctype html><title>404</title>", "an HTML or XML page"),
        "JSON": (b'{"error": "not found"}', "JSON text"),
        "a Git LFS pointer": (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "a Git LFS pointer",
        ),
        "noise": (bytes(range(1, 200)), "no safetensors file"),
    }
