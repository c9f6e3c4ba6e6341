"""Bundled photographs, uploads and square crops."""

import json
import os
import queue
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from hostile_images import (
    GREY,
    HOSTILE,
    NOISE_JPEG,
    NOISE_PNG,
    PALETTE,
    RGB,
    animated_webp,
    chunk,
    encode,
    header,
    noise,
    png,
)
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from mixviz.samples import (
    MAX_PICTURES,
    SAMPLES,
    SOURCES,
    WORKING_SIZES,
    Picture,
    UploadError,
    check_count,
    decode,
    decode_upload,
    load_sample,
    square_crop,
)

ROOT = Path(__file__).parent.parent
MOST_EXTRA_MEGABYTES = 300

MEASURE = """
import json
from pathlib import Path
from hostile_images import HOSTILE, build_heavy
from mixviz.samples import UploadError, decode_upload, load_sample

def memory(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))

files = [(name, data, file) for name, (data, file, _) in HOSTILE.items()]
files += [(name, data, name) for name, data in build_heavy().items()]
# The peak so far counts from the start of the program: forget what building the files took.
Path("/proc/self/clear_refs").write_text("5")
start = memory("VmRSS")
report = {}
for name, data, file in files:
    try:
        decode_upload(data, file)
        accepted = True
    except UploadError:
        accepted = False
    report[name] = (accepted, memory("VmHWM") - start)
print(json.dumps(report))
"""


def pixels_of(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


def picture_of(image: Image.Image) -> Picture:
    return decode_upload(encode(image.convert("RGB"), "PNG"), "picture.png")


def outcome(data: bytes, name: str) -> str:
    """What the visitor reads: the picture's name, or why there is none."""
    try:
        return decode_upload(data, name).name
    except UploadError as error:
        return str(error)


# --- Hostile uploads ---------------------------------------------------------------------------


def test_there_are_enough_hostile_files() -> None:
    assert len(HOSTILE) >= 25


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_file_is_refused_in_one_sentence(case: str) -> None:
    data, name, fragment = HOSTILE[case]
    with pytest.raises(UploadError) as caught:
        decode_upload(data, name)
    message = str(caught.value)
    assert fragment in message
    assert message.endswith(".")
    assert message.isprintable()
    assert "allowed" in message or "must have" in message or "no side may" in message
    assert len(message) < 200
    assert not set(message) & set("*`[]<>$:\\|~")


def test_no_upload_takes_much_memory() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], env=environment, capture_output=True, check=True, text=True
    )
    report = json.loads(done.stdout)
    too_much = {name: peak for name, (_, peak) in report.items() if peak > MOST_EXTRA_MEGABYTES}
    assert not too_much
    assert {name for name, (accepted, _) in report.items() if accepted} == set(report) - set(
        HOSTILE
    )
    # The gauge moves: the heaviest allowed picture holds at least its 100 MB of decoded pixels.
    assert max(peak for _, peak in report.values()) > 100


@given(st.binary(max_size=400), st.sampled_from([b"", NOISE_PNG[:60], NOISE_JPEG[:300]]), st.text())
def test_any_bytes_under_any_name_give_a_picture_or_a_sentence(
    tail: bytes, head: bytes, name: str
) -> None:
    assert outcome(head + tail, name).isprintable()


@given(st.integers(0, len(NOISE_PNG) - 1), st.integers(0, 255), st.booleans())
def test_altered_files_give_a_picture_or_a_sentence(at: int, value: int, jpeg: bool) -> None:
    data = bytearray(NOISE_JPEG if jpeg else NOISE_PNG)
    data[at % len(data)] = value
    assert "altered" in outcome(bytes(data), "altered")


@given(st.text())
def test_shown_names_hold_no_markup(name: str) -> None:
    with pytest.raises(UploadError) as caught:
        decode_upload(b"", name)
    shown = str(caught.value).split("”")[0]
    assert shown.isprintable()
    assert len(shown) <= 41
    assert not set(shown) & set("*`[]<>()#$:\\|~!@/")
    assert not shown.startswith("“_")


def test_underscores_inside_words_stay() -> None:
    with pytest.raises(UploadError, match=r"“IMG_2024_07\.png” is empty"):
        decode_upload(b"", "IMG_2024_07.png")


def test_at_most_two_decode_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    entered, leave = queue.Queue[None](), threading.Event()
    original = decode._decode

    def held(image: ImageFile.ImageFile) -> Image.Image:
        entered.put(None)
        leave.wait(timeout=10)
        return original(image)

    monkeypatch.setattr(decode, "_decode", held)
    threads = [threading.Thread(target=decode_upload, args=(NOISE_PNG, "a.png")) for _ in range(5)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        entered.get(timeout=10)
    with pytest.raises(queue.Empty):
        entered.get(timeout=0.2)
    leave.set()
    for thread in threads:
        thread.join(timeout=10)
    assert entered.qsize() == 3


def test_a_visitor_keeps_at_most_24_pictures() -> None:
    check_count(MAX_PICTURES - 1)
    check_count(0, adding=MAX_PICTURES)
    with pytest.raises(UploadError, match=r"You have 24 uploaded pictures .* at most 24"):
        check_count(MAX_PICTURES)


# --- Uploads that are fine ---------------------------------------------------------------------


def test_png_pixels_come_through_unchanged() -> None:
    picture = decode_upload(NOISE_PNG, "folder/noise.png")
    np.testing.assert_array_equal(picture.pixels, np.asarray(noise()))
    assert (picture.name, picture.kind, picture.credit) == ("noise.png", "upload", None)
    assert (picture.width, picture.height) == (64, 48)
    assert not picture.pixels.flags.writeable


def test_the_digest_is_of_the_pixels_not_of_the_file() -> None:
    lossless = encode(noise(), "WEBP", lossless=True, exact=True)
    from_png, from_webp = decode_upload(NOISE_PNG, "a"), decode_upload(lossless, "a")
    assert from_png == from_webp
    assert from_png.digest == "b5571763a6af5d35"
    assert decode_upload(NOISE_JPEG, "a").digest != from_png.digest
    tall, wide = Image.new("RGB", (32, 64)), Image.new("RGB", (64, 32))
    assert picture_of(tall).digest != picture_of(wide).digest


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_exif_orientations_give_the_same_picture(kind: str, orientation: int) -> None:
    upright = ImageOps.fit(Image.fromarray(load_sample("cat").pixels), (96, 64))
    undo = {
        1: lambda image: image,
        2: ImageOps.mirror,
        3: lambda image: image.rotate(180),
        4: ImageOps.flip,
        5: lambda image: ImageOps.mirror(image).rotate(90, expand=True),
        6: lambda image: image.rotate(90, expand=True),
        7: lambda image: ImageOps.mirror(image).rotate(-90, expand=True),
        8: lambda image: image.rotate(-90, expand=True),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {"lossless": True}
    data = encode(undo[orientation](upright), kind, exif=exif, **options)
    found = decode_upload(data, "turned").pixels.astype(int)
    assert found.shape == (64, 96, 3)
    error = np.abs(found - np.asarray(upright).astype(int)).mean()
    assert error < 3 if kind == "JPEG" else error == 0


def test_unreadable_exif_leaves_the_picture_as_it_stands() -> None:
    data = encode(noise(), "PNG")
    broken = data[:33] + chunk(b"eXIf", b"II*\0\xff\xff\xff\xff") + data[33:]
    np.testing.assert_array_equal(decode_upload(broken, "a").pixels, np.asarray(noise()))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_is_put_on_white(mode: str, kind: str) -> None:
    image = noise(64, 48, 4).convert("RGBA").convert(mode)
    if kind == "WEBP" and mode == "LA":
        image = image.convert("RGBA")
    data = encode(image, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    layer = np.asarray(image.convert("RGBA")).astype(float)
    alpha = layer[..., 3:] / 255
    expected = alpha * layer[..., :3] + (1 - alpha) * 255
    assert np.abs(decode_upload(data, "a").pixels - expected).max() <= 1


def test_hidden_colours_stay_hidden() -> None:
    clear_red = Image.new("RGBA", (2000, 1200), (255, 0, 0, 0))
    assert decode_upload(encode(clear_red, "PNG"), "a").pixels.min() == 255


@pytest.mark.parametrize(
    ("depth", "colour", "row", "key", "shown"),
    [
        (1, GREY, b"\xf0\x00", (1,), [255, 0]),
        (4, GREY, b"\x55" * 4 + b"\xaa" * 4, (5,), [255, 170]),
        (8, GREY, b"\x55" * 8 + b"\xaa" * 8, (0x55,), [255, 170]),
        (16, GREY, b"\x12\x34" * 8 + b"\x34\x00" * 8, (0x1234,), [255, 0x34]),
        (8, RGB, b"\x12\x12\x12" * 8 + b"\x34\x34\x34" * 8, (0x12,) * 3, [255, 0x34]),
        (16, RGB, b"\x12\x34" * 24 + b"\x34\x00" * 24, (0x1234,) * 3, [255, 0x34]),
    ],
    ids=["grey1", "grey4", "grey8", "grey16", "rgb8", "rgb16"],
)
def test_one_transparent_colour_turns_white_at_any_depth(
    depth: int, colour: int, row: bytes, key: tuple[int, ...], shown: list[int]
) -> None:
    transparent = chunk(b"tRNS", struct.pack(f">{len(key)}H", *key))
    data = png(header(16, 16, depth, colour), zlib.compress((b"\0" + row) * 16), transparent)
    assert decode_upload(data, "a").pixels[0, [0, 15], 0].tolist() == shown


def test_palettes_keep_their_transparency() -> None:
    palette = chunk(b"PLTE", bytes((255, 0, 0, 0, 0, 255))) + chunk(b"tRNS", bytes((0, 255)))
    rows = zlib.compress((b"\0" + b"\0" * 8 + b"\1" * 8) * 16)
    found = decode_upload(png(header(16, 16, 8, PALETTE), rows, palette), "a").pixels
    assert found[0, 0].tolist() == [255, 255, 255]
    assert found[0, 15].tolist() == [0, 0, 255]


def test_one_bit_pictures_are_black_and_white() -> None:
    image = noise(64, 48, 1).convert("1")
    found = decode_upload(encode(image, "PNG"), "a").pixels
    np.testing.assert_array_equal(found, pixels_of(image))


@pytest.mark.parametrize("colour", [GREY, RGB])
def test_sixteen_bits_are_scaled_not_clipped(colour: int) -> None:
    channels = {GREY: 1, RGB: 3}[colour]
    levels = np.random.default_rng(5).integers(0, 65536, (64, 64, channels), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    found = decode_upload(png(header(64, 64, 16, colour), zlib.compress(rows)), "a").pixels
    assert abs(found.mean() - levels.mean() / 257) < 0.6
    assert np.abs(found - levels / 257.0).max() <= 1
    assert len(np.unique(found)) > 250


def test_cmyk_colours_are_plausible() -> None:
    inks = {
        "cyan": ((255, 0, 0, 0), (0, 255, 255)),
        "magenta": ((0, 255, 0, 0), (255, 0, 255)),
        "yellow": ((0, 0, 255, 0), (255, 255, 0)),
        "black": ((0, 0, 0, 255), (0, 0, 0)),
        "paper": ((0, 0, 0, 0), (255, 255, 255)),
    }
    for ink, expected in inks.values():
        data = encode(Image.new("CMYK", (32, 32), ink), "JPEG", quality=95)
        found = decode_upload(data, "print.jpg").pixels[16, 16].astype(int)
        assert np.abs(found - expected).max() <= 40


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_the_first_frame_of_an_animation_counts(kind: str) -> None:
    red, blue = Image.new("RGB", (32, 32), "red"), Image.new("RGB", (32, 32), "blue")
    data = encode(red, kind, save_all=True, append_images=[blue, blue], lossless=True)
    assert decode_upload(data, "dance").pixels[16, 16].tolist() == pytest.approx([255, 0, 0], abs=2)


def test_a_small_frame_on_a_larger_canvas_is_read() -> None:
    picture = decode_upload(animated_webp(64, 48), "small")
    assert (picture.width, picture.height) == (64, 48)
    assert picture.pixels[0, 0].tolist() == [9, 99, 200]


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("PNG", {}, 0.0),
        ("WEBP", {"lossless": True}, 0.0),
        ("WEBP", {"quality": 95}, 4.0),
        ("JPEG", {"quality": 95, "subsampling": 0}, 2.0),
        ("JPEG", {"quality": 95, "progressive": True}, 3.0),
    ],
)
@pytest.mark.parametrize("name", ["wrong.gif", "none"])
def test_a_photograph_survives_every_format(
    kind: str, options: dict[str, object], tolerance: float, name: str
) -> None:
    original = load_sample("coffee").pixels
    found = decode_upload(encode(Image.fromarray(original), kind, **options), name).pixels
    assert np.abs(found.astype(int) - original.astype(int)).mean() <= tolerance


@pytest.mark.parametrize("size", [(1024, 768), (2048, 1365), (3000, 4000), (5000, 400)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_large_pictures_are_scaled_to_1024(size: tuple[int, int], kind: str) -> None:
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    picture = decode_upload(encode(image, kind), "large")
    scale = 1024 / max(size)
    assert max(picture.width, picture.height) == 1024
    assert picture.width == pytest.approx(size[0] * scale, abs=1)
    assert picture.height == pytest.approx(size[1] * scale, abs=1)
    column = np.linspace(0, 255, picture.height)
    assert np.abs(picture.pixels[..., 0].mean(axis=1) - column).mean() < 2


# --- Bundled photographs -----------------------------------------------------------------------


def test_there_are_enough_photographs() -> None:
    assert len(SOURCES) >= 8
    assert len(SAMPLES) >= 16
    assert {sample.source for sample in SAMPLES.values()} == set(SOURCES.values())
    assert len({sample.name for sample in SAMPLES.values()}) == len(SAMPLES)
    assert len({load_sample(slug).digest for slug in SAMPLES}) == len(SAMPLES)


@pytest.mark.parametrize("slug", SAMPLES)
def test_sample_lies_inside_its_photograph(slug: str) -> None:
    sample, picture = SAMPLES[slug], load_sample(slug)
    assert sample.slug == slug
    with Image.open(sample.source.path) as photograph:
        assert photograph.mode == "RGB"
        assert 0 <= sample.left <= photograph.width - sample.side
        assert 0 <= sample.top <= photograph.height - sample.side
    assert picture.pixels.shape == (min(sample.side, 1024), min(sample.side, 1024), 3)
    assert picture.pixels.std(axis=(0, 1)).mean() > 15
    assert (picture.name, picture.kind, picture.credit) == (sample.name, "sample", sample.credit)
    assert sample.source.author in sample.credit
    assert sample.source.licence in sample.credit


def test_unknown_samples_are_named_with_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"no sample '\.\./etc/passwd'; allowed are cat, coffee"):
        load_sample("../etc/passwd")


def test_listing_and_reading_samples_imports_neither_package() -> None:
    code = (
        "import sys; from mixviz.samples import load_sample; load_sample('cat');"
        "load_sample('dahlia'); print([m for m in ('skimage', 'sklearn', 'torch', 'streamlit')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, text=True
    )
    assert done.stdout.strip() == "[]"


# --- Square crops ------------------------------------------------------------------------------


def ramp(width: int, height: int) -> Picture:
    """Red grows by one per column, green by one per row."""
    rows, columns = np.mgrid[:height, :width]
    return picture_of(Image.fromarray(np.stack((columns, rows, 0 * rows), axis=2).astype(np.uint8)))


@pytest.mark.parametrize("size", WORKING_SIZES)
@pytest.mark.parametrize("slug", ["cat", "rocket", "eye"])
def test_crops_are_square_of_the_size_asked(slug: str, size: int) -> None:
    crop = square_crop(load_sample(slug), size)
    assert crop.shape == (size, size, 3)
    assert crop.dtype == np.uint8
    assert np.abs(crop.mean(axis=(0, 1)) - load_sample(slug).pixels.mean(axis=(0, 1))).max() < 1.5


@given(st.floats(0, 1), st.floats(0, 1), st.floats(1, 2))
def test_crops_move_and_zoom_as_asked(centre_x: float, centre_y: float, zoom: float) -> None:
    picture = ramp(200, 150)
    crop = square_crop(picture, 32, centre_x, centre_y, zoom).astype(float)
    side = 150 / zoom
    middle = crop.mean(axis=(0, 1))
    assert middle[0] == pytest.approx(centre_x * (200 - side) + (side - 1) / 2, abs=1.5)
    assert middle[1] == pytest.approx(centre_y * (150 - side) + (side - 1) / 2, abs=1.5)
    assert crop[0, -1, 0] - crop[0, 0, 0] == pytest.approx(side * 31 / 32, abs=3)


def test_a_square_of_the_right_size_is_copied_unchanged() -> None:
    picture = ramp(200, 128)
    crop = square_crop(picture, 128, centre_x=0.25)
    np.testing.assert_array_equal(crop, picture.pixels[:, 18:146])
    crop[:] = 0
    assert picture.pixels.any()


def test_shrinking_is_antialiased() -> None:
    stripes = np.zeros((224, 224, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = square_crop(picture_of(Image.fromarray(stripes)), 32)
    assert np.abs(crop[:, 2:-2].astype(int) - 127).max() <= 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 100}, "size is 100; allowed are 224, 128, 64, 32"),
        ({"centre_x": -0.1}, r"centre_x is -0\.1; allowed is 0 to 1"),
        ({"centre_y": float("nan")}, "centre_y is nan; allowed is 0 to 1"),
        ({"zoom": 0.5}, r"zoom is 0\.5; allowed is 1 to 8"),
        ({"zoom": float("inf")}, "zoom is inf; allowed is 1 to 8"),
    ],
)
def test_crop_arguments_out_of_range_are_named(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        square_crop(load_sample("cat"), **arguments)


def test_the_smallest_upload_can_be_cropped() -> None:
    picture = decode_upload(encode(noise(16, 16), "PNG"), "tiny")
    assert square_crop(picture, 224, zoom=8.0).shape == (224, 224, 3)
