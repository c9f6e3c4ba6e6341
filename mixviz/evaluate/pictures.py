"""What the measures look like: every corruption of one picture, and a reliability diagram."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Generator, Tensor

from mixviz.evaluate.corruptions import CORRUPTIONS, SEVERITIES

INK, PAPER, BAR, GAP = "#1B1F24", "#FFFFFF", "#2F6FB2", "#E0A93B"


def draw_corruptions(image: Tensor, seed: int) -> Image.Image:
    """A sheet of one picture (3, h, w) in [0, 1]: a row per corruption, a column per severity."""
    height, width = image.shape[1:]
    zoom = math.ceil(96 / width)
    side, tall, left, top, gap = width * zoom, height * zoom, 190, 34, 4
    columns = 1 + len(SEVERITIES)
    sheet = Image.new(
        "RGB", (left + columns * (side + gap), top + len(CORRUPTIONS) * (tall + gap)), PAPER
    )
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for column, text in enumerate(("original", *(f"severity {s}" for s in SEVERITIES))):
        pen.text((left + column * (side + gap), 8), text, INK, font)
    for row, (name, corruption) in enumerate(CORRUPTIONS.items()):
        y = top + row * (tall + gap)
        pen.text((8, y + tall // 2 - 8), name.replace("_", " "), INK, font)
        shown = [image[None]]
        for severity in SEVERITIES:
            shown.append(corruption.apply(image[None], severity, Generator().manual_seed(seed)))
        for column, picture in enumerate(shown):
            pixels = (picture[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
            tile = Image.fromarray(np.ascontiguousarray(pixels))
            tile = tile.resize((side, tall), Image.Resampling.NEAREST)
            sheet.paste(tile, (left + column * (side + gap), y))
    return sheet


def draw_reliability(bins: Sequence[dict[str, float]], title: str) -> Image.Image:
    """Accuracy by confidence, a bar per bin; the gap to the diagonal in yellow.

    Args:
        bins: mean ``confidence``, ``accuracy`` and ``count`` of each, in order, equally wide.
        title: above it.
    """
    side, left, top = 360, 60, 46
    page = Image.new("RGB", (left + side + 24, top + side + 60), PAPER)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(15)
    pen.text((left, 14), title, INK, font)
    bottom, wide = top + side, side / len(bins)
    for index, each in enumerate(bins):
        if not each["count"]:
            continue
        x0, x1 = left + index * wide + 1, left + (index + 1) * wide - 1
        accuracy, confidence = (bottom - side * each[key] for key in ("accuracy", "confidence"))
        pen.rectangle((x0, min(accuracy, confidence), x1, max(accuracy, confidence)), GAP)
        pen.rectangle((x0, accuracy, x1, bottom), BAR)
        if confidence > accuracy:  # less sure than right: the gap lies inside the bar
            pen.rectangle((x0, accuracy, x1, confidence), outline=GAP, width=2)
    pen.rectangle((left, top, left + side, bottom), outline=INK)
    pen.line((left, bottom, left + side, top), INK)
    for part in (0, 0.5, 1):
        pen.text((left + part * side - 8, bottom + 6), f"{part:g}", INK, font)
        pen.text((left - 32, bottom - part * side - 9), f"{part:g}", INK, font)
    pen.text((left + side / 2 - 40, bottom + 28), "confidence", INK, font)
    label = Image.new("RGB", (80, 20), PAPER)
    ImageDraw.Draw(label).text((0, 1), "accuracy", INK, font)
    page.paste(label.rotate(90, expand=True), (4, top + side // 2 - 40))
    return page
