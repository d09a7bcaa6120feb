"""The core of a tile in the output: where it belongs, and how it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_blindspot.joint import JointSeries
from napari_blindspot.streaming.seen import BlockFacts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.inference.tiles import Series
    from napari_blindspot.io.run_store import Ledger
    from napari_blindspot.planes import PlaneSeries
    from napari_blindspot.tiling import Tile


def by_channel(
    series: Series, mean: NDArray[np.float32], std: NDArray[np.float32]
) -> list[tuple[PlaneSeries, NDArray[np.float32], NDArray[np.float32]]]:
    """Take the channels of a result apart, where it has several."""
    if not isinstance(series, JointSeries):
        return [(series, mean, std)]
    return [
        (one, mean[:, index], std[:, index]) for index, one in enumerate(series.members)
    ]


def regions_of(series: Series, tile: Tile) -> list[tuple[slice, ...]]:
    """Return where the core of a tile lies in the stack, channel by channel."""
    return [region_of(one, tile) for one in series_in(series)]


def series_in(series: Series) -> tuple[PlaneSeries, ...]:
    """Return the series of single channels."""
    return series.members if isinstance(series, JointSeries) else (series,)


def region_of(series: PlaneSeries, tile: Tile) -> tuple[slice, ...]:
    """Return where the core of a tile lies in the stack, axis by axis."""
    where = series.region(tile.planes.core, tile.y.core, tile.x.core)
    return tuple(where[axis] for axis in series.stack.axes)


class Takes(Protocol):
    """What blocks are written to, each once."""

    def write(self, region: tuple[slice, ...], block: NDArray[np.float32]) -> object:
        """Store one block, as `io.sinks.Sink.write`."""


def write_block(
    block: int,
    series: Series,
    tile: Tile,
    values: tuple[NDArray[np.float32], NDArray[np.float32]],
    sinks: tuple[Takes, Takes | None],
    ledger: Ledger | None,
    samples: int,
) -> tuple[BlockFacts, ...]:
    """Write a block, then write down that it is done.

    Parameters
    ----------
    block
        Its number.
    series, tile
        Where it lies.
    values
        Mean and standard deviation of its core, as of `predict_tile`.
    sinks
        Where the two go; None: not wanted.
    ledger
        Where it is written down; None: nowhere.
    samples
        Values that are kept of every channel.

    Returns
    -------
    tuple of BlockFacts
        One per channel.
    """
    facts = []
    for one, mean, std in by_channel(series, *values):
        for sink, own in zip(sinks, (mean, std), strict=True):
            if sink is not None:
                region = region_of(one, tile)
                shape = [part.stop - part.start for part in region]
                sink.write(region, own.reshape(shape))
        facts.append(BlockFacts.of(one.channel, mean, std, block, samples))
    if ledger is not None:
        ledger.mark(block, np.concatenate([one.as_row(samples) for one in facts]))
    return tuple(facts)
