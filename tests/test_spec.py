"""Notes on parameters: what they let through, and the sentence they refuse with."""

import math
from dataclasses import FrozenInstanceError, dataclass, field, replace
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mixviz.spec import Choice, Knob, Panel, Params, Switch, notes, validate

SHARE = Knob("σ", "a share", (0.0, 0.5, 1.0), "Between 0 and 1.", (0.0, 1.0))
WEIGHT = Knob("ω", "a weight", (0.0, 1.0), "Anything from 0.")
COUNT = Knob("k", "a count", (1, 2, 3), "One or more.", (1.0, math.inf), integer=True)
WAY = Choice("a way", {"short": 1, "long": 2}, "Either.")
TURN = Switch("turn it", "Or not.")


@dataclass(frozen=True)
class ToyParams(Params):
    share: Annotated[Any, SHARE] = 0.5
    weight: Annotated[Any, WEIGHT] = 1.0
    count: Annotated[Any, COUNT] = 2
    way: Annotated[Any, WAY] = "short"
    turn: Annotated[Any, TURN] = False
    plain: int = 0


@dataclass(frozen=True)
class LongerParams(ToyParams):
    more: Annotated[Any, SHARE] = 0.0


@dataclass(frozen=True)
class ToyTrace:
    picture: Annotated[int, Panel("image", "A picture", "Of something")] = 0
    both: Annotated[int, SHARE, Panel("number", "A number", "Of something")] = 0
    secret: list[int] = field(default_factory=list)


def test_notes_are_found_by_kind_in_order():
    asked = ["share", "weight", "count", "way", "turn"]
    assert list(notes(ToyParams, Knob, Choice, Switch)) == asked
    assert notes(ToyParams, Choice) == {"way": WAY}
    assert list(notes(LongerParams, Knob)) == ["share", "weight", "count", "more"]
    assert list(notes(ToyTrace, Panel)) == ["picture", "both"]
    assert notes(ToyTrace, Knob) == {"both": SHARE}
    assert notes(ToyTrace, Switch) == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"share": 1.5}, "share (σ) must lie in [0, 1], got 1.5"),
        ({"share": -1e-9}, "share (σ) must lie in [0, 1], got -1e-09"),
        ({"share": math.nan}, "share (σ) must lie in [0, 1], got nan"),
        ({"share": torch.tensor([0.5, 2.0])}, "share (σ) must lie in [0, 1], got tensor"),
        ({"share": torch.tensor([0.5, math.nan])}, "share (σ) must lie in [0, 1], got tensor"),
        ({"share": torch.empty(0)}, "share (σ) must not be empty, got tensor([])"),
        ({"share": None}, "share (σ) must be a number, got None"),
        ({"share": "0.5"}, "share (σ) must be a number, got '0.5'"),
        ({"share": True}, "share (σ) must be a number, got True"),
        ({"share": [0.5]}, "share (σ) must be a number, got [0.5]"),
        ({"weight": -1}, "weight (ω) must lie in [0, inf), got -1"),
        ({"weight": math.inf}, "weight (ω) must lie in [0, inf), got inf"),
        ({"weight": torch.tensor([1.0, math.inf])}, "weight (ω) must lie in [0, inf), got tensor"),
        ({"count": 0}, "count (k) must lie in [1, inf), got 0"),
        ({"count": 10**400}, "count (k) must lie in [1, inf), got 1000"),
        ({"count": 2.5}, "count (k) must be a whole number, got 2.5"),
        ({"way": "wrong"}, "way must be one of short, long, got 'wrong'"),
        ({"way": None}, "way must be one of short, long, got None"),
        ({"way": ["short"]}, "way must be one of short, long, got ['short']"),
        ({"turn": 1}, "turn must be True or False, got 1"),
        ({"turn": None}, "turn must be True or False, got None"),
        ({"more": 2}, "more (σ) must lie in [0, 1], got 2"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_params_refuse_in_a_sentence(changes, message):
    with pytest.raises(ValueError, match=r"^LongerParams") as refusal:
        LongerParams(**changes)
    assert str(refusal.value).startswith(f"LongerParams.{message}")


@pytest.mark.parametrize(
    "changes",
    [
        {"share": 0},
        {"share": 1},
        {"share": torch.tensor([0.0, 1.0])},
        {"share": torch.tensor(0.25)},
        {"share": np.float32(0.25)},
        {"weight": 1e300},
        {"count": 1},
        {"count": 3.0},
        {"count": np.int64(17)},
        {"way": "long", "turn": True},
        {"plain": "not asked, not checked"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_params_accept_what_is_valid(changes):
    params = ToyParams(**changes)
    assert all(getattr(params, name) is value for name, value in changes.items())


def test_params_are_checked_whenever_they_are_made():
    params = ToyParams()
    with pytest.raises(ValueError, match=r"ToyParams.share"):
        replace(params, share=7)
    with pytest.raises(FrozenInstanceError):
        params.share = 7


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_number_is_valid_exactly_inside_the_interval(value):
    assert (validate(SHARE, value) is None) == (0 <= value <= 1)
    assert (validate(WEIGHT, value) is None) == (0 <= value < math.inf)
    whole = value.is_integer() if math.isfinite(value) else False
    assert (validate(COUNT, value) is None) == (1 <= value < math.inf and whole)


@given(st.lists(st.floats(-0.5, 1.5, width=32), min_size=1, max_size=5))
def test_a_tensor_is_valid_exactly_when_each_value_is(values):
    together = validate(SHARE, torch.tensor(values))
    assert (together is None) == all(validate(SHARE, value) is None for value in values)


@given(st.lists(st.sampled_from([1.0, 2.0, 2.5, 3.0]), min_size=1, max_size=5))
def test_a_tensor_of_counts_is_whole_exactly_when_each_value_is(values):
    together = validate(COUNT, torch.tensor(values))
    assert (together is None) == all(validate(COUNT, value) is None for value in values)
