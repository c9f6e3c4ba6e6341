"""Every variant on one pair: what it is made of, and the numbers it is judged by."""

import dataclasses

import pytest
import torch

from mixviz.core.measure import measure
from mixviz.core.types import Pair
from mixviz.methods import METHODS
from mixviz.methods.variants import GROUPS, MAIN, VARIANTS, as_they_are
from mixviz.spec import Params

SIZE = 32
every_variant = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)


def make_pair(seed=0):
    rng = torch.Generator().manual_seed(seed)
    images = [torch.rand((1, 3, SIZE, SIZE), generator=rng) for _ in "01"]
    maps = [torch.rand((1, SIZE, SIZE), generator=rng) ** 3 for _ in "0011"]
    features = [torch.rand((1, 4, 8, 8), generator=rng) for _ in "01"]
    return Pair(
        *images,
        maps[0],
        maps[1],
        y0=torch.tensor([1]),
        y1=torch.tensor([2]),
        g0=torch.randn((1, 3, SIZE, SIZE), generator=rng),
        g1=torch.randn((1, 3, SIZE, SIZE), generator=rng),
        c0=maps[2],
        c1=maps[3],
        f0=features[0],
        f1=features[1],
        q0=torch.tensor([0.33]),
        q1=torch.tensor([0.66]),
    )


def test_every_method_can_be_compared():
    assert {variant.method.slug for variant in VARIANTS.values()} == set(METHODS)
    assert {variant.group for variant in VARIANTS.values()} == set(GROUPS)
    assert set(MAIN) < set(VARIANTS)
    assert {VARIANTS[slug].method.slug for slug in MAIN} == set(METHODS)


@every_variant
def test_the_same_seed_gives_the_same_parameters(variant):
    assert variant.params(0.4, 7, 4) == variant.params(0.4, 7, 4)
    assert isinstance(variant.params(0.4, 7, 4), Params)
    hash(variant.params(0.4, 7, 4))  # a key of memories


@every_variant
def test_another_seed_changes_what_is_drawn_and_nothing_else(variant):
    one, other = (dataclasses.asdict(variant.params(0.4, seed, 4)) for seed in (3, 4))
    changed = {name for name, value in one.items() if value != other[name]}
    assert changed <= set(variant.drawn)
    assert bool(changed) == bool(variant.drawn)


@every_variant
def test_lambda_is_asked_of_whoever_asks_for_it(variant):
    one, other = (dataclasses.asdict(variant.params(lam, 3, 4)) for lam in (0.2, 0.6))
    changed = {name for name, value in one.items() if value != other[name]}
    assert changed == {name for name in one if name.startswith("lam")}
    assert all(one[name] == 0.2 for name in changed)


@every_variant
def test_what_is_fixed_stays(variant):
    params = variant.params(0.4, 5, 4)
    assert {name: getattr(params, name) for name in variant.fixed} == dict(variant.fixed)


@every_variant
def test_inputs_are_decided_by_the_seed(variant):
    images = make_pair().x0
    once, again, other = (variant.inputs(images, seed) for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert torch.equal(once, images) == (variant.inputs is as_they_are)
    assert torch.equal(once, other) == (variant.inputs is as_they_are)


@every_variant
def test_no_method_shows_more_saliency_than_there_is(variant):
    pair = make_pair()
    trace = variant.method.mix(pair, variant.params(0.4, 7, SIZE // 8))
    maps = [m / m.sum() for m in (pair.s0, pair.s1)]
    shown = variant.method.seen(trace, *maps)
    measures = measure(
        trace.mixed,
        shown,
        trace.weights,
        torch.randn(1, 10),
        torch.stack((pair.y0, pair.y1), 1),
    )
    for exposed in (measures.exposed_0, measures.exposed_1):
        assert -1e-6 <= float(exposed) <= 1 + 1e-6
    assert float(measures.exposed) == pytest.approx(float(measures.exposed_0 + measures.exposed_1))


@pytest.mark.parametrize(
    ("slug", "shown"),
    [
        ("input_mixup", lambda p, t: (p.s0 * 0.6, p.s1 * 0.4)),
        ("cutmix", lambda p, t: (p.s0 * (t.mask == 0), p.s1 * (t.mask == 1))),
        ("cutout", lambda p, t: (p.s0 * (1 - t.hidden), 0 * p.s1)),
        ("augmix", lambda p, t: (p.s0, 0 * p.s1)),
        ("snapmix", lambda p, t: (p.s0 * (1 - t.inside_0), p.s1 * t.inside_1)),
    ],
)
def test_what_is_still_seen_by_hand(slug, shown):
    pair, variant = make_pair(), VARIANTS[slug]
    trace = variant.method.mix(pair, variant.params(0.4, 7, 4))
    for ours, theirs in zip(
        variant.method.seen(trace, pair.s0, pair.s1), shown(pair, trace), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_maps_move_as_the_blocks_of_puzzle_mix_do():
    """Carried along as a picture, a map ends where the picture's pixels do."""
    pair, variant = make_pair(), VARIANTS["puzzle_mix"]
    params = dataclasses.replace(variant.params(0.5, 0, 4), xi=0.0, beta=0.1)
    trace = variant.method.mix(pair, params)
    assert not torch.equal(trace.source_1, torch.arange(64)[None])
    maps = [m[:, None].expand(-1, 3, -1, -1) for m in (pair.s0, pair.s1)]
    side = SIZE // 8
    for k, (map_, source) in enumerate(zip(maps, (trace.source_0, trace.source_1), strict=True)):
        moved = torch.empty_like(map_)
        for place, block in enumerate(source[0].tolist()):
            rows, columns = (slice(i * side, (i + 1) * side) for i in divmod(place, 8))
            r, c = divmod(block, 8)
            moved[:, :, rows, columns] = map_[
                :, :, r * side : (r + 1) * side, c * side : (c + 1) * side
            ]
        share = trace.mask if k else 1 - trace.mask
        seen = variant.method.seen(trace, pair.s0, pair.s1)[k]
        torch.testing.assert_close(seen, moved[:, 0] * share)
