"""The app on a server of its own, and Chromium to visit it with; whoever opens one closes it.

A visit keeps what the browser complains about, whom it asks for anything, and what it sends.
"""

import base64
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Locator,
    Page,
    TimeoutError,
    expect,
    sync_playwright,
)

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Streamlit asks for these below the page's own path first, when a page is opened by its link.
KNOWN_404 = re.compile(r"^http://127\.0\.0\.1:\d+/\w+/_stcore/(health|host-config)$")
PICTURE = 15_000  # ms that a new picture may take on a busy machine
PUZZLE_MIX = "/Puzzle_Mix"
expect.set_options(timeout=PICTURE)


def chromium_path() -> str:
    """Where Chromium is; the test fails, with what to do, when it is nowhere."""
    named = os.environ.get("CHROMIUM")
    found = [shutil.which(name) for name in ([named] if named else NAMES)]
    path = next((path for path in found if path), None)
    if path is None:
        pytest.fail(
            f"The browser tests found no Chromium (looked for {named or ', '.join(NAMES)}): "
            "install it (Debian: apt install chromium) or name its program in CHROMIUM.",
            pytrace=False,
        )
    return path


@contextmanager
def launch() -> Iterator[Browser]:
    """Open Chromium without a window."""
    path = chromium_path()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _is_healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):
            return True
    except (urllib.error.URLError, OSError):
        return False


class Server:
    """A running server: where it is, and what it wrote."""

    def __init__(self, address: str, log: Path, process_id: int) -> None:
        self.address = address
        self.log = log
        self.process_id = process_id
        self._read = 0

    def check(self) -> None:
        """Fail if an error was logged since the last look."""
        new = self.log.read_text()[self._read :]
        self._read += len(new)
        assert "Traceback" not in new, new


@contextmanager
def serve(script: str, folder: Path) -> Iterator[Server]:
    """Run a script of this repository on a port of its own, cut off from the network."""
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    log = folder / f"server-{port}.log"
    options = ["--server.port", str(port), "--server.address", "127.0.0.1"]
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", script, *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=os.environ | nowhere | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 60
        while not _is_healthy(address):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        running = Server(address, log, server.pid)
        yield running
        running.check()
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(10)


class Visit:
    """One tab on a server: a visitor with a session of their own."""

    def __init__(
        self, context: BrowserContext, server: Server, width: int = 1440, scheme: str = "light"
    ) -> None:
        self.server = server
        self.address = server.address
        self.page: Page = context.new_page()
        self.page.set_viewport_size({"width": width, "height": 1000})
        self.page.emulate_media(color_scheme=scheme)
        self.page.set_default_timeout(PICTURE)
        self.page.set_default_navigation_timeout(60_000)
        self.complaints: list[str] = []
        self.hosts: set[str | None] = set()
        self.sent: list[str | bytes] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).hostname))
        self.page.on("requestfailed", self._miss)
        self.page.on("websocket", self._listen)
        self.stage = self.page.locator(".mx")

    def _hear(self, message) -> None:
        url = message.location["url"]
        if message.type == "error" and not KNOWN_404.match(url):
            self.complaints.append(f"{message.text} ({url})")

    def _miss(self, request) -> None:
        # A picture or chunk that a newer page no longer needs is given up by the browser itself.
        if request.failure != "net::ERR_ABORTED":
            self.complaints.append(f"{request.url}: {request.failure}")

    def _listen(self, websocket) -> None:
        self.hosts.add(urlsplit(websocket.url).hostname)
        websocket.on("framesent", lambda frame: self.sent.append(frame))

    def check(self) -> None:
        """Fail if browser or server complained, or if a stranger was asked for anything."""
        assert not self.complaints, self.complaints
        assert self.hosts <= {"127.0.0.1", None}, self.hosts  # None: data and blob addresses
        self.server.check()

    # ---- where one is

    def open(self, path: str = PUZZLE_MIX) -> "Visit":
        """Go to a page by its link, and wait until all of it is there."""
        self.page.goto(self.address + path)
        self.wait()
        return self

    def reload(self) -> None:
        self.page.reload()
        self.wait()

    def wait(self) -> None:
        """Wait until all of the page is there."""
        if urlsplit(self.page.url).path == PUZZLE_MIX:
            expect(self.stage).to_have_attribute("data-ready", "true", timeout=60_000)
            expect(self.stage).to_have_attribute("data-frames", "51", timeout=60_000)
        else:
            done = self.page.locator("[data-first], [data-pick]")
            expect(done).to_be_visible(timeout=60_000)
        self.settle()

    def settle(self) -> None:
        """Wait for the end of the run that has begun; useless right after a key."""
        quiet = "[data-testid=stApp][data-test-script-state=notRunning]"
        expect(self.page.locator(quiet)).to_be_visible(timeout=30_000)

    @property
    def query(self) -> dict[str, str]:
        """What the URL says."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.page.url).query).items()}

    def expect_url(self, **values: str | None) -> None:
        """Wait until the URL carries these values; None for a name that is absent."""

        def is_there(url: str) -> bool:
            held = parse_qs(urlsplit(url).query)
            return all(held.get(name, [None])[0] == value for name, value in values.items())

        try:
            self.page.wait_for_url(is_there, timeout=PICTURE, wait_until="commit")
        except TimeoutError:
            pytest.fail(f"the URL should carry {values}, it is {self.page.url}")

    # ---- what is seen

    def see(self, name: str) -> str:
        """Return what the stage says it shows."""
        return self.stage.get_attribute(f"data-{name}") or ""

    def expect_stage(self, **values: str) -> None:
        """Wait until the stage shows these values."""
        for name, value in values.items():
            expect(self.stage).to_have_attribute(f"data-{name}", value, timeout=PICTURE)

    def expect_total(self, total: float) -> None:
        """Wait until the stage shows this objective."""
        shown = re.compile("|".join(re.escape(f"{total + e * 1e-6:.6f}") for e in range(-3, 4)))
        expect(self.stage).to_have_attribute("data-total", shown, timeout=PICTURE)

    def expect_new_scene(self, old: str) -> None:
        """Wait until the stage shows another scene."""
        expect(self.stage).not_to_have_attribute("data-scene", old, timeout=PICTURE)

    def panel(self, name: str) -> Locator:
        return self.page.locator(f'[data-p="{name}"] .cv')

    def pixels(self, name: str) -> np.ndarray:
        """Return a panel of the stage as numbers (h, w, 3)."""
        url = self.panel(name).locator(".base").evaluate("c => c.toDataURL()")
        image = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
        return np.asarray(image.convert("RGB")).astype(int)

    def rail(self, lam: float) -> tuple[float, float]:
        """Where on the screen λ is taken by the hand."""
        box = self.page.locator(".grab").bounding_box()
        assert box is not None
        return box["x"] + 9 + lam * (box["width"] - 18), box["y"] + 14

    def hover(self, name: str, row: int, column: int, grid: int = 8) -> None:
        """Point at a block of a panel."""
        box = self.panel(name).bounding_box()
        assert box is not None
        cell = box["width"] / grid
        self.page.mouse.move(box["x"] + (column + 0.5) * cell, box["y"] + (row + 0.5) * cell)
        self.expect_stage(block=f"{row},{column}")

    def notices(self) -> Locator:
        return self.page.locator("[class*=st-key-notice-] [data-testid=stAlert]")

    # ---- what is done

    def widget(self, key: str) -> Locator:
        return self.page.locator(f".st-key-{key}")

    def unfold(self, title: str) -> None:
        """Open the expander that has these words in its title, unless it is open."""
        expander = self.page.locator("[data-testid=stExpander]").filter(
            has=self.page.locator("summary", has_text=title)
        )
        details = expander.locator("details")
        if details.get_attribute("open") is None:
            details.locator("summary").click()
        expect(details).to_have_attribute("open", "")

    def press(self, key: str, *keys: str) -> None:
        """Press keys on a slider."""
        slider = self.widget(key).locator("input[type=range]")
        slider.focus()
        for name in keys:
            slider.press(name)

    def pick(self, key: str, option: str) -> None:
        """Choose among buttons."""
        self.widget(key).get_by_role("radio", name=option, exact=True).click()

    def _rest(self, locator: Locator) -> None:
        """Wait until something moves no more: a menu closes when the page scrolls under it."""
        place = None
        for _ in range(25):
            if place == (place := locator.bounding_box()):
                return
            self.page.wait_for_timeout(200)

    def select(self, key: str, option: str) -> None:
        """Choose from a menu by what its line begins with."""
        line = self.widget(key).locator("input")
        line.evaluate("e => e.scrollIntoView({block: 'center'})")
        wanted = self.page.get_by_role("option", name=re.compile(f"^{re.escape(option)}")).first
        for _ in range(5):
            self._rest(line)
            line.click()
            # The page may still grow above the menu and close it, at any of these.
            with suppress(AssertionError, TimeoutError):
                expect(self.page.get_by_role("option").first).to_be_visible(timeout=1500)
                if not wanted.is_visible():  # a long menu draws only what is in view
                    line.fill(option)
                wanted.click(timeout=3000)
                return
        raise AssertionError(f"{key} offers no {option!r}, or its menu does not stay open")

    def follow(self, name: str, path: str) -> None:
        """Go to another page by its link in the app."""
        self.page.get_by_role("link", name=name, exact=True).click()
        self.page.wait_for_url(lambda url: urlsplit(url).path == path, timeout=PICTURE)
        self.wait()

    def upload(self, kind: str, *files: tuple[str, str, bytes]) -> None:
        """Give files (name, type, bytes) to the uploader of pictures or of weights."""
        uploader = self.page.locator(f"[class*='st-key-{kind}-'] input[type=file]")
        uploader.set_input_files(
            [{"name": name, "mimeType": mime, "buffer": data} for name, mime, data in files]
        )
