"""The code that a page offers runs, and mixes as the page does."""

import pytest
import torch

from mixviz.core.saliency import explain
from mixviz.core.types import Pair
from mixviz.methods import METHODS
from mixviz.methods.puzzle_mix import PuzzleMixParams
from mixviz.methods.r_mix import RMixParams
from mixviz.networks import preact_resnet18
from mixviz.ui.as_code import write_code


@pytest.mark.parametrize(
    ("slug", "params"),
    [
        ("puzzle_mix", PuzzleMixParams(lam=0.3, grid=4, mask_solver="swap")),
        ("puzzle_mix", PuzzleMixParams(grid=4, nu0=1, seed=3)),
        ("r_mix", RMixParams(lam=0.25, num_patches=2, strategy="4")),
    ],
)
def test_the_code_on_the_page_mixes_alike(slug, params):
    torch.manual_seed(0)
    classifier = preact_resnet18(3, width=4).eval()
    x, y = torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 2, 1])
    code = write_code(METHODS[slug], params)
    known = {"x": x, "y": y, "classifier": classifier}
    exec(compile(code, "page", "exec"), known)
    partner, trace = known["partner"], known["trace"]
    seen = explain(classifier, x, y)
    s, g = seen.saliency, seen.gradient
    pair = Pair(x, x[partner], s, s[partner], g0=g, g1=g[partner])
    expected = METHODS[slug].mix(pair, params)
    assert torch.equal(trace.mixed, expected.mixed)
    one_hot = torch.eye(3)
    soft = trace.weights[:, :1] * one_hot[y] + trace.weights[:, 1:] * one_hot[y[partner]]
    wanted = torch.nn.functional.cross_entropy(classifier(trace.mixed), soft)
    torch.testing.assert_close(known["loss"], wanted)


def test_only_what_differs_is_written():
    assert "RMixParams()" in write_code(METHODS["r_mix"], RMixParams())
    assert "RMixParams(q0=0.99)" in write_code(METHODS["r_mix"], RMixParams(q0=0.99))
    assert "g0" not in write_code(METHODS["r_mix"], RMixParams())
