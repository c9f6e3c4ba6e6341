"""A visitor's own RL-Mix policy: loaded once, it chooses the percentiles of every pair."""

import hashlib

import streamlit as st
from torch import Tensor

from mixviz.ui import state
from mixviz.ui.workbench import Bench
from mixviz.zoo import CheckpointError
from mixviz.zoo.policy import Policy, choose_percentiles, load_policy


def own() -> tuple[str, Policy] | None:
    """Return the name and the policy that this visitor loaded; it lives as long as the session."""
    held: tuple[str, Policy] | None = st.session_state.get("policy")
    return held


def stamp() -> str | None:
    """Return what results of the policy are remembered by."""
    held = own()
    return held[0] if held else None


def choose(bench: Bench) -> tuple[Tensor, Tensor] | None:
    """Return what the policy chooses for both pictures; None without one that fits."""
    held = own()
    if held is None or held[1].classes != len(bench.seen.class_names):
        return None
    pair = bench.seen.pair
    return (
        choose_percentiles(held[1], pair.s0, bench.seen.a.explanation.logits),
        choose_percentiles(held[1], pair.s1, bench.seen.b.explanation.logits),
    )


def _take(classes: int) -> None:
    turn = st.session_state.setdefault("policy-turn", 0)
    file = st.session_state.get(f"policy-{turn}")
    if file is None:
        return
    st.session_state["policy-turn"] = turn + 1
    data = file.getvalue()
    try:
        policy = load_policy(data, classes)
    except CheckpointError as problem:
        state.notify(str(problem))
        return
    st.session_state["policy"] = (hashlib.sha256(data).hexdigest()[:16], policy)


def _forget() -> None:
    st.session_state.pop("policy", None)


def ask(classes: int) -> None:
    """Draw the uploader, or what is loaded."""
    with st.expander("A trained policy instead of the search"):
        if own() is not None:
            st.caption("A policy is loaded; Compare uses it too. It stays in your session.")
            st.button("Forget it", key="policy-forget", on_click=_forget)
            return
        turn = st.session_state.setdefault("policy-turn", 0)
        st.file_uploader(
            "Weights (.safetensors) of an actor named as Stable-Baselines3 names an MlpPolicy’s",
            key=f"policy-{turn}",
            on_change=_take,
            args=(classes,),
            help=f"It sees 8×8 saliency and {classes} logits, and scores ten percentiles.",
        )
        st.caption(
            "`python -m mixviz.train --method rl_mix` trains one beside a classifier and writes it "
            "as `NAME.policy.safetensors`."
        )
