from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from napari._app_model import get_app_model
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager
from npe2 import PluginManager

from napari_blindspot.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from napari import Viewer
    from npe2._command_registry import CommandRegistry
    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot
    from steered_core import SteeredCore

    from napari_blindspot.device import DeviceReport
    from napari_blindspot.sample import Phantom


FAST = "napari-blindspot.denoise_fast"


@pytest.fixture
def commands() -> CommandRegistry:
    manager = PluginManager.instance()
    manager.discover()
    return manager.commands


def test_palette_command_opens_the_panel_and_runs_there(
    cells_viewer: Viewer,
    core: SteeredCore,
    pixels: NDArray[np.uint16],
    qtbot: QtBot,
) -> None:
    cells_viewer.add_image(pixels + 1, name="other")
    cells_viewer.layers.selection = {cells_viewer.layers["cells"]}
    get_app_model().commands.execute_command(FAST)
    qtbot.waitUntil(lambda: "cells denoised" in cells_viewer.layers, timeout=10_000)
    _, settings, out = core.calls[0]
    assert settings.quality == "fast"
    assert out is None


def test_a_second_command_waits_for_the_first(
    cells_viewer: Viewer,
    core: SteeredCore,
    qtbot: QtBot,
) -> None:
    core.gate.clear()
    execute = get_app_model().commands.execute_command
    execute(FAST)
    execute("napari-blindspot.denoise_best")
    assert "already" in notification_manager.records[-1].message
    core.gate.set()
    qtbot.waitUntil(lambda: "cells denoised" in cells_viewer.layers, timeout=10_000)
    assert len(core.calls) == 1


def test_without_an_image_selected_the_window_says_so(
    make_napari_viewer: Callable[..., Viewer], core: SteeredCore
) -> None:
    viewer = make_napari_viewer()
    viewer.add_points([[0, 0]], name="spots")
    from napari_blindspot._napari.commands import denoise_fast

    denoise_fast(viewer)
    message = notification_manager.records[-1].message
    assert "'spots', but an image layer is needed" in message
    assert not core.calls


@pytest.mark.parametrize("quality", ["fast", "balanced", "best"])
def test_command_denoises_in_a_viewer_without_window(
    commands: CommandRegistry,
    core: SteeredCore,
    pixels: NDArray[np.uint16],
    quality: str,
) -> None:
    viewer = ViewerModel()
    viewer.add_image(pixels, name="cells")
    commands.execute(f"napari-blindspot.denoise_{quality}", args=(viewer,))
    assert [layer.name for layer in viewer.layers] == ["cells", "cells denoised"]
    assert core.calls[0][1].quality == quality


def test_options_reach_the_settings(
    commands: CommandRegistry, core: SteeredCore, pixels: NDArray[np.uint16]
) -> None:
    viewer = ViewerModel()
    viewer.add_image(pixels, name="cells")
    commands.execute(FAST, args=(viewer, {"steps": 2, "uncertainty": True}))
    settings = core.calls[0][1]
    assert (settings.steps, settings.quality) == (2, None)
    assert "cells uncertainty" in viewer.layers


def test_without_window_errors_are_raised(
    commands: CommandRegistry, core: SteeredCore
) -> None:
    with pytest.raises(InputError, match="active layer is nothing"):
        commands.execute(FAST, args=(ViewerModel(),))


def test_options_reach_the_panel(
    cells_viewer: Viewer,
    core: SteeredCore,
    qtbot: QtBot,
) -> None:
    from napari_blindspot._napari.commands import denoise_fast

    denoise_fast(cells_viewer, {"minutes": 2.0, "seed": 3})
    qtbot.waitUntil(lambda: "cells denoised" in cells_viewer.layers, timeout=10_000)
    settings = core.calls[0][1]
    assert (settings.minutes, settings.quality, settings.seed) == (2.0, None, 3)


DIAGNOSE = "napari-blindspot.diagnose_noise"


def test_command_diagnoses_in_the_tab(
    make_napari_viewer: Callable[..., Viewer],
    device: Callable[[DeviceReport], None],
    phantom: Phantom,
    qtbot: QtBot,
) -> None:
    viewer = make_napari_viewer()
    viewer.add_image(phantom.noisy, name="nuclei")
    viewer.add_image(phantom.truth, name="other")
    viewer.layers.selection = {viewer.layers["nuclei"]}
    get_app_model().commands.execute_command(DIAGNOSE)
    _, panel = viewer.window.add_plugin_dock_widget("napari-blindspot", "Denoise")
    assert panel.tabs.currentIndex() == 1
    assert panel.layer.value.name == "nuclei"
    qtbot.waitUntil(lambda: not panel.noise_tab.running, timeout=20_000)
    assert panel.noise_tab.stage.value == "Noise of nuclei"


def test_diagnosing_waits_for_a_run(
    cells_viewer: Viewer,
    core: SteeredCore,
    qtbot: QtBot,
) -> None:
    core.gate.clear()
    execute = get_app_model().commands.execute_command
    execute(FAST)
    execute(DIAGNOSE)
    assert "at work on a layer already" in notification_manager.records[-1].message
    core.gate.set()
    qtbot.waitUntil(lambda: "cells denoised" in cells_viewer.layers, timeout=10_000)


def test_command_diagnoses_in_a_viewer_without_window(
    commands: CommandRegistry, phantom: Phantom
) -> None:
    viewer = ViewerModel()
    viewer.add_image(phantom.noisy, name="nuclei")
    commands.execute(DIAGNOSE, args=(viewer,))
    assert "gain" in notification_manager.records[-1].message
    viewer.add_image(phantom.noisy[:, :20, :20], name="small")
    with pytest.raises(InputError, match="choose a larger region"):
        commands.execute(DIAGNOSE, args=(viewer,))
