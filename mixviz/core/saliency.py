"""Where a classifier, or the spectrum of the picture itself, says that it matters."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, pad

from mixviz.core.blocks import check_all_finite, check_finite

Classifier = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Explanation:
    """What one forward and one backward pass say about a batch of images.

    Attributes:
        logits: as the classifier gave them.
        label: the class whose loss was differentiated.
        saliency: ℓ₂ norm over channels of the gradient, at the size of the images, any scale.
        gradient: signed gradient of the loss with respect to the images.
    """

    logits: Float[Tensor, "b k"]
    label: Int[Tensor, " b"]
    saliency: Float[Tensor, "b h w"]
    gradient: Float[Tensor, "b 3 h w"]


@contextmanager
def evaluating(classifier: Classifier) -> Iterator[None]:
    """Hold a module in eval() mode without touching parameters, and leave it as it was."""
    modules = list(classifier.modules()) if isinstance(classifier, nn.Module) else []
    training = [module for module in modules if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def resize(images: Float[Tensor, "b c h w"], size: int) -> Float[Tensor, "b c {size} {size}"]:
    """Resize to size×size, bilinear, antialiased when shrinking; the same size is untouched."""
    if images.shape[-2:] == (size, size):
        return images
    return interpolate(
        images, size=(size, size), mode="bilinear", align_corners=False, antialias=True
    )


def explain(
    classifier: Classifier,
    x: Float[Tensor, "b 3 h w"],
    label: Int[Tensor, " b"] | None = None,
) -> Explanation:
    """Differentiate the cross-entropy at a label with respect to the images.

    Simonyan et al. 2013, as Puzzle Mix (Section 4) and GuidedMixup ("AP") use it. The gradient is
    taken at the classifier's own input size (`classifier.input_size`, where it has one) and its
    norm is resized bilinearly to the size of the images. The classifier is held in eval() mode;
    nothing is left behind on it.

    Args:
        classifier: images in [0, 1] → logits; normalisation belongs to it.
        x: images in [0, 1].
        label: the class to explain; the predicted class unless given.

    Raises:
        ValueError: when the images, the logits or the gradient are not finite, or a label is not
            one of the classes.
    """
    size = getattr(classifier, "input_size", None) or x.shape[-1]
    with torch.enable_grad(), evaluating(classifier):
        leaf = x.detach().clone().requires_grad_(True)
        small = resize(leaf, size)
        logits = classifier(small)
        check_all_finite(x=x, logits=logits)
        chosen = logits.detach().argmax(1) if label is None else label.to(logits.device)
        if label is not None and bool(((chosen < 0) | (chosen >= logits.shape[1])).any()):
            raise ValueError(f"label must lie in [0, {logits.shape[1] - 1}], got {chosen.tolist()}")
        # A sum, not a mean: each image's gradient must not depend on the size of the batch.
        loss = cross_entropy(logits, chosen, reduction="sum")
        at_input, at_image = torch.autograd.grad(loss, (small, leaf))
    check_finite("gradient", at_input)
    norm = at_input.norm(dim=1)
    if size != x.shape[-1]:
        norm = interpolate(norm[:, None], size=x.shape[-2:], mode="bilinear", align_corners=False)[
            :, 0
        ]
    return Explanation(logits.detach(), chosen, norm, at_image)


def gradient_saliency(
    classifier: Classifier,
    x: Float[Tensor, "b 3 h w"],
    label: Int[Tensor, " b"] | None = None,
) -> Float[Tensor, "b h w"]:
    """Return the ℓ₂ norm over channels of the loss gradient; see `explain`."""
    return explain(classifier, x, label).saliency


def class_activation_map(
    features: Float[Tensor, "b c u v"],
    weight: Float[Tensor, "k c"],
    label: Int[Tensor, " b"],
    size: int,
) -> Float[Tensor, "b {size} {size}"]:
    """Return Σ_c w[label, c]·f_c, resized bilinearly (Zhou et al. 2016); of either sign.

    Args:
        features: the last feature maps, before they are averaged.
        weight: of the linear layer that follows the average, a row per class.
        label: the class of each item.
        size: side of the picture in pixels.

    Raises:
        ValueError: when features or weight are not finite, or a label is not one of the classes.
    """
    check_finite("features", features)
    check_finite("weight", weight)
    if bool((label < 0).any()) or bool((label >= len(weight)).any()):
        raise ValueError(f"label must lie in [0, {len(weight) - 1}], got {label.tolist()}")
    rows = weight.detach().to(features)[label.to(features.device)]
    maps = (rows[:, :, None, None] * features.detach()).sum(1, keepdim=True)
    return resize(maps, size)[:, 0]


def spectral_residual(
    x: Float[Tensor, "b 3 h w"], squared: bool = True, size: int = 128
) -> Float[Tensor, "b h w"]:
    """Return the spectral residual of a picture (Hou and Zhang 2007; "SR" in GuidedMixup).

    What the log-amplitude spectrum holds beyond its own 3×3 mean (wrapped around, as a spectrum
    is periodic), transformed back with the original phase. A picture of one grey is uniform.

    Args:
        x: images in [0, 1].
        squared: the squared magnitude, as Hou and Zhang; False gives the released codes' own.
        size: pictures larger than this are shrunk to it first and the map grown back.

    Raises:
        ValueError: when the images are not finite or size < 3.
    """
    check_finite("x", x)
    if size < 3:
        raise ValueError(f"size must be at least 3, got {size}")
    height, width = x.shape[-2:]
    small = resize(x, size) if max(height, width) > size else x
    red, green, blue = small.unbind(1)
    grey = (0.299 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114)
    # Axis by axis: a real transform of both at once rounds differently in another batch.
    spectrum = torch.fft.fft(torch.fft.rfft(grey, dim=2), dim=1)
    # Not abs(): it guards against overflow at twice the time, and no picture comes near one.
    amplitude = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag).sqrt_()
    above = amplitude + 1e-8
    # exp(log(|F| + ε) − mean) with the phase of F, without a sine or an arc tangent.
    mean = _neighbours_mean(above.log(), grey.shape[-1])
    gain = torch.where(amplitude > 0, above / amplitude, 0).mul_(mean.neg_().exp_())
    back = torch.fft.irfft(torch.fft.ifft(spectrum * gain, dim=1), n=grey.shape[-1], dim=2)
    saliency = back.square() if squared else back.abs()
    # The residual of a constant is rounding noise: it says nothing, so it must not choose.
    spread = grey.amax((1, 2)) - grey.amin((1, 2))
    saliency = torch.where((spread > 1e-6)[:, None, None], saliency, 1.0)
    if small is not x:
        saliency = interpolate(
            saliency[:, None], size=(height, width), mode="bilinear", align_corners=False
        )[:, 0]
    return saliency


def _neighbours_mean(half: Float[Tensor, "b h v"], width: int) -> Float[Tensor, "b h v"]:
    """Return the 3×3 mean, wrapped around, of a symmetric spectrum given by its left half."""
    before, after = (half[:, :, k : k + 1].flip(1).roll(1, 1) for k in (1, (width - 1) // 2))
    wide = torch.cat((before, half, after), 2)
    rows = (wide + wide.roll(1, 1)).add_(wide.roll(-1, 1))
    return (rows[:, :, :-2] + rows[:, :, 1:-1]).add_(rows[:, :, 2:]).div_(9)


def gaussian_blur(
    maps: Float[Tensor, "b h w"], kernel: int = 7, sigma: float = 3.0
) -> Float[Tensor, "b h w"]:
    """Blur maps with a Gaussian, edges reflected (GuidedMixup: kernel 7, σ 3, once).

    Raises:
        ValueError: unless kernel is odd and fits the map, and sigma > 0.
    """
    if kernel < 1 or kernel % 2 == 0 or kernel // 2 >= min(maps.shape[1:]):
        raise ValueError(f"kernel must be odd and smaller than the map, got {kernel}")
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, got {sigma}")
    offset = torch.arange(kernel // 2 + 1, dtype=torch.float64)
    bell = torch.exp(-0.5 * (offset / sigma) ** 2)
    weight = (bell / (2 * bell.sum() - bell[0])).tolist()
    half = kernel // 2
    padded = pad(maps[:, None], (half, half, half, half), mode="reflect")[:, 0]
    return _smooth(_smooth(padded, weight, 2), weight, 1)


def _smooth(
    maps: Float[Tensor, "b h w"], weight: list[float], axis: int
) -> Float[Tensor, "b height width"]:
    """Sum shifted maps; weight[k] belongs to both neighbours at distance k.

    Not a convolution: libraries choose another one for another batch, whose sums differ, and on a
    GPU one of fewer digits.
    """
    half = len(weight) - 1
    length = maps.shape[axis] - 2 * half
    smooth = weight[0] * maps.narrow(axis, half, length)
    for k in range(1, half + 1):
        both = maps.narrow(axis, half - k, length) + maps.narrow(axis, half + k, length)
        smooth = smooth.add_(both, alpha=weight[k])
    return smooth
