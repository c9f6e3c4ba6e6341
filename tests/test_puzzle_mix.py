"""Puzzle Mix from end to end: the mask step, the plans, the cycles, and Algorithm 2."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy import stats
from test_energy import boundary_distance, definition_3, edges_of, random_pair

from mixviz.core.adversarial import start_noise
from mixviz.core.blocks import grow, identity_plan, move_blocks
from mixviz.core.draws import GRIDS, draw_grid, draw_lam
from mixviz.core.energy import DATA_TERMS, TERMS, largest_pool
from mixviz.core.mask import MASK_SOLVERS, energy
from mixviz.core.threshold import largest_moving_xi
from mixviz.core.transport import TRANSPORT_SOLVERS, distance_cost, solve_exact
from mixviz.core.types import Pair
from mixviz.methods.puzzle_mix import METHOD, TRANSPORT_MASKS, PuzzleMixParams, mix, noise

seeds = st.integers(0, 2**16)
# Made smaller, a failing example would take minutes: it mixes again and again.
few = settings(max_examples=20, deadline=None, derandomize=True, phases=[Phase.generate])


def with_gradients(pair, seed=0):
    rng = torch.Generator().manual_seed(seed)
    g = torch.randn(2, *pair.x0.shape, generator=rng)
    g[0, 0, 0, 0, :4] = 0  # sign 0 leaves a pixel to its noise
    return replace(pair, g0=g[0], g1=g[1])


def stands_still(source):
    return torch.equal(source, identity_plan(len(source), round(source.shape[1] ** 0.5)))


# --- the mask step


def every_mask_energy(pair, params):
    """Return E of all (m+1)^(n²) masks at Π = identity, from eq. 3 edge by edge."""
    n, m = params.grid, params.levels
    block = pair.x0.shape[-1] // n
    masks = np.array(list(itertools.product(range(m + 1), repeat=n * n))).reshape(-1, n, n)
    s0, s1 = (
        (pooled / pooled.sum()).numpy()
        for pooled in (
            s[0].double().view(n, block, n, block).mean((1, 3)) for s in (pair.s0, pair.s1)
        )
    )
    z = masks / m
    total = (z * s0 + (1 - z) * s1).sum((1, 2))
    beta, eta = params.beta / (16 * n), params.eta / n**2
    for t in range(m + 1):
        chance = math.comb(m, t) * params.lam**t * (1 - params.lam) ** (m - t)
        if eta > 0:
            total -= eta * math.log(chance) * (masks == t).sum((1, 2))
    x = (pair.x0[0], pair.x1[0])
    for here, there, _ in edges_of(n):
        p = np.array(
            [[boundary_distance(x[k], x[q], here, there, block) for q in (0, 1)] for k in (0, 1)]
        )
        residual = (p[1, 0] + p[0, 1] - p[1, 1] - p[0, 0]) / 2
        phi = np.empty((m + 1, m + 1))
        for a, b in itertools.product(range(m + 1), repeat=2):
            if m == 1:
                phi[a, b] = p[a, b]
            else:
                # The linear part of Definition 3 without the constants it adds to Definition 2.
                phi[a, b] = definition_3(p, a / m, b / m)
                if params.data_term == "official":
                    phi[a, b] += residual * ((a - b) / m) ** 2 - (p[0, 1] + p[1, 0]) / 2
        ends = (slice(None), *here), (slice(None), *there)
        total += beta * (z[ends[0]] - z[ends[1]]) ** 2
        total += beta * params.gamma * phi[masks[ends[0]], masks[ends[1]]]
    return masks, total


@pytest.mark.parametrize("data_term", DATA_TERMS)
@pytest.mark.parametrize("levels", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "weights",
    [{}, {"gamma": 1.0, "beta": 5.0}, {"eta": 0.0}, {"eta": 2.0, "lam": 0.2}, {"beta": 0.0}],
    ids=str,
)
def test_the_mask_step_is_the_brute_force_minimum(levels, data_term, weights):
    params = PuzzleMixParams(grid=2, levels=levels, data_term=data_term, **weights)
    for seed in range(3):
        pair = random_pair(batch=1, size=8, seed=seed)
        masks, energies = every_mask_energy(pair, params)
        trace = mix(pair, replace(params, transport=False))
        found = float(trace.energy["total"])
        assert found == pytest.approx(energies.min(), abs=1e-9)
        ours = (trace.z[0] * levels).round().int().numpy()
        place = int(np.flatnonzero((masks == ours).all((1, 2)))[0])
        assert energies[place] == pytest.approx(found, abs=1e-9)
        start = float(trace.ladder[0][1]["total"])
        assert start == pytest.approx(energies[0], abs=1e-9)
        swapped = mix(pair, replace(params, transport=False, mask_solver="swap"))
        assert energies.min() - 1e-9 <= float(swapped.energy["total"]) <= start + 1e-9


@few
@given(
    seed=seeds,
    lam=st.floats(0.01, 0.99),
    levels=st.integers(1, 5),
    beta=st.floats(0, 8),
    gamma=st.floats(0, 1),
    eta=st.floats(0, 2),
    data_term=st.sampled_from(list(DATA_TERMS)),
)
def test_exact_is_at_most_swap_and_the_gap_is_the_difference(seed, **drawn):
    pair = random_pair(batch=2, size=16, seed=seed)
    params = PuzzleMixParams(grid=4, xi=0.01, **drawn)
    exact, swapped = (mix(pair, replace(params, mask_solver=name)) for name in ("exact", "swap"))
    (_, start), (_, best), *_ = exact.ladder
    (_, also), (_, local), *_ = swapped.ladder
    torch.testing.assert_close(start["total"], also["total"], rtol=0, atol=0)
    difference = local["total"] - best["total"]
    assert (difference >= -1e-12).all()
    assert (local["total"] <= start["total"] + 1e-12).all()
    assert (swapped.gap >= 0).all()
    torch.testing.assert_close(swapped.gap, difference, rtol=0, atol=1e-9)
    assert torch.equal(exact.gap, torch.zeros(2, dtype=torch.float64))
    if drawn["levels"] == 1:
        torch.testing.assert_close(difference, torch.zeros_like(difference), rtol=0, atol=1e-9)
    assert exact.mask_steps == ((), ())
    for item, steps in enumerate(swapped.mask_steps):
        problem = swapped.mask_problem
        labels = np.stack([step.labels for step in steps[-1:]] * 2)
        assert energy(problem, labels)[item] == pytest.approx(steps[-1].objective, abs=1e-9)


@pytest.mark.parametrize("solver", [name for name in MASK_SOLVERS if name != "exact"])
def test_every_other_solver_ends_between_the_optimum_and_the_start(solver):
    for levels in (1, 2, 4):
        params = PuzzleMixParams(grid=4, levels=levels, beta=3.0)
        best = mix(random_pair(4), params).ladder
        trace = mix(random_pair(4), replace(params, mask_solver=solver))
        totals = [terms["total"] for _, terms in trace.ladder]
        assert (best[1][1]["total"] <= totals[1] + 1e-12).all()
        assert (totals[1] <= totals[0]).all()
        torch.testing.assert_close(trace.gap, totals[1] - best[1][1]["total"], rtol=0, atol=1e-9)
        assert levels > 1 or trace.gap.max() < 1e-4


def test_swap_is_caught_somewhere():
    gaps = []
    for seed in range(6):
        params = PuzzleMixParams(levels=4, beta=3.0, mask_solver="swap", grid=8)
        gaps += mix(random_pair(4, 16, seed), params).gap.tolist()
    assert max(gaps) > 1e-6


def test_the_smallest_mask_is_monotone_in_lambda():
    pair = random_pair(batch=1, seed=5)
    masks = [
        mix(pair, PuzzleMixParams(grid=4, levels=3, lam=k / 20, transport=False)).z
        for k in range(21)
    ]
    assert all((a <= b).all() for a, b in itertools.pairwise(masks))
    assert not masks[0].any()
    assert masks[-1].all()


def test_a_lambda_for_each_item_pulls_each_mask():
    pair = random_pair(batch=1, seed=6)
    pair = Pair(*(getattr(pair, name).expand(5, *pair.x0.shape[1:]) for name in ("x0", "x1")),
                *(getattr(pair, name).expand(5, 16, 16) for name in ("s0", "s1")))  # fmt: skip
    lam = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0])
    shares = mix(pair, PuzzleMixParams(grid=4, lam=lam, eta=5.0)).lam_label.tolist()
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == 1
    assert shares[1] < shares[2] < shares[3]


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_without_eta_lambda_says_nothing(lam):
    pair = random_pair()
    free = mix(pair, PuzzleMixParams(grid=4, eta=0.0, lam=0.3))
    other = mix(pair, PuzzleMixParams(grid=4, eta=0.0, lam=lam))
    assert torch.equal(free.mixed, other.mixed)
    assert not other.energy["prior"].any()
    assert other.energy["total"].isfinite().all()


def test_without_beta_every_block_shows_the_more_salient_picture():
    trace = mix(random_pair(), PuzzleMixParams(grid=4, beta=0.0, eta=0.0, transport=False))
    assert torch.equal(trace.z, (trace.blocks_1 > trace.blocks_0).float())
    silent = mix(random_pair(), PuzzleMixParams(grid=4, beta=0.0, gamma=3.0))
    assert not silent.energy["data_smooth"].any()
    assert not silent.energy["label_smooth"].any()


@few
@given(lam=st.sampled_from([0.0, 1.0]), eta=st.floats(1e-3, 5), data=st.data())
def test_lambda_at_its_ends_gives_the_picture_itself(lam, eta, data):
    choices = {
        "mask_solver": data.draw(st.sampled_from(list(MASK_SOLVERS))),
        "transport_solver": data.draw(st.sampled_from(list(TRANSPORT_SOLVERS))),
        "transport_mask": data.draw(st.sampled_from(list(TRANSPORT_MASKS))),
        "data_term": data.draw(st.sampled_from(list(DATA_TERMS))),
        "levels": data.draw(st.integers(1, 6)),
        "xi": data.draw(st.sampled_from([1e-3, 0.05, 0.8])),
        "cycles": data.draw(st.integers(1, 3)),
    }
    pair = random_pair(seed=data.draw(seeds))
    trace = mix(pair, PuzzleMixParams(grid=4, lam=lam, eta=eta, **choices))
    assert (trace.z == lam).all()
    assert trace.energy["total"].isfinite().all()
    if choices["transport_solver"] == "exact":
        assert torch.equal(trace.mixed, (pair.x0, pair.x1)[int(lam)])


# --- the plans


def test_transport_off_leaves_every_block():
    pair = random_pair()
    trace = mix(pair, PuzzleMixParams(grid=4, xi=0.0, transport=False))
    assert stands_still(trace.source_0)
    assert stands_still(trace.source_1)
    assert torch.equal(trace.moved_0, pair.x0)
    assert torch.equal(trace.moved_1, pair.x1)
    assert not trace.energy["transport"].any()
    assert trace.seconds["transport"] == 0


@pytest.mark.parametrize("solver", TRANSPORT_SOLVERS)
def test_a_dear_move_is_none_and_a_cheap_one_is_some(solver):
    pair = random_pair()
    dear = mix(pair, PuzzleMixParams(grid=4, xi=100.0, transport_solver=solver))
    assert stands_still(dear.source_0)
    assert stands_still(dear.source_1)
    cheap = mix(pair, PuzzleMixParams(grid=4, xi=0.001, transport_solver=solver))
    assert not stands_still(cheap.source_0)
    assert not stands_still(cheap.source_1)
    assert bool(cheap.rounds_0[0]) == (solver == "paper")


@pytest.mark.parametrize("levels", [1, 2, 4])
@pytest.mark.parametrize("transport_mask", TRANSPORT_MASKS)
@pytest.mark.parametrize("solver", TRANSPORT_SOLVERS)
def test_plans_are_those_of_the_mask_each_picture_is_seen_through(levels, transport_mask, solver):
    params = PuzzleMixParams(
        grid=4, levels=levels, xi=0.01, transport_mask=transport_mask, transport_solver=solver
    )
    trace = mix(random_pair(), params)
    z = (trace.z.double() * levels).round() / levels
    for share, blocks, source in (
        (1 - z, trace.blocks_0, trace.source_0),
        (z, trace.blocks_1, trace.source_1),
    ):
        seen = share if transport_mask == "fractional" else (share > 0).double()
        plan = TRANSPORT_SOLVERS[solver](blocks.numpy(), seen.numpy(), 0.01)
        assert source.tolist() == plan.source.tolist()
        assert source.sort(1).values.tolist() == [list(range(16))] * 2


def test_the_two_transport_masks_differ_only_where_blocks_are_shared():
    ways = {}
    for levels in (1, 2):
        for name in TRANSPORT_MASKS:
            params = PuzzleMixParams(grid=4, levels=levels, xi=0.01, transport_mask=name)
            ways[levels, name] = mix(random_pair(), params).source_1
    assert torch.equal(ways[1, "fractional"], ways[1, "nonzero"])
    assert not torch.equal(ways[2, "fractional"], ways[2, "nonzero"])


@few
@given(seed=seeds, n=st.integers(2, 6), levels=st.integers(1, 4))
def test_below_the_largest_moving_xi_something_moves_and_above_nothing(seed, n, levels):
    rng = np.random.default_rng(seed)
    saliency = rng.random((n, n)) ** 4
    saliency /= saliency.sum()
    share = rng.integers(0, levels + 1, (n, n)) / levels
    xi = largest_moving_xi(saliency, share)
    still = np.arange(n * n)
    above = solve_exact(saliency[None], share[None], xi * (1 + 1e-6) + 1e-12)
    assert above.source[0].tolist() == still.tolist()
    if xi > 1e-12:
        source = solve_exact(saliency[None], share[None], xi * (1 - 1e-6)).source[0]
        moved = source != still
        assert moved.any()
        assert (share.ravel()[moved] > 0).any(), "a visible block moves"
        gained = (saliency.ravel()[source] * share.ravel()).sum() - (saliency * share).sum()
        price = distance_cost(n)[source, still].sum()
        assert gained / price == pytest.approx(xi, rel=1e-5)


@pytest.mark.parametrize("n", [1, 2, 3, 7])
@pytest.mark.parametrize("share", [0.0, 1 / 3, 1.0])
def test_where_nothing_can_be_gained_no_xi_moves(n, share):
    rng = np.random.default_rng(n)
    saliency = rng.random((n, n))
    assert largest_moving_xi(saliency / saliency.sum(), np.full((n, n), share)) == 0
    assert largest_moving_xi(np.full((n, n), 1 / n**2), rng.random((n, n))) == 0
    assert largest_moving_xi(saliency / saliency.sum(), saliency) == 0  # already in order


def test_the_largest_moving_xi_worked_by_hand():
    # Two blocks of four trade places: gain 0.6, squared distance 2/1² each way.
    saliency = np.array([[0.7, 0.1], [0.1, 0.1]])
    assert largest_moving_xi(saliency, np.array([[0.0, 0.0], [0.0, 1.0]])) == pytest.approx(0.15)
    # Next to each other: the distance is 1 each way.
    assert largest_moving_xi(saliency, np.array([[0.0, 1.0], [0.0, 0.0]])) == pytest.approx(0.3)


def test_the_threshold_is_where_a_whole_mix_begins_to_move():
    pair = random_pair(batch=1)
    params = PuzzleMixParams(grid=4)
    still = mix(pair, replace(params, transport=False))
    z = still.z[0].double().numpy()
    edges = (
        largest_moving_xi(still.blocks_0[0].numpy(), 1 - z),
        largest_moving_xi(still.blocks_1[0].numpy(), z),
    )
    above = mix(pair, replace(params, xi=max(edges) * 1.001))
    assert torch.equal(above.mixed, still.mixed)
    below = mix(pair, replace(params, xi=max(edges) * 0.999))
    assert not torch.equal(below.mixed, still.mixed)
    moved = stands_still(below.source_0), stands_still(below.source_1)
    assert moved == (edges[0] < edges[1], edges[1] < edges[0])


# --- cycles, and what is returned


@few
@given(
    seed=seeds,
    lam=st.floats(0.05, 0.95),
    levels=st.sampled_from([1, 2, 4]),
    xi=st.sampled_from([0.0, 0.001, 0.01]),
    data_term=st.sampled_from(list(DATA_TERMS)),
    transport_solver=st.sampled_from(list(TRANSPORT_SOLVERS)),
    mask_solver=st.sampled_from(["exact", "swap"]),
)
def test_later_cycles_never_raise_the_energy_of_any_item(seed, **drawn):
    pair = random_pair(batch=3, seed=seed)
    params = PuzzleMixParams(grid=4, beta=3.0, gamma=1.0, **drawn)
    last = None
    for cycles in (1, 2, 5):
        trace = mix(pair, replace(params, cycles=cycles))
        totals = [terms["total"] for _, terms in trace.ladder]
        assert [name for name, _ in trace.ladder[:3]] == ["start", "mask", "move"]
        assert (totals[1] <= totals[0] + 1e-12).all()
        assert all((after <= before).all() for before, after in itertools.pairwise(totals[2:]))
        assert len(totals) <= 2 + cycles
        assert {term: value.tolist() for term, value in trace.ladder[-1][1].items()} == {
            term: value.tolist() for term, value in trace.energy.items()
        }
        if last is not None:
            assert all(map(torch.equal, last.ladder[2][1].values(), trace.ladder[2][1].values()))
            assert (trace.energy["total"] <= last.energy["total"]).all()
        last = trace


def test_a_second_cycle_pays_somewhere():
    params = PuzzleMixParams(grid=4, xi=0.0, beta=0.3, eta=0.05, levels=4)
    kept = [len(mix(random_pair(seed=k), replace(params, cycles=3)).ladder) for k in range(3)]
    assert max(kept) > 3


@pytest.mark.parametrize("solver", MASK_SOLVERS)
@pytest.mark.parametrize("cycles", [1, 3])
def test_what_is_returned_fits_together(solver, cycles):
    pair = random_pair()
    params = PuzzleMixParams(grid=4, levels=4, xi=0.005, mask_solver=solver, cycles=cycles)
    trace = mix(pair, params)
    assert torch.equal(trace.moved_0, move_blocks(pair.x0, trace.source_0))
    assert torch.equal(trace.moved_1, move_blocks(pair.x1, trace.source_1))
    mask = grow(trace.z, 16)
    assert torch.equal(trace.mask, mask)
    blend = (1 - mask[:, None]) * trace.moved_0 + mask[:, None] * trace.moved_1
    torch.testing.assert_close(trace.mixed, blend)
    torch.testing.assert_close(trace.lam_label, trace.z.mean((1, 2)))
    assert set(trace.energy) == {*TERMS, "total"}
    for _, terms in (*trace.ladder, ("", trace.energy)):
        summed = torch.stack([terms[name] for name in TERMS]).sum(0)
        torch.testing.assert_close(summed, terms["total"], rtol=0, atol=1e-6)
        assert all(value.dtype == torch.float64 for value in terms.values())
    for blocks in (trace.blocks_0, trace.blocks_1):
        torch.testing.assert_close(blocks.sum((1, 2)), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize(
    ("mask_solver", "transport_solver", "transport_mask", "data_term"),
    list(itertools.product(MASK_SOLVERS, TRANSPORT_SOLVERS, TRANSPORT_MASKS, DATA_TERMS)),
)
def test_every_choice_runs_with_every_other(
    mask_solver, transport_solver, transport_mask, data_term
):
    params = PuzzleMixParams(
        xi=0.005,
        mask_solver=mask_solver,
        transport_solver=transport_solver,
        transport_mask=transport_mask,
        data_term=data_term,
    )
    trace = mix(random_pair(), params)
    assert trace.mixed.isfinite().all()
    assert (trace.gap >= 0).all()


@pytest.mark.parametrize("grid", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("levels", [1, 2, 16])
def test_any_grid_and_any_levels(grid, levels):
    trace = mix(random_pair(), PuzzleMixParams(grid=grid, levels=levels, xi=0.01))
    steps = trace.z.double() * levels
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-5)
    assert trace.source_0.shape == (2, grid * grid)


def test_what_does_not_divide_is_refused_in_a_sentence():
    pair = random_pair()
    with pytest.raises(ValueError, match="grid = 5 must divide a square picture, got 16×16 pixels"):
        mix(pair, PuzzleMixParams(grid=5))
    with pytest.raises(
        ValueError, match="neigh_size must divide the block side of 2 pixels, got 4"
    ):
        mix(pair, PuzzleMixParams(neigh_size=4))
    wide = Pair(pair.x0[:, :, :8], pair.x1[:, :, :8], pair.s0[:, :8], pair.s1[:, :8])
    with pytest.raises(ValueError, match="grid = 4 must divide a square picture, got 8×16"):
        mix(wide, PuzzleMixParams(grid=4))


@pytest.mark.parametrize("block", [1, 2, 3, 4, 6, 7, 8, 28])
def test_presets_run_on_the_blocks_they_are_made_for(block):
    pair = random_pair(batch=1, size=8 * block)
    for name, preset in METHOD.presets.items():
        trace = mix(pair, preset(block))
        assert trace.mixed.isfinite().all(), name
    assert largest_pool(block) == {1: 1, 2: 2, 3: 3, 4: 4, 6: 3, 7: 1, 8: 4, 28: 4}[block]
    assert next(iter(METHOD.presets.values()))(block).xi == 0.05


# --- Algorithm 2


def algorithm_2(x, kappa, gradient, eps, tau, delta):
    """x + δ·clip(κ + τ·sign g, ±ε), one pixel at a time, inside [0, 1]."""
    out = torch.empty_like(x)
    for place in itertools.product(*map(range, x.shape)):
        step = float(kappa[place]) + tau * math.copysign(1, gradient[place]) * bool(gradient[place])
        step = min(max(step, -eps), eps)
        out[place] = min(max(float(x[place]) + delta * step, 0.0), 1.0)
    return out


@pytest.mark.parametrize(("nu0", "nu1"), [(1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("delta", [0.0, 0.3, 1.0])
def test_the_attack_is_algorithm_2(nu0, nu1, delta):
    pair = with_gradients(random_pair(size=8))
    params = PuzzleMixParams(grid=4, nu0=nu0, nu1=nu1, delta=delta, xi=0.01, seed=7)
    kappa = noise((pair.x0, pair.x1), params)
    trace = mix(pair, params)
    for nu, x, k, g, shown in (
        (nu0, pair.x0, kappa[0], pair.g0, trace.shown_0),
        (nu1, pair.x1, kappa[1], pair.g1, trace.shown_1),
    ):
        if nu:
            slow = algorithm_2(x, k, g, 10 / 255, 12 / 255, delta)
            torch.testing.assert_close(shown, slow, rtol=0, atol=1e-6)
        else:
            assert torch.equal(shown, x)
            assert not k.any()
    # Mask and plans are those of the noisy pictures; what is mixed is the attacked ones.
    seen = replace(pair, x0=pair.x0 + kappa[0], x1=pair.x1 + kappa[1])
    plain = mix(seen, PuzzleMixParams(grid=4, xi=0.01))
    assert torch.equal(trace.z, plain.z)
    assert torch.equal(trace.source_0, plain.source_0)
    assert torch.equal(trace.source_1, plain.source_1)
    torch.testing.assert_close(trace.energy["total"], plain.energy["total"])
    assert torch.equal(trace.moved_0, move_blocks(trace.shown_0, trace.source_0))
    blend = torch.lerp(trace.moved_0, trace.moved_1, trace.mask[:, None].expand_as(pair.x0))
    assert torch.equal(trace.mixed, blend)


def test_seams_are_those_of_the_noisy_pictures():
    pair = with_gradients(random_pair(size=8))
    clean = mix(pair, PuzzleMixParams(grid=4))
    noisy = mix(pair, PuzzleMixParams(grid=4, nu0=1, nu1=1, eps=0.5))
    assert not torch.equal(clean.ladder[0][1]["data_smooth"], noisy.ladder[0][1]["data_smooth"])


def test_the_attack_needs_its_gradient():
    pair = with_gradients(random_pair())
    for which in (0, 1):
        params = PuzzleMixParams(grid=4, **{f"nu{which}": 1})
        words = f"Pair.g{which} is missing: nu{which} = 1 needs the signed gradient of image"
        with pytest.raises(ValueError, match=words):
            mix(replace(pair, **{f"g{which}": None}), params)
        mix(replace(pair, **{f"g{1 - which}": None}), params)


def test_noise_is_uniform_in_the_ball_and_follows_the_seed():
    images = torch.zeros(2, 3, 64, 64)
    kappa = start_noise(images, 1, 0.25, 3, 0)
    assert kappa.abs().max() <= 0.25
    assert stats.kstest(kappa[0].flatten(), stats.uniform(-0.25, 0.5).cdf).pvalue > 1e-3
    assert torch.equal(kappa, start_noise(images, 1, 0.25, 3, 0))
    assert torch.equal(kappa[0], kappa[1])
    for other in (start_noise(images, 1, 0.25, 4, 0), start_noise(images, 1, 0.25, 3, 1)):
        assert not torch.equal(kappa, other)
    own = start_noise(images, torch.tensor([1, 0]), 0.25, torch.tensor([5, 3]), 0)
    assert torch.equal(own[0], start_noise(images, 1, 0.25, 5, 0)[0])
    assert not own[1].any()
    own = start_noise(images, 1, torch.tensor([0.25, 0.5]), torch.tensor([5, 3]), 0)
    assert torch.equal(own[1], 2 * kappa[1])
    assert noise((images, images), PuzzleMixParams()) is None
    assert noise((images, images), PuzzleMixParams(nu0=torch.tensor([0, 1]))) is not None


def test_the_two_pictures_of_a_pair_get_noise_of_their_own_for_every_seed():
    images = torch.zeros(1, 3, 4, 4)
    drawn = [
        tuple(start_noise(images, 1, 1.0, seed, which).flatten().tolist())
        for seed in range(50)
        for which in (0, 1)
    ]
    assert len(set(drawn)) == len(drawn)


# --- what training draws


@pytest.mark.parametrize("alpha", [0.2, 1.0, 2.5])
def test_lambda_is_drawn_from_the_symmetric_beta(alpha):
    lam = draw_lam(alpha, 20_000, torch.Generator().manual_seed(0))
    assert lam.dtype == torch.float64
    assert lam.min() >= 0
    assert lam.max() <= 1
    beta = stats.beta(alpha, alpha)
    assert float(lam.mean()) == pytest.approx(0.5, abs=4 * beta.std() / 20_000**0.5)
    assert float(lam.var()) == pytest.approx(beta.var(), rel=0.05)
    assert stats.kstest(lam, beta.cdf).pvalue > 1e-3


def test_draws_depend_on_the_generator_alone():
    torch.manual_seed(1)
    first = draw_lam(0.2, 9, torch.Generator().manual_seed(5))
    state = torch.random.get_rng_state()
    assert torch.equal(first, draw_lam(0.2, 9, torch.Generator().manual_seed(5)))
    assert torch.equal(state, torch.random.get_rng_state())
    assert not torch.equal(first, draw_lam(0.2, 9, torch.Generator().manual_seed(6)))
    assert PuzzleMixParams(lam=first).lam is first


@pytest.mark.parametrize("alpha", [0.0, -1.0, math.nan])
def test_a_beta_that_cannot_be_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha must be positive, got"):
        draw_lam(alpha, 2, torch.Generator())


def test_grids_are_drawn_evenly():
    rng = torch.Generator().manual_seed(0)
    drawn = [draw_grid(rng) for _ in range(2000)]
    assert set(drawn) == set(GRIDS) == {2, 4, 8, 16}
    counts = [drawn.count(grid) for grid in GRIDS]
    assert stats.chisquare(counts).pvalue > 1e-3
    assert draw_grid(rng, (3,)) == 3
