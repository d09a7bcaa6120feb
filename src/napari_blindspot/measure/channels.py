"""What is measured of every channel before training: scale, noise, saturation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.errors import InputError
from napari_blindspot.noise.artefacts import saturation_level
from napari_blindspot.noise.calibrate import calibrate
from napari_blindspot.noise.models import PoissonGaussian
from napari_blindspot.normalize import Normalization, fit_normalization
from napari_blindspot.planes import spread_planes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindspot.config import NoiseSettings
    from napari_blindspot.noise.estimate import MeanVariance
    from napari_blindspot.noise.models import NoiseModel
    from napari_blindspot.stack import Stack

SAMPLE_SIDE = 512
"""Pixels of a sampled plane's side at most, so 8 million voxels in all."""

_SAMPLE_PLANES = 32
_TOO_SATURATED = 0.5


@dataclass(frozen=True, slots=True)
class Channel:
    """Facts about one channel, frozen before training.

    Parameters
    ----------
    scale
        Its normalisation.
    noise
        Its noise model, data units.
    saturation
        Data value from which on voxels are saturated; inf without.
    points
        Measured points of the mean–variance line; none where the stack showed no
        noise and the user gave it.
    whole
        Whether neighbours share noise and it was measured all the same.
    """

    scale: Normalization
    noise: NoiseModel
    saturation: float
    points: MeanVariance
    whole: bool = False


def measure_channels(
    stacks: Sequence[Stack],
    settings: NoiseSettings,
    saturation: Sequence[float] | None = None,
) -> tuple[Channel, ...]:
    """Measure every channel over all stacks together.

    Parameters
    ----------
    stacks
        Stacks from the same microscope with the same channels.
    settings
        Whether the noise is known.
    saturation
        Of each channel, where the stacks no longer show it; default: measured.

    Returns
    -------
    tuple of Channel

    Raises
    ------
    InputError
        If the stacks differ in their channels, or one channel is constant, not
        finite, saturated or without noise.
    """
    counts = {stack.sizes["C"] for stack in stacks}
    if len(counts) != 1:
        raise InputError(
            f"the stacks have {sorted(counts)} channels, but what is trained together "
            f"needs the same channels; pick one with channel=."
        )
    measured = tuple(
        _measure(
            sample_planes(stacks, channel),
            _name(stacks[0], channel),
            settings,
            None if saturation is None else saturation[channel],
        )
        for channel in range(counts.pop())
    )
    return _counted_alike(measured)


def _counted_alike(channels: tuple[Channel, ...]) -> tuple[Channel, ...]:
    """Count photons exactly in all channels or in none: they share one objective."""
    noises = [channel.noise for channel in channels]
    counting = [isinstance(one, PoissonGaussian) and one.counting for one in noises]
    if all(counting) or not any(counting):
        return channels
    note = (
        "photons are not counted exactly, because the noise of another channel does "
        "not grow with its signal; choose one channel."
    )
    return tuple(
        replace(
            channel,
            noise=replace(one, counting=False, warnings=(*one.warnings, note)),
        )
        if isinstance(one, PoissonGaussian)
        else channel
        for channel, one in zip(channels, noises, strict=True)
    )


def sample_planes(stacks: Sequence[Stack], channel: int) -> list[NDArray[Any]]:
    """Read planes spread evenly over everything that holds a channel.

    Returns
    -------
    list of ndarray
        2D windows (Y, X), data units, dtype of the source, large planes cropped to
        their middle.
    """
    side = (SAMPLE_SIDE, SAMPLE_SIDE)
    return list(spread_planes(stacks, channel, _SAMPLE_PLANES, side))


def measure_saturation(stacks: Sequence[Stack]) -> tuple[float, ...]:
    """Return the saturation of every channel, inf where there is none."""
    return tuple(
        saturation_level(np.concatenate([p.ravel() for p in sample_planes(stacks, c)]))
        for c in range(stacks[0].sizes["C"])
    )


def _measure(
    planes: list[NDArray[Any]],
    name: str,
    settings: NoiseSettings,
    saturation: float | None,
) -> Channel:
    values = np.concatenate([plane.ravel() for plane in planes])
    scale = fit_normalization(values, name)
    saturation = saturation_level(values) if saturation is None else saturation
    share = float((np.isfinite(values) & (values >= saturation)).mean())
    if share > _TOO_SATURATED:
        where = f"channel {name} of the stack" if name else "the stack"
        raise InputError(
            f"{where} is saturated: {share:.0%} of its voxels are at "
            f"{saturation:g}; record it again with less light, or choose another "
            f"channel or region."
        )
    found = calibrate(planes, saturation, settings)
    return Channel(scale, found.noise, saturation, found.points)


def _name(stack: Stack, channel: int) -> str:
    if stack.channel_names:
        return stack.channel_names[channel]
    return str(channel) if stack.sizes["C"] > 1 else ""
