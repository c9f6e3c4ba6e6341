"""What is measured on a mix, against numbers worked by hand."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from mixviz.core.measure import (
    exposed_saliency,
    soft_cross_entropy,
    top_1_counts,
    top_2_counts,
    total_variation,
)


def test_exposed_saliency_is_what_the_mask_leaves_in_sight():
    map_0 = torch.tensor([[[0.5, 0.25], [0.25, 0.0]]])
    map_1 = torch.tensor([[[0.0, 0.125], [0.125, 0.75]]])
    for mask, exposed in (
        ([[0.0, 0.0], [0.0, 0.0]], 1.0),
        ([[1.0, 1.0], [1.0, 1.0]], 1.0),
        ([[0.0, 0.0], [0.0, 1.0]], 1.75),
        ([[1.0, 1.0], [1.0, 0.0]], 0.25),
        ([[0.5, 0.0], [0.0, 0.5]], 0.25 + 0.25 + 0.25 + 0.375),
    ):
        assert exposed_saliency(map_0, map_1, torch.tensor([mask])).tolist() == [exposed]


def test_total_variation_is_the_mean_absolute_difference():
    plane = torch.tensor([[0.0, 1.0], [0.5, 0.5]])
    # Downwards 0.5 and 0.5, to the right 1 and 0: the mean of four is 0.5.
    grey = plane.expand(1, 3, 2, 2)
    assert total_variation(grey).tolist() == [0.5]
    # One channel of three that varies counts a third, each image for itself.
    both = torch.stack((grey[0], torch.stack((plane, plane * 0, plane * 0 + 1))))
    torch.testing.assert_close(total_variation(both), torch.tensor([0.5, 0.5 / 3]))


def test_total_variation_weighs_every_pair_of_neighbours_the_same():
    wide = torch.tensor([[[[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]])
    # 3 pairs downwards with one difference, 4 to the right with two.
    torch.testing.assert_close(total_variation(wide), torch.tensor([3 / 7]))


def test_cross_entropy_is_weighed_by_the_labels_given():
    logits = torch.tensor([[math.log(0.5), math.log(0.25), math.log(0.25)]] * 3)
    labels = torch.tensor([[0, 1], [0, 1], [2, 2]])
    weights = torch.tensor([[0.75, 0.25], [0.0, 1.0], [0.5, 0.5]])
    expected = [0.75 * math.log(2) + 0.25 * math.log(4), math.log(4), math.log(4)]
    torch.testing.assert_close(soft_cross_entropy(logits, labels, weights), torch.tensor(expected))


def test_cross_entropy_takes_weights_that_do_not_sum_to_one():
    logits = torch.randn(4, 7, generator=torch.Generator().manual_seed(0))
    labels, weights = torch.tensor([[0, 3], [1, 6], [2, 2], [5, 4]]), torch.rand(4, 2) * 2
    slow = sum(
        weights[:, k] * cross_entropy(logits, labels[:, k], reduction="none") for k in (0, 1)
    )
    torch.testing.assert_close(soft_cross_entropy(logits, labels, weights), slow)


@pytest.mark.parametrize(
    ("labels", "first", "both"),
    [
        ([2, 0], True, True),
        ([0, 2], True, True),
        ([0, 1], False, False),
        ([2, 1], True, False),
        ([3, 1], False, False),
        ([2, 2], True, False),
        ([1, 1], False, False),
    ],
)
def test_first_guess_and_first_two_guesses(labels, first, both):
    logits = torch.tensor([[2.0, -1.0, 3.0, 0.0]])
    assert top_1_counts(logits, torch.tensor([labels])).tolist() == [first]
    assert top_2_counts(logits, torch.tensor([labels])).tolist() == [both]


def test_guesses_are_counted_for_each_item():
    logits = torch.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])
    labels = torch.tensor([[2, 1], [2, 1]])
    assert top_1_counts(logits, labels).tolist() == [True, False]
    assert top_2_counts(logits, labels).tolist() == [True, False]
