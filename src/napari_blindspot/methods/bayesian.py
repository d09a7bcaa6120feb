"""Bayesian blind-spot denoising (Laine et al. 2019): objective and inference.

The network is trained so that the noisy value of a voxel is likely given the voxels
around it; afterwards the value itself is brought in through the noise model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from napari_blindspot.noise.posterior import (
    noise_variance,
    posterior_mean,
    posterior_variance,
)

if TYPE_CHECKING:
    from napari_blindspot.networks.blindspot import Prior


@dataclass(frozen=True, slots=True)
class Noise:
    """Noise variance max(a·t + b, floor) per sample of a batch, in network units.

    Parameters
    ----------
    a, b, floor
        (N, 1, 1), or anything that broadcasts to (N, Y, X).
    """

    a: Tensor
    b: Tensor
    floor: Tensor

    def variance(self, mean: Tensor) -> Tensor:
        """Return the noise variance at the prior mean, (N, Y, X)."""
        return noise_variance(mean, self.a, self.b, self.floor)


def negative_log_likelihood(
    y: Tensor, prior: Prior, noise: Noise, target: Tensor
) -> Tensor:
    """Return the mean over targets of (y − μ)² / σ² + log σ², σ² = v + n(μ).

    Parameters
    ----------
    y
        (N, Y, X) noisy values in network units.
    prior
        The network's answer.
    noise
        The frozen noise model.
    target
        (N, Y, X), 1 where the voxel counts, 0 where it does not.

    Returns
    -------
    Tensor
        A scalar (Laine et al. 2019, eq. 6, without the regulariser of the noise,
        which is estimated beforehand and kept fixed).
    """
    variance = prior.variance + noise.variance(prior.mean)
    score = (y - prior.mean) ** 2 / variance + torch.log(variance)
    return (score * target).sum() / target.sum().clamp(min=1)


def posterior(y: Tensor, prior: Prior, noise: Noise) -> tuple[Tensor, Tensor]:
    """Return posterior mean and standard deviation, (N, Y, X), network units."""
    n = noise.variance(prior.mean)
    mean = posterior_mean(y, prior.mean, prior.variance, n)
    return mean, torch.sqrt(posterior_variance(prior.variance, n))
