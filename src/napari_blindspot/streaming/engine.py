"""The local engine: prefetch → predict → write, block by block.

Reading and writing each have their own thread; the thread that runs the generator is
the only one that touches the device. Every output block is one tile's core, written
once by the one writer, and written down as done afterwards. At most a few tiles are in
memory at a time.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_blindspot.inference.tiles import predict_tile
from napari_blindspot.progress import CancelToken, Job, Progress
from napari_blindspot.streaming.blocks import regions_of, write_block
from napari_blindspot.streaming.reading import TileReader
from napari_blindspot.streaming.seen import BlockFacts, Seen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_blindspot.inference.predictor import Predictor
    from napari_blindspot.inference.tiles import Field, Series
    from napari_blindspot.io import Sink
    from napari_blindspot.io.run_store import Ledger
    from napari_blindspot.streaming.plan import StreamPlan
    from napari_blindspot.streaming.times import Times
    from napari_blindspot.tiling import Tile

_PREFETCH = 2
_CACHE_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """Where the blocks of a run go.

    Parameters
    ----------
    image, uncertainty
        Posterior mean and standard deviation; None: not wanted.
    ledger
        Where a block is written down when it is done; None: nowhere.
    samples
        Values of every block that are kept for the facts of the run.
    """

    image: Sink
    uncertainty: Sink | None = None
    ledger: Ledger | None = None
    samples: int = 4096

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """The sinks that there are."""
        return tuple(one for one in (self.image, self.uncertainty) if one is not None)

    def write(
        self,
        block: int,
        series: Series,
        tile: Tile,
        mean: NDArray[np.float32],
        std: NDArray[np.float32],
    ) -> tuple[BlockFacts, ...]:
        """Write a block, then write down that it is done; return its facts."""
        sinks = (self.image, self.uncertainty)
        return write_block(
            block, series, tile, (mean, std), sinks, self.ledger, self.samples
        )

    def restore(
        self, plan: StreamPlan, series: Sequence[Series]
    ) -> Iterator[tuple[int, tuple[BlockFacts, ...]]]:
        """Yield the facts of the blocks that are done, and tell the sinks of them."""
        if self.ledger is None:
            return
        for block, row in self.ledger.rows():
            index, tile = plan.place(block)
            regions = regions_of(series[index], tile)
            parts = row.reshape(len(regions), -1)
            facts = tuple(map(BlockFacts.from_row, parts))
            self.note(regions, facts)
            yield block, facts

    def note(
        self, regions: Sequence[tuple[slice, ...]], facts: Sequence[BlockFacts]
    ) -> None:
        """Tell the sinks of a block that was written by another run or process."""
        for region, one in zip(regions, facts, strict=True):
            self.image.resume(region, one.channel, (one.low, one.high))
            if self.uncertainty is not None:
                stds = (one.std_low, one.std_high)
                self.uncertainty.resume(region, one.channel, stds)


def stream_prediction(
    predictor: Predictor,
    series: Sequence[Series],
    fields: Sequence[Field],
    plan: StreamPlan,
    outputs: Outputs,
    cancel: CancelToken,
    tiles: TileReader | None = None,
) -> Job[Seen]:
    """Denoise all series of a stack into the sinks.

    Parameters
    ----------
    predictor
        Used in this thread alone.
    series
        All of the same shape; with a model of several channels, each is all channels
        of one place.
    fields
        The noise of each.
    plan
        The blocks; those that the ledger of the outputs knows are not done again.
    outputs
        Where they go.
    cancel
        Asked before every batch of planes.
    tiles
        What reads them; default: one that keeps up to 64 MiB of decoded pixels.

    Yields
    ------
    Progress
        After every batch of planes, counted in blocks.

    Returns
    -------
    Seen
        Of the whole result, also of what an earlier run did.
    """
    tiles = tiles or TileReader(series, _CACHE_BYTES)
    seen = Seen()
    for block, facts in outputs.restore(plan, series):
        seen.add(block, facts)
    work = [block for block in range(len(plan)) if block not in seen.blocks]
    first, times = len(plan) - len(work), seen.times
    with (
        times.of("total"),
        ThreadPoolExecutor(1, "blindspot-read") as reader,
        ThreadPoolExecutor(1, "blindspot-write") as writer,
    ):
        yield Progress("predict", first, len(plan), "blocks")
        written: deque[tuple[int, Future[tuple[BlockFacts, ...]]]] = deque()

        def settled(most: int) -> None:
            while len(written) > most:
                block, future = written.popleft()
                seen.add(block, future.result())

        ahead = _prefetch(reader, plan, tiles, work, cancel, times)
        for done, (block, tile, planes) in enumerate(ahead, start=first):
            index, _ = plan.place(block)
            mean, std = yield from predict_tile(
                predictor,
                series[index],
                tile,
                planes,
                cancel,
                done,
                len(plan),
                fields[index],
            )
            write = _timed_write(outputs, times)
            job = writer.submit(write, block, series[index], tile, mean, std)
            written.append((block, job))
            with times.of("wait_write"):
                settled(_PREFETCH)
        with times.of("wait_write"):
            settled(0)
    return seen


def _prefetch(
    reader: ThreadPoolExecutor,
    plan: StreamPlan,
    tiles: TileReader,
    work: Sequence[int],
    cancel: CancelToken,
    times: Times,
) -> Iterator[tuple[int, Tile, NDArray[Any]]]:
    """Read tiles ahead of their use, a bounded number of them."""
    waiting: deque[Future[NDArray[Any]]] = deque()
    ahead = iter(work)
    try:
        for block in work:
            while len(waiting) <= _PREFETCH:
                following = next(ahead, None)
                if following is None:
                    break
                place = plan.place(following)
                waiting.append(reader.submit(_read, tiles, *place, times))
            cancel.raise_if_cancelled()
            with times.of("wait_read"):
                planes = waiting.popleft().result()
            yield block, plan.place(block)[1], planes
    finally:
        for future in waiting:
            future.cancel()


def _read(tiles: TileReader, series: int, tile: Tile, times: Times) -> NDArray[Any]:
    with times.of("read"):
        return tiles.read(series, tile)


def _timed_write(outputs: Outputs, times: Times) -> Any:
    def write(*block: Any) -> tuple[BlockFacts, ...]:
        with times.of("write"):
            return outputs.write(*block)

    return write
