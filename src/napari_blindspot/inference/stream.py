"""The local engine: prefetch → predict → write, block by block.

Reading and writing each have their own thread; the thread that runs the generator is
the only one that touches the device. Every output block is one tile's core, written
once by the one writer. At most a few tiles are in memory at a time.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.inference.times import Times
from napari_blindspot.joint import JointSeries
from napari_blindspot.planes import neighbours
from napari_blindspot.progress import CancelToken, Job, Progress
from napari_blindspot.tiling import Tile, plan_tiles, round_up

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_blindspot.inference.predictor import Predictor
    from napari_blindspot.io import Sink
    from napari_blindspot.joint import JointField
    from napari_blindspot.noise.field import NoiseField
    from napari_blindspot.planes import PlaneSeries

    Series = PlaneSeries | JointSeries
    Field = NoiseField | JointField

_PREFETCH = 2
_BLOCK_BYTES = 32 * 2**20  # float32 bytes of one output block, about
_LEAST_CORE = 128
_SAMPLE = 4096  # values kept of each block, for the range of the image


@dataclass(slots=True)
class ChannelSeen:
    """What was learnt of one channel's result while it streamed by, in data units.

    Parameters
    ----------
    voxels
        Finite voxels so far.
    variance
        Sum of their posterior variances.
    sample
        Some values of every block.
    """

    voxels: int = 0
    variance: float = 0.0
    sample: list[NDArray[np.float32]] = field(default_factory=list)

    def expected_psnr(self) -> float | None:
        """Return the PSNR in dB that the posterior variance promises.

        The range is p1 to p99.9 of the denoised image; None without finite voxels.
        """
        if not self.voxels or self.variance <= 0:
            return None
        low, high = np.percentile(np.concatenate(self.sample), [1, 99.9])
        error = self.variance / self.voxels
        return float(10 * np.log10((high - low) ** 2 / error)) if high > low else None


@dataclass(slots=True)
class Seen:
    """What was learnt of the result, channel by channel, and the time it took."""

    channels: dict[int, ChannelSeen] = field(default_factory=dict)
    times: Times = field(default_factory=Times)

    def add(
        self, channel: int, mean: NDArray[np.float32], std: NDArray[np.float32]
    ) -> None:
        """Take one block into account."""
        seen = self.channels.setdefault(channel, ChannelSeen())
        finite = np.isfinite(mean)
        seen.voxels += int(finite.sum())
        seen.variance += float(np.sum(std[finite].astype(np.float64) ** 2))
        values = mean[finite]
        if values.size:
            # At random: a fixed stride could fall on one column of the image.
            rng = np.random.default_rng(len(seen.sample))
            seen.sample.append(rng.choice(values, min(values.size, _SAMPLE)))

    def expected_psnr(self) -> list[float | None]:
        """Return the PSNR in dB that is expected of each channel."""
        return [self.channels[i].expected_psnr() for i in sorted(self.channels)]


def block_shape(
    shape: tuple[int, int, int], *, halo: int, stride: int, max_pixels: int
) -> tuple[int, int, int]:
    """Choose the core (planes, rows, columns) that every tile keeps.

    Parameters
    ----------
    shape
        Planes, rows and columns of a series.
    halo, stride
        Of the network, in pixels.
    max_pixels
        Pixels of one plane of a tile, halo included, that fit on the device.

    Returns
    -------
    tuple of int
        Whole planes where they fit; otherwise squares, multiples of the stride.
    """
    planes, height, width = shape
    reach = 0
    if height * width > max_pixels:
        reach = 2 * round_up(halo, stride)
        side = int(max_pixels**0.5) - reach
        core = max(side // stride * stride, round_up(_LEAST_CORE, stride))
        height, width = min(core, height), min(core, width)
    per_plane = 4 * (height + reach) * (width + reach)  # with the halo that is read
    return max(1, min(planes, _BLOCK_BYTES // per_plane)), height, width


def stream_prediction(
    predictor: Predictor,
    series: Sequence[Series],
    fields: Sequence[Field],
    block: tuple[int, int, int],
    image: Sink,
    uncertainty: Sink | None,
    cancel: CancelToken,
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
    block
        Core of the tiles, from `block_shape`.
    image, uncertainty
        Where posterior mean and standard deviation go.
    cancel
        Asked before every tile.

    Yields
    ------
    Progress
        After every batch of planes, counted in blocks.

    Returns
    -------
    Seen
    """
    tiles = plan_tiles(
        series[0].shape,
        core=block,
        halo=(predictor.context, predictor.halo, predictor.halo),
        stride=(1, predictor.stride, predictor.stride),
    )
    work = [(one, tile) for one in series for tile in tiles]
    noise = dict(zip(map(id, series), fields, strict=True))
    seen = Seen()
    times = seen.times
    with (
        times.of("total"),
        ThreadPoolExecutor(1, "blindspot-read") as reader,
        ThreadPoolExecutor(1, "blindspot-write") as writer,
    ):
        yield Progress("predict", 0, len(work), "blocks")
        written: deque[Future[None]] = deque()
        ahead = _prefetch(reader, work, cancel, times)
        for done, (one, tile, planes) in enumerate(ahead):
            mean, std = yield from predict_tile(
                predictor, one, tile, planes, cancel, done, len(work), noise[id(one)]
            )
            for own, own_mean, own_std in _by_channel(one, mean, std):
                seen.add(own.channel, own_mean, own_std)
                written.append(writer.submit(_write, own, tile, own_mean, image, times))
                if uncertainty is not None:
                    written.append(
                        writer.submit(_write, own, tile, own_std, uncertainty, times)
                    )
            with times.of("wait_write"):
                while len(written) > _PREFETCH:
                    written.popleft().result()
        with times.of("wait_write"):
            for future in written:
                future.result()
    return seen


def predict_tile(
    predictor: Predictor,
    series: Series,
    tile: Tile,
    planes: NDArray[Any],
    cancel: CancelToken,
    done: int = 0,
    total: int = 1,
    field: Field | None = None,
) -> Job[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Denoise the core of one tile whose read region is given.

    `field` is the noise of the series, by default that of its channel everywhere.

    Yields
    ------
    Progress
        After every batch of planes, counted from `done` of `total` tiles.

    Returns
    -------
    mean, std
        Of the core, (planes, rows, columns) float32 in data units; of several
        channels together (planes, C, rows, columns).
    """
    groups = tile_groups(tile, series.shape[0], predictor.context)
    core = (tile.y.core_in_read, tile.x.core_in_read)
    shape = (len(groups), *planes.shape[1:-2], *(n.stop - n.start for n in core))
    mean, std = np.empty(shape, np.float32), np.empty(shape, np.float32)
    if field is None:
        field = predictor.noise_field(series.channel)
    noise: Any = field.at(
        range(tile.planes.core_start, tile.planes.core_stop), tile.y.read, tile.x.read
    )
    for part, some_mean, some_std in predictor.batches(
        planes, groups, series.channel, noise
    ):
        cancel.raise_if_cancelled()
        mean[part] = some_mean[(..., *core)]
        std[part] = some_std[(..., *core)]
        yield Progress("predict", done + part.stop / len(groups), total, "blocks")
    return mean, std


def tile_groups(tile: Tile, planes: int, context: int) -> list[list[int]]:
    """Return, for every plane of a tile's core, where its context was read to."""
    groups = []
    for index in range(tile.planes.core_start, tile.planes.core_stop):
        around = neighbours(index, planes, context)
        group = [*around[:context], index, *around[context:]]
        groups.append([plane - tile.planes.read_start for plane in group])
    return groups


def _prefetch(
    reader: ThreadPoolExecutor,
    work: Sequence[tuple[Series, Tile]],
    cancel: CancelToken,
    times: Times,
) -> Iterator[tuple[Series, Tile, NDArray[Any]]]:
    """Read tiles ahead of their use, a bounded number of them."""
    waiting: deque[Future[NDArray[Any]]] = deque()
    ahead = iter(work)
    try:
        for one, tile in work:
            while len(waiting) <= _PREFETCH and (following := next(ahead, None)):
                waiting.append(reader.submit(_read, *following, times))
            cancel.raise_if_cancelled()
            with times.of("wait_read"):
                planes = waiting.popleft().result()
            yield one, tile, planes
    finally:
        for future in waiting:
            future.cancel()


def _by_channel(
    series: Series, mean: NDArray[np.float32], std: NDArray[np.float32]
) -> list[tuple[PlaneSeries, NDArray[np.float32], NDArray[np.float32]]]:
    """Take the channels of a result apart, where it has several."""
    if not isinstance(series, JointSeries):
        return [(series, mean, std)]
    return [
        (one, mean[:, index], std[:, index]) for index, one in enumerate(series.members)
    ]


def _read(series: Series, tile: Tile, times: Times) -> NDArray[Any]:
    with times.of("read"):
        return series.read(tile.planes.read, tile.y.read, tile.x.read)


def _write(
    series: PlaneSeries,
    tile: Tile,
    values: NDArray[np.float32],
    sink: Sink,
    times: Times,
) -> None:
    axes = series.stack.axes
    where = series.region(tile.planes.core, tile.y.core, tile.x.core)
    region = tuple(where[axis] for axis in axes)
    shape = [part.stop - part.start for part in region]
    with times.of("write"):
        sink.write(region, values.reshape(shape))
