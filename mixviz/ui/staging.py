"""From traces to the stage: arrays, names and sentences. Tensors become arrays here."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixviz.core.blocks import sum_to_one
from mixviz.core.mask import energy, first_labels
from mixviz.core.transport import TransportRound
from mixviz.detectors import Finding, visible_moves
from mixviz.methods.puzzle_mix import PuzzleMixParams, PuzzleMixTrace
from mixviz.stage import Frame, Notice, Picture, Saliency, Scene, Steps
from mixviz.ui.compute import digest_of
from mixviz.viz.draw import to_png, to_rgb

CONTRACTS = {
    "exact": "exactly λ",
    "recomputed": "recomputed from the mask",
    "encouraged": "encouraged by η",
    "independent": "independent of λ",
    "single": "that of A alone",
}


def stage_picture(name: str, image: Tensor) -> Picture:
    """Encode an image (1, 3, h, w) for the stage."""
    pixels = to_rgb(image[0].numpy())
    return Picture(digest_of(pixels.tobytes()), name, to_png(pixels))


@dataclass(frozen=True, eq=False)
class SmoothMap:
    """A saliency map as an 8-bit grey picture; 255 stands for `peak` times the map's mean."""

    digest: str
    png: bytes
    peak: float


def smooth_map(map_: Tensor) -> SmoothMap:
    """Encode a saliency map (1, h, w) for the stage."""
    scaled = sum_to_one(map_.double())[0] * map_[0].numel()
    peak = float(scaled.max())
    png = to_png((scaled / max(peak, 1e-12) * 255).round().to(torch.uint8).numpy())
    return SmoothMap(digest_of(png, peak), png, peak)


@dataclass(frozen=True, eq=False)
class DrawnPair:
    """The encoded pictures and maps of a pair: what no knob of a method changes."""

    pictures: tuple[Picture, Picture]
    maps: tuple[SmoothMap, SmoothMap]


def draw_pair(
    names: tuple[str, str], maps: tuple[Tensor, Tensor], trace: PuzzleMixTrace
) -> DrawnPair:
    """Encode the pictures as they are mixed, and their saliency."""
    return DrawnPair(
        (stage_picture(names[0], trace.shown_0), stage_picture(names[1], trace.shown_1)),
        (smooth_map(maps[0]), smooth_map(maps[1])),
    )


def stage_scene(
    key: str, drawn: DrawnPair, trace: PuzzleMixTrace, params: PuzzleMixParams, contract: str
) -> Scene:
    """Say what stays while λ moves."""
    units = {
        "beta_E": float(trace.units.beta[0]),
        "gamma_E": float(trace.units.gamma[0]),
        "eta_E": float(trace.units.eta[0]),
        "xi": float(trace.units.xi[0]) if params.transport else 0.0,
    }
    saliency = [
        Saliency(smooth.digest, smooth.png, blocks[0].numpy().astype(np.float32), smooth.peak)
        for smooth, blocks in zip(drawn.maps, (trace.blocks_0, trace.blocks_1), strict=True)
    ]
    return Scene(
        key,
        params.grid,
        params.levels,
        drawn.pictures[0],
        drawn.pictures[1],
        saliency[0],
        saliency[1],
        params.mask_solver,
        params.transport_solver if params.transport else "off",
        contract,
        CONTRACTS[contract],
        units,
    )


def _where(share: NDArray[Any]) -> str:
    """Say where B mostly shows, in a word, from its centre of mass."""
    total = share.sum()
    if total == 0:
        return ""
    n = len(share)
    offset = (np.arange(n) - (n - 1) / 2) / n
    down = float((share.sum(1) * offset).sum() / total)
    right = float((share.sum(0) * offset).sum() / total)
    if max(abs(down), abs(right)) < 0.08:
        return ", around the middle"
    if abs(down) >= abs(right):
        return ", mostly lower" if down > 0 else ", mostly upper"
    return ", mostly right" if right > 0 else ", mostly left"


def describe(trace: PuzzleMixTrace, params: PuzzleMixParams, item: int = 0) -> str:
    """Say in one sentence what the picture shows."""
    z = trace.z[item].numpy()
    n, shown = params.grid, int((z > 0).sum())
    if shown == 0:
        return f"Mask {n} × {n}: only A shows."
    if (z == 1).all():
        return f"Mask {n} × {n}: only B shows."
    mask = f"Mask {n} × {n}: B shows in {shown} of {n * n} blocks{_where(z)}"
    if not params.transport:
        return f"{mask}; blocks stay where they are (mask only)."
    moved = int(visible_moves(trace.z, trace.source_0, trace.source_1)[item].sum())
    if moved == 0:
        return f"{mask}; no visible block moves."
    before, after = dict(trace.ladder)["mask"], trace.energy
    gained = sum(
        float(before[name][item] - after[name][item]) for name in ("saliency_0", "saliency_1")
    )
    blocks = "1 visible block" if moved == 1 else f"{moved} visible blocks"
    change = "uncovers" if gained >= 0 else "hides"
    return f"{mask}; moving {blocks} {change} {abs(gained):.1%} of a picture’s saliency."


def notices(findings: Iterable[Finding], item: int = 0) -> tuple[Notice, ...]:
    """Return what the stage says of one item; remarks leave the word to the status."""
    return tuple(
        Notice(one.cause, one.remedy, _button(one.setting))
        for one in findings
        if item in one.items and not one.remark
    )


def _button(setting: tuple[str, float] | None) -> str:
    return "" if setting is None else f"set_{setting[0]}:{setting[1]:.2g}"


def stage_frame(
    trace: PuzzleMixTrace,
    params: PuzzleMixParams,
    lam: float,
    item: int = 0,
    findings: Iterable[Finding] = (),
) -> Frame:
    """Pack one λ of a trace; `params` hold any λ, the batch item decides which."""
    n = params.grid
    z = trace.z[item].double()
    moved = [
        blocks[item].flatten()[source[item]].view(n, n).numpy().astype(np.float32)
        for blocks, source in (
            (trace.blocks_0, trace.source_0),
            (trace.blocks_1, trace.source_1),
        )
    ]
    return Frame(
        lam=lam,
        labels=(z * params.levels).round().to(torch.uint8).numpy(),
        source_0=trace.source_0[item].numpy().astype(np.uint16),
        source_1=trace.source_1[item].numpy().astype(np.uint16),
        weight_1=float(trace.lam_label[item]),
        terms={name: float(values[item]) for name, values in trace.energy.items()},
        moved_0=moved[0],
        moved_1=moved[1],
        label_cost=trace.local.label_smooth[item].numpy().astype(np.float32),
        data_cost=trace.local.data_smooth[item].numpy().astype(np.float32),
        prior_cost=trace.local.prior[item].numpy().astype(np.float32),
        status=describe(trace, params, item),
        notices=notices(findings, item),
    )


def _constant(trace: PuzzleMixTrace) -> float:
    """Return what E holds beside the energy of the mask problem: constants of φ."""
    start = energy(trace.mask_problem, first_labels(trace.mask_problem))
    return float(dict(trace.ladder)["start"]["total"][0] - start[0])


def _swap_steps(trace: PuzzleMixTrace, levels: int) -> Steps | None:
    moves = trace.mask_steps[0] if trace.mask_steps else ()
    if not moves:
        return None
    constant = _constant(trace)
    captions = tuple(
        f"Labels {_level(move.pair[0], levels)} and {_level(move.pair[1], levels)}: "
        f"{move.changed} {'block changes' if move.changed == 1 else 'blocks change'}."
        for move in moves
    )
    return Steps(
        "swap",
        captions,
        np.array([move.objective + constant for move in moves]),
        labels=np.stack([move.labels for move in moves]).astype(np.uint8),
    )


def _level(label: int, levels: int) -> str:
    return {0: "0", levels: "1"}.get(label, "½" if 2 * label == levels else f"{label}/{levels}")


def _round_steps(rounds: tuple[TransportRound, ...], kind: str) -> Steps | None:
    if not rounds:
        return None
    captions = tuple(
        f"{one.rejected} {'block is' if one.rejected == 1 else 'blocks are'} turned away."
        for one in rounds
    )
    return Steps(
        kind,
        captions,
        np.array([one.objective for one in rounds]),
        sources=np.stack([one.source for one in rounds]).astype(np.int16),
    )


def stage_steps(trace: PuzzleMixTrace, params: PuzzleMixParams) -> tuple[Steps, ...]:
    """Return what can be walked through at this λ: swap moves and rounds of Algorithm 1."""
    found = (
        _swap_steps(trace, params.levels),
        _round_steps(trace.rounds_0[0], "rounds_0") if trace.rounds_0 else None,
        _round_steps(trace.rounds_1[0], "rounds_1") if trace.rounds_1 else None,
    )
    return tuple(steps for steps in found if steps is not None)
