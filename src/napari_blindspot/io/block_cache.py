"""Recently read pixels of a stack, kept as decoded blocks within a bound of bytes."""

from __future__ import annotations

import math
from collections import OrderedDict
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.tiling import round_up

if TYPE_CHECKING:
    from collections.abc import Hashable

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
        self, key: Hashable, series: PlaneSeries, planes: slice, y: slice, x: slice
    ) -> NDArray[Any]:
        """Read a box of `series` (named `key` in the cache), block by block."""
        block = block_shape(series, self.max_bytes)
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
        key: Hashable,
        series: PlaneSeries,
        index: tuple[int, ...],
        origin: list[int],
        block: tuple[int, int, int],
    ) -> NDArray[Any]:
        name = (key, index)
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


def block_shape(series: PlaneSeries, max_bytes: int) -> tuple[int, int, int]:
    """Return the block (planes, rows, columns) in which a series is cached.

    It is made of whole chunks of the source, several where they are tiny, because a
    chunk is decoded as a whole whatever is wanted of it. Only a chunk that would fill
    half of the cache is cut.
    """
    chunks = dict(zip(series.stack.axes, series.stack.data.chunks, strict=True))
    native = [
        max(chunks[axis]) if axis in chunks else 1 for axis in (series.axis, "Y", "X")
    ]
    sides = [native[0], *(round_up(max(n, _LEAST_BLOCK_SIDE), n) for n in native[1:])]
    sides = [min(n, length) for n, length in zip(sides, series.shape, strict=True)]
    largest = max(_BLOCK_BYTES, max_bytes // 2)
    while math.prod(sides) * series.stack.dtype.itemsize > largest:
        longest = 0 if sides[0] > 1 else 1 + int(sides[2] > sides[1])
        sides[longest] = -(-sides[longest] // 2)
    return sides[0], sides[1], sides[2]
