"""The posterior: the network's prior combined with the voxel's own value.

Each formula is written once and works on numpy arrays and torch tensors alike.
Notation: y noisy, μ and v the prior's mean and variance, n the noise variance.

For any prior with mean μ and variance v the variance of y given its surroundings is
exactly v + a·μ + b (law of total variance), and the best *linear* estimate of the
clean value is `posterior_mean`. So the Gaussian formulas of Laine et al. 2019 are a
correct quasi-likelihood for a camera's Poisson–Gaussian noise too.
"""

from __future__ import annotations

from typing import Any, TypeVar

A = TypeVar("A", bound=Any)


def noise_variance(mean: A, a: Any, b: Any, floor: Any) -> A:
    """Return n = max(a·μ + b, floor), the noise variance at the prior mean.

    At the prior mean, never at the noisy value: with the variance taken at y the
    result was 4 dB worse.
    """
    n = a * mean + b
    raised: A = n + (floor - n).clip(min=0)
    return raised


def posterior_mean(y: A, mean: A, variance: A, noise: A) -> A:
    """Return (v·y + n·μ) / (v + n).

    v → 0 gives μ, v → ∞ gives y.
    """
    posterior: A = mean + (y - mean) * (variance / (variance + noise))
    return posterior


def posterior_variance(variance: A, noise: A) -> A:
    """Return v·n / (v + n), the variance of the clean value once y is known."""
    posterior: A = variance * (noise / (variance + noise))
    return posterior
