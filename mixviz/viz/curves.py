"""Curves of many methods over λ, each labelled where it ends. Numbers in, figures out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from mixviz.viz.look import Look, frame

Array = NDArray[np.float64]

GAP = 17  # pixels between two labels
HEAD, FOOT, LEFT = 34, 40, 46  # pixels around the axes
LEADER = 18  # pixels from the end of a curve to its label
PER_LETTER = 7.2  # pixels, at most, of a label of 14 px
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "5px,2px,1px,2px")
# By group, readable on white and on near black; neither of the blues and oranges of A and B.
HUES = (
    ("#1A8F6E", "#4E9A2A", "#0F8B8D", "#7C8F1F", "#5B8C6B"),
    ("#C8385A", "#A8583E"),
    ("#8A5BD0", "#B552B5", "#6F6BD8", "#C45AA0", "#9A76C8"),
    ("#9A7A10", "#A67C3D", "#8A93A0", "#7D8590", "#98906A", "#8F8377", "#A3925B"),
)


@dataclass(frozen=True, eq=False)
class Curve:
    """One method in one panel.

    Attributes:
        title: its name.
        group: index of its group; decides the hue.
        place: its place in the group; decides hue and dashes.
        mean: by λ; NaN where there is nothing to draw.
        error: standard error of the mean, by λ; NaN where unknown.
        stands_out: drawn heavier, in the colour of the text.
    """

    title: str
    group: int
    place: int
    mean: Array
    error: Array
    stands_out: bool = False


def colour_of(curve: Curve, look: Look) -> str:
    """Return the colour of a curve, the same in every panel."""
    hues = HUES[curve.group % len(HUES)]
    return look.text if curve.stands_out else hues[curve.place % len(hues)]


def dash_of(curve: Curve) -> str:
    """Return the dashes of a curve, the same in every panel."""
    return "solid" if curve.stands_out else DASHES[curve.place % len(DASHES)]


def height_of(curves: int) -> int:
    """Return the height in pixels of a panel whose labels all have room."""
    return HEAD + FOOT + max(220, GAP * curves + 8)


def panel(
    lams: Sequence[float], curves: Sequence[Curve], title: str, percent: bool, look: Look
) -> go.Figure:
    """Draw one statistic over λ: a line per method, a band of one standard error, a label each."""
    shown = [curve for curve in curves if np.isfinite(curve.mean).any()]
    height = height_of(len(curves))
    figure = go.Figure()
    for curve in sorted(shown, key=lambda one: one.stands_out):
        _add_band(figure, lams, curve, look)
    for curve in sorted(shown, key=lambda one: one.stands_out):
        number = ".1%" if percent else ".3f"
        figure.add_scatter(
            x=list(lams),
            y=curve.mean.tolist(),
            mode="lines+markers" if curve.stands_out else "lines",
            name=curve.title,
            line={
                "width": 3.5 if curve.stands_out else 1.8,
                "color": colour_of(curve, look),
                "dash": dash_of(curve),
            },
            marker={"size": 6},
            customdata=np.nan_to_num(curve.error).tolist(),
            hovertemplate=f"{curve.title}, λ %{{x}}: %{{y:{number}}} ± %{{customdata:{number}}}"
            "<extra></extra>",
        )
    low, high = _range(shown, percent)
    _add_labels(figure, shown, low, high, height - HEAD - FOOT, lams[-1], look)
    widest = max((len(curve.title) for curve in curves), default=0)
    figure.update_layout(**frame(look, height), uirevision="curves")
    figure.update_layout(
        margin={"l": LEFT, "r": LEADER + 6 + round(PER_LETTER * widest), "t": HEAD, "b": FOOT},
        hovermode="closest",
        xaxis={
            "range": [lams[0] - 0.02 * (lams[-1] - lams[0] or 1), lams[-1]],
            "tickvals": [0, 0.25, 0.5, 0.75, 1],
            "title": {"text": "λ, share of B asked for", "standoff": 4, "font": {"size": 14}},
            "gridcolor": look.quiet,
            "zeroline": False,
            "fixedrange": True,
        },
        yaxis={
            "range": [low, high],
            "nticks": 6,
            "tickformat": ".0%" if percent else None,
            "gridcolor": look.quiet,
            "zeroline": False,
            "fixedrange": True,
        },
    )
    figure.add_annotation(
        x=0,
        y=1,
        xref="paper",
        yref="paper",
        xanchor="left",
        yanchor="bottom",
        xshift=-LEFT + 4,
        yshift=8,
        text=f"<b>{title}</b>",
        showarrow=False,
        font={"size": 14, "color": look.text},
    )
    return figure


def _add_band(figure: go.Figure, lams: Sequence[float], curve: Curve, look: Look) -> None:
    error = np.nan_to_num(curve.error)
    if not error.any():
        return
    known = np.isfinite(curve.mean)
    x = np.asarray(lams)[known]
    upper, lower = (curve.mean + error)[known], (curve.mean - error)[known]
    figure.add_scatter(
        x=[*x, *x[::-1]],
        y=[*upper, *lower[::-1]],
        mode="none",
        fill="toself",
        fillcolor=_clear(colour_of(curve, look), 0.14 if curve.stands_out else 0.05),
        hoverinfo="skip",
    )


def _clear(colour: str, share: float) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{share})"


def _range(curves: Sequence[Curve], percent: bool) -> tuple[float, float]:
    """Return the ends of the axis: all lines, and the band of what stands out.

    Shares begin at 0 and show a fifth at least: small differences must not look large.
    """
    values = [curve.mean for curve in curves]
    values += [
        curve.mean + sign * np.nan_to_num(curve.error)
        for curve in curves
        if curve.stands_out
        for sign in (-1, 1)
    ]
    if not values:
        return 0.0, 1.0
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if percent:
        high = min(max(high, 0.2), 1.0)
        return -0.03 * high, 1.03 * high
    room = 0.05 * (high - low) or 0.5
    return low - room, high + room


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move positions apart by at least a gap, as little as possible, inside [low, high].

    Positions come and go in rising order. Where there is no room for the gap, it shrinks.
    """
    count = len(wanted)
    if count > 1:
        gap = min(gap, (high - low) / (count - 1))
    blocks: list[tuple[float, int]] = []  # mean of what is pushed together, and how many
    for index, place in enumerate(wanted):
        mean, size = place - gap * index, 1
        while blocks and blocks[-1][0] > mean:
            other, others = blocks.pop()
            mean = (mean * size + other * others) / (size + others)
            size += others
        blocks.append((mean, size))
    flat = [mean for mean, size in blocks for _ in range(size)]
    last = high - gap * (count - 1)
    return [min(max(mean, low), last) + gap * index for index, mean in enumerate(flat)]


def _add_labels(
    figure: go.Figure,
    curves: Sequence[Curve],
    low: float,
    high: float,
    pixels: int,
    end: float,
    look: Look,
) -> None:
    """Write each name where its curve ends, apart from each other, with a line to the curve."""

    def down(value: float) -> float:
        return (high - value) / (high - low) * pixels

    # Curves that end in one point are told apart by where they come from.
    order = sorted(curves, key=lambda one: [-round(value, 9) for value in one.mean[::-1]])
    ends = [down(float(curve.mean[-1])) for curve in order]
    places = spread(ends, GAP, GAP / 2, pixels - GAP / 2)
    for curve, start, place in zip(order, ends, places, strict=True):
        colour = colour_of(curve, look)
        weight = f"<b>{curve.title}</b>" if curve.stands_out else curve.title
        figure.add_annotation(
            x=end,
            y=float(curve.mean[-1]),
            text=weight,
            showarrow=True,
            arrowhead=0,
            arrowwidth=2.5 if curve.stands_out else 1.2,
            arrowcolor=colour,
            ax=LEADER,
            ay=place - start,
            xanchor="left",
            font={"size": 14, "color": look.text},
            borderpad=2,
        )
