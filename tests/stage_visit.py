"""A visit to `stage_harness.py`: the stage alone, with its traffic, which can be held up."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from browser import Server, Visit
from playwright.sync_api import BrowserContext, Page, WebSocket, WebSocketRoute, expect


class Gate:
    """The line between page and server; what comes from a side in `shut` waits in `held`."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.shut: set[str] = set()
        self.held: dict[str, list[str | bytes]] = {"page": [], "server": []}
        self.onward: dict[str, Callable[[str | bytes], None]] = {}
        page.route_web_socket(re.compile("stream"), self._join)

    def _join(self, socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        self.onward = {"page": server.send, "server": socket.send}
        socket.on_message(lambda message: self._carry("page", message))
        server.on_message(lambda message: self._carry("server", message))

    def _carry(self, side: str, message: str | bytes) -> None:
        if side in self.shut:
            self.held[side].append(message)
        else:
            self.onward[side](message)

    def hold_answer(self, act: str) -> int:
        """Do `act` and hold the server's whole answer; return how many messages are held."""
        self.shut.add("server")
        known = len(self.held["server"])
        self.page.evaluate(act)
        for _ in range(500):
            self.page.wait_for_timeout(20)
            # The harness writes this line last.
            if any(b'"heard"' in message for message in self.held["server"][known:]):
                return len(self.held["server"])
        pytest.fail("the server did not answer")

    def let(self, side: str, count: int | None = None) -> None:
        """Send on the first `count` messages held from `side`; without a number open the way."""
        now = self.held[side][:count]
        del self.held[side][:count]
        if count is None:
            self.shut.discard(side)
        for message in now:
            self.onward[side](message)


class StageVisit(Visit):
    """One tab on the harness."""

    def __init__(
        self, context: BrowserContext, server: Server, gated: bool = False, **look: Any
    ) -> None:
        super().__init__(context, server, **look)
        self.gate = Gate(self.page) if gated else None
        self.received: list[str | bytes] = []

    def ask(self, query: str, frames: int | None) -> None:
        """Go to the stage of a query, and wait for so many λ; None: for the empty stage."""
        self.page.goto(f"{self.address}/?{query}")
        self.stage.wait_for(state="attached", timeout=30_000)
        if frames is not None:
            expect(self.stage).to_have_attribute("data-frames", str(frames), timeout=30_000)
        self.page.wait_for_timeout(100)

    def _listen(self, websocket: WebSocket) -> None:
        super()._listen(websocket)
        websocket.on("framereceived", lambda frame: self.received.append(frame))

    def hear(self, name: str, value: object) -> None:
        """Wait until the server has heard `value`."""
        pattern = re.compile(re.escape(f'"{name}": {json.dumps(value)}'))
        expect(self.page.locator("[data-testid=stText]")).to_have_text(pattern)
