"""RL-Mix's agent in training: what it sees, chooses, is paid for, learns, and keeps."""

import math
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Generator, nn
from torch.nn.functional import avg_pool2d, cosine_similarity, cross_entropy

from mixviz.core.draws import draw_lam
from mixviz.core.percentiles import percentile_choices
from mixviz.core.saliency import gradient_saliency
from mixviz.core.types import Pair
from mixviz.methods import r_mix
from mixviz.methods.r_mix import RMixParams
from mixviz.train import agent as agents
from mixviz.train.agent import Agent, AgentLoss
from mixviz.train.errors import DataError
from mixviz.train.judge import Normaliser
from mixviz.train.objective import CRITERIA, CleanLoss, LabelLoss
from mixviz.zoo.policy import choose_percentiles, load_policy, observe

CLASSES, BATCH = 3, 6
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    """Runs compared bit by bit must split their sums alike."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def short_rollouts(monkeypatch):
    """An update every three batches, which does not take long."""
    monkeypatch.setattr(agents, "BATCHES_PER_UPDATE", 3)


def sights(count, batch=BATCH, seed=0):
    """Observations of several batches."""
    rng = Generator().manual_seed(seed)
    return torch.rand((count, batch, 64 + CLASSES), generator=rng)


def live(agent, observations):
    """One episode in which high percentiles pay; what was chosen, batch by batch."""
    chosen = []
    for observation in observations:
        chosen.append(agent.act(observation))
        agent.reward(chosen[-1])
    agent.finish()
    return torch.stack(chosen)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Paid(Agent):
    """Remembers what it chose and was paid."""

    def act(self, observation):
        self.chosen = super().act(observation)
        return self.chosen

    def reward(self, rewards):
        self.rewards = rewards
        super().reward(rewards)


class AllTop(Paid):
    """Always chooses percentile 0, with which RL-Mix is Input Mixup."""

    def act(self, observation):
        return torch.zeros_like(super().act(observation))


class Halves(nn.Module):
    """Logits: the sum of the left half, that of the right half, and 0."""

    def forward(self, images):
        left, right = images.mean(1).chunk(2, 2)
        sums = left.sum((1, 2)), right.sum((1, 2))
        return torch.stack((*sums, torch.zeros_like(sums[0])), 1)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 8, 3, stride=2),
        nn.Flatten(),
        nn.Linear(8 * 49, CLASSES),
    )


NORMALISE = Normaliser.of([0.4, 0.5, 0.6], [0.2, 0.3, 0.25], CPU)


def pictures(seed=0):
    rng = Generator().manual_seed(seed)
    values = torch.randint(256, (BATCH, 3, 16, 16), generator=rng)
    return NORMALISE(values), torch.randint(CLASSES, (BATCH,), generator=rng)


def loss_of(net, agent=None, normalise=NORMALISE, seed=5, **changed):
    return AgentLoss(
        agent or Paid(CLASSES, BATCH, 0),
        LabelLoss(net, CRITERIA["cross_entropy"], 0.0),
        net,
        normalise,
        classes=CLASSES,
        chance=Generator().manual_seed(seed),
        **changed,
    )


def test_an_image_gets_one_of_the_percentiles_by_chance():
    agent = Agent(CLASSES, 200, 0)
    chosen = agent.act(sights(1, 200)[0])
    assert chosen.shape == (200,)
    assert chosen.dtype == torch.float64
    assert set(chosen.tolist()) == set(percentile_choices().tolist())


def test_what_does_not_fit_is_refused():
    agent = Agent(CLASSES, BATCH, 0)
    with pytest.raises(ValueError, match="6×67 numbers of a batch, got 5×67"):
        agent.act(sights(1, 5)[0])
    with pytest.raises(ValueError, match="once after each choice"):
        agent.reward(torch.ones(BATCH))
    agent.act(sights(1)[0])
    with pytest.raises(ValueError, match=r"6 rewards, got \(5,\)"):
        agent.reward(torch.ones(5))
    with pytest.raises(DataError, match="at least 2 images, got 1"):
        Agent(CLASSES, 1, 0)


def test_without_the_package_a_sentence_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(DataError, match=r"pip install -r requirements-train\.txt"):
        Agent(CLASSES, BATCH, 0)


def test_it_learns_which_percentile_pays():
    batch, rng = 256, Generator().manual_seed(1)
    agent = Agent(CLASSES, batch, 0)
    means = []
    for _ in range(4):
        for _ in range(16):
            kind = torch.randint(CLASSES, (batch,), generator=rng)
            logits = 3 * torch.eye(CLASSES)[kind]
            chosen = agent.act(torch.cat((torch.ones(batch, 64), logits), 1))
            agent.reward((chosen == percentile_choices()[3 * kind]).double())
        means.append(agent.finish())
    assert means[0] < 0.15  # one of ten, at first
    assert means[-1] > 2.2 * means[0]


@pytest.mark.usefixtures("short_rollouts")
def test_the_policy_is_updated_every_so_many_batches_and_at_the_end():
    agent = Agent(CLASSES, BATCH, 0)
    first = agent.policy_weights()
    *some, following = sights(4)
    for observation in some:
        agent.reward(agent.act(observation))
    assert same(agent.policy_weights(), first)
    agent.reward(agent.act(following))
    second = agent.policy_weights()
    moved = [not torch.equal(first[name], second[name]) for name in first]
    assert all(moved)
    agent.finish()
    assert not same(agent.policy_weights(), second)
    third = agent.policy_weights()
    assert math.isnan(agent.finish())
    assert same(agent.policy_weights(), third)


@pytest.mark.parametrize("following", [None, sights(1, seed=9)[0]])
def test_rewards_count_on_discounted_until_the_episode_ends(following):
    agent = Agent(CLASSES, BATCH, 0)
    ppo = agent._ppo
    rewards = torch.rand((2, BATCH), generator=Generator().manual_seed(3))
    observations = sights(2)
    for observation, reward in zip(observations, rewards, strict=True):
        agent.act(observation)
        agent.reward(reward)
    with torch.no_grad():
        values = [ppo.policy.predict_values(seen)[:, 0] for seen in observations]
        last = torch.zeros(BATCH) if following is None else ppo.policy.predict_values(following)
    agent._learn(following)
    # Two steps of generalised advantage estimation, the return being advantage and value.
    late = rewards[1] + 0.99 * last.flatten() - values[1]
    early = rewards[0] + 0.99 * values[1] - values[0] + 0.99 * 0.95 * late
    returns = torch.from_numpy(ppo.rollout_buffer.returns).view(BATCH, 2)
    torch.testing.assert_close(returns, torch.stack((early + values[0], late + values[1]), 1))


def test_a_choice_without_reward_is_forgotten():
    agent, other = Agent(CLASSES, BATCH, 0), Agent(CLASSES, BATCH, 0)
    for one in (agent, other):
        one.act(sights(1, seed=1)[0])
    other.finish()
    for one in (agent, other):
        live(one, sights(2))
    assert same(agent.tensors(), other.tensors())


def test_the_mean_reward_of_an_episode_is_told():
    agent = Agent(CLASSES, BATCH, 0)
    for paid in (0.25, 0.75):
        agent.act(sights(1)[0])
        agent.reward(torch.full((BATCH,), paid))
    assert agent.finish() == 0.5


@pytest.mark.usefixtures("short_rollouts")
@pytest.mark.parametrize("episodes", [0, 1, 2])
def test_a_resumed_agent_goes_on_bit_by_bit(episodes):
    whole, before = Agent(CLASSES, BATCH, 7), Agent(CLASSES, BATCH, 7)
    for agent in (whole, before):
        for episode in range(episodes):
            live(agent, sights(5, seed=episode))
    kept = safetensors.torch.save(before.tensors())
    after = Agent(CLASSES, BATCH, 8)
    live(after, sights(2, seed=50))
    after.load(safetensors.torch.load(kept))
    assert same(after.tensors(), whole.tensors())
    rest = sights(5, seed=99)
    assert torch.equal(live(after, rest), live(whole, rest))
    assert same(after.tensors(), whole.tensors())
    assert not same(after.tensors(), before.tensors())


def test_what_is_kept_does_not_change_with_the_agent():
    agent = Agent(CLASSES, BATCH, 0)
    live(agent, sights(2))
    kept, weights = agent.tensors(), agent.policy_weights()
    copies = [{name: value.clone() for name, value in held.items()} for held in (kept, weights)]
    other = Agent(CLASSES, BATCH, 1)
    other.load(kept)
    for one in (agent, other):
        live(one, sights(2, seed=1))
    assert same(kept, copies[0])
    assert same(weights, copies[1])


def test_an_episode_cannot_be_kept_by_half():
    agent = Agent(CLASSES, BATCH, 0)
    agent.reward(agent.act(sights(1)[0]))
    with pytest.raises(ValueError, match="between episodes"):
        agent.tensors()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("policy/action_net.bias", None),
        ("policy/action_net.bias", torch.zeros(9)),
        ("adam/action_net.bias/exp_avg", None),
        ("adam/action_net.bias/exp_avg_sq", torch.zeros(9)),
        ("chance", None),
        ("chance", torch.zeros(3, dtype=torch.uint8)),
    ],
)
def test_a_state_that_does_not_fit_is_refused(name, value):
    agent = Agent(CLASSES, BATCH, 0)
    live(agent, sights(1))
    kept = agent.tensors()
    assert name in kept
    changed = {key: found for key, found in (kept | {name: value}).items() if found is not None}
    with pytest.raises(DataError, match="state of RL-Mix's agent does not fit"):
        agent.load(changed)


def test_chance_is_its_own():
    runs = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)  # the generator that must not matter
        before = torch.get_rng_state(), np.random.get_state()[1].copy()
        agent = Agent(CLASSES, BATCH, 0)
        chosen = live(agent, sights(2))
        assert torch.equal(torch.get_rng_state(), before[0])
        assert np.array_equal(np.random.get_state()[1], before[1])
        runs.append((agent, chosen))
    (one, first), (two, second) = runs
    assert torch.equal(first, second)
    assert same(one.tensors(), two.tensors())
    other = Agent(CLASSES, BATCH, 1)
    assert not torch.equal(live(other, sights(2)), first)


def test_its_file_is_the_policy_that_the_pages_load():
    agent = Agent(CLASSES, 40, 0)
    live(agent, sights(3, 40))
    policy = load_policy(safetensors.torch.save(agent.policy_weights()), CLASSES)
    rng = Generator().manual_seed(2)
    saliency = torch.rand((40, 16, 16), generator=rng) ** 4
    logits = 30 * torch.randn((40, CLASSES), generator=rng)
    with torch.no_grad():
        chances = agent._ppo.policy.get_distribution(observe(saliency, logits)).distribution.probs
    chosen = choose_percentiles(policy, saliency, logits)
    assert torch.equal(chosen, percentile_choices()[chances.argmax(1)])
    assert len(set(chosen.tolist())) > 1


def test_reward_by_hand():
    """Black pictures: the gradient is that of the loss at logits of 0, twice as high on one side.

    At label 0 it is 1/3 − 1 on the left and 1/3 on the right; on the mix, of label t, it is
    1/3 − t₀ and 1/3 − t₁.
    """
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    plain = Normaliser.of([0.0] * 3, [1.0] * 3, CPU)
    agent = Paid(CLASSES, BATCH, 0)
    outcome = loss_of(Halves(), agent, plain)(torch.zeros(BATCH, 3, 16, 16), labels)
    torch.autograd.backward(outcome.loss)
    outcome.after()
    t = outcome.targets
    assert bool(((t[:, 0] > 0.01) & (t[:, 1] > 0.01)).any())
    left, right = (1 / 3 - t[:, 0]).abs(), (1 / 3 - t[:, 1]).abs()
    own = torch.where(labels[:, None] == 0, torch.tensor([2.0, 1.0]), torch.tensor([1.0, 2.0]))
    inner = left * own[:, 0] + right * own[:, 1]
    expected = inner / (5**0.5 * (left.square() + right.square()).sqrt())
    assert agent.rewards.shape == (BATCH,)
    torch.testing.assert_close(agent.rewards.float(), expected)


def test_reward_is_the_cosine_of_both_gradients():
    net, agent = network(), AllTop(CLASSES, BATCH, 0)
    images, labels = pictures()
    outcome = loss_of(net, agent)(images, labels)
    torch.autograd.backward(outcome.loss)
    outcome.after()

    rng = Generator().manual_seed(5)
    partner = torch.randperm(BATCH, generator=rng)
    lam = draw_lam(1.0, BATCH, rng).float()
    share = lam[:, None, None, None]
    unit = (images * NORMALISE.std + NORMALISE.mean) / 255
    mixed = ((1 - share) * unit + share * unit[partner]).requires_grad_()
    one_hot = torch.eye(CLASSES)
    soft = (1 - lam[:, None]) * one_hot[labels] + lam[:, None] * one_hot[labels[partner]]
    loss = cross_entropy(network()(NORMALISE(mixed * 255)), soft)
    (after,) = torch.autograd.grad(loss, mixed)
    before = gradient_saliency(lambda x: network().eval()(NORMALISE(x * 255)), unit, labels)
    pooled = [avg_pool2d(maps[:, None], 2).flatten(1) for maps in (before, after.norm(dim=1))]
    torch.testing.assert_close(outcome.targets, soft)
    torch.testing.assert_close(outcome.loss, loss)
    torch.testing.assert_close(agent.rewards.float(), cosine_similarity(*pooled))
    assert agent.rewards.std() > 0.001


def test_each_image_is_cut_at_the_percentile_chosen_for_it():
    net, agent = network(), Paid(CLASSES, BATCH, 0)
    images, labels = pictures()
    outcome = loss_of(net, agent)(images, labels)

    rng = Generator().manual_seed(5)
    partner = torch.randperm(BATCH, generator=rng)
    lam = draw_lam(1.0, BATCH, rng)
    unit = (images * NORMALISE.std + NORMALISE.mean) / 255
    saliency = gradient_saliency(lambda x: network().eval()(NORMALISE(x * 255)), unit, labels)
    params = RMixParams(lam, 8, agent.chosen, agent.chosen[partner])
    trace = r_mix.mix(Pair(unit, unit[partner], saliency, saliency[partner]), params)
    assert len(set(agent.chosen.tolist())) > 2
    one_hot = torch.eye(CLASSES)
    soft = trace.weights[:, :1] * one_hot[labels] + trace.weights[:, 1:] * one_hot[labels[partner]]
    torch.testing.assert_close(outcome.targets, soft)
    torch.testing.assert_close(outcome.logits, network()(NORMALISE(trace.mixed * 255)))


def test_the_agent_sees_the_network_in_eval_mode_and_leaves_it_so():
    net, agent = network(), Paid(CLASSES, BATCH, 0)
    images, labels = pictures()
    seen = []
    act = agent.act
    agent.act = lambda observation: seen.append(observation) or act(observation)
    loss_of(net, agent)(images, labels)
    assert net.training
    assert all(parameter.grad is None for parameter in net.parameters())
    fresh = network().eval()
    torch.testing.assert_close(seen[0][:, 64:], fresh(images).detach())
    assert net[1].num_batches_tracked == 1


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_step_leaves_finite_gradients(precision):
    net, agent = network(), Paid(CLASSES, BATCH, 0)
    images, labels = pictures()
    lower = loss_of(net, agent, precision=precision, alpha=0.2)
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        outcome = lower(images, labels)
    torch.autograd.backward(outcome.loss)
    outcome.after()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in net.parameters())
    optimiser.step()
    moved = [not torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True)]
    assert sum(moved) > 4
    assert outcome.logits.dtype == torch.float32
    torch.testing.assert_close(outcome.targets.sum(1), torch.ones(BATCH))
    assert bool((agent.rewards > 0).all())
    assert bool((agent.rewards < 1 + 1e-6).all())
    weights = agent.policy_weights()
    agent.finish()
    assert not same(agent.policy_weights(), weights)


@pytest.mark.usefixtures("short_rollouts")
def test_autocast_does_not_reach_the_agent():
    agent, other = Agent(CLASSES, BATCH, 0), Agent(CLASSES, BATCH, 0)
    observations = sights(5)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        chosen = live(agent, observations)
    assert torch.equal(chosen, live(other, observations))
    assert same(agent.tensors(), other.tensors())


def test_unmixed_batches_are_not_the_agents():
    net, agent = network(), Paid(CLASSES, BATCH, 0)
    images, labels = pictures()
    outcome = loss_of(net, agent, prob=0.0)(images, labels)
    torch.testing.assert_close(outcome.loss, cross_entropy(network()(images), labels))
    torch.autograd.backward(outcome.loss)
    outcome.after()
    assert not hasattr(agent, "chosen")
    assert math.isnan(agent.finish())


def test_saliency_of_zero_counts_as_uniform():
    net, agent = network(), Paid(CLASSES, BATCH, 0)
    nn.init.zeros_(net[-1].weight)
    outcome = loss_of(net, agent)(*pictures())
    torch.autograd.backward(outcome.loss)
    outcome.after()
    torch.testing.assert_close(agent.rewards, torch.ones(BATCH, dtype=torch.float64))


def test_with_the_clean_loss_the_agent_is_paid_alike():
    images, labels = pictures()
    paid = []
    for weight in (0.0, 2.0):
        net, agent = network(), Paid(CLASSES, BATCH, 0)
        both = CleanLoss(
            loss_of(net, agent), LabelLoss(net, CRITERIA["cross_entropy"], 0.0), weight
        )
        outcome = both(images, labels)
        torch.autograd.backward(outcome.loss)
        outcome.after()
        paid.append(agent.rewards)
    assert torch.equal(paid[0], paid[1])


def test_a_reward_before_the_backward_pass_is_refused():
    outcome = loss_of(network())(*pictures())
    with pytest.raises(ValueError, match="after the backward pass"):
        outcome.after()


def test_a_network_gone_wrong_is_told():
    net = network()
    nn.init.constant_(net[-1].bias, math.nan)
    with pytest.raises(ValueError, match="logits must be finite"):
        loss_of(net)(*pictures())
