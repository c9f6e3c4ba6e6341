"""Blocks: the n×n grid on which masks are chosen and pictures are cut, counted row by row."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def check_finite(name: str, values: Tensor) -> None:
    """Raise a ValueError that names the tensor when it holds NaN or infinity."""
    # NaN and infinity survive a sum, which is several times faster than looking at each value.
    if bool(torch.isfinite(values.detach().sum())):
        return
    wrong = (~torch.isfinite(values)).nonzero().tolist()
    if wrong:  # else finite values had an infinite sum
        where = tuple(wrong[0])
        raise ValueError(f"{name} must be finite, got {values[where].item()} at index {where}")


def check_all_finite(**named: Tensor) -> None:
    """Raise as `check_finite` does, for the first of several that is not finite.

    A GPU is asked once for all of them: every answer it is waited for costs a training step more
    than the sums do.
    """
    sums = torch.stack([values.detach().sum().float() for values in named.values()])
    if not bool(torch.isfinite(sums).all()):
        for name, values in named.items():
            check_finite(name, values)


def check_grid(grid: int, height: int, width: int) -> None:
    """Raise a ValueError unless the picture is square and divides into grid×grid blocks."""
    if height != width or height % grid:
        raise ValueError(f"grid = {grid} must divide a square picture, got {height}×{width} pixels")


def sum_to_one(maps: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
    """Scale each map to sum 1; a map that is zero everywhere becomes uniform."""
    total = maps.flatten(1).sum(1)
    shape = (-1,) + (1,) * (maps.ndim - 1)
    empty = total <= 0
    if not bool(empty.any()):  # nearly always, and one pass over the maps instead of three
        return maps / total.view(shape)
    scaled = maps / total.masked_fill(empty, 1).view(shape)
    return scaled.masked_fill_(empty.view(shape), 1 / max(maps[0].numel(), 1))


def pool_to_blocks(
    name: str, maps: Float[Tensor, "b h w"], grid: int
) -> Float[Tensor, "b {grid} {grid}"]:
    """Average-pool a saliency map to blocks and make it sum to 1, in float64 on the CPU.

    Puzzle Mix, Section 4: the objective is optimised "after down-sampling the saliency
    information s(x) with average pooling". A map that is zero everywhere becomes uniform.

    Raises:
        ValueError: naming the tensor, when it is NaN, infinite or negative somewhere, or when
            the grid does not divide the picture.
    """
    check_grid(grid, *maps.shape[1:])
    side = maps.shape[-1] // grid
    # Pooled where the map lives, so that only n² numbers per item travel from a GPU.
    cells = maps.detach().double().reshape(-1, grid, side, grid, side)
    blocks = cells.mean((2, 4)).cpu()
    check_finite(name, blocks)
    if bool((blocks < 0).any()):
        raise ValueError(f"{name} must not be negative, got {blocks.min().item():.3g}")
    return sum_to_one(blocks)


def flat_items(maps: Float[Tensor, "b h w"]) -> Bool[Tensor, " b"]:
    """Say of each map whether it is the same everywhere (zero included)."""
    flat = maps.flatten(1)
    return flat.amax(1) == flat.amin(1)


def items_of(mask: Bool[Tensor, " b"]) -> list[int]:
    """Return the batch indices at which a mask is true."""
    return mask.nonzero().flatten().tolist()


def is_flat(maps: Float[Tensor, "b h w"]) -> list[int]:
    """Return the batch indices whose map is the same everywhere (zero included)."""
    return items_of(flat_items(maps))


def grow(blocks: Float[Tensor, "b n n"], size: int) -> Float[Tensor, "b {size} {size}"]:
    """Repeat each block's value over its pixels."""
    side = size // blocks.shape[-1]
    return blocks.repeat_interleave(side, 1).repeat_interleave(side, 2)


def identity_plan(batch: int, grid: int) -> Int[Tensor, "{batch} {grid}*{grid}"]:
    """Return the plan that leaves every block where it is."""
    return torch.arange(grid * grid).expand(batch, -1).clone()


def move_blocks(
    images: Float[Tensor, "b c h w"], source: Int[Tensor, "b n2"]
) -> Float[Tensor, "b c h w"]:
    """Put block `source[b, j]` of the image at place j: Πᵀx of Puzzle Mix, eq. 2, by index.

    Equal bit for bit to the product with the dense plan, and hundreds of times faster. Where no
    block moves, the images themselves come back.
    """
    batch, channels, height, width = images.shape
    grid = round(source.shape[1] ** 0.5)
    check_grid(grid, height, width)
    source = source.to(images.device)
    if torch.equal(source, identity_plan(batch, grid).to(source)):
        return images
    side = height // grid
    # A line of pixels of a block is one run of memory, and a plan a choice of such runs.
    row, column = (part.view(batch, grid, 1, grid) for part in (source // grid, source % grid))
    line = torch.arange(side, device=source.device)[:, None]
    within = ((row * side + line) * grid + column).view(batch, 1, -1)
    layer = torch.arange(batch * channels, device=source.device).view(batch, channels, 1)
    run = (layer * (height * grid) + within).flatten()
    return images.reshape(-1, side).index_select(0, run).view(batch, channels, height, width)
