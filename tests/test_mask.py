"""Mask solvers against brute force, PyMaxflow, pyGCO and the laws of eq. (4)."""

import itertools
import os
import platform
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import maxflow
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammaln

from mixviz.bench import solvers
from mixviz.core import compiled, mask
from mixviz.core.mask import MASK_SOLVERS, SWAP_ENGINES, MaskProblem, energy

seeds = st.integers(0, 2**32 - 1)


def random_problem(rng, b, n, labels, kind):
    """Costs of one kind: straight reals, convex reals, any reals, tied integers, with gaps."""
    shape = (b, n, n, labels)
    if kind == "tied":
        unary = rng.integers(-3, 4, shape).astype(np.float64)
        steps = (labels - 1) ** 2 * rng.integers(0, 3, (2, b, n, n)) / 2
    else:
        unary = rng.normal(size=shape)
        steps = rng.exponential(0.5, (2, b, n, n))
    if kind in ("convex", "tied convex"):
        rises = np.sort(np.diff(unary, axis=-1), axis=-1)
        unary = np.concatenate((unary[..., :1], unary[..., :1] + rises.cumsum(-1)), -1)
    if kind == "straight":
        unary = unary[..., :1] * np.linspace(0, 1, labels)
    if kind == "forbidden":
        forbidden = rng.random(shape) < 0.4
        np.put_along_axis(forbidden, rng.integers(0, labels, (*shape[:3], 1)), False, -1)
        unary[forbidden] = np.inf
    return MaskProblem(unary, steps[0, :, :, : n - 1].copy(), steps[1, :, : n - 1].copy())


def smooth_maps(rng, b, n):
    """Saliency like a network's: a few blobs with speckle, sum 1."""
    y, x = np.mgrid[:n, :n] / n
    maps = np.full((b, n, n), 1e-3)
    for k in range(b):
        for _ in range(3):
            (v, u), (height, width) = rng.random(2), rng.uniform(0.08, 0.3, 2)
            maps[k] += np.exp(-(((y - v) / height) ** 2) - ((x - u) / width) ** 2)
    maps *= rng.gamma(2.0, size=maps.shape)
    return maps / maps.sum((1, 2), keepdims=True)


def puzzle_problem(rng, b, n, levels, lam=None, beta=1.2, eta=0.2):
    """The problem Puzzle Mix poses, without its data term."""
    s0, s1 = smooth_maps(rng, b, n), smooth_maps(rng, b, n)
    lam = rng.uniform(0.02, 0.98, b) if lam is None else np.full(b, lam)
    t = np.arange(levels + 1)
    prior = gammaln(levels + 1) - gammaln(t + 1) - gammaln(levels - t + 1)
    prior = prior + t * np.log(lam)[:, None] + (levels - t) * np.log1p(-lam)[:, None]
    unary = (s0 - s1)[..., None] * t / levels - eta / n**2 * prior[:, None, None]
    weight = beta / (16 * n)
    return MaskProblem(unary, np.full((b, n, n - 1), weight), np.full((b, n - 1, n), weight))


def energies(problem, item, labellings):
    """Definition of the energy, edge by edge."""
    levels = problem.unary.shape[-1] - 1
    n = problem.unary.shape[1]
    total = np.zeros(len(labellings))
    for i, j in itertools.product(range(n), range(n)):
        here = labellings[:, i, j]
        total += problem.unary[item, i, j][here]
        if j + 1 < n:
            difference = here / levels - labellings[:, i, j + 1] / levels
            total += problem.weight_right[item, i, j] * difference**2
        if i + 1 < n:
            difference = here / levels - labellings[:, i + 1, j] / levels
            total += problem.weight_down[item, i, j] * difference**2
    return total


def every_labelling(n, labels):
    return np.array(list(itertools.product(range(labels), repeat=n * n))).reshape(-1, n, n)


def assert_smallest_minimiser(problem, solution, labellings):
    for item in range(len(solution.labels)):
        values = energies(problem, item, labellings)
        best = values.min()
        assert solution.objective[item] == pytest.approx(best, rel=1e-9, abs=1e-12)
        minimisers = labellings[values <= best + 1e-11 * (1 + abs(best))]
        assert np.array_equal(solution.labels[item], minimisers.min(0))


@pytest.fixture(params=["numba", "SciPy"])
def engine(request, monkeypatch):
    if request.param == "SciPy":
        monkeypatch.setattr(mask, "load_kernels", lambda name: None)
    return request.param


KINDS = ["straight", "convex", "any", "tied", "tied convex", "forbidden"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "labels"), [(2, 2), (2, 3), (2, 4), (2, 5), (3, 2), (3, 3)])
def test_exact_is_the_smallest_brute_force_minimiser(n, labels, kind, engine):
    labellings = every_labelling(n, labels)
    rng = np.random.default_rng(7 * n + labels)
    problem = random_problem(rng, 8, n, labels, kind)
    assert_smallest_minimiser(problem, mask.solve_exact(problem), labellings)


@pytest.mark.parametrize("kind", KINDS)
def test_exact_is_the_brute_force_minimum_on_3x3_with_4_labels(kind):
    problem = random_problem(np.random.default_rng(3), 2, 3, 4, kind)
    assert_smallest_minimiser(problem, mask.solve_exact(problem), every_labelling(3, 4))


@settings(deadline=None, max_examples=60)
@given(seeds, st.integers(1, 7), st.integers(2, 6), st.sampled_from(KINDS))
def test_both_engines_find_the_same_labels_by_the_same_moves(seed, n, labels, kind):
    problem = random_problem(np.random.default_rng(seed), 2, n, labels, kind)
    fast = mask.solve_exact(problem), mask.solve_swap(problem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mask, "load_kernels", lambda name: None)
        slow = mask.solve_exact(problem), mask.solve_swap(problem)
    assert {"numba" in s.engine for s in slow} == {False}
    assert "swap, numba" in fast[1].engine
    for one, other in zip(fast, slow, strict=True):
        assert np.array_equal(one.labels, other.labels)
        for ours, theirs in zip(one.steps, other.steps, strict=True):
            assert [s.pair for s in ours] == [s.pair for s in theirs]
            assert all(
                np.array_equal(s.labels, t.labels) for s, t in zip(ours, theirs, strict=True)
            )


@settings(deadline=None, max_examples=60)
@given(seeds, st.integers(1, 9), st.integers(2, 6), st.sampled_from(KINDS))
def test_exact_at_most_swap_at_most_start_and_every_move_is_recorded(seed, n, labels, kind):
    problem = random_problem(np.random.default_rng(seed), 2, n, labels, kind)
    exact, swap = mask.solve_exact(problem), mask.solve_swap(problem)
    start = mask.first_labels(problem)
    tolerance = 1e-9 * (1 + abs(energy(problem, start)))
    assert (exact.objective <= swap.objective + tolerance).all()
    assert (swap.objective <= energy(problem, start) + tolerance).all()
    if labels == 2:
        assert np.allclose(exact.objective, swap.objective, rtol=0, atol=tolerance)
    assert exact.steps == ((), ())
    order = [(a, b) for a in range(labels) for b in range(labels - 1, a, -1)]
    for item, steps in enumerate(swap.steps):
        labels_before, objective_before = start[item], energy(problem, start)[item]
        assert [s.pair for s in steps] == order * (len(steps) // len(order))
        for s in steps:
            moved = s.labels != labels_before
            assert s.changed == moved.sum()
            assert set(s.labels[moved]) <= set(s.pair)
            assert set(labels_before[moved]) <= set(s.pair)
            assert s.objective <= objective_before + tolerance[item]
            expected = energies(problem, item, s.labels[None].astype(np.int64))[0]
            assert s.objective == pytest.approx(expected, rel=1e-12, abs=1e-12)
            labels_before, objective_before = s.labels, s.objective
        assert np.array_equal(labels_before, swap.labels[item])
        last = len(steps) - len(order)
        before_last = steps[last - 1].objective if last else energy(problem, start)[item]
        assert steps[-1].objective >= before_last - tolerance[item]


def test_the_pair_order_is_the_papers_solver_s():
    problem = random_problem(np.random.default_rng(0), 1, 2, 4, "convex")
    pairs = [step.pair for step in mask.solve_swap(problem).steps[0]]
    assert pairs[:6] == [(0, 3), (0, 2), (0, 1), (1, 3), (1, 2), (2, 3)]


# ------------------------------------------------------------------ other solvers

HAS_WHEEL = sys.version_info < (3, 12) and (
    (sys.platform == "linux" and platform.machine() == "x86_64") or sys.platform == "win32"
)


@pytest.mark.parametrize("kind", ["puzzle", *KINDS])
@pytest.mark.parametrize("labels", [2, 3, 4, 5])
def test_own_swap_reaches_pygco_s_energy(labels, kind):
    rng = np.random.default_rng(labels)
    for n in (2, 5, 16):
        if kind == "puzzle":
            problem = puzzle_problem(rng, 6, n, labels - 1)
        else:
            problem = random_problem(rng, 6, n, labels, kind)
        own = SWAP_ENGINES["own"](problem)
        if not mask.pygco_available():
            assert not HAS_WHEEL, "gco-wrapper has a wheel for this platform: install it"
            with pytest.raises(ModuleNotFoundError, match="gco-wrapper"):
                SWAP_ENGINES["pygco"](problem)
            continue
        theirs = SWAP_ENGINES["pygco"](problem)
        assert theirs.engine == "swap, pyGCO"
        assert np.allclose(own.objective, theirs.objective, rtol=0, atol=1e-4)
        assert np.allclose(theirs.objective, energy(problem, theirs.labels))


def test_pygco_survives_what_would_abort_it():
    if not mask.pygco_available():
        assert not HAS_WHEEL
        return
    calm = puzzle_problem(np.random.default_rng(0), 2, 8, 2)
    huge = MaskProblem(calm.unary * 1e12, calm.weight_right * 1e12, calm.weight_down * 1e12)
    assert np.array_equal(mask.solve_swap_pygco(huge).labels, mask.solve_swap_pygco(calm).labels)
    spiked = calm.unary.copy()
    spiked[1, 3, 3, 1] = 1e9
    with pytest.raises(ValueError, match="32-bit integers cannot hold mask problem 1"):
        mask.solve_swap_pygco(replace(calm, unary=spiked))
    endless = calm.unary.copy()
    endless[..., 0], endless[..., 2] = -1e308, 1e308
    with pytest.raises(ValueError, match="cannot hold mask problem 0"):
        mask.solve_swap_pygco(replace(calm, unary=endless))
    flat = MaskProblem(np.zeros((1, 3, 3, 3)), np.zeros((1, 3, 2)), np.zeros((1, 2, 3)))
    assert mask.solve_swap_pygco(flat).objective == 0
    single = MaskProblem(np.array([[[[2.0, 1.0]]]]), np.zeros((1, 1, 0)), np.zeros((1, 0, 1)))
    assert mask.solve_swap_pygco(single).labels == 1


def test_solvers_run_in_threads():
    problem = puzzle_problem(np.random.default_rng(1), 4, 8, 2)
    threaded = [mask.solve_exact, mask.solve_swap]
    threaded += [mask.solve_swap_pygco] if mask.pygco_available() else []
    expected = [solve(problem).labels for solve in threaded]
    agreed = []

    def work():
        for _ in range(15):
            for solve, labels in zip(threaded, expected, strict=True):
                agreed.append(np.array_equal(solve(problem).labels, labels))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(agreed) == 45 * len(threaded)
    assert all(agreed)


def pymaxflow_minimum(problem, item):
    """Least energy by PyMaxflow: one node per block and step, linear-difference expansion."""
    n, labels = problem.unary.shape[1], problem.unary.shape[-1]
    levels = labels - 1
    cost = problem.unary[item].copy()
    graph = maxflow.Graph[float]()
    nodes = graph.add_nodes(n * n * levels).reshape(n, n, levels)
    t = np.arange(labels)
    edges = []
    for i, j in itertools.product(range(n), range(n)):
        if j + 1 < n:
            edges.append(((i, j), (i, j + 1), problem.weight_right[item, i, j]))
        if i + 1 < n:
            edges.append(((i, j), (i + 1, j), problem.weight_down[item, i, j]))
    for one, other, weight in edges:
        weight /= levels**2
        cost[one] += weight * (t * t - levels * t)
        cost[other] += weight * (t * t - levels * t)
        for a, b in itertools.product(range(levels), range(levels)):
            graph.add_edge(nodes[one][a], nodes[other][b], weight, weight)
    constant = cost[..., 0].sum()
    for i, j in itertools.product(range(n), range(n)):
        for a in range(levels):
            rise = cost[i, j, a + 1] - cost[i, j, a]
            graph.add_tedge(nodes[i, j, a], max(-rise, 0), max(rise, 0))
            constant += min(rise, 0)
            if a:
                graph.add_edge(nodes[i, j, a], nodes[i, j, a - 1], 1e6, 0)
    return constant + graph.maxflow()


@pytest.mark.parametrize(("n", "levels"), [(8, 1), (8, 4), (16, 2), (16, 3)])
def test_exact_equals_pymaxflow_on_larger_grids(n, levels):
    problem = puzzle_problem(np.random.default_rng(n + levels), 4, n, levels)
    solution = mask.solve_exact(problem)
    expected = [pymaxflow_minimum(problem, item) for item in range(4)]
    assert np.allclose(solution.objective, expected, rtol=1e-9, atol=1e-12)


def test_swap_is_caught_short_of_the_optimum():
    problem = puzzle_problem(np.random.default_rng(4), 32, 16, 2)
    gap = mask.solve_swap(problem).objective - mask.solve_exact(problem).objective
    assert (gap > -1e-12).all()
    assert 0.2 < (gap > 1e-7).mean() < 0.9


# ------------------------------------------------------------------ laws


@settings(deadline=None, max_examples=25)
@given(seeds, st.sampled_from([1, 2, 3, 8]), st.sampled_from([4, 8, 16]))
def test_no_change_of_one_block_or_one_set_improves_an_exact_mask(seed, levels, n):
    rng = np.random.default_rng(seed)
    problem = puzzle_problem(rng, 1, n, levels)
    solution = mask.solve_exact(problem)
    trials = []
    for i, j in itertools.product(range(n), range(n)):
        for label in range(levels + 1):
            trial = solution.labels[0].copy()
            trial[i, j] = label
            trials.append(trial)
    for _ in range(200):
        (top, left), (high, wide) = rng.integers(0, n, 2), rng.integers(1, n + 1, 2)
        chosen = np.zeros((n, n), bool)
        chosen[top : top + high, left : left + wide] = True
        chosen &= rng.random((n, n)) < rng.choice([0.7, 1.0])
        for step in (-1, 1):
            trials.append(np.clip(solution.labels[0] + step * chosen, 0, levels))
    values = energies(problem, 0, np.array(trials))
    assert values.min() >= solution.objective[0] - 1e-12


@settings(deadline=None, max_examples=40)
@given(seeds, st.integers(1, 5), st.sampled_from(["convex", "any", "tied"]))
def test_the_smallest_minimiser_falls_as_higher_labels_grow_dearer(seed, levels, kind):
    problem = random_problem(np.random.default_rng(seed), 2, 5, levels + 1, kind)
    before = None
    for shift in np.linspace(-2, 2, 9):
        tilted = replace(problem, unary=problem.unary + shift * np.arange(levels + 1))
        labels = mask.solve_exact(tilted).labels
        assert before is None or (labels <= before).all()
        before = labels


def test_the_smallest_minimiser_is_monotone_in_lambda():
    rng = np.random.default_rng(2)
    s0, s1 = smooth_maps(rng, 8, 16), smooth_maps(rng, 8, 16)
    before = np.zeros((8, 16, 16), np.int64)
    t = np.arange(3)
    for lam in np.linspace(0.02, 0.98, 25):
        prior = np.log([1.0, 2.0, 1.0]) + t * np.log(lam) + (2 - t) * np.log1p(-lam)
        unary = (s0 - s1)[..., None] * t / 2 - 0.2 / 256 * prior
        weights = np.full((8, 16, 15), 0.005), np.full((8, 15, 16), 0.005)
        labels = mask.solve_exact(MaskProblem(unary, *weights)).labels
        assert (labels >= before).all()
        before = labels
    assert before.mean() > 1.5


@pytest.mark.parametrize("levels", [*range(1, 17)])
def test_any_number_of_levels(levels, monkeypatch):
    problem = puzzle_problem(np.random.default_rng(levels), 3, 5, levels)
    solution, swap = mask.solve_exact(problem), mask.solve_swap(problem)
    assert solution.engine == "ascent, numba"
    assert (solution.objective <= swap.objective + 1e-12).all()
    monkeypatch.setattr(mask, "load_kernels", lambda name: None)
    assert np.allclose(mask.solve_exact(problem).objective, solution.objective, rtol=1e-12)


@pytest.mark.parametrize("solver", MASK_SOLVERS)
def test_a_batch_equals_its_items_and_inputs_stay(solver):
    convex = random_problem(np.random.default_rng(5), 3, 6, 4, "convex")
    other = random_problem(np.random.default_rng(6), 3, 6, 4, "forbidden")
    fields = ("unary", "weight_right", "weight_down")
    arrays = [np.concatenate((getattr(convex, f), getattr(other, f))) for f in fields]
    copies = [array.copy() for array in arrays]
    whole = MASK_SOLVERS[solver](MaskProblem(*arrays))
    for array, copy in zip(arrays, copies, strict=True):
        assert np.array_equal(array, copy)
    for item in range(6):
        alone = MASK_SOLVERS[solver](MaskProblem(*(array[item : item + 1] for array in arrays)))
        assert np.array_equal(alone.labels[0], whole.labels[item])
        assert alone.objective[0] == whole.objective[item]
    assert whole.seconds > 0
    again = MASK_SOLVERS[solver](MaskProblem(*arrays))
    assert np.array_equal(again.labels, whole.labels)


@settings(deadline=None, max_examples=40)
@given(seeds, st.integers(1, 5), st.sampled_from(KINDS))
def test_mirrored_labels_and_turned_grids_have_the_same_energy(seed, levels, kind):
    problem = random_problem(np.random.default_rng(seed), 2, 4, levels + 1, kind)
    solution = mask.solve_exact(problem)
    mirrored = mask.solve_exact(replace(problem, unary=problem.unary[..., ::-1].copy()))
    assert np.allclose(mirrored.objective, solution.objective, rtol=1e-9, atol=1e-12)
    # The mirror of the smallest minimiser there is the largest here.
    assert (levels - mirrored.labels >= solution.labels).all()
    turned = MaskProblem(
        problem.unary.transpose(0, 2, 1, 3).copy(),
        problem.weight_down.transpose(0, 2, 1).copy(),
        problem.weight_right.transpose(0, 2, 1).copy(),
    )
    assert np.array_equal(mask.solve_exact(turned).labels, solution.labels.transpose(0, 2, 1))


@pytest.mark.parametrize("solver", MASK_SOLVERS)
def test_plain_cases(solver, engine):
    solve = MASK_SOLVERS[solver]
    problem = puzzle_problem(np.random.default_rng(8), 3, 6, 2)
    free = MaskProblem(problem.unary, 0 * problem.weight_right, 0 * problem.weight_down)
    assert np.array_equal(solve(free).labels, problem.unary.argmin(-1))
    stiff = MaskProblem(problem.unary, problem.weight_right + 1e3, problem.weight_down + 1e3)
    labels = solve(stiff).labels.reshape(3, -1)
    assert (labels == labels[:, :1]).all()
    assert np.array_equal(labels[:, 0], problem.unary.sum((1, 2)).argmin(-1))
    single = MaskProblem(np.array([[[[1.0, 0.5, 3.0]]]]), np.zeros((1, 1, 0)), np.zeros((1, 0, 1)))
    assert solve(single).labels.item() == 1
    nothing = MaskProblem(np.zeros((1, 3, 3, 3)), np.ones((1, 3, 2)), np.ones((1, 2, 3)))
    assert (solve(nothing).labels == 0).all()


@pytest.mark.parametrize("solver", MASK_SOLVERS)
def test_forbidding_all_but_one_label_makes_the_mask_constant(solver):
    solve = MASK_SOLVERS[solver]
    problem = puzzle_problem(np.random.default_rng(9), 2, 8, 2)
    for allowed in (0, 1, 2):
        unary = np.full_like(problem.unary, np.inf)
        unary[..., allowed] = problem.unary[..., allowed]
        solution = solve(replace(problem, unary=unary))
        assert (solution.labels == allowed).all()
        assert np.isfinite(solution.objective).all()


@pytest.mark.parametrize("factor", [2.0**-900, 2.0**-40, 2.0**40, 2.0**900])
def test_units_do_not_matter(factor):
    problem = random_problem(np.random.default_rng(10), 2, 5, 3, "forbidden")
    scaled = MaskProblem(
        problem.unary * factor, problem.weight_right * factor, problem.weight_down * factor
    )
    for solve in MASK_SOLVERS.values():
        assert np.array_equal(solve(scaled).labels, solve(problem).labels)


def test_what_cannot_be_solved_is_refused():
    problem = puzzle_problem(np.random.default_rng(11), 2, 4, 2)
    for value in (np.nan, -np.inf):
        unary = problem.unary.copy()
        unary[1, 2, 3, 0] = value
        with pytest.raises(ValueError, match=rf"unary\[1, 2, 3, 0\] is {value}; numbers, or \+inf"):
            replace(problem, unary=unary)
    unary = problem.unary.copy()
    unary[0, 1, 2] = np.inf
    with pytest.raises(ValueError, match=r"unary\[0, 1, 2\] is \+inf for every label"):
        replace(problem, unary=unary)
    for name in ("weight_right", "weight_down"):
        for value in (np.nan, -0.1, np.inf):
            weight = getattr(problem, name).copy()
            weight[1, 2, 1] = value
            with pytest.raises(ValueError, match=rf"{name}\[1, 2, 1\] is {value}; finite"):
                replace(problem, **{name: weight})
    with pytest.raises(ValueError, match="two labels or more"):
        replace(problem, unary=problem.unary[..., :1])
    wide = problem.unary.copy()
    wide[..., 0], wide[..., 2] = -1e308, 1e308
    for solve in MASK_SOLVERS.values():
        with pytest.raises(ValueError, match="too large to add up"):
            solve(replace(problem, unary=wide))


# ------------------------------------------------------------------ compiled or not


def test_without_numba_scipy_solves(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "mixviz.core.cut", raising=False)
    assert compiled.load_kernels.__wrapped__("cut") is None


def test_the_cuts_compile_where_no_cache_can_be_written(tmp_path):
    """numba refuses to cache without a writable directory; the solver must not mind."""
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    program = (
        "import numpy as np; from mixviz.core import compiled, mask;"
        "problem = mask.MaskProblem(np.array([[[[1.0, 0.0]]]]), np.zeros((1, 1, 0)),"
        " np.zeros((1, 0, 1)));"
        "solution = mask.solve_exact(problem);"
        "from mixviz.core.cut import climb;"
        "assert type(climb._cache).__name__ == 'NullCache', climb._cache;"
        "assert (solution.labels == 1).all() and solution.engine == 'ascent, numba', solution"
    )
    environment = {
        **os.environ,
        "HOME": str(tmp_path / "nowhere"),
        "NUMBA_CACHE_DIR": str(blocked),
        "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator",
    }
    root = Path(mask.__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert blocked.read_text() == "not a directory"


def test_warming_names_the_engine(monkeypatch):
    assert compiled.warm() == "numba"
    monkeypatch.setattr(compiled, "load_kernels", lambda name: None)
    assert compiled.warm() == "SciPy"


def test_memory_layout_does_not_make_a_visitor_wait_for_the_compiler():
    kernels = mask.load_kernels("cut")
    before = len(kernels.climb.signatures), len(kernels.sweep.signatures)
    problem = puzzle_problem(np.random.default_rng(12), 4, 6, 2)
    fields = ("unary", "weight_right", "weight_down")
    strided = [np.asfortranarray(getattr(problem, field))[::2] for field in fields]
    for array in strided:
        array.setflags(write=False)
    for solve in MASK_SOLVERS.values():
        assert np.array_equal(solve(MaskProblem(*strided)).labels, solve(problem).labels[::2])
    assert (len(kernels.climb.signatures), len(kernels.sweep.signatures)) == before


def test_the_comparison_with_pygco_runs_on_what_it_says():
    medians = solvers.compare_masks(batch=2, n=4, levels=2, repeats=1)
    assert {"exact", "swap"} <= set(medians)
    assert ("pyGCO swap" in medians) == mask.pygco_available()
    assert all(0 < value < 1 for value in medians.values())
    maps = solvers.smooth_saliency(np.random.default_rng(0), 3, 8)
    assert np.allclose(maps.sum((1, 2)), 1)
    medians = solvers.compare_transports(batch=2, n=4, xi=0.8, repeats=1)
    assert set(medians) == {"exact", "Algorithm 1", "SciPy"}
