import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from mixviz.augment import Mix, mixable, soften
from mixviz.core.pairing import pair_batch
from mixviz.core.saliency import explain, spectral_residual
from mixviz.core.types import Pair
from mixviz.methods import METHODS
from mixviz.methods.base import draw
from mixviz.methods.guidedmixup import GuidedMixupParams, blur
from mixviz.networks import preact_resnet18
from mixviz.zoo.classifier import Classifier
from mixviz.zoo.layers import class_activation

BATCH, SIDE = 6, 32


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def chance(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(classes: int = BATCH) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return preact_resnet18(classes, width=4)


def pictures() -> Tensor:
    """Blobs on noise, in whole 256ths, so that a normalisation by powers of two is exact."""
    noise = torch.rand(BATCH, 3, SIDE, SIDE, generator=chance(1)) * 0.4
    for item in range(BATCH):
        left, top = 5 * item % 20, 7 * item % 22
        noise[item, item % 3, top : top + 9, left : left + 9] += 0.5
    return (noise * 256).floor() / 256


# Every image has its own class, so the mixed labels tell who was mixed with whom.
LABELS = torch.arange(BATCH)


def mix_of(slug: str, **more: Any) -> Mix:
    given = {"num_classes": BATCH, "classifier": network(), "generator": chance()} | more
    return Mix(slug, **given)


def drawn(slug: str, seed: int = 3) -> tuple[Any, Tensor]:
    """Parameters and partners as a `Mix` with this seed draws them."""
    generator = chance(seed)
    params = draw(METHODS[slug], generator, BATCH)
    return params, torch.randperm(BATCH, generator=generator)


# Against torchvision ----------------------------------------------------------------------------


class Share:
    """A stand-in for the Beta distribution of torchvision's transforms."""

    def __init__(self, share: float) -> None:
        self.share = share

    def sample(self, shape: tuple[int, ...]) -> Tensor:
        return torch.tensor([self.share], dtype=torch.float64)


@pytest.mark.parametrize(("slug", "oracle"), [("input_mixup", v2.MixUp), ("cutmix", v2.CutMix)])
def test_images_and_labels_are_torchvisions_given_the_same_draws(
    slug: str, oracle: type[v2.MixUp] | type[v2.CutMix], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pictures()
    mixed, soft = Mix(slug, num_classes=BATCH, generator=chance())(images, LABELS)
    params, partner = drawn(slug)
    for item in range(BATCH):
        theirs = oracle(num_classes=BATCH)
        # Their λ is the share of the image itself; its partner is the one before it.
        theirs._dist = Share(1 - params.lam[item].item())
        if slug == "cutmix":
            places = [params.centre_x[item], params.centre_y[item]]
            pixels = iter([(place * SIDE).long()[None] for place in places])
            monkeypatch.setattr(torch, "randint", lambda *_a, _p=pixels, **_k: next(_p))
        both = torch.stack((partner[item], torch.tensor(item)))
        expected, labels = theirs(images[both], LABELS[both])
        torch.testing.assert_close(mixed[item], expected[1], atol=1e-6, rtol=0)
        torch.testing.assert_close(soft[item], labels[1], atol=1e-6, rtol=0)
        monkeypatch.undo()


# Every method -----------------------------------------------------------------------------------


def test_every_method_is_taken_or_refused_in_a_sentence() -> None:
    assert {"input_mixup", "cutmix", "snapmix", "puzzle_mix", "guidedmixup"} <= set(mixable())
    for slug in METHODS:
        if slug not in mixable():
            with pytest.raises(ValueError, match=rf"{slug} reads .* cannot fill"):
                mix_of(slug)


@pytest.mark.parametrize("slug", mixable())
def test_a_batch_is_mixed_with_its_partners_and_weights(slug: str) -> None:
    images = pictures()
    before = images.clone()
    mixed, soft = mix_of(slug)(images, LABELS)
    assert torch.equal(images, before)
    assert (mixed.shape, mixed.dtype, soft.shape) == (images.shape, images.dtype, (BATCH, BATCH))
    assert mixed.min() >= 0
    assert mixed.max() <= 1
    assert not torch.equal(mixed, images)
    _, partner = drawn(slug)
    foreign = torch.ones_like(soft).scatter_(1, torch.stack((LABELS, partner), 1), 0)
    assert (soft >= 0).all()
    assert (soft * foreign == 0).all()
    if slug == "snapmix":  # its weights follow the activation in either box
        assert soft.sum(1).max() < 2
    else:
        torch.testing.assert_close(soft.sum(1), torch.ones(BATCH))


@pytest.mark.parametrize("slug", mixable())
def test_the_generator_alone_decides(slug: str) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, second, other = (
        mix_of(slug, generator=chance(seed))(pictures(), LABELS) for seed in (3, 3, 4)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("slug", mixable())
def test_the_classifier_stays_as_it_was(slug: str) -> None:
    classifier = network().train()
    classifier.stages[1].eval()
    modes = [module.training for module in classifier.modules()]
    state = copy.deepcopy(classifier.state_dict())
    mixed, soft = mix_of(slug, classifier=classifier)(pictures(), LABELS)
    assert [module.training for module in classifier.modules()] == modes
    for name, tensor in classifier.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    assert all(p.grad is None and p.requires_grad for p in classifier.parameters())
    assert not mixed.requires_grad
    assert not soft.requires_grad


@pytest.mark.parametrize("slug", mixable())
def test_normalised_images_are_mixed_as_the_images_themselves(slug: str) -> None:
    mean, std = (0.5, 0.25, 0.5), (0.25, 0.5, 0.25)
    scale = torch.tensor([mean, std]).view(2, 1, 3, 1, 1)
    inner = network()

    class OfPictures(nn.Module):
        head = inner.head

        def features(self, x: Tensor) -> Tensor:
            return inner.features((x - scale[0]) / scale[1])

        def forward(self, x: Tensor) -> Tensor:
            return inner((x - scale[0]) / scale[1])

    inner.eval()
    plain, weights = mix_of(slug, classifier=OfPictures())(pictures(), LABELS)
    normalised, same = mix_of(slug, classifier=inner, mean=mean, std=std)(
        (pictures() - scale[0]) / scale[1], LABELS
    )
    assert torch.equal(weights, same)
    assert torch.equal(normalised, (plain - scale[0]) / scale[1])


# What guides ------------------------------------------------------------------------------------


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = network()
        self.batches: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.batches.append(len(x))
        return self.inner(x)


@pytest.mark.parametrize(
    ("slug", "more", "looks"),
    [
        ("input_mixup", {}, []),
        ("puzzle_mix", {}, [BATCH]),
        ("guidedmixup", {"pairing": "greedy"}, [BATCH]),
        ("guidedmixup", {"pairing": "greedy", "saliency": "spectral_residual"}, []),
        ("puzzle_mix", {"params": {"nu0": 1}}, [2 * BATCH]),
        ("cutmix", {"pairing": "improved"}, [BATCH]),
    ],
)
def test_one_look_serves_the_whole_batch(slug: str, more: dict[str, Any], looks: list[int]) -> None:
    classifier = Counting()
    mix_of(slug, classifier=classifier, **more)(pictures(), LABELS)
    assert classifier.batches == looks


@pytest.mark.parametrize("solver", ["greedy", "improved", "exact"])
def test_partners_by_saliency_are_those_of_guidedmixup(solver: str) -> None:
    images = pictures()
    mix = Mix("guidedmixup", num_classes=BATCH, pairing=solver, saliency="spectral_residual")
    _, soft = mix(images, LABELS)
    maps = blur("maps", spectral_residual(images), GuidedMixupParams())
    expected = pair_batch(maps, solver).partner
    assert (soft.gather(1, expected[:, None]) > 0).all()
    assert ((soft > 0).sum(1) == 2).all()


def test_saliency_is_that_of_the_classifier_at_the_labels() -> None:
    images, classifier = pictures(), network().eval()
    labels = torch.tensor([5, 4, 3, 2, 1, 0])
    mixed, _ = mix_of("guidedmixup", classifier=classifier)(images, labels)
    _, partner = drawn("guidedmixup")
    s = explain(classifier, images, labels).saliency
    pair = Pair(images, images[partner], s, s[partner])
    assert torch.equal(mixed, METHODS["guidedmixup"].mix(pair, GuidedMixupParams()).mixed)


@pytest.mark.parametrize("saliency", ["gradient", "spectral_residual"])
def test_an_attack_is_led_by_the_gradient_under_its_own_noise(saliency: str) -> None:
    images, classifier = pictures(), network().eval()
    fixed = {"nu0": 1, "nu1": 1, "grid": 4, "lam": 0.5, "seed": 7}
    mixed, _ = mix_of("puzzle_mix", classifier=classifier, params=fixed, saliency=saliency)(
        images, LABELS
    )
    method = METHODS["puzzle_mix"]
    params, (_, partner) = method.params(**fixed), drawn("puzzle_mix")
    both = (images, images[partner])
    noise = method.noise(both, params)
    assert noise is not None
    seen = [
        explain(classifier, x + kappa, y)
        for x, kappa, y in zip(both, noise, (LABELS, partner), strict=True)
    ]
    by_gradient = saliency == "gradient"
    s0, s1 = (
        look.saliency if by_gradient else spectral_residual(x + kappa)
        for look, x, kappa in zip(seen, both, noise, strict=True)
    )
    pair = Pair(*both, s0, s1, g0=seen[0].gradient, g1=seen[1].gradient)
    torch.testing.assert_close(mixed, method.mix(pair, params).mixed)
    assert not torch.allclose(
        mixed, mix_of("puzzle_mix", params=fixed | {"nu0": 0})(images, LABELS)[0]
    )


def test_class_activation_is_that_of_the_zoo() -> None:
    inner = network().train()
    mix = mix_of("snapmix", classifier=inner)
    assert mix._classifier is not None
    ours = mix._classifier.activation(pictures(), LABELS)
    names = [str(label) for label in range(BATCH)]
    frozen = Classifier(
        copy.deepcopy(inner),
        slug="x",
        title="x",
        input_size=SIDE,
        class_names=names,
        mean=(0, 0, 0),
        std=(1, 1, 1),
    )
    torch.testing.assert_close(ours, class_activation(frozen, pictures(), LABELS))


def test_somebodys_autocast_reaches_the_classifier_alone() -> None:
    plain, _ = mix_of("guidedmixup", pairing="greedy")(pictures(), LABELS)
    with torch.autocast("cpu", torch.bfloat16):
        inside, _ = mix_of("guidedmixup", pairing="greedy")(pictures(), LABELS)
    assert torch.equal(plain, inside)
    coarse, _ = mix_of("guidedmixup", precision=torch.bfloat16)(pictures(), LABELS)
    fine, _ = mix_of("guidedmixup")(pictures(), LABELS)
    assert coarse.dtype == torch.float32
    assert 0 < (coarse - fine).abs().max() < 0.2


# Chance, labels, numbers ------------------------------------------------------------------------


def test_prob_is_the_share_of_batches_that_are_mixed() -> None:
    images, labels = pictures()[:2, :, :4, :4], torch.tensor([0, 1])
    mix = Mix("input_mixup", num_classes=3, prob=0.3, generator=chance())
    untouched = 0
    for _ in range(300):
        mixed, soft = mix(images, labels)
        if mixed is images:
            untouched += 1
            assert torch.equal(soft, torch.eye(3)[:2])
    assert 170 <= untouched <= 250
    never = Mix("input_mixup", num_classes=3, prob=0.0)
    assert all(never(images, labels)[0] is images for _ in range(20))


def test_equal_labels_add_up() -> None:
    weights = torch.tensor([[0.25, 0.75], [0.5, 0.75]])
    soft = soften(torch.tensor([1, 2]), torch.tensor([0, 2]), weights, 3)
    assert torch.equal(soft, torch.tensor([[0.75, 0.25, 0.0], [0.0, 0.0, 1.25]]))


def test_params_hold_what_is_not_to_be_drawn_and_alpha_what_is() -> None:
    fixed = mix_of("input_mixup", params={"lam": 0.25})(pictures(), LABELS)[1]
    assert set(fixed.unique().tolist()) <= {0.0, 0.25, 0.75, 1.0}
    narrow = mix_of("input_mixup", alpha=1e4, generator=chance())(pictures(), LABELS)[1]
    assert (narrow.amax(1) < 0.55).logical_or(narrow.amax(1) == 1).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_images_keep_their_dtype(dtype: torch.dtype) -> None:
    mixed, soft = Mix("input_mixup", num_classes=BATCH)(pictures().to(dtype), LABELS.int())
    assert mixed.dtype == dtype
    assert soft.shape == (BATCH, BATCH)


# Sentences --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slug", "more", "sentence"),
    [
        ("mixup", {}, "method must be one of input_mixup, .*, got 'mixup'"),
        ("input_mixup", {"num_classes": 0}, "num_classes must be at least 1, got 0"),
        ("input_mixup", {"pairing": "best"}, "pairing must be one of greedy, .* got 'best'"),
        ("input_mixup", {"saliency": "cam"}, "saliency must be one of gradient, .* got 'cam'"),
        ("input_mixup", {"alpha": 0.0}, "alpha must be positive, got 0"),
        ("input_mixup", {"prob": 1.5}, r"prob must lie in \[0, 1\], got 1.5"),
        ("input_mixup", {"params": {"lamb": 1}}, "input_mixup has no parameter 'lamb'; it has lam"),
        ("input_mixup", {"params": {"lam": 2.0}}, r"lam \(λ\) must lie in \[0, 1\]"),
        ("input_mixup", {"mean": (0.5, 0.5, 0.5)}, "mean and std come together"),
        ("input_mixup", {"mean": (0, 0, 0), "std": (1, 0, 1)}, "std positive"),
        ("puzzle_mix", {"classifier": None}, "guided by saliency: give classifier="),
        ("cutmix", {"classifier": None, "pairing": "greedy"}, "with greedy pairing is guided"),
        ("snapmix", {"classifier": None}, "guided by class activation: give classifier="),
        ("snapmix", {"classifier": nn.Flatten()}, "a linear head after the average pool"),
    ],
)
def test_wrong_settings_are_told(slug: str, more: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        mix_of(slug, **more)


@pytest.mark.parametrize(
    ("images", "labels", "sentence"),
    [
        (torch.rand(3, 8, 8), LABELS, r"images must be \(b, 3, h, h\), got \(3, 8, 8\)"),
        (torch.rand(2, 3, 8, 4), LABELS[:2], r"got \(2, 3, 8, 4\)"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), LABELS[:2], "torch.uint8: divide by 255"),
        (torch.full((2, 3, 8, 8), 2.0), LABELS[:2], r"images must lie in \[0, 1\], got .* to 2 "),
        (
            torch.full((2, 3, 8, 8), torch.nan),
            LABELS[:2],
            r"images must lie in \[0, 1\], got .*nan",
        ),
        (torch.rand(2, 3, 8, 8), LABELS[:3], r"one class index per image, \(2,\) .* got \(3,\)"),
        (torch.rand(2, 3, 8, 8), torch.rand(2), "whole numbers, got .* of torch.float32"),
        (torch.rand(2, 3, 8, 8), torch.eye(BATCH)[:2], r"got \(2, 6\)"),
        (torch.rand(2, 3, 8, 8), torch.tensor([0, 6]), r"labels must lie in \[0, 5\] .* 0 to 6"),
        (torch.rand(2, 3, 8, 8), torch.tensor([-1, 0]), r"labels must lie in \[0, 5\]"),
        (torch.rand(0, 3, 8, 8), LABELS[:0], "images must not be empty"),
    ],
)
def test_wrong_batches_are_told(images: Tensor, labels: Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Mix("input_mixup", num_classes=BATCH)(images, labels)


def test_a_normalisation_that_does_not_fit_is_told() -> None:
    mix = Mix("input_mixup", num_classes=BATCH, mean=(0.5,) * 3, std=(0.2,) * 3)
    with pytest.raises(ValueError, match=r"\[0, 1\] once mean and std are undone"):
        mix(torch.full((2, 3, 8, 8), 9.0), LABELS[:2])


def test_one_image_cannot_be_paired_by_saliency() -> None:
    with pytest.raises(ValueError, match="pairing needs two images or more, got 1"):
        mix_of("guidedmixup", pairing="greedy")(pictures()[:1], LABELS[:1])
