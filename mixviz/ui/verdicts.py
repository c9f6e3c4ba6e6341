"""What cards and reports say of classifiers: errors as in the papers, calibration, corruptions."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import streamlit as st

from mixviz import zoo
from mixviz.ui.candidates import RUN, RUNS, Candidate, method_title, read_card, run_folders
from mixviz.viz import judgement as charts
from mixviz.viz.look import Look

MAX_REPORT = 20_000_000  # bytes
SUFFIX = ".report.json"
COMMAND = (
    "python -m mixviz.evaluate checkpoints/*.safetensors --data DIR "
    f"--json checkpoints/tiny-imagenet{SUFFIX}"
)
TOP = ("top-1", "top-5")


@dataclass(frozen=True)
class Facts:
    """What a card tells; empty or None where it does not.

    Attributes:
        method: what mixed its batches, in words.
        network: architecture and width.
        epochs: of its training.
        cost: time and machine of its training.
        errors: percent on its validation pictures, by heading of `TOP`.
        sha256: of its weights.
    """

    method: str = ""
    network: str = ""
    epochs: str = ""
    cost: str = ""
    errors: Mapping[str, float] = field(default_factory=dict)
    sha256: str = ""


@dataclass(frozen=True)
class Report:
    """What `mixviz.evaluate` found of one classifier.

    Attributes:
        name: of the checkpoint.
        images: how many it was judged on.
        percent: by heading of its column.
        bins: confidence, accuracy and count of each bin; empty where not measured.
        corrupted: error in percent by corruption, one for each severity; likewise.
    """

    name: str
    images: int
    percent: Mapping[str, float]
    bins: Sequence[Mapping[str, float]]
    corrupted: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Reported:
    """A row of a paper's table."""

    method: str
    source: str
    percent: Mapping[str, float]


# ---- cards --------------------------------------------------------------------------------------


@st.cache_data(max_entries=64, show_spinner=False)
def _read_json(path: str, changed: float, limit: int) -> dict[str, Any]:
    """Return a JSON object of this server; an empty one for anything else."""
    del changed  # a file written anew is read anew
    try:
        if Path(path).stat().st_size > limit:
            return {}
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _object(path: Path) -> dict[str, Any]:
    try:
        return _read_json(str(path), path.stat().st_mtime, MAX_REPORT)
    except OSError:
        return {}


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _numbers(values: Any) -> dict[str, float]:
    return {
        str(name): float(value)
        for name, value in _dict(values).items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def _time(seconds: Any) -> str:
    if not isinstance(seconds, (int, float)):
        return ""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def facts(one: Candidate) -> Facts:
    """Return what is known of a classifier's training."""
    if one.slug.startswith(RUN):
        folder = run_folders().get(one.slug.removeprefix(RUN))
        card = (read_card(folder) if folder else None) or {}
    elif one.slug in zoo.CATALOGUE and zoo.CATALOGUE[one.slug].kind == "bundled":
        card = _object(zoo.CATALOGUE[one.slug].path().with_suffix(".json"))
    elif one.slug in zoo.CATALOGUE:
        known = zoo.card(one.slug)
        found = {"top-1": known.top1, "top-5": known.top5}
        errors = {name: 100 - value for name, value in found.items() if value is not None}
        return Facts(network=known.architecture, errors=errors)
    else:
        return Facts()
    network = _dict(card.get("architecture"))
    width = _dict(network.get("options")).get("width")
    method, hardware = str(card.get("method")), card.get("hardware")
    right = _numbers({"top-1": card.get("top1"), "top-5": card.get("top5")})
    return Facts(
        method=method_title(method),
        network=f"{network.get('name', '')}{f', width {width}' if width else ''}",
        epochs=str(card.get("epochs", "")),
        cost=", ".join(part for part in (_time(card.get("seconds")), hardware) if part),
        errors={name: 100 - value for name, value in right.items()},
        sha256=str(card.get("sha256", "")),
    )


def in_words(one: Candidate) -> str:
    """Say in a line how a classifier was trained, as HTML."""
    if one.slug in zoo.CATALOGUE and zoo.CATALOGUE[one.slug].kind == "hub":
        return "torchvision’s weights"
    known = facts(one)
    parts = [f"{known.epochs} epochs"] if known.epochs else []
    parts += [f"top-1 error {known.errors['top-1']:.1f} %"] if "top-1" in known.errors else []
    return escape(", ".join(parts))


# ---- reports ------------------------------------------------------------------------------------


def _files() -> list[Path]:
    found = [*zoo.CHECKPOINTS.glob(f"*{SUFFIX}")]
    found += [*RUNS.glob(f"*{SUFFIX}"), *RUNS.glob(f"*/*{SUFFIX}")]
    return sorted(found, key=lambda path: path.stat().st_mtime)


def _bins(run: Mapping[str, Any]) -> list[dict[str, float]]:
    rows = _dict(_dict(run.get("details")).get("calibration")).get("bins")
    bins = [_numbers(row) for row in rows] if isinstance(rows, list) else []
    wanted = {"confidence", "accuracy", "count"}
    return bins if all(wanted <= row.keys() for row in bins) else []


def _corrupted(run: Mapping[str, Any]) -> dict[str, list[float]]:
    rows = _dict(_dict(_dict(run.get("details")).get("corruptions")).get("by_severity"))
    return {
        str(name): [float(value) for value in values]
        for name, values in rows.items()
        if isinstance(values, list)
        and values
        and all(isinstance(value, (int, float)) for value in values)
    }


def reports() -> tuple[dict[str, Report], list[Reported]]:
    """Return what reports here say, by the sum of the weights, and the papers' rows beside it.

    Of two reports on the same weights the newer counts, measure by measure.
    """
    found: dict[str, Report] = {}
    papers: dict[tuple[str, str, str], Reported] = {}
    for path in _files():
        content = _object(path)
        runs, theirs = content.get("runs"), content.get("papers")
        for run in runs if isinstance(runs, list) else []:
            run = _dict(run)
            name, sha, images = run.get("checkpoint"), run.get("sha256"), run.get("images")
            if not (isinstance(name, str) and isinstance(sha, str) and isinstance(images, int)):
                continue
            old = found.get(sha, Report(name, images, {}, [], {}))
            found[sha] = Report(
                name,
                images,
                {**old.percent, **_numbers(run.get("percent"))},
                _bins(run) or old.bins,
                _corrupted(run) or old.corrupted,
            )
        for row in theirs if isinstance(theirs, list) else []:
            row = _dict(row)
            key = tuple(str(row.get(part, "")) for part in ("method", "table", "network"))
            papers[key[0], key[1], key[2]] = Reported(
                key[0], f"{key[1]} ({key[2]})", _numbers(row.get("percent"))
            )
    return found, list(papers.values())


def reported(who: Sequence[Candidate]) -> dict[str, Report]:
    """Return the reports on these classifiers, by slug."""
    found, _ = reports()
    sums = {one.slug: facts(one).sha256 for one in who if one.slug in (*zoo.CATALOGUE,)}
    sums |= {one.slug: facts(one).sha256 for one in who if one.slug.startswith(RUN)}
    return {slug: found[sha] for slug, sha in sums.items() if sha in found}


def say_command(what: str) -> None:
    """Say that there is no report, and the command that makes one."""
    st.info(
        f"No report here holds {what} of these classifiers. This command makes one (DIR holds the "
        "validation pictures; checkpoints/README.md says how):"
    )
    st.code(COMMAND, language="sh")


# ---- the page -----------------------------------------------------------------------------------


def table(
    heads: Sequence[str],
    lines: Sequence[Sequence[str]],
    name: str,
    best: Sequence[Collection[int]] = (),
) -> str:
    """Return a table for people and screen readers; it scrolls where it does not fit.

    Args:
        heads: of the columns.
        lines: cells of each row, as text.
        name: of the table, for tests.
        best: for each column the rows that stand out.
    """
    head = "".join(f'<th scope="col">{escape(one)}</th>' for one in heads)
    body = ""
    for row, (first, *rest) in enumerate(lines):
        body += f'<tr><th scope="row">{escape(first)}</th>'
        for column, cell in enumerate(rest, 1):
            stands_out = column < len(best) and row in best[column]
            body += f"<td{' class=mv-best' if stands_out else ''}>{escape(cell)}</td>"
        body += "</tr>"
    return (
        f'<div class="mv-claims" tabindex="0" data-table="{name}"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _best(column: Sequence[float | None], heading: str) -> list[int]:
    """Return the rows with the best value; none where there is nothing to compare."""
    known = [value for value in column if value is not None]
    if len(known) < 2 or min(known) == max(known):
        return []
    best = max(known) if "↑" in heading else min(known)
    return [row for row, value in enumerate(column) if value == best]


def show(who: Sequence[Candidate], look: Look) -> None:
    """Draw the section."""
    found = reported(who)
    told = {one.slug: facts(one) for one in who}
    headings = list(TOP)
    headings += [
        name
        for name in dict.fromkeys(name for one in found.values() for name in one.percent)
        if name not in TOP
    ]
    values: list[list[float | None]] = []
    for one in who:
        # The card comes from all validation pictures, a report often from some.
        report = found[one.slug].percent if one.slug in found else {}
        measured = {**report, **told[one.slug].errors}
        values.append([measured.get(name) for name in headings])
    lines = []
    for one, row in zip(who, values, strict=True):
        card = told[one.slug]
        images = f"{found[one.slug].images:,}" if one.slug in found else "card"
        lines.append(
            [one.title, card.method, card.network, card.epochs, card.cost]
            + ["–" if value is None else f"{value:.2f}" for value in row]
            + [images]
        )
    best: list[list[int]] = [[]] * 5 + [
        _best([row[k] for row in values], name) for k, name in enumerate(headings)
    ]
    st.subheader("Errors in percent", help="Lower is better but where ↑ says otherwise.")
    heads = ["Classifier", "Mixed by", "Network", "Epochs", "Training", *headings, "Pictures"]
    st.html(table(heads, lines, "judged", best))
    st.caption(
        "Top-1 and top-5 are the card’s, on all validation pictures; the rest is measured on as "
        "many as the last column says. FGSM and PGD: error under an attack of that ε; ECE: "
        "expected calibration error; corrupted: mean error over 19 corruptions at 5 severities. "
        "The best of each column stands out; one run each, seeds are not averaged."
    )
    if not found:
        say_command("attacks, calibration or corruptions")
    _show_papers(headings)
    _show_reliability(who, found, look)


def _show_papers(headings: Sequence[str]) -> None:
    _, papers = reports()
    shared = [name for name in headings if any(name in row.percent for row in papers)]
    rows = [row for row in papers if any(name in row.percent for name in shared)]
    if not rows:
        return
    with st.expander("What the papers report"):
        lines = [
            [
                row.method,
                *(f"{row.percent[k]:.2f}" if k in row.percent else "–" for k in shared),
                row.source,
            ]
            for row in rows
        ]
        st.html(table(["Method", *shared, "Source"], lines, "papers"))
        st.caption("Theirs are larger networks, trained far longer: compare columns, not rows.")


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
