"""Shapes are checked while the tests run; browser tests share one Chromium and one server.

Every annotated call of core and methods is checked.
"""

from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
from browser import Server, Visit, launch, serve
from hypothesis import settings
from jaxtyping import install_import_hook
from playwright.sync_api import Browser, BrowserContext, Error
from stage_visit import StageVisit

# Before any test module imports the packages; the checker stands in a module of its own, as the
# hook takes a name.
install_import_hook(["mixviz.core", "mixviz.methods"], "shape_checker.check")

# The same examples in every run: a test that fails does so for everybody.
settings.register_profile("mixviz", deadline=None, derandomize=True)
settings.load_profile("mixviz")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Look once more where a page was slower than a test's patience; the report names these.

    What is broken fails both times. A test that is named there often is to be mended.
    """
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The Chromium of all tests: Playwright's loop cannot run twice in a process.

    The factory is where `pytest_runtest_makereport` puts its screenshots.
    """
    with launch() as opened:
        yield opened


@pytest.fixture(scope="session")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """Where tabs are opened: one for most, so that the page's program is compiled once."""
    opened = browser.new_context()
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The app."""
    with serve("app.py", tmp_path_factory.mktemp("app")) as running:
        yield running


@pytest.fixture(scope="session")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The stage alone."""
    with serve("tests/stage_harness.py", tmp_path_factory.mktemp("stage")) as running:
        yield running


@pytest.fixture
def visits() -> Iterator[list[Visit]]:
    """Every tab of a test; none may complain, nor its server, nor ask a stranger for anything."""
    opened: list[Visit] = []
    yield opened
    for visit in opened:
        visit.page.close()
    for visit in opened:
        visit.check()


@pytest.fixture
def new_visit(context: BrowserContext, server: Server, visits: list[Visit]) -> Callable[..., Visit]:
    """Open a tab on the app, or on another server, in the common context or in another."""

    def open_tab(context: BrowserContext = context, server: Server = server, **look: Any) -> Visit:
        visits.append(Visit(context, server, **look))
        return visits[-1]

    return open_tab


@pytest.fixture
def visit(new_visit: Callable[..., Visit]) -> Visit:
    """A tab on the app."""
    return new_visit()


@pytest.fixture
def open_stage(
    context: BrowserContext, harness: Server, visits: list[Visit]
) -> Callable[..., StageVisit]:
    """Open a tab on the stage alone, by its query, and wait for so many λ."""

    def open_tab(query: str = "", frames: int | None = 51, **look: Any) -> StageVisit:
        visit = StageVisit(context, harness, **look)
        visits.append(visit)
        visit.ask(query, frames)
        return visit

    return open_tab


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where a browser test fails, show the text of every tab and where its screenshot lies."""
    report = yield
    browser = item.funcargs.get("browser")
    if browser and report.failed and report.when == "call":
        folder = item.funcargs["tmp_path_factory"].mktemp("tabs")
        pages = [page for context in browser.contexts for page in context.pages]
        for number, page in enumerate(pages):
            shot = folder / f"{number}.png"
            try:
                page.screenshot(path=shot)
                seen = f"{page.url}\n{shot}\n{page.inner_text('body')}"
            except Error as error:  # it has crashed, or is still loading
                seen = f"{page.url}\n{error}"
            report.sections.append((f"tab {number}", seen))
    return report
