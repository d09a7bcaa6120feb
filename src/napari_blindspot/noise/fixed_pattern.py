"""What a camera adds to every plane alike: column and row offsets, hot pixels.

Noise differs from plane to plane; a fixed pattern does not, so a network would learn
it as structure and keep it. The offset of a column (amplifier) is measured from the
high-passed rows of all planes, and believed only if parts of the image that lie far
apart agree on it: structure does not repeat down a whole column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import ndimage

from napari_blindspot.errors import InputError
from napari_blindspot.noise.artefacts import is_padding

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from napari_blindspot.noise.models import NoiseModel

_BANDS = 8  # of rows, whose estimates are compared
_APART = 3  # bands between two that are compared, so that no structure spans both
_SIGMA = 6.0  # px of the smooth part that is no column pattern
_SMOOTHING = 3.0  # px, sigma of the local mean
_OUTLIER = 3.0  # noise standard deviations
_NEAR = 8  # px of shift up to which structure itself may agree
_TRIALS = 500
_FOUND = 6.0  # standard deviations of chance
_LEAST_SHARE = 0.02  # of the noise standard deviation: less than that is no matter
_LEAST_SIDE = 64
_LEAST_PLANES = 20
_MOSTLY = 0.75  # of the planes
_HOT = 3.0  # noise standard deviations
_SPIKE = (
    0.25  # of the excess may be shared with the neighbours: optics blur, spikes not
)


@dataclass(frozen=True, slots=True, eq=False)
class FixedPattern:
    """Additive offsets of columns or rows that all planes share.

    Parameters
    ----------
    axis
        ``"x"``: one offset per column; ``"y"``: one per row.
    offsets
        (X,) or (Y,) grey values, mean zero; subtract them from every plane. Drawn
        towards zero as far as they are uncertain.
    rms, error
        Root mean square of the true pattern and its standard error, grey values.
    significance
        How far the agreement of distant parts of the image is above chance, in
        standard deviations of chance.
    share
        `rms` as a part of the noise standard deviation.
    """

    axis: Literal["x", "y"]
    offsets: NDArray[np.float64]
    rms: float
    error: float
    significance: float
    share: float

    @property
    def found(self) -> bool:
        """Whether there is a pattern beyond chance."""
        return self.significance > _FOUND and self.share > _LEAST_SHARE

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able facts, without the offsets themselves."""
        return {
            "axis": self.axis,
            "found": self.found,
            "rms": self.rms,
            "error": self.error,
            "significance": self.significance,
            "share_of_noise": self.share,
        }


@dataclass(frozen=True, slots=True, eq=False)
class HotPixels:
    """Single pixels that stand out of their neighbourhood in most planes.

    Parameters
    ----------
    positions
        (n, 2) row and column, within the planes that were looked at.
    excess
        (n,) mean excess over the neighbours, grey values.
    planes
        How many planes were looked at.
    pixels
        How many pixels a plane has.
    """

    positions: NDArray[np.intp]
    excess: NDArray[np.float64]
    planes: int
    pixels: int

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able facts."""
        return {
            "count": len(self.positions),
            "share": len(self.positions) / self.pixels,
            "planes": self.planes,
            "largest_excess": float(self.excess.max()) if self.excess.size else None,
        }


def column_pattern(
    planes: Iterable[NDArray[Any]],
    noise: NoiseModel,
    *,
    axis: Literal["x", "y"] = "x",
    saturation: float = float("inf"),
) -> FixedPattern | None:
    """Measure the offset of every column (or row) that all planes share.

    Only differences within about ±20 px can be told from the image itself: a slow
    drift over the columns is left alone.

    Parameters
    ----------
    planes
        2D arrays (Y, X) of the same columns (rows), data units.
    noise
        Their noise model, which weighs the voxels.
    axis
        ``"x"`` for columns, ``"y"`` for rows.
    saturation
        Values from here on are saturated and left out.

    Returns
    -------
    FixedPattern or None
        None if the planes are too small to tell a pattern from chance.

    Raises
    ------
    InputError
        If the planes are not 2D or differ in the length of the pattern.
    """
    if axis not in ("x", "y"):
        raise InputError(f"axis={axis!r} is not known; choose 'x' or 'y'.")
    tops: NDArray[np.float64] | None = None
    for given in planes:
        if given.ndim != 2:
            raise InputError(f"a plane has shape {given.shape}; give planes (Y, X).")
        plane = given if axis == "x" else given.T
        if plane.shape[0] < _BANDS or plane.shape[1] < _LEAST_SIDE:
            return None
        sums = _band_sums(plane, noise, saturation)
        if tops is not None and sums.shape != tops.shape:
            raise InputError(
                f"the planes have {tops.shape[-1]} and {sums.shape[-1]} pixels along "
                f"{axis}; give planes of one size."
            )
        tops = sums if tops is None else tops + sums
    return None if tops is None else _agreed_pattern(axis, *tops)


def hot_pixels(planes: Iterable[NDArray[Any]], noise: NoiseModel) -> HotPixels | None:
    """Find single pixels that are brighter than all their neighbours in most planes.

    In white noise a pixel is the brightest of its 3×3 in one plane of nine. A pixel
    counts as hot if it is in three of four, stands out by three standard deviations
    of the noise on average, and its neighbours do not share the excess, as they would
    in an image that passed a lens.

    Parameters
    ----------
    planes
        2D arrays (Y, X) of one shape, data units: different Z or T of one window.
    noise
        Their noise model.

    Returns
    -------
    HotPixels or None
        None with fewer than 20 planes: a spot could pass for a hot pixel.
    """
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    count = 0
    wins: Any = 0
    total: Any = 0.0
    for plane in planes:
        y = np.where(np.isfinite(plane), plane, 0).astype(np.float64)
        wins = wins + (y > ndimage.maximum_filter(y, footprint=ring, mode="mirror"))
        total = total + y
        count += 1
    if count < _LEAST_PLANES:
        return None
    mean = total / count
    inner, outer = _ring_mean(mean, 3), _ring_mean(mean, 5)
    excess = mean - inner
    sigma = np.sqrt(noise.variance(inner))
    hot = (wins >= _MOSTLY * count) & (excess > _HOT * sigma)
    hot &= inner - outer < _SPIKE * excess
    return HotPixels(np.argwhere(hot), excess[hot], count, mean.size)


def _band_sums(
    plane: NDArray[Any], noise: NoiseModel, saturation: float
) -> NDArray[np.float64]:
    """Return Σ residual/variance, Σ 1/variance and Σ 1 of bands of rows: (3, B, X)."""
    y = plane.astype(np.float64)
    bad = ~np.isfinite(y) | (y >= saturation) | is_padding(plane)
    y[~np.isfinite(y)] = 0.0
    mean = ndimage.gaussian_filter(y, _SMOOTHING, mode="nearest")
    variance = np.maximum(noise.variance(mean), 1e-30)
    sigma = np.sqrt(variance)
    residual = y - ndimage.gaussian_filter1d(y, _SIGMA, axis=1, mode="nearest")
    residual = np.clip(residual / sigma, -_OUTLIER, _OUTLIER)
    weight = ~bad / variance
    edges = np.linspace(0, len(y), _BANDS + 1).astype(int)[:-1]
    return np.stack(
        [
            np.add.reduceat(part, edges, axis=0)
            for part in (residual * sigma * weight, weight, (~bad).astype(float))
        ]
    )


def _agreed_pattern(
    axis: Literal["x", "y"],
    top: NDArray[np.float64],
    weight: NDArray[np.float64],
    count: NDArray[np.float64],
) -> FixedPattern | None:
    """Turn the sums of all bands into one pattern, and ask how far bands agree."""
    seen = weight.sum(axis=0) > 0
    if not seen.all(axis=-1) or (weight <= 0).any():
        top, weight = top[:, seen], np.maximum(weight[:, seen], 1e-300)
    if top.shape[1] < _LEAST_SIDE:
        return None
    agreement, chance = _agreement(_second_difference(top / weight))
    rms = float(np.sqrt(max(agreement, 0.0)))
    offsets = np.zeros(seen.size)
    offsets[seen] = _restored(top.sum(axis=0) / weight.sum(axis=0), rms)
    sigma = float(np.sqrt(count.sum() / weight.sum()))
    return FixedPattern(
        axis,
        offsets,
        rms,
        chance / (2 * max(rms, float(np.sqrt(chance)))),
        agreement / chance,
        rms / sigma,
    )


def _second_difference(bands: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep the finest details: a white pattern keeps its rms, structure is gone."""
    inner, outer = bands[:, 1:-1], bands[:, 2:] + bands[:, :-2]
    finest: NDArray[np.float64] = (outer - 2 * inner) / np.sqrt(6.0)
    return finest


def _agreement(bands: NDArray[np.float64]) -> tuple[float, float]:
    """Return the mean covariance of distant bands, and its spread by chance.

    Chance is what the same bands give once each is shifted by a random distance.
    """
    n = bands.shape[1]
    spectra = np.fft.rfft(bands - bands.mean(axis=1, keepdims=True), axis=1)
    first, second = np.triu_indices(len(bands), _APART)
    curves = np.fft.irfft(spectra[first].conj() * spectra[second], n) / n
    shifts = np.random.default_rng(0).integers(0, n, (_TRIALS, len(bands)))
    apart = (shifts[:, first] - shifts[:, second]) % n
    drawn = curves[np.arange(len(curves)), apart]
    near = (apart < _NEAR) | (apart > n - _NEAR)
    chance = np.mean(drawn, axis=1, where=~near)
    return float(curves[:, 0].mean()), max(float(chance.std()), 1e-300)


def _restored(seen: NDArray[np.float64], rms: float) -> NDArray[np.float64]:
    """Undo the high-pass, as far as each wavelength is pattern and not structure.

    A Wiener filter for offsets that are independent from column to column: at every
    frequency the measured power beyond that of the pattern is structure or noise.
    """
    spectrum = np.fft.rfft(seen - seen.mean())
    frequency = np.fft.rfftfreq(seen.size)
    passed = 1 - np.exp(-2 * (np.pi * _SIGMA * frequency) ** 2)
    power = ndimage.uniform_filter1d(np.abs(spectrum) ** 2 / seen.size, 9)
    true = rms**2
    gain = passed * true / np.maximum(np.maximum(power, passed**2 * true), 1e-300)
    restored: NDArray[np.float64] = np.fft.irfft(spectrum * gain, seen.size)
    restored -= restored.mean()
    return restored


def _ring_mean(image: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Return the mean over the outline of a square around every pixel."""
    outline = np.ones((side, side))
    outline[1:-1, 1:-1] = 0
    mean: NDArray[np.float64] = ndimage.correlate(
        image, outline / outline.sum(), mode="mirror"
    )
    return mean
