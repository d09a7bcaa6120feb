"""Recently read pixels of a stack, kept as decoded blocks within a bound of bytes."""

from __future__ import annotations

from collections import OrderedDict
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.planes import PlaneSeries

_BLOCK_BYTES = 8 * 2**20
_LEAST_BLOCK_SIDE = 128


class BlockCache:
    """Recently used blocks of a series' pixels, bounded in bytes.

    Parameters
    ----------
    max_bytes
        Bytes of decoded pixels that are kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.n_bytes = 0
        self._blocks: OrderedDict[Any, NDArray[Any]] = OrderedDict()

    def read(
        self, key: int, series: PlaneSeries, planes: slice, y: slice, x: slice
    ) -> NDArray[Any]:
        """Read a box of `series` (named `key` in the cache), block by block."""
        block = block_shape(series)
        box = (planes, y, x)
        out = np.empty([s.stop - s.start for s in box], series.stack.dtype)
        grid = [
            range(s.start // n, (s.stop - 1) // n + 1)
            for s, n in zip(box, block, strict=True)
        ]
        for index in product(*grid):
            origin = [i * n for i, n in zip(index, block, strict=True)]
            values = self._block(key, series, index, origin, block)
            into, outof = [], []
            for s, start, n in zip(box, origin, values.shape, strict=True):
                low, high = max(s.start, start), min(s.stop, start + n)
                into.append(slice(low - s.start, high - s.start))
                outof.append(slice(low - start, high - start))
            out[tuple(into)] = values[tuple(outof)]
        return out

    def _block(
        self,
        key: int,
        series: PlaneSeries,
        index: tuple[int, ...],
        origin: list[int],
        block: tuple[int, int, int],
    ) -> NDArray[Any]:
        name = (key, *index)
        if name in self._blocks:
            self._blocks.move_to_end(name)
            return self._blocks[name]
        stops = [
            min(start + n, size)
            for start, n, size in zip(origin, block, series.shape, strict=True)
        ]
        planes, y, x = (slice(*pair) for pair in zip(origin, stops, strict=True))
        values = series.read(planes, y, x)
        self._blocks[name] = values
        self.n_bytes += values.nbytes
        while self.n_bytes > self.max_bytes and len(self._blocks) > 1:
            _, oldest = self._blocks.popitem(last=False)
            self.n_bytes -= oldest.nbytes
        return values


def block_shape(series: PlaneSeries) -> tuple[int, int, int]:
    """Return the block (planes, rows, columns) in which a series is cached.

    It follows the chunks of the source, joined when they are tiny and cut when they
    are large, so that one block is about 8 MiB at most.
    """
    chunks = dict(zip(series.stack.axes, series.stack.data.chunks, strict=True))
    sides = [
        max(chunks[axis]) if axis in chunks else 1 for axis in (series.axis, "Y", "X")
    ]
    sides[1] = min(max(sides[1], _LEAST_BLOCK_SIDE), series.shape[1])
    sides[2] = min(max(sides[2], _LEAST_BLOCK_SIDE), series.shape[2])
    itemsize = series.stack.dtype.itemsize
    while sides[0] * sides[1] * sides[2] * itemsize > _BLOCK_BYTES:
        largest = 0 if sides[0] > 1 else 1 + int(sides[2] > sides[1])
        sides[largest] = -(-sides[largest] // 2)
    return sides[0], sides[1], sides[2]
