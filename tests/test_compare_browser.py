"""The Compare page in Chromium: complete, reproducible by its link, pinned, zoomed, taken away."""

import base64
import csv
import io

import numpy as np
import pytest
from browser import PICTURE
from PIL import Image
from playwright.sync_api import expect

from mixviz.methods.variants import MAIN, VARIANTS

PAGE = "/Compare"
SEARCH = 120_000  # ms that the search of RL-Mix may take on a busy machine
SEARCHED = "?seed=3&lam=0.46"  # the server remembers the search of the first test


def sheet(visit):
    return visit.page.locator(".sheet")


def open_page(visit, query="", complete=False):
    visit.page.goto(f"{visit.address}{PAGE}{query}")
    expect(sheet(visit)).to_have_attribute("data-ready", "true", timeout=60_000)
    if complete:
        expect(sheet(visit)).to_have_attribute("data-waiting", "0", timeout=SEARCH)
        visit.settle()


def tile(visit, slug):
    return visit.page.locator(f'.tile[data-slug="{slug}"]')


def shown(visit, slug):
    """The pixels a tile holds, as the page sent them."""
    source = tile(visit, slug).locator("img.mix").get_attribute("src")
    image = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
    return np.asarray(image.convert("RGB")).astype(int)


def place(visit):
    """The middle of what all tiles show."""
    return tuple(float(part) for part in sheet(visit).get_attribute("data-place").split(","))


def test_all_methods_come_and_the_search_last(visit):
    open_page(visit, SEARCHED)
    expect(sheet(visit)).to_have_attribute("data-tiles", str(len(MAIN) - 1), timeout=60_000)
    expect(tile(visit, "rl_mix")).to_contain_text("searching")
    expect(visit.page.get_by_text("pairs of percentiles tried")).to_be_visible(timeout=PICTURE)
    expect(sheet(visit)).to_have_attribute("data-waiting", "0", timeout=SEARCH)
    expect(sheet(visit)).to_have_attribute("data-tiles", str(len(MAIN)))
    for slug in MAIN:
        expect(tile(visit, slug).locator("img.mix")).to_be_visible()
        assert shown(visit, slug).std() > 5
    expect(tile(visit, "rl_mix")).to_contain_text("search: q₀")


def test_the_same_link_shows_the_same_pictures(new_visit):
    visit, other = new_visit(), new_visit()
    open_page(visit, SEARCHED)
    open_page(other, SEARCHED)
    for slug in ("cutmix", "cutout", "augmix", "snapmix", "r_mix", "puzzle_mix"):
        assert np.array_equal(shown(visit, slug), shown(other, slug))
    open_page(other, "?seed=4&lam=0.46")
    assert not np.array_equal(shown(visit, "cutmix"), shown(other, "cutmix"))
    assert np.array_equal(shown(visit, "puzzle_mix"), shown(other, "puzzle_mix"))


def test_one_is_pinned_and_the_others_say_what_differs(visit):
    open_page(visit, SEARCHED)
    difference = visit.page.locator('button[data-view="difference"]')
    expect(difference).to_be_disabled()
    tile(visit, "puzzle_mix").click()
    expect(sheet(visit)).to_have_attribute("data-pinned", "puzzle_mix")
    visit.expect_url(pin="puzzle_mix")
    expect(tile(visit, "puzzle_mix")).to_contain_text("pinned")
    expect(tile(visit, "cutmix")).to_contain_text("−")
    difference.click()
    expect(sheet(visit)).to_have_attribute("data-view", "difference")
    visit.expect_url(view="difference")
    expect(tile(visit, "cutmix").locator("img.under")).to_have_css("mix-blend-mode", "difference")
    # On the screen a method that mixes nearly alike is nearly black.
    frame = tile(visit, "puzzle_mask").locator(".frame")
    frame.scroll_into_view_if_needed()
    alike = np.asarray(Image.open(io.BytesIO(frame.screenshot())).convert("RGB")).astype(int)
    expected = np.abs(shown(visit, "puzzle_mask") - shown(visit, "puzzle_mix"))
    assert abs(alike.mean() - expected.mean()) < 3
    visit.page.keyboard.press("Escape")
    tile(visit, "cutmix").focus()
    visit.page.keyboard.press("Escape")
    expect(sheet(visit)).to_have_attribute("data-pinned", "")
    visit.expect_url(pin=None)


def test_all_tiles_zoom_and_move_together_without_the_server(visit):
    open_page(visit, SEARCHED, complete=True)
    frame = tile(visit, "cutmix").locator(".frame")
    box = frame.bounding_box()
    sent = len(visit.sent)
    visit.page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.25 * box["height"])
    visit.page.mouse.wheel(0, -400)
    expect(sheet(visit)).to_have_attribute("data-zoom", "2.00")
    moved = {
        slug: tile(visit, slug).locator("img.mix").evaluate("e => getComputedStyle(e).transform")
        for slug in MAIN
    }
    scale = {transform.partition("(")[2].split(",")[0] for transform in moved.values()}
    assert scale == {"2"}
    assert place(visit) == pytest.approx((0.375, 0.375), abs=0.01)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + 0.65 * box["width"], box["y"] + 0.25 * box["height"], steps=4)
    visit.page.mouse.up()
    assert place(visit) == pytest.approx((0.25, 0.375), abs=0.01)
    expect(sheet(visit)).to_have_attribute("data-pinned", "")
    assert len(visit.sent) == sent


def test_what_is_taken_away_is_what_is_shown(visit):
    open_page(visit, SEARCHED, complete=True)
    files = {}
    for name in ("Sheet as PNG", "Sheet as SVG", "Table as CSV"):
        with visit.page.expect_download() as download:
            visit.page.get_by_role("button", name=name).click()
        files[name[-3:]] = download.value.path().read_bytes()
    picture = np.asarray(Image.open(io.BytesIO(files["PNG"])).convert("RGB")).astype(int)
    first = picture[16 + 26 : 16 + 26 + 224, 16 : 16 + 224]
    assert np.abs(first - shown(visit, MAIN[0])).mean() < 4  # the tile is a JPEG
    assert files["SVG"].startswith(b"<svg")
    rows = list(csv.DictReader(io.StringIO(files["CSV"].decode())))
    assert [row["method"] for row in rows] == [VARIANTS[slug].title for slug in MAIN]
    assert all(float(row["kept A"]) >= 0 for row in rows)


def test_another_lambda_stops_the_search_and_mixes_anew(visit):
    open_page(visit, "?seed=3&lam=0.44")
    expect(visit.page.get_by_text("pairs of percentiles tried")).to_be_visible(timeout=PICTURE)
    visit.press("compare-lam", "ArrowRight")
    visit.expect_url(lam="0.46")
    expect(visit.page.locator("[data-compare]")).to_contain_text("λ = 0.46")
    expect(tile(visit, "input_mixup")).to_contain_text("B 46")


def test_no_key_of_a_hasty_hand_is_lost(visit):
    """A key may leave the browser before it has heard which URL the last one made."""
    open_page(visit, "?seed=3&lam=0.36")
    visit.settle()
    slider = visit.widget("compare-lam").locator("input[type=range]")
    slider.focus()
    for _ in range(5):
        visit.page.keyboard.press("ArrowRight")
        visit.page.wait_for_timeout(50)
    visit.expect_url(lam="0.46")
    expect(visit.page.locator("[data-compare]")).to_contain_text("λ = 0.46")
    expect(visit.widget("compare-lam")).to_contain_text("0.46")


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1440, "dark")])
def test_it_fits_the_window_in_both_themes(new_visit, width, scheme):
    visit = new_visit(width=width, scheme=scheme)
    open_page(visit, SEARCHED)
    expect(sheet(visit)).to_have_attribute("data-theme", scheme)
    wide = visit.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width
    for slug in MAIN[:-4]:
        box = tile(visit, slug).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
