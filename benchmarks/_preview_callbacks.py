"""How long the callbacks of napari's preview hold the GUI thread.

`measure_callbacks` drives a real viewer: it turns the z slider, the strength and the
view of a layer whose preview is switched on, and times every callback of the preview.
What napari takes itself to show the new pixels is timed apart. Needs a display.
"""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
from qtpy.QtWidgets import QApplication

from napari_blindspot._napari.preview import Preview

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_blindspot._napari.panel import DenoisePanel
    from napari_blindspot._napari.preview_answers import Models

REFRESH = "show_pixels"
CALLBACKS = ("update", "_on_moved", "_on_zoomed", "_on_told", "_draw", REFRESH)
_SETTLE_S = 0.4


def measure_callbacks(
    viewer: Any, layer: Any, models: Models, *, planes: int = 20
) -> dict[str, dict[str, float]]:
    """Turn every knob of a preview and time what it does in the GUI thread.

    Parameters
    ----------
    viewer
        A napari viewer with a window.
    layer
        An image layer of it, with planes along its first axis.
    models
        Answer the preview.
    planes
        How many planes are visited; as often the strength is turned and the view moved.

    Returns
    -------
    dict
        ``"callbacks"`` (the preview's own, without napari's refresh) and ``"refresh"``
        (napari's), each with ``count``, ``p50_ms``, ``p95_ms`` and ``most_ms``.
    """
    seconds: dict[str, list[float]] = defaultdict(list)
    with _timed(seconds):
        _, panel = viewer.window.add_plugin_dock_widget("napari-blindspot", "Denoise")
        panel.layer.value = layer
        panel.preview.use(models)
        panel.preview_box.value = True
        _wait(lambda: panel.preview.image is not None)
        seconds.clear()  # the first layer is not what turning a knob costs
        for _ in _turned(viewer, panel, planes):
            _pump(_SETTLE_S)
        viewer.window.remove_dock_widget(panel.native)
    refresh = seconds.pop(REFRESH)
    own = [one for values in seconds.values() for one in values]
    return {"callbacks": _summary(own), "refresh": _summary(refresh)}


def _turned(viewer: Any, panel: DenoisePanel, planes: int) -> Iterator[None]:
    camera = viewer.scene.camera
    rng = np.random.default_rng(0)
    for index in range(planes):
        viewer.dims.set_current_step(0, index % int(panel.layer.value.data.shape[0]))
        yield
        panel.form.tunable.strength.value = round(float(rng.random()), 2)
        yield
        camera.zoom *= 1.1 if index % 2 else 1 / 1.1
        yield


@contextmanager
def _timed(seconds: dict[str, list[float]]) -> Iterator[None]:
    """Put a clock into every callback; time in one that it calls is not its own."""
    inner = [0.0]

    def timed(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def clocked(*args: Any) -> Any:
            before, start = inner[0], time.perf_counter()
            try:
                return call(*args)
            finally:
                whole = time.perf_counter() - start
                seconds[name].append(whole - (inner[0] - before))
                inner[0] = before + whole

        return clocked

    with ExitStack() as stack:
        for name in CALLBACKS:
            clocked = timed(name, getattr(Preview, name))
            stack.enter_context(patch.object(Preview, name, clocked))
        yield


def _summary(seconds: list[float]) -> dict[str, float]:
    milliseconds = 1000 * np.array(seconds)
    return {
        "count": len(seconds),
        "p50_ms": float(np.percentile(milliseconds, 50)),
        "p95_ms": float(np.percentile(milliseconds, 95)),
        "most_ms": float(milliseconds.max()),
    }


def _wait(done: Callable[[], bool], timeout_s: float = 120.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > end_s:
            raise TimeoutError("the preview did not answer")
        _pump(0.01)


def _pump(seconds: float) -> None:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        QApplication.processEvents()
        time.sleep(0.002)
