"""The Train & judge page in Chromium: side by side, attacked, corrupted, a run watched live."""

import re
from pathlib import Path

import pytest
from browser import PICTURE, Visit, launch, serve
from playwright.sync_api import expect

from mixviz import zoo

PAGE = "/Train_and_judge"
EPOCHS = 16  # of a demo run
BUNDLED = [slug for slug, entry in zoo.CATALOGUE.items() if entry.kind == "bundled"]
TWO = f"who={BUNDLED[0]},{BUNDLED[2]}"


@pytest.fixture(scope="module")
def browser():
    with launch() as opened:
        yield opened


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("judge")) as opened:
        yield opened


@pytest.fixture
def visit(browser, address):
    context = browser.new_context()
    opened = Visit(context, address)
    yield opened
    context.close()
    assert not opened.complaints
    assert opened.hosts <= {"127.0.0.1", None}  # None: a picture within the page


def go(visit, query, mark):
    visit.page.goto(f"{visit.address}{PAGE}?{query}")
    expect(visit.page.locator(mark).first).to_be_visible(timeout=60_000)
    visit.settle()


def attacked(visit):
    """What was attacked, and the pictures: clean, perturbation, attacked."""
    images = visit.page.locator(".mv-trial img")
    return [images.nth(k).get_attribute("src") for k in range(3)]


def test_classifiers_stand_side_by_side(visit):
    go(visit, "", "[data-judge]")
    rows = visit.page.locator("[data-who]")
    expect(rows).to_have_count(len(BUNDLED))
    edges = set()
    for index in range(len(BUNDLED)):
        images = rows.nth(index).locator("img")
        expect(images).to_have_count(4)
        edges.add(tuple(round(images.nth(k).bounding_box()["x"]) for k in range(4)))
        assert all(images.nth(k).evaluate("e => e.naturalWidth") == 224 for k in range(4))
    assert len(edges) == 1, "pictures of all rows stand below each other"
    before = rows.first.locator("img").nth(3).get_attribute("src")
    visit.select("judge-mix", "CutMix")
    visit.expect_url(mix="cutmix")
    expect(rows.first.locator("img").nth(3)).not_to_have_attribute("src", before, timeout=PICTURE)


def test_a_larger_epsilon_changes_picture_and_answer(visit):
    go(visit, f"section=attacked&eps=0&{TWO}", "[data-attack]")
    said = visit.page.locator("[data-attack]")
    expect(said).to_have_attribute("data-fooled", "0")
    first = attacked(visit)
    assert first[0] == first[2]
    for radius in ("0.5", "1", "2"):
        visit.press("judge-eps", "ArrowRight")
        expect(said).to_have_attribute("data-attack", f"fgsm-{radius}", timeout=PICTURE)
        visit.expect_url(eps=radius)
    expect(said).to_have_attribute("data-fooled", "1")
    assert len({*first, *attacked(visit)}) > 2
    visit.pick("judge-attack", "PGD, 7 steps")
    expect(visit.page.locator('[data-attack="pgd-2"]')).to_be_visible(timeout=PICTURE)
    expect(visit.page.locator(".js-plotly-plot:visible")).to_have_count(1)


def test_a_corruption_is_chosen_and_stands_in_the_link(visit):
    go(visit, TWO, "[data-judge]")
    visit.pick("judge-section", "Corrupted")
    visit.expect_url(section="corrupted")
    expect(visit.page.locator('[data-corruption="fog"]')).to_be_visible(timeout=PICTURE)
    expect(visit.page.locator("[data-who]")).to_have_count(0)
    visit.select("judge-corruption", "pixelate")
    expect(visit.page.locator('[data-corruption="pixelate"]')).to_be_visible(timeout=PICTURE)
    visit.expect_url(section="corrupted", corruption="pixelate")
    images = visit.page.locator(".mv-steps img")
    expect(images).to_have_count(6)
    assert len({images.nth(k).get_attribute("src") for k in range(6)}) == 6
    visit.pick("judge-section", "Judged")
    expect(visit.page.locator('[data-table="judged"] tbody tr')).to_have_count(2)


def test_a_demo_run_is_watched_cancelled_and_another_learns_to_its_end(visit):
    go(visit, "section=trained&teach=puzzle_mix", "[data-run]")
    start = visit.widget("demo-start").get_by_role("button")
    cancel = visit.widget("demo-cancel").get_by_role("button")
    expect(cancel).to_be_disabled()
    start.click()
    run = visit.page.locator("[data-run]")
    expect(run).to_have_attribute("data-run", "active", timeout=PICTURE)
    expect(start).to_be_disabled()
    # It refreshes by itself: epochs rise, curves and the batch come, and nobody touches the page.
    expect(run).to_have_attribute("data-epochs", re.compile(r"^[1-9]/"), timeout=60_000)
    expect(visit.page.locator(".js-plotly-plot:visible")).to_have_count(2, timeout=PICTURE)
    tiles = visit.page.locator("[data-batch] img")
    expect(tiles).to_have_count(8)
    expect(cancel).to_be_enabled()
    cancel.click()
    expect(run).to_have_attribute("data-run", "ended", timeout=PICTURE)
    expect(run).to_contain_text("cancelled after")
    expect(start).to_be_enabled()
    visit.settle()
    stopped = run.get_attribute("data-epochs")
    sent = len(visit.sent)
    visit.page.wait_for_timeout(2500)
    assert run.get_attribute("data-epochs") == stopped
    assert len(visit.sent) == sent, "a run that has ended is not looked at again"
    visit.select("judge-teach", "no mixing")
    visit.expect_url(teach="none")
    start.click()
    expect(run).to_contain_text(f"done, {EPOCHS} of {EPOCHS} epochs", timeout=60_000)
    expect(start).to_be_enabled(timeout=PICTURE)


SECTIONS = {
    "One picture": "[data-judge]",
    "Attacked": "[data-attack]",
    "Corrupted": "[data-corruption]",
    "Judged": '[data-table="judged"]',
    "Trained": "[data-run]",
}


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1440, "dark")])
def test_it_fits_the_window_in_both_themes(browser, address, width, scheme):
    context = browser.new_context(color_scheme=scheme)
    visit = Visit(context, address, width, scheme)
    go(visit, TWO, SECTIONS["One picture"])
    for section, mark in SECTIONS.items():
        visit.pick("judge-section", section)
        expect(visit.page.locator(mark).first).to_be_visible(timeout=PICTURE)
        visit.settle()
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        for image in visit.page.locator("[data-testid=stMain] img:visible").all():
            box = image.bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
    assert not visit.complaints
    context.close()


def test_no_run_outlives_its_server(browser, tmp_path):
    """What the page started ends with the server, whoever is still looking."""
    with serve(tmp_path) as address:
        context = browser.new_context()
        visit = Visit(context, address)
        go(visit, "section=trained&teach=augmix", "[data-run]")
        visit.widget("demo-start").get_by_role("button").click()
        expect(visit.page.locator('[data-run="active"]')).to_be_visible(timeout=PICTURE)
        running = trainers()
        assert running
        context.close()
    assert not running & trainers()


def trainers():
    """Process numbers of demo runs on this machine."""
    found = set()
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                words = (place / "cmdline").read_bytes()
            except OSError:  # it has just ended
                continue
            if b"mixviz.train" in words and b"mixviz-demo-" in words:
                found.add(int(place.name))
    return found
