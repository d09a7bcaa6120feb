"""Which shard of the smaller levels can be made when: integers only.

A shard of a level is averaged from the level before as soon as all shards there that it
needs are written, so that the pixels are still at hand in the cache of the disk, and so
that a viewer can zoom out in a run that is half done.
"""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from napari_blindspot.io.pyramid import before

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_blindspot.io.run_store import Ledger
    from napari_blindspot.io.zarr_layout import Layout

Shard = tuple[int, tuple[int, ...]]
"""A level and the index of a shard in its grid."""


class PyramidOrder:
    """Counts what is written, and tells what can be made from it.

    Parameters
    ----------
    layouts
        How each level is cut, the largest first.
    steps
        Factor per axis of each level after the first, against the level before.
    ledger
        Where shards of levels are written down when they are done, one entry for each;
        None: nowhere.
    """

    def __init__(
        self,
        layouts: Sequence[Layout],
        steps: Sequence[Sequence[int]],
        ledger: Ledger | None = None,
    ) -> None:
        self._layouts, self._steps, self._ledger = layouts, steps, ledger
        self._first = np.cumsum([0, *(layout.n_shards for layout in layouts[1:])])
        self._missing: dict[Shard, int] = {}
        self._ready: list[Shard] = []
        self._done = set() if ledger is None else {entry for entry, _ in ledger.rows()}

    @staticmethod
    def entries(layouts: Sequence[Layout]) -> int:
        """Return how many shards the levels after the first have in all."""
        return sum(layout.n_shards for layout in layouts[1:])

    @property
    def left(self) -> int:
        """Shards that can be made now."""
        return len(self._ready)

    def wrote(self, region: tuple[slice, ...]) -> None:
        """Take note that one shard of the largest level is written."""
        shard = self._layouts[0].shard
        index = (part.start // cut for part, cut in zip(region, shard, strict=True))
        self._completed((0, tuple(index)))

    def take(self) -> Shard | None:
        """Return a shard that is to be made now, None without; it is told once."""
        return self._ready.pop() if self._ready else None

    def made(self, shard: Shard) -> None:
        """Take note that a shard that was taken is written."""
        if self._ledger is not None:
            self._ledger.mark(self._entry(shard), [1.0])
        self._completed(shard)

    def _completed(self, shard: Shard) -> None:
        """Find the shards of the next level that need this one, and count."""
        level, index = shard
        if level + 1 == len(self._layouts):
            return
        for above in self._above(level, index):
            left = self._missing.pop(above, None)
            left = (self._needed(above) if left is None else left) - 1
            if left:
                self._missing[above] = left
            elif self._entry(above) in self._done:
                self._completed(above)
            else:
                self._ready.append(above)

    def _above(self, level: int, index: tuple[int, ...]) -> Iterator[Shard]:
        """Return the shards of the next level that are made from a shard."""
        below, above = self._layouts[level].region(index), self._layouts[level + 1]
        spans = [
            range(part.start // factor // cut, (part.stop - 1) // factor // cut + 1)
            for part, factor, cut in zip(
                below, self._steps[level], above.shard, strict=True
            )
        ]
        for found in product(*spans):
            yield level + 1, found

    def _needed(self, shard: Shard) -> int:
        """Return how many shards of the level before a shard is made from."""
        level, index = shard
        below = self._layouts[level - 1]
        region = self._layouts[level].region(index)
        source = before(region, below.shape, self._steps[level - 1])
        cuts = zip(source, below.shard, strict=True)
        return math.prod(
            (part.stop - 1) // cut - part.start // cut + 1 for part, cut in cuts
        )

    def _entry(self, shard: Shard) -> int:
        level, index = shard
        grid = self._layouts[level].grid
        return int(self._first[level - 1] + np.ravel_multi_index(index, grid))
