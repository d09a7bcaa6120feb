"""From a sample of planes and what the user knows to one noise model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.errors import InputError
from napari_blindspot.noise.estimate import (
    MeanVariance,
    Measured,
    fit_camera,
    measure_noise,
)
from napari_blindspot.noise.models import (
    Gaussian,
    Impulse,
    NoiseModel,
    Poisson,
    PoissonGaussian,
)
from napari_blindspot.noise.outliers import Outliers, take_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindspot.config import NoiseSettings

_DISAGREES = 1.5  # factor between given and measured variance that is worth a word
_FEW_OUTLIERS, _MANY_OUTLIERS = 1e-4, 0.2
_95 = 1.96


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """The noise of one channel and what it was read from.

    Parameters
    ----------
    noise
        The model, data units, with confidence intervals and warnings.
    points
        The measured mean–variance points.
    """

    noise: NoiseModel
    points: MeanVariance


def calibrate(
    planes: Sequence[NDArray[Any]], saturation: float, settings: NoiseSettings
) -> Calibration:
    """Choose the noise model of one channel: what is given, and estimates for the rest.

    Parameters
    ----------
    planes
        2D arrays (Y, X) in data units.
    saturation
        Values from here on are saturated.
    settings
        Kind of noise and what is known of it.

    Raises
    ------
    InputError
        If the planes show no noise, are too small or hold nothing finite, or what was
        given cannot be true of them.
    """
    outliers = take_out(planes) if settings.noise == "impulse" else None
    measured = None
    notes: tuple[str, ...] = ()
    try:
        measured = measure_noise(outliers.planes if outliers else planes, saturation)
    except InputError as error:
        if not _is_known(settings):
            raise
        notes = (f"the given noise could not be held against the stack: {error}",)
    base = _given(settings, measured, notes)
    noise: NoiseModel = base
    if outliers is not None:
        noise = _with_outliers(base, outliers, settings.outliers)
    return Calibration(noise, measured.points if measured else NO_POINTS)


NO_POINTS = MeanVariance(np.empty(0), np.empty(0), np.empty(0))
"""Of noise that was not measured, or that lies on no line."""


def _is_known(settings: NoiseSettings) -> bool:
    """Return whether the noise can be told without a look at the stack."""
    if settings.sigma is not None:
        return True
    camera = (settings.gain, settings.offset, settings.read_noise)
    return None not in (camera[:1] if settings.noise == "poisson" else camera)


def _given(
    settings: NoiseSettings, measured: Measured | None, notes: tuple[str, ...]
) -> PoissonGaussian:
    model = _affine(settings, measured)
    if measured is not None and (settings.gain or settings.sigma):
        _refuse_impossible(settings, measured.points)
        notes = (
            *notes,
            *_offset_notes(settings, model, measured.points),
            *(_disagreement(model, measured.points) or _gain_notes(settings, measured)),
        )
    if settings.low_counts and model.a <= 0:
        notes = (
            *notes,
            "low_counts has no effect, because the noise does not grow with the signal "
            "as that of photons does; give the gain to count photons all the same.",
        )
    return replace(
        model,
        counting=settings.low_counts and model.a > 0,
        warnings=(*model.warnings, *notes),
    )


def _affine(settings: NoiseSettings, measured: Measured | None) -> PoissonGaussian:
    if settings.noise == "gaussian":
        if settings.sigma is not None:
            return Gaussian.from_sigma(settings.sigma)
        assert measured is not None
        return _constant(measured)
    gain, offset = settings.gain, settings.offset
    if settings.noise == "poisson":
        if gain is not None:
            return Poisson.from_gain(gain, offset or 0.0)
        assert measured is not None
        return _photons_alone(measured)
    if gain is not None and offset is not None and settings.read_noise is not None:
        return PoissonGaussian.from_camera(gain, offset, settings.read_noise)
    assert measured is not None
    if gain is None:
        return fit_camera(measured)
    return _of_gain(gain, offset, settings.read_noise, measured)


def _constant(measured: Measured) -> Gaussian:
    """Take the noise as the same everywhere."""
    points = measured.points
    variance, error = _average(points.variance, points)
    line = fit_camera(measured)
    notes = list(measured.warnings)
    low, high = (line.variance(float(end(points.mean))) for end in (np.min, np.max))
    if line.a > 0 and line.a_interval and line.a_interval[0] > 0 and high > 1.1 * low:
        notes.append(
            f"the noise grows with the signal ({high / low:.1f} times the variance in "
            f"the bright parts), which gaussian noise does not; noise='auto' fits "
            f"better."
        )
    interval = (max(variance - _95 * error, 0.0), variance + _95 * error)
    return Gaussian(
        0.0, variance, floor=variance, b_interval=interval, warnings=tuple(notes)
    )


def _photons_alone(measured: Measured) -> Poisson:
    """Take the noise as that of photons: a line from the offset, where it is zero."""
    line = fit_camera(measured)
    if line.a <= 0 or (line.a_interval and line.a_interval[0] <= 0):
        raise InputError(
            "the noise of the stack does not grow with its signal, so it is not that "
            "of photons alone; use noise='auto' or noise='gaussian', or give the gain."
        )
    return Poisson(
        line.a,
        line.b,
        -line.b / line.a,
        0.0,
        a_interval=line.a_interval,
        b_interval=line.b_interval,
        warnings=line.warnings,
    )


def _of_gain(
    gain: float, offset: float | None, read: float | None, measured: Measured
) -> PoissonGaussian:
    """Fit the constant part alone, the gain being known."""
    points = measured.points
    b, error = _average(points.variance - gain * points.mean, points)
    if offset is not None:
        read = max(b + gain * offset, 0.0) ** 0.5 / gain
    elif read is not None:
        offset = gain * read**2 - b / gain
    floor = 0.5 * max(gain * float(points.mean.min()) + b, float(points.variance.min()))
    return PoissonGaussian(
        gain,
        b,
        offset,
        read,
        floor=floor,
        b_interval=(b - _95 * error, b + _95 * error),
        warnings=measured.warnings,
    )


def _average(values: NDArray[np.float64], points: MeanVariance) -> tuple[float, float]:
    """Return the mean over bins, weighted by their certainty, and its error."""
    weights = points.count / np.maximum(points.variance, 1e-12 * points.variance.max())
    mean = float(np.average(values, weights=weights))
    spread = float(np.average((values - mean) ** 2, weights=weights))
    return mean, (spread / max(1, len(values) - 1)) ** 0.5


def _refuse_impossible(settings: NoiseSettings, points: MeanVariance) -> None:
    """Refuse an offset that the image contradicts."""
    offset, brightest = settings.offset, int(np.argmax(points.mean))
    top = float(points.mean[brightest])
    # Few bright voxels are in no bin, so a nearly right offset may lie above them all.
    if offset is not None and offset >= top + 3 * points.variance[brightest] ** 0.5:
        raise InputError(
            f"offset={offset:g} grey values cannot be true: even the bright parts of "
            f"the stack have {top:.6g}; offset is the grey value of the camera in the "
            f"dark, in the units of the data."
        )


def _offset_notes(
    settings: NoiseSettings, model: PoissonGaussian, points: MeanVariance
) -> list[str]:
    """Say so where the offset does not fit the dark parts or the noise."""
    if model.offset is None or model.a <= 0:
        return []
    where = f"offset={model.offset:g} grey values"
    if settings.offset is None and settings.read_noise is not None:
        where += f" (which follows from read_noise={settings.read_noise:g})"
    darkest = int(np.argmin(points.mean))
    dark, noise = float(points.mean[darkest]), float(points.variance[darkest]) ** 0.5
    if model.offset > dark + noise:
        return [
            f"{where} lies above the dark parts of the stack ({dark:.4g}); check the "
            f"units (offset in grey values, read noise in electrons)."
        ]
    zero, (_, most) = -model.b / model.a, model.b_interval or (0.0, model.b)
    if model.offset < -most / model.a:
        return [
            f"{where} is darker than the noise allows: it vanishes at {zero:.4g} "
            f"already, so the read noise is taken as 0; check offset and gain."
        ]
    return []


def _gain_notes(settings: NoiseSettings, measured: Measured) -> list[str]:
    """Say so where the noise does not grow as the gain says."""
    interval, gain = fit_camera(measured).a_interval, settings.gain
    if gain is None or interval is None:
        return []
    low, high = (max(end, 0.0) for end in interval)
    if low / _DISAGREES <= gain <= high * _DISAGREES:
        return []
    return [
        f"gain={gain:g} does not fit the noise, which grows by {low:.3g} to {high:.3g} "
        f"grey values; check the unit (grey values per electron), or leave it out."
    ]


def _disagreement(model: PoissonGaussian, points: MeanVariance) -> list[str]:
    """Say so where the given noise is far from what the stack shows."""
    expected = np.array([model.variance(float(x)) for x in points.mean])
    ratio = expected / np.maximum(points.variance, 1e-300)
    parts = np.array_split(ratio[np.argsort(points.mean)], min(3, ratio.size))
    names = ("dark", "middle", "bright") if len(parts) == 3 else ("visible",) * 2
    found = [
        (float(np.median(part)), name) for part, name in zip(parts, names, strict=False)
    ]
    worst, name = max(found, key=lambda one: max(one[0], 1 / max(one[0], 1e-300)))
    if 1 / _DISAGREES < worst < _DISAGREES:
        return []
    return [
        f"the given noise has {worst:.3g} times the variance that the {name} parts of "
        f"the stack show; check the units (gain in grey values per electron, offset in "
        f"grey values, read noise in electrons, sigma in grey values), or leave them "
        f"out."
    ]


def _with_outliers(
    base: PoissonGaussian, found: Outliers, share: float | None
) -> Impulse:
    """Add outliers between the lowest and the highest value of the sample."""
    notes = list(base.warnings)
    base = replace(base, warnings=())
    if share is not None:
        return Impulse(share, found.low, found.high, base, warnings=tuple(notes))
    if found.share < _FEW_OUTLIERS:
        notes.append(
            "hardly any voxel is an outlier, so noise='auto' would do as well."
        )
    if found.share > _MANY_OUTLIERS:
        notes.append(
            f"about {found.share:.0%} of the voxels are outliers, too many to tell the "
            f"noise of the others well; give outliers and the camera if they are known."
        )
    least, most = found.share - found.error, found.share + found.error
    interval = (max(least, 0.0), min(most, 1.0))
    share = min(max(found.share, 1e-6), 0.5)
    return Impulse(share, found.low, found.high, base, interval, tuple(notes))
