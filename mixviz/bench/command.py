"""The command line of ``python -m mixviz.bench``."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mixviz.bench import browser, figure2, menu, pairing, report, sight, solvers, steps
from mixviz.bench.report import Table

SECTIONS: Mapping[str, Callable[[], list[Table]]] = {
    "masks": solvers.masks,
    "steps": steps.steps,
    "menu": menu.menu,
    "algorithm1": solvers.algorithm1,
    "pairing": pairing.pairings,
    "saliency": sight.saliency,
    "figure2": figure2.figure2,
    "browser": browser.browser,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the sections named, print them as Markdown, and write them as JSON if asked."""
    parser = argparse.ArgumentParser(
        prog="python -m mixviz.bench",
        description="Measure the solvers, the whole step, the classifier and the app in a browser. "
        "Set OMP_NUM_THREADS=1, as the app runs.",
    )
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    if running := report.trainings():
        sys.stderr.write(
            f"mixviz.bench: a training runs (process {', '.join(map(str, running))}); "
            "every figure below is slower for it\n"
        )
    where = report.environment()
    sys.stdout.write("; ".join(f"{name} {value}" for name, value in where.items()) + "\n\n")
    found: dict[str, list[dict[str, object]]] = {}
    for name in options.sections or SECTIONS:
        found[name] = []
        for table in SECTIONS[name]():
            sys.stdout.write(table.markdown() + "\n")
            sys.stdout.flush()
            found[name].append({"title": table.title, "rows": table.records()})
    sys.stdout.write(f"load at the end: {report.environment()['load']}\n")
    if options.json:
        text = json.dumps({"environment": where, "sections": found}, ensure_ascii=False, indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0
