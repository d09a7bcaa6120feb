"""The noise that a network in training cannot explain: its lower envelope.

Of a voxel whose surroundings tell its value, what is left of (y − μ)² is noise. So
among voxels of one intensity, those that the network is most sure of show the noise,
whatever neighbours share of it: that is what differences between neighbours cannot
show. Who is sure is decided by the prior variance, which never saw the voxel's own
value, so that choosing by it does not favour small residuals.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_blindspot.noise.estimate import MeanVariance, Measured, fit_camera
from napari_blindspot.noise.models import Gaussian, Poisson, PoissonGaussian

if TYPE_CHECKING:
    from napari_blindspot.noise.recalibration import Residuals
    from napari_blindspot.normalize import Normalization

_SUREST = 0.1  # of the voxels of a bin
_BINS = 20
_PER_BIN = 2000
_OUTLIER = 5.0  # robust standard deviations


def lower_envelope(seen: Residuals, scale: Normalization) -> MeanVariance:
    """Return the noise of the surest voxels in bins of the prior mean, data units.

    Parameters
    ----------
    seen
        Residuals in network units.
    scale
        Normalisation of the channel.
    """
    residual = seen.y.astype(np.float64) - seen.mean
    rows = []
    for part in seen.bins(_BINS, _PER_BIN):
        count = max(1, round(_SUREST * part.size))
        sure = part[np.argpartition(seen.variance[part], count - 1)[:count]]
        r = residual[sure]
        spread = 1.4826 * float(np.median(np.abs(r)))
        kept = np.abs(r) <= _OUTLIER * spread
        mean = float(seen.mean[sure].mean(dtype=np.float64))
        rows.append((mean, float(np.mean(r[kept] ** 2)), float(count)))
    mean, variance, count = np.array(rows).T
    return MeanVariance(
        mean * scale.scale + scale.offset, variance * scale.scale**2, count
    )


def refine_by_envelope(
    points: MeanVariance, before: PoissonGaussian
) -> PoissonGaussian:
    """Fit the noise to a lower envelope; it may be some per cent too large.

    The prior variance of the surest voxels is small but not zero.

    Parameters
    ----------
    points
        From `lower_envelope`.
    before
        The model so far, whose kind is kept: constant noise stays constant.
    """
    if isinstance(before, Gaussian):
        level = float(np.average(points.variance, weights=points.count))
        return replace(before, b=level, floor=level, b_interval=None)
    unknown = np.zeros_like(points.mean)
    line = fit_camera(
        Measured(points, unknown, unknown, unknown, float(points.mean.min()))
    )
    if isinstance(before, Poisson) and line.a > 0:
        return replace(
            before, a=line.a, b=line.b, floor=line.floor, offset=-line.b / line.a
        )
    return replace(line, counting=before.counting and line.a > 0)
