"""Noise whose level changes from plane to plane though the signal does not.

The noise of a camera follows the signal, in dark planes and in bright ones. Where the
planes were rescaled after recording (correction of bleaching or of depth) it no longer
does: the level, noise variance over that of the model, then drifts along the series.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.noise.samples import plane_level
from napari_blindspot.planes import middle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindspot.noise.models import NoiseModel
    from napari_blindspot.planes import PlaneSeries
    from napari_blindspot.progress import CancelToken

MOST_PLANES = 64
"""Planes that are read at most, spread evenly over the series."""

_SIDE = 256  # px of the middle of every plane
_LEAST_PLANES = 8
_WORTH_IT = 0.1  # change of the level, or of its logarithm
_SURE = 4.0  # standard errors
_OUTLIER = 4.0  # robust standard deviations
_MODEL_ERROR = 0.05  # of the level, per standard deviation of the planes' means
_LEAST_ERROR = 0.005
_MOSTLY = 0.7  # of the whole change: then it lies between the ends


@dataclass(frozen=True, slots=True)
class Drift:
    """The level of the noise along one series of planes.

    Parameters
    ----------
    planes
        Indices of the planes that were looked at and tell a level.
    levels, errors
        Noise variance of each over that of the model, and standard errors.
    means
        Mean of each, grey values.
    found
        Whether the level changes beyond its errors and beyond what the signal explains.
    first, last
        Planes between which it changes most.
    change
        Relative change of the measured level from `first` to `last`.
    """

    planes: tuple[int, ...]
    levels: tuple[float, ...]
    errors: tuple[float, ...]
    means: tuple[float, ...]
    found: bool = False
    first: int = 0
    last: int = 0
    change: float = 0.0

    @property
    def sentence(self) -> str:
        """What was found and what to do, empty where nothing was."""
        if not self.found:
            return ""
        whole = (self.first, self.last) == (self.planes[0], self.planes[-1])
        where = (
            "from the first to the last plane"
            if whole
            else f"from plane {self.first} to plane {self.last}"
        )
        return (
            f"the noise level {self._how} {where} although the "
            f"signal does not explain it: the planes were rescaled; use "
            f"noise_per_plane (--noise-per-plane)."
        )

    @property
    def _how(self) -> str:
        if self.change > 1:
            return f"grows {1 + self.change:.2g}-fold"
        return f"{'grows' if self.change > 0 else 'falls'} by {abs(self.change):.0%}"

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able facts."""
        return {
            "found": self.found,
            "change": self.change,
            "planes": list(self.planes),
            "levels": list(self.levels),
            "errors": list(self.errors),
            "means": list(self.means),
        }


def measure_drift(
    series: PlaneSeries, noise: NoiseModel, saturation: float, cancel: CancelToken
) -> Drift:
    """Measure the level of the noise along a series.

    Parameters
    ----------
    series
        At most 64 of its planes are read, and of these the middle 256 × 256 pixels.
    noise
        Model of the channel, data units.
    saturation
        Values from here on are saturated.
    cancel
        Asked before every plane.
    """
    count = series.shape[0]
    y, x = (middle(length, _SIDE) for length in series.shape[1:])
    rows = []
    for place in np.linspace(0, count - 1, min(count, MOST_PLANES)).round().astype(int):
        cancel.raise_if_cancelled()
        plane = series.read(slice(int(place), int(place) + 1), y, x)[0]
        level, error = plane_level(plane, noise, saturation)
        if math.isfinite(error) and level > 0:
            mean = float(np.mean(plane[np.isfinite(plane)], dtype=np.float64))
            error = level * max(error, _LEAST_ERROR)
            rows.append((int(place), level, error, mean))
    if not rows:
        return Drift((), (), (), ())
    planes, levels, errors, means = zip(*rows, strict=True)
    if len(rows) < _LEAST_PLANES:
        return Drift(planes, levels, errors, means)
    columns = (np.array(one, float) for one in (planes, levels, errors, means))
    first, last, rise, found = _trend(*columns)
    change = _about(levels, last) / _about(levels, first) - 1
    # The trend may swing where the levels do not: they must show the same change.
    found = found and math.log1p(change) * rise > 0 and abs(change) > _WORTH_IT
    return Drift(
        planes, levels, errors, means, found, planes[first], planes[last], change
    )


def _about(levels: Sequence[float], place: int) -> float:
    """Return the level about a place, which one damaged plane does not move."""
    start = min(max(place - 1, 0), len(levels) - 3)
    return float(np.median(levels[start : start + 3]))


def _trend(
    planes: NDArray[np.float64],
    levels: NDArray[np.float64],
    errors: NDArray[np.float64],
    means: NDArray[np.float64],
) -> tuple[int, int, float, bool]:
    """Fit a smooth trend to the logarithm of the levels.

    A parabola over the planes, and beside it a part that goes with the planes' means:
    a model that fits the signal a little wrongly gives that, but never much of it.

    Returns
    -------
    first, last
        Places in `planes` between which the trend changes most.
    rise, found
        Its change there, and whether that is beyond its error and enough to matter.
    """
    span = planes[-1] - planes[0]
    t = 2 * (planes - planes[0]) / span - 1
    signal = (means - means.mean()) / (means.std() or 1.0)
    design = np.stack([np.ones_like(t), t, t**2, signal], axis=1)
    values, errors = np.log(levels), errors / levels
    kept = np.ones(len(t), bool)
    for _ in range(3):  # planes that were damaged are left out
        factors, covariance, left = _fit(design, values, errors, kept)
        scatter = 1.4826 * float(np.median(np.abs(left[kept])))
        kept = np.abs(left) <= _OUTLIER * np.maximum(scatter, errors)
    trend = design[:, 1:3] @ factors[1:3]
    low, high = sorted((int(np.argmin(trend)), int(np.argmax(trend))))
    if abs(trend[-1] - trend[0]) >= _MOSTLY * abs(trend[high] - trend[low]):
        low, high = 0, len(t) - 1
    step = design[high, 1:3] - design[low, 1:3]
    error = float(np.sqrt(step @ covariance[1:3, 1:3] @ step))
    rise = float(trend[high] - trend[low])
    return low, high, rise, abs(rise) > max(_WORTH_IT, _SURE * error)


def _fit(
    design: NDArray[np.float64],
    values: NDArray[np.float64],
    errors: NDArray[np.float64],
    kept: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return coefficients, their covariance, and what is left of every value."""
    # What the signal may explain is held small by one more observation: 0 ± 0.05.
    rows = np.vstack([design[kept] / errors[kept, None], [0, 0, 0, 1 / _MODEL_ERROR]])
    target = np.append(values[kept] / errors[kept], 0.0)
    inverse = np.linalg.pinv(rows.T @ rows)
    found = inverse @ (rows.T @ target)
    left = values - design @ found
    freedom = max(1, int(kept.sum()) - design.shape[1])
    more = float(np.sum((left[kept] / errors[kept]) ** 2)) / freedom
    return found, inverse * max(1.0, more), left
