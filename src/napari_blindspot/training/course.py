"""Where a training stands: everything that changes from step to step, and is kept."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.training.checkpoint import part, prefixed
from napari_blindspot.training.filters import fit_filters
from napari_blindspot.training.starting import (
    fitted_at_once,
    judge_trial,
    take_weights,
    trial_is_over,
    trial_words,
    unfit_words,
)
from napari_blindspot.training.varying import augment, deeper

if TYPE_CHECKING:
    from torch import Tensor, nn

    from napari_blindspot.config.recipes import Plan
    from napari_blindspot.networks.blindspot import Hole
    from napari_blindspot.progress import CancelToken
    from napari_blindspot.training.adjusting import Adjust
    from napari_blindspot.training.sampling import CropSampler
    from napari_blindspot.training.starting import WarmStart
    from napari_blindspot.training.trainer import Trainer

_HELD_OUT_CROPS = 32
_LEAST_STEPS_BETWEEN_CHECKS = 10
_LEAST_GAIN = 1e-5  # of the score, by which a check must be better to count


@dataclass(slots=True)
class Clock:
    """Where training stands in its budget of steps and minutes."""

    recipe: Plan
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

    def is_over(self, recipe: Plan, spent: float) -> bool:
        """Return whether training has gone on long enough without improvement."""
        return spent >= recipe.least and self.bad_checks >= recipe.patience


class Course:
    """A training between two of its steps.

    What it is made of follows from the stack and the settings; what changes is in
    `state`, so that a training that was stopped goes on to the very same weights.

    Parameters
    ----------
    trainer
        Takes the steps; changed in place.
    sampler
        Draws the crops.
    seed
        Of augmentation.
    warm
        Where to start from; None: from random weights.

    Attributes
    ----------
    preparing
        What is told before `begin`, which takes a while; empty where it does not.
    """

    preparing = "Fitting the linear filter"

    def __init__(
        self,
        trainer: Trainer,
        sampler: CropSampler,
        seed: int,
        warm: WarmStart | None = None,
    ) -> None:
        self.trainer, self.sampler, self.warm = trainer, sampler, warm
        self.network = trainer.objective.network
        self.recipe = trainer.recipe
        self.hole: Hole = self.network.settings.hole
        self.seed, self.rng = seed, np.random.default_rng([seed, 3])
        self.held_out = sampler.held_out(_HELD_OUT_CROPS)
        self.start: dict[str, Any] = {}
        self.best, self.clock = Best(), Clock(self.recipe)
        self.step, self.spent = 0, 0.0
        self.adjusted = 0  # of those who may change something, how many have looked

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to do."""
        return self.spent >= 1 or self.best.is_over(self.recipe, self.spent)

    @property
    def trial_is_over(self) -> bool:
        """Whether it is time for `end_trial`."""
        return trial_is_over(self.start, self.recipe, self.step, self.spent)

    def begin(self, cancel: CancelToken) -> str:
        """Fit the filter and take the start weights; say so if they do not fit."""
        trainer = self.trainer
        fit_filters(self.network, trainer, self.sampler, cancel)
        trainer.restart()
        filter_alone = copy.deepcopy(trainer.average)
        self.start = start = take_weights(trainer, self.held_out, self.warm)
        if not start.get("on_trial"):  # then the weights are looked at by themselves
            self.best.update(0, start["filter"], filter_alone)
        if start["used"]:
            self.best.update(0, start["weights"], trainer.average)
        planned = self.recipe
        self._choose_recipe()
        if self.warm is None or fitted_at_once(start):
            return ""
        return unfit_words(start, planned, self.recipe)

    def end_trial(self) -> str:
        """Keep start weights that have come to fit, or begin cold; say which."""
        if self.best.history[-1][0] != self.step:
            self._check()
        self.start, alone = judge_trial(
            self.trainer, self.held_out, self.start, self.best, self.seed
        )
        if not self.start["used"]:  # nothing of the weights is to be the result
            self.best = Best(history=self.best.history)
            self.best.update(self.step, self.start["trial"]["filter"], alone)
        return trial_words(self.start, is_over=self.spent >= 1)

    def _choose_recipe(self) -> None:
        """Go by the recipe that belongs to the start, from now on."""
        if self.warm is not None and not fitted_at_once(self.start):
            self.recipe = self.trainer.recipe = self.warm.otherwise
        self.clock = Clock(self.recipe)
        self.spent = self.clock.spent(self.step)

    def take_step(self) -> dict[str, float]:
        """Take one step, and check where that is due; returns the metrics of both."""
        turning = self.hole[1] == self.hole[2]
        batch = augment(self.sampler.draw(), self.rng, quarter_turns=turning)
        context = self.network.settings.context
        behind = deeper(self.hole, context, self.recipe, self.rng)
        loss = self.trainer.step(batch, self.spent, behind)
        self.step += 1
        self.spent = self.clock.spent(self.step)
        metrics = {"step": float(self.step), "loss": loss}
        if self.clock.check_is_due(self.step, self.spent):
            metrics["held_out"] = self._check()
        return metrics

    def adjust(self, adjust: Adjust, cancel: CancelToken) -> str:
        """Let someone look at the average and change something; return the sentence."""
        adjusted = adjust(self.trainer.average.network)
        self.adjusted += 1
        if not adjusted.sentence:
            return ""
        if adjusted.hole is not None:
            self.hole = adjusted.hole
            self.trainer.turn(self.hole)
            fit_filters(self.network, self.trainer, self.sampler, cancel)
            self.trainer.share_filter()
        # Scores under another noise or behind another hole cannot be compared.
        self.best, self.held_out = Best(), self.sampler.held_out(_HELD_OUT_CROPS)
        self._check()
        return adjusted.sentence

    def _check(self) -> float:
        score = self.trainer.score(self.held_out)
        self.best.update(self.step, score, self.trainer.average)
        return score

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return all that changes: JSON-able facts, and tensors by name."""
        facts = {
            "step": self.step,
            "spent": self.spent,
            "seconds": self.clock.seconds,
            "checked": self.clock.checked,
            "adjusted": self.adjusted,
            "hole": self.hole,
            "start": self.start,
            "best": [self.best.score, self.best.bad_checks, self.best.history],
            "steps_of_average": self.trainer.steps,
            "augmentation": self.rng.bit_generator.state,
            "crops": self.sampler.random_state,
        }
        best = prefixed("best", self.best.weights)
        return facts, {**self.trainer.tensors(), **best}

    def restore(self, facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Become what `state` described; the noise of the sampler is that of then."""
        self.start, self.step = facts["start"], facts["step"]
        self._choose_recipe()
        self.clock.stopped_for(-facts["seconds"])
        step, spent = facts["checked"]
        self.clock.checked = (step, spent)
        self.spent, self.adjusted = facts["spent"], facts["adjusted"]
        z, y, x = facts["hole"]
        self.hole = (z, y, x)
        self.trainer.turn(self.hole)
        self.trainer.restore(tensors, facts["steps_of_average"])
        score, bad_checks, history = facts["best"]
        checks = [(step, score) for step, score in history]
        self.best = Best(score, part("best", tensors), bad_checks, checks)
        self.rng.bit_generator.state = facts["augmentation"]
        self.sampler.random_state = facts["crops"]
        self.held_out = self.sampler.held_out(_HELD_OUT_CROPS)
