"""Parts of planes: where a preview looks. Integers only."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

PIECE = 256
"""Side of the pieces in which a refinement arrives, pixels."""


@dataclass(frozen=True, slots=True)
class Place:
    """A part of one plane.

    Parameters
    ----------
    channel, t, z
        Which plane.
    y, x
        Rows and columns of it.
    """

    channel: int
    t: int
    z: int
    y: slice
    x: slice

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.y.stop - self.y.start, self.x.stop - self.x.start

    def pieces(self, side: int = PIECE) -> list[Place]:
        """Cut it into pieces of a fixed grid, those nearest to its middle first."""
        found = [
            Place(self.channel, self.t, self.z, y, x)
            for y in _cut(self.y, side)
            for x in _cut(self.x, side)
        ]
        return sorted(found, key=self._distance)

    def _distance(self, piece: Place) -> float:
        middles = [
            (a.start + a.stop - b.start - b.stop) / 2
            for a, b in ((self.y, piece.y), (self.x, piece.x))
        ]
        return float(np.hypot(*middles))


def _cut(part: slice, side: int) -> list[slice]:
    """Cut at multiples of `side`, so that pieces do not move with the view."""
    edges = [
        part.start,
        *range((part.start // side + 1) * side, part.stop, side),
        part.stop,
    ]
    return [slice(low, high) for low, high in itertools.pairwise(edges)]
