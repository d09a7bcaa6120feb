"""Denoise a layer: the one job behind the panel and the commands. No Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_blindspot._napari.layers import (
    LayerData,
    check_memory,
    result_layers,
    source_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    from napari.layers import Image

    from napari_blindspot._napari.layers import Source
    from napari_blindspot.api import Result
    from napari_blindspot.config import DenoiseSettings
    from napari_blindspot.progress import CancelToken, Job
    from napari_blindspot.training.watching import Watch


@dataclass(frozen=True, slots=True)
class Denoised:
    """A result and the layers that show it.

    Parameters
    ----------
    result
        What the core returned.
    layers
        Layers to add in the GUI thread.
    """

    result: Result
    layers: list[LayerData]


def denoise_layer(
    layer: Image,
    settings: DenoiseSettings,
    out: Path | None = None,
    cancel: CancelToken | None = None,
    watch: Watch | None = None,
) -> Job[Denoised]:
    """Check that a layer can be denoised, and return the job that does it.

    Parameters
    ----------
    layer
        Image layer; only read. It may be gone when the job ends.
    settings
        Training budget and everything else.
    out
        File to write; without it the result is held in memory.
    cancel
        Stops the job.
    watch
        Is shown the network now and then while it trains.

    Returns
    -------
    Job of Denoised
        Not begun yet.

    Raises
    ------
    InputError
        If there is no output file and the result is too large for memory.
    """
    import psutil

    source = source_of(layer, settings.axes, settings.region)
    if out is None:
        check_memory(source, settings, psutil.virtual_memory().available)
    return _job(layer, source, settings, out, cancel, watch)


def _job(
    layer: Image,
    source: Source,
    settings: DenoiseSettings,
    out: Path | None,
    cancel: CancelToken | None,
    watch: Watch | None,
) -> Job[Denoised]:
    # Here, in the worker thread: the core brings torch, which takes a second to load.
    from napari_blindspot.api import denoise_job

    result = yield from denoise_job(layer, settings, out, cancel, watch)
    return Denoised(result, result_layers(result, source))
