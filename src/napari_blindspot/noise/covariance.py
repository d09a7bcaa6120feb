"""Several channels at once: a full prior covariance, and the noise of each channel.

Where channels show the same structure, each tells about the others. The network then
predicts a mean vector μ and a covariance Σ of all channels of a pixel, while the noise
stays independent from channel to channel, N = diag(n_c(μ_c)). Laine et al. 2019 do so
for colour photographs.

The channel axis is the last one: values are (…, C), covariances (…, C, C), and what is
said of a whole pixel is (…). Parameters of the noise are numbers or arrays that
broadcast to (…, C). With one channel, or with a diagonal Σ, every formula gives what
`noise.likelihood` gives channel by channel. As there, numpy arrays and torch tensors
are alike, and constants and the factor ½ are left out of the likelihoods.

Everything is computed in the precision that is given. The least variance of the noise
keeps Σ + N invertible in float64; in float32 an addition to the diagonal of one
millionth of the mean variance makes sure of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Protocol

from array_api_compat import array_namespace

from napari_blindspot.noise.likelihood import Affine, Impulse
from napari_blindspot.noise.posterior import noise_variance

_JITTER = 8.0  # machine epsilons of the mean variance: 1e-6 in float32
_LARGEST_EXPONENT = 80.0  # that float32 can take


class JointLikelihood(Protocol):
    """What every family of noise answers about all channels of a pixel.

    `y` noisy values and `mean` of the prior are (…, C), `covariance` of the prior is
    (…, C, C). `noise_mean` is the mean at which the noise variance is taken, as in
    `noise.likelihood`.
    """

    def variance(self, mean: Any) -> Any:
        """Return the variance of the noise of each channel, (…, C)."""

    def negative_log_likelihood(
        self, y: Any, mean: Any, covariance: Any, noise_mean: Any = None
    ) -> Any:
        """Return −2·log p(y | surroundings) up to a constant, pixel by pixel, (…)."""

    def posterior(self, y: Any, mean: Any, covariance: Any) -> tuple[Any, Any]:
        """Return mean (…, C) and covariance (…, C, C) of the clean values given y."""


@dataclass(frozen=True, slots=True, eq=False)
class JointAffine:
    """Noise of variance n_c(X) = max(a_c·X + b_c, floor_c), independent per channel.

    Parameters
    ----------
    a, b, floor
        Slope, intercept and least variance, each a number or (…, C). The floor must
        be positive.
    """

    a: Any
    b: Any
    floor: Any

    def variance(self, mean: Any) -> Any:
        """Return n at the prior mean, (…, C)."""
        return noise_variance(mean, self.a, self.b, self.floor)

    def negative_log_likelihood(
        self, y: Any, mean: Any, covariance: Any, noise_mean: Any = None
    ) -> Any:
        """Return dᵀ(Σ + N)⁻¹d + log det(Σ + N) with d = y − μ.

        Laine et al. 2019, their likelihood of RGB values times two.
        """
        noise = self.variance(mean if noise_mean is None else noise_mean)
        square, log_det = _mahalanobis(y - mean, covariance + diagonal(noise))
        return square + log_det

    def posterior(self, y: Any, mean: Any, covariance: Any) -> tuple[Any, Any]:
        """Return μ + G·d and G·N with the gain G = Σ(Σ + N)⁻¹.

        Equal to (Σ⁻¹ + N⁻¹)⁻¹(Σ⁻¹μ + N⁻¹y) and (Σ⁻¹ + N⁻¹)⁻¹, but without the inverse
        of Σ, which need not exist: where a channel is certain, it stays as it is.
        """
        return _linear_rule(y - mean, mean, covariance, self.variance(mean))


@dataclass(frozen=True, slots=True, eq=False)
class JointImpulse:
    """Outliers that replace all channels of a pixel at once, among ordinary noise.

    With probability `share` every channel of the pixel is replaced by a value uniform
    between its `low` and `high`; otherwise the noise is that of `JointAffine`. Laine
    et al. 2019 have no other noise: a = b = 0, floor = 1e-6, range 0 to 1.

    Parameters
    ----------
    a, b, floor
        As of `JointAffine`.
    share
        Probability of an outlier, between 0 and 1; a number or (…, 1).
    low, high
        Range of the outliers, a number or (…, C).
    """

    a: Any
    b: Any
    floor: Any
    share: Any
    low: Any
    high: Any

    def variance(self, mean: Any) -> Any:
        """Return the variance of y in each channel at a clean value, (…, C)."""
        one = Impulse(self.a, self.b, self.floor, self.share, self.low, self.high)
        return one.variance(mean)

    def negative_log_likelihood(
        self, y: Any, mean: Any, covariance: Any, noise_mean: Any = None
    ) -> Any:
        """Return dᵀΣ_y⁻¹d + log det Σ_y with the first two moments of y.

        With the centre c and width w of the outliers, μ_y = α·c + (1 − α)·μ, d = y −
        μ_y and Σ_y = (1 − α)(Σ + N) + α·diag(w²/12) + α(1 − α)(μ − c)(μ − c)ᵀ. For
        values from 0 to 1 this is α(¼·11ᵀ + I/12) + (1 − α)(Σ + N + μμᵀ) − μ_yμ_yᵀ of
        Laine et al. 2019, without its differences of large numbers.
        """
        at = mean if noise_mean is None else noise_mean
        alpha, centre = self.share, (self.low + self.high) / 2
        noise = noise_variance(at, self.a, self.b, self.floor)
        own = (1 - alpha) * noise + alpha * (self.high - self.low) ** 2 / 12
        # A factor per pixel; with two more axes it fits the covariances.
        kept = _per_matrix(1 - alpha)
        away = at - centre
        spread = kept * covariance + diagonal(own)
        spread = spread + _per_matrix(alpha) * kept * _outer(away)
        expected = alpha * centre + (1 - alpha) * mean
        square, log_det = _mahalanobis(y - expected, spread)
        return square + log_det

    def trust(self, y: Any, mean: Any, covariance: Any) -> Any:
        """Return the probability that the pixel is no outlier, (…).

        A value out of range cannot be one.
        """
        xp = array_namespace(y)
        noise = noise_variance(mean, self.a, self.b, self.floor)
        square, log_det = _mahalanobis(y - mean, covariance + diagonal(noise))
        channels = y.shape[-1]
        near = -(square + log_det + channels * math.log(2 * math.pi)) / 2
        far = -xp.sum(xp.log(0 * y + (self.high - self.low)), axis=-1)
        alpha = (0 * y + self.share)[..., 0]
        inside = xp.all((y >= self.low) & (y <= self.high), axis=-1)
        alpha = xp.where(inside, alpha, 0 * alpha)
        # The densities themselves underflow, their ratio need not.
        ratio = xp.exp((far - near).clip(max=_LARGEST_EXPONENT))
        return (1 - alpha) / (1 - alpha + alpha * ratio)

    def posterior(self, y: Any, mean: Any, covariance: Any) -> tuple[Any, Any]:
        """Return mean and covariance of the mixture "outlier or not".

        Without ordinary noise the mean is (α·μ + h·y) / (α + h) of Laine et al. 2019.
        """
        noise = noise_variance(mean, self.a, self.b, self.floor)
        kept, spread = _linear_rule(y - mean, mean, covariance, noise)
        trust = self.trust(y, mean, covariance)[..., None]
        clean = mean + trust * (kept - mean)
        believed = trust[..., None]
        spread = believed * spread + (1 - believed) * covariance
        return clean, spread + believed * (1 - believed) * _outer(kept - mean)


def one_channel(noise: JointAffine | JointImpulse, channel: int) -> Affine | Impulse:
    """Return the noise of one channel alone, its parameters without the last axis."""

    def own(value: Any) -> Any:
        if not getattr(value, "ndim", 0):
            return value
        return value[..., channel if value.shape[-1] > 1 else 0]

    names = [one.name for one in fields(noise)]
    kind = Affine if isinstance(noise, JointAffine) else Impulse
    return kind(**{name: own(getattr(noise, name)) for name in names})


def diagonal(values: Any) -> Any:
    """Turn values (…, C) into diagonal matrices (…, C, C)."""
    xp = array_namespace(values)
    eye = xp.eye(values.shape[-1], dtype=values.dtype, device=values.device)
    return values[..., None] * eye


def marginal_variance(covariance: Any) -> Any:
    """Return the variance of each channel, (…, C), out of covariances (…, C, C)."""
    return array_namespace(covariance).linalg.diagonal(covariance)


def _linear_rule(away: Any, mean: Any, covariance: Any, noise: Any) -> tuple[Any, Any]:
    """Return μ + G·(y − μ) and G·N with G = Σ(Σ + N)⁻¹."""
    xp = array_namespace(away)
    total = _safe(covariance + diagonal(noise))
    gain = xp.matrix_transpose(xp.linalg.solve(total, covariance))
    posterior = gain * noise[..., None, :]
    symmetric = (posterior + xp.matrix_transpose(posterior)) / 2
    return mean + (gain @ away[..., None])[..., 0], symmetric


def _mahalanobis(away: Any, covariance: Any) -> tuple[Any, Any]:
    """Return dᵀΣ⁻¹d and log det Σ by Cholesky's factor."""
    xp = array_namespace(away)
    factor = xp.linalg.cholesky(_safe(covariance))
    white = xp.linalg.solve(factor, away[..., None])[..., 0]
    return (
        xp.sum(white**2, axis=-1),
        2 * xp.sum(xp.log(xp.linalg.diagonal(factor)), axis=-1),
    )


def _safe(covariance: Any) -> Any:
    """Add a few roundings of the mean variance to the diagonal."""
    xp = array_namespace(covariance)
    mean = xp.mean(xp.linalg.diagonal(covariance), axis=-1, keepdims=True)
    little = _JITTER * float(xp.finfo(covariance.dtype).eps) * mean
    return covariance + diagonal(0 * covariance[..., 0] + little)


def _outer(values: Any) -> Any:
    return values[..., :, None] * values[..., None, :]


def _per_matrix(share: Any) -> Any:
    """Give a number per pixel, (…, 1), the axes of a matrix; plain numbers stay."""
    return share[..., None] if getattr(share, "ndim", 0) else share
