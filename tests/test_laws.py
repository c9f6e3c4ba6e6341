"""The laws that mixing obeys, over the whole menu: a new method is covered by being listed."""

import dataclasses
import importlib
import math
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from hypothesis import Phase, assume, given, reject, settings
from hypothesis import strategies as st
from torch import Tensor

import mixviz.methods
from mixviz.core.types import Pair
from mixviz.methods import BATCH_METHODS, METHODS
from mixviz.methods.base import FLAGS, Contract, Law, Method, MixTrace, draw
from mixviz.methods.batch import BatchMethod
from mixviz.methods.input_mixup import InputMixupParams
from mixviz.spec import Choice, Knob, Panel, Switch, notes, validate

SIZE = 16
BATCH = 3
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
SHAPES = {"x": (3, SIZE, SIZE), "g": (3, SIZE, SIZE), "f": (5, 4, 4), "q": ()}
PAIR_FIELDS = [field.name for field in dataclasses.fields(Pair)]

every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
seeds = st.integers(0, 2**16)
# Made smaller, a failing example would take minutes: it mixes again and again.
few = settings(max_examples=25, deadline=None, derandomize=True, phases=[Phase.generate])


# --- pairs and parameters, from the notes


def make_pair(method, batch=1, seed=0, dtype=torch.float32):
    """Fill what the method says it needs; the rest is missing, or NaN where it cannot be."""
    rng = torch.Generator().manual_seed(seed)
    filled = {}
    for name in PAIR_FIELDS:
        kind, needed = name[0], name in method.needs
        shape = (batch, *SHAPES.get(kind, (SIZE, SIZE)))
        if kind == "y":
            value = torch.randint(10, (batch,), generator=rng) if needed else None
        elif kind == "x":
            value = torch.rand(shape, generator=rng, dtype=dtype)
        elif kind in "gf":
            value = torch.randn(shape, generator=rng, dtype=dtype) if needed else None
        elif needed:
            value = torch.rand(shape, generator=rng, dtype=dtype) ** 3
        else:
            value = torch.full(shape, math.nan, dtype=dtype) if kind == "s" else None
        filled[name] = value
    return Pair(**filled)


def change_tensors(pair, change):
    values = {name: getattr(pair, name) for name in PAIR_FIELDS}
    return Pair(**{name: v if v is None else change(v) for name, v in values.items()})


def questions(method):
    return notes(method.params, Knob, Choice, Switch)


def values(note):
    """Return what a note allows, the slider's stops among it."""
    if isinstance(note, Switch):
        return st.booleans()
    if isinstance(note, Choice):
        return st.sampled_from(list(note.options))
    low, high = note.valid[0], min(note.valid[1], max(note.stops))
    if note.integer:
        return st.sampled_from([int(s) for s in note.stops]) | st.integers(int(low), int(high))
    return st.sampled_from(note.stops) | st.floats(low, high)


def is_allowed(method, name, value):
    """Ask the parameters themselves: not every rule is an interval, such as "odd"."""
    try:
        return bool(method.params(**{name: value}))
    except ValueError:
        return False


def answers(method):
    """Return one strategy per parameter: its default, or anything allowed."""
    defaults = method.params()
    return {
        name: st.just(getattr(defaults, name))
        | values(note).filter(partial(is_allowed, method, name))
        for name, note in questions(method).items()
    }


def parameters(method):
    return st.builds(method.params, **answers(method))


def takes_tensor(method, name):
    return Tensor in get_args(get_type_hints(method.params)[name])


def mix(method, pair, params):
    """Mix; parameters that do not fit the size of the picture are not what a law is about."""
    try:
        return method.mix(pair, params)
    except ValueError as refusal:
        if "divide" in str(refusal):
            reject()
        raise


def attempt(method, pair, params):
    """Return the trace, or None and the sentence of the refusal."""
    try:
        return method.mix(pair, params), ""
    except ValueError as refusal:
        return None, str(refusal)


def tuned(method):
    """Return the parameters that pages open with: defaults and presets."""
    presets = [preset(SIZE // 8) for preset in method.presets.values()]
    return [method.params(), *presets]


def is_same(a, b):
    """Compare everything but the clock, bit for bit."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if dataclasses.is_dataclass(a):
        names = [field.name for field in dataclasses.fields(a) if field.name != "seconds"]
        return type(a) is type(b) and all(is_same(getattr(a, n), getattr(b, n)) for n in names)
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(is_same(a[name], b[name]) for name in a)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(is_same, a, b))
    return a == b


# --- the menu


def test_every_module_is_on_a_menu():
    found = {module.name for module in pkgutil.iter_modules(mixviz.methods.__path__)}
    names = sorted(found - {"base", "batch", "variants"})
    methods = [importlib.import_module(f"mixviz.methods.{name}").METHOD for name in names]
    assert {method.slug for method in methods} == {*METHODS, *BATCH_METHODS}
    for menu, kind in ((METHODS, Method), (BATCH_METHODS, BatchMethod)):
        for slug, method in menu.items():
            assert isinstance(method, kind)
            assert slug == method.slug
            assert any(method is other for other in methods)


@every_method
def test_a_method_describes_itself(method):
    assert re.fullmatch(r"[a-z][a-z0-9_]*", method.slug)
    assert method.paper.startswith("https://arxiv.org/abs/")
    assert method.summary.endswith(".")
    assert method.contract in get_args(Contract)
    assert set(method.needs) <= set(PAIR_FIELDS) - {"x0", "x1"}
    fields = [field.name for field in dataclasses.fields(method.params)]
    assert fields == list(questions(method)), "a parameter without a note is not asked for"


@every_method
def test_sliders_stop_only_where_the_mathematics_holds(method):
    for name, note in notes(method.params, Knob).items():
        assert list(note.stops) == sorted(set(note.stops)), name
        assert [validate(note, stop) for stop in note.stops] == [None] * len(note.stops), name
        assert note.paper is None or note.paper in note.stops, name
        for opened in (method.params(), *(make(28) for make in method.presets.values())):
            assert getattr(opened, name) in note.stops, f"{name} opens between two stops"


@every_method
@pytest.mark.parametrize("block", [1, 2, 7, 28])
def test_presets_are_parameters(method, block):
    for preset in method.presets.values():
        assert isinstance(preset(block), method.params)
    first = next(iter(method.presets.values()), lambda block: method.params())
    assert method.opening(block) == first(block)


def check_without_types(params, **changes):
    """Check as a running app does: only tests have types looked at before the values."""
    for name, value in changes.items():
        object.__setattr__(params, name, value)
    params.__post_init__()


@every_method
def test_parameters_refuse_what_the_mathematics_excludes(method):
    who = method.params.__name__
    for name, note in questions(method).items():
        if isinstance(note, Choice):
            bad = {"no such": f"must be one of {', '.join(note.options)}"}
        elif isinstance(note, Switch):
            bad = {"yes": "must be True or False", 1: "must be True or False"}
        else:
            low, high = note.valid
            lie = f"must lie in [{low:g}, {high:g}{']' if high < math.inf else ')'}"
            bad = {low - 1: lie, math.nan: lie, math.inf: lie, "1": "must be a number"}
            bad |= {high * 1.5: lie} if high < math.inf else {}
            bad |= {low + 0.5: "must be a whole number"} if note.integer else {}
        symbol = f" ({note.symbol})" if isinstance(note, Knob) else ""
        for value, problem in bad.items():
            message = f"{who}.{name}{symbol} {problem}, got {value!r}"
            with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
                check_without_types(method.params(), **{name: value})
        if isinstance(note, Knob) and takes_tensor(method, name):
            with pytest.raises(ValueError, match=re.escape(f"{who}.{name}{symbol} must lie in")):
                method.params(**{name: torch.tensor([note.stops[0], math.nan])})


def test_the_message_reads_as_a_sentence():
    with pytest.raises(ValueError, match=r"^InputMixupParams") as refusal:
        METHODS["input_mixup"].params(lam=1.5)
    assert str(refusal.value) == "InputMixupParams.lam (λ) must lie in [0, 1], got 1.5"


# --- laws of every method


@every_method
@few
@given(data=st.data())
def test_a_trace_is_a_picture_a_mask_and_weights(method, data):
    pair = make_pair(method, BATCH, data.draw(seeds))
    trace = mix(method, pair, data.draw(parameters(method)))
    assert isinstance(trace, MixTrace)
    assert trace.mixed.shape == pair.x0.shape
    assert trace.mask.shape == (BATCH, SIZE, SIZE)
    assert trace.weights.shape == (BATCH, 2)
    for values_ in (trace.mixed, trace.mask, trace.weights):
        assert values_.min() >= -1e-6
        assert values_.max() <= 1 + 1e-6
    assert torch.equal(trace.lam_label, trace.weights[:, 1])
    assert set(trace.flags) <= set(FLAGS)
    assert not [name for name in notes(type(trace), Panel) if getattr(trace, name) is None]


@every_method
@few
@given(data=st.data())
def test_a_batch_equals_its_items(method, data):
    pair = make_pair(method, BATCH, data.draw(seeds), data.draw(st.sampled_from(DTYPES)))
    together, alone = {}, [{} for _ in range(BATCH)]
    for name, strategy in answers(method).items():
        if takes_tensor(method, name) and data.draw(st.booleans()):
            drawn = [data.draw(strategy) for _ in range(BATCH)]
            whole = all(isinstance(value, int) for value in drawn)
            together[name] = torch.tensor(drawn, dtype=torch.int64 if whole else torch.float64)
        else:
            together[name] = data.draw(strategy)
            drawn = [together[name]] * BATCH
        for item, value in zip(alone, drawn, strict=True):
            item[name] = value
    batch = mix(method, pair, method.params(**together))
    for k in range(BATCH):
        one = change_tensors(pair, lambda v, k=k: v[k : k + 1])
        single = mix(method, one, method.params(**alone[k]))
        for field in dataclasses.fields(single):
            ours, theirs = getattr(batch, field.name), getattr(single, field.name)
            if isinstance(ours, Tensor):
                assert torch.equal(ours[k], theirs[0]), field.name
            elif isinstance(ours, dict) and all(isinstance(v, Tensor) for v in ours.values()):
                for term in ours:  # sums, whose order may follow the size of the batch
                    torch.testing.assert_close(ours[term][k], theirs[term][0], rtol=0, atol=1e-12)
        flagged = {name for name, items in batch.flags.items() if k in items}
        assert flagged == set(single.flags)


DTYPES = [torch.float32, torch.float64]


@every_method
@few
@given(data=st.data())
def test_inputs_stay_and_the_same_parameters_give_the_same_trace(method, data):
    pair = make_pair(method, 2, data.draw(seeds))
    params = data.draw(parameters(method))
    before = change_tensors(pair, Tensor.clone)
    first = mix(method, pair, params)
    frozen = [getattr(first, name).clone() for name in ("mixed", "mask", "weights")]
    second = mix(method, pair, params)
    assert is_same(first, second)
    for name in PAIR_FIELDS:
        old, new = getattr(before, name), getattr(pair, name)
        assert old is new is None or torch.equal(old.nan_to_num(-1), new.nan_to_num(-1)), name
    first.mixed.zero_()
    assert torch.equal(pair.x0, before.x0), "the mix is a view of an input"
    assert torch.equal(pair.x1, before.x1), "the mix is a view of an input"
    assert all(
        torch.equal(old, getattr(second, name))
        for old, name in zip(frozen, ("mixed", "mask", "weights"), strict=True)
    )


@every_method
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("device", DEVICES)
def test_dtype_and_device_are_kept(method, dtype, device):
    pair = change_tensors(make_pair(method, 2, dtype=dtype), lambda v: v.to(device))
    for params in tuned(method):
        trace = method.mix(pair, params)
        for values_ in (trace.mixed, trace.mask, trace.weights):
            assert values_.dtype == dtype
            assert values_.device.type == device


@every_method
def test_a_slider_s_two_ends_are_mixed_or_refused_in_a_sentence(method):
    pair = make_pair(method)
    for name, note in notes(method.params, Knob).items():
        for stop in (note.stops[0], note.stops[-1]):
            params = method.params(**{name: int(stop) if note.integer else stop})
            trace, refusal = attempt(method, pair, params)
            if trace:
                assert trace.mixed.isfinite().all()
            else:
                assert str(getattr(params, name)) in refusal


@every_method
@few
@given(data=st.data())
def test_weights_keep_the_contract(method, data):
    pair = make_pair(method, 2, data.draw(seeds))
    params = data.draw(parameters(method))
    trace = mix(method, pair, params)
    if method.contract == "exact":
        lam = torch.tensor([params.lam] * 2)
        torch.testing.assert_close(trace.weights, torch.stack((1 - lam, lam), 1))
    elif method.contract == "single":
        assert torch.equal(trace.weights, torch.tensor([[1.0, 0.0]] * 2))
        assert torch.equal(trace.mask, torch.zeros_like(trace.mask))
        nothing = replace(pair, x1=torch.full_like(pair.x1, math.nan))
        assert torch.equal(method.mix(nothing, params).mixed, trace.mixed), "B took part"
    elif method.contract == "independent":
        assert "lam" not in questions(method)
    else:
        assert any(name.startswith("lam") for name in questions(method))


@every_method
def test_what_is_missing_is_named(method):
    pair = make_pair(method, 2)
    for name in set(method.needs) - {"s0", "s1", "g0", "g1"}:
        with pytest.raises(ValueError, match=rf"Pair\.{name} is missing"):
            method.mix(replace(pair, **{name: None}), method.params())


@every_method
def test_drawn_parameters_mix_and_follow_the_generator(method):
    pair = make_pair(method, BATCH)
    for seed in range(4):
        drawn = [draw(method, torch.Generator().manual_seed(seed), BATCH) for _ in range(2)]
        assert is_same(*drawn)
        assert method.mix(pair, drawn[0]).mixed.isfinite().all()
        if any(takes_tensor(method, name) for name in questions(method)):
            other = draw(method, torch.Generator().manual_seed(seed + 100), BATCH)
            assert not is_same(other, drawn[0])


def read_by(method, pair):
    """Return parameters that read different parts of a pair: defaults, and each slider's ends."""
    stops = {name: (n.stops[0], n.stops[-1]) for name, n in notes(method.params, Knob).items()}
    for name, ends in stops.items():
        for end in ends:
            params = method.params(**{name: int(end) if questions(method)[name].integer else end})
            trace, refusal = attempt(method, pair, params)
            assert trace or "divide" in refusal
            if trace:
                yield params, trace


@every_method
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=str)
def test_nothing_plausible_comes_of_nan(method, bad):
    pair = make_pair(method, 2)
    known = list(read_by(method, pair))
    images = ("x0",) if method.contract == "single" else ("x0", "x1")
    for name in (*images, *(need for need in method.needs if need[0] != "y")):
        spoilt = getattr(pair, name).clone()
        spoilt[(1,) + (2,) * (spoilt.ndim - 1)] = bad
        refusals = 0
        for params, clean in known:
            trace, refusal = attempt(method, replace(pair, **{name: spoilt}), params)
            if trace:
                assert is_same(trace, clean), f"{name} was read and not refused"
            else:
                refusals += 1
                assert re.search(rf"\b{name} must be finite", refusal), refusal
        assert refusals, f"{method.slug} says it needs {name} and never reads it"


@every_method
@pytest.mark.parametrize("level", [0.0, 0.1, 7.0])
@pytest.mark.parametrize("which", [0, 1])
def test_flat_saliency_is_uniform_and_says_so(method, which, level):
    name = f"s{which}"
    if name not in method.needs:
        trace = method.mix(make_pair(method, 2), method.params())
        assert f"flat_saliency_{which}" not in trace.flags
        return
    pair = make_pair(method, 2)
    for params in tuned(method):
        assert f"flat_saliency_{which}" not in method.mix(pair, params).flags
        traces = []
        for value in (level, 1.0):
            saliency = getattr(pair, name).clone()
            saliency[1] = value
            traces.append(method.mix(replace(pair, **{name: saliency}), params))
        assert traces[0].flags[f"flat_saliency_{which}"] == (1,)
        torch.testing.assert_close(traces[0].mixed, traces[1].mixed)
        torch.testing.assert_close(traces[0].weights, traces[1].weights)


# --- laws that a method declares


def weights_are_mask_means(method, draw):
    trace = mix(method, make_pair(method, BATCH, draw(seeds)), draw(parameters(method)))
    share = trace.mask.double().mean((1, 2)).float()
    torch.testing.assert_close(trace.weights, torch.stack((1 - share, share), 1))


def self_mix(method, draw):
    pair = make_pair(method, 2, draw(seeds))
    sides = {name: "1" if name[0] + "1" in method.needs else "0" for name in PAIR_FIELDS}
    pair = Pair(**{name: getattr(pair, name[0] + side) for name, side in sides.items()})
    changes = {"lam": draw(answers(method)["lam"])} if "lam" in questions(method) else {}
    mixed = method.mix(pair, replace(method.params(), **changes)).mixed
    torch.testing.assert_close(mixed, pair.x0)


def endpoints(method, draw):
    pair = make_pair(method, 2, draw(seeds))
    params = draw(st.sampled_from(tuned(method)))
    for lam, image in ((0.0, pair.x0), (1.0, pair.x1)):
        trace = method.mix(pair, replace(params, lam=lam))
        assert torch.equal(trace.mixed, image)
        assert torch.equal(trace.mask, torch.full_like(trace.mask, lam))
        assert torch.equal(trace.weights, torch.tensor([[1 - lam, lam]] * 2))


def mirrored(method, params):
    """Swap what belongs to image 0 and image 1, and λ for 1 − λ."""
    named = {name: getattr(params, name) for name in questions(method)}
    other = {"0": "1", "1": "0"}
    swapped = {
        name: named.get(name[:-1] + other.get(name[-1], name[-1]), value)
        for name, value in named.items()
    }
    if "lam" in named:
        swapped["lam"] = 1 - named["lam"]
    return method.params(**swapped)


def energies_mirror(ours, theirs):
    """What each step minimises is the same from both sides, though not its argument.

    Among masks of least energy the smallest is returned, which mirrored is the largest; plans of
    the same cost may differ in hidden blocks, whose seams and later cycles then differ too.
    """
    plan_terms = ("saliency_0", "saliency_1", "transport")
    for step, names in ((1, ("total",)), (2, plan_terms)):
        found, other = (
            sum(trace.ladder[step][1][name] for name in names) for trace in (ours, theirs)
        )
        torch.testing.assert_close(found, other, rtol=0, atol=1e-9)
    same = (ours.z - (1 - theirs.z)).abs().amax((1, 2)) < 1e-6
    same &= (ours.source_0 == theirs.source_1).all(1) & (ours.source_1 == theirs.source_0).all(1)
    found, other = ours.energy["total"], theirs.energy["total"]
    torch.testing.assert_close(found[same], other[same], rtol=0, atol=1e-9)


def mirror(method, draw):
    # Named choices stay at their defaults: a local solver starts from one side.
    drawn = {name: draw(answers(method)[name]) for name in notes(method.params, Knob, Switch)}
    if "lam" in drawn:
        drawn["lam"] = draw(st.integers(0, 64)) / 64  # so that 1 − λ is exact
    params = method.params(**drawn)
    pair = make_pair(method, 2, draw(seeds))
    assume(method.noise((pair.x0, pair.x1), params) is None)  # another seed, another noise
    turned = Pair(**{name: getattr(pair, name[0] + "10"[int(name[1])]) for name in PAIR_FIELDS})
    ours, theirs = mix(method, pair, params), mix(method, turned, mirrored(method, params))
    if hasattr(ours, "energy"):
        energies_mirror(ours, theirs)
    else:
        torch.testing.assert_close(ours.mixed, theirs.mixed)
        torch.testing.assert_close(ours.mask, 1 - theirs.mask)
        torch.testing.assert_close(ours.weights, theirs.weights.flip(1))


def all_top_is_input_mixup(method, draw):
    lam = draw(answers(method)["lam"])
    params = method.params(lam=lam, num_patches=draw(st.sampled_from([1, 2, 4, 8])))
    if "q0" in questions(method):
        params = replace(params, q0=0.0, q1=0.0)
    pair = make_pair(method, 2, draw(seeds))
    if "q0" in method.needs:
        pair = replace(pair, q0=torch.zeros(2), q1=torch.zeros(2))
    ours, theirs = method.mix(pair, params), METHODS["input_mixup"].mix(pair, InputMixupParams(lam))
    for name in ("mixed", "mask", "weights"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name


LAWS = {
    Law.WEIGHTS_ARE_MASK_MEANS: weights_are_mask_means,
    Law.SELF_MIX: self_mix,
    Law.ENDPOINTS: endpoints,
    Law.MIRROR: mirror,
    Law.ALL_TOP_IS_INPUT_MIXUP: all_top_is_input_mixup,
}


def test_every_law_has_a_test_and_is_declared_by_someone():
    assert set(LAWS) == set(Law) == {law for method in METHODS.values() for law in method.laws}


@pytest.mark.parametrize(
    ("method", "law"),
    [(method, law) for method in METHODS.values() for law in sorted(method.laws)],
    ids=lambda value: getattr(value, "slug", None) or value.name.lower(),
)
@few
@given(data=st.data())
def test_declared_law(method, law, data):
    LAWS[law](method, data.draw)
