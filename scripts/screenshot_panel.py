"""Take a picture of the panel after a short run on a stack or the generated sample.

Needs a display; without one: ``xvfb-run -a python scripts/screenshot_panel.py``.
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

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> int:
    """Run the panel in a real viewer and save what the window shows."""
    arguments = _arguments()
    viewer = napari.Viewer(show_welcome_screen=False)
    viewer.window.resize(*arguments.window)
    layer = _open(viewer, arguments)
    _, panel = viewer.window.add_plugin_dock_widget("napari-blindspot", "Denoise")
    panel.layer.value = layer
    panel.set_options(steps=arguments.steps, uncertainty=True)
    failures: list[Exception] = []
    panel.failed.connect(failures.append)
    panel.run()
    _wait(lambda: not panel.running, arguments.timeout)
    if failures:
        print(f"The run failed: {failures[0]}", file=sys.stderr)
        return 1
    _wait(lambda: panel.device_report.value != LOOKING, arguments.timeout)
    _arrange(viewer, layer)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    viewer.screenshot(str(arguments.out), canvas_only=False, flash=False)
    viewer.close()
    print(arguments.out)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures/panel.png"))
    parser.add_argument("--stack", help="OME-TIFF or OME-Zarr [the sample]")
    parser.add_argument("--channel", type=int, default=0, help="of the stack")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--shape", type=int, nargs=3, default=(16, 192, 192))
    parser.add_argument("--window", type=int, nargs=2, default=(1500, 900))
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds")
    return parser.parse_args()


def _open(viewer: Any, arguments: argparse.Namespace) -> Any:
    """Open the stack and return the layer to denoise."""
    if arguments.stack:
        layers = viewer.open(arguments.stack, plugin="napari-blindspot")
        return layers[arguments.channel]
    viewer.open_sample("napari-blindspot", "nuclei", shape=tuple(arguments.shape))
    return viewer.layers["nuclei noisy"]


def _arrange(viewer: Any, layer: Any) -> None:
    """Show noisy and denoised side by side."""
    for name in [one.name for one in viewer.layers]:
        if name not in (layer.name, f"{layer.name} denoised"):
            viewer.layers.remove(name)
    # napari makes the first of several channels magenta.
    for one in viewer.layers:
        one.colormap, one.contrast_limits = "gray", layer.contrast_limits
    viewer.canvas.grid.enabled = True
    viewer.canvas.grid.stride = 1
    viewer.canvas.overlays.scale_bar.visible = True
    viewer.fit_to_view()
    _wait(lambda: False, 1.0)


def _wait(done: Callable[[], bool], timeout_s: float) -> None:
    """Let Qt work until `done` says so, or the time is over."""
    end_s = time.monotonic() + timeout_s
    while not done() and time.monotonic() < end_s:
        QApplication.processEvents()
        time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main())
