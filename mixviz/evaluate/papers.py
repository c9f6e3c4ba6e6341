"""What the papers report, beside which our figures are printed; errors in percent."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reported:
    """One row of a paper's table.

    Attributes:
        dataset, network, method: as the paper names them.
        table: paper and number.
        figures: percent, by the heading of the same column of ours.
    """

    dataset: str
    network: str
    method: str
    table: str
    figures: dict[str, float]


PROTOCOLS = {
    "Puzzle Mix, Table 3": "1200 epochs, median of the last 10; FGSM ε 8/255",
    "Puzzle Mix, Table 4": "median of the last 10 epochs; FGSM ε 4/255",
    "Puzzle Mix, Table 6": "400 epochs; the published files of CIFAR-100-C",
    "Puzzle Mix, Table 8": "400 epochs; FGSM ε 8/255, PGD 7 steps of 2/255",
    "GuidedMixup, Table 1": "protocol of Puzzle Mix, whose rows it repeats; they are left out",
    "GuidedMixup, Table 4": "protocol of Puzzle Mix, Table 6",
    "R-Mix, Table 6": "300 epochs; FGSM ε 8/255; bins of the ECE not stated",
}
"""How the figures of a table came about."""


def _rows(
    dataset: str,
    network: str,
    table: str,
    headings: tuple[str, ...],
    rows: dict[str, tuple[float, ...]],
) -> tuple[Reported, ...]:
    return tuple(
        Reported(dataset, network, method, table, dict(zip(headings, values, strict=True)))
        for method, values in rows.items()
    )


REPORTED = (
    *_rows(
        "Tiny-ImageNet",
        "PreActResNet-18",
        "Puzzle Mix, Table 4",
        ("top-1", "top-5", "FGSM 4/255"),
        {
            "Vanilla": (42.77, 26.35, 91.85),
            "Input": (43.41, 26.98, 88.68),
            "Manifold": (41.99, 25.88, 89.25),
            "CutMix": (43.33, 24.48, 87.19),
            "AugMix": (44.03, 25.32, 90.00),
            "Puzzle Mix": (36.52, 18.95, 92.52),
            "Puzzle Mix (half)": (37.64, 19.37, 92.57),
            "Puzzle Mix (adv)": (38.55, 20.48, 82.07),
            "Puzzle Mix (half, adv)": (38.14, 19.70, 83.91),
        },
    ),
    *_rows(
        "Tiny-ImageNet",
        "PreActResNet-18",
        "GuidedMixup, Table 1",
        ("top-1", "top-5"),
        {
            "SaliencyMix": (43.46, 23.86),
            "Guided-SR": (40.56, 23.46),
            "Guided-AP": (35.37, 17.51),
        },
    ),
    *_rows(
        "Tiny-ImageNet",
        "PreActResNet-18",
        "GuidedMixup, Table 1",
        ("top-1",),
        {"Co-Mixup": (35.85,)},
    ),
    *_rows(
        "CIFAR-100",
        "PreActResNet-18",
        "Puzzle Mix, Table 3",
        ("top-1", "top-5", "FGSM 8/255"),
        {
            "Vanilla": (23.67, 8.98, 88.89),
            "Input": (23.16, 7.58, 70.09),
            "Manifold": (20.98, 6.63, 73.09),
            "CutMix": (23.20, 8.09, 86.38),
            "AugMix": (24.69, 8.38, 76.99),
            "Puzzle Mix": (19.62, 5.85, 79.47),
            "Puzzle Mix (half)": (20.09, 5.59, 75.72),
            "Puzzle Mix (adv)": (19.84, 6.11, 57.11),
            "Puzzle Mix (half, adv)": (19.96, 6.20, 59.33),
        },
    ),
    *_rows(
        "CIFAR-100",
        "PreActResNet-18",
        "GuidedMixup, Table 1",
        ("top-1", "top-5"),
        {"SaliencyMix": (20.25, 5.29), "Guided-SR": (19.40, 6.00), "Guided-AP": (18.80, 5.12)},
    ),
    *_rows(
        "CIFAR-100",
        "PreActResNet-18",
        "R-Mix, Table 6",
        ("ECE", "FGSM 8/255"),
        {
            "Vanilla": (10.25, 87.12),
            "Input": (18.50, 81.30),
            "Manifold": (7.60, 80.29),
            "CutMix": (18.41, 86.96),
            "PuzzleMix": (8.22, 78.70),
            "Co-Mixup": (5.83, 77.61),
            "R-Mix": (3.73, 77.08),
        },
    ),
    *_rows(
        "CIFAR-100",
        "WRN28-10",
        "Puzzle Mix, Table 6",
        ("top-1", "corrupted"),
        {
            "Vanilla": (21.14, 49.08),
            "AugMix": (20.45, 32.22),
            "Puzzle Mix": (15.95, 42.46),
            "Puzzle Mix (aug)": (16.50, 29.91),
        },
    ),
    *_rows(
        "CIFAR-100",
        "WRN28-10",
        "Puzzle Mix, Table 8",
        ("top-1", "FGSM 8/255", "PGD 8/255"),
        {
            "Puzzle Mix (adv)": (16.01, 47.18, 90.18),
            "Puzzle Mix (fgsm)": (16.42, 43.16, 91.19),
            "Puzzle Mix (ν0 = ν1)": (16.66, 65.90, 94.05),
        },
    ),
    *_rows(
        "CIFAR-100",
        "WRN28-10",
        "GuidedMixup, Table 4",
        ("top-1", "corrupted"),
        {
            "Guided-SR": (16.54, 42.89),
            "Guided-SR (Aug)": (15.96, 29.54),
            "Guided-AP": (16.37, 41.11),
            "Guided-AP (Aug)": (15.98, 29.07),
        },
    ),
)
"""The tables on data sets that mixviz trains on. GuidedMixup's Table 1 repeats Puzzle Mix's rows
(two top-5 errors of Tiny-ImageNet with other values); they stand here once, as first printed."""


def reported_on(names: tuple[str, ...]) -> tuple[Reported, ...]:
    """The rows on the data set that one of the names contains, however it is written."""
    plain = [_plain(name) for name in names]
    return tuple(row for row in REPORTED if any(_plain(row.dataset) in name for name in plain))


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
