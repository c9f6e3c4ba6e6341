"""Each detector fires on its own broken example, and none on the opening pair."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import mixviz
from mixviz import detectors, zoo
from mixviz.bench.sight import BUNDLED
from mixviz.core.pairing import PAIRING_FLAGS, pair_batch
from mixviz.core.saliency import explain, spectral_residual
from mixviz.core.types import Pair
from mixviz.detectors import CURES, DETECTORS, check, known_faults
from mixviz.methods import BATCH_METHODS, METHODS
from mixviz.methods.base import FLAGS
from mixviz.methods.batch import BATCH_FLAGS
from mixviz.methods.comixup import CoMixupParams
from mixviz.methods.cutmix import CutMixParams
from mixviz.methods.puzzle_mix import PuzzleMixParams
from mixviz.methods.r_mix import RMixParams
from mixviz.methods.snapmix import SnapMixParams
from mixviz.methods.variants import MAIN, VARIANTS
from mixviz.samples import load_sample, square_crop
from mixviz.ui.compute import to_tensor
from mixviz.zoo.layers import class_activation, features_at

SIZE = 224
# What a method means to be so, and says.
REMARKS = {"snapmix": {"label_sum"}, "manifold_mixup": {"mixed_inside"}}


@pytest.fixture(scope="module")
def classifier():
    return zoo.load(BUNDLED, torch.device("cpu"))


@pytest.fixture(scope="module")
def images():
    names = ("cat", "coffee", "rocket", "temple")
    return [to_tensor(square_crop(load_sample(name), SIZE)) for name in names]


@pytest.fixture(scope="module")
def opening(classifier, images):
    """The opening pair with all that any method reads, and what the classifier thinks of it."""
    seen = [explain(classifier, x) for x in images[:2]]
    filled = {"q0": torch.tensor([0.55]), "q1": torch.tensor([0.55])}
    for side, (x, one) in enumerate(zip(images[:2], seen, strict=True)):
        filled |= {
            f"x{side}": x,
            f"s{side}": one.saliency,
            f"y{side}": one.label,
            f"g{side}": one.gradient,
            f"c{side}": class_activation(classifier, x, one.label),
            f"f{side}": features_at(classifier, 2, x),
        }
    return Pair(**filled), (seen[0].logits, seen[1].logits)


def names(findings):
    return {one.name for one in findings}


# --- silence


@pytest.mark.parametrize("slug", VARIANTS)
def test_nothing_is_wrong_with_the_opening_pair(opening, slug):
    variant, (pair, logits) = VARIANTS[slug], opening
    if variant.source == "spectral":
        pair = replace(pair, s0=spectral_residual(pair.x0), s1=spectral_residual(pair.x1))
    pair = replace(pair, x0=variant.inputs(pair.x0, 0), x1=variant.inputs(pair.x1, 0))
    params = variant.params(0.5, 0, SIZE // 8)
    trace = variant.method.mix(pair, params)
    found = check(trace, pair, params, variant.method, logits)
    assert names(found) == REMARKS.get(slug, set())
    assert all(one.remark for one in found)
    # Who is told less says no more.
    for told in ((), (pair,), (None, params), (None, None, variant.method)):
        assert names(check(trace, *told)) <= names(found)


def test_every_main_variant_is_looked_at():
    assert set(MAIN) <= set(VARIANTS)
    assert set(REMARKS) <= set(VARIANTS)


def test_a_batch_and_a_pairing_without_fault_are_left_alone(classifier, images):
    batch = torch.cat(images)
    seen = explain(classifier, batch)
    method, params = BATCH_METHODS["comixup"], CoMixupParams()
    trace = method.mix(batch, seen.saliency, params)
    assert check(trace, None, params, method, seen.logits) == ()
    assert check(pair_batch(seen.saliency)) == ()


# --- what is broken, one example for each detector


def puzzle(pair, **changes):
    """Mix by Puzzle Mix, where blocks move; return what `check` takes."""
    params = PuzzleMixParams(**{"xi": 0.005, **changes})
    return METHODS["puzzle_mix"].mix(pair, params), pair, params, METHODS["puzzle_mix"]


def tampered(pair, **changes):
    """Say of a sound trace of CutMix, λ ½ in the middle, that some of it was otherwise."""
    method, params = METHODS["cutmix"], CutMixParams()
    return replace(method.mix(pair, params), **changes), pair, params, method


def broken_saliency(pair, logits):
    s0 = pair.s0.clone()
    s0[0, 3, 4] = torch.nan
    return *puzzle(pair)[:1], replace(pair, s0=s0)


def border_saliency(pair, logits):
    s1 = torch.ones_like(pair.s1)
    s1[:, 10:-10, 10:-10] = 1e-3
    return puzzle(replace(pair, s1=s1))


def checkerboard(pair):
    places = torch.arange(8)
    return ((places[:, None] + places) % 2)[None].float()


def checkerboard_mask(pair, logits):
    trace, *rest = puzzle(pair)
    return replace(trace, z=checkerboard(pair)), *rest


def label_and_lam(pair, logits):
    method = METHODS["input_mixup"]
    params = method.params(lam=0.3)
    trace = replace(method.mix(pair, params), weights=torch.tensor([[0.6, 0.4]]))
    return trace, None, params, method


def label_of_one(pair, logits):
    method = METHODS["cutout"]
    trace = method.mix(pair, method.params())
    return replace(trace, weights=torch.tensor([[0.75, 0.25]])), None, None, method


def worse_than_still(pair, logits):
    # One salient block wants the only visible place; whom it evicts has to travel far.
    rng = torch.Generator().manual_seed(3)
    s = torch.rand(2, 30, 32, 32, generator=rng) ** 6
    x = torch.rand(2, 30, 3, 32, 32, generator=rng)
    return puzzle(Pair(x[0], x[1], s[0], s[1]), xi=0.05, transport_solver="paper")


BROKEN = {
    "broken_saliency": broken_saliency,
    "flat_saliency": lambda pair, logits: (
        puzzle(pair)[0],
        replace(pair, s1=torch.ones_like(pair.s1)),
    ),
    "border_saliency": border_saliency,
    "outside_range": lambda pair, logits: puzzle(replace(pair, x0=pair.x0 * 4 - 2)),
    "same_picture": lambda pair, logits: puzzle(replace(pair, x1=pair.x0)),
    "same_class": lambda pair, logits: puzzle(replace(pair, y1=pair.y0)),
    "collapsed_mask": lambda pair, logits: puzzle(pair, beta=500.0, gamma=0.0, eta=0.0, levels=1),
    "checkerboard_mask": checkerboard_mask,
    "label_and_lam": label_and_lam,
    "label_of_one": label_of_one,
    "label_and_mask": lambda pair, logits: tampered(pair, weights=torch.tensor([[0.9, 0.1]])),
    "label_sum": lambda pair, logits: tampered(pair, weights=torch.tensor([[0.8, 0.5]])),
    "worse_than_still": worse_than_still,
    "nothing_moves": lambda pair, logits: puzzle(pair, xi=3.0),
    "unsure_classifier": lambda pair, logits: (
        *puzzle(pair),
        (logits[0], torch.zeros_like(logits[1])),
    ),
    "broken_mix": lambda pair, logits: tampered(pair, mixed=pair.x0 / 0),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_detector_fires_on_its_own_broken_example(opening, name):
    trace, *rest = BROKEN[name](*opening)
    found = [one for one in check(trace, *rest) if one.name.startswith(name)]
    assert len(found) == 1, f"{name} is not found"
    assert found[0].items
    assert min(map(len, (found[0].cause, found[0].remedy))) > 10
    # It is this detector that found it.
    case = detectors.Case(trace, *rest)
    assert list(DETECTORS[name].find(case))


def test_there_is_an_example_for_every_detector():
    assert {*BROKEN, "flags"} == set(DETECTORS)


@pytest.mark.parametrize("name", CURES)
def test_each_flag_is_a_finding_in_its_own_words(name):
    words = {**FLAGS, **BATCH_FLAGS, **PAIRING_FLAGS}
    (found,) = check(SimpleNamespace(flags={name: (1, 4)}))
    assert (found.name, found.items, found.cause) == (name, (1, 4), words[name])
    assert found.remedy.endswith(".")


def test_every_flag_has_a_cure():
    assert set(CURES) == {*FLAGS, *BATCH_FLAGS, *PAIRING_FLAGS}


def test_a_flag_of_a_method_that_is_not_on_the_menu_is_still_told():
    (found,) = check(SimpleNamespace(flags={"odd": (0,)}))
    assert "odd" in found.cause


# --- what the sentences say


def test_a_label_too_far_from_lam_is_told_worst_first():
    rng = torch.Generator().manual_seed(0)
    x, s = torch.rand(2, 3, 3, 32, 32, generator=rng), torch.rand(2, 3, 32, 32, generator=rng)
    pair = Pair(x[0], x[1], s[0], s[1])
    asked = torch.tensor([0.9, 0.5, 1.0], dtype=torch.float64)
    trace, *rest = puzzle(pair, lam=asked, eta=1e-6, beta=0.0, transport=False)
    off = (trace.lam_label.double() - asked).abs()
    assert (off > 0.25).tolist() == [True, False, False]
    changed = replace(trace, weights=torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.7, 0.3]]))
    (found,) = [one for one in check(changed, *rest) if one.name == "label_and_lam"]
    assert found.items == (2, 0)
    assert found.cause == "The label given to B is 0.30, far from the 1.00 asked."
    assert found.remedy == "Raise η: it is what encourages the label."
    # Without η nothing is encouraged, and each item has sentences of its own.
    free = (changed, pair, PuzzleMixParams(lam=asked, eta=0.0))
    assert "label_and_lam" not in names(check(*free))
    each = detectors.examine(detectors.Case(changed, *rest))
    assert [one.items for one in each if one.name == "label_and_lam"] == [(2,), (0,)]


def test_a_collapsed_mask_is_not_told_twice(opening):
    found = names(check(*puzzle(opening[0], beta=500.0, gamma=0.0, eta=1e-6, levels=1)))
    assert "collapsed_mask" in found
    assert "label_and_lam" not in found
    alone = puzzle(opening[0], lam=0.0)
    assert names(check(*alone)) == set(), "λ = 0 asks for one picture"


def test_the_price_at_which_blocks_move_is_a_setting(opening):
    (found,) = check(*puzzle(opening[0], xi=3.0))
    name, xi = found.setting
    assert name == "xi"
    assert f"{xi:.2g}" in found.remedy
    assert check(*puzzle(opening[0], xi=xi)) == ()
    assert names(check(*puzzle(opening[0], xi=1.2 * xi))) == {"nothing_moves"}
    assert check(*puzzle(opening[0], xi=3.0, transport=False)) == ()
    many = {key: torch.cat([value] * 3) for key, value in vars(opening[0]).items()}
    (found,) = check(*puzzle(Pair(**many), xi=3.0))
    assert found.items == (0, 1, 2)


def test_exact_transport_is_never_worse_than_none(opening):
    trace, pair, params, _ = worse_than_still(*opening)
    assert "worse_than_still" not in names(
        check(*puzzle(pair, xi=params.xi, transport_solver="exact"))
    )
    steps = dict(trace.ladder)
    worse = [
        item
        for item in range(30)
        if sum(steps["move"][name][item] for name in ("saliency_0", "saliency_1", "transport"))
        > sum(steps["mask"][name][item] for name in ("saliency_0", "saliency_1", "transport"))
    ]
    (found,) = [one for one in check(trace) if one.name == "worse_than_still"]
    assert list(found.items) == worse


def test_a_sum_below_one_is_a_remark_only_where_it_is_meant(opening):
    pair = opening[0]
    trace = METHODS["snapmix"].mix(pair, SnapMixParams())
    for method in (None, METHODS["snapmix"]):
        (found,) = check(trace, None, None, method)
        assert (found.name, found.remark) == ("label_sum", True)
    (found,) = [one for one in check(*BROKEN["label_sum"](*opening)) if one.name == "label_sum"]
    assert not found.remark


def test_boxes_and_patches_keep_their_own_contract(opening):
    pair = opening[0]
    # Clipped in a corner, the box is a quarter of what λ asks for; the label follows the box.
    params = CutMixParams(0.5, 0.0, 0.0)
    trace = METHODS["cutmix"].mix(pair, params)
    assert float(trace.lam_label) < 0.25
    assert check(trace, pair, params, METHODS["cutmix"]) == ()
    uncorrected = replace(trace, weights=torch.tensor([[0.5, 0.5]]))
    (found,) = check(uncorrected)
    assert found.name == "label_and_mask"
    assert "0.50" in found.cause
    board = RMixParams(num_patches=8)
    odd = replace(METHODS["r_mix"].mix(pair, board), z=checkerboard(pair))
    assert "patches" in next(
        one.remedy for one in check(odd, None, board) if one.name == "checkerboard_mask"
    )


def test_half_the_neighbours_differing_is_no_checkerboard(opening):
    rng = torch.Generator().manual_seed(0)
    for grid in (4, 8, 16):
        trace, *rest = puzzle(opening[0], grid=grid)
        for _ in range(50):
            noise = torch.randint(2, (1, grid, grid), generator=rng).float()
            assert "checkerboard_mask" not in names(check(replace(trace, z=noise), *rest))


def test_only_what_a_method_reads_is_looked_at(opening):
    nothing = torch.zeros_like(opening[0].s0)
    pair = replace(opening[0], s0=nothing, s1=nothing)
    params = CutMixParams()
    assert check(METHODS["cutmix"].mix(pair, params), pair, params, METHODS["cutmix"]) == ()
    saliencymix = METHODS["saliencymix"]
    trace = saliencymix.mix(pair, saliencymix.params())
    found = check(trace, pair, saliencymix.params(), saliencymix)
    # Both the method and the detector see it; it is told once.
    assert [one.name for one in found] == ["flat_saliency_1"]


def test_a_batch_is_looked_at_too(classifier, images):
    batch = torch.cat(images[:3])
    saliency = torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    method = BATCH_METHODS["comixup"]
    trace = method.mix(batch, saliency, CoMixupParams())
    wrong = replace(trace, labels=trace.labels * 2, mixed=trace.mixed * 3, flags={})
    assert names(check(wrong)) == {"label_sum", "outside_range"}
    flat = method.mix(batch, torch.ones_like(saliency), CoMixupParams())
    assert {"flat_saliency", "identical_inputs"} <= names(check(flat))
    (found,) = check(trace, logits=torch.zeros(3, 200))
    assert (found.name, found.items) == ("unsure_classifier", (0, 1, 2))


def test_self_pairs_and_two_cycles_are_told_of_a_pairing():
    maps = torch.rand(6, 8, 8, generator=torch.Generator().manual_seed(0))
    told = set()
    for seed in range(8):
        pairing = pair_batch(maps, "random", seed)
        found = {one.name: one.items for one in check(pairing)}
        partner = pairing.partner.tolist()
        assert found.get("self_pair", ()) == tuple(i for i in range(6) if partner[i] == i)
        assert found.get("two_cycle", ()) == tuple(
            i for i in range(6) if partner[partner[i]] == i and partner[i] != i
        )
        told |= set(found)
    assert told == {"self_pair", "two_cycle"}


def test_a_finding_is_one_line(opening):
    (found,) = check(*puzzle(opening[0], xi=3.0))
    assert str(found).startswith("transport, item 0: At ξ 3 nothing moves. The largest ξ")
    many = replace(found, items=tuple(range(12)))
    assert "items 0, 1, 2, 3, 4, 5, 6, 7 and 4 more:" in str(many)


# --- the package


def test_importing_mixviz_is_light_and_check_is_at_hand():
    code = (
        "import sys, mixviz; assert 'torch' not in sys.modules; "
        "check = mixviz.check; assert 'torch' in sys.modules; "
        "from mixviz.detectors import check as same; assert check is same"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(mixviz.__file__).parents[1])
    with pytest.raises(AttributeError, match="no attribute 'chek'"):
        _ = mixviz.chek


def test_what_is_known_is_listed():
    known = known_faults()
    assert {*DETECTORS, *CURES} == set(known)
    assert all(known.values())
