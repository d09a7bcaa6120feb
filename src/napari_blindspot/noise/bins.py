"""Samples in bins of the signal, and the moments of the noise in each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_blindspot.noise.samples import SHARED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.noise.samples import Samples

_BINS = 40
_LEAST_PER_BIN = 50
_OUTLIER = 4.0  # robust standard deviations
_LEFT_BY_CUT = 0.99893  # of a normal distribution's variance, by cutting at 4 sigma
_THIRD = 6.0  # 1 / (Σh³)² with h = (1, −2, 1)/√6: from the residual's third cumulant


def equal_bins(samples: Samples) -> list[Samples]:
    """Cut the samples into bins of equal population by their level."""
    order = np.argsort(samples.level, kind="stable")
    bins = min(_BINS, max(2, order.size // _LEAST_PER_BIN))
    return [samples.chosen(part) for part in np.array_split(order, bins)]


def moments(part: Samples) -> tuple[float, ...]:
    """Return mean, variance, count; then place, value and error of the cumulant."""
    e = part.residual
    spread = _spread(e) or float("inf")  # no pixel, or nearly none, differs
    inner = np.abs(e) < _OUTLIER * spread
    # The third cumulant lives in the tail.
    outer = np.abs(e) < 2 * _OUTLIER * spread
    cubes = _THIRD * e[outer] ** 3
    return (
        # Of the same pixels: a hot one raises the mean as well.
        float(part.mean[inner].mean()),
        float(np.mean(e[inner] ** 2)) / _LEFT_BY_CUT,
        float(e.size),
        float(part.cubed_mean[outer].mean()),
        float(cubes.mean()),
        float(cubes.std()) * (SHARED / e.size) ** 0.5,
    )


def _spread(residual: NDArray[np.float64]) -> float:
    """Return a standard deviation that edges of structures do not move.

    Of the median and the 90 % quantile the larger: where few photons are counted most
    residuals are zero, and the median alone would cut the counts away.
    """
    middle, high = np.quantile(np.abs(residual), [0.5, 0.9])
    return max(1.4826 * float(middle), 0.6080 * float(high))
