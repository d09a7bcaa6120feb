"""Bayesian inference for several channels together (`noise.covariance`).

The objective is that of `methods.bayesian`; the likelihood of the noise knows that a
pixel has several values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from napari_blindspot.methods.bayesian import lone_variance
from napari_blindspot.noise.covariance import JointAffine, marginal_variance

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_blindspot.networks.blindspot import Prior
    from napari_blindspot.noise.recalibration import Recalibration

_UNKNOWN = 100.0  # times the prior variance: noise of a value that is not there


def joint_posterior(
    y: Tensor,
    prior: Prior,
    noise: JointAffine,
    recalibration: Sequence[Recalibration] = (),
    missing: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return posterior mean and standard deviation, (N, Y, X, C), network units.

    What `methods.bayesian.posterior` does to the prior variance and the noise of a
    channel is done here to each channel's share of the covariance; the correlations
    stay as the network says.

    Parameters
    ----------
    y
        (N, Y, X, C) noisy values.
    prior
        Mean (N, Y, X, C) and covariance (N, Y, X, C, C).
    noise
        Its parameters broadcast to (N, Y, X, C).
    recalibration
        Of each channel; empty: none.
    missing
        (N, Y, X, C) bool, where there is no value; the other channels of such a pixel
        are not misled by it.
    """
    mean, covariance = prior
    if recalibration:
        covariance = _rescaled(
            covariance,
            _by_channel([one.variance_factor for one in recalibration], mean),
        )
        by = _by_channel([one.noise_factor for one in recalibration], mean)
        noise = JointAffine(noise.a * by, noise.b * by, noise.floor * by)
        mean = _by_channel([one.shifted for one in recalibration], mean)
    variance = marginal_variance(covariance)
    lone = _by_channel([lone_variance] * variance.shape[-1], variance)
    covariance = _rescaled(covariance, (variance - lone) / variance)
    if missing is not None:
        y = torch.where(missing, mean, y)
        lone = lone + _UNKNOWN * variance * missing
    noise = JointAffine(noise.a, noise.b + lone, noise.floor + lone)
    mean, covariance = noise.posterior(y, mean, covariance)
    return mean, marginal_variance(covariance).clamp(min=0).sqrt()


def _by_channel(
    functions: Sequence[Callable[[Tensor], Tensor]], values: Tensor
) -> Tensor:
    """Apply one function to each channel of values (N, Y, X, C)."""
    channels = [
        function(values[..., index].contiguous())
        for index, function in enumerate(functions)
    ]
    return torch.stack(channels, dim=-1)


def _rescaled(covariance: Tensor, factor: Tensor) -> Tensor:
    """Multiply each channel's variance by its factor; correlations stay."""
    root = factor.sqrt()
    return root[..., :, None] * covariance * root[..., None, :]
