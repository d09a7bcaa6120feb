"""The channels of stacks as they are after correction for their camera."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_blindspot.measure.camera_maps import read_camera
from napari_blindspot.measure.channels import measure_channels, measure_saturation
from napari_blindspot.measure.correction import (
    Correction,
    correct,
    corrects,
    needs_noise,
)
from napari_blindspot.noise.models import Impulse, PoissonGaussian

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindspot.config import NoiseSettings
    from napari_blindspot.measure.camera_maps import CameraMaps, DarkMaps
    from napari_blindspot.measure.channels import Channel
    from napari_blindspot.noise.models import NoiseModel
    from napari_blindspot.stack import Stack

    Measured = tuple[tuple[Channel, ...], list[Correction]]


def measure_corrected(
    stacks: Sequence[Stack],
    settings: NoiseSettings,
    camera: CameraMaps | None = None,
) -> Measured:
    """Correct stacks for their camera and measure what is left.

    Parameters
    ----------
    stacks
        From the same microscope, with the same channels.
    settings
        What is known of the camera and of the noise.
    camera
        What `read_camera` read for these settings; default: it is read now.

    Returns
    -------
    channels, corrections
        One per channel, one per stack.

    Raises
    ------
    InputError
        As `correction.correct` and `channels.measure_channels`.
    """
    if not corrects(settings):
        return measure_channels(stacks, settings), [Correction(one) for one in stacks]
    camera = read_camera(settings) if camera is None else camera
    noise = None
    if needs_noise(settings):
        noise = tuple(one.noise for one in measure_channels(stacks, settings))
    corrections = [correct(stack, settings, noise, camera) for stack in stacks]
    # Saturated voxels are found in the data as recorded, and move with it.
    recorded = measure_saturation(stacks)
    moved = [one.saturation(recorded) for one in corrections]
    channels = measure_channels(
        [one.stack for one in corrections],
        settings,
        [min(levels) for levels in zip(*moved, strict=True)],
    )
    if corrections[0].dark and settings.offset is None and settings.read_noise is None:
        channels = tuple(
            replace(channel, noise=with_dark(channel.noise, dark))
            for channel, dark in zip(channels, corrections[0].dark, strict=True)
        )
    return channels, corrections


def with_dark(noise: NoiseModel, dark: DarkMaps) -> NoiseModel:
    """Return the noise of the quietest pixels, their offset and read noise known.

    The slope stays as it was estimated: darkness does not tell the gain.
    """
    if isinstance(noise, Impulse):
        base = with_dark(noise.base, dark)
        assert isinstance(base, PoissonGaussian)
        return replace(noise, base=base)
    if noise.a <= 0:
        return noise
    return replace(
        noise,
        b=dark.base_variance - noise.a * dark.base_offset,
        offset=dark.base_offset,
        read_noise=dark.base_variance**0.5 / noise.a,
        floor=dark.base_variance,
        b_interval=None,
        offset_interval=None,
        read_noise_interval=None,
    )


def on_average(channel: Channel, dark: DarkMaps | None) -> Channel:
    """Return the channel with the noise of its average pixel, as neighbours show it."""
    if dark is None:
        return channel
    more = float(dark.extra.mean(dtype=np.float64))
    return replace(channel, noise=_with_more(channel.noise, more))


def _with_more(noise: NoiseModel, more: float) -> NoiseModel:
    """Return noise of more variance everywhere; outliers stay as they are."""
    if isinstance(noise, Impulse):
        base = _with_more(noise.base, more)
        assert isinstance(base, PoissonGaussian)
        return replace(noise, base=base)
    return replace(noise, b=noise.b + more, floor=noise.floor + more)
