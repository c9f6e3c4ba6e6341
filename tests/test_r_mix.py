"""R-Mix against eq. 6 and 7 written as loops, NumPy's percentile, and cases worked by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mixviz.core.types import Pair
from mixviz.methods import METHODS
from mixviz.methods.input_mixup import InputMixupParams
from mixviz.methods.r_mix import (
    CASES,
    PATCHES,
    PERCENTILES,
    STRATEGIES,
    RMixParams,
    pool,
    quantile,
)
from mixviz.methods.rl_mix import RLMixParams

mix = METHODS["r_mix"].mix


def pair_of(s0, s1, seed=0, **fields):
    rng = torch.Generator().manual_seed(seed)
    x0, x1 = torch.rand(2, len(s0), 3, *s0.shape[1:], generator=rng)
    return Pair(x0, x1, s0, s1, **fields)


def random_pair(size=16, batch=3, seed=0, **fields):
    s0, s1 = torch.rand(2, batch, size, size, generator=torch.Generator().manual_seed(seed)) ** 3
    return pair_of(s0, s1, seed + 1, **fields)


def slowly(pair, params, item):
    """Return the mix and the label weight of image 1 as eq. 2 to 7 and Table 12 are printed."""
    size, p = pair.x0.shape[-1], params.num_patches
    side = size // p
    tops = []
    for saliency, q in ((pair.s0, params.q0), (pair.s1, params.q1)):
        phi = saliency[item].double().numpy()
        phi = phi / phi.sum()
        pooled = np.zeros((p, p))
        for row in range(p):
            for column in range(p):
                for y in range(side):
                    for x in range(side):
                        pooled[row, column] += phi[row * side + y, column * side + x] / side**2
        tops.append(pooled >= np.quantile(pooled, q))
    lam = 1 - params.lam  # the paper's
    mixed, label = np.zeros((3, size, size)), 0.0
    for y in range(size):
        for x in range(size):
            m0, m1 = (bool(top[y // side, x // side]) for top in tops)
            a, b = pair.x0[item, :, y, x].numpy(), pair.x1[item, :, y, x].numpy()
            if params.strategy == "1":
                share_0 = 1.0 if m0 else 0.0
            elif params.strategy == "2":
                share_0 = 1.0 if m0 == m1 else 0.0
            elif m0 == m1:
                share_0 = lam
            elif params.strategy == "3":
                share_0 = 1.0 if m0 else 0.0
            else:
                share_0 = 0.0 if m0 else 1.0
            mixed[:, y, x] = share_0 * a + (1 - share_0) * b
            label += (1 - share_0) / size**2
    return mixed, label


@settings(max_examples=40)
@given(
    seed=st.integers(0, 999),
    lam=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
    patches=st.sampled_from([1, 2, 4, 8, 16]),
    q0=st.sampled_from(PERCENTILES) | st.just(1.0),
    q1=st.sampled_from(PERCENTILES) | st.just(1.0),
    strategy=st.sampled_from(list(STRATEGIES)),
)
def test_the_mix_is_the_printed_equations(seed, lam, patches, q0, q1, strategy):
    pair = random_pair(batch=2, seed=seed)
    params = RMixParams(lam, patches, q0, q1, strategy)
    trace = mix(pair, params)
    for item in range(2):
        mixed, label = slowly(pair, params, item)
        np.testing.assert_allclose(trace.mixed[item].numpy(), mixed, atol=1e-6)
        assert trace.lam_label[item].item() == pytest.approx(label, abs=1e-6)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 999),
    side=st.sampled_from([1, 2, 3, 4, 8]),
    q=st.floats(0, 1) | st.sampled_from([*PERCENTILES, 1.0]),
    ties=st.booleans(),
)
def test_quantile_is_numpy_s(seed, side, q, ties):
    maps = torch.rand(3, side, side, generator=torch.Generator().manual_seed(seed)).double()
    if ties:
        maps = (maps * 3).round()
    found = quantile(maps, q)
    np.testing.assert_allclose(found, [np.quantile(one.numpy(), q) for one in maps], atol=1e-12)
    per_item = torch.tensor([q, 0.0, 1.0], dtype=torch.float64)
    found = quantile(maps, per_item)
    assert found[1] == maps[1].min()
    assert found[2] == maps[2].max()


def test_so_many_patches_are_on_top():
    s0 = torch.arange(1.0, 17.0).view(1, 4, 4)
    for q in (*PERCENTILES, 1.0):
        trace = mix(pair_of(s0, s0.flip(2)), RMixParams(q0=q))
        assert trace.top_0.sum() == 16 - math.ceil(q * 15), q


def test_pooling_is_a_mean_that_sums_to_one():
    saliency = torch.arange(16.0).view(1, 4, 4)
    expected = torch.tensor([[[10.0, 18.0], [42.0, 50.0]]], dtype=torch.float64) / 120
    torch.testing.assert_close(pool(2, s0=saliency)[0].blocks, expected)
    assert torch.equal(pool(4, s0=saliency)[0].blocks, saliency.double() / 120)


# --- by hand: 4×4 patches of one pixel

A = torch.tensor([[[9.0, 8, 7, 6], [5, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 2]]])
B = torch.tensor([[[9.0, 8, 1, 1], [5, 1, 1, 1], [1, 1, 1, 1], [1, 1, 7, 6]]])
# With q = 11/15 the five largest are on top: A's first row and (1, 0); B's (0, 0), (0, 1), (1, 0)
# and the last two. Three are top in both, two in A alone, two in B alone, nine in neither.
Q = 11 / 15
CASE_MAP = [[3, 3, 2, 2], [3, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1]]


def test_the_label_worked_by_hand():
    trace = mix(pair_of(A, B), RMixParams(0.25, 4, Q, Q))
    assert trace.cases.tolist() == [CASE_MAP]
    assert trace.threshold_0.item() == pytest.approx(5 / 47)
    assert {name: share.item() for name, share in trace.label.items()} == {
        "top_top": 3 / 16,
        "top_0": 2 / 16,
        "top_1": 2 / 16,
        "least_least": 9 / 16,
    }
    assert {name: share.item() for name, share in trace.shares.items()} == {
        "top_top": 0.25,
        "top_0": 0.0,
        "top_1": 1.0,
        "least_least": 0.25,
    }
    # 12/16 · ¼ + 2/16
    assert trace.weights.tolist() == [[1 - 5 / 16, 5 / 16]]
    z = torch.tensor([[[0.25, 0.25, 0, 0], [0.25] * 4, [0.25] * 4, [0.25, 0.25, 1, 1]]])
    assert torch.equal(trace.z, z)
    assert torch.equal(trace.mask, z)


@pytest.mark.parametrize(
    ("strategy", "of_b"),
    [
        ("1", 11 / 16),  # all but A's five
        ("2", 4 / 16),  # where they differ
        ("3", 12 / 16 * 0.25 + 2 / 16),
        ("4", 12 / 16 * 0.25 + 2 / 16),
    ],
)
def test_strategies_by_hand(strategy, of_b):
    trace = mix(pair_of(A, B), RMixParams(0.25, 4, Q, Q, strategy))
    same = trace.top_0 == trace.top_1
    lam, one = torch.tensor(0.25), torch.tensor(1.0)
    m0, m1 = trace.top_0.float(), trace.top_1.float()
    expected = {
        "1": 1 - m0,
        "2": torch.where(same, 0 * one, one),
        "3": torch.where(same, lam, m1),
        "4": torch.where(same, lam, m0),
    }[strategy]
    assert torch.equal(trace.z, expected)
    assert trace.lam_label.item() == of_b


def test_the_cases_are_named_by_their_index():
    trace = mix(random_pair(), RMixParams())
    for index, name in enumerate(CASES):
        on_top = {"least_least": (0, 0), "top_1": (0, 1), "top_0": (1, 0), "top_top": (1, 1)}[name]
        where = (trace.top_0 == bool(on_top[0])) & (trace.top_1 == bool(on_top[1]))
        assert torch.equal(trace.cases == index, where)
        torch.testing.assert_close(trace.label[name], where.double().mean((1, 2)))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_label_equation_gives_the_weights(strategy):
    lam = torch.tensor([0.1, 0.5, 0.8])
    trace = mix(random_pair(), RMixParams(lam, 8, 0.33, 0.77, strategy))
    total = sum(trace.label[name] * trace.shares[name] for name in CASES)
    torch.testing.assert_close(total.float(), trace.lam_label)
    torch.testing.assert_close(sum(trace.label.values()), torch.ones(3, dtype=torch.float64))


# --- identities


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("patches", [1, 2, 4, 8])
def test_with_q_0_it_is_input_mixup(lam, patches):
    pair = random_pair(q0=torch.zeros(3), q1=torch.zeros(3))
    expected = METHODS["input_mixup"].mix(pair, InputMixupParams(lam))
    for found in (
        mix(pair, RMixParams(lam, patches, 0.0, 0.0)),
        METHODS["rl_mix"].mix(pair, RLMixParams(lam, patches)),
    ):
        assert torch.equal(found.mixed, expected.mixed)
        assert torch.equal(found.weights, expected.weights)


def test_saliency_has_no_scale():
    pair = random_pair()
    louder = Pair(pair.x0, pair.x1, pair.s0 * 1024, pair.s1 / 64)
    params = RMixParams(0.3, 8, 0.44, 0.66)
    assert torch.equal(mix(louder, params).mask, mix(pair, params).mask)


def test_rl_mix_takes_the_percentiles_of_the_pair():
    q0, q1 = torch.tensor([0.0, 0.44, 0.99]), torch.tensor([0.88, 0.11, 0.55])
    pair = random_pair(q0=q0, q1=q1)
    found = METHODS["rl_mix"].mix(pair, RLMixParams(0.3))
    expected = mix(pair, RMixParams(0.3, 8, q0, q1))
    assert torch.equal(found.mixed, expected.mixed)
    assert torch.equal(found.weights, expected.weights)
    assert found.z.shape == (3, 8, 8)


def test_rl_mix_refuses_percentiles_outside_their_range():
    pair = random_pair(q0=torch.tensor([0.0, 0.5, 1.2]), q1=torch.zeros(3))
    with pytest.raises(ValueError, match=r"q0 \(q₀\) must lie in \[0, 1\]"):
        METHODS["rl_mix"].mix(pair, RLMixParams())


# --- what is drawn, and what is refused


def test_percentiles_are_ten_from_0_to_99():
    np.testing.assert_allclose(PERCENTILES, np.linspace(0, 0.99, 10), atol=1e-12)
    drawn = [METHODS["r_mix"].draw(torch.Generator().manual_seed(k), 50, 1.0) for k in range(20)]
    for name in ("q0", "q1"):
        values = torch.cat([getattr(one, name) for one in drawn])
        assert sorted(set(values.tolist())) == list(PERCENTILES)
    assert {one.num_patches for one in drawn} == set(PATCHES)
    assert not torch.equal(drawn[0].q0, drawn[0].q1)


def test_patches_must_divide_the_picture():
    with pytest.raises(ValueError, match=r"^num_patches = 3 must divide .* got 16×16 pixels$"):
        mix(random_pair(), RMixParams(num_patches=3))


def test_saliency_must_not_be_negative_or_endless():
    pair = random_pair()
    pair.s1[1, 2, 3] = -200.0
    with pytest.raises(ValueError, match=r"^s1 must not be negative, got -200$"):
        mix(pair, RMixParams())
    pair = random_pair()
    pair.s0[:] = 3e38
    with pytest.raises(ValueError, match=r"^s0 is too large to be summed$"):
        mix(pair, RMixParams())


def test_flat_saliency_is_all_top_and_says_so():
    pair = random_pair()
    pair.s0[1] = 0.1
    trace = mix(pair, RMixParams())
    assert trace.top_0[1].all()
    assert trace.flags == {"flat_saliency_0": (1,)}
    # One patch is the same everywhere by itself: that says nothing about the saliency.
    assert mix(random_pair(), RMixParams(num_patches=1)).flags == {}
