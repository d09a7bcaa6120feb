"""A Zarr array to read from: what is cut short is an error, never other pixels.

zarr takes an empty shard, and a chunk that lies behind the end of its shard, for one
that was never written, and fills it. And a frame of Blosc says in its header how long
it is, which its decoder believes: of a frame that was cut it reads on behind the end,
in memory that belongs to others. Both are checked here, in Zarr 2 and 3.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HEADER = 16  # bytes: four of versions and flags, three lengths of four each
_ROOM = 8  # a filter may have stored bytes as float64


class ZarrPixels:
    """The pixels of a Zarr array, read region by region.

    Parameters
    ----------
    array
        An open `zarr.Array`.
    """

    def __init__(self, array: Any) -> None:
        self._array = array
        self._checked = _checking(array)
        self.shape = tuple(int(n) for n in array.shape)
        self.chunks = tuple(int(n) for n in array.chunks)
        self.dtype = np.dtype(array.dtype)
        if min(self.chunks, default=1) < 1:
            raise ValueError(f"its chunks are {self.chunks}")

    def __getitem__(self, index: Any) -> NDArray[Any]:
        return np.asarray(self._checked[index])

    def __reduce__(self) -> tuple[type[ZarrPixels], tuple[Any]]:
        # Zarr rebuilds its codecs from their names in another process.
        return ZarrPixels, (self._array,)


def check_frame(frame: Any, most: int | None = None) -> None:
    """Refuse a Blosc frame that is not as long as it says.

    Parameters
    ----------
    frame
        Encoded bytes.
    most
        Bytes that it may decode to, where that is known.

    Raises
    ------
    ValueError
        If the frame was cut, or would decode to more.
    """
    data = memoryview(frame).cast("B")
    if len(data) < _HEADER:
        raise ValueError(f"a compressed chunk has {len(data)} bytes, too few")
    decoded, _, encoded = np.frombuffer(data[4:_HEADER], "<u4").tolist()
    if len(data) < encoded:
        raise ValueError(
            f"a compressed chunk has {len(data)} bytes where it says {encoded}"
        )
    if most is not None and decoded > most:
        raise ValueError(
            f"a compressed chunk says that it holds {decoded} bytes where there is "
            f"room for {most}"
        )


def _checking(array: Any) -> Any:
    """Return the same array with a store and Blosc codecs that check what they get."""
    import zarr
    from zarr.storage import StorePath

    inner = array.async_array
    most = _room(array.shards or array.chunks, np.dtype(array.dtype))
    store = _store()(inner.store_path.store, most)
    where = StorePath(store, inner.store_path.path)
    changed = _checking_metadata(array.metadata)
    return zarr.Array(zarr.AsyncArray(changed, where, inner.config))


def _checking_metadata(metadata: Any) -> Any:
    if metadata.zarr_format == 3:
        codecs = tuple(_checked_codec(codec) for codec in metadata.codecs)
        return (
            metadata if codecs == metadata.codecs else replace(metadata, codecs=codecs)
        )
    codec = metadata.compressor
    if getattr(codec, "codec_id", "") != "blosc":
        return metadata
    most = _room(metadata.chunks, np.dtype(metadata.dtype.to_native_dtype()))
    return replace(metadata, compressor=_numcodec()(most, **_settings(codec)))


def _checked_codec(codec: Any) -> Any:
    """Return a codec of Zarr 3 that checks, inside of shards too."""
    from zarr.codecs import BloscCodec, ShardingCodec

    if isinstance(codec, ShardingCodec):
        inside = tuple(_checked_codec(one) for one in codec.codecs)
        return codec if inside == codec.codecs else replace(codec, codecs=inside)
    return _codec()(**_settings(codec)) if type(codec) is BloscCodec else codec


def _room(chunk: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Return how many bytes a frame of a chunk may decode to."""
    return _ROOM * math.prod(chunk) * dtype.itemsize


def _settings(codec: Any) -> dict[str, Any]:
    names = ("cname", "clevel", "shuffle", "blocksize", "typesize")
    return {name: getattr(codec, name) for name in names if hasattr(codec, name)}


@cache
def _store() -> Any:
    """Return the store that checks; zarr is not loaded before."""
    from zarr.abc.store import RangeByteRequest
    from zarr.storage import WrapperStore

    class CheckedStore(WrapperStore[Any]):
        """A store in which a value that is empty or cut is no missing one.

        A part of a value that is asked for has at most `most` bytes.
        """

        def __init__(self, store: Any, most: int = sys.maxsize) -> None:
            super().__init__(store)
            self._most = most

        async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
            """Return a value or the part of it that is asked for."""
            wanted = 1
            if isinstance(byte_range, RangeByteRequest):
                wanted = byte_range.end - byte_range.start
            if not 0 < wanted <= self._most:
                raise ValueError(f"the index of {key} is damaged")
            value = await super().get(key, prototype, byte_range)
            if value is not None and len(value) < wanted:
                raise ValueError(f"{key} ends too early")
            return value

    return CheckedStore


@cache
def _numcodec() -> Any:
    """Return numcodecs' Blosc (Zarr 2) with the check; it is not loaded before."""
    from numcodecs.blosc import Blosc

    class CheckedBlosc(Blosc):  # type: ignore[misc]
        """Blosc that refuses frames that were cut, or hold more than `most` bytes."""

        def __init__(self, most: int, **settings: Any) -> None:
            super().__init__(**settings)
            self._most = most

        def decode(self, buf: Any, out: Any = None) -> Any:
            """Decode one frame."""
            check_frame(buf, self._most)
            return super().decode(buf, out)

    return CheckedBlosc


@cache
def _codec() -> Any:
    """Return zarr's Blosc codec (Zarr 3) with the check."""
    from zarr.codecs import BloscCodec

    class CheckedBlosc(BloscCodec):
        """Blosc that refuses frames that were cut, or hold more than a chunk."""

        async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
            dtype = np.dtype(chunk_spec.dtype.to_native_dtype())
            check_frame(chunk_bytes.as_numpy_array(), _room(chunk_spec.shape, dtype))
            return await super()._decode_single(chunk_bytes, chunk_spec)

    return CheckedBlosc
