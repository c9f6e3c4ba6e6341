"""Carrying out a recipe: epochs, what is written after each, and going on after the last one."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Generator, Tensor
from tqdm import tqdm

from mixviz.train.board import Board
from mixviz.train.checkpoint import (
    Card,
    State,
    read_state,
    round_weights,
    write_checkpoint,
    write_policy,
    write_state,
)
from mixviz.train.errors import DataError, TrainingError
from mixviz.train.feed import FEEDS
from mixviz.train.judge import Accuracy, Normaliser, measure
from mixviz.train.objective import Outcome
from mixviz.train.processes import mean, on_first, total
from mixviz.train.recipe import Recipe
from mixviz.train.sheet import draw_sheet, write_sheet
from mixviz.train.shelf import Shelf
from mixviz.train.work import (
    Learner,
    Work,
    build_network,
    build_work,
    compiled,
    take_step,
    vary,
)

STEPS_BETWEEN_LOOKS = 50
MIXING = 1 << 40
"""Added to an epoch's seed for what mixing draws, so that it is another stream."""
PROCESS = 1 << 44
"""Added once more for each process after the first."""

Row = dict[str, float]
"""A line of the log, by the heading of its columns."""


@dataclass(frozen=True)
class Data:
    """Images of both splits, and how to tell them from other data on resuming."""

    train: Shelf
    val: Shelf
    class_names: tuple[str, ...]
    name: str


@dataclass(frozen=True)
class Run:
    """Where and how a recipe is carried out; nothing here changes its outcome on one machine."""

    folder: Path
    name: str
    fabric: Fabric
    say: Callable[[str], None]
    compile: bool = False
    resume: bool = False
    board: Board | None = None


@dataclass(frozen=True)
class Progress:
    """A finished epoch, handed to whoever writes the card."""

    epochs: int
    size: int
    accuracy: Accuracy
    mean: list[float]
    std: list[float]
    seconds: float


def fit(
    data: Data,
    recipe: Recipe,
    run: Run,
    describe: Callable[[Progress], Card],
) -> list[Row]:
    """Train, writing checkpoint, state and log after every epoch; the last epoch is the one kept.

    Every tensor of a step depends on the seed, the epoch and the data alone, so on a CPU a
    resumed run repeats an uninterrupted one bit by bit. Several processes share every batch; each
    mixes its own part, and the norms' running statistics are averaged after every epoch.

    Raises:
        DataError: the state to resume belongs to another recipe or other data.
        TrainingError: the loss is no longer finite, or a file cannot be written.
    """
    fabric = run.fabric
    network = build_network(recipe, len(data.class_names), fabric)
    judged = copy.deepcopy(network)
    forward = compiled(network) if run.compile else network
    scale = data.train.statistics()
    batch = batch_of(recipe, len(data.train))
    learner = Learner(network, forward, len(data.class_names), *scale)
    work = build_work(recipe, learner, fabric, batch)
    settings = _settings(data, recipe)
    history: list[Row] = []
    if run.resume:
        history = _restore(read_state(run.folder), settings, work)
    steps = len(data.train) // batch
    train, val = data.train, data.val
    remaining = (recipe.epochs - len(history)) * steps
    hidden = None if fabric.is_global_zero else True
    with tqdm(total=remaining, desc="training", unit="step", disable=hidden) as bar:
        for epoch in range(len(history), recipe.epochs):
            began = time.perf_counter()
            size = recipe.size_of(epoch)
            if (train.size, val.size) != (size, size):
                train, val = data.train.sized(size), data.val.sized(size)
            sheet = SheetWriter(run, data.class_names, work.normalise, epoch + 1)
            going = Epoch(epoch, batch, steps, bar, sheet)
            loss, hits = train_epoch(work, train, going)
            earned = {} if work.agent is None else {"reward": work.agent.finish()}
            _average_statistics(work)
            weights = round_weights(network)
            judged.load_state_dict(weights)
            accuracy = measure(judged, val, work.normalise, fabric)
            seconds = time.perf_counter() - began
            row = {
                "epoch": epoch + 1,
                "size": size,
                "loss": loss,
                "train_top1": hits,
                "val_top1": accuracy.top1,
                "val_top5": accuracy.top5,
                "seconds": round(seconds, 2),
            } | earned
            history.append(row)
            whole = sum(row["seconds"] for row in history)
            card = describe(Progress(epoch + 1, size, accuracy, *scale, whole))
            on_first(fabric, partial(_write, run, weights, card, settings, history, work))
            run.say(
                f"epoch {epoch + 1}/{recipe.epochs}  {size} px  loss {loss:.4f}  "
                f"train top-1 {hits:.2f} %  val top-1 {accuracy.top1:.2f} %  "
                f"top-5 {accuracy.top5:.2f} %  {seconds:.1f} s"
            )
    return history


def batch_of(recipe: Recipe, images: int) -> int:
    """Images of a step: no more than there are, the same number for every process.

    Raises:
        DataError: there are fewer images than processes.
    """
    batch = min(recipe.batch, images)
    if batch < recipe.processes:
        raise DataError(f"{images} training images do not reach for {recipe.processes} processes")
    return batch - batch % recipe.processes


@dataclass(frozen=True)
class Epoch:
    """An epoch to be trained: its number from 0, images a step, steps, and who watches."""

    number: int
    batch: int
    steps: int
    bar: "tqdm[Any]"
    watch: Callable[[Outcome], None]


def train_epoch(work: Work, shelf: Shelf, going: Epoch) -> tuple[float, float]:
    """Train one epoch; its mean loss, and its top-1 in percent on the images varied and mixed.

    Raises:
        TrainingError: the loss is no longer finite, or a batch cannot be mixed.
    """
    recipe, fabric, device = work.recipe, work.fabric, work.normalise.mean.device
    rank, world = fabric.global_rank, fabric.world_size
    seed = recipe.seed * 1_000_003 + going.number
    torch.manual_seed(seed)
    generator = Generator(device).manual_seed(seed)
    work.chance.manual_seed(seed + MIXING + rank * PROCESS)
    order = torch.randperm(len(shelf), generator=Generator().manual_seed(seed))
    part = order[: going.steps * going.batch].view(going.steps, world, -1)[:, rank].flatten()
    batches = (
        (vary(work, images, generator), labels)
        for images, labels in shelf.batches(part, going.batch // world)
    )
    guide = "current" if recipe.mixing is None else recipe.mixing.guide
    losses = torch.zeros((), device=device)
    hits = torch.zeros((), dtype=torch.int64, device=device)
    try:
        for step, ready in enumerate(FEEDS[guide](work.objective, batches)):
            done = going.number * going.steps + step
            rate = recipe.peak_lr * recipe.schedule.part(done, recipe.epochs * going.steps)
            for group in work.optimiser.param_groups:
                group["lr"] = rate
            outcome = take_step(work, ready)
            losses += outcome.loss
            hits += outcome.hits()
            going.bar.update()
            if step == 0:
                going.watch(outcome)
            # Reading the loss waits for the device, so it is done rarely.
            if step % STEPS_BETWEEN_LOOKS == STEPS_BETWEEN_LOOKS - 1 or step == going.steps - 1:
                mean_loss = mean(fabric, losses).item() / (step + 1)
                if not math.isfinite(mean_loss):
                    raise TrainingError(
                        f"the loss is {mean_loss} in epoch {going.number + 1} by step {step + 1}: "
                        f"try a lower --lr than {recipe.peak_lr:g}"
                    )
                going.bar.set_postfix(
                    epoch=going.number + 1, loss=f"{mean_loss:.3f}", refresh=False
                )
    except ValueError as error:
        name = recipe.network if recipe.mixing is None else recipe.mixing.method
        raise TrainingError(f"{name}: {error}") from error
    share = total(fabric, hits).item() / (going.steps * going.batch)
    return mean_loss, 100 * share


def _average_statistics(work: Work) -> None:
    """Give every process the mean of what all have seen in their norms."""
    if work.fabric.world_size > 1:
        for buffer in work.network.buffers():
            if buffer.is_floating_point():
                buffer.copy_(mean(work.fabric, buffer))


# What is written --------------------------------------------------------------------------------


@dataclass(frozen=True)
class SheetWriter:
    """Shows the first batch of an epoch in the run's folder, as soon as it is learned from."""

    run: Run
    class_names: tuple[str, ...]
    normalise: Normaliser
    epoch: int

    def __call__(self, outcome: Outcome) -> None:
        """Write the sheet; the first process shows its part of the batch."""
        on_first(self.run.fabric, partial(self._write, outcome))

    def _write(self, outcome: Outcome) -> None:
        sheet = draw_sheet(outcome, self.normalise, self.class_names, self.epoch)
        write_sheet(self.run.folder, sheet)
        if self.run.board is not None:
            self.run.board.show(sheet)


def _write(
    run: Run,
    weights: dict[str, Tensor],
    card: Card,
    settings: dict[str, Any],
    history: list[Row],
    work: Work,
) -> None:
    # The checkpoint first: a run killed between the two repeats the epoch.
    write_checkpoint(run.folder, run.name, weights, card)
    agent = {}
    if work.agent is not None:
        write_policy(run.folder, run.name, work.agent.policy_weights())
        agent = work.agent.tensors()
    momentum = {
        name: work.optimiser.state[parameter]["momentum_buffer"]
        for name, parameter in work.network.named_parameters()
    }
    state = State(settings, history, work.network.state_dict(), momentum, agent)
    write_state(run.folder, state)
    if run.board is not None:
        run.board.add(history[-1])


def _settings(data: Data, recipe: Recipe) -> dict[str, Any]:
    return recipe.settings() | {
        "data": data.name,
        "train_images": len(data.train),
        "val_images": len(data.val),
        "classes": len(data.class_names),
    }


def _restore(state: State, settings: dict[str, Any], work: Work) -> list[Row]:
    for key, value in settings.items():
        if state.settings.get(key) != value:
            raise DataError(
                f"cannot resume: the run began with {key} = {state.settings.get(key)}, "
                f"this command says {value}"
            )
    work.network.load_state_dict(state.weights)
    for name, parameter in work.network.named_parameters():
        buffer = torch.empty_like(parameter, requires_grad=False).copy_(state.momentum[name])
        work.optimiser.state[parameter]["momentum_buffer"] = buffer
    if work.agent is not None:
        work.agent.load(state.agent)
    return state.history
