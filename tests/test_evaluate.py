import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from skimage import color
from torch import Generator, Tensor, nn
from torchmetrics.functional.classification import multiclass_calibration_error

from mixviz.evaluate import command
from mixviz.evaluate.attacks import fgsm, pgd
from mixviz.evaluate.calibration import expected_calibration_error
from mixviz.evaluate.command import main
from mixviz.evaluate.corruptions import CORRUPTIONS, SEVERITIES
from mixviz.evaluate.costs import BATCHES, COSTS, cost_of, row_of
from mixviz.evaluate.data import open_validation
from mixviz.evaluate.localisation import (
    find_box,
    localise,
    overlap,
    read_boxes,
    sweep_boxes,
    to_square,
)
from mixviz.evaluate.measures import MEASURES
from mixviz.evaluate.papers import PROTOCOLS, REPORTED, reported_on
from mixviz.evaluate.pictures import draw_reliability
from mixviz.evaluate.report import overhead
from mixviz.evaluate.robustness import add_noise, replace_square
from mixviz.networks import NETWORKS
from mixviz.samples import SAMPLES, load_sample
from mixviz.train.checkpoint import read_checkpoint, round_weights, write_checkpoint
from mixviz.train.errors import DataError
from mixviz.train.judge import Normaliser, measure
from mixviz.train.shelf import Held
from mixviz.train.sources import decode_split, open_source

IDS = ("n00000001", "n00000002", "n00000003")
NAMES = ("red", "green", "blue")
SIDE = 32
ROWS = 18


def picture(number: int) -> np.ndarray:
    """Noise (side, side, 3) with one channel, the label's (number % 3), brighter in the box."""
    pixels = np.random.default_rng(number).integers(0, 90, (SIDE, SIDE, 3))
    left, top, right, bottom = box(number)
    pixels[top : bottom + 1, left : right + 1, number % 3] += 120
    return pixels.astype(np.uint8)


def box(number: int) -> tuple[int, int, int, int]:
    """Corners, the last inside."""
    return number % 5, number % 7, 20 + number % 11, 18 + number % 13


def encode(number: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture(number)).save(file, "PNG")
    return file.getvalue()


def write_shards(folder: Path, boxes: bool = True) -> Path:
    folder.mkdir()
    listing = zip(IDS, NAMES, strict=True)
    (folder / "classes.tsv").write_text(
        "".join(f"{label}\t{wnid}\t{name}\n" for label, (wnid, name) in enumerate(listing))
    )
    images = [{"bytes": encode(n), "path": f"val_{n}.PNG"} for n in range(ROWS)]
    labels = pa.array([n % 3 for n in range(ROWS)], pa.int16())
    pq.write_table(
        pa.table({"image": images, "label": labels}), folder / "val-00000-of-00001.parquet"
    )
    if boxes:
        lines = ["path\tx0\ty0\tx1\ty1", *(tabbed(f"val_{n}.PNG", *box(n)) for n in range(ROWS))]
        (folder / "val-boxes.tsv").write_text("\n".join(lines) + "\n")
    return folder


def write_published(folder: Path) -> Path:
    """The layout Tiny-ImageNet is published in."""
    images = folder / "val" / "images"
    images.mkdir(parents=True)
    lines = []
    for number in range(ROWS):
        (images / f"val_{number}.PNG").write_bytes(encode(number))
        lines.append(tabbed(f"val_{number}.PNG", IDS[number % 3], *box(number)))
    (folder / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    return folder


def write_class_folders(folder: Path) -> Path:
    for number in range(ROWS):
        inside = folder / "val" / IDS[number % 3]
        inside.mkdir(parents=True, exist_ok=True)
        (inside / f"val_{number}.PNG").write_bytes(encode(number))
    return folder


def tabbed(*cells: object) -> str:
    return "\t".join(str(cell) for cell in cells)


def write_classifier(folder: Path, name: str = "tiny", **more: object) -> Path:
    torch.manual_seed(0)
    network = NETWORKS["preactresnet18"](num_classes=3, width=4, stem_stride=1)
    card = {
        "architecture": {"name": "preactresnet18", "options": {"width": 4, "stem_stride": 1}},
        "class_names": list(NAMES),
        "wordnet_ids": list(IDS),
        "input_size": SIDE,
        "mean": [0.3, 0.3, 0.3],
        "std": [0.2, 0.2, 0.2],
        "top1": 33.3,
        "top5": 100.0,
        "data": "pocket",
    }
    folder.mkdir(exist_ok=True)
    write_checkpoint(folder, name, round_weights(network), card | more)
    return folder / f"{name}.json"


class Linear(nn.Module):
    """Logits are sums of pixels; counts as in training until it is asked not to be."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(x.flatten(1)) @ self.weight.T


@pytest.fixture(scope="module")
def photographs() -> Tensor:
    """The bundled photographs at 64 pixels, (n, 3, 64, 64)."""
    shown = []
    for sample in SAMPLES:
        image = Image.fromarray(load_sample(sample).pixels).resize((64, 64), Image.Resampling.BOX)
        shown.append(torch.from_numpy(np.array(image)).permute(2, 0, 1))
    return torch.stack(shown) / 255


# Attacks ----------------------------------------------------------------------------------------


def linear_case() -> tuple[Linear, Tensor, Tensor]:
    generator = Generator().manual_seed(1)
    weight = torch.randn(2, 3 * 16, generator=generator)
    x = 0.2 + 0.6 * torch.rand((5, 3, 4, 4), generator=generator)
    return Linear(weight), x, torch.tensor([0, 1, 0, 1, 1])


def test_fgsm_of_a_linear_classifier_is_the_corner_of_the_ball() -> None:
    classifier, x, y = linear_case()
    attacked = fgsm(classifier, x, y, 8 / 255)
    toward = (classifier.weight[1 - y] - classifier.weight[y]).detach().view_as(x)
    assert torch.allclose(attacked, x + 8 / 255 * toward.sign(), atol=1e-7)
    # So the margin falls by ε times the sum of all weights' sizes, and no attack can do more.
    classifier.eval()

    def margin(images: Tensor) -> Tensor:
        logits = classifier(images).detach()
        return logits.gather(1, y[:, None]) - logits.gather(1, 1 - y[:, None])

    lost = (margin(x) - margin(attacked))[:, 0]
    assert torch.allclose(lost, 8 / 255 * toward.abs().sum((1, 2, 3)), atol=1e-4)


def test_pgd_walks_step_by_step_to_the_same_corner() -> None:
    classifier, x, y = linear_case()
    sign = ((fgsm(classifier, x, y, 8 / 255) - x) > 0) * 2 - 1
    for steps, reached in ((0, 0), (1, 2), (3, 6), (4, 8), (7, 8)):
        attacked = pgd(classifier, x, y, 8 / 255, 2 / 255, steps)
        assert torch.allclose(attacked, x + sign * reached / 255, atol=1e-6)


def test_pgd_starts_at_random_inside_the_ball() -> None:
    classifier, x, y = linear_case()
    start = pgd(classifier, x, y, 8 / 255, 2 / 255, 0, Generator().manual_seed(3))
    assert torch.equal(
        start, pgd(classifier, x, y, 8 / 255, 2 / 255, 0, Generator().manual_seed(3))
    )
    assert 7 / 255 < (start - x).abs().max() <= 8 / 255 + 1e-6
    assert abs((start - x).mean()) < 1 / 255
    end = pgd(classifier, x, y, 8 / 255, 2 / 255, 8, Generator().manual_seed(3))
    assert torch.allclose(end, fgsm(classifier, x, y, 8 / 255), atol=1e-6)


def test_attacks_stay_pictures_and_leave_the_classifier_alone() -> None:
    classifier, x, y = linear_case()
    extreme = x.round()
    before = extreme.clone()
    for attacked in (
        fgsm(classifier, extreme, y, 0.3),
        pgd(classifier, extreme, y, 0.3, 0.1, 3, Generator().manual_seed(0)),
    ):
        assert attacked.min() >= 0
        assert attacked.max() <= 1
    assert torch.equal(extreme, before)
    assert classifier.training
    assert classifier.dropout.training
    assert classifier.weight.grad is None
    with pytest.raises(ValueError, match="eps must not be negative, got -1"):
        fgsm(classifier, x, y, -1)
    with pytest.raises(ValueError, match="step must not be negative"):
        pgd(classifier, x, y, 0.1, -1, 3)


# Calibration ------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.integers(1, 300), st.integers(2, 12), st.integers(1, 20))
@settings(max_examples=40)
def test_calibration_error_is_that_of_torchmetrics(
    seed: int, count: int, classes: int, bins: int
) -> None:
    generator = Generator().manual_seed(seed)
    probabilities = (3 * torch.randn((count, classes), generator=generator)).softmax(1)
    labels = torch.randint(classes, (count,), generator=generator)
    ours = expected_calibration_error(probabilities, labels, bins)
    theirs = multiclass_calibration_error(probabilities, labels, classes, bins, norm="l1")
    assert ours.error == pytest.approx(float(theirs), abs=1e-5)
    assert int(ours.count.sum()) == count


def test_calibration_by_hand() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.45, 0.55], [0.0, 1.0]])
    found = expected_calibration_error(probabilities, torch.tensor([0, 1, 1, 1]), 5)
    assert found.count.tolist() == [0, 0, 1, 1, 2]
    assert found.confidence.tolist() == pytest.approx([0, 0, 0.55, 0.7, 0.95])
    assert found.accuracy.tolist() == [0, 0, 1, 0, 1]
    assert found.error == pytest.approx((0.45 + 0.7 + 2 * 0.05) / 4)


def test_a_bin_ends_with_its_upper_edge() -> None:
    half = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    assert expected_calibration_error(half, torch.tensor([0]), 2).count.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("probabilities", "bins", "sentence"),
    [
        (torch.tensor([[float("nan"), 1.0]]), 15, "probabilities must be finite"),
        (torch.tensor([[-0.5, 1.5]]), 15, r"must lie in \[0, 1\]"),
        (torch.tensor([[0.5, 0.5]]), 0, "bins must be at least 1, got 0"),
        (torch.ones(0, 2), 15, r"got \(0, 2\)"),
    ],
)
def test_calibration_refuses_what_is_no_probability(
    probabilities: Tensor, bins: int, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        expected_calibration_error(probabilities, torch.zeros(len(probabilities)).long(), bins)


# Corruptions ------------------------------------------------------------------------------------


def test_the_nineteen_of_cifar_c() -> None:
    groups = {
        "noise": {"gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"},
        "blur": {"defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "gaussian_blur"},
        "weather": {"snow", "frost", "fog", "brightness", "spatter"},
        "digital": {"contrast", "elastic_transform", "pixelate", "jpeg_compression", "saturate"},
    }
    for group, names in groups.items():
        assert {name for name, each in CORRUPTIONS.items() if each.group == group} == names
    assert len(CORRUPTIONS) == 19
    assert all(each.words for each in CORRUPTIONS.values())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_grow_stay_pictures_and_repeat_themselves(
    name: str, photographs: Tensor
) -> None:
    for images in (photographs, photographs[:, :, ::2, ::2], enlarge(photographs, 96)):
        before, distances = images.clone(), []
        for severity in SEVERITIES:
            corrupted = CORRUPTIONS[name].apply(images, severity, Generator().manual_seed(5))
            again = CORRUPTIONS[name].apply(images, severity, Generator().manual_seed(5))
            assert torch.equal(corrupted, again)
            assert corrupted.shape == images.shape
            assert corrupted.dtype == images.dtype
            assert 0 <= corrupted.min() < corrupted.max() <= 1
            assert torch.allclose(corrupted * 255, (corrupted * 255).round(), atol=1e-4)
            distances.append(float((corrupted - images).abs().mean()))
        assert torch.equal(images, before)
        assert distances[0] > 0.001
        assert distances == sorted(set(distances)), distances


def enlarge(images: Tensor, size: int) -> Tensor:
    return nn.functional.interpolate(images, size, mode="bilinear", antialias=True)


@pytest.mark.parametrize(
    "name", ["gaussian_noise", "glass_blur", "snow", "frost", "spatter", "fog"]
)
def test_chance_comes_from_the_generator_alone(name: str, photographs: Tensor) -> None:
    apply = CORRUPTIONS[name].apply
    state = torch.random.get_rng_state()
    one, two = (apply(photographs, 3, Generator().manual_seed(seed)) for seed in (1, 2))
    assert not torch.equal(one, two)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("name", ["gaussian_blur", "defocus_blur", "zoom_blur", "contrast"])
def test_a_larger_picture_is_corrupted_alike(name: str, photographs: Tensor) -> None:
    large = enlarge(photographs, 192)
    small = nn.functional.avg_pool2d(large, 3)
    generator = Generator()
    shrunk = nn.functional.avg_pool2d(CORRUPTIONS[name].apply(large, 5, generator), 3)
    alike = (shrunk - CORRUPTIONS[name].apply(small, 5, generator)).abs().mean()
    changed = (shrunk - small).abs().mean()
    assert alike < 0.15 * changed


def test_noises_have_the_stated_size() -> None:
    grey = torch.full((2, 3, 64, 64), 0.5)

    def spread(name: str, severity: int) -> float:
        noisy = CORRUPTIONS[name].apply(grey, severity, Generator().manual_seed(0))
        return float((noisy - grey).std())

    assert spread("gaussian_noise", 3) == pytest.approx(0.12, rel=0.03)
    assert spread("speckle_noise", 3) == pytest.approx(0.5 * 0.25, rel=0.03)
    assert spread("shot_noise", 3) == pytest.approx((0.5 / 50) ** 0.5, rel=0.03)
    salted = CORRUPTIONS["impulse_noise"].apply(grey, 5, Generator().manual_seed(0))
    assert float((salted == 1).float().mean()) == pytest.approx(0.07, abs=0.01)
    assert float((salted == 0).float().mean()) == pytest.approx(0.07, abs=0.01)


def test_gaussian_blur_is_that_of_scipy(photographs: Tensor) -> None:
    blurred = CORRUPTIONS["gaussian_blur"].apply(photographs, 5, Generator())
    theirs = ndimage.gaussian_filter(photographs.numpy(), (0, 0, 1.5, 1.5), mode="mirror")
    assert np.abs(blurred.numpy() - theirs).max() < 0.51 / 255 + 1e-4


@pytest.mark.parametrize(
    ("name", "severity", "change"),
    [
        ("brightness", 4, lambda hsv: np.stack((*hsv[:2], np.clip(hsv[2] + 0.4, 0, 1)))),
        ("saturate", 2, lambda hsv: np.stack((hsv[0], hsv[1] * 0.3, hsv[2]))),
        ("saturate", 1, lambda hsv: np.stack((hsv[0], np.clip(hsv[1] * 2, 0, 1), hsv[2]))),
    ],
)
def test_colours_change_as_in_the_hsv_of_scikit_image(
    name: str, severity: int, change: Callable[[np.ndarray], np.ndarray], photographs: Tensor
) -> None:
    ours = CORRUPTIONS[name].apply(photographs[:1], severity, Generator())[0].numpy()
    theirs = color.hsv2rgb(
        change(color.rgb2hsv(photographs[0].numpy(), channel_axis=0)), channel_axis=0
    )
    assert np.abs(ours - theirs).max() < 0.51 / 255 + 1e-4


def test_black_and_grey_have_no_hue_to_saturate() -> None:
    grey = torch.linspace(0, 1, 256).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    for severity in SEVERITIES:
        same = CORRUPTIONS["saturate"].apply(grey, severity, Generator())
        assert torch.allclose(same, grey, atol=1 / 255)


def test_corruptions_refuse_what_they_cannot_corrupt() -> None:
    apply = CORRUPTIONS["fog"].apply
    with pytest.raises(ValueError, match="severity must be 1, 2, 3, 4 or 5, got 6"):
        apply(torch.rand(1, 3, 64, 64), 6, Generator())
    with pytest.raises(ValueError, match=r"at least 16 pixels a side, got \(1, 3, 8, 64\)"):
        apply(torch.rand(1, 3, 8, 64), 1, Generator())


# Noise and squares ------------------------------------------------------------------------------


def test_noise_has_its_sigma_and_stays_in_range() -> None:
    grey = torch.full((4, 3, 32, 32), 0.5)
    noisy = add_noise(grey, 0.1, Generator().manual_seed(0))
    assert float(noisy.std()) == pytest.approx(0.1, rel=0.03)
    assert add_noise(grey, 5, Generator()).max() == 1
    assert torch.equal(add_noise(grey, 0, Generator()), grey)
    with pytest.raises(ValueError, match="sigma must not be negative"):
        add_noise(grey, -0.1, Generator())


@given(st.integers(0, 10**6), st.floats(0, 1), st.integers(4, 20), st.integers(4, 20))
def test_a_square_of_the_asked_size_lies_inside(
    seed: int, side: float, height: int, width: int
) -> None:
    zeros, ones = torch.zeros(3, 3, height, width), torch.ones(3, 3, height, width)
    mixed = replace_square(zeros, ones, side, Generator().manual_seed(seed))
    pixels = round(side * min(height, width))
    assert mixed.sum((1, 2, 3)).tolist() == [3.0 * pixels**2] * 3
    for image in mixed[:, 0]:
        assert sorted(set(image.sum(0).tolist())) in ([0, pixels], [pixels], [0])


def test_squares_come_everywhere_and_need_a_partner_of_their_size() -> None:
    zeros = torch.zeros(500, 3, 8, 8)
    mixed = replace_square(zeros, zeros + 1, 0.25, Generator().manual_seed(0))
    assert (mixed.amax((0, 1)) == 1).all()
    with pytest.raises(ValueError, match="others must have the shape of images"):
        replace_square(zeros, zeros[1:], 0.5, Generator())
    with pytest.raises(ValueError, match=r"side must lie in \[0, 1\], got 2"):
        replace_square(zeros, zeros, 2, Generator())


# Localisation -----------------------------------------------------------------------------------


def test_the_box_surrounds_the_largest_region_above_the_threshold() -> None:
    activation = np.zeros((6, 8))
    activation[1:3, 2:6] = 0.2  # exactly the threshold: inside
    activation[2, 6] = 0.19
    activation[5, 7] = 1.0  # the maximum, but one pixel
    activation[3, 6] = 0.5  # touches at a corner only
    activation[0, 0] = -3
    assert find_box(activation).tolist() == [2, 1, 6, 3]
    assert find_box(activation, 0.6).tolist() == [7, 5, 8, 6]
    assert find_box(np.full((3, 4), 2.0)).tolist() == [0, 0, 4, 3]
    assert find_box(np.full((3, 4), -1.0)).tolist() == [0, 0, 0, 0]


def test_overlap_by_hand() -> None:
    found = np.array([[0, 0, 4, 4], [0, 0, 2, 2], [0, 0, 4, 4], [0, 0, 0, 0], [0, 0, 0, 0]])
    given_boxes = np.array([[2, 0, 6, 4], [2, 2, 4, 4], [0, 0, 4, 4], [0, 0, 1, 1], [0, 0, 0, 0]])
    assert overlap(found, given_boxes).tolist() == pytest.approx([8 / 24, 0, 1, 0, 0])


def test_localisation_counts_boxes_and_right_answers() -> None:
    maps = np.zeros((4, 8, 8))
    maps[:, :4, :4] = 1.0
    boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 8], [0, 0, 5, 8], [4, 4, 8, 8]])
    found = localise(sweep_boxes(maps), np.array([True, False, True, True]), boxes)
    assert found.known == 0.5
    assert found.top1 == 0.25
    assert found.mean_overlap == pytest.approx((1 + 0.5 + 0.4 + 0) / 4)
    assert found.by_overlap == (0.75,) * 4 + (0.5,) + (0.25,) * 4
    assert found.by_threshold == (0.5,) * 9


def test_boxes_are_read_in_both_forms_and_follow_the_centre_square(tmp_path: Path) -> None:
    shards = read_boxes(write_shards(tmp_path / "shards") / "val-boxes.tsv")
    published = read_boxes(write_published(tmp_path / "tiny") / "val" / "val_annotations.txt")
    assert list(shards) == list(published) == [f"val_{n}.PNG" for n in range(ROWS)]
    assert all(np.array_equal(shards[name], published[name]) for name in shards)
    left, top, right, bottom = box(9)
    assert shards["val_9.PNG"].tolist() == [left, top, right + 1, bottom + 1]
    # 100 × 60: the centre square begins at 20; at 30 pixels everything is half as long.
    assert to_square(np.array([10, 0, 60, 20]), 100, 60, 30).tolist() == [0, 0, 20, 10]
    wrong = tmp_path / "wrong.txt"
    wrong.write_text("a.png\t1\t2\t0\t5\n")
    with pytest.raises(DataError, match=r"wrong.txt line 1: expected a name"):
        read_boxes(wrong)


# Data -------------------------------------------------------------------------------------------


def test_the_layouts_hold_the_same_images_and_boxes(tmp_path: Path) -> None:
    shards = open_validation(write_shards(tmp_path / "shards"), None, False, IDS, NAMES, 7)
    published = open_validation(write_published(tmp_path / "tiny"), None, False, IDS, NAMES, 7)
    one, two = shards.decode(SIDE), published.decode(SIDE)
    assert torch.equal(one.images, two.images)
    assert torch.equal(one.labels, two.labels)
    assert np.array_equal(shards.boxes_at(SIDE), published.boxes_at(SIDE))
    assert shards.names == published.names
    assert (len(one), shards.total) == (7, ROWS)
    for name, image, found in zip(shards.names, one.images, shards.boxes_at(SIDE), strict=True):
        number = int(name[4:-4])
        assert np.array_equal(image.permute(1, 2, 0), picture(number))
        assert found.tolist() == [*box(number)[:2], box(number)[2] + 1, box(number)[3] + 1]


def test_class_folders_have_boxes_once_the_annotations_lie_beside(tmp_path: Path) -> None:
    folder = write_class_folders(tmp_path / "sorted")
    assert open_validation(folder, None, False, IDS, NAMES, None).boxes_at(SIDE) is None
    notes = write_published(tmp_path / "tiny") / "val" / "val_annotations.txt"
    (folder / "val" / "val_annotations.txt").write_text(notes.read_text())
    validation = open_validation(folder, None, False, IDS, NAMES, None)
    number = int(validation.names[4][4:-4])
    left, top, right, bottom = box(number)
    found = validation.boxes_at(2 * SIDE)
    assert found is not None
    assert found[4].tolist() == [2 * left, 2 * top, 2 * right + 2, 2 * bottom + 2]


def test_a_limit_takes_the_classes_in_turn_and_larger_ones_contain_smaller(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards")
    before: set[str] = set()
    for limit in range(1, ROWS + 3):
        validation = open_validation(folder, None, False, IDS, NAMES, limit)
        counts = np.bincount(validation.source.splits["val"].labels, minlength=3)
        assert counts.sum() == min(limit, ROWS)
        assert counts.max() - counts.min() <= 1
        assert before <= set(validation.names)
        before = set(validation.names)


# Papers and report ------------------------------------------------------------------------------


def test_every_paper_row_states_its_protocol_and_stands_once() -> None:
    assert {row.table for row in REPORTED} == set(PROTOCOLS)
    keys = [(row.dataset, row.table, row.method) for row in REPORTED]
    assert len(keys) == len(set(keys))
    for row in REPORTED:
        assert all(0 < value < 100 for value in row.figures.values())
        assert row.figures.get("top-5", 0) <= row.figures.get("top-1", 100)
    tiny = reported_on(("tiny_imagenet-200",))
    assert {row.dataset for row in tiny} == {"Tiny-ImageNet"}
    assert reported_on(("cifar100",))[0].dataset == "CIFAR-100"
    assert reported_on(("flowers",)) == ()


def test_overhead_needs_the_same_run_without_mixing() -> None:
    recipe = {"batch": 8, "mixing": None}
    vanilla = {"data": "d", "hardware": "h", "epochs": 2, "seconds": 50.0, "recipe": recipe}
    mixed = vanilla | {"method": "cutmix", "seconds": 60.0, "recipe": {"batch": 8, "mixing": {}}}
    assert overhead(mixed, [mixed, vanilla]) == pytest.approx(20)
    assert overhead(vanilla, [mixed, vanilla]) is None
    assert overhead(mixed, [mixed]) is None
    for key, other in (("hardware", "x"), ("epochs", 3), ("recipe", {"batch": 9, "mixing": None})):
        assert overhead(mixed, [vanilla | {key: other}]) is None


def test_measured_costs_are_those_of_the_checkpoints_page() -> None:
    """Whoever measures anew changes both."""
    text = (Path(__file__).parents[1] / "checkpoints" / "README.md").read_text()
    told = re.findall(r"^\| `([a-z_:]+)`[^|]*\| [+]([0-9.]+) %", text, re.MULTILINE)
    ours = {cost.row: cost.measured for cost in COSTS if cost.measured and cost.row != "none"}
    assert {row: float(value) for row, value in told} == ours


def test_costs_are_found_by_the_recipe_of_a_card() -> None:
    assert cost_of(row_of(None)) is COSTS[0]
    for mixing, method in (
        ({"method": "cutmix", "pairing": "random", "saliency": "gradient"}, "CutMix"),
        ({"method": "guidedmixup", "pairing": "greedy", "saliency": "gradient"}, "Guided-AP"),
        (
            {"method": "guidedmixup", "pairing": "greedy", "saliency": "spectral_residual"},
            "Guided-SR",
        ),
        (
            {"method": "guided_sr", "pairing": "greedy", "saliency": "spectral_residual"},
            "Guided-SR",
        ),
        (
            {"method": "guided_ap", "pairing": "random", "saliency": "gradient"},
            "Guided-AP (random)",
        ),
        ({"method": "comixup", "pairing": None, "saliency": None}, "Co-Mixup"),
    ):
        found = cost_of(row_of(mixing))
        assert found is not None
        assert found.method == method
    assert cost_of("unheard_of") is None
    assert cost_of("") is None
    assert all(len(cost.published) in (0, len(BATCHES)) for cost in COSTS)


def test_the_diagram_shows_accuracy_as_the_height_of_a_bar() -> None:
    bins = [{"confidence": 0.25, "accuracy": 0.5, "count": 3}, {"confidence": 0.75, **EMPTY}]
    page = draw_reliability(bins, "title")
    column = np.asarray(page)[46:407, 150]
    assert abs(int((column == (47, 111, 178)).all(1).sum()) - 180) < 10
    assert (np.asarray(page)[60:390, 330] != (47, 111, 178)).any(1).all()


TITLES = ["classifier", "method", "trained on", "source", "top-1"]
EMPTY = {"accuracy": 0.0, "count": 0}


# The command ------------------------------------------------------------------------------------


def test_one_run_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = {"batch": 8, "per_class": 50, "mixing": None}
    facts = {"data": "tiny-imagenet, three classes", "hardware": "h", "epochs": 1, "seconds": 10.0}
    plain = write_classifier(tmp_path / "runs", "plain", recipe=recipe, **facts)
    mixed = write_classifier(
        tmp_path / "runs",
        "mixed",
        **facts | {"recipe": recipe | {"mixing": {}}, "method": "cutmix", "seconds": 15.0},
    )
    data = write_shards(tmp_path / "shards")
    said = [str(plain), str(mixed), "--data", str(data), "--limit", "9", "--batch", "4"]
    said += ["--device", "cpu", "--json", str(tmp_path / "one.json")]
    assert main([*said, "--pictures", str(tmp_path / "drawn")]) == 0
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "one.json").read_text())

    first, second = report["runs"]
    assert first["checkpoint"] == "plain"
    assert second["percent"].pop("overhead") == 50
    assert second["percent"] == first["percent"]
    assert set(first["percent"]) == {
        "top-1",
        "top-5",
        "ECE",
        "FGSM 4/255",
        "FGSM 8/255",
        "PGD 4/255",
        "PGD 8/255",
        "corrupted",
        "noise 0.05",
        "noise 0.1",
        "noise 0.2",
        "replaced 0.25",
        "replaced 0.5",
        "CAM box ↑",
        "CAM box, top-1 ↑",
    }
    card, network = read_checkpoint(plain)
    validation = open_validation(data, None, False, IDS, NAMES, 9)
    normalise = Normaliser.of(card["mean"], card["std"], torch.device("cpu"))
    accuracy = measure(network, Held(validation.decode(SIDE), torch.device("cpu")), normalise)
    assert first["percent"]["top-1"] == pytest.approx(100 - accuracy.top1, abs=1e-3)
    assert first["percent"]["PGD 8/255"] >= first["percent"]["FGSM 8/255"] >= 100 - accuracy.top1
    errors = first["details"]["corruptions"]["by_severity"]
    assert {name: len(row) for name, row in errors.items()} == dict.fromkeys(CORRUPTIONS, 5)
    assert np.mean(list(errors.values())) == pytest.approx(first["percent"]["corrupted"], abs=1e-3)
    assert sum(each["count"] for each in first["details"]["calibration"]["bins"]) == 9
    assert set(MEASURES) <= set(report["protocol"])
    assert report["data"]["images"] == 9
    assert report["data"]["of"] == ROWS
    assert report["papers"][0]["table"] == "Puzzle Mix, Table 4"
    assert str(tmp_path) not in json.dumps(report)

    lines = printed.splitlines()
    heading = next(line for line in lines if line.startswith("| classifier"))
    table = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert [cell.strip() for cell in heading.split("|")[1:6]] == TITLES
    assert any("cutmix" in line and "50 a class" in line for line in table)
    assert any("Puzzle Mix, Table 4" in line and "36.52" in line for line in table)
    assert "Ours, pgd: 7 signed gradient steps of 2/255" in printed
    with Image.open(tmp_path / "drawn" / "plain-corruptions.png") as sheet:
        assert sheet.height > 19 * SIDE
    assert (tmp_path / "drawn" / "mixed-reliability.png").is_file()


def test_a_run_repeats_itself(tmp_path: Path) -> None:
    checkpoint = write_classifier(tmp_path / "runs")
    data = write_shards(tmp_path / "shards")
    found = []
    for name in ("one.json", "two.json"):
        chosen = "pgd,noise,replacement,localisation"
        said = [str(checkpoint), "--data", str(data), "--metrics", chosen, "--seed", "7"]
        assert main([*said, "--device", "cpu", "--json", str(tmp_path / name)]) == 0
        run = json.loads((tmp_path / name).read_text())["runs"][0]
        found.append({key: value for key, value in run.items() if key != "seconds"})
    assert found[0] == found[1]


def test_localisation_without_boxes_is_left_out_and_said_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_classifier(tmp_path / "runs")
    data = write_shards(tmp_path / "shards", boxes=False)
    assert main([str(checkpoint), "--data", str(data), "--metrics", "clean,localisation"]) == 0
    printed = capsys.readouterr().out
    assert "tiny: localisation left out: the data have no boxes" in printed
    assert "CAM" not in printed.splitlines()[0]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("--data", "nowhere"), "no data folder at nowhere"),
        (("--metrics", "clean,beauty"), "--metrics: no 'beauty', there are clean, calibration"),
        (("--limit", "0"), "--limit: must be at least 1, got 0"),
        (("--json", "no/where/x.json"), "--json: no folder no/where"),
        (("--seed", "-1"), "--seed must lie in"),
        (("--colour", "red"), "unrecognized arguments: --colour red"),
    ],
)
def test_wrong_requests_get_a_sentence(
    change: tuple[str, str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_classifier(tmp_path / "runs")
    data = write_shards(tmp_path / "shards")
    assert main([str(checkpoint), "--data", str(data), *change]) == 2
    told = capsys.readouterr().err
    assert told.startswith("mixviz.evaluate: ")
    assert sentence in told
    assert told.count("\n") == 1


def test_wrong_checkpoints_get_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(write_shards(tmp_path / "shards"))
    other = write_classifier(tmp_path / "runs", "other", class_names=["cat", "dog", "cow"])
    wrong = {
        "mean": "grey",
        "std": [0, 0.1, 0.1],
        "input_size": -5,
        "top1": None,
        "class_names": [],
        "architecture": {"name": ["preactresnet18"], "options": {}},
        "recipe": [],
        "method": 5,
        "data": 5,
    }
    assert main([str(tmp_path / "none.json"), "--data", data]) == 2
    assert "no checkpoint file" in capsys.readouterr().err
    assert main([str(other), "--data", data]) == 2
    assert "shards does not have the classes of other" in capsys.readouterr().err
    for key, value in wrong.items():
        card = write_classifier(tmp_path / "runs", key, **{key: value})
        assert main([str(card), "--data", data]) == 2
        assert f"{key}.json: {key!r} cannot be {json.dumps(value)}" in capsys.readouterr().err
    assert main([str(other), "--data", data, "--json", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err


def test_a_classifier_that_answers_nan_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_classifier(tmp_path / "runs", std=[5e-324] * 3)
    data = str(write_shards(tmp_path / "shards"))
    for metric in ("clean", "fgsm", "corruptions", "localisation"):
        assert main([str(checkpoint), "--data", data, "--metrics", metric]) == 2
        assert f"tiny, {metric}: " in capsys.readouterr().err


def test_ctrl_c_ends_it_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "judge", interrupt)
    checkpoint = write_classifier(tmp_path / "runs")
    out = tmp_path / "x.json"
    data = write_shards(tmp_path / "shards")
    assert main([str(checkpoint), "--data", str(data), "--json", str(out)]) == 130
    assert "stopped, nothing was written" in capsys.readouterr().err
    assert not out.exists()


def test_broken_annotations_get_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_classifier(tmp_path / "runs")
    data = write_published(tmp_path / "tiny")
    listing = data / "val" / "val_annotations.txt"
    listing.write_text(listing.read_text().replace(f"val_4.PNG\t{IDS[1]}", "../up.PNG\tn09999999"))
    assert main([str(checkpoint), "--data", str(data)]) == 2
    assert "val_annotations.txt line 5: expected a file name" in capsys.readouterr().err


def test_the_validation_split_is_that_of_training(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards")
    whole = decode_split(open_source(folder, None, False, ("val",)), "val", SIDE)
    ours = open_validation(folder, None, False, IDS, NAMES, None).decode(SIDE)
    assert torch.equal(whole.images, ours.images)
    assert torch.equal(whole.labels, ours.labels)
