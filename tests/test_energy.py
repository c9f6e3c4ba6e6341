"""The objective of Puzzle Mix against the formulas of the paper, written out slowly."""

import itertools
import math

import numpy as np
import pytest
import torch

from mixviz.core import energy as e
from mixviz.core.blocks import identity_plan, move_blocks, pool_to_blocks
from mixviz.core.types import Pair
from mixviz.methods.puzzle_mix import PuzzleMixParams, mix


def random_pair(batch=2, size=16, seed=0):
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(2, batch, 3, size, size, generator=rng)
    s = torch.rand(2, batch, size, size, generator=rng) ** 3
    return Pair(x[0], x[1], s[0], s[1])


def edges_of(n):
    for r, c in itertools.product(range(n), repeat=2):
        if c + 1 < n:
            yield (r, c), (r, c + 1), "right"
        if r + 1 < n:
            yield (r, c), (r + 1, c), "down"


def boundary_distance(x_i, x_j, here, there, block):
    """d_p: mean absolute difference of the two pixel rows that touch."""
    (r, c), (r2, c2) = here, there
    if r == r2:
        a = x_i[:, r * block : (r + 1) * block, (c + 1) * block - 1]
        b = x_j[:, r * block : (r + 1) * block, c2 * block]
    else:
        a = x_i[:, (r + 1) * block - 1, c * block : (c + 1) * block]
        b = x_j[:, r2 * block, c * block : (c + 1) * block]
    return float((a.double() - b.double()).abs().mean())


def definition_3(p, zi, zj):
    """Definition 3 with the primed values of the paper."""
    q = {
        (0, 0): p[0, 0] + (p[0, 1] + p[1, 0]) / 2,
        (0, 1): p[0, 1] + (p[0, 0] + p[1, 1]) / 2,
        (1, 0): p[1, 0] + (p[0, 0] + p[1, 1]) / 2,
        (1, 1): p[1, 1] + (p[0, 1] + p[1, 0]) / 2,
    }
    return (
        zi * zj * q[1, 1]
        + zi * (1 - zj) * q[1, 0]
        + (1 - zi) * zj * q[0, 1]
        + (1 - zi) * (1 - zj) * q[0, 0]
    )


def slow_energy(pair, params, z, source_0, source_1, item):
    """Eq. 3, term by term, in plain loops."""
    n, m = params.grid, params.levels
    size = pair.x0.shape[-1]
    block = size // n
    x = [
        move_blocks(image[item : item + 1], source[item : item + 1])[0]
        for image, source in ((pair.x0, source_0), (pair.x1, source_1))
    ]
    s = []
    for name, source in (("s0", source_0), ("s1", source_1)):
        pooled = getattr(pair, name)[item].double().view(n, block, n, block).mean((1, 3))
        pooled = (pooled / pooled.sum()).flatten()
        s.append(pooled[source[item]].view(n, n))
    z = (z[item].double() * m).round() / m  # thirds are not exact in float32
    beta, gamma = params.beta / (16 * n), params.beta * params.gamma / (16 * n)
    eta = params.eta / n**2
    smooth = seams = 0.0
    for here, there, _ in edges_of(n):
        zi, zj = float(z[here]), float(z[there])
        smooth += beta * (zi - zj) ** 2
        p = np.array(
            [[boundary_distance(x[k], x[q], here, there, block) for q in (0, 1)] for k in (0, 1)]
        )
        if m == 1:
            seams += gamma * p[int(zi), int(zj)]
        elif params.data_term == "paper":
            seams += gamma * definition_3(p, zi, zj)
        else:
            a = (p[1, 0] + p[1, 1] - p[0, 0] - p[0, 1]) / 2
            b = (p[0, 1] + p[1, 1] - p[0, 0] - p[1, 0]) / 2
            r = (p[1, 0] + p[0, 1] - p[1, 1] - p[0, 0]) / 2
            seams += gamma * (p[0, 0] + a * zi + b * zj + r * (zi - zj) ** 2)
    prior = 0.0
    for value in z.flatten().tolist():
        t = round(value * m)
        chance = math.comb(m, t) * params.lam**t * (1 - params.lam) ** (m - t)
        prior -= eta * math.log(chance)
    carried = 0.0
    for source in (source_0, source_1):
        for place, origin in enumerate(source[item].tolist()):
            (r, c), (r2, c2) = divmod(origin, n), divmod(place, n)
            carried += params.xi * ((r - r2) ** 2 + (c - c2) ** 2) / (n - 1) ** 2
    return {
        "saliency_0": float((z * s[0]).sum()),
        "saliency_1": float(((1 - z) * s[1]).sum()),
        "label_smooth": smooth,
        "data_smooth": seams,
        "prior": prior,
        "transport": carried,
    }


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"xi": 0.005},
        {"levels": 1},
        {"levels": 1, "gamma": 1.0, "xi": 0.01},
        {"levels": 4, "data_term": "official", "lam": 0.3},
        {"levels": 3, "grid": 8, "lam": 0.7, "xi": 0.01, "cycles": 3},
        {"grid": 2, "mask_solver": "swap", "transport_solver": "paper", "xi": 0.02},
    ],
    ids=str,
)
def test_every_term_is_the_papers(changes):
    params = PuzzleMixParams(**{"grid": 4, **changes})
    pair = random_pair()
    trace = mix(pair, params)
    for item in range(2):
        slow = slow_energy(pair, params, trace.z, trace.source_0, trace.source_1, item)
        for name, value in slow.items():
            assert float(trace.energy[name][item]) == pytest.approx(value, abs=1e-9), name
        assert float(trace.energy["total"][item]) == pytest.approx(sum(slow.values()), abs=1e-9)


def test_definition_3_is_its_linear_form():
    phi = torch.rand(1, 3, 2, 2, 2, generator=torch.Generator().manual_seed(1)).double()
    form = e.linear_seams(e.Edges(phi, phi.transpose(1, 2)))
    for zi, zj in itertools.product((0.0, 0.25, 0.5, 1.0), repeat=2):
        ours = form.constant.right + form.first.right * zi + form.second.right * zj
        for place in itertools.product(range(3), range(2)):
            paper = definition_3(phi[(0, *place)].numpy(), zi, zj)
            assert float(ours[(0, *place)]) == pytest.approx(paper, abs=1e-12)
    assert not form.residual.right.any()


def test_definition_2_is_the_distance_of_what_is_shown():
    phi = torch.rand(1, 3, 2, 2, 2, generator=torch.Generator().manual_seed(2)).double()
    form = e.residual_seams(e.Edges(phi, phi.transpose(1, 2)))
    for zi, zj in itertools.product((0, 1), repeat=2):
        ours = (
            form.constant.right
            + form.first.right * zi
            + form.second.right * zj
            + form.residual.right * (zi - zj) ** 2
        )
        torch.testing.assert_close(ours, phi[..., zi, zj])


def test_above_proposition_1_the_seam_is_clamped_and_said_so():
    pair = random_pair(size=8)
    # Blocks whose own neighbours differ and whose strangers agree: r = −1.
    stripes = torch.arange(8).div(2, rounding_mode="floor").remainder(2).float()
    x0 = stripes.expand(1, 3, 8, 8).clone()
    pair = Pair(x0, 1 - x0, pair.s0[:1], pair.s1[:1])
    calm = mix(pair, PuzzleMixParams(grid=4, levels=1, gamma=1.0, transport=False))
    wild = mix(pair, PuzzleMixParams(grid=4, levels=1, gamma=3.0, transport=False))
    assert "clamped_seam" not in calm.flags
    assert wild.flags["clamped_seam"] == (0,)


@pytest.mark.parametrize("levels", [1, 2, 5, 16])
@pytest.mark.parametrize("lam", [0.0, 1e-9, 0.3, 1 - 1e-9, 1.0])
def test_the_log_prior_is_scipys(levels, lam):
    from scipy.stats import binom

    expected = binom.logpmf(np.arange(levels + 1), levels, lam)
    np.testing.assert_allclose(e.log_binomial(lam, levels, 1)[0], expected, rtol=1e-9, atol=1e-9)


def test_without_eta_there_is_no_prior_even_at_the_ends():
    weights = e.energy_weights(1.2, 0.5, 0.0, 0.8, 8, 2)
    assert (e.prior_cost(torch.tensor([0.0, 1.0]), 2, weights) == 0).all()


def test_local_costs_are_differences_of_the_energy():
    params = PuzzleMixParams(grid=4, levels=3, data_term="official", xi=0.01, lam=0.4)
    pair = random_pair(batch=1)
    trace = mix(pair, params)
    z = (trace.z.double() * 3).round() / 3
    for r, c, t in itertools.product(range(4), range(4), range(4)):
        flipped = z.clone()
        flipped[0, r, c] = t / 3
        before = slow_energy(pair, params, z, trace.source_0, trace.source_1, 0)
        after = slow_energy(pair, params, flipped, trace.source_0, trace.source_1, 0)
        now = round(float(z[0, r, c]) * 3)
        for term, costs in (
            ("label_smooth", trace.local.label_smooth),
            ("data_smooth", trace.local.data_smooth),
        ):
            change = float(costs[0, r, c, t] - costs[0, r, c, now])
            assert change == pytest.approx(after[term] - before[term], abs=1e-12)
        change = float(trace.local.prior[0, t] - trace.local.prior[0, now])
        assert change == pytest.approx(after["prior"] - before["prior"], abs=1e-12)


def test_neigh_size_compares_pooled_cells():
    x = torch.rand(2, 1, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    pooled = torch.nn.functional.avg_pool2d(x.flatten(0, 1), 2).unflatten(0, (2, 1))
    ours = e.seam_distances(x[0], x[1], 4, neigh_size=2)
    plain = e.seam_distances(pooled[0], pooled[1], 4, neigh_size=1)
    torch.testing.assert_close(ours.right, plain.right, atol=1e-7, rtol=0)
    torch.testing.assert_close(ours.down, plain.down, atol=1e-7, rtol=0)
    with pytest.raises(
        ValueError, match="neigh_size must divide the block side of 4 pixels, got 3"
    ):
        e.seam_distances(x[0], x[1], 4, neigh_size=3)


def test_moving_blocks_is_the_product_with_the_dense_plan():
    rng = torch.Generator().manual_seed(4)
    x = torch.rand(3, 3, 12, 12, generator=rng)
    source = torch.stack([torch.randperm(9, generator=rng) for _ in range(3)])
    plan = torch.zeros(3, 9, 9)
    plan[torch.arange(3)[:, None], source, torch.arange(9)] = 1  # plan[i, j]: i moves to j
    rows = x.view(3, 3, 3, 4, 3, 4).permute(0, 2, 4, 1, 3, 5).reshape(3, 9, -1)
    dense = plan.transpose(1, 2) @ rows
    dense = dense.view(3, 3, 3, 3, 4, 4).permute(0, 3, 1, 4, 2, 5).reshape(3, 3, 12, 12)
    assert torch.equal(move_blocks(x, source), dense)
    assert torch.equal(move_blocks(x, identity_plan(3, 3)), x)


def test_pooling_refuses_what_it_cannot_mean():
    maps = torch.ones(1, 8, 8)
    maps[0, 3, 5] = float("nan")
    with pytest.raises(ValueError, match="s0 must be finite"):
        pool_to_blocks("s0", maps, 4)
    with pytest.raises(ValueError, match="s1 must not be negative"):
        pool_to_blocks("s1", -torch.ones(1, 8, 8), 4)
    with pytest.raises(ValueError, match=r"grid = 3 must divide a square picture, got 8×8"):
        pool_to_blocks("s1", torch.ones(1, 8, 8), 3)
