"""How much an answer depends on the size of the blind spot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_blindspot.config import LARGEST_HOLE
from napari_blindspot.inference.predictor_student import make_predictor
from napari_blindspot.noise.likelihood import mapped

if TYPE_CHECKING:
    from napari_blindspot.config import HoleSizes
    from napari_blindspot.model import Model
    from napari_blindspot.training.sampling import CropSampler

_COMPARED = 16  # held-out crops whose answers are compared


def next_larger(hole: HoleSizes) -> HoleSizes:
    """Return the hole that hides one voxel more on every side, in the plane."""
    z, y, x = hole
    return z, min(y + 2, LARGEST_HOLE), min(x + 2, LARGEST_HOLE)


def answers_change(
    model: Model,
    sampler: CropSampler,
    hole: HoleSizes,
    larger: HoleSizes,
    device: torch.device,
) -> float | None:
    """Return how much the answer depends on the hole, in units of the noise.

    Parameters
    ----------
    model
        Not recalibrated: that holds behind one hole alone.
    sampler
        Gives crops around held-out blocks; only their held-out voxels count.
    hole, larger
        Alike in z.
    device
        Where the network answers.

    Returns
    -------
    float or None
        The rms of (answer behind one − answer behind the other) / noise, of the
        channel where it is largest; None where no voxel counts.
    """
    predictor = make_predictor(model, device)
    channels = range(model.n_channels) if model.settings.channels == 1 else range(1)
    changes = []
    for channel in channels:
        own = sampler if len(channels) == 1 else sampler.of_channel(channel)
        batch = own.held_out(_COMPARED)
        one, other = predictor.answers(
            batch.maps, batch.likelihood, channel, [hole, larger]
        ).cpu()
        noise = mapped(torch.from_numpy, batch.likelihood).variance(one)
        squares = (one - other) ** 2 / noise
        counted = squares[torch.from_numpy(batch.target) > 0]
        if counted.numel():
            changes.append(float(counted.mean().sqrt()))
    return max(changes, default=None)
