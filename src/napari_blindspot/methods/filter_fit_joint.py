"""Fit the blind filters of several channels, and how far the channels vary together.

Each channel gets the filter that is best for it alone (`methods.filter_fit`). What the
filters leave over has a covariance over the channels; without that of the noise it is
the covariance of the clean values around the filters' answers, from which the network
starts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from napari_blindspot.errors import InputError
from napari_blindspot.methods.filter_fit import Sums, ring_masks, ring_voxels
from napari_blindspot.noise.covariance import one_channel
from napari_blindspot.noise.likelihood import mapped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from napari_blindspot.networks.blindspot import BlindSpotNetwork
    from napari_blindspot.noise.covariance import JointAffine, JointImpulse

    Crop = tuple[Tensor, Tensor, JointAffine | JointImpulse]

_LEAST_SPREAD = 0.02  # of the noise variance: the prior is never certain at first


def fit_joint_filter(network: BlindSpotNetwork, crops: Iterable[Crop]) -> None:
    """Set the blind filters of a network of several channels and its scales.

    Parameters
    ----------
    network
        Its `start`, `unit` and `spread` are set in place.
    crops
        Batches of planes (N, (2·context + 1)·C, S, S) in network units, of targets
        (N, S, S), 1 where the centre counts, and of their noise. They are gone
        through several times.

    Raises
    ------
    InputError
        If there is no target in all the crops.
    """
    if not sum(float(target.sum()) for _, target, _ in crops):
        raise InputError(
            "no voxel of the stack can be learnt from: what was looked at is missing "
            "(NaN), infinite or saturated; choose a region or channel with more data."
        )
    for channel in range(network.settings.channels):
        kernel = _fit_channel(network, crops, channel)
        if kernel is not None:
            network.start.kernel[channel].copy_(kernel)
    left, noise = _left_over(network, crops)
    network.unit.copy_(torch.from_numpy(np.sqrt(np.diag(left))))
    spread = _spread(left, noise, network.settings.covariance == "full")
    network.spread.copy_(torch.from_numpy(spread))


def _fit_channel(
    network: BlindSpotNetwork, crops: Iterable[Crop], channel: int
) -> Tensor | None:
    """Return the best kernel of one channel; None where nothing lies around a hole."""
    channels = network.settings.channels
    visible = network.start.visible(network.settings.hole)[0].cpu()
    masks = [mask * visible for mask in ring_masks(network.settings.context)]
    masks = [mask for mask in masks if mask.sum() > 0]
    sums, voxels = Sums.zeros(len(masks)), 0
    if not masks:
        return None
    for planes, target, noise in crops:
        own = planes[:, channel::channels]
        one = mapped(_with_axes, one_channel(noise, channel))
        voxels = sums.add(*ring_voxels(own, target, one, masks))
    if voxels <= len(masks):
        return None
    shares = zip(sums.weights(), masks, strict=True)
    return torch.stack([float(w) * mask / mask.sum() for w, mask in shares]).sum(0)


def _with_axes(value: Any) -> Tensor:
    """Give a plain number the axes (N, Y, X); what has them keeps them."""
    return torch.as_tensor(value) + torch.zeros(1, 1, 1)


@torch.no_grad()
def _left_over(
    network: BlindSpotNetwork, crops: Iterable[Crop]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the covariance of what the filters leave over, and the noise in it."""
    settings = network.settings
    centre = slice(
        settings.context * settings.channels, (settings.context + 1) * settings.channels
    )
    products = np.zeros((settings.channels, settings.channels))
    noises, voxels = np.zeros(settings.channels), 0
    for planes, target, noise in crops:
        on_device = planes.to(network.start.kernel.device)
        filtered = network.start(on_device, settings.hole).movedim(1, -1).cpu()
        counts = target > 0
        away = (planes[:, centre].movedim(1, -1) - filtered)[counts].double().numpy()
        products += away.T @ away
        noises += noise.variance(filtered)[counts].double().sum(0).numpy()
        voxels += len(away)
    return products / voxels, noises / voxels


def _spread(
    left: NDArray[np.float64], noise: NDArray[np.float64], full: bool
) -> NDArray[np.float64]:
    """Return the upper triangular factor of the clean part, never quite singular."""
    clean = left - np.diag(noise)
    if not full:
        clean = np.diag(np.diag(clean))
    values, vectors = np.linalg.eigh(clean)
    values = np.maximum(values, _LEAST_SPREAD * noise.min())
    factor: NDArray[np.float64] = np.linalg.cholesky(vectors * values @ vectors.T).T
    return factor
