"""What all charts have in common: colours of the theme, and a frame without plotly's own tools."""

from dataclasses import dataclass
from typing import Any

from mixviz.viz.draw import A, B

BLUE, ORANGE = f"rgb{A}", f"rgb{B}"
GREY = "#8A93A0"
WARNING = "#B58100"


@dataclass(frozen=True)
class Look:
    """Colours of the theme."""

    text: str
    quiet: str
    page: str


LIGHT = Look("#1B1F24", "#C9CFD6", "#FFFFFF")
DARK = Look("#E7EAEF", "#4A5260", "#0E1117")


def frame(look: Look, height: int) -> dict[str, Any]:
    """Return the layout that every chart starts from."""
    return {
        "height": height,
        "margin": {"l": 4, "r": 4, "t": 4, "b": 4},
        "showlegend": False,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"size": 14, "color": look.text, "family": "Source Sans, sans-serif"},
        "hoverlabel": {"font": {"size": 14}},
        "clickmode": "event+select",
        "dragmode": False,
    }
