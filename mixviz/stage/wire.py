"""Scenes and frames as bytes: a JSON header, then arrays, little endian.

Bytes reach the browser as they are; JSON would grow fourfold, and one NaN or NumPy scalar in it
turns the whole message into a string. Equal arrays are stored once: along λ most γ costs and
moved saliencies repeat.

Layout: uint32 header length, header (UTF-8), then from the next multiple of 8 the body; an
array's place is its offset in the body. Shapes follow from grid and levels.
"""

import hashlib
import json
import math
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixviz.stage.scene import (
    TERMS,
    UNITS,
    Frame,
    Notice,
    Picture,
    PixelScene,
    Saliency,
    Scene,
    Steps,
)

ALIGN = 8
FREE, WHOLE = 65535, 65534  # a mask's pixel is λ, or a share in units of 1 / WHOLE


class _Body:
    """Arrays laid end to end, each at a multiple of 8 bytes, equal ones once."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.places: dict[bytes, int] = {}

    def put(self, raw: bytes) -> int:
        if raw in self.places:
            return self.places[raw]
        place = self.size
        padding = -len(raw) % ALIGN
        self.parts.append(raw + bytes(padding))
        self.size += len(raw) + padding
        self.places[raw] = place
        return place

    def put_array(
        self, name: str, values: object, dtype: str, shape: tuple[int, ...] | None = None
    ) -> int:
        array: NDArray[Any] = np.ascontiguousarray(values, dtype=dtype)
        if shape is not None and array.shape != shape:
            raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise ValueError(f"{name} holds NaN; the stage draws numbers only")
        return self.put(array.tobytes())

    def bytes(self) -> bytes:
        return b"".join(self.parts)


def _join(header: Mapping[str, object], body: bytes) -> bytes:
    text = json.dumps(header, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    return struct.pack("<I", len(text)) + text + bytes(-(4 + len(text)) % ALIGN) + body


def _finite(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
    return float(value)


def _describe_scene(scene: Scene, body: _Body) -> dict[str, object]:
    return {
        **_describe_pair(scene, body),
        "levels": int(scene.levels),
        "solver": scene.solver,
        "transport": scene.transport,
        "units": {name: _finite(f"Scene.units[{name}]", scene.units[name]) for name in UNITS},
    }


def _describe_notices(notices: Iterable[Notice]) -> list[list[str]]:
    return [[n.cause, n.remedy, n.action] for n in notices]


def _describe_pair(scene: Scene | PixelScene, body: _Body) -> dict[str, object]:
    """What every stage is told: the pictures, their saliency, the contract."""
    shape = (scene.grid, scene.grid)
    return {
        "key": scene.key,
        "grid": int(scene.grid),
        "pictures": [
            {"digest": p.digest, "name": p.name} for p in (scene.picture_0, scene.picture_1)
        ],
        "saliency": [
            {
                "digest": s.digest,
                "peak": _finite("Saliency.peak", s.peak),
                "blocks": body.put_array("Saliency.blocks", s.blocks, "<f4", shape),
            }
            for s in (scene.saliency_0, scene.saliency_1)
        ],
        "contract": scene.contract,
        "contract_words": scene.contract_words,
    }


def _describe_frame(frame: Frame, grid: int, levels: int, body: _Body) -> dict[str, object]:
    blocks, places = (grid, grid), (grid * grid,)
    candidates = (grid, grid, levels + 1)
    for name in ("source_0", "source_1"):
        values = np.asarray(getattr(frame, name))
        if values.size and not 0 <= int(values.min()) <= int(values.max()) < grid * grid:
            raise ValueError(f"Frame.{name} must name blocks 0 to {grid * grid - 1}")
    if np.asarray(frame.labels).size and int(np.max(frame.labels)) > levels:
        raise ValueError(f"Frame.labels must lie in 0 to {levels}, got {np.max(frame.labels)}")
    terms = [float(frame.terms[name]) for name in TERMS]
    return {
        "lam": _finite("Frame.lam", frame.lam),
        "weight": _finite("Frame.weight_1", frame.weight_1),
        "status": frame.status,
        "notices": _describe_notices(frame.notices),
        "at": [
            body.put_array("Frame.labels", frame.labels, "u1", blocks),
            body.put_array("Frame.source_0", frame.source_0, "<u2", places),
            body.put_array("Frame.source_1", frame.source_1, "<u2", places),
            body.put_array("Frame.terms", terms, "<f8"),
            body.put_array("Frame.moved_0", frame.moved_0, "<f4", blocks),
            body.put_array("Frame.moved_1", frame.moved_1, "<f4", blocks),
            body.put_array("Frame.label_cost", frame.label_cost, "<f4", candidates),
            body.put_array("Frame.data_cost", frame.data_cost, "<f4", candidates),
            body.put_array("Frame.prior_cost", frame.prior_cost, "<f4", (levels + 1,)),
        ],
    }


def _describe_steps(steps: Steps, grid: int, body: _Body) -> dict[str, object]:
    count = len(steps.captions)
    if steps.kind == "swap":
        states = body.put_array("Steps.labels", steps.labels, "u1", (count, grid, grid))
    else:
        states = body.put_array("Steps.sources", steps.sources, "<i2", (count, grid * grid))
    return {
        "kind": steps.kind,
        "captions": list(steps.captions),
        "objective": body.put_array("Steps.objective", steps.objective, "<f8", (count,)),
        "states": states,
    }


def pack_show(
    scene: Scene, frame: Frame, steps: Sequence[Steps], view: Mapping[str, object]
) -> bytes:
    """One scene with the frame asked for; `view` travels in the header as it is."""
    body = _Body()
    header = {
        "scene": _describe_scene(scene, body),
        "frame": _describe_frame(frame, scene.grid, scene.levels, body),
        "steps": [_describe_steps(s, scene.grid, body) for s in steps if s.captions],
        **view,
    }
    return _join(header, body.bytes())


def pack_feed(scene_key: str, frames: Sequence[Frame]) -> bytes:
    """More λ of the scene called `scene_key`, deflated."""
    body = _Body()
    grid = int(np.shape(frames[0].labels)[0]) if frames else 0
    levels = int(np.shape(frames[0].prior_cost)[0]) - 1 if frames else 0
    described = [_describe_frame(frame, grid, levels, body) for frame in frames]
    raw = body.bytes()
    header = {
        "key": scene_key,
        "grid": grid,
        "levels": levels,
        "frames": described,
        "size": len(raw),
    }
    return _join(header, zlib.compress(raw, level=1))


def pack_shelf(pictures: Iterable[Picture | Saliency]) -> bytes:
    """Encoded pictures, each with its digest."""
    body = _Body()
    items = []
    for picture in pictures:
        place = body.put(picture.png)
        items.append({"digest": picture.digest, "at": place, "size": len(picture.png)})
    return _join({"items": items}, body.bytes())


def _mask_bytes(scene: PixelScene) -> bytes:
    fixed = np.where(scene.free, 0, scene.fixed)
    return np.where(scene.free, FREE, np.rint(fixed * WHOLE)).astype("<u2").tobytes()


def _guide_bytes(scene: PixelScene) -> tuple[bytes, ...]:
    """Each map of the guide, a byte per pixel: 0 to 255 up to the top of a heat, else 0 or 1."""
    guide = scene.guide
    if guide is None:
        return ()
    found = []
    for name in ("map_0", "map_1"):
        values = np.asarray(getattr(guide, name))
        if guide.kind == "heat":
            if not np.isfinite(values).all():
                raise ValueError(f"Guide.{name} must be finite; the stage draws numbers only")
            values = np.rint((values / guide.top).clip(0, 1) * 255)
        found.append(values.astype("u1").tobytes())
    return tuple(found)


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:16]


def pack_arrays(scene: PixelScene) -> bytes:
    """The mask and the guide's maps, each with its digest: a shelf of its own.

    They change with the pair and not with λ, so that a run at another λ sends none of them.
    """
    body = _Body()
    items = [
        {"digest": _digest(raw), "at": body.put(raw), "size": len(raw)}
        for raw in (_mask_bytes(scene), *_guide_bytes(scene))
    ]
    return _join({"items": items}, body.bytes())


def pack_pixels(scene: PixelScene, lam: float, view: Mapping[str, object]) -> bytes:
    """One scene at λ; mask and maps are named by digest. `view` travels as it is."""
    if not 0 <= lam <= 1:
        raise ValueError(f"λ must lie in 0 to 1, got {lam}")
    body = _Body()
    shape = (scene.grid, scene.grid)
    weights = None
    if scene.weight_1 is not None:
        weights = [
            _finite(f"PixelScene.weight_1[{i}]", float(weight))
            for i, weight in enumerate(scene.weight_1)
        ]
    guide = scene.guide
    described = {
        **_describe_pair(scene, body),
        "mask": _digest(_mask_bytes(scene)),
        "guide": guide
        and {
            "title": guide.title,
            "kind": guide.kind,
            "captions": list(guide.captions),
            "top": _finite("Guide.top", guide.top),
            "digests": [_digest(raw) for raw in _guide_bytes(scene)],
        },
        "rows": [
            {
                "name": row.name,
                "format": row.format,
                "labels": list(row.labels),
                "at": body.put_array(f"PixelScene.rows[{i}].values", row.values, "<f4", shape),
            }
            for i, row in enumerate(scene.rows)
        ],
        "status": scene.status,
        "notices": _describe_notices(scene.notices),
        "exposed": [
            [_finite(f"PixelScene.exposed_{q}", value) for value in pair]
            for q, pair in enumerate((scene.exposed_0, scene.exposed_1))
        ],
        "weights": weights,
        "scrubs": scene.scrubs,
        "swappable": scene.swappable,
    }
    return _join({"scene": described, "lam": float(lam), **view}, body.bytes())
