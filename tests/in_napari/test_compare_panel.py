"""The panel "Compare" in a real viewer, on the real core."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QApplication

import napari_blindspot as nb
from napari_blindspot._napari.curve_plot import CurvePlot
from napari_blindspot._napari.figures import channel_figures, table_text
from napari_blindspot._napari.layers import METADATA_KEY
from napari_blindspot.errors import Cancelled, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari import Viewer
    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

    from napari_blindspot._napari.compare_panel import ComparePanel
    from napari_blindspot.sample import Phantom

SIZE = {"scale": (1.0, 0.3, 0.3), "units": "um", "axis_labels": ("z", "y", "x")}


@pytest.fixture
def open_compare(
    make_napari_viewer_proxy: Callable[..., Viewer], qtbot: QtBot
) -> Iterator[Callable[..., tuple[Viewer, ComparePanel]]]:
    """Open the panel from the manifest beside layers given as name=pixels."""
    panels = []

    def opened(
        metadata: dict[str, Any] | None = None, **layers: NDArray[Any]
    ) -> tuple[Viewer, ComparePanel]:
        viewer = make_napari_viewer_proxy()
        for name, pixels in layers.items():
            size = SIZE if pixels.ndim == 3 else {}
            viewer.add_image(pixels, name=name, **size)
        if metadata:
            viewer.layers[-1].metadata.update(metadata)
        _, panel = viewer.window.add_plugin_dock_widget("napari-blindspot", "Compare")
        panels.append(panel)
        return viewer, panel

    yield opened
    for panel in panels:
        panel.cancel()
        qtbot.waitUntil(lambda panel=panel: not panel.running)


def outcome_of(panel: ComparePanel, qtbot: QtBot) -> Any:
    """Run the panel to its end; gives the comparison or the exception."""
    ended: list[Any] = []
    panel.finished.connect(ended.append)
    panel.failed.connect(ended.append)
    panel.run()
    qtbot.waitUntil(lambda: bool(ended) and not panel.running, timeout=20_000)
    return ended[0]


def shown(panel: ComparePanel) -> dict[str, str]:
    """The table as the user reads it."""
    rows = range(panel.table.rowCount())
    return {
        panel.table.verticalHeaderItem(row).text(): panel.table.item(row, 0).text()
        for row in rows
    }


def test_two_layers_give_the_figures_of_the_python_door(
    open_compare: Callable[..., Any], phantom: Phantom, qtbot: QtBot
) -> None:
    _, panel = open_compare(truth=phantom.truth, noisy=phantom.noisy)
    assert (panel.result.value.name, panel.reference.value.name) == ("noisy", "truth")
    found = outcome_of(panel, qtbot)
    direct = nb.compare(
        phantom.noisy, phantom.truth, axes="ZYX", voxel_size=(1.0, 0.3, 0.3)
    )
    assert found.channels == direct.channels
    assert shown(panel) == channel_figures(direct.channels[0])
    assert shown(panel)["PSNR"] == f"{direct.psnr:.2f} dB"
    assert panel.stage.value == "noisy against truth"
    panel.copy()
    assert QApplication.clipboard().text() == table_text(direct)


def test_the_curves_are_drawn_over_frequency(
    open_compare: Callable[..., Any], phantom: Phantom, qtbot: QtBot
) -> None:
    _, panel = open_compare(truth=phantom.truth, noisy=phantom.noisy)
    channel = outcome_of(panel, qtbot).channels[0]
    drawn = {item.name(): item for item in panel.plot.getPlotItem().listDataItems()}
    x, y = drawn["planes"].getData()
    assert x == pytest.approx(channel.ring.frequency)
    assert y == pytest.approx(channel.ring.correlation)
    assert "volume" in drawn
    assert "1/µm" in panel.plot.getAxis("bottom").labelText


def test_drawing_again_replaces_the_curves(phantom: Phantom, qtbot: QtBot) -> None:
    found = nb.compare(phantom.noisy, phantom.truth, axes="ZYX")
    plot = CurvePlot()
    qtbot.addWidget(plot)
    plot.show_channels(found.channels)
    once = len(plot.getPlotItem().items)
    plot.show_channels(found.channels)
    assert len(plot.getPlotItem().items) == once


def test_a_result_beside_its_input_is_binned_by_the_result(
    open_compare: Callable[..., Any], phantom: Phantom
) -> None:
    viewer, panel = open_compare(
        metadata={METADATA_KEY: {"source": "noisy"}},
        noisy=phantom.noisy,
        truth=phantom.truth,
        denoised=phantom.truth,
    )
    panel.result.value = viewer.layers["denoised"]
    panel.reference.value = viewer.layers["noisy"]
    assert panel.settings().bin_by == "result"
    panel.reference.value = viewer.layers["truth"]
    assert panel.settings().bin_by == "reference"


def test_numbers_that_were_typed_reach_the_settings(
    open_compare: Callable[..., Any], phantom: Phantom, qtbot: QtBot
) -> None:
    _, panel = open_compare(truth=phantom.truth, noisy=phantom.noisy)
    panel.data_range.value, panel.offset.value = "500", "100"
    found = outcome_of(panel, qtbot)
    assert found.channels[0].errors.data_range == 500.0
    assert found.channels[0].intensity.offset == 100.0
    assert "Farthest ratio of bins above the offset" in shown(panel)


def test_a_number_that_is_none_is_named(
    open_compare: Callable[..., Any], phantom: Phantom, qtbot: QtBot
) -> None:
    _, panel = open_compare(truth=phantom.truth, noisy=phantom.noisy)
    panel.data_range.value = "wide"
    assert isinstance(outcome_of(panel, qtbot), InputError)
    assert "data_range='wide'" in notification_manager.records[-1].message


def test_layers_that_do_not_fit_are_told(
    open_compare: Callable[..., Any], phantom: Phantom, qtbot: QtBot
) -> None:
    _, panel = open_compare(truth=phantom.truth, flat=phantom.noisy[0])
    error = outcome_of(panel, qtbot)
    assert isinstance(error, InputError)
    assert notification_manager.records[-1].message == str(error)
    assert panel.run_button.enabled
    assert panel.table.rowCount() == 0


def test_without_layers_the_panel_says_what_to_do(
    open_compare: Callable[..., Any], qtbot: QtBot
) -> None:
    _, panel = open_compare()
    assert "choose one" in str(outcome_of(panel, qtbot))


def test_a_comparison_can_be_cancelled(
    open_compare: Callable[..., Any], qtbot: QtBot
) -> None:
    many = np.random.default_rng(0).normal(size=(60, 512, 512)).astype(np.float32)
    _, panel = open_compare(truth=many, noisy=many)
    ended: list[Any] = []
    panel.failed.connect(ended.append)
    panel.run()
    assert panel.running
    assert not panel.choices.enabled
    panel.cancel()
    qtbot.waitUntil(lambda: bool(ended), timeout=20_000)
    assert isinstance(ended[0], Cancelled)
    assert "cancelled" in panel.stage.value
    qtbot.waitUntil(lambda: panel.run_button.enabled)


def test_channels_become_columns(
    open_compare: Callable[..., Any], phantom: Phantom, qtbot: QtBot
) -> None:
    viewer, panel = open_compare()
    both = np.stack([phantom.noisy, 2 * phantom.noisy])
    labels = ("c", "z", "y", "x")
    for name in ("one", "two"):
        viewer.add_image(both, name=name, axis_labels=labels)
    panel.result.value, panel.reference.value = viewer.layers
    outcome_of(panel, qtbot)
    assert panel.table.columnCount() == 2
    assert shown(panel)["PSNR"] == "infinite (equal)"
