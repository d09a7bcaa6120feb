"""Bayesian blind-spot denoising (Laine et al. 2019): objective and inference.

The network is trained so that the noisy value of a voxel is likely given the voxels
around it; afterwards the value itself is brought in through the noise model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

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


def lone_variance(variance: Tensor) -> Tensor:
    """Return how much of the prior variance stands out from its 3×3 surroundings.

    Pixels of some cameras differ in read noise, and the network can learn from the
    other planes which of them are noisy. The noise model has one line for all pixels,
    so the rest lands in the prior variance, which would then trust just those pixels.
    What is uncertain of an image is never a single pixel (the microscope blurs it), so
    a lone peak is noise. Parameter and result: (N, Y, X).
    """
    framed = functional.pad(variance[:, None], (1, 1, 1, 1), mode="replicate")
    height, width = variance.shape[-2:]
    around = torch.cat(
        [
            framed[..., y : y + height, x : x + width]
            for y in range(3)
            for x in range(3)
        ],
        dim=1,
    )
    return (variance - around.median(dim=1).values).clamp(min=0)


def posterior(y: Tensor, prior: Prior, noise: Noise) -> tuple[Tensor, Tensor]:
    """Return posterior mean and standard deviation, (N, Y, X), network units."""
    lone = lone_variance(prior.variance)
    v, n = prior.variance - lone, noise.variance(prior.mean) + lone
    mean = posterior_mean(y, prior.mean, v, n)
    return mean, torch.sqrt(posterior_variance(v, n))
