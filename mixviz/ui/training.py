"""Runs watched live, and a small demo run of its own process, one at a time on a server."""

import atexit
import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mixviz.augment import mixable
from mixviz.ui import state
from mixviz.ui.batch import BatchError, read_batch, write_sheet
from mixviz.ui.candidates import RUNS, method_title, read_card, run_folders
from mixviz.ui.frame import Page
from mixviz.ui.state import Field, one_of
from mixviz.viz import judgement as charts
from mixviz.viz.look import Look

ROOT = Path(__file__).resolve().parents[2]
SHAPES = ("circle", "cross", "square", "triangle")  # in the order of their folders
SIDE, WIDTH, BATCH = 32, 8, 32
PER_CLASS = {"train": 80, "val": 25}
EPOCHS = 16
LIMIT = 240.0  # seconds after which a demo run is ended, watched or not
REFRESH = 2.0  # seconds between two looks at a run
MAX_LOG = 2_000_000  # letters of a log
UNMIXED = "none"
DEMO = "demo"
COLUMNS = ("epoch", "loss", "train_top1", "val_top1")

FIELDS = [
    Field("run", "judge.run", DEMO, lambda text: _read_run(text)),
    Field(
        "teach",
        "judge.teach",
        "puzzle_mix",
        one_of({UNMIXED: None, **dict.fromkeys(mixable())}),
    ),
]
BY_NAME = {field.name: field for field in FIELDS}


def _read_run(text: str) -> str:
    """Accept the name of a run that is listed; text never becomes a path."""
    if text != DEMO and text not in run_folders():
        raise ValueError(f"must be {DEMO}, or a folder with a log in {RUNS.name}/ of this server")
    return text


def title_of(method: str) -> str:
    """Return what a way of training is called."""
    return "no mixing" if method == UNMIXED else method_title(method)


# ---- the demo run -------------------------------------------------------------------------------


def draw_shape(kind: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one shape in a colour of its own on noise, (h, w, 3)."""
    noise = rng.integers(20, 120, (SIDE, SIDE, 3)).astype(np.uint8)
    picture = Image.fromarray(noise)
    pen = ImageDraw.Draw(picture)
    radius = float(rng.uniform(7, 11))
    x, y = rng.uniform(radius + 1, SIDE - radius - 1, 2).tolist()
    red, green, blue = (int(part) for part in rng.integers(110, 256, 3))
    fill = (red, green, blue)
    box = (x - radius, y - radius, x + radius, y + radius)
    if kind == "circle":
        pen.ellipse(box, fill)
    elif kind == "square":
        pen.rectangle(box, fill)
    elif kind == "triangle":
        pen.polygon([(x, y - radius), (x + radius, y + radius), (x - radius, y + radius)], fill)
    else:
        arm = radius / 3
        pen.rectangle((x - radius, y - arm, x + radius, y + arm), fill)
        pen.rectangle((x - arm, y - radius, x + arm, y + radius), fill)
    return np.asarray(picture)


def write_shapes(folder: Path, seed: int = 0) -> None:
    """Write the data of the demo run as image folders."""
    rng = np.random.default_rng(seed)
    for split, count in PER_CLASS.items():
        for kind in SHAPES:
            inside = folder / split / kind
            inside.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(draw_shape(kind, rng)).save(inside / f"{number:03}.png")


class Demo:
    """A training run in a process group of its own, on shapes drawn for it.

    Attributes:
        method: what mixes its batches, or `UNMIXED`.
        run: its folder, as the trainer writes it.
        cancelled: whether somebody ended it.
    """

    def __init__(self, method: str, epochs: int = EPOCHS) -> None:
        self.method = method
        self.epochs = epochs
        self.cancelled = False
        self._held = tempfile.TemporaryDirectory(prefix="mixviz-demo-")
        place = Path(self._held.name)
        self.run = place / "run"
        self._errors = place / "errors.txt"
        write_shapes(place / "shapes")
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                self._command(place / "shapes"),
                cwd=ROOT,
                env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        # Waits for the process whether anybody watches or not, so that none is left behind.
        self._watcher = threading.Thread(target=self._watch, name="mixviz-demo", daemon=True)
        self._watcher.start()

    def _command(self, data: Path) -> list[str]:
        # Visitors' pictures come first.
        gently = ["nice", "-n", "10"] if shutil.which("nice") else []
        mixing = [] if self.method == UNMIXED else ["--method", self.method]
        sizes = ["--width", str(WIDTH), "--sizes", str(SIDE), "--stem-stride", "2"]
        recipe = ["--epochs", str(self.epochs), "--batch", str(BATCH), "--lr", "0.1"]
        plain = ["--photo-crops", "0", "--label-smoothing", "0"]
        machine = ["--device", "cpu", "--precision", "fp32", "--name", DEMO]
        places = ["--data", str(data), "--out", str(self.run)]
        trainer = [sys.executable, "-m", "mixviz.train"]
        return [*gently, *trainer, *places, *sizes, *recipe, *plain, *machine, *mixing]

    def _watch(self) -> None:
        try:
            self._process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self._end()

    def _end(self) -> None:
        # Nothing of the run is kept, so that it need not be waited for long.
        for number, grace in ((signal.SIGTERM, 1.0), (signal.SIGKILL, 5.0)):
            if self._process.poll() is None:
                try:
                    os.killpg(self._process.pid, number)
                    self._process.wait(grace)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    continue

    @property
    def is_running(self) -> bool:
        """Say whether the process still works."""
        return self._process.poll() is None

    @property
    def problem(self) -> str:
        """Return why it stopped, in a sentence; empty while it runs and after it is done."""
        code = self._process.poll()
        if code in (None, 0) or self.cancelled:
            return ""
        lines = self._errors.read_text(errors="replace").strip().splitlines()
        last = lines[-1] if lines and lines[-1].startswith("mixviz.train:") else ""
        if last:
            return f"The run stopped. {last.removeprefix('mixviz.train: ')}"[:300]
        return f"The run stopped without a word (exit code {code})."

    def cancel(self) -> None:
        """End the process and all it has started."""
        self.cancelled = self.cancelled or self.is_running
        self._end()

    def close(self) -> None:
        """End the process and forget its files."""
        self._end()
        self._watcher.join(1)
        self._held.cleanup()


class Workshop:
    """Holds the one demo run of a server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._demo: Demo | None = None
        atexit.register(self.close)

    @property
    def demo(self) -> Demo | None:
        """Return the run that was started last, done or not."""
        return self._demo

    def start(self, method: str) -> None:
        """Start a run, unless one is running; the last one's files go."""
        with self._lock:
            if self._demo is not None and self._demo.is_running:
                return
            self._clear()
            self._demo = Demo(method)

    def close(self) -> None:
        """End what runs."""
        with self._lock:
            self._clear()

    def _clear(self) -> None:
        demo, self._demo = self._demo, None
        if demo is not None:
            demo.close()


@st.cache_resource(show_spinner=False)
def workshop() -> Workshop:
    """Return the server's workshop."""
    return Workshop()


# ---- what a run has written ---------------------------------------------------------------------


@dataclass(frozen=True)
class Watched:
    """A run to look at.

    Attributes:
        name: its folder, or `DEMO`.
        folder: where it is.
        rows: its log, an epoch each.
        total: epochs it is to have, 0 where unknown.
        is_active: whether more is to come.
        words: what it is.
    """

    name: str
    folder: Path
    rows: Sequence[Mapping[str, float]]
    total: int
    is_active: bool
    words: str


def read_log(folder: Path) -> list[dict[str, float]]:
    """Return the epochs of a run's log; one that is missing or no log has none."""
    try:
        with (folder / "log.csv").open(encoding="utf-8", newline="") as file:
            lines = file.read(MAX_LOG).splitlines()
        rows = [{key: float(row[key]) for key in COLUMNS} for row in csv.DictReader(lines)]
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return []
    return rows if all(np.isfinite(list(row.values())).all() for row in rows) else []


def _total(card: Mapping[str, object]) -> int:
    recipe = card.get("recipe")
    stages = recipe.get("stages") if isinstance(recipe, dict) else None
    if not isinstance(stages, list):
        return 0
    epochs = [one.get("epochs") for one in stages if isinstance(one, dict)]
    return sum(number for number in epochs if isinstance(number, int))


def watch(name: str) -> Watched | None:
    """Look at a run by its listed name; None when there is none."""
    if name == DEMO:
        demo = workshop().demo
        if demo is None:
            return None
        words = f"Demo run, {title_of(demo.method)}"
        rows = read_log(demo.run)
        return Watched(name, demo.run, rows, demo.epochs, demo.is_running, words)
    folder = run_folders().get(name)
    if folder is None:
        return None
    rows = read_log(folder)
    card = read_card(folder) or {}
    total = _total(card)
    try:
        age = time.time() - (folder / "log.csv").stat().st_mtime
    except OSError:
        age = float("inf")
    # The card says how long an epoch takes; one that is three times as late has ended.
    seconds = card.get("seconds")
    pace = seconds / max(len(rows), 1) if isinstance(seconds, (int, float)) else 60.0
    active = len(rows) < total and age < max(60.0, 3 * pace)
    method = card.get("method")
    words = f"{name}, {title_of(method if isinstance(method, str) else UNMIXED)}"
    return Watched(name, folder, rows, total, active, words)


# ---- the page -----------------------------------------------------------------------------------


def _start(method: str) -> None:
    state.put("judge.run", DEMO)
    workshop().start(method)


def _cancel() -> None:
    demo = workshop().demo
    if demo is not None:
        demo.cancel()


def show(page: Page, look: Look) -> None:
    """Draw the section."""
    demo = workshop().demo
    running = demo is not None and demo.is_running
    names = [DEMO, *run_folders()]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="runs"):
        key = state.widget_key("judge.run")
        current = state.get(BY_NAME["run"])
        st.session_state.setdefault(key, current if current in names else DEMO)
        state.kept()["judge.run"] = st.selectbox(
            "Run",
            names,
            format_func=lambda name: "Demo run on shapes" if name == DEMO else name,
            key=key,
            help=f"Folders in {RUNS.name}/ of this server that hold a log.csv, a sweep’s among "
            "them.",
            width=260,
        )
        key = state.widget_key("judge.teach")
        st.session_state.setdefault(key, state.get(BY_NAME["teach"]))
        method = state.kept()["judge.teach"] = st.selectbox(
            "Demo run mixes by",
            [UNMIXED, *mixable()],
            format_func=title_of,
            key=key,
            width=200,
        )
        st.button(
            "Start demo run",
            key="demo-start",
            type="primary",
            on_click=_start,
            args=(method,),
            disabled=running,
        )
        st.button("Cancel demo run", key="demo-cancel", on_click=_cancel, disabled=not running)
    page.finish()
    name = str(state.get(BY_NAME["run"]))
    watched = watch(name)
    active = watched is not None and watched.is_active
    live = st.fragment(_watch_live, run_every=REFRESH if active else None)
    live(name, look, active)
    pictures = sum(PER_CLASS.values()) * len(SHAPES)
    mixing = "" if method == UNMIXED else f" --method {method}"
    st.caption(
        f"The demo run trains a PreActResNet-18 of width {WIDTH} from scratch for {EPOCHS} epochs "
        f"on {pictures} drawn pictures of {len(SHAPES)} shapes, on one core, in its own process, "
        "one at a time on a server, and is forgotten afterwards. To train your own: python -m "
        f"mixviz.train --data DIR --out {RUNS.name}/NAME{mixing}."
    )


def _watch_live(name: str, look: Look, was_active: bool) -> None:
    watched = watch(name)
    demo = workshop().demo
    if was_active and (watched is None or not watched.is_active):
        st.rerun(scope="app")  # the buttons change, and nothing needs to be looked at any more
    if watched is None:
        st.html(
            '<div class="mv-small" data-run="none">No demo run yet. Start one: it takes about half '
            "a minute, and its curves appear here after each epoch.</div>"
        )
        return
    done, total = len(watched.rows), watched.total
    said = "active" if watched.is_active else "ended"
    st.html(
        f'<div class="mv-small" data-run="{said}" data-epochs="{done}/{total}">'
        f"<b>{escape(watched.words)}</b>: {_words(watched, demo)}</div>"
    )
    if total:
        st.progress(min(done / total, 1.0))
    if name == DEMO and demo is not None and demo.problem:
        st.error(demo.problem)
    if watched.rows:
        last = watched.rows[-1]
        columns = {key: [row[key] for row in watched.rows] for key in COLUMNS}
        drawn = (
            ("loss", charts.loss_curve, f"loss {last['loss']:.3f}"),
            (
                "top-1",
                charts.accuracy_curves,
                f"top-1 {last['train_top1']:.1f} % on training batches, "
                f"{last['val_top1']:.1f} % on validation pictures",
            ),
        )
        for (key, draw, said), place in zip(drawn, st.columns(2, gap="medium"), strict=True):
            place.plotly_chart(
                draw(columns, max(total, done), look),
                theme=None,
                key=f"run-{key}",
                config={"displayModeBar": False},
                alt=f"{watched.words}, after epoch {last['epoch']:.0f}: {said}",
            )
    _show_batch(watched)


def _words(watched: Watched, demo: Demo | None) -> str:
    done, total = len(watched.rows), watched.total
    epochs = f"{done} of {total} epochs" if total else f"{done} epochs"
    if watched.is_active and not done:
        return "the process is starting …"
    if watched.is_active:
        return epochs
    if watched.name == DEMO and demo is not None and demo.cancelled:
        return f"cancelled after {epochs}"
    return f"done, {epochs}" if done == total else f"{epochs}, not running"


def _show_batch(watched: Watched) -> None:
    """Show the mixes that the network was given last, as the run has written them."""
    st.markdown("**A batch as the network saw it**")
    try:
        batch = read_batch(watched.folder)
    except BatchError as problem:
        st.html(f'<div class="mv-small" data-batch="bad">{escape(str(problem))}</div>')
        return
    if batch is None:
        said = (
            "None is written yet: it comes with the first epoch."
            if watched.is_active and not watched.rows
            else "This run has kept no batch: batch.png and batch.json are not in its folder."
        )
        st.html(f'<div class="mv-small" data-batch="none">{said}</div>')
        return
    st.html(
        f'<div class="mv-small">Epoch {batch.epoch}: {len(batch.pictures)} of its pictures, as '
        f"they went into the network, and the labels it was given.</div>{write_sheet(batch)}"
    )
