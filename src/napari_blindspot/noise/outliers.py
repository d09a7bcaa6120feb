"""Voxels that hold an outlier: found beside their neighbours, and taken out.

An outlier is far from the median of the 3×3 around it, measured by how far voxels of
that median usually are. This needs no noise model, so that one can be fitted to what
remains: two per cent of outliers left among the voxels make the noise ten times too
large.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_FAR = 6.0  # standard deviations from the median of the surroundings
_BINS = 16
_PER_BIN = 500  # voxels, at least
_95 = 1.96


@dataclass(frozen=True, slots=True, eq=False)
class Outliers:
    """What was found in some planes.

    Parameters
    ----------
    planes
        The planes, with the median of their 3×3 in the place of outliers.
    share, error
        Share of the voxels that hold an outlier, those that happen to lie near their
        surroundings included, and half its 95 % interval.
    low, high
        Lowest and highest finite value.
    """

    planes: list[NDArray[Any]]
    share: float
    error: float
    low: float
    high: float


def take_out(planes: Sequence[NDArray[Any]]) -> Outliers | None:
    """Find the outliers of some planes (Y, X); None where all values are the same."""
    finite = [plane[np.isfinite(plane)] for plane in planes]
    values = [
        float(end) for one in finite if one.size for end in (one.min(), one.max())
    ]
    low, high = min(values, default=0.0), max(values, default=0.0)
    if high <= low:
        return None
    cleaned, found, seen = [], 0.0, 0.0
    for plane, kept in zip(planes, finite, strict=True):
        if not kept.size:
            cleaned.append(plane)
            continue
        known = np.isfinite(plane)
        y = np.where(known, plane, np.median(kept).astype(plane.dtype))
        middle = ndimage.median_filter(y, 3)
        away = np.abs(y.astype(np.float64) - middle)
        reach = _reach(away, middle)
        far = (away > reach) & known
        cleaned.append(np.where(far, middle, plane))
        found += float(far.sum())
        seen += float((1 - np.minimum(1.0, 2 * reach / (high - low)))[known].sum())
    share = min(found / max(seen, 1.0), 1.0)
    return Outliers(
        cleaned, share, _95 * max(found, 1.0) ** 0.5 / max(seen, 1.0), low, high
    )


def _reach(away: NDArray[np.float64], middle: NDArray[Any]) -> NDArray[np.float64]:
    """Return from which distance on a voxel is an outlier, given its surroundings."""
    reach = np.empty(away.size)
    order = np.argsort(middle, axis=None, kind="stable")
    bins = max(1, min(_BINS, order.size // _PER_BIN))
    for part in np.array_split(order, bins):
        half, most = np.quantile(away.ravel()[part], [0.5, 0.7])
        # Where hardly any photon is counted nothing can be told.
        spread = max(half / 0.6745, most / 1.0364) or float("inf")
        reach[part] = _FAR * spread
    return reach.reshape(away.shape)
