"""Figure 2 of Puzzle Mix on pictures of one's own: five statistics over λ, by every variant.

Kim, Choo and Song, ICML 2020, arXiv:2009.06962. The work is cut into parts, one per pair, variant
and draw of chance; each finished part is remembered, so that a run can stop anywhere and go on.
"""

import time
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixviz.core.blocks import sum_to_one
from mixviz.core.measure import measure
from mixviz.core.percentiles import search_percentiles
from mixviz.core.saliency import Explanation, explain, resize, spectral_residual
from mixviz.core.types import Pair
from mixviz.methods.base import MixTrace
from mixviz.methods.variants import VARIANTS, Variant, as_they_are
from mixviz.spec import Params
from mixviz.zoo import Classifier
from mixviz.zoo.layers import class_activation, features_at, logits_from

T = TypeVar("T")
Array = NDArray[np.float64]

LAMS = tuple(step / 10 for step in range(11))
AT_ONCE = 32  # mixes the classifier looks at together
SEEDS = 2**31
# Who is drawn in the paper's figure; what it claims, it claims among these.
PAPER = ("input_mixup", "manifold_mixup", "cutmix", "puzzle_mix")
OURS = "puzzle_mix"


@dataclass(frozen=True)
class Statistic:
    """One panel of the figure.

    Attributes:
        panel: its letter in the paper.
        title: its name for people.
        words: what it is.
        best: which end the paper claims for Puzzle Mix; "" where it names no winner.
        claim: what the paper says.
    """

    panel: str
    title: str
    words: str
    best: Literal["highest", "lowest", ""]
    claim: str


STATISTICS: Mapping[str, Statistic] = MappingProxyType(
    {
        "saliency": Statistic(
            "a",
            "Saliency exposed",
            "sum of the mixed saliency map, of 2",
            "highest",
            "Puzzle Mix “well preserves the saliency information after mixup”",
        ),
        "variation": Statistic(
            "b",
            "Total variation",
            "mean difference of neighbouring pixels",
            "",
            "“compares the local smoothness”; no winner is named",
        ),
        "loss": Statistic(
            "c",
            "Cross-entropy",
            "against the label weights given",
            "lowest",
            "Puzzle Mix has “the smallest loss”",
        ),
        "top_1": Statistic(
            "d",
            "Top-1 accuracy",
            "the first guess is A or B",
            "highest",
            "Puzzle Mix has “the highest accuracy”",
        ),
        "top_2": Statistic(
            "e",
            "Top-2 accuracy",
            "the first two guesses are A and B",
            "highest",
            "Puzzle Mix has “the highest accuracy”",
        ),
    }
)


class Store(Protocol):
    """Where finished parts lie."""

    def get(self, key: Hashable) -> Any | None:
        """Return what is remembered, or None."""

    def put(self, key: Hashable, value: T) -> T:
        """Remember a value and return it."""


class Held:
    """A store without bounds, for a run that has its process to itself."""

    def __init__(self) -> None:
        self._held: dict[Hashable, Any] = {}

    def get(self, key: Hashable) -> Any | None:
        """Return what is remembered, or None."""
        return self._held.get(key)

    def put(self, key: Hashable, value: T) -> T:
        """Remember a value and return it."""
        self._held[key] = value
        return value


class Ask(Protocol):
    """Do some work where the classifier lives, and wait for it."""

    def __call__(self, work: Callable[[Classifier], T], /) -> T:
        """Return the result of the work."""


@dataclass(frozen=True, eq=False)
class Sight:
    """Who looks, and what is remembered of it.

    Attributes:
        name: of the classifier, in the keys of the stores.
        ask: the way to it.
        looks: saliency maps by picture.
        parts: measured parts.
    """

    name: Hashable
    ask: Ask
    looks: Store
    parts: Store


@dataclass(frozen=True, eq=False)
class Subject:
    """A picture to be mixed.

    Attributes:
        key: what its results are remembered by; names pixels and size.
        name: for people.
        read: returns it as a batch of one in [0, 1].
        label: its class, where known; else the predicted one counts.
    """

    key: Hashable
    name: str
    read: Callable[[], Tensor]
    label: int | None = None


@dataclass(frozen=True)
class Part:
    """One pair by one variant in one draw of chance, at every λ."""

    pair: int
    variant: str
    draw: int


@dataclass(frozen=True)
class Plan:
    """What is to be measured.

    Attributes:
        pairs: images 0 and 1 of each pair, as indices into the pictures.
        variants: slugs.
        draws: how often chance is drawn for a variant that leaves anything to it.
        seed: decides the draws.
        lams: shares of image 1 asked for.
    """

    pairs: tuple[tuple[int, int], ...]
    variants: tuple[str, ...]
    draws: int = 1
    seed: int = 0
    lams: tuple[float, ...] = LAMS

    def __post_init__(self) -> None:
        unknown = [slug for slug in self.variants if slug not in VARIANTS]
        if unknown:
            raise ValueError(f"Plan.variants: there is no {', '.join(unknown)}")
        if self.draws < 1:
            raise ValueError(f"Plan.draws must be at least 1, got {self.draws}")
        if not self.lams or not all(0 <= lam <= 1 for lam in self.lams):
            raise ValueError(f"Plan.lams must lie in [0, 1] and not be empty, got {self.lams}")

    def draws_of(self, slug: str) -> int:
        """Return how often a variant is drawn: once where nothing is left to chance."""
        return self.draws if leaves_to_chance(VARIANTS[slug]) else 1

    def mixes_of(self, slug: str) -> int:
        """Return the mixes of a part: one where λ is not used."""
        return len(self.lams) if lam_names(VARIANTS[slug]) else 1

    def parts_of(self, pair: int) -> list[Part]:
        """Return the parts of a pair, in order."""
        return [
            Part(pair, slug, draw) for slug in self.variants for draw in range(self.draws_of(slug))
        ]

    def parts(self) -> list[Part]:
        """Return all parts, pair by pair."""
        return [part for pair in range(len(self.pairs)) for part in self.parts_of(pair)]

    def mixes(self) -> int:
        """Return how many mixes are to be made and looked at."""
        each = sum(self.mixes_of(slug) * self.draws_of(slug) for slug in self.variants)
        return len(self.pairs) * each


@dataclass(frozen=True, eq=False)
class Measured:
    """A part measured.

    Attributes:
        values: by statistic in the order of `STATISTICS` and by λ; NaN where one does not apply.
        same_label: whether both pictures have one label, so that top-2 does not apply.
        mixes: how many mixes were made.
        seconds: by stage: "sight" (maps and gradients of its own), "mixing", "prediction".
    """

    values: Array
    same_label: bool
    mixes: int
    seconds: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Gaze:
    """What the classifier says of a picture: saliency (1, h, w), its label, the time it took."""

    saliency: Tensor
    label: Tensor
    seconds: float


@dataclass(frozen=True)
class Rates:
    """Seconds per picture explained, per mix predicted, and per mix made by each variant."""

    saliency: float = 0.08
    prediction: float = 0.028
    mixing: Mapping[str, float] = field(default_factory=dict)

    def of(self, slug: str) -> float:
        """Return what a mix of a variant takes; a guess where it is not known yet."""
        if slug in self.mixing:
            return self.mixing[slug]
        # The search of RL-Mix looks at the saliency of a hundred mixes.
        return 100 * self.saliency if "q0" in VARIANTS[slug].method.needs else 0.006


@dataclass(frozen=True)
class Step:
    """Where a run stands; `done` and `total` count mixes, `left` is expected seconds."""

    pair: int
    done: int
    total: int
    left: float
    words: str


def lam_names(variant: Variant) -> list[str]:
    """Return the parameters of a variant that λ sets; none where it does not use λ."""
    held = fields(variant.method.params)  # type: ignore[arg-type]
    return [one.name for one in held if one.name.startswith("lam")]


def leaves_to_chance(variant: Variant) -> bool:
    """Say whether another seed gives another mix."""
    return bool(variant.drawn) or variant.inputs is not as_they_are


def draw_pairs(
    groups: Sequence[Hashable], count: int, seed: int, rounds: int = 2000
) -> tuple[tuple[int, int], ...]:
    """Draw different pairs of pictures, none within one group; fewer where there are no more.

    All pictures are used once before any is used again, as far as the groups allow.

    Args:
        groups: of each picture, what it must not be paired within.
        count: how many pairs.
        seed: decides them.
        rounds: after so many permutations it ends with the pairs found.
    """
    generator = np.random.default_rng(seed)
    most = sum(
        groups[i] != groups[j] for i in range(len(groups)) for j in range(i + 1, len(groups))
    )
    found: dict[frozenset[int], tuple[int, int]] = {}
    for _ in range(rounds):
        order = generator.permutation(len(groups)).tolist()
        while len(order) > 1 and len(found) < min(count, most):
            first = order.pop()
            partner = next(
                (
                    other
                    for other in reversed(order)
                    if groups[other] != groups[first] and frozenset((first, other)) not in found
                ),
                None,
            )
            if partner is not None:
                order.remove(partner)
                found[frozenset((first, partner))] = (first, partner)
        if len(found) >= min(count, most):
            break
    return tuple(found.values())


def chance(plan: Plan, part: Part) -> int:
    """Return the seed of a part; the same for all variants, so that chance hits them alike."""
    state = np.random.SeedSequence((plan.seed, part.pair, part.draw)).generate_state(1)
    return int(state[0]) % SEEDS


def _look_key(subject: Subject, sight: Sight) -> Hashable:
    return "look", sight.name, subject.key, subject.label


def _part_key(plan: Plan, part: Part, subjects: Sequence[Subject], sight: Sight) -> Hashable:
    variant = VARIANTS[part.variant]
    return (
        "part",
        *(_look_key(subjects[index], sight) for index in plan.pairs[part.pair]),
        part.variant,
        plan.lams if lam_names(variant) else None,
        chance(plan, part) if leaves_to_chance(variant) else None,
    )


def _gaze(subject: Subject, image: Tensor, sight: Sight) -> Gaze:
    """Explain a picture, once."""
    key = _look_key(subject, sight)
    found: Gaze | None = sight.looks.get(key)
    if found is not None:
        return found
    start = time.perf_counter()
    label = None if subject.label is None else torch.tensor([subject.label])
    seen = sight.ask(partial(_explain, image, label))
    seconds = time.perf_counter() - start
    return sight.looks.put(key, Gaze(seen.saliency, seen.label, seconds))


@dataclass(frozen=True, eq=False)
class _Couple:
    """Two pictures on the bench; `held` keeps maps that several parts read."""

    images: tuple[Tensor, Tensor]
    gazes: tuple[Gaze, Gaze]
    held: dict[Hashable, Tensor] = field(default_factory=dict)

    def keep(self, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """Return a map, made where it is not here yet."""
        if key not in self.held:
            self.held[key] = make()
        return self.held[key]


def _explain(images: Tensor, label: Tensor | None, classifier: Classifier) -> Explanation:
    seen = explain(classifier, images.to(classifier.device), label)
    return Explanation(*(part.cpu() for part in vars(seen).values()))


def _saliency(images: Tensor, classifier: Classifier) -> Tensor:
    return _explain(images, None, classifier).saliency


def _activation(image: Tensor, label: Tensor, classifier: Classifier) -> Tensor:
    return class_activation(classifier, image.to(classifier.device), label).cpu()


def _features(image: Tensor, layer: int, classifier: Classifier) -> Tensor:
    return features_at(classifier, layer, image.to(classifier.device)).cpu()


@torch.no_grad()
def _logits(images: Tensor, classifier: Classifier) -> Tensor:
    return classifier(resize(images, classifier.input_size).to(classifier.device)).float().cpu()


@torch.no_grad()
def _finish(features: Tensor, layer: int, classifier: Classifier) -> Tensor:
    return logits_from(classifier, layer, features.to(classifier.device)).float().cpu()


def _see(variant: Variant, params: Params, seed: int, couple: _Couple, sight: Sight) -> Pair:
    """Return the pair as a variant wants it: changed, attacked, with the maps it reads."""
    plain = variant.inputs is as_they_are
    images = [image if plain else variant.inputs(image, seed) for image in couple.images]
    noise = variant.method.noise((images[0], images[1]), params)
    layer: int = getattr(params, "layer", 0)
    found: dict[str, Tensor] = {}
    for digit, image, gaze in zip((0, 1), images, couple.gazes, strict=True):
        noisy = image if noise is None else image + noise[digit]
        if variant.source == "spectral":
            make = partial(spectral_residual, noisy)
            found[f"s{digit}"] = couple.keep(("spectral", digit), make)
        elif plain and torch.equal(noisy, image):
            found[f"s{digit}"] = gaze.saliency
        else:
            seen = sight.ask(partial(_explain, noisy, gaze.label))
            found |= {f"s{digit}": seen.saliency, f"g{digit}": seen.gradient}
        if f"c{digit}" in variant.method.needs:
            make = partial(sight.ask, partial(_activation, image, gaze.label))
            found[f"c{digit}"] = couple.keep(("activation", digit), make)
        if f"f{digit}" in variant.method.needs:
            make = partial(sight.ask, partial(_features, image, layer))
            found[f"f{digit}"] = couple.keep(("features", layer, digit), make)
    labels = {"y0": couple.gazes[0].label, "y1": couple.gazes[1].label}
    return Pair(images[0], images[1], **found, **labels)


def _spread(pair: Pair, items: int) -> Pair:
    """Repeat a pair along the batch axis; nothing is copied."""
    held = {one.name: getattr(pair, one.name) for one in fields(pair)}
    return Pair(
        **{name: one.expand(items, *one.shape[1:]) for name, one in held.items() if one is not None}
    )


def _at(variant: Variant, params: Params, lam: float | Tensor) -> Params:
    """Return parameters with λ set, wherever they use it."""
    changed: Params = replace(params, **dict.fromkeys(lam_names(variant), lam))  # type: ignore[type-var]
    return changed


def _search(
    variant: Variant, params: Params, lams: Sequence[float], pair: Pair, sight: Sight
) -> Generator[str, None, Pair]:
    """Search the percentiles of RL-Mix at every λ; yields words before each."""
    found: dict[str, list[Tensor]] = {"q0": [], "q1": []}

    def mixes(at_lam: Params, q0: Tensor, q1: Tensor) -> Tensor:
        return variant.method.mix(replace(pair, q0=q0, q1=q1), at_lam).mixed

    for lam in lams:
        yield f"{variant.title}: 100 pairs of percentiles at λ = {lam:g}"
        choice = search_percentiles(
            lambda images: sight.ask(partial(_saliency, images)),
            pair.s0,
            pair.s1,
            partial(mixes, _at(variant, params, lam)),
        )
        found["q0"].append(choice.q0)
        found["q1"].append(choice.q1)
    return replace(
        _spread(pair, len(lams)), **{name: torch.cat(values) for name, values in found.items()}
    )


def _predict(trace: MixTrace, sight: Sight) -> Tensor:
    """Return the logits of mixes; what is mixed inside the classifier goes on from there."""
    layer, inputs = (None, trace.mixed) if trace.inside is None else trace.inside
    logits = [
        sight.ask(partial(_logits, part) if layer is None else partial(_finish, part, layer))
        for part in torch.split(inputs, AT_ONCE)
    ]
    return torch.cat(logits)


def _measure(
    plan: Plan, part: Part, couple: _Couple, sight: Sight
) -> Generator[str, None, Measured]:
    """Mix and measure one part; yields words before whatever takes time."""
    variant = VARIANTS[part.variant]
    items, seed = plan.mixes_of(part.variant), chance(plan, part)
    block = couple.images[0].shape[-1] // 8
    params = variant.params(plan.lams[0], seed, block)
    at = [time.perf_counter()]
    pair = _see(variant, params, seed, couple, sight)
    if "q0" in variant.method.needs:
        pair = yield from _search(variant, params, plan.lams, pair, sight)
    elif items > 1:
        pair = _spread(pair, items)
    at.append(time.perf_counter())
    if lam_names(variant):
        params = _at(variant, params, torch.tensor(plan.lams, dtype=torch.float64))
    trace = variant.method.mix(pair, params)
    at.append(time.perf_counter())
    yield f"{variant.title}: the classifier looks at {items} {'mixes' if items > 1 else 'mix'}"
    start = time.perf_counter()
    logits = _predict(trace, sight)
    end = time.perf_counter()
    maps = [sum_to_one(gaze.saliency).expand(items, -1, -1) for gaze in couple.gazes]
    labels = torch.stack([gaze.label for gaze in couple.gazes], 1).expand(items, 2)
    shown = variant.method.seen(trace, maps[0], maps[1])
    found = measure(trace.mixed, shown, trace.weights, logits, labels)
    same = bool(found.same_label[0])
    rows = [found.exposed, found.total_variation, found.loss, found.top_1, found.top_2]
    values = np.stack([row.double().numpy() for row in rows])
    if trace.inside is not None:
        values[:2] = np.nan  # the mix is no picture: the paper leaves these two out as well
    if same:
        values[4] = np.nan
    values = np.broadcast_to(values, (len(rows), len(plan.lams))).copy()
    seconds = {
        "sight": at[1] - at[0],
        "mixing": at[2] - at[1],
        "prediction": end - start,
    }
    return Measured(values, same, items, seconds)


def expect(plan: Plan, subjects: Sequence[Subject], sight: Sight, rates: Rates) -> float:
    """Return the seconds that what is not measured yet may take."""
    seconds, unseen = 0.0, set()
    for part in plan.parts():
        if sight.parts.get(_part_key(plan, part, subjects, sight)) is None:
            seconds += plan.mixes_of(part.variant) * (rates.of(part.variant) + rates.prediction)
            unseen |= {
                key
                for index in plan.pairs[part.pair]
                if sight.looks.get(key := _look_key(subjects[index], sight)) is None
            }
    return seconds + len(unseen) * rates.saliency


def measure_pairs(
    plan: Plan, subjects: Sequence[Subject], sight: Sight, rates: Rates
) -> Iterator[Step]:
    """Measure what is not measured yet, pair by pair, part by part.

    A step is yielded before whatever takes time; whoever stops there loses no finished part.
    Results lie in the store, for `collect`.

    Raises:
        ValueError: as the methods and the classifier do.
    """
    total, left = plan.mixes(), expect(plan, subjects, sight, rates)
    missing = {
        part
        for part in plan.parts()
        if sight.parts.get(_part_key(plan, part, subjects, sight)) is None
    }
    done = total - sum(plan.mixes_of(part.variant) for part in missing)
    for index, pair in enumerate(plan.pairs):
        parts = [part for part in plan.parts_of(index) if part in missing]
        if not parts:
            continue
        images, gazes = [], []
        where = f"pair {index + 1} of {len(plan.pairs)}"
        for subject in (subjects[pair[0]], subjects[pair[1]]):
            image = subject.read()
            unseen = sight.looks.get(_look_key(subject, sight)) is None
            if unseen:
                yield Step(index, done, total, left, f"Saliency of {subject.name}, {where}")
                left = max(0.0, left - rates.saliency)
            images.append(image)
            gazes.append(_gaze(subject, image, sight))
        couple = _Couple((images[0], images[1]), (gazes[0], gazes[1]))
        for part in parts:
            work = _measure(plan, part, couple, sight)
            yield Step(index, done, total, left, f"{VARIANTS[part.variant].title}: mixing, {where}")
            while True:
                try:
                    words = next(work)
                except StopIteration as end:
                    measured: Measured = end.value
                    break
                yield Step(index, done, total, left, f"{words}, {where}")
            sight.parts.put(_part_key(plan, part, subjects, sight), measured)
            done += measured.mixes
            left = max(0.0, left - measured.mixes * (rates.of(part.variant) + rates.prediction))
    yield Step(len(plan.pairs), done, total, 0.0, "Done")


@dataclass(frozen=True, eq=False)
class Curves:
    """What has been measured of a plan, over the pairs that all its variants have finished.

    Attributes:
        plan: what was asked for.
        finished: the pairs that are measured by all variants, as indices into `plan.pairs`.
        values: by variant: pair, draw, statistic in the order of `STATISTICS`, λ. NaN where a
            statistic does not apply.
        excluded: finished pairs whose pictures have one label, left out of top-2.
        mixes: how many are measured, those of unfinished pairs among them.
        rates: what the stages took.
        looked: pictures explained, and the seconds that took.
    """

    plan: Plan
    finished: tuple[int, ...]
    values: Mapping[str, Array]
    excluded: int
    mixes: int
    rates: Rates
    looked: tuple[int, float]

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to measure."""
        return len(self.finished) == len(self.plan.pairs)

    def mean(self, slug: str) -> Array:
        """Return the mean over pairs and draws, by statistic and λ."""
        return _mean_and_error(self._by_pair(slug))[0]

    def error(self, slug: str) -> Array:
        """Return its standard error over pairs, the draws of a pair averaged first."""
        return _mean_and_error(self._by_pair(slug))[1]

    def scores(self, slug: str) -> Array:
        """Return each pair's mean over draws and λ, by statistic."""
        return self.values[slug].mean((1, 3))

    def overall(self, slug: str) -> tuple[Array, Array]:
        """Return the mean over pairs, draws and λ, and its standard error over pairs."""
        return _mean_and_error(self.scores(slug))

    def _by_pair(self, slug: str) -> Array:
        return self.values[slug].mean(1)


def _mean_and_error(values: Array) -> tuple[Array, Array]:
    """Return mean and standard error along the first axis, NaN left out; NaN of too few."""
    known = np.isfinite(values)
    count = known.sum(0)
    filled = np.where(known, values, 0.0)
    mean = np.where(count > 0, filled.sum(0) / np.maximum(count, 1), np.nan)
    squares = (np.where(known, values - np.where(known, mean, 0.0), 0.0) ** 2).sum(0)
    variance = squares / np.maximum(count - 1, 1)
    error = np.where(count > 1, np.sqrt(variance / np.maximum(count, 1)), np.nan)
    return mean, error


def collect(plan: Plan, subjects: Sequence[Subject], sight: Sight) -> Curves:
    """Gather what is measured; nothing is computed."""
    found: dict[Part, Measured] = {}
    for part in plan.parts():
        one = sight.parts.get(_part_key(plan, part, subjects, sight))
        if one is not None:
            found[part] = one
    finished = tuple(
        pair
        for pair in range(len(plan.pairs))
        if plan.variants and all(part in found for part in plan.parts_of(pair))
    )
    shape = (len(STATISTICS), len(plan.lams))
    values = {
        slug: np.array(
            [
                [found[Part(pair, slug, draw)].values for draw in range(plan.draws_of(slug))]
                for pair in finished
            ]
        ).reshape(len(finished), plan.draws_of(slug), *shape)
        for slug in plan.variants
    }
    excluded = sum(found[plan.parts_of(pair)[0]].same_label for pair in finished)
    looks = {
        key: gaze
        for pair in plan.pairs
        for index in pair
        if (gaze := sight.looks.get(key := _look_key(subjects[index], sight))) is not None
    }
    looked = (len(looks), sum(gaze.seconds for gaze in looks.values()))
    mixes = sum(one.mixes for one in found.values())
    return Curves(plan, finished, values, excluded, mixes, _rates(found, looked), looked)


def _rates(found: Mapping[Part, Measured], looked: tuple[int, float]) -> Rates:
    rates = Rates()
    mixing = {}
    for slug in {part.variant for part in found}:
        parts = [one for part, one in found.items() if part.variant == slug]
        # A median: the first part of some pays for an import.
        mixing[slug] = float(
            np.median([(m.seconds["sight"] + m.seconds["mixing"]) / m.mixes for m in parts])
        )
    predicted = sum(one.mixes for one in found.values())
    seconds = sum(one.seconds["prediction"] for one in found.values())
    return Rates(
        looked[1] / looked[0] if looked[0] else rates.saliency,
        seconds / predicted if predicted else rates.prediction,
        mixing,
    )


@dataclass(frozen=True)
class Verdict:
    """What the paper says of one statistic, and what was measured, averaged over λ.

    Attributes:
        statistic: a key of `STATISTICS`.
        best: of the paper's methods that were measured; None without any.
        best_of_all: of all measured that mix two pictures; None without any.
        rival: whom Puzzle Mix is compared with: the best other of the paper's.
        margin: how much better Puzzle Mix is than the rival, mean over pairs; NaN without one.
        error: standard error of the margin over pairs; NaN for a single one.
        outcome: "agrees" and "does not agree" need a margin of more than two standard errors.
    """

    statistic: str
    best: str | None
    best_of_all: str | None
    rival: str | None
    margin: float
    error: float
    outcome: Literal["agrees", "does not agree", "too close to call", "no claim", "not measured"]


def judge(curves: Curves) -> list[Verdict]:
    """Compare the paper's statements with what was measured."""
    return [_judge(curves, index, name) for index, name in enumerate(STATISTICS)]


def _judge(curves: Curves, index: int, name: str) -> Verdict:
    best = STATISTICS[name].best
    sign = 1.0 if best == "highest" else -1.0
    scores = {slug: sign * curves.scores(slug)[:, index] for slug in curves.plan.variants}
    means = {slug: float(_mean_and_error(one)[0]) for slug, one in scores.items()}
    two = {
        slug: mean
        for slug, mean in means.items()
        if np.isfinite(mean) and VARIANTS[slug].method.contract != "single"
    }
    paper = {slug: mean for slug, mean in two.items() if slug in PAPER}
    others = {slug: mean for slug, mean in paper.items() if slug != OURS}
    first = max(paper, key=paper.__getitem__, default=None)
    of_all = max(two, key=two.__getitem__, default=None)
    rival = max(others, key=others.__getitem__, default=None)
    if OURS not in paper or rival is None:
        return Verdict(name, first, of_all, rival, np.nan, np.nan, "not measured")
    margin, error = (float(one) for one in _mean_and_error(scores[OURS] - scores[rival]))
    if not best:
        return Verdict(name, first, of_all, rival, margin, error, "no claim")
    if not abs(margin) > 2 * error:  # also where there is no error
        return Verdict(name, first, of_all, rival, margin, error, "too close to call")
    outcome: Literal["agrees", "does not agree"] = "agrees" if margin > 0 else "does not agree"
    return Verdict(name, first, of_all, rival, margin, error, outcome)


def rows(curves: Curves) -> list[dict[str, object]]:
    """Return every number of the figure, one row per statistic, variant and λ."""
    plan = curves.plan
    found: list[dict[str, object]] = []
    for index, statistic in enumerate(STATISTICS):
        pairs = len(curves.finished) - (curves.excluded if statistic == "top_2" else 0)
        for slug in plan.variants:
            mean, error = curves.mean(slug)[index], curves.error(slug)[index]
            for lam, value, spread in zip(plan.lams, mean, error, strict=True):
                found.append(
                    {
                        "statistic": statistic,
                        "variant": slug,
                        "lam": lam,
                        "mean": float(value),
                        "standard_error": float(spread),
                        "pairs": pairs,
                        "draws": plan.draws_of(slug),
                        "excluded_pairs": curves.excluded if statistic == "top_2" else 0,
                        "seed": plan.seed,
                    }
                )
    return found
