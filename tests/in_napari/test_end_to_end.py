from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import pytest
from napari.utils.notifications import notification_manager

from napari_blindspot.errors import InputError
from napari_blindspot.sample import nuclei_phantom

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from napari import Viewer
    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

    from napari_blindspot._napari.panel import DenoisePanel


ROOT = Path(__file__).parents[2]
TINY = {"steps": 2, "uncertainty": True}


@pytest.fixture
def noisy() -> NDArray[np.uint16]:
    return nuclei_phantom((8, 64, 64)).noisy


def _finished(panel: DenoisePanel, qtbot: QtBot) -> list[Exception]:
    failures = []
    panel.failed.connect(failures.append)
    panel.run()
    qtbot.waitUntil(lambda: not panel.running, timeout=60_000)
    return failures


def test_panel_denoises_a_layer_with_the_real_core(
    open_panel: Callable[..., Any], noisy: NDArray[np.uint16], qtbot: QtBot
) -> None:
    keywords = {"name": "nuclei", "scale": (1, 0.3, 0.3), "units": ("um",) * 3}
    viewer, panel = open_panel((noisy, {**keywords, "axis_labels": ("z", "y", "x")}))
    panel.set_options(**TINY)
    assert not _finished(panel, qtbot)
    denoised = viewer.layers["nuclei denoised"]
    assert denoised.data.shape == noisy.shape
    assert denoised.data.dtype == np.float32
    assert np.std(np.diff(denoised.data)) < 0.8 * np.std(np.diff(noisy.astype(float)))
    assert viewer.layers["nuclei uncertainty"].data.min() >= 0
    facts = denoised.metadata["napari_blindspot"]
    assert facts["provenance"]["source"]["name"] == "nuclei"
    assert facts["noise"][0]["gain"] > 0
    assert "Noise: gain" in panel.verdict.value
    (check,) = facts["metrics"]["noise_check"]
    assert panel.noise_verdict.value.lower() == check["sentence"].lower()
    assert "Checking" not in panel.verdict.value


def test_panel_writes_a_file_and_shows_it_lazily(
    open_panel: Callable[..., Any],
    noisy: NDArray[np.uint16],
    qtbot: QtBot,
    tmp_path: Path,
) -> None:
    viewer, panel = open_panel((noisy, {"name": "nuclei"}))
    panel.set_options(steps=2, axes="ZYX")
    panel.form.output.output.value = tmp_path / "nuclei.ome.zarr"
    assert not _finished(panel, qtbot)
    denoised = viewer.layers["nuclei denoised"]
    assert isinstance(denoised.data, da.Array)
    assert (tmp_path / "nuclei.ome.zarr").is_dir()
    (opened,) = viewer.open(tmp_path / "nuclei.ome.zarr", plugin="napari-blindspot")
    np.testing.assert_array_equal(np.asarray(opened.data), np.asarray(denoised.data))


def test_a_run_that_was_cancelled_in_the_panel_is_gone_on_with_there(
    open_panel: Callable[..., Any],
    noisy: NDArray[np.uint16],
    qtbot: QtBot,
    tmp_path: Path,
) -> None:
    viewer, panel = open_panel((noisy, {"name": "nuclei"}))
    panel.set_options(steps=3000, axes="ZYX", threads=1)
    panel.form.output.output.value = tmp_path / "nuclei.ome.zarr"
    failures: list[Exception] = []
    panel.failed.connect(failures.append)
    panel.run()
    qtbot.waitUntil(lambda: panel.progress.value > 2, timeout=60_000)
    panel.cancel()
    qtbot.waitUntil(lambda: not panel.running, timeout=60_000)
    assert "--resume" in panel.stage.value
    assert [path.name for path in tmp_path.iterdir()] == ["nuclei.ome.zarr.partial"]
    panel.set_options(steps=2)
    (refused,) = _finished(panel, qtbot)[-1:]
    assert "go on with it by --resume" in str(refused)
    panel.set_options(resume=True)
    (other,) = _finished(panel, qtbot)[-1:]
    assert "other settings (steps=3000, now steps=2)" in str(other)
    panel.set_options(steps=3000)
    panel.run()
    qtbot.waitUntil(lambda: "Training" in panel.stage.value, timeout=60_000)
    panel.cancel()
    qtbot.waitUntil(lambda: not panel.running, timeout=60_000)
    panel.set_options(steps=2, resume=False, overwrite=True)
    assert not _finished(panel, qtbot)[-1:]
    assert (tmp_path / "nuclei.ome.zarr").is_dir()
    assert "nuclei denoised" in viewer.layers


def test_an_rgb_layer_is_refused_in_one_sentence(
    open_panel: Callable[..., Any], qtbot: QtBot
) -> None:
    _, panel = open_panel((np.zeros((32, 32, 3), np.uint8), {"rgb": True}))
    (error,) = _finished(panel, qtbot)
    assert isinstance(error, InputError)
    assert "rgb" in notification_manager.records[-1].message


def test_panel_shows_the_real_device(
    make_napari_viewer: Callable[..., Viewer], qtbot: QtBot
) -> None:
    viewer = make_napari_viewer()
    _, panel = viewer.window.add_plugin_dock_widget("napari-blindspot", "Denoise")
    qtbot.waitUntil(
        lambda: panel.device_report.value.startswith("Runs on"), timeout=30_000
    )


def _run(*command: str, **environment: str) -> str:
    return subprocess.run(
        [sys.executable, *command],
        check=True,
        timeout=120,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    ).stdout


@pytest.mark.parametrize(
    "module",
    [
        pytest.param(("-m", "napari"), id="napari"),
        pytest.param((), id="python", marks=pytest.mark.slow),
    ],
)
def test_window_example_runs(module: str) -> None:
    said = _run(*module, "examples/denoise_in_napari.py", BLINDSPOT_EXAMPLE="short")
    assert "layers: nuclei truth, nuclei noisy, uncertainty, denoised" in said


def test_headless_example_runs_without_qt_and_display() -> None:
    said = _run(
        "examples/headless_viewermodel.py", "--steps", "2", "--shape", "8", "64", "64",
        DISPLAY="",
    )  # fmt: skip
    assert "nuclei noisy denoised: (8, 64, 64) float32" in said
    assert "nuclei noisy uncertainty" in said


def test_array_example_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example = str(ROOT / "examples" / "denoise_array.py")
    arguments = ["--steps", "2", "--shape", "8", "64", "64"]
    monkeypatch.setattr(sys, "argv", [example, *arguments])
    runpy.run_path(example, run_name="__main__")
    assert "image (8, 64, 64), uncertainty (8, 64, 64)" in capsys.readouterr().out


@pytest.mark.slow
def test_pictures_of_the_panels_are_taken(tmp_path: Path) -> None:
    _run(
        "scripts/screenshot_panel.py", "--out", str(tmp_path / "panel.png"),
        "--steps", "2", "--shape", "8", "64", "64",
    )  # fmt: skip
    names = ("panel", "panel_region", "panel_noise", "panel_compare")
    for picture in (tmp_path / f"{name}.png" for name in names):
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size > 20_000
