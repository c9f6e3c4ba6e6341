"""Classifiers side by side, tried, judged and trained; all of it is in `mixviz.ui.judge`."""

from mixviz.ui import frame

frame.run(
    frame.JUDGE,
    "Train & judge",
    "What a way of training makes of a classifier, on one picture and on thousands.",
    body="mixviz.ui.judge",
)
