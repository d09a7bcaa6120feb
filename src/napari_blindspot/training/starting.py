"""The weights that training starts from: taken, tried, or forgotten.

Whether weights fit the stack is measured: on held-out voxels, against the blind filter
alone. Those that do not fit as they are get a trial, and those that no trial helps are
forgotten.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_blindspot.config import Recipe
    from napari_blindspot.config.recipes import Plan
    from napari_blindspot.methods.criterion import Criterion
    from napari_blindspot.networks.blindspot import BlindSpotNetwork
    from napari_blindspot.training.course import Best
    from napari_blindspot.training.sampling import Batch
    from napari_blindspot.training.trainer import Trainer

_HOPELESS = 1.0  # as of `Criterion.gap`: no short training makes that up
_LEAST_LEAD = 1e-5  # of the score, that is no rounding
_TRIAL_STEPS = 25  # at least; the average of the weights is young before


@dataclass(frozen=True, slots=True, eq=False)
class WarmStart:
    """Weights that training is to start from, if they help on the stack.

    Parameters
    ----------
    give
        Loads them into the network.
    otherwise
        Recipe of training if they say less about the stack than the blind filter.
    """

    give: Callable[[BlindSpotNetwork], None]
    otherwise: Recipe


def take_weights(
    trainer: Trainer, held_out: Batch, warm: WarmStart | None
) -> dict[str, Any]:
    """Give the network the weights that it starts from; say what they are worth.

    The blind spot hides the noise of the held-out voxels from them as from any others,
    so the score tells honestly whether they fit the stack.

    Parameters
    ----------
    trainer
        With the blind filter fitted and alone in the answer. Where the weights are
        worse than the filter, it goes on with the recipe of a cold start.
    held_out
        Crops whose held-out voxels decide.
    warm
        The weights; None, or weights that are far worse than the filter, or worse
        where nothing is trained: random ones.

    Returns
    -------
    dict
        As of `loop.Trained.start`.
    """
    network = trainer.objective.network
    alone = trainer.score(held_out)
    facts: dict[str, Any] = {"filter": alone, "weights": None, "used": False}
    if warm is not None:
        warm.give(network)
        trainer.restart()
        facts["weights"] = score = trainer.score(held_out)
        if score < alone:
            return facts | {"used": True}
        # There is little worth keeping, so the learning rate is that of a cold start;
        # `restart` goes by it.
        trainer.recipe = warm.otherwise
        may_come = trainer.objective.gap(score, alone) < _HOPELESS  # no NaN does
        if trainer.recipe.steps and may_come:
            trainer.restart()
            return facts | {"used": True, "on_trial": True}
        network.forget()
    network.wake()
    trainer.restart()
    return facts


def fitted_at_once(start: Mapping[str, Any]) -> bool:
    """Return whether weights were better than the filter before any training."""
    return start["weights"] is not None and start["weights"] < start["filter"]


def trial_is_over(
    start: Mapping[str, Any], recipe: Plan, step: int, spent: float
) -> bool:
    """Return whether weights on trial have had the time to adapt to the stack.

    Parameters
    ----------
    start
        As `take_weights` returns it.
    recipe
        Of the training.
    step, spent
        Steps that were taken, and the part of the budget that is spent, 0 to 1.
    """
    if not start.get("on_trial"):
        return False
    return spent >= 1 or (step >= _TRIAL_STEPS and spent >= recipe.warmup)


def judge_trial(
    trainer: Trainer,
    held_out: Batch,
    start: Mapping[str, Any],
    best: Best,
    seed: int,
) -> tuple[dict[str, Any], Criterion]:
    """Keep weights that are better than the filter, or once were; forget others.

    Both scores are under the noise that the best weights go by, which may have been
    learned or measured anew since the first scores.

    Parameters
    ----------
    trainer
        In training from the weights.
    held_out
        Crops whose held-out voxels decide.
    start
        As `take_weights` returned it.
    best
        Of the weights on trial.
    seed
        Of new weights; they do not depend on whether training was interrupted.

    Returns
    -------
    dict, Criterion
        The same, with the scores of the ``"trial"``; and the filter alone.
    """
    network, steps = trainer.objective.network, trainer.steps
    alone = copy.deepcopy(trainer.average)
    alone.load_state_dict(best.weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        alone.network.forget()
        filter_score = trainer.score(held_out, alone)
        if not (used := best.score < filter_score - _LEAST_LEAD):
            network.forget()
            network.wake()
            trainer.restart()
    facts = {**start, "used": used}
    del facts["on_trial"]
    facts["trial"] = {"steps": steps, "filter": filter_score, "weights": best.score}
    return facts, alone


def unfit_words(start: Mapping[str, Any], planned: Plan, recipe: Plan) -> str:
    """Say that start weights do not fit as they are, and what comes of it.

    Parameters
    ----------
    start
        As `take_weights` returns it.
    planned, recipe
        Of training with weights that fit, and as it will be.
    """
    if recipe.steps == 0:
        so = "the best linear filter alone answers"
    elif start["used"]:
        so = "training treats them like random weights"
    else:
        so = "training starts cold"
    if (recipe.steps, recipe.minutes) != (planned.steps, planned.minutes):
        so += " and takes longer"
    return (
        f"The start weights do not fit this stack as they are: their held-out score "
        f"is {start['weights']:.4f}, that of the best linear filter "
        f"{start['filter']:.4f} (less is better), so {so}"
    )


def trial_words(start: Mapping[str, Any], *, is_over: bool) -> str:
    """Say how a trial of start weights ended.

    Parameters
    ----------
    start
        As `judge_trial` returns it.
    is_over
        Whether the training ends with it.
    """
    trial = start["trial"]
    scores = f"{trial['weights']:.4f} against {trial['filter']:.4f}"
    within = f"Within {trial['steps']} steps the start weights"
    if start["used"]:
        so = "" if is_over else ": they are trained further"
        return f"{within} came to be better than the filter ({scores}){so}"
    so = "the best linear filter alone answers" if is_over else "training starts cold"
    return f"{within} were never better than the filter ({scores}), so {so}"
