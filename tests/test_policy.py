"""RL-Mix's agent from a file: what it sees, what it chooses, and what is refused in words."""

import pytest
import torch
from safetensors.torch import save

from mixviz.core.percentiles import percentile_choices
from mixviz.zoo import CheckpointError
from mixviz.zoo.policy import choose_percentiles, load_policy, observe

CLASSES = 5


def tensors(classes=CLASSES, widths=(16, 12), seed=0, **changed):
    """Weights as Stable-Baselines3 names them, the critic's among them."""
    rng = torch.Generator().manual_seed(seed)
    shapes = {
        "mlp_extractor.policy_net.0.weight": (widths[0], 64 + classes),
        "mlp_extractor.policy_net.0.bias": (widths[0],),
        "mlp_extractor.policy_net.2.weight": (widths[1], widths[0]),
        "mlp_extractor.policy_net.2.bias": (widths[1],),
        "mlp_extractor.value_net.0.weight": (7, 64 + classes),
        "action_net.weight": (10, widths[1]),
        "action_net.bias": (10,),
        "value_net.weight": (1, 7),
    }
    found = {name: torch.randn(shape, generator=rng) for name, shape in shapes.items()}
    return {name: value for name, value in (found | changed).items() if value is not None}


def seen(batch=6, classes=CLASSES, seed=1):
    rng = torch.Generator().manual_seed(seed)
    return (
        torch.rand((batch, 32, 32), generator=rng) ** 2,
        torch.randn((batch, classes), generator=rng),
    )


def test_the_choice_is_that_of_the_network_written_out():
    weights = tensors()
    saliency, logits = seen()
    blocks = saliency.view(6, 8, 4, 8, 4).mean((2, 4))
    state = torch.cat((blocks.flatten(1) / blocks.mean((1, 2))[:, None], logits), 1)
    hidden = state
    for layer in (0, 2):
        name = f"mlp_extractor.policy_net.{layer}"
        hidden = torch.tanh(hidden @ weights[f"{name}.weight"].T + weights[f"{name}.bias"])
    scores = hidden @ weights["action_net.weight"].T + weights["action_net.bias"]
    policy = load_policy(save(weights), CLASSES)
    found = choose_percentiles(policy, saliency, logits)
    assert torch.equal(found, percentile_choices()[scores.argmax(1)])
    assert len(set(found.tolist())) > 1
    torch.testing.assert_close(policy(observe(saliency, logits)), scores)


def test_a_batch_is_its_items_and_scale_of_saliency_is_nothing():
    policy = load_policy(save(tensors()), CLASSES)
    saliency, logits = seen()
    whole = choose_percentiles(policy, saliency, logits)
    single = [
        choose_percentiles(policy, s[None], y[None]) for s, y in zip(saliency, logits, strict=True)
    ]
    assert torch.equal(whole, torch.cat(single))
    assert torch.equal(whole, choose_percentiles(policy, saliency * 1e-6, logits))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"action_net.weight": None}, "'action_net.weight' is missing"),
        ({"action_net.bias": torch.zeros(9)}, r"has shape \(9\)"),
        ({"mlp_extractor.policy_net.0.weight": None}, "Stable-Baselines3"),
        ({"mlp_extractor.policy_net.0.weight": torch.zeros(16, 64)}, "for 5 classes"),
        ({"mlp_extractor.policy_net.2.weight": torch.zeros(0, 16)}, "1 to 1024 rows"),
        ({"mlp_extractor.policy_net.0.bias": torch.full((16,), float("nan"))}, "NaN"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(changed, words):
    with pytest.raises(CheckpointError, match=words):
        load_policy(save(tensors(**changed)), CLASSES)


@pytest.mark.parametrize("data", [b"", b"not a policy", b"\x80\x04pickle"])
def test_what_is_no_safetensors_file_is_refused(data):
    with pytest.raises(CheckpointError):
        load_policy(data, CLASSES)


def test_another_classifier_is_refused():
    policy = load_policy(save(tensors()), CLASSES)
    saliency, _ = seen()
    with pytest.raises(ValueError, match="5 classes, the classifier has 6"):
        choose_percentiles(policy, saliency, torch.zeros(6, 6))


def test_nan_is_refused():
    policy = load_policy(save(tensors()), CLASSES)
    saliency, logits = seen()
    saliency[0, 3, 3] = float("nan")
    with pytest.raises(ValueError, match="saliency"):
        choose_percentiles(policy, saliency, logits)
