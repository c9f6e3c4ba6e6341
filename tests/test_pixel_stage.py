"""The stage of masks of pixels: what it is told, and what a visitor sees and sends."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import expect
from stage_harness import SIDE, cell_means, patch_scene, photograph, share_scene, smooth
from test_stage import NAMES, contrast, unpack

from mixviz import stage
from mixviz.core.types import Pair
from mixviz.methods import METHODS
from mixviz.methods.guidedmixup import GuidedMixupParams, mix
from mixviz.stage.wire import FREE, WHOLE, pack_arrays, pack_pixels
from mixviz.ui import pixel_staging
from mixviz.viz.draw import heat

PANELS = ["A", "B", "sA", "sB", "gA", "gB", "z", "mix"]


# ---- without a browser


@pytest.fixture(scope="module")
def scene():
    return patch_scene(NAMES)


def test_the_mask_survives_the_wire_and_travels_apart_from_lambda(scene):
    header, body = unpack(pack_arrays(scene))
    first = header["items"][0]
    packed = np.frombuffer(body, "<u2", SIDE * SIDE, first["at"]).reshape(SIDE, SIDE)
    np.testing.assert_array_equal(packed == FREE, scene.free)
    np.testing.assert_allclose(
        packed[~scene.free] / WHOLE, scene.fixed[~scene.free], atol=0.5 / WHOLE
    )
    low, high = (pack_pixels(scene, lam, {}) for lam in (0.1, 0.9))
    assert unpack(low)[0]["scene"]["mask"] == first["digest"]
    assert max(len(low), len(high)) < 4000


def test_the_heat_of_a_guide_ends_at_its_top():
    guide = stage.Guide("Blurred", *(np.float32([[0, 1], [2, 9]]),) * 2, "heat", top=2.0)
    header, body = unpack(pack_arrays(replace(share_scene(NAMES), guide=guide)))
    assert list(body[header["items"][1]["at"] :][:4]) == [0, 128, 255, 255]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fixed": np.full((SIDE, SIDE), 1.5, np.float32)}, "fixed must be shares between 0 and 1"),
        ({"fixed": np.full((SIDE, SIDE), np.nan, np.float32)}, "fixed must be shares"),
        ({"fixed": np.zeros((SIDE, 3), np.float32)}, "fixed must be square, got (224, 3)"),
        ({"free": np.zeros((3, 3), bool)}, "free must have the shape of fixed"),
        ({"grid": 8}, "rows[0].values must be 8 x 8"),
        ({"grid": 0}, "grid must be at least 1"),
        ({"weight_1": np.zeros(50, np.float32)}, "weight_1 must hold 51 labels, got (50,)"),
    ],
)
def test_a_scene_that_cannot_be_drawn_is_refused(scene, changes, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        replace(scene, **changes)


def test_what_is_not_a_number_is_refused_on_the_way(scene):
    with pytest.raises(ValueError, match="λ must lie in 0 to 1"):
        pack_pixels(scene, 1.1, {})
    with pytest.raises(ValueError, match="exposed_1 must be finite"):
        pack_pixels(replace(scene, exposed_1=(0.0, float("nan"))), 0.5, {})
    row = stage.CardRow("x", np.full((4, 4), np.nan, np.float32), "number")
    with pytest.raises(ValueError, match=re.escape("rows[0].values holds NaN")):
        pack_pixels(replace(scene, rows=(row,)), 0.5, {})
    flat = np.full((2, 2), np.inf, np.float32)
    with pytest.raises(ValueError, match="map_1 must be finite"):
        pack_arrays(replace(scene, guide=stage.Guide("x", np.zeros_like(flat), flat, "heat")))
    with pytest.raises(ValueError, match="overlay must be one of"):
        stage.show_pixels(scene, lam=0.5, overlay="glow")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: stage.Guide("x", np.zeros((2, 2)), np.zeros((2, 2)), "cold"), "Guide.kind"),
        (lambda: stage.Guide("x", np.zeros((2, 3)), np.zeros((2, 2)), "heat"), "be square"),
        (lambda: stage.Guide("x", *(np.zeros((2, 2)),) * 2, "heat", top=0.0), "above 0"),
        (lambda: stage.CardRow("x", np.zeros((2, 2)), "colour"), "CardRow.format"),
        (lambda: stage.CardRow("x", np.ones((2, 2)), "label", ("no",)), "one of 1 labels"),
    ],
)
def test_guides_and_rows_refuse_what_does_not_fit(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def guided(maps):
    rng = torch.Generator().manual_seed(3)
    images = [torch.rand((1, 3, 56, 56), generator=rng) for _ in range(2)]
    trace = mix(Pair(images[0], images[1], *maps), GuidedMixupParams())
    return trace, pixel_staging.guided_scene((4, 2), ("Cat", "Cup"), tuple(images), maps, trace)


def test_a_guided_pair_is_its_trace():
    rng = torch.Generator().manual_seed(5)
    maps = tuple(torch.rand((1, 56, 56), generator=rng) ** 4 for _ in range(2))
    trace, scene = guided(maps)
    np.testing.assert_array_equal(scene.fixed, trace.mask[0])
    assert not scene.free.any()
    assert scene.grid == 28
    assert scene.key.startswith("guided-4-2-")
    assert scene.contract == "independent"
    assert not scene.swappable
    assert scene.saliency_0.blocks.sum() == pytest.approx(1, abs=1e-5)
    shown = (maps[1][0] / maps[1].sum() * trace.mask[0]).sum()
    assert scene.exposed_1 == pytest.approx((float(shown),) * 2, abs=1e-6)
    blurred = trace.blurred_0[0].double() * 56 * 56
    means = blurred.reshape(28, 2, 28, 2).mean((1, 3))
    np.testing.assert_allclose(scene.rows[0].values, means, rtol=1e-5)
    assert scene.notices == ()
    other = pixel_staging.guided_scene((4, 3), ("Cat", "Cup"), (trace.mixed,) * 2, maps, trace)
    assert other.key != scene.key
    assert [notice.cause for notice in other.notices] == ["A and B are the same picture."]


def test_a_flat_saliency_is_said():
    ramp = torch.linspace(0.1, 1, 56).expand(1, 56, 56).contiguous()
    _, scene = guided((torch.ones(1, 56, 56), ramp))
    assert ["saliency of A is the same" in n.cause for n in scene.notices] == [True]


def test_cells_divide_the_picture():
    assert [pixel_staging.cells_of(side) for side in (224, 128, 64, 37)] == [28, 16, 16, 1]


# ---- in the browser


def expected_mix(scene, lam):
    a, b = (photograph(name).astype(float) for name in NAMES)
    share = np.where(scene.free, lam, scene.fixed)[..., None].astype(float)
    return (1 - share) * a + share * b


def weight(scene, lam):
    return float(np.where(scene.free, lam, scene.fixed).astype(float).mean())


def test_everything_is_drawn_and_the_mix_is_the_blend(open_stage, scene):
    here = open_stage("pixels=patches")
    assert here.see("scene") == scene.key
    assert float(here.see("weight")) == pytest.approx(weight(scene, 0.4), abs=1e-6)
    assert np.abs(here.pixels("mix") - expected_mix(scene, 0.4)).max() <= 0.51
    for name in PANELS:
        assert here.pixels(name).std() > 10, name
    widths = {here.panel(name).bounding_box()["width"] for name in PANELS}
    assert max(widths) - min(widths) < 0.5
    page = here.page
    expect(page.locator(".say p")).to_contain_text("B gets 45\u2009% of the label")
    expect(page.locator(".guide-title")).to_have_text("Top patches")
    expect(page.locator('[data-p="sA"] figcaption')).to_contain_text("kept")
    exposed = scene.exposed_0[0] + 0.4 * (scene.exposed_0[1] - scene.exposed_0[0])
    expect(page.locator('[data-p="sA"] figcaption')).to_contain_text(f"{100 * exposed:.1f}")
    expect(page.locator(".sr").first).to_contain_text("λ 0.40 asked for B")
    for name in PANELS:
        label = page.locator(f'[data-p="{name}"] .base').get_attribute("aria-label")
        assert len(label) > 8, name
    hidden = page.locator(".st-key-pixels-library, .st-key-pixels-arrays, .st-key-shelf")
    assert all(box is None for box in [e.bounding_box() for e in hidden.all()])


def test_a_mask_of_shares_is_the_blend_too(open_stage):
    here = open_stage("pixels=shares")
    scene = share_scene(NAMES)
    assert np.abs(here.pixels("mix") - expected_mix(scene, 0.0)).max() <= 0.51
    assert float(here.see("weight")) == pytest.approx(float(scene.fixed.mean()), abs=1e-4)
    over = float((scene.fixed > 0.5).mean())
    assert float(here.see("over")) == pytest.approx(over, abs=1e-3)
    expect(here.page.locator(".say p")).to_have_text("A is flat. Choose another picture.")
    # The card is never empty: an even share, and the most salient of those.
    row, column = (int(v) for v in here.see("block").split(","))
    shares = cell_means(scene.fixed, 28)
    assert abs(shares[row, column] - 0.5) < 0.006
    expect(here.page.locator(".card h3")).to_contain_text("the closest call")


def test_card_and_reticle_follow_the_cell_in_every_panel(open_stage, scene):
    here = open_stage("pixels=patches")
    page = here.page
    for name, row, column in [("A", 0, 0), ("gB", 3, 1), ("z", 1, 1), ("mix", 2, 3)]:
        here.hover(name, row, column, grid=4)
        expect(page.locator(".card h3")).to_contain_text(f"Row {row + 1}, column {column + 1}")
        chosen = [bool(r.values[row, column]) for r in scene.rows[:2]]
        texts = page.locator(".facts td").all_inner_texts()
        assert texts[:2] == [("no", "yes")[c] for c in chosen]
        share = 0.4 if chosen[0] == chosen[1] else float(chosen[1])
        assert float(texts[2]) == share
        words = page.locator(".words").inner_text()
        assert ("λ\u00a0=\u00a00.40" in words) == (chosen[0] == chosen[1])
        assert f"{100 * scene.saliency_1.blocks[row, column]:.1f}" in (
            page.locator(".crops div").nth(1).inner_text()
        )
    here.hover("A", 1, 2, grid=4)
    drawn = """(e, at) => { const c = e.querySelector(".top"), n = c.width / 4;
        const x = Math.round((at[1] + .02) * n), y = Math.round((at[0] + .5) * n);
        return c.getContext("2d").getImageData(x, y, 1, 1).data[3] > 0 }"""
    for name in PANELS:
        assert here.panel(name).evaluate(drawn, [1, 2]), name
        assert not here.panel(name).evaluate(drawn, [3, 0]), name
    page.mouse.down()
    page.mouse.up()
    here.expect_stage(pinned="1,2")
    here.hear("block", [1, 2])
    page.mouse.move(5, 5)
    page.locator(".lanes").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    here.expect_stage(pinned="2,1")
    here.hear("block", [2, 1])
    page.keyboard.press("Escape")
    here.expect_stage(pinned="")
    here.hear("block", None)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    expect(here.stage).to_have_attribute("data-pinned", re.compile(r"\d,\d"))


def test_scrubbing_needs_no_server_and_the_label_is_the_mask_s_mean(open_stage, scene):
    here = open_stage("pixels=patches")
    page = here.page
    page.evaluate("mixvizStage.draws.length = 0")
    before = len(here.sent)
    page.locator(".grab").focus()
    page.keyboard.press("Home")
    for i in range(51):
        here.expect_stage(lam=f"{i / 50:g}")
        assert float(here.see("weight")) == pytest.approx(weight(scene, i / 50), abs=1e-3)
        if i in (0, 31, 50):
            assert np.abs(here.pixels("mix") - expected_mix(scene, i / 50)).max() <= 0.51
        page.keyboard.press("ArrowRight")
    here.hear("lam", 1.0)
    # A busy machine may rest for 150 ms between two keys; each rest is one commit.
    assert len(here.sent) - before <= 25
    # Drawn on the way, not only at its end; how fast is a figure of the bench.
    assert page.evaluate("mixvizStage.draws.length") > 30
    threads = page.locator(".threads").get_attribute("d")
    lines = re.findall(r"M([\d.]+) \d+L([\d.]+) \d+", threads)
    assert len(lines) == 51
    ends = np.array(lines, float)
    left, right = ends[0, 0], ends[-1, 0]
    given = [weight(scene, i / 50) for i in range(51)]
    np.testing.assert_allclose((ends[:, 1] - left) / (right - left), given, atol=1e-3)


def test_dragging_sends_one_value_and_no_arrays(open_stage):
    here = open_stage("pixels=patches")
    page = here.page
    page.mouse.move(*here.rail(0.4))
    page.mouse.down()
    page.mouse.move(*here.rail(0.9), steps=30)
    here.expect_stage(lam="0.9")
    received = len(here.received)
    page.mouse.up()
    here.hear("lam", 0.9)
    page.wait_for_timeout(150)
    assert sum(len(payload) for payload in here.received[received:]) < 20_000
    here.expect_stage(lam="0.9")


def test_a_mask_that_follows_lambda_otherwise_is_asked_for(open_stage):
    here = open_stage("pixels=box", frames=1)
    page = here.page
    expect(page.locator(".guide-title")).to_be_hidden()
    expect(page.locator(".bh .r")).to_have_text("each λ is computed when it is asked for")
    page.locator(".grab").focus()
    page.keyboard.press("End")
    here.expect_stage(lam="1")
    here.expect_stage(weight="1.000000")
    here.hear("lam", 1.0)
    expect(page.locator(".card h3")).to_contain_text("the most salient")
    page.keyboard.press("PageDown")
    here.expect_stage(lam="0.9")
    assert float(here.see("weight")) == pytest.approx(0.9, abs=0.01)


def test_lambda_that_is_not_used_says_so_and_stays(open_stage):
    here = open_stage("pixels=shares")
    page = here.page
    why = "λ is not used: the label is independent of it"
    expect(page.locator(".grab")).to_have_attribute("aria-disabled", "true")
    expect(page.locator(".grab")).to_have_attribute("aria-valuetext", why)
    expect(page.locator(".bh .r")).to_have_text(why)
    expect(page.locator('[data-g="asked"]')).to_be_hidden()
    expect(page.get_by_role("button", name="Swap A, B")).to_be_hidden()
    before = len(here.sent)
    page.locator(".grab").focus()
    page.keyboard.press("End")
    page.keyboard.press("s")
    page.wait_for_timeout(250)
    here.expect_stage(lam="0.4")
    assert len(here.sent) == before


def test_overlays_bare_photographs_help_and_swap(open_stage):
    here = open_stage("pixels=patches")
    page = here.page
    seen = {}
    for mode in ["Heat", "Contour", "Spotlight", "Blocks"]:
        page.get_by_role("button", name=mode).click()
        here.expect_stage(overlay=mode.lower())
        page.wait_for_timeout(60)
        seen[mode] = here.pixels("sA")
    assert all((seen["Blocks"] != seen[m]).any() for m in ["Heat", "Contour", "Spotlight"])
    here.hear("overlay", "blocks")
    page.locator(".lanes").focus()
    page.keyboard.down("x")
    here.expect_stage(bare="true")
    for name in ("sA", "gA"):
        assert (here.pixels(name) == here.pixels("A")).all(), name
    page.keyboard.up("x")
    here.expect_stage(bare="false")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.get_by_role("dialog")).to_contain_text("swap A and B")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("s")
    here.hear("action", "swap")
    old = here.see("scene")
    page.evaluate("document.querySelector('.st-key-swapped input').click()")
    expect(here.stage).not_to_have_attribute("data-scene", old)
    expect(page.locator('[data-p="A"] .t')).to_have_text("Dahlia")


def test_the_heat_is_the_map_as_it_is(open_stage):
    here = open_stage("pixels=patches&overlay=heat")
    page = here.page
    page.get_by_role("slider", name="Strength of the overlay").press("End")
    here.expect_stage(alpha="1")
    drawn, maps = here.pixels("sA"), [smooth(name) for name in NAMES]
    colours = heat(maps[0], np.max(maps))
    expected = Image.fromarray(colours).resize(drawn.shape[:2], Image.Resampling.BOX)
    assert np.abs(drawn - np.asarray(expected)).mean() < 3
    page.evaluate("sessionStorage.clear()")


@pytest.mark.parametrize("kind", ["patches", "shares"])
def test_dark_and_narrow_keep_everything(open_stage, kind):
    here = open_stage(f"pixels={kind}", scheme="dark")
    page = here.page
    here.expect_stage(theme="dark")
    background, texts = page.evaluate(
        """() => {
        const page = document.querySelector("[data-testid=stApp]");
        const roots = [...document.querySelectorAll("*")].map(e => e.shadowRoot);
        const mx = roots.map(r => r?.querySelector(".mx")).find(Boolean);
        const texts = [...mx.querySelectorAll("p, h3, th, td, .colh, .At, .Bt, .keys2, .scale")]
          .filter(e => e.offsetParent);
        return [getComputedStyle(page).backgroundColor, texts.map(e => {
          const s = getComputedStyle(e);
          return [e.className || e.tagName, s.color, parseFloat(s.fontSize)] })] }"""
    )
    assert len(texts) > 10
    for name, colour, size in texts:
        assert contrast(colour, background) >= 4.5, name
        assert size >= 14, name
    main = page.locator("[data-testid=stMain]")
    for width in (1120, 390):
        page.set_viewport_size({"width": width, "height": 1000})
        page.wait_for_timeout(400)
        assert main.evaluate("e => e.scrollWidth - e.clientWidth") == 0
        boxes = [page.locator(s).bounding_box() for s in (".gauge", ".badge")]
        assert boxes[1]["x"] + boxes[1]["width"] <= boxes[0]["x"] + boxes[0]["width"] + 1
    a, b = here.panel("gA").bounding_box(), here.panel("gB").bounding_box()
    assert a["y"] == b["y"]
    assert a["x"] < b["x"]


def test_what_is_wrong_with_a_pair_stands_on_its_stage():
    images = [torch.rand(1, 3, 56, 56, generator=torch.Generator().manual_seed(k)) for k in (0, 1)]
    maps = [torch.rand(1, 56, 56), torch.ones(1, 56, 56)]
    method = METHODS["guidedmixup"]
    trace = method.mix(Pair(*images, *maps), method.params())
    scene = pixel_staging.guided_scene((0, 1), ("a", "b"), tuple(images), tuple(maps), trace)
    (only,) = scene.notices
    assert "saliency of B is the same everywhere" in only.cause
    assert only.remedy
