"""What the stage is told equals the trace, and what it says in words is true."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mixviz.core.mask import energy
from mixviz.core.types import Pair
from mixviz.detectors import Finding, check, visible_moves
from mixviz.methods import METHODS
from mixviz.methods.puzzle_mix import PuzzleMixParams, mix
from mixviz.samples import load_sample, square_crop
from mixviz.stage import Notice
from mixviz.ui import puzzle, staging
from mixviz.ui.compute import to_tensor


@pytest.fixture(scope="module")
def pair():
    """Two photographs with smooth saliency: something to see and something to move."""
    images = [to_tensor(square_crop(load_sample(name), 64)) for name in ("cat", "coffee")]
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    bumps = [torch.exp(-4 * ((x - a) ** 2 + (y - b) ** 2))[None] for a, b in ((0.4, 0), (0, 0.3))]
    return Pair(images[0], images[1], bumps[0] + 0.01, bumps[1] + 0.01)


@pytest.mark.parametrize(
    "changes",
    [{}, {"grid": 16, "levels": 4}, {"levels": 1, "xi": 0.005}, {"transport": False}],
    ids=str,
)
def test_a_frame_is_the_trace(pair, changes):
    params = PuzzleMixParams(**{"xi": 0.05, **changes})
    trace = mix(pair, params)
    frame = staging.stage_frame(trace, params, 0.5)
    np.testing.assert_array_equal(frame.labels / params.levels, trace.z[0])
    np.testing.assert_array_equal(frame.source_0, trace.source_0[0])
    assert frame.weight_1 == float(trace.lam_label[0])
    for name, value in trace.energy.items():
        assert frame.terms[name] == float(value[0])
    # Hidden saliency by block, from what the browser gets, adds up to the printed terms.
    z = frame.labels / params.levels
    assert (z * frame.moved_0).sum() == pytest.approx(frame.terms["saliency_0"], abs=1e-6)
    assert ((1 - z) * frame.moved_1).sum() == pytest.approx(frame.terms["saliency_1"], abs=1e-6)
    # Each edge stands in the costs of both of its blocks.
    own = np.take_along_axis(frame.data_cost, frame.labels[..., None].astype(int), 2).sum()
    assert own / 2 == pytest.approx(frame.terms["data_smooth"], abs=1e-6)
    own = np.take_along_axis(frame.label_cost, frame.labels[..., None].astype(int), 2).sum()
    assert own / 2 == pytest.approx(frame.terms["label_smooth"], abs=1e-6)
    assert frame.prior_cost[frame.labels].sum() == pytest.approx(frame.terms["prior"], abs=1e-6)


def test_the_sweep_is_the_mix_at_each_lam(pair):
    params = PuzzleMixParams(xi=0.02, lam=0.5)
    lams = [0.1, 0.48, 0.9]
    look = puzzle.Look(puzzle.compute.Framing("x"), puzzle.compute.Framing("y"), 64, "none")
    puzzle.FRAMES.clear()
    frames = puzzle._frames(look, params, pair, lams)
    for lam, frame in zip(lams, frames, strict=True):
        alone = mix(pair, PuzzleMixParams(xi=0.02, lam=lam))
        np.testing.assert_array_equal(frame.labels / 2, alone.z[0])
        np.testing.assert_array_equal(frame.source_1, alone.source_1[0])
        assert frame.terms["total"] == pytest.approx(float(alone.energy["total"][0]), abs=1e-12)


def test_steps_end_where_the_paper_ends(pair):
    params = PuzzleMixParams(xi=0.02)
    trace = puzzle._walkable(mix(pair, params), params)
    steps = {one.kind: one for one in staging.stage_steps(trace, params)}
    assert set(steps) == {"swap", "rounds_0", "rounds_1"}
    swap = mix(pair, PuzzleMixParams(xi=0.02, mask_solver="swap", transport=False))
    np.testing.assert_array_equal(steps["swap"].labels[-1] / 2, swap.z[0])
    # The objective of a step is the printed one, constants of φ included.
    assert steps["swap"].objective[-1] == pytest.approx(float(swap.energy["total"][0]), abs=1e-9)
    assert energy(trace.mask_problem, steps["swap"].labels[-1:].astype(np.int64))[0] == (
        pytest.approx(trace.mask_steps[0][-1].objective)
    )
    assert sorted(steps["rounds_0"].sources[-1]) == list(range(64))


def visible(trace):
    return int(visible_moves(trace.z, trace.source_0, trace.source_1).sum())


def test_words_say_where_and_how_much(pair):
    params = PuzzleMixParams(xi=0.005)
    trace = mix(pair, params)
    shown = int((trace.z[0] > 0).sum())
    moved = visible(trace)
    assert moved > 1
    words = staging.describe(trace, params)
    assert f"B shows in {shown} of 64 blocks" in words
    assert f"moving {moved} visible blocks" in words
    alone = PuzzleMixParams(lam=0.0)
    assert staging.describe(mix(pair, alone), alone) == "Mask 8 × 8: only A shows."


def notices(pair, params):
    trace = mix(pair, params)
    return staging.notices(check(trace, pair, params, METHODS["puzzle_mix"]))


def causes(pair, params):
    return [notice.cause for notice in notices(pair, params)]


def test_each_detector_fires_on_its_own_broken_example(pair):
    calm = PuzzleMixParams(xi=0.005)
    assert causes(pair, calm) == []
    flat = Pair(pair.x0, pair.x1, torch.ones_like(pair.s0), pair.s1)
    assert any("saliency of A is the same everywhere" in cause for cause in causes(flat, calm))
    twins = Pair(pair.x0, pair.x0, pair.s0, pair.s1)
    assert "A and B are the same picture." in causes(twins, calm)
    stiff = PuzzleMixParams(xi=0.005, beta=500.0, gamma=0.0, eta=0.01, levels=1)
    assert any("collapsed" in cause for cause in causes(pair, stiff))
    weak = Pair(pair.x0, pair.x1, pair.s0, pair.s0 * 0 + pair.s1)
    far = causes(weak, PuzzleMixParams(xi=0.005, eta=1e-6, beta=0.0, lam=0.95))
    assert any("far from the 0.95 asked" in cause for cause in far)
    assert any("nothing moves" in cause for cause in causes(pair, PuzzleMixParams(xi=3.0)))


def test_notices_keep_the_order_of_the_pipeline(pair):
    params = PuzzleMixParams(xi=3.0)
    trace = mix(Pair(pair.x0, pair.x0, pair.s0, pair.s1), params)
    broken = replace(trace, flags={"flat_saliency_0": (0,), "clamped_seam": (0,)})
    logits = (torch.zeros(1, 200), torch.zeros(1, 200))
    said = staging.notices(check(broken, None, params, METHODS["puzzle_mix"], logits))
    assert [notice.cause[:24] for notice in said] == [
        "The saliency of A is the",
        "The seam term outweighs ",
        "A and B are the same pic",
        "At ξ 3 nothing moves.",
        "The classifier is below ",
    ]
    assert said[1].remedy == "Lower γ to 1 or less."
    assert said[-1].cause == "The classifier is below 5% sure of A and B."


def test_the_stage_is_told_of_its_own_item_and_of_no_remark():
    found = Finding("odd", (1,), "Odd.", "Even it.", "mask")
    assert staging.notices([found]) == ()
    assert staging.notices([found], 1) == (Notice("Odd.", "Even it."),)
    assert staging.notices([replace(found, remark=True)], 1) == ()


def test_the_offered_xi_moves_a_block(pair):
    params = PuzzleMixParams(xi=3.0)
    (notice,) = notices(pair, params)
    assert notice.cause == "At ξ 3 nothing moves."
    offered = float(notice.action.removeprefix("set_xi:"))
    assert notice.remedy == f"The largest ξ at which a visible block moves is {offered:.2g}."
    assert visible(mix(pair, PuzzleMixParams(xi=offered))) > 0
    assert visible(mix(pair, PuzzleMixParams(xi=offered * 1.2))) == 0


def test_the_sweep_says_what_the_frame_says_without_the_search(pair):
    params = PuzzleMixParams(xi=3.0, eta=1e-6, beta=0.0)
    look = puzzle.Look(puzzle.compute.Framing("x"), puzzle.compute.Framing("y"), 64, "none")
    puzzle.FRAMES.clear()
    lams = [0.02, 0.5, 0.98]
    for lam, frame in zip(lams, puzzle._frames(look, params, pair, lams), strict=True):
        alone = notices(pair, replace(params, lam=lam))
        assert frame.notices == tuple(one for one in alone if not one.action)
    assert "far from the 0.98 asked" in frame.notices[0].cause


def test_algorithm_1_is_told_on_when_it_is_worse_than_nothing():
    # One salient block wants the only visible place; whom it evicts has to travel far.
    rng = torch.Generator().manual_seed(3)
    worse = 0
    for _ in range(30):
        s = torch.rand(2, 1, 32, 32, generator=rng) ** 6
        x = torch.rand(2, 1, 3, 32, 32, generator=rng)
        params = PuzzleMixParams(xi=0.05, transport_solver="paper")
        told = causes(Pair(x[0], x[1], s[0], s[1]), params)
        worse += any("no move at all would be better" in cause for cause in told)
        exact = PuzzleMixParams(xi=0.05)
        assert not any("no move" in cause for cause in causes(Pair(x[0], x[1], s[0], s[1]), exact))
    assert worse > 0
