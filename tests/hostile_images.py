"""Files nobody should upload, built from code: name -> (bytes, file name, part of the message)."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
DAMAGED = "bytes that is cut off or damaged; allowed are whole PNG, JPEG and WebP"
UNPACKS = "whose text or colour profile unpacks to more than 1 MB"
GREY, RGB, PALETTE, RGBA = 0, 2, 3, 6


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def header(
    width: int, height: int, depth: int = 8, colour: int = RGB, interlaced: int = 0
) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))


def png(head: bytes, packed: bytes, *between: bytes) -> bytes:
    parts = (PNG_MAGIC, head, *between, chunk(b"IDAT", packed), chunk(b"IEND", b""))
    return b"".join(parts)


def packed_zeros(count: int) -> bytes:
    """A zlib stream of at least `count` zeros, assembled without ever holding them."""
    block = 1 << 20
    blocks = -(-count // block)
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = squeeze.compress(bytes(block)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    checksum = ((blocks * block % 65521) << 16) | 1
    return b"\x78\xda" + first * blocks + b"\x03\x00" + struct.pack(">I", checksum)


def zeros_png(
    width: int, height: int, depth: int = 8, colour: int = RGB, interlaced: int = 0
) -> bytes:
    bits = depth * {GREY: 1, RGB: 3, PALETTE: 1, RGBA: 4}[colour]
    head = header(width, height, depth, colour, interlaced)
    return png(head, packed_zeros(2 * height + height * (width * bits // 8 + 1)))


def noise(width: int = 64, height: int = 48, channels: int = 3) -> Image.Image:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return Image.fromarray(np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8))


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def vp8x(width: int, height: int, flags: int = 0) -> tuple[bytes, bytes]:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"VP8X", bytes((flags, 0, 0, 0)) + size


def flat_webp(width: int, height: int) -> bytes:
    """A WebP of one colour: no bits per pixel, so that any size fits in the same few bytes."""
    small = encode(Image.new("RGB", (16, 16), (9, 99, 200)), "WEBP", lossless=True, method=0)
    size = struct.pack("<I", (width - 1) | (height - 1) << 14)
    return small[:21] + size + small[25:]


def animated_webp(width: int, height: int) -> bytes:
    """An animation of one small frame on a canvas of any size."""
    small = encode(Image.new("RGB", (16, 16), (9, 99, 200)), "WEBP", lossless=True, method=0)
    side = (15).to_bytes(3, "little")
    frame = bytes(6) + side + side + bytes(4) + small[12:]
    return riff(vp8x(width, height, flags=2), (b"ANIM", bytes(6)), (b"ANMF", frame))


def with_byte(data: bytes, position: int, value: int) -> bytes:
    return data[:position] + bytes((value,)) + data[position + 1 :]


def repeated_scans(times: int) -> bytes:
    """A progressive JPEG whose last scan, tables included, is repeated."""
    whole = encode(Image.new("RGB", (2000, 2000), (9, 99, 200)), "JPEG", progressive=True)
    tables = whole.rfind(b"\xff\xc4")
    return whole[:-2] + whole[tables:-2] * times + whole[-2:]


def jpeg_claiming(width: int, height: int) -> bytes:
    whole = encode(noise(), "JPEG")
    frame = whole.index(b"\xff\xc0") + 5
    return whole[:frame] + struct.pack(">HH", height, width) + whole[frame + 4 :]


NOISE_PNG = encode(noise(), "PNG")
NOISE_JPEG = encode(noise(), "JPEG")
NOISE_WEBP = encode(noise(), "WEBP", lossless=True)
BOMB_TEXT = packed_zeros(400 << 20)
SMALL_ROWS = zlib.compress(bytes(16 * (1 + 3 * 16)))
ICO = b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0\x68\4\0\0\x16\0\0\0"
SCRIPT = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'

HOSTILE: dict[str, tuple[bytes, str, str]] = {
    # Not a picture at all, or not one of the three formats, whatever the name says.
    "empty": (b"", "empty.png", "“empty.png” is empty (0 bytes)"),
    "random": (np.random.default_rng(3).bytes(4096), "noise.jpg", "no kind of picture known here"),
    "text": (b"hello, this is no picture\n", "cat.png", "is a text file"),
    "html": (b"<!DOCTYPE html><script>alert(1)</script>", "cat.webp", "is an HTML page"),
    "svg": (SCRIPT, "drawing.png", "is an SVG drawing"),
    "svg after prologue": (b"\xef\xbb\xbf<?xml version='1.0'?>\n" + SCRIPT, "a.svg", "an SVG"),
    "gif": (encode(noise(), "GIF"), "dance.gif", "is a GIF picture; allowed are PNG, JPEG and"),
    "gif named png": (encode(noise(), "GIF"), "dance.png", "is a GIF picture"),
    "tiff": (encode(noise(), "TIFF"), "scan.tif", "is a TIFF picture"),
    "bmp": (encode(noise(), "BMP"), "paint.png", "is a BMP picture"),
    "ico": (ICO, "favicon.png", "is an ICO picture"),
    "photoshop": (b"8BPS\0\1" + bytes(64), "layers.png", "is a Photoshop file"),
    "heic": (b"\0\0\0\x18ftypheic" + bytes(64), "IMG_0001.jpg", "“IMG_0001.jpg” is a HEIC"),
    "avif": (b"\0\0\0\x1cftypavif" + bytes(64), "new.png", "is an AVIF picture"),
    "video": (b"\0\0\0\x20ftypisom" + bytes(64), "clip.png", "MP4 or QuickTime video"),
    "sound": (b"RIFF\x24\0\0\0WAVEfmt " + bytes(64), "song.webp", "RIFF sound or video"),
    "jpeg xl": (b"\xff\x0a" + bytes(64), "next.jpg", "is a JPEG XL picture"),
    "pdf": (b"%PDF-1.7\n" + bytes(64), "paper.png", "is a PDF document"),
    "zip": (b"PK\3\4" + bytes(64), "pictures.png", "is a ZIP archive"),
    "gzip": (b"\x1f\x8b\x08" + bytes(64), "pictures.jpg", "is a gzip archive"),
    "pickle": (b"\x80\x04cos\nsystem\n(S'true'\ntR.", "model.png", "is a Python pickle"),
    "program": (b"\x7fELF" + bytes(64), "run.png", "is a Linux program"),
    # Too large or too small, by the header.
    "over the byte limit": (
        NOISE_PNG + bytes(10_000_001),
        "big.png",
        "has 10.01 MB; at most 10 MB",
    ),
    "png of 255 megapixels": (
        zeros_png(16_000, 15_936, 1, GREY),
        "bomb.png",
        "of 16000 × 15936 pixels; no side may have more than 12000",
    ),
    "png of 120 megapixels": (
        zeros_png(12_000, 9_984),
        "bomb.png",
        "119.8 megapixels; at most 25 are allowed",
    ),
    "png of 2^62 pixels": (
        png(header(2**31 - 1, 2**31 - 1), SMALL_ROWS),
        "huge.png",
        "of 2147483647 × 2147483647 pixels",
    ),
    "png without width": (png(header(0, 16), SMALL_ROWS), "flat.png", DAMAGED),
    "png of one pixel": (encode(noise(1, 1), "PNG"), "dot.png", "of 1 × 1 pixels; each side must"),
    "png too long": (zeros_png(20_000, 100), "strip.png", "20000 × 100 pixels; no side may have"),
    "png too thin": (zeros_png(12_000, 700), "strip.png", "at most 16 times as long as wide"),
    "jpeg of 4 gigapixels": (jpeg_claiming(65_000, 65_000), "huge.jpg", "65000 × 65000 pixels"),
    "jpeg too small": (encode(noise(64, 15), "JPEG"), "low.jpg", "of 64 × 15 pixels; each side"),
    "jpeg of 500 passes": (repeated_scans(500), "slow.jpg", "passes; at most 100 are allowed"),
    "webp of 25 megapixels in 100 bytes": (
        flat_webp(5000, 5000),
        "tiny.webp",
        "25.0 megapixels; at most 16 are allowed",
    ),
    "webp animation of 132 megapixels": (
        animated_webp(12_000, 11_000),
        "canvas.webp",
        "132.0 megapixels; at most 16 are allowed",
    ),
    # Metadata that unpacks to far more than the file holds.
    "png text bomb": (
        png(header(16, 16), SMALL_ROWS, chunk(b"zTXt", b"Comment\0\0" + BOMB_TEXT)),
        "text.png",
        UNPACKS,
    ),
    "png international text bomb": (
        png(header(16, 16), SMALL_ROWS, chunk(b"iTXt", b"Comment\0\1\0\0\0" + BOMB_TEXT)),
        "text.png",
        UNPACKS,
    ),
    "png profile bomb": (
        png(header(16, 16), SMALL_ROWS, chunk(b"iCCP", b"icc\0\0" + BOMB_TEXT)),
        "profile.png",
        UNPACKS,
    ),
    "png text bomb after the pixels": (
        png(header(16, 16), SMALL_ROWS)[:-12]
        + chunk(b"zTXt", b"Comment\0\0" + BOMB_TEXT)
        + chunk(b"IEND", b""),
        "text.png",
        UNPACKS,
    ),
    "png of a hundred texts": (
        png(
            header(16, 16),
            SMALL_ROWS,
            *[chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1_000_000)))] * 100,
        ),
        "texts.png",
        UNPACKS,
    ),
    # Cut off, altered, or lying about what is inside.
    "png magic only": (PNG_MAGIC, "stub.png", "is a PNG picture of 8 bytes that is cut off"),
    "png garbage": (PNG_MAGIC + bytes(range(256)), "stub.png", DAMAGED),
    "png cut off": (NOISE_PNG[: len(NOISE_PNG) // 2], "half.png", DAMAGED),
    "png header altered": (with_byte(NOISE_PNG, 20, 1), "crc.png", DAMAGED),
    "png unknown depth": (png(header(16, 16, 7), SMALL_ROWS), "depth.png", DAMAGED),
    "png pixels not packed": (png(header(16, 16), bytes(range(200))), "rows.png", DAMAGED),
    "png rows missing": (png(header(16, 16), SMALL_ROWS[:8]), "rows.png", DAMAGED),
    "png without pixels": (
        PNG_MAGIC + header(16, 16) + chunk(b"IEND", b""),
        "hollow.png",
        DAMAGED,
    ),
    "jpeg magic only": (b"\xff\xd8\xff", "stub.jpg", "is a JPEG picture of 3 bytes that is"),
    "jpeg cut off": (NOISE_JPEG[: len(NOISE_JPEG) // 2], "half.jpeg", DAMAGED),
    "jpeg header cut off": (NOISE_JPEG[:100], "half.jpeg", DAMAGED),
    "webp magic only": (b"RIFF\4\0\0\0WEBP", "stub.webp", "is a WebP picture of 12 bytes that is"),
    "webp cut off": (NOISE_WEBP[: len(NOISE_WEBP) // 2], "half.webp", DAMAGED),
    "webp without frames": (riff(vp8x(64, 48)), "hollow.webp", DAMAGED),
    "webp canvas larger than its picture": (
        riff(vp8x(4000, 4000), (b"VP8L", NOISE_WEBP[20:])),
        "liar.webp",
        DAMAGED,
    ),
    # The name is the attack.
    "name with markup": (
        b"",
        "](javascript:alert(1)) **x** :red[y] $z$ <img src=a> `c`.png",
        "“··javascript·alert·1·· ··x·…",
    ),
    "name with controls": (b"", "a\n\n# b\u202egnp\x00\x1b[2J.exe", "“a· b"),
    "name with folders": (b"", "..\\..\\/etc/passwd", "“passwd” is empty"),
    "name of 5000 letters": (
        b"",
        "x" * 5000 + ".png",
        "“xxxxxxxxxxxxxxxxxxxxxxxxxxx…xxxxxxxx.png”",
    ),
    "name of nothing": (b"", "\x00\x01", "“unnamed” is empty"),
}


def build_heavy() -> dict[str, bytes]:
    """Files that are allowed, and as costly as allowed files can be."""
    return {
        "png rgba": zeros_png(5000, 5000, 8, RGBA),
        "png rgba interlaced": zeros_png(5000, 5000, 8, RGBA, interlaced=1),
        "png grey of 16 bits": zeros_png(5000, 5000, 16, GREY),
        "png rgb of 16 bits with a key": png(
            header(5000, 5000, 16, RGB), packed_zeros(5000 * 30_001), chunk(b"tRNS", bytes(6))
        ),
        "png pixels unpacking to 400 MB": png(header(16, 16), BOMB_TEXT),
        "jpeg progressive cmyk": encode(Image.new("CMYK", (5000, 5000)), "JPEG", progressive=True),
        "jpeg just under double size": encode(Image.new("RGB", (2040, 2040)), "JPEG"),
        "webp": flat_webp(4000, 4000),
    }
