"""All methods on one pair; everything of this page is in `mixviz.ui.compare`."""

from mixviz.ui import frame

frame.run(
    frame.COMPARE,
    "Compare",
    "Many ways to mix the same two pictures, with the same λ and seed.",
    body="mixviz.ui.compare",
)
