"""What training draws at random, apart from what is done with it. Chance is an argument."""

import torch
from jaxtyping import Float
from torch import Tensor

GRIDS = (2, 4, 8, 16)


def draw_lam(alpha: float, batch: int, rng: torch.Generator) -> Float[Tensor, " {batch}"]:
    """Draw λ ~ Beta(alpha, alpha) for each item, from the generator alone, in float64.

    At alpha = 0.2 float32 would round 1.6% of the draws to exactly 1, and none to 0.

    Raises:
        ValueError: unless alpha > 0.
    """
    if not alpha > 0:
        raise ValueError(f"alpha must be positive, got {alpha}")
    concentration = torch.full((2, batch), alpha, dtype=torch.float64)
    gamma = torch._standard_gamma(concentration, generator=rng)
    return gamma[0] / gamma.sum(0).clamp_min(torch.finfo(torch.float64).tiny)


def draw_grid(rng: torch.Generator, grids: tuple[int, ...] = GRIDS) -> int:
    """Draw the number of blocks per side, "randomly per each mini-batch" (Puzzle Mix, 4)."""
    return grids[int(torch.randint(len(grids), (), generator=rng))]


def draw_places(
    count: int, batch: int, rng: torch.Generator
) -> tuple[Float[Tensor, " {batch}"], ...]:
    """Draw places uniform in [0, 1), so that every pixel of a side is as likely."""
    return torch.rand(count, batch, generator=rng, dtype=torch.float64).unbind()


def draw_one(
    values: tuple[float, ...], batch: int, rng: torch.Generator
) -> Float[Tensor, " {batch}"]:
    """Draw one of the values for each item, all as likely."""
    index = torch.randint(len(values), (batch,), generator=rng)
    return torch.tensor(values, dtype=torch.float64)[index]
