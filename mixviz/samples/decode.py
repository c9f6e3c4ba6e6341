"""Uploads, hostile until decoded: three formats, known by their bytes, inside fixed limits."""

import math
import re
import threading
import unicodedata
from collections.abc import Callable
from io import BytesIO
from pathlib import PurePosixPath

import numpy as np
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from mixviz.samples.picture import MAX_KEPT_SIDE, Picture, picture_from, shrink

MAX_BYTES = 10_000_000
"""Largest upload, in bytes."""

# libwebp holds four copies of a picture while decoding it; its limit keeps the memory the same.
MAX_PIXELS = {"PNG": 25_000_000, "JPEG": 25_000_000, "WebP": 16_000_000}
"""Largest upload, in pixels, by format."""

MAX_SIDE = 12_000
"""Longest side of an upload, in pixels."""

MIN_SIDE = 16
"""Shortest side of an upload, in pixels."""

MAX_ASPECT = 16
"""How many times as long as wide an upload may be."""

MAX_JPEG_SCANS = 100
"""Passes a progressive JPEG may take; encoders write about ten, each costs the whole picture."""

MAX_PICTURES = 24
"""Uploads one visitor may keep."""

_FORMATS = "PNG, JPEG and WebP pictures"
_MAX_NAME = 40
# An underscore between letters is plain text in Markdown; at the edge of a word it is emphasis.
_EDGE_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_ORIENTATION_TAG = 0x0112
_PNG_DEPTH_OFFSET = 24
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")

_DECODING = threading.BoundedSemaphore(2)

# The plugins are called by name: Image.open would try its own bomb check, which warns through
# the process-wide warning filters and so cannot be made strict from one thread of many.
_PLUGINS: dict[str, Callable[[BytesIO], ImageFile.ImageFile]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "WebP": WebPImageFile,
}

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "a GIF picture"),
    (b"GIF89a", "a GIF picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"II+\0", "a TIFF picture"),
    (b"BM", "a BMP picture"),
    (b"8BPS", "a Photoshop file"),
    (b"\0\0\1\0", "an ICO picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"PK\3\4", "a ZIP archive"),
    (b"PK\5\6", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"MZ", "a Windows program"),
    (b"\x7fELF", "a Linux program"),
    *((bytes((0x80, protocol)), "a Python pickle") for protocol in range(2, 6)),
)

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UploadError(ValueError):
    """An upload that can't be used; the message is one sentence for the visitor."""


def check_count(held: int, adding: int = 1) -> None:
    """Refuse more pictures than one visitor may keep.

    Args:
        held: Uploads the visitor has.
        adding: Uploads about to be added.

    Raises:
        UploadError: If together they are more than `MAX_PICTURES`.
    """
    if held + adding > MAX_PICTURES:
        raise UploadError(
            f"You have {held} uploaded pictures and are adding {adding}; at most {MAX_PICTURES} "
            "can be kept, so remove some first."
        )


def decode_upload(data: bytes, name: str) -> Picture:
    """Turn an uploaded file into a picture, or say why not.

    The format is read from the bytes, never from the name. Size limits are checked on the header
    before any pixel is decoded; the decoded picture is turned upright, put on white where it is
    transparent, and scaled down to at most 1024 pixels. Of an animation the first frame counts.
    At most two uploads are decoded at a time; further callers wait.

    Args:
        data: The file.
        name: Its name, used only to show.

    Returns:
        The picture, of kind "upload".

    Raises:
        UploadError: If the file is no PNG, JPEG or WebP, exceeds a limit, or is damaged.
    """
    clean = _clean_name(name)
    shown = f"“{clean}”"
    if len(data) > MAX_BYTES:
        raise UploadError(
            f"{shown} has {math.ceil(len(data) / 1e4) / 100} MB; at most {MAX_BYTES / 1e6:g} MB "
            "are allowed."
        )
    format_name = _identify(data)
    if format_name not in _PLUGINS:
        raise UploadError(f"{shown} is {format_name}; allowed are {_FORMATS}.")
    what = f"{shown} is a {format_name} picture"
    with _DECODING:
        try:
            image = _PLUGINS[format_name](BytesIO(data))
            _check_header(image, format_name, data, what)
            if format_name == "PNG":
                _scale_key_colour(image, depth=data[_PNG_DEPTH_OFFSET])
            upright = _decode(image)
        except UploadError:
            raise
        # Pillow's parsers raise whatever the bytes provoke: OSError, SyntaxError, struct.error...
        except Exception as error:
            raise UploadError(
                f"{what} of {len(data)} bytes {_explain(error)}; allowed are whole {_FORMATS}."
            ) from error
        return picture_from(upright, clean, None, "upload")


def _check_header(image: ImageFile.ImageFile, format_name: str, data: bytes, what: str) -> None:
    width, height = image.size
    pixels, most = width * height, MAX_PIXELS[format_name]
    stated = f"{what} of {width} × {height} pixels"
    if min(width, height) < MIN_SIDE:
        raise UploadError(f"{stated}; each side must have at least {MIN_SIDE}.")
    if max(width, height) > MAX_SIDE:
        raise UploadError(f"{stated}; no side may have more than {MAX_SIDE}.")
    if pixels > most:
        raise UploadError(
            f"{stated}, {pixels / 1e6:.1f} megapixels; at most {most / 1e6:g} are allowed."
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise UploadError(f"{stated}; at most {MAX_ASPECT} times as long as wide is allowed.")
    if format_name == "JPEG" and (scans := _count_scans(data)) > MAX_JPEG_SCANS:
        raise UploadError(f"{what} in {scans} passes; at most {MAX_JPEG_SCANS} are allowed.")


def _count_scans(jpeg: bytes) -> int:
    """Count the passes over the picture by walking from marker to marker up to the end marker."""
    scans, position = 0, 2
    while marker := _JPEG_MARKER.search(jpeg, position):
        code, position = marker.group(1), marker.end()
        if code == b"\xd9":
            break
        scans += code == b"\xda"
        position += int.from_bytes(jpeg[position : position + 2])
    return scans


def _scale_key_colour(image: ImageFile.ImageFile, depth: int) -> None:
    """Bring a PNG's one transparent colour to the 8 bits that Pillow scales the samples to."""
    key = image.info.get("transparency")
    if image.mode == "L" and isinstance(key, int):
        image.info["transparency"] = key * 255 // (2**depth - 1)
    elif image.mode == "RGB" and isinstance(key, tuple) and depth == 16:
        image.info["transparency"] = tuple(level >> 8 for level in key)


def _decode(image: ImageFile.ImageFile) -> Image.Image:
    """Turn the first frame into upright RGB on white, at most `MAX_KEPT_SIDE` long.

    The image given is used up.
    """
    long = max(image.size)
    if long > MAX_KEPT_SIDE:
        # Only JPEG heeds this: it decodes at a half, quarter or eighth, never below the request.
        width, height = (-(-side * MAX_KEPT_SIDE // long) for side in image.size)
        image.draft(None, (width, height))
    image.load()
    turn = _UPRIGHT.get(_orientation(image))
    flat = shrink(_flatten(image))
    return flat if turn is None else flat.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; a picture whose EXIF can't be read stands as it is."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:
        return 1


def _flatten(image: ImageFile.ImageFile) -> Image.Image:
    """Convert any mode to RGB: 16 bits scaled to 8, transparency put on white."""
    transparent = image.info.get("transparency")
    if image.mode.startswith("I"):
        levels = np.array(image)
        if transparent is not None:
            levels[levels == transparent] = 65535
        return Image.fromarray((levels >> 8).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return _convert(image, "RGB")
    layer = shrink(_convert(image, "RGBA"))
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _convert(image: Image.Image, mode: str) -> Image.Image:
    """Convert and let go of the original: at full size two copies at once are enough."""
    if image.mode == mode:
        return image
    converted = image.convert(mode)
    image.close()
    return converted


def _identify(data: bytes) -> str:
    """Format of a file by its first bytes: a key of `_PLUGINS`, or words for anything else."""
    if not data:
        return "empty (0 bytes)"
    if data[:4] == b"RIFF":
        return "WebP" if data[8:12] == b"WEBP" else "a RIFF sound or video"
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        if brand in (b"avif", b"avis"):
            return "an AVIF picture"
        heic = brand[:3] in (b"hei", b"hev") or brand in (b"mif1", b"msf1")
        return "a HEIC picture" if heic else "an MP4 or QuickTime video"
    for magic, words in _MAGIC:
        if data.startswith(magic):
            return words
    return _identify_text(data[:1024])


def _identify_text(head: bytes) -> str:
    text = head.decode("utf-8", errors="ignore").lstrip("\ufeff").lower()
    printable = all(letter.isprintable() or letter.isspace() for letter in text)
    if not printable or 4 * len(text.encode()) < 3 * len(head):
        return f"no kind of picture known here (it begins with {head[:4].hex(' ')})"
    if "<svg" in text:
        return "an SVG drawing"
    return "an HTML page" if "<html" in text or "<!doctype html" in text else "a text file"


def _explain(error: Exception) -> str:
    if "MAX_TEXT" in str(error):
        return "whose text or colour profile unpacks to more than 1 MB"
    return "that is cut off or damaged"


def _clean_name(name: str) -> str:
    """Make a file name fit to stand in a Markdown sentence: no folders, controls or markup."""
    base = PurePosixPath(unicodedata.normalize("NFC", name).replace("\\", "/")).name
    kinds = [(letter, unicodedata.category(letter)[0]) for letter in base]
    letters = [
        letter if kind in "LMN" or letter in " .-_" else "·"
        for letter, kind in kinds
        if kind != "C"
    ]
    clean = " ".join("".join(letters).split())
    if len(clean) > _MAX_NAME:
        clean = f"{clean[: _MAX_NAME - 13]}…{clean[-12:]}"
    return _EDGE_UNDERSCORE.sub("·", clean) or "unnamed"
