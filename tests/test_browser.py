"""The whole app in Chromium: what a visitor sees, does, sends by mistake, and shares by link."""

import io
import json
import logging
import re
from dataclasses import replace
from functools import cache
from urllib.parse import quote, urlencode

import numpy as np
import pytest
from browser import PICTURE, PUZZLE_MIX, Visit, serve
from hostile_checkpoints import CLASSES, good_bytes, hostile_checkpoints
from hostile_images import HOSTILE
from PIL import Image
from playwright.sync_api import expect

from mixviz import zoo
from mixviz.methods import METHODS
from mixviz.methods.puzzle_mix import PuzzleMixParams, PuzzleMixTrace
from mixviz.samples import SAMPLES, SOURCES, UploadError, decode_upload, load_sample
from mixviz.spec import Choice, Knob, Switch, notes
from mixviz.ui import classifier, compute
from mixviz.ui.compute import Framing, Look
from mixviz.ui.puzzle import OPENING, SLUG

NOTED: dict[str, Knob | Choice | Switch] = notes(PuzzleMixParams, Knob, Choice, Switch)


@cache
def expected(
    a: str = "cat",
    b: str = "coffee",
    size: int = 224,
    label_a: int | None = None,
    **values: float | str,
) -> PuzzleMixTrace:
    """What Python says of a pair of bundled pictures, asked here, not of the server."""
    logging.getLogger("streamlit").setLevel(logging.ERROR)
    chosen = [load_sample(name) for name in (a, b)]
    framings = [Framing(picture.digest) for picture in chosen]
    look = Look(*framings, size, classifier.BUNDLED, label_a)
    params = replace(OPENING, **values)
    held = {picture.digest: picture for picture in chosen}
    seen = compute.look_at(look, SLUG, params, held, {}, poll=lambda: None)
    return METHODS[SLUG].mix(seen.pair, params)


def total(**values: float | str) -> float:
    return float(expected(**values).energy["total"])


# ---- first visits


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("/", "/Puzzle_Mix"),
        ("/Puzzle_Mix?grid=16&xi=0.2&lam=0.3&a=dahlia", "/"),
    ],
)
def test_a_fresh_server_shows_all_of_whatever_page_is_asked_first(
    browser, new_visit, tmp_path, first, then
):
    with serve("app.py", tmp_path) as fresh:
        private = browser.new_context()
        here = new_visit(private, fresh)
        here.open(first)
        if first == "/":
            images = here.page.locator("[data-first] img")
            expect(images).to_have_count(6)
            assert images.evaluate_all("all => all.every(i => i.complete && i.naturalWidth > 0)")
            assert len(set(images.evaluate_all("all => all.map(i => i.src)"))) == 6
        else:
            here.expect_total(total(a="dahlia", grid=16, xi=0.2, lam=0.3))
            here.expect_stage(lam="0.3")
            assert here.query == {"grid": "16", "xi": "0.2", "lam": "0.3", "a": "dahlia"}
            expect(here.page.locator('[data-p="A"] figcaption')).to_contain_text("Dahlia")
        expect(here.notices()).to_have_count(0)
        here.open(then)
        here.page.reload()
        here.wait()
        private.close()


# ---- every control


# What each control is set to, from starts of which the first is taken where that matters.
PLAIN: tuple[dict[str, float], ...] = ({},)
ATTACKED = ({"nu0": 1},)
HARD = tuple(
    {"grid": grid, "levels": levels, "beta": beta, "xi": xi}
    for beta in (1.2, 3.0, 8.0)
    for grid in (16, 8)
    for levels in (4, 8)
    for xi in (0.05, 0.01)
)
MOVES = {
    "beta": (PLAIN, 1.5),
    "gamma": (PLAIN, 0.6),
    "eta": (PLAIN, 0.1),
    "xi": (PLAIN, 0.03),
    "grid": (PLAIN, 4),
    "levels": (PLAIN, 3),
    "transport": (PLAIN, False),
    "mask_solver": (HARD, "swap"),
    "transport_solver": (PLAIN, "paper"),
    "transport_mask": (PLAIN, "nonzero"),
    "data_term": (PLAIN, "official"),
    "neigh_size": (PLAIN, 4),
    "cycles": (HARD, 2),
    "nu0": (PLAIN, 1),
    "nu1": (PLAIN, 1),
    "eps": (ATTACKED, 8 / 255),
    "tau": (ATTACKED, 10 / 255),
    "delta": (ATTACKED, 0.9),
    "seed": (ATTACKED, 1),
}


def _differs(start: dict[str, float], name: str, value: float | str) -> bool:
    before, after = expected(**start), expected(**start, **{name: value})
    energies = [float(trace.energy["total"]) for trace in (before, after)]
    pixels = (before.mixed - after.mixed).abs().max()
    return abs(energies[0] - energies[1]) > 1e-5 or float(pixels) > 1 / 255


def test_the_table_of_controls_is_whole():
    assert {*MOVES, "lam"} == set(NOTED)


@pytest.fixture(scope="module")
def desk(context, server):
    """A tab that all controls share: to open the page takes longer than to use it."""
    here = Visit(context, server).open()
    yield here
    here.page.close()


@pytest.mark.parametrize("name", MOVES)
def test_a_control_changes_the_picture_and_the_link_keeps_it(desk, name):
    starts, value = MOVES[name]
    start = next((start for start in starts if _differs(start, name, value)), None)
    assert start is not None, "no start shows a difference"
    before, after = total(**start), total(**start, **{name: value})
    if start:
        desk.open(f"/Puzzle_Mix?{urlencode(start)}")
    else:
        desk.widget("reset").locator("button").click()
    desk.expect_total(before)
    desk.wait()
    scene, drawn = desk.see("scene"), desk.pixels("mix")
    if NOTED[name].advanced:
        desk.unfold("Advanced")
    key = f"puzzle_mix-{name}"
    note = NOTED[name]
    if isinstance(note, Switch):
        desk.widget(key).locator("label").first.click()
    elif desk.widget(key).get_by_role("radio").count():
        desk.pick(key, str(value))
    else:
        stops = note.stops
        by = stops.index(value) - stops.index(start.get(name, getattr(OPENING, name)))
        desk.press(key, *["ArrowRight" if by > 0 else "ArrowLeft"] * abs(by))
    desk.expect_total(after)
    desk.expect_new_scene(scene)
    if abs(before - after) < 1e-5:
        assert (desk.pixels("mix") != drawn).any()
    written = f"{value:.6g}" if isinstance(value, float) else str(value)
    desk.expect_url(**{name: "0" if value is False else written})
    moved = desk.see("scene")
    desk.reload()
    desk.expect_total(after)
    desk.expect_stage(scene=moved)
    expect(desk.notices()).to_have_count(0)
    desk.check()


def test_a_control_that_does_nothing_is_disabled_and_says_why(visit):
    visit.open("/Puzzle_Mix?beta=0&transport=0&levels=1")
    visit.unfold("Advanced")
    idle = ["gamma", "xi", "transport_solver", "transport_mask", "data_term"]
    idle += ["eps", "tau", "delta", "seed"]
    for name in idle:
        widget = visit.widget(f"puzzle_mix-{name}")
        for control in widget.locator("input, [role=radio]").all():
            assert control.is_disabled(), name
        widget.locator("[data-testid=stTooltipHoverTarget]").first.hover()
        tip = visit.page.get_by_test_id("stTooltipContent").last
        expect(tip).to_be_visible()
        assert tip.inner_text().strip(), name
        assert NOTED[name].help.split(".")[0] not in tip.inner_text(), name
        visit.page.mouse.move(700, 5)
        expect(visit.page.get_by_test_id("stTooltipContent")).to_have_count(0)
    for name in set(MOVES) - set(idle):
        control = visit.widget(f"puzzle_mix-{name}").locator("input, [role=radio]").first
        assert control.is_enabled(), name


# ---- the stage


def test_scrubbing_sends_nothing_until_it_rests_and_the_link_follows(visit):
    page = visit.page
    page.clock.install()  # a busy machine would rest where no hand does
    visit.open("/Puzzle_Mix?grid=16")
    before = len(visit.sent)
    page.mouse.move(*visit.rail(0.5))
    page.clock.pause_at(page.evaluate("Date.now()") + 1000)
    page.mouse.down()
    shown = set()
    for step in range(10, 41):
        page.mouse.move(*visit.rail(step / 50))
        page.clock.run_for(40)
        shown.add(visit.see("total"))
    assert len(shown) > 15, "the picture follows λ"
    page.mouse.up()
    page.clock.run_for(60)
    assert len(visit.sent) == before, "nothing is sent while λ moves"
    page.clock.resume()
    visit.expect_url(lam="0.8")
    visit.settle()
    assert len(visit.sent) == before + 1, "one commit, once λ rests"
    visit.expect_total(total(grid=16, lam=0.8))


def test_keys_on_lambda_reach_both_ends_and_the_link(visit):
    visit.open()
    visit.page.locator(".grab").focus()
    for key, lam in (("Home", 0.0), ("End", 1.0)):
        visit.page.keyboard.press(key)
        visit.expect_url(lam=f"{lam:g}")
        visit.expect_total(total(lam=lam))
        # Under λ = 0 or 1 every block shows one picture: the mix is that picture.
        mixed = visit.pixels("mix")
        whole = expected(lam=lam).shown_1 if lam else expected(lam=lam).shown_0
        assert np.abs(mixed - 255 * whole[0].permute(1, 2, 0).numpy()).max() <= 1


@pytest.mark.parametrize("start", [{}, {"grid": 16, "levels": 4, "xi": 0.01, "lam": 0.3}])
def test_the_card_says_what_python_says(visit, start):
    visit.open(f"/Puzzle_Mix?{urlencode(start)}")
    trace = expected(**start)
    visit.expect_total(total(**start))
    grid, levels = trace.z.shape[-1], len(trace.local.prior[0]) - 1
    moved = [
        blocks[0].flatten()[source[0]].view(grid, grid).double().numpy()
        for blocks, source in ((trace.blocks_0, trace.source_0), (trace.blocks_1, trace.source_1))
    ]
    share = np.arange(levels + 1) / levels
    last = grid - 1
    for name, row, column in [("A", 0, 0), ("sB", 3, 5), ("z", last, 4), ("mix", 2, last)]:
        visit.hover(name, row, column, grid)
        expect(visit.page.locator(".card h3")).to_contain_text(
            f"Row {row + 1}, column {column + 1}"
        )
        costs = {
            "hidden": share * moved[0][row, column] + (1 - share) * moved[1][row, column],
            "beta": trace.local.label_smooth[0, row, column].numpy(),
            "gamma": trace.local.data_smooth[0, row, column].numpy(),
            "eta": trace.local.prior[0].numpy(),
        }
        whole = sum(costs.values())
        here = round(float(trace.z[0, row, column]) * levels)
        for term, values in {**costs, "sum": whole - whole[here]}.items():
            texts = visit.page.locator(f'[data-row="{term}"] td').all_inner_texts()
            numbers = [float(text.replace("−", "-")) for text in texts]
            np.testing.assert_allclose(numbers, 1000 * values, atol=0.0501)
        crops = visit.page.locator(".crops div")
        for index, blocks in enumerate(moved):
            expect(crops.nth(index)).to_contain_text(f"{100 * blocks[row, column]:.1f}")


def test_block_overlay_and_step_are_in_the_link(visit):
    visit.open()
    visit.hover("z", 2, 6)
    visit.page.mouse.down()
    visit.page.mouse.up()
    visit.expect_url(block="2-6")
    visit.page.get_by_role("button", name="Contour").click()
    visit.expect_url(overlay="contour")
    visit.page.get_by_role("button", name="next swap move").click()
    visit.expect_url(step="swap-0")
    visit.reload()
    visit.expect_stage(pinned="2,6", overlay="contour", step="swap:0")


def test_the_price_at_which_blocks_move_is_one_click_away(visit):
    visit.open("/Puzzle_Mix?xi=0.8")
    visit.expect_stage(moved="0,0")
    visit.page.locator(".fix").click()
    expect(visit.stage).not_to_have_attribute("data-moved", "0,0", timeout=PICTURE)
    assert 0 < float(visit.query["xi"]) < 0.8
    visit.expect_total(total(xi=float(visit.query["xi"])))


# ---- presets and pictures


def test_presets_apply_are_recognised_and_reset(visit):
    visit.open()
    preset = visit.widget("preset").locator("input")
    for name, make in METHODS[SLUG].presets.items():
        values = {key: getattr(make(28), key) for key in NOTED if key not in ("lam", "grid")}
        visit.select("preset", name)
        visit.expect_total(total(**values))
        expect(preset).to_have_value(name)
        visit.reload()
        expect(preset).to_have_value(name)
    visit.press("puzzle_mix-beta", "ArrowRight")
    expect(preset).to_have_value("your own")
    visit.widget("reset").locator("button").click()
    visit.expect_total(total())
    expect(preset).to_have_value(next(iter(METHODS[SLUG].presets)))
    assert visit.query == {}


def test_the_paper_is_one_click_away_at_each_slider(visit):
    visit.open()
    visit.widget("puzzle_mix-xi-paper").locator("button").click()
    visit.expect_url(xi="0.8")
    visit.expect_total(total(xi=0.8))


def test_a_value_between_the_stops_moves_on_from_where_it_is(visit):
    visit.open("/Puzzle_Mix?beta=0.37")
    visit.expect_total(total(beta=0.37))
    for beta in (0.4, 0.5):
        visit.press("puzzle_mix-beta", "ArrowRight")
        visit.expect_url(beta=f"{beta:g}")
        visit.expect_total(total(beta=beta))


def test_swap_exchanges_a_and_b_from_the_sidebar_and_from_the_stage(visit):
    visit.open("/Puzzle_Mix?a=dahlia&ax=0.2&azoom=1.5")
    first = visit.pixels("A")
    visit.widget("swap").locator("button").first.click()
    visit.expect_url(b="dahlia", bx="0.2", bzoom="1.5", a="coffee", ax=None)
    expect(visit.page.locator('[data-p="B"] figcaption')).to_contain_text("Dahlia")
    visit.expect_stage(frames="51")
    assert np.abs(visit.pixels("B") - first).max() <= 1
    visit.page.locator(".lanes").focus()
    visit.page.keyboard.press("s")
    visit.expect_url(a="dahlia", ax="0.2", azoom="1.5", b=None, bx=None)


def test_menu_and_gallery_pick_pictures(visit):
    visit.open()
    visit.select("pair-a", "Rocket")
    visit.expect_url(a="rocket")
    visit.expect_total(total(a="rocket"))
    visit.widget("gallery").locator("button").click()
    dialog = visit.page.get_by_role("dialog")
    expect(dialog.locator("img")).to_have_count(len(SAMPLES))
    dialog.locator(".st-key-pick-b-temple button").click()
    visit.expect_url(a="rocket", b="temple")
    expect(dialog).to_have_count(0)
    visit.expect_total(total(a="rocket", b="temple"))


def test_crops_and_sizes_change_the_picture(visit):
    visit.open()
    before = visit.see("scene"), visit.pixels("A"), visit.pixels("B")
    visit.page.get_by_role("button", name="Crop").click()
    visit.press("pair-azoom", "ArrowRight", "ArrowRight")
    visit.expect_url(azoom="1.1")
    visit.press("pair-ax", "ArrowLeft")
    visit.expect_url(ax="0.45")
    visit.expect_new_scene(before[0])
    assert np.abs(visit.pixels("A") - before[1]).mean() > 1
    assert (visit.pixels("B") == before[2]).all()
    visit.pick("pair-size", "64")
    visit.expect_url(size="64")
    visit.page.keyboard.press("Escape")
    small = visit.see("scene")
    visit.widget("reset").locator("button").click()
    visit.expect_new_scene(small)
    visit.expect_total(total())
    visit.open("/Puzzle_Mix?size=64")
    visit.expect_total(total(size=64))


def test_a_label_chosen_changes_the_saliency_and_spectral_needs_none(visit):
    visit.open()
    before = visit.pixels("sA"), visit.pixels("sB")
    visit.unfold("Classifier")
    names = zoo.card(classifier.BUNDLED).class_names
    label = names.index("goldfish") if "goldfish" in names else 1
    visit.select("pair-alabel", names[label])
    visit.expect_url(ya=str(label))
    visit.expect_total(total(label_a=label))
    assert (visit.pixels("sA") != before[0]).any()
    scene = visit.see("scene")
    visit.select("look-source", "spectral")
    visit.expect_url(saliency="spectral")
    visit.expect_new_scene(scene)
    assert (visit.pixels("sB") != before[1]).any()


# ---- uploads


def _photograph(file: str, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.open(SOURCES[file].path).convert("RGB").save(buffer, kind, **options)
    return buffer.getvalue()


UPLOADS = [
    ("harbour.jpg", "image/jpeg", _photograph("data/rocket.jpg", "JPEG", quality=90)),
    ("garden.png", "image/png", _photograph("datasets/images/flower.jpg", "PNG")),
    ("cat.webp", "image/webp", _photograph("data/chelsea.png", "WEBP", quality=90)),
]


def test_an_upload_becomes_the_picture_and_stays(visit):
    visit.open()
    for name, kind, data in UPLOADS:
        scene = visit.see("scene")
        picture = decode_upload(data, name)
        visit.upload("upload", (name, kind, data))
        visit.expect_url(a=f"u-{picture.digest}")
        visit.expect_new_scene(scene)
        visit.wait()
        shown = compute.crop(Framing(picture.digest), 224, {picture.digest: picture})
        assert np.abs(visit.pixels("A") - _like(shown, visit.pixels("A"))).mean() < 2, name
    visit.press("puzzle_mix-beta", "ArrowRight")
    visit.expect_url(a=f"u-{picture.digest}", beta="1.5")
    visit.follow("Mix", "/")
    caption = visit.page.locator("[data-first] figcaption").first
    expect(caption).to_contain_text(picture.name, timeout=PICTURE)
    visit.expect_url(a=f"u-{picture.digest}")
    visit.follow("Puzzle Mix", PUZZLE_MIX)
    visit.expect_url(a=f"u-{picture.digest}", beta="1.5")
    expect(visit.page.locator('[data-p="A"] figcaption')).to_contain_text(picture.name)
    expect(visit.notices()).to_have_count(0)


def _like(pixels: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Resize as the browser does, nearly."""
    side = shown.shape[0]
    return np.asarray(
        Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR)
    ).astype(int)


BAD = [
    "gif named png",
    "svg",
    "pickle",
    "over the byte limit",
    "png of 120 megapixels",
    "png text bomb",
    "jpeg cut off",
    "webp without frames",
    "name with markup",
]


def test_files_that_are_no_pictures_are_refused_in_words_and_change_nothing(visit):
    visit.open()
    scene, query = visit.see("scene"), visit.query
    sentences = []
    for key in BAD:
        data, name, _ = HOSTILE[key]
        with pytest.raises(UploadError) as refused:
            decode_upload(data, name)
        sentences.append(str(refused.value))
    visit.upload("upload", *((HOSTILE[k][1], "image/png", HOSTILE[k][0]) for k in BAD))
    expect(visit.notices()).to_have_count(len(BAD), timeout=60_000)
    visit.settle()
    shown = [" ".join(text.split()) for text in visit.notices().all_inner_texts()]
    assert sorted(shown) == sorted(" ".join(sentence.split()) for sentence in sentences)
    assert visit.notices().locator("a, img, svg[onload], script").count() == 0
    assert (visit.see("scene"), visit.query) == (scene, query)
    visit.press("puzzle_mix-beta", "ArrowRight")
    visit.expect_url(beta="1.5")
    expect(visit.notices()).to_have_count(len(BAD))
    for left in range(len(BAD), 0, -1):
        visit.page.locator("[class*=st-key-dismiss-] button").first.click()
        expect(visit.notices()).to_have_count(left - 1)


def test_visitors_do_not_see_each_others_pictures(visit, new_visit, browser):
    visit.open("/")
    digest = decode_upload(UPLOADS[1][2], UPLOADS[1][0]).digest
    visit.upload("upload", UPLOADS[1])
    visit.expect_url(a=f"u-{digest}")
    private = browser.new_context()
    other = new_visit(private)
    other.open(f"/?a=u-{digest}")
    expect(other.notices()).to_have_count(1)
    expect(other.notices()).to_contain_text(digest)
    expect(other.page.locator("[data-first] figcaption").first).to_contain_text("Cat")
    other.widget("pair-a").locator("input").click()
    expect(other.page.get_by_role("option").first).to_be_visible()
    assert not [
        text for text in other.page.get_by_role("option").all_inner_texts() if "yours" in text
    ]
    private.close()


# ---- classifiers

CARD = {
    "architecture": {"name": "preactresnet18", "options": {"stem_stride": 1}},
    "class_names": [f"thing {index}" for index in range(CLASSES)],
    "input_size": 64,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
}


def test_ones_own_classifier_looks_instead_and_a_bad_one_loses_nothing(visit):
    visit.open()
    visit.unfold("Classifier")
    visit.select("look-model", zoo.OWN.title)
    card = ("card.json", "application/json", json.dumps(CARD).encode())
    expect(visit.page.locator("[class*=st-key-weights-] input[type=file]")).to_be_attached()
    scene = visit.see("scene")
    visit.upload("weights", ("own.safetensors", "application/octet-stream", good_bytes()), card)
    visit.expect_new_scene(scene)
    visit.expect_url(model="own")
    sight = visit.page.locator(".mv-guess").first
    expect(sight).to_contain_text("thing")
    scene = visit.see("scene")
    bad, words = hostile_checkpoints()["a .pth"]
    visit.upload("weights", ("own.safetensors", "application/octet-stream", bad), card)
    expect(visit.notices()).to_have_count(1)
    expect(visit.notices()).to_contain_text(words)
    visit.settle()
    assert visit.see("scene") == scene
    expect(sight).to_contain_text("thing")
    visit.upload("weights", card)
    expect(visit.notices()).to_have_count(2)
    assert visit.see("scene") == scene


def test_a_classifier_that_cannot_be_fetched_is_one_sentence(visit):
    absent = [e.slug for e in zoo.CATALOGUE.values() if e.kind == "hub" and not e.path().exists()]
    assert absent, "every hub classifier is in checkpoints/ here: move one away to run this test"
    visit.open()
    scene, whole = visit.see("scene"), visit.see("total")
    visit.unfold("Classifier")
    visit.select("look-model", zoo.CATALOGUE[absent[0]].title)
    expect(visit.notices()).to_have_count(1, timeout=30_000)
    expect(visit.notices()).to_contain_text("the app goes on with the bundled classifier")
    visit.expect_stage(scene=scene, total=whole)
    visit.expect_url(model=None)
    visit.press("puzzle_mix-beta", "ArrowRight")
    visit.expect_total(total(beta=1.5))


# ---- links


@pytest.mark.parametrize(
    ("path", "query", "notices", "becomes"),
    [
        (
            "/Puzzle_Mix",
            {"beta": "-3", "grid": "9", "levels": "99999", "a": "../../etc/passwd", "lam": "2"},
            5,
            {"beta": "0", "lam": "1", "levels": "8"},
        ),
        ("/Puzzle_Mix", {"beta": "nan", "grid": "abc", "gamma": "x" * 5000, "b": "?" * 900}, 4, {}),
        (
            "/Puzzle_Mix",
            {"beta": "inf", "size": "9", "step": "leap-1", "block": "a-b", "overlay": "<b>"},
            5,
            {"beta": "20"},
        ),
        ("/Puzzle_Mix", {"nonsense": "1", "<script>": "<img src=x onerror=alert(1)>"}, 2, {}),
        (
            "/Puzzle_Mix",
            {"ya": "9999", "model": "gpt", "saliency": "__import__", "ax": "7"},
            4,
            {"ax": "1"},
        ),
        ("/", {"a": "javascript:alert(1)", "azoom": "-1", "unknown": "x" * 3000}, 3, {}),
    ],
)
def test_a_link_that_asks_for_what_is_not_allowed_is_mended_in_words(
    visit, path, query, notices, becomes
):
    visit.open(f"{path}?{urlencode(query, quote_via=quote)}")
    expect(visit.page.get_by_test_id("stException")).to_have_count(0)
    texts = visit.notices().all_inner_texts()
    assert len(texts) >= notices, texts
    assert all(len(text) < 600 for text in texts)
    for name in query:
        said = (name, query[name][:9])
        assert any(word in text for word in said for text in texts), (name, texts)
    for name in query:
        visit.expect_url(**{name: becomes.get(name)})
    while count := visit.notices().count():
        visit.page.locator("[class*=st-key-dismiss-] button").first.click()
        expect(visit.notices()).to_have_count(count - 1)


def test_going_back_in_the_browser_brings_the_page_back(visit):
    visit.open("/?a=dahlia")
    visit.follow("Puzzle Mix", PUZZLE_MIX)
    visit.expect_url(a="dahlia")
    visit.page.go_back()
    expect(visit.page.locator("[data-first] figcaption").first).to_contain_text("Dahlia")


# ---- looks

OVERLAPS = """() => {
  const boxes = [...document.querySelectorAll("*")].map(e => e.shadowRoot)
    .map(r => r?.querySelector(".mx")).concat([document.querySelector(".mx")]).find(Boolean);
  const parts = [...boxes.querySelectorAll(".pan .cv, .card, .gauge, .eq, .status")]
    .filter(e => e.getBoundingClientRect().width > 0);
  const found = [];
  for (const [i, one] of parts.entries()) for (const two of parts.slice(i + 1)) {
    const [p, q] = [one.getBoundingClientRect(), two.getBoundingClientRect()];
    const wide = Math.min(p.right, q.right) - Math.max(p.left, q.left);
    const high = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
    if (wide > 1 && high > 1) found.push([one.className, two.className]);
  }
  return found;
}"""
SMALL = """() => {
  const mx = [...document.querySelectorAll("*")].map(e => e.shadowRoot)
    .map(r => r?.querySelector(".mx")).concat([document.querySelector(".mx")]).find(Boolean);
  const out = [];
  const walk = document.createTreeWalker(mx, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || e.closest(".sr, sup, sub, .help[hidden]")) continue;
    const box = e.getBoundingClientRect();
    if (!box.width || getComputedStyle(e).visibility === "hidden") continue;
    const size = parseFloat(getComputedStyle(e).fontSize);
    if (size < 14) out.push([e.className || e.tagName, walk.currentNode.data, size]);
  }
  return out;
}"""


@pytest.mark.parametrize(
    ("width", "scheme"), [(1440, "light"), (1440, "dark"), (900, "light"), (420, "dark")]
)
def test_it_fits_the_window_and_nothing_overlaps(new_visit, width, scheme):
    here = new_visit(width=width, scheme=scheme).open()
    here.expect_stage(theme=scheme)
    main = here.page.get_by_test_id("stMain")
    assert main.evaluate("e => e.scrollWidth - e.clientWidth") == 0
    assert here.page.evaluate("document.documentElement.scrollWidth") <= width
    assert here.page.evaluate(OVERLAPS) == []
    assert here.page.evaluate(SMALL) == []
    here.open("/")
    assert main.evaluate("e => e.scrollWidth - e.clientWidth") == 0
    background = here.page.get_by_test_id("stApp").evaluate(
        "e => getComputedStyle(e).backgroundColor"
    )
    level = sum(int(part) for part in re.findall(r"\d+", background)[:3]) / 3
    assert (level > 128) == (scheme == "light")
