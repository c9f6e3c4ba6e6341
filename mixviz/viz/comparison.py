"""Charts and pictures of a comparison: what each method did with λ, and the contact sheet."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import plotly.graph_objects as go
from PIL import Image, ImageDraw, ImageFont

from mixviz.viz.draw import A, B, Rgb, to_png
from mixviz.viz.look import BLUE, GREY, ORANGE, Look, frame

ROW = 28  # pixels of a line of the chart
TILE, GAP, HEAD, FOOT = 224, 16, 26, 46  # pixels of the sheet that is taken away


@dataclass(frozen=True, eq=False)
class Entry:
    """What is shown of one method.

    Attributes:
        title: its name.
        pixels: the mix.
        weights: label weights given to A and B.
        kept: share of the saliency of A and of B that is still to be seen.
        contract: how the weights relate to λ.
        pinned: whether the others are compared with it.
    """

    title: str
    pixels: Rgb
    weights: tuple[float, float]
    kept: tuple[float, float]
    contract: str
    pinned: bool = False


def dots(entries: Sequence[Entry], lam: float, look: Look) -> go.Figure:
    """Draw the label weight of B beside λ, and the saliency kept of either picture."""
    names = [entry.title for entry in entries]
    figure = go.Figure()
    for axis, ends in (
        ("x", [(lam, entry.weights[1]) for entry in entries]),
        ("x2", [entry.kept for entry in entries]),
    ):
        figure.add_scatter(
            x=[value for start, end in ends for value in (start, end, None)],
            y=[name for name in names for _ in range(3)],
            mode="lines",
            line={"width": 3 if axis == "x" else 1, "color": GREY},
            hoverinfo="skip",
            xaxis=axis,
        )
    for axis, values, letter in (
        ("x", [entry.weights[1] for entry in entries], "B"),
        ("x2", [entry.kept[0] for entry in entries], "A"),
        ("x2", [entry.kept[1] for entry in entries], "B"),
    ):
        what = "label weight" if axis == "x" else "saliency kept"
        figure.add_scatter(
            x=values,
            y=names,
            mode="markers",
            marker={
                "size": 11,
                "symbol": "circle" if letter == "A" else "square",
                "color": BLUE if letter == "A" else ORANGE,
            },
            xaxis=axis,
            hovertemplate=f"%{{y}}: {what} of {letter} %{{x:.3f}}<extra></extra>",
        )
    figure.add_shape(
        type="line",
        x0=lam,
        x1=lam,
        y0=0,
        y1=1,
        yref="paper",
        line={"width": 2, "dash": "dash", "color": look.text},
    )
    for index, entry in enumerate(entries):
        if entry.pinned:
            figure.add_shape(
                type="rect",
                x0=0,
                x1=1,
                xref="paper",
                y0=index - 0.5,
                y1=index + 0.5,
                fillcolor=look.quiet,
                opacity=0.3,
                layer="below",
                line={"width": 0},
            )
    figure.update_layout(**frame(look, ROW * len(entries) + 74), uirevision="dots")
    figure.update_layout(margin={"l": 4, "r": 12, "t": 34, "b": 30})
    grid = {"gridcolor": look.quiet, "zeroline": False, "fixedrange": True, "range": [-0.03, 1.03]}
    figure.update_layout(
        xaxis={**grid, "domain": [0, 0.47], "tickvals": [0, 0.5, 1], "tickangle": 0},
        xaxis2={
            **grid,
            "domain": [0.53, 1],
            "tickformat": ".0%",
            "tickvals": [0, 0.5, 1],
            "tickangle": 0,
            "anchor": "y",
        },
    )
    figure.update_yaxes(
        autorange="reversed",
        automargin=True,
        fixedrange=True,
        ticklabelstandoff=8,
        gridcolor=look.quiet,
    )
    for x, text in ((0.0, "Label weight of B"), (0.53, "Saliency kept")):
        figure.add_annotation(
            x=x,
            y=1,
            xref="paper",
            yref="paper",
            xanchor="left",
            yanchor="bottom",
            yshift=6,
            text=f"<b>{text}</b>",
            showarrow=False,
            font={"size": 14, "color": look.text},
        )
    return figure


def _places(count: int) -> tuple[int, int, list[tuple[int, int]]]:
    """Return width and height of a sheet, and where each tile begins."""
    across = min(6, max(count, 1))
    down = -(-count // across)
    step = (TILE + GAP, HEAD + TILE + FOOT + GAP)
    corners = [(GAP + k % across * step[0], GAP + k // across * step[1]) for k in range(count)]
    return GAP + across * step[0], GAP + down * step[1], corners


def _lines(entry: Entry) -> tuple[str, str]:
    a, b = entry.weights
    odd = "" if abs(a + b - 1) < 5e-3 else f", sum {a + b:.2f}"
    return (
        f"A {a:.0%}, B {b:.0%}{odd} ({entry.contract})",
        f"keeps {entry.kept[0]:.0%} of A, {entry.kept[1]:.0%} of B",
    )


def sheet_png(entries: Sequence[Entry]) -> bytes:
    """Return the contact sheet as a PNG, white, every mix at 224 pixels."""
    width, height, corners = _places(len(entries))
    sheet = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(sheet)
    title, small = ImageFont.load_default(16), ImageFont.load_default(13)
    for entry, (x, y) in zip(entries, corners, strict=True):
        pen.text((x, y), entry.title, "#1B1F24", title)
        tile = Image.fromarray(entry.pixels)
        sheet.paste(tile.resize((TILE, TILE), Image.Resampling.LANCZOS), (x, y + HEAD))
        split = x + round(TILE * entry.weights[0])
        below = y + HEAD + TILE
        pen.rectangle((x, below + 2, split, below + 7), A)
        pen.rectangle((split, below + 2, split + round(TILE * entry.weights[1]), below + 7), B)
        for line, text in enumerate(_lines(entry)):
            pen.text((x, below + 10 + 17 * line), text, "#57606A", small)
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def sheet_svg(entries: Sequence[Entry]) -> str:
    """Return the contact sheet as an SVG: text stays text, each mix is embedded as it is."""
    width, height, corners = _places(len(entries))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for entry, (x, y) in zip(entries, corners, strict=True):
        source = base64.b64encode(to_png(entry.pixels)).decode()
        a, b = (TILE * weight for weight in entry.weights)
        below = y + HEAD + TILE
        parts += [
            f'<text x="{x}" y="{y + 16}" font-size="16" fill="#1B1F24">',
            f"{escape(entry.title)}</text>",
            f'<image x="{x}" y="{y + HEAD}" width="{TILE}" height="{TILE}" '
            f'href="data:image/png;base64,{source}"/>',
            f'<rect x="{x}" y="{below + 2}" width="{a:.1f}" height="6" fill="#0072B2"/>',
            f'<rect x="{x + a:.1f}" y="{below + 2}" width="{b:.1f}" height="6" fill="#D55E00"/>',
        ]
        parts += [
            f'<text x="{x}" y="{below + 22 + 17 * line}" font-size="13" fill="#57606A">'
            f"{escape(text)}</text>"
            for line, text in enumerate(_lines(entry))
        ]
    return "".join([*parts, "</svg>"])
