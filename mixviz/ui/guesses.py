"""What the classifier answers, as small bars in HTML."""

from collections.abc import Mapping, Sequence
from html import escape

import streamlit as st
import torch
from torch import Tensor

TAGS = {"a": '<span class="mv-tag">A</span>', "b": '<span class="mv-tag mv-b">B</span>'}


def show_guesses(
    title: str,
    probabilities: Tensor,
    class_names: Sequence[str],
    marked: Mapping[int, str],
    remark: str = "",
) -> None:
    """Show the five first guesses (k,) with how sure they are; marked classes get a letter."""
    top = torch.topk(probabilities, min(5, len(probabilities)))
    rows = "".join(
        f"<span>{escape(class_names[index])} "
        f"{TAGS[marked[index]] if index in marked else ''}</span>"
        f'<i style="width:{max(share, 0.01):.1%}"></i><b>{share:.1%}</b>'
        for share, index in zip(top.values.tolist(), top.indices.tolist(), strict=True)
    )
    st.html(
        f'<div class="mv-head">{title}</div><div class="mv-guess">{rows}</div>'
        + (f'<div class="mv-small mv-remark">{escape(remark)}</div>' if remark else "")
    )
