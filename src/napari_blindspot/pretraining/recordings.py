"""Recordings of clean volumes with fresh noise, as a camera would store them.

Everything is drawn: light, read noise, the family of the noise, outliers, noise that
neighbours share, and which blind spot the network is to answer behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_blindspot.normalize import fit_normalization
from napari_blindspot.starts.shipped import CONTEXT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.networks.blindspot import Hole

_PHOTONS = (1.0, 300.0)  # at the 99.9 % quantile
_READ_NOISE = (0.3, 8.0)  # electrons
_PLAIN_HOLES = 0.65  # of the recordings want a blind spot of one voxel
_SHARED = 0.7  # of the others have noise that neighbours share
_OUTLIERS = 0.06  # of the recordings have hot pixels
_LEAST_LIGHT = 0.05  # electrons in the dark, where there is no other noise
# Of the estimated floor over the true one: half of it is usual at few photons.
_MISJUDGED_FLOOR = (0.35, 1.4)
_MISJUDGED = 0.08  # standard deviation of the logarithm of the estimated noise


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """A clean volume and its recording, in network units.

    Parameters
    ----------
    clean, noisy
        (Z, Y, X) float32.
    a, b, floor
        Noise variance max(a·x + b, floor) at the clean value x.
    judged, judged_floor
        Factors by which the estimate of that noise, and of its floor beside the rest,
        is off.
    hole
        Blind spot (z, y, x) that it is to be denoised behind.
    context
        Neighbour planes on either side that the network is shown, 0 to `CONTEXT`.
    """

    clean: NDArray[np.float32]
    noisy: NDArray[np.float32]
    a: float
    b: float
    floor: float
    judged: float
    judged_floor: float
    hole: Hole
    context: int


def record(rng: np.random.Generator, truth: NDArray[np.float32]) -> Recording:
    """Record a clean volume.

    Parameters
    ----------
    rng
        Draws everything.
    truth
        (Z, Y, X), not negative, about 1 where it is bright.

    Returns
    -------
    Recording
    """
    hole, context = _hole(rng), int(rng.choice([CONTEXT, 1, 0], p=[0.75, 0.1, 0.15]))
    signal, noise, offset = _light(rng, truth)
    if max(hole) > 1 and rng.random() < _SHARED:
        noise = _share(rng, noise, hole)
    electrons = signal + noise
    if rng.random() < _OUTLIERS:
        electrons = _hot(rng, electrons)
    scale = fit_normalization(electrons)
    return Recording(
        scale.forward(signal),
        scale.forward(electrons),
        offset[0] / scale.scale,
        (offset[0] * scale.offset + offset[1]) / scale.scale**2,
        max(offset[1] / scale.scale**2, _LEAST_LIGHT * offset[0] / scale.scale, 1e-8),
        float(np.exp(_MISJUDGED * rng.standard_normal())),
        _log_uniform(rng, *_MISJUDGED_FLOOR),
        hole,
        min(context, len(truth) // 2),
    )


def _light(
    rng: np.random.Generator, truth: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[float, float]]:
    """Return signal and noise in electrons, and (k, s²) of the variance k·signal + s².

    Read noise alone (k = 0), photons alone, or both.
    """
    photons = _log_uniform(rng, *_PHOTONS)
    family = rng.choice(["camera", "gaussian", "poisson"], p=[0.72, 0.18, 0.1])
    signal = photons * truth.astype(np.float64)
    if family == "gaussian":
        sigma = _log_uniform(rng, 0.02, 0.6) * photons
        return signal, sigma * rng.standard_normal(signal.shape), (0.0, sigma**2)
    read = 0.0 if family == "poisson" else _log_uniform(rng, *_READ_NOISE)
    # Counted photons need some light everywhere, or the dark has no noise at all.
    signal = signal + (0.0 if read else rng.uniform(0.05, 1.0))
    noise = rng.poisson(signal) - signal + read * rng.standard_normal(signal.shape)
    return signal, noise, (1.0, read**2)


def _hole(rng: np.random.Generator) -> Hole:
    """Draw a blind spot: mostly of one voxel, else a box, a row or a column."""
    if rng.random() < _PLAIN_HOLES:
        return (1, 1, 1)
    y, x = (int(2 * rng.integers(0, 6) + 1) for _ in range(2))
    shape = rng.integers(4)
    z = 3 if rng.random() < 0.3 else 1
    return (z, *((y, y), (1, x), (y, 1), (y, x))[shape])


def _share(
    rng: np.random.Generator, noise: NDArray[np.float64], hole: Hole
) -> NDArray[np.float64]:
    """Filter the noise inside the reach of the hole; its strength stays."""
    for axis, size in enumerate(hole):
        if size == 1:
            continue
        reach = int(rng.integers(1, size // 2 + 2))  # taps
        kernel = rng.uniform(0.1, 1.0, reach)
        kernel = np.pad(kernel, (0, 1 - reach % 2))
        unit = kernel / np.linalg.norm(kernel)
        noise = ndimage.convolve1d(noise, unit, axis=axis, mode="reflect")
    return noise


def _hot(
    rng: np.random.Generator, electrons: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Replace some voxels by bright values."""
    share = _log_uniform(rng, 1e-4, 0.03)
    hot = rng.random(electrons.shape) < share
    values = rng.uniform(electrons.min(), 2 * electrons.max(), electrons.shape)
    return np.where(hot, values, electrons)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
