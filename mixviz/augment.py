"""Mixing a batch inside a training loop, with the call shape of torchvision's v2 MixUp and CutMix.

    mix = Mix("puzzle_mix", num_classes=200, classifier=network, mean=mean, std=std)
    for images, labels in loader:
        images, labels = mix(images, labels)
        loss = cross_entropy(network(images), labels)

Images are normalised as the network wants them; without `mean` and `std` they lie in [0, 1].
`MixInside` mixes at a layer of the network instead, and returns logits.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mixviz.core.draws import draw_one
from mixviz.core.pairing import PAIRING_SOLVERS, pair_batch
from mixviz.core.saliency import evaluating, explain, spectral_residual
from mixviz.core.types import Images, Maps, Pair
from mixviz.methods import BATCH_METHODS, METHODS
from mixviz.methods.base import Method, MixTrace, no_noise
from mixviz.methods.batch import BatchMethod
from mixviz.methods.guidedmixup import GuidedMixupParams, blur, mix_blurred
from mixviz.methods.variants import VARIANTS, as_they_are
from mixviz.spec import Params
from mixviz.zoo.layers import cut_open

SALIENCIES = ("gradient", "spectral_residual")

RANDOM = "random"
"""The pairing that needs no saliency: a permutation of the batch."""

FILLED = "cgsy"
"""First letters of the fields of `Pair` that a batch and its classifier can fill."""

INSIDE = "f"
"""First letter of the fields of `Pair` that only the network in training can fill."""

SEEDS = 2**31
"""Seeds of what becomes of pictures before they are mixed lie below this."""

# Undoing a normalisation rounds; what lies further outside [0, 1] was no picture.
ROUNDING = 1e-3

Seen = dict[str, Tensor]
"""What is known of each image of a batch, by the first letter of the fields of `Pair`."""

Look = Callable[[Tensor, Tensor, bool], Seen]
"""Finds out about images and their labels; the last argument says that they are attacked."""

Mixed = tuple[Tensor, Tensor]
"""Mixed images, and a weight per class for each."""


class _Pairs:
    """Mixes a batch by a method of pairs: each image, as image 0, with a partner from the batch."""

    default_pairing: str | None = RANDOM

    def __init__(self, method: Method, pairing: str | None) -> None:
        self.method = method
        self.pairing = RANDOM if pairing is None else pairing
        if self.pairing not in PAIRING_SOLVERS:
            known = ", ".join(PAIRING_SOLVERS)
            raise ValueError(f"pairing must be one of {known}, got {pairing!r}")
        by_saliency = {"s"} if self.pairing != RANDOM else set()
        self.wanted = {name[0] for name in method.needs} | by_saliency
        self.words = f" with {self.pairing} pairing"

    def begin(
        self,
        unit: Tensor,
        labels: Tensor,
        params: Any,
        look: Look,
        generator: torch.Generator,
        num_classes: int,
    ) -> Callable[[], Mixed]:
        if self.pairing == RANDOM:
            partner = torch.randperm(len(unit), generator=generator).to(unit.device)
            seen = None
        else:
            seen = self.prepare(look(unit, labels, False), params)
            if self.method.noise is no_noise:
                return lambda: self._pair_and_mix(unit, labels, seen, params, num_classes)
            # Attacked partners are looked at again, so who they are cannot wait.
            partner = self._choose(seen)
        sides = self._sides(unit, labels, partner, seen, params, look)
        return lambda: self._mix(unit, labels, partner, sides, params, num_classes)

    def _choose(self, seen: Seen) -> Tensor:
        maps = self.compared(seen)
        return pair_batch(maps, self.pairing).partner.to(maps.device)

    def _sides(
        self,
        unit: Tensor,
        labels: Tensor,
        partner: Tensor,
        seen: Seen | None,
        params: Any,
        look: Look,
    ) -> tuple[Seen, Seen]:
        """Return what is known of both pictures of each pair."""
        images = (unit, unit[partner])
        noise = self.method.noise(images, params)
        if noise is None:
            seen = seen or self.prepare(look(unit, labels, False), params)
            return _both(seen, partner)
        # Each picture is looked at under its own noise, so partners are no longer an index.
        noisy, both = torch.cat(images) + torch.cat(noise), torch.cat((labels, labels[partner]))
        halves = {letter: values.chunk(2) for letter, values in look(noisy, both, True).items()}
        return {k: v[0] for k, v in halves.items()}, {k: v[1] for k, v in halves.items()}

    def _pair_and_mix(
        self, unit: Tensor, labels: Tensor, seen: Seen, params: Any, num_classes: int
    ) -> Mixed:
        partner = self._choose(seen)
        return self._mix(unit, labels, partner, _both(seen, partner), params, num_classes)

    def _mix(
        self,
        unit: Tensor,
        labels: Tensor,
        partner: Tensor,
        sides: tuple[Seen, Seen],
        params: Any,
        num_classes: int,
    ) -> Mixed:
        read = {
            name: sides[int(name[1])][name[0]]
            for name in self.method.needs
            if name[0] in sides[int(name[1])]
        }
        pair = Pair(unit, unit[partner], **(_nothing(unit) | read))
        trace = self.blend(pair, params)
        return trace.mixed, soften(labels, labels[partner], trace.weights, num_classes)

    def prepare(self, seen: Seen, params: Any) -> Seen:
        """Do to what is known of each image what the method would do to it in every pair."""
        return seen

    def blend(self, pair: Pair, params: Any) -> MixTrace:
        """Mix pairs of which `prepare` has seen to what is known."""
        return self.method.mix(pair, params)

    def compared(self, seen: Seen) -> Maps:
        """Return the maps by which images are paired, blurred as GuidedMixup does."""
        return blur("saliency", seen["s"], GuidedMixupParams())


class _BlurredPairs(_Pairs):
    """GuidedMixup: a map is blurred once, to pair the image and to mix it in both its pairs."""

    def prepare(self, seen: Seen, params: GuidedMixupParams) -> Seen:
        return seen | {"s": blur("saliency", seen["s"], params)}

    def blend(self, pair: Pair, params: GuidedMixupParams) -> MixTrace:
        return mix_blurred(pair, pair.s0, pair.s1)

    def compared(self, seen: Seen) -> Maps:
        return seen["s"]


class _Batch:
    """Mixes a batch by a method of batches, which has no partners."""

    default_pairing: str | None = None

    def __init__(self, method: BatchMethod, pairing: str | None) -> None:
        if pairing is not None:
            raise ValueError(
                f"{method.slug} mixes a whole batch at once: pairing does not apply, "
                f"got {pairing!r}"
            )
        self.method = method
        self.wanted = {name[0] for name in method.needs}
        self.words = ""

    def begin(
        self,
        unit: Tensor,
        labels: Tensor,
        params: Any,
        look: Look,
        generator: torch.Generator,
        num_classes: int,
    ) -> Callable[[], Mixed]:
        saliency = look(unit, labels, False)["s"]

        def finish() -> Mixed:
            trace = self.method.mix(unit, saliency, params)
            # labels @ one-hot, without a product whose digits a GPU may cut.
            soft = unit.new_zeros(len(trace.mixed), num_classes)
            return trace.mixed, soft.index_add_(1, labels, trace.labels.to(unit))

        return finish


@dataclass(frozen=True)
class _Way:
    """What a name stands for: a method, and what a variant fixes of it."""

    method: Any
    by: type[_Pairs] | type[_Batch]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    inputs: Callable[[Images, int], Images] = as_they_are
    saliency: str | None = None


_SOURCES = {"gradient": "gradient", "spectral": "spectral_residual", None: None}


def _list_ways() -> Mapping[str, _Way]:
    by = {method.slug: _Pairs for method in METHODS.values()}
    by |= {
        method.slug: _BlurredPairs
        for method in METHODS.values()
        if method.params is GuidedMixupParams
    }
    ways = {slug: _Way(method, by[slug]) for slug, method in METHODS.items()}
    ways |= {slug: _Way(method, _Batch) for slug, method in BATCH_METHODS.items()}
    for slug, variant in VARIANTS.items():
        if slug not in ways:
            ways[slug] = _Way(
                variant.method,
                by[variant.method.slug],
                variant.fixed,
                variant.inputs,
                _SOURCES[variant.source],
            )
    return MappingProxyType(ways)


_WAYS = _list_ways()


class Mix:
    """Mixes each image of a batch with another one, and the labels alike.

    One forward and one backward pass of the classifier guide the whole batch, partners included.
    The classifier is looked at in eval() mode and left as it was: its mode, its gradients and its
    running statistics.
    """

    def __init__(
        self,
        method: str,
        *,
        num_classes: int,
        classifier: nn.Module | None = None,
        pairing: str | None = None,
        saliency: str | None = None,
        alpha: float | None = None,
        prob: float = 1.0,
        params: Mapping[str, Any] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        precision: torch.dtype = torch.float32,
        generator: torch.Generator | None = None,
    ) -> None:
        """Decide what all batches have in common.

        Args:
            method: a slug of `mixable()`: a method of pairs or of batches, or a variant of one, as
                "puzzle_binary".
            num_classes: how many columns the mixed labels have.
            classifier: the network in training, for methods that its gradient guides, or its
                class activation: those take `features(x)`, an average pool and a linear `head`,
                as the networks of `mixviz.networks` have them.
            pairing: "random", a permutation as in the papers and the default, or one of the
                solvers that pair by saliency as GuidedMixup does: "greedy", "improved", "exact".
            saliency: "gradient" of the classifier's loss at the label, the default, or
                "spectral_residual" of the picture alone; a variant may leave no choice.
            alpha: λ comes from Beta(alpha, alpha); the paper's unless given.
            prob: share of the batches that are mixed. The others come back as they are, their
                labels one-hot.
            params: parameters to hold fixed instead of drawing them, by name, as {"grid": 8}; of
                a tuple of values, as {"num_patches": (2, 4)}, one is drawn, for each image or
                each batch as the method draws it.
            mean: of the images per channel, where they come normalised.
            std: likewise.
            precision: of the classifier's products while it is looked at; see `torch.autocast`.
            generator: where chance comes from, on the CPU; torch's default generator unless given.

        Raises:
            ValueError: for an unknown name, a value out of range, a method that needs more than a
                batch and its classifier can tell, and one that needs a classifier if none came.
        """
        way = _find(method)
        self.method = way.method
        self.num_classes = num_classes
        self.saliency = _choose_saliency(method, saliency)
        self.alpha = alpha
        self.prob = prob
        self.generator = torch.default_generator if generator is None else generator
        _check_settings(num_classes, alpha, prob, self.generator)
        self.params = _merge_params(method, params)
        self._way = way
        self._by = way.by(way.method, pairing)
        self._scale = _channels(mean, std)
        self._classifier: Watched | None = None
        if classifier is not None:
            self._classifier = Watched(classifier, self._normalise, precision)
        if "c" in self._by.wanted and not _has_linear_head(classifier):
            raise ValueError(
                f"{method} is guided by class activation: give classifier=, a network with "
                "features(x) and a linear head after the average pool"
            )
        if classifier is None and self.saliency == "gradient" and "s" in self._by.wanted:
            raise ValueError(
                f"{method}{self._by.words} is guided by saliency: give classifier=, the network "
                'in training, or saliency="spectral_residual"'
            )

    @torch.no_grad()
    def __call__(
        self, images: Float[Tensor, "b 3 h w"], labels: Int[Tensor, " b"]
    ) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b k"]]:
        """Mix a batch.

        Args:
            images: normalised with `mean` and `std`, or in [0, 1] without them.
            labels: class indices.

        Returns:
            The mixed images, normalised as they came, and a weight per class for each. The
            weights sum to 1 but for methods that say otherwise, as SnapMix.

        Raises:
            ValueError: for images or labels of another kind or range, a batch that the pairing
                does not take, and whatever else the method refuses.
        """
        return self.begin(images, labels)()

    @torch.no_grad()
    def begin(
        self, images: Float[Tensor, "b 3 h w"], labels: Int[Tensor, " b"]
    ) -> Callable[[], Mixed]:
        """Draw, and ask the classifier what it sees; what is returned pairs, solves and mixes.

        The second part asks no classifier and draws nothing, so it may run beside a training
        step, in another thread.

        Raises:
            ValueError: as a call does, now or when the mixes are asked for.
        """
        # Distances and costs would lose their digits under somebody's autocast.
        with torch.autocast(images.device.type, enabled=False):
            unit, labels = self._read(images, labels)
            if self.prob < 1 and torch.rand((), generator=self.generator).item() >= self.prob:
                certain = _certain(labels, unit, self.num_classes)
                return lambda: (images, certain)
            alpha = self.method.alpha if self.alpha is None else self.alpha
            drawn = self.method.draw(self.generator, len(unit), alpha)
            held = _hold(self.params, drawn, len(unit), self.generator)
            params = replace(drawn, **held) if held else drawn
            finish = self._by.begin(
                self._prepare(unit), labels, params, self._look, self.generator, self.num_classes
            )

        @torch.no_grad()
        def mixes() -> Mixed:
            with torch.autocast(images.device.type, enabled=False):
                mixed, soft = finish()
                return self._normalise(mixed).to(images.dtype), soft

        return mixes

    def _prepare(self, unit: Tensor) -> Tensor:
        """Return what becomes of the pictures before they are mixed, each by a seed of its own."""
        if self._way.inputs is as_they_are:
            return unit
        seeds = torch.randint(SEEDS, (len(unit),), generator=self.generator).tolist()
        return torch.cat(
            [
                self._way.inputs(one[None], seed)
                for one, seed in zip(unit.unbind(), seeds, strict=True)
            ]
        )

    def _look(self, unit: Tensor, labels: Tensor, attacked: bool) -> Seen:
        """Find out about each image what method and pairing want to know."""
        wanted = self._by.wanted
        seen, by_gradient = {"y": labels}, self.saliency == "gradient"
        asked = {"s", "g"} if by_gradient else {"g"} if attacked else set()
        if self._classifier is not None and wanted & asked:
            explanation = explain(self._classifier, unit, labels)
            seen |= {"s": explanation.saliency, "g": explanation.gradient}
        if self._classifier is not None and "c" in wanted:
            seen["c"] = self._classifier.activation(unit, labels)
        if "s" in wanted and not by_gradient:
            seen["s"] = spectral_residual(unit)
        return {letter: values for letter, values in seen.items() if letter in wanted}

    def _normalise(self, unit: Tensor) -> Tensor:
        if self._scale is None:
            return unit
        self._scale = self._scale.to(unit)  # stays on the device of the first batch
        return (unit - self._scale[0]) / self._scale[1]

    def _read(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Check a batch; return its images in [0, 1], and its labels as int64."""
        _check_batch(images, labels)
        unit = images.to(torch.promote_types(images.dtype, torch.float32))
        if self._scale is not None:
            self._scale = self._scale.to(unit)
            unit = unit * self._scale[1] + self._scale[0]
        # One trip from the device for all four.
        ends = torch.stack((*unit.aminmax(), *(end.to(unit) for end in labels.aminmax())))
        low, high, first, last = ends.tolist()
        if not (low >= -ROUNDING and high <= 1 + ROUNDING):
            undone = "" if self._scale is None else " once mean and std are undone"
            hint = " (mean= and std= undo a normalisation)" if self._scale is None else ""
            raise ValueError(
                f"images must lie in [0, 1]{undone}, got values from {low:.3g} to {high:.3g}{hint}"
            )
        _check_labels(first, last, self.num_classes)
        return unit.clamp(0, 1).contiguous(), labels.long()


class Watched(nn.Module):
    """A classifier of images in [0, 1], made from one of normalised images."""

    def __init__(
        self, network: nn.Module, normalise: Callable[[Tensor], Tensor], precision: torch.dtype
    ) -> None:
        super().__init__()
        self.network: Any = network
        self.normalise = normalise
        self.precision = precision
        self.input_size = getattr(network, "input_size", None)

    def forward(self, unit: Tensor) -> Tensor:
        """Logits in full precision."""
        with self._precisely(unit):
            return self.network(self.normalise(unit)).float()

    def activation(self, unit: Tensor, labels: Tensor) -> Float[Tensor, "b h w"]:
        """Class activation (Zhou et al. 2016, arXiv:1512.04150) at the labels, signed."""
        with self._precisely(unit), evaluating(self.network):
            features = self.network.features(self.normalise(unit)).float()
        weight = self.network.head.weight[labels].float()
        small = torch.einsum("bc,bcuv->buv", weight, features)[:, None]
        return interpolate(small, unit.shape[-2:], mode="bilinear", align_corners=False)[:, 0]

    def _precisely(self, unit: Tensor) -> torch.autocast:
        less = self.precision != torch.float32
        return torch.autocast(unit.device.type, self.precision if less else None, enabled=less)


class MixInside:
    """Trains a network on feature maps mixed at one of its layers, as Manifold Mixup does.

        mix = MixInside(network, num_classes=200)
        for images, labels in loader:
            logits, labels = mix(images, labels)
            loss = cross_entropy(logits, labels)

    One forward pass: the batch goes to the layer, is mixed there with itself in another order,
    and goes on. Batch norms before the layer see the images as they are, those after it the mix.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        num_classes: int,
        method: str = "manifold_mixup",
        alpha: float | None = None,
        prob: float = 1.0,
        params: Mapping[str, Any] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        """Decide what all batches have in common.

        Args:
            network: the network in training, of `mixviz.networks` or one of torchvision's that
                `mixviz.zoo.layers.cut_open` knows.
            num_classes: how many columns the mixed labels have.
            method: a slug of `mixable_inside()`.
            alpha: λ comes from Beta(alpha, alpha); the paper's unless given.
            prob: share of the batches that are mixed.
            params: as for `Mix`, as {"layer": 1} or {"layer": (0, 1)}.
            generator: as for `Mix`.

        Raises:
            ValueError: for an unknown name, a value out of range, or a network that cannot be cut.
        """
        if method not in mixable_inside():
            known = ", ".join(mixable_inside())
            raise ValueError(f"method must be one of {known} to mix inside, got {method!r}")
        self.method = METHODS[method]
        self.num_classes = num_classes
        self.alpha = alpha
        self.prob = prob
        self.generator = torch.default_generator if generator is None else generator
        _check_settings(num_classes, alpha, prob, self.generator)
        self.params = _merge_params(method, params)
        self._network = network
        self._pieces = cut_open(network)

    def __call__(
        self, images: Float[Tensor, "b 3 h w"], labels: Int[Tensor, " b"]
    ) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k"]]:
        """Return the logits, with their gradient, and a weight per class for each.

        Args:
            images: normalised as the network wants them.
            labels: class indices.

        Raises:
            ValueError: for images or labels of another kind or range, a layer that the network
                does not have, images or feature maps that are not finite.
        """
        _check_batch(images, labels)
        labels = labels.long()
        first, last = torch.stack(labels.aminmax()).tolist()
        _check_labels(first, last, self.num_classes)
        if self.prob < 1 and torch.rand((), generator=self.generator).item() >= self.prob:
            return self._network(images), _certain(labels, images, self.num_classes)
        alpha = self.method.alpha if self.alpha is None else self.alpha
        drawn = self.method.draw(self.generator, len(images), alpha)
        params = replace(drawn, **_hold(self.params, drawn, len(images), self.generator))
        partner = torch.randperm(len(images), generator=self.generator).to(images.device)
        stages = len(self._pieces.stages)
        if params.layer > stages:
            raise ValueError(f"layer must lie in [0, {stages}], got {params.layer}")
        features = self._pieces.before(params.layer, images)
        wide = features.float()  # λ would lose digits beside half-precision features
        pair = Pair(images, images[partner], **_nothing(images), f0=wide, f1=wide[partner])
        trace = self.method.mix(pair, params)
        layer, mixed = trace.inside or (0, trace.mixed)
        logits = self._pieces.after(layer, mixed.to(features.dtype))
        weights = trace.weights.to(torch.promote_types(images.dtype, torch.float32))
        return logits, soften(labels, labels[partner], weights, self.num_classes)


def _has_linear_head(classifier: nn.Module | None) -> bool:
    head = getattr(classifier, "head", None)
    return isinstance(head, nn.Linear) and callable(getattr(classifier, "features", None))


def soften(
    labels: Int[Tensor, " b"],
    partners: Int[Tensor, " b"],
    weights: Float[Tensor, "b 2"],
    num_classes: int,
) -> Float[Tensor, "b {num_classes}"]:
    """Spread the weights of two labels over the classes; equal labels add up."""
    soft = weights.new_zeros(len(labels), num_classes)
    return soft.scatter_add_(1, torch.stack((labels, partners), 1), weights)


@dataclass(frozen=True)
class Defaults:
    """What holds for a name where nothing else is asked for; None where it does not apply."""

    pairing: str | None
    saliency: str | None
    alpha: float | None


def defaults(slug: str, pairing: str | None = None) -> Defaults:
    """Return what `Mix`, or `MixInside`, does by itself.

    Args:
        slug: a name that either of them takes.
        pairing: what was asked for; any but a random one looks at saliency.

    Raises:
        ValueError: for a name that neither of them takes.
    """
    if slug in mixable_inside():
        return Defaults(None, None, METHODS[slug].alpha)
    way = _find(slug)
    alone = way.method.contract == "single"
    usual = None if alone else way.by.default_pairing
    guided = "s" in {name[0] for name in way.method.needs} or (pairing or usual) not in (
        RANDOM,
        None,
    )
    return Defaults(
        usual,
        (way.saliency or SALIENCIES[0]) if guided else None,
        None if alone or way.method.contract == "independent" else way.method.alpha,
    )


def params_of(slug: str) -> type[Params]:
    """Return the parameters that `Mix`, or `MixInside`, takes for a name.

    Raises:
        ValueError: for a name that neither of them takes.
    """
    return METHODS[slug].params if slug in mixable_inside() else _find(slug).method.params


def mixable() -> tuple[str, ...]:
    """Return the names that `Mix` takes: methods of pairs and of batches, and their variants."""
    return tuple(slug for slug, way in _WAYS.items() if not _beyond(way.method))


def mixable_inside() -> tuple[str, ...]:
    """Return the slugs of the methods that `MixInside` takes."""
    return tuple(
        slug
        for slug, method in METHODS.items()
        if method.needs and all(name[0] == INSIDE for name in method.needs)
    )


def _beyond(method: Method | BatchMethod) -> list[str]:
    return [name for name in method.needs if name[0] not in FILLED]


def _find(slug: str) -> _Way:
    if slug not in _WAYS:
        raise ValueError(f"method must be one of {', '.join(mixable())}, got {slug!r}")
    if slug in mixable_inside():
        raise ValueError(f"{slug} mixes inside the network: use MixInside")
    way = _WAYS[slug]
    if missing := _beyond(way.method):
        raise ValueError(
            f"{slug} reads {', '.join(missing)} of a pair, which a batch and its classifier "
            "cannot fill; it mixes single pairs only"
        )
    return way


def _choose_saliency(slug: str, asked: str | None) -> str:
    """Return where saliency comes from, unless a variant says otherwise."""
    if asked is not None and asked not in SALIENCIES:
        raise ValueError(f"saliency must be one of {', '.join(SALIENCIES)}, got {asked!r}")
    own = _WAYS[slug].saliency
    if own is not None and asked not in (None, own):
        raise ValueError(f"saliency of {slug} is {own}, got {asked!r}")
    return asked or own or SALIENCIES[0]


def _check_settings(
    num_classes: int, alpha: float | None, prob: float, generator: torch.Generator
) -> None:
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
    if alpha is not None and not alpha > 0:
        raise ValueError(f"alpha must be positive, got {alpha}")
    if not 0 <= prob <= 1:
        raise ValueError(f"prob must lie in [0, 1], got {prob}")
    if generator.device.type != "cpu":
        raise ValueError(f"generator must be one of the CPU, got {generator.device}")


def _merge_params(slug: str, params: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the parameters that are held: those of a variant, and those asked for."""
    way, asked = _WAYS[slug], dict(params or {})
    names = list(vars(way.method.params()))
    for name in asked:
        if name not in names:
            raise ValueError(
                f"{slug} has no parameter {name!r}; it has {', '.join(names) or 'none'}"
            )
        if name in way.fixed:
            raise ValueError(f"{slug} fixes {name} = {way.fixed[name]}, got {asked[name]!r}")
    held = {**way.fixed, **asked}
    several = {name: value for name, value in held.items() if isinstance(value, tuple)}
    single = {name: value for name, value in held.items() if name not in several}
    way.method.params(**single)
    for name, values in several.items():
        if not values:
            raise ValueError(f"{slug} needs at least one value of {name} to draw from, got none")
        for value in values:
            way.method.params(**single, **{name: value})
    return held


def _hold(
    held: Mapping[str, Any], drawn: Any, items: int, generator: torch.Generator
) -> dict[str, Any]:
    """Return the parameters that replace drawn ones, those of several values drawn in turn."""

    def one(name: str, value: Any) -> Any:
        if not isinstance(value, tuple):
            return value
        if isinstance(getattr(drawn, name), Tensor):
            return draw_one(value, items, generator)
        return value[int(torch.randint(len(value), (), generator=generator))]

    return {name: one(name, value) for name, value in held.items()}


def _both(seen: Seen, partner: Tensor) -> tuple[Seen, Seen]:
    """Return what is known of each image, and of its partner."""
    return seen, {letter: values[partner] for letter, values in seen.items()}


def _nothing(images: Tensor) -> dict[str, Tensor]:
    """Return the saliency of a pair whose method reads none."""
    zero = images.new_zeros(()).expand(len(images), *images.shape[2:])
    return {"s0": zero, "s1": zero}


def _certain(labels: Tensor, like: Tensor, num_classes: int) -> Tensor:
    dtype = torch.promote_types(like.dtype, torch.float32)
    soft = torch.zeros(len(labels), num_classes, dtype=dtype, device=like.device)
    return soft.scatter_(1, labels[:, None], 1)


def _check_labels(first: float, last: float, num_classes: int) -> None:
    if not (first >= 0 and last < num_classes):
        raise ValueError(
            f"labels must lie in [0, {num_classes - 1}] for num_classes = "
            f"{num_classes}, got {first:.0f} to {last:.0f}"
        )


def _channels(mean: Sequence[float] | None, std: Sequence[float] | None) -> Tensor | None:
    """Return mean and deviation as (2, 1, 3, 1, 1), or None where nothing is normalised."""
    if mean is None and std is None:
        return None
    if mean is None or std is None or len(mean) != 3 or len(std) != 3 or not min(std) > 0:
        raise ValueError(
            "mean and std come together, three numbers each, std positive; "
            f"got mean = {mean}, std = {std}"
        )
    return torch.tensor([list(mean), list(std)]).view(2, 1, 3, 1, 1)


def _check_batch(images: Tensor, labels: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ValueError(f"images must be (b, 3, h, h), got {tuple(images.shape)}")
    if not images.is_floating_point():
        raise ValueError(
            f"images must be floating point in [0, 1], got {images.dtype}: divide by 255 first"
        )
    whole = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
    if labels.shape != images.shape[:1] or not whole:
        raise ValueError(
            f"labels must be one class index per image, ({len(images)},) of whole numbers, got "
            f"{tuple(labels.shape)} of {labels.dtype}"
        )
    if len(images) == 0:
        raise ValueError("images must not be empty: there is nothing to mix")
