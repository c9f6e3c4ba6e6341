"""Boxes worked by hand, and torchvision given the same draws."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Beta
from torchvision.transforms import v2

from mixviz.core.boxes import areas, inside, pixel_at, place_boxes
from mixviz.core.types import Pair
from mixviz.methods import METHODS
from mixviz.methods.cutmix import CutMixParams
from mixviz.methods.cutout import CutoutParams
from mixviz.methods.input_mixup import InputMixupParams
from mixviz.methods.saliencymix import SaliencyMixParams
from mixviz.methods.snapmix import SnapMixParams


def pair_of(size=8, batch=1, seed=0, **fields):
    rng = torch.Generator().manual_seed(seed)
    nothing = torch.full((batch, size, size), math.nan)
    x0, x1 = torch.rand(2, batch, 3, size, size, generator=rng)
    return Pair(x0, x1, **{"s0": nothing, "s1": nothing, **fields})


def peak_at(*places, size=8):
    maps = torch.zeros(1, size, size)
    for row, column in places:
        maps[0, row, column] = 1.0
    return maps


def pasted(pair, box, other=None):
    """Return image 0 with a box of image 1, or of another picture, laid over it, slowly."""
    left, top, right, bottom = box
    mixed = pair.x0.clone()
    for row in range(top, bottom):
        for column in range(left, right):
            mixed[:, :, row, column] = (pair.x1 if other is None else other)[:, :, row, column]
    return mixed


# --- where a box lies


@pytest.mark.parametrize(
    ("place", "pixel"), [(0.0, 0), (0.12, 0), (0.125, 1), (0.5, 4), (0.99, 7), (1.0, 7)]
)
def test_a_place_is_a_pixel(place, pixel):
    assert pixel_at(torch.tensor([place]), 8).tolist() == [pixel]


@pytest.mark.parametrize(
    ("side", "centre", "box"),
    [
        (0.5, (4, 4), (2, 2, 6, 6)),  # int(0.5 · 0.5 · 8) = 2 pixels to each side
        (0.7, (4, 4), (2, 2, 6, 6)),  # int(2.8) = 2
        (0.75, (4, 3), (1, 0, 7, 6)),
        (0.5, (0, 4), (0, 2, 2, 6)),  # clipped left
        (0.5, (7, 7), (5, 5, 8, 8)),  # clipped right and below
        (0.5, (1, 0), (0, 0, 3, 2)),  # a corner
        (1.0, (4, 4), (0, 0, 8, 8)),
        (1.0, (0, 0), (0, 0, 4, 4)),  # all of the picture asked for, a quarter left
        (0.0, (4, 4), (4, 4, 4, 4)),
        (0.24, (3, 5), (3, 5, 3, 5)),  # int(0.96) = 0
    ],
)
def test_boxes_by_hand(side, centre, box):
    x, y = (torch.tensor([c]) for c in centre)
    found = place_boxes(torch.tensor([side]), x, y, 8, 8)
    assert found.tolist() == [list(box)]
    left, top, right, bottom = box
    slow = np.zeros((8, 8), bool)
    slow[top:bottom, left:right] = True
    assert np.array_equal(inside(found, 8, 8)[0].numpy(), slow)
    assert areas(found).tolist() == [slow.sum()]


def test_height_and_width_are_not_mixed_up():
    box = place_boxes(torch.tensor([0.5]), torch.tensor([10]), torch.tensor([1]), 4, 12)
    assert box.tolist() == [[7, 0, 12, 2]]
    assert inside(box, 4, 12).sum() == 10
    low = place_boxes(torch.tensor([1.0]), torch.tensor([1]), torch.tensor([3]), 4, 12)
    assert low.tolist() == [[0, 1, 7, 4]]


# --- CutMix


@pytest.mark.parametrize(
    ("lam", "x", "y", "box", "share"),
    [
        (0.25, 0.5, 0.5, (2, 2, 6, 6), 16 / 64),
        (0.25, 0.0, 0.5, (0, 2, 2, 6), 8 / 64),
        (0.25, 1.0, 1.0, (5, 5, 8, 8), 9 / 64),
        (0.5, 0.5, 0.5, (2, 2, 6, 6), 16 / 64),  # int(0.5 · 0.707 · 8) = 2: less than asked for
        (1.0, 0.5, 0.5, (0, 0, 8, 8), 1.0),
        (1.0, 0.0, 0.0, (0, 0, 4, 4), 16 / 64),
        (0.0, 0.5, 0.5, (4, 4, 4, 4), 0.0),
    ],
)
def test_cutmix_by_hand(lam, x, y, box, share):
    pair = pair_of()
    trace = METHODS["cutmix"].mix(pair, CutMixParams(lam, x, y))
    assert trace.box.tolist() == [list(box)]
    assert torch.equal(trace.mixed, pasted(pair, box))
    assert trace.weights.tolist() == [[1 - share, share]]
    assert trace.mask.mean().item() == share


BATCH, CLASSES = 5, 4


def drawn_by(transform, images, labels, seed):
    """Return what torchvision mixes, and the draws it made, replayed."""
    torch.manual_seed(seed)
    mixed, targets = transform(images, labels)
    torch.manual_seed(seed)
    lam = float(Beta(torch.tensor([1.0]), torch.tensor([1.0])).sample(()))
    width, height = images.shape[-1], images.shape[-2]
    return mixed, targets, lam, int(torch.randint(width, (1,))), int(torch.randint(height, (1,)))


def follow(trace, labels):
    """Return the label vectors of a trace for partners that are rolled by one."""
    hot = torch.nn.functional.one_hot(labels, CLASSES).float()
    return trace.weights[:, :1] * hot + trace.weights[:, 1:] * hot.roll(1, 0)


@pytest.mark.parametrize("size", [7, 32])
@pytest.mark.parametrize("seed", range(12))
def test_cutmix_and_input_mixup_equal_torchvision(size, seed):
    images = torch.rand(BATCH, 3, size, size, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(BATCH) % CLASSES
    nothing = torch.full((BATCH, size, size), math.nan)
    pair = Pair(images, images.roll(1, 0), nothing, nothing)
    mixed, targets, lam, x, y = drawn_by(v2.CutMix(num_classes=CLASSES), images, labels, seed)
    params = CutMixParams(1 - lam, (x + 0.5) / size, (y + 0.5) / size)
    trace = METHODS["cutmix"].mix(pair, params)
    assert torch.equal(trace.mixed, mixed)
    torch.testing.assert_close(follow(trace, labels), targets)
    mixed, targets, lam, *_ = drawn_by(v2.MixUp(num_classes=CLASSES), images, labels, seed)
    trace = METHODS["input_mixup"].mix(pair, InputMixupParams(1 - lam))
    torch.testing.assert_close(trace.mixed, mixed)
    torch.testing.assert_close(follow(trace, labels), targets)


def test_drawn_centres_reach_every_pixel_alike():
    drawn = METHODS["cutmix"].draw(torch.Generator().manual_seed(0), 8000, 1.0)
    for place in (drawn.centre_x, drawn.centre_y):
        counts = pixel_at(place, 8).bincount(minlength=8)
        assert counts.min() > 880
        assert counts.max() < 1120
    assert abs(np.corrcoef(drawn.centre_x, drawn.centre_y)[0, 1]) < 0.05


# --- Cutout


@pytest.mark.parametrize(
    ("size", "x", "y", "box"),
    [
        (0.5, 0.5, 0.5, (2, 2, 6, 6)),
        (0.5, 1.0, 0.0, (5, 0, 8, 2)),
        (1.0, 0.5, 0.5, (0, 0, 8, 8)),
        (0.0, 0.5, 0.5, (4, 4, 4, 4)),
    ],
)
def test_cutout_hides_a_box_behind_the_mean_colour(size, x, y, box):
    pair = pair_of()
    trace = METHODS["cutout"].mix(pair, CutoutParams(size, x, y))
    mean = pair.x0[0].double().numpy().reshape(3, -1).mean(1)
    colour = torch.tensor(mean, dtype=torch.float32)[None, :, None, None].expand_as(pair.x0)
    torch.testing.assert_close(trace.mixed, pasted(pair, box, colour))
    assert trace.box.tolist() == [list(box)]
    assert trace.weights.tolist() == [[1.0, 0.0]]
    assert torch.equal(trace.hidden, inside(trace.box, 8, 8).float())
    outside = trace.hidden == 0
    assert torch.equal(trace.mixed[0][:, outside[0]], pair.x0[0][:, outside[0]])


# --- SaliencyMix


@pytest.mark.parametrize(
    ("peaks", "box"),
    [
        ([(4, 4)], (2, 2, 6, 6)),
        ([(0, 7)], (5, 0, 8, 2)),
        ([(6, 1)], (0, 4, 3, 8)),
        ([(3, 6), (5, 2)], (4, 1, 8, 5)),  # of two peaks the first, row by row
    ],
)
def test_saliencymix_by_hand(peaks, box):
    pair = pair_of(s1=peak_at(*peaks))
    trace = METHODS["saliencymix"].mix(pair, SaliencyMixParams(0.25))
    assert trace.box.tolist() == [list(box)]
    assert torch.equal(trace.mixed, pasted(pair, box))
    share = (box[2] - box[0]) * (box[3] - box[1]) / 64
    assert trace.weights.tolist() == [[1 - share, share]]
    assert trace.flags == {}


def test_saliencymix_of_a_flat_map_takes_the_middle_and_says_so():
    pair = pair_of(batch=2, s1=torch.cat([peak_at((0, 0)), torch.full((1, 8, 8), 0.3)]))
    trace = METHODS["saliencymix"].mix(pair, SaliencyMixParams(0.25))
    assert trace.box.tolist() == [[0, 0, 2, 2], [2, 2, 6, 6]]
    assert trace.flags == {"flat_saliency_1": (1,)}


# --- SnapMix


def labelled(c0, c1, y=(0, 1), size=8, seed=0):
    return pair_of(size, seed=seed, c0=c0, c1=c1, y0=torch.tensor([y[0]]), y1=torch.tensor([y[1]]))


def test_snapmix_by_hand():
    # Activation of A: three quarters of it at (4, 4); of B: all outside its box but one fifth.
    c0 = 3.0 * peak_at((4, 4)) + peak_at((0, 0)) - 2.0
    c1 = 4.0 * peak_at((7, 7)) + peak_at((1, 1))
    pair = labelled(c0, c1)
    trace = METHODS["snapmix"].mix(pair, SnapMixParams(0.25, 0.25, 0.5, 0.5, 0.25, 0.25))
    assert trace.box_0.tolist() == [[2, 2, 6, 6]]
    assert trace.box_1.tolist() == [[0, 0, 4, 4]]
    # Boxes of one size: the patch is moved, not resized.
    torch.testing.assert_close(trace.mixed[:, :, 2:6, 2:6], pair.x1[:, :, :4, :4])
    rest = trace.mask[0] == 0
    assert torch.equal(trace.mixed[0][:, rest], pair.x0[0][:, rest])
    torch.testing.assert_close(trace.weights, torch.tensor([[0.25, 0.2]]))
    torch.testing.assert_close(trace.cam_0.sum((1, 2)), torch.ones(1, dtype=torch.float64))
    assert trace.cam_0.min() == 0
    assert trace.mask.sum() == 16
    assert trace.flags == {}
    assert trace.same_label.tolist() == [False]


def bilinear(patch, height, width):
    """Enlarge by hand: the middles of pixels, the edge repeated."""
    channels, tall, wide = patch.shape
    grown = np.zeros((channels, height, width))
    for row in range(height):
        for column in range(width):
            y = min(max((row + 0.5) * tall / height - 0.5, 0), tall - 1)
            x = min(max((column + 0.5) * wide / width - 0.5, 0), wide - 1)
            top, left = int(y), int(x)
            below, right = min(top + 1, tall - 1), min(left + 1, wide - 1)
            upper = patch[:, top, left] * (1 - x + left) + patch[:, top, right] * (x - left)
            lower = patch[:, below, left] * (1 - x + left) + patch[:, below, right] * (x - left)
            grown[:, row, column] = upper * (1 - y + top) + lower * (y - top)
    return grown


def test_snapmix_resizes_the_patch():
    pair = labelled(peak_at((4, 4)), peak_at((4, 4)))
    # Box in A 6×6 in the middle; box in B 4×4, clipped at the right end to 3×4.
    trace = METHODS["snapmix"].mix(pair, SnapMixParams(0.5625, 0.25, 0.5, 0.5, 1.0, 0.5))
    assert trace.box_0.tolist() == [[1, 1, 7, 7]]
    assert trace.box_1.tolist() == [[5, 2, 8, 6]]
    slow = bilinear(pair.x1[0, :, 2:6, 5:8].numpy(), 6, 6)
    np.testing.assert_allclose(trace.mixed[0, :, 1:7, 1:7].numpy(), slow, atol=1e-6)
    assert trace.weights.tolist() == [[0.0, 0.0]], "A's activation covered, B's left behind"


def test_snapmix_weights_of_one_label_add_up():
    hill = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(3))
    pair = labelled(hill, hill, y=(2, 2))
    trace = METHODS["snapmix"].mix(pair, SnapMixParams(0.25, 0.5625))
    assert trace.same_label.tolist() == [True]
    label = torch.zeros(4).index_add_(0, torch.tensor([2, 2]), trace.weights[0])
    assert label[2] == trace.weights.sum()
    assert label[2] > 1, "more of B is shown than of A is covered"


@pytest.mark.parametrize(("lam_0", "lam_1"), [(0.0, 0.5), (0.5, 0.0), (0.01, 0.5)])
def test_snapmix_with_an_empty_box_is_the_first_picture(lam_0, lam_1):
    pair = labelled(peak_at((4, 4)), peak_at((4, 4)))
    trace = METHODS["snapmix"].mix(pair, SnapMixParams(lam_0, lam_1))
    assert torch.equal(trace.mixed, pair.x0)
    assert trace.weights.tolist() == [[1.0, 0.0]]
    assert trace.flags == {"empty_box": (0,)}


def test_snapmix_shows_all_of_the_second_picture():
    hill = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(3))
    pair = labelled(hill, hill)
    trace = METHODS["snapmix"].mix(pair, SnapMixParams(1.0, 1.0))
    torch.testing.assert_close(trace.mixed, pair.x1)
    torch.testing.assert_close(trace.weights, torch.tensor([[0.0, 1.0]]))


def test_snapmix_of_a_flat_activation_counts_areas_and_says_so():
    pair = labelled(torch.full((1, 8, 8), -3.0), torch.zeros(1, 8, 8))
    trace = METHODS["snapmix"].mix(pair, SnapMixParams(0.25, 0.5625))
    torch.testing.assert_close(trace.weights, torch.tensor([[0.75, 0.5625]]))
    assert trace.flags == {"flat_activation_0": (0,), "flat_activation_1": (0,)}
