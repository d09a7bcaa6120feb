"""The noise that a network in training cannot explain: its lower envelope.

Of a voxel whose surroundings tell its value, what is left of (y − μ)² is noise. So
among voxels of one intensity, those that the network is most sure of show the noise,
whatever neighbours share of it: that is what differences between neighbours cannot
show. Who is sure is decided by the prior variance, which never saw the voxel's own
value, so that choosing by it does not favour small residuals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_blindspot.noise.estimate import MeanVariance

if TYPE_CHECKING:
    from napari_blindspot.noise.recalibration import Residuals
    from napari_blindspot.normalize import Normalization

_SUREST = 0.1  # of the voxels of a bin
_BINS = 20
_PER_BIN = 2000
_OUTLIER = 5.0  # robust standard deviations


def lower_envelope(seen: Residuals, scale: Normalization) -> MeanVariance:
    """Return the noise of the surest voxels in bins of the prior mean, data units.

    It may be some per cent too large: the prior variance of the surest voxels is small
    but not zero.

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
