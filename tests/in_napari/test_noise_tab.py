"""The tab "Noise" of the panel in a real viewer, on the real core."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
import pytest
from napari.utils.notifications import notification_manager
from scipy.ndimage import uniform_filter1d

import napari_blindspot as nb
from napari_blindspot._napari.noise_figures import noise_figures, notes_of
from napari_blindspot.errors import Cancelled, InputError
from napari_blindspot.noise.whiteness import ALARM, LAGS
from napari_blindspot.sample import nuclei_phantom

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

    from napari_blindspot._napari.noise_tab import NoiseTab
    from napari_blindspot._napari.panel import DenoisePanel
    from napari_blindspot.sample import Phantom

ZYX = {"axis_labels": ("z", "y", "x")}


@pytest.fixture(scope="module")
def camera() -> Phantom:
    """Nuclei (12, 96, 96) with camera noise that neighbours do not share."""
    return nuclei_phantom((12, 96, 96), seed=3)


@pytest.fixture(scope="module")
def smeared(camera: Phantom) -> NDArray[np.float32]:
    """The same truth with noise that three neighbours along x share."""
    noise = np.random.default_rng(5).normal(0, 4, camera.truth.shape)
    return (camera.truth + uniform_filter1d(noise, 3, axis=2)).astype(np.float32)


def outcome_of(tab: NoiseTab, qtbot: QtBot) -> Any:
    """Run the tab to its end; gives the diagnosis or the exception."""
    ended: list[Any] = []
    tab.finished.connect(ended.append)
    tab.failed.connect(ended.append)
    tab.run()
    qtbot.waitUntil(lambda: bool(ended) and not tab.running, timeout=20_000)
    return ended[0]


def named(plot: Any) -> dict[str, Any]:
    """The items of a plot that have a name."""
    items = [item for item in plot.getPlotItem().items if hasattr(item, "name")]
    return {item.name(): item for item in items if item.name()}


def test_tab_draws_and_says_what_the_python_door_finds(
    open_panel: Callable[..., Any], camera: Phantom, qtbot: QtBot
) -> None:
    _, panel = open_panel((camera.noisy, {"name": "nuclei", **ZYX}))
    tab = panel.noise_tab
    assert not tab.use_button.enabled
    found = outcome_of(tab, qtbot).channels[0]
    direct = nb.diagnose(camera.noisy, axes="ZYX").channels[0]
    assert found.as_dict() == direct.as_dict()
    assert tab.verdict.value == direct.verdict
    assert "white" in tab.verdict.value
    assert tab.stage.value == "Noise of nuclei"
    low, high = found.noise.a_interval
    gain = f"Gain: {found.noise.gain:.3g} grey values per electron"
    assert f"{gain} (95 % interval {low:.3g} to {high:.3g})" in tab.figures.value
    assert "Proposed blind spot (z y x): 1 1 1" in tab.figures.value
    assert found.noise.gain == pytest.approx(camera.gain, rel=0.1)


def test_mean_variance_plot_shows_points_line_and_band(
    open_panel: Callable[..., Any], camera: Phantom, qtbot: QtBot
) -> None:
    _, panel = open_panel((camera.noisy, ZYX))
    found = outcome_of(panel.noise_tab, qtbot).channels[0]
    plot = panel.noise_tab.mean_variance
    drawn = named(plot)
    x, y = drawn["points"].getData()
    assert x == pytest.approx(found.points.mean)
    assert y == pytest.approx(found.points.variance)
    x, line = drawn["line"].getData()
    assert line == pytest.approx(found.noise.variance(x))
    (band,) = (
        item
        for item in plot.getPlotItem().items
        if isinstance(item, pg.FillBetweenItem)
    )
    lower, upper = (curve.getData()[1] for curve in band.curves)
    width = found.noise.a_interval[1] - found.noise.a_interval[0]
    assert (lower < line).all()
    assert (upper > line).all()
    assert np.gradient(upper, x)[-1] - found.noise.gain < width


def test_correlation_plot_shows_bars_errors_and_the_alarm_line(
    open_panel: Callable[..., Any], smeared: NDArray[np.float32], qtbot: QtBot
) -> None:
    _, panel = open_panel((smeared, ZYX))
    found = outcome_of(panel.noise_tab, qtbot).channels[0].correlation
    plot = panel.noise_tab.correlation
    bars = named(plot)
    assert set(bars) == {"z", "y", "x"}
    for name, one in {"z": found.z, "y": found.y, "x": found.x}.items():
        assert bars[name].opts["height"] == pytest.approx(one.values[:LAGS])
    assert bars["x"].opts["height"][0] > 0.5
    items = plot.getPlotItem().items
    levels = {item.value() for item in items if isinstance(item, pg.InfiniteLine)}
    assert levels == {-ALARM, 0.0, ALARM}
    errors = [item for item in items if isinstance(item, pg.ErrorBarItem)]
    assert errors[2].opts["height"] / 4 == pytest.approx(found.x.errors[:LAGS])


def test_level_plot_is_shown_where_planes_were_rescaled(
    open_panel: Callable[..., Any], camera: Phantom, qtbot: QtBot
) -> None:
    fade = np.exp(-np.arange(12) / 8)[:, None, None]
    signal = (camera.truth - camera.offset) / camera.gain * fade
    rng = np.random.default_rng(6)
    noisy = rng.poisson(signal) + rng.normal(0, camera.read_noise, signal.shape)
    rescaled = camera.gain * noisy / fade + camera.offset
    _, panel = open_panel((camera.noisy, ZYX), (rescaled.astype(np.float32), ZYX))
    tab = panel.noise_tab
    found = outcome_of(tab, qtbot).channels[0].drift
    assert found.found
    assert not tab.levels.isHidden()
    x, y = named(tab.levels)["levels"].getData()
    assert x == pytest.approx(found.planes)
    assert y == pytest.approx(found.levels)
    assert "the planes were rescaled" in tab.notes.value
    lowest, highest = min(found.levels), max(found.levels)
    assert f"{lowest:.2g} to {highest:.2g} of the model" in tab.figures.value
    panel.layer.value = panel.layer.choices[0]
    assert not outcome_of(tab, qtbot).channels[0].drift.found
    assert tab.levels.isHidden()
    assert "Noise level from plane to plane: as the signal says" in tab.figures.value


def test_diagnosing_again_replaces_the_plots(
    open_panel: Callable[..., Any], camera: Phantom, qtbot: QtBot
) -> None:
    _, panel = open_panel((camera.noisy, ZYX))
    tab = panel.noise_tab
    plots = (tab.mean_variance, tab.correlation)
    outcome_of(tab, qtbot)
    once = [len(plot.getPlotItem().items) for plot in plots]
    outcome_of(tab, qtbot)
    assert [len(plot.getPlotItem().items) for plot in plots] == once


def test_proposed_blind_spot_goes_into_the_form_and_nothing_else(
    open_panel: Callable[..., Any], smeared: NDArray[np.float32], qtbot: QtBot
) -> None:
    _, panel = open_panel((smeared, ZYX))
    before = panel.settings()
    panel.show_noise()
    diagnosis = outcome_of(panel.noise_tab, qtbot)
    assert "row-correlated" in panel.noise_tab.verdict.value
    assert diagnosis.hole[:2] == (1, 1)
    assert diagnosis.hole[2] > 1
    panel.noise_tab.use_button.native.click()
    assert panel.settings() == before.model_copy(update={"hole": diagnosis.hole})
    assert panel.tabs.currentIndex() == 0
    assert not panel.form.tunable.native.isHidden()


def test_channels_are_chosen(
    open_panel: Callable[..., Any],
    camera: Phantom,
    smeared: NDArray[np.float32],
    qtbot: QtBot,
) -> None:
    both = np.stack([camera.noisy.astype(np.float32), smeared])
    _, panel = open_panel((both, {"axis_labels": ("c", "z", "y", "x")}))
    panel.show_noise()
    tab = panel.noise_tab
    diagnosis = outcome_of(tab, qtbot)
    assert not tab.channel_row.native.isHidden()
    assert list(tab.channel.choices) == [0, 1]
    for place, channel in enumerate(diagnosis.channels):
        tab.channel.value = place
        assert tab.verdict.value == channel.verdict
        x, _ = named(tab.mean_variance)["points"].getData()
        assert x == pytest.approx(channel.points.mean)
    sizes = " ".join(map(str, diagnosis.hole))
    assert f"Blind spot that suits every channel: {sizes}." in tab.notes.value


def test_a_diagnosis_can_be_cancelled(
    open_panel: Callable[..., Any], camera: Phantom, qtbot: QtBot
) -> None:
    many = np.stack([camera.noisy] * 4)
    _, panel = open_panel((many, {"axis_labels": ("c", "z", "y", "x")}))
    tab = panel.noise_tab
    ended: list[Any] = []
    tab.failed.connect(ended.append)
    tab.run()
    assert tab.running
    assert not tab.run_button.enabled
    qtbot.waitUntil(lambda: "noise of channel 0" in tab.stage.value, timeout=20_000)
    tab.cancel_button.native.click()
    qtbot.waitUntil(lambda: bool(ended), timeout=20_000)
    assert isinstance(ended[0], Cancelled)
    assert "cancelled" in tab.stage.value
    assert tab.run_button.enabled
    assert not tab.use_button.enabled


@pytest.mark.parametrize(
    ("stack", "keywords", "sentence"),
    [
        pytest.param(np.ones((4, 24, 32)), ZYX, "choose a larger region", id="small"),
        pytest.param(np.ones((8, 64, 64)), ZYX, "constant", id="constant"),
        pytest.param(np.zeros((99, 99, 3), np.uint8), {"rgb": True}, "rgb", id="rgb"),
    ],
)
def test_a_layer_that_cannot_be_diagnosed_is_told(
    open_panel: Callable[..., Any],
    qtbot: QtBot,
    stack: NDArray[Any],
    keywords: dict[str, Any],
    sentence: str,
) -> None:
    _, panel = open_panel((stack, keywords))
    tab = panel.noise_tab
    error = outcome_of(tab, qtbot)
    assert isinstance(error, InputError)
    assert sentence in str(error)
    assert notification_manager.records[-1].message == str(error)
    assert tab.run_button.enabled
    assert tab.findings.native.isHidden()


def test_without_a_layer_the_button_is_off_and_the_tab_says_why(
    open_panel: Callable[..., Any],
) -> None:
    viewer, panel = open_panel()
    assert not panel.noise_tab.run_button.enabled
    panel.noise_tab.run()
    assert "open an image" in notification_manager.records[-1].message
    viewer.add_image(np.ones((4, 24, 32)))
    assert panel.noise_tab.run_button.enabled


def test_axes_named_in_the_form_count_here_too(
    open_panel: Callable[..., Any], camera: Phantom, qtbot: QtBot
) -> None:
    _, panel = open_panel((camera.noisy, {}))
    panel.set_options(axes="TYX")
    diagnosis = outcome_of(panel.noise_tab, qtbot)
    assert (diagnosis.axes, diagnosis.context) == ("TYX", "t")
    assert set(named(panel.noise_tab.correlation)) == {"t", "y", "x"}
    assert "Proposed blind spot (t y x)" in panel.noise_tab.figures.value


def test_report_is_written_and_no_file_is_lost(
    open_panel: Callable[..., Any], camera: Phantom, qtbot: QtBot, tmp_path: Path
) -> None:
    _, panel = open_panel((camera.noisy, {"name": "nuclei", **ZYX}))
    page = tmp_path / "noise.html"
    panel.noise_tab.save_report(page)
    assert not page.exists()
    outcome_of(panel.noise_tab, qtbot)
    panel.noise_tab.save_report(page)
    assert "Noise of nuclei" in page.read_text(encoding="utf-8")
    page.write_text("mine", encoding="utf-8")
    panel.noise_tab.save_report(page)
    assert page.read_text(encoding="utf-8") == "mine"
    assert "exists already" in notification_manager.records[-1].message
    panel.noise_tab.save_report(page, overwrite=True)
    assert "<svg" in page.read_text(encoding="utf-8")


def test_save_button_asks_where(
    open_panel: Callable[..., Any],
    camera: Phantom,
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def answer(parent: Any, title: str, proposed: str, kinds: str) -> tuple[str, str]:
        asked.append(proposed)
        return str(tmp_path / proposed), kinds

    monkeypatch.setattr(
        "napari_blindspot._napari.noise_tab.QFileDialog.getSaveFileName", answer
    )
    _, panel = open_panel((camera.noisy, {"name": "nuclei", **ZYX}))
    outcome_of(panel.noise_tab, qtbot)
    panel.noise_tab.report_button.native.click()
    assert asked == ["nuclei noise.html"]
    assert (tmp_path / asked[0]).is_file()


def test_closing_the_panel_cancels_the_diagnosis(
    open_panel: Callable[..., Any], camera: Phantom, qtbot: QtBot
) -> None:
    viewer, panel = open_panel((camera.noisy, ZYX))
    tab = panel.noise_tab
    tab.run()
    token = tab._worker.token
    viewer.window.remove_dock_widget(panel.native)
    assert token.cancelled
    qtbot.waitUntil(lambda: not tab.running, timeout=20_000)


def test_figures_that_are_not_known_are_called_so(camera: Phantom) -> None:
    low = np.minimum(camera.noisy, 105)[:, :40, :40]
    diagnosis = nb.diagnose(low, axes="ZYX")
    (channel,) = diagnosis.channels
    figures = noise_figures(channel)
    assert figures["Column pattern"] == "unknown, planes too small"
    assert figures["Hot pixels"] == "unknown, too few planes"
    share = channel.recording.saturated_share
    assert figures["Saturated voxels"] == f"{share:.2%}"
    assert len(notes_of(diagnosis, channel).splitlines()) == len(channel.warnings)
    assert channel.warnings


def test_panel_opens_on_the_selected_layer(
    open_panel: Callable[..., Any], camera: Phantom
) -> None:
    panel: DenoisePanel
    _, panel = open_panel((camera.truth, {}), (camera.noisy, {"name": "selected"}))
    assert panel.layer.value.name == "selected"
