"""Charts. Numbers in, plotly figures out; colours that hold in both themes."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from mixviz.viz.draw import A, B

# Saliency in the colour of its picture, the penalties in greys; letters and hatches repeat it.
TERM_LOOKS: Mapping[str, tuple[str, str, str]] = {
    "saliency_0": ("A hidden", f"rgb{A}", "/"),
    "saliency_1": ("B hidden", f"rgb{B}", "."),
    "label_smooth": ("β", "#4B5563", ""),
    "data_smooth": ("γ", "#8A93A0", ""),
    "prior": ("η", "#B4BBC5", ""),
    "transport": ("ξ", "#6D5D7B", ""),
}


def energy_bars(
    rows: Sequence[tuple[str, Mapping[str, float], str]], text_colour: str
) -> go.Figure:
    """Draw the objective of each step as a bar of its terms.

    Args:
        rows: name, terms with their total, and a remark behind the total; drawn from the top.
        text_colour: of the theme.
    """
    figure = go.Figure()
    names = [name for name, _, _ in rows]
    widest = max(sum(max(terms[term], 0) for term in TERM_LOOKS) for _, terms, _ in rows)
    for term, (label, colour, hatch) in TERM_LOOKS.items():
        values = [terms[term] for _, terms, _ in rows]
        figure.add_bar(
            y=names,
            x=values,
            orientation="h",
            name=label,
            marker={
                "color": colour,
                "pattern": {
                    "shape": hatch,
                    "size": 7,
                    "solidity": 0.2,
                    "fillmode": "overlay",
                    "fgcolor": "rgba(255,255,255,.45)",
                },
                "line": {"width": 1, "color": "rgba(255,255,255,.6)"},
            },
            text=[label if value > 0.045 * widest * len(label) ** 0.5 else "" for value in values],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={
                "size": 14,
                "color": "#14110e" if term in ("saliency_1", "prior") else "#fff",
            },
            hovertemplate=f"{label}: %{{x:.4f}}<extra>%{{y}}</extra>",
        )
    for name, terms, remark in rows:
        figure.add_annotation(
            x=1.01,
            xref="paper",
            xanchor="left",
            y=name,
            text=f"<b>{terms['total']:.4f}</b> {remark}",
            showarrow=False,
            font={"size": 14, "color": text_colour},
        )
    figure.update_layout(
        barmode="relative",
        bargap=0.25,
        height=46 * len(rows) + 16,
        margin={"l": 0, "r": 150, "t": 4, "b": 4},
        showlegend=False,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"size": 14, "color": text_colour, "family": "Source Sans, sans-serif"},
        uirevision="energy",
        hoverlabel={"font": {"size": 14}},
    )
    figure.update_xaxes(visible=False, fixedrange=True)
    figure.update_yaxes(
        autorange="reversed",
        automargin=True,
        fixedrange=True,
        tickfont={"size": 14, "color": text_colour},
        ticklabelstandoff=6,
    )
    return figure
