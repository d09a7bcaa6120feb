"""Lazy pixels: any array-like as a dask array that is never read whole."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass
from itertools import islice, product
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.errors import BlindspotError, SourceError, reason
from napari_blindspot.stack import Shortcut

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

CHUNK_BYTES = 8 * 2**20
TINY_BYTES = 2**20
MOST_CHUNKS = 10**6
"""More chunks would make a graph that no one waits for."""
_TRIED = 1000  # chunks that are read again to find the one that is damaged


@dataclass(frozen=True, slots=True, eq=False)
class LazyPixels:
    """An array-like behind one door: dimensions and bytes in order, errors readable.

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
        """Pixel type, in the byte order of this machine."""
        dtype: np.dtype[Any] = np.dtype(self.source.dtype).newbyteorder("=")
        return dtype

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """What the source decodes at once, in the new order, if it says so."""
        native = native_chunks(self.source)
        return None if native is None else tuple(native[i] for i in self.order)

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[Any]:
        # dask asks with slices, whole numbers and lists; sources get slices alone.
        box, rest = zip(*(_slice_first(i) for i in index), strict=True)
        part = self._read(tuple(box[i] for i in np.argsort(self.order)))
        result: NDArray[Any] = part.transpose(self.order)[rest]
        return result.astype(self.dtype, copy=False)

    def _read(self, box: tuple[slice, ...]) -> NDArray[Any]:
        """Read a box in the order of the source."""
        try:
            return np.asarray(self.source[box])
        except (BlindspotError, MemoryError):
            raise
        except OSError as error:
            raise SourceError(
                f"{self.label} could not be read at {self._words(box)} "
                f"({error.strerror or reason(error)}); check its permissions and that "
                f"its disk is still connected."
            ) from error
        except Exception as error:
            raise SourceError(
                f"{self.label} could not be read at {self._words(box)} "
                f"({reason(error)}); the file may be damaged or was changed meanwhile, "
                f"so copy or export it anew."
            ) from error

    def _words(self, box: tuple[slice, ...]) -> str:
        """Say where reading failed: at the first chunk that cannot be read."""
        for part in islice(self._chunks_in(box), _TRIED):
            try:
                np.asarray(self.source[part])
            except Exception:
                box = part
                break
        return f"[{', '.join(f'{box[i].start}:{box[i].stop}' for i in self.order)}]"

    def _chunks_in(self, box: tuple[slice, ...]) -> Iterator[tuple[slice, ...]]:
        """Yield the parts of a box that lie in one chunk each."""
        native = native_chunks(self.source)
        if native is None:
            return
        cuts = [
            [*range(part.start - part.start % n, part.stop, n)]
            for part, n in zip(box, native, strict=True)
        ]
        for corner in product(*cuts):
            yield tuple(
                slice(max(part.start, low), min(part.stop, low + n))
                for part, low, n in zip(box, corner, native, strict=True)
            )


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
    """Return a dask array with bounded chunks, as `with_shortcut`, alone."""
    return with_shortcut(pixels, label, order)[0]


def with_shortcut(
    pixels: Any,
    label: str,
    order: tuple[int, ...] | None = None,
) -> tuple[Any, Shortcut | None]:
    """Return a dask array with bounded chunks, and what reads it past its graph.

    A dask array keeps its chunks and has no shortcut.

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
            return pixels, None
        return pixels.transpose(order), None  # type: ignore[no-untyped-call]
    lazy = LazyPixels(pixels, label, order)
    # A name of its own: dask would hash, and so read, the whole source to find one.
    name = f"blindspot-{uuid.uuid4().hex}"
    data = da.from_array(  # type: ignore[no-untyped-call]
        lazy,
        chunks=bounded_chunks(lazy.shape, lazy.dtype.itemsize, lazy.chunks),
        name=name,
        meta=np.empty((0,) * lazy.ndim, lazy.dtype),
    )
    return data, Shortcut(name, lazy, (0,) * lazy.ndim)


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
        the plane, so that no chunk is decoded twice. Of more than a million chunks
        several planes make one.

    Returns
    -------
    tuple of int
        Voxels of one chunk per dimension.
    """
    chunk = [1] * len(shape)
    if native is not None:
        chunk = [max(1, min(c, n)) for c, n in zip(native, shape, strict=True)]
    if native is None or math.prod(chunk) * itemsize < TINY_BYTES:
        for axis in (-1, -2):
            room = CHUNK_BYTES // (math.prod(chunk) * itemsize)
            if room > 1:
                chunk[axis] = min(shape[axis], chunk[axis] * room)
    for axis, length in enumerate(shape):
        others = _count(shape, chunk) // -(-length // chunk[axis])
        most = max(1, MOST_CHUNKS // others)
        if -(-length // chunk[axis]) > most:
            chunk[axis] *= -(-length // (chunk[axis] * most))
    return tuple(chunk)


def _count(shape: Sequence[int], chunk: Sequence[int]) -> int:
    return math.prod(-(-n // c) for n, c in zip(shape, chunk, strict=True))


def native_chunks(pixels: Any) -> tuple[int, ...] | None:
    """Return the chunks of zarr, HDF5 and similar arrays, None for others."""
    chunks = getattr(pixels, "chunks", None)
    if not isinstance(chunks, tuple) or len(chunks) != len(pixels.shape):
        return None
    if all(isinstance(c, tuple) for c in chunks):  # dask: all sizes along each axis
        chunks = tuple(max(c, default=1) for c in chunks)
    return chunks if all(isinstance(c, int) and c > 0 for c in chunks) else None


def _slice_first(index: Any) -> tuple[slice, Any]:
    """Split one index into a slice and an index into what that slice gives."""
    if isinstance(index, slice):
        return index, slice(None)
    if isinstance(index, (int, np.integer)):
        return slice(int(index), int(index) + 1), 0
    wanted = np.asarray(index)
    return slice(int(wanted.min()), int(wanted.max()) + 1), wanted - wanted.min()
