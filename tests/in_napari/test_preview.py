"""The preview shows what a run would give, where it lies, of the plane in view."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import pytest
from preview_help import (
    WITHIN_MS,
    Counting,
    Gate,
    recorded,
    shown_plane,
    wait_until_shown,
)

import napari_blindspot as nb
from models import random_student, random_teacher
from napari_blindspot._napari.preview import CUT, NO_PLANE
from napari_blindspot._napari.preview_answers import BY, Models
from napari_blindspot._napari.preview_start import NO_MODEL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from napari import Viewer
    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

    from napari_blindspot._napari.panel import DenoisePanel

TEACHER = random_teacher(depth=1)


def preview_of(pixels: Any, region: str, model: Any = TEACHER, **options: Any) -> Any:
    return nb.preview(pixels, model, region, **options)


@pytest.fixture
def on(cells: tuple[Viewer, DenoisePanel], qtbot: QtBot) -> tuple[Viewer, DenoisePanel]:
    """The small stack with a teacher and the preview switched on and shown."""
    viewer, panel = cells
    panel.preview.use(panel.layer.value, Models(TEACHER))
    panel.preview_box.value = True
    qtbot.waitUntil(lambda: panel.preview.image is not None, timeout=WITHIN_MS)
    return viewer, panel


def test_the_preview_is_what_a_run_gives(
    on: tuple[Viewer, DenoisePanel], pixels: NDArray[np.uint16], qtbot: QtBot
) -> None:
    viewer, panel = on
    plane = int(viewer.dims.current_step[0])
    whole = nb.predict(TEACHER, pixels, axes="ZYX").image
    wait_until_shown(qtbot, panel, whole[plane])
    assert [layer.name for layer in viewer.layers] == ["cells", "cells preview"]
    assert panel.preview_note.value == BY["teacher"]
    assert panel.layer.value.name == "cells"


def test_it_follows_the_slider(
    on: tuple[Viewer, DenoisePanel], pixels: NDArray[np.uint16], qtbot: QtBot
) -> None:
    viewer, panel = on
    for plane in (3, 0):
        viewer.dims.set_current_step(0, plane)
        expected = preview_of(pixels, f"z={plane}", axes="ZYX")
        wait_until_shown(qtbot, panel, expected)


def test_it_lies_on_its_source_and_looks_like_it(
    open_panel: Callable[..., Any], pixels: NDArray[np.uint16], qtbot: QtBot
) -> None:
    given = {"scale": (3, 0.5, 0.25), "translate": (7, -2, 40)}
    looks = {"colormap": "magma", "contrast_limits": (20, 90), "gamma": 0.7}
    viewer, panel = open_panel((pixels, {"name": "cells", **given, **looks}))
    panel.preview.use(panel.layer.value, Models(TEACHER))
    panel.preview_box.value = True
    viewer.dims.set_current_step(0, 2)
    wait_until_shown(qtbot, panel, preview_of(pixels, "z=2", axes="ZYX"))
    source, image = panel.preview.layer, panel.preview.image
    np.testing.assert_array_equal(image.scale, source.scale)
    np.testing.assert_array_equal(image.translate, (7 + 2 * 3, -2, 40))
    assert (image.colormap, image.gamma) == (source.colormap, source.gamma)
    assert image.contrast_limits == source.contrast_limits
    source.contrast_limits = (10, 60)
    assert image.contrast_limits == [10, 60]


def test_it_lies_on_a_source_whose_last_axes_are_not_the_plane(
    open_panel: Callable[..., Any], pixels: NDArray[np.uint16], qtbot: QtBot
) -> None:
    turned = np.moveaxis(pixels, 0, 1).transpose(2, 1, 0)  # x z y
    viewer, panel = open_panel(
        (turned, {"name": "cells", "axis_labels": ("x", "z", "y")})
    )
    viewer.dims.order = (1, 2, 0)
    viewer.dims.set_current_step(1, 3)
    panel.preview.use(panel.layer.value, Models(TEACHER))
    panel.preview_box.value = True
    wait_until_shown(qtbot, panel, preview_of(pixels, "z=3", axes="ZYX"))
    assert panel.preview.image.data.shape == (32, 1, 24)
    viewer.dims.order = (0, 1, 2)
    qtbot.waitUntil(lambda: panel.preview_note.value == NO_PLANE)


def test_the_channel_under_the_slider_is_shown(
    open_panel: Callable[..., Any], pixels: NDArray[np.uint16], qtbot: QtBot
) -> None:
    dyes = np.stack([pixels, 2 * pixels])
    model = random_teacher(depth=1, starts=2)
    viewer, panel = open_panel((dyes, {"name": "dyes"}))
    panel.preview.use(panel.layer.value, Models(model))
    panel.preview_box.value = True
    for channel in (1, 0):
        viewer.dims.set_current_step((0, 1), (channel, 2))
        expected = preview_of(dyes, f"c={channel},z=2", model, axes="CZYX")
        wait_until_shown(qtbot, panel, expected)


def test_the_blind_spot_is_turned_without_training(
    on: tuple[Viewer, DenoisePanel], pixels: NDArray[np.uint16], qtbot: QtBot
) -> None:
    viewer, panel = on
    viewer.dims.set_current_step(0, 1)
    seen = []
    for hole in ((1, 3, 3), (1, 1, 5)):
        panel.set_options(hole=hole)
        seen.append(preview_of(pixels, "z=1", axes="ZYX", hole=hole))
        wait_until_shown(qtbot, panel, seen[-1])
    assert not np.array_equal(*seen)


def test_strength_is_a_blend_for_which_no_network_is_asked(
    on: tuple[Viewer, DenoisePanel],
    pixels: NDArray[np.uint16],
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    viewer, panel = on
    viewer.dims.set_current_step(0, 1)
    wait_until_shown(qtbot, panel, preview_of(pixels, "z=1", axes="ZYX"))
    gate = Gate().install(monkeypatch)
    for strength in (0.5, 0.0, 1.0):
        panel.form.tunable.strength.value = strength
        expected = preview_of(pixels, "z=1", axes="ZYX", strength=strength)
        wait_until_shown(qtbot, panel, expected)
    np.testing.assert_array_equal(pixels, viewer.layers["cells"].data)
    assert not gate.questions


def test_the_student_answers_first_and_the_teacher_after_it(
    cells: tuple[Viewer, DenoisePanel], pixels: NDArray[np.uint16], qtbot: QtBot
) -> None:
    viewer, panel = cells
    notes = []
    say = panel.preview._say
    panel.preview._say = lambda sentence: (notes.append(sentence), say(sentence))
    viewer.dims.set_current_step(0, 2)
    panel.preview.use(panel.layer.value, Models(TEACHER, random_student()))
    panel.preview_box.value = True
    wait_until_shown(qtbot, panel, preview_of(pixels, "z=2", axes="ZYX"))
    assert [note for note in notes if note] == [BY["student"], BY["teacher"]]


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "of such teachers"])
def test_the_student_has_the_last_word_where_it_is_the_result(
    cells: tuple[Viewer, DenoisePanel],
    pixels: NDArray[np.uint16],
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
    alone: bool,
) -> None:
    viewer, panel = cells
    student = random_student()
    teacher = None if alone else random_teacher(depth=1, answer="mean")
    gate = Gate().install(monkeypatch)
    gate.opened.set()
    viewer.dims.set_current_step(0, 2)
    panel.preview.use(panel.layer.value, Models(teacher, student))
    panel.preview_box.value = True
    wait_until_shown(qtbot, panel, preview_of(pixels, "z=2", student, axes="ZYX"))
    assert [part.by for part in gate.parts] == ["noisy", "student"]


def test_what_is_not_wanted_any_more_is_never_shown(
    on: tuple[Viewer, DenoisePanel],
    pixels: NDArray[np.uint16],
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    viewer, panel = on
    shown = recorded(panel)
    gate = Gate().install(monkeypatch)
    for plane in (0, 1, 3):
        viewer.dims.set_current_step(0, plane)
        qtbot.waitUntil(lambda: panel.preview._question.place.z == plane)  # noqa: B023
    gate.opened.set()
    wait_until_shown(qtbot, panel, preview_of(pixels, "z=3", axes="ZYX"))
    assert {place.z for place, _ in shown} == {3}
    assert gate.questions[0].token.cancelled
    assert len(gate.parts) == 3  # one was under way; the last has two


def test_a_plane_comes_piece_by_piece(
    open_panel: Callable[..., Any], qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = np.random.default_rng(0).poisson(50, (3, 40, 600)).astype(np.uint16)
    gate = Gate().install(monkeypatch)
    gate.opened.set()
    _, panel = open_panel((wide, {"name": "wide"}))
    panel.preview.use(panel.layer.value, Models(TEACHER))
    panel.preview_box.value = True
    wait_until_shown(qtbot, panel, preview_of(wide, "z=1", axes="ZYX"))
    columns = [(part.place.x.start, part.place.x.stop) for part in gate.parts]
    assert columns == [(0, 600), (256, 512), (0, 256), (512, 600)]


@pytest.mark.parametrize("kind", ["array-like", "dask", "multiscale"])
def test_of_a_large_plane_no_more_is_read_than_the_view_and_its_halo(
    open_panel: Callable[..., Any], qtbot: QtBot, kind: str
) -> None:
    whole = np.random.default_rng(0).poisson(50, (5, 1200, 1200)).astype(np.uint16)
    source = Counting(whole, (1, 64, 64))
    data: Any = source
    if kind == "dask":
        data = da.from_array(source, chunks=source.chunks, asarray=False)
    elif kind == "multiscale":
        data = [source, whole[:, ::2, ::2]]
    viewer, panel = open_panel(
        (
            data,
            {
                "name": "big",
                "contrast_limits": (0, 99),
                "multiscale": kind == "multiscale",
            },
        )
    )
    layer = viewer.layers["big"]
    layer.data_level = 0
    layer.corner_pixels = np.array([[0, 300, 500], [0, 480, 700]])
    viewer.dims.set_current_step(0, 2)
    source.reads.clear()  # napari's own, of a dask layer
    panel.preview.use(panel.layer.value, Models(TEACHER))
    panel.preview_box.value = True
    expected = preview_of(whole, "z=2,y=256:512,x=448:704", axes="ZYX")
    wait_until_shown(qtbot, panel, expected)
    reach = 64 + 32  # a chunk, and the halo of the network
    assert source.bounds(0) == (1, 4)
    for axis, (low, high) in {1: (256, 512), 2: (448, 704)}.items():
        first, last = source.bounds(axis)
        assert low - reach <= first < low
        assert high < last <= high + reach
    np.testing.assert_array_equal(panel.preview.image.translate, (2, 256, 448))


def test_a_larger_view_is_cut_to_its_middle_and_says_so(
    open_panel: Callable[..., Any], qtbot: QtBot
) -> None:
    flat = np.random.default_rng(0).poisson(50, (400, 4000)).astype(np.uint16)
    viewer, panel = open_panel((flat, {"name": "flat"}))
    viewer.scene.camera.center = (200, 3000)
    panel.preview.use(panel.layer.value, Models(None, random_student(0, "none")))
    panel.preview_box.value = True
    qtbot.waitUntil(lambda: panel.preview.image is not None, timeout=WITHIN_MS)
    assert shown_plane(panel).shape == (400, 2621)
    assert panel.preview.image.translate[1] == pytest.approx(4000 - 2621, abs=1)
    assert CUT in panel.preview_note.value


def test_in_three_dimensions_it_waits(
    on: tuple[Viewer, DenoisePanel], qtbot: QtBot
) -> None:
    viewer, panel = on
    viewer.dims.ndisplay = 3
    qtbot.waitUntil(lambda: panel.preview_note.value == NO_PLANE)
    viewer.dims.ndisplay = 2
    qtbot.waitUntil(lambda: panel.preview_note.value == BY["teacher"])


def test_without_any_weights_it_says_what_to_do(
    cells: tuple[Viewer, DenoisePanel], qtbot: QtBot
) -> None:
    viewer, panel = cells
    panel.preview_box.value = True
    qtbot.waitUntil(
        lambda: panel.preview_note.value.startswith(NO_MODEL), timeout=WITHIN_MS
    )
    assert "start weights is missing" in panel.preview_note.value
    assert len(viewer.layers) == 1
    panel.preview_box.value = False
    assert panel.preview_note.value == ""


def test_a_model_file_that_is_chosen_is_used(
    cells: tuple[Viewer, DenoisePanel],
    pixels: NDArray[np.uint16],
    qtbot: QtBot,
    tmp_path: Path,
) -> None:
    viewer, panel = cells
    nb.save_model(random_student(), tmp_path / "student.safetensors")
    panel.preview_box.value = True
    panel.form.advanced.model.value = tmp_path / "student.safetensors"
    viewer.dims.set_current_step(0, 2)
    expected = preview_of(pixels, "z=2", random_student(), axes="ZYX")
    wait_until_shown(qtbot, panel, expected)


def test_a_model_that_does_not_fit_is_refused_in_the_panel(
    cells: tuple[Viewer, DenoisePanel], qtbot: QtBot
) -> None:
    _, panel = cells
    panel.preview.use(panel.layer.value, Models(random_teacher(depth=1, starts=3)))
    panel.preview_box.value = True
    qtbot.waitUntil(
        lambda: "trained on 3 channels" in panel.preview_note.value, timeout=WITHIN_MS
    )


def test_a_typing_error_is_told_and_set_right(
    on: tuple[Viewer, DenoisePanel], qtbot: QtBot
) -> None:
    _, panel = on
    panel.form.advanced.axes.value = "QYX"
    assert "axes='QYX' cannot be used" in panel.preview_note.value
    panel.form.advanced.axes.value = ""
    qtbot.waitUntil(
        lambda: panel.preview_note.value == BY["teacher"], timeout=WITHIN_MS
    )
