"""RL-Mix in training: an agent chooses the percentiles and learns from what its mixes did.

Luu et al. 2022, arXiv:2212.04875, Section 5.2. The agent is PPO (Schulman et al. 2017,
arXiv:1707.06347) of Stable-Baselines3 with its default hyperparameters, discount and all; only how
much it gathers between updates is ours. It lives on the CPU, wherever the classifier does.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Generator, Tensor, nn

from mixviz.augment import Watched, soften
from mixviz.core.percentiles import CHOICES, percentile_choices, percentile_reward
from mixviz.core.saliency import explain
from mixviz.core.types import Pair
from mixviz.methods import rl_mix
from mixviz.train.errors import DataError
from mixviz.train.judge import Normaliser
from mixviz.train.objective import Objective, Outcome
from mixviz.zoo.policy import SIGHT, observe

# Stable-Baselines3 gathers 2048 steps and learns from minibatches of 64. With a batch for a
# minibatch, 32 batches keep that ratio at every size of a batch, and no minibatch is cut short.
BATCHES_PER_UPDATE = 32

MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What Adam keeps of each parameter."""


@dataclass(frozen=True)
class _Choice:
    """What the agent saw of a batch, what it chose, and what it thought of both."""

    observation: Tensor
    actions: Tensor
    values: Tensor
    log_probs: Tensor


_Ready = tuple[Tensor, Tensor, Tensor | None]
"""Mixes in [0, 1], a weight per class for each, and the saliency of the images; of a batch left
unmixed its images as they came, class indices, and None."""


class Agent:
    """Chooses a percentile for every image of a batch and learns from its rewards.

    An environment stands at each place of the batch, and an image is one step of it. An episode
    is an epoch: rewards count together, discounted, until it ends.
    """

    def __init__(self, classes: int, batch: int, seed: int) -> None:
        """Draw an untrained policy.

        Args:
            classes: of the classifier whose logits the agent sees.
            batch: images of every batch.
            seed: all that the agent draws, now and later, follows from it.

        Raises:
            DataError: Stable-Baselines3 is not installed, or a batch has fewer than 2 images.
        """
        if batch < 2:
            raise DataError(f"RL-Mix's agent needs batches of at least 2 images, got {batch}")
        self._sight = (batch, SIGHT * SIGHT + classes)
        self._chance = Generator().manual_seed(seed)
        self._chosen: _Choice | None = None
        self._rollout: list[tuple[_Choice, Tensor]] = []
        self._earned: list[float] = []
        with _apart(self._chance):
            self._ppo = _build_ppo(*self._sight)

    def act(self, observation: Float[Tensor, "b i"]) -> Float64[Tensor, " b"]:
        """Choose a percentile for each image, by chance, as its policy weighs them.

        A choice that was not rewarded is forgotten here.

        Args:
            observation: as `mixviz.zoo.policy.observe` makes it.

        Raises:
            ValueError: for another number of images or classes than the agent was made for.
        """
        if observation.shape != self._sight:
            wanted, found = ("×".join(map(str, s)) for s in (self._sight, observation.shape))
            raise ValueError(f"RL-Mix's agent sees {wanted} numbers of a batch, got {found}")
        if len(self._rollout) == BATCHES_PER_UPDATE:
            self._learn(observation)
        with _apart(self._chance), torch.no_grad():
            self._chosen = _Choice(observation, *self._ppo.policy(observation))
        return percentile_choices()[self._chosen.actions]

    def reward(self, rewards: Float[Tensor, " b"]) -> None:
        """Say what the last choice was worth, image by image.

        Raises:
            ValueError: there was no choice, or the rewards are of another number.
        """
        if self._chosen is None:
            raise ValueError("RL-Mix's agent is rewarded once after each choice")
        if rewards.shape != self._sight[:1]:
            raise ValueError(f"there must be {self._sight[0]} rewards, got {tuple(rewards.shape)}")
        self._rollout.append((self._chosen, rewards.detach().float().cpu()))
        self._earned.append(rewards.mean().item())
        self._chosen = None

    def finish(self) -> float:
        """End the episode: learn from the batches since the last update, however few.

        Returns:
            The mean reward of its images; NaN where there was none.
        """
        self._chosen = None
        if self._rollout:
            self._learn(None)
        mean = sum(self._earned) / len(self._earned) if self._earned else math.nan
        self._earned.clear()
        return mean

    def tensors(self) -> dict[str, Tensor]:
        """Return all that another agent of this size needs to go on as this one would.

        Raises:
            ValueError: in the middle of an episode.
        """
        if self._earned or self._chosen:
            raise ValueError("RL-Mix's agent can be kept between episodes only: finish() this one")
        kept = {f"policy/{name}": weight for name, weight in self.policy_weights().items()}
        for name, parameter in self._ppo.policy.named_parameters():
            for key, value in self._ppo.policy.optimizer.state.get(parameter, {}).items():
                kept[f"adam/{name}/{key}"] = value.clone()
        return kept | {"chance": self._chance.get_state()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what another agent of this size kept, between episodes.

        Raises:
            DataError: a tensor is missing or does not fit.
        """
        policy = self._ppo.policy
        prefix = "policy/"
        weights = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        updated = any(name.startswith("adam/") for name in tensors)
        try:
            policy.load_state_dict(weights)
            policy.optimizer.state.clear()
            for name, parameter in policy.named_parameters() if updated else ():
                step, *moments = (tensors[f"adam/{name}/{key}"] for key in MOMENTS)
                copies = [step.clone(), *(parameter.detach().clone().copy_(m) for m in moments)]
                policy.optimizer.state[parameter] = dict(zip(MOMENTS, copies, strict=True))
            self._chance.set_state(tensors["chance"])
        except (KeyError, RuntimeError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"the state of RL-Mix's agent does not fit: {reason}") from error
        self._rollout.clear()
        self._earned.clear()
        self._chosen = None

    def policy_weights(self) -> dict[str, Tensor]:
        """Return a copy of the weights, named as `mixviz.zoo.policy.load_policy` wants them."""
        state = self._ppo.policy.state_dict()
        return {name: weight.detach().clone() for name, weight in state.items()}

    def _learn(self, following: Tensor | None) -> None:
        """Update the policy from the rollout.

        Args:
            following: what is seen after it; None where the episode ended.
        """
        batch, policy, buffer = self._sight[0], self._ppo.policy, self._ppo.rollout_buffer
        ended = following is None
        # An episode starts with an empty rollout, where PPO does not ask whether it did.
        started = np.zeros(batch, dtype=np.float32)
        buffer.buffer_size = len(self._rollout)
        buffer.reset()
        for seen, rewards in self._rollout:
            actions = seen.actions.numpy()[:, None]
            observation = seen.observation.numpy()
            buffer.add(observation, actions, rewards.numpy(), started, seen.values, seen.log_probs)
        with _apart(self._chance):
            with torch.no_grad():
                rest = torch.zeros(batch) if following is None else policy.predict_values(following)
            buffer.compute_returns_and_advantage(rest, np.full(batch, ended))
            with torch.enable_grad():
                self._ppo.train()
        self._rollout.clear()


class AgentLoss(Objective):
    """Learns from RL-Mix's mixes, and rewards the agent that chose their percentiles.

    The reward of an image is the cosine of its saliency before and after it was mixed, both on the
    8×8 cells that the agent sees. Before: the gradient at its label, in eval() mode, as it guides
    the mix. After: the gradient that the training step's own backward pass leaves at the mixed
    image, in train() mode and for the mixed label, so that a step costs one forward and one
    backward pass more than a plain one, and not two. That is our decision, and what the released
    code does too; the paper only says that gradients at both inputs are compared. An image is
    paid for the mix in which it is image 0, though its percentile also cuts its partner's.
    """

    def __init__(
        self,
        agent: Agent,
        plain: Objective,
        network: nn.Module,
        normalise: Normaliser,
        *,
        classes: int,
        alpha: float = rl_mix.METHOD.alpha,
        prob: float = 1.0,
        precision: torch.dtype = torch.float32,
        chance: Generator,
    ) -> None:
        """Decide what all batches have in common.

        Args:
            agent: for batches of this size and classifiers of so many classes.
            plain: what is learned from a batch as it is given, a weight per class for labels
                where it was mixed.
            network: the one in training, whose saliency guides and whose logits are observed.
            normalise: what the images went through.
            classes: columns of the mixed labels.
            alpha: λ comes from Beta(alpha, alpha), for each image as in `Mix`.
            prob: share of the batches that are mixed; the agent does not see the others.
            precision: of the network's products while it is looked at.
            chance: where partners and λ come from, on the CPU.
        """
        self._agent = agent
        self._plain = plain
        self._normalise = normalise
        self._classes = classes
        self._alpha = alpha
        self._prob = prob
        self._chance = chance
        self._watched = Watched(network, self._prepare, precision)

    def begin(self, images: Tensor, labels: Tensor) -> Callable[[], _Ready]:
        """Draw, look at the batch, let the agent choose, and mix.

        Raises:
            ValueError: for labels out of range, images whose side 8 does not divide, a batch of
                another size than the agent's, and logits or gradients that are not finite.
        """
        ready = self._make_ready(images, labels)
        return lambda: ready

    def learn(self, ready: _Ready) -> Outcome:
        """Learn from what `begin` made ready; `after` rewards the agent.

        Raises:
            ValueError: from `after`, where a gradient is not finite.
        """
        images, targets, saliency = ready
        if saliency is None:
            return self._plain.learn((images, targets))
        mixed = images.detach().requires_grad_()
        outcome = self._plain.learn((self._prepare(mixed), targets))
        return replace(outcome, after=lambda: self._reward(saliency, mixed))

    def _make_ready(self, images: Tensor, labels: Tensor) -> _Ready:
        if self._prob < 1 and torch.rand((), generator=self._chance).item() >= self._prob:
            return images, labels, None
        # Distances and percentiles would lose their digits under the autocast of training.
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            return self._mix(self._undo(images), labels)

    def _mix(self, unit: Tensor, labels: Tensor) -> _Ready:
        seen = explain(self._watched, unit, labels)
        q = self._agent.act(observe(seen.saliency, seen.logits))
        partner = torch.randperm(len(unit), generator=self._chance)
        params = rl_mix.METHOD.draw(self._chance, len(unit), self._alpha)
        there = partner.to(unit.device)
        saliencies = seen.saliency, seen.saliency[there]
        pair = Pair(unit, unit[there], *saliencies, q0=q, q1=q[partner])
        trace = rl_mix.METHOD.mix(pair, params)
        soft = soften(labels, labels[there], trace.weights, self._classes)
        return trace.mixed, soft, seen.saliency

    def _reward(self, saliency: Tensor, mixed: Tensor) -> None:
        if mixed.grad is None:
            raise ValueError("RL-Mix's agent is rewarded after the backward pass only")
        after = mixed.grad.float().norm(dim=1)
        self._agent.reward(percentile_reward(saliency, after, SIGHT))

    def _undo(self, images: Tensor) -> Tensor:
        """Return images in [0, 1] from normalised ones."""
        values = images.float() * self._normalise.std + self._normalise.mean
        return (values / 255).clamp(0, 1).contiguous()

    def _prepare(self, unit: Tensor) -> Tensor:
        return self._normalise(unit * 255)


def _build_ppo(batch: int, sight: int) -> Any:
    """Return PPO for so many environments, of which each shows so many numbers.

    Raises:
        DataError: Stable-Baselines3 is not installed.
    """
    try:
        from gymnasium import spaces
        from stable_baselines3 import PPO
        from stable_baselines3.common.logger import Logger
    except ImportError as error:
        raise DataError(
            "RL-Mix's agent is trained by Stable-Baselines3, which is not installed: "
            "pip install -r requirements-train.txt"
        ) from error
    # Without environments, as Stable-Baselines3 builds an agent that it loads: the loop is ours.
    nowhere: Any = None
    ppo: Any = PPO(
        "MlpPolicy",
        env=nowhere,
        n_steps=BATCHES_PER_UPDATE,
        batch_size=batch,
        device="cpu",
        _init_setup_model=False,
    )
    ppo.observation_space = spaces.Box(-np.inf, np.inf, (sight,), np.float32)
    ppo.action_space = spaces.Discrete(CHOICES)
    ppo.n_envs = batch
    ppo._setup_model()
    ppo.set_logger(Logger(None, []))
    return ppo


@contextmanager
def _apart(chance: Generator) -> Iterator[None]:
    """Let Stable-Baselines3 work in full precision and draw from `chance` alone.

    It draws from the global generators of torch and NumPy: they are seeded from `chance` and
    left as they were.
    """
    seed = int(torch.randint(2**32, (), generator=chance))
    kept = np.random.get_state()  # the one that Stable-Baselines3 uses
    with torch.random.fork_rng(devices=[]), torch.autocast("cpu", enabled=False):
        # Not torch.manual_seed, which would seed the GPUs too.
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(kept)
