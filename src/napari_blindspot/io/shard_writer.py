"""Whole shards into the levels of one image: the only place where pixels are written.

Several processes may have a writer of the same image, as long as each shard has one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.io.pyramid import before, shrink
from napari_blindspot.io.remote import zarr_store
from napari_blindspot.io.run_store import settle
from napari_blindspot.io.sinks import check_block
from napari_blindspot.io.zarr_layout import Layout
from napari_blindspot.normalize import restore_dtype

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindspot.location import Location


class ShardWriter:
    """Writes shards of the largest level, and makes those of the smaller ones.

    Parameters
    ----------
    arrays
        One zarr array per level, the largest first; each is about half as large as
        the one before along some axes.
    durable
        Whether a shard is on the disk for sure when it was written.
    """

    def __init__(self, arrays: Sequence[Any], *, durable: bool = False) -> None:
        self._arrays, self._durable = arrays, durable
        self.layouts = [_layout_of(array) for array in arrays]
        pairs = zip(self.layouts, self.layouts[1:], strict=False)
        self.steps = [_factor(large.shape, small.shape) for large, small in pairs]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Pixel type of all levels."""
        dtype: np.dtype[Any] = np.dtype(self._arrays[0].dtype)
        return dtype

    def write(
        self, region: tuple[slice, ...], block: NDArray[np.float32]
    ) -> NDArray[Any]:
        """Write one block of the largest level, and return it as it was written.

        Raises
        ------
        ValueError
            If the region is not made of whole shards: two writers would meet in one.
        """
        check_block(region, block)
        _check_aligned(region, self.layouts[0])
        values = restore_dtype(block, self.dtype)
        self._put(0, region, values)
        return values

    def shrink(self, level: int, index: Sequence[int]) -> None:
        """Make one shard of a smaller level from the level before."""
        region = self.layouts[level].region(index)
        factor = self.steps[level - 1]
        source = self._arrays[level - 1]
        values = np.asarray(source[before(region, source.shape, factor)])
        self._put(level, region, shrink(values, factor))

    def _put(self, level: int, region: tuple[slice, ...], values: NDArray[Any]) -> None:
        self._arrays[level][region] = values
        if self._durable:
            settle(self._arrays[level], region)


def open_shards(location: Location) -> ShardWriter:
    """Return a writer of an image whose arrays another process has made.

    Parameters
    ----------
    location
        Of its group.
    """
    import zarr

    store = zarr_store(location, "r+")
    group: Any = zarr.open_group(store, mode="r+", zarr_format=3)
    levels = group.attrs["ome"]["multiscales"][0]["datasets"]
    return ShardWriter([group[level["path"]] for level in levels], durable=True)


def _layout_of(array: Any) -> Layout:
    return Layout(array.shape, array.chunks, array.shards or array.chunks)


def _factor(large: Sequence[int], small: Sequence[int]) -> tuple[int, ...]:
    return tuple(math.ceil(a / b) for a, b in zip(large, small, strict=True))


def _check_aligned(region: tuple[slice, ...], layout: Layout) -> None:
    cut = zip(region, layout.shard, layout.shape, strict=True)
    for part, shard, length in cut:
        if part.start % shard or (part.stop % shard and part.stop != length):
            raise ValueError(f"{region} is not made of whole shards {layout.shard}")
