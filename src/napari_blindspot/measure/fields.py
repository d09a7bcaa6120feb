"""The noise of every series: what its channel has, its planes and its pixels.

In a stack as the camera recorded it the noise follows the signal, in dark planes and
in bright ones. It does not where planes were rescaled afterwards (correction of
bleaching or of depth), where the gain was turned up with depth, or in a set of images
that were not recorded alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_blindspot.measure.channels import SAMPLE_SIDE
from napari_blindspot.noise.field import NoiseField
from napari_blindspot.noise.levels import settle_levels
from napari_blindspot.noise.samples import plane_level
from napari_blindspot.planes import middle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindspot.measure.correction import Correction
    from napari_blindspot.noise.models import NoiseModel
    from napari_blindspot.normalize import Normalization
    from napari_blindspot.planes import PlaneSeries
    from napari_blindspot.progress import CancelToken


def noise_fields(
    series: Sequence[PlaneSeries],
    noise: Sequence[NoiseModel],
    scales: Sequence[Normalization],
    correction: Correction,
    cancel: CancelToken,
    *,
    per_plane: bool,
) -> tuple[NoiseField, ...]:
    """Return the noise of every series of one corrected stack, network units.

    Parameters
    ----------
    series
        Of the corrected stack.
    noise, scales
        Of each channel, data units.
    correction
        Knows which pixels have more read noise than others.
    cancel
        Asked before every plane that is measured.
    per_plane
        Whether the level is measured plane by plane.
    """
    made = []
    for one in series:
        scale, model = scales[one.channel], noise[one.channel]
        extra = None
        if correction.dark:
            extra = correction.dark[one.channel].extra / np.float32(scale.scale**2)
        levels = plane_levels(one, model, float("inf"), cancel) if per_plane else None
        made.append(NoiseField(model.normalized(scale), levels, extra))
    return tuple(made)


def plane_levels(
    series: PlaneSeries,
    noise: NoiseModel,
    saturation: float,
    cancel: CancelToken,
) -> NDArray[np.float64]:
    """Measure the noise of every plane against the model of the channel.

    Parameters
    ----------
    series
        Read once, at most the middle 512×512 pixels of every plane.
    noise
        Model of the channel, data units.
    saturation
        Values from here on are saturated.
    cancel
        Asked before every plane.

    Returns
    -------
    ndarray
        (planes,) factor of the variance: smooth along the series where neighbours
        share their level, each plane's own where they do not (`settle_levels`).
    """
    levels, errors = np.ones(series.shape[0]), np.ones(series.shape[0])
    y, x = (middle(length, SAMPLE_SIDE) for length in series.shape[1:])
    for plane in range(len(levels)):
        cancel.raise_if_cancelled()
        values = series.read(slice(plane, plane + 1), y, x)[0]
        levels[plane], errors[plane] = plane_level(values, noise, saturation)
    return settle_levels(levels, errors)
