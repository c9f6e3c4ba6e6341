"""The reward of every pair of percentiles, as a map that a cell is chosen from."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from mixviz.viz.look import Look, frame

Cell = tuple[int, int]


def reward_map(
    rewards: NDArray[np.float64],
    cosines: NDArray[np.float64],
    percentiles: Sequence[float],
    best: Cell,
    current: Cell | None,
    look: Look,
) -> go.Figure:
    """Draw the reward by the percentile of A (down) and of B (across).

    Args:
        rewards: (k, k), first index A.
        cosines: (2, k, k), of either picture.
        percentiles: what the indices stand for.
        best: the cell of highest reward, outlined.
        current: the cell that the page mixes with, marked; None when it is none of them.
        look: colours of the theme.
    """
    k = len(percentiles)
    names = [f"{q:.2f}".removeprefix("0") if q else "0" for q in percentiles]
    figure = go.Figure(
        go.Heatmap(
            z=rewards,
            colorscale="Viridis",
            colorbar={
                "thickness": 10,
                "title": {"text": "reward", "font": {"size": 14}},
                "tickfont": {"size": 14},
                "tickformat": ".2f",
                "nticks": 5,
            },
            xgap=1,
            ygap=1,
            hoverinfo="skip",
        )
    )
    cells = [(i, j) for i in range(k) for j in range(k)]
    # A heat map's cells cannot be selected; markers that nobody sees can.
    figure.add_scatter(
        x=[j for _, j in cells],
        y=[i for i, _ in cells],
        mode="markers",
        marker={"symbol": "square", "size": 26, "color": "rgba(0,0,0,0)"},
        customdata=[[i, j] for i, j in cells],
        text=[
            f"q₀ {percentiles[i]:.2f}, q₁ {percentiles[j]:.2f}: reward {rewards[i, j]:.4f}<br>"
            f"A {cosines[0, i, j]:.4f}, B {cosines[1, i, j]:.4f}"
            for i, j in cells
        ],
        hovertemplate="%{text}<extra></extra>",
        selected={"marker": {"color": "rgba(0,0,0,0)"}},
        unselected={"marker": {"color": "rgba(0,0,0,0)"}},
    )
    for wide, colour in ((5, "#14110e"), (2.5, "#fff")):
        figure.add_shape(
            type="rect",
            x0=best[1] - 0.5,
            x1=best[1] + 0.5,
            y0=best[0] - 0.5,
            y1=best[0] + 0.5,
            line={"width": wide, "color": colour},
        )
    if current is not None:
        for size, wide, colour in ((15, 5, "#14110e"), (15, 2.5, "#fff")):
            figure.add_scatter(
                x=[current[1]],
                y=[current[0]],
                mode="markers",
                marker={
                    "symbol": "circle-open",
                    "size": size,
                    "color": colour,
                    "line": {"width": wide, "color": colour},
                },
                hoverinfo="skip",
            )
    figure.update_layout(**frame(look, 400), uirevision="rewards", hovermode="closest")
    axis = {
        "tickvals": list(range(k)),
        "ticktext": names,
        "tickfont": {"size": 14, "color": look.text},
        "fixedrange": True,
        "showgrid": False,
        "zeroline": False,
        "constrain": "domain",
        "automargin": True,
        "range": [-0.5, k - 0.5],
    }
    figure.update_xaxes(
        **axis, title={"text": "q₁, percentile of B", "standoff": 6, "font": {"size": 14}}
    )
    figure.update_yaxes(
        **{**axis, "range": [k - 0.5, -0.5]},
        scaleanchor="x",
        title={"text": "q₀, percentile of A", "standoff": 14, "font": {"size": 14}},
    )
    return figure
