"""High-pass samples of planes: what is almost pure noise, and where it was taken.

The kernel h is the second difference along both axes, of unit norm. Of every pixel
three numbers are kept:

``residual``  Σ hᵢ·yᵢ, whose variance is exactly Σ hᵢ²·(noise variance at i)
``mean``      Σ hᵢ²·yᵢ, the mean signal of exactly those pixels, weighted alike
``level``     a smooth mean of the pixels *around* the kernel

So for the line var = a·X + b the expectation of residual² is a·E[mean] + b, in any set
of pixels that was chosen without regard to their noise. Sets are chosen by `level`,
which shares no pixel with the other two. Plotted against a local mean that contains
the pixel's own noise, the line would be flattened (regression dilution: −26 to −74 %
of the gain at low counts), and against a wider mean it would bend.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_blindspot.errors import InputError
from napari_blindspot.noise.artefacts import is_padding
from napari_blindspot.noise.models import Impulse
from napari_blindspot.noise.outliers import take_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindspot.noise.models import NoiseModel

SECOND_DIFFERENCE = np.array([1.0, -2.0, 1.0]) / 6**0.5
"""Of unit norm, so white noise keeps its variance."""

_SMOOTHING = 3.0  # px, sigma of the level
_MARGIN = 2  # px at the border where kernels are cut
LEAST_SIDE = 2 * _MARGIN + 1
"""Pixels a side that a plane must have to tell its noise."""

_LEAST_SAMPLES = 100
_LEAST_KEPT = 8
_OUTLIER = 4.0  # robust standard deviations

SHARED = 3.78
"""Σρ² of the residual's autocorrelation: so many pixels tell as much as one apart."""


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """High-pass samples of many pixels, data units.

    Parameters
    ----------
    level, mean, residual
        (n,) float64, see above.
    cubed_mean
        (n,) Σ hᵢ³·yᵢ / Σ hᵢ³: where the third cumulant of the residual was taken.
    censored
        (n,) bool: a voxel near is saturated or clipped at zero.
    """

    level: NDArray[np.float64]
    mean: NDArray[np.float64]
    residual: NDArray[np.float64]
    cubed_mean: NDArray[np.float64]
    censored: NDArray[np.bool_]

    def chosen(self, index: NDArray[Any]) -> Samples:
        """Return some of the samples."""
        return Samples(
            self.level[index],
            self.mean[index],
            self.residual[index],
            self.cubed_mean[index],
            self.censored[index],
        )


def joined(parts: Sequence[Samples]) -> Samples:
    """Return the samples of several planes or runs of planes as one."""
    return Samples(
        np.concatenate([one.level for one in parts]),
        np.concatenate([one.mean for one in parts]),
        np.concatenate([one.residual for one in parts]),
        np.concatenate([one.cubed_mean for one in parts]),
        np.concatenate([one.censored for one in parts]),
    )


def high_pass_samples(planes: Sequence[NDArray[Any]], saturation: float) -> Samples:
    """Take samples of all pixels of some planes.

    Parameters
    ----------
    planes
        2D arrays (Y, X) in data units; NaN is left out.
    saturation
        Values from here on are saturated.

    Raises
    ------
    InputError
        If the planes are too small, or no finite one is among them.
    """
    small = [plane.shape for plane in planes if min(plane.shape) < LEAST_SIDE]
    if small:
        raise InputError(
            f"planes of {small[0][0]} × {small[0][1]} pixels are too small to estimate "
            f"their noise (at least {LEAST_SIDE} a side); give gain, offset and "
            f"read_noise of the camera."
        )
    parts = [part for plane in planes if (part := _plane(plane, saturation))]
    if not parts:
        raise InputError(
            "the stack holds no finite plane (all NaN or infinite), so its noise "
            "cannot be estimated; open the raw acquisition instead."
        )
    samples = joined([Samples(*part) for part in parts])
    keep = np.isfinite(samples.level)
    if keep.sum() < _LEAST_KEPT:
        raise InputError(
            "hardly any part of the stack can tell its noise (constant, padded or not "
            "finite everywhere); check that the right file and region were opened, or "
            "give gain, offset and read_noise of the camera."
        )
    return samples.chosen(keep)


def _plane(plane: NDArray[Any], saturation: float) -> tuple[NDArray[Any], ...] | None:
    y = plane.astype(np.float64)
    missing = ~np.isfinite(y)
    if missing.all():
        return None
    y[missing] = np.mean(y[~missing])
    missing |= is_padding(y)
    bad = missing | (y >= saturation)
    if plane.dtype.kind == "u":
        bad |= plane == 0
    h = SECOND_DIFFERENCE
    level = _around(y)
    if missing.any():
        # A voxel whose surroundings are partly invented tells nothing.
        level[ndimage.maximum_filter(missing, int(4 * _SMOOTHING) | 1)] = np.nan
    columns = (
        level,
        _separable(y, h**2),
        _separable(y, h),
        _separable(y, h**3) / (h**3).sum() ** 2,
        ndimage.maximum_filter(bad, 3, mode="nearest"),
    )
    inner = slice(_MARGIN, -_MARGIN)
    return tuple(column[inner, inner].ravel() for column in columns)


def _around(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a Gaussian mean without the 3×3 pixels in its middle."""
    radius = int(4 * _SMOOTHING)
    distance = np.arange(-radius, radius + 1)
    whole = np.exp(-0.5 * (distance / _SMOOTHING) ** 2)
    whole /= whole.sum()
    middle = np.where(abs(distance) <= 1, whole, 0)
    ring = _separable(y, whole) - _separable(y, middle)
    around: NDArray[np.float64] = ring / (1 - middle.sum() ** 2)
    return around


def _separable(
    y: NDArray[np.float64], kernel: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Correlate along both axes with a symmetric kernel."""
    rows = ndimage.correlate1d(y, kernel, axis=0, mode="nearest")
    both: NDArray[np.float64] = ndimage.correlate1d(rows, kernel, 1, mode="nearest")
    return both


def plane_level(
    plane: NDArray[Any], noise: NoiseModel, saturation: float
) -> tuple[float, float]:
    """Return the noise variance of one plane over that of a model, and its error.

    Parameters
    ----------
    plane
        (Y, X) data units.
    noise
        Model of the channel.
    saturation
        Values from here on are saturated.

    Returns
    -------
    level, error
        The error is relative; (1, inf) where the plane tells nothing.
    """
    if min(plane.shape) < LEAST_SIDE:
        return 1.0, float("inf")
    if isinstance(noise, Impulse) and (found := take_out([plane])):
        (plane,) = found.planes
    columns = _plane(plane, saturation)
    if columns is None:
        return 1.0, float("inf")
    samples = Samples(*columns)
    samples = samples.chosen(np.isfinite(samples.level) & ~samples.censored)
    if samples.level.size < _LEAST_SAMPLES:
        return 1.0, float("inf")
    shown = noise.ordinary.seen
    expected = np.maximum(shown * noise.ordinary.variance(samples.level), 1e-30)
    scaled = np.abs(samples.residual) / np.sqrt(expected)
    middle, high = np.quantile(scaled, [0.5, 0.9])  # few counts: most differ by nothing
    kept = samples.chosen(scaled < _OUTLIER * max(1.4826 * middle, 0.6080 * high))
    if kept.level.size < _LEAST_SAMPLES:
        return 1.0, float("inf")
    modelled = shown * float(noise.ordinary.variance(kept.mean).mean())
    if modelled <= 0:
        return 1.0, float("inf")
    squares = kept.residual**2
    size = float(squares.mean())
    if size <= 0:
        return 1.0, float("inf")
    error = (SHARED / squares.size) ** 0.5 * float(squares.std()) / size
    return size / modelled, error
