"""What a classifier is judged by: each measure states its protocol and returns its figures."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from tqdm import tqdm

from mixviz.core.blocks import check_finite
from mixviz.evaluate.attacks import fgsm, pgd
from mixviz.evaluate.calibration import expected_calibration_error
from mixviz.evaluate.corruptions import CORRUPTIONS, SEVERITIES
from mixviz.evaluate.data import NO_BOXES
from mixviz.evaluate.localisation import SWEEP, Boxes, localise, sweep_boxes
from mixviz.evaluate.robustness import add_noise, replace_square
from mixviz.train.sources import ImageSet
from mixviz.zoo.classifier import Classifier
from mixviz.zoo.layers import class_activation

RADII = {"4/255": 4 / 255, "8/255": 8 / 255}
STEP, STEPS = 2 / 255, 7
BINS = 15
SIGMAS = (0.05, 0.1, 0.2)
SIDES = (0.25, 0.5)

Change = Callable[[Tensor, Tensor, int], Tensor]
"""Images in [0, 1], their classes and the number of the first one → changed images."""


class NotApplicableError(Exception):
    """A measure that these data or this classifier do not allow; says why."""


@dataclass(frozen=True)
class Figures:
    """What one measure found.

    Attributes:
        columns: percent, by the heading of its column in the table.
        details: everything else, ready for JSON.
    """

    columns: dict[str, float]
    details: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Subject:
    """A classifier and the images it is judged on.

    Attributes:
        classifier: on the device where the work is done.
        data: the images, at its input size.
        boxes: around the object of each image, or None.
        batch: images at a time; chance is drawn batch by batch, so it belongs to the protocol.
        seed: of all chance.
    """

    classifier: Classifier
    data: ImageSet
    boxes: Boxes | None
    batch: int
    seed: int

    def generator(self, start: int) -> Generator:
        """Chance for the batch whose first image is ``start``; on the CPU, alike everywhere."""
        return Generator().manual_seed(self.seed * 1_000_003 + start)

    def batches(self) -> "list[tuple[int, slice]]":
        """The number of the first image of each batch, and the batch."""
        starts = range(0, len(self.data), self.batch)
        return [(start, slice(start, start + self.batch)) for start in starts]

    def images(self, part: slice) -> Tensor:
        """Some of the images in [0, 1], on the CPU."""
        return self.data.images[part].cpu().float() / 255

    @torch.no_grad()
    def answer(self, images: Tensor) -> Tensor:
        """Logits, on the CPU.

        Raises:
            ValueError: a logit is not finite.
        """
        logits = self.classifier(images.to(self.classifier.device)).float()
        check_finite("logits", logits)
        return logits.cpu()

    @cached_property
    def logits(self) -> Tensor:
        """Of all images, unchanged."""
        return torch.cat([self.answer(self.images(part)) for _, part in self.batches()])

    def error(self, change: Change, bar: "tqdm[Any]") -> float:
        """Percent of images whose first answer is wrong once they are changed."""
        wrong = 0
        for start, part in self.batches():
            labels = self.data.labels[part].cpu()
            logits = self.answer(change(self.images(part), labels, start))
            wrong += int((logits.argmax(1) != labels).sum())
            bar.update(len(labels))
        return 100 * wrong / len(self.data)


@dataclass(frozen=True)
class Measure:
    """One thing to measure.

    Attributes:
        protocol: how, in a sentence; stands in the report.
        rounds: how often it goes through the images.
        find: the figures; NotApplicableError where there can be none.
    """

    protocol: str
    rounds: int
    find: Callable[[Subject, "tqdm[Any]"], Figures]


def _clean(subject: Subject, bar: "tqdm[Any]") -> Figures:
    labels = subject.data.labels.cpu()
    best = subject.logits.topk(min(5, subject.logits.shape[1]), 1).indices == labels[:, None]
    bar.update(len(labels))
    first, five = best[:, 0].double().mean().item(), best.any(1).double().mean().item()
    return Figures({"top-1": 100 * (1 - first), "top-5": 100 * (1 - five)}, {})


def _calibration(subject: Subject, bar: "tqdm[Any]") -> Figures:
    found = expected_calibration_error(subject.logits.softmax(1), subject.data.labels.cpu(), BINS)
    bar.update(len(subject.data))
    rows = zip(
        found.confidence.tolist(), found.accuracy.tolist(), found.count.tolist(), strict=True
    )
    names = ("confidence", "accuracy", "count")
    return Figures(
        {"ECE": 100 * found.error}, {"bins": [dict(zip(names, row, strict=True)) for row in rows]}
    )


def _fgsm(subject: Subject, bar: "tqdm[Any]") -> Figures:
    device = subject.classifier.device
    columns = {}
    for name, eps in RADII.items():

        def attack(images: Tensor, labels: Tensor, _start: int, eps: float = eps) -> Tensor:
            return fgsm(subject.classifier, images.to(device), labels.to(device), eps)

        columns[f"FGSM {name}"] = subject.error(attack, bar)
    return Figures(columns, {})


def _pgd(subject: Subject, bar: "tqdm[Any]") -> Figures:
    device = subject.classifier.device
    columns = {}
    for name, eps in RADII.items():

        def attack(images: Tensor, labels: Tensor, start: int, eps: float = eps) -> Tensor:
            x, y = images.to(device), labels.to(device)
            generator = subject.generator(start)
            return pgd(subject.classifier, x, y, eps, STEP, STEPS, generator)

        columns[f"PGD {name}"] = subject.error(attack, bar)
    return Figures(columns, {})


def _corruptions(subject: Subject, bar: "tqdm[Any]") -> Figures:
    errors: dict[str, list[float]] = {}
    for name, corruption in CORRUPTIONS.items():
        errors[name] = []
        for severity in SEVERITIES:

            def corrupt(
                images: Tensor,
                _labels: Tensor,
                start: int,
                severity: int = severity,
                apply: Callable[[Tensor, int, Generator], Tensor] = corruption.apply,
            ) -> Tensor:
                return apply(images, severity, subject.generator(start))

            errors[name].append(subject.error(corrupt, bar))
    by_group = {
        group: float(np.mean([errors[n] for n, c in CORRUPTIONS.items() if c.group == group]))
        for group in ("noise", "blur", "weather", "digital")
    }
    mean = float(np.mean(list(errors.values())))
    return Figures({"corrupted": mean}, {"by_severity": errors, "by_group": by_group})


def _noise(subject: Subject, bar: "tqdm[Any]") -> Figures:
    columns = {}
    for sigma in SIGMAS:

        def disturb(images: Tensor, _labels: Tensor, start: int, sigma: float = sigma) -> Tensor:
            return add_noise(images, sigma, subject.generator(start))

        columns[f"noise {sigma:g}"] = subject.error(disturb, bar)
    return Figures(columns, {})


def _replacement(subject: Subject, bar: "tqdm[Any]") -> Figures:
    count = len(subject.data)
    if count < 2:
        raise NotApplicableError("one image has no other to take a square from")
    # Every image gives one square and gets one.
    shift = int(torch.randint(1, count, (1,), generator=subject.generator(0)))
    partner = (torch.arange(count) + shift) % count
    columns = {}
    for side in SIDES:

        def replace(images: Tensor, _labels: Tensor, start: int, side: float = side) -> Tensor:
            others = subject.data.images[partner[start : start + len(images)]].cpu().float() / 255
            return replace_square(images, others, side, subject.generator(start))

        columns[f"replaced {side:g}"] = subject.error(replace, bar)
    return Figures(columns, {"partner": f"image i gets its square from image i + {shift}"})


def _localisation(subject: Subject, bar: "tqdm[Any]") -> Figures:
    if subject.boxes is None:
        raise NotApplicableError(NO_BOXES)
    device, boxes = subject.classifier.device, []
    for _, part in subject.batches():
        images, labels = subject.images(part).to(device), subject.data.labels[part].to(device)
        boxes.append(
            sweep_boxes(class_activation(subject.classifier, images, labels).cpu().numpy())
        )
        bar.update(len(labels))
    right = subject.logits.argmax(1) == subject.data.labels.cpu()
    found = localise(np.concatenate(boxes, 1), right.numpy(), subject.boxes)
    columns = {"CAM box ↑": 100 * found.known, "CAM box, top-1 ↑": 100 * found.top1}
    return Figures(columns, asdict(found) | {"sweep": SWEEP})


MEASURES = {
    "clean": Measure("Share of images whose class is not the first (top five) answers.", 1, _clean),
    "calibration": Measure(
        f"Expected calibration error, {BINS} equal bins of confidence (Guo et al. 2017).",
        1,
        _calibration,
    ),
    "fgsm": Measure(
        "One signed gradient step at the true class, pixels in [0, 1], ε as headed.", 2, _fgsm
    ),
    "pgd": Measure(
        f"{STEPS} signed gradient steps of 2/255 at the true class from a random start in the "
        "ball of the maximum norm, projected onto the ball and [0, 1], ε as headed.",
        2,
        _pgd,
    ),
    "corruptions": Measure(
        "Mean top-1 error over the 19 corruptions of CIFAR-C × 5 severities, drawn by "
        "mixviz.evaluate.corruptions in the manner of Hendrycks and Dietterich 2019, not the "
        "published files.",
        len(CORRUPTIONS) * len(SEVERITIES),
        _corruptions,
    ),
    "noise": Measure(
        "Gaussian noise on all pixels in [0, 1], standard deviation as headed, clipped.",
        len(SIGMAS),
        _noise,
    ),
    "replacement": Measure(
        "A square at a random place, its side as headed as a share of the picture's, shows "
        "another validation image.",
        len(SIDES),
        _replacement,
    ),
    "localisation": Measure(
        "Class activation map of the true class, threshold 0.2 of its maximum, box of the largest "
        "region; share with intersection over union of at least 0.5 (top-1: first answer right "
        "too). Higher is better.",
        1,
        _localisation,
    ),
}
