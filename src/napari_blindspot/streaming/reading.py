"""Tiles read from their series, with what was decoded kept for the next ones.

Tiles overlap by their halos and by their context planes. A chunk of the source is
decoded once as long as the cache holds what the neighbours of a tile will want.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.io.block_cache import BlockCache
from napari_blindspot.joint import JointSeries
from napari_blindspot.streaming.blocks import series_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindspot.inference.tiles import Series
    from napari_blindspot.tiling import Tile


class TileReader:
    """Reads tiles; any thread may ask, one at a time is served.

    Parameters
    ----------
    series
        What tiles are cut from.
    cache_bytes
        Bytes of decoded pixels that are kept at most.
    """

    def __init__(self, series: Sequence[Series], cache_bytes: int) -> None:
        self._series = series
        self._cache = BlockCache(cache_bytes)
        self._lock = threading.Lock()

    def read(self, series: int, tile: Tile) -> NDArray[Any]:
        """Return what a tile of a series reads, as `Series.read`."""
        one = self._series[series]
        box = (tile.planes.read, tile.y.read, tile.x.read)
        with self._lock:
            parts = [
                self._cache.read((series, number), member, *box)
                for number, member in enumerate(series_in(one))
            ]
        return np.stack(parts, axis=1) if isinstance(one, JointSeries) else parts[0]
