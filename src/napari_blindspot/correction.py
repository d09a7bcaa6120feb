"""What a camera adds on its own: taken off before training, and told to the noise.

Two things differ from pixel to pixel but not from plane to plane: the offset, which is
subtracted from the data, and the read noise, which goes into the noise of that pixel.
Both are measured on a dark stack. Without one, the offsets of whole columns or rows
can still be told from the image itself (`noise.fixed_pattern`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_blindspot.errors import InputError
from napari_blindspot.io import open_stack
from napari_blindspot.noise.fixed_pattern import column_pattern
from napari_blindspot.planes import plane_series, spread_planes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_blindspot.config import CameraSettings
    from napari_blindspot.noise.models import NoiseModel
    from napari_blindspot.stack import Stack

_LEAST_DARK = 16
_PATTERN_PLANES = 32
_PATTERN_DEPTH = 512  # px across the pattern
_SURE = 3.0  # standard errors


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """A stack without its camera's offsets, and what its pixels have in noise.

    Parameters
    ----------
    stack
        Lazy; float32 where something was subtracted, else the stack as it was.
    dark
        What the dark stack told of each channel, empty without one.
    largest
        Largest offset that was subtracted, grey values; saturated voxels may lie
        lower by it.
    notes
        What was done, one sentence each.
    """

    stack: Stack
    dark: tuple[DarkMaps, ...] = ()
    largest: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class DarkMaps:
    """Offset and read noise of every pixel of one channel.

    Parameters
    ----------
    offset, variance
        (Y, X) mean and variance over the dark frames, grey values and their square.
    frames
        How many there were.
    """

    offset: NDArray[np.float32]
    variance: NDArray[np.float32]
    frames: int

    @property
    def base_offset(self) -> float:
        """The offset that remains after correction, grey values."""
        return float(self.offset.mean(dtype=np.float64))

    @property
    def base_variance(self) -> float:
        """Read-noise variance of an ordinary pixel, grey values squared."""
        return float(np.median(self.variance))

    @property
    def extra(self) -> NDArray[np.float32]:
        """Variance beyond that of the pixels that are noisier, (Y, X), else 0.

        Noisier by more than the scatter of a variance over so few frames.
        """
        base = self.base_variance
        beyond_chance = base * (1 + _SURE * (2 / (self.frames - 1)) ** 0.5)
        above: NDArray[np.float32] = np.where(
            self.variance > beyond_chance, self.variance - base, 0
        )
        return above.astype(np.float32)


def correct(
    stack: Stack,
    settings: CameraSettings,
    noise: tuple[NoiseModel, ...] | None = None,
) -> Correction:
    """Take off what the settings ask for.

    Parameters
    ----------
    stack
        As it was opened.
    settings
        A dark stack, a pattern of columns or rows, or neither.
    noise
        Noise of each channel, which weighs the voxels when a pattern is measured;
        only needed for that.

    Raises
    ------
    InputError
        If the dark stack does not belong to this one or has too few frames, or a
        pattern was asked for that cannot be told.
    """
    if settings.dark is not None:
        done = _without_dark(
            stack,
            settings.dark,
            getattr(settings, "region", None),
            getattr(settings, "channel", None),
        )
    else:
        done = Correction(stack)
    if settings.fixed_pattern != "none":
        done = _without_pattern(done, settings, noise)
    return done


def needs_noise(settings: CameraSettings) -> bool:
    """Return whether `correct` wants the noise of the channels."""
    return settings.fixed_pattern != "none"


def _without_dark(
    stack: Stack, path: Path, region: str | None, channel: int | str | None
) -> Correction:
    dark = open_stack(path, region=_in_plane(region))
    if channel is not None and dark.sizes["C"] > 1:
        dark = dark.select_channel(channel)
    for axis in "YX":
        if dark.sizes[axis] != stack.sizes[axis]:
            raise InputError(
                f"dark={path.name} has {dark.sizes['Y']} × {dark.sizes['X']} pixels "
                f"but the stack has {stack.sizes['Y']} × {stack.sizes['X']}; record "
                f"the dark stack with the same part of the camera."
            )
    if dark.sizes["C"] not in (1, stack.sizes["C"]):
        raise InputError(
            f"dark={path.name} has {dark.sizes['C']} channels but the stack has "
            f"{stack.sizes['C']}; give a dark stack of one channel or of as many."
        )
    maps = [_dark_maps(dark, channel, path.name) for channel in range(dark.sizes["C"])]
    maps *= stack.sizes["C"] // len(maps)
    pattern = np.stack([one.offset - np.float32(one.base_offset) for one in maps])
    hot = np.mean(
        [float((one.variance > 4 * np.median(one.variance)).mean()) for one in maps]
    )
    note = (
        f"dark stack: offset {maps[0].base_offset:.4g} grey values, "
        f"{np.std(pattern):.3g} from pixel to pixel; {hot:.2%} of the pixels have more "
        f"than twice the usual read noise"
    )
    return Correction(
        _subtracted(stack, pattern), tuple(maps), float(pattern.max()), (note,)
    )


def _dark_maps(dark: Stack, channel: int, name: str) -> DarkMaps:
    """Return mean and variance of every pixel over all planes, read one by one."""
    shape = (dark.sizes["Y"], dark.sizes["X"])
    first, total, squares = (np.zeros(shape) for _ in range(3))
    count = 0
    for plane in _planes(dark, channel):
        y = plane.astype(np.float64)
        if not np.isfinite(y).all():
            raise InputError(
                f"dark={name} holds values that are not finite; record it again."
            )
        first = first if count else y  # differences from it keep the sums exact
        total += y - first
        squares += (y - first) ** 2
        count += 1
    if count < _LEAST_DARK:
        raise InputError(
            f"dark={name} has {count} frames, too few to tell the noise of single "
            f"pixels; record at least {_LEAST_DARK} of them, better 100."
        )
    mean = total / count
    variance = np.maximum(squares - count * mean**2, 0) / (count - 1)
    return DarkMaps(
        (first + mean).astype(np.float32), variance.astype(np.float32), count
    )


def _without_pattern(
    done: Correction, settings: CameraSettings, noise: tuple[NoiseModel, ...] | None
) -> Correction:
    stack, which = done.stack, settings.fixed_pattern
    assert which != "none"
    if noise is None:
        raise ValueError("the noise of the channels weighs the voxels of a pattern")
    patterns, notes = [], list(done.notes)
    for channel, model in enumerate(noise):
        planes = pattern_planes(stack, channel, which)
        found = column_pattern(planes, model, axis="x" if which == "columns" else "y")
        if found is None:
            raise InputError(
                f"fixed_pattern={which!r} cannot be measured: the planes "
                f"({stack.sizes['Y']} × {stack.sizes['X']} pixels) are too small to "
                f"tell a pattern from chance; leave it out."
            )
        offsets = found.offsets.astype(np.float32) * found.found
        patterns.append(offsets[None, :] if which == "columns" else offsets[:, None])
        notes.append(
            f"{which}: a fixed pattern of {found.rms:.3g} grey values "
            f"({found.share:.0%} of the noise) was subtracted"
            if found.found
            else f"{which}: no fixed pattern was found, so nothing was subtracted"
        )
    pattern = np.stack(patterns)
    return replace(
        done,
        stack=_subtracted(stack, pattern),
        largest=done.largest + float(pattern.max()),
        notes=tuple(notes),
    )


def pattern_planes(
    stack: Stack, channel: int, which: Literal["columns", "rows"]
) -> Iterator[NDArray[Any]]:
    """Read planes for `column_pattern`: whole along the pattern, cut across it."""
    rows, columns = stack.sizes["Y"], stack.sizes["X"]
    most = (_PATTERN_DEPTH, columns) if which == "columns" else (rows, _PATTERN_DEPTH)
    return spread_planes([stack], channel, _PATTERN_PLANES, most)


def _planes(stack: Stack, channel: int) -> Iterator[NDArray[Any]]:
    """Read all planes of a channel, one by one."""
    for one in plane_series(stack, "none"):
        if one.channel == channel:
            planes, rows, columns = one.shape
            for plane in range(planes):
                window = slice(0, rows), slice(0, columns)
                yield one.read(slice(plane, plane + 1), *window)[0]


def _subtracted(stack: Stack, pattern: NDArray[np.float32]) -> Stack:
    """Return the stack minus a pattern (C, Y, X), lazily, as float32."""
    shape = [
        n if axis in "CYX" else 1
        for axis, n in zip(stack.axes, stack.shape, strict=True)
    ]
    full = np.broadcast_to(
        pattern, (len(pattern), stack.sizes["Y"], stack.sizes["X"])
    ).reshape(shape)
    return replace(stack, data=stack.data.astype(np.float32) - full)


def _in_plane(region: str | None) -> str | None:
    """Keep the y and x of a region: a dark stack has its own frames."""
    if region is None:
        return None
    parts = [part for part in region.split(",") if part.strip()[:1].lower() in "yx"]
    return ",".join(parts) or None
