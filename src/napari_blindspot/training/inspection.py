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
from napari_blindspot.training.sampling import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_blindspot.networks.blindspot import BlindSpotNetwork, Hole
    from napari_blindspot.noise.whiteness import Correlation
    from napari_blindspot.progress import CancelToken
    from napari_blindspot.training.sampling import CropSampler

VOXELS = 2_000_000
"""Voxels of each channel that are looked at; a CPU needs some seconds for them."""

_SIDE = 256
_RUN = 8  # consecutive planes
_MORE = 4  # times as many windows as are wanted, for those that tell nothing


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
    hole: Hole | None = None,
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
    hole
        Behind which the network answers; default: the one it is trained for.
    """
    run = _run(sampler, sources)
    looked_at = {
        place: _of_window(network, sampler, place, device, hole) for place in run
    }
    images = [_normalised(window) for window in looked_at.values()]
    found = sum(int(window.usable.sum()) for window in looked_at.values())
    for place in _spread(sampler, sources, voxels):
        if found >= voxels:
            break
        if place not in looked_at:
            cancel.raise_if_cancelled()
            looked_at[place] = _of_window(network, sampler, place, device, hole)
            found += int(looked_at[place].usable.sum())
    flat = zip(*map(_flat, looked_at.values()), strict=True)
    return Inspected(
        Residuals(*(np.concatenate(column) for column in flat)), _correlation(images)
    )


def _run(sampler: CropSampler, sources: Sequence[int]) -> list[Place]:
    """Choose consecutive planes in the middle, so that neighbours along z are seen."""
    source = sources[len(sources) // 2]
    planes, height, width = sampler.sources[source].series.shape
    length = min(planes, _RUN)
    first = (planes - length) // 2
    y, x = (n // 2 // _SIDE * _SIDE for n in (height, width))
    return [Place(source, plane, y, x) for plane in range(first, first + length)]


def _spread(
    sampler: CropSampler, sources: Sequence[int], voxels: int
) -> Iterator[Place]:
    """Choose windows at random from a grid over all planes, none of them twice.

    More of them than are wanted: those in padding or saturation tell nothing.
    """
    shapes = [sampler.sources[source].series.shape for source in sources]
    grids = [(planes, -(-h // _SIDE), -(-w // _SIDE)) for planes, h, w in shapes]
    counts = [int(np.prod(grid)) for grid in grids]
    wanted = _MORE * max(1, voxels // _SIDE**2) + _MORE * _RUN
    rng = np.random.default_rng(0)
    total = sum(counts)
    for index in rng.choice(total, min(total, wanted), replace=False):
        which, rest = 0, int(index)
        while rest >= counts[which]:
            which, rest = which + 1, rest - counts[which]
        plane, row, column = np.unravel_index(rest, grids[which])
        yield Place(sources[which], int(plane), int(row) * _SIDE, int(column) * _SIDE)


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
    network: BlindSpotNetwork,
    sampler: CropSampler,
    place: Place,
    device: torch.device,
    hole: Hole | None,
) -> _Window:
    seen, channel = sampler.window(place, _SIDE), sampler.channel_at(place)
    kind = torch.tensor([channel], device=device)
    with torch.no_grad(), half_where_it_pays(device):
        prior = network(torch.from_numpy(seen.maps[None]).to(device), hole, kind)
    own = prior.of_channel(channel)
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
