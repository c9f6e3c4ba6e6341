"""Figure 2 of Puzzle Mix: what measuring it costs by stage, and what comes out."""

import time
from functools import partial

import numpy as np
import torch

from mixviz import zoo
from mixviz.bench.report import Cell, Table
from mixviz.bench.sight import BUNDLED, picture
from mixviz.figure2 import (
    LAMS,
    STATISTICS,
    Curves,
    Held,
    Plan,
    Rates,
    Sight,
    Subject,
    collect,
    draw_pairs,
    judge,
    measure_pairs,
)
from mixviz.methods.variants import VARIANTS
from mixviz.samples import SAMPLES

# RL-Mix searches a hundred mixes and their saliency for every pair and λ.
MEASURED = tuple(slug for slug in VARIANTS if slug != "rl_mix")


def figure2(
    pairs: int = 32,
    lams: tuple[float, ...] = LAMS,
    variants: tuple[str, ...] = MEASURED,
    size: int = 224,
) -> list[Table]:
    """Measure the five statistics on bundled photographs by every variant but RL-Mix."""
    torch.set_num_threads(1)
    classifier = zoo.load(BUNDLED, torch.device("cpu"))
    subjects = [
        Subject((slug, size), sample.name, partial(picture, index, size))
        for index, (slug, sample) in enumerate(SAMPLES.items())
    ]
    groups = [sample.source.file for sample in SAMPLES.values()]
    plan = Plan(draw_pairs(groups, pairs, 0), variants, lams=lams)
    sight = Sight(BUNDLED, lambda work: work(classifier), Held(), Held())
    start = time.perf_counter()
    for _ in measure_pairs(plan, subjects, sight, Rates()):
        pass
    seconds = time.perf_counter() - start
    curves = collect(plan, subjects, sight)
    setting = f"{len(plan.pairs)} pairs, {len(lams)} values of λ, {size} px"
    return [_cost(curves, seconds, setting), _statistics(curves, setting), _verdicts(curves)]


def _cost(curves: Curves, seconds: float, setting: str) -> Table:
    seen, taken = curves.looked
    mixes = curves.plan.mixes()
    rows: list[tuple[Cell, ...]] = [
        ("saliency of a picture", seen, 1e3 * curves.rates.saliency, taken),
        (
            "prediction of a mix",
            mixes,
            1e3 * curves.rates.prediction,
            mixes * curves.rates.prediction,
        ),
    ]
    for slug in curves.plan.variants:
        made = len(curves.plan.pairs) * curves.plan.mixes_of(slug) * curves.plan.draws_of(slug)
        rate = curves.rates.of(slug)
        rows.append((f"mix by {VARIANTS[slug].title}", made, 1e3 * rate, made * rate))
    rows.append(("all of it", mixes, 1e3 * seconds / max(mixes, 1), seconds))
    columns = ("stage", "how many", "ms each", "seconds")
    return Table(f"Figure 2, cost by stage; {setting}; mixing is a median", columns, tuple(rows))


def _statistics(curves: Curves, setting: str) -> Table:
    rows = []
    for slug in curves.plan.variants:
        mean = [float(value) for value in curves.overall(slug)[0]]
        rows.append(
            (VARIANTS[slug].title, *(value if np.isfinite(value) else None for value in mean))
        )
    columns = ("variant", *(statistic.title for statistic in STATISTICS.values()))
    title = f"Figure 2, averaged over λ; {setting}; top-2 without {curves.excluded} pairs alike"
    return Table(title, columns, tuple(rows))


def _verdicts(curves: Curves) -> Table:
    rows = tuple(
        (
            STATISTICS[verdict.statistic].title,
            STATISTICS[verdict.statistic].claim,
            verdict.outcome,
            verdict.margin if np.isfinite(verdict.margin) else None,
            verdict.error if np.isfinite(verdict.error) else None,
            VARIANTS[verdict.best_of_all].title if verdict.best_of_all else None,
        )
        for verdict in judge(curves)
    )
    columns = ("statistic", "the paper", "here", "margin", "standard error", "best of all")
    return Table("Figure 2, the paper’s claims among its own methods", columns, rows)
