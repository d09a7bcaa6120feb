"""A core that can be steered, and viewers to show it in."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from steered_core import SteeredCore

from napari_blindspot.device import DeviceReport
from napari_blindspot.starts import shipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari import Viewer
    from napari.utils.notifications import Notification
    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot
    from qtpy.QtCore import SignalInstance

    from napari_blindspot._napari.panel import DenoisePanel


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> SteeredCore:
    """A steered core in the place of the real one."""
    steered = SteeredCore()
    steered.gate.set()
    steered.way.set()
    module = ModuleType("napari_blindspot.api")
    module.denoise_job = lambda *args, **options: steered.denoise_job(*args, **options)
    monkeypatch.setitem(sys.modules, "napari_blindspot.api", module)
    return steered


@pytest.fixture(autouse=True)
def start_weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """An installation without start weights, so that no preview finds work to do.

    Tests that are about them have a fixture of this name that leaves them there.
    """
    empty = tmp_path_factory.mktemp("no_weights")
    monkeypatch.setattr(shipped, "weights_folder", lambda: empty)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Callable[[DeviceReport], None]:
    """A device report that is there at once; returns a function that changes it."""
    found = {"report": DeviceReport("cpu", "CPU (2 cores)")}
    monkeypatch.setattr(
        "napari_blindspot._napari.panel.describe_device", lambda name: found["report"]
    )
    return lambda report: found.update(report=report)


@pytest.fixture
def pixels() -> NDArray[np.uint16]:
    """A small noisy stack, (4, 24, 32) uint16."""
    return np.random.default_rng(0).poisson(50, (4, 24, 32)).astype(np.uint16)


@pytest.fixture
def open_panel(
    make_napari_viewer_proxy: Callable[..., Viewer],
    device: Callable[[DeviceReport], None],
    qtbot: QtBot,
) -> Iterator[Callable[..., Any]]:
    """Open the panel from the manifest in a real viewer; gives (viewer, panel)."""
    from napari_blindspot._napari.panel import LOOKING

    panels = []

    def opened(
        *layers: tuple[np.ndarray, dict[str, Any]],
    ) -> tuple[Viewer, DenoisePanel]:
        viewer = make_napari_viewer_proxy()
        for data, keywords in layers:
            viewer.add_image(data, **keywords)
        _, panel = viewer.window.add_plugin_dock_widget("napari-blindspot", "Denoise")
        qtbot.waitUntil(lambda: panel.device_report.value != LOOKING)
        panels.append(panel)
        return viewer, panel

    yield opened
    for panel in panels:
        panel.cancel()
        qtbot.waitUntil(lambda panel=panel: not panel.running)


@pytest.fixture
def cells(
    open_panel: Callable[..., Any], pixels: NDArray[np.uint16]
) -> tuple[Viewer, DenoisePanel]:
    """A viewer with the small stack as the layer "cells", and its panel."""
    viewer, panel = open_panel((pixels, {"name": "cells"}))
    return viewer, panel


@pytest.fixture
def cells_viewer(
    make_napari_viewer: Callable[..., Viewer],
    device: Callable[[DeviceReport], None],
    pixels: NDArray[np.uint16],
) -> Viewer:
    """A viewer with the small stack as the layer "cells", no panel opened yet."""
    viewer = make_napari_viewer()
    viewer.add_image(pixels, name="cells")
    return viewer


@pytest.fixture
def notes() -> list[Notification]:
    """The notifications of this test."""
    notification_manager.records.clear()
    return notification_manager.records


@pytest.fixture
def finish(qtbot: QtBot) -> Callable[[DenoisePanel], None]:
    """Run a panel to the end of its job."""

    def run_to_end(panel: DenoisePanel) -> None:
        with qtbot.waitSignal(_ending(panel), timeout=60_000):
            panel.run()

    return run_to_end


def _ending(panel: DenoisePanel) -> SignalInstance:
    """Give pytest-qt a Qt signal that follows the panel's own signals."""
    from qtpy.QtCore import QObject, Signal

    class Bridge(QObject):
        ended = Signal()

    bridge = Bridge(panel.native)
    panel.finished.connect(lambda result: bridge.ended.emit())
    panel.failed.connect(lambda error: bridge.ended.emit())
    return bridge.ended
