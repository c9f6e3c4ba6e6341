"""Transport solvers against brute force, SciPy, the printed Algorithm 1 and its propositions."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from mixviz.core import transport
from mixviz.core.transport import TRANSPORT_SOLVERS, distance_cost

seeds = st.integers(0, 2**32 - 1)
XI = [0.0, 1e-6, 0.001, 0.01, 0.05, 0.1, 0.25, 0.8, 2.0]


def random_case(rng, b, n):
    """Saliency from flat to spiked, sometimes with ties; shares of a mask."""
    s = rng.dirichlet(np.full(n * n, rng.choice([0.1, 0.3, 1, 30])), b)
    if rng.random() < 0.3:
        s = np.round(s * 8) / 8
    z = rng.random((b, n * n)) if rng.random() < 0.2 else rng.integers(0, 3, (b, n * n)) / 2
    return s.reshape(b, n, n), z.reshape(b, n, n)


def cost_matrices(saliency, share, xi):
    b, n, _ = saliency.shape
    s, z = saliency.reshape(b, -1), share.reshape(b, -1)
    xi = np.broadcast_to(np.where(np.equal(xi, 0), 1e-9, xi), (b,))
    return xi[:, None, None] * distance_cost(n) - s[:, :, None] * z[:, None, :]


def plan_cost(cost, source):
    return cost[source, np.arange(len(cost))].sum()


@pytest.fixture(params=["numba", "SciPy"])
def engine(request, monkeypatch):
    if request.param == "SciPy":
        monkeypatch.setattr(transport, "load_kernels", lambda name: None)
    return request.param


def test_distance_is_squared_and_scaled_to_the_side():
    expected = [[0, 1, 1, 2], [1, 0, 2, 1], [1, 2, 0, 1], [2, 1, 1, 0]]
    assert np.array_equal(distance_cost(2), np.array(expected, np.float64))
    assert distance_cost(16)[0, -1] == 2
    assert distance_cost(4)[0, 1] == pytest.approx(1 / 9)
    assert np.array_equal(distance_cost(1), [[0.0]])


@pytest.mark.parametrize("xi", XI)
@pytest.mark.parametrize("n", [1, 2])
def test_exact_is_the_brute_force_minimum(n, xi, engine):
    rng = np.random.default_rng(int(1e6 * xi) + n)
    orders = np.array(list(itertools.permutations(range(n * n))))
    for _ in range(20):
        saliency, share = random_case(rng, 4, n)
        solution = transport.solve_exact(saliency, share, xi)
        for item, cost in enumerate(cost_matrices(saliency, share, xi)):
            best = min(plan_cost(cost, order) for order in orders)
            assert plan_cost(cost, solution.source[item]) == pytest.approx(best, abs=1e-15)
            assert solution.objective[item] == pytest.approx(best, abs=1e-15)


@settings(deadline=None, max_examples=400)
@given(seeds, st.integers(2, 9), st.sampled_from(XI))
def test_exact_equals_scipy_s_assignment(seed, n, xi):
    saliency, share = random_case(np.random.default_rng(seed), 4, n)
    solution = transport.solve_exact(saliency, share, xi)
    for item, cost in enumerate(cost_matrices(saliency, share, xi)):
        assert np.array_equal(np.sort(solution.source[item]), np.arange(n * n))
        best = cost[linear_sum_assignment(cost)].sum()
        assert solution.objective[item] == pytest.approx(best, abs=1e-14)


@pytest.mark.parametrize("xi", [0.8, 0.1, 0.01])
def test_exact_equals_scipy_s_assignment_on_16x16(xi):
    saliency, share = random_case(np.random.default_rng(0), 6, 16)
    solution = transport.solve_exact(saliency, share, xi)
    best = [c[linear_sum_assignment(c)].sum() for c in cost_matrices(saliency, share, xi)]
    assert np.allclose(solution.objective, best, rtol=0, atol=1e-14)


@settings(deadline=None, max_examples=150)
@given(seeds, st.integers(2, 6))
def test_exact_is_right_where_moving_just_about_pays(seed, n):
    """At xi where two blocks gain by changing places as much as they pay, and right beside it."""
    rng = np.random.default_rng(seed)
    saliency, share = random_case(rng, 1, n)
    s, z = saliency.reshape(-1), share.reshape(-1)
    gain = (s[:, None] - s) * (z - z[:, None])
    distance = distance_cost(n)
    pairs = np.argwhere(gain > 0)
    if not len(pairs):
        saliency, share = np.full((1, n, n), 0.5), np.ones((1, n, n))
        pairs, gain = np.array([[0, 1]]), np.ones_like(gain)
    i, j = pairs[rng.integers(len(pairs))]
    threshold = gain[i, j] / (2 * distance[i, j])
    for xi in (threshold * (1 - 1e-12), threshold, threshold * (1 + 1e-12)):
        cost = cost_matrices(saliency, share, xi)[0]
        best = cost[linear_sum_assignment(cost)].sum()
        assert transport.solve_exact(saliency, share, xi).objective[0] == pytest.approx(
            best, abs=1e-14
        )


# ------------------------------------------------------------------ Algorithm 1


def printed_algorithm(cost, large):
    """Algorithm 1 as printed, with dense matrices; yields every round's (target, Pi_win)."""
    count = len(cost)
    every = np.arange(count)
    cost = cost.copy()
    while True:
        target = cost.argmin(1)
        plan = np.zeros((count, count))
        plan[every, target] = 1
        conflict = cost * plan + large * (1 - plan)
        winners = np.zeros((count, count))
        winners[conflict.argmin(0), every] = 1
        winners = winners * plan
        losers = (1 - winners) * plan
        yield target, winners, int(losers.sum())
        if not losers.any():
            return
        cost = cost + large * losers


@settings(deadline=None, max_examples=100)
@given(seeds, st.integers(1, 5), st.sampled_from(XI[1:]))
def test_paper_follows_the_printed_algorithm_round_by_round(seed, n, xi):
    saliency, share = random_case(np.random.default_rng(seed), 2, n)
    compiled = transport.solve_paper(saliency, share, xi)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transport, "load_kernels", lambda name: None)
        interpreted = transport.solve_paper(saliency, share, xi)
    for solution in (compiled, interpreted):
        for item, cost in enumerate(cost_matrices(saliency, share, xi)):
            printed = list(printed_algorithm(cost, 1024.0))
            rounds = solution.rounds[item]
            assert len(rounds) == len(printed)
            for ours, (target, winners, rejected) in zip(rounds, printed, strict=True):
                assert np.array_equal(ours.target, target)
                source = np.where(winners.any(0), winners.argmax(0), -1)
                assert np.array_equal(ours.source, source)
                assert ours.rejected == rejected
                assert ours.objective == pytest.approx((winners * cost).sum(), abs=1e-12)
            assert np.array_equal(solution.source[item], rounds[-1].source)


def greedy_assignment(cost):
    """Take the cheapest remaining (cost, row, column) until every row has a column."""
    source = np.full(len(cost), -1)
    rows = set()
    for index in np.argsort(cost, axis=None, kind="stable"):
        i, j = divmod(int(index), len(cost))
        if i not in rows and source[j] < 0:
            source[j] = i
            rows.add(i)
    return source


@settings(deadline=None, max_examples=100)
@given(seeds, st.integers(1, 7), st.sampled_from(XI))
def test_the_fixed_point_is_greedy_over_sorted_costs(seed, n, xi):
    rng = np.random.default_rng(seed)
    saliency = rng.dirichlet(np.full(n * n, 0.5), 2).reshape(2, n, n)
    share = rng.integers(0, 3, (2, n, n)) / 2
    solution = transport.solve_paper(saliency, share, xi)
    exact = transport.solve_exact(saliency, share, xi)
    bound = n * n * (n * n - 1) // 2 + 1
    for item, cost in enumerate(cost_matrices(saliency, share, xi)):
        assert np.array_equal(solution.source[item], greedy_assignment(cost))
        assert len(solution.rounds[item]) <= bound
        assert solution.rounds[item][-1].rejected == 0
        assert all(r.rejected > 0 for r in solution.rounds[item][:-1])
        stay = np.trace(cost)
        assert exact.objective[item] <= min(solution.objective[item], stay) + 1e-14
        assert solution.objective[item] == pytest.approx(
            plan_cost(cost, solution.source[item]), abs=1e-14
        )


@settings(deadline=None, max_examples=100)
@given(seeds, st.integers(2, 7), st.sampled_from(XI[1:]))
def test_propositions_3_and_4_for_a_binary_mask(seed, n, xi):
    """A shown place has a block from the first round, and what is shown only gets cheaper."""
    rng = np.random.default_rng(seed)
    saliency = rng.dirichlet(np.full(n * n, 0.3), 1).reshape(1, n, n)
    share = rng.integers(0, 2, (1, n, n)).astype(np.float64)
    shown = np.flatnonzero(share)
    cost = cost_matrices(saliency, share, xi)[0]
    before = np.inf
    for r in transport.solve_paper(saliency, share, xi).rounds[0]:
        assert (r.source[shown] >= 0).all()
        partial = cost[r.source[shown], shown].sum()
        assert partial <= before + 1e-12
        before = partial


def test_greedy_can_end_worse_than_leaving_everything():
    rng = np.random.default_rng(0)
    saliency = rng.dirichlet(np.full(64, 0.3), 40).reshape(40, 8, 8)
    rival = rng.dirichlet(np.full(64, 0.3), 40).reshape(40, 8, 8)
    share = (saliency > rival).astype(np.float64)
    stay = -(saliency * share).sum((1, 2))
    paper = transport.solve_paper(saliency, share, 0.8).objective
    exact = transport.solve_exact(saliency, share, 0.8).objective
    assert (paper > stay + 1e-6).any()
    assert (exact <= np.minimum(stay, paper) + 1e-14).all()
    assert (exact < stay - 1e-3).any()


# ------------------------------------------------------------------ laws of both


@pytest.mark.parametrize("solver", TRANSPORT_SOLVERS)
@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_nothing_shown_or_dear_distance_leaves_everything(solver, n, engine):
    solve = TRANSPORT_SOLVERS[solver]
    saliency, share = random_case(np.random.default_rng(n), 3, n)
    stay = np.tile(np.arange(n * n), (3, 1))
    assert np.array_equal(solve(saliency, 0 * share, 0.01).source, stay)
    assert np.array_equal(solve(saliency, share, 1.5 * max(n - 1, 1) ** 2).source, stay)
    assert np.array_equal(solve(0 * saliency, share, 0.0).source, stay)
    assert np.array_equal(solve(np.full_like(saliency, 1 / n**2), 0 * share + 1, 0.0).source, stay)


@pytest.mark.parametrize("solver", TRANSPORT_SOLVERS)
def test_a_salient_hidden_block_moves_to_the_nearest_shown_place(solver, engine):
    saliency = np.zeros((1, 3, 3))
    saliency[0, 0, 0] = 1.0
    share = np.zeros((1, 3, 3))
    share[0, 0, 2] = share[0, 2, 2] = 1.0
    solution = TRANSPORT_SOLVERS[solver](saliency, share, 0.1)
    assert solution.source[0, 2] == 0
    for xi in (0.0, 0.1, 0.2):
        solution = TRANSPORT_SOLVERS["exact"](saliency, share, xi)
        assert np.flatnonzero(solution.source[0] == 0) == [2]


@pytest.mark.parametrize("solver", TRANSPORT_SOLVERS)
def test_a_batch_with_its_own_xi_equals_its_items_and_inputs_stay(solver):
    solve = TRANSPORT_SOLVERS[solver]
    saliency, share = random_case(np.random.default_rng(3), 4, 6)
    xi = np.array([0.0, 0.01, 0.1, 0.8])
    copies = saliency.copy(), share.copy(), xi.copy()
    whole = solve(saliency, share, xi)
    for array, copy in zip((saliency, share, xi), copies, strict=True):
        assert np.array_equal(array, copy)
    assert whole.seconds > 0
    for item in range(4):
        one = slice(item, item + 1)
        alone = solve(saliency[one], share[one], float(xi[item]))
        assert np.array_equal(alone.source[0], whole.source[item])
        assert alone.objective[0] == whole.objective[item]
        assert len(alone.rounds[0]) == len(whole.rounds[item])
    assert np.array_equal(np.sort(whole.source, 1), np.tile(np.arange(36), (4, 1)))
    if solver == "exact":
        assert whole.rounds == ((),) * 4


@pytest.mark.parametrize("solver", TRANSPORT_SOLVERS)
def test_what_cannot_be_solved_is_refused(solver):
    solve = TRANSPORT_SOLVERS[solver]
    saliency, share = random_case(np.random.default_rng(4), 2, 3)
    for value in (np.nan, np.inf, -0.1):
        wrong = saliency.copy()
        wrong[1, 2, 0] = value
        with pytest.raises(ValueError, match=rf"saliency\[1, 2, 0\] is {value}; it must be finite"):
            solve(wrong, share, 0.8)
        wrong = share.copy()
        wrong[0, 1, 2] = value
        with pytest.raises(ValueError, match=rf"share\[0, 1, 2\] is {value}; it must be in \[0, 1"):
            solve(saliency, wrong, 0.8)
        with pytest.raises(ValueError, match=rf"xi\[0\] is {value}; it must be finite"):
            solve(saliency, share, value)
    with pytest.raises(ValueError, match="must be in"):
        solve(saliency, share + 2, 0.8)


def test_memory_layout_does_not_make_a_visitor_wait_for_the_compiler():
    kernels = transport.load_kernels("assign")
    saliency, share = random_case(np.random.default_rng(5), 4, 6)
    before = len(kernels.assign.signatures), len(kernels.propose.signatures)
    expected = transport.solve_exact(saliency[::2], share[::2], 0.1).source
    strided = np.asfortranarray(saliency)[::2]
    strided.setflags(write=False)
    for solve in TRANSPORT_SOLVERS.values():
        solve(strided, share[::2], np.float64(0.1))
    assert np.array_equal(transport.solve_exact(strided, share[::2], 0.1).source, expected)
    assert (len(kernels.assign.signatures), len(kernels.propose.signatures)) == before
