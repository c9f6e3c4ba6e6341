"""R-Mix, patch by patch, and the search that stands in for RL-Mix's agent."""

from mixviz.ui import frame

frame.run(
    frame.R_MIX,
    "R-Mix",
    "Patches that matter alike in both are blended; elsewhere the one that matters shows.",
    body="mixviz.ui.r_mix",
)
