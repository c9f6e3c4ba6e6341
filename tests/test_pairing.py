"""Pairing of GuidedMixup against brute force, an assignment bound, cdist and the printed rules."""

import itertools
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from mixviz.core.pairing import (
    CHUNK,
    PAIRING_FLAGS,
    PAIRING_SOLVERS,
    PairingProblem,
    pair_batch,
    pair_by_distance,
    pair_distances,
    solve_exact,
    solve_greedy,
)
from mixviz.core.saliency import gaussian_blur

FEASIBLE = ["greedy", "improved", "exact"]
seeds = st.integers(0, 2**16)
# Made smaller, a failing example would take minutes: it pairs again and again.
few = settings(max_examples=25, deadline=None, derandomize=True, phases=[Phase.generate])
each_feasible = pytest.mark.parametrize("solver", FEASIBLE)
each_solver = pytest.mark.parametrize("solver", PAIRING_SOLVERS)


def blobs(count, size=12, seed=0, dtype=torch.float64):
    """Draw maps with one salient region each, blurred as the method does it."""
    rng = torch.Generator().manual_seed(seed)
    centre = size * torch.rand(count, 2, 1, 1, generator=rng)
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    far = (row - centre[:, 0]) ** 2 + (column - centre[:, 1]) ** 2
    maps = torch.exp(-far / size) + 0.2 * torch.rand(count, size, size, generator=rng)
    return gaussian_blur(maps.to(dtype))


def graph(count, seed=0, ties=False):
    """Draw symmetric weights; with `ties` from three values, which no picture need have."""
    rng = np.random.default_rng(seed)
    weight = rng.integers(0, 3, (count, count)) / 2 if ties else rng.random((count, count))
    weight = np.triu(weight, 1)
    return torch.from_numpy(weight + weight.T)


def is_feasible(partner):
    target = partner.tolist()
    return sorted(target) == list(range(len(target))) and all(
        t != i and target[t] != i for i, t in enumerate(target)
    )


def brute_force(weight):
    """Return the largest Σ w over all permutations that eq. 1 allows."""
    count, w = len(weight), weight.tolist()
    return max(
        sum(w[i][t] for i, t in enumerate(target))
        for target in itertools.permutations(range(count))
        if all(t != i and target[t] != i for i, t in enumerate(target))
    )


# --- distances


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("count", "size"), [(2, 4), (7, 12), (40, 9)])
def test_distances_are_scipy_s(count, size, dtype):
    maps = blobs(count, size, dtype=torch.float32).to(dtype)
    share = maps.double().flatten(1)
    share = (share / share.sum(1, keepdim=True)).numpy()
    found = pair_distances(maps)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, cdist(share, share), rtol=1e-10, atol=0)
    assert torch.equal(found, found.T)
    assert torch.equal(found.diagonal(), torch.zeros(count, dtype=torch.float64))


def test_a_batch_larger_than_one_chunk_is_added_up():
    maps = torch.rand(5, 1, CHUNK // 2, generator=torch.Generator().manual_seed(0)).double()
    maps[4] = maps[1]
    share = (maps / maps.sum((1, 2), keepdim=True)).flatten(1)
    oracle = torch.cdist(share, share, compute_mode="donot_use_mm_for_euclid_dist")
    torch.testing.assert_close(pair_distances(maps), oracle, rtol=1e-9, atol=0)


@pytest.mark.parametrize("shift", [1e-3, 1e-6, 1e-9, 1e-12])
@pytest.mark.parametrize("strangers", [0, 3])
def test_near_duplicates_keep_their_digits(shift, strangers):
    maps = blobs(5, 16)
    maps[1:3] = maps[0]
    maps[1, 3, 4] += shift
    maps = maps[: 2 + strangers]
    share = maps.flatten(1) / maps.sum((1, 2))[:, None]
    found = pair_distances(maps)
    exact = (share[0] - share[1]).norm()
    assert exact > 0
    torch.testing.assert_close(found[0, 1], exact, rtol=1e-6, atol=0)
    if strangers:
        assert found[0, 2] == 0
        assert found[1, 2] == found[0, 1]


@few
@given(seed=seeds, scale=st.sampled_from([1e-300, 1e-30, 1.0, 7.0, 1e30, 1e300]))
def test_distances_do_not_depend_on_the_scale_of_a_map(seed, scale):
    maps = blobs(4, 6, seed)
    scaled = maps * torch.tensor([1.0, scale, 2.0, 1.0], dtype=torch.float64)[:, None, None]
    torch.testing.assert_close(pair_distances(scaled), pair_distances(maps), rtol=1e-9, atol=1e-12)


def test_a_map_of_nothing_is_uniform():
    maps = blobs(4, 8)
    maps[1], maps[3] = 0, 5
    found = pair_distances(maps)
    assert found[1, 3] < 1e-15
    share = maps[0] / maps[0].sum()
    torch.testing.assert_close(found[0, 1], (share - 1 / 64).norm(), rtol=1e-10, atol=0)
    assert torch.equal(pair_distances(torch.zeros(3, 4, 4)), torch.zeros(3, 3).double())


@each_solver
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_maps_that_are_not_finite_are_named(solver, bad):
    maps = blobs(5)
    maps[2, 1, 3] = bad
    with pytest.raises(ValueError, match=rf"maps must be finite, got {bad} at index \(2, 1, 3\)"):
        pair_batch(maps, solver)


def test_other_maps_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"maps must not be negative, got -0.5"):
        pair_distances(torch.tensor([[[1.0, -0.5]], [[1.0, 1.0]]]))
    with pytest.raises(ValueError, match="the sum of maps must be finite"):
        pair_distances(torch.full((2, 4, 4), 1e308, dtype=torch.float64))


def test_maps_stay_as_they_are_and_are_never_blurred_again():
    maps = blobs(6)
    before = maps.clone()
    pairing = pair_batch(maps)
    assert torch.equal(maps, before)
    assert torch.equal(pairing.distances, pair_distances(before))
    assert not torch.equal(pairing.distances, pair_distances(gaussian_blur(before)))


# --- pairings


@few
@given(count=st.integers(3, 7), seed=seeds, ties=st.booleans())
def test_exact_is_the_optimum_of_all_permutations(count, seed, ties):
    weight = graph(count, seed, ties)
    best = brute_force(weight)
    pairing = pair_by_distance(weight, "exact")
    assert pairing.total == pytest.approx(best, abs=1e-9)
    assert pairing.proven == pytest.approx(best, abs=1e-6)
    assert is_feasible(pairing.partner)


@few
@given(count=st.integers(2, 6), seed=seeds, ties=st.booleans())
def test_the_bound_is_the_heaviest_permutation_without_fixed_points(count, seed, ties):
    weight = graph(count, seed, ties)
    w = weight.tolist()
    best = max(
        sum(w[i][t] for i, t in enumerate(target))
        for target in itertools.permutations(range(count))
        if all(t != i for i, t in enumerate(target))
    )
    assert pair_by_distance(weight).bound == pytest.approx(best)


def check_order(weight):
    found = {name: pair_by_distance(weight, name) for name in FEASIBLE}
    totals = [found[name].total for name in FEASIBLE]
    assert totals == sorted(totals), "greedy ≤ improved ≤ exact"
    slack = 1e-9 * max(1, totals[-1])
    assert totals[-1] <= found["exact"].proven + slack
    assert all(found["exact"].proven <= pairing.bound + slack for pairing in found.values())
    assert found["exact"].proven <= totals[-1] + 1e-6 * weight.max(), "proved to the last digit"
    assert all(is_feasible(pairing.partner) for pairing in found.values())
    return found


@few
@given(count=st.integers(3, 20), seed=seeds, ties=st.booleans())
def test_greedy_improved_exact_bound_rise_on_any_graph(count, seed, ties):
    check_order(graph(count, seed, ties))


@pytest.mark.parametrize("count", [3, 4, 5, 6, 8, 13, 24, 32, 64])
def test_greedy_improved_exact_bound_rise_on_maps(count):
    found = check_order(pair_distances(blobs(count, seed=count)))
    assert found["greedy"].total >= 0.8 * found["exact"].total
    if count >= 8:
        assert found["improved"].total > found["greedy"].total


@few
@given(count=st.integers(2, 40), seed=seeds, ties=st.booleans())
def test_greedy_is_one_cycle_and_its_steps_replay(count, seed, ties):
    weight = graph(count, seed, ties)
    pairing = pair_by_distance(weight, "greedy")
    assert [len(cycle) for cycle in pairing.cycles] == [count]
    replayed = np.full(count, -1)
    struck, w = set(), weight.numpy()
    for number, step in enumerate(pairing.steps):
        rows = range(count) if number == 0 else [step.source]
        allowed = [
            (-w[i, j], i, j) for i in rows for j in range(count) if j != i and j not in struck
        ]
        if number == count - 1:  # the first image is struck out, and the only one without a source
            assert all(j in struck for j in range(count) if j != step.source)
            assert step.target == pairing.steps[0].source
        else:
            assert (-step.distance, step.source, step.target) == min(allowed)
        assert step.distance == w[step.source, step.target]
        assert replayed[step.source] == -1
        replayed[step.source] = step.target
        struck.add(step.source)
    assert replayed.tolist() == pairing.partner.tolist()
    assert pairing.total == pytest.approx(sum(step.distance for step in pairing.steps))


def test_algorithm_1_as_printed_is_infeasible():
    """Why the column of the row just used is struck out: the printed one returns at once."""
    w = graph(6).numpy().copy()
    first, target = np.unravel_index(w.argmax(), w.shape)
    w[:, target] = 0
    assert w[target].argmax() == first


@few
@given(count=st.integers(3, 12), seed=seeds)
def test_no_exchange_of_two_targets_lifts_an_improved_pairing(count, seed):
    weight = graph(count, seed)
    pairing = pair_by_distance(weight, "improved")
    for i, k in itertools.combinations(range(count), 2):
        other = pairing.partner.clone()
        other[[i, k]] = other[[k, i]]
        if is_feasible(other):
            assert weight[torch.arange(count), other].sum() <= pairing.total + 1e-9


@few
@given(count=st.integers(2, 30), seed=seeds, solver=st.sampled_from(list(PAIRING_SOLVERS)))
def test_a_pairing_tells_the_truth_about_itself(count, seed, solver):
    weight = graph(count, seed)
    pairing = pair_by_distance(weight, solver, seed=seed)
    target, every = pairing.partner.tolist(), range(count)
    assert pairing.partner.dtype == torch.int64
    assert sorted(target) == list(every)
    assert pairing.total == pytest.approx(sum(float(weight[i, target[i]]) for i in every))
    assert sorted(itertools.chain(*pairing.cycles)) == list(every)
    for cycle in pairing.cycles:
        assert cycle[0] == min(cycle)
        assert [target[i] for i in cycle] == [*cycle[1:], cycle[0]]
    assert list(pairing.cycles) == sorted(pairing.cycles)
    assert set(pairing.flags) <= set(PAIRING_FLAGS)
    alone = tuple(i for i in every if target[i] == i)
    mutual = tuple(i for i in every if target[i] != i and target[target[i]] == i)
    assert pairing.flags.get("self_pair", ()) == alone
    assert pairing.flags.get("two_cycle", ()) == mutual
    assert bool(pairing.steps) == (solver == "greedy")
    assert (pairing.proven is not None) == (solver == "exact")
    assert pairing.seconds > 0


@each_solver
@pytest.mark.parametrize("count", [2, 3, 9])
def test_the_same_maps_give_the_same_pairing(solver, count):
    maps = blobs(count, dtype=torch.float32)
    one, two = (pair_batch(maps.clone(), solver, seed=5) for _ in range(2))
    assert torch.equal(one.partner, two.partner)
    assert (one.total, one.cycles, one.steps) == (two.total, two.cycles, two.steps)
    assert one.bound == two.bound


def test_random_is_uniform_over_permutations_and_a_matter_of_the_seed():
    weight = graph(3)
    drawn = [
        tuple(pair_by_distance(weight, "random", seed).partner.tolist()) for seed in range(600)
    ]
    counts = [drawn.count(permutation) for permutation in itertools.permutations(range(3))]
    assert min(counts) > 60
    assert drawn[7] == tuple(pair_by_distance(weight, "random", 7).partner.tolist())
    flags = [pair_by_distance(weight, "random", seed).flags for seed in range(30)]
    assert any("self_pair" in found for found in flags)
    assert any("two_cycle" in found for found in flags)


# --- small batches, twins, limits


@each_solver
def test_one_image_is_refused_and_two_swap(solver):
    for count in (0, 1):
        message = f"pairing needs two images or more, got {count}"
        with pytest.raises(ValueError, match=message):
            pair_batch(torch.ones(count, 4, 4), solver)
    for seed in range(5):
        pairing = pair_batch(blobs(2), solver, seed)
        assert pairing.partner.tolist() == [1, 0]
        assert pairing.cycles == ((0, 1),)
        assert pairing.flags == {"two_cycle": (0, 1)}
        assert pairing.total == pytest.approx(pairing.bound)


@each_feasible
@pytest.mark.parametrize("count", [2, 3, 4, 9, 33])
def test_identical_maps_are_paired_like_any_others(solver, count):
    maps = blobs(1).expand(count, -1, -1)
    pairing = pair_batch(maps, solver)
    assert pairing.total == pairing.bound == 0
    assert pairing.flags["identical_maps"] == tuple(range(count))
    assert count == 2 or is_feasible(pairing.partner)
    if solver == "greedy":
        assert pairing.partner.tolist() == [*range(1, count), 0]


@each_feasible
def test_twins_in_a_batch_are_named(solver):
    maps = blobs(6)
    assert pair_batch(maps, solver).flags == {}
    maps[4] = 4 * maps[1]
    pairing = pair_batch(maps, solver)
    assert pairing.flags == {"identical_maps": (1, 4)}
    assert is_feasible(pairing.partner)
    assert int(pairing.partner[1]) != 4, "twins are the nearest of all"


def test_more_images_than_exact_takes():
    weight = graph(65)
    message = "solver exact takes at most 64 images, got 65; improved has no such limit"
    with pytest.raises(ValueError, match=f"^{message}$"):
        pair_by_distance(weight, "exact")
    assert is_feasible(pair_by_distance(weight, "improved").partner)


def test_out_of_time_the_best_pairing_so_far_comes_back_with_its_bound():
    weight = graph(64)
    hurried = pair_by_distance(weight, "exact", time_limit=0.0)
    improved, exact = (pair_by_distance(weight, name) for name in ("improved", "exact"))
    assert hurried.flags == {"timed_out": tuple(range(64))}
    assert exact.flags == {}
    assert improved.total <= hurried.total <= exact.total
    assert exact.total <= hurried.proven <= hurried.bound + 1e-9
    assert is_feasible(hurried.partner)


def test_questions_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="solver must be one of greedy, improved, exact, random"):
        pair_batch(blobs(3), "greedy_c")
    with pytest.raises(ValueError, match=re.escape("time_limit must be a number ≥ 0, got nan")):
        pair_batch(blobs(3), "exact", time_limit=math.nan)
    weight = graph(4)
    weight[0, 1] = 2
    with pytest.raises(ValueError, match="distances must be symmetric"):
        pair_by_distance(weight)
    weight[0, 1] = weight[1, 0] = math.nan
    with pytest.raises(ValueError, match="distances must be finite and not negative"):
        pair_by_distance(weight)


def test_the_diagonal_is_never_looked_at():
    weight = graph(9)
    loud = weight + 100 * torch.eye(9, dtype=torch.float64)
    for solver in FEASIBLE:
        quiet, other = (pair_by_distance(w, solver) for w in (weight, loud))
        assert torch.equal(quiet.partner, other.partner)
        assert quiet.total == other.total
        assert quiet.bound == other.bound


def test_a_problem_can_be_given_more_time():
    problem = PairingProblem(graph(40).numpy())
    patient = solve_exact(replace(problem, time_limit=60.0))
    assert not patient.timed_out
    assert is_feasible(patient.partner)
    assert not is_feasible(torch.arange(40))
    assert is_feasible(solve_greedy(problem).partner)
