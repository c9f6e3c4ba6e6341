"""Charts of a pairing: the ring, the distance matrix, the totals. Numbers in, figures out."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from mixviz.viz.look import BLUE, GREY, ORANGE, WARNING, Look, frame

WIDTHS = (1.0, 1.8, 2.8, 4.0)  # of an edge, by quarter of the distances


def _curve(start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bend a chord towards the middle, more the longer it is, so that neighbours stay apart."""
    t = np.linspace(0, 1, 24)[:, None]
    pull = 0.7 * (start + end) / 2
    return (1 - t) ** 2 * start + 2 * t * (1 - t) * pull + t**2 * end


def ring(
    order: Sequence[int],
    partner: Mapping[int, int],
    distances: NDArray[np.float64],
    names: Sequence[str],
    thumbnails: Sequence[str],
    picked: int,
    look: Look,
) -> go.Figure:
    """Draw who is mixed with whom: pictures on a circle, an arrow from source to target.

    Args:
        order: the pictures around the circle; it stays when the solver changes, so that the
            difference between solvers appears as chords.
        partner: target of each picture; of some, while the pairing is being built.
        distances: ℓ₂ between saliency maps; the width of an edge.
        names: of the pictures.
        thumbnails: data URIs.
        picked: the source whose pair is looked at.
        look: colours of the theme.
    """
    count = len(order)
    angle = {i: np.pi / 2 - 2 * np.pi * at / count for at, i in enumerate(order)}
    place = {i: np.array([np.cos(angle[i]), np.sin(angle[i])]) for i in order}
    size = min(0.62, 5.6 / count)  # side of a picture, in units of the radius
    figure = go.Figure()
    weights = np.array([distances[i, j] for i, j in partner.items()])
    limits = np.quantile(weights, (0.25, 0.5, 0.75))
    quarter = dict(zip(partner, np.searchsorted(limits, weights), strict=True))
    inner = 1.08 - 0.6 * size
    for level, width in enumerate(WIDTHS):
        lines: list[NDArray[np.float64]] = []
        for i, j in partner.items():
            if quarter[i] == level and j != i and i != picked:
                lines += [_curve(inner * place[i], inner * place[j]), np.full((1, 2), None)]
        if lines:
            points = np.concatenate(lines)
            figure.add_scatter(
                x=points[:, 0],
                y=points[:, 1],
                mode="lines",
                line={"width": width, "color": look.quiet},
                hoverinfo="skip",
            )
    if partner.get(picked, picked) != picked:
        chosen = _curve(inner * place[picked], inner * place[partner[picked]])
        figure.add_scatter(
            x=chosen[:, 0],
            y=chosen[:, 1],
            mode="lines",
            line={"width": 4, "color": look.text},
            hoverinfo="skip",
        )
    _add_arrows(figure, place, partner, distances, names, inner, picked, look)
    _add_nodes(figure, order, place, partner, names, thumbnails, size, picked, look)
    figure.update_layout(**frame(look, 440), uirevision="ring")
    figure.update_xaxes(visible=False, range=[-1.45, 1.45], fixedrange=True)
    figure.update_yaxes(visible=False, range=[-1.45, 1.45], fixedrange=True, scaleanchor="x")
    return figure


def _add_arrows(
    figure: go.Figure,
    place: Mapping[int, NDArray[np.float64]],
    partner: Mapping[int, int],
    distances: NDArray[np.float64],
    names: Sequence[str],
    inner: float,
    picked: int,
    look: Look,
) -> None:
    """One scatter for all arrows; an arrow stands near the target and can be selected."""
    tips, colours, turns, data, words = [], [], [], [], []
    for i, j in partner.items():
        if i == j:
            continue
        curve = _curve(inner * place[i], inner * place[j])
        tip, before = curve[-4], curve[-6]
        tips.append(tip)
        turns.append(90 - np.degrees(np.arctan2(*(tip - before)[::-1])))
        mutual = partner.get(j) == i
        colours.append(look.text if i == picked else WARNING if mutual else GREY)
        data.append(i)
        twin = " (each other's partner)" if mutual else ""
        words.append(f"{names[i]} → {names[j]}, distance {distances[i, j]:.4f}{twin}")
    if tips:
        at = np.array(tips)
        figure.add_scatter(
            x=at[:, 0],
            y=at[:, 1],
            mode="markers",
            marker={
                "symbol": "triangle-up",
                "size": 12,
                "angle": turns,
                "color": colours,
                "line": {"width": 1, "color": look.page},
            },
            customdata=data,
            text=words,
            hovertemplate="%{text}<extra></extra>",
            selected={"marker": {"opacity": 1}},
            unselected={"marker": {"opacity": 1}},
        )


def _add_nodes(
    figure: go.Figure,
    order: Sequence[int],
    place: Mapping[int, NDArray[np.float64]],
    partner: Mapping[int, int],
    names: Sequence[str],
    thumbnails: Sequence[str],
    size: float,
    picked: int,
    look: Look,
) -> None:
    outline = dict.fromkeys(order, look.quiet)
    outline |= {i: WARNING for i, j in partner.items() if i == j}
    if picked in partner:
        outline[partner[picked]] = ORANGE
    outline[picked] = BLUE
    figure.add_scatter(
        x=[1.12 * place[i][0] for i in order],
        y=[1.12 * place[i][1] for i in order],
        mode="markers",
        marker={
            "symbol": "square",
            "size": max(12, 440 / 2.9 * 0.9 * size),
            "color": look.page,
            "line": {"width": 3, "color": [outline[i] for i in order]},
        },
        customdata=list(order),
        text=[_node_words(names, i, partner.get(i)) for i in order],
        hovertemplate="%{text}<extra></extra>",
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
    )
    # All at once: plotly copies the whole list for every single one that is added.
    figure.update_layout(
        images=[
            {
                "source": thumbnails[i],
                "x": 1.12 * place[i][0],
                "y": 1.12 * place[i][1],
                "xref": "x",
                "yref": "y",
                "sizex": 0.82 * size,
                "sizey": 0.82 * size,
                "xanchor": "center",
                "yanchor": "middle",
                "layer": "above",
            }
            for i in order
        ]
    )


def _node_words(names: Sequence[str], i: int, j: int | None) -> str:
    if j is None:
        return f"{names[i]}, not paired yet"
    return f"{names[i]}, paired with itself" if i == j else f"{names[i]} → {names[j]}"


def matrix(
    order: Sequence[int],
    partner: Mapping[int, int],
    distances: NDArray[np.float64],
    names: Sequence[str],
    picked: int,
    struck: Sequence[int],
    scanned: int | None,
    look: Look,
) -> go.Figure:
    """Draw the distances, the chosen target of each row marked; rows and columns as in the ring.

    Columns that the greedy has struck out at the step looked at are darkened and the row it
    scanned is outlined; the other arguments are those of the ring.
    """
    at = {i: row for row, i in enumerate(order)}
    sources = [i for i in order if i in partner]
    shown = distances[np.ix_(order, order)].astype(float)
    np.fill_diagonal(shown, np.nan)
    labels = [f"{names[i]} ({i + 1})" for i in order]
    figure = go.Figure(
        go.Heatmap(
            z=shown,
            x=list(range(len(order))),
            y=list(range(len(order))),
            colorscale="Viridis",
            colorbar={"thickness": 10, "title": {"text": "ℓ₂"}, "tickfont": {"size": 14}},
            customdata=[[f"{a} × {b}" for b in labels] for a in labels],
            hovertemplate="%{customdata}: %{z:.4f}<extra></extra>",
            hoverongaps=False,
            xgap=1 if len(order) <= 32 else 0,
            ygap=1 if len(order) <= 32 else 0,
        )
    )
    pixel = max(5, min(16, 240 / len(order)))
    figure.add_scatter(
        x=[at[partner[i]] for i in sources],
        y=[at[i] for i in sources],
        mode="markers",
        marker={
            "symbol": "circle-open",
            "size": pixel,
            "color": "#fff",
            "line": {"width": 2, "color": "#fff"},
        },
        customdata=sources,
        text=[f"{names[i]} → {names[partner[i]]}: {distances[i, partner[i]]:.4f}" for i in sources],
        hovertemplate="%{text}<extra></extra>",
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
    )
    if scanned is not None:
        figure.add_shape(
            type="rect",
            x0=-0.5,
            x1=len(order) - 0.5,
            y0=at[scanned] - 0.5,
            y1=at[scanned] + 0.5,
            line={"width": 2, "color": "#fff", "dash": "dot"},
        )
    if picked in partner:
        x, y = at[partner[picked]], at[picked]
        figure.add_shape(
            type="rect",
            x0=x - 0.5,
            x1=x + 0.5,
            y0=y - 0.5,
            y1=y + 0.5,
            line={"width": 3, "color": ORANGE},
        )
    for column in struck:
        figure.add_shape(
            type="rect",
            x0=at[column] - 0.5,
            x1=at[column] + 0.5,
            y0=-0.5,
            y1=len(order) - 0.5,
            fillcolor="rgba(20,17,14,.45)",
            line={"width": 0},
        )
    figure.update_layout(**frame(look, 440), uirevision="matrix")
    figure.update_xaxes(visible=False, fixedrange=True, constrain="domain")
    figure.update_yaxes(
        visible=False, autorange="reversed", fixedrange=True, scaleanchor="x", constrain="domain"
    )
    return figure


def totals(rows: Sequence[tuple[str, float, bool]], bound: float, look: Look) -> go.Figure:
    """Draw the total distance of each solver as a dot, and the bound as a line.

    Dots, not bars: totals differ by a few percent, and a cut bar would lie.

    Args:
        rows: solver, total, whether it is the one shown.
        bound: what no pairing exceeds.
        look: colours of the theme.
    """
    figure = go.Figure()
    figure.add_vline(x=bound, line={"width": 1, "dash": "dot", "color": look.text})
    figure.add_scatter(
        x=[total for _, total, _ in rows],
        y=[name for name, _, _ in rows],
        mode="markers",
        marker={
            "size": [16 if shown else 11 for _, _, shown in rows],
            "color": [look.text if shown else GREY for _, _, shown in rows],
        },
        hovertemplate="%{y}: %{x:.4f}<extra></extra>",
    )
    figure.update_layout(**frame(look, 40 * len(rows) + 40), uirevision="totals")
    figure.update_xaxes(fixedrange=True, gridcolor=look.quiet, zeroline=False)
    figure.update_yaxes(
        autorange="reversed", automargin=True, fixedrange=True, gridcolor=look.quiet
    )
    return figure
