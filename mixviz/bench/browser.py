"""The app as a visitor feels it: a real server, a real Chromium, times taken in the page."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixviz.bench.report import Cell, Table, milliseconds

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = (Path(__file__).parent / "visit.js").read_text(encoding="utf-8")
NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PAGES = {"Mix": "/", "Puzzle Mix": "/Puzzle_Mix"}
KNOBS = {"β": "beta", "η": "eta", "ξ": "xi"}
SCRUBBING = (
    "grid",
    "by",
    "draw p50",
    "draw p95",
    "draw worst",
    "input → frame p50",
    "input → frame p95",
    "bytes to the server",
)
TURNING = (
    "grid",
    "knob",
    "next key",
    "moves",
    "picture p50",
    "picture p95",
    "picture worst",
    "all 51 λ p50",
    "all 51 λ p95",
    "kB received",
    "messages",
)
PATIENCE = 30_000  # ms
# Resolves with the milliseconds from the next arrow key to the frame with the new contact sheet.
RESHEETED = """
(sheet) => {
  const share = () => sheet.querySelector('[data-slug="input_mixup"] .Bt')?.textContent;
  const before = share();
  let start = null;
  addEventListener("keydown", (e) => { start ??= e.timeStamp; }, { capture: true, once: true });
  window.mixvizSheet = new Promise((resolve) => {
    const look = () => {
      if (start === null || share() === before) return requestAnimationFrame(look);
      requestAnimationFrame(() => resolve(performance.now() - start));
    };
    look();
  });
}
"""
SOLVERS = ("exact", "random", "greedy")
# Resolves with the milliseconds from the next Enter to the frame that shows another pairing.
REPAIRED = """
() => {
  const chart = () => document.querySelector("[class*=st-key-matrix-] .js-plotly-plot");
  const pairs = () => JSON.stringify([...(chart()?.data[1].x ?? [])]);
  const before = pairs();
  let start = null;
  const take = (event) => { if (event.key === "Enter") start ??= event.timeStamp; };
  addEventListener("keydown", take, { capture: true });
  window.mixvizRepaired = new Promise((resolve) => {
    const look = () => {
      if (start === null || pairs() === before) return requestAnimationFrame(look);
      removeEventListener("keydown", take, { capture: true });
      requestAnimationFrame(() => resolve(performance.now() - start));
    };
    look();
  });
}
"""


def browser(repeats: int = 5, moves: int = 36, grids: Sequence[int] = (16, 8)) -> list[Table]:
    """First visits, scrubbing, knobs and new pictures; no table without Chromium or Playwright."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sys.stdout.write("browser: skipped, Playwright is not installed\n\n")
        return []
    named = os.environ.get("CHROMIUM")
    path = next(filter(None, map(shutil.which, [named] if named else NAMES)), None)
    if path is None:
        sys.stdout.write("browser: skipped, Chromium is not installed\n\n")
        return []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            return [
                _first_visits(chromium, repeats),
                *_on_a_warm_server(chromium, moves, grids),
            ]
        finally:
            chromium.close()


# ------------------------------------------------------------------ server and page


@contextmanager
def serve() -> Iterator[tuple[str, float]]:
    """Run the app on a port of its own; gives its address and the seconds it took to start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    options = ["--server.port", str(port), "--server.address", "127.0.0.1"]
    began = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app.py", *options],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            while not _is_healthy(address):
                if server.poll() is not None or time.perf_counter() - began > 60:
                    log.seek(0)
                    raise RuntimeError(f"the app does not start:\n{log.read().decode()}")
                time.sleep(0.02)
            yield address, time.perf_counter() - began
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(10)


def _is_healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):
            return True
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def _visit(chromium: Any, url: str) -> Iterator[Any]:
    """Open a page as a visitor who has never been here."""
    context = chromium.new_context(viewport={"width": 1440, "height": 1000})
    try:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.add_init_script(SCRIPT)
        page.goto(url)
        yield page
    finally:
        context.close()


def _await(page: Any, condition: str) -> None:
    """Wait, looking seldom, so that the looking does not slow what is measured."""
    page.wait_for_function(condition, polling=50)


# ------------------------------------------------------------------ what is measured


def _first_visits(chromium: Any, repeats: int) -> Table:
    rows = []
    for name, place in PAGES.items():
        is_stage = name != "Mix"
        starts: list[float] = []
        visits: tuple[list[dict[str, float]], ...] = ([], [])
        for _ in range(repeats):
            with serve() as (address, started):
                starts.append(started)
                for visitor in visits:
                    with _visit(chromium, address + place) as page:
                        last = "sweep" if is_stage else "complete"
                        # The sidebar may be mounted after the main part.
                        for mark in ("controls", last):
                            _await(page, f"mixvizBench.at.{mark} !== undefined")
                        visitor.append(page.evaluate("mixvizBench.at"))
        for who, visitor in zip(("first", "second"), visits, strict=True):
            marks = [[at[mark] / 1e3 for at in visitor] for mark in ("title", "controls")]
            complete = [at["complete"] / 1e3 for at in visitor]
            sweep = [at["sweep"] / 1e3 for at in visitor] if is_stage else []
            rows.append(
                (
                    name,
                    who,
                    milliseconds(starts) if who == "first" else None,
                    *map(milliseconds, marks),
                    milliseconds(complete),
                    milliseconds(complete, 100),
                    milliseconds(sweep) if is_stage else None,
                )
            )
    columns = (
        "page",
        "visitor",
        "server start ms",
        "title ms",
        "controls ms",
        "complete ms",
        "worst ms",
        "all 51 λ ms",
    )
    return Table(f"From asking for the page, {repeats} fresh servers", columns, tuple(rows))


def _on_a_warm_server(chromium: Any, moves: int, grids: Sequence[int]) -> list[Table]:
    scrubs: list[tuple[Cell, ...]] = []
    knobs: list[tuple[Cell, ...]] = []
    with serve() as (address, _):
        for grid in grids:
            place = f"{address}/Puzzle_Mix?grid={grid}"
            with _visit(chromium, place) as page:
                _await_sweep(page)
                for by in ("mouse", "keys"):
                    scrubs.append((f"{grid}×{grid}", by, *_scrub(page, by, moves)))
            # Another γ each time, so that no scene is one that the server remembers.
            for waits, gamma in ((True, 0.4), (False, 0.6)):
                with _visit(chromium, f"{place}&gamma={gamma}") as page:
                    _await_sweep(page)
                    knobs += _turn_knobs(page, f"{grid}×{grid}", moves, waits)
        with _visit(chromium, f"{address}/Puzzle_Mix") as page:
            _await_sweep(page)
            pictures = _choose_pictures(page)
        with _visit(chromium, f"{address}/GuidedMixup?batch=sample-32") as page:
            solvers = _change_solvers(page, moves // len(SOLVERS))
        with _visit(chromium, f"{address}/Compare") as page:
            sheets = _compare(page, moves // 4)
    return [
        Table(
            f"Scrubbing λ, {moves} moves, ms",
            SCRUBBING,
            tuple(scrubs),
        ),
        Table(
            "A knob, from the key to the changed picture, ms",
            TURNING,
            tuple(knobs),
        ),
        Table(
            "A new picture, from the key to its saliency on screen, ms",
            ("pictures", "p50", "p95", "worst"),
            (pictures,),
        ),
        Table(
            "Another pairing of 32 pictures, from the key to the frame that shows it, ms",
            ("changes", "p50", "p95", "worst"),
            (solvers,),
        ),
        Table(
            "Compare: all methods but the search of RL-Mix at another λ, from the key to the "
            "frame that shows them, ms",
            ("changes", "p50", "p95", "worst"),
            (sheets,),
        ),
    ]


def _await_sweep(page: Any) -> None:
    _await(page, "mixvizBench.at.sweep !== undefined")
    page.wait_for_timeout(300)


def _scrub(page: Any, by: str, moves: int) -> tuple[Cell, ...]:
    page.evaluate("mixvizBench.scrub()")
    grab = page.locator(".grab")
    if by == "keys":
        grab.focus()
        page.keyboard.press("Home")
        for _ in range(moves):
            page.keyboard.press("ArrowRight")
            page.wait_for_timeout(25)
    else:
        box = grab.bounding_box()
        middle = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + 10, middle)
        page.mouse.down()
        for step in range(1, moves + 1):
            page.mouse.move(box["x"] + 10 + (box["width"] - 20) * step / moves, middle)
            page.wait_for_timeout(25)
    found = page.evaluate(
        "({...mixvizBench.scrubbed, sent: mixvizBench.scrubbed.sent + mixvizBench.sent})"
    )
    if by == "mouse":
        page.mouse.up()
    page.wait_for_timeout(600)
    draws, waits = ([value / 1e3 for value in found[name]] for name in ("draws", "waits"))
    return (
        *(milliseconds(draws, share) for share in (50, 95, 100)),
        *(milliseconds(waits, share) for share in (50, 95)),
        found["sent"],
    )


def _path(moves: int) -> list[tuple[str, str]]:
    """Knobs and keys that never lead back to a scene already seen, β first."""
    each = max(moves // (len(KNOBS) + 1), 1)
    turns = (("β", "Left"), ("η", "Right"), ("ξ", "Right"), ("β", "Right"))
    room = {"ξ": 7}  # stops above the opening ξ
    return [
        (knob, f"Arrow{way}") for knob, way in turns for _ in range(min(each, room.get(knob, each)))
    ]


def _turn_knobs(page: Any, grid: str, moves: int, waits: bool) -> list[tuple[Cell, ...]]:
    taken: dict[str, list[dict[str, float]]] = {knob: [] for knob in KNOBS}
    focused = None
    for knob, key in _path(moves):
        if knob != focused:
            # Each press draws the widget anew, but the focus stays with it.
            slider = f".st-key-puzzle_mix-{KNOBS[knob]}"
            page.locator(f"{slider} [role=slider], {slider} input[type=range]").first.focus()
            focused = knob
        page.evaluate("mixvizBench.arm()")
        page.keyboard.press(key)
        for mark in ("picture", *(("sweep",) if waits else ())):
            _await(page, f"mixvizBench.move.{mark} !== null")
        taken[knob].append(page.evaluate("mixvizBench.move"))
        if waits:
            page.wait_for_timeout(60)
    named = {**taken, "all": [move for found in taken.values() for move in found]}
    return [_row(grid, knob, waits, found) for knob, found in named.items() if found]


def _row(grid: str, knob: str, waits: bool, found: list[dict[str, float]]) -> tuple[Cell, ...]:
    picture = [move["picture"] / 1e3 for move in found]
    sweep = [move["sweep"] / 1e3 for move in found] if waits else []
    received = sum(move["received"] for move in found) / 1e3 / len(found)
    return (
        grid,
        knob,
        "after the sweep" if waits else "at once",
        len(found),
        *(milliseconds(picture, share) for share in (50, 95, 100)),
        *(milliseconds(sweep, share) if waits else None for share in (50, 95)),
        received if waits else None,
        round(sum(move["messages"] for move in found) / len(found)) if waits else None,
    )


def _choose_pictures(page: Any, limit: int = 8) -> tuple[Cell, ...]:
    """Choose for A one bundled picture after another."""
    taken: list[float] = []
    box = page.locator("[data-testid=stSidebar] [data-testid=stSelectbox] input").first
    box.click()
    options = page.locator("[role=option]")
    options.first.wait_for()
    names = options.all_inner_texts()
    page.keyboard.press("Escape")
    for name in names:
        if name in ("Cat", "Coffee") or len(taken) == limit:
            continue
        box.click()
        box.fill(name)
        options.first.wait_for()
        page.evaluate("mixvizBench.arm()")
        page.keyboard.press("Enter")
        _await(page, "mixvizBench.move.sweep !== null")
        taken.append(page.evaluate("mixvizBench.move.picture") / 1e3)
        page.wait_for_timeout(200)
    return (len(taken), *(milliseconds(taken, share) for share in (50, 95, 100)))


def _change_solvers(page: Any, rounds: int) -> tuple[Cell, ...]:
    """Choose one pairing solver after another; the next always pairs otherwise."""
    taken: list[float] = []
    page.locator("[data-pick]").wait_for()
    quiet = page.locator("[data-testid=stApp][data-test-script-state=notRunning]")
    box = page.locator(".st-key-guided-solver input").first
    for turn in range(rounds * len(SOLVERS) + 1):
        quiet.wait_for()
        page.wait_for_timeout(300)
        box.click()
        box.fill(SOLVERS[turn % len(SOLVERS)])
        page.locator("[role=option]").first.wait_for()
        page.evaluate(REPAIRED)
        page.keyboard.press("Enter")
        milliseconds_taken = page.evaluate("window.mixvizRepaired")
        if turn:  # the first draws the solver for the first time
            taken.append(milliseconds_taken / 1e3)
    return (len(taken), *(milliseconds(taken, share) for share in (50, 95, 100)))


def _compare(page: Any, changes: int) -> tuple[Cell, ...]:
    """Move λ of the Compare page, saliency known, while no search runs."""
    taken: list[float] = []
    sheet = page.locator(".sheet[data-ready]")
    done = page.locator('.sheet[data-waiting="0"]')
    for _ in range(changes):
        done.wait_for(timeout=4 * PATIENCE)
        page.wait_for_timeout(300)
        page.locator(".st-key-compare-lam input[type=range]").first.focus()
        sheet.evaluate(RESHEETED)
        page.keyboard.press("ArrowRight")
        taken.append(page.evaluate("window.mixvizSheet") / 1e3)
    return (len(taken), *(milliseconds(taken, share) for share in (50, 95, 100)))
