"""Take pictures of the panels after a short run on a stack or the generated sample.

The tab Denoise goes to the file given by ``--out``, the preview before any training and
after it, a region, the tab Noise and the panel Compare beside it (``panel_start.png``,
``panel_preview.png``, ``panel_region.png``, ``panel_noise.png``,
``panel_compare.png``). Needs a display;
without one:
``xvfb-run -a -s "-screen 0 1600x1200x24" python scripts/screenshot_panel.py``.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari
from qtpy.QtWidgets import QApplication

from napari_blindspot._napari.panel import LOOKING
from napari_blindspot._napari.preview_start import BY_FILTER, BY_START

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_blindspot._napari.job_panel import JobPanel

PLUGIN = "napari-blindspot"


def main() -> int:
    """Run the panels in a real viewer and save what the window shows."""
    arguments = _arguments()
    viewer = napari.Viewer(show_welcome_screen=False)
    viewer.window.resize(*arguments.window)
    try:
        _take_pictures(viewer, arguments)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        viewer.close()
    return 0


def _take_pictures(viewer: Any, arguments: argparse.Namespace) -> None:
    noisy, truth = _open(viewer, arguments)
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, "Denoise")
    panel.layer.value = noisy
    _start(viewer, panel, arguments)
    panel.set_options(steps=arguments.steps, uncertainty=True)
    _run(panel, arguments.timeout)
    _wait(lambda: panel.device_report.value != LOOKING, arguments.timeout)
    denoised = viewer.layers[f"{noisy.name} denoised"]
    _side_by_side(viewer, [noisy, denoised])
    panel.layer.value = noisy
    _save(viewer, arguments.out)
    _preview(viewer, panel, arguments)
    _region(viewer, panel, arguments)
    panel.show_noise()
    _run(panel.noise_tab, arguments.timeout)
    _save(viewer, _beside(arguments.out, "noise"))
    viewer.window.remove_dock_widget(panel.native)
    _side_by_side(viewer, [noisy, denoised] + ([] if truth is None else [truth]))
    _, compare = viewer.window.add_plugin_dock_widget(PLUGIN, "Compare")
    compare.result.value = denoised
    compare.reference.value = noisy if truth is None else truth
    _run(compare, arguments.timeout)
    _save(viewer, _beside(arguments.out, "compare"))


def _start(viewer: Any, panel: Any, arguments: argparse.Namespace) -> None:
    """Show what the start weights say, next to the noisy plane."""
    noisy = panel.layer.value
    others = [layer for layer in viewer.layers if layer is not noisy]
    for layer in others:
        layer.visible = False
    viewer.canvas.grid.enabled, viewer.canvas.grid.stride = True, 1
    panel.preview_box.value = True
    teacher = (BY_START["teacher"], BY_FILTER)
    _wait(lambda: panel.preview_note.value in teacher, arguments.timeout)
    for layer in others:
        viewer.layers.remove(layer)
    _save(viewer, _beside(arguments.out, "start"))
    panel.preview_box.value = False
    for layer in others:
        viewer.layers.append(layer)


def _preview(viewer: Any, panel: Any, arguments: argparse.Namespace) -> None:
    """Show the preview next to the noisy plane, then put everything back."""
    denoised = viewer.layers[f"{panel.layer.value.name} denoised"]
    viewer.layers.remove(denoised)
    panel.form.tunable_fold.unfold()
    panel.preview_box.value = True
    _wait(lambda: "trained" in panel.preview_note.value, arguments.timeout)
    _save(viewer, _beside(arguments.out, "preview"))
    panel.preview_box.value = False
    panel.form.tunable_fold.unfold(False)
    viewer.layers.append(denoised)


def _region(viewer: Any, panel: Any, arguments: argparse.Namespace) -> None:
    """Show what is denoised inside a drawn rectangle, then put everything back."""
    noisy, before = panel.layer.value, list(viewer.layers)
    for layer in before:
        layer.visible = layer is noisy
    viewer.canvas.grid.enabled = False
    height, width = noisy.data.shape[-2:]
    corners = [(height // 4, width // 4), (height * 3 // 4, width * 3 // 4)]
    drawn = viewer.add_shapes(
        [corners],
        name="rectangle",
        shape_type="rectangle",
        scale=noisy.scale[-2:],
        translate=noisy.translate[-2:],
        units=noisy.units[-2:],
        edge_color="yellow",
        edge_width=0.5,
        face_color="transparent",
    )
    panel.layer.value = noisy
    panel.region.value = panel.region.choices[-1]
    panel.set_options(uncertainty=False)
    _run(panel, arguments.timeout)
    viewer.layers.move(viewer.layers.index(drawn), len(viewer.layers))
    _save(viewer, _beside(arguments.out, "region"))
    for layer in [one for one in viewer.layers if one not in before]:
        viewer.layers.remove(layer)
    for layer in before:
        layer.visible = True
    viewer.canvas.grid.enabled = True


def _run(panel: JobPanel, timeout_s: float) -> None:
    failures: list[Exception] = []
    panel.failed.connect(failures.append)
    panel.run()
    _wait(lambda: not panel.running, timeout_s)
    if failures:
        raise RuntimeError(f"The run failed: {failures[0]}")


def _save(viewer: Any, path: Path) -> None:
    _wait(lambda: False, 0.5)  # until everything is laid out
    viewer.fit_to_view()
    _wait(lambda: False, 0.5)
    path.parent.mkdir(parents=True, exist_ok=True)
    viewer.screenshot(str(path), canvas_only=False, flash=False)
    print(path)


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f"{path.stem}_{what}{path.suffix}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures/panel.png"))
    parser.add_argument("--stack", help="OME-TIFF or OME-Zarr [the sample]")
    parser.add_argument("--channel", type=int, default=0, help="of the stack")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--shape", type=int, nargs=3, default=(24, 192, 192))
    parser.add_argument("--window", type=int, nargs=2, default=(1500, 900))
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds")
    return parser.parse_args()


def _open(viewer: Any, arguments: argparse.Namespace) -> tuple[Any, Any]:
    """Open the stack; return the layer to denoise and the truth, None if unknown."""
    if arguments.stack:
        layers = viewer.open(arguments.stack, plugin=PLUGIN)
        return layers[arguments.channel], None
    viewer.open_sample(PLUGIN, "nuclei", shape=tuple(arguments.shape))
    return viewer.layers["nuclei noisy"], viewer.layers["nuclei truth"]


def _side_by_side(viewer: Any, layers: list[Any]) -> None:
    """Show these layers alone, next to one another."""
    for one in list(viewer.layers):
        viewer.layers.remove(one)
    limits = layers[0].contrast_limits
    for one in layers:
        viewer.layers.append(one)
        # napari makes the first of several channels magenta.
        one.visible, one.colormap, one.contrast_limits = True, "gray", limits
    viewer.canvas.grid.enabled = True
    viewer.canvas.grid.stride = 1
    viewer.canvas.grid.shape = (1, len(layers))
    viewer.canvas.overlays.scale_bar.visible = True


def _wait(done: Callable[[], bool], timeout_s: float) -> None:
    """Let Qt work until `done` says so, or the time is over."""
    end_s = time.monotonic() + timeout_s
    while not done() and time.monotonic() < end_s:
        QApplication.processEvents()
        time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main())
