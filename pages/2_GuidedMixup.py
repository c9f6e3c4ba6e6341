"""GuidedMixup: who is paired with whom, and which pixel goes to whom."""

from mixviz.ui import frame, pictures

frame.run(
    frame.GUIDED_MIXUP,
    "GuidedMixup",
    "Pictures whose salient regions lie apart are paired; each pixel goes to the more salient.",
    body="mixviz.ui.guided",
    sidebar=pictures.ask_size,
)
