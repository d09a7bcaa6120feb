"""Diagnose a layer: the one job behind the panel and the command. No Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_blindspot.config import DiagnoseSettings
    from napari_blindspot.progress import CancelToken, Job
    from napari_blindspot.reporting.findings import Diagnosis


def diagnose_layer(
    layer: Image, settings: DiagnoseSettings, cancel: CancelToken | None = None
) -> Job[Diagnosis]:
    """Return the job that says what the noise of an image layer is like.

    Parameters
    ----------
    layer
        Image layer; only read.
    settings
        How it is read, and what is known of the camera.
    cancel
        Stops the job.
    """
    # Here, in the worker thread: the core brings torch, which takes a second to load.
    from napari_blindspot.reporting.diagnosis import diagnose_job

    return (yield from diagnose_job(layer, settings, cancel))
