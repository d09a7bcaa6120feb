"""The trial of start weights that are worse than the linear filter at first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from napari_blindspot.config import NetworkSettings, Recipe
from napari_blindspot.io import open_stack
from napari_blindspot.methods.learned_noise import _OUTSET, NoiseLearner
from napari_blindspot.methods.objective import Objective
from napari_blindspot.networks.blindspot import BlindSpotNetwork
from napari_blindspot.noise.field import NoiseField
from napari_blindspot.noise.likelihood import Affine
from napari_blindspot.normalize import Normalization
from napari_blindspot.planes import plane_series
from napari_blindspot.progress import CancelToken
from napari_blindspot.training.course import Course
from napari_blindspot.training.sampling import CropSampler, Source
from napari_blindspot.training.starting import WarmStart, trial_is_over
from napari_blindspot.training.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import Iterator

TINY = NetworkSettings(width=4, depth=1, context=1, neighbour_width=4)
SIGMA = 0.2
STILL = 1e-9  # a learning rate by which nothing changes


@pytest.fixture(scope="module", autouse=True)
def short_start() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_blindspot.training.filters._VOXELS", 30_000)
        yield


def misfit(network: BlindSpotNetwork) -> None:
    """Give a network weights that are a little worse than the filter alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        nn.init.normal_(network.last.weight, std=0.05)


def begun(learner: NoiseLearner | None = None, steps: int = 40) -> Course:
    """Return a training that has taken misfitting weights, and no step."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64] / 8
    clean = 0.5 + 0.4 * np.sin(y) * np.cos(x)
    values = np.float32(clean + rng.normal(0, SIGMA, (6, 64, 64)))
    recipe = Recipe(
        network=TINY, crop=32, batch=2, steps=steps, learning_rate=STILL, warmup=0.01
    )
    series = plane_series(open_stack(values, axes="ZYX"), "z")
    noise = NoiseField(Affine(0.0, SIGMA**2, 1e-4))
    source = Source(series[0], Normalization(0.0, 1.0), noise)
    torch.manual_seed(0)
    objective = Objective(BlindSpotNetwork(TINY), learner)
    trainer = Trainer(objective, recipe, torch.device("cpu"))
    sampler = CropSampler([source], 1, recipe, 2, 0)
    course = Course(trainer, sampler, 0, WarmStart(misfit, recipe))
    course.begin(CancelToken())
    return course


def to_its_end(course: Course) -> str:
    assert course.start["on_trial"]
    while not course.trial_is_over:
        course.take_step()
    return course.end_trial()


def test_weights_that_stay_worse_are_forgotten_wholly() -> None:
    course = begun()
    first = course.start["weights"]
    told = to_its_end(course)
    facts = course.start
    assert facts["used"] is False
    assert facts["trial"]["weights"] == pytest.approx(first, abs=1e-4)
    assert facts["trial"]["filter"] == pytest.approx(facts["filter"], abs=1e-6)
    assert f"{facts['trial']['weights']:.4f} against" in told
    # The result so far is the filter alone, and training begins from random weights
    # that have a say: a last layer of zeros would learn nothing.
    assert course.best.score == facts["trial"]["filter"]
    assert not course.best.weights["network.last.weight"].any()
    trainer = course.trainer
    assert course.network.last.weight.std() > 1e-4
    assert not trainer.optimiser.state
    assert trainer.steps == 0
    for name, tensor in trainer.average.state_dict().items():
        assert torch.equal(tensor, trainer.objective.state_dict()[name]), name


def test_weights_that_once_were_better_are_kept() -> None:
    course = begun()
    better = course.start["filter"] - 0.1
    course.best.update(12, better, course.trainer.average)
    told = to_its_end(course)
    assert course.start["used"] is True
    assert course.start["trial"]["weights"] == course.best.score == better
    assert f"{better:.4f} against" in told
    assert course.trainer.steps == 25  # training goes on


def test_filter_and_weights_are_judged_under_the_same_noise() -> None:
    learner = NoiseLearner("gaussian", "stack", TINY)
    with torch.no_grad():
        learner.strength.fill_(_OUTSET + math.log(math.expm1(SIGMA)))
    course = begun(learner)
    best = course.best.score
    with torch.no_grad():  # the level of the noise is lost on the way
        for objective in (course.trainer.objective, course.trainer.average):
            objective.learner.strength.add_(3.0)
    to_its_end(course)
    trial = course.start["trial"]
    assert trial["weights"] == best
    assert trial["filter"] == pytest.approx(course.start["filter"], abs=1e-6)
    assert course.start["used"] is False


def test_without_a_step_there_is_no_trial() -> None:
    course = begun(steps=0)
    assert course.start["used"] is False
    assert "on_trial" not in course.start
    assert course.best.score == course.start["filter"]


@pytest.mark.parametrize(
    ("step", "spent", "over"),
    [(24, 0.5, False), (25, 0.0025, False), (25, 0.03, True), (10, 1.0, True)],
)
def test_a_trial_lasts_until_the_rate_is_at_its_height(
    step: int, spent: float, over: bool
) -> None:
    recipe = Recipe(steps=10_000, warmup=0.03)
    on_trial: dict[str, Any] = {"on_trial": True}
    assert trial_is_over(on_trial, recipe, step, spent) is over
    assert not trial_is_over({}, recipe, step, spent)


def test_how_far_a_score_is_behind_has_one_unit() -> None:
    network = BlindSpotNetwork(TINY)
    assert Objective(network).gap(-1.0, -1.5) == 0.5
    error = Objective(network, answer="mean")
    assert error.gap(0.2, 0.1) == pytest.approx(2 * math.log(2))
    assert error.gap(0.0, 0.0) == 0
    assert math.isnan(error.gap(math.nan, 0.1))
