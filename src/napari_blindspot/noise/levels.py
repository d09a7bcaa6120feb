"""The noise level of every plane, from its own measurement and its neighbours'.

Bleaching and depth change the level slowly, so neighbours tell about a plane. Images
that have nothing to do with one another do not. Which of the two it is shows in how far
the measured levels scatter around a smooth curve, beyond their errors: by so much the
levels differ by themselves. With x the logarithm of a level, e its error, c the curve
and τ² the excess of the scatter, the mean of x under N(c, τ²) before and N(x, e²)
observed is c + τ² / (τ² + e²) · (x − c): the curve where neighbours share their level,
the measurement where they do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.optimize import brentq

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WINDOW = 5  # planes, of the median that two damaged planes do not move
_SMOOTH = 1.5  # planes
_REACH = 6  # planes beyond either end
_LEAST = 1e-6
_OFF = 4.0  # robust standard deviations
_LONE = 2  # planes in a row at most: more of them move the median
_FEW = 0.1  # of the planes
_SHARED = 0.2  # scatter of the logarithms: beyond it no level is shared
_CHANCE = 2.0  # standard deviations of Q
_SUREST = 1e-3  # no level is known better than this


def settle_levels(
    levels: NDArray[np.float64], errors: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Combine the measured level of every plane with those of its neighbours.

    A lone plane that is far off where the others share their level takes that of its
    neighbours: it is rather damaged, by a flash or by structure as fine as noise, than
    noisier. Where more than a tenth of the planes are off, or several in a row, or most
    of them differ anyway, no plane is taken for damaged.

    Parameters
    ----------
    levels
        (planes,) measured factors of the noise variance, not negative.
    errors
        (planes,) their relative errors; infinite where a plane tells nothing.

    Returns
    -------
    ndarray
        (planes,) positive factors. Planes that tell nothing take those of their
        neighbours; 1 if there is none that does.
    """
    told = np.isfinite(errors)
    if not told.any():
        return np.ones(len(levels))
    errors = np.maximum(errors, _SUREST)
    place = np.arange(len(levels))
    # As logarithms: bleaching and depth multiply.
    measured = np.log(np.maximum(levels[told], _LEAST))
    log = np.interp(place, place[told], measured)
    curve = _smooth(log)
    off = log - curve
    kept = told & ~_damaged(off, errors, told)
    excess = _excess(off[kept], errors[kept])
    own = np.where(kept, excess / (excess + errors**2), 0.0)
    settled: NDArray[np.float64] = np.exp(curve + own * off)
    return settled


def _excess(off: NDArray[np.float64], errors: NDArray[np.float64]) -> float:
    """Return the variance around the curve that the errors do not explain.

    That of Paule and Mandel, where Cochran's Q is larger than chance makes it.
    """

    def surplus(excess: float) -> float:
        return float(np.sum(off**2 / (excess + errors**2))) - off.size

    if surplus(0.0) <= _CHANCE * (2 * off.size) ** 0.5:
        return 0.0
    found: float = brentq(surplus, 0.0, float(np.mean(off**2)))
    return found


def _smooth(log: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a curve that lone outliers do not move, not even at the ends."""
    steady = ndimage.median_filter(log, _WINDOW, mode="mirror")
    if len(log) > 2:
        # Tukey's rule for the ends of running medians: a drift goes on there.
        for end, second, third in ((0, 1, 2), (-1, -2, -3)):
            beyond = 3 * steady[second] - 2 * steady[third]
            steady[end] = np.median([log[end], steady[second], beyond])
    longer = np.pad(steady, _REACH, mode="reflect", reflect_type="odd")
    smooth: NDArray[np.float64] = ndimage.gaussian_filter1d(longer, _SMOOTH)
    return smooth[_REACH:-_REACH]


def _damaged(
    off: NDArray[np.float64], errors: NDArray[np.float64], told: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Find the few lone planes that are far from a curve that the others follow."""
    none = np.zeros_like(told)
    spread = 1.4826 * float(np.median(np.abs(off[told])))
    if spread > _SHARED:
        return none
    far = told & (np.abs(off) > _OFF * np.maximum(spread, errors))
    runs, _ = ndimage.label(far)
    lone: NDArray[np.bool_] = far & (np.bincount(runs)[runs] <= _LONE)
    return lone if lone.sum() <= _FEW * told.sum() else none
