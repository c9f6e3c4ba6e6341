"""Figure 2 of Puzzle Mix, measured live; everything of this page is in `mixviz.ui.figure2`."""

from mixviz.ui import frame, pictures

frame.run(
    frame.FIGURE_2,
    "Figure 2",
    "The figure Puzzle Mix argues with, measured here: five statistics of mixes over λ.",
    body="mixviz.ui.figure2",
    sidebar=pictures.ask_size,
)
