import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from mixviz import augment as module_of_mix
from mixviz.augment import SEEDS, Mix, MixInside, defaults, mixable, mixable_inside, soften
from mixviz.core import saliency
from mixviz.core.pairing import pair_batch
from mixviz.core.saliency import explain, spectral_residual
from mixviz.core.types import Pair
from mixviz.methods import BATCH_METHODS, METHODS, guidedmixup
from mixviz.methods.augmix import AugMixParams, augment
from mixviz.methods.guidedmixup import GuidedMixupParams, blur
from mixviz.methods.variants import VARIANTS
from mixviz.networks import NETWORKS, default_options, preact_resnet18
from mixviz.zoo.classifier import Classifier
from mixviz.zoo.layers import Pieces, class_activation

BATCH, SIDE = 6, 32


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def chance(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(classes: int = BATCH) -> Any:
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
    method = VARIANTS[slug].method if slug in VARIANTS else METHODS[slug]
    params = method.draw(generator, BATCH, method.alpha)
    if slug.endswith("_aug"):
        torch.randint(SEEDS, (BATCH,), generator=generator)
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


PAIRWISE = tuple(slug for slug in mixable() if slug not in BATCH_METHODS)


def test_all_that_the_tables_name_is_taken_or_refused_in_a_sentence() -> None:
    assert mixable_inside() == ("manifold_mixup",)
    taken = set(mixable()) | set(mixable_inside())
    assert {*METHODS, *BATCH_METHODS, *VARIANTS} - taken == {"rl_mix"}
    assert taken <= {*METHODS, *BATCH_METHODS, *VARIANTS}
    with pytest.raises(ValueError, match=r"rl_mix reads q0, q1 of a pair, .* cannot fill"):
        mix_of("rl_mix")
    with pytest.raises(ValueError, match="manifold_mixup mixes inside the network: use MixInside"):
        mix_of("manifold_mixup")


def test_defaults_are_those_of_the_mixes_themselves() -> None:
    for slug in mixable():
        usual, mix = defaults(slug), mix_of(slug)
        assert usual.saliency in (None, mix.saliency)
        assert usual.alpha in (None, mix.method.alpha)
        alone = slug in BATCH_METHODS or mix.method.contract == "single"
        assert usual.pairing == (None if alone else "random")
        if slug not in BATCH_METHODS:
            assert defaults(slug, "greedy").saliency == mix.saliency
    assert (defaults("cutmix").saliency, defaults("puzzle_mix").saliency) == (None, "gradient")
    assert defaults("guided_ap").alpha is defaults("cutout").alpha is None
    assert defaults("guided_sr").saliency == "spectral_residual"
    assert (defaults("manifold_mixup").pairing, defaults("manifold_mixup").alpha) == (None, 2.0)
    with pytest.raises(ValueError, match="rl_mix reads q0, q1"):
        defaults("rl_mix")


@pytest.mark.parametrize("slug", PAIRWISE)
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


def test_comixup_mixes_the_batch_and_its_labels_alike() -> None:
    images, classifier = pictures(), network().eval()
    labels = torch.tensor([0, 1, 2, 2, 1, 3])
    mixed, soft = mix_of("comixup", classifier=classifier)(images, labels)
    method = BATCH_METHODS["comixup"]
    s = explain(classifier, images, labels).saliency
    trace = method.mix(images, s, method.draw(chance(), BATCH, method.alpha))
    assert torch.equal(mixed, trace.mixed)
    expected = trace.labels @ nn.functional.one_hot(labels, BATCH).to(trace.labels)
    torch.testing.assert_close(soft, expected.to(soft))
    assert soft.dtype == torch.float32
    assert not torch.equal(mixed, images)


@pytest.mark.parametrize(
    ("slug", "method", "fixed"),
    [
        ("puzzle_binary", "puzzle_mix", {"levels": 1}),
        ("puzzle_mask", "puzzle_mix", {"transport": False}),
        ("puzzle_adv", "puzzle_mix", {"nu0": 1, "nu1": 0, "delta": 0.5}),
        ("guided_ap", "guidedmixup", {}),
    ],
)
def test_a_variant_is_its_method_with_something_fixed(
    slug: str, method: str, fixed: dict[str, Any]
) -> None:
    ours = mix_of(slug)(pictures(), LABELS)
    theirs = mix_of(method, params=fixed)(pictures(), LABELS)
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])


def test_spectral_residual_is_what_sr_means() -> None:
    ours = Mix("guided_sr", num_classes=BATCH, generator=chance())(pictures(), LABELS)
    theirs = mix_of("guidedmixup", saliency="spectral_residual")(pictures(), LABELS)
    assert torch.equal(ours[0], theirs[0])


@pytest.mark.parametrize(("slug", "method"), [("guided_aug", "guidedmixup")])
def test_pictures_are_augmented_first_each_by_a_seed_of_its_own(slug: str, method: str) -> None:
    classifier = network().eval()
    mixed, soft = mix_of(slug, classifier=classifier)(pictures(), LABELS)
    generator = chance()
    seeds = torch.randint(SEEDS, (BATCH,), generator=generator)
    first = augment(pictures(), AugMixParams(seed=seeds)).mixed
    assert not torch.equal(first, pictures())
    partner = torch.randperm(BATCH, generator=generator)
    s = explain(classifier, first, LABELS).saliency
    pair = Pair(first, first[partner], s, s[partner])
    trace = METHODS[method].mix(pair, GuidedMixupParams())
    torch.testing.assert_close(mixed, trace.mixed)
    torch.testing.assert_close(soft, soften(LABELS, LABELS[partner], trace.weights, BATCH))


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
    mixed, _ = mix_of("puzzle_mix", classifier=classifier)(images, labels)
    params, partner = drawn("puzzle_mix")
    look = explain(classifier, images, labels)
    s, g = look.saliency, look.gradient
    pair = Pair(images, images[partner], s, s[partner], g0=g, g1=g[partner])
    assert torch.equal(mixed, METHODS["puzzle_mix"].mix(pair, params).mixed)


@pytest.mark.parametrize("pairing", ["random", "greedy"])
@pytest.mark.parametrize("fixed", [{}, {"blur_kernel": 3, "blur_sigma": 1.0}, {"blur_kernel": 1}])
def test_maps_blurred_once_mix_as_maps_blurred_in_every_pair(
    pairing: str, fixed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pictures()
    calls: list[int] = []
    once = saliency.gaussian_blur

    def counting(maps: Tensor, kernel: int, sigma: float) -> Tensor:
        calls.append(kernel)
        return once(maps, kernel, sigma)

    monkeypatch.setattr(guidedmixup, "gaussian_blur", counting)
    mix = Mix("guided_sr", num_classes=BATCH, pairing=pairing, params=fixed, generator=chance())
    mixed, soft = mix(images, LABELS)
    params = GuidedMixupParams(**fixed)
    assert calls == [params.blur_kernel] * (params.blur_kernel > 1)
    s = spectral_residual(images)
    _, partner = drawn("guided_sr")
    if pairing != "random":
        partner = pair_batch(blur("maps", s, params), pairing).partner
    trace = METHODS["guidedmixup"].mix(Pair(images, images[partner], s, s[partner]), params)
    assert torch.equal(mixed, trace.mixed)
    assert torch.equal(soft, soften(LABELS, LABELS[partner], trace.weights, BATCH))


class Blind(nn.Module):
    """Answers NaN, as a network whose training has failed."""

    def forward(self, x: Tensor) -> Tensor:
        return x.new_full((len(x), BATCH), torch.nan) * x.mean()


@pytest.mark.parametrize("slug", ["puzzle_mix", "guidedmixup", "guided_aug", "comixup"])
def test_a_classifier_that_answers_nan_guides_nothing(slug: str) -> None:
    with pytest.raises(ValueError, match="logits must be finite"):
        mix_of(slug, classifier=Blind())(pictures(), LABELS)


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


@pytest.mark.parametrize("pairing", ["random", "greedy"])
def test_saliency_that_is_not_finite_is_refused_after_one_blur(
    pairing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(images: Tensor) -> Tensor:
        maps = spectral_residual(images)
        maps[2, 3, 4] = torch.nan
        return maps

    monkeypatch.setattr(module_of_mix, "spectral_residual", spoilt)
    with pytest.raises(ValueError, match=r"saliency must be finite, got nan"):
        mix_of("guided_sr", pairing=pairing)(pictures(), LABELS)


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
        ("puzzle_binary", {"params": {"levels": 2}}, "puzzle_binary fixes levels = 1, got 2"),
        ("guided_sr", {"saliency": "gradient"}, "saliency of guided_sr is spectral_residual, got"),
        ("comixup", {"pairing": "random"}, "whole batch at once: pairing does not apply, got 'ra"),
        ("comixup", {"classifier": None}, "comixup is guided by saliency: give classifier="),
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


# Inside the network -----------------------------------------------------------------------------


def normalised_batch() -> tuple[Tensor, Tensor]:
    return torch.randn(BATCH, 3, SIDE, SIDE, generator=chance(7)), LABELS


@pytest.mark.parametrize("layer", [0, 1, 2, 4])
def test_logits_are_those_of_mixed_features_and_labels_of_the_same_share(layer: int) -> None:
    inner = network().train()
    other = copy.deepcopy(inner)
    images, labels = normalised_batch()
    mix = MixInside(inner, num_classes=BATCH, params={"layer": layer}, generator=chance())
    logits, soft = mix(images, labels)
    params, partner = drawn("manifold_mixup")
    share = params.lam.float()

    def mixed(x: Tensor) -> Tensor:
        return torch.lerp(x, x[partner], share[:, None, None, None])

    # Forward by hand, in training mode: norms see what is there at their place.
    x = mixed(images) if layer == 0 else images
    x = other.stem(x)
    for index, stage in enumerate(other.stages, start=1):
        x = mixed(stage(x)) if index == layer else stage(x)
    expected = other.head(other.finish(x).mean((2, 3)))
    torch.testing.assert_close(logits, expected)
    weights = torch.stack((1 - share, share), 1)
    torch.testing.assert_close(soft, soften(labels, labels[partner], weights, BATCH))
    for name, tensor in inner.state_dict().items():
        torch.testing.assert_close(tensor, other.state_dict()[name], msg=name)
    logits.sum().backward()
    # The stem learns through the mix; the images themselves ask for no gradient.
    assert inner.stem.weight.grad.abs().sum() > 0
    assert not soft.requires_grad


def test_the_layer_is_drawn_for_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = network().eval()
    images, labels = normalised_batch()
    layers: list[int] = []
    before = Pieces.before

    def noting(pieces: Pieces, layer: int, x: Tensor) -> Tensor:
        layers.append(layer)
        return before(pieces, layer, x)

    monkeypatch.setattr(Pieces, "before", noting)
    mix = MixInside(inner, num_classes=BATCH, generator=chance())
    for _ in range(20):
        assert mix(images, labels)[0].shape == (BATCH, BATCH)
    assert set(layers) == {0, 1, 2}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_can_be_mixed_inside_and_looked_at(name: str) -> None:
    torch.manual_seed(0)
    options = {"width": 2, "stem_stride": 2} if default_options(name) else {}
    inner = NETWORKS[name](num_classes=BATCH, **options)
    images, labels = normalised_batch()
    logits, soft = MixInside(inner, num_classes=BATCH, generator=chance())(images, labels)
    assert (logits.shape, soft.shape) == ((BATCH, BATCH), (BATCH, BATCH))
    assert mix_of("snapmix", classifier=inner)(pictures(), LABELS)[0].isfinite().all()


def test_half_precision_mixes_inside_in_full() -> None:
    inner = network()
    images, labels = normalised_batch()
    with torch.autocast("cpu", torch.bfloat16):
        mix = MixInside(inner, num_classes=BATCH, params={"layer": 1}, generator=chance())
        logits, soft = mix(images, labels)
    assert logits.dtype == torch.bfloat16
    assert soft.dtype == torch.float32
    fine, same = MixInside(inner, num_classes=BATCH, params={"layer": 1}, generator=chance())(
        images, labels
    )
    assert torch.equal(soft, same)
    torch.testing.assert_close(logits.float(), fine, atol=0.1, rtol=0.1)


def test_batches_left_alone_inside_are_those_of_the_network() -> None:
    inner = network().eval()
    images, labels = normalised_batch()
    logits, soft = MixInside(inner, num_classes=BATCH, prob=0.0)(images, labels)
    assert torch.equal(logits, inner(images))
    assert torch.equal(soft, torch.eye(BATCH))


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"method": "cutmix"}, "method must be one of manifold_mixup to mix inside, got 'cutmix'"),
        ({"alpha": 0.0}, "alpha must be positive, got 0"),
        ({"params": {"depth": 1}}, "manifold_mixup has no parameter 'depth'; it has lam, layer"),
        ({"network": nn.Flatten()}, "the layers of Flatten are not known; those of preactresnet18"),
    ],
)
def test_wrong_settings_inside_are_told(more: dict[str, Any], sentence: str) -> None:
    given = {"network": network(), "num_classes": BATCH} | more
    with pytest.raises(ValueError, match=sentence):
        MixInside(**given)


def test_wrong_batches_inside_are_told() -> None:
    images, labels = normalised_batch()
    three = NETWORKS["wrn16_8"](num_classes=BATCH, width=1)
    for mix, x, y, sentence in [
        (MixInside(network(), num_classes=3), images, labels, r"labels must lie in \[0, 2\]"),
        (MixInside(network(), num_classes=BATCH), images[:, :1], labels, "must be \\(b, 3, h, h"),
        (MixInside(network(), num_classes=BATCH), images * torch.nan, labels, "must be finite"),
        (
            MixInside(three, num_classes=BATCH, params={"layer": 4}),
            images,
            labels,
            r"layer must lie in \[0, 3\], got 4",
        ),
    ]:
        with pytest.raises(ValueError, match=sentence):
            mix(x, y)
