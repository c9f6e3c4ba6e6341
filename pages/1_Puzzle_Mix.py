"""Puzzle Mix, taken apart."""

from mixviz.ui import frame

frame.run(
    frame.PUZZLE_MIX,
    "Puzzle Mix",
    "Each block shows one picture or shares both; then blocks move to hide less.",
    body="mixviz.ui.puzzle",
)
