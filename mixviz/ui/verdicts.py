"""What cards and reports say of classifiers: read here, and told in a line."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import streamlit as st

from mixviz import zoo
from mixviz.evaluate.costs import row_of
from mixviz.ui.candidates import (
    MAX_CARD,
    RUN,
    RUNS,
    Candidate,
    method_title,
    read_card,
    read_object,
    run_folders,
)

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
        data: what it was trained on.
        mixing: what `mixviz.train.overhead` calls its mixing; "" where the card tells no recipe.
        setting: its recipe but for mixing and seed, as text that is equal where recipes are;
            likewise "".
        recipe: all of it but for the seed; likewise "".
        seed: of its training.
    """

    method: str = ""
    network: str = ""
    epochs: str = ""
    cost: str = ""
    errors: Mapping[str, float] = field(default_factory=dict)
    sha256: str = ""
    data: str = ""
    mixing: str = ""
    setting: str = ""
    recipe: str = ""
    seed: int | None = None


@dataclass(frozen=True)
class Report:
    """What `mixviz.evaluate` found of one classifier.

    Attributes:
        name: of the checkpoint.
        images: how many it was judged on.
        percent: by heading of its column.
        bins: confidence, accuracy and count of each bin; empty where not measured.
        corrupted: error in percent by corruption, one for each severity; likewise.
        protocol: how each was measured, by name.
    """

    name: str
    images: int
    percent: Mapping[str, float]
    bins: Sequence[Mapping[str, float]]
    corrupted: Mapping[str, Sequence[float]]
    protocol: Mapping[str, str] = field(default_factory=dict)


# ---- cards --------------------------------------------------------------------------------------


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9


def _numbers(values: Any) -> dict[str, float]:
    return {str(name): float(value) for name, value in _dict(values).items() if _is_number(value)}


def _time(seconds: Any) -> str:
    if not _is_number(seconds):
        return ""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def facts(one: Candidate) -> Facts:
    """Return what is known of a classifier's training."""
    if one.slug.startswith(RUN):
        folder = run_folders().get(one.slug.removeprefix(RUN))
        card = (read_card(folder) if folder else None) or {}
    elif one.slug in zoo.CATALOGUE and zoo.CATALOGUE[one.slug].kind == "bundled":
        card = read_object(zoo.CATALOGUE[one.slug].path().with_suffix(".json"), MAX_CARD)
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
        data=str(card.get("data", "")),
        **_recipe(card),
    )


def _recipe(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a card decides with which others its classifier can be compared."""
    recipe = _dict(card.get("recipe"))
    if not recipe:
        return {}
    seed = card.get("seed")
    alike = {key: value for key, value in recipe.items() if key not in ("seed", "mixing")}
    setting = json.dumps([card.get("data"), alike], sort_keys=True)
    mixing = _dict(recipe.get("mixing"))
    return {
        "mixing": row_of(mixing),
        "setting": setting,
        "recipe": json.dumps([setting, mixing, card.get("epochs")], sort_keys=True),
        "seed": seed if isinstance(seed, int) else None,
    }


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
    for depth in ("", "*/", "*/*/"):
        found += RUNS.glob(f"{depth}*{SUFFIX}")
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
        if isinstance(values, list) and values and all(_is_number(value) for value in values)
    }


def reports() -> dict[str, Report]:
    """Return what reports here say, by the sum of the weights.

    Of two reports on the same weights the newer counts, measure by measure.
    """
    found: dict[str, Report] = {}
    for path in _files():
        content = read_object(path, MAX_REPORT)
        runs = content.get("runs")
        said = {str(name): str(text) for name, text in _dict(content.get("protocol")).items()}
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
                {**old.protocol, **said},
            )
    return found


def reported(who: Sequence[Candidate]) -> dict[str, Report]:
    """Return the reports on these classifiers, by slug."""
    found = reports()
    sums = {one.slug: facts(one).sha256 for one in who if one.slug in (*zoo.CATALOGUE,)}
    sums |= {one.slug: facts(one).sha256 for one in who if one.slug.startswith(RUN)}
    return {slug: found[sha] for slug, sha in sums.items() if sha in found}


def count_words(images: Iterable[int]) -> str:
    """Say on how many pictures reports were measured, passing over those on none."""
    counts = sorted({count for count in images if count})
    return " to ".join(f"{count:,}" for count in dict.fromkeys(counts[:1] + counts[-1:]))


def say_command(what: str) -> None:
    """Say that there is no report, and the command that makes one."""
    st.info(
        f"No report here holds {what} of these classifiers. This command makes one (DIR holds the "
        "validation pictures; checkpoints/README.md says how):"
    )
    st.code(COMMAND, language="sh")
