"""The noise of stacks whose neighbours share it, measured before any training."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.errors import InputError
from napari_blindspot.measure.shared_noise import shared_noise, slabs_of
from napari_blindspot.noise.apart import measure_apart, steps_apart
from napari_blindspot.noise.models import PoissonGaussian
from napari_blindspot.noise.refit import refit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindspot.measure.channels import Channel
    from napari_blindspot.noise.whiteness import Correlation
    from napari_blindspot.stack import Stack

_STACKS = _SLABS = 3  # at most: they tell enough


def measured_apart(
    stacks: Sequence[Stack], channels: Sequence[Channel]
) -> tuple[Channel, ...]:
    """Return channels with the noise that voxels farther apart show.

    Parameters
    ----------
    stacks
        From the same microscope; a few of them are looked at.
    channels
        What neighbours showed of each channel.

    Returns
    -------
    tuple of Channel
        The very same where neighbours share no noise, where nothing shows it, and where
        there are outliers among it.
    """
    chosen: list[Stack] = _spread(stacks, _STACKS)
    return tuple(
        channel_apart(chosen, one, index, _correlations(chosen, one, index))
        for index, one in enumerate(channels)
    )


def channel_apart(
    stacks: Sequence[Stack],
    channel: Channel,
    index: int,
    correlations: Sequence[Correlation],
) -> Channel:
    """Do the work of `measured_apart` for one channel.

    Parameters
    ----------
    stacks, channel, index
        All are looked at; what neighbours showed of the channel, and which one it is.
    correlations
        Of its noise, in these stacks.
    """
    steps = steps_apart(correlations)
    if steps is None or not isinstance(channel.noise, PoissonGaussian):
        return channel
    slabs: list[NDArray[Any]] = [
        slab for stack in stacks for slab in slabs_of(stack, index)
    ]
    with suppress(InputError):  # too small for voxels so far apart
        points = measure_apart(_spread(slabs, _SLABS), channel.saturation, steps)
        noise = refit(points, channel.noise)
        return replace(channel, noise=noise, points=points, whole=True)
    return channel


def _correlations(
    stacks: Sequence[Stack], channel: Channel, index: int
) -> list[Correlation]:
    found = []
    for stack in stacks:
        with suppress(InputError):  # too small to tell
            found.append(shared_noise(stack, index, channel))
    return found


def _spread(every: Sequence[Any], most: int) -> list[Any]:
    """Return so many at most, spread over all of them."""
    places = np.linspace(0, len(every) - 1, min(len(every), most)).round()
    return [every[int(place)] for place in places]
