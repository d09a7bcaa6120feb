"""Estimate the noise of a camera from one noisy stack, before any training.

The difference estimator: a high-pass of every plane is almost pure noise; its
variance, plotted against the mean signal, is the line ``var = a·X + b`` (`samples`
explains why the points lie exactly on it). The third cumulant of the same samples
tells the offset, which the line alone cannot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.errors import InputError
from napari_blindspot.noise.artefacts import is_cut_at_zero
from napari_blindspot.noise.bins import equal_bins, moments
from napari_blindspot.noise.models import PoissonGaussian
from napari_blindspot.noise.samples import SHARED, Samples, high_pass_samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_FLOOR = 0.5  # of the variance at the darkest level
_LEAST_VARIANCE = 1e-24  # of the squared mean: below it only rounding is left
# Of a bin's voxels, neighbours included: so many may be cut, more without a choice.
_CENSORED = (0.05, 0.15, 0.3)
_MUCH_CUT = 0.3
_BENT = 0.05
_STRAIGHT = 0.02  # median deviation from the line, relative to the variance
_FEW_VOXELS = 10_000
_95 = 1.96
_KNOWN_OFFSET = 5.0  # electrons: an interval wider to either side tells nothing


@dataclass(frozen=True, slots=True, eq=False)
class MeanVariance:
    """The measured points of the mean–variance line, in data units.

    Parameters
    ----------
    mean, variance
        (n,) mean signal and noise variance of each bin.
    count
        (n,) voxels in each bin.
    error
        Relative error that the variances of all bins have in common.
    """

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    count: NDArray[np.float64]
    error: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What the high-pass samples of some planes tell, bin by bin.

    Parameters
    ----------
    points
        Of the mean–variance line.
    third, third_at, third_error
        (n,) third cumulant of the noise, the mean signal it belongs to, its standard
        error.
    darkest
        Mean signal of the darkest bin.
    warnings
        What the user should know, one sentence each.
    """

    points: MeanVariance
    third: NDArray[np.float64]
    third_at: NDArray[np.float64]
    third_error: NDArray[np.float64]
    darkest: float
    warnings: tuple[str, ...] = ()


def variance_error(points: MeanVariance) -> float:
    """Return the relative standard error of the noise variance of the whole stack.

    As far as the number of voxels limits it, and never below what structure and
    rounding leave.
    """
    voxels = float(points.count.sum())
    if voxels == 0:
        return LEAST_ERROR
    return math.hypot(max(LEAST_ERROR, math.sqrt(2 * SHARED / voxels)), points.error)


LEAST_ERROR = 0.002
"""Relative error of the noise variance that more voxels do not lower."""


def estimate_poisson_gaussian(
    planes: Sequence[NDArray[Any]], saturation: float = float("inf")
) -> PoissonGaussian:
    """Fit the camera model var = a·X + b to some planes of one channel.

    Parameters
    ----------
    planes
        2D arrays (Y, X) in data units, at least 5 px a side; NaN is left out.
    saturation
        Values from here on are saturated and left out.

    Returns
    -------
    PoissonGaussian
        With 95 % confidence intervals and warnings.

    Raises
    ------
    InputError
        If the planes are too small, show no noise at all, or nothing is finite.
    """
    return fit_camera(measure_noise(planes, saturation))


def measure_noise(
    planes: Sequence[NDArray[Any]], saturation: float = float("inf")
) -> Measured:
    """Measure mean, variance and third cumulant of the noise in bins of the signal.

    Parameters and errors as in `estimate_poisson_gaussian`.
    """
    samples = high_pass_samples(planes, saturation)
    honest = not np.isfinite(saturation) and not is_cut_at_zero(planes)
    return measure_samples(samples, honest=honest)


def measure_samples(samples: Samples, *, honest: bool) -> Measured:
    """Measure the noise of samples that were taken already.

    Parameters
    ----------
    samples
        High-pass samples; all levels are finite.
    honest
        Whether zeros may be counts of photons: nothing was saturated or cut.

    Raises
    ------
    InputError
        If no sample differs from its neighbours.
    """
    low, high = np.quantile(samples.level, [0.02, 0.98])
    samples = samples.chosen((samples.level >= low) & (samples.level <= high))
    warnings = []
    if samples.level.size < _FEW_VOXELS:
        warnings.append(
            f"the noise was estimated from {samples.level.size} voxels only (at least "
            f"{_FEW_VOXELS} make it reliable); give gain, offset and read_noise of the "
            f"camera if they are known."
        )
    bins = equal_bins(samples)
    table = np.array([moments(part) for part in bins])
    mean, variance = table[:, 0], table[:, 1]
    if not (variance > _LEAST_VARIANCE * np.square(mean).max()).any():
        raise InputError(
            "the stack shows no noise (neighbouring voxels do not differ), so there "
            "is nothing to remove; check that the right file was opened."
        )
    share = np.array([float(part.censored.mean()) for part in bins])
    used, note = _uncensored(table, share, honest)
    mean, variance, count, third_at, third, error = table[used].T
    return Measured(
        MeanVariance(mean, variance, count),
        third,
        third_at,
        error,
        float(mean.min()),
        (*warnings, *note),
    )


def fit_camera(measured: Measured) -> PoissonGaussian:
    """Fit line, offset and read noise to what was measured."""
    points = measured.points
    a, b, covariance = _fit_line(points)
    a, b, notes = _keep_physical(a, b, points, float(np.sqrt(covariance[0, 0])))
    notes += _bent(a, b, points)
    half_a, half_b = _95 * np.sqrt(np.diag(covariance))
    darkest = max(a * measured.darkest + b, float(points.variance.min()))
    model = PoissonGaussian(
        a,
        b,
        floor=_FLOOR * darkest,
        a_interval=(a - float(half_a), a + float(half_a)),
        b_interval=(b - float(half_b), b + float(half_b)),
        warnings=(*measured.warnings, *notes),
    )
    if a > half_a:
        return _with_offset(model, measured, covariance)
    if a > 0:
        note = (
            f"the noise hardly grows with the signal, so the gain cannot be told (it "
            f"may be up to {a + half_a:.3g}); the variance of the noise is known all "
            f"the same."
        )
        model = replace(model, warnings=(*model.warnings, note))
    return model


def _uncensored(
    table: NDArray[np.float64], share: NDArray[np.float64], honest: bool
) -> tuple[NDArray[np.bool_], list[str]]:
    """Choose the bins that saturation or zero has not cut into.

    A voxel at zero or at saturation has lost part of its noise. Leaving out these
    voxels alone would bias the rest of their bin, so a bin with more than a few of
    them is left out whole. But data that counts photons is full of honest zeros: they
    are kept where one line fits all bins.
    """
    everything = np.ones(len(share), bool)
    if (share <= _CENSORED[0]).all() or (honest and _is_a_line(table)):
        return everything, []
    for limit in _CENSORED:
        clean = share <= limit
        if clean.sum() >= max(4, len(share) // 5):
            return clean, _told(1 - float(clean.mean()))
    return everything, [
        "most of the image is at zero or saturated, so the noise estimate uses "
        "such voxels too and may be too small; give gain, offset and read noise "
        "of the camera if they are known."
    ]


def _told(cut: float) -> list[str]:
    if cut < _MUCH_CUT:
        return []
    return [
        f"about {cut:.0%} of the image lies where zero or saturation cuts the noise; "
        f"the line was fitted to the rest."
    ]


def _is_a_line(table: NDArray[np.float64]) -> bool:
    """Return whether the variance of all bins lies on one line through them."""
    points = MeanVariance(*table[:, :3].T)
    a, b, _ = _fit_line(points)
    fitted = np.maximum(a * points.mean + b, 1e-3 * float(points.variance.max()))
    off = np.abs(points.variance / fitted - 1)
    return float(np.median(off)) < _STRAIGHT and bool((off < 10 * _STRAIGHT).all())


def _fit_line(points: MeanVariance) -> tuple[float, float, NDArray[np.float64]]:
    """Fit variance = a·mean + b, Huber-weighted, and its covariance."""
    x, y = points.mean, points.variance
    centre, unit = float(np.average(x, weights=points.count)), float(np.ptp(x)) or 1.0
    design = np.stack([(x - centre) / unit, np.ones_like(x)], axis=1)
    fitted, weights = y, np.ones_like(y)
    for _ in range(20):
        # Weighted by what the line expects: a bin that came out low by chance must
        # not count for more.
        error = fitted * np.sqrt(2 * SHARED / points.count)
        solution, *_ = np.linalg.lstsq(
            design * (np.sqrt(weights) / error)[:, None],
            y * np.sqrt(weights) / error,
            rcond=None,
        )
        fitted = np.maximum(design @ solution, 0.05 * float(np.median(y)))
        off = (y - design @ solution) / error
        scale = max(1.4826 * float(np.median(np.abs(off))), 1e-12)
        weights = np.minimum(1.0, 1.5 * scale / np.maximum(np.abs(off), 1e-12))
    scaled = design * (np.sqrt(weights) / error)[:, None]
    # Never more certain than the number of voxels allows, and less where the points
    # do not lie on a line: bins that the fit leaves aside count here in full.
    excess = max(1.0, float(off @ off) / max(1, len(x) - 2))
    covariance = np.linalg.pinv(scaled.T @ scaled) * excess
    # Back from the centred, scaled mean to data units.
    back = np.array([[1 / unit, 0.0], [-centre / unit, 1.0]])
    a, b = back @ solution
    return float(a), float(b), back @ covariance @ back.T


def _keep_physical(
    a: float, b: float, points: MeanVariance, error: float
) -> tuple[float, float, list[str]]:
    """Mend a line that no camera has: a falling one, or one negative in the dark."""
    notes = []
    dark, floor = float(points.mean.min()), float(points.variance.min())
    if a < 0:
        if a < -2 * error:
            notes.append(
                "the noise falls with the signal, which no camera does, so it is taken "
                "as constant; the data may have been processed or compressed."
            )
        else:
            notes.append(
                "the noise does not grow with the signal, so it is taken as constant."
            )
        a, b = 0.0, float(np.average(points.variance, weights=points.count))
    elif a * dark + b <= 0.1 * floor:
        # Through the darkest measured point instead: the dark is where the line
        # matters most and where it is extrapolated.
        b = max(floor, 1e-12) - a * dark
        notes.append(
            "the fitted noise variance was negative in the dark and was raised to "
            "the smallest one measured."
        )
    return a, b, notes


def _bent(a: float, b: float, points: MeanVariance) -> list[str]:
    """Say so where the measured points do not lie on the line."""
    off = np.abs(points.variance / np.maximum(a * points.mean + b, 1e-300) - 1)
    chance = np.sqrt(2 * SHARED / points.count)
    if float(np.median(off)) < max(_BENT, 2 * float(np.median(chance))):
        return []
    return [
        f"the noise variance is no straight line of the signal (off it by "
        f"{float(np.median(off)):.0%} in the median): the data was rounded coarsely, "
        f"compressed or rescaled by a curve, and no camera model fits it well."
    ]


def _with_offset(
    model: PoissonGaussian, measured: Measured, covariance: NDArray[np.float64]
) -> PoissonGaussian:
    """Add offset and read noise where the third cumulant tells them.

    Of y = g·Poisson + Normal the third cumulant is g²·(X − offset): every bin tells
    the offset once the gain is known. The line allows no offset below its zero (read
    noise would be imaginary) and no voxel is darker than it.
    """
    assert model.a_interval is not None
    a, used = model.a, measured.third_error > 0
    if used.sum() < 2:
        return model
    x, third = measured.third_at[used], measured.third[used]
    weights = (a**2 / measured.third_error[used]) ** 2
    each = x - third / a**2
    offset = float(np.average(each, weights=weights))
    spread = float(np.average((each - offset) ** 2, weights=weights)) / used.sum()
    gain_error = (model.a_interval[1] - a) / _95 / a
    by_gain = 2 * gain_error * float(np.average(third / a**2, weights=weights))
    half = _95 * float(np.sqrt(spread + 1 / weights.sum() + by_gain**2))
    lowest, highest = -model.b / a, max(measured.darkest, -model.b / a)
    offset = min(max(offset, lowest), highest)
    # Where the line is zero is uncertain too.
    zero = _95 * _line_error(covariance, lowest) / a
    bounds = (max(offset - half, lowest - zero), min(offset + half, highest))
    # In electrons squared: (b + a·offset) / a², and its error by a and b.
    read = max(0.0, model.b + a * offset) / a**2
    line = _95 * _line_error(covariance, offset - 2 * a * read) / a**2
    least = read - float(np.hypot(line, (offset - bounds[0]) / a))
    most = read + float(np.hypot(line, (bounds[1] - offset) / a))
    known = half <= _KNOWN_OFFSET * a
    return replace(
        model,
        offset=offset if known else None,
        read_noise=read**0.5 if known else None,
        offset_interval=bounds,
        read_noise_interval=(max(0.0, least) ** 0.5, most**0.5),
    )


def _line_error(covariance: NDArray[np.float64], at: float) -> float:
    """Return the standard error of the fitted line at one mean."""
    place = np.array([at, 1.0])
    return float(np.sqrt(max(0.0, place @ covariance @ place)))
