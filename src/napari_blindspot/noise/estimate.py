"""Estimate the noise of a camera from one noisy stack, before any training.

The difference estimator: a high-pass of every plane is almost pure noise; its
variance, plotted against the local mean, is the line ``var = a·X + b``.

The local mean is smoothed over a few pixels. With a bare 3×3 mean its own noise would
flatten the line (regression dilution: −26 to −74 % gain at low counts).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_blindspot.errors import InputError
from napari_blindspot.noise.models import PoissonGaussian

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SECOND_DIFFERENCE = np.array([1.0, -2.0, 1.0])
_HIGH_PASS = np.outer(_SECOND_DIFFERENCE, _SECOND_DIFFERENCE) / 6.0  # unit norm
_SMOOTHING = 3.0  # px, sigma of the local mean
_BINS = 40
_OUTLIER = 4.0  # robust standard deviations
_FLOOR = 0.5  # of the variance at the darkest local mean
_LEAST_VARIANCE = 1e-12  # of the squared mean: below it only rounding is left
_LEAST_PER_BIN = 50
_PILE = 3
_CENSORED = 0.05  # of a bin's voxels, neighbours included: it tells too little
# Cutting a normal distribution at 4 sigma takes this part of its variance away.
_CUT_VARIANCE = 0.99893


@dataclass(frozen=True, slots=True, eq=False)
class MeanVariance:
    """The measured points of the mean–variance line, in data units.

    Parameters
    ----------
    mean, variance
        (n,) local mean and noise variance of each bin.
    count
        (n,) voxels in each bin.
    """

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    count: NDArray[np.float64]


def estimate_poisson_gaussian(
    planes: list[NDArray[Any]], saturation: float = float("inf")
) -> PoissonGaussian:
    """Fit the camera model var = a·X + b to some planes of one channel.

    Parameters
    ----------
    planes
        2D arrays (Y, X) in data units, at least 16 px a side; NaN is left out.
    saturation
        Values from here on are saturated and left out.

    Returns
    -------
    PoissonGaussian
        With 95 % confidence intervals and warnings.

    Raises
    ------
    InputError
        If the planes show no noise at all, or everything is saturated.
    """
    mean, residual, censored = _samples(planes, saturation)
    points, warnings = _bin_variances(mean, residual, censored)
    a, b, covariance = _fit_line(points)
    low = float(points.mean[0])
    a, b, notes = _keep_physical(a, b, points, low)
    half_a, half_b = 1.96 * np.sqrt(np.diag(covariance))
    return PoissonGaussian(
        a,
        b,
        floor=_FLOOR * max(a * low + b, float(points.variance.min())),
        a_interval=(a - float(half_a), a + float(half_a)),
        b_interval=(b - float(half_b), b + float(half_b)),
        warnings=(*warnings, *notes),
    )


def saturation_level(sample: NDArray[Any]) -> float:
    """Return the value from which on voxels are saturated, inf if none are.

    A camera that saturates piles voxels up at one highest value. Counted as
    saturated: the largest value of an integer dtype, or a highest value that at least
    20 voxels share and that is three times as frequent as the values just below it.
    """
    if sample.dtype.kind not in "iu" or sample.size == 0:
        return float("inf")
    top = int(sample.max())
    if top == np.iinfo(sample.dtype).max:
        return float(top)
    at_top = int((sample == top).sum())
    below = sample[(sample < top) & (sample >= top - max(10, top // 200))]
    distinct = max(1, np.unique(below).size)
    if at_top >= 20 and at_top > _PILE * below.size / distinct and below.size:
        return float(top)
    return float("inf")


def is_padding(plane: NDArray[Any]) -> NDArray[np.bool_]:
    """Return True where a plane (Y, X) is exactly constant over 9×9 pixels.

    No camera records that: it is the padding of a rotated, deskewed or registered
    stack. Stacks that count so few photons that 9×9 zeros are honest lose their
    darkest parts here, which say nothing of the noise either.
    """
    span = ndimage.maximum_filter(plane, 9) == ndimage.minimum_filter(plane, 9)
    padding: NDArray[np.bool_] = ndimage.maximum_filter(span, 9)
    return padding


def _samples(
    planes: list[NDArray[Any]], saturation: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return local mean, high-pass residual and censored flag of every voxel."""
    means, residuals, flags = [], [], []
    for plane in planes:
        y = plane.astype(np.float64)
        missing = ~np.isfinite(y)
        if missing.all():
            continue
        y[missing] = np.nanmean(np.where(missing, np.nan, y))
        missing |= is_padding(y)
        bad = missing | (y >= saturation)
        if plane.dtype.kind == "u":
            bad |= plane == 0
        inner = (slice(2, -2), slice(2, -2))
        means.append(ndimage.gaussian_filter(y, _SMOOTHING, mode="nearest")[inner])
        residuals.append(ndimage.convolve(y, _HIGH_PASS, mode="nearest")[inner])
        flags.append(ndimage.maximum_filter(bad, 3, mode="nearest")[inner])
        if missing.any():
            # A voxel whose local mean is partly invented tells nothing.
            near = ndimage.maximum_filter(missing, int(4 * _SMOOTHING) | 1)[inner]
            means[-1] = np.where(near, np.nan, means[-1])
    if not means:
        raise InputError(
            "the stack holds no finite plane (all NaN or infinite), so its noise "
            "cannot be estimated; open the raw acquisition instead."
        )
    mean = np.concatenate([m.ravel() for m in means])
    keep = np.isfinite(mean)
    if not keep.any():
        raise InputError(
            "too little of the stack is finite to estimate its noise; give gain, "
            "offset and read_noise of the camera."
        )
    return (
        mean[keep],
        np.concatenate([r.ravel() for r in residuals])[keep],
        np.concatenate([f.ravel() for f in flags])[keep],
    )


def _bin_variances(
    mean: NDArray[np.float64],
    residual: NDArray[np.float64],
    censored: NDArray[np.bool_],
) -> tuple[MeanVariance, list[str]]:
    """Return the noise variance in bins of equal population, without censored ones.

    A voxel at zero or at saturation has lost part of its noise. Leaving out these
    voxels alone would bias the rest of their bin, so a bin with more than a few of
    them is left out whole. Data that counts photons is full of honest zeros: where
    no other bins are left, they are kept and the user is told.
    """
    low, high = np.quantile(mean, [0.02, 0.98])
    inside = (mean >= low) & (mean <= high)
    mean, residual, censored = mean[inside], residual[inside], censored[inside]
    order = np.argsort(mean, kind="stable")
    bins = min(_BINS, max(2, mean.size // _LEAST_PER_BIN))
    rows: list[tuple[float, float, float, float]] = []
    for part in np.array_split(order, bins):
        share = float(censored[part].mean())
        kept = part if share > _CENSORED else part[~censored[part]]
        rows.append(
            (
                float(mean[kept].mean()),
                _trimmed_variance(residual[kept]),
                float(kept.size),
                share,
            )
        )
    table = np.array(rows)
    clean = table[:, 3] <= _CENSORED
    warnings = []
    if clean.sum() >= max(4, bins // 5):
        table = table[clean]
    elif (~clean).any():
        warnings.append(
            "most of the image is at zero or saturated, so the noise estimate uses "
            "such voxels too and may be too small; give gain, offset and read noise "
            "of the camera if they are known."
        )
    return MeanVariance(table[:, 0], table[:, 1], table[:, 2]), warnings


def _trimmed_variance(residual: NDArray[np.float64]) -> float:
    """Return the variance without outliers (edges of structures)."""
    spread = 1.4826 * float(np.median(np.abs(residual)))
    if spread == 0:
        return float(np.mean(residual**2))
    kept = residual[np.abs(residual) < _OUTLIER * spread]
    return float(np.mean(kept**2)) / _CUT_VARIANCE


def _fit_line(
    points: MeanVariance,
) -> tuple[float, float, NDArray[np.float64]]:
    """Fit variance = a·mean + b, Huber-weighted, and its covariance."""
    x, y = points.mean, points.variance
    if not (y > _LEAST_VARIANCE * np.square(x).max()).any():
        raise InputError(
            "the stack shows no noise (neighbouring voxels do not differ), so there "
            "is nothing to remove; check that the right file was opened."
        )
    design = np.stack([x, np.ones_like(x)], axis=1)
    precision = np.sqrt(points.count) / np.maximum(y, 1e-3 * y.max())
    weights = precision.copy()
    for _ in range(20):
        solution, *_ = np.linalg.lstsq(
            design * weights[:, None], y * weights, rcond=None
        )
        error = (y - design @ solution) * precision
        scale = max(1.4826 * float(np.median(np.abs(error))), 1e-12)
        huber = np.minimum(1.0, 1.5 * scale / np.maximum(np.abs(error), 1e-12))
        weights = precision * np.sqrt(huber)
    normal = (design * weights[:, None]).T @ (design * weights[:, None])
    freedom = max(1, len(x) - 2)
    spread = (
        float(((y - design @ solution) * weights) @ ((y - design @ solution) * weights))
        / freedom
    )
    return float(solution[0]), float(solution[1]), np.linalg.pinv(normal) * spread


def _keep_physical(
    a: float, b: float, points: MeanVariance, low: float
) -> tuple[float, float, list[str]]:
    """Mend a line that no camera has: a falling one, or one negative in the dark."""
    notes = []
    floor = float(points.variance.min())
    if a < 0:
        a, b = 0.0, float(np.average(points.variance, weights=points.count))
        notes.append(
            "the noise does not grow with the signal, so it is taken as constant; "
            "the data may have been processed already."
        )
    elif a * low + b <= 0.1 * floor:
        # Through the darkest measured point instead: the dark is where the line
        # matters most and where it is extrapolated.
        dark = max(floor, 1e-12)
        b = dark - a * low
        notes.append(
            "the fitted noise variance was negative in the dark and was raised to "
            "the smallest one measured."
        )
    return a, b, notes
