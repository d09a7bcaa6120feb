"""Noise that neighbours share, measured by voxels farther apart, before any training.

The second difference of voxels that are d apart, (1, −2, 1) / √6, shows the part
1 − 4/3·ρ(d) + 1/3·ρ(2d) of the variance of noise whose autocorrelation along that axis
is ρ. For neighbours that share most of their noise this is next to nothing: a sixth
along each axis for a 3×3 binomial filter, so a thirty-sixth of the whole. Farther apart
it is more, but there the structure of the image differs too. So the smallest distance
is taken at which enough of the noise shows, and what shows is divided by that part.

Structure that the optics made is smooth along z as well, so the difference is taken
along all three axes where planes share no noise. Of a stack of 86×94 pixels with fine
structure, voxels two apart in the plane alone found the noise of the brightest ones
half too large, those that are two apart in the plane and next in z 5 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_blindspot.errors import InputError
from napari_blindspot.noise.artefacts import is_cut_at_zero, is_padding
from napari_blindspot.noise.estimate import MeanVariance, measure_samples
from napari_blindspot.noise.samples import (
    SECOND_DIFFERENCE,
    SHARED,
    Samples,
    joined,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindspot.noise.whiteness import AxisCorrelation, Correlation

_LEAST_SEEN = 0.2  # along each axis: below it, errors of ρ and rounding weigh too much
_LEAST_SAMPLES = 1000
_SMOOTHING = 3  # steps, sigma of the level
_CUT, _WEIGHTY = 4, 2  # sigmas: of its kernel, and of what must not be missing
_SHARED_ALONG_Z = SHARED**0.5  # Σρ² of white noise after a second difference


@dataclass(frozen=True, slots=True)
class Step:
    """A distance along one axis.

    Parameters
    ----------
    apart
        Voxels.
    seen, error
        Part of the noise variance that the second difference shows, and its standard
        error.
    """

    apart: int = 1
    seen: float = 1.0
    error: float = 0.0


NEXT = Step()
"""What white noise asks for: neighbours, which show all of it."""


@dataclass(frozen=True, slots=True)
class Steps:
    """How far apart voxels are compared.

    Parameters
    ----------
    y, x
        In the plane.
    z
        Whether neighbouring planes are compared as well.
    """

    y: Step
    x: Step
    z: bool = False

    @property
    def seen(self) -> float:
        """Part of the noise variance that differences along all axes show."""
        return self.y.seen * self.x.seen

    @property
    def error(self) -> float:
        """Relative standard error of `seen`."""
        return math.hypot(*(one.error / one.seen for one in (self.y, self.x)))


def steps_apart(found: Sequence[Correlation]) -> Steps | None:
    """Choose how far apart voxels are compared.

    Parameters
    ----------
    found
        Correlation of the noise of one channel, in one stack or in several.

    Returns
    -------
    Steps or None
        None where neighbours in a plane show the noise as well, or nothing does.
    """
    y, x = (step_along([getattr(one, axis) for one in found]) for axis in ("y", "x"))
    if y is None or x is None or (y is NEXT and x is NEXT):
        return None
    # Where the noise is smooth in the plane, structure weighs more in what is measured
    # along z: what seems shared there may be structure, so it is not corrected for.
    z = all(one.z.reach == 0 and not one.z.fixed and one.z.values for one in found)
    return Steps(y, x, z)


def measure_apart(
    slabs: Sequence[NDArray[Any]], saturation: float, steps: Steps
) -> MeanVariance:
    """Measure the mean–variance line of noise that neighbours share.

    Parameters
    ----------
    slabs
        Runs of consecutive planes (planes, Y, X) in data units; NaN is left out.
    saturation
        Values from here on are saturated and left out.
    steps
        How far apart voxels are compared.

    Returns
    -------
    MeanVariance
        Of the whole noise. Counts are of voxels that tell as much without sharing
        anything.

    Raises
    ------
    InputError
        If the slabs are too small, show no noise at all, or nothing is finite.
    """
    samples = joined([_samples(slab, saturation, steps) for slab in slabs])
    samples = samples.chosen(np.isfinite(samples.level))
    if samples.level.size < _LEAST_SAMPLES:
        raise InputError(
            "hardly any part of the stack can tell the noise that its neighbours share "
            "(small, padded or not finite); give gain, offset and read_noise of the "
            "camera."
        )
    planes = [plane for slab in slabs for plane in slab]
    honest = not np.isfinite(saturation) and not is_cut_at_zero(planes)
    points = measure_samples(samples, honest=honest).points
    # Those within a step of one another tell the same once more.
    alike = steps.y.apart * steps.x.apart * (_SHARED_ALONG_Z if steps.z else 1)
    return replace(
        points,
        variance=points.variance / steps.seen,
        count=points.count / alike,
        error=steps.error,
    )


def step_along(found: Sequence[AxisCorrelation]) -> Step | None:
    """Return the smallest step along an axis of the plane that shows enough noise.

    Parameters
    ----------
    found
        Correlation along that axis, in one stack or in several.

    Returns
    -------
    Step or None
        `NEXT` where neighbours share no noise as far as can be told, None where no step
        shows enough.
    """
    if not any(one.reach for one in found):
        return NEXT
    value, error = _average(found)
    for apart in range(1, len(value) // 2 + 1):
        step = _step(apart, value, error)
        if step.seen >= _LEAST_SEEN:
            return step
    return None


def _average(
    found: Sequence[AxisCorrelation],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return correlation and error at lags 1, 2, …, on average over stacks."""
    known = [one for one in found if one.values]
    lags = min(len(one.values) for one in known)
    value = np.mean([one.values[:lags] for one in known], axis=0)
    error = np.mean([one.errors[:lags] for one in known], axis=0)
    return value, error


def _step(apart: int, value: NDArray[np.float64], error: NDArray[np.float64]) -> Step:
    near, far = apart - 1, 2 * apart - 1  # lags are counted from 1
    return Step(
        apart,
        float(1 - 4 / 3 * value[near] + value[far] / 3),
        float(np.hypot(4 / 3 * error[near], error[far] / 3)),
    )


def _samples(slab: NDArray[Any], saturation: float, steps: Steps) -> Samples:
    """Take samples of all voxels of a slab, as `samples.high_pass_samples` of planes.

    Of what it says of the third cumulant nothing is known where noise is shared.
    """
    y = slab.astype(np.float64)
    missing = ~np.isfinite(y)
    y[missing] = 0.0 if missing.all() else np.mean(y[~missing])
    missing |= np.stack([is_padding(plane) for plane in y])
    bad = missing | (y >= saturation)
    if slab.dtype.kind == "u":
        bad |= slab == 0
    apart = (int(steps.z), steps.y.apart, steps.x.apart)
    level = _around(y, apart[1:])
    near = [1, *(2 * _WEIGHTY * _SMOOTHING * step + 1 for step in apart[1:])]
    # A voxel whose surroundings are partly invented tells nothing.
    level[ndimage.maximum_filter(missing, near)] = np.nan
    box = [2 * step + 1 for step in apart]
    planes, rows, columns = (
        slice(step, size - step) for step, size in zip(apart, y.shape, strict=True)
    )

    def inner(field: NDArray[Any]) -> NDArray[Any]:
        return field[planes, rows, columns].ravel()

    mean = inner(_differences(y, apart, squared=True))
    residual = inner(_differences(y, apart))
    censored = inner(ndimage.maximum_filter(bad, box))
    return Samples(inner(level), mean, residual, mean, censored)


def _differences(
    y: NDArray[np.float64], apart: Sequence[int], *, squared: bool = False
) -> NDArray[np.float64]:
    """Take second differences of voxels that are apart; or weigh by their squares."""
    kernel = SECOND_DIFFERENCE**2 if squared else SECOND_DIFFERENCE
    for axis, step in enumerate(apart):
        if step:
            weights = np.zeros(2 * step + 1)
            weights[::step] = kernel
            y = ndimage.correlate1d(y, weights, axis=axis, mode="nearest")
    return y


def _around(y: NDArray[np.float64], apart: Sequence[int]) -> NDArray[np.float64]:
    """Return a Gaussian mean in the plane, without the voxels that are compared."""
    wide, near = [], []
    for step in apart:
        distance = np.arange(-_CUT * _SMOOTHING * step, _CUT * _SMOOTHING * step + 1)
        weights = np.exp(-0.5 * (distance / (_SMOOTHING * step)) ** 2)
        weights /= weights.sum()
        wide.append(weights)
        near.append(np.where(np.abs(distance) <= step, weights, 0))
    ring = _smoothed(y, wide) - _smoothed(y, near)
    around: NDArray[np.float64] = ring / (1 - near[0].sum() * near[1].sum())
    return around


def _smoothed(
    y: NDArray[np.float64], weights: Sequence[NDArray[np.float64]]
) -> NDArray[np.float64]:
    for axis, one in enumerate(weights, start=1):
        y = ndimage.correlate1d(y, one, axis=axis, mode="nearest")
    return y
