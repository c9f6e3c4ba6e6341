"""The GuidedMixup page in Chromium: a batch is built, paired, walked through and looked at."""

import io
import re

import numpy as np
from browser import PICTURE
from PIL import Image
from playwright.sync_api import expect

PAGE = "/GuidedMixup"

# Where a marker of a chart stands on the screen; plotly keeps its axes on the element.
PLACE = """
(plot, [symbol, index]) => {
  const trace = plot.data.findIndex((t) => t.mode === "markers" && t.marker.symbol === symbol);
  const { x, y, customdata } = plot._fullData[trace];
  const at = [...customdata].indexOf(index);
  const { xaxis, yaxis } = plot._fullLayout;
  const box = plot.getBoundingClientRect();
  return [box.x + xaxis._offset + xaxis.l2p(x[at]), box.y + yaxis._offset + yaxis.l2p(y[at])];
}
"""
# The pair that a chart marks: the row and column outlined in the matrix.
MARKED = """
(plot) => {
  const shapes = plot.layout.shapes;
  const { x0, y0 } = shapes.find((s) => s.line.width === 3);
  return [y0 + 0.5, x0 + 0.5];
}
"""


def pair(visit):
    """The pair that the page says it looks at, counted from 1."""
    words = visit.page.locator("[data-pick]").inner_text()
    found = re.match(r".*?\((\d+)\) is mixed with .*?\((\d+)\);", words)
    assert found, words
    return int(found[1]), int(found[2])


def expect_source(visit, index):
    said = visit.page.locator(f'[data-pick="{index}"]')
    expect(said).to_be_attached(timeout=PICTURE)
    visit.settle()


def plot(visit, chart):
    """What plotly draws on; it is made anew when the chart is, and waited for."""
    return visit.widget(chart).locator(".js-plotly-plot")


def click(visit, chart, symbol, index):
    place = plot(visit, chart)
    place.evaluate("e => e.scrollIntoView({block: 'center'})")
    visit.page.wait_for_timeout(300)
    visit.page.mouse.click(*place.evaluate(PLACE, [symbol, index]))


def order(visit, size):
    """The pictures in the order of ring and matrix."""
    nodes = "t => t.marker?.symbol === 'square'"
    return plot(visit, f"ring-{size}").evaluate(f"p => p.data.find({nodes}).customdata")


def expect_same_pair(visit, size):
    """Matrix, ring, gallery and stage show the pair that the page names."""
    words = visit.page.locator("[data-pick]").inner_text()
    said = re.match(r"(.+) \((\d+)\) is mixed with (.+) \((\d+)\);", words)
    assert said, words
    source, target = int(said[2]), int(said[4])

    def marked():
        rows = order(visit, size)
        return [rows[int(at)] + 1 for at in plot(visit, f"matrix-{size}").evaluate(MARKED)]

    # Charts and captions follow the run that changed them.
    for _ in range(50):
        if marked() == [source, target]:
            break
        visit.page.wait_for_timeout(200)
    assert marked() == [source, target]
    expect(visit.widget(f"show-{source - 1}").get_by_role("button")).to_be_disabled()
    for side, name in (("A", said[1]), ("B", said[3])):
        expect(visit.page.locator(f'[data-p="{side}"] figcaption .t')).to_have_text(name)


def photograph(seed):
    """A PNG that no other seed makes."""
    smooth = Image.fromarray(
        np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    ).resize((160, 120), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    smooth.save(file, "PNG")
    return file.getvalue()


def test_an_edge_picked_in_ring_or_matrix_is_the_pair_everywhere(visit):
    visit.open(f"{PAGE}?batch=sample-8")
    expect_same_pair(visit, 8)
    click(visit, "ring-8", "triangle-up", 4)
    expect_source(visit, 4)
    expect_same_pair(visit, 8)
    visit.expect_url(pick="4")
    click(visit, "ring-8", "square", 2)
    expect_source(visit, 2)
    expect_same_pair(visit, 8)
    click(visit, "matrix-8", "circle-open", 6)
    expect_source(visit, 6)
    expect_same_pair(visit, 8)
    visit.widget("show-1").get_by_role("button").click()
    expect_source(visit, 1)
    expect_same_pair(visit, 8)
    visit.reload()
    assert pair(visit)[0] == 2


def test_every_solver_pairs_and_keeps_the_link(visit):
    visit.open(f"{PAGE}?batch=sample-8&solver=random&draw=3")
    seen = {pair(visit)}
    for solver in ("exact", "greedy, improved", "greedy (the paper)"):
        before = visit.page.locator("[data-pick]").inner_text()
        visit.select("guided-solver", solver)
        name = next(n for n in ("exact", "improved", "greedy") if n in solver.split()[-1] + solver)
        visit.expect_url(solver=None if solver.startswith("greedy (") else name)
        visit.settle()
        assert "▲" not in visit.page.locator("[data-pick]").inner_text(), before
        seen.add(pair(visit))
        expect_same_pair(visit, 8)
    assert len(seen) > 1


def test_the_greedy_is_walked_edge_by_edge(visit):
    visit.open(f"{PAGE}?batch=sample-8")
    drawn = "p => p.data.find(t => t.marker?.symbol ==="
    drawn += " 'triangle-up').customdata.length"
    visit.widget("guided-step").locator("[role=slider], input[type=range]").first.focus()
    for step in range(3):
        visit.page.keyboard.press("ArrowRight")
        visit.expect_url(step=str(step))
        visit.settle()
        assert plot(visit, "ring-8").evaluate(drawn) == step + 1
        expect_same_pair(visit, 8)
    expect(visit.page.get_by_text("The column of the row just used is struck out")).to_be_visible()


def test_a_batch_is_built_from_photographs_and_uploads(visit):
    visit.open(f"{PAGE}?batch=cat,coffee,rocket")
    visit.unfold("Change the batch")
    files = [(f"mine-{i}.png", "image/png", photograph(i)) for i in range(3)]
    visit.upload("upload", *files)
    expect(visit.page.get_by_text("Batch of 6 pictures")).to_be_visible(timeout=PICTURE)
    visit.settle()
    visit.select("guided-add", "Dahlia")
    expect(visit.page.get_by_text("Batch of 7 pictures")).to_be_visible(timeout=PICTURE)
    visit.settle()
    batch = visit.query["batch"].split(",")
    assert batch[:3] == ["cat", "coffee", "rocket"]
    assert [name.startswith("u-") for name in batch[3:]] == [True, True, True, False]
    visit.widget("show-3").get_by_role("button").click()
    expect_source(visit, 3)
    expect_same_pair(visit, 7)
    visit.widget("remove-0").get_by_role("button").click()
    expect(visit.page.get_by_text("Batch of 6 pictures")).to_be_visible(timeout=PICTURE)
    visit.expect_url(batch=",".join(batch[1:]))


def test_what_is_no_picture_is_refused_and_the_batch_stays(visit):
    visit.open(f"{PAGE}?batch=cat,coffee,rocket")
    visit.unfold("Change the batch")
    visit.upload(
        "upload",
        ("good.png", "image/png", photograph(9)),
        ("bad.png", "image/png", b"not a picture"),
    )
    expect(visit.page.get_by_text("Batch of 4 pictures")).to_be_visible(timeout=PICTURE)
    expect(visit.notices()).to_contain_text("bad.png")


def test_sixty_four_pictures(visit):
    visit.open(f"{PAGE}?batch=sample-64")
    charts = visit.page.locator("[class*=st-key-ring-], [class*=st-key-matrix-]")
    assert "matrix" in charts.first.get_attribute("class")
    click(visit, "ring-64", "square", 40)
    expect_source(visit, 40)
    expect_same_pair(visit, 64)
    assert len(visit.query["batch"]) < 20


def test_gradient_saliency_pairs_the_batch_under_a_bar(visit):
    visit.open(f"{PAGE}?batch=sample-32")
    visit.select("guided-source", "gradient")
    expect(visit.page.get_by_text(re.compile(r"Saliency of \d+ of \d\d pictures"))).to_be_visible(
        timeout=PICTURE
    )
    visit.expect_url(source="gradient")
    visit.settle()
    expect_same_pair(visit, 32)
