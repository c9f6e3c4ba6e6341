"""Co-Mixup against slow loops and brute force, and the laws of its mixes."""

import itertools
import re
from dataclasses import fields, replace
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mixviz.core import mask
from mixviz.core.comixup import (
    STARTS,
    TERMS,
    JointProblem,
    draw_prior,
    joint_terms,
    joint_weights,
    solve_joint,
)
from mixviz.methods.base import Contract
from mixviz.methods.batch import BATCH_FLAGS, BatchMethod
from mixviz.methods.comixup import LARGEST_PART, METHOD, CoMixupParams, mix
from mixviz.spec import Knob, notes, validate

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
PAPER = {"beta": 0.32, "gamma": 1.0, "eta": 0.05, "omega": 0.001, "tau": 0.83}
SIZE = 16


def problem(inputs, grid, seed=0, **weights):
    rng = np.random.default_rng(seed)
    saliency = rng.random((inputs, grid, grid)) ** 3
    saliency /= saliency.sum((1, 2), keepdims=True)
    prior = rng.dirichlet(np.full(inputs, 2.0))
    return JointProblem(saliency, prior, joint_weights(**PAPER | weights, grid=grid))


def batch(inputs, seed=0, dtype=torch.float32):
    rng = torch.Generator().manual_seed(seed)
    images = torch.rand(inputs, 3, SIZE, SIZE, generator=rng, dtype=dtype)
    return images, torch.rand(inputs, SIZE, SIZE, generator=rng, dtype=dtype) ** 3


def random_shares(inputs, grid, rng):
    """Draw one input or two halves for each region."""
    pick = rng.integers(inputs, size=(2, inputs, grid, grid))
    alone = rng.random((inputs, grid, grid)) < 0.7
    first, second = np.eye(inputs)[pick]
    return np.where(alone[..., None], first, (first + second) / 2)


def total(asked, shares):
    return joint_terms(asked, shares)["total"].sum()


def slow_objective(asked, shares):
    """Add the objective up region by region, as it is written."""
    w, (count, n, _) = asked.weights, asked.saliency.shape
    peak = [divmod(int(s.argmax()), n) for s in asked.saliency]
    apart = [[abs(a - c) + abs(b - d) for c, d in peak] for a, b in peak]
    scale = sum(map(sum, apart))
    use = [[shares[j, :, :, k].sum() for k in range(count)] for j in range(count)]
    terms = {name: [0.0] * count for name in TERMS}
    for j in range(count):
        for r, c, k in itertools.product(range(n), range(n), range(count)):
            terms["saliency"][j] -= asked.saliency[k, r, c] * shares[j, r, c, k]
            for p, q in ((r + 1, c), (r, c + 1)):
                if p < n and q < n:
                    step = shares[j, r, c, k] - shares[j, p, q, k]
                    terms["label_smooth"][j] += w.beta / 2 * step * step
        for k in range(count):
            terms["prior"][j] -= w.eta * use[j][k] * np.log(asked.prior[k])
            weight = 0.0
            for other, i in itertools.product(range(count), range(count)):
                if other != j:
                    far = w.omega * apart[k][i] * count / scale if scale else 0.0
                    weight += ((1 - w.omega) * (k == i) + far) * use[other][i]
            if weight > w.tau:
                terms["diversity"][j] += w.gamma * use[j][k] * weight
    return terms


# --- the objective


@pytest.mark.parametrize(("inputs", "grid"), [(1, 2), (2, 1), (2, 2), (3, 3), (5, 4)])
def test_the_objective_equals_slow_loops_and_its_terms_add_up(inputs, grid):
    for seed in range(5):
        asked = problem(inputs, grid, seed, omega=0.2, tau=0.4)
        shares = random_shares(inputs, grid, np.random.default_rng(seed))
        fast, slow = joint_terms(asked, shares), slow_objective(asked, shares)
        for name in TERMS:
            assert np.allclose(fast[name], slow[name], rtol=0, atol=1e-9), name
        assert np.allclose(sum(fast[name] for name in TERMS), fast["total"], rtol=0, atol=1e-9)


def test_some_diversity_was_counted():
    asked = problem(3, 2, tau=0.5)
    same = np.zeros((3, 2, 2, 3))
    same[..., 1] = 1
    # Each output uses input 1 four times and sees it eight times in the others.
    expected = asked.weights.gamma * 4 * 8 * (1 - asked.weights.omega)
    assert joint_terms(asked, same)["diversity"] == pytest.approx(expected)
    own = np.eye(3)[:, None, None].repeat(2, 1).repeat(2, 2)
    assert joint_terms(asked, own)["diversity"].tolist() == [0, 0, 0]


def test_weights_are_per_region():
    assert joint_weights(**PAPER, grid=4) == joint_weights(
        0.32 * 4, 1.0 * 4, 0.05 * 4, 0.001, 0.83 / 4, grid=8
    )
    assert problem(3, 4).weights.tau == pytest.approx(0.83 * 16)


def test_the_affinity_is_scaled_to_the_number_of_inputs():
    saliency = np.full((3, 3, 3), 0.01)
    saliency[0, 0, 0] = saliency[1, 0, 2] = saliency[2, 2, 2] = 0.92
    asked = JointProblem(saliency, np.full(3, 1 / 3), joint_weights(**PAPER | {"omega": 1}, grid=3))
    assert np.allclose(asked.affinity, 3 * np.array([[0, 2, 4], [2, 0, 2], [4, 2, 0]]) / 16)
    together = replace(asked, saliency=saliency[[0, 0, 0]])
    assert np.array_equal(together.affinity, np.zeros((3, 3)))


@given(st.integers(0, 1000))
def test_renaming_the_inputs_renames_the_objective(seed):
    rng = np.random.default_rng(seed)
    asked, order = problem(4, 2, seed, omega=0.3, tau=0.3), rng.permutation(4)
    shares = random_shares(4, 2, rng)
    renamed = replace(asked, saliency=asked.saliency[order], prior=asked.prior[order])
    before, after = joint_terms(asked, shares), joint_terms(renamed, shares[..., order])
    for name, values in before.items():
        assert np.allclose(after[name], values, rtol=0, atol=1e-12), name
    swapped = joint_terms(asked, shares[order])
    assert np.allclose(swapped["total"], before["total"][order], rtol=0, atol=1e-12)


# --- the solver


def best_by_brute_force(asked):
    """Try every output of 2×2 regions with two inputs, halves included, beside every other."""
    labels = np.array([[1, 0], [0, 1], [0.5, 0.5]])
    every = labels[np.array(list(itertools.product(range(3), repeat=4)))].reshape(-1, 2, 2, 2)
    return min(
        total(asked, np.stack(both)) for both in itertools.combinations_with_replacement(every, 2)
    )


def test_the_solver_reaches_the_optimum_of_two_by_two_by_two():
    gaps = []
    for seed in range(12):
        # Without distances the objective does not tell the outputs apart: half the pairs do.
        asked = problem(2, 2, seed, **({} if seed % 2 else {"tau": 0.45, "gamma": 0.05}))
        found = solve_joint(asked)
        gaps.append(total(asked, found.shares) - best_by_brute_force(asked))
    assert min(gaps) > -1e-12
    assert np.mean(np.array(gaps) < 1e-9) >= 0.75
    assert max(gaps) < 0.15


def test_without_diversity_one_input_against_another_is_solved_exactly():
    for seed in range(8):
        asked = problem(2, 3, seed, gamma=0.0)
        every = np.eye(2)[np.array(list(itertools.product((0, 1), repeat=9)))].reshape(-1, 3, 3, 2)
        best = min(total(asked, np.stack((one, one))) for one in every)
        first = solve_joint(asked, sweeps=1)
        assert total(asked, first.shares) == pytest.approx(best, abs=1e-12)
        assert total(asked, solve_joint(asked).shares) <= best + 1e-12


@settings(max_examples=30)
@given(
    inputs=st.integers(1, 7),
    grid=st.sampled_from([1, 2, 3, 4]),
    seed=st.integers(0, 10**6),
    beta=st.sampled_from([0.0, 0.1, 0.32, 2.0]),
    gamma=st.sampled_from([0.0, 0.02, 1.0]),
    eta=st.sampled_from([0.0, 0.05, 1.0]),
    omega=st.sampled_from([0.0, 0.001, 0.3, 1.0]),
    tau=st.sampled_from([0.0, 0.5, 0.83]),
)
def test_the_end_is_a_local_optimum_and_the_objective_never_rose(inputs, grid, seed, **weights):
    asked = problem(inputs, grid, seed, **weights)
    found = solve_joint(asked, sweeps=10)
    assert found.start in STARTS
    assert all(after <= before for before, after in itertools.pairwise(found.history))
    end = total(asked, found.shares)
    assert end == pytest.approx(found.history[-1], abs=1e-12)
    assert found.shares.sum(-1) == pytest.approx(np.ones((inputs, grid, grid)), abs=0)
    assert set(np.unique(found.shares)) <= {0, 0.5, 1}
    for name, start in STARTS.items():
        assert end <= total(asked, start(asked)) + 1e-12, name
    assert found.settled
    for output, row, column in np.ndindex(inputs, grid, grid):
        used = np.flatnonzero(found.shares[output].any((0, 1)))
        others = list(np.eye(inputs))
        if len(used) == 2:
            others.append(np.eye(inputs)[used].mean(0))
        for label in others:
            tried = found.shares.copy()
            tried[output, row, column] = label
            assert total(asked, tried) >= end - 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_no_swap_of_two_labels_lowers_an_output(seed):
    asked = problem(4, 2, seed, gamma=0.0)
    found = solve_joint(asked, sweeps=10)
    end = total(asked, found.shares)
    lower = 0
    for output, pair in itertools.product(range(4), itertools.combinations(np.eye(4), 2)):
        moving = (found.shares[output][..., None, :] == np.array(pair)).all(-1).any(-1)
        for some in itertools.product((0, 1), repeat=int(moving.sum())):
            tried = found.shares.copy()
            tried[output][moving] = np.array(pair)[list(some)]
            lower = min(lower, total(asked, tried) - end)
    assert lower >= -1e-12


def test_halves_wait_for_the_second_sweep_and_lower_the_objective():
    helped = 0
    for seed in range(6):
        asked = problem(2, 4, seed)
        one, more = solve_joint(asked, sweeps=1), solve_joint(asked, sweeps=2)
        assert not (one.shares == 0.5).any()
        assert len(one.history) == 2
        assert more.history[-1] <= one.history[-1]
        helped += bool((more.shares == 0.5).any()) and more.history[-1] < one.history[-1]
    assert helped


def test_without_weights_each_region_shows_the_most_salient_input():
    asked = problem(6, 4, beta=0.0, gamma=0.0, eta=0.0)
    found = solve_joint(asked)
    most = np.eye(6)[asked.saliency.argmax(0)]
    assert np.array_equal(found.shares, np.stack([most] * 6))
    order = np.random.default_rng(1).permutation(6)
    renamed = replace(asked, saliency=asked.saliency[order], prior=asked.prior[order])
    assert np.array_equal(solve_joint(renamed).shares, found.shares[..., order])


def test_weights_do_what_they_are_for():
    plain = solve_joint(problem(8, 4))
    assert (plain.shares.sum((1, 2)) > 0).sum(1).max() > 1
    smooth = solve_joint(problem(8, 4, beta=20.0))
    assert smooth.terms["label_smooth"].sum() == 0
    free = solve_joint(problem(8, 4, gamma=0.0))
    assert free.terms["saliency"].sum() < plain.terms["saliency"].sum()
    crowded = problem(8, 4)
    assert plain.terms["diversity"].sum() < joint_terms(crowded, free.shares)["diversity"].sum()
    kept = problem(8, 4, gamma=0.0, eta=50.0)
    assert (solve_joint(kept).shares.argmax(-1) == kept.prior.argmax()).all()


def test_the_solver_does_without_the_compiler(monkeypatch):
    asked = problem(3, 2, seed=4)
    compiled = solve_joint(asked)
    monkeypatch.setattr(mask, "load_kernels", lambda name: None)
    assert np.array_equal(solve_joint(asked).shares, compiled.shares)


def test_what_the_problem_refuses():
    asked = problem(2, 2)
    with pytest.raises(ValueError, match="saliency must be finite"):
        replace(asked, saliency=asked.saliency * np.nan)
    with pytest.raises(ValueError, match="prior must be positive"):
        replace(asked, prior=np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="sweeps must be at least 1, got 0"):
        solve_joint(asked, sweeps=0)


def test_the_prior_is_a_draw_from_dirichlet():
    rng = torch.Generator().manual_seed(0)
    drawn = torch.stack([draw_prior(2.0, 4, rng) for _ in range(4000)])
    assert drawn.sum(1) == pytest.approx(torch.ones(4000).double())
    assert drawn.mean(0).numpy() == pytest.approx([0.25] * 4, abs=0.01)
    # The variance of one share of Dirichlet(2, 2, 2, 2) is 2·6 / (8²·9).
    assert drawn.var(0).numpy() == pytest.approx([12 / 576] * 4, rel=0.15)
    extreme = draw_prior(1e-3, 20, rng)
    assert bool((extreme > 0).all())
    with pytest.raises(ValueError, match="alpha must be positive, got 0"):
        draw_prior(0.0, 3, rng)


# --- the method


def test_the_row_of_the_menu():
    assert isinstance(METHOD, BatchMethod)
    assert re.fullmatch("[a-z]+", METHOD.slug)
    assert METHOD.contract in get_args(Contract)
    assert [f.name for f in fields(CoMixupParams)] == list(notes(CoMixupParams, Knob))
    for name, knob in notes(CoMixupParams, Knob).items():
        assert list(knob.stops) == sorted(set(knob.stops)), name
        assert [validate(knob, stop) for stop in knob.stops] == [None] * len(knob.stops), name
        assert getattr(CoMixupParams(), name) in knob.stops
        assert knob.paper is None or getattr(CoMixupParams(), name) == knob.paper
    with pytest.raises(ValueError, match=r"^CoMixupParams.omega \(ω\) must lie in \[0, 1\]"):
        CoMixupParams(omega=1.5)


@pytest.mark.parametrize("inputs", [1, 2, 3, 7])
@pytest.mark.parametrize("grid", [1, 2, 4, 16])
def test_pixels_and_labels_follow_z(inputs, grid):
    images, saliency = batch(inputs)
    trace = mix(images, saliency, CoMixupParams(grid=grid))
    z = trace.z
    assert z.shape == (inputs, grid, grid, inputs)
    assert torch.equal(z.sum(-1), torch.ones(z.shape[:3], dtype=torch.float64))
    wide = z.repeat_interleave(SIZE // grid, 1).repeat_interleave(SIZE // grid, 2)
    blended = torch.einsum("jhwk,kchw->jchw", wide, images.double())
    torch.testing.assert_close(trace.mixed, blended.float())
    torch.testing.assert_close(trace.labels, z.mean((1, 2)).float())
    torch.testing.assert_close(trace.labels.sum(1), torch.ones(inputs))
    assert set(trace.flags) <= set(BATCH_FLAGS)
    objective = trace.objective
    assert sum(objective[name] for name in TERMS) == pytest.approx(objective["total"], abs=1e-9)
    asked = JointProblem(trace.saliency.numpy(), trace.prior.numpy(), trace.weights)
    assert objective["total"] == pytest.approx(
        sum(map(sum, zip(*slow_objective(asked, z.numpy()).values(), strict=True)))
    )
    assert objective["total"] == pytest.approx(trace.history[0][-1])


def test_one_input_stays_as_it_is():
    images, saliency = batch(1)
    trace = mix(images, saliency, CoMixupParams())
    assert torch.equal(trace.mixed, images)
    assert trace.labels.tolist() == [[1.0]]
    assert trace.flags == {"single_source": (0,)}
    assert trace.prior.tolist() == [1.0]


def test_identical_inputs_give_the_picture_itself():
    images, saliency = batch(1)
    trace = mix(images.repeat(4, 1, 1, 1), saliency.repeat(4, 1, 1), CoMixupParams())
    assert torch.equal(trace.mixed, images.repeat(4, 1, 1, 1))
    assert trace.flags["identical_inputs"] == (0, 1, 2, 3)
    torch.testing.assert_close(trace.labels.sum(1), torch.ones(4))


def test_flat_saliency_is_uniform_and_says_so():
    images, saliency = batch(3)
    traces = []
    for level in (0.0, 5.0):
        saliency[1] = level
        traces.append(mix(images, saliency, CoMixupParams()))
        assert traces[-1].flags["flat_saliency"] == (1,)
    assert torch.equal(traces[0].mixed, traces[1].mixed)


def test_a_large_batch_is_mixed_in_parts():
    images, saliency = batch(LARGEST_PART * 2 + 1)
    trace = mix(images, saliency, CoMixupParams(grid=2))
    assert trace.parts == ((0, 14), (14, 27), (27, 41))
    inside = torch.zeros(41, 41, dtype=torch.bool)
    for first, last in trace.parts:
        inside[first:last, first:last] = True
        assert trace.prior[first:last].sum().item() == pytest.approx(1)
    assert not trace.labels[~inside].any()
    torch.testing.assert_close(trace.labels.sum(1), torch.ones(41))
    first = mix(images[:14], saliency[:14], CoMixupParams(grid=2))
    assert torch.equal(first.mixed, trace.mixed[:14])
    assert len(trace.history) == len(trace.starts) == 3


def test_the_same_parameters_give_the_same_mix_and_the_inputs_stay():
    images, saliency = batch(6)
    before = images.clone(), saliency.clone()
    one, two = (mix(images, saliency, CoMixupParams(seed=3)) for _ in range(2))
    assert torch.equal(one.mixed, two.mixed)
    assert torch.equal(one.sources, two.sources)
    assert one.history == two.history
    assert torch.equal(one.prior, two.prior)
    assert not torch.equal(one.prior, mix(images, saliency, CoMixupParams(seed=4)).prior)
    one.mixed.zero_()
    assert torch.equal(images, before[0])
    assert torch.equal(saliency, before[1])


def test_the_scale_of_the_saliency_says_nothing():
    images, saliency = batch(4)
    one = mix(images, saliency, CoMixupParams())
    two = mix(
        images, saliency * torch.tensor([1.0, 4.0, 0.5, 1024.0])[:, None, None], CoMixupParams()
    )
    assert torch.equal(one.mixed, two.mixed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("device", DEVICES)
def test_dtype_and_device_are_kept_and_do_not_matter(dtype, device):
    images, saliency = batch(5, dtype=dtype)
    here = mix(images, saliency, CoMixupParams())
    there = mix(images.to(device), saliency.to(device), CoMixupParams())
    for name in ("mixed", "labels"):
        values = getattr(there, name)
        assert values.dtype == dtype
        assert values.device.type == device
        assert torch.equal(values.cpu(), getattr(here, name))
    assert torch.equal(here.sources, there.sources)
    strided = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(mix(strided, saliency, CoMixupParams()).mixed, here.mixed)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf], ids=str)
@pytest.mark.parametrize("name", ["images", "saliency"])
def test_nothing_plausible_comes_of_nan(name, bad):
    given_ = dict(zip(("images", "saliency"), batch(3), strict=True))
    given_[name][1, 2, 2] = bad
    with pytest.raises(ValueError, match=f"^{name} must be finite"):
        mix(**given_, params=CoMixupParams())


def test_what_the_method_refuses():
    images, saliency = batch(3)
    with pytest.raises(ValueError, match="grid = 5 must divide"):
        mix(images, saliency, CoMixupParams(grid=5))
    with pytest.raises(ValueError, match="saliency must not be negative"):
        mix(images, -saliency, CoMixupParams())
    with pytest.raises(ValueError, match="one picture or more"):
        mix(images[:0], saliency[:0], CoMixupParams())


def test_what_training_draws_follows_its_generator():
    drawn = [METHOD.draw(torch.Generator().manual_seed(s), 20, METHOD.alpha) for s in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0].alpha == 2.0


def test_sweeps_that_ran_out_are_flagged():
    images, saliency = batch(8)
    short = mix(images, saliency, CoMixupParams(sweeps=1))
    assert short.flags["sweeps_ran_out"] == tuple(range(8))
    assert "sweeps_ran_out" not in mix(images, saliency, CoMixupParams(sweeps=20)).flags
