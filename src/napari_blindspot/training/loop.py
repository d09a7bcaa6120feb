"""One readable training loop: draw crops, step, average, check, stop.

Training stops by the likelihood of held-out blocks, never by a step count alone:
after its best point the network over-fits while its training score still improves.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_blindspot.device import channels_last
from napari_blindspot.methods.objective import Objective
from napari_blindspot.methods.start import fit_start
from napari_blindspot.methods.start_joint import fit_joint_start
from napari_blindspot.noise.likelihood import mapped
from napari_blindspot.progress import CancelToken, Job, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_blindspot.config import Recipe
    from napari_blindspot.methods.learned_noise import NoiseLearner
    from napari_blindspot.model import Answer
    from napari_blindspot.networks.blindspot import BlindSpotNetwork, Hole
    from napari_blindspot.training.sampling import Batch, CropSampler

    Crop = tuple[Tensor, Tensor, Any]  # planes, target, noise of one channel or several
    Step = tuple[Tensor, Tensor, Any, Tensor]  # and which channel each crop is of

    Refine = Callable[[BlindSpotNetwork], str]
    Look = Callable[[BlindSpotNetwork], float]

_START_VOXELS = 6 * 10**5
_START_BATCH = 24
_HELD_OUT_CROPS = 32
# Of the budget: the network explains most of the signal by then, and more later.
_REFINE_AT = (0.35, 0.7)
_LEAST_STEPS_BETWEEN_CHECKS = 10
_BETAS = (0.9, 0.99)  # Laine et al. 2019
_LEAST_GAIN = 1e-5  # nats by which a check must be better to count


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What training gives back.

    Parameters
    ----------
    network
        On the CPU, with the best averaged weights.
    steps
        Steps that were taken.
    seconds
        Time they took.
    held_out
        Best held-out score: the mean of what is minimised, on held-out blocks.
    stopped
        ``"budget"`` or ``"held-out score"``.
    history
        (step, held-out score) of every check.
    """

    network: BlindSpotNetwork
    steps: int
    seconds: float
    held_out: float
    stopped: str
    history: tuple[tuple[int, float], ...]


@dataclass(slots=True)
class Clock:
    """Where training stands in its budget of steps and minutes."""

    recipe: Recipe
    started: float = field(default_factory=time.perf_counter)
    checked: tuple[int, float] = (0, 0.0)

    @property
    def seconds(self) -> float:
        """Seconds since the start, without those in which it was stopped."""
        return time.perf_counter() - self.started

    def stopped_for(self, seconds: float) -> None:
        """Leave some seconds out: they were spent on something else."""
        self.started += seconds

    def spent(self, step: int) -> float:
        """Return the part of the budget that is spent, 0 to 1."""
        return max(step / self.recipe.steps, self.seconds / 60 / self.recipe.minutes)

    def check_is_due(self, step: int, spent: float) -> bool:
        """Return whether the held-out score is taken now, and note that it is.

        `checks` times over the whole budget, but not after every few steps, and once
        more at its end.
        """
        last_step, last_spent = self.checked
        due = spent >= 1 or (
            step - last_step >= _LEAST_STEPS_BETWEEN_CHECKS
            and spent - last_spent >= 0.999 / self.recipe.checks
        )
        if due:
            self.checked = (step, spent)
        return due


@dataclass(slots=True)
class Best:
    """The best weights so far, by held-out score."""

    score: float = math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)
    bad_checks: int = 0
    history: list[tuple[int, float]] = field(default_factory=list)

    def update(self, step: int, score: float, network: nn.Module) -> None:
        """Note a check, and keep the weights if it is the best."""
        self.history.append((step, score))
        if score < self.score - _LEAST_GAIN:
            self.score, self.bad_checks = score, 0
            self.weights = copy.deepcopy(network.state_dict())
        else:
            self.bad_checks += 1

    def is_over(self, recipe: Recipe, spent: float) -> bool:
        """Return whether training has gone on long enough without improvement."""
        return spent >= recipe.least and self.bad_checks >= recipe.patience


def train_network(
    network: BlindSpotNetwork,
    sampler: CropSampler,
    recipe: Recipe,
    *,
    device: torch.device,
    seed: int,
    cancel: CancelToken,
    refine: Refine | None = None,
    learner: NoiseLearner | None = None,
    stop_gradient: bool = False,
    answer: Answer = "posterior",
    look: Look | None = None,
) -> Job[Trained]:
    """Train a blind-spot network on the crops of a sampler.

    Parameters
    ----------
    network
        Fresh; it is changed in place and moved to `device` while it trains.
    sampler
        Draws the crops.
    recipe
        Budget and schedule.
    device
        Where to train. On a CPU the same seed and number of threads give the same
        weights, as long as the budget is in steps.
    seed
        Seed of augmentation.
    cancel
        Asked before every step.
    refine
        Called at two points of the budget with the averaged network; it may give the
        sampler's sources another noise and then returns a sentence about it.
    learner
        Learns the strength of the noise along with the network, and ends with the
        best averaged weights too; None: the noise is frozen.
    stop_gradient
        As of `methods.bayesian.negative_log_likelihood`.
    answer
        As of `methods.objective.Objective`.
    look
        Called after every step with the averaged network, which it leaves as it is;
        returns the seconds it took, which do not count as training.

    Yields
    ------
    Progress
        One event per step, counted in per cent of the budget, with the metrics
        ``step``, ``loss`` and, where a check was made, ``held_out``.

    Returns
    -------
    Trained
    """
    rng, hole = np.random.default_rng([seed, 3]), network.settings.hole
    objective = Objective(network, learner, stop_gradient=stop_gradient, answer=answer)
    trainer = Trainer(objective, recipe, device)
    held_out = sampler.held_out(_HELD_OUT_CROPS)
    _fit_start(network, trainer, sampler, cancel)
    trainer.restart()
    clock, best, step, spent = Clock(recipe), Best(), 0, 0.0
    best.update(0, trainer.score(held_out), trainer.average)  # the blind filter alone
    network.wake()
    trainer.restart()
    refinements = list(_REFINE_AT)
    while spent < 1 and not best.is_over(recipe, spent):
        cancel.raise_if_cancelled()
        batch = augment(sampler.draw(), rng, quarter_turns=hole[1] == hole[2])
        deeper = _deeper(hole, network.settings.context, recipe, rng)
        loss = trainer.step(batch, spent, deeper)
        step += 1
        metrics = {"step": float(step), "loss": loss}
        spent = clock.spent(step)
        if clock.check_is_due(step, spent):
            metrics["held_out"] = trainer.score(held_out)
            best.update(step, metrics["held_out"], trainer.average)
        yield Progress("train", 100 * spent, 100, "%", "", metrics)
        if look is not None:
            clock.stopped_for(look(trainer.average.network))
        if refine is not None and refinements and spent >= refinements[0]:
            refinements.pop(0)
            if told := refine(trainer.average.network):
                # Scores under another noise cannot be compared.
                best, held_out = Best(), sampler.held_out(_HELD_OUT_CROPS)
                best.update(step, trainer.score(held_out), trainer.average)
                yield Progress("train", 100 * spent, 100, "%", told)
    objective.load_state_dict(best.weights)
    channels_last(objective, torch.device("cpu")).eval()
    stopped = "budget" if spent >= 1 else "held-out score"
    return Trained(
        network,
        step,
        clock.seconds,
        best.score,
        stopped,
        tuple(best.history),
    )


def _fit_start(
    network: BlindSpotNetwork,
    trainer: Trainer,
    sampler: CropSampler,
    cancel: CancelToken,
) -> None:
    """Fit every start of the network to crops of what it is the start of."""
    starts = network.settings.starts
    if network.settings.channels > 1:
        fit_joint_start(network, StartCrops(trainer, sampler, cancel))
        return
    for kind in range(starts):
        own = sampler if starts == 1 else sampler.of_channel(kind)
        fit_start(network, StartCrops(trainer, own, cancel), kind)


@dataclass(slots=True)
class StartCrops:
    """The crops that the blind filter is fitted to, drawn a few at a time.

    They are kept: several channels are fitted one after the other.
    """

    trainer: Trainer
    sampler: CropSampler
    cancel: CancelToken
    drawn: list[Batch] = field(default_factory=list)

    def __iter__(self) -> Iterator[Crop]:
        """Give the same crops every time."""
        size = _START_BATCH * self.sampler.crop**2
        for index in range(math.ceil(_START_VOXELS / size)):
            self.cancel.raise_if_cancelled()
            if index == len(self.drawn):
                self.drawn.append(self.sampler.draw(_START_BATCH))
            yield self.trainer.on_cpu(self.drawn[index])


class Trainer:
    """The parts of one step: forward, loss, optimiser, average, score.

    Parameters
    ----------
    objective
        The network with its loss; changed in place.
    recipe
        Learning rate, clipping, averaging.
    device
        Where it runs.
    """

    def __init__(
        self, objective: Objective, recipe: Recipe, device: torch.device
    ) -> None:
        self.objective = objective
        self.recipe = recipe
        self.device = device
        self.restart()

    def restart(self) -> None:
        """Move the network to the device; begin optimiser and average anew."""
        channels_last(self.objective, self.device).train()
        self.average = copy.deepcopy(self.objective).eval()
        groups = self.objective.groups(self.recipe.learning_rate)
        self.optimiser = torch.optim.Adam(groups, betas=_BETAS)
        self.rates = [group["lr"] for group in groups]
        self.steps = 0

    def step(self, batch: Batch, spent: float, hole: Hole | None = None) -> float:
        """Take one optimiser step behind a hole and return the loss."""
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * self._warmth(spent)
        loss = self.objective(*self._on_device(batch), hole)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.objective.parameters(), self.recipe.clip)
        self.optimiser.step()
        self.steps += 1
        self._update_average()
        return float(loss.detach())

    def score(self, batch: Batch) -> float:
        """Return the negative log-likelihood of a batch under the averaged weights."""
        with torch.no_grad():
            return float(self.average.score(*self._on_device(batch)))

    def on_cpu(self, batch: Batch) -> Crop:
        """Turn a batch into tensors on the CPU: planes, target, noise."""
        return (
            torch.from_numpy(batch.maps),
            torch.from_numpy(batch.target),
            mapped(torch.from_numpy, batch.likelihood),
        )

    def _on_device(self, batch: Batch) -> Step:
        planes, target, noise = self.on_cpu(batch)
        planes = planes.to(self.device).contiguous(memory_format=torch.channels_last)
        noise = mapped(lambda p: p.to(self.device), noise)
        kind = torch.from_numpy(batch.kind).to(self.device)
        return planes, target.to(self.device), noise, kind

    def _warmth(self, spent: float) -> float:
        """Return the learning rate's factor: a short ramp up, then a cosine to 0."""
        ramp = min(1.0, (spent + 1e-3) / self.recipe.warmup)
        return ramp * 0.5 * (1 + math.cos(math.pi * min(1.0, spent)))

    def _update_average(self) -> None:
        # Young averages forget fast, or the random first weights would linger.
        decay = min(self.recipe.ema, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for old, new in zip(
                self.average.parameters(), self.objective.parameters(), strict=True
            ):
                old.lerp_(new, 1 - decay)


def _deeper(
    hole: Hole, context: int, recipe: Recipe, rng: np.random.Generator
) -> Hole | None:
    """Return at times a hole that withholds more of the neighbour planes, else None."""
    if not recipe.drop_planes or rng.random() >= recipe.drop_planes:
        return None
    least = min(hole[0] // 2, context)
    nearest = int(rng.integers(least, context + 1))
    return (2 * nearest + 1, *hole[1:])


def augment(
    batch: Batch, rng: np.random.Generator, *, quarter_turns: bool = True
) -> Batch:
    """Turn and mirror a batch at random, in its planes and along the context axis.

    Without quarter turns rows stay rows: noise that runs along them must stay where
    a hole that is longer in x than in y hides it.
    """
    turns, mirror, flip = (int(rng.integers(n)) for n in (4, 2, 2))
    if not quarter_turns:
        turns -= turns % 2
    planes, target = batch.planes, batch.target
    if flip:
        planes = planes[:, ::-1]
    if mirror:
        planes, target = planes[..., ::-1], target[..., ::-1]
    noise = mapped(lambda p: p[..., ::-1], batch.noise) if mirror else batch.noise

    def turned(array: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.rot90(array, turns, (-2, -1)).copy()

    return replace(
        batch,
        planes=turned(planes),
        target=turned(target),
        noise=mapped(turned, noise),
    )
