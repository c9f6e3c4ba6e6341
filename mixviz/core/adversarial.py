"""Stochastic adversarial inputs of Puzzle Mix (Algorithm 2)."""

import torch
from jaxtyping import Float
from torch import Tensor


def per_item(value: float | Tensor, batch: int) -> Tensor:
    """Spread a number, or one number per item, over a batch, in float64."""
    return torch.as_tensor(value, dtype=torch.float64).expand(batch)


def start_noise(
    images: Float[Tensor, "b 3 h w"],
    nu: float | Tensor,
    eps: float | Tensor,
    seed: int | Tensor,
    which: int,
) -> Float[Tensor, "b 3 h w"]:
    """Return κ ~ Uniform(−ε, ε) where ν = 1 and zero elsewhere (Algorithm 2, first loop).

    Drawn on the CPU from the item's own seed, so that a batch equals its items and every device
    sees the same noise. One seed for the whole batch gives every item the same noise; training
    passes one seed per item.

    Args:
        images: the clean images; only shape, dtype and device are read.
        nu: 1 where the image is attacked, else 0.
        eps: radius of the ball, in units of the image.
        seed: one for all items or one per item.
        which: 0 or 1, so that the two images of a pair get different noise.
    """
    batch = images.shape[0]
    attacked, radius = per_item(nu, batch), per_item(eps, batch)
    seeds = torch.as_tensor(seed).expand(batch).tolist()
    noise = torch.zeros_like(images)
    for item in range(batch):
        if attacked[item] > 0:
            rng = torch.Generator().manual_seed(2 * int(seeds[item]) + which)
            uniform = torch.rand(images.shape[1:], generator=rng, dtype=torch.float32) * 2 - 1
            noise[item] = (uniform * radius[item]).to(images)
    return noise


def attack(
    images: Float[Tensor, "b 3 h w"],
    noise: Float[Tensor, "b 3 h w"],
    gradient: Float[Tensor, "b 3 h w"],
    nu: float | Tensor,
    eps: float | Tensor,
    tau: float | Tensor,
    delta: float | Tensor,
) -> Float[Tensor, "b 3 h w"]:
    """Return x + δ·clip(κ + τ·sign g, ±ε) where ν = 1 (Algorithm 2, last loop), inside [0, 1].

    The paper does not clip to [0, 1]; a picture must.
    """
    batch = images.shape[0]
    attacked, radius, step, share = (
        per_item(value, batch).to(images)[:, None, None, None] for value in (nu, eps, tau, delta)
    )
    moved = torch.clamp(noise + step * gradient.sign(), -radius, radius)
    return torch.where(attacked > 0, (images + share * moved).clamp(0, 1), images)
