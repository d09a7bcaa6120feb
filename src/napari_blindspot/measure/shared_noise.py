"""Do neighbours share their noise? The correlation of every channel of a stack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.measure.channels import sample_planes
from napari_blindspot.noise.correlation import noise_correlation
from napari_blindspot.noise.recording import inspect_recording
from napari_blindspot.planes import middle, plane_series, resolve_context_axis

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.measure.channels import Channel
    from napari_blindspot.noise.models import NoiseModel
    from napari_blindspot.noise.recording import Recording
    from napari_blindspot.noise.whiteness import Correlation
    from napari_blindspot.planes import PlaneSeries
    from napari_blindspot.stack import Stack

_SLABS, _SLAB_PLANES, _SLAB_SIDE = 3, 12, 384


def shared_noise(
    stack: Stack, index: int, channel: Channel, recording: Recording | None = None
) -> Correlation:
    """Measure the correlation of the noise of one channel along z, y and x.

    Parameters
    ----------
    stack
        Read in a few runs of planes.
    index, channel
        Which channel, and what was measured of it.
    recording
        What `inspect_recording` said of it; default: it is looked at now.

    Raises
    ------
    InputError
        If the planes are too small.
    """
    if recording is None:
        planes = sample_planes([stack], index)
        recording = inspect_recording(planes, channel.points, channel.saturation)
    return noise_correlation(
        slabs_of(stack, index),
        channel.noise,
        saturation=channel.saturation,
        grey_step=_rounding(channel.noise, recording),
    )


def series_of(stack: Stack, channel: int) -> list[PlaneSeries]:
    """Return the runs of planes of one channel along the context axis."""
    context = resolve_context_axis(stack, "auto")
    return [one for one in plane_series(stack, context) if one.channel == channel]


def slabs_of(stack: Stack, channel: int) -> list[NDArray[Any]]:
    """Read runs of consecutive planes (planes, Y, X), spread over a stack."""
    series = series_of(stack, channel)
    planes, rows, columns = series[0].shape
    length = min(planes, _SLAB_PLANES)
    places = [(one, start) for one in series for start in range(planes - length + 1)]
    chosen = np.linspace(0, len(places) - 1, min(len(places), _SLABS)).round()
    y, x = middle(rows, _SLAB_SIDE), middle(columns, _SLAB_SIDE)
    return [
        one.read(slice(start, start + length), y, x)
        for one, start in (places[int(i)] for i in chosen)
    ]


def _rounding(noise: NoiseModel, recording: Recording) -> float:
    """Return the step of the rounding that adds noise, 0 if it does not matter.

    A detector that stores about a grey value or more per photon gives whole numbers
    by counting, not by rounding.
    """
    gain = noise.as_dict().get("gain") or 0.0
    return 0.0 if gain > recording.rounding / 2 else recording.rounding
