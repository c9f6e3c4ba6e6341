"""The judged section: our errors beside the papers', calibration, and what mixing costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import streamlit as st

from mixviz.evaluate.costs import (
    BATCHES,
    COSTS,
    MEASURED_ON,
    PUBLISHED_NETWORK,
    PUBLISHED_ON,
    cost_of,
)
from mixviz.evaluate.papers import PROTOCOLS, REPORTED, reported_on
from mixviz.ui.candidates import Candidate
from mixviz.ui.tables import Part, Row, write_table
from mixviz.ui.verdicts import Facts, Report, count_words, facts, reported, say_command
from mixviz.viz import judgement as charts
from mixviz.viz.look import Look

PRINTED = tuple(dict.fromkeys(name for row in REPORTED for name in row.figures))
"""Columns that a paper prints too, in the papers' order."""


@dataclass(frozen=True)
class Standing:
    """A line of the table: one classifier, or several that differ in the seed alone.

    Attributes:
        title: its name.
        known: what the card of the first tells.
        seeds: of those several; empty for one.
        members: their names; likewise.
        images: how many pictures its report was measured on, 0 without one.
        percent: by heading; the mean where there are several.
        reach: half the range over the seeds, by heading; empty for one.
    """

    title: str
    known: Facts
    seeds: Sequence[int]
    members: Sequence[str]
    images: int
    percent: Mapping[str, float]
    reach: Mapping[str, float]

    @property
    def words(self) -> str:
        """How it was trained and judged."""
        known = self.known
        parts = [known.network, f"{known.epochs} epochs" if known.epochs else "", known.cost]
        if self.members:
            seeds = ", ".join(str(seed) for seed in self.seeds)
            parts.append(f"seeds {seeds} ({', '.join(self.members)})")
        return ", ".join(part for part in parts if part)

    def cell(self, heading: str) -> str:
        """Return a figure as it stands in the table."""
        if heading not in self.percent:
            return "–"
        reach = f" ± {self.reach[heading]:.2f}" if heading in self.reach else ""
        return f"{self.percent[heading]:.2f}{reach}"


def stand(
    who: Sequence[Candidate], told: Mapping[str, Facts], found: Mapping[str, Report]
) -> list[Standing]:
    """Return the lines of the table; runs of one recipe with different seeds share a line.

    Args:
        who: the classifiers.
        told: what their cards say, by slug.
        found: the reports on them, by slug.
    """
    alike: dict[str, list[Candidate]] = {}
    for one in who:
        alike.setdefault(told[one.slug].recipe or one.slug, []).append(one)
    lines = []
    for members in alike.values():
        seeds = [told[one.slug].seed for one in members]
        together = len(members) > 1 and None not in seeds and len(set(seeds)) == len(seeds)
        groups = [members] if together else [[one] for one in members]
        lines += [_stand_together(group, told, found) for group in groups]
    return lines


def _stand_together(
    members: Sequence[Candidate], told: Mapping[str, Facts], found: Mapping[str, Report]
) -> Standing:
    several = len(members) > 1
    if several:
        members = sorted(members, key=lambda one: told[one.slug].seed or 0)
    first = told[members[0].slug]
    figures = []
    for one in members:
        report = found[one.slug].percent if one.slug in found else {}
        # The card comes from all validation pictures, a report often from some.
        figures.append({**report, **told[one.slug].errors})
    shared = [name for name in figures[0] if all(name in one for one in figures)]
    values = {name: [one[name] for one in figures] for name in shared}
    return Standing(
        title=f"{first.method}, {len(members)} seeds" if several else members[0].title,
        known=first,
        seeds=[seed for one in members if (seed := told[one.slug].seed) is not None and several],
        members=[one.title for one in members] if several else [],
        images=min((found[one.slug].images for one in members if one.slug in found), default=0),
        percent={name: fmean(column) for name, column in values.items()},
        reach={name: (max(v) - min(v)) / 2 for name, v in values.items()} if several else {},
    )


# ---- the page -----------------------------------------------------------------------------------


def show(who: Sequence[Candidate], look: Look) -> None:
    """Draw the section."""
    found = reported(who)
    told = {one.slug: facts(one) for one in who}
    lines = stand(who, told, found)
    headings = list(dict.fromkeys(name for line in lines for name in line.percent))
    printed = [name for name in PRINTED if name in headings]
    _show_errors(lines, printed)
    if not found:
        say_command("attacks, calibration or corruptions")
    _show_reliability(who, found, look)
    _show_further(lines, [name for name in headings if name not in PRINTED])
    _show_costs(lines, look)
    _show_protocols(lines, found)


def _ours(lines: Sequence[Standing], headings: Sequence[str]) -> list[Row]:
    columns = [[line.percent.get(name) for line in lines] for name in headings]
    best = [_best(column, name) for column, name in zip(columns, headings, strict=True)]
    return [
        Row(
            line.title,
            [line.cell(name) for name in headings],
            line.words,
            [column for column, rows in enumerate(best) if row in rows],
        )
        for row, line in enumerate(lines)
    ]


def _best(column: Sequence[float | None], heading: str) -> list[int]:
    """Return the rows with the best value; none where there is nothing to compare."""
    known = [value for value in column if value is not None]
    if len(known) < 2 or min(known) == max(known):
        return []
    best = max(known) if "↑" in heading else min(known)
    return [row for row, value in enumerate(column) if value == best]


def _theirs(lines: Sequence[Standing], headings: Sequence[str]) -> list[Part]:
    """Return the papers' rows on the data of ours, a part for each table and network."""
    data = tuple(line.known.data for line in lines)
    parts: dict[tuple[str, str, str], list[Row]] = {}
    for row in reported_on(data):
        if any(name in row.figures for name in headings):
            cells = [f"{row.figures[k]:.2f}" if k in row.figures else "" for k in headings]
            place = (row.table, row.network, row.dataset)
            parts.setdefault(place, []).append(Row(row.method, cells))
    return [
        Part(table, f"{network}, {dataset}; {PROTOCOLS[table]}", rows)
        for (table, network, dataset), rows in parts.items()
    ]


def _show_errors(lines: Sequence[Standing], headings: Sequence[str]) -> None:
    st.subheader("Errors in percent", help="Lower is better.")
    words = "top-1 and top-5 on all validation pictures"
    if any(line.images for line in lines):
        words += f", the rest on {count_words(line.images for line in lines)} of them"
    theirs = _theirs(lines, headings)
    parts = [Part("Ours", words, _ours(lines, headings)), *theirs]
    st.html(write_table(["Classifier", *headings], parts, "judged"))
    said = ["The best of ours in each column stands out."]
    if any(line.reach for line in lines):
        said.append("Mean of the seeds ± half their range.")
    if theirs:
        said.append(
            "The papers trained far longer, and networks of full width: compare the order of "
            "methods, not the numbers."
        )
    st.caption(" ".join(said))


def _show_further(lines: Sequence[Standing], headings: Sequence[str]) -> None:
    if not headings:
        return
    st.subheader(
        "Further measures",
        help="Errors in percent, lower is better; where ↑ stands, shares, higher is better.",
    )
    rows = [Row(row.title, row.cells, best=row.best) for row in _ours(lines, headings)]
    st.html(write_table(["Classifier", *headings], [Part("", "", rows)], "further"))


def _show_reliability(who: Sequence[Candidate], found: Mapping[str, Report], look: Look) -> None:
    measured = [(one, found[one.slug]) for one in who if one.slug in found and found[one.slug].bins]
    if not measured:
        return
    st.subheader(
        "Reliability",
        help="Of the pictures it is p sure of, a calibrated classifier gets p right: bars end at "
        "the diagonal. Below it, it is surer than it is right.",
    )
    rows = [st.columns(3, gap="medium") for _ in range(-(-len(measured) // 3))]
    places = [place for row in rows for place in row]
    for (one, report), place in zip(measured, places, strict=False):
        error = report.percent.get("ECE")
        title = one.title if error is None else f"{one.title}: ECE {error:.1f} %"
        with place:
            st.plotly_chart(
                charts.reliability(report.bins, title, look),
                theme=None,
                key=f"reliability-{one.slug}",
                config={"displayModeBar": False},
                alt=f"Reliability of {title}: "
                + "; ".join(
                    f"confidence {row['confidence']:.0%}, accuracy {row['accuracy']:.0%}"
                    for row in report.bins
                    if row["count"]
                ),
            )
    st.caption(
        "Grey: the share that is right at each confidence. Hatched: its distance to the confidence "
        "itself, the dashed line."
    )


# ---- what mixing costs --------------------------------------------------------------------------


def published_points() -> list[charts.Point]:
    """Return the points of GuidedMixup's Figure 3, from its Tables 2 and 3."""
    return [
        charts.Point(cost.method, cost.published[0], cost.accuracy, cost.has_extra_pass)
        for cost in COSTS
        if cost.published and cost.accuracy is not None
    ]


def our_points(lines: Sequence[Standing]) -> list[charts.Point]:
    """Return overhead and accuracy of the compared classifiers of one setting.

    Of several settings the one with most ways of mixing counts; none where there are not two.
    """
    by_setting: dict[str, list[charts.Point]] = {}
    for line in lines:
        cost = cost_of(line.known.mixing)
        if cost is None or cost.measured is None or "top-1" not in line.percent:
            continue
        point = charts.Point(
            cost.method, cost.measured, 100 - line.percent["top-1"], cost.has_extra_pass
        )
        by_setting.setdefault(line.known.setting, []).append(point)
    most = max(by_setting.values(), key=len, default=[])
    return most if len({point.overhead for point in most}) > 1 else []


def _show_costs(lines: Sequence[Standing], look: Look) -> None:
    st.subheader(
        "What mixing costs",
        help="Augmentation overhead: how much longer training takes than without mixing, "
        "(T − T₀)/T₀ in percent. Nearer to the upper left corner is better.",
    )
    theirs = (f"Published: {PUBLISHED_ON}, {PUBLISHED_NETWORK}", published_points())
    ours = ("Ours: the classifiers compared", our_points(lines))
    shown = [one for one in (ours, theirs) if one[1]]
    for (title, points), place in zip(shown, st.columns(2, gap="medium"), strict=False):
        place.plotly_chart(
            charts.overhead_scatter(points, title, look),
            theme=None,
            key=f"costs-{title.partition(':')[0].lower()}",
            config={"displayModeBar": False},
            alt=f"{title}. "
            + "; ".join(
                f"{one.title}: overhead {one.overhead:g} %, top-1 {one.accuracy:.2f} %"
                for one in points
            ),
        )
    st.caption(
        "GuidedMixup, Figure 3: overhead (Table 2, batch 16) and accuracy (Table 3; the figure "
        f"does not name its network). Ours: overhead on {MEASURED_ON}; accuracy of the "
        "classifiers compared here, of the setting that most of them share, from their cards."
    )
    with st.expander("Overhead in percent, published and ours"):
        rows = [
            Row(cost.method, [*_published(cost.published), _percent(cost.measured)])
            for cost in COSTS
            if cost.row != COSTS[0].row
        ]
        heads = ["Method", *(f"published, batch {size}" for size in BATCHES), "ours, batch 64"]
        st.html(write_table(heads, [Part("", "", rows)], "costs"))
        st.caption(
            f"Published: GuidedMixup, Table 2, on {PUBLISHED_ON}, without multi-processing. Ours: "
            f"{MEASURED_ON}; checkpoints/README.md holds the command."
        )


def _published(figures: Sequence[float]) -> list[str]:
    return [_percent(value) for value in figures] or ["–"] * len(BATCHES)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"+{value:g}"


def _show_protocols(lines: Sequence[Standing], found: Mapping[str, Report]) -> None:
    protocol = {name: text for one in found.values() for name, text in one.protocol.items()}
    tables = dict.fromkeys(row.table for row in reported_on(tuple(k.known.data for k in lines)))
    if not protocol:
        return
    with st.expander("How each figure was measured"):
        ours = [f"- Ours, {name}: {text}" for name, text in protocol.items()]
        theirs = [f"- {name}: {PROTOCOLS[name]}." for name in tables]
        st.text("\n".join([*ours, *theirs]))
