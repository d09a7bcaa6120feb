"""After training: hold the network's promises against the stack.

Some planes are predicted and compared with their noisy values. From this follow the
recalibration of the prior variance, the check of the noise model and the verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_blindspot.errors import InputError
from napari_blindspot.networks.precision import half_where_it_pays
from napari_blindspot.noise.artefacts import is_padding
from napari_blindspot.noise.correlation import residual_correlation
from napari_blindspot.noise.likelihood import mapped
from napari_blindspot.noise.recalibration import Residuals
from napari_blindspot.sampling import Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindspot.networks.blindspot import BlindSpotNetwork
    from napari_blindspot.noise.whiteness import Correlation
    from napari_blindspot.progress import CancelToken
    from napari_blindspot.sampling import CropSampler

VOXELS = 2_000_000
"""Voxels of each channel that are looked at; a CPU needs some seconds for them."""

_SIDE = 256
_RUNS = 4  # of consecutive planes: spread over the stack, but with neighbours along z


@dataclass(frozen=True, slots=True, eq=False)
class Inspected:
    """What a look at some planes of one channel gave.

    Parameters
    ----------
    residuals
        Of every voxel that is finite, not saturated and not padding.
    correlation
        Of the normalised residual in one run of planes; None where that is too small.
    """

    residuals: Residuals
    correlation: Correlation | None


def inspect(
    network: BlindSpotNetwork,
    sampler: CropSampler,
    sources: Sequence[int],
    device: torch.device,
    cancel: CancelToken,
    voxels: int = VOXELS,
) -> Inspected:
    """Predict planes spread over some sources, without their own values.

    Parameters
    ----------
    network
        Trained, on `device`.
    sampler
        Knows the sources, their noise and which voxels were held out.
    sources
        Indices of the sampler's sources to look at, e.g. those of one channel.
    device
        Where the network is.
    cancel
        Asked before every plane.
    voxels
        About how many to look at.
    """
    columns, images = [], []
    runs = _runs(sampler, sources, voxels)
    for number, run in enumerate(runs):
        for place in run:
            cancel.raise_if_cancelled()
            window = _of_window(network, sampler, place, device)
            columns.append(window)
            if number == len(runs) // 2:
                images.append(_normalised(window))
    flat = zip(*(_flat(window) for window in columns), strict=True)
    return Inspected(
        Residuals(*(np.concatenate(column) for column in flat)), _correlation(images)
    )


def _runs(
    sampler: CropSampler, sources: Sequence[int], voxels: int
) -> list[list[Place]]:
    """Choose runs of consecutive planes, spread evenly over all of the sources."""
    planes = [
        (source, plane)
        for source in sources
        for plane in range(sampler.sources[source].series.shape[0])
    ]
    rng, runs = np.random.default_rng(0), []
    _, height, width = sampler.sources[sources[0]].series.shape
    count = max(4, voxels // (min(height, _SIDE) * min(width, _SIDE)))
    length = max(1, min(count, len(planes)) // _RUNS)
    for start in np.linspace(0, len(planes) - length, _RUNS):
        source, first = planes[round(start)]
        depth, height, width = sampler.sources[source].series.shape
        y, x = (int(rng.integers(max(0, n - _SIDE) + 1)) for n in (height, width))
        last = min(first + length, depth)
        runs.append([Place(source, plane, y, x) for plane in range(first, last)])
    return runs


@dataclass(frozen=True, slots=True, eq=False)
class _Window:
    """One window of a plane: images (rows, columns), network units."""

    y: NDArray[np.float32]
    mean: NDArray[np.float32]
    variance: NDArray[np.float32]
    noise: NDArray[np.float32]
    held_out: NDArray[np.bool_]
    usable: NDArray[np.bool_]


def _of_window(
    network: BlindSpotNetwork, sampler: CropSampler, place: Place, device: torch.device
) -> _Window:
    seen = sampler.window(place, _SIDE)
    with torch.no_grad(), half_where_it_pays(device):
        prior = network(torch.from_numpy(seen.maps[None]).to(device))
    own = prior.of_channel(sampler.sources[place.source].series.channel)
    mean, variance = (one[0].float().cpu().numpy() for one in own)
    # Of y given its surroundings; with outliers among the noise that is not μ.
    expected, total = mapped(lambda p: p[0], seen.noise).predictive(mean, variance)
    # Padding has no noise: its neighbours would seem to share theirs.
    usable = seen.usable & ~is_padding(seen.y)
    noise = total - variance
    return _Window(seen.y, expected, variance, noise, seen.held_out, usable)


def _flat(window: _Window) -> tuple[NDArray[np.generic], ...]:
    return tuple(
        column[window.usable]
        for column in (
            window.y,
            window.mean,
            window.variance,
            window.noise,
            window.held_out,
        )
    )


def _normalised(window: _Window) -> NDArray[np.float32]:
    """Return (y − μ) / σ, NaN where a voxel does not count."""
    residual = (window.y - window.mean) / np.sqrt(window.variance + window.noise)
    return np.where(window.usable, residual, np.float32(np.nan))


def _correlation(images: list[NDArray[np.float32]]) -> Correlation | None:
    try:
        return residual_correlation(np.stack(images))
    except InputError:  # too small to tell
        return None
