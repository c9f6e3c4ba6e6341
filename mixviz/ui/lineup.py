"""One pair by many methods: each variant with its parameters, its trace and its measures."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mixviz.core.blocks import sum_to_one
from mixviz.core.measure import Measures, measure
from mixviz.core.types import Pair
from mixviz.methods.base import MixTrace
from mixviz.methods.variants import VARIANTS, Variant, as_they_are
from mixviz.spec import Params
from mixviz.ui import agent, classifier, compute
from mixviz.ui.compute import UNCHANGED, Inputs, Look
from mixviz.ui.workbench import Bench

Memory = tuple[Look, Params, Hashable, str]


@dataclass(frozen=True, eq=False)
class Place:
    """A variant about to be mixed.

    Attributes:
        look: how the pair is looked at, with the saliency the variant asks for.
        params: its parameters.
        stamp: names what became of the pictures first, None for nothing.
        pair: the pictures and what guides the mix.
        chosen: the percentiles that a loaded policy chose, where the method asks for any.
    """

    variant: Variant
    look: Look
    params: Params
    stamp: Hashable
    pair: Pair
    chosen: tuple[Tensor, Tensor] | None = None

    @property
    def key(self) -> Memory:
        """What its results are remembered by."""
        return self.look, self.params, self.stamp, self.variant.method.slug


@dataclass(frozen=True, eq=False)
class Row:
    """A variant on a pair; `trace` and all after it are None while a search has to come first."""

    place: Place
    trace: MixTrace | None = None
    seconds: float = 0.0
    measures: Measures | None = None
    logits: Tensor | None = None


def place(variant: Variant, bench: Bench, lam: float, seed: int, block: int) -> Place:
    """Look at the pair as a variant asks to."""
    look = bench.look if variant.source is None else replace(bench.look, source=variant.source)
    params = variant.params(lam, seed, block)
    inputs = UNCHANGED
    if variant.inputs is not as_they_are:
        change = variant.inputs
        inputs = Inputs((change.__name__, seed), lambda images: change(images, seed))
    seen = compute.look_at(
        look, variant.method.slug, params, bench.held, classifier.own(), inputs=inputs
    )
    chosen = agent.choose(bench) if "q0" in variant.method.needs else None
    stamp = inputs.stamp if chosen is None else ("policy", agent.stamp())
    return Place(variant, look, params, stamp, seen.pair, chosen)


def mix(one: Place) -> tuple[MixTrace, float] | None:
    """Return the trace and the seconds it took, None while a search has to come first."""
    slug = one.variant.method.slug
    compute.yield_to_newer_run()
    pair = compute.complete(
        one.look, slug, one.params, one.pair, classifier.own(), stamp=one.stamp, chosen=one.chosen
    )
    return None if pair is None else compute.mix(one.look, slug, one.params, pair, one.stamp)


def line_up(places: Sequence[Place], bench: Bench) -> list[Row]:
    """Mix and measure; every mix goes through the classifier in one pass.

    All are measured on the gradient saliency of the pictures themselves, unblurred.
    """
    mixed = [(one, *(mix(one) or (None, 0.0))) for one in places]
    logits = compute.predict_all(
        bench.look,
        {one.key: trace for one, trace, _ in mixed if trace is not None},
        classifier.own(),
    )
    maps = [sum_to_one(seen.explanation.saliency) for seen in (bench.seen.a, bench.seen.b)]
    labels = torch.stack([bench.seen.a.explanation.label, bench.seen.b.explanation.label], 1)
    rows = []
    for one, trace, seconds in mixed:
        if trace is None:
            rows.append(Row(one))
            continue
        row = logits[one.key][None]
        shown = one.variant.method.seen(trace, maps[0], maps[1])
        measures = measure(trace.mixed, shown, trace.weights, row, labels)
        rows.append(Row(one, trace, seconds, measures, row[0]))
    return rows


def variants(more: bool, main: Sequence[str]) -> list[Variant]:
    """Return the variants to show, in the order of the menu."""
    return [variant for slug, variant in VARIANTS.items() if more or slug in main]
