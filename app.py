"""mixviz: see, block by block, what saliency-guided mixup does to a pair of pictures."""

from mixviz.ui import frame

frame.run(frame.HOME, "Mix", "One pair of pictures, by every method.", body="mixviz.ui.home")
