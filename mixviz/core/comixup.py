"""Co-Mixup (Kim, Choo, Jeong and Song, ICLR 2021): a batch of inputs mixed into as many outputs.

Region i of output j takes its content from the inputs by the shares z[j, i]: from one of them, or
from two by halves. With n_j the regions that output j takes from each input, minimised is

    sum_ji c_i . z_ji + beta/2 sum_j sum_ii' |z_ji - z_ji'|^2 - eta sum_j n_j . log a
    + gamma sum_j n_j . T(A sum_j'!=j n_j')

over neighbouring regions i, i', where c is minus the saliency of each input, a the prior, and T
keeps only what exceeds tau: an input that the other outputs already show costs, and the more so
the farther they lie from it (A).

Solved output by output. Given the others, the first three terms and this output's own diversity
are linear in z_j but for the edges; two labels at a time, that is a minimum cut (alpha-beta swap:
half labels make the squared distance a semi-metric, which rules expansion out). What a move does
to the diversity of the others has thresholds and no such form, so every move is judged by the
whole objective: it never rises.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from mixviz.core.mask import MaskProblem, solve_exact

TERMS = ("saliency", "label_smooth", "prior", "diversity")
# Inputs among which outputs are built in turn, to start with.
GROUP = 5
# A fall of the objective that is smaller than this share of its size is rounding.
ROUNDING = 1e-12


@dataclass(frozen=True)
class JointWeights:
    """The weights of the objective as it is written, which depend on the grid.

    Attributes:
        beta: of an edge between regions of different inputs.
        gamma: of the diversity.
        eta: of the prior.
        omega: share of the distances between inputs in A.
        tau: regions of one input in the other outputs from which on a further one costs.
    """

    beta: float
    gamma: float
    eta: float
    omega: float
    tau: float


def joint_weights(
    beta: float, gamma: float, eta: float, omega: float, tau: float, grid: int
) -> JointWeights:
    """Convert weights as they are tuned, the same on every grid, to those of the objective."""
    regions = grid * grid
    return JointWeights(beta / regions, gamma / regions, eta / regions, omega, tau * regions)


@dataclass(frozen=True, eq=False)
class JointProblem:
    """What Co-Mixup minimises.

    Attributes:
        saliency: of each input, by region; sums to 1.
        prior: a, the share of each input that is wished for.
        weights: of the terms.

    Raises:
        ValueError: for saliency or a prior that is not finite and, the prior, positive.
    """

    saliency: Float64[np.ndarray, "m n n"]
    prior: Float64[np.ndarray, " m"]
    weights: JointWeights

    def __post_init__(self) -> None:
        if not np.isfinite(self.saliency).all():
            raise ValueError("saliency must be finite")
        if not ((self.prior > 0) & (self.prior < np.inf)).all():
            raise ValueError(f"prior must be positive and finite, got {self.prior.tolist()}")

    @cached_property
    def affinity(self) -> Float64[np.ndarray, "m m"]:
        """A: how much a region of one input in other outputs weighs on each input.

        The distances between the most salient regions (ℓ₁, in regions; the first one where
        several are) are scaled so that all of them add up to the number of inputs.
        """
        count, n, _ = self.saliency.shape
        place = np.stack(np.divmod(self.saliency.reshape(count, -1).argmax(1), n), 1)
        distance = np.abs(place[:, None] - place).sum(2).astype(np.float64)
        total = distance.sum()
        scaled = distance * (count / total) if total else distance
        return (1 - self.weights.omega) * np.eye(count) + self.weights.omega * scaled

    @cached_property
    def costs(self) -> Float64[np.ndarray, "n n m"]:
        """What a region of each input costs in any output: saliency and prior."""
        prior = self.weights.eta * np.log(self.prior) if self.weights.eta else 0.0
        return -self.saliency.transpose(1, 2, 0) - prior


@dataclass(frozen=True, eq=False)
class JointSolution:
    """Outputs found and how.

    Attributes:
        shares: z; indices are output, row and column of the region, input.
        terms: of each output, by name: those of `TERMS`, and "total".
        history: the objective at the start and after each sweep over the outputs; never rises.
        start: which of `STARTS` led here.
        settled: whether the last sweep lowered nothing any more.
        seconds: time taken.
    """

    shares: Float64[np.ndarray, "m n n m"]
    terms: Mapping[str, Float64[np.ndarray, " m"]]
    history: tuple[float, ...]
    start: str
    settled: bool
    seconds: float


def draw_prior(alpha: float, inputs: int, rng: torch.Generator) -> Float64[Tensor, " {inputs}"]:
    """Draw a ~ Dirichlet(alpha), the shares wished for; never 0, as their logarithm is taken.

    Raises:
        ValueError: unless alpha > 0.
    """
    if not alpha > 0:
        raise ValueError(f"alpha must be positive, got {alpha}")
    concentration = torch.full((inputs,), alpha, dtype=torch.float64)
    tiny = torch.finfo(torch.float64).tiny
    gamma = torch._standard_gamma(concentration, generator=rng).clamp_min(tiny)
    return (gamma / gamma.sum()).clamp_min(tiny)


def joint_terms(
    problem: JointProblem, shares: Float64[np.ndarray, "m n n m"]
) -> dict[str, Float64[np.ndarray, " m"]]:
    """Return the objective of given outputs by term and in total, one value per output."""
    weights = problem.weights
    usage = shares.sum((1, 2))
    others = usage.sum(0) - usage
    smooth = sum(np.square(np.diff(shares, axis=axis)).sum((1, 2, 3)) for axis in (1, 2))
    saliency = -(shares * problem.saliency.transpose(1, 2, 0)).sum((1, 2, 3))
    prior = -weights.eta * (usage * np.log(problem.prior)).sum(1)
    crowd = _above(others @ problem.affinity, weights.tau)
    values = (saliency, weights.beta / 2 * smooth, prior, weights.gamma * (usage * crowd).sum(1))
    terms = dict(zip(TERMS, values, strict=True))
    return terms | {"total": np.sum(values, axis=0)}


def solve_joint(problem: JointProblem, sweeps: int = 4) -> JointSolution:
    """Minimise the objective output by output until a sweep no longer lowers it.

    From each of `STARTS`; the lower end is kept, the first one under ties. From the second sweep
    on, an output that shows two inputs may share a region between them by halves. The end is a
    local optimum: no other label for one region lowers it and no swap that a cut proposes, unless
    the sweeps ran out.

    Raises:
        ValueError: for sweeps < 1.
    """
    if sweeps < 1:
        raise ValueError(f"sweeps must be at least 1, got {sweeps}")
    begin = time.perf_counter()
    ends = [(*_descend(problem, start(problem), sweeps), name) for name, start in STARTS.items()]
    shares, history, name = min(ends, key=lambda end: end[1][-1])
    return JointSolution(
        shares=shares,
        terms=joint_terms(problem, shares),
        history=history,
        start=name,
        settled=len(history) > 2 and not _falls(history[-1], history[-2]),
        seconds=time.perf_counter() - begin,
    )


# ------------------------------------------------------------------ where to start


def start_in_pairs(problem: JointProblem) -> Float64[np.ndarray, "m n n m"]:
    """Give each output the more salient of two inputs at each region, its own and a partner.

    Every input is a partner once; partners are assigned so that the most saliency shows.
    """
    count, n, _ = problem.saliency.shape
    flat = problem.saliency.reshape(count, -1)
    shown = np.stack([np.maximum(one, flat).sum(1) for one in flat])
    np.fill_diagonal(shown, -float(count))
    partner = linear_sum_assignment(-shown)[1]
    chosen = np.where(flat >= flat[partner], np.arange(count)[:, None], partner[:, None])
    return np.eye(count)[chosen].reshape(count, n, n, count)


def start_in_turn(problem: JointProblem) -> Float64[np.ndarray, "m n n m"]:
    """Build one output after the other from the inputs of its group, those to come not counted.

    In one large group the last outputs would find every input used up.
    """
    count, n, _ = problem.saliency.shape
    shares = np.zeros((count, n, n, count))
    for group in np.array_split(np.arange(count), -(-count // GROUP)):
        for output in group.tolist():
            shares[output] = _solve_output(problem, shares, output, np.eye(count)[group])
    return shares


STARTS: Mapping[str, Callable[[JointProblem], Float64[np.ndarray, "m n n m"]]] = MappingProxyType(
    {"in pairs": start_in_pairs, "in turn": start_in_turn}
)


def _descend(
    problem: JointProblem, shares: Float64[np.ndarray, "m n n m"], sweeps: int
) -> tuple[Float64[np.ndarray, "m n n m"], tuple[float, ...]]:
    """Take the outputs in turn, sweep by sweep; return them and the objective on the way."""
    objective = float(joint_terms(problem, shares)["total"].sum())
    history = [objective]
    shares = shares.copy()
    for sweep in range(sweeps):
        for output in range(len(shares)):
            table = _table(shares[output], halves=sweep > 0)
            shares[output] = _solve_output(problem, shares, output, table)
        history.append(float(joint_terms(problem, shares)["total"].sum()))
        if sweep and not _falls(history[-1], history[-2]):
            break
    return shares, tuple(history)


# ------------------------------------------------------------------ one output
# Labels of an output: one for each input, then perhaps one for two inputs by halves.


def _above(values: Float64[np.ndarray, "..."], tau: float) -> Float64[np.ndarray, "..."]:
    # By more than rounding, or the order of a sum would decide at the threshold.
    return np.where(values > tau + 1e-9, values, 0.0)


def _falls(after: float, before: float) -> bool:
    return after < before - ROUNDING * (1 + abs(before))


@dataclass(frozen=True, eq=False)
class _Step:
    """The problem of one output, the others held.

    Attributes:
        table: what each label takes of each input.
        costs: of each label at each region, the output's own diversity included.
        distance: of two labels: what an edge between them costs.
        others: usage of the other outputs.
        crowd: for each of them, A times what outputs but that one and this one use.
    """

    table: Float64[np.ndarray, "labels m"]
    costs: Float64[np.ndarray, "n n labels"]
    distance: Float64[np.ndarray, "labels labels"]
    others: Float64[np.ndarray, "outputs m"]
    crowd: Float64[np.ndarray, "outputs m"]
    affinity: Float64[np.ndarray, "m m"]
    gamma: float
    tau: float

    def imposed(self, usage: Float64[np.ndarray, "tries m"]) -> Float64[np.ndarray, " tries"]:
        """Diversity of the other outputs when this one uses so much of each input."""
        crowd = self.crowd + (usage @ self.affinity)[:, None]
        return self.gamma * (_above(crowd, self.tau) * self.others).sum((1, 2))

    def usage(self, labels: Int64[np.ndarray, "tries n n"]) -> Float64[np.ndarray, "tries m"]:
        """Regions taken of each input."""
        return self.table[labels].sum((1, 2))

    def objective(self, labels: Int64[np.ndarray, "tries n n"]) -> Float64[np.ndarray, " tries"]:
        """All of the objective that this output has a part in."""
        own = np.take_along_axis(self.costs[None], labels[..., None], 3).sum((1, 2, 3))
        right = self.distance[labels[:, :, 1:], labels[:, :, :-1]].sum((1, 2))
        down = self.distance[labels[:, 1:], labels[:, :-1]].sum((1, 2))
        return own + right + down + self.imposed(self.usage(labels))


def _solve_output(
    problem: JointProblem,
    shares: Float64[np.ndarray, "m n n m"],
    output: int,
    table: Float64[np.ndarray, "labels m"],
) -> Float64[np.ndarray, "n n m"]:
    """Improve one output, or build it, by the best swap or relabelling until there is none."""
    step = _step(problem, shares, output, table)
    if shares[output].any():
        labels = (shares[output][:, :, None] == table).all(-1).argmax(-1)
    else:
        labels = step.costs.argmin(-1)
    best = float(step.objective(labels[None])[0])
    while True:
        for candidates in (_swaps, _relabelled):
            tries = candidates(step, labels)
            if not len(tries):
                continue
            objective = step.objective(tries)
            first = int(objective.argmin())
            if _falls(float(objective[first]), best):
                labels, best = tries[first], float(objective[first])
                break
        else:
            return table[labels]


def _table(
    shares: Float64[np.ndarray, "n n m"], *, halves: bool
) -> Float64[np.ndarray, "labels m"]:
    """Return what an output may use: each input, and the half label in use or newly allowed."""
    count = shares.shape[-1]
    table = np.eye(count)
    half = shares[(shares == 0.5).any(-1)][:1]
    used = np.flatnonzero(shares.any((0, 1)))
    if halves and not len(half) and len(used) == 2:
        half = table[used].mean(0, keepdims=True)
    return np.concatenate((table, half))


def _step(
    problem: JointProblem,
    shares: Float64[np.ndarray, "m n n m"],
    output: int,
    table: Float64[np.ndarray, "labels m"],
) -> _Step:
    weights, affinity = problem.weights, problem.affinity
    others = np.delete(shares.sum((1, 2)), output, 0)
    others = others[others.any(1)]
    total = others.sum(0)
    crowd = _above(affinity @ total, weights.tau)
    apart = np.square(table[:, None] - table).sum(-1)
    return _Step(
        table=table,
        costs=(problem.costs + weights.gamma * crowd) @ table.T,
        distance=weights.beta / 2 * apart,
        others=others,
        crowd=(total - others) @ affinity,
        affinity=affinity,
        gamma=weights.gamma,
        tau=weights.tau,
    )


def _swaps(step: _Step, labels: Int64[np.ndarray, "n n"]) -> Int64[np.ndarray, "tries n n"]:
    """Return the best exchange between each label in use and each other one, by minimum cuts."""
    count = len(step.table)
    used = np.unique(labels)
    pairs = [(a, b) for a in used for b in range(count) if a < b or (a > b and b not in used)]
    if not pairs:
        return labels[None][:0]
    alpha, beta = np.array(pairs).T[..., None, None]
    moving = (labels == alpha) | (labels == beta)
    cost = np.stack([_cost_of(step, labels, moving, label) for label in (alpha, beta)], -1)
    cost[~moving] = 0.0, np.inf
    between = step.distance[alpha, beta]
    right = between * (moving[:, :, 1:] & moving[:, :, :-1])
    down = between * (moving[:, 1:] & moving[:, :-1])
    chosen = solve_exact(MaskProblem(cost, right, down)).labels
    return np.where(moving, np.where(chosen == 1, beta, alpha), labels)


def _cost_of(
    step: _Step,
    labels: Int64[np.ndarray, "n n"],
    moving: Bool[np.ndarray, "tries n n"],
    label: Int64[np.ndarray, "tries 1 1"],
) -> Float64[np.ndarray, "tries n n"]:
    """Cost of a label at each region, its edges to regions that stay included."""
    cost = np.take_along_axis(step.costs[None], label[..., None], 3)[..., 0].copy()
    edges = np.where(moving, 0.0, step.distance[label, labels])
    cost[:, :, :-1] += edges[:, :, 1:]
    cost[:, :, 1:] += edges[:, :, :-1]
    cost[:, :-1] += edges[:, 1:]
    cost[:, 1:] += edges[:, :-1]
    return cost


def _relabelled(step: _Step, labels: Int64[np.ndarray, "n n"]) -> Int64[np.ndarray, "tries n n"]:
    """Return the best other label for a single region."""
    n, count = len(labels), len(step.table)
    still = np.zeros((1, n, n), bool)
    every = np.arange(count)[:, None, None]
    cost = _cost_of(step, labels, np.broadcast_to(still, (count, n, n)), every)
    now = np.take_along_axis(cost, labels[None], 0)
    usage = step.usage(labels[None])
    used = np.unique(labels)
    moved = usage + step.table[None] - step.table[used][:, None]
    imposed = np.zeros((count, count))
    imposed[used] = step.imposed(moved.reshape(-1, usage.shape[1])).reshape(len(used), count)
    change = cost - now + imposed[labels].transpose(2, 0, 1)
    change[labels, *np.indices((n, n))] = np.inf
    label, row, column = np.unravel_index(int(change.argmin()), change.shape)
    found = labels.copy()
    found[row, column] = label
    return found[None]
