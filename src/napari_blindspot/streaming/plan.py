"""Which blocks a run consists of: decided once, written down, and kept when resumed.

A block is the core of one tile of one series, and one shard of the output. Blocks are
numbered; everything that a run shares out, counts or remembers is a number of a block.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from napari_blindspot.inference.tiles import LARGEST_TILE, block_shape
from napari_blindspot.streaming.order import PLANES_LAST, best_order
from napari_blindspot.tiling import Span, Tile, plan_axis

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_blindspot.inference.predictor import Predictor
    from napari_blindspot.streaming.order import Kept

Box = tuple[int, int, int]

_LEAST_HALOS = 6  # sides of what a tile reads, in halos: less is mostly halo


@dataclass(frozen=True)
class StreamPlan:
    """The blocks of a run, integers only.

    Parameters
    ----------
    shape
        Planes, rows and columns of every series.
    n_series
        Series of the stack; with channels that go together, places.
    core
        Planes, rows and columns that every tile keeps.
    halo, stride
        Of the network, along the same axes.
    batch_pixels
        Pixels that go through the network at once. It is part of the plan because
        the last bits of a result depend on it.
    order
        Axes of a series from the slowest to the fastest, as tiles are numbered.
    """

    shape: Box
    n_series: int
    core: Box
    halo: Box
    stride: Box
    batch_pixels: int
    order: Box = PLANES_LAST

    @cached_property
    def spans(self) -> tuple[tuple[Span, ...], ...]:
        """The tiles along each axis: there may be too many to list every one."""
        axes = zip(self.shape, self.core, self.halo, self.stride, strict=True)
        return tuple(plan_axis(*numbers) for numbers in axes)

    @property
    def n_tiles(self) -> int:
        """Tiles of one series."""
        return math.prod(map(len, self.spans))

    def __len__(self) -> int:
        return self.n_series * self.n_tiles

    def place(self, block: int) -> tuple[int, Tile]:
        """Return the series and the tile of a block."""
        series, rest = divmod(block, self.n_tiles)
        found = list(self.order)
        for axis in reversed(self.order):
            rest, found[axis] = divmod(rest, len(self.spans[axis]))
        planes, y, x = (along[i] for along, i in zip(self.spans, found, strict=True))
        return series, Tile(planes, y, x)

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> StreamPlan:
        """Return the plan that `as_dict` described.

        Raises
        ------
        TypeError, ValueError
            If it is none.
        """
        boxes = {
            name: _box(facts[name])
            for name in ("shape", "core", "halo", "stride", "order")
        }
        return cls(
            n_series=int(facts["n_series"]),
            batch_pixels=int(facts["batch_pixels"]),
            **boxes,
        )


def plan_stream(
    predictor: Predictor,
    shape: Box,
    n_series: int,
    core: Box | None = None,
    tile_voxels: int = LARGEST_TILE,
    kept: Kept | None = None,
) -> StreamPlan:
    """Plan a run by what the network needs and what the memory holds.

    Parameters
    ----------
    predictor
        Knows its halo and stride, and how much fits into memory.
    shape
        Planes, rows and columns of every series.
    n_series
        How many of them.
    core
        What every tile keeps; default: from `block_shape`.
    tile_voxels
        Voxels of a tile that memory holds, its halo and context planes included.
    kept
        What is kept of the source from tile to tile; default: all of it.
    """
    halo, stride = predictor.halo, predictor.stride
    if core is None:
        around = min(1 + 2 * predictor.context, shape[0])
        pixels = min(predictor.max_pixels(), tile_voxels // around)
        if kept is not None:
            pixels = min(pixels, kept.largest_plane(shape, _LEAST_HALOS * halo))
        core = block_shape(
            shape,
            halo=halo,
            stride=stride,
            max_pixels=pixels,
            max_voxels=min(tile_voxels, LARGEST_TILE),
            context=predictor.context,
        )
    plan = StreamPlan(
        shape,
        n_series,
        core,
        (predictor.context, halo, halo),
        (1, stride, stride),
        predictor.batch_pixels,
    )
    if kept is None:
        return plan
    return replace(plan, order=best_order(plan.spans, kept))


def _box(values: Any) -> Box:
    planes, rows, columns = (int(value) for value in values)
    return planes, rows, columns
