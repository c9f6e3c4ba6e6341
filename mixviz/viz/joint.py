"""Which inputs feed which mixes of a batch, and how much. Numbers in, figures out."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from mixviz.viz.look import Look, frame


def shares(labels: NDArray[np.float64], names: Sequence[str], look: Look) -> go.Figure:
    """Draw the share of each input (columns) in each mix (rows).

    Args:
        labels: rows sum to 1.
        names: of the inputs.
        look: colours of the theme.
    """
    count = len(names)
    inputs = [f"{name} ({i + 1})" for i, name in enumerate(names)]
    shown = np.where(labels > 0, labels, np.nan)  # nothing is no colour, not a dark one
    figure = go.Figure(
        go.Heatmap(
            z=shown,
            x=list(range(count)),
            y=list(range(count)),
            zmin=0,
            zmax=1,
            colorscale="Viridis",
            colorbar={"thickness": 10, "tickformat": ".0%", "tickfont": {"size": 14}},
            text=[[f"{share:.0%}" if share else "" for share in row] for row in labels]
            if count <= 12
            else None,
            texttemplate="%{text}" if count <= 12 else None,
            customdata=[[f"mix {j + 1} holds {name}" for name in inputs] for j in range(count)],
            hovertemplate="%{customdata}: %{z:.0%}<extra></extra>",
            hoverongaps=False,
            xgap=1 if count <= 32 else 0,
            ygap=1 if count <= 32 else 0,
        )
    )
    figure.update_layout(**frame(look, 400), uirevision="shares")
    figure.update_layout(margin={"l": 44, "r": 4, "t": 4, "b": 40})
    grid = {"showgrid": False, "zeroline": False, "fixedrange": True, "constrain": "domain"}
    ticks = {"tickmode": "array", "tickvals": list(range(count))} if count <= 32 else {"nticks": 9}
    numbers = [str(i + 1) for i in range(count)] if count <= 32 else None
    figure.update_xaxes(**grid, **ticks, ticktext=numbers, title={"text": "input", "standoff": 6})
    figure.update_yaxes(
        **grid,
        **ticks,
        ticktext=numbers,
        title={"text": "mix", "standoff": 6},
        autorange="reversed",
        scaleanchor="x",
    )
    return figure
