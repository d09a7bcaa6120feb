"""Does the noise model fit? A plain answer after training, and what follows from it.

Three things are compared with the model: the scatter of held-out voxels around the
network's mean, the differences between neighbouring voxels (bins of the mean–variance
line), and whether residuals of neighbours are alike.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.noise.samples import SHARED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.noise.estimate import MeanVariance
    from napari_blindspot.noise.models import NoiseModel
    from napari_blindspot.noise.recalibration import Residuals

LEAST_RESIDUAL = 0.85
"""Of the variance that the model explains; below it, it explains too much."""

LEAST_VOXELS = 1000
"""Fewer residuals than these tell nothing."""

MEASURED_NOISE, PRIOR_MEAN = "measured noise", "prior mean"
"""What the result falls back to: a larger noise, or no word of the voxel itself."""

_WRONG_VALUES = (
    "(wrong camera values, another kind of noise, compressed or clipped data?). The "
    "larger, measured noise is used for the result."
)
_NO_LINE = (
    "(compressed or rescaled data, which no camera model fits). The result leaves out "
    "the voxels' own values and is the network's mean."
)

_TOO_LITTLE, _TOO_MUCH = 1.08, 0.85  # measured over modelled noise variance
_PART = 0.1  # of the voxels: what is wrong in fewer of them is not worth a fall-back
_SURE = 3.0  # standard errors
_PARTS = 4  # of the intensities
_CHANCE = 2.5  # standard errors of a bin that its tenth highest may be off by
_LEAST_MODELLED = 0.05  # of the median noise: pure photon noise has none in the dark
_MOST_RESIDUAL = 1.3


@dataclass(frozen=True, slots=True)
class Verdict:
    """How well the noise model of one channel fits.

    Parameters
    ----------
    fits
        Whether the posterior and its uncertainty can be trusted.
    sentence
        The same in words.
    residual
        Variance of the held-out residuals over the predicted one: 1 where all fits.
    residual_error
        Its standard error.
    measured
        Measured over modelled noise variance where the model falls short most, over
        a tenth of the voxels at least; None where nothing was measured.
    fallback
        ``""``, or what was done about a model that does not fit.
    """

    fits: bool
    sentence: str
    residual: float
    residual_error: float
    measured: float | None = None
    fallback: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)


def judge_noise(
    seen: Residuals,
    model: NoiseModel,
    points: MeanVariance,
    *,
    estimated: bool = False,
) -> Verdict:
    """Judge the noise model of one channel.

    Parameters
    ----------
    seen
        Residuals of the trained network.
    model
        The noise model it was trained with, data units.
    points
        Measured mean–variance points, data units; may be empty.
    estimated
        Whether the model is the line through these very points: where they leave it,
        no line fits and none of them is a safe noise to go by.
    """
    if seen.y.size < LEAST_VOXELS:
        return Verdict(
            False,
            f"the noise model could not be checked: only {seen.y.size} voxels of what "
            f"was looked at are finite, unsaturated and no padding; choose a region "
            f"with more data.",
            float("nan"),
            float("nan"),
        )
    residual, error = held_out_variance(seen)
    ratio, weight = _measured_ratio(model, points)
    if ratio.size == 0:
        return _by_residual(seen, residual, error, None)
    least, most = _weighted_quantiles(ratio, weight, [_PART, 1 - _PART])
    chance = _CHANCE * math.sqrt(2 * SHARED / float(np.median(weight)))
    if most > max(_TOO_LITTLE, 1 + chance):
        over = most - 1
        return Verdict(
            False,
            f"noise is under-estimated by {_words(over)} in a part of the image: "
            f"neighbouring voxels differ more than the noise model allows "
            + (_NO_LINE if estimated else _WRONG_VALUES),
            residual,
            error,
            most,
            PRIOR_MEAN if estimated else MEASURED_NOISE,
        )
    if least < min(_TOO_MUCH, 1 - chance) and residual < 1 - _SURE * error:
        return Verdict(
            False,
            f"noise is over-estimated by about {1 / least - 1:.0%} in a part of the "
            f"image, so detail may have been taken for noise; leave out the camera "
            f"values to have the noise estimated, or check their units.",
            residual,
            error,
            least,
            "",
        )
    return _by_residual(seen, residual, error, most)


def without_fallback(verdict: Verdict) -> Verdict:
    """Return the verdict where nothing can be done about it, and none is promised."""
    if not verdict.fallback:
        return verdict
    said = verdict.sentence.replace(_NO_LINE, _WRONG_VALUES)
    first, _, _ = said.partition(" The larger, measured noise")
    return replace(verdict, sentence=first, fallback="")


def noise_shortfall(
    seen: Residuals, model: NoiseModel, points: MeanVariance, scale: Any
) -> NDArray[np.float64]:
    """Return the factor by which the noise of each voxel is larger than modelled.

    Parameters
    ----------
    seen
        Residuals, network units.
    model, points
        As in `judge_noise`.
    scale
        The channel's normalisation.

    Returns
    -------
    ndarray
        (n,) measured over modelled variance at the prior mean of each voxel, at least
        1: only the safer of the two is ever believed.
    """
    order = np.argsort(points.mean)
    mean = points.mean[order]
    ratio = np.maximum(points.variance[order] / _modelled(model, points)[order], 1.0)
    data = seen.mean.astype(np.float64) * scale.scale + scale.offset
    factor: NDArray[np.float64] = np.interp(data, mean, ratio)
    return factor


def _words(over: float) -> str:
    return f"about {over:.0%}" if over < 10 else "more than tenfold"


def _by_residual(
    seen: Residuals, residual: float, error: float, measured: float | None
) -> Verdict:
    if is_short_in_part(seen, residual):
        return Verdict(
            False,
            f"held-out voxels scatter {1 - residual:.0%} less than the noise model "
            f"says, but not at every intensity: there the noise is smaller (a "
            f"background that zero cuts, compressed or filtered data?), detail may "
            f"have been taken for noise and the uncertainty is too large; choose a "
            f"region with signal, or give the camera's values.",
            residual,
            error,
            measured,
        )
    if residual < LEAST_RESIDUAL:
        return Verdict(
            False,
            f"neighbouring voxels share their noise (held-out voxels scatter "
            f"{1 - residual:.0%} less than the noise model says; the stack was "
            f"resampled, compressed or filtered?): part of the noise is kept, and the "
            f"uncertainty is too small; try a larger blind spot, "
            f"e.g. (1, 3, 3) (--hole 1 3 3 in the shell).",
            residual,
            error,
            measured,
        )
    if residual > _MOST_RESIDUAL:
        return Verdict(
            False,
            f"held-out voxels scatter {residual - 1:.0%} more than the noise and the "
            f"network allow (few outliers, e.g. hot pixels, or too short a training): "
            f"the uncertainty is too small; try noise='impulse', or train longer.",
            residual,
            error,
            measured,
        )
    return Verdict(True, "noise model fits.", residual, error, measured)


def held_out_variance(seen: Residuals) -> tuple[float, float]:
    """Return the mean of (y − μ)² / (v + n) over held-out voxels and its error.

    Over all voxels where none was held out.
    """
    chosen = seen.held_out if seen.held_out.any() else np.ones_like(seen.held_out)
    total = (seen.variance + seen.noise)[chosen]
    ratio = seen.squares[chosen] / total
    return float(ratio.mean()), float(ratio.std() / ratio.size**0.5)


def scatter_where_most(seen: Residuals) -> float:
    """Return the mean of (y − μ)² / (v + n) in the quarter of μ where it is largest.

    Over all voxels, because a quarter of the held-out ones may be few. Noise that
    neighbours share lacks scatter at every intensity; where zero cuts the noise of a
    dark background, scatter is missing in the dark alone.
    """
    ratio = seen.squares / (seen.variance + seen.noise)
    order = np.argsort(seen.mean, kind="stable")
    return max(float(ratio[part].mean()) for part in np.array_split(order, _PARTS))


def is_short_in_part(seen: Residuals, residual: float) -> bool:
    """Return whether scatter is missing, but not at every intensity."""
    return residual < LEAST_RESIDUAL <= scatter_where_most(seen)


def _measured_ratio(
    model: NoiseModel, points: MeanVariance
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return measured over modelled variance of every bin, and the bins' weights."""
    return points.variance / _modelled(model, points), points.count


def _modelled(model: NoiseModel, points: MeanVariance) -> NDArray[np.float64]:
    """Return the model's variance at the points; never nothing, as in the dark."""
    n = np.array([model.ordinary.variance(float(x)) for x in points.mean])
    least = _LEAST_MODELLED * float(np.median(points.variance)) if n.size else 0.0
    modelled: NDArray[np.float64] = np.maximum(n, least)
    return modelled


def _weighted_quantiles(
    values: NDArray[np.float64], weights: NDArray[np.float64], at: list[float]
) -> list[float]:
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    places = np.minimum(np.searchsorted(reached, at), len(order) - 1)
    return [float(value) for value in values[order][places]]
