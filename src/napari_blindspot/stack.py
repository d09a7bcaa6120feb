"""A stack: a lazy array with named axes, voxel size and channel names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from napari_blindspot.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_blindspot.location import Location

AXES = "TCZYX"
"""The axes a stack may have, in the order in which it has them."""


class _Sizes(NamedTuple):
    z: float | None = None
    y: float | None = None
    x: float | None = None


class VoxelSize(_Sizes):
    """Distance between voxel centres in µm; None where it is not known.

    Raises
    ------
    InputError
        If a distance is no positive number.
    """

    __slots__ = ()

    def __new__(
        cls, z: float | None = None, y: float | None = None, x: float | None = None
    ) -> Self:
        """Check the distances."""
        if not all(n is None or 0 < n < np.inf for n in (z, y, x)):
            raise InputError(
                f"voxel_size={(z, y, x)} cannot be used; give three positive numbers z "
                f"y x in µm, e.g. (0.29, 0.26, 0.26)."
            )
        return super().__new__(cls, z, y, x)


UNKNOWN_SIZE = VoxelSize()


@dataclass(frozen=True, slots=True, eq=False)
class Shortcut:
    """Reads the regions of one dask array past its graph.

    dask looks through a whole graph before it reads any of it: with 10⁵ chunks that
    takes longer than to read a few planes.

    Parameters
    ----------
    name
        Of the dask array; of any other it knows nothing.
    pixels
        Array-like with shape, dtype and ``[...]`` that the dask array is made of.
    start
        Where the dask array begins in it.
    """

    name: str
    pixels: Any
    start: tuple[int, ...]

    def read(self, index: tuple[slice, ...]) -> NDArray[Any]:
        """Read a box of the array into memory of its own, in the order of C."""
        moved = (
            slice(part.start + first, part.stop + first)
            for part, first in zip(index, self.start, strict=True)
        )
        values: NDArray[Any] = self.pixels[tuple(moved)]
        own = values.flags.owndata and values.flags.c_contiguous
        return values if own else values.copy(order="C")

    def cropped(self, name: str, index: tuple[slice, ...]) -> Shortcut:
        """Return the shortcut of a box of the array, a dask array called `name`."""
        start = tuple(
            first + part.start for first, part in zip(self.start, index, strict=True)
        )
        return replace(self, name=name, start=start)


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """What the user opened: lazy pixels with named axes.

    Parameters
    ----------
    data
        Lazy pixels (a dask array) with one dimension per letter of `axes`.
    axes
        A subsequence of ``"TCZYX"``, always ending in ``"YX"``.
    voxel_size
        Distance between voxel centres in µm.
    translation
        Position of the first voxel (z, y, x) in µm.
    time_step_s
        Seconds between time points, if known.
    name
        Short name, used for layers and files.
    channel_names
        One name per channel; empty without names.
    path
        Where the pixels come from, None for an array in memory.
    notes
        What was guessed while opening, one sentence each, for the user.
    shortcut
        What reads regions of `data` past its graph; used while it is of this `data`.
    """

    data: Any
    axes: str
    voxel_size: VoxelSize = UNKNOWN_SIZE
    translation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    time_step_s: float | None = None
    name: str = "stack"
    channel_names: tuple[str, ...] = ()
    path: Location | None = None
    notes: tuple[str, ...] = ()
    shortcut: Shortcut | None = None

    def __post_init__(self) -> None:
        check_axes(self.axes, self.data.ndim)

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each of `axes`."""
        return tuple(int(n) for n in self.data.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Pixel type of the source."""
        dtype: np.dtype[Any] = np.dtype(self.data.dtype)
        return dtype

    @property
    def sizes(self) -> dict[str, int]:
        """Voxels along every axis of TCZYX, 1 for an axis the stack does not have."""
        present = dict(zip(self.axes, self.shape, strict=True))
        return {axis: present.get(axis, 1) for axis in AXES}

    @property
    def identity(self) -> dict[str, Any]:
        """What tells it from others, JSON-able, without the folders of this machine."""
        return {
            "name": self.name if self.path is None else self.path.name,
            "axes": self.axes,
            "shape": list(self.shape),
            "dtype": str(self.dtype),
        }

    @property
    def n_voxels(self) -> int:
        """Voxels in all."""
        return int(np.prod(self.shape, dtype=np.int64))

    def read(self, region: Mapping[str, slice | int]) -> NDArray[Any]:
        """Read one region into memory.

        Parameters
        ----------
        region
            Slice or index per axis; axes left out are read whole. An axis the
            stack does not have is ignored.

        Returns
        -------
        ndarray
            Pixels of the region in data units, dtype of the source, one
            dimension per axis that was not indexed by a number.
        """
        index = tuple(region.get(axis, slice(None)) for axis in self.axes)
        if self.shortcut is None or self.shortcut.name != self.data.name:
            return np.asarray(self.data[index].compute(scheduler="threads"))
        box, dropped = zip(*map(_box_of, index, self.shape), strict=True)
        return self.shortcut.read(box)[dropped]

    def crop(self, region: Mapping[str, slice]) -> Stack:
        """Return the lazy part of this stack inside `region` (plain slices, step 1).

        The translation follows the crop.
        """
        bounds = {
            axis: region.get(axis, slice(None)).indices(self.sizes[axis])[:2]
            for axis in AXES
        }
        index = tuple(slice(*bounds[axis]) for axis in self.axes)
        z, y, x = (
            old + (size or 1.0) * bounds[axis][0]
            for old, size, axis in zip(
                self.translation, self.voxel_size, "ZYX", strict=True
            )
        )
        names, data, shortcut = self.channel_names, self.data[index], self.shortcut
        if shortcut is not None and shortcut.name == self.data.name:
            shortcut = shortcut.cropped(data.name, index)
        return replace(
            self,
            data=data,
            shortcut=shortcut,
            translation=(z, y, x),
            channel_names=names[slice(*bounds["C"])] if names else (),
        )

    def select_channel(self, channel: int | str) -> Stack:
        """Return the stack of one channel, by index or by name.

        Raises
        ------
        InputError
            If the stack has no such channel.
        """
        index = self.channel_index(channel)
        return self.crop({"C": slice(index, index + 1)})

    def channel_index(self, channel: int | str) -> int:
        """Return the index of a channel that is given by index or by name.

        Raises
        ------
        InputError
            If the stack has no such channel.
        """
        count = self.sizes["C"]
        if isinstance(channel, str) and channel in self.channel_names:
            return self.channel_names.index(channel)
        try:
            index = int(channel)
        except ValueError:
            index = -1
        if 0 <= index < count:
            return index
        names = f" or one of {list(self.channel_names)}" if self.channel_names else ""
        allowed = f"an index from 0 to {count - 1}" if count > 1 else "0, the only one"
        raise InputError(
            f"channel={channel!r} is not in this stack; give {allowed}{names}."
        )


def _box_of(index: slice | int, length: int) -> tuple[slice, slice | int]:
    """Split an index into a slice from start to stop and what is taken of that.

    Raises
    ------
    IndexError
        If a number lies outside the axis.
    ValueError
        If a slice runs backwards.
    """
    if not isinstance(index, slice):
        place = range(length)[index]
        return slice(place, place + 1), 0
    start, stop, step = index.indices(length)
    if step < 1:
        raise ValueError(f"a region is read forwards, got {index}")
    return slice(start, max(start, stop)), slice(None, None, step)


def check_axes(axes: str, ndim: int) -> None:
    """Refuse axes that do not name `ndim` dimensions in the order TCZYX.

    Raises
    ------
    InputError
        If a letter is unknown, repeated or out of order, if Y or X is missing,
        or if the number of letters is not `ndim`.
    """
    in_order = [axis for axis in AXES if axis in axes]
    if list(axes) != in_order or not axes.endswith("YX"):
        raise InputError(
            f"axes={axes!r} cannot be used; give letters out of TCZYX, each once, in "
            f"this order and ending in YX, e.g. axes='ZYX'."
        )
    if len(axes) != ndim:
        raise InputError(
            f"axes={axes!r} names {len(axes)} dimensions but the data has {ndim}; "
            f"give one letter out of TCZYX per dimension."
        )
