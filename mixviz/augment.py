"""Mixing a batch inside a training loop, with the call shape of torchvision's v2 MixUp and CutMix.

    mix = Mix("puzzle_mix", num_classes=200, classifier=network, mean=mean, std=std)
    for images, labels in loader:
        images, labels = mix(images, labels)
        loss = cross_entropy(network(images), labels)

Images are normalised as the network wants them; without `mean` and `std` they lie in [0, 1].
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mixviz.core.pairing import PAIRING_SOLVERS, pair_batch
from mixviz.core.saliency import explain, spectral_residual
from mixviz.core.types import Pair
from mixviz.methods import METHODS
from mixviz.methods.base import Method, draw
from mixviz.methods.guidedmixup import GuidedMixupParams, blur

SALIENCIES = ("gradient", "spectral_residual")

RANDOM = "random"
"""The pairing that needs no saliency: a permutation of the batch."""

FILLED = "cgsy"
"""First letters of the fields of `Pair` that a batch and its classifier can fill."""

# Undoing a normalisation rounds; what lies further outside [0, 1] was no picture.
ROUNDING = 1e-3

Seen = dict[str, Tensor]
"""What is known of each image of a batch, by the first letter of the fields of `Pair`."""


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
        pairing: str = RANDOM,
        saliency: str = "gradient",
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
            method: a slug of `METHODS`.
            num_classes: how many columns the mixed labels have.
            classifier: the network in training, for methods that its gradient guides, or its
                class activation: those take `features(x)`, an average pool and a linear `head`,
                as the networks of `mixviz.networks` have them.
            pairing: "random", a permutation as in the papers, or one of the solvers that pair by
                saliency as GuidedMixup does: "greedy", "improved", "exact".
            saliency: "gradient" of the classifier's loss at the label, or "spectral_residual" of
                the picture alone.
            alpha: λ comes from Beta(alpha, alpha); the paper's unless given.
            prob: share of the batches that are mixed. The others come back as they are, their
                labels one-hot.
            params: parameters to hold fixed instead of drawing them, by name, as {"grid": 8}.
            mean: of the images per channel, where they come normalised.
            std: likewise.
            precision: of the classifier's products while it is looked at; see `torch.autocast`.
            generator: where chance comes from, on the CPU; torch's default generator unless given.

        Raises:
            ValueError: for an unknown name, a value out of range, a method that needs more than a
                batch and its classifier can tell, and one that needs a classifier if none came.
        """
        self.method = _find(method)
        self.num_classes = num_classes
        self.pairing = pairing
        self.saliency = saliency
        self.alpha = alpha
        self.prob = prob
        self.params = dict(params or {})
        self.generator = torch.default_generator if generator is None else generator
        self._check_settings()
        self._scale = _channels(mean, std)
        self._wanted = {name[0] for name in self.method.needs}
        if pairing != RANDOM:
            self._wanted.add("s")
        self._classifier: _Watched | None = None
        if classifier is not None:
            self._classifier = _Watched(classifier, self._normalise, precision)
        if "c" in self._wanted and not _has_linear_head(classifier):
            raise ValueError(
                f"{method} is guided by class activation: give classifier=, a network with "
                "features(x) and a linear head after the average pool"
            )
        if classifier is None and saliency == "gradient" and "s" in self._wanted:
            raise ValueError(
                f"{method} with {pairing} pairing is guided by saliency: give classifier=, the "
                'network in training, or saliency="spectral_residual"'
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
        # Distances and costs would lose their digits under somebody's autocast.
        with torch.autocast(images.device.type, enabled=False):
            unit, labels = self._read(images, labels)
            if self.prob < 1 and torch.rand((), generator=self.generator).item() >= self.prob:
                certain = unit.new_tensor([1, 0]).expand(len(unit), 2)
                return images, soften(labels, labels, certain, self.num_classes)
            drawn = draw(self.method, self.generator, len(unit), self.alpha)
            params = replace(drawn, **self.params)
            seen = None if self.pairing == RANDOM else self._look(unit, labels)
            partner = self._partners(len(unit), seen).to(unit.device)
            pair = self._pair(unit, labels, partner, params, seen)
            trace = self.method.mix(pair, params)
            soft = soften(labels, labels[partner], trace.weights, self.num_classes)
            return self._normalise(trace.mixed).to(images.dtype), soft

    def _partners(self, count: int, seen: Seen | None) -> Tensor:
        """Return the image 1 of each image 0: a permutation, or one that saliency decides."""
        if seen is None:
            return torch.randperm(count, generator=self.generator)
        return pair_batch(blur("saliency", seen["s"], GuidedMixupParams()), self.pairing).partner

    def _pair(
        self, unit: Tensor, labels: Tensor, partner: Tensor, params: Any, seen: Seen | None
    ) -> Pair:
        """Fill what the method reads of a pair, and nothing else."""
        images = (unit, unit[partner])
        noise = self.method.noise(images, params)
        if noise is None:
            seen = seen or self._look(unit, labels)
            sides = (seen, {letter: values[partner] for letter, values in seen.items()})
        else:
            # Each picture is looked at under its own noise, so partners are no longer an index.
            noisy, both = torch.cat(images) + torch.cat(noise), torch.cat((labels, labels[partner]))
            under = self._look(noisy, both, attacked=True)
            halves = {letter: values.chunk(2) for letter, values in under.items()}
            sides = ({k: v[0] for k, v in halves.items()}, {k: v[1] for k, v in halves.items()})
        read = {
            name: sides[int(name[1])][name[0]]
            for name in self.method.needs
            if name[0] in sides[int(name[1])]
        }
        nothing = unit.new_zeros(()).expand(len(unit), *unit.shape[2:])
        return Pair(*images, **({"s0": nothing, "s1": nothing} | read))

    def _look(self, unit: Tensor, labels: Tensor, attacked: bool = False) -> Seen:
        """Find out about each image what method and pairing want to know."""
        seen, by_gradient = {"y": labels}, self.saliency == "gradient"
        asked = {"s", "g"} if by_gradient else {"g"} if attacked else set()
        if self._classifier is not None and self._wanted & asked:
            explanation = explain(self._classifier, unit, labels)
            seen |= {"s": explanation.saliency, "g": explanation.gradient}
        if self._classifier is not None and "c" in self._wanted:
            seen["c"] = self._classifier.activation(unit, labels)
        if "s" in self._wanted and not by_gradient:
            seen["s"] = spectral_residual(unit)
        return {letter: values for letter, values in seen.items() if letter in self._wanted}

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
        if not (first >= 0 and last < self.num_classes):
            raise ValueError(
                f"labels must lie in [0, {self.num_classes - 1}] for num_classes = "
                f"{self.num_classes}, got {first:.0f} to {last:.0f}"
            )
        return unit.clamp(0, 1).contiguous(), labels.long()

    def _check_settings(self) -> None:
        if self.num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {self.num_classes}")
        for name, value, known in (
            ("pairing", self.pairing, tuple(PAIRING_SOLVERS)),
            ("saliency", self.saliency, SALIENCIES),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        if self.alpha is not None and not self.alpha > 0:
            raise ValueError(f"alpha must be positive, got {self.alpha}")
        if not 0 <= self.prob <= 1:
            raise ValueError(f"prob must lie in [0, 1], got {self.prob}")
        if self.generator.device.type != "cpu":
            raise ValueError(f"generator must be one of the CPU, got {self.generator.device}")
        names = list(vars(self.method.params()))
        if strange := [name for name in self.params if name not in names]:
            raise ValueError(
                f"{self.method.slug} has no parameter {strange[0]!r}; it has "
                f"{', '.join(names) or 'none'}"
            )
        self.method.params(**self.params)


class _Watched(nn.Module):
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
        with self._precisely(unit), _evaluating(self.network):
            features = self.network.features(self.normalise(unit)).float()
        weight = self.network.head.weight[labels].float()
        small = torch.einsum("bc,bcuv->buv", weight, features)[:, None]
        return interpolate(small, unit.shape[-2:], mode="bilinear", align_corners=False)[:, 0]

    def _precisely(self, unit: Tensor) -> torch.autocast:
        less = self.precision != torch.float32
        return torch.autocast(unit.device.type, self.precision if less else None, enabled=less)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Hold a network in eval() mode, and leave each of its modules as it was."""
    training = [module for module in network.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


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


def mixable() -> tuple[str, ...]:
    """Return the slugs of the methods that `Mix` takes."""
    return tuple(slug for slug, method in METHODS.items() if not _beyond(method))


def _beyond(method: Method) -> list[str]:
    return [name for name in method.needs if name[0] not in FILLED]


def _find(slug: str) -> Method:
    if slug not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {slug!r}")
    method = METHODS[slug]
    if missing := _beyond(method):
        raise ValueError(
            f"{slug} reads {', '.join(missing)} of a pair, which a batch and its classifier "
            "cannot fill; it mixes single pairs only"
        )
    return method


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
