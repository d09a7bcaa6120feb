"""Imaris files: HDF5, one dataset for every time point and channel, lazily read."""

from __future__ import annotations

import importlib
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.errors import InputError, reason
from napari_blindspot.io.bioio_source import EXTRA
from napari_blindspot.io.found import Found
from napari_blindspot.io.units import length_um

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

IMARIS_SUFFIXES = (".ims",)
_FULL = "DataSet/ResolutionLevel 0"


@dataclass(frozen=True, slots=True)
class ImarisPixels:
    """The finest level of an Imaris file as one array.

    The file is opened for every read, so that the array can be handed to another
    process.

    Parameters
    ----------
    path
        The file.
    sizes
        Voxels along T, C, Z, Y and X; datasets are padded to whole chunks.
    dtype
        Pixel type.
    decoded
        Voxels along these axes that the file decodes at once.
    axes
        Letters of the dimensions of this array; the others have length one.
    """

    path: Path
    sizes: dict[str, int]
    dtype: np.dtype[Any]
    decoded: dict[str, int]
    axes: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels per dimension."""
        return tuple(self.sizes[axis] for axis in self.axes)

    @property
    def chunks(self) -> tuple[int, ...]:
        """What the file decodes at once, at most the whole."""
        return tuple(min(self.sizes[a], self.decoded[a]) for a in self.axes)

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[Any]:
        asked = dict(zip(self.axes, index, strict=True))
        times, channels, *box = (
            slice(*asked.get(axis, slice(None)).indices(n)[:2])
            for axis, n in self.sizes.items()
        )
        shape = [part.stop - part.start for part in (times, channels, *box)]
        values = np.empty(shape, self.dtype)
        with _opened(self.path) as file:
            for t in range(times.start, times.stop):
                for c in range(channels.start, channels.stop):
                    part = _read(file[_dataset(t, c)], tuple(box))
                    values[t - times.start, c - channels.start] = part
        left_out = [i for i, axis in enumerate(self.sizes) if axis not in self.axes]
        return values.squeeze(tuple(left_out))


def find_in_imaris(path: Path, name: str) -> Found:
    """Describe an Imaris file; no pixel is read.

    Of T, C and Z those that have length one are left out.

    Raises
    ------
    InputError
        If h5py is not installed, or the file cannot be read as Imaris.
    """
    try:
        with _opened(path) as file:
            return _described(file, path, name)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{path.name} cannot be read as an Imaris file ({reason(error)}); it may "
            f"be damaged, so copy it again, or export the stack as OME-TIFF."
        ) from error


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        h5py = importlib.import_module("h5py")
    except ImportError as error:
        raise InputError(
            f"{path.name} needs an extra reader for .ims; install it with {EXTRA}, or "
            f"export the stack as OME-TIFF."
        ) from error
    with h5py.File(path, "r") as file:
        yield file


def _read(data: Any, box: tuple[slice, ...]) -> NDArray[Any]:
    try:
        part: NDArray[Any] = data[box]
    except OSError as error:
        if error.errno is None:  # HDF5 speaks: what it read makes no sense
            raise ValueError(reason(error)) from error
        raise
    return part


def _described(file: Any, path: Path, name: str) -> Found:
    level, image = file[_FULL], file["DataSetInfo/Image"].attrs
    times = _count(level, "TimePoint")
    channels = _count(level["TimePoint 0"], "Channel")
    first = level["TimePoint 0/Channel 0"]
    z, y, x = (int(_text(first.attrs[f"ImageSize{axis}"])) for axis in "ZYX")
    padded = first["Data"]
    if any(n > has for n, has in zip((z, y, x), padded.shape, strict=True)):
        raise ValueError(f"it announces {(z, y, x)} voxels, but has {padded.shape}")
    sizes = {"T": times, "C": channels, "Z": z, "Y": y, "X": x}
    axes = "".join(a for a, n in sizes.items() if a in "YX" or n > 1)
    decoded = dict(zip("TCZYX", (1, 1, *(padded.chunks or (1, y, x))), strict=True))
    spacing, origin = _geometry(image, [z, y, x])
    steps = {"T": _time_step(file, times), **dict(zip("ZYX", spacing, strict=True))}
    starts = dict(zip("ZYX", origin, strict=True))
    return Found(
        ImarisPixels(path, sizes, np.dtype(padded.dtype), decoded, axes),
        axes=axes,
        spacing=tuple(steps.get(axis) for axis in axes),
        origin=tuple(starts.get(axis, 0.0) for axis in axes),
        channel_names=_channel_names(file, channels),
        name=name,
        path=path,
    )


def _dataset(t: int, c: int) -> str:
    return f"{_FULL}/TimePoint {t}/Channel {c}/Data"


def _count(group: Any, word: str) -> int:
    """Return how many members are numbered from 0 after a word."""
    found = sum(1 for name in group if name.startswith(f"{word} "))
    if found == 0 or f"{word} {found - 1}" not in group:
        raise ValueError(f"its {word} groups are not numbered from 0")
    return found


def _text(value: Any) -> str:
    """Return an attribute; Imaris writes texts as arrays of single letters."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray):
        return b"".join(np.asarray(value, "S1").tolist()).decode("utf-8", "replace")
    return str(value)


def _geometry(
    image: Any, sizes: list[int]
) -> tuple[list[float | None], tuple[float, ...]]:
    """Return µm between voxels and the centre of the first one, along z, y and x."""
    factor = length_um(_text(image["Unit"])) if "Unit" in image else 1.0
    try:
        low = [float(_text(image[f"ExtMin{i}"])) for i in (2, 1, 0)]
        high = [float(_text(image[f"ExtMax{i}"])) for i in (2, 1, 0)]
    except (KeyError, ValueError):
        factor = None
    if factor is None:
        return [None, None, None], (0.0, 0.0, 0.0)
    steps = [(b - a) / n for a, b, n in zip(low, high, sizes, strict=True)]
    known = [step * factor if 0 < step < np.inf else None for step in steps]
    # The extent reaches from the outer edge of the first voxel to that of the last.
    return known, tuple(
        (a + step / 2) * factor if np.isfinite(a) and size else 0.0
        for a, step, size in zip(low, steps, known, strict=True)
    )


def _channel_names(file: Any, channels: int) -> tuple[str, ...]:
    names = []
    for c in range(channels):
        group = file.get(f"DataSetInfo/Channel {c}")
        if group is None or "Name" not in group.attrs:
            return ()
        names.append(_text(group.attrs["Name"]).strip())
    return tuple(names) if all(names) else ()


def _time_step(file: Any, times: int) -> float | None:
    """Return the mean seconds between time points, None where they are not told."""
    info = file.get("DataSetInfo/TimeInfo")
    if info is None or times < 2:
        return None
    try:
        first, last = (
            datetime.fromisoformat(_text(info.attrs[f"TimePoint{i}"]).strip())
            for i in (1, times)
        )
    except (KeyError, ValueError):
        return None
    seconds = (last - first).total_seconds() / (times - 1)
    return seconds if seconds > 0 else None
