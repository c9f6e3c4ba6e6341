"""A mix as lines of code that repeat it in a training loop."""

from typing import Any

import streamlit as st

from mixviz.methods.base import Method
from mixviz.spec import notes

SEEN = {"s": "saliency", "g": "gradient"}
"""What `explain` calls what a method reads of a picture, by the first letter of its name."""


def offer(method: Method, params: Any) -> None:
    """Draw the button that opens the code."""
    if st.button("This mix as PyTorch", key="code"):
        _show(method, params)


def write_code(method: Method, params: Any) -> str:
    """Return code that mixes a batch so, and its loss.

    Args:
        method: one that reads saliency or its gradient, and nothing else.
        params: its parameters; those that are its own are left out.
    """
    kind = type(params)
    usual = kind()
    given = {name: getattr(params, name) for name in notes(kind, object)}
    asked = {name: value for name, value in given.items() if value != getattr(usual, name)}
    arguments = ", ".join(f"{name}={value!r}" for name, value in asked.items())
    fields = "".join(
        f",\n            {name}=seen.{SEEN[name[0]]}{'[partner]' if name[1] == '1' else ''}"
        for name in method.needs
    )
    return f"""import torch
from torch.nn.functional import cross_entropy

from mixviz.core.saliency import explain
from mixviz.core.types import Pair
from mixviz.methods import METHODS
from {kind.__module__} import {kind.__name__}

# x: images in [0, 1], (b, 3, h, w); y: labels, (b,); classifier: images in [0, 1] -> logits
partner = torch.randperm(len(x))
seen = explain(classifier, x, y)
pair = Pair(x, x[partner]{fields})
trace = METHODS["{method.slug}"].mix(pair, {kind.__name__}({arguments}))
logits = classifier(trace.mixed)
loss = (trace.weights[:, 0] * cross_entropy(logits, y, reduction="none")
        + trace.weights[:, 1] * cross_entropy(logits, y[partner], reduction="none")).mean()
"""


# In a dialog, as its highlighter is a megabyte the page can spare.
@st.dialog("This mix as PyTorch", width="large")
def _show(method: Method, params: Any) -> None:
    st.code(write_code(method, params), language="python")
