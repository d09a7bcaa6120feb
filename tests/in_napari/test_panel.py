from __future__ import annotations

import gc
import logging
import threading
import weakref
from typing import TYPE_CHECKING

import numpy as np
import pytest
from napari.utils.notifications import NotificationSeverity

from napari_blindspot.device import DeviceReport
from napari_blindspot.errors import Cancelled, InputError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from napari import Viewer
    from napari.utils.notifications import Notification
    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot
    from steered_core import SteeredCore

    from napari_blindspot._napari.panel import DenoisePanel


def test_panel_opens_from_the_manifest_and_gets_its_viewer(
    open_panel: Callable[..., Any],
) -> None:
    viewer, panel = open_panel()
    assert type(panel).__name__ == "DenoisePanel"
    assert panel._viewer is viewer or panel._viewer == viewer


def test_run_adds_the_denoised_layer(
    cells: tuple[Viewer, DenoisePanel],
    core: SteeredCore,
    pixels: NDArray[np.uint16],
    finish: Callable[[DenoisePanel], None],
) -> None:
    viewer, panel = cells
    results = []
    panel.finished.connect(results.append)
    finish(panel)
    assert [layer.name for layer in viewer.layers] == ["cells", "cells denoised"]
    np.testing.assert_array_equal(viewer.layers["cells denoised"].data, pixels - 1.0)
    np.testing.assert_array_equal(viewer.layers["cells"].data, pixels)
    assert results[0].metrics == {"expected_psnr": 31.25}
    assert panel.verdict.value.splitlines() == [
        "The axes were guessed.",
        "Noise: gain 2.",
        "Expected PSNR 31.2 dB",
    ]
    assert panel.stage.value == "Done"
    assert panel.progress.value == panel.progress.max


def test_the_work_runs_off_the_gui_thread(
    cells: tuple[Viewer, DenoisePanel],
    core: SteeredCore,
    finish: Callable[[DenoisePanel], None],
) -> None:
    _, panel = cells
    finish(panel)
    assert core.thread is not threading.main_thread()


def test_uncertainty_becomes_a_layer_below(
    cells: tuple[Viewer, DenoisePanel],
    core: SteeredCore,
    finish: Callable[[DenoisePanel], None],
) -> None:
    viewer, panel = cells
    panel.form.output.uncertainty.value = True
    finish(panel)
    assert [layer.name for layer in viewer.layers] == [
        "cells",
        "cells uncertainty",
        "cells denoised",
    ]


def test_widgets_are_locked_and_a_second_run_cannot_start(
    cells: tuple[Viewer, DenoisePanel],
    core: SteeredCore,
    qtbot: QtBot,
) -> None:
    core.gate.clear()
    _, panel = cells
    panel.run()
    qtbot.waitUntil(core.begun.is_set)
    panel.run()
    panel.run_button.native.click()
    assert len(core.calls) == 1
    assert not panel.run_button.enabled
    assert panel.cancel_button.enabled
    assert not panel.layer.enabled
    assert not panel.form.enabled
    panel.cancel()
    qtbot.waitUntil(lambda: not panel.running)
    assert panel.run_button.enabled
    assert not panel.cancel_button.enabled
    assert panel.layer.enabled


def test_progress_is_shown_while_running(
    cells: tuple[Viewer, DenoisePanel],
    core: SteeredCore,
    qtbot: QtBot,
) -> None:
    core.gate.clear()
    _, panel = cells
    panel.run()
    qtbot.waitUntil(
        lambda: panel.progress.value > 0 and "Training" in panel.stage.value
    )
    assert " %" in panel.stage.value


def test_cancel_stops_the_job_and_adds_nothing(
    cells: tuple[Viewer, DenoisePanel],
    core: SteeredCore,
    qtbot: QtBot,
) -> None:
    core.gate.clear()
    viewer, panel = cells
    errors = []
    panel.failed.connect(errors.append)
    panel.run()
    qtbot.waitUntil(core.begun.is_set)
    panel.cancel_button.native.click()
    qtbot.waitUntil(lambda: bool(errors))
    assert isinstance(errors[0], Cancelled)
    assert core.closed.is_set()
    assert len(viewer.layers) == 1
    assert "cancelled" in panel.stage.value


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(InputError("axes='Q' cannot be used; give ZYX."), id="input"),
        pytest.param(RunError("The disk is full; free 3 GB."), id="runtime"),
    ],
)
def test_an_error_for_the_user_is_one_sentence(
    cells: tuple[Viewer, DenoisePanel],
    core: SteeredCore,
    finish: Callable[[DenoisePanel], None],
    notes: list[Notification],
    error: Exception,
) -> None:
    core.error = error
    viewer, panel = cells
    finish(panel)
    assert [note.message for note in notes] == [str(error)]
    assert notes[0].severity == NotificationSeverity.ERROR
    assert len(viewer.layers) == 1
    assert not panel.running


def test_an_unexpected_error_says_what_to_do_and_logs_the_rest(
    cells: tuple[Viewer, DenoisePanel],
    core: SteeredCore,
    finish: Callable[[DenoisePanel], None],
    notes: list[Notification],
    caplog: pytest.LogCaptureFixture,
) -> None:
    core.error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    _, panel = cells
    with caplog.at_level(logging.ERROR, "napari_blindspot"):
        finish(panel)
    assert len(notes) == 1
    assert "mat1 and mat2" in notes[0].message
    assert "source is untouched" in notes[0].message
    assert "Traceback" in caplog.text
    assert not panel.running


def test_after_a_failure_the_next_run_succeeds(
    cells: tuple[Viewer, DenoisePanel],
    core: SteeredCore,
    finish: Callable[[DenoisePanel], None],
) -> None:
    viewer, panel = cells
    core.error = InputError("Not this time.")
    finish(panel)
    core.error = None
    finish(panel)
    assert len(viewer.layers) == 2


def test_a_refused_run_shows_nothing_of_the_one_before(
    cells: tuple[Viewer, DenoisePanel],
    core: SteeredCore,
    finish: Callable[[DenoisePanel], None],
    notes: list[Notification],
) -> None:
    _, panel = cells
    finish(panel)
    assert panel.verdict.value
    panel.noise_verdict.value = "Noise model fits."
    panel.set_options(axes="Q")
    panel.run()
    assert "axes='Q'" in notes[-1].message
    assert panel.verdict.value == panel.noise_verdict.value == ""


def test_run_is_disabled_when_the_last_layer_is_gone(
    cells: tuple[Viewer, DenoisePanel], qtbot: QtBot
) -> None:
    viewer, panel = cells
    assert panel.run_button.enabled
    viewer.layers.clear()
    qtbot.waitUntil(lambda: not panel.run_button.enabled, timeout=2000)


def test_without_a_layer_run_is_disabled_and_says_why(
    open_panel: Callable[..., Any], core: SteeredCore, notes: list[Notification]
) -> None:
    _, panel = open_panel()
    assert not panel.run_button.enabled
    panel.run()
    assert "open an image" in notes[-1].message
    assert not core.calls


def test_a_new_layer_can_be_chosen_at_once(
    open_panel: Callable[..., Any], pixels: NDArray[np.uint16]
) -> None:
    viewer, panel = open_panel()
    viewer.add_image(pixels, name="late")
    assert panel.layer.value.name == "late"
    assert panel.run_button.enabled


def test_a_result_too_large_for_memory_asks_for_a_file(
    cells: tuple[Viewer, DenoisePanel],
    core: SteeredCore,
    pixels: NDArray[np.uint16],
    notes: list[Notification],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    finish: Callable[[DenoisePanel], None],
) -> None:
    class Memory:
        available = pixels.size * 4 * 4 - 1

    monkeypatch.setattr("psutil.virtual_memory", Memory)
    _, panel = cells
    panel.run()
    assert "name an output file" in notes[-1].message
    assert not core.calls
    panel.form.output.output.value = tmp_path / "big.ome.zarr"
    finish(panel)
    assert core.calls[0][2] == tmp_path / "big.ome.zarr"


def test_a_layer_removed_during_the_run_keeps_its_result(
    open_panel: Callable[..., Any],
    core: SteeredCore,
    pixels: NDArray[np.uint16],
    qtbot: QtBot,
) -> None:
    core.gate.clear()
    viewer, panel = open_panel((pixels, {"name": "cells", "scale": (3, 1, 1)}))
    panel.run()
    qtbot.waitUntil(core.begun.is_set)
    viewer.layers.clear()
    core.gate.set()
    qtbot.waitUntil(lambda: not panel.running)
    assert [layer.name for layer in viewer.layers] == ["cells denoised"]
    np.testing.assert_array_equal(viewer.layers[0].scale, (3, 1, 1))


def test_a_taken_name_replaces_no_layer(
    open_panel: Callable[..., Any],
    core: SteeredCore,
    pixels: NDArray[np.uint16],
    finish: Callable[[DenoisePanel], None],
) -> None:
    viewer, panel = open_panel(
        (pixels, {"name": "cells denoised"}), (pixels, {"name": "cells"})
    )
    panel.layer.value = viewer.layers["cells"]
    finish(panel)
    assert len(viewer.layers) == 3
    np.testing.assert_array_equal(viewer.layers["cells denoised"].data, pixels)


def test_an_idle_nvidia_card_is_said_loudly(
    open_panel: Callable[..., Any],
    device: Callable[[DeviceReport], None],
    notes: list[Notification],
) -> None:
    warning = "NVIDIA H200 is in this machine, but torch cannot use it."
    device(DeviceReport("cpu", "CPU (2 cores)", warning))
    _, panel = open_panel()
    assert [note.message for note in notes] == [warning]
    assert notes[0].severity == NotificationSeverity.WARNING
    assert warning in panel.device_report.value
    assert "bold" in panel.device_report.native.styleSheet()


def test_a_device_in_order_is_not_shouted(
    open_panel: Callable[..., Any], notes: list[Notification]
) -> None:
    _, panel = open_panel()
    assert panel.device_report.value == "Runs on CPU (2 cores)."
    assert panel.device_report.native.styleSheet() == ""
    assert not notes


def test_closing_the_panel_cancels_the_run_and_forgets_the_panel(
    cells_viewer: Viewer,
    core: SteeredCore,
    qtbot: QtBot,
) -> None:
    core.gate.clear()
    panel = cells_viewer.window.add_plugin_dock_widget("napari-blindspot", "Denoise")[1]
    panel.run()
    qtbot.waitUntil(core.begun.is_set)
    cells_viewer.window.remove_dock_widget(panel.native)
    qtbot.waitUntil(core.closed.is_set)
    remembered = weakref.ref(panel)
    del panel
    qtbot.wait(100)
    gc.collect()
    assert remembered() is None


def test_closing_the_viewer_cancels_the_run(
    cells_viewer: Viewer,
    core: SteeredCore,
    qtbot: QtBot,
) -> None:
    core.gate.clear()
    _, panel = cells_viewer.window.add_plugin_dock_widget("napari-blindspot", "Denoise")
    panel.run()
    qtbot.waitUntil(core.begun.is_set)
    cells_viewer.close()
    qtbot.waitUntil(core.closed.is_set)
    qtbot.wait(100)
