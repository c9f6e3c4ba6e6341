"""The training recipe: SGD under a one-cycle learning rate, sizes that may grow on the way."""

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import interpolate
from tqdm import tqdm

from mixviz.augment import Mix, MixInside, defaults, mixable_inside
from mixviz.networks import NETWORKS
from mixviz.train.augment import draw, show_windows, vary_colours
from mixviz.train.checkpoint import (
    Card,
    State,
    read_state,
    round_weights,
    write_checkpoint,
    write_state,
)
from mixviz.train.errors import DataError, TrainingError
from mixviz.train.judge import Accuracy, Normaliser, measure
from mixviz.train.objective import (
    CleanLoss,
    ConsistencyLoss,
    Forward,
    LabelLoss,
    Objective,
    as_it_is,
    to_mixes,
)
from mixviz.train.sources import ImageSet

PRECISIONS = ("bf16", "fp32")
STEPS_BETWEEN_LOOKS = 50
MIXING = 1 << 40
"""Added to an epoch's seed for what mixing draws, so that it is another stream."""
JSD_WEIGHTS = {"augmix": 12.0}
"""Weights of the consistency that papers train with, by method (Hendrycks et al., Section 4)."""


@dataclass(frozen=True)
class Stage:
    """Some epochs at one image size, in pixels."""

    size: int
    epochs: int


@dataclass(frozen=True)
class Mixing:
    """How batches are mixed; None where a setting does not apply to the method.

    Attributes:
        method: as `mixviz.augment.Mix` or `MixInside` has it, and so pairing to prob.
        clean: λ_clean, the weight of the loss on the batch before it was mixed, at the cost of
            another forward and backward pass.
        jsd: weight of the Jensen-Shannon divergence between an image and two mixes of it, for
            methods that change one image alone; without it they train on their mixes.
    """

    method: str
    pairing: str | None = None
    saliency: str | None = None
    alpha: float | None = None
    prob: float = 1.0
    clean: float = 0.0
    jsd: float = 0.0

    @classmethod
    def of(
        cls,
        method: str,
        pairing: str | None = None,
        saliency: str | None = None,
        alpha: float | None = None,
        prob: float | None = None,
        clean: float | None = None,
        jsd: float | None = None,
    ) -> "Mixing":
        """Fill what was not asked for with what the method does by itself.

        Raises:
            DataError: the method cannot be trained with.
        """
        try:
            usual = defaults(method)
        except ValueError as error:
            raise DataError(str(error)) from error
        return cls(
            method,
            usual.pairing if pairing is None else pairing,
            usual.saliency if saliency is None else saliency,
            usual.alpha if alpha is None else alpha,
            1.0 if prob is None else prob,
            0.0 if clean is None else clean,
            JSD_WEIGHTS.get(method, 0.0) if jsd is None else jsd,
        )


@dataclass(frozen=True)
class Recipe:
    """All that decides a run besides its data; a resumed run must repeat it."""

    network: str
    options: dict[str, int]
    stages: tuple[Stage, ...]
    batch: int = 512
    peak_lr: float = 0.2
    warm_part: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    photo_crops: float = 0.5
    jitter: float = 0.0
    per_class: int | None = None
    precision: str = "bf16"
    seed: int = 0
    mixing: Mixing | None = None

    @property
    def epochs(self) -> int:
        """Epochs of all stages together."""
        return sum(stage.epochs for stage in self.stages)

    def size_of(self, epoch: int) -> int:
        """Image size of an epoch, counted from 0."""
        for stage in self.stages:
            if epoch < stage.epochs:
                return stage.size
            epoch -= stage.epochs
        raise IndexError(f"epoch is {epoch} past the last stage")


@dataclass(frozen=True)
class Data:
    """Decoded images of both splits, and how to tell them from other data on resuming."""

    train: ImageSet
    val: ImageSet
    class_names: tuple[str, ...]
    name: str


@dataclass(frozen=True)
class Run:
    """Where and how a recipe is carried out; nothing here changes its outcome on one machine."""

    folder: Path
    name: str
    device: torch.device
    say: Callable[[str], None]
    compile: bool = False
    resume: bool = False


@dataclass(frozen=True)
class Work:
    """What a training step works on and with; `chance` is where mixing draws from."""

    objective: Objective
    optimiser: torch.optim.SGD
    normalise: Normaliser
    recipe: Recipe
    chance: Generator


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


@dataclass(frozen=True)
class Progress:
    """A finished epoch, handed to whoever writes the card."""

    epochs: int
    size: int
    accuracy: Accuracy
    mean: list[float]
    std: list[float]
    seconds: float


def one_cycle(step: int, steps: int, peak: float, warm_part: float) -> float:
    """Learning rate of a step: cosine from peak/25 up to peak, then down to peak/250,000.

    Smith & Topin 2017 (arXiv:1708.07120), in the form of ``torch.optim.lr_scheduler.OneCycleLR``.
    """
    summit = warm_part * steps - 1
    if step <= summit:
        start, end, part = peak / 25, peak, step / summit if summit > 0 else 1.0
    else:
        start, end = peak, peak / 250_000
        part = min((step - summit) / max(steps - 1 - summit, 1), 1.0)
    return end + (start - end) / 2 * (1 + math.cos(math.pi * part))


def statistics(images: Tensor) -> tuple[list[float], list[float]]:
    """Per-channel mean and standard deviation of uint8 images, scaled to [0, 1], 4 decimals."""
    total = torch.zeros(2, 3, dtype=torch.float64, device=images.device)
    for start in range(0, len(images), 1000):
        part = images[start : start + 1000]
        values = part.float() / 255
        total += torch.stack((values.mean((0, 2, 3)), values.square().mean((0, 2, 3)))) * len(part)
    mean, square = total / len(images)
    std = (square - mean.square()).clamp(min=1e-6).sqrt()
    return [round(m, 4) for m in mean.tolist()], [round(s, 4) for s in std.tolist()]


def resize(images: Tensor, size: int) -> Tensor:
    """uint8 images at another size, antialiased; the same tensor where the size is right."""
    if images.shape[-1] == size:
        return images
    resized = images.new_empty((len(images), 3, size, size))
    for start in range(0, len(images), 1000):
        part = images[start : start + 1000].float()
        part = interpolate(part, (size, size), mode="bilinear", antialias=True)
        resized[start : start + 1000] = part.round().clamp(0, 255).to(torch.uint8)
    return resized


def place(data: ImageSet, device: torch.device) -> ImageSet:
    """Keep the images on the device where they take less than half of its free memory."""
    if device.type != "cuda":
        return data
    free, _ = torch.cuda.mem_get_info(device)
    fits = data.images.nbytes < free / 2
    images = data.images.to(device) if fits else data.images
    return ImageSet(images, data.labels.to(images.device))


def take(data: ImageSet, index: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """A batch on the device; from host memory it travels pinned, behind the running step."""
    images, labels = data.images[index], data.labels[index]
    if images.device == device:
        return images, labels
    return (
        images.pin_memory().to(device, non_blocking=True),
        labels.pin_memory().to(device, non_blocking=True),
    )


def fit(
    data: Data,
    recipe: Recipe,
    run: Run,
    describe: Callable[[Progress], Card],
) -> list[dict[str, float]]:
    """Train, writing checkpoint, state and log after every epoch; the last epoch is the one kept.

    Every tensor of a step depends on the seed, the epoch and the data alone, so on a CPU a
    resumed run repeats an uninterrupted one bit by bit.

    Raises:
        DataError: the state to resume belongs to another recipe or other data.
        TrainingError: the loss is no longer finite, or a file cannot be written.
    """
    device = run.device
    torch.manual_seed(recipe.seed)
    classes = len(data.class_names)
    network = NETWORKS[recipe.network](num_classes=classes, **recipe.options)
    judged = copy.deepcopy(network).to(device).to(memory_format=torch.channels_last)
    network = network.to(device).to(memory_format=torch.channels_last)
    optimiser = build_optimiser(network, recipe)
    settings = _settings(data, recipe)
    history: list[dict[str, float]] = []
    if run.resume:
        history = _restore(read_state(run.folder), settings, network, optimiser)
    forward = torch.compile(network) if run.compile else network

    train, val = place(data.train, device), place(data.val, device)
    mean, std = statistics(train.images)
    normalise = Normaliser.of(mean, std, device)
    chance = Generator()
    objective = build_objective(recipe, Learner(network, forward, classes, mean, std), chance)
    work = Work(objective, optimiser, normalise, recipe, chance)
    batch = min(recipe.batch, len(train))
    steps = len(train) // batch
    remaining = (recipe.epochs - len(history)) * steps
    with tqdm(total=remaining, desc="training", unit="step", disable=None) as bar:
        sized, sized_val = train, val
        for epoch in range(len(history), recipe.epochs):
            began = time.perf_counter()
            size = recipe.size_of(epoch)
            if sized.images.shape[-1] != size:
                sized = ImageSet(resize(train.images, size), train.labels)
                sized_val = ImageSet(resize(val.images, size), val.labels)
            elif sized_val.images.shape[-1] != size:
                sized_val = ImageSet(resize(val.images, size), val.labels)
            loss, hits = _train_epoch(work, sized, epoch, batch, steps, bar)
            weights = round_weights(network)
            judged.load_state_dict(weights)
            accuracy = measure(judged, sized_val, normalise)
            seconds = time.perf_counter() - began
            history.append(
                {
                    "epoch": epoch + 1,
                    "size": size,
                    "loss": loss,
                    "train_top1": hits,
                    "val_top1": accuracy.top1,
                    "val_top5": accuracy.top5,
                    "seconds": round(seconds, 2),
                }
            )
            progress = Progress(
                epoch + 1, size, accuracy, mean, std, sum(row["seconds"] for row in history)
            )
            # The checkpoint first: a run killed between the two repeats the epoch.
            write_checkpoint(run.folder, run.name, weights, describe(progress))
            write_state(run.folder, _state(settings, history, network, optimiser))
            run.say(
                f"epoch {epoch + 1}/{recipe.epochs}  {size} px  loss {loss:.4f}  "
                f"train top-1 {hits:.2f} %  val top-1 {accuracy.top1:.2f} %  "
                f"top-5 {accuracy.top5:.2f} %  {seconds:.1f} s"
            )
    return history


def build_optimiser(network: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD with Nesterov momentum; norms and biases are exempt from weight decay."""
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, recipe.peak_lr, momentum=recipe.momentum, nesterov=True)


def build_objective(recipe: Recipe, learner: Learner, chance: Generator) -> Objective:
    """What a recipe lowers; the network in training guides its mixing, which draws from `chance`.

    Raises:
        DataError: the method cannot be used so.
    """
    mixing = recipe.mixing
    plain = LabelLoss(as_it_is(learner.forward), recipe.label_smoothing)
    if mixing is None:
        return plain
    build = _lower_inside if mixing.method in mixable_inside() else _lower_mixes
    try:
        mixed = build(mixing, recipe, learner, chance)
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
        mean=learner.mean,
        std=learner.std,
        precision=torch.bfloat16 if recipe.precision == "bf16" else torch.float32,
        generator=chance,
    )
    if not mixing.jsd:
        return LabelLoss(to_mixes(learner.forward, mix), recipe.label_smoothing)
    if mix.method.contract != "single":
        raise ValueError(
            f"jsd asks views of one image to agree, and {mixing.method} mixes several images"
        )
    return ConsistencyLoss(learner.forward, mix, mixing.jsd, recipe.label_smoothing)


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
        generator=chance,
    )
    return LabelLoss(mix, recipe.label_smoothing)


def take_step(
    work: Work, images: Tensor, labels: Tensor, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Vary, mix and learn from one batch; its loss, and how often the heaviest label came first.

    Raises:
        TrainingError: the batch cannot be mixed.
    """
    recipe = work.recipe
    draws = draw(len(images), images.shape[-1], recipe.photo_crops, recipe.jitter, generator)
    varied = show_windows(images.float(), draws)
    if recipe.jitter:
        varied = vary_colours(varied, draws)
    normalised = work.normalise(varied)
    try:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            outcome = work.objective(normalised, labels)
    except ValueError as error:
        name = recipe.network if recipe.mixing is None else recipe.mixing.method
        raise TrainingError(f"{name}: {error}") from error
    work.optimiser.zero_grad()
    torch.autograd.backward(outcome.loss)
    work.optimiser.step()
    return outcome.loss.detach(), outcome.hits()


def _train_epoch(
    work: Work, data: ImageSet, epoch: int, batch: int, steps: int, bar: "tqdm[Any]"
) -> tuple[float, float]:
    """One epoch; its mean loss and its top-1 in percent on the images as varied and mixed."""
    recipe, device = work.recipe, work.normalise.mean.device
    seed = recipe.seed * 1_000_003 + epoch
    torch.manual_seed(seed)
    generator = Generator(device).manual_seed(seed)
    work.chance.manual_seed(seed + MIXING)
    order = torch.randperm(len(data), generator=Generator().manual_seed(seed))
    order = order.to(data.images.device)
    losses = torch.zeros((), device=device)
    hits = torch.zeros((), dtype=torch.int64, device=device)
    for step in range(steps):
        lr = one_cycle(
            epoch * steps + step, recipe.epochs * steps, recipe.peak_lr, recipe.warm_part
        )
        for group in work.optimiser.param_groups:
            group["lr"] = lr
        images, labels = take(data, order[step * batch : (step + 1) * batch], device)
        loss, right = take_step(work, images, labels, generator)
        losses += loss
        hits += right
        bar.update()
        # Reading the loss waits for the device, so it is done rarely.
        if step % STEPS_BETWEEN_LOOKS == STEPS_BETWEEN_LOOKS - 1 or step == steps - 1:
            mean_loss = losses.item() / (step + 1)
            if not math.isfinite(mean_loss):
                raise TrainingError(
                    f"the loss is {mean_loss} in epoch {epoch + 1} by step {step + 1}: "
                    f"try a lower --lr than {recipe.peak_lr:g}"
                )
            bar.set_postfix(epoch=epoch + 1, loss=f"{mean_loss:.3f}", refresh=False)
    return mean_loss, hits.item() * 100 / (steps * batch)


def _settings(data: Data, recipe: Recipe) -> dict[str, Any]:
    settings = asdict(recipe) | {
        "data": data.name,
        "train_images": len(data.train),
        "val_images": len(data.val),
        "classes": len(data.class_names),
    }
    # As it will read after a round trip: tuples become lists.
    return json.loads(json.dumps(settings))


def _state(
    settings: dict[str, Any],
    history: list[dict[str, float]],
    network: nn.Module,
    optimiser: torch.optim.SGD,
) -> State:
    momentum = {
        name: optimiser.state[parameter]["momentum_buffer"]
        for name, parameter in network.named_parameters()
    }
    return State(settings, history, network.state_dict(), momentum)


def _restore(
    state: State, settings: dict[str, Any], network: nn.Module, optimiser: torch.optim.SGD
) -> list[dict[str, float]]:
    for key, value in settings.items():
        if state.settings.get(key) != value:
            raise DataError(
                f"cannot resume: the run began with {key} = {state.settings.get(key)}, "
                f"this command says {value}"
            )
    network.load_state_dict(state.weights)
    for name, parameter in network.named_parameters():
        buffer = torch.empty_like(parameter, requires_grad=False).copy_(state.momentum[name])
        optimiser.state[parameter]["momentum_buffer"] = buffer
    return state.history
