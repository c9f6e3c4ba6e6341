"""The stage in a real browser: what a visitor sees, feels and sends."""

import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect
from stage_harness import LAMBDAS, Problem, photograph
from streamlit.testing.v1 import AppTest

from mixviz import stage
from mixviz.stage.wire import pack_feed, pack_shelf, pack_show

HERE = Path(__file__).parent
NAMES = ("Cat", "Dahlia")


# ---- without a browser


@pytest.fixture(scope="module")
def problem():
    return Problem(NAMES, 8, 2, 0.05)


def unpack(message):
    length = struct.unpack_from("<I", message)[0]
    return json.loads(message[4 : 4 + length]), message[-(-(4 + length) // 8) * 8 :]


def test_a_forbidden_label_and_every_number_survive_the_wire(problem):
    frame, _ = problem.frame(0.0)
    header, body = unpack(pack_show(problem.scene(), frame, (), {}))
    at = header["frame"]["at"]
    assert np.isinf(np.frombuffer(body, "<f4", 3, at[8])[1:]).all()
    np.testing.assert_array_equal(
        np.frombuffer(body, "<u2", 64, at[1]), frame.source_0.astype("<u2")
    )
    terms = np.frombuffer(body, "<f8", 7, at[3])
    assert terms[:6].sum() == pytest.approx(terms[6], abs=1e-12)


def test_equal_arrays_travel_once_and_a_sweep_stays_small(problem):
    frames = [problem.frame(lam)[0] for lam in LAMBDAS[::5]]
    header, _ = unpack(pack_feed("key", frames))
    assert len({h["at"][7] for h in header["frames"]}) == 1, "γ costs do not depend on λ here"
    assert len(pack_feed("key", frames)) < 4000 * len(frames)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("moved_0", np.full((8, 8), np.nan, np.float32), "moved_0 holds NaN"),
        ("labels", np.zeros((4, 4), np.uint8), "labels must have shape"),
        ("labels", np.full((8, 8), 3, np.uint8), "labels must lie in 0 to 2"),
        ("source_1", np.full(64, 64, np.uint16), "source_1 must name blocks 0 to 63"),
        ("weight_1", float("nan"), "weight_1 must be finite"),
    ],
)
def test_a_frame_that_cannot_be_drawn_is_refused(problem, field, value, words):
    frame, _ = problem.frame(0.4)
    broken = stage.Frame(**{**frame.__dict__, field: value})
    with pytest.raises(ValueError, match=re.escape(words)):
        pack_show(problem.scene(), broken, (), {})


def test_steps_and_scene_refuse_what_does_not_fit(problem):
    with pytest.raises(ValueError, match="must be one of"):
        stage.Steps("leap", ("a",), np.zeros(1))
    with pytest.raises(ValueError, match="as many captions"):
        stage.Steps("swap", ("a", "b"), np.zeros(2), labels=np.zeros((1, 8, 8), np.uint8))
    with pytest.raises(ValueError, match="blocks must be 4 x 4"):
        stage.Scene(**{**problem.scene().__dict__, "grid": 4})


def test_what_a_browser_claims_is_checked():
    result = stage._result(
        {
            "lam": {"value": 7, "count": 1},
            "block": {"value": [-1, 2], "count": 2},
            "step": {"value": ["leap", 0], "count": 3},
            "overlay": {"value": "<b>", "count": 4},
            "action": 5,
        }
    )
    assert result == stage.StageResult(lam=1.0)
    assert stage._result({"lam": "0.4", "block": {"value": "x"}}) == stage.StageResult()


def test_a_shelf_holds_each_picture_whole():
    pictures = [stage.Picture("a", "A", b"12345"), stage.Picture("b", "B", b"678")]
    header, body = unpack(pack_shelf(pictures))
    held = [body[i["at"] : i["at"] + i["size"]] for i in header["items"]]
    assert held == [b"12345", b"678"]


def test_a_page_reads_what_was_committed():
    at = AppTest.from_file(str(HERE / "stage_harness.py"), default_timeout=20)
    at.query_params["grid"] = "4"
    at.session_state["stage"] = {"lam": {"value": 0.3, "count": 1}}
    at.run()
    assert not at.exception
    assert json.loads(at.text[0].value)["lam"] == 0.3


# ---- in the browser


def moved(image, source, grid):
    side = image.shape[0] // grid
    blocks = image.reshape(grid, side, grid, side, 3).swapaxes(1, 2).reshape(grid**2, side, side, 3)
    placed = blocks[source].reshape(grid, grid, side, side, 3)
    return placed.swapaxes(1, 2).reshape(image.shape)


def blend(problem, lam):
    frame, _ = problem.frame(lam)
    a, b = (photograph(name).astype(float) for name in problem.names)
    share = np.kron(frame.labels / problem.levels, np.ones((224 // problem.grid,) * 2))[..., None]
    sources = (frame.source_0, frame.source_1)
    a, b = (moved(x, s, problem.grid) for x, s in zip((a, b), sources, strict=True))
    return (1 - share) * a + share * b


@pytest.mark.parametrize(("grid", "levels"), [(2, 1), (16, 8)])
def test_the_mix_is_the_blend_to_rounding(open_stage, grid, levels):
    here = open_stage(f"grid={grid}&levels={levels}")
    expected = blend(Problem(NAMES, grid, levels, 0.05), 0.4)
    assert np.abs(here.pixels("mix") - expected).max() <= 0.5 + 1e-9
    # The card shows every label, or five around the present one.
    assert here.page.locator('[data-row="sum"] td').count() == min(5, levels + 1)
    assert here.page.locator('[data-row="sum"] td.on').inner_text() == "0"


def test_pictures_may_come_after_the_scene(open_stage):
    here = open_stage("late=1", frames=None)
    here.expect_stage(ready="false")
    here.page.get_by_role("button", name="again").click()
    here.expect_stage(ready="true")
    here.expect_stage(frames="51")
    assert here.pixels("mix").std() > 10


def test_everything_is_drawn_and_the_numbers_are_the_frame_s(open_stage, problem):
    here = open_stage()
    frame, _ = problem.frame(0.4)
    assert here.see("scene") == problem.scene().key
    assert float(here.see("total")) == pytest.approx(frame.terms["total"], abs=1e-6)
    assert float(here.see("weight")) == pytest.approx(frame.weight_1, abs=1e-6)
    widths = {
        here.panel(p).bounding_box()["width"] for p in ["A", "B", "sA", "sB", "z", "mA", "mB"]
    }
    assert max(widths) - min(widths) < 0.5
    for name in ["A", "B", "sA", "sB", "z", "mA", "mB", "mix"]:
        assert here.pixels(name).std() > 10, name
    shown = here.page.locator(".eq .vl").all_inner_texts()
    total, *parts = (round(float(text.replace("−", "-")) * 1e4) for text in shown)
    assert sum(parts) == total, "the terms add up as printed"
    assert abs(total - frame.terms["total"] * 1e4) <= 0.51
    status = here.page.locator(".say p").inner_text()
    assert status == frame.status
    live = here.page.locator(".sr").first
    expect(live).to_contain_text("λ 0.40 asked for B")
    # Mounts without pixels take no room, and the shelf does not come again with the next run.
    hidden = here.page.locator("[class*=st-key-feed], .st-key-shelf, .st-key-stage-library")
    assert all(box is None for box in [e.bounding_box() for e in hidden.all()])


def test_card_and_reticle_follow_the_hovered_block_in_every_panel(open_stage, problem):
    here = open_stage()
    frame, _ = problem.frame(0.4)
    before = here.page.locator(".card h3").inner_text()
    assert "the closest call" in before
    for name, row, column in [("A", 0, 0), ("sB", 3, 5), ("z", 4, 4), ("mB", 7, 2), ("mix", 2, 7)]:
        here.hover(name, row, column)
        expect(here.page.locator(".card h3")).to_contain_text(f"Row {row + 1}, column {column + 1}")
        hidden = np.array([frame.moved_1, (frame.moved_0 + frame.moved_1) / 2, frame.moved_0])
        expected = {
            "hidden": hidden[:, row, column],
            "beta": frame.label_cost[row, column],
            "gamma": frame.data_cost[row, column],
            "eta": frame.prior_cost,
        }
        total = sum(expected.values())
        expected["sum"] = total - total[frame.labels[row, column]]
        for term, values in expected.items():
            texts = here.page.locator(f'[data-row="{term}"] td').all_inner_texts()
            shown = [float(text.replace("−", "-")) for text in texts]
            np.testing.assert_allclose(shown, 1000 * np.asarray(values), atol=0.0501)
        share = here.page.locator(".crops div").nth(0).inner_text()
        assert f"{100 * frame.moved_0[row, column]:.1f}" in share
        lit = here.page.locator(".eq .lit").count()
        assert lit >= 2
    here.hover("A", 5, 2)
    drawn = """(e, at) => { const c = e.querySelector(".top"), n = c.width / 8;
        const x = Math.round(at[1] * n), y = Math.round((at[0] + .5) * n);
        return c.getContext("2d").getImageData(x, y, 1, 1).data[3] > 0 }"""
    for name in ["A", "B", "sA", "sB", "z", "mA", "mB", "mix"]:
        assert here.panel(name).evaluate(drawn, [5, 2]), name
        assert not here.panel(name).evaluate(drawn, [0, 7]) or name in {"mA", "mB"}, name


def test_dragging_lambda_sends_nothing_until_it_rests(open_stage):
    here = open_stage("grid=16")
    page = here.page
    page.evaluate(
        """() => { mixvizStage.draws.length = 0; window.gaps = [];
        let last = Infinity;
        addEventListener("pointermove", () => {
          const now = performance.now(); gaps.push(now - last); last = now }) }"""
    )
    start, low, high = (here.rail(lam) for lam in (0.4, 0.1, 0.9))
    before = len(here.sent)
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*low, steps=20)
    page.mouse.move(*high, steps=40)
    # A busy machine may leave the hand at rest for 150 ms in between; each rest is one commit.
    rests = sum(gap > 140 for gap in page.evaluate("gaps"))
    assert len(here.sent) - before <= rests
    before += rests
    here.expect_stage(lam="0.9")
    received = len(here.received)
    page.mouse.up()
    here.hear("lam", 0.9)
    page.wait_for_timeout(200)
    assert len(here.sent) <= before + 1
    here.expect_stage(lam="0.9")
    bytes_back = sum(len(payload) for payload in here.received[received:])
    assert bytes_back < 40_000, "pictures, feeds and the program itself are not sent again"
    here.hover("z", 0, 0, grid=16)
    page.mouse.down()
    page.mouse.up()
    # A λ committed before is no news when a block is pinned.
    expect(page.locator("[data-testid=stText]")).to_have_text(re.compile(r"0\.9, null\]"))
    # Drawn on the way, not only at its end; how fast is a figure of the bench.
    assert page.evaluate("mixvizStage.draws.length") > 30


def test_keys_on_the_slider_commit_once_and_nothing_moves(open_stage):
    here = open_stage()
    page = here.page
    tops = "() => document.querySelector('[data-testid=stText]').getBoundingClientRect().top"
    place = page.evaluate(tops)
    before = len(here.sent)
    page.locator(".grab").focus()
    page.keyboard.press("Home")
    here.expect_stage(lam="0")
    for i in range(1, 51):
        page.keyboard.press("ArrowRight")
        if i % 5 == 0:
            here.expect_stage(lam=f"{i / 50:g}")
            assert page.evaluate(tops) == place, "heights are reserved"
    assert page.locator(".grab").get_attribute("aria-valuenow") == "1.00"
    assert "given" in page.locator(".grab").get_attribute("aria-valuetext")
    page.keyboard.press("PageDown")
    here.expect_stage(lam="0.9")
    page.keyboard.press("End")
    here.expect_stage(lam="1")
    here.hear("lam", 1.0)
    # Keys from a script come faster than 150 ms, unless this machine is busy.
    assert 1 <= len(here.sent) - before <= 3
    expect(page.locator(".words")).to_contain_text("forbidden")


def test_arrows_move_the_block_a_click_pins_it_escape_frees_it(open_stage):
    here = open_stage()
    page = here.page
    here.hover("z", 3, 3)
    page.mouse.down()
    page.mouse.up()
    here.expect_stage(pinned="3,3")
    page.mouse.move(5, 5)
    page.locator(".lanes").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    here.expect_stage(block="4,4")
    expect(page.locator(".card h3")).to_contain_text("Row 5, column 5")
    here.hear("block", [4, 4])
    here.expect_stage(pinned="4,4")
    page.keyboard.press("Escape")
    here.expect_stage(pinned="")
    here.hear("block", None)


def test_values_still_to_come_are_marked_and_then_filled(open_stage):
    here = open_stage("chunks=1", frames=10)
    page = here.page
    assert "updating" in page.locator(".bh .r").inner_text()
    assert page.locator(".rail.unknown").first.get_attribute("d").count("M") == 41
    page.locator(".grab").focus()
    page.keyboard.press("ArrowRight")
    here.expect_stage(lam="0.48")
    page.mouse.move(*here.rail(0.7))
    page.mouse.down()
    here.expect_stage(lam="0.72")
    page.mouse.up()
    page.wait_for_timeout(500)
    page.locator(".st-key-chunks input").fill("6")
    page.locator(".st-key-chunks input").press("Enter")
    here.expect_stage(frames="51")
    here.expect_stage(lam="0.72")
    assert page.locator(".rail.unknown").first.get_attribute("d") == ""
    assert "upright" in page.locator(".bh .r").inner_text()


def test_a_value_nobody_sent_is_asked_of_the_server(open_stage):
    here = open_stage("chunks=0", frames=1)
    here.page.locator(".grab").focus()
    here.page.keyboard.press("ArrowRight")
    here.expect_stage(lam="0.42")
    here.expect_stage(frames="2")


def test_the_old_threads_stay_until_new_ones_come(open_stage):
    here = open_stage()
    page = here.page
    assert page.locator(".ghosts").get_attribute("d") == ""
    page.locator(".st-key-chunks input").fill("1")
    page.locator(".st-key-chunks input").press("Enter")
    page.evaluate("document.querySelector('.st-key-swapped input').click()")
    here.expect_stage(frames="10")
    assert page.locator(".ghosts").get_attribute("d").count("M") == 41
    expect(page.locator(".busy")).to_be_visible()
    assert page.locator(".threads").get_attribute("d").count("M") == 10


def test_a_hand_at_rest_keeps_its_lambda_while_another_scene_comes(open_stage):
    here = open_stage(gated=True)
    page, gate = here.page, here.gate
    # A slow clock for what is sent after a rest: the scene comes before it.
    page.evaluate(
        """() => { const real = window.setTimeout;
        window.setTimeout = (act, ms, ...more) => real(act, ms === 150 ? 1500 : ms, ...more) }"""
    )
    old = here.see("scene")
    gate.hold_answer("document.querySelector('.st-key-swapped input').click()")
    gate.shut.add("page")
    page.mouse.move(*here.rail(0.4))
    page.mouse.down()
    page.mouse.move(*here.rail(0.7))
    here.expect_stage(lam="0.7")
    for _ in range(100):  # the scene at λ 0.4; its other λ stay behind
        gate.let("server", 1)
        page.wait_for_timeout(10)
        if here.see("scene") != old:
            break
    for _ in range(150):
        page.wait_for_timeout(20)
        if gate.held["page"]:
            break
    page.mouse.up()
    gate.let("server")
    here.expect_stage(frames="51")
    here.expect_stage(lam="0.7")
    gate.let("page")
    here.hear("lam", 0.7)
    here.expect_stage(lam="0.7")


def test_the_server_does_not_pull_lambda_out_of_the_hand(open_stage):
    here = open_stage(gated=True)
    page, gate = here.page, here.gate
    old = here.see("scene")
    # Two answers at λ 0.4 are on their way; nothing the hand does now reaches the server.
    swap = "document.querySelector('.st-key-swapped input').click()"
    again = "[...document.querySelectorAll('button')].find(b => b.innerText === 'again').click()"
    first = gate.hold_answer(again)
    gate.hold_answer(swap)
    gate.shut.add("page")
    page.mouse.move(*here.rail(0.4))
    page.mouse.down()
    page.mouse.move(*here.rail(0.7))
    here.expect_stage(lam="0.7")
    here.stage.evaluate(
        """e => { window.shown = []; new MutationObserver(() => shown.push(e.dataset.lam))
        .observe(e, { attributes: true, attributeFilter: ["data-lam"] }) }"""
    )
    gate.let("server", first)
    text = page.locator("[data-testid=stText]")
    for i in range(200):  # the hand never rests for 150 ms
        page.mouse.move(*here.rail(0.7 + 0.02 * (i % 2)))
        page.wait_for_timeout(40)  # long enough for a frame to be drawn in between
        if i > 4 and '"clicks": 1' in text.inner_text():
            break
    page.mouse.move(*here.rail(0.7))
    here.expect_stage(lam="0.7")
    assert set(page.evaluate("shown")) <= {"0.7", "0.72"}, "a frame changes nothing in the hand"
    page.mouse.up()
    for _ in range(100):
        page.wait_for_timeout(20)
        if gate.held["page"]:
            break
    # λ 0.7 is on its way; the new scene still comes as it was asked for before, at λ 0.4.
    gate.let("server")
    expect(here.stage).not_to_have_attribute("data-scene", old)
    here.expect_stage(frames="51")
    here.expect_stage(lam="0.7")
    gate.let("page")
    here.hear("lam", 0.7)
    here.expect_stage(lam="0.7")
    expected = blend(Problem(NAMES[::-1], 8, 2, 0.05), 0.7)
    assert np.abs(here.pixels("mix") - expected).max() <= 0.5 + 1e-9


def test_a_label_independent_of_lambda_leaves_nothing_to_scrub(open_stage):
    here = open_stage("contract=independent")
    page = here.page
    grab = page.locator(".grab")
    expect(grab).to_have_attribute("aria-disabled", "true")
    why = "λ is not used: the label is independent of it"
    expect(grab).to_have_attribute("aria-valuetext", why)
    expect(page.locator(".bh .r")).to_have_text(why)
    expect(page.locator(".badge")).to_contain_text("independent of λ")
    before = len(here.sent)
    grab.focus()
    page.keyboard.press("End")
    page.mouse.move(*here.rail(0.4))
    page.mouse.down()
    page.mouse.move(*here.rail(0.9))
    page.mouse.up()
    page.wait_for_timeout(250)
    here.expect_stage(lam="0.4")
    assert len(here.sent) == before
    page.set_viewport_size({"width": 420, "height": 1000})
    expect(page.locator(".bh .r")).to_be_visible()


def test_the_algorithm_is_walked_step_by_step(open_stage, problem):
    here = open_stage("steps=1")
    page = here.page
    frame, trail = problem.frame(0.4)
    steps = problem.steps(0.4, trail, frame)
    settled = here.pixels("z")
    page.get_by_role("button", name="next swap move").click()
    here.expect_stage(step="swap:0")
    first = steps[0]
    assert float(here.see("total")) == pytest.approx(first.objective[0], abs=1e-6)
    expect(page.locator(".say p")).to_contain_text(first.captions[0])
    shown = [float(t.replace("−", "-")) for t in page.locator(".eq .vl").all_inner_texts()]
    assert sum(shown[1:]) == pytest.approx(shown[0], abs=1e-9)
    here.hear("step", ["swap", 0])
    here.expect_stage(step="swap:0")
    page.keyboard.press("Escape")
    here.expect_stage(step="")
    assert (here.pixels("z") == settled).all()
    page.get_by_role("button", name="next round of the transport").click()
    page.get_by_role("button", name="next round of the transport").click()
    here.expect_stage(step="rounds_0:1")
    expect(page.locator('[data-p="mA"] figcaption')).to_contain_text("round 2 of 3")
    page.locator(".grab").focus()
    page.keyboard.press("ArrowRight")
    here.expect_stage(step="")
    expect(page.get_by_role("button", name="next swap move")).to_be_enabled()


def test_moves_play_and_hover_tells_what_they_are_worth(open_stage, problem):
    here = open_stage()
    page = here.page
    still = here.pixels("mA")
    page.clock.install()  # a busy machine would come when it is over
    page.clock.pause_at(page.evaluate("Date.now()") + 1000)
    page.locator(".lanes").focus()
    page.keyboard.press(" ")
    page.clock.run_for(250)
    here.expect_stage(playing="true")
    assert (here.pixels("mA") != still).any()
    page.clock.run_for(2000)
    here.expect_stage(playing="false")
    assert (here.pixels("mA") == still).all()
    page.emulate_media(reduced_motion="reduce")
    page.keyboard.press(" ")
    page.clock.run_for(150)
    here.expect_stage(playing="true")
    faded = here.pixels("mA")
    page.clock.run_for(2000)
    here.expect_stage(playing="false")
    page.clock.resume()
    assert (here.pixels("mA") == still).all()
    assert (faded[-1, 0] == still[-1, 0]).all(), "what stays is not dimmed: nothing travels"
    frame, _ = problem.frame(0.4)
    places = np.arange(64)
    seen = (frame.source_1 != places) & (frame.labels.ravel() > 0)
    to = int(places[seen][0])
    here.hover("mB", to // 8, to % 8)
    tip = page.locator(".tip")
    expect(tip).to_be_visible()
    shown = re.findall(r"gain (\S+) − ξ·cost (\S+) = (\S+)", tip.inner_text())[0]
    gain, cost, net = (float(t.replace("−", "-")) for t in shown)
    assert net == pytest.approx(gain - cost, abs=0.11)
    assert here.see("moved").split(",")[1] == str(int(seen.sum()))
    # On the line of an arrow, away from where it ends, it is the arrow that speaks.
    start, end = (np.array(divmod(b, 8))[::-1] + 0.5 for b in (int(frame.source_1[to]), to))
    along, box = end - start, here.panel("mB").bounding_box()
    x, y = (start + end) / 2 + 0.09 * np.array([-along[1], along[0]])
    page.mouse.move(box["x"] + x * box["width"] / 8, box["y"] + y * box["width"] / 8)
    ends = [f"{int(y) + 1},{int(x) + 1}" for x, y in (start, end)]
    expect(tip).to_contain_text(" → ".join(ends))
    expect(tip).to_contain_text("ξ·cost")


def test_overlays_bare_photographs_help_and_actions(open_stage):
    here = open_stage("notice=1")
    page = here.page
    seen = {}
    for mode in ["Heat", "Contour", "Spotlight", "Blocks"]:
        page.get_by_role("button", name=mode).click()
        here.expect_stage(overlay=mode.lower())
        page.wait_for_timeout(60)
        seen[mode] = here.pixels("sA")
    assert all((seen["Blocks"] != seen[m]).any() for m in ["Heat", "Contour", "Spotlight"])
    page.locator(".lanes").focus()
    page.keyboard.down("x")
    here.expect_stage(bare="true")
    assert (here.pixels("sA") == here.pixels("A")).all()
    page.keyboard.up("x")
    here.expect_stage(bare="false")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator(".say p")).to_have_text("Nothing moves at ξ = 0.8.")
    page.get_by_role("button", name="Set ξ to 0.05").click()
    here.hear("action", "set_xi:0.05")
    page.get_by_role("button", name="1 of 2").click()
    expect(page.locator(".say p")).to_have_text("The mask is a checkerboard. Raise β.")
    page.keyboard.press("s")
    here.hear("action", "swap")
    here.hear("overlay", "blocks")


def test_the_strength_of_an_overlay_is_the_tab_s_own(open_stage):
    here = open_stage(width=420)
    page = here.page
    slider = page.get_by_role("slider", name="Strength of the overlay")
    expect(slider).to_be_disabled()
    place = """e => [".seg", ".strength", ".lanes"].map(s => {
        const b = e.querySelector(s).getBoundingClientRect();
        return [b.x, b.y, b.width, b.height] })"""
    bare, blocks, before = here.pixels("A"), here.pixels("sA"), here.stage.evaluate(place)
    for mode, usual in [("Heat", 0.66), ("Contour", 1), ("Spotlight", 0.88)]:
        page.get_by_role("button", name=mode).click()
        here.expect_stage(alpha=str(usual))
        assert here.stage.evaluate(place) == before, "its room is reserved"
        usually = np.abs(here.pixels("sA") - bare).mean()
        slider.focus()
        block = here.see("block")
        page.keyboard.press("ArrowLeft")
        here.expect_stage(alpha=f"{usual - 0.02:g}")
        page.keyboard.press("Home")
        here.expect_stage(alpha="0")
        assert (here.pixels("sA") == bare).all()
        for _ in range(5):
            page.keyboard.press("PageUp")
        here.expect_stage(alpha="0.5")
        assert 0 < np.abs(here.pixels("sA") - bare).mean() < usually
        assert here.see("block") == block, "arrows on the slider leave the block alone"
        expect(slider).to_have_attribute("aria-valuetext", "50 percent")
    page.get_by_role("button", name="Blocks").click()
    here.expect_stage(alpha="1")
    assert (here.pixels("sA") == blocks).all()
    here.hear("overlay", "blocks")
    assert not any(b"strength" in (m if isinstance(m, bytes) else m.encode()) for m in here.sent)
    page.reload()
    here.expect_stage(frames="51")
    page.get_by_role("button", name="Heat").click()
    here.expect_stage(alpha="0.5")
    page.evaluate("sessionStorage.clear()")


def contrast(first, second):
    def luminance(text):
        parts = np.array([float(v) for v in re.findall(r"[\d.]+", text)[:3]]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    high, low = sorted([luminance(first), luminance(second)], reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_themes_are_legible_and_photographs_the_same(open_stage, scheme):
    here = open_stage(scheme=scheme)
    here.expect_stage(theme=scheme)
    styles = here.page.evaluate(
        """() => {
        const page = document.querySelector("[data-testid=stApp]");
        const roots = [...document.querySelectorAll("*")].map(e => e.shadowRoot);
        const mx = roots.map(r => r?.querySelector(".mx")).find(Boolean);
        const kinds = "p, h3, small, th, td, .nm, .vl, .colh, .At, .Bt, sub, .btn, .seg button";
        const texts = [...mx.querySelectorAll(kinds)].filter(e => e.offsetParent && !e.disabled);
        return [getComputedStyle(page).backgroundColor, texts.map(e => {
          const s = getComputedStyle(e);
          const own = s.backgroundColor.endsWith(" 0)") ? null : s.backgroundColor;
          return [e.className || e.tagName, s.color, own, parseFloat(s.fontSize)] })] }"""
    )
    background, texts = styles
    assert len(texts) > 40
    for name, colour, own, size in texts:
        assert contrast(colour, own or background) >= 4.5, (name, colour, own)
        assert size >= 14, name
    expected = blend(Problem(NAMES, 8, 2, 0.05), 0.4)
    assert np.abs(here.pixels("mix") - expected).max() <= 0.5 + 1e-9


def test_narrow_windows_keep_everything(open_stage):
    here = open_stage(width=1120)
    page = here.page
    main = page.locator("[data-testid=stMain]")
    for width in (1120, 420):
        page.set_viewport_size({"width": width, "height": 1000})
        page.wait_for_timeout(500)
        assert main.evaluate("e => e.scrollWidth - e.clientWidth") == 0
        card, lanes = (page.locator(s).bounding_box() for s in [".card", ".lanes"])
        assert card["y"] >= lanes["y"] + lanes["height"]
    a, b = here.panel("A").bounding_box(), here.panel("B").bounding_box()
    assert a["y"] == b["y"]
    assert a["x"] < b["x"]
    band = page.locator(".band").bounding_box()
    assert band["y"] + band["height"] <= 1001, "λ sticks to the bottom edge"
    page.mouse.move(*here.rail(0.4))
    page.mouse.down()
    page.mouse.move(*here.rail(0.8))
    page.mouse.up()
    here.expect_stage(lam="0.8")
