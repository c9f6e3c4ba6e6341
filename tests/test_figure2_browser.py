"""The Figure 2 page in Chromium: measured under a bar, cancelled, gone on with, taken away."""

import csv
import re

import pytest
from browser import PICTURE
from playwright.sync_api import expect

PAGE = "/Figure_2"
FEW = "methods=input_mixup,cutmix,puzzle_mix&size=64"


def go(visit, query):
    visit.page.goto(f"{visit.address}{PAGE}?{query}")
    expect(visit.page.locator("[data-figure2]")).to_be_visible(timeout=60_000)
    visit.settle()


def button(visit, name):
    return visit.widget(f"figure2-{name}").get_by_role("button")


def bar(visit):
    return visit.page.get_by_text(re.compile(r"[\d,]+ of [\d,]+ mixes"))


def expect_measured(visit, pairs):
    done = visit.page.locator('[data-figure2="done"]')
    expect(done).to_have_attribute("data-pairs", f"{pairs}/{pairs}", timeout=90_000)
    visit.settle()


def test_measured_under_a_bar_cancelled_and_gone_on_with(visit):
    go(visit, f"pairs=6&{FEW}")
    expect(visit.page.locator('[data-figure2="none"]')).to_be_visible()
    expect(visit.page.locator(".js-plotly-plot")).to_have_count(0)
    button(visit, "measure").click()
    expect(bar(visit)).to_be_visible(timeout=PICTURE)
    expect(button(visit, "measure")).to_be_disabled()
    expect(visit.page.locator('[data-figure2="part"]')).to_be_visible(timeout=60_000)
    button(visit, "cancel").click()
    expect(bar(visit)).to_have_count(0, timeout=PICTURE)
    visit.settle()
    so_far = visit.page.locator("[data-figure2]")
    stopped = so_far.get_attribute("data-pairs")
    assert so_far.get_attribute("data-figure2") == "part"
    assert 1 <= int(stopped.split("/")[0]) < 6
    expect(button(visit, "measure")).to_have_text("Go on")
    expect(visit.page.locator(".js-plotly-plot:visible")).to_have_count(5, timeout=PICTURE)
    visit.page.wait_for_timeout(1500)
    assert so_far.get_attribute("data-pairs") == stopped  # it has really ended
    button(visit, "measure").click()
    expect_measured(visit, 6)
    expect(button(visit, "measure")).to_have_text("Measured")
    expect(button(visit, "cancel")).to_be_disabled()
    with visit.page.expect_download() as taken:
        visit.widget("figure2-csv").get_by_role("button").click()
    with taken.value.path().open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 5 * 3 * 11
    assert {line["pairs"] for line in lines if line["statistic"] == "loss"} == {"6"}
    assert all(0 <= float(line["mean"]) <= 2 for line in lines if line["statistic"] == "saliency")


def test_another_setting_ends_the_run_and_a_link_starts_none(visit):
    go(visit, f"pairs=16&seed=3&{FEW}")
    button(visit, "measure").click()
    expect(bar(visit)).to_be_visible(timeout=PICTURE)
    visit.press("figure2-pairs", "ArrowRight")
    visit.expect_url(pairs="17", seed="3", size="64")
    expect(bar(visit)).to_have_count(0, timeout=PICTURE)
    expect(button(visit, "measure")).to_be_enabled(timeout=PICTURE)
    visit.page.reload()
    expect(visit.page.locator("[data-figure2]")).to_be_visible(timeout=60_000)
    visit.settle()
    expect(bar(visit)).to_have_count(0)
    expect(visit.page.locator('[data-pairs$="/17"]')).to_be_visible()


def test_methods_are_chosen_by_a_button_and_stand_in_the_link(visit):
    go(visit, "pairs=4")
    visit.page.get_by_role("button", name="Paper’s", exact=True).click()
    visit.expect_url(methods="input_mixup,manifold_mixup,cutmix,puzzle_mix", pairs="4")
    expect(visit.page.get_by_text("4 pairs, 4 methods, 11 values of λ: 176 mixes")).to_be_visible()


@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_runs_over_the_side_in_the_dark(new_visit, width):
    dark = new_visit(width=width, scheme="dark")
    go(dark, f"pairs=4&{FEW}")
    if button(dark, "measure").is_enabled():  # another visitor may have measured it
        button(dark, "measure").click()
    expect_measured(dark, 4)
    charts = dark.page.locator(".js-plotly-plot:visible")
    expect(charts).to_have_count(5, timeout=PICTURE)
    assert dark.page.evaluate("document.documentElement.scrollWidth") <= width
    label = charts.first.locator(".annotation-text", has_text="Puzzle Mix").first
    box = label.bounding_box()
    assert box["x"] + box["width"] <= width
