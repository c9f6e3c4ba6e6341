"""The R-Mix page in Chromium: scrubbed, turned at its knobs, searched, adopted, opened again."""

import re

import numpy as np
import pytest
import torch
from browser import PICTURE
from playwright.sync_api import expect
from safetensors.torch import save

PAGE = "/R_Mix"
SEARCH = 120_000  # ms that a search may take on a busy machine

# Where a cell of the map of rewards stands on the screen; plotly keeps its axes on the element.
PLACE = """
(chart, [row, column]) => {
  const plot = chart.querySelector(".js-plotly-plot");
  const { xaxis, yaxis } = plot._fullLayout;
  const box = plot.getBoundingClientRect();
  return [box.x + xaxis._offset + xaxis.l2p(column), box.y + yaxis._offset + yaxis.l2p(row)];
}
"""


def wait(visit):
    expect(visit.stage).to_have_attribute("data-ready", "true", timeout=60_000)
    expect(visit.page.locator("[data-numbers]")).to_be_visible(timeout=60_000)
    visit.settle()


def open_page(visit, query=""):
    visit.page.goto(f"{visit.address}{PAGE}{query}")
    wait(visit)


def table(visit):
    """What the table counts out: patches by case, and the label of B."""
    here = visit.page.locator("[data-label]")
    patches = [
        int(text.partition("/")[0]) for text in here.locator("td:nth-child(3)").all_inner_texts()
    ]
    return patches, float(here.get_attribute("data-label"))


def expect_table_and_stage_agree(visit):
    patches, label = table(visit)
    assert sum(patches[:-1]) == patches[-1]
    assert float(visit.see("weight")) == pytest.approx(label, abs=2e-6)
    shown = visit.page.locator(".mv-shown + .mv-weights + [data-weight]")
    assert float(shown.get_attribute("data-weight")) == pytest.approx(label, abs=2e-6)


def test_the_stage_and_the_table_say_one_thing(visit):
    open_page(visit, "?lam=0.4")
    expect_table_and_stage_agree(visit)
    assert table(visit)[0][-1] == 16
    panels = {name: visit.pixels(name) for name in ("gA", "gB", "z", "mix")}
    assert all(picture.std() > 5 for picture in panels.values())
    assert not np.array_equal(panels["gA"], panels["gB"])
    expect(visit.page.locator(".mv-agree")).to_have_attribute(
        "alt", re.compile(r"row by row: [–AB]+ ")
    )
    assert visit.notices().count() == 0


def test_lambda_is_scrubbed_without_the_server(visit):
    page = visit.page
    page.clock.install()  # a busy machine would rest where no hand does
    open_page(visit)
    sent = len(visit.sent)
    page.mouse.move(*visit.rail(0.5))
    page.clock.pause_at(page.evaluate("Date.now()") + 1000)
    page.mouse.down()
    weights = set()
    for step in range(10, 41):
        page.mouse.move(*visit.rail(step / 50))
        page.clock.run_for(40)
        weights.add(visit.see("weight"))
    assert len(weights) > 20, "the label follows λ"
    page.mouse.up()
    page.clock.run_for(60)
    assert len(visit.sent) == sent, "nothing is sent while λ moves"
    page.clock.resume()
    visit.expect_url(lam="0.8")
    visit.settle()
    assert len(visit.sent) == sent + 1, "one commit, once λ rests"
    expect_table_and_stage_agree(visit)


def test_a_percentile_makes_another_mask_and_the_link_moves_both(visit):
    open_page(visit, "?lam=0.4")
    seen = visit.see("scene"), visit.see("weight"), visit.pixels("z"), table(visit)[0]
    visit.press("r_mix-q0", "ArrowRight", "ArrowRight")
    visit.expect_url(q0="0.77", q1=None)
    visit.expect_new_scene(seen[0])
    visit.settle()
    expect_table_and_stage_agree(visit)
    assert visit.see("weight") != seen[1]
    assert not np.array_equal(visit.pixels("z"), seen[2])
    assert table(visit)[0] != seen[3]
    visit.widget("r-mix-linked").locator("label").first.click()
    visit.expect_url(q0="0.77", q1="0.77", link="1")
    visit.settle()
    visit.press("r_mix-q1", "ArrowRight")
    visit.expect_url(q0="0.88", q1="0.88", link="1")
    visit.settle()
    for name in ("r_mix-q0", "r_mix-q1"):
        expect(visit.widget(name)).to_contain_text("0.88")
    expect_table_and_stage_agree(visit)


def test_everything_on_top_is_input_mixup(visit):
    open_page(visit, "?lam=0.3")
    visit.widget("all-top").get_by_role("button").click()
    visit.expect_url(q0="0", q1="0")
    said = visit.page.locator("[data-said]")
    expect(said).to_contain_text("Input Mixup exactly", timeout=PICTURE)
    visit.expect_stage(weight="0.300000")
    visit.settle()
    expect_table_and_stage_agree(visit)


def test_a_strategy_is_taken_the_pictures_swapped_a_cell_pinned_and_all_opened_again(visit):
    open_page(visit, "?lam=0.4&num_patches=8")
    visit.widget("take-1").get_by_role("button").click()
    visit.expect_url(strategy="1")
    expect(visit.page.locator(".grab")).to_have_attribute("aria-disabled", "true")
    visit.settle()
    expect_table_and_stage_agree(visit)
    visit.widget("take-4").get_by_role("button").click()
    visit.expect_url(strategy="4")
    visit.settle()
    old = visit.see("scene")
    visit.stage.focus()
    visit.page.keyboard.press("s")
    visit.expect_new_scene(old)
    visit.expect_url(a="coffee", b="cat")
    visit.settle()
    visit.panel("mix").click(position={"x": 40, "y": 95})
    visit.expect_url(block="5-2")
    visit.expect_stage(pinned="5,2")
    visit.page.get_by_role("button", name="Heat", exact=True).click()
    visit.expect_url(overlay="heat")
    visit.settle()
    names = ("scene", "weight", "pinned", "overlay", "lam")
    seen = {name: visit.see(name) for name in names}
    mix, counted = visit.pixels("mix"), table(visit)
    visit.page.reload()
    wait(visit)
    visit.expect_stage(**seen)
    assert np.array_equal(visit.pixels("mix"), mix)
    assert table(visit) == counted


def test_percentiles_are_searched_cancelled_searched_again_and_adopted(visit):
    open_page(visit, "?size=32&lam=0.36")
    search = visit.widget("search").get_by_role("button")
    search.click()
    visit.widget("cancel").get_by_role("button").click()
    expect(search).to_be_visible(timeout=PICTURE)
    visit.settle()
    visit.expect_url(search=None)
    expect(visit.page.locator("[data-best]")).to_have_count(0)
    search.click()
    best = visit.page.locator("[data-best]")
    expect(best).to_be_visible(timeout=SEARCH)
    visit.expect_url(search="0.36")
    visit.settle()
    old = visit.see("scene")
    visit.widget("adopt").get_by_role("button").click()
    visit.expect_new_scene(old)
    visit.settle()
    q0, q1 = re.search(r"q₀ = ([\d.]+), q₁ = ([\d.]+)", best.inner_text()).groups()
    assert float(visit.query.get("q0", "0.55")) == float(q0)
    assert float(visit.query.get("q1", "0.55")) == float(q1)
    assert visit.query["num_patches"] == "8"
    expect_table_and_stage_agree(visit)
    chart = visit.widget("rewards")
    chart.evaluate("e => e.scrollIntoView({block: 'center'})")
    visit.page.wait_for_timeout(300)
    visit.page.mouse.click(*chart.evaluate(PLACE, [2, 6]))
    visit.expect_url(q0="0.22", q1="0.66")
    visit.settle()
    expect_table_and_stage_agree(visit)
    seen, mix = visit.see("weight"), visit.pixels("mix")
    visit.page.reload()
    wait(visit)
    expect(best).to_be_visible(timeout=SEARCH)
    visit.expect_stage(weight=seen)
    assert np.array_equal(visit.pixels("mix"), mix)


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1440, "dark")])
def test_it_fits_the_window_in_both_themes(new_visit, width, scheme):
    visit = new_visit(width=width, scheme=scheme)
    open_page(visit, "?lam=0.36&num_patches=8&size=32&search=0.36")
    expect(visit.page.locator("[data-best]")).to_be_visible(timeout=SEARCH)
    visit.settle()
    expect(visit.stage).to_have_attribute("data-theme", scheme)
    main = visit.page.locator("[data-testid=stMain]")
    assert main.evaluate("e => e.scrollWidth - e.clientWidth") <= 0
    for place in (".mv-count", ".mv-agree", ".mv-tile", ".st-key-rewards .main-svg"):
        for box in (part.bounding_box() for part in visit.page.locator(place).all()):
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width


def test_a_loaded_policy_chooses_here_and_on_compare(visit):
    rng = torch.Generator().manual_seed(3)
    shapes = {
        "mlp_extractor.policy_net.0": (8, 264),
        "mlp_extractor.policy_net.2": (8, 8),
        "action_net": (10, 8),
    }
    weights = {}
    for name, shape in shapes.items():
        weights[f"{name}.weight"] = torch.randn(shape, generator=rng)
        weights[f"{name}.bias"] = torch.randn(shape[:1], generator=rng)
    open_page(visit)
    visit.unfold("A trained policy")
    visit.upload("policy", ("bad.safetensors", "application/octet-stream", b"nothing"))
    expect(visit.notices()).to_contain_text("truncated", timeout=PICTURE)
    visit.unfold("A trained policy")
    visit.upload("policy", ("policy.safetensors", "application/octet-stream", save(weights)))
    said = visit.page.get_by_text(re.compile(r"The loaded policy chooses q₀ [\d.]+ and q₁"))
    expect(said).to_be_visible(timeout=PICTURE)
    q0, q1 = re.findall(r"q[₀₁] ([\d.]+\d)", said.inner_text())
    visit.widget("policy-adopt").get_by_role("button").click()
    visit.expect_url(q0=f"{float(q0):g}", q1=f"{float(q1):g}", num_patches="8")
    visit.page.get_by_role("link", name="Compare", exact=True).click()
    tile = visit.page.locator('.tile[data-slug="rl_mix"]')
    expect(tile).to_contain_text(f"policy: q₀ {q0}, q₁ {q1}", timeout=60_000)
