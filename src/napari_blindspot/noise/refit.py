"""A noise model fitted anew to other points of the mean–variance line."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_blindspot.noise.estimate import Measured, fit_camera
from napari_blindspot.noise.models import Gaussian, Poisson, PoissonGaussian

if TYPE_CHECKING:
    from napari_blindspot.noise.estimate import MeanVariance

_95 = 1.96


def refit(points: MeanVariance, before: PoissonGaussian) -> PoissonGaussian:
    """Fit the noise to points that were measured otherwise than by neighbours.

    Parameters
    ----------
    points
        Of the mean–variance line, data units.
    before
        The model so far, whose kind is kept: constant noise stays constant.

    Returns
    -------
    PoissonGaussian
        It knows which part of it the model so far had seen. Nothing but the line is
        told, so offset and read noise are not, unless the kind knows.
    """
    after = _fitted(points, before)
    old, new = (
        np.array([model.variance(float(x)) for x in points.mean])
        for model in (before, after)
    )
    return replace(after, seen=before.seen * float(np.median(old / new)))


def _fitted(points: MeanVariance, before: PoissonGaussian) -> PoissonGaussian:
    if isinstance(before, Gaussian):
        level = float(np.average(points.variance, weights=points.count))
        return replace(before, b=level, floor=level, b_interval=None)
    unknown = np.zeros_like(points.mean)
    line = fit_camera(
        Measured(points, unknown, unknown, unknown, float(points.mean.min()))
    )
    line = _less_sure(line, points.error)
    if isinstance(before, Poisson) and line.a > 0:
        return replace(
            before, a=line.a, b=line.b, floor=line.floor, offset=-line.b / line.a
        )
    return replace(line, counting=before.counting and line.a > 0)


def _less_sure(line: PoissonGaussian, error: float) -> PoissonGaussian:
    """Widen the intervals by a relative error that all points have in common."""
    assert line.a_interval is not None
    assert line.b_interval is not None
    a, b = (
        (value - float(half), value + float(half))
        for value, half in (
            (line.a, np.hypot(line.a_interval[1] - line.a, _95 * error * line.a)),
            (line.b, np.hypot(line.b_interval[1] - line.b, _95 * error * line.b)),
        )
    )
    return replace(line, a_interval=a, b_interval=b)
