"""Set the prior right where it can be checked: in bins of the intensity.

The noisy value y of a voxel is the clean one on average, and the network never saw it.
So the average of y − μ over the voxels of one prior mean μ tells how far off the mean
is: a network that was trained for minutes smooths what is bright into what is dark, and
the total of a plane would be off by some per cent.

Of every voxel the network promises a variance v of the clean value around μ, and the
noise has variance n. Then (y − μ)² is v + n on average, whatever the distributions, so
the average of (y − μ)² − n over many voxels of one intensity tells what v should have
been. A network that was trained for minutes promises too much variance in the dark and
too little on structures, because n hides v from its likelihood.

Where the noise itself was under-estimated, v has swallowed the rest of it and the
posterior would trust the noisy value far too much. Then n is raised to what was
measured, and v shrinks by as much.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace, device

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLINDING = 1e6  # times the noise
_UNKNOWN = 10.0  # relative error
_PER_BIN = 100_000  # voxels; n is 30 times v, so that v is known to about 15 %
_BINS = 12
_PRIOR = 0.5  # how far factors of bins are thought to differ, relatively
_LEAST, _MOST = 0.2, 4.0
_LEAST_OF_SWALLOWED = 0.005  # most of a prior that has swallowed noise is noise


@dataclass(frozen=True, slots=True)
class Recalibration:
    """A shift of the prior mean and factors on the variances, over the prior mean.

    Parameters
    ----------
    means
        Prior means, network units, rising; between them factors are interpolated,
        beyond them they stay.
    variance, noise
        Factor on the prior variance and on the noise variance at each of `means`.
    error
        Relative standard error of the mean prior variance after it: the noise hides
        it, and one per cent of the noise may be a third of it.
    shift
        What is added to the prior mean at each of `means`, network units; empty:
        nothing.
    """

    means: tuple[float, ...]
    variance: tuple[float, ...]
    noise: tuple[float, ...]
    error: float = 0.0
    shift: tuple[float, ...] = ()

    def shifted(self, mean: Any) -> Any:
        """Return the prior mean without what it is off by (array or tensor)."""
        if not self.shift:
            return mean
        return mean + _interpolated(mean, self.means, self.shift)

    def variance_factor(self, mean: Any) -> Any:
        """Return the factor on the prior variance at prior means (array or tensor)."""
        return _interpolated(mean, self.means, self.variance)

    def noise_factor(self, mean: Any) -> Any:
        """Return the factor on the noise variance at prior means."""
        return _interpolated(mean, self.means, self.noise)

    def without_values(self) -> Recalibration:
        """Return it with a noise so large that the posterior mean is the prior's."""
        return replace(self, noise=tuple(_BLINDING for _ in self.noise))

    def of_noise_alone(self) -> Recalibration:
        """Return what it says of the noise, for another prior, of which it knows none.

        So its error is set to what tells nothing.
        """
        ones = tuple(1.0 for _ in self.means)
        return replace(self, variance=ones, shift=(), error=_UNKNOWN)

    def as_dict(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Recalibration:
        """Read back what `as_dict` wrote."""
        means, variance, noise = (
            tuple(float(x) for x in facts[name])
            for name in ("means", "variance", "noise")
        )
        shift = tuple(float(x) for x in facts.get("shift", ()))
        if not len(means) == len(variance) == len(noise) > 0:
            raise ValueError("a recalibration needs as many factors as means")
        if len(shift) not in (0, len(means)):
            raise ValueError("a recalibration needs as many shifts as means")
        return cls(means, variance, noise, float(facts.get("error", 0.0)), shift)


UNCHANGED = Recalibration((0.0,), (1.0,), (1.0,))
"""Where nothing can be said about the prior variance."""


@dataclass(frozen=True, slots=True, eq=False)
class Residuals:
    """What the network said of some voxels, and what they were; one number each.

    Parameters
    ----------
    y, mean, variance, noise
        (n,) noisy value, prior mean, prior variance, noise variance at the mean; in
        network units.
    held_out
        (n,) bool: the voxel was never a target of training.
    """

    y: NDArray[np.float32]
    mean: NDArray[np.float32]
    variance: NDArray[np.float32]
    noise: NDArray[np.float32]
    held_out: NDArray[np.bool_]

    @property
    def differences(self) -> NDArray[np.float64]:
        """The noisy minus the prior mean; zero on average where the latter is right."""
        return self.y.astype(np.float64) - self.mean

    @property
    def squares(self) -> NDArray[np.float64]:
        """(y − μ)², in which the prior variance and the noise add up."""
        return self.differences**2

    def bins(self, most: int = _BINS, per_bin: int = _PER_BIN) -> list[NDArray[Any]]:
        """Return the indices of voxels in bins of equal population by prior mean."""
        order = np.argsort(self.mean, kind="stable")
        return np.array_split(order, max(1, min(most, order.size // per_bin)))


def recalibrate(
    seen: Residuals,
    noise_error: float,
    noise_factor: NDArray[np.float64] | None = None,
) -> Recalibration:
    """Fit the factors to residuals of many voxels.

    Parameters
    ----------
    seen
        Residuals, at least some thousands.
    noise_error
        Relative standard error of the noise variance.
    noise_factor
        (n,) factor by which the noise of each voxel is larger than its model says,
        where that was found to be so; None: the model is right.

    Returns
    -------
    Recalibration
        Each bin's factor is drawn towards that of all voxels, and that towards 1, by
        as much as it is uncertain; shifts are drawn towards 0.
    """
    factor = np.ones(seen.y.size) if noise_factor is None else noise_factor
    noise = seen.noise * factor
    shift, means = _shifts(seen, noise, parts := seen.bins())
    off = _interpolated(seen.mean.astype(np.float64), means, shift)
    squares = (seen.differences - off) ** 2
    every = slice(None)
    least = _LEAST if noise_factor is None else _LEAST_OF_SWALLOWED
    whole, error = _factor(squares, noise, seen.variance, every, 1.0, noise_error)
    variances, noises = [], []
    for part in parts:
        one = whole
        if len(parts) > 1:  # the same voxels must not draw twice
            one, _ = _factor(squares, noise, seen.variance, part, whole, noise_error)
        variances.append(float(np.clip(one, least, _MOST)))
        noises.append(float(np.mean(noise[part]) / np.mean(seen.noise[part])))
    return Recalibration(
        means,
        tuple(variances),
        tuple(noises),
        float(error / max(whole, least)),
        shift,
    )


def _shifts(
    seen: Residuals, noise: NDArray[np.float64], parts: list[NDArray[Any]]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return how far off the mean is in every part, and the mean of every part."""
    means = [float(seen.mean[part].mean(dtype=np.float64)) for part in parts]
    off = np.array([seen.differences[part].mean() for part in parts])
    total = noise + seen.variance
    chance = np.array([total[part].mean() / part.size for part in parts])
    # Shifts differ as much among themselves as chance does not explain.
    real = max(float(np.mean(off**2 - chance)), 0.0)
    drawn = off * real / (real + chance) if real > 0 else 0 * off
    return tuple(map(float, drawn)), tuple(means)


def _factor(
    squares: NDArray[np.float64],
    noise: NDArray[np.float64],
    variance: NDArray[np.float32],
    part: Any,
    towards: float,
    noise_error: float,
) -> tuple[float, float]:
    """Return the factor on v in a part, drawn towards a guess, and its error."""
    promised = float(variance[part].mean(dtype=np.float64))
    excess = squares[part] - noise[part]
    chance = float(excess.std()) / excess.size**0.5
    error = np.hypot(chance, noise_error * float(noise[part].mean())) / promised
    trust = _PRIOR**2 / (_PRIOR**2 + error**2)
    # Less than no variance is chance.
    found = max(float(excess.mean()) / promised, 0.0)
    factor = towards + trust * (found - towards)
    return factor, float(error * trust**0.5)


def _interpolated(x: Any, knots: tuple[float, ...], values: tuple[float, ...]) -> Any:
    """Interpolate linearly; numpy and torch alike."""
    xp = array_namespace(x)
    at, of = (xp.asarray(v, dtype=x.dtype, device=device(x)) for v in (knots, values))
    if len(knots) == 1:
        return xp.zeros_like(x) + of
    right = xp.clip(xp.searchsorted(at, x), 1, len(knots) - 1)
    left = right - 1
    width = xp.clip(at[right] - at[left], 1e-30, None)  # of knots that coincide, too
    step = xp.clip((x - at[left]) / width, 0, 1)
    return of[left] + step * (of[right] - of[left])
