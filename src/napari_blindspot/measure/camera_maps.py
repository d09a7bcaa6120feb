"""What calibration of a camera tells of every pixel: offset, read noise and gain.

Offset and read noise come from a stack recorded without light, or from the two images
into which such a stack was condensed; the gain comes from an image of its own. These
are the three maps of an sCMOS camera (Huang et al., Nature Methods 10, 653, 2013).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.errors import InputError
from napari_blindspot.io import open_stack
from napari_blindspot.planes import plane_series

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_blindspot.config import CameraSettings
    from napari_blindspot.stack import Stack

_LEAST_DARK = 16
_SURE = 3.0  # standard errors
_QUIET = 0.01  # of the pixels: quieter ones may be dead
_MOST_SPREAD = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class DarkMaps:
    """Offset and read noise of every pixel of one channel.

    Parameters
    ----------
    offset, variance
        (Y, X) mean and variance without light, grey values and their square.
    frames
        How many dark frames they were taken from; None for maps that are exact.
    """

    offset: NDArray[np.float32]
    variance: NDArray[np.float32]
    frames: int | None

    @property
    def base_offset(self) -> float:
        """The offset that remains after correction, grey values."""
        return float(self.offset.mean(dtype=np.float64))

    @property
    def base_variance(self) -> float:
        """Read-noise variance that `extra` adds to, grey values squared.

        That of an ordinary pixel, since single pixels scatter by chance; of exact maps
        that of a quiet one.
        """
        if self.frames is None:
            return float(np.quantile(self.variance, _QUIET))
        return float(np.median(self.variance))

    @property
    def extra(self) -> NDArray[np.float32]:
        """Variance beyond the base of the pixels that are noisier, (Y, X), else 0.

        Noisier by more than the scatter of a variance over so few frames.
        """
        base = self.base_variance
        chance = 0.0 if self.frames is None else (2 / (self.frames - 1)) ** 0.5
        noisier = self.variance > base * (1 + _SURE * chance)
        above: NDArray[np.float32] = np.where(noisier, self.variance - base, 0)
        return above.astype(np.float32)

    def evened(self, gain: NDArray[np.float32]) -> DarkMaps:
        """Return the maps of pixels that were divided by their relative gain."""
        return replace(self, variance=self.variance / gain**2)


@dataclass(frozen=True, slots=True, eq=False)
class CameraMaps:
    """What was read about the pixels of a camera, one entry per channel of the files.

    Parameters
    ----------
    dark
        Offset and read noise; empty where nothing tells them.
    gain
        (Y, X) gain of every pixel over the mean gain; empty where nothing tells it.
    told
        The settings that they come from, by name: ``"dark"``, ``"offset_map"``, …
    """

    dark: tuple[DarkMaps, ...] = ()
    gain: tuple[NDArray[np.float32], ...] = ()
    told: tuple[str, ...] = ()

    def of(self, stack: Stack) -> CameraMaps:
        """Return the maps with one entry per channel of a stack.

        Raises
        ------
        InputError
            If the maps differ from the stack in their pixels or channels.
        """
        dark, gain = self.dark, self.gain
        if dark:
            name = self.told[0]
            _check_fit(name, dark[0].offset.shape, len(dark), stack)
            dark *= stack.sizes["C"] // len(dark)
        if gain:
            _check_fit(self.told[-1], gain[0].shape, len(gain), stack)
            gain *= stack.sizes["C"] // len(gain)
        return replace(self, dark=dark, gain=gain)


def read_camera(settings: CameraSettings) -> CameraMaps:
    """Read what the settings name about the pixels of the camera.

    The part of the sensor and the channel that the settings choose for the stack are
    chosen here alike. Dark frames are read one by one.

    Raises
    ------
    InputError
        If a file cannot be read, a map is no image or holds values that cannot be
        true, the maps differ in size, or there are too few dark frames.
    """
    dark: tuple[DarkMaps, ...] = ()
    gain: tuple[NDArray[np.float32], ...] = ()
    told: list[str] = []
    if settings.dark is not None:
        dark = _from_frames(settings.dark, settings)
        told.append(f"dark={settings.dark.name}")
    if settings.offset_map is not None and settings.variance_map is not None:
        dark = _from_maps(settings.offset_map, settings.variance_map, settings)
        told.append(f"offset_map={settings.offset_map.name}")
    if settings.gain_map is not None:
        gain = _relative_gain(settings.gain_map, settings)
        told.append(f"gain_map={settings.gain_map.name}")
    return CameraMaps(dark, gain, tuple(told))


def _from_frames(path: Path, settings: CameraSettings) -> tuple[DarkMaps, ...]:
    frames = _opened(path, settings)
    channels = range(frames.sizes["C"])
    return tuple(_over_frames(frames, channel, path.name) for channel in channels)


def _over_frames(dark: Stack, channel: int, name: str) -> DarkMaps:
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


def _from_maps(
    offset: Path, variance: Path, settings: CameraSettings
) -> tuple[DarkMaps, ...]:
    offsets = _images("offset_map", offset, settings)
    variances = _images("variance_map", variance, settings)
    if offsets.shape != variances.shape:
        raise InputError(
            f"offset_map={offset.name} (channels, rows, columns: {offsets.shape}) and "
            f"variance_map={variance.name} ({variances.shape}) differ in size; give "
            f"the two maps of one calibration."
        )
    _refuse(
        ~np.isfinite(offsets), f"offset_map={offset.name}", "an offset that is infinite"
    )
    _refuse(
        ~(np.isfinite(variances) & (variances >= 0)),
        f"variance_map={variance.name}",
        "a variance that is negative or infinite",
    )
    return tuple(
        DarkMaps(one, other, None)
        for one, other in zip(offsets, variances, strict=True)
    )


def _relative_gain(
    path: Path, settings: CameraSettings
) -> tuple[NDArray[np.float32], ...]:
    name = f"gain_map={path.name}"
    gains = _images("gain_map", path, settings)
    _refuse(
        ~(np.isfinite(gains) & (gains > 0)),
        name,
        "a gain that is zero, negative or infinite",
    )
    least, most = float(gains.min()), float(gains.max())
    if most > _MOST_SPREAD * least:
        raise InputError(
            f"{name} holds gains from {least:.4g} to {most:.4g}, more than a factor of "
            f"{_MOST_SPREAD:g} apart, which no working sensor has; replace the gains "
            f"of dead pixels by the median of the others, or check the file."
        )
    return tuple(one / np.float32(one.mean(dtype=np.float64)) for one in gains)


def _refuse(wrong: NDArray[np.bool_], name: str, what: str) -> None:
    """Refuse a map of which some pixels cannot be true."""
    if wrong.any():
        _, row, column = np.argwhere(wrong)[0]
        raise InputError(
            f"{name} has {what} or NaN in {int(wrong.sum())} of {wrong.size} pixels "
            f"(the first at y={row}, x={column} of what is used): dead pixels? Give "
            f"them the median of the others."
        )


def _images(name: str, path: Path, settings: CameraSettings) -> NDArray[np.float32]:
    """Read one image per channel: (C, Y, X)."""
    stack = _opened(path, settings, images=True)
    sizes = stack.sizes
    if sizes["T"] * sizes["Z"] > 1:
        raise InputError(
            f"{name}={path.name} has axes {stack.axes} and shape {stack.shape}; a map "
            f"is one image (Y, X), or one for each channel (C, Y, X)."
        )
    images = stack.read({})
    return images.reshape(sizes["C"], sizes["Y"], sizes["X"]).astype(np.float32)


def _opened(path: Path, settings: CameraSettings, *, images: bool = False) -> Stack:
    """Open a calibration, cut to the part of the sensor that the settings choose."""
    stack = open_stack(path, region=_in_plane(getattr(settings, "region", None)))
    if images and stack.axes in ("ZYX", "TYX"):  # a guess: several maps are channels
        stack = open_stack(stack, axes="CYX")
    channel = getattr(settings, "channel", None)
    if channel is not None and stack.sizes["C"] > 1:
        stack = stack.select_channel(channel)
    return stack


def _check_fit(name: str, shape: tuple[int, ...], channels: int, stack: Stack) -> None:
    sizes = stack.sizes
    if shape != (sizes["Y"], sizes["X"]):
        raise InputError(
            f"{name} has {shape[0]} × {shape[1]} pixels but the stack has "
            f"{sizes['Y']} × {sizes['X']}; record it with the same part of the camera."
        )
    if channels not in (1, sizes["C"]):
        raise InputError(
            f"{name} has {channels} channels but the stack has {sizes['C']}; give one "
            f"of one channel or of as many."
        )


def _planes(stack: Stack, channel: int) -> Iterator[NDArray[Any]]:
    """Read all planes of a channel, one by one."""
    for one in plane_series(stack, "none"):
        if one.channel == channel:
            planes, rows, columns = one.shape
            for plane in range(planes):
                window = slice(0, rows), slice(0, columns)
                yield one.read(slice(plane, plane + 1), *window)[0]


def _in_plane(region: str | None) -> str | None:
    """Keep the y and x of a region: a calibration has its own frames."""
    if region is None:
        return None
    parts = [part for part in region.split(",") if part.strip()[:1].lower() in "yx"]
    return ",".join(parts) or None
