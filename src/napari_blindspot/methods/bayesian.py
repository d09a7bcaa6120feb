"""Bayesian blind-spot denoising (Laine et al. 2019): objective and inference.

The network is trained so that the noisy value of a voxel is likely given the voxels
around it; afterwards the value itself is brought in through the noise model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from napari_blindspot.noise.likelihood import raised, scaled

if TYPE_CHECKING:
    from napari_blindspot.networks.blindspot import Prior
    from napari_blindspot.noise.likelihood import Likelihood
    from napari_blindspot.noise.recalibration import Recalibration


def negative_log_likelihood(
    y: Tensor,
    prior: Prior,
    noise: Likelihood,
    target: Tensor,
    *,
    stop_gradient: bool = False,
) -> Tensor:
    """Return the mean over targets of −2·log p(y | surroundings), up to a constant.

    Parameters
    ----------
    y
        (N, Y, X) noisy values in network units.
    prior
        The network's answer.
    noise
        The frozen noise; its parameters broadcast to (N, Y, X).
    target
        (N, Y, X), 1 where the voxel counts, 0 where it does not.
    stop_gradient
        Take the noise variance at μ as a constant, so that μ cannot move to explain
        a residual by more noise (Blind2Sound).

    Returns
    -------
    Tensor
        A scalar (Laine et al. 2019, eq. 6, without the regulariser of the noise,
        which is estimated beforehand and kept fixed).
    """
    at = prior.mean.detach() if stop_gradient else None
    score = noise.negative_log_likelihood(y, prior.mean, prior.variance, at)
    mean: Tensor = (score * target).sum() / target.sum().clamp(min=1)
    return mean


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


def posterior(
    y: Tensor,
    prior: Prior,
    noise: Likelihood,
    recalibration: Recalibration | None = None,
) -> tuple[Tensor, Tensor]:
    """Return posterior mean and standard deviation, (N, Y, X), network units.

    Parameters
    ----------
    y
        (N, Y, X) noisy values.
    prior
        The network's answer.
    noise
        Its parameters broadcast to (N, Y, X).
    recalibration
        What was learnt after training about the prior and the noise.
    """
    mean, variance = prior
    if recalibration is not None:
        variance = variance * recalibration.variance_factor(mean)
        noise = scaled(noise, recalibration.noise_factor(mean))
        mean = recalibration.shifted(mean)
    lone = lone_variance(variance)
    mean, variance = raised(noise, lone).posterior(y, mean, variance - lone)
    return mean, torch.sqrt(variance)
