"""How much of a camera's gain pattern a stack shows, and around which grey value.

A pixel of relative gain r stores ``base + r·s`` where an even sensor would store
``base + s``. After a second difference along both axes (d) only fine detail is left,
and the pattern of r is nothing but that: ``d(y) ≈ k·(level − base)·d(r)`` with the
local mean ``level``, and k = 1 where the pattern is that of the camera.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_blindspot.noise.artefacts import saturation_level
from napari_blindspot.noise.samples import SHARED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_SECOND_DIFFERENCE = np.array([1.0, -2.0, 1.0]) / 6**0.5
_SMOOTHING = 3.0  # px, sigma of the level
_MARGIN = 2  # px at the border where kernels are cut


@dataclass(frozen=True, slots=True)
class GainSeen:
    """What a stack shows of a gain pattern.

    Parameters
    ----------
    base
        Grey value around which the gains differ: the offset of the camera.
    share
        How much of the pattern is there: 1 where it is the camera's, 0 where it is not.
    error
        Standard error of `share`; infinite where the stack cannot tell.
    """

    base: float
    share: float
    error: float


def gain_seen(
    planes: Sequence[NDArray[Any]],
    gain: NDArray[np.float32],
    offset: NDArray[np.float32] | None = None,
) -> GainSeen:
    """Look for a gain pattern in some planes.

    Parameters
    ----------
    planes
        (Y, X) as recorded, grey values; what is saturated or not finite is left out.
    gain
        (Y, X) gain of the same pixels over the mean gain.
    offset
        (Y, X) their offsets where these are known; else one offset for all is found.
    """
    top = saturation_level(np.concatenate([plane.ravel() for plane in planes]))
    ripple = _detail(gain.astype(np.float64))
    parts = [_part(plane, ripple, offset, top) for plane in planes]
    level, detail, ripples = (np.concatenate(part) for part in zip(*parts, strict=True))
    power = float(np.sum(ripples**2))
    known = None if offset is None else float(offset.mean(dtype=np.float64))
    if power == 0:
        return GainSeen(known or 0.0, 1.0, math.inf)
    if known is None:
        # All of the pattern is there: then this is the value that it turns about.
        base = float(np.sum(ripples * (level * ripples - detail))) / power
        columns = np.stack([(level - base) * ripples, ripples], axis=1)
    else:
        base = known
        columns = ((level - base) * ripples)[:, None]
    share, error = _slope(columns, detail)
    return GainSeen(base, share, error)


def _slope(
    columns: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the factor of the first column and its standard error."""
    inverse = np.linalg.pinv(columns.T @ columns)
    found = inverse @ (columns.T @ values)
    left = (values - columns @ found)[:, None] * columns
    covariance = inverse @ (left.T @ left) @ inverse
    error = float((SHARED * covariance[0, 0]) ** 0.5)
    return float(found[0]), error if error > 0 else math.inf


def _part(
    plane: NDArray[Any],
    ripple: NDArray[np.float64],
    offset: NDArray[np.float32] | None,
    saturation: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return level, detail and ripple of the usable pixels of one plane."""
    y = plane.astype(np.float64)
    bad = ~np.isfinite(y) | (y >= saturation)
    y[~np.isfinite(y)] = 0.0
    if offset is not None:
        y -= offset - offset.mean(dtype=np.float64)
    reach = int(4 * _SMOOTHING) | 1
    usable = ~ndimage.maximum_filter(bad, reach, mode="nearest")
    usable[:_MARGIN] = usable[-_MARGIN:] = False
    usable[:, :_MARGIN] = usable[:, -_MARGIN:] = False
    level = ndimage.gaussian_filter(y, _SMOOTHING, mode="nearest")
    return level[usable], _detail(y)[usable], ripple[usable]


def _detail(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return second differences along both axes."""
    rows = ndimage.correlate1d(y, _SECOND_DIFFERENCE, axis=0, mode="nearest")
    both: NDArray[np.float64] = ndimage.correlate1d(
        rows, _SECOND_DIFFERENCE, axis=1, mode="nearest"
    )
    return both
