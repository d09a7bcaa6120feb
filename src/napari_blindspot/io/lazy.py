"""Lazy pixels: any array-like as a dask array that is never read whole."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.errors import BlindspotError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CHUNK_BYTES = 8 * 2**20
TINY_BYTES = 2**20


@dataclass(frozen=True, slots=True, eq=False)
class LazyPixels:
    """An array-like behind one door: its dimensions reordered, its errors readable.

    dask copies a numpy array that it is given, memory-mapped ones too; it does not
    know how to copy this. The order is changed here because dask reads whole chunks
    where a crop follows a transposition of its own.

    Parameters
    ----------
    source
        Anything with shape, dtype and ``[...]``.
    label
        What messages call it, e.g. the file name.
    order
        The dimensions of the source in the order that is wanted.
    """

    source: Any
    label: str
    order: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels per dimension, in the new order."""
        return tuple(int(self.source.shape[i]) for i in self.order)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.order)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Pixel type."""
        dtype: np.dtype[Any] = np.dtype(self.source.dtype)
        return dtype

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """What the source decodes at once, in the new order, if it says so."""
        native = native_chunks(self.source)
        return None if native is None else tuple(native[i] for i in self.order)

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[Any]:
        # dask asks with slices, whole numbers and lists; sources get slices alone.
        box, rest = zip(*(_slice_first(i) for i in index), strict=True)
        inverse = np.argsort(self.order)
        try:
            part: NDArray[Any] = np.asarray(self.source[tuple(box[i] for i in inverse)])
        except (BlindspotError, MemoryError):
            raise
        except Exception as error:
            raise InputError(
                f"{self.label} could not be read at {_words(index)} ({error}); the "
                f"file may be damaged or was changed meanwhile, so copy or export it "
                f"anew."
            ) from error
        result: NDArray[Any] = part.transpose(self.order)[rest]
        return result


@dataclass(frozen=True, slots=True, eq=False)
class FileSeries:
    """Equal files as one array with the files along the first axis.

    Parameters
    ----------
    files
        One lazy array per file, all of the same shape and dtype.
    """

    files: tuple[Any, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of files, then the shape of one."""
        return (len(self.files), *self.files[0].shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Pixel type of every file."""
        dtype: np.dtype[Any] = np.dtype(self.files[0].dtype)
        return dtype

    @property
    def chunks(self) -> tuple[int, ...]:
        """One file per chunk; inside, the chunks of the file."""
        native = native_chunks(self.files[0]) or self.files[0].shape
        return (1, *native)

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[Any]:
        wanted = self.files[index[0]]
        return np.stack([np.asarray(file[index[1:]]) for file in wanted])


def as_dask(
    pixels: Any,
    label: str,
    order: tuple[int, ...] | None = None,
) -> Any:
    """Return a dask array with bounded chunks; a dask array keeps its own.

    Parameters
    ----------
    pixels
        The source.
    label
        What messages call it.
    order
        The dimensions of the source in the order that is wanted, Y and X last.
    """
    import dask.array as da

    order = order or tuple(range(len(pixels.shape)))
    if isinstance(pixels, da.Array):
        if order == tuple(range(pixels.ndim)):
            return pixels
        return pixels.transpose(order)  # type: ignore[no-untyped-call]
    lazy = LazyPixels(pixels, label, order)
    # A name of its own: dask would hash, and so read, the whole source to find one.
    return da.from_array(  # type: ignore[no-untyped-call]
        lazy,
        chunks=bounded_chunks(lazy.shape, lazy.dtype.itemsize, lazy.chunks),
        name=f"blindspot-{uuid.uuid4().hex}",
        meta=np.empty((0,) * lazy.ndim, lazy.dtype),
    )


def bounded_chunks(
    shape: Sequence[int],
    itemsize: int,
    native: Sequence[int] | None = None,
) -> tuple[int, ...]:
    """Choose chunks of about one plane, at most 8 MiB where that can be.

    Parameters
    ----------
    shape
        Voxels per dimension, Y and X last.
    itemsize
        Bytes per voxel.
    native
        Chunks of the source. Big ones are kept; small ones grow in multiples towards
        the plane, so that no chunk is decoded twice.

    Returns
    -------
    tuple of int
        Voxels of one chunk per dimension.
    """
    chunk = [1] * len(shape)
    if native is not None:
        chunk = [max(1, min(c, n)) for c, n in zip(native, shape, strict=True)]
        if math.prod(chunk) * itemsize >= TINY_BYTES:
            return tuple(chunk)
    for axis in (-1, -2):
        room = CHUNK_BYTES // (math.prod(chunk) * itemsize)
        if room > 1:
            chunk[axis] = min(shape[axis], chunk[axis] * room)
    return tuple(chunk)


def native_chunks(pixels: Any) -> tuple[int, ...] | None:
    """Return the chunks of zarr, HDF5 and similar arrays, None for others."""
    chunks = getattr(pixels, "chunks", None)
    if not isinstance(chunks, tuple) or len(chunks) != len(pixels.shape):
        return None
    if all(isinstance(c, tuple) for c in chunks):  # dask: all sizes along each axis
        chunks = tuple(max(c, default=1) for c in chunks)
    return chunks if all(isinstance(c, int) for c in chunks) else None


def _slice_first(index: Any) -> tuple[slice, Any]:
    """Split one index into a slice and an index into what that slice gives."""
    if isinstance(index, slice):
        return index, slice(None)
    if isinstance(index, (int, np.integer)):
        return slice(int(index), int(index) + 1), 0
    wanted = np.asarray(index)
    return slice(int(wanted.min()), int(wanted.max()) + 1), wanted - wanted.min()


def _words(index: tuple[Any, ...]) -> str:
    parts = (f"{i.start}:{i.stop}" if isinstance(i, slice) else str(i) for i in index)
    return f"[{', '.join(parts)}]"
