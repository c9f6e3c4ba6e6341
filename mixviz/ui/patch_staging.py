"""From traces of R-Mix to the stage, and into words. Tensors become arrays here."""

from collections.abc import Iterable, Mapping

import numpy as np
import torch

from mixviz.core.blocks import grow
from mixviz.core.types import Pair
from mixviz.detectors import Finding
from mixviz.methods.r_mix import CASES, STRATEGIES, RMixParams, RMixTrace
from mixviz.stage import CardRow, Guide, PixelScene
from mixviz.ui.pixel_staging import DrawnPixels, pixel_scene
from mixviz.ui.staging import notices

CASE_WORDS: Mapping[str, str] = {
    "least_least": "least–least",
    "top_1": "least A, top B",
    "top_0": "top A, least B",
    "top_top": "top–top",
}


def rule_words(share: float | None) -> str:
    """Say what the mask does where it gives B this share; None stands for λ."""
    return "blended" if share is None else "B shows" if share else "A shows"


def counts(trace: RMixTrace, patches: int) -> dict[str, int]:
    """Return how many patches are in each of `CASES`; the trace has a batch of 1."""
    return {name: round(float(trace.label[name][0]) * patches**2) for name in CASES}


def takes_lam(params: RMixParams) -> bool:
    """Say whether the strategy uses λ at all."""
    return None in STRATEGIES[params.strategy].shares


def describe(trace: RMixTrace, params: RMixParams) -> str:
    """Say what the picture shows; {lam} and {weight} are left to the stage."""
    found, shares = counts(trace, params.num_patches), STRATEGIES[params.strategy].shares
    total = params.num_patches**2
    by_share = {
        share: sum(found[name] for name, s in zip(CASES, shares, strict=True) if s == share)
        for share in (None, 0.0, 1.0)
    }
    blended = f"{by_share[None]} take λ = {{lam}}, " if takes_lam(params) else ""
    return (
        f"Of {total} patches, {blended}A alone shows in {by_share[0.0]}, B alone in "
        f"{by_share[1.0]}: B gets {{weight}} of the label."
    )


def r_mix_scene(
    key: str,
    drawn: DrawnPixels,
    pair: Pair,
    trace: RMixTrace,
    params: RMixParams,
    findings: Iterable[Finding] = (),
) -> PixelScene:
    """Say what R-Mix made of one pair; the trace has a batch of 1.

    Args:
        key: names the pictures and every knob but λ.
        drawn: the pictures and their saliency, in as many cells as there are patches.
        pair: the pictures and their saliency.
        trace: what the method did.
        params: how.
        findings: what detectors found.
    """
    shares = STRATEGIES[params.strategy].shares
    size, n, cases = trace.mask.shape[-1], params.num_patches, trace.cases
    by_lam = torch.tensor([float(share is None) for share in shares])[cases]
    fixed = torch.tensor([share or 0.0 for share in shares])[cases]
    at = cases[0].numpy().astype(np.float32)
    rows = []
    for letter, q, blocks, threshold in (
        ("A", "q₀", trace.blocks_0, trace.threshold_0),
        ("B", "q₁", trace.blocks_1, trace.threshold_1),
    ):
        limit = np.full((n, n), float(threshold[0]), np.float32)
        rows += [
            CardRow(f"saliency of {letter}", blocks[0].float().numpy(), "percent"),
            CardRow(f"threshold of {letter} ({q})", limit, "percent"),
        ]
    said = []
    for name, share in zip(CASES, shares, strict=True):
        mask = "takes λ\u00a0=\u00a0{lam}" if share is None else f"is {share:g}"
        said.append(f"{CASE_WORDS[name].capitalize()}: {rule_words(share)}, the mask {mask}.")
    captions = [f"{int(top.sum())} of {n * n}" for top in (trace.top_0, trace.top_1)]
    return pixel_scene(
        key,
        drawn,
        (pair.s0, pair.s1),
        grow(fixed, size)[0],
        grow(by_lam, size)[0] > 0,
        Guide(
            "Top patches",
            trace.top_0[0].numpy(),
            trace.top_1[0].numpy(),
            "chosen",
            (captions[0], captions[1]),
        ),
        "recomputed" if takes_lam(params) else "independent",
        (
            *rows,
            CardRow("case", at, "label", tuple(CASE_WORDS[name] for name in CASES)),
            CardRow("", at, "words", tuple(said)),
        ),
        describe(trace, params),
        notices(findings),
    )
