"""A preview whose layer, panel or viewer is gone ends without a word or a thread."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import numpy as np
import pytest
from preview_help import WITHIN_MS, Gate, preview_threads, wait_until_shown

from models import random_student, random_teacher
from napari_blindspot._napari.preview_answers import BY, Models
from napari_blindspot._napari.preview_start import NO_MODEL
from napari_blindspot.config import PredictSettings
from napari_blindspot.errors import RunError
from napari_blindspot.jobs import preview_plane

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from napari import Viewer
    from napari.utils.notifications import Notification
    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot
    from steered_core import SteeredCore

    from napari_blindspot._napari.panel import DenoisePanel

TEACHER = random_teacher(depth=1)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """A core that answers nothing until it is told to."""
    return Gate().install(monkeypatch)


@pytest.fixture
def asking(
    cells: tuple[Viewer, DenoisePanel], gate: Gate, qtbot: QtBot
) -> tuple[Viewer, DenoisePanel]:
    """A preview that is asked for and not answered yet."""
    viewer, panel = cells
    panel.preview.use(panel.layer.value, Models(TEACHER))
    panel.preview_box.value = True
    qtbot.waitUntil(lambda: bool(gate.questions), timeout=WITHIN_MS)
    return viewer, panel


def plane_of(pixels: NDArray[np.uint16], z: int) -> NDArray[np.float32]:
    return preview_plane(pixels, TEACHER, f"z={z}", PredictSettings(axes="ZYX"))


def opened_and_switched_on(viewer: Viewer) -> DenoisePanel:
    panel: DenoisePanel
    _, panel = viewer.window.add_plugin_dock_widget("napari-blindspot", "Denoise")
    panel.preview.use(panel.layer.value, Models(TEACHER))
    panel.preview_box.value = True
    return panel


def test_a_layer_that_is_removed_ends_it(
    asking: tuple[Viewer, DenoisePanel],
    gate: Gate,
    qtbot: QtBot,
    notes: list[Notification],
) -> None:
    viewer, panel = asking
    viewer.layers.clear()
    assert not panel.preview_box.value
    gate.opened.set()
    qtbot.waitUntil(lambda: not preview_threads(), timeout=WITHIN_MS)
    assert not viewer.layers
    assert not notes
    assert panel.preview_note.value == ""


@pytest.mark.parametrize("shape", [(4, 24, 32), (3, 16, 20)], ids=["same", "other"])
@pytest.mark.parametrize("before", [True, False], ids=["asking", "shown"])
def test_a_layer_that_is_replaced_is_previewed_anew(
    asking: tuple[Viewer, DenoisePanel],
    gate: Gate,
    qtbot: QtBot,
    notes: list[Notification],
    shape: tuple[int, ...],
    before: bool,
) -> None:
    viewer, panel = asking
    if not before:
        gate.opened.set()
        qtbot.waitUntil(lambda: panel.preview.image is not None, timeout=WITHIN_MS)
    other = np.random.default_rng(5).poisson(90, shape).astype(np.uint16)
    viewer.layers["cells"].data = other
    viewer.dims.set_current_step(0, 1)
    gate.opened.set()
    wait_until_shown(qtbot, panel, plane_of(other, 1))
    assert not notes
    assert [layer.name for layer in viewer.layers] == ["cells", "cells preview"]


def test_a_layer_that_is_renamed_or_moved_takes_the_preview_along(
    asking: tuple[Viewer, DenoisePanel], gate: Gate, qtbot: QtBot
) -> None:
    viewer, panel = asking
    viewer.layers["cells"].name = "nuclei"
    gate.opened.set()
    qtbot.waitUntil(lambda: "nuclei preview" in viewer.layers, timeout=WITHIN_MS)
    viewer.layers["nuclei"].name = "somites"
    viewer.layers["somites"].scale = (4, 0.5, 0.5)
    image = panel.preview.image
    assert image.name == "somites preview"
    np.testing.assert_array_equal(image.scale, (4, 0.5, 0.5))


def test_removing_its_own_layer_switches_it_off(
    asking: tuple[Viewer, DenoisePanel], gate: Gate, qtbot: QtBot
) -> None:
    viewer, panel = asking
    gate.opened.set()
    qtbot.waitUntil(lambda: panel.preview.image is not None, timeout=WITHIN_MS)
    viewer.layers.remove(viewer.layers["cells preview"])
    assert not panel.preview_box.value
    qtbot.waitUntil(lambda: not preview_threads(), timeout=WITHIN_MS)


def test_another_layer_that_is_chosen_is_previewed_instead(
    asking: tuple[Viewer, DenoisePanel], gate: Gate, qtbot: QtBot
) -> None:
    viewer, panel = asking
    other = np.random.default_rng(5).poisson(90, (4, 20, 20)).astype(np.uint16)
    panel.layer.value = viewer.add_image(other, name="other")
    panel.preview.use(panel.layer.value, Models(TEACHER))
    viewer.dims.set_current_step(0, 1)
    gate.opened.set()
    wait_until_shown(qtbot, panel, plane_of(other, 1))
    names = [layer.name for layer in viewer.layers]
    assert names == ["cells", "other", "other preview"]


def test_where_other_layers_remain_none_of_them_is_previewed_unasked(
    asking: tuple[Viewer, DenoisePanel], pixels: NDArray[np.uint16], qtbot: QtBot
) -> None:
    viewer, panel = asking
    viewer.add_image(pixels, name="other")
    viewer.layers.remove(viewer.layers["cells"])
    assert panel.layer.value.name == "other"
    assert not panel.preview_box.value
    assert panel.preview.layer is None


def test_there_is_no_preview_of_the_preview(
    asking: tuple[Viewer, DenoisePanel], gate: Gate, qtbot: QtBot
) -> None:
    viewer, panel = asking
    gate.opened.set()
    qtbot.waitUntil(lambda: panel.preview.image is not None, timeout=WITHIN_MS)
    panel.layer.value = viewer.layers["cells preview"]
    assert [layer.name for layer in viewer.layers] == ["cells", "cells preview"]
    assert panel.preview.layer.name == "cells"


def test_closing_the_panel_ends_it_and_forgets_the_panel(
    cells_viewer: Viewer, gate: Gate, qtbot: QtBot
) -> None:
    gate.opened.set()
    panel = opened_and_switched_on(cells_viewer)
    qtbot.waitUntil(lambda: len(cells_viewer.layers) == 2, timeout=WITHIN_MS)
    cells_viewer.window.remove_dock_widget(panel.native)
    assert [layer.name for layer in cells_viewer.layers] == ["cells"]
    qtbot.waitUntil(lambda: not preview_threads(), timeout=WITHIN_MS)
    remembered = weakref.ref(panel)
    del panel
    qtbot.wait(100)
    gc.collect()
    assert remembered() is None


def test_closing_the_viewer_ends_it(
    cells_viewer: Viewer, gate: Gate, qtbot: QtBot
) -> None:
    opened_and_switched_on(cells_viewer)
    qtbot.waitUntil(lambda: bool(gate.questions), timeout=WITHIN_MS)
    cells_viewer.close()
    gate.opened.set()
    qtbot.waitUntil(lambda: not preview_threads(), timeout=WITHIN_MS)


def test_an_unexpected_error_is_told_in_the_panel_and_the_next_plane_works(
    cells: tuple[Viewer, DenoisePanel],
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    viewer, panel = cells
    with monkeypatch.context() as patch:
        patch.setattr(
            "napari_blindspot.inference.previewing.Previewer.noisy",
            lambda *_: (_ for _ in ()).throw(RuntimeError("no kernel image")),
        )
        panel.preview.use(panel.layer.value, Models(TEACHER))
        panel.preview_box.value = True
        qtbot.waitUntil(
            lambda: "no kernel image" in panel.preview_note.value, timeout=WITHIN_MS
        )
    viewer.dims.set_current_step(0, 0)
    qtbot.waitUntil(
        lambda: panel.preview_note.value == BY["teacher"], timeout=WITHIN_MS
    )


def test_while_a_network_trains_it_is_shown_and_afterwards_the_result(
    cells: tuple[Viewer, DenoisePanel],
    core: SteeredCore,
    pixels: NDArray[np.uint16],
    qtbot: QtBot,
) -> None:
    core.gate.clear()
    core.model = TEACHER
    viewer, panel = cells
    viewer.dims.set_current_step(0, 1)
    panel.preview_box.value = True
    qtbot.waitUntil(
        lambda: panel.preview_note.value.startswith(NO_MODEL), timeout=WITHIN_MS
    )
    panel.run()
    wait_until_shown(qtbot, panel, plane_of(pixels, 1))
    assert panel.preview_note.value == BY["training"]
    viewer.dims.set_current_step(0, 2)
    wait_until_shown(qtbot, panel, plane_of(pixels, 2))
    core.teacher, core.model = TEACHER, random_student()
    core.gate.set()
    qtbot.waitUntil(lambda: not panel.running, timeout=WITHIN_MS)
    qtbot.waitUntil(
        lambda: panel.preview_note.value == BY["teacher"], timeout=WITHIN_MS
    )


def test_a_run_that_fails_leaves_the_preview_with_the_model_before(
    cells: tuple[Viewer, DenoisePanel], core: SteeredCore, qtbot: QtBot
) -> None:
    _, panel = cells
    panel.preview.use(panel.layer.value, Models(TEACHER))
    core.error = RunError("The disk is full; free 3 GB.")
    panel.preview_box.value = True
    panel.run()
    qtbot.waitUntil(lambda: not panel.running, timeout=WITHIN_MS)
    qtbot.waitUntil(
        lambda: panel.preview_note.value == BY["teacher"], timeout=WITHIN_MS
    )


def test_a_preview_of_another_layer_than_the_trained_one_is_left_alone(
    open_panel: Callable[..., Any], pixels: NDArray[np.uint16]
) -> None:
    viewer, panel = open_panel((pixels, {"name": "one"}), (pixels, {"name": "two"}))
    panel.layer.value = viewer.layers["one"]
    panel.preview_box.value = True
    told: list[Any] = []
    watch = panel.preview.watcher(viewer.layers["two"])
    watch._tell = told.append
    panel.preview.train()
    watch(TEACHER)
    assert not told
