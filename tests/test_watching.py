"""Someone may look at the network while it trains, and nothing comes out otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import napari_blindspot as nb
from napari_blindspot.api import denoise_job, train_job
from napari_blindspot.config import DenoiseSettings, Recipe, TrainSettings
from napari_blindspot.config.students import StudentRecipe
from napari_blindspot.progress import run
from napari_blindspot.training import distilling, watching
from napari_blindspot.training.course import Clock
from napari_blindspot.training.watching import Watching

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_blindspot.model import Model

pytestmark = pytest.mark.usefixtures("tiny_networks")

STEPS = TrainSettings(steps=6, axes="ZYX", threads=1)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look after every step."""
    monkeypatch.setattr(watching, "INTERVAL_S", 0.0)
    monkeypatch.setattr(watching, "SHARE", 1.0)


@pytest.fixture
def noisy() -> np.ndarray:
    light = np.random.default_rng(0).gamma(4.0, 10.0, (6, 12, 12))
    light = light.repeat(4, axis=1).repeat(4, axis=2) + 100
    return np.random.default_rng(1).poisson(light).astype(np.uint16)


def train_tiny(
    noisy: np.ndarray, watch: Callable[[Model], object] | None = None
) -> Model:
    return run(train_job([noisy], STEPS, None, watch))


@pytest.mark.usefixtures("eager")
def test_looking_changes_no_weight(noisy: np.ndarray) -> None:
    looks: list[np.ndarray] = []

    def look(model: Model) -> None:
        looks.append(nb.preview(noisy, model, "z=3", axes="ZYX"))

    watched, alone = train_tiny(noisy, look), train_tiny(noisy)
    ours, theirs = (one.network.state_dict() for one in (watched, alone))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert len(looks) == STEPS.steps
    assert not np.array_equal(looks[0], looks[-1])


@pytest.mark.usefixtures("eager")
def test_a_provisional_model_denoises_already(noisy: np.ndarray) -> None:
    errors: list[float] = []
    light = np.random.default_rng(0).gamma(4.0, 10.0, (6, 12, 12))
    truth = light.repeat(4, axis=1).repeat(4, axis=2)[3] + 100

    def look(model: Model) -> None:
        seen = nb.preview(noisy, model, "z=3", axes="ZYX")
        errors.append(float(np.mean((seen - truth) ** 2)))

    train_tiny(noisy, look)
    # The very first step from random weights may still be a poor one.
    assert max(errors[1:]) < np.mean((noisy[3] - truth) ** 2)


@pytest.mark.usefixtures("eager")
def test_a_run_hands_its_watcher_on_and_keeps_the_teacher(
    noisy: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    brief = StudentRecipe(steps=2, lessons=8, crop=32)
    monkeypatch.setattr(distilling, "student_recipe", lambda device: brief)
    seen: list[Model] = []
    settings = DenoiseSettings(**STEPS.model_dump(), student="tiny")
    result = run(denoise_job(noisy, settings, watch=seen.append))
    assert len(seen) == STEPS.steps
    assert result.model.is_student
    assert result.teacher is not None
    assert not result.teacher.is_student


def test_without_a_student_there_is_no_teacher_beside_the_model(
    noisy: np.ndarray,
) -> None:
    assert nb.denoise(noisy, **STEPS.model_dump()).teacher is None


@pytest.mark.parametrize(
    ("look_s", "wait_s"),
    [pytest.param(0.1, 3.0, id="short"), pytest.param(1.0, 9.0, id="long")],
)
def test_looks_are_seldom_and_short_beside_the_training(
    monkeypatch: pytest.MonkeyPatch, look_s: float, wait_s: float
) -> None:
    now = [100.0]
    monkeypatch.setattr(watching.time, "perf_counter", lambda: now[0])
    looks: list[float] = []

    def look(model: Model) -> None:
        looks.append(now[0])
        now[0] += look_s

    watch = Watching(look, lambda network: network)
    assert watch(None) == pytest.approx(look_s)
    now[0] += wait_s - 0.01
    assert watch(None) == 0.0
    now[0] += 0.02
    assert watch(None) == pytest.approx(look_s)
    assert len(looks) == 2


def test_looking_takes_nothing_of_the_training_time() -> None:
    clock = Clock(Recipe(minutes=1.0))
    before = clock.spent(0)
    clock.started -= 30.0  # half a minute passes, and all of it is spent on looking
    clock.stopped_for(30.0)
    assert clock.spent(0) == pytest.approx(before, abs=1e-3)
