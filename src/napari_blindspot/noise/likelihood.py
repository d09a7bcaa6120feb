"""What each family of noise says about a voxel, in the units of its parameters.

Every family answers the same four questions: the noise variance at a clean value, the
negative log-likelihood of a noisy value under the network's prior (mean μ, variance
v), and the posterior mean and variance once that value is known. The formulas work on
numpy arrays and torch tensors alike; parameters are numbers or arrays that broadcast,
so noise may differ from image to image, from plane to plane and from pixel to pixel.

Constants that do not depend on the prior are left out of the likelihoods, and the
factor ½ as well (Laine et al. 2019 do so for one channel).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Protocol

from array_api_compat import array_namespace

from napari_blindspot.noise.posterior import (
    noise_variance,
    posterior_mean,
    posterior_variance,
)

if TYPE_CHECKING:
    from collections.abc import Callable


class Likelihood(Protocol):
    """The questions every family of noise answers.

    Arguments are arrays of one shape: `y` noisy values, `mean` and `variance` of the
    prior. `noise_mean`, where it is given, is the mean at which the noise variance is
    taken, so that a caller may cut the gradient through it.
    """

    @property
    def a(self) -> Any:
        """Slope of the variance over the clean value."""

    @property
    def b(self) -> Any:
        """Variance at the clean value 0."""

    @property
    def floor(self) -> Any:
        """Least variance."""

    def variance(self, mean: Any) -> Any:
        """Return the variance of the noise at a clean value."""

    def predictive(
        self, mean: Any, variance: Any, noise_mean: Any = None
    ) -> tuple[Any, Any]:
        """Return mean and variance of the noisy value, given its surroundings."""

    def negative_log_likelihood(
        self, y: Any, mean: Any, variance: Any, noise_mean: Any = None
    ) -> Any:
        """Return −2·log p(y | surroundings) up to a constant, voxel by voxel."""

    def posterior(self, y: Any, mean: Any, variance: Any) -> tuple[Any, Any]:
        """Return mean and variance of the clean value given y."""


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """Noise of variance n(X) = max(a·X + b, floor): cameras, Gaussian, Poisson.

    Parameters
    ----------
    a, b, floor
        Slope, intercept and least variance.
    """

    a: Any
    b: Any
    floor: Any

    def variance(self, mean: Any) -> Any:
        """Return n at the prior mean."""
        return noise_variance(mean, self.a, self.b, self.floor)

    def predictive(
        self, mean: Any, variance: Any, noise_mean: Any = None
    ) -> tuple[Any, Any]:
        """Return μ and v + n(μ), exact for any prior (law of total variance)."""
        at = mean if noise_mean is None else noise_mean
        return mean, variance + self.variance(at)

    def negative_log_likelihood(
        self, y: Any, mean: Any, variance: Any, noise_mean: Any = None
    ) -> Any:
        """Return (y − μ)² / σ² + log σ² with σ² = v + n(μ).

        Laine et al. 2019, eq. 6, without the regulariser of unknown noise.
        """
        return _normal(y, *self.predictive(mean, variance, noise_mean))

    def posterior(self, y: Any, mean: Any, variance: Any) -> tuple[Any, Any]:
        """Return (v·y + n·μ) / (v + n) and v·n / (v + n)."""
        noise = self.variance(mean)
        return (
            posterior_mean(y, mean, variance, noise),
            posterior_variance(variance, noise),
        )


_LARGEST_SHAPE = 1e4  # of the Gamma prior: beyond it float32 loses the difference
_LEAST_COUNT = 1e-3  # that is expected: its logarithm is taken


@dataclass(frozen=True, slots=True, eq=False)
class PhotonCounting(Affine):
    """Poisson noise of few photons, exactly: a Gamma prior and a negative binomial.

    Below about three photons per voxel a normal distribution is a poor picture of a
    count. Read noise is folded in as counts that are always there, s²/g².

    Parameters
    ----------
    a, b, floor
        As of `Affine`; a must be positive.
    """

    def counts(self, value: Any, least: float = 0.0) -> Any:
        """Return values as photon counts, (a·y + b) / a², at least `least`."""
        xp = array_namespace(value)
        counts = (self.a * value + self.b) / self.a**2
        return xp.where(counts > least, counts, 0 * counts + least)

    def negative_log_likelihood(
        self, y: Any, mean: Any, variance: Any, noise_mean: Any = None
    ) -> Any:
        """Return −2·log of the negative binomial with shape k = m²/v.

        `noise_mean` has no meaning here: one mean gives count and variance.
        """
        del noise_mean
        xp = array_namespace(y)
        counts, m = self.counts(y), self.counts(mean, _LEAST_COUNT)
        k = m**2 * self.a**2 / variance
        k = xp.where(k < _LARGEST_SHAPE, k, 0 * k + _LARGEST_SHAPE)
        log_p = (
            _log_gamma(counts + k)
            - _log_gamma(k)
            + k * xp.log(k / (k + m))
            + counts * xp.log(m / (k + m))
        )
        return -2 * log_p

    def posterior(self, y: Any, mean: Any, variance: Any) -> tuple[Any, Any]:
        """Return the posterior of the Gamma prior: (m² + v·y)/(m + v), PM·v/(v + m).

        The mean is that of `Affine`; the variance grows with what was counted.
        """
        noise = self.variance(mean)
        clean = posterior_mean(y, mean, variance, noise)
        counted = self.variance(clean)  # in the units of the noise: a²·(counts)
        return clean, posterior_variance(variance, noise) * counted / noise


@dataclass(frozen=True, slots=True, eq=False)
class Impulse:
    """Outliers among ordinary noise: salt, pepper, hot pixels, random values.

    With probability `share` a voxel is replaced by a value uniform between `low` and
    `high`; otherwise it has noise of variance n(X) = max(a·X + b, floor). Laine et al.
    2019 have no other noise: a = b = 0.

    Parameters
    ----------
    a, b, floor
        As of `Affine`.
    share
        Probability of an outlier, between 0 and 1.
    low, high
        Range of the outliers.
    """

    a: Any
    b: Any
    floor: Any
    share: Any
    low: Any
    high: Any

    def variance(self, mean: Any) -> Any:
        """Return the variance of y at a clean value, outliers included."""
        noise = noise_variance(mean, self.a, self.b, self.floor)
        away = (mean - (self.low + self.high) / 2) ** 2
        return (1 - self.share) * (noise + self.share * away) + self.share * (
            self.high - self.low
        ) ** 2 / 12

    def predictive(
        self, mean: Any, variance: Any, noise_mean: Any = None
    ) -> tuple[Any, Any]:
        """Return μ_y = α·c + (1 − α)·μ and σ_y², with the centre c of the outliers.

        σ_y² = α·(c² + w²/12) + (1 − α)·(v + n + μ²) − μ_y², where w is their width
        (Laine et al. 2019, on impulse noise; there c = ½, w = 1 and n = 0).
        """
        at = mean if noise_mean is None else noise_mean
        expected = self.share * (self.low + self.high) / 2 + (1 - self.share) * mean
        return expected, (1 - self.share) * variance + self.variance(at)

    def negative_log_likelihood(
        self, y: Any, mean: Any, variance: Any, noise_mean: Any = None
    ) -> Any:
        """Return (y − μ_y)² / σ_y² + log σ_y² with the first two moments of y."""
        return _normal(y, *self.predictive(mean, variance, noise_mean))

    def trust(self, y: Any, mean: Any, variance: Any) -> Any:
        """Return the probability that y is no outlier."""
        xp = array_namespace(y)
        total = variance + noise_variance(mean, self.a, self.b, self.floor)
        near = (1 - self.share) * xp.exp(-((y - mean) ** 2) / (2 * total))
        near = near / xp.sqrt(2 * math.pi * total)
        inside = xp.astype((y >= self.low) & (y <= self.high), y.dtype)
        far = self.share * inside / (self.high - self.low)
        return near / (near + far + 1e-30)

    def posterior(self, y: Any, mean: Any, variance: Any) -> tuple[Any, Any]:
        """Return mean and variance of the mixture "outlier or not".

        Without ordinary noise the mean is (α·μ + h·y) / (α + h) of Laine et al. 2019.
        """
        noise = noise_variance(mean, self.a, self.b, self.floor)
        kept = posterior_mean(y, mean, variance, noise)
        trust = self.trust(y, mean, variance)
        clean = mean + trust * (kept - mean)
        spread = trust * posterior_variance(variance, noise) + (1 - trust) * variance
        return clean, spread + trust * (1 - trust) * (kept - mean) ** 2


def raised(noise: Likelihood, by: Any) -> Likelihood:
    """Return noise of the same family with more variance everywhere."""
    assert isinstance(noise, Affine | Impulse)
    return replace(noise, b=noise.b + by, floor=noise.floor + by)


def scaled(noise: Likelihood, by: Any) -> Likelihood:
    """Return noise of the same family with its variance times `by`."""
    assert isinstance(noise, Affine | Impulse)
    return replace(noise, a=noise.a * by, b=noise.b * by, floor=noise.floor * by)


def mapped(function: Callable[..., Any], *noises: Likelihood) -> Likelihood:
    """Return noise whose every parameter is `function` of that of each of `noises`."""
    if len({type(noise) for noise in noises}) != 1:
        raise TypeError("noises of several families cannot be joined")
    names = [one.name for one in fields(noises[0])]  # type: ignore[arg-type]
    columns = {name: [getattr(noise, name) for noise in noises] for name in names}
    made: Likelihood = type(noises[0])(
        **{name: function(*values) for name, values in columns.items()}
    )
    return made


def _normal(y: Any, mean: Any, variance: Any) -> Any:
    return (y - mean) ** 2 / variance + array_namespace(y).log(variance)


def _log_gamma(x: Any) -> Any:
    """Return log Γ(x), which the array standard lacks."""
    if hasattr(x, "lgamma"):
        return x.lgamma()
    from scipy.special import gammaln

    return gammaln(x)
