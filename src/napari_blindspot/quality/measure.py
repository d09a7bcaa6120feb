"""Measure one stack against another, as a job that reads both once.

Everything comes from running sums over pieces, but for two things that are bounded: the
quantiles of a channel (a sample of 4 million voxels) and the Fourier correlations (16
planes of at most 1024 × 1024 pixels from the middle; a volume of at most 64 × 384 × 384
voxels from the middle).
"""

from __future__ import annotations

import math
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_blindspot.errors import InputError
from napari_blindspot.planes import middle
from napari_blindspot.progress import CancelToken, Job, Progress
from napari_blindspot.quality.comparison import ChannelQuality, Comparison
from napari_blindspot.quality.fourier import FourierCurve, fourier_correlation
from napari_blindspot.quality.intensity import IntensitySums
from napari_blindspot.quality.pieces import (
    Limits,
    pieces,
    plane_choice,
    sample_limits,
)
from napari_blindspot.quality.pixels import SSIM_HALO, PixelSums

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_blindspot.config import CompareSettings
    from napari_blindspot.stack import Stack, VoxelSize

    Pair = tuple[NDArray[Any], NDArray[Any]]

RING_PLANES = 16
RING_SIDE = 1024
SHELL_SHAPE = (64, 384, 384)
LEAST_DEPTH = 8
"""Planes that a volume needs for a Fourier shell correlation."""

SAME_VOXEL = 0.01
"""Voxel sizes that differ by a smaller part are the same."""


def compare_stacks(
    result: Stack,
    reference: Stack,
    settings: CompareSettings,
    cancel: CancelToken | None = None,
) -> Job[Comparison]:
    """Measure a result against a reference, channel by channel.

    Parameters
    ----------
    result, reference
        Stacks of equal sizes; axes of length one may be missing in either.
    settings
        By which of the two to bin, the range, the offset.
    cancel
        Asked between reads.

    Returns
    -------
    Job of Comparison
        A generator of events.

    Raises
    ------
    InputError
        If the two do not fit together, or a channel has no finite voxel or no range.
    Cancelled
        If `cancel` was used.
    """
    cancel = cancel or CancelToken()
    _check_sizes(result, reference)
    size = _common_voxel_size(result, reference)
    channels, done = [], 0
    yield Progress("compare", 0, reference.n_voxels, "voxels")
    for channel in range(reference.sizes["C"]):
        name = _channel_name(reference, result, channel)
        ranges = _ranges(result, reference, channel, name, settings)
        errors = PixelSums(ranges[0])
        intensity = IntensitySums(settings.bin_by, ranges[1], settings.offset)
        for piece in pieces(result, reference, channel, SSIM_HALO):
            cancel.raise_if_cancelled()
            errors.add(piece)
            intensity.add(piece)
            done += piece.n_voxels
            yield Progress("compare", done, reference.n_voxels, "voxels")
        if not errors.n_voxels:
            raise InputError(
                f"{result.name} and {reference.name} have no voxel in common that is "
                f"a number in both{_of(name)}; all others are NaN or infinite."
            )
        cancel.raise_if_cancelled()
        found = ChannelQuality(
            name,
            errors.errors(),
            intensity.check(),
            _ring(result, reference, channel, size),
            _shell(result, reference, channel, size),
        )
        channels.append(found)
    return Comparison(
        result.name,
        reference.name,
        reference.axes,
        reference.shape,
        tuple(channels),
        tuple(_notes(result, reference, size, settings, channels)),
    )


def _check_sizes(result: Stack, reference: Stack) -> None:
    if result.sizes == reference.sizes:
        return
    one, two = (
        f"{stack.name} is {stack.axes} {'×'.join(str(n) for n in stack.shape)}"
        for stack in (result, reference)
    )
    raise InputError(
        f"{one}, but {two}; only stacks of the same axes and size can be compared: "
        f"choose a common part of both (region=, channel=), or name the axes (axes=) "
        f"if they were read wrongly."
    )


def _common_voxel_size(result: Stack, reference: Stack) -> VoxelSize:
    """Return the voxel size of both; what one does not know, the other may."""
    for axis, one, two in zip(
        "zyx", result.voxel_size, reference.voxel_size, strict=True
    ):
        if one and two and not math.isclose(one, two, rel_tol=SAME_VOXEL):
            raise InputError(
                f"{result.name} has a voxel size of {one:.5g} µm along {axis}, but "
                f"{reference.name} of {two:.5g} µm; if they show the same voxels, give "
                f"the true size of both with voxel_size=, else resample one of them."
            )
    pairs = zip(result.voxel_size, reference.voxel_size, strict=True)
    return type(reference.voxel_size)(*(two or one for one, two in pairs))


def _ranges(
    result: Stack,
    reference: Stack,
    channel: int,
    name: str,
    settings: CompareSettings,
) -> tuple[float, Limits]:
    """Return the data range, and the limits of the stack that is binned."""
    limits = sample_limits(reference, channel)
    data_range = settings.data_range or limits.span
    if math.isnan(limits.low):
        raise InputError(f"{reference.name} holds no finite voxel{_of(name)}.")
    if not data_range > 0:
        raise InputError(
            f"{reference.name} has the same value at its 1 % and 99.9 % quantile "
            f"({limits.low:.5g}){_of(name)}, so it has no range to compare with; give "
            f"one with data_range=."
        )
    if settings.bin_by == "result":
        limits = sample_limits(result, channel)
    if not limits.span > 0:
        limits = Limits(limits.low, limits.low + data_range)
    return data_range, limits


def _ring(
    result: Stack, reference: Stack, channel: int, size: VoxelSize
) -> FourierCurve | None:
    """Correlate planes ring by ring, None where all of them hold NaN."""
    spacing = (size.y, size.x) if size.y and size.x else None
    return _curve(_plane_pairs(result, reference, channel), spacing or (1.0, 1.0), size)


def _shell(
    result: Stack, reference: Stack, channel: int, size: VoxelSize
) -> FourierCurve | None:
    """Correlate a volume shell by shell, None for less than a volume."""
    if reference.sizes["Z"] < LEAST_DEPTH or None in size:
        return None
    where: dict[str, slice | int] = {
        "T": reference.sizes["T"] // 2,
        "C": channel,
        **{
            axis: middle(reference.sizes[axis], most)
            for axis, most in zip("ZYX", SHELL_SHAPE, strict=True)
        },
    }
    return _curve(_finite_pairs(result, reference, where), _known(size), size)


def _curve(
    pairs: Iterator[Pair], spacing: tuple[float, ...], size: VoxelSize
) -> FourierCurve | None:
    first = next(pairs, None)
    if first is None:
        return None
    unit: Literal["µm", "px"] = "µm" if size.y and size.x else "px"
    return fourier_correlation(chain([first], pairs), spacing, unit)


def _known(size: VoxelSize) -> tuple[float, ...]:
    return tuple(float(one) for one in size if one is not None)


def _plane_pairs(result: Stack, reference: Stack, channel: int) -> Iterator[Pair]:
    window = {axis: middle(reference.sizes[axis], RING_SIDE) for axis in "YX"}
    for t, z in plane_choice(reference.sizes, RING_PLANES):
        yield from _finite_pairs(
            result, reference, {"T": t, "C": channel, "Z": z, **window}
        )


def _finite_pairs(
    result: Stack, reference: Stack, where: dict[str, slice | int]
) -> Iterator[Pair]:
    """Read one region of both, and give it if all of it are numbers."""
    pair = tuple(stack.read(where).astype(np.float32) for stack in (result, reference))
    if all(np.isfinite(one).all() for one in pair):
        yield pair[0], pair[1]


def _notes(
    result: Stack,
    reference: Stack,
    size: VoxelSize,
    settings: CompareSettings,
    channels: list[ChannelQuality],
) -> Iterator[str]:
    yield from dict.fromkeys((*result.notes, *reference.notes))
    if settings.bin_by == "result":
        yield (
            "Binned by the result, as for a noisy reference: PSNR and SSIM then count "
            "the noise of the reference too; and if it is the very input of the "
            "result, the resolution is too good, because the two share their noise"
        )
    if not (size.y and size.x):
        yield "The voxel size is not known, so the resolution is in pixels"
    if any(one.ring is None for one in channels):
        yield "No resolution: every plane that was tried holds NaN or infinity"
    moved = {result.translation, reference.translation}
    if len(moved) == 2 and (0.0, 0.0, 0.0) not in moved:
        yield (
            "The two stacks lie at different places; they were compared voxel by "
            "voxel all the same"
        )


def _channel_name(reference: Stack, result: Stack, channel: int) -> str:
    names = reference.channel_names or result.channel_names
    if names:
        return names[channel]
    return str(channel) if reference.sizes["C"] > 1 else ""


def _of(channel: str) -> str:
    return f" in channel {channel}" if channel else ""
