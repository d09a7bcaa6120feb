"""Chunks, shards and pyramid levels of an output: integers only.

A block of the engine is one shard: it is written once, whole, by one writer. Inside it
lie chunks, which are what a viewer reads::

    shard = block  |  chunk  |  chunk  |  chunk  |
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from napari_blindspot.tiling import round_up

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_blindspot.stack import VoxelSize

LARGEST_CHUNK = 4 * 2**20
SMALLEST_CHUNK = 2**20
PYRAMID_SHARD = 8 * 2**20
SMALLEST_LEVEL = 256
"""The pyramid ends at a level of at most this many pixels a side."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How one array is cut.

    Parameters
    ----------
    shape, chunk, shard
        Voxels per axis; chunks divide shards.
    """

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    shard: tuple[int, ...]

    def regions(self) -> Iterator[tuple[slice, ...]]:
        """Yield the region of every shard, cut off at the ends of the array."""
        spans = (
            [slice(start, min(start + step, n)) for start in range(0, n, step)]
            for n, step in zip(self.shape, self.shard, strict=True)
        )
        yield from product(*spans)

    @property
    def grid(self) -> tuple[int, ...]:
        """Shards per axis."""
        return tuple(
            -(-n // step) for n, step in zip(self.shape, self.shard, strict=True)
        )

    @property
    def n_shards(self) -> int:
        """Number of shards."""
        return math.prod(self.grid)

    def region(self, index: Sequence[int]) -> tuple[slice, ...]:
        """Return the region of one shard, cut off at the ends of the array."""
        cut = zip(index, self.shard, self.shape, strict=True)
        return tuple(slice(i * s, min((i + 1) * s, n)) for i, s, n in cut)


def plan_layout(shape: Sequence[int], block: Sequence[int], itemsize: int) -> Layout:
    """Cut an array into shards of the size of a block and chunks of 1 to 4 MiB.

    Chunks are parts of single planes, or several planes where these are small. Along
    an axis with several blocks the chunk divides the block; along an axis with one
    block the shard is rounded up instead.

    Parameters
    ----------
    shape
        Voxels of the array.
    block
        Voxels of the blocks that will be written.
    itemsize
        Bytes per voxel.

    Returns
    -------
    Layout
    """
    block = [min(b, n) for b, n in zip(block, shape, strict=True)]
    single = [b == n for b, n in zip(block, shape, strict=True)]
    chunk = [1] * (len(block) - 2) + list(block[-2:])
    while math.prod(chunk) * itemsize > LARGEST_CHUNK:
        fits = [a for a in (-2, -1) if single[a] or chunk[a] % 2 == 0]
        if not fits:
            break
        axis = max(fits, key=lambda a: chunk[a])
        chunk[axis] = -(-chunk[axis] // 2)
    if len(block) > 2:
        deep = max(range(len(block) - 2), key=lambda a: block[a])
        wanted = SMALLEST_CHUNK // (math.prod(chunk) * itemsize)
        chunk[deep] = max(
            n for n in range(1, block[deep] + 1)
            if n == 1 or (n <= wanted and (single[deep] or block[deep] % n == 0))
        )  # fmt: skip
    shard = tuple(round_up(b, c) for b, c in zip(block, chunk, strict=True))
    return Layout(tuple(shape), tuple(chunk), shard)


def plan_pyramid(
    axes: str, base: Layout, voxel_size: VoxelSize, itemsize: int
) -> tuple[tuple[Layout, tuple[int, ...]], ...]:
    """Plan the smaller levels of a pyramid.

    Rows and columns are halved until a level has at most 256 pixels a side; planes
    too, unless they lie so far apart that the voxel is still longer in z than in the
    plane.

    Parameters
    ----------
    axes
        Letters of the axes.
    base
        Layout of level 0.
    voxel_size
        Of level 0; an unknown size counts as that of the plane.
    itemsize
        Bytes per voxel.

    Returns
    -------
    tuple of (Layout, factor)
        One per level after the first; `factor` is 1 or 2 per axis, against the level
        before.
    """
    plane = max(voxel_size.y or 1.0, voxel_size.x or 1.0)
    depth = voxel_size.z if voxel_size.z and voxel_size.y else plane
    levels = []
    shape = base.shape
    while max(shape[-2:]) > SMALLEST_LEVEL:
        # Halving z while it is within 1.5 of the plane keeps voxels near to cubes.
        deep = depth <= 1.5 * plane
        factor = tuple(
            2 if n > 1 and (axis in "YX" or (axis == "Z" and deep)) else 1
            for axis, n in zip(axes, shape, strict=True)
        )
        shape = tuple(-(-n // f) for n, f in zip(shape, factor, strict=True))
        levels.append((_level_layout(shape, base.chunk, itemsize), factor))
        plane, depth = 2 * plane, depth * (2 if deep else 1)
    return tuple(levels)


def _level_layout(
    shape: tuple[int, ...], chunk: Sequence[int], itemsize: int
) -> Layout:
    """Keep the chunks of level 0 and gather them in shards of up to 8 MiB.

    A shard of a level is made from eight times its voxels of the level before, so
    small shards bound the memory.
    """
    chunk = tuple(min(c, n) for c, n in zip(chunk, shape, strict=True))
    shard = list(chunk)
    for axis in (len(shape) - 1, len(shape) - 2, len(shape) - 3):
        while (
            axis >= 0
            and shard[axis] < shape[axis]
            and 2 * math.prod(shard) * itemsize <= PYRAMID_SHARD
        ):
            shard[axis] *= 2
    return Layout(shape, chunk, tuple(shard))
