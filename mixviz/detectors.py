"""What can go wrong with a mix, read off its trace: each fault with its cause and a way out.

    for finding in mixviz.check(trace, pair, params, method):
        print(finding)

A detector that is not told what it needs is silent, and so it is where nothing is wrong.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mixviz.core.adversarial import per_item
from mixviz.core.blocks import is_flat
from mixviz.core.pairing import PAIRING_FLAGS
from mixviz.core.threshold import largest_moving_xi
from mixviz.core.types import Pair
from mixviz.methods.base import FLAGS, Law, Method
from mixviz.methods.batch import BATCH_FLAGS, BatchMethod
from mixviz.spec import Params

Place = Literal[
    "pictures", "saliency", "classifier", "mask", "transport", "label", "mix", "pairing"
]

UNSURE = 0.05  # below this a first guess is called unsure
EVEN = (0.2, 0.8)  # λ between these asks for both pictures
FAR = 0.25  # a label encouraged by η may be so far from λ
ROUNDING = 1e-3  # of labels and colours, in half precision too
RING = 16  # the border is this part of a side
BORDER = 0.9  # no more saliency than this may lie there; of an even map, it holds a quarter
FEW_CELLS = 8  # per side; of fewer, most lie at the border
ALTERNATING = 0.75  # mean step between neighbours, of the whole range of the mask; chance gives ½
SEVERAL = 8  # items that a sentence names


# --- what is looked at, told apart by what it holds


@runtime_checkable
class Flagged(Protocol):
    """Whatever `check` takes: a trace of a pair or of a batch, or a pairing."""

    @property
    def flags(self) -> Mapping[str, Sequence[int]]:
        """Names from `FLAGS`, `BATCH_FLAGS` or `PAIRING_FLAGS`, each with its items."""


@runtime_checkable
class Mixes(Flagged, Protocol):
    """A trace with pictures, of a pair or of a batch."""

    mixed: Float[Tensor, "b 3 h w"]


@runtime_checkable
class Blend(Mixes, Protocol):
    """Two pictures under a mask, with two label weights."""

    mask: Float[Tensor, "b h w"]
    weights: Float[Tensor, "b 2"]


@runtime_checkable
class Blocks(Blend, Protocol):
    """A blend whose mask is chosen block by block."""

    z: Float[Tensor, "b n n"]


@runtime_checkable
class Pooled(Protocol):
    """A trace that keeps its saliency by block."""

    blocks_0: Float[Tensor, "b n n"]
    blocks_1: Float[Tensor, "b n n"]


@runtime_checkable
class Moves(Blocks, Pooled, Protocol):
    """Blocks that can move, with E by term on the way."""

    source_0: Int[Tensor, "b n2"]
    source_1: Int[Tensor, "b n2"]
    ladder: Sequence[tuple[str, Mapping[str, Tensor]]]
    units: Any
    rounds_0: Sequence[Any]


@runtime_checkable
class Shown(Protocol):
    """A trace that keeps the pictures as they were mixed."""

    shown_0: Float[Tensor, "b 3 h w"]
    shown_1: Float[Tensor, "b 3 h w"]


@runtime_checkable
class Activated(Protocol):
    """A trace whose weights are read from class activation; they need not sum to 1."""

    cam_0: Float[Tensor, "b h w"]
    cam_1: Float[Tensor, "b h w"]


@runtime_checkable
class Batch(Mixes, Protocol):
    """Many inputs and as many outputs."""

    labels: Float[Tensor, "m m"]
    saliency: Float[Tensor, "m n n"]


@dataclass(frozen=True, eq=False)
class Case:
    """All that is known of what is checked; None is unknown.

    Attributes:
        trace: a trace of any method, or a pairing.
        pair: what was mixed.
        params: how.
        method: by what.
        logits: of images 0 and of images 1, or of the inputs of a batch.
    """

    trace: Flagged
    pair: Pair | None = None
    params: Params | None = None
    method: Method | BatchMethod | None = None
    logits: Tensor | tuple[Tensor, Tensor] | None = None

    def asked(self, name: str, count: int) -> Tensor | None:
        """Return a parameter for each of so many items; None where there is no such."""
        value = getattr(self.params, name, None)
        return None if value is None else per_item(value, count).cpu()

    def pictures(self) -> dict[str, Tensor]:
        """Return the pictures that were mixed, by what people call them."""
        if isinstance(self.trace, Shown):
            return {"A": self.trace.shown_0, "B": self.trace.shown_1}
        return {} if self.pair is None else {"A": self.pair.x0, "B": self.pair.x1}

    def maps(self) -> dict[str, Tensor]:
        """Return the saliency that was read, by the picture that it is of."""
        if self.pair is not None:
            needs = ("s0", "s1") if self.method is None else self.method.needs
            both = (("A", "s0"), ("B", "s1"))
            return {letter: getattr(self.pair, name) for letter, name in both if name in needs}
        if isinstance(self.trace, Pooled):
            return {"A": self.trace.blocks_0, "B": self.trace.blocks_1}
        return {"the input": self.trace.saliency} if isinstance(self.trace, Batch) else {}


# --- what is found


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Attributes:
        name: of the fault: a flag, or a key of `DETECTORS`.
        items: the items of the batch that it concerns. Numbers in the sentences are those of the
            first, which is the worst where that can be said.
        cause: what is the matter, in a sentence.
        remedy: what to do about it, in a sentence.
        place: where in the pipeline.
        remark: whether it is as the method means it, so that nothing has to be mended.
        setting: a parameter and the value that the remedy names.
    """

    name: str
    items: tuple[int, ...]
    cause: str
    remedy: str
    place: Place
    remark: bool = False
    setting: tuple[str, float] | None = None

    def __str__(self) -> str:
        """Return items, cause and remedy as one line."""
        named = ", ".join(map(str, self.items[:SEVERAL]))
        more = len(self.items) - SEVERAL
        items = f"item{'s' if len(self.items) > 1 else ''} {named}"
        rest = f" and {more} more" if more > 0 else ""
        return f"{self.place}, {items}{rest}: {self.cause} {self.remedy}"


@dataclass(frozen=True)
class Cure:
    """What a flag does not say of itself: where it belongs and what helps."""

    place: Place
    remedy: str
    remark: bool = False


_OTHER_SALIENCY = Cure("saliency", "Choose another picture, label or classifier.")
CURES: Mapping[str, Cure] = MappingProxyType(
    {
        "flat_saliency_0": _OTHER_SALIENCY,
        "flat_saliency_1": _OTHER_SALIENCY,
        "no_saliency": Cure("saliency", "Raise the blur: k, then σ."),
        "clamped_seam": Cure("mask", "Lower γ to 1 or less."),
        "flat_activation_0": _OTHER_SALIENCY,
        "flat_activation_1": _OTHER_SALIENCY,
        "empty_box": Cure("mask", "Raise λ of both boxes, or use larger pictures."),
        "mixed_inside": Cure("mix", "Look at its feature maps instead.", remark=True),
        "flat_saliency": _OTHER_SALIENCY,
        "identical_inputs": Cure("pictures", "Leave one of the two out of the batch."),
        "single_source": Cure("mask", "Lower β, the price of neighbours from two pictures."),
        "sweeps_ran_out": Cure("mask", "Raise the number of sweeps."),
        "self_pair": Cure("pairing", "Pair by saliency: greedy, improved or exact."),
        "two_cycle": Cure(
            "pairing", "Pair by saliency, in a batch of three or more: greedy, improved or exact."
        ),
        "identical_maps": Cure("pairing", "Leave one of the two out, or blur less."),
        "timed_out": Cure("pairing", "Give it more time, or take improved."),
    }
)
"""Every flag of every trace and of pairings, with its cure."""

_WORDS: Mapping[str, str] = {**FLAGS, **BATCH_FLAGS, **PAIRING_FLAGS}


def _flag(name: str, item: int) -> Finding:
    cure = CURES.get(name, Cure("mix", "Look up what its method says of it."))
    words = _WORDS.get(name, f"The method raised the flag {name}.")
    return Finding(name, (item,), words, cure.remedy, cure.place, cure.remark)


def _where(found: Tensor) -> list[int]:
    items: list[int] = found.nonzero().flatten().tolist()
    return items


def _named(found: Mapping[str, Tensor]) -> Iterator[tuple[int, str]]:
    """Yield the items where something holds, and what it holds of: "A", "B", "A and B"."""
    if found:
        for item in _where(torch.stack([one.cpu() for one in found.values()]).any(0)):
            yield item, " and ".join(name for name, one in found.items() if bool(one[item]))


# --- the detectors


def _flags(case: Case) -> Iterator[Finding]:
    for name, items in case.trace.flags.items():
        yield from (_flag(name, int(item)) for item in items)


def _finite(values: Tensor) -> Bool[Tensor, " b"]:
    # NaN and infinity survive a sum, which is several times faster than looking at each value.
    if bool(values.sum().isfinite()):
        return torch.ones(len(values), dtype=torch.bool, device=values.device)
    return values.flatten(1).isfinite().all(1)


def _broken_saliency(case: Case) -> Iterator[Finding]:
    for item, names in _named({name: ~_finite(map_) for name, map_ in case.maps().items()}):
        yield Finding(
            "broken_saliency",
            (item,),
            f"The saliency of {names} holds NaN or infinity.",
            "Look for an overflow in the classifier; take its gradient in full precision.",
            "saliency",
        )


def _flat_saliency(case: Case) -> Iterator[Finding]:
    # Blocks of a map may be equal where its pixels are not: there the method's flag decides.
    if case.pair is not None:
        for letter, map_ in case.maps().items():
            yield from (_flag(f"flat_saliency_{'AB'.index(letter)}", i) for i in is_flat(map_))


def _border_saliency(case: Case) -> Iterator[Finding]:
    shares = {
        name: _at_border(map_) for name, map_ in case.maps().items() if map_.shape[-1] >= FEW_CELLS
    }
    for item, names in _named({name: share > BORDER for name, share in shares.items()}):
        share = max(float(one[item]) for one in shares.values())
        yield Finding(
            "border_saliency",
            (item,),
            f"The saliency of {names} lies at the border: {share:.0%} of it.",
            "Look at the padding of the classifier, or choose another picture or label.",
            "saliency",
        )


def _at_border(maps: Float[Tensor, "b h w"]) -> Float[Tensor, " b"]:
    """Return the share of each map that lies at its border; NaN where there is no saliency."""
    ring = max(maps.shape[-1] // RING, 1)
    rows, columns = maps.shape[1] - ring, maps.shape[2] - ring
    whole = maps.flatten(1).sum(1, dtype=torch.float64)
    inner = maps[:, ring:rows, ring:columns].flatten(1).sum(1, dtype=torch.float64)
    return 1 - inner / whole


def _outside_range(case: Case) -> Iterator[Finding]:
    pictures = case.pictures()
    if not pictures and isinstance(case.trace, Mixes):
        pictures = {"the mix": case.trace.mixed}
    # All at once is much faster than one by one, which is left for when something is wrong.
    if all(bool(_in_range(*x.aminmax())) for x in pictures.values()):
        return
    ends = {name: torch.stack(x.flatten(1).aminmax(dim=1)) for name, x in pictures.items()}
    wrong = {name: ~_in_range(low, high) for name, (low, high) in ends.items()}
    for item, names in _named(wrong):
        low = min(float(ends_[0, item]) for ends_ in ends.values())
        high = max(float(ends_[1, item]) for ends_ in ends.values())
        yield Finding(
            "outside_range",
            (item,),
            f"The colours of {names} leave [0, 1]: {low:.3g} to {high:.3g}.",
            "Undo the normalisation before mixing; it belongs to the classifier.",
            "pictures",
        )


def _in_range(low: Tensor, high: Tensor) -> Tensor:
    return (low >= -ROUNDING) & (high <= 1 + ROUNDING)


def _same_picture(case: Case) -> Iterator[Finding]:
    pictures = tuple(case.pictures().values())
    if len(pictures) == 2:
        for item in _where((pictures[0] == pictures[1]).flatten(1).all(1)):
            yield Finding(
                "same_picture",
                (item,),
                "A and B are the same picture.",
                "Choose another picture for B.",
                "pictures",
            )


def _same_class(case: Case) -> Iterator[Finding]:
    pair = case.pair
    if pair is not None and pair.y0 is not None and pair.y1 is not None:
        for item in _where(pair.y0 == pair.y1):
            yield Finding(
                "same_class",
                (item,),
                "A and B have one label, which keeps all of its weight.",
                "Leave such pairs out where the first two guesses are counted.",
                "label",
                remark=True,
            )


def _collapsed(case: Case) -> Bool[Tensor, " b"] | None:
    """Say where only one picture shows though both were asked for."""
    if not isinstance(case.trace, Blend):
        return None
    lam = case.asked("lam", len(case.trace.mask))
    if lam is None:
        return None
    # Blocks are few, and say what the pixels say.
    shares = case.trace.z if isinstance(case.trace, Blocks) else case.trace.mask
    low, high = shares.flatten(1).aminmax(dim=1)
    alone = (low == high) & ((low == 0) | (low == 1))
    return alone.cpu() & (lam >= EVEN[0]) & (lam <= EVEN[1])


def _collapsed_mask(case: Case) -> Iterator[Finding]:
    collapsed = _collapsed(case)
    if collapsed is None or not isinstance(case.trace, Blend):
        return
    held = case.asked("eta", 1) is not None
    for item in _where(collapsed):
        shown = "B" if float(case.trace.mask[item].amax()) == 1 else "A"
        yield Finding(
            "collapsed_mask",
            (item,),
            f"The mask has collapsed: only {shown} shows.",
            "Lower β or γ, or raise η." if held else "Choose other parameters or another pair.",
            "mask",
        )


def _checkerboard_mask(case: Case) -> Iterator[Finding]:
    if not isinstance(case.trace, Blocks) or case.trace.z.shape[-1] < 4:
        return
    z = case.trace.z.double()
    low, high = z.flatten(1).aminmax(dim=1)
    steps = (z[:, 1:] - z[:, :-1], z[:, :, 1:] - z[:, :, :-1])
    mean = torch.cat([step.abs().flatten(1) for step in steps], 1).mean(1)
    for item in _where(mean > ALTERNATING * (high - low)):
        if float(high[item]) > float(low[item]):
            yield Finding(
                "checkerboard_mask",
                (item,),
                "The mask is a checkerboard: nearly every block differs from its neighbours.",
                "Raise β: it is what makes neighbours agree."
                if case.asked("beta", 1) is not None
                else "Choose fewer patches or other percentiles.",
                "mask",
            )


def _label_and_lam(case: Case) -> Iterator[Finding]:
    if not isinstance(case.trace, Blend):
        return
    given = case.trace.weights[:, 1].double().cpu()
    lam, eta = case.asked("lam", len(given)), case.asked("eta", len(given))
    collapsed = _collapsed(case)
    if lam is None or collapsed is None:
        return
    off = (given - lam).abs()
    if eta is not None:
        wrong, far = (off > FAR) & (eta > 0) & ~collapsed, "far from"
        remedy = "Raise η: it is what encourages the label."
    elif case.method is not None and case.method.contract == "exact":
        wrong, far = off > ROUNDING, "not"
        remedy = f"Give B the weight λ itself, as {case.method.title} promises."
    else:
        return
    # The farthest first.
    for item in off.masked_fill(~wrong, -1).argsort(descending=True)[: int(wrong.sum())].tolist():
        yield Finding(
            "label_and_lam",
            (item,),
            f"The label given to B is {float(given[item]):.2f}, {far} the "
            f"{float(lam[item]):.2f} asked.",
            remedy,
            "label",
        )


def _label_of_one(case: Case) -> Iterator[Finding]:
    if not isinstance(case.trace, Blend) or case.method is None or case.method.contract != "single":
        return
    weights = case.trace.weights.double()
    for item in _where((weights - weights.new_tensor((1, 0))).abs().amax(1) > ROUNDING):
        yield Finding(
            "label_of_one",
            (item,),
            f"The labels weigh {float(weights[item, 0]):.2f} and {float(weights[item, 1]):.2f}, "
            "though B takes no part.",
            "Give A a weight of 1 and B none.",
            "label",
        )


def _label_and_mask(case: Case) -> Iterator[Finding]:
    if not isinstance(case.trace, Blend) or not _follows_mask(case):
        return
    weight = case.trace.weights[:, 1].double()
    area = case.trace.mask.flatten(1).mean(1, dtype=torch.float64)
    for item in _where((weight - area).abs() > ROUNDING):
        yield Finding(
            "label_and_mask",
            (item,),
            f"The label given to B is {float(weight[item]):.2f}, though it fills "
            f"{float(area[item]):.2f} of the mask.",
            "Recompute the weights from the mask as it was pasted, clipped at the edges.",
            "label",
        )


def _follows_mask(case: Case) -> bool:
    """Say whether label weights are to be the shares of the mask."""
    if isinstance(case.method, Method) and case.method.contract != "single":
        return Law.WEIGHTS_ARE_MASK_MEANS in case.method.laws
    return not isinstance(case.trace, Activated)


def _label_sum(case: Case) -> Iterator[Finding]:
    if isinstance(case.trace, Blend):
        weights, meant = case.trace.weights, not _follows_mask(case)
    elif isinstance(case.trace, Batch):
        weights, meant = case.trace.labels, False
    else:
        return
    total = weights.sum(1, dtype=torch.float64)
    for item in _where(~((total - 1).abs() <= ROUNDING)):
        yield Finding(
            "label_sum",
            (item,),
            f"The label weights sum to {float(total[item]):.2f}.",
            "They follow what is left of each class activation, so they may."
            if meant
            else "Divide them by their sum.",
            "label",
            remark=meant,
        )


def _worse_than_still(case: Case) -> Iterator[Finding]:
    # Only Algorithm 1 has rounds; an exact plan is never worse in its own eyes.
    if not isinstance(case.trace, Moves) or not any(case.trace.rounds_0):
        return
    steps = dict(case.trace.ladder)
    for item in _where(_eq_5(steps["move"]) > _eq_5(steps["mask"]) + 1e-9):
        yield Finding(
            "worse_than_still",
            (item,),
            "Algorithm 1 hides more than it moves for: no move at all would be better (eq. 5).",
            "Choose the exact transport solver under Advanced.",
            "transport",
        )


def _eq_5(terms: Mapping[str, Tensor]) -> Tensor:
    """Return what transport minimises: saliency hidden and distance paid for."""
    return terms["saliency_0"] + terms["saliency_1"] + terms["transport"]


def visible_moves(
    z: Float[Tensor, "b n n"], source_0: Int[Tensor, "b n2"], source_1: Int[Tensor, "b n2"]
) -> Int[Tensor, "b 2"]:
    """Count the blocks of A and of B that moved to where the mask shows them."""
    share, places = z.flatten(1), torch.arange(source_0.shape[1], device=z.device)
    moved = ((source_0 != places) & (share < 1), (source_1 != places) & (share > 0))
    return torch.stack([one.sum(1) for one in moved], 1)


def _nothing_moves(case: Case) -> Iterator[Finding]:
    if not isinstance(case.trace, Moves) or not getattr(case.params, "transport", False):
        return
    trace, xi = case.trace, case.trace.units.xi
    seen = visible_moves(trace.z, trace.source_0, trace.source_1)
    idle = _where((seen.sum(1) == 0).cpu() & (xi > 0))
    # The search takes its time: it is made for one item, and that speaks for all.
    for at, item in enumerate(idle):
        settable = _round_down(_moving_xi(trace, item))
        if settable > 0:
            yield Finding(
                "nothing_moves",
                tuple(idle[at:]),
                f"At ξ {float(xi[item]):g} nothing moves.",
                f"The largest ξ at which a visible block moves is {settable:.2g}.",
                "transport",
                setting=("xi", settable),
            )
            return


def _moving_xi(trace: Moves, item: int) -> float:
    z = trace.z[item].double().cpu().numpy()
    return max(
        largest_moving_xi(trace.blocks_0[item].numpy(), 1 - z),
        largest_moving_xi(trace.blocks_1[item].numpy(), z),
    )


def _round_down(value: float) -> float:
    """Round down to two significant digits, so that the bound still holds."""
    if value <= 0:
        return 0.0
    scale = 10.0 ** (np.floor(np.log10(value)) - 1)
    return float(np.floor(value / scale * (1 - 1e-9)) * scale)


def _unsure_classifier(case: Case) -> Iterator[Finding]:
    if case.logits is None:
        return
    if isinstance(case.logits, Tensor):
        logits = {"the input": case.logits}
    else:
        logits = dict(zip("AB", case.logits, strict=True))
    best = {name: values.float().softmax(1).amax(1) for name, values in logits.items()}
    for item, names in _named({name: first < UNSURE for name, first in best.items()}):
        yield Finding(
            "unsure_classifier",
            (item,),
            f"The classifier is below {UNSURE:.0%} sure of {names}.",
            "Choose its label, another picture or another classifier.",
            "classifier",
        )


def _broken_mix(case: Case) -> Iterator[Finding]:
    if isinstance(case.trace, Mixes):
        for item in _where(~_finite(case.trace.mixed)):
            yield Finding(
                "broken_mix",
                (item,),
                "The mix holds NaN or infinity.",
                "Look for them in the pictures and in the method; do not train on it.",
                "mix",
            )


@dataclass(frozen=True)
class Detector:
    """What finds one kind of fault.

    Attributes:
        words: the fault in a few words.
        find: what looks for it. A finding concerns one item, but where a search speaks for many.
    """

    words: str
    find: Callable[[Case], Iterable[Finding]]


DETECTORS: Mapping[str, Detector] = MappingProxyType(
    {
        "flags": Detector("what the method itself has flagged", _flags),
        "broken_saliency": Detector("NaN or infinity in the saliency", _broken_saliency),
        "flat_saliency": Detector("saliency that is the same everywhere", _flat_saliency),
        "border_saliency": Detector("saliency at the border alone", _border_saliency),
        "outside_range": Detector("colours outside [0, 1]", _outside_range),
        "same_picture": Detector("A and B are one picture", _same_picture),
        "same_class": Detector("A and B have one label", _same_class),
        "collapsed_mask": Detector("a mask of one picture where λ asks for two", _collapsed_mask),
        "checkerboard_mask": Detector("a block mask that alternates", _checkerboard_mask),
        "label_and_lam": Detector("a label outside its method's contract with λ", _label_and_lam),
        "label_of_one": Detector("a weight for a picture that takes no part", _label_of_one),
        "label_and_mask": Detector("a label that is not the share of the mask", _label_and_mask),
        "label_sum": Detector("label weights that do not sum to 1", _label_sum),
        "worse_than_still": Detector("a transport worse than none", _worse_than_still),
        "nothing_moves": Detector("a transport that moves nothing to be seen", _nothing_moves),
        "unsure_classifier": Detector("a first guess below 5 %", _unsure_classifier),
        "broken_mix": Detector("NaN or infinity in the mix", _broken_mix),
    }
)
"""What `check` looks for, in the order of what it returns."""

AT_ONCE: Mapping[str, Detector] = MappingProxyType(
    {name: one for name, one in DETECTORS.items() if name != "nothing_moves"}
)
"""The detectors that search for nothing."""


def known_faults() -> dict[str, str]:
    """Return what `check` can find, by name, in words: the detectors, then the flags."""
    return {name: one.words for name, one in DETECTORS.items()} | dict(_WORDS)


def examine(case: Case, detectors: Mapping[str, Detector] = DETECTORS) -> tuple[Finding, ...]:
    """Return what detectors find, item by item, so that each has sentences of its own."""
    found = (finding for one in detectors.values() for finding in one.find(case))
    return tuple(dict.fromkeys(found))


def check(
    trace: Flagged,
    pair: Pair | None = None,
    params: Params | None = None,
    method: Method | BatchMethod | None = None,
    logits: Tensor | tuple[Tensor, Tensor] | None = None,
) -> tuple[Finding, ...]:
    """Say what is wrong with a mix: nothing, or each fault with its cause and a way out.

    The more is given, the more is looked at. What a trace does not hold is not looked for.

    Args:
        trace: of any method, of a pair or of a batch; or a pairing.
        pair: what was mixed.
        params: how it was mixed; λ is compared with the labels given.
        method: its row of the menu, which says what its labels promise.
        logits: of images 0 and of images 1, or of the inputs of a batch.

    Returns:
        One finding for each fault, with the items that have it, in the order of `DETECTORS`.
    """
    joined: dict[tuple[str, Place], Finding] = {}
    for finding in examine(Case(trace, pair, params, method, logits)):
        first = joined.setdefault((finding.name, finding.place), finding)
        items = tuple(dict.fromkeys((*first.items, *finding.items)))
        joined[finding.name, finding.place] = replace(first, items=items)
    return tuple(joined.values())
