"""How classifiers are judged: calibration, corruptions, attacks, and a run that learns."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from mixviz.viz.curves import spread
from mixviz.viz.look import GREY, Look, frame

# Readable on white and on near black; neither of the blues and oranges of A and B.
HUES = ("#1A8F6E", "#C8385A", "#8A5BD0", "#9A7A10", "#0F8B8D", "#B552B5", "#7C8F1F", "#A8583E")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
GAP = "#B58100"
STRONG = "#8A5BD0"
LINE = 18  # pixels between two labels
PER_LETTER = 7.2  # pixels, at most, of a label of 14 px


@dataclass(frozen=True)
class Line:
    """A classifier's line in a chart; its place decides hue and dashes."""

    title: str
    place: int
    values: Sequence[float]


def _axis(look: Look, **more: Any) -> dict[str, Any]:
    return {"gridcolor": look.quiet, "zeroline": False, "fixedrange": True, **more}


def _head(figure: go.Figure, text: str, look: Look) -> None:
    figure.add_annotation(
        x=0,
        y=1,
        xref="paper",
        yref="paper",
        xanchor="left",
        yanchor="bottom",
        xshift=-36,
        yshift=8,
        text=f"<b>{text}</b>",
        showarrow=False,
        font={"size": 14, "color": look.text},
    )


def reliability(bins: Sequence[Mapping[str, float]], title: str, look: Look) -> go.Figure:
    """Draw accuracy by confidence, a bar per bin, and what lacks to the diagonal.

    Args:
        bins: `confidence`, `accuracy` and `count` of each, in order, equally wide.
        title: above it.
        look: colours of the theme.
    """
    wide = 1 / max(len(bins), 1)
    places = [(index + 0.5) * wide for index in range(len(bins))]
    total = sum(row["count"] for row in bins) or 1
    kept = [(place, row) for place, row in zip(places, bins, strict=True) if row["count"]]
    x = [place for place, _ in kept]
    accuracy = [row["accuracy"] for _, row in kept]
    confidence = [row["confidence"] for _, row in kept]
    said = [[row["confidence"], row["count"] / total] for _, row in kept]
    figure = go.Figure()
    figure.add_bar(
        x=x,
        y=accuracy,
        width=wide * 0.92,
        marker={"color": GREY},
        customdata=said,
        hovertemplate="%{customdata[0]:.0%} sure, %{y:.0%} right; %{customdata[1]:.1%} of the "
        "pictures<extra></extra>",
    )
    figure.add_bar(
        x=x,
        y=[sure - right for sure, right in zip(confidence, accuracy, strict=True)],
        base=accuracy,
        width=wide * 0.92,
        marker={
            "color": "rgba(181,129,0,.35)",
            "line": {"color": GAP, "width": 1},
            "pattern": {"shape": "/", "size": 6, "solidity": 0.3, "fgcolor": GAP},
        },
        hoverinfo="skip",
    )
    figure.add_shape(
        type="line", x0=0, y0=0, x1=1, y1=1, line={"color": look.text, "dash": "dash", "width": 1.5}
    )
    figure.update_layout(**frame(look, 290), uirevision="reliability", barmode="overlay")
    figure.update_layout(
        margin={"l": 44, "r": 26, "t": 30, "b": 40},
        xaxis=_axis(
            look,
            range=[0, 1],
            tickformat=".0%",
            tickvals=[0, 0.5, 1],
            title={"text": "confidence", "standoff": 4, "font": {"size": 14}},
        ),
        yaxis=_axis(look, range=[0, 1], tickformat=".0%", tickvals=[0, 0.5, 1]),
    )
    _head(figure, title, look)
    return figure


def corruption_errors(
    names: Sequence[str], titles: Sequence[str], errors: Sequence[Sequence[float]], look: Look
) -> go.Figure:
    """Draw the error in percent of each classifier (columns) under each corruption (rows)."""
    figure = go.Figure(
        go.Heatmap(
            z=errors,
            x=list(range(len(titles))),
            y=list(range(len(names))),
            # Pale to strong, so that the numbers can be read on all of it in either theme.
            colorscale=[[0, _blend(look.page, STRONG, 0.05)], [1, _blend(look.page, STRONG, 0.6)]],
            showscale=False,
            texttemplate="%{z:.0f}",
            textfont={"size": 14, "color": look.text},
            customdata=[[f"{title}, {name}" for title in titles] for name in names],
            hovertemplate="%{customdata}: %{z:.1f} %<extra></extra>",
            xgap=1,
            ygap=1,
        )
    )
    head = 14 + round(0.75 * PER_LETTER * max(map(len, titles), default=0))
    figure.update_layout(**frame(look, 26 * len(names) + head), uirevision="corruptions")
    figure.update_layout(margin={"l": 4, "r": 32, "t": head, "b": 4})
    plain = {"showgrid": False, "zeroline": False, "fixedrange": True, "tickmode": "array"}
    figure.update_xaxes(
        **plain,
        side="top",
        tickvals=list(range(len(titles))),
        ticktext=list(titles),
        tickangle=-45,
        ticklabeloverflow="allow",
    )
    figure.update_yaxes(
        **plain,
        tickvals=list(range(len(names))),
        ticktext=list(names),
        autorange="reversed",
        automargin=True,
        ticklabelstandoff=6,
    )
    return figure


def _blend(page: str, colour: str, share: float) -> str:
    """Return a share of a colour laid over the page."""
    ends = [[int(one[at : at + 2], 16) for at in (1, 3, 5)] for one in (page, colour)]
    parts = [round(a + (b - a) * share) for a, b in zip(*ends, strict=True)]
    return f"rgb({parts[0]},{parts[1]},{parts[2]})"


def attack_curves(
    radii: Sequence[float], lines: Sequence[Line], radius: float, look: Look
) -> go.Figure:
    """Draw how sure of the label each classifier is as the attack grows.

    Args:
        radii: ε in 255ths.
        lines: probability of the label at each.
        radius: the ε that is shown on the page.
        look: colours of the theme.
    """
    height = max(260, LINE * len(lines) + 90)
    figure = go.Figure()
    for line in lines:
        figure.add_scatter(
            x=list(radii),
            y=list(line.values),
            mode="lines",
            line={
                "width": 2,
                "color": HUES[line.place % len(HUES)],
                "dash": DASHES[line.place % len(DASHES)],
            },
            hovertemplate=f"{line.title}, ε %{{x}}/255: %{{y:.1%}}<extra></extra>",
        )
    figure.add_shape(
        type="line",
        x0=radius,
        x1=radius,
        y0=0,
        y1=1,
        yref="paper",
        line={"width": 2, "dash": "dash", "color": look.text},
    )
    # Names stand where lines begin and lie apart: at the end all are near 0.
    head, foot, pixels = 34, 40, height - 74
    order = sorted(lines, key=lambda one: -one.values[0])
    tops = [(1 - one.values[0]) * pixels for one in order]
    places = spread(tops, LINE, LINE / 2, pixels - LINE / 2)
    for line, top, place in zip(order, tops, places, strict=True):
        figure.add_annotation(
            x=radii[0],
            y=line.values[0],
            text=line.title,
            showarrow=True,
            arrowhead=0,
            arrowwidth=1.4,
            arrowcolor=HUES[line.place % len(HUES)],
            ax=-16,
            ay=place - top,
            xanchor="right",
            font={"size": 14, "color": look.text},
        )
    widest = max((len(line.title) for line in lines), default=0)
    figure.update_layout(**frame(look, height), uirevision="attack")
    figure.update_layout(
        margin={"l": 24 + round(PER_LETTER * widest), "r": 40, "t": head, "b": foot},
        xaxis=_axis(
            look,
            range=[radii[0], radii[-1]],
            title={"text": "ε in 255ths", "standoff": 4, "font": {"size": 14}},
            tickvals=[0, 4, 8, 12, 16],
        ),
        yaxis=_axis(
            look, range=[-0.01, 1.01], tickformat=".0%", side="right", tickvals=[0, 0.5, 1]
        ),
    )
    return figure


def loss_curve(log: Mapping[str, Sequence[float]], epochs: int, look: Look) -> go.Figure:
    """Draw the loss of a run over its epochs.

    Args:
        log: `epoch` and `loss`, by epoch.
        epochs: the run is to have.
        look: colours of the theme.
    """
    figure = _over_epochs(epochs, look, {"rangemode": "tozero", "nticks": 5})
    _add_curve(figure, log, "loss", "loss", look.text, "solid")
    _head(figure, "Loss", look)
    return figure


def accuracy_curves(log: Mapping[str, Sequence[float]], epochs: int, look: Look) -> go.Figure:
    """Draw top-1 of a run on validation pictures and on its own batches.

    Args:
        log: `epoch`, `train_top1` and `val_top1` in percent, by epoch.
        epochs: the run is to have.
        look: colours of the theme.
    """
    ticks = {"range": [-2, 102], "tickvals": [0, 25, 50, 75, 100]}
    figure = _over_epochs(epochs, look, ticks)
    _add_curve(figure, log, "val_top1", "validation", HUES[0], "solid")
    _add_curve(figure, log, "train_top1", "training, as mixed", HUES[2], "dot")
    words = (
        f'Top-1 in %: <span style="color:{HUES[0]}">●</span> validation, '
        f'<span style="color:{HUES[2]}">■</span> training'
    )
    _head(figure, words, look)
    return figure


def _add_curve(
    figure: go.Figure,
    log: Mapping[str, Sequence[float]],
    key: str,
    name: str,
    colour: str,
    dash: str,
) -> None:
    figure.add_scatter(
        x=list(log["epoch"]),
        y=list(log[key]),
        mode="lines+markers",
        line={"width": 2.5, "dash": dash, "color": colour},
        marker={"size": 6, "symbol": "circle" if dash == "solid" else "square"},
        hovertemplate=f"{name}, epoch %{{x}}: %{{y:.3~f}}<extra></extra>",
    )


def _over_epochs(epochs: int, look: Look, vertical: Mapping[str, Any]) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(**frame(look, 280), uirevision="run")
    title = {"text": "epoch", "standoff": 4, "font": {"size": 14}}
    step = max(1, math.ceil(epochs / 8))  # whole epochs only
    figure.update_layout(
        margin={"l": 40, "r": 12, "t": 34, "b": 40},
        xaxis=_axis(look, range=[0.7, max(epochs, 2) + 0.3], title=title, tick0=1, dtick=step),
        yaxis=_axis(look, **vertical),
    )
    return figure


# ---- overhead and accuracy ----------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """A way of mixing.

    Attributes:
        title: its name.
        overhead: percent of training time that it adds.
        accuracy: top-1 in percent of what it trained.
        has_extra_pass: whether mixing runs the network once more.
    """

    title: str
    overhead: float
    accuracy: float
    has_extra_pass: bool


def overhead_scatter(points: Sequence[Point], title: str, look: Look) -> go.Figure:
    """Draw accuracy over overhead, as GuidedMixup's Figure 3; names lie apart.

    Args:
        points: one at least.
        title: above it.
        look: colours of the theme.
    """
    height, head, foot = 320, 56, 40
    pixels = height - head - foot
    values = [point.accuracy for point in points]
    room = max(0.08 * (max(values) - min(values)), 0.5)
    low, high = min(values) - room, max(values) + room
    right = 1.06 * max(*(point.overhead for point in points), 1.0)
    figure = go.Figure()
    for extra, hue, symbol in ((False, HUES[0], "circle"), (True, HUES[2], "diamond")):
        group = [point for point in points if point.has_extra_pass == extra]
        figure.add_scatter(
            x=[point.overhead for point in group],
            y=[point.accuracy for point in group],
            mode="markers",
            marker={"size": 11, "symbol": symbol, "color": hue},
            customdata=[point.title for point in group],
            hovertemplate="%{customdata}: +%{x:.3~g} % time, top-1 %{y:.2f} %<extra></extra>",
            cliponaxis=False,
        )
    order = sorted(points, key=lambda one: -one.accuracy)
    tops = [(high - point.accuracy) / (high - low) * pixels for point in order]
    places = spread(tops, LINE, LINE / 2, pixels - LINE / 2)
    for point, top, place in zip(order, tops, places, strict=True):
        is_far = point.overhead > 0.55 * right
        figure.add_annotation(
            x=point.overhead,
            y=point.accuracy,
            text=point.title,
            showarrow=True,
            arrowhead=0,
            arrowwidth=1,
            arrowcolor=GREY,
            standoff=5,
            ax=-14 if is_far else 14,
            ay=place - top,
            xanchor="right" if is_far else "left",
            font={"size": 14, "color": look.text},
        )
    figure.update_layout(**frame(look, height), uirevision="costs")
    figure.update_layout(
        margin={"l": 40, "r": 16, "t": head, "b": foot},
        xaxis=_axis(
            look,
            range=[-0.03 * right, right],
            ticksuffix=" %",
            nticks=5,
            title={"text": "time added", "standoff": 4, "font": {"size": 14}},
        ),
        yaxis=_axis(look, range=[low, high], nticks=5),
    )
    words = (
        f'{title}</b><br>top-1 in %; <span style="color:{HUES[2]}">◆</span> runs the network once '
        f'more to mix, <span style="color:{HUES[0]}">●</span> does not<b>'
    )
    _head(figure, words, look)
    figure.layout.annotations[-1].align = "left"
    return figure
