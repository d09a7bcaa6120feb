"""One readable training loop: draw crops, step, average, check, stop.

Training stops by the likelihood of held-out blocks, never by a step count alone:
after its best point the network over-fits while its training score still improves.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_blindspot.device import channels_last
from napari_blindspot.methods.objective import Objective
from napari_blindspot.progress import CancelToken, Job, Progress
from napari_blindspot.training.starting import fit_starts, take_weights, unfit_words
from napari_blindspot.training.trainer import Trainer
from napari_blindspot.training.varying import augment, deeper

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_blindspot.config import Recipe
    from napari_blindspot.methods.learned_noise import NoiseLearner
    from napari_blindspot.model import Answer
    from napari_blindspot.networks.blindspot import BlindSpotNetwork
    from napari_blindspot.training.adjusting import Schedule
    from napari_blindspot.training.sampling import CropSampler
    from napari_blindspot.training.starting import WarmStart

    Look = Callable[[BlindSpotNetwork], float]

_HELD_OUT_CROPS = 32
_LEAST_STEPS_BETWEEN_CHECKS = 10
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
    start
        Held-out scores before the first step: of the blind ``"filter"`` alone and of
        the ``"weights"`` that training was to start from; and whether they were
        ``"used"``.
    """

    network: BlindSpotNetwork
    steps: int
    seconds: float
    held_out: float
    stopped: str
    history: tuple[tuple[int, float], ...]
    start: Mapping[str, Any] = field(default_factory=dict)


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
        if self.recipe.steps == 0:
            return 1.0
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
    adjust: Schedule = (),
    learner: NoiseLearner | None = None,
    stop_gradient: bool = False,
    answer: Answer = "posterior",
    look: Look | None = None,
    warm: WarmStart | None = None,
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
    adjust
        Who is called with the averaged network, and after which part of the budget;
        the sampler's sources may get another noise, the network a larger hole.
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
    warm
        Where to start from; None: from random weights.

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
    fit_starts(network, trainer, sampler, cancel)
    trainer.restart()
    filter_alone = copy.deepcopy(trainer.average)
    start = take_weights(trainer, held_out, warm)
    best, step = Best(), 0
    best.update(0, start["filter"], filter_alone)
    if start["used"]:
        best.update(0, start["weights"], trainer.average)
    if warm is not None and not start["used"]:
        planned, recipe = recipe, warm.otherwise
        yield Progress("train", 0, 100, "%", unfit_words(start, planned, recipe))
    clock = Clock(recipe)
    spent, due = clock.spent(step), list(adjust)
    while spent < 1 and not best.is_over(recipe, spent):
        cancel.raise_if_cancelled()
        batch = augment(sampler.draw(), rng, quarter_turns=hole[1] == hole[2])
        behind = deeper(hole, network.settings.context, recipe, rng)
        loss = trainer.step(batch, spent, behind)
        step += 1
        metrics = {"step": float(step), "loss": loss}
        spent = clock.spent(step)
        if clock.check_is_due(step, spent):
            metrics["held_out"] = trainer.score(held_out)
            best.update(step, metrics["held_out"], trainer.average)
        yield Progress("train", 100 * spent, 100, "%", "", metrics)
        if look is not None:
            clock.stopped_for(look(trainer.average.network))
        while due and spent >= due[0][0]:
            adjusted = due.pop(0)[1](trainer.average.network)
            if not adjusted.sentence:
                continue
            if adjusted.hole is not None:
                hole = adjusted.hole
                trainer.turn(hole)
                fit_starts(network, trainer, sampler, cancel)
                trainer.share_start()
            # Scores under another noise or behind another hole cannot be compared.
            best, held_out = Best(), sampler.held_out(_HELD_OUT_CROPS)
            best.update(step, trainer.score(held_out), trainer.average)
            yield Progress("train", 100 * spent, 100, "%", adjusted.sentence)
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
        start,
    )
