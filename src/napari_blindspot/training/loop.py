"""One readable training loop: draw crops, step, average, check, stop.

Training stops by the likelihood of held-out blocks, never by a step count alone:
after its best point the network over-fits while its training score still improves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from napari_blindspot.device import channels_last
from napari_blindspot.errors import RunError
from napari_blindspot.methods.objective import Objective
from napari_blindspot.progress import CancelToken, Job, Progress
from napari_blindspot.training.course import Course
from napari_blindspot.training.keeping import Keeping
from napari_blindspot.training.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_blindspot.config import Recipe
    from napari_blindspot.methods.learned_noise import NoiseLearner
    from napari_blindspot.model import Answer
    from napari_blindspot.networks.blindspot import BlindSpotNetwork
    from napari_blindspot.training.adjusting import Schedule
    from napari_blindspot.training.sampling import CropSampler
    from napari_blindspot.training.starting import WarmStart

    Look = Callable[[Any], float]


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
        the ``"weights"`` that training was to start from; whether they were
        ``"used"``; and how their ``"trial"`` ended, if they had one.
    """

    network: BlindSpotNetwork
    steps: int
    seconds: float
    held_out: float
    stopped: str
    history: tuple[tuple[int, float], ...]
    start: Mapping[str, Any] = field(default_factory=dict)


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
    keep: Keeping | None = None,
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
    keep
        Keeps the state now and then, when training is cancelled and at its end, and
        goes on from what it kept before. On a CPU with the same number of threads, and
        with a budget in steps, the weights are those of a training that was never
        stopped.

    Yields
    ------
    Progress
        One event per step, counted in per cent of the budget, with the metrics
        ``step``, ``loss`` and, where a check was made, ``held_out``; and sentences
        without metrics.

    Returns
    -------
    Trained
    """
    objective = Objective(network, learner, stop_gradient=stop_gradient, answer=answer)
    course = Course(Trainer(objective, recipe, device), sampler, seed, warm)
    return (yield from follow(course, adjust, cancel, look, keep or Keeping()))


def follow(
    course: Course,
    adjust: Schedule,
    cancel: CancelToken,
    look: Look | None,
    keep: Keeping,
) -> Job[Trained]:
    """Take a course from where it stands to its end; arguments as of `train_network`.

    Yields
    ------
    Progress
        As of `train_network`.

    Returns
    -------
    Trained
    """
    if keep.taken_up(course):
        how = "was done" if course.is_over else "goes on"
        yield _told(course, f"Training {how} after step {course.step}")
    else:
        if course.preparing:
            cancel.raise_if_cancelled()
            yield _told(course, course.preparing)
        if told := course.begin(cancel):
            yield _told(course, told)
    due = adjust if course.recipe.steps else ()
    while True:
        yield from _adjust(course, due, keep, cancel)
        if course.trial_is_over:
            with keep.if_stopped(course):
                yield _told(course, course.end_trial())
        if course.is_over:
            break
        with keep.if_stopped(course):
            cancel.raise_if_cancelled()
            metrics = course.take_step()
            yield Progress("train", 100 * course.spent, 100, "%", "", metrics)
            if look is not None:
                course.clock.stopped_for(look(course.trainer.average.network))
            if keep.is_due:
                yield from _keep(course, keep)
    seconds, best = course.clock.seconds, course.best
    yield from _keep(course, keep)
    objective = course.trainer.objective
    objective.load_state_dict(best.weights)
    channels_last(objective, torch.device("cpu")).eval()
    return Trained(
        course.network,
        course.step,
        seconds,
        best.score,
        "budget" if course.spent >= 1 else "held-out score",
        tuple(best.history),
        course.start,
    )


def _adjust(
    course: Course, adjust: Schedule, keep: Keeping, cancel: CancelToken
) -> Job[None]:
    """Call everybody whose time has come, and has not been called before."""
    while course.adjusted < len(adjust):
        share, look = adjust[course.adjusted]
        if course.spent < share:
            return
        with keep.if_stopped(course, as_before=True):
            told = course.adjust(look, cancel)
        if told:
            with keep.if_stopped(course):
                yield _told(course, told)


def _keep(course: Course, keep: Keeping) -> Job[None]:
    """Keep the state; training goes on where that fails, and says so."""
    try:
        course.clock.stopped_for(keep.save(course))
    except RunError as error:
        yield _told(course, f"The state of the training could not be kept: {error}")


def _told(course: Course, sentence: str) -> Progress:
    return Progress("train", 100 * course.spent, 100, "%", sentence)
