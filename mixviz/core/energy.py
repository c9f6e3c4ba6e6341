"""The objective of Puzzle Mix, term by term (eq. 3), on blocks, in float64 on the CPU.

    E(z, Π) = Σᵢ zᵢ (Π₀ᵀs₀)ᵢ + (1−zᵢ)(Π₁ᵀs₁)ᵢ + β Σ (zᵢ−zⱼ)² + γ Σ φᵢⱼ(zᵢ, zⱼ)
              − η Σ log p(zᵢ) + ξ Σₖ ⟨Πₖ, C⟩

The first two terms are the saliency hidden: what eq. 3 maximises, negated, plus a constant.
Labels t in 0..m stand for z = t/m; edges run between 4-neighbours, to the right and down.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from mixviz.core.blocks import check_grid

Place = tuple[slice, ...]

TERMS = ("saliency_0", "saliency_1", "label_smooth", "data_smooth", "prior", "transport")


@dataclass(frozen=True, eq=False)
class Weights:
    """β, γ, η in the units of the energy, one per item; ξ has the same unit everywhere."""

    beta: Float[Tensor, " b"]
    gamma: Float[Tensor, " b"]
    eta: Float[Tensor, " b"]
    xi: Float[Tensor, " b"]


def energy_weights(
    beta: float | Tensor,
    gamma: float | Tensor,
    eta: float | Tensor,
    xi: float | Tensor,
    grid: int,
    batch: int,
) -> Weights:
    """Convert the parameters people tune, the same on every grid, to the units of the energy.

    β_E = beta/(16 n), γ_E = beta·gamma/(16 n), η_E = eta/n²: the units of the released command
    lines. beta = 0 therefore silences gamma too.
    """
    b, g, e, x = (
        torch.as_tensor(value, dtype=torch.float64).cpu().expand(batch)
        for value in (beta, gamma, eta, xi)
    )
    return Weights(b / (16 * grid), b * g / (16 * grid), e / grid**2, x)


@dataclass(frozen=True, eq=False)
class Edges:
    """One number per edge: `right[r, c]` joins (r, c) to (r, c+1), `down[r, c]` to (r+1, c)."""

    right: Float[Tensor, "b n n-1 *s"]
    down: Float[Tensor, "b n-1 n *s"]

    def map(self, change: Callable[[Tensor], Tensor]) -> "Edges":
        """Apply the same elementwise change to both directions."""
        return Edges(change(self.right), change(self.down))


def largest_pool(block: int, at_most: int = 4) -> int:
    """Return the largest divisor of a block's side up to `at_most` (preset "released code")."""
    return max(size for size in range(1, min(block, at_most) + 1) if block % size == 0)


def seam_distances(
    x0: Float[Tensor, "b 3 h w"], x1: Float[Tensor, "b 3 h w"], grid: int, neigh_size: int = 1
) -> Edges:
    """Return φᵇ(k, l) = d_p(x_{k,i}, x_{l,j}) for every edge (i, j); shape (..., 2, 2).

    Puzzle Mix, Definition 2. d_p is the mean absolute difference across the shared boundary,
    over its pixels and the channels; image values in [0, 1] bound it by 1. With
    `neigh_size` > 1 the images are average-pooled by it first.

    Raises:
        ValueError: when the grid does not divide the picture or neigh_size the block.
    """
    size = x0.shape[-1]
    check_grid(grid, *x0.shape[2:])
    block = size // grid
    if neigh_size < 1 or block % neigh_size:
        raise ValueError(
            f"neigh_size must divide the block side of {block} pixels, got {neigh_size}"
        )
    images = [x0.detach(), x1.detach()]
    if neigh_size > 1:
        images = [avg_pool2d(x.double(), neigh_size) for x in images]
    step = block // neigh_size
    last, first = slice(step - 1, -1, step), slice(step, None, step)

    def below(images: list[Tensor]) -> Tensor:
        """Compare the rows on both sides of every lower edge: (b, edges, blocks, 2, 2)."""

        def rows(place: slice) -> Tensor:
            # Only these rows are copied. A mean over neither end of the shape is the fast one.
            chosen = torch.stack([x[:, :, place] for x in images], 1).double()
            return chosen.view(*chosen.shape[:-1], grid, step).movedim(-1, 3).flatten(2, 3)

        # (b, k, 1, 3·step, edges, blocks) against (b, 1, l, 3·step, edges, blocks)
        gap = (rows(last)[:, :, None] - rows(first)[:, None]).abs_()
        return gap.mean(3).permute(0, 3, 4, 1, 2)

    down = below(images)
    right = below([x.transpose(2, 3) for x in images]).transpose(1, 2)
    return Edges(right.cpu(), down.cpu())


@dataclass(frozen=True, eq=False)
class SeamForm:
    """φ of every edge as constant + first·zᵢ + second·zⱼ + residual·(zᵢ−zⱼ)².

    `clamped` lists the batch items where a residual was raised so that the energy stays one that
    a graph cut can solve.
    """

    constant: Edges
    first: Edges
    second: Edges
    residual: Edges
    clamped: list[int]


def _corners(phi: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return phi[..., 0, 0], phi[..., 0, 1], phi[..., 1, 0], phi[..., 1, 1]


def _first(phi: Tensor) -> Tensor:
    p00, p01, p10, p11 = _corners(phi)
    return (p10 + p11 - p00 - p01) / 2


def _second(phi: Tensor) -> Tensor:
    p00, p01, p10, p11 = _corners(phi)
    return (p01 + p11 - p00 - p10) / 2


def _residual(phi: Tensor) -> Tensor:
    p00, p01, p10, p11 = _corners(phi)
    return (p10 + p01 - p11 - p00) / 2


def linear_seams(phi: Edges) -> SeamForm:
    """Definition 3: with the primed values of the paper φ is linear in zᵢ and zⱼ."""
    constant = phi.map(lambda p: p[..., 0, 0] + (p[..., 0, 1] + p[..., 1, 0]) / 2)
    return SeamForm(
        constant, phi.map(_first), phi.map(_second), phi.map(lambda p: 0 * p[..., 0, 0]), []
    )


def residual_seams(phi: Edges) -> SeamForm:
    """Definition 2 for two labels, and what the released code does for more of them."""
    return SeamForm(
        phi.map(lambda p: p[..., 0, 0]), phi.map(_first), phi.map(_second), phi.map(_residual), []
    )


DATA_TERMS: Mapping[str, Callable[[Edges], SeamForm]] = MappingProxyType(
    {"paper": linear_seams, "official": residual_seams}
)


def seam_form(phi: Edges, data_term: str, levels: int, weights: Weights) -> SeamForm:
    """Return φ ready for the energy: Definition 2 for two labels, else the chosen data term.

    A cut needs β_E + γ_E·residual ≥ 0 on every edge. gamma ≤ 1 ensures it (Proposition 1); above,
    the residual is raised to −β_E/γ_E and the item listed in `clamped`.
    """
    form = (residual_seams if levels == 1 else DATA_TERMS[data_term])(phi)
    floor = -(weights.beta / weights.gamma.where(weights.gamma > 0, torch.inf))
    floor = floor.where(weights.gamma > 0, -torch.inf)[:, None, None]
    low = [edges < floor for edges in (form.residual.right, form.residual.down)]
    clamped = torch.stack([edges.flatten(1).any(1) for edges in low]).any(0)
    residual = form.residual.map(lambda edges: torch.maximum(edges, floor))
    return SeamForm(
        form.constant, form.first, form.second, residual, clamped.nonzero().flatten().tolist()
    )


def log_binomial(lam: float | Tensor, levels: int, batch: int) -> Float[Tensor, "{batch} m1"]:
    """Return log p(z = t/m) for z ~ Binomial(m, λ)/m, in the log domain; −inf where p = 0."""
    share = torch.as_tensor(lam, dtype=torch.float64).cpu().expand(batch)[:, None]
    t = torch.arange(levels + 1, dtype=torch.float64)
    m = torch.tensor(float(levels), dtype=torch.float64)
    choose = torch.lgamma(m + 1) - torch.lgamma(t + 1) - torch.lgamma(m - t + 1)
    return choose + torch.xlogy(t, share) + torch.xlogy(m - t, 1 - share)


def prior_cost(lam: float | Tensor, levels: int, weights: Weights) -> Float[Tensor, "b m1"]:
    """Return −η log p(t/m) per label; η = 0 switches it off, never 0·∞."""
    cost = -log_binomial(lam, levels, len(weights.eta))
    eta = weights.eta[:, None]
    return torch.where(eta > 0, eta * cost.where(eta > 0, 0.0), 0.0)


def site_coefficient(form: SeamForm) -> Float[Tensor, "b n n"]:
    """Return Σ over the edges of a block of φ's linear coefficient for that block."""
    batch, rows, columns = form.first.right.shape
    total = form.first.right.new_zeros(batch, rows, columns + 1)
    total[:, :, :-1] += form.first.right
    total[:, :, 1:] += form.second.right
    total[:, :-1] += form.first.down
    total[:, 1:] += form.second.down
    return total


def unary_costs(
    s0: Float[Tensor, "b n n"],
    s1: Float[Tensor, "b n n"],
    form: SeamForm,
    prior: Float[Tensor, "b m1"],
    weights: Weights,
) -> Float[Tensor, "b n n m1"]:
    """Return the cost of each label at each block that does not depend on its neighbours."""
    z = torch.linspace(0, 1, prior.shape[1], dtype=torch.float64)
    linear = weights.gamma[:, None, None] * site_coefficient(form)
    return s1[..., None] + (s0 - s1 + linear)[..., None] * z + prior[:, None, None]


def edge_weights(form: SeamForm, weights: Weights) -> Edges:
    """Return β_E + γ_E·residual, the weight of (zᵢ−zⱼ)² on each edge; never negative."""
    beta, gamma = weights.beta[:, None, None], weights.gamma[:, None, None]
    # The clamp of `seam_form` can leave −1e-19 by rounding.
    return form.residual.map(lambda edges: (beta + gamma * edges).clamp_min(0))


def _ends(z: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    return (z[:, :, :-1], z[:, :, 1:]), (z[:, :-1], z[:, 1:])


def energy_terms(
    z: Float[Tensor, "b n n"],
    s0: Float[Tensor, "b n n"],
    s1: Float[Tensor, "b n n"],
    form: SeamForm,
    prior: Float[Tensor, "b m1"],
    carried: Float[Tensor, " b"],
    weights: Weights,
) -> dict[str, Float[Tensor, " b"]]:
    """Return E by term and its total (eq. 3), constants of φ included.

    Args:
        z: the mask on blocks.
        s0: the saliency of image 0 as moved, Π₀ᵀs₀.
        s1: the saliency of image 1 as moved, Π₁ᵀs₁.
        form: φ of the images as moved.
        prior: −η log p per label.
        carried: Σₖ ⟨Πₖ, C⟩.
        weights: in the units of the energy.
    """
    (left, right), (upper, lower) = _ends(z)
    labels = (z * (prior.shape[1] - 1)).round().long()

    def phi(edges: str, before: Tensor, after: Tensor) -> Tensor:
        value = (
            getattr(form.constant, edges)
            + getattr(form.first, edges) * before
            + getattr(form.second, edges) * after
            + getattr(form.residual, edges) * (before - after) ** 2
        )
        return value.sum((1, 2))

    differ = ((left - right) ** 2).sum((1, 2)) + ((upper - lower) ** 2).sum((1, 2))
    terms = {
        "saliency_0": (z * s0).sum((1, 2)),
        "saliency_1": ((1 - z) * s1).sum((1, 2)),
        "label_smooth": weights.beta * differ,
        "data_smooth": weights.gamma * (phi("right", left, right) + phi("down", upper, lower)),
        "prior": prior.gather(1, labels.flatten(1)).sum(1),
        "transport": weights.xi * carried,
    }
    return {**terms, "total": torch.stack([terms[name] for name in TERMS]).sum(0)}


@dataclass(frozen=True, eq=False)
class LocalCosts:
    """What each label would cost at each block, every other block as it is.

    The saliency hidden by label t is (t/m)·s0 + (1−t/m)·s1 of the block as moved; the prior is
    the same at every block. Differences along the last axis are differences of the energy.
    """

    label_smooth: Float[Tensor, "b n n m1"]
    data_smooth: Float[Tensor, "b n n m1"]
    prior: Float[Tensor, "b m1"]


def local_costs(
    z: Float[Tensor, "b n n"], form: SeamForm, prior: Float[Tensor, "b m1"], weights: Weights
) -> LocalCosts:
    """Return the terms of each block's own edges for every label it could take."""
    candidates = torch.linspace(0, 1, prior.shape[1], dtype=torch.float64)
    (left, right), (upper, lower) = _ends(z)
    smooth = z.new_zeros(*z.shape, len(candidates))
    seams = torch.zeros_like(smooth)

    def add(edges: str, before: Tensor, after: Tensor, here: Place, there: Place) -> None:
        constant, first, second, residual = (
            getattr(part, edges)[..., None]
            for part in (form.constant, form.first, form.second, form.residual)
        )
        for place, mine, other, slope, back in (
            (here, first, after, candidates, second),
            (there, second, before, candidates, first),
        ):
            differ = (slope - other[..., None]) ** 2
            smooth[place] += differ
            seams[place] += constant + mine * slope + back * other[..., None] + residual * differ

    every = slice(None)
    add("right", left, right, (every, every, slice(None, -1)), (every, every, slice(1, None)))
    add("down", upper, lower, (every, slice(None, -1)), (every, slice(1, None)))
    beta, gamma = (w[:, None, None, None] for w in (weights.beta, weights.gamma))
    return LocalCosts(beta * smooth, gamma * seams, prior)
