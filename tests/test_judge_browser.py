"""The Train & judge page in Chromium: side by side, attacked, corrupted, a run watched live."""

import re

import psutil
import pytest
from browser import PICTURE, serve
from playwright.sync_api import expect
from test_judge_page import write_batch, write_run

from mixviz import zoo

PAGE = "/Train_and_judge"
EPOCHS, SIDE = 16, 32  # of a demo run
BUNDLED = [slug for slug, entry in zoo.CATALOGUE.items() if entry.kind == "bundled"]
TWO = f"who={BUNDLED[0]},{BUNDLED[2]}"


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
    ours = visit.page.locator('[data-table="judged"] tbody').first
    expect(ours.locator("th[scope=row]")).to_have_count(2)


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
    expect(tiles).to_have_count(16)
    assert all(tiles.nth(k).evaluate("e => e.naturalWidth") == SIDE for k in range(16))
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


def left_of(locator):
    return round(locator.bounding_box()["x"])


def test_the_papers_stand_below_ours_and_names_stay_when_the_table_scrolls(new_visit):
    visit = new_visit(width=390, scheme="dark")
    go(visit, f"section=judged&{TWO}", '[data-table="judged"]')
    table = visit.page.locator('[data-table="judged"]')
    ours = table.locator("tbody").nth(0).locator("tr").nth(1)
    theirs = table.locator("tbody").nth(1).locator("tr").nth(1)
    expect(table.locator("tbody").nth(1)).to_contain_text("median of the last 10 epochs")
    for column in range(3):
        assert left_of(ours.locator("td").nth(column)) == left_of(theirs.locator("td").nth(column))
    names, figure = left_of(theirs.locator("th")), left_of(theirs.locator("td").first)
    table.evaluate("e => e.scrollLeft = 60")
    assert left_of(theirs.locator("td").first) == figure - 60
    assert left_of(theirs.locator("th")) == names


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_names_in_the_cost_charts_can_be_read(new_visit, width, scheme):
    visit = new_visit(width=width, scheme=scheme)
    go(visit, "section=judged", '[data-table="judged"]')
    for chart in ("ours", "published"):
        drawn = visit.page.locator(f".st-key-costs-{chart}")
        expect(drawn.locator(".annotation-text").first).to_be_visible(timeout=PICTURE)
        # The last is the title, which stands above.
        boxes = [one.bounding_box() for one in drawn.locator(".annotation-text").all()]
        assert len(boxes) > 5
        for index, box in enumerate(boxes):
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
            assert not any(overlap(box, other) for other in boxes[:index])
    visit.page.get_by_text("Overhead in percent, published and ours").click()
    expect(visit.page.locator('[data-table="costs"]')).to_contain_text("+89.2")


def overlap(one, other):
    """Whether two boxes share more than the air around letters."""
    wide = min(one["x"] + one["width"], other["x"] + other["width"]) - max(one["x"], other["x"])
    high = min(one["y"] + one["height"], other["y"] + other["height"]) - max(one["y"], other["y"])
    return wide > 1 and high > 5


def test_a_run_of_a_sweep_is_watched_with_the_batch_it_is_seeing(new_visit, tmp_path, monkeypatch):
    """The server's owner says where runs are; curves and batch follow what a run writes."""
    run = tmp_path / "runs" / "equal" / "method=cutmix+seed=0"
    write_run(run, epochs=2, total=9, card=BUNDLED[2])
    write_batch(run, count=16, size=32)
    monkeypatch.setenv("MIXVIZ_RUNS", str(tmp_path / "runs"))
    with serve("app.py", tmp_path) as server:
        visit = new_visit(server=server)
        go(visit, "section=trained", "[data-run]")
        visit.select("judge-run", "equal")
        shown = visit.page.locator("[data-run]")
        expect(shown).to_have_attribute("data-epochs", "2/9", timeout=PICTURE)
        expect(visit.page.locator('[data-batch="3"] img')).to_have_count(16)
        write_batch(run, count=5, size=32, changes={"epoch": 4})
        lines = (run / "log.csv").read_text()
        (run / "log.csv").write_text(f"{lines}3,32,0.5,40,40,50,1.5\n")
        expect(shown).to_have_attribute("data-epochs", "3/9", timeout=PICTURE)
        expect(visit.page.locator('[data-batch="4"] img')).to_have_count(5)
        (run / "batch.png").write_bytes(b"no picture")
        expect(visit.page.locator('[data-batch="bad"]')).to_contain_text(
            "batch.png", timeout=PICTURE
        )
        expect(visit.page.locator(".mv-batch img")).to_have_count(0)
        visit.page.close()


SECTIONS = {
    "One picture": "[data-judge]",
    "Attacked": "[data-attack]",
    "Corrupted": "[data-corruption]",
    "Judged": '[data-table="judged"]',
    "Trained": "[data-run]",
}


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1440, "dark")])
def test_it_fits_the_window_in_both_themes(new_visit, width, scheme):
    visit = new_visit(width=width, scheme=scheme)
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


def test_no_run_outlives_its_server(new_visit, tmp_path):
    """What the page started ends with the server, whoever is still looking."""
    with serve("app.py", tmp_path) as server:
        visit = new_visit(server=server)
        go(visit, "section=trained&teach=augmix", "[data-run]")
        visit.widget("demo-start").get_by_role("button").click()
        expect(visit.page.locator('[data-run="active"]')).to_be_visible(timeout=PICTURE)
        running = trainers(server)
        assert running
        visit.page.close()
    assert not psutil.wait_procs(running, timeout=0)[1]


def trainers(server):
    """The demo runs that a server started."""
    started = psutil.Process(server.process_id).children(recursive=True)
    return [one for one in started if "mixviz.train" in one.cmdline()]
