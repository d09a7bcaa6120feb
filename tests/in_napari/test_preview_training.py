"""What the preview shows and says before, during and after training."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from napari.layers import Image
from preview_help import WITHIN_MS, Gate, wait_until_shown

import napari_blindspot as nb
from models import random_student, random_teacher
from napari_blindspot._napari.preview import (
    AFTER_TRAINING,
    BEFORE_TRAINING,
    NO_PLANE,
)
from napari_blindspot._napari.preview_answers import (
    BY,
    Models,
    Part,
    Question,
    Watcher,
)
from napari_blindspot.config import DenoiseSettings, PredictSettings
from napari_blindspot.inference.places import Place
from napari_blindspot.jobs import preview_plane
from napari_blindspot.noise.models import PoissonGaussian

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from napari import Viewer
    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot
    from steered_core import SteeredCore

    from napari_blindspot._napari.panel import DenoisePanel
    from napari_blindspot.model import Model
    from napari_blindspot.progress import Stage

TEACHER = random_teacher(depth=1)
LATER = replace(TEACHER, network=random_teacher(depth=1, width=6).network)


def wait_for_note(qtbot: QtBot, panel: DenoisePanel, sentence: str) -> None:
    qtbot.waitUntil(lambda: panel.preview_note.value == sentence, timeout=WITHIN_MS)


def test_before_the_first_look_it_says_what_it_waits_for(
    cells: tuple[Viewer, DenoisePanel], core: SteeredCore, qtbot: QtBot
) -> None:
    core.gate.clear()
    _, panel = cells
    panel.preview_box.value = True
    panel.run()
    qtbot.waitUntil(core.begun.is_set, timeout=WITHIN_MS)
    assert panel.preview_note.value == BEFORE_TRAINING
    core.model = TEACHER
    wait_for_note(qtbot, panel, BY["training"])


@pytest.mark.parametrize("stage", ["distill", "predict", "pyramid"])
def test_after_training_it_says_when_it_goes_on(
    cells: tuple[Viewer, DenoisePanel], core: SteeredCore, qtbot: QtBot, stage: Stage
) -> None:
    core.gate.clear()
    core.way.clear()
    core.model, core.after = TEACHER, (stage,)
    viewer, panel = cells
    panel.preview_box.value = True
    panel.run()
    wait_for_note(qtbot, panel, BY["training"])
    core.gate.set()
    wait_for_note(qtbot, panel, AFTER_TRAINING)
    viewer.dims.ndisplay = 3
    wait_for_note(qtbot, panel, NO_PLANE)
    viewer.dims.ndisplay = 2
    wait_for_note(qtbot, panel, AFTER_TRAINING)
    core.way.set()
    wait_for_note(qtbot, panel, BY["teacher"])


def test_in_a_run_without_training_it_answers_on(
    cells: tuple[Viewer, DenoisePanel],
    core: SteeredCore,
    pixels: NDArray[np.uint16],
    qtbot: QtBot,
    tmp_path: Path,
) -> None:
    core.way.clear()
    core.after = ("predict",)
    nb.save_model(random_student(), tmp_path / "student.safetensors")
    viewer, panel = cells
    panel.form.advanced.model.value = tmp_path / "student.safetensors"
    panel.preview_box.value = True
    panel.run()
    qtbot.waitUntil(lambda: panel.stage.value.startswith("Denoising"))
    viewer.dims.set_current_step(0, 3)
    settings = PredictSettings(axes="ZYX")
    expected = preview_plane(pixels, random_student(), "z=3", settings)
    wait_until_shown(qtbot, panel, expected)
    assert panel.preview_note.value == BY["student"]
    core.way.set()


@pytest.mark.parametrize(
    "change",
    [
        {"dark": "dark.tif"},
        {"offset_map": "offset.tif", "variance_map": "variance.tif"},
        {"gain_map": "gain.tif"},
        {"fixed_pattern": "rows"},
        {"noise_per_plane": True},
        {"device": "cpu"},
        {"threads": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_setting_of_the_answer_asks_anew(
    cells: tuple[Viewer, DenoisePanel],
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
) -> None:
    _, panel = cells
    gate = Gate().install(monkeypatch)
    gate.opened.set()
    panel.preview.use(panel.layer.value, Models(TEACHER))
    panel.preview_box.value = True
    wait_for_note(qtbot, panel, BY["teacher"])
    panel.set_options(**change)
    qtbot.waitUntil(lambda: len(gate.questions) > 1, timeout=WITHIN_MS)
    for name in change:
        wanted = getattr(panel.settings(), name)
        assert wanted != DenoiseSettings.model_fields[name].default
        assert getattr(gate.questions[-1].settings, name) == wanted


def test_what_decides_about_the_output_alone_asks_nothing(
    cells: tuple[Viewer, DenoisePanel], qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, panel = cells
    gate = Gate().install(monkeypatch)
    gate.opened.set()
    panel.preview.use(panel.layer.value, Models(TEACHER))
    panel.preview_box.value = True
    wait_for_note(qtbot, panel, BY["teacher"])
    panel.set_options(dtype="same", overwrite=True, uncertainty=True)
    viewer.dims.set_current_step(0, 0)
    qtbot.waitUntil(lambda: len(gate.questions) > 1, timeout=WITHIN_MS)
    assert [question.place.z for question in gate.questions][-1] == 0
    assert len(gate.questions) == 2


@pytest.fixture
def dark(tmp_path: Path) -> Path:
    """A dark stack of the camera, (50, 24, 32) uint16."""
    level = np.random.default_rng(1).uniform(2, 12, (24, 32))
    frames = np.random.default_rng(2).normal(level, 2, (50, 24, 32))
    tifffile.imwrite(tmp_path / "dark.tif", np.clip(frames, 0, None).astype(np.uint16))
    return tmp_path / "dark.tif"


def looked_at(
    pixels: NDArray[np.uint16], settings: PredictSettings
) -> tuple[Watcher, list[Any]]:
    """Return a watcher of the second plane, and what it tells."""
    layer, told = Image(pixels), []
    place = Place(0, 0, 1, slice(0, 24), slice(0, 32))
    question = Question(1, layer, layer.data, place, settings)
    return Watcher(layer, lambda: question, told.append), told


def test_the_camera_is_read_once_for_all_looks(
    pixels: NDArray[np.uint16], dark: Path
) -> None:
    settings = PredictSettings(axes="ZYX", dark=dark, noise_per_plane=True)
    both = (TEACHER, LATER)
    expected = [preview_plane(pixels, model, "z=1", settings) for model in both]
    assert not np.allclose(*expected)
    watch, told = looked_at(pixels, settings)
    watch(TEACHER)
    dark.unlink()
    watch(LATER)
    assert all(isinstance(part, Part) for part in told)
    seen = [part.pixels for part in told if part.by == "training"]
    for found, right in zip(seen, expected, strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-5)


def test_a_look_at_a_model_of_another_noise_measures_it_anew(
    pixels: NDArray[np.uint16],
) -> None:
    noise = (PoissonGaussian.from_camera(2.0, 10.0, 3.0),)
    other: Model = replace(TEACHER, noise=noise)
    watch, told = looked_at(pixels, PredictSettings(axes="ZYX"))
    watch(TEACHER)
    watch(other)
    expected = nb.preview(pixels, other, "z=1", axes="ZYX")
    assert not np.allclose(told[-2].pixels, expected)
    np.testing.assert_allclose(told[-1].pixels, expected, rtol=1e-5)
