"""In which order tiles are read, so that few chunks are decoded twice: integers only.

Tiles overlap, and a chunk is decoded as a whole. What a tile has decoded is kept for
the next ones, as far as memory allows. If it holds a whole layer of chunks, tiles go
row by row and plane by plane; if not, they go down through the planes first, so that
what is kept are the few chunks below one tile::

    a layer fits:  1 2 3 │ 7 8 9        else:  1 3 5 │ 2 4 6
                   4 5 6 │ …                   7 …   │ 8 …
                   plane 1 plane 2             plane 1 plane 2
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindspot.tiling import Span

Box = tuple[int, int, int]

PLANES_LAST: Box = (0, 1, 2)
"""Axes from the slowest to the fastest: planes, rows, columns."""

_AGAIN = 3.0  # times a chunk is decoded if one layer of chunks is kept, but not two


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of the source while tiles are read.

    Parameters
    ----------
    unit
        Planes, rows and columns that are decoded and kept together.
    room
        How many of them fit into memory.
    """

    unit: Box
    room: int

    def largest_plane(self, shape: Box, least: int) -> int:
        """Return how many pixels of a plane a tile may read.

        The chunks below it should fit, so that they are not decoded for every plane.

        Parameters
        ----------
        shape
            Planes, rows and columns of a series.
        least
            Pixels a side that it may read in any case.
        """
        grid = [-(-n // step) for n, step in zip(shape[1:], self.unit[1:], strict=True)]
        if self.unit[0] == 1 or math.prod(grid) <= self.room:
            return shape[1] * shape[2]
        # One less, because a tile may begin inside of a chunk.
        side = (math.isqrt(self.room) - 1) * min(self.unit[1:])
        return max(side, least) ** 2


def best_order(spans: Sequence[Sequence[Span]], kept: Kept) -> Box:
    """Return the axes from the slowest to the fastest: the fewest chunks decoded.

    Parameters
    ----------
    spans
        The tiles along planes, rows and columns.
    kept
        What memory holds.
    """
    orders: list[Box] = [(a, b, c) for a, b, c in permutations(range(3))]
    # The first of equals is the natural one, in which smaller levels are made soonest.
    return min(orders, key=lambda order: decoded(spans, kept, order))


def decoded(spans: Sequence[Sequence[Span]], kept: Kept, order: Box) -> float:
    """Return how often a chunk is decoded on average, about.

    Along an axis it is decoded once if everything fits that is read before the next
    tile along that axis, and once for every tile that touches it if not.
    """
    axes = [_Axis.of(*pair) for pair in zip(spans, kept.unit, strict=True)]
    times = 1.0
    for place, axis in enumerate(order):
        outer = math.prod(axes[a].most for a in order[:place])
        inner = math.prod(axes[a].count for a in order[place + 1 :])
        if outer * inner * axes[axis].most <= kept.room:
            continue
        again = axes[axis].mean
        if outer * inner * axes[axis].least <= kept.room:
            again = min(again, _AGAIN)
        times *= again
    return times


@dataclass(frozen=True, slots=True)
class _Axis:
    """How many chunks there are along an axis, and how many of them tiles touch."""

    count: int
    least: int
    most: int
    mean: float  # tiles that touch a chunk

    @classmethod
    def of(cls, spans: Sequence[Span], unit: int) -> _Axis:
        """Count for the tiles along one axis."""
        touched = [
            (span.read_stop - 1) // unit - span.read_start // unit + 1 for span in spans
        ]
        count = (spans[-1].read_stop - 1) // unit + 1
        return cls(count, min(touched), max(touched), sum(touched) / count)
