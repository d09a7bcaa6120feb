"""Files and arrays that the tests of the io room make for themselves."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindspot.io import Sink


def pixels(*shape: int, dtype: str = "uint16", seed: int = 0) -> NDArray[Any]:
    """Return noise that differs at every voxel."""
    values = np.random.default_rng(seed).normal(500, 100, shape)
    return values.astype(dtype)


class Guarded:
    """An array-like that refuses to be read in big pieces."""

    def __init__(self, array: NDArray[Any], most: int) -> None:
        self._array, self._most = array, most
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim
        self.largest = 0

    def __getitem__(self, index: Any) -> NDArray[Any]:
        part = self._array[index]
        self.largest = max(self.largest, part.size)
        if part.size > self._most:
            raise MemoryError(f"{part.size} voxels were asked for at once")
        return part


def fill(sink: Sink, values: NDArray[np.float32], block: Sequence[int]) -> None:
    """Write `values` into a sink, block by block."""
    starts = (range(0, n, b) for n, b in zip(values.shape, block, strict=True))
    for start in itertools.product(*starts):
        region = tuple(
            slice(a, min(a + b, n))
            for a, b, n in zip(start, block, values.shape, strict=True)
        )
        sink.write(region, values[region])
