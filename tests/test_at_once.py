"""What answers before training is measured once, from samples, and can be given up."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import tifffile

import napari_blindspot as nb
from napari_blindspot.config import TrainSettings
from napari_blindspot.errors import Cancelled, InputError, ModelFileError
from napari_blindspot.progress import CancelToken
from napari_blindspot.stack import Stack
from napari_blindspot.starts import shipped
from napari_blindspot.training import at_once
from napari_blindspot.training.at_once import models_at_once

if TYPE_CHECKING:
    from pathlib import Path

    from napari_blindspot.model import Model
    from napari_blindspot.sample import Phantom

SETTINGS = TrainSettings(device="cpu", threads=1)


def found(stack: Stack, **settings: Any) -> list[Model]:
    chosen = SETTINGS.model_copy(update=settings)
    return list(models_at_once(stack, chosen, CancelToken()))


@pytest.fixture
def stack(phantom: Phantom) -> Stack:
    """A small noisy stack that is open."""
    return nb.open_stack(phantom.noisy, axes="ZYX")


@pytest.fixture
def measurements(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grow by every time that a stack is measured."""
    counted, measure = [], at_once.measure_corrected

    def counting(*args: Any, **options: Any) -> Any:
        counted.append(args)
        return measure(*args, **options)

    for module in ("at_once", "preparing"):
        monkeypatch.setattr(
            f"napari_blindspot.training.{module}.measure_corrected", counting
        )
    return counted


def test_a_student_and_the_teacher_at_no_step_from_one_measurement(
    stack: Stack, measurements: list[object]
) -> None:
    student, teacher = found(stack, quality="best", seed=3)
    assert student.is_student
    assert len(measurements) == 1
    same = nb.train(stack, steps=0, seed=3, device="cpu", threads=1)
    assert teacher.provenance["start"] == same.provenance["start"]
    assert teacher.noise == same.noise == student.noise
    at = nb.preview(stack, teacher, "z=3"), nb.preview(stack, same, "z=3")
    np.testing.assert_array_equal(*at)


@pytest.mark.parametrize(
    "settings", [{"hole": (1, 1, 3)}, {"method": "atbsn"}], ids=["hole", "mean"]
)
def test_no_student_where_it_cannot_stand_in_for_the_run(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    monkeypatch.setattr(at_once, "learn", _teacher)
    assert found(stack, **settings) == ["teacher"]
    assert len(found(stack)) == 2


def test_both_are_told_the_noise_of_the_average_pixel(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("napari_blindspot.training.filters._VOXELS", 60_000)
    spread = rng.choice([2.0, 20.0], (64, 64), p=[0.8, 0.2])
    frames = (100 + spread * rng.normal(size=(64, 64, 64))).astype(np.float32)
    dark = tmp_path / "dark.tif"
    tifffile.imwrite(dark, frames)
    light = 30 + 60 * rng.random((6, 8, 8)).repeat(8, 1).repeat(8, 2)
    noisy = rng.poisson(light) + 100 + spread * rng.normal(size=(6, 64, 64))
    stack = nb.open_stack(noisy.astype(np.float32), axes="ZYX")
    student, teacher = found(stack, dark=dark)
    level = float(student.network.eyes.level)
    assert level == pytest.approx(float(teacher.teacher.eyes.level), rel=0.05)
    (noise,), (scale,) = student.noise, student.scales
    assert level > 1.3 * float(noise.normalized(scale).b)  # of the quietest pixels


def _teacher(*args: Any, **options: Any) -> Any:
    """Stand in for training."""
    return "teacher"
    yield


def test_what_is_cancelled_stops_between_its_parts(stack: Stack) -> None:
    token = CancelToken()
    parts = models_at_once(stack, SETTINGS, token)
    assert next(parts).is_student
    token.cancel()
    with pytest.raises(Cancelled):
        next(parts)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [({"start": "cold"}, "start='cold'"), ({"channels": "joint"}, "single channels")],
    ids=["cold", "joint"],
)
def test_what_has_no_start_is_refused_before_it_is_measured(
    stack: Stack,
    measurements: list[object],
    settings: dict[str, Any],
    sentence: str,
) -> None:
    with pytest.raises(InputError, match=sentence):
        found(stack, **settings)
    assert not measurements


def test_without_weights_nothing_is_measured(
    stack: Stack,
    measurements: list[object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shipped, "weights_folder", lambda: tmp_path)
    with pytest.raises(ModelFileError, match="the list of the start weights is mi"):
        found(stack)
    with pytest.raises(ModelFileError, match="install napari-blindspot anew"):
        nb.shipped_student(stack)
    assert not measurements


@pytest.mark.parametrize(
    ("answers", "share"),
    [
        pytest.param(1, 0.02, id="student"),
        pytest.param(2, 0.2, id="teacher", marks=pytest.mark.slow),
    ],
)
def test_of_a_large_stack_samples_alone_are_read(
    rng: np.random.Generator, answers: int, share: float
) -> None:
    light = 40 + 20 * rng.random((64, 64)).repeat(16, 0).repeat(16, 1)
    tile = rng.poisson(light).astype(np.uint16)
    read = 0

    def block(block_info: Any = None) -> Any:
        nonlocal read
        read += 1
        return tile[None]

    grid = ((1,) * 60, (1024,) * 16, (1024,) * 16)
    lazy = da.map_blocks(block, chunks=grid, dtype=np.uint16, meta=tile[None])
    parts = models_at_once(Stack(lazy, "ZYX"), SETTINGS, CancelToken())
    assert len(list(islice(parts, answers))) == answers
    assert 0 < read < share * lazy.npartitions
