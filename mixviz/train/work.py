"""One training step: what is learned from, with what, and how it is built from a recipe."""

import logging
from dataclasses import dataclass, replace
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Generator, Tensor, nn
from torch._dynamo.exc import BackendCompilerFailed

from mixviz.augment import Mix, MixInside, mixable_inside
from mixviz.methods import METHODS
from mixviz.networks import NETWORKS
from mixviz.train.agent import Agent, AgentLoss
from mixviz.train.augment import draw, show_windows, vary_colours
from mixviz.train.errors import DataError, TrainingError
from mixviz.train.judge import Normaliser
from mixviz.train.objective import (
    CRITERIA,
    CleanLoss,
    ConsistencyLoss,
    Forward,
    InsideLoss,
    LabelLoss,
    MixLoss,
    Objective,
    Outcome,
)
from mixviz.train.recipe import PRECISIONS, TAUGHT, Mixing, Recipe

Ready = Any
"""A batch that an objective made ready to be learned from."""


@dataclass(frozen=True)
class Learner:
    """A network in training, `forward` the same one compiled or not, and what its images are.

    Attributes:
        mean, std: what images are normalised with, of values in [0, 1].
    """

    network: nn.Module
    forward: Forward
    classes: int
    mean: list[float]
    std: list[float]


class Lesson(nn.Module):
    """A network and its objective as one module: whatever a step does is one forward pass.

    So Fabric's strategies see a single pass, also where an objective makes several.
    """

    def __init__(self, network: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.network = network
        self.objective = objective
        self.outcome: Outcome | None = None

    def forward(self, ready: Ready) -> Tensor:
        """Return the loss; the rest of the outcome stays here until it is taken."""
        self.outcome = self.objective.learn(ready)
        return self.outcome.loss

    def take_outcome(self) -> Outcome:
        """Return the outcome of the last pass, and let go of it."""
        outcome, self.outcome = self.outcome, None
        if outcome is None:
            raise RuntimeError("no forward pass has been made")
        return outcome


@dataclass(frozen=True)
class Work:
    """What a training step works on and with.

    Attributes:
        network: in training; its weights are those of `lesson`.
        lesson, optimiser: as Fabric set them up.
        chance: where mixing draws from.
        agent: what learns beside the network, if anything does.
    """

    fabric: Fabric
    network: nn.Module
    lesson: nn.Module
    optimiser: torch.optim.Optimizer
    objective: Objective
    normalise: Normaliser
    recipe: Recipe
    chance: Generator
    agent: Agent | None = None

    def take_outcome(self) -> Outcome:
        """Return what the last forward pass of the lesson came to."""
        lesson: Any = self.lesson.module
        return lesson.take_outcome()


def build_fabric(device: str, recipe: Recipe, devices: int = 1, nodes: int = 1) -> Fabric:
    """Return what carries out a recipe on so many devices of so many machines.

    Args:
        device: "cpu" or "cuda".
        recipe: decides the precision.
        devices: of each machine; processes, on a CPU.
        nodes: machines.
    """
    precision: Any = PRECISIONS[recipe.precision]
    # It would announce its precision on every start.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    alone = devices * nodes == 1
    return Fabric(
        accelerator=device,
        devices=devices,
        num_nodes=nodes,
        strategy="auto" if alone else "ddp",
        precision=precision,
    )


def build_network(recipe: Recipe, classes: int, fabric: Fabric) -> nn.Module:
    """Draw the network of a recipe, by its seed."""
    torch.manual_seed(recipe.seed)
    network = NETWORKS[recipe.network](num_classes=classes, **recipe.options)
    return network.to(fabric.device).to(memory_format=torch.channels_last)


def compiled(network: nn.Module) -> Forward:
    """Return a network's forward pass, compiled at its first batch.

    It raises TrainingError where the machine cannot compile, as without a C++ compiler.
    """
    forward = torch.compile(network)

    def run(images: Tensor) -> Tensor:
        try:
            return forward(images)
        except BackendCompilerFailed as error:
            reason = str(error.inner_exception).partition("\n")[0]
            raise TrainingError(
                f"the network cannot be compiled here ({reason}): leave out --compile"
            ) from error

    return run


def build_work(recipe: Recipe, learner: Learner, fabric: Fabric, batch: int) -> Work:
    """Join all that a step needs, for so many images a step.

    Raises:
        DataError: the method cannot be used so.
    """
    chance = Generator()
    agent = None
    if recipe.mixing is not None and recipe.mixing.method in TAUGHT:
        agent = Agent(learner.classes, batch, recipe.seed)
    objective = build_objective(recipe, learner, chance, agent)
    lesson, optimiser = fabric.setup(
        Lesson(learner.network, objective), build_optimiser(learner.network, recipe)
    )
    normalise = Normaliser.of(learner.mean, learner.std, fabric.device)
    return Work(
        fabric, learner.network, lesson, optimiser, objective, normalise, recipe, chance, agent
    )


def build_optimiser(network: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD with Nesterov momentum; norms and biases are exempt from weight decay."""
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, recipe.peak_lr, momentum=recipe.momentum, nesterov=True)


def build_objective(
    recipe: Recipe, learner: Learner, chance: Generator, agent: Agent | None = None
) -> Objective:
    """What a recipe lowers; the network in training guides its mixing, which draws from `chance`.

    Raises:
        DataError: the method cannot be used so.
    """
    mixing = recipe.mixing
    criterion = CRITERIA[recipe.loss]
    plain = LabelLoss(learner.forward, criterion, recipe.label_smoothing)
    if mixing is None:
        return plain
    try:
        if agent is not None:
            mixed: Objective = _lower_taught(mixing, recipe, learner, chance, agent)
        elif mixing.method in mixable_inside():
            mixed = _lower_inside(mixing, recipe, learner, chance)
        else:
            mixed = _lower_mixes(mixing, recipe, learner, chance)
    except ValueError as error:
        raise DataError(str(error)) from error
    return CleanLoss(mixed, plain, mixing.clean) if mixing.clean else mixed


def _lower_mixes(mixing: Mixing, recipe: Recipe, learner: Learner, chance: Generator) -> Objective:
    mix = Mix(
        mixing.method,
        num_classes=learner.classes,
        classifier=learner.network,
        pairing=mixing.pairing,
        saliency=mixing.saliency,
        alpha=mixing.alpha,
        prob=mixing.prob,
        params=mixing.hold,
        mean=learner.mean,
        std=learner.std,
        precision=_precision(recipe),
        generator=chance,
    )
    criterion = CRITERIA[recipe.loss]
    if not mixing.jsd:
        return MixLoss(learner.forward, criterion, recipe.label_smoothing, mix)
    if mix.method.contract != "single":
        raise ValueError(
            f"jsd asks views of one image to agree, and {mixing.method} mixes several images"
        )
    return ConsistencyLoss(learner.forward, mix, mixing.jsd, criterion, recipe.label_smoothing)


def _lower_inside(mixing: Mixing, recipe: Recipe, learner: Learner, chance: Generator) -> Objective:
    for name in ("pairing", "saliency", "jsd"):
        if getattr(mixing, name):
            raise ValueError(f"{name} does not apply to {mixing.method}: it mixes inside a network")
    mix = MixInside(
        learner.network,
        num_classes=learner.classes,
        method=mixing.method,
        alpha=mixing.alpha,
        prob=mixing.prob,
        params=mixing.hold,
        generator=chance,
    )
    return InsideLoss(mix, CRITERIA[recipe.loss], recipe.label_smoothing)


def _lower_taught(
    mixing: Mixing, recipe: Recipe, learner: Learner, chance: Generator, agent: Agent
) -> Objective:
    for name in ("pairing", "saliency", "jsd", "hold"):
        if getattr(mixing, name):
            raise ValueError(f"{name} does not apply to {mixing.method}: its agent decides")
    if mixing.guide != "current":
        raise ValueError(f"{mixing.method} needs guide current: its agent learns step by step")
    if recipe.processes > 1:
        raise ValueError(f"{mixing.method} trains in one process only: there is one agent")
    return AgentLoss(
        agent,
        LabelLoss(learner.forward, CRITERIA[recipe.loss], recipe.label_smoothing),
        learner.network,
        Normaliser.of(learner.mean, learner.std, next(learner.network.parameters()).device),
        classes=learner.classes,
        alpha=METHODS[mixing.method].alpha if mixing.alpha is None else mixing.alpha,
        prob=mixing.prob,
        precision=_precision(recipe),
        chance=chance,
    )


def _precision(recipe: Recipe) -> torch.dtype:
    return torch.bfloat16 if recipe.precision == "bf16" else torch.float32


def vary(work: Work, images: Tensor, generator: Generator) -> Tensor:
    """Show another window of each image, in other colours where the recipe says so; normalise.

    Chance is drawn for the whole batch, of which this process has its part: how many processes
    share it changes nothing.
    """
    recipe, fabric = work.recipe, work.fabric
    count = len(images) * fabric.world_size
    draws = draw(count, images.shape[-1], recipe.photo_crops, recipe.jitter, generator)
    draws = draws.part(fabric.global_rank, fabric.world_size)
    varied = show_windows(images.float(), draws)
    if recipe.jitter:
        varied = vary_colours(varied, draws)
    return work.normalise(varied)


def take_step(work: Work, ready: Ready) -> Outcome:
    """Learn from a batch that is ready; what it was learned from, its loss detached."""
    work.lesson(ready)
    outcome = work.take_outcome()
    work.optimiser.zero_grad()
    work.fabric.backward(outcome.loss)
    work.optimiser.step()
    outcome.after()
    return replace(outcome, loss=outcome.loss.detach())
