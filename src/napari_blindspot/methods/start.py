"""Fit the blind filter to the stack: the best linear average around the hole.

Least squares of the noisy centre on means over rings of surrounding voxels. The
centre's noise is independent of what the filter sees, so the fit against noisy values
finds the filter that is best for the clean ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_blindspot.errors import InputError
from napari_blindspot.networks.blind_filter import RADIUS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.methods.bayesian import Noise
    from napari_blindspot.networks.blindspot import BlindSpotNetwork

_RIDGE = 1e-4  # of the mean eigenvalue: keeps nearly equal rings from fighting
_LEAST_SPREAD = 0.02  # of the noise variance: the prior is never certain at first


def fit_start(
    network: BlindSpotNetwork, planes: Tensor, target: Tensor, noise: Noise
) -> None:
    """Set the network's blind filter and the scales of its answers.

    Parameters
    ----------
    network
        Its `start`, `unit` and `spread` are set in place.
    planes
        (N, 2·context + 1, S, S) crops in network units.
    target
        (N, S, S), 1 where the centre counts.
    noise
        Noise of the crops, for weighting bright and dark voxels.
    """
    context, hole = network.settings.context, network.settings.hole
    visible = network.start.visible(hole)[0].cpu()  # the fit itself runs there
    masks = [mask * visible for mask in ring_masks(context)]
    masks = [mask for mask in masks if mask.sum() > 0]
    inner = slice(RADIUS, planes.shape[-1] - RADIUS)
    if not (target > 0).any():
        raise InputError(
            "no voxel of the stack can be learnt from: what was looked at is missing "
            "(NaN), infinite or saturated; choose a region or channel with more data."
        )
    if not masks or not (target[:, inner, inner] > 0).any():
        return  # nothing lies around the hole, so the plain average stays
    features = ring_means(planes, masks)[..., inner, inner]
    centre = planes[:, context, inner, inner]
    counts = target[:, inner, inner] > 0
    reference = features.mean(1)
    n = noise.variance(reference)[counts].double().numpy()
    rings = features.permute(0, 2, 3, 1)[counts].double().numpy()
    y = centre[counts].double().numpy()
    weights = solve_weights(rings, y, 1 / n)
    kernel = sum(
        float(w) * mask / mask.sum() for w, mask in zip(weights, masks, strict=True)
    )
    squares = float(np.mean((y - rings @ weights) ** 2))
    network.start.kernel.copy_(torch.as_tensor(kernel)[None])
    noise_part = float(n.mean())
    network.unit.fill_(squares**0.5)
    network.spread.fill_(max(squares - noise_part, _LEAST_SPREAD * noise_part) ** 0.5)


def solve_weights(
    rings: NDArray[np.float64], y: NDArray[np.float64], precision: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weights of the ring means, summing to 1, that predict y best.

    Parameters
    ----------
    rings
        (voxels, rings) means over each ring.
    y, precision
        (voxels,) noisy centre and one over its noise variance.
    """
    if rings.shape[1] == 1 or len(y) < rings.shape[1]:
        return np.full(rings.shape[1], 1 / rings.shape[1])
    reference = rings.mean(1)
    design = (rings - reference[:, None])[:, 1:]
    normal = (design * precision[:, None]).T @ design
    normal += _RIDGE * np.trace(normal) / len(normal) * np.eye(len(normal))
    right = (design * precision[:, None]).T @ (y - reference)
    free = np.concatenate([[0.0], np.linalg.solve(normal, right)])
    # y ≈ reference + Σ free·(ring − reference): back to plain weights.
    weights: NDArray[np.float64] = free + (1 - free.sum()) / len(free)
    return weights


def ring_masks(context: int) -> list[Tensor]:
    """Return which taps share a weight: equal |dz| and equal {|dy|, |dx|}.

    Each mask is (2·context + 1, size, size).
    """
    side = torch.arange(-RADIUS, RADIUS + 1).abs()
    short = torch.minimum(side[:, None], side[None, :])
    long = torch.maximum(side[:, None], side[None, :])
    distance = torch.arange(-context, context + 1).abs()
    return [
        ((distance == dz)[:, None, None] & (long == far) & (short == near)).float()
        for dz in range(context + 1)
        for far in range(RADIUS + 1)
        for near in range(far + 1)
    ]


def ring_means(planes: Tensor, masks: list[Tensor]) -> Tensor:
    """Return the mean over every ring around every pixel, (N, rings, S, S)."""
    kernels = torch.stack([mask / mask.sum() for mask in masks])
    parts = []
    for kernel in kernels:
        used = kernel.flatten(1).any(1)  # most rings lie in one or two planes
        parts.append(
            functional.conv2d(planes[:, used], kernel[None, used], padding=RADIUS)
        )
    return torch.cat(parts, dim=1)
