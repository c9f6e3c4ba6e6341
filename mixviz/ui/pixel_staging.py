"""From traces of masks of pixels to the stage. Tensors become arrays here."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from mixviz.core.blocks import sum_to_one
from mixviz.core.types import Pair
from mixviz.detectors import check
from mixviz.methods import METHODS
from mixviz.methods.guidedmixup import GuidedMixupTrace
from mixviz.stage import CardRow, Guide, Notice, Picture, PixelScene, Saliency
from mixviz.ui.compute import digest_of
from mixviz.ui.staging import CONTRACTS, notices, stage_picture
from mixviz.viz.draw import to_png

MOST_CELLS = 28  # per side; finer ones could not be pointed at
BRIGHT = 0.995  # of the pixels are told apart; a single bright one would darken all others


@dataclass(frozen=True, eq=False)
class DrawnPixels:
    """The encoded pictures and maps of a pair: what no knob of a method changes."""

    pictures: tuple[Picture, Picture]
    saliency: tuple[Saliency, Saliency]


def cells_of(side: int) -> int:
    """Return how many cells per side a picture is looked at in, when the method names none."""
    return max(cells for cells in range(1, MOST_CELLS + 1) if side % cells == 0)


def cell_means(values: Tensor, grid: int) -> NDArray[np.float32]:
    """Average (h, w) over grid × grid cells."""
    means: NDArray[np.float32] = adaptive_avg_pool2d(values[None].double(), grid)[0].float().numpy()
    return means


def _in_means(maps: tuple[Tensor, Tensor]) -> Tensor:
    """Stack two maps (1, h, w) in multiples of their means, (2, h, w)."""
    both = torch.cat(maps).double()
    return sum_to_one(both) * both[0].numel()


def _top(scaled: Tensor) -> float:
    """Return where the common scale of two maps ends."""
    return max(float(scaled.quantile(BRIGHT)), 1e-6)


def draw_pixels(
    names: tuple[str, str], images: tuple[Tensor, Tensor], maps: tuple[Tensor, Tensor], grid: int
) -> DrawnPixels:
    """Encode images (1, 3, h, w) and their saliency (1, h, w), both maps on one scale."""
    scaled = _in_means(maps)
    top = _top(scaled)
    saliency = []
    for map_ in scaled:
        png = to_png((map_ / top * 255).clamp(max=255).round().to(torch.uint8).numpy())
        blocks = cell_means(map_ / grid**2, grid)
        saliency.append(Saliency(digest_of(png, top), png, blocks, top))
    return DrawnPixels(
        (stage_picture(names[0], images[0]), stage_picture(names[1], images[1])),
        (saliency[0], saliency[1]),
    )


def heat_guide(title: str, maps: tuple[Tensor, Tensor]) -> Guide:
    """Show two maps (1, h, w) as heat on one scale."""
    scaled = _in_means(maps)
    peaks = [f"peak {float(map_.max()):.1f}× mean" for map_ in scaled]
    first, second = scaled.float().numpy()
    return Guide(title, first, second, "heat", (peaks[0], peaks[1]), _top(scaled))


def exposed(
    maps: tuple[Tensor, Tensor], fixed: Tensor, free: Tensor
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Say which share of each map (1, h, w) a mask shows at λ = 0 and at λ = 1.

    Args:
        maps: saliency of A and of B.
        fixed: (h, w), share of B where λ does not decide.
        free: (h, w), where the mask is λ.
    """
    first, second = (sum_to_one(map_.double())[0] for map_ in maps)
    by_lam = [fixed.double().where(~free, lam) for lam in (0.0, 1.0)]
    a = [float((first * (1 - mask)).sum()) for mask in by_lam]
    b = [float((second * mask).sum()) for mask in by_lam]
    return (a[0], a[1]), (b[0], b[1])


def pixel_scene(
    key: str,
    drawn: DrawnPixels,
    maps: tuple[Tensor, Tensor],
    fixed: Tensor,
    free: Tensor,
    guide: Guide | None,
    contract: str,
    rows: tuple[CardRow, ...],
    status: str,
    notices: tuple[Notice, ...] = (),
    scrubs: bool = True,
    swappable: bool = True,
) -> PixelScene:
    """Join what is drawn, (h, w) mask and words to a scene; see `PixelScene` for each."""
    exposed_0, exposed_1 = exposed(maps, fixed, free)
    return PixelScene(
        key=key,
        grid=len(drawn.saliency[0].blocks),
        picture_0=drawn.pictures[0],
        picture_1=drawn.pictures[1],
        saliency_0=drawn.saliency[0],
        saliency_1=drawn.saliency[1],
        fixed=fixed.float().numpy(),
        free=free.numpy(),
        guide=guide,
        contract=contract,
        contract_words=CONTRACTS[contract],
        rows=rows,
        status=status,
        exposed_0=exposed_0,
        exposed_1=exposed_1,
        notices=notices,
        scrubs=scrubs,
        swappable=swappable,
    )


def guided_scene(
    pair: tuple[int, int],
    names: tuple[str, str],
    images: tuple[Tensor, Tensor],
    maps: tuple[Tensor, Tensor],
    trace: GuidedMixupTrace,
) -> PixelScene:
    """Say what GuidedMixup made of one directed pair; the trace has a batch of 1.

    Args:
        pair: where the two stand in the batch; part of the scene's key.
        names: what a visitor reads above the pictures.
        images: (1, 3, h, w), A and B.
        maps: (1, h, w), their saliency before the blur.
        trace: what the method did.
    """
    mask = trace.mask[0]
    grid = cells_of(len(mask))
    drawn = draw_pixels(names, images, maps, grid)
    blurred = (trace.blurred_0, trace.blurred_1)
    rows = [
        CardRow(f"{letter}, blurred, × mean", cell_means(map_, grid), "number")
        for letter, map_ in zip("AB", _in_means(blurred), strict=True)
    ]
    said = (
        "Each pixel shows B by its part b / (a + b) of the blurred saliencies; here that is "
        "{share} on average."
    )
    parts = [picture.digest for picture in (*drawn.pictures, *drawn.saliency)]
    return pixel_scene(
        f"guided-{pair[0]}-{pair[1]}-{digest_of(mask.numpy().tobytes(), *parts)}",
        drawn,
        maps,
        mask,
        torch.zeros_like(mask, dtype=torch.bool),
        heat_guide("Blurred", blurred),
        "independent",
        (*rows, CardRow("", np.zeros((grid, grid), np.float32), "words", (said,))),
        "B shows more than half in {over} of the pixels; its label is the mean of the mask, "
        "{weight}.",
        notices(check(trace, Pair(*images, *maps), method=METHODS["guidedmixup"])),
        swappable=False,
    )
