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
from napari_blindspot.planes import plane_series

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindspot.config import NoiseSettings
    from napari_blindspot.noise.estimate import MeanVariance
    from napari_blindspot.noise.models import NoiseModel
    from napari_blindspot.stack import Stack

_SAMPLE_PLANES = 32
_SAMPLE_SIDE = 512  # px of a sampled plane at most, so 8 million voxels in all
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
    """

    scale: Normalization
    noise: NoiseModel
    saturation: float
    points: MeanVariance


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
    series = [
        one
        for stack in stacks
        for one in plane_series(stack, "none")
        if one.channel == channel
    ]
    places = [(one, plane) for one in series for plane in range(one.shape[0])]
    chosen = np.linspace(0, len(places) - 1, min(len(places), _SAMPLE_PLANES))
    sample = []
    for one, plane in (places[round(i)] for i in chosen):
        y, x = (middle(length) for length in one.shape[1:])
        sample.append(one.read(slice(plane, plane + 1), y, x)[0])
    return sample


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


def middle(length: int) -> slice:
    """Return the middle of an axis, at most as much of it as a sample takes."""
    side = min(length, _SAMPLE_SIDE)
    start = (length - side) // 2
    return slice(start, start + side)


def _name(stack: Stack, channel: int) -> str:
    if stack.channel_names:
        return stack.channel_names[channel]
    return str(channel) if stack.sizes["C"] > 1 else ""
