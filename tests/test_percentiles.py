"""RL-Mix's percentiles against a loop over everything."""

import itertools

import numpy as np
import pytest
import torch

from mixviz.core.percentiles import (
    CHUNK,
    percentile_choices,
    percentile_reward,
    search_percentiles,
)

SIDE = 16


def toy_saliency(images):
    """Give brightness of the picture, a little more to the left."""
    return images.mean(1) ** 2 * torch.linspace(2, 1, SIDE)


def pair(batch, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return tuple(torch.rand(batch, 3, SIDE, SIDE, generator=rng) for _ in range(2))


def top(saliency, q):
    cells = saliency.view(8, SIDE // 8, 8, SIDE // 8).mean((1, 3))
    chosen = cells >= np.quantile(cells.numpy(), q)
    return chosen.repeat_interleave(SIDE // 8, 0).repeat_interleave(SIDE // 8, 1)


def toy_mix(x0, x1, q0, q1, lam=0.4):
    """Mix as R-Mix, item by item."""
    mixed = []
    for a, b, qa, qb in zip(x0, x1, q0, q1, strict=True):
        m0 = top(toy_saliency(a[None])[0], float(qa))
        m1 = top(toy_saliency(b[None])[0], float(qb))
        mask = torch.where(m0 == m1, lam, m1.float())
        mixed.append((1 - mask) * a + mask * b)
    return torch.stack(mixed)


def search(x0, x1, **extra):
    return search_percentiles(
        toy_saliency,
        toy_saliency(x0),
        toy_saliency(x1),
        lambda q0, q1: toy_mix(x0, x1, q0, q1),
        **extra,
    )


def cosine(a, b):
    pool = [m.double().numpy().reshape(8, 2, 8, 2).sum((1, 3)).ravel() for m in (a, b)]
    return pool[0] @ pool[1] / np.linalg.norm(pool[0]) / np.linalg.norm(pool[1])


def test_the_search_equals_a_loop_over_everything():
    x0, x1 = pair(3)
    found = search(x0, x1)
    steps = np.linspace(0, 0.99, 10)
    assert np.allclose(found.percentiles.numpy(), steps)
    for item in range(3):
        a, b = x0[item : item + 1], x1[item : item + 1]
        best = (-1.0, 0.0, 0.0)
        for (i, qa), (j, qb) in itertools.product(enumerate(steps), repeat=2):
            mixed = toy_saliency(toy_mix(a, b, [qa], [qb]))[0]
            own = [cosine(toy_saliency(image)[0], mixed) for image in (a, b)]
            assert found.cosines[item, :, i, j].numpy() == pytest.approx(own, abs=1e-6)
            reward = sum(own) / 2
            assert found.rewards[item, i, j].item() == pytest.approx(reward, abs=1e-6)
            if reward > best[0] + 1e-5:
                best = (reward, qa, qb)
        assert (found.q0[item].item(), found.q1[item].item()) == pytest.approx(best[1:])


def test_a_batch_equals_its_items():
    x0, x1 = pair(5, seed=3)
    whole = search(x0, x1)
    for item in range(5):
        one = search(x0[item : item + 1], x1[item : item + 1])
        assert torch.equal(one.q0[0], whole.q0[item])
        assert torch.equal(one.q1[0], whole.q1[item])
        torch.testing.assert_close(one.rewards[0], whole.rewards[item], rtol=0, atol=1e-6)


def test_the_reward_is_the_mean_and_swaps_with_the_images():
    x0, x1 = pair(2, seed=5)
    s0, s1 = toy_saliency(x0), toy_saliency(x1)

    def even(q0, q1):
        share = (q0 / (q0 + q1 + 1))[:, None, None, None].float()
        return x0 * share + x1 * (1 - share)

    one = search_percentiles(toy_saliency, s0, s1, even)
    other = search_percentiles(toy_saliency, s1, s0, lambda q0, q1: even(q1, q0))
    assert torch.equal(one.rewards, one.cosines.mean(1))
    torch.testing.assert_close(one.rewards, other.rewards.transpose(1, 2), rtol=0, atol=1e-6)
    torch.testing.assert_close(one.cosines, other.cosines.flip(1).transpose(2, 3))


def test_a_mix_that_is_the_picture_has_reward_one():
    x0, _ = pair(1)
    choices = percentile_choices()

    def mix(q0, q1):
        right = q0.item() == choices[7].item() and q1.item() == choices[3].item()
        return x0 if right else torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator())

    s0 = toy_saliency(x0)
    found = search_percentiles(toy_saliency, s0, s0, mix)
    assert (found.q0.item(), found.q1.item()) == (choices[7], choices[3])
    assert found.rewards.max().item() == pytest.approx(1)
    assert percentile_reward(s0, s0).item() == pytest.approx(1)


def test_the_lowest_percentiles_win_ties_even_where_rounding_differs():
    x0, x1 = pair(2)
    calls = itertools.count()

    def noisy(images):
        return toy_saliency(images) * (1 + 1e-8 * next(calls))

    found = search_percentiles(noisy, toy_saliency(x0), toy_saliency(x1), lambda q0, q1: x0)
    assert found.q0.tolist() == found.q1.tolist() == [0, 0]


def test_progress_is_told_and_may_end_the_search():
    x0, x1 = pair(2)
    told = []
    search(x0, x1, on_progress=lambda done, total: told.append((done, total)))
    done = [d for d, _ in told]
    assert {total for _, total in told} == {100}
    assert done[0] == 0
    assert done[-1] == 100
    assert max(np.diff(done)) * 2 <= CHUNK

    class StoppedError(Exception):
        pass

    def stop(done, total):
        if done:
            raise StoppedError

    asked = []
    with pytest.raises(StoppedError):
        search_percentiles(
            lambda images: asked.append(1) or toy_saliency(images),
            toy_saliency(x0),
            toy_saliency(x1),
            lambda q0, q1: x0,
            on_progress=stop,
        )
    assert len(asked) == 1


def test_a_zero_map_is_uniform_and_nan_is_refused():
    x0, x1 = pair(1)
    s0, s1 = toy_saliency(x0), toy_saliency(x1)
    zero = torch.zeros_like(s0)
    assert percentile_reward(zero, torch.ones_like(s0)).item() == pytest.approx(1)
    spoilt = s0.clone()
    spoilt[0, 3, 3] = torch.nan
    with pytest.raises(ValueError, match="s1 must be finite"):
        search_percentiles(toy_saliency, s0, spoilt, lambda q0, q1: x0)
    with pytest.raises(ValueError, match="saliency of mix must be finite"):
        search_percentiles(lambda x: spoilt.expand(len(x), -1, -1), s0, s1, lambda q0, q1: x0)
    with pytest.raises(ValueError, match="mix must be finite"):
        search_percentiles(toy_saliency, s0, s1, lambda q0, q1: x0 * torch.inf)
    with pytest.raises(ValueError, match="grid = 7 must divide"):
        search_percentiles(toy_saliency, s0, s1, lambda q0, q1: x0, grid=7)
