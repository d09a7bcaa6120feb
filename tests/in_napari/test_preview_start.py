"""Before any training the start weights answer: at once, and for what they fit."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from preview_help import WITHIN_MS, preview_threads, wait_until_shown

import napari_blindspot as nb
from models import random_student, random_teacher
from napari_blindspot._napari.preview_answers import Models
from napari_blindspot._napari.preview_start import (
    BY_FILTER,
    BY_MODEL,
    BY_START,
    MEASURING,
    NO_MODEL,
)
from napari_blindspot.starts import shipped
from napari_blindspot.training import at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from napari import Viewer
    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

    from napari_blindspot._napari.panel import DenoisePanel
    from napari_blindspot.model import Model

TEACHER, STUDENT = random_teacher(depth=1), random_student()
TEACHER.provenance["start"] = {"used": True}


@pytest.fixture(autouse=True)
def start_weights() -> None:
    """The weights that are shipped."""


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Found:
    """Models that are found at once, in the place of the real ones."""
    return Found().install(monkeypatch)


class Found:
    """What answers before training, held back at every step until it is let through."""

    def __init__(self) -> None:
        self.models: list[Model] = [STUDENT, TEACHER]
        self.asked: list[Any] = []
        self.steps = threading.Semaphore(100)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> Found:
        def models_at_once(stack: Any, settings: Any, cancel: Any) -> Iterator[Model]:
            self.asked.append((settings, cancel))
            for model in self.models:
                self.steps.acquire(timeout=WITHIN_MS / 1000)
                cancel.raise_if_cancelled()
                yield model

        monkeypatch.setattr(at_once, "models_at_once", models_at_once)
        return self


def wait_for_note(qtbot: QtBot, panel: DenoisePanel, sentence: str) -> None:
    qtbot.waitUntil(lambda: panel.preview_note.value == sentence, timeout=WITHIN_MS)


def notes_of(panel: DenoisePanel) -> list[str]:
    """Return a list that grows by every sentence below the preview."""
    notes: list[str] = []
    say = panel.preview._say
    panel.preview._say = lambda sentence: (notes.append(sentence), say(sentence))
    return notes


def test_a_student_answers_at_once_and_the_start_weights_after_it(
    open_panel: Callable[..., Any], qtbot: QtBot
) -> None:
    light = 20 + 60 * np.random.default_rng(0).random((6, 6, 6)).repeat(8, 1).repeat(
        8, 2
    )
    pixels = np.random.default_rng(1).poisson(light).astype(np.uint16)
    viewer, panel = open_panel((pixels, {"name": "cells"}))
    panel.set_options(device="cpu", threads=1)
    notes = notes_of(panel)
    viewer.dims.set_current_step(0, 2)
    panel.preview_box.value = True
    assert panel.preview_note.value == MEASURING
    given = {"axes": "ZYX", "device": "cpu", "threads": 1}
    student = nb.shipped_student(pixels, axes="ZYX")
    teacher = nb.train(pixels, steps=0, **given)
    qtbot.waitUntil(lambda: BY_START["student"] in notes, timeout=WITHIN_MS)
    wait_until_shown(qtbot, panel, nb.preview(pixels, teacher, "z=2", **given))
    used = teacher.provenance["start"]["used"]
    assert panel.preview_note.value == (BY_START["teacher"] if used else BY_FILTER)
    viewer.dims.set_current_step(0, 4)
    wait_until_shown(qtbot, panel, nb.preview(pixels, teacher, "z=4", **given))
    assert student.provenance["start"]["student"] in ("tiny", "small")


def test_the_student_is_shown_while_the_teacher_is_looked_for(
    cells: tuple[Viewer, DenoisePanel],
    found: Found,
    pixels: NDArray[np.uint16],
    qtbot: QtBot,
) -> None:
    found.steps = threading.Semaphore(1)
    viewer, panel = cells
    panel.preview_box.value = True
    for z in (1, 3):  # it follows the slider meanwhile
        viewer.dims.set_current_step(0, z)
        expected = nb.preview(pixels, STUDENT, f"z={z}", axes="ZYX")
        wait_until_shown(qtbot, panel, expected)
    assert panel.preview_note.value == BY_START["student"]
    found.steps.release()
    wait_until_shown(qtbot, panel, nb.preview(pixels, TEACHER, "z=3", axes="ZYX"))
    assert panel.preview_note.value == BY_START["teacher"]
    assert len(found.asked) == 1


def test_settings_ask_anew_and_those_before_are_known_again(
    cells: tuple[Viewer, DenoisePanel], found: Found, qtbot: QtBot
) -> None:
    _, panel = cells
    panel.preview_box.value = True
    for context, asked in (("auto", 1), ("none", 2), ("auto", 2), ("none", 2)):
        panel.set_options(context=context)
        wait_for_note(qtbot, panel, BY_START["teacher"])
        assert len(found.asked) == asked
    panel.preview_box.value = False
    panel.set_options(seed=5)  # hardly anything follows from it
    panel.preview_box.value = True
    panel.set_options(steps=7)  # the budget says nothing about no step
    wait_for_note(qtbot, panel, BY_START["teacher"])
    assert [settings.context for settings, _ in found.asked] == ["auto", "none"]


@pytest.mark.parametrize("change", ["settings", "off", "training"])
def test_what_is_not_wanted_any_more_is_given_up(
    cells: tuple[Viewer, DenoisePanel], found: Found, qtbot: QtBot, change: str
) -> None:
    found.steps = threading.Semaphore(0)
    _, panel = cells
    panel.preview_box.value = True
    qtbot.waitUntil(lambda: len(found.asked) == 1, timeout=WITHIN_MS)
    if change == "settings":
        panel.set_options(context="none")
    elif change == "off":
        panel.preview_box.value = False
    else:
        panel.preview.train()
    assert found.asked[0][1].cancelled
    found.steps.release(10)
    if change == "settings":
        wait_for_note(qtbot, panel, BY_START["teacher"])
        assert [settings.context for settings, _ in found.asked] == ["auto", "none"]
    elif change == "off":
        qtbot.waitUntil(lambda: not preview_threads(), timeout=WITHIN_MS)
        assert panel.preview.image is None
    else:
        panel.preview.trained()  # without a model: it is looked for again
        wait_for_note(qtbot, panel, BY_START["teacher"])
        assert len(found.asked) == 2


def test_a_model_of_a_run_takes_over(
    cells: tuple[Viewer, DenoisePanel],
    found: Found,
    pixels: NDArray[np.uint16],
    qtbot: QtBot,
) -> None:
    viewer, panel = cells
    panel.preview_box.value = True
    wait_for_note(qtbot, panel, BY_START["teacher"])
    other = random_teacher(depth=2)
    panel.preview.use(panel.layer.value, Models(other))
    z = int(viewer.dims.current_step[0])
    wait_until_shown(qtbot, panel, nb.preview(pixels, other, f"z={z}", axes="ZYX"))
    assert panel.preview_note.value == "By the trained network."


def test_the_model_of_one_layer_does_not_answer_for_another(
    cells: tuple[Viewer, DenoisePanel], found: Found, qtbot: QtBot
) -> None:
    viewer, panel = cells
    first = panel.layer.value
    panel.preview.use(first, Models(random_teacher(depth=2)))
    panel.preview_box.value = True
    wait_for_note(qtbot, panel, "By the trained network.")
    panel.layer.value = viewer.add_image(10 + 3 * first.data, name="other")
    wait_for_note(qtbot, panel, BY_START["teacher"])
    panel.layer.value = first
    wait_for_note(qtbot, panel, "By the trained network.")


def test_what_is_chosen_for_the_next_run_does_not_refuse_the_model_of_the_last(
    cells: tuple[Viewer, DenoisePanel], qtbot: QtBot
) -> None:
    _, panel = cells
    teacher = random_teacher(depth=1)
    panel.preview.use(panel.layer.value, Models(teacher))
    panel.set_options(method="blind2grad", passes=4)
    panel.preview_box.value = True
    wait_for_note(qtbot, panel, "By the trained network.")


def test_a_student_that_has_the_last_word_promises_no_other(
    cells: tuple[Viewer, DenoisePanel], found: Found, qtbot: QtBot
) -> None:
    found.models = [STUDENT]
    viewer, panel = cells
    panel.preview_box.value = True
    wait_for_note(qtbot, panel, BY_START["teacher"])
    z = int(viewer.dims.current_step[0])
    expected = nb.preview(panel.layer.value.data, STUDENT, f"z={z}", axes="ZYX")
    wait_until_shown(qtbot, panel, expected)


def test_the_network_of_the_method_answers_where_that_gives_its_mean(
    open_panel: Callable[..., Any], pixels: NDArray[np.uint16], qtbot: QtBot
) -> None:
    viewer, panel = open_panel((pixels, {"name": "cells"}))
    panel.set_options(method="atbsn", device="cpu", threads=1)
    notes = notes_of(panel)
    panel.preview_box.value = True
    given = {"axes": "ZYX", "device": "cpu", "threads": 1}
    teacher = nb.train(pixels, method="atbsn", steps=0, **given)
    z = int(viewer.dims.current_step[0])
    wait_until_shown(qtbot, panel, nb.preview(pixels, teacher, f"z={z}", **given))
    used = teacher.provenance["start"]["used"]
    assert panel.preview_note.value == (BY_START["teacher"] if used else BY_FILTER)
    assert BY_START["student"] not in notes


def test_weights_that_do_not_fit_are_told(
    cells: tuple[Viewer, DenoisePanel], found: Found, qtbot: QtBot
) -> None:
    unfit = random_teacher(depth=1)
    unfit.provenance["start"] = {"used": False}
    found.models = [STUDENT, unfit]
    _, panel = cells
    panel.preview_box.value = True
    wait_for_note(qtbot, panel, BY_FILTER)


def test_a_model_of_the_users_is_told_apart(
    cells: tuple[Viewer, DenoisePanel], found: Found, qtbot: QtBot, tmp_path: Path
) -> None:
    found.models = [TEACHER]
    _, panel = cells
    panel.set_options(start=tmp_path / "mine.safetensors")
    panel.preview_box.value = True
    wait_for_note(qtbot, panel, BY_MODEL)
    assert found.asked[0][0].start == str(tmp_path / "mine.safetensors")


def test_altered_weights_are_told_and_tried_again(
    cells: tuple[Viewer, DenoisePanel],
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for file in shipped.weights_folder().iterdir():
        content = file.read_bytes()
        altered = content if file.suffix == ".json" else content[:-1] + b"x"
        (tmp_path / file.name).write_bytes(altered)
    _, panel = cells
    with monkeypatch.context() as patch:
        patch.setattr(shipped, "weights_folder", lambda: tmp_path)
        panel.preview_box.value = True
        qtbot.waitUntil(
            lambda: panel.preview_note.value.startswith(NO_MODEL), timeout=WITHIN_MS
        )
    assert "checksum differs" in panel.preview_note.value
    Found().install(monkeypatch)
    panel.preview_box.value = False
    panel.preview_box.value = True
    wait_for_note(qtbot, panel, BY_START["teacher"])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"start": "cold"}, "start='cold' has nothing to answer from"),
        ({"channels": "joint"}, "channels='joint' has nothing to answer from"),
    ],
    ids=["cold", "joint"],
)
def test_where_nothing_is_known_before_training_it_says_so(
    open_panel: Callable[..., Any],
    pixels: NDArray[np.uint16],
    qtbot: QtBot,
    options: dict[str, str],
    sentence: str,
) -> None:
    viewer, panel = open_panel((np.stack([pixels, pixels]), {"name": "dyes"}))
    panel.set_options(**options)
    panel.preview_box.value = True
    qtbot.waitUntil(
        lambda: panel.preview_note.value.startswith(sentence), timeout=WITHIN_MS
    )
    assert len(viewer.layers) == 1
