"""What a student is shown: which voxels count, what is kept back, and how much fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import napari_blindspot as nb
from models import random_teacher
from napari_blindspot.config import DistillSettings
from napari_blindspot.config.students import StudentRecipe
from napari_blindspot.progress import CancelToken, run
from napari_blindspot.training import distilling
from napari_blindspot.training.distilling import lessons_that_fit, make_lessons

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.training.teaching import Lessons

SHAPE = (4, 96, 100)
RECIPE = StudentRecipe(lessons=120, crop=32, batch=8)


def lessons_on(
    values: NDArray[Any], axes: str = "ZYX", **shape: Any
) -> tuple[nb.Model, Lessons, Lessons]:
    model = random_teacher(**shape)
    lessons, kept_back = run(
        make_lessons(
            model,
            nb.open_stack(values, axes=axes),
            DistillSettings(),
            RECIPE,
            torch.device("cpu"),
            CancelToken(),
        )
    )
    return model, lessons, kept_back


def numbered() -> NDArray[np.float32]:
    """Return a stack in which every voxel has a number of its own, from 1."""
    return np.arange(1, np.prod(SHAPE) + 1, dtype=np.float32).reshape(SHAPE)


def counted(model: nb.Model, lessons: Lessons) -> set[int]:
    """Return the numbers of the voxels that count in some lessons."""
    shape = model.settings
    centre = lessons.planes[:, shape.context * shape.channels]
    values = model.scales[0].inverse(centre[lessons.weight > 0].numpy())
    return set(np.rint(values).astype(int).tolist())


def test_no_voxel_counts_both_in_a_lesson_and_in_one_that_is_kept_back() -> None:
    model, lessons, kept_back = lessons_on(numbered())
    learnt, kept = counted(model, lessons), counted(model, kept_back)
    assert len(learnt) > 10_000
    assert len(kept) > 500
    assert learnt.isdisjoint(kept)
    assert len(lessons) + len(kept_back) == RECIPE.lessons


def test_channels_are_kept_back_each_for_itself() -> None:
    values = np.stack([numbered(), 50_000 + numbered()])
    model, _, kept_back = lessons_on(values, "CZYX", starts=2)
    context = model.settings.context
    scale = model.scales[0].scale
    bright = kept_back.planes[:, context].mean((1, 2)) * scale > 40_000
    assert 0 < int(bright.sum()) < len(kept_back)


@pytest.mark.parametrize("channels", [1, 2])
def test_missing_voxels_carry_no_weight(channels: int) -> None:
    values = numbered()
    values[:, 20:60, 30:70] = np.nan
    gone = {int(n) for n in numbered()[np.isnan(values)]}
    stack, axes = (values, "ZYX") if channels == 1 else (np.stack([values] * 2), "CZYX")
    model, *parts = lessons_on(stack, axes, channels=channels)
    for lessons in parts:
        assert torch.isfinite(lessons.planes).all()
        found = counted(model, lessons)
        assert found
        assert 0 not in found  # what stands in the place of a missing voxel
        assert found.isdisjoint(gone)


def test_saturated_voxels_carry_no_weight() -> None:
    rng = np.random.default_rng(0)
    values = rng.poisson(900, SHAPE).astype(np.uint16)
    values[:, 20:60, 30:70] = 65535
    model, *parts = lessons_on(values)
    for lessons in parts:
        found = counted(model, lessons)
        assert found
        assert max(found) < 65535


def test_lessons_take_no_more_memory_than_they_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full = random_teacher().teacher.settings
    assert lessons_that_fit(RECIPE, full, 1, 32) == RECIPE.lessons
    monkeypatch.setattr(distilling, "LESSON_BYTES", 10**6)
    _, lessons, kept_back = lessons_on(numbered())
    parts = [
        part for one in (lessons, kept_back) for part in (one.planes, one.teachers)
    ]
    parts += [lessons.weight, kept_back.weight]
    held = sum(part.numel() * part.element_size() for part in parts)
    assert 0.5e6 < held <= 1e6
    assert lessons_that_fit(RECIPE, full, 7, 32) < lessons_that_fit(RECIPE, full, 1, 32)


def test_the_file_tells_how_many_lessons_there_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(distilling, "student_recipe", lambda _: RECIPE)
    monkeypatch.setattr(distilling, "LESSON_BYTES", 10**6)
    student = nb.distill(random_teacher(), numbered(), axes="ZYX", steps=2)
    facts = student.provenance["distillation"]
    assert facts["lessons"] < RECIPE.lessons
    assert facts["steps"] == 2
