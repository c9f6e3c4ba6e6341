"""Does a classifier that is 80 % sure answer right 80 % of the time?"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mixviz.core.blocks import check_finite


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a reliability diagram shows, by bins of confidence, all (bins,) and float64.

    Attributes:
        error: Σ count/n · |accuracy − confidence|, in [0, 1].
        confidence: mean probability of the first answer; 0 in an empty bin.
        accuracy: share of right first answers; 0 in an empty bin.
        count: images in the bin, int64.
    """

    error: float
    confidence: Tensor
    accuracy: Tensor
    count: Tensor


def expected_calibration_error(
    probabilities: Tensor, labels: Tensor, bins: int = 15
) -> Calibration:
    """Compare confidence with accuracy in equal bins of confidence.

    Naeini et al. 2015; Guo et al. 2017 (arXiv:1706.04599), equation 3: bin m holds the
    confidences in ((m − 1)/bins, m/bins].

    Args:
        probabilities: of each image and class (n, k).
        labels: the true classes (n,).
        bins: how many.

    Raises:
        ValueError: there are no images or no bins, or a value is not a probability.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    if probabilities.ndim != 2 or not len(probabilities) or len(probabilities) != len(labels):
        raise ValueError(
            f"probabilities must be (n, k) with n ≥ 1 labels, got {tuple(probabilities.shape)} "
            f"and {len(labels)} labels"
        )
    check_finite("probabilities", probabilities)
    if bool((probabilities < 0).any()) or bool((probabilities > 1 + 1e-5).any()):
        raise ValueError("probabilities must lie in [0, 1]")
    sure, answer = probabilities.double().max(1)
    place = ((sure * bins).ceil().long() - 1).clamp(0, bins - 1)
    right = (answer == labels.to(answer.device)).double()
    count = torch.bincount(place, minlength=bins)
    filled = count.clamp(min=1)
    confidence = torch.bincount(place, sure, bins) / filled
    accuracy = torch.bincount(place, right, bins) / filled
    error = float((count * (accuracy - confidence).abs()).sum() / len(labels))
    return Calibration(error, confidence.cpu(), accuracy.cpu(), count.cpu())
