"""What a camera adds on its own: taken off before training, and told to the noise.

Three things differ from pixel to pixel but not from plane to plane: the offset, which
is subtracted; the gain, which is evened out; and the read noise, which goes into the
noise of that pixel. They are read from a calibration of the camera (`camera_maps`).
Without one, the offsets of whole columns or rows can still be told from the image
itself (`noise.fixed_pattern`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_blindspot.errors import InputError
from napari_blindspot.measure.camera_maps import CameraMaps, DarkMaps, read_camera
from napari_blindspot.noise.fixed_pattern import column_pattern
from napari_blindspot.noise.gain_pattern import gain_seen
from napari_blindspot.planes import middle, spread_planes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_blindspot.config import CameraSettings
    from napari_blindspot.noise.gain_pattern import GainSeen
    from napari_blindspot.noise.models import NoiseModel
    from napari_blindspot.stack import Stack

_PATTERN_PLANES = 32
_PATTERN_DEPTH = 512  # px across the pattern
_GAIN_SIDE = 256  # px
_WRONG_SHARE, _KNOWN_SHARE = 0.5, 0.15  # of a gain pattern


@dataclass(frozen=True, slots=True, eq=False)
class PixelStep:
    """One step of a correction: y becomes y·scale − shift, pixel by pixel.

    Parameters
    ----------
    shift
        (C, Y, X) grey values, or of a shape that spreads to it.
    scale
        The same without a unit; None for 1.
    """

    shift: NDArray[np.float32]
    scale: NDArray[np.float32] | None = None

    def applied(self, stack: Stack) -> Stack:
        """Return a stack with the step done, lazily, as float32."""
        data = stack.data.astype(np.float32)
        if self.scale is not None:
            data = data * _spread(self.scale, stack)
        return replace(stack, data=data - _spread(self.shift, stack))

    def lowest(self, level: float, channel: int) -> float:
        """Return the least that becomes of a value in any pixel of a channel."""
        value = np.float32(level)
        if self.scale is not None:
            value = value * self.scale[channel]
        return float(np.min(value - self.shift[channel]))


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """A stack without what its camera added, and what its pixels have in noise.

    Parameters
    ----------
    stack
        Lazy; float32 where something was corrected, else the stack as it was.
    dark
        Offset and read noise of each channel after correction, empty where unknown.
    steps
        What was done to the values.
    notes
        The same in words, one sentence each.
    """

    stack: Stack
    dark: tuple[DarkMaps, ...] = ()
    steps: tuple[PixelStep, ...] = ()
    notes: tuple[str, ...] = ()

    def saturation(self, levels: Sequence[float]) -> tuple[float, ...]:
        """Return from where on corrected voxels may be saturated.

        Parameters
        ----------
        levels
            The same in the data as recorded, one per channel.

        Returns
        -------
        tuple of float
            What becomes of the level where it ends lowest, so that no saturated voxel
            is taken for a measured one.
        """
        moved = list(levels)
        for step in self.steps:
            moved = [step.lowest(level, index) for index, level in enumerate(moved)]
        return tuple(moved)


def corrects(settings: CameraSettings) -> bool:
    """Return whether `correct` does anything with these settings."""
    files = (settings.dark, settings.offset_map, settings.gain_map)
    return settings.fixed_pattern != "none" or any(file is not None for file in files)


def needs_noise(settings: CameraSettings) -> bool:
    """Return whether `correct` wants the noise of the channels."""
    return settings.fixed_pattern != "none"


def correct(
    stack: Stack,
    settings: CameraSettings,
    noise: tuple[NoiseModel, ...] | None = None,
    camera: CameraMaps | None = None,
) -> Correction:
    """Take off what the settings ask for.

    Parameters
    ----------
    stack
        As it was opened.
    settings
        A calibration of the camera, a pattern of columns or rows, or neither.
    noise
        Noise of each channel, which weighs the voxels when a pattern is measured;
        only needed for that.
    camera
        What `read_camera` read for these settings; default: it is read now.

    Raises
    ------
    InputError
        If the calibration cannot be used or does not belong to this stack, or a
        pattern was asked for that cannot be told.
    """
    maps = (read_camera(settings) if camera is None else camera).of(stack)
    done = Correction(stack)
    if maps.dark or maps.gain:
        done = _without_camera(stack, maps)
    if settings.fixed_pattern != "none":
        done = _without_pattern(done, settings, noise)
    return done


def _without_camera(stack: Stack, maps: CameraMaps) -> Correction:
    dark, notes = maps.dark, [_dark_note(maps)] if maps.dark else []
    if not maps.gain:
        step = PixelStep(
            np.stack([one.offset - np.float32(one.base_offset) for one in dark])
        )
        return Correction(step.applied(stack), dark, (step,), tuple(notes))
    seen = [_seen(stack, maps, channel) for channel in range(len(maps.gain))]
    base = [one.base_offset for one in dark] or [one.base for one in seen]
    notes += _gain_notes(maps, seen, base)
    # (y − offset) / gain + base: even gains, and the line of the noise still holds.
    scale: NDArray[np.float32] = np.reciprocal(np.stack(maps.gain))
    bases = np.array(base, np.float32)[:, None, None]
    offsets = np.stack([one.offset for one in dark]) if dark else bases
    shift: NDArray[np.float32] = offsets * scale - bases
    step = PixelStep(shift, scale)
    if dark:
        pairs = zip(dark, maps.gain, strict=True)
        dark = tuple(one.evened(gain) for one, gain in pairs)
    return Correction(step.applied(stack), dark, (step,), tuple(notes))


def _seen(stack: Stack, maps: CameraMaps, channel: int) -> GainSeen:
    """Look for the gain pattern of a channel in the middle of some planes."""
    side = (_GAIN_SIDE, _GAIN_SIDE)
    window = tuple(middle(stack.sizes[axis], _GAIN_SIDE) for axis in "YX")
    return gain_seen(
        list(spread_planes([stack], channel, _PATTERN_PLANES, side)),
        maps.gain[channel][window],
        maps.dark[channel].offset[window] if maps.dark else None,
    )


def _dark_note(maps: CameraMaps) -> str:
    dark = maps.dark
    pattern = [one.offset - np.float32(one.base_offset) for one in dark]
    hot = np.mean(
        [float((one.variance > 4 * np.median(one.variance)).mean()) for one in dark]
    )
    what = "dark maps" if dark[0].frames is None else "dark stack"
    return (
        f"{what}: offset {dark[0].base_offset:.4g} grey values, "
        f"{np.std(pattern):.3g} from pixel to pixel; {hot:.2%} of the pixels have more "
        f"than twice the usual read noise"
    )


def _gain_notes(
    maps: CameraMaps, seen: Sequence[GainSeen], base: Sequence[float]
) -> list[str]:
    """Say how much the gains differ, and whether the stack shows that."""
    spread = float(np.mean([one.std() for one in maps.gain]))
    notes = [
        f"gain map: {spread:.1%} from pixel to pixel, evened out around "
        f"{base[0]:.4g} grey values"
    ]
    for channel, one in enumerate(seen):
        wrong = abs(one.share - 1) > _WRONG_SHARE and one.error < _KNOWN_SHARE
        if wrong:
            where = f"channel {channel} of the stack" if len(seen) > 1 else "the stack"
            notes.append(
                f"{where} shows {one.share:.0%} ± {one.error:.0%} of the pattern of "
                f"{maps.told[-1]} where 100% is right: check that the map belongs to "
                f"this camera and this part of it, and that the gains were not evened "
                f"out before; without gain_map nothing is divided"
            )
    return notes


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
    step = PixelStep(np.stack(patterns))
    return replace(
        done,
        stack=step.applied(stack),
        steps=(*done.steps, step),
        notes=tuple(notes),
    )


def pattern_planes(
    stack: Stack, channel: int, which: Literal["columns", "rows"]
) -> Iterator[NDArray[Any]]:
    """Read planes for `column_pattern`: whole along the pattern, cut across it."""
    rows, columns = stack.sizes["Y"], stack.sizes["X"]
    most = (_PATTERN_DEPTH, columns) if which == "columns" else (rows, _PATTERN_DEPTH)
    return spread_planes([stack], channel, _PATTERN_PLANES, most)


def _spread(values: NDArray[np.float32], stack: Stack) -> NDArray[np.float32]:
    """Return values of (C, Y, X) in a shape that spreads over the axes of a stack."""
    shape = [
        n if axis in "CYX" else 1
        for axis, n in zip(stack.axes, stack.shape, strict=True)
    ]
    full = (len(values), stack.sizes["Y"], stack.sizes["X"])
    return np.broadcast_to(values, full).reshape(shape)
