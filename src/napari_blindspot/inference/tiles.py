"""One tile through the network: how large it may be, and what becomes of its core."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.errors import OutOfMemory
from napari_blindspot.planes import neighbours
from napari_blindspot.progress import CancelToken, Job, Progress
from napari_blindspot.tiling import Span, Tile, round_up

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.inference.predictor import Predictor
    from napari_blindspot.joint import JointField, JointSeries
    from napari_blindspot.noise.field import NoiseField
    from napari_blindspot.planes import PlaneSeries

    Series = PlaneSeries | JointSeries
    Field = NoiseField | JointField

LARGEST_TILE = 2**23
"""Voxels of one tile, halo included, where memory allows: 32 MiB of float32."""

_LEAST_CORE = 128


def block_shape(
    shape: tuple[int, int, int],
    *,
    halo: int,
    stride: int,
    max_pixels: int,
    max_voxels: int = LARGEST_TILE,
    context: int = 0,
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
    max_voxels
        Voxels of a tile, halo and context planes included, at most, if that is one
        plane of the core or more.
    context
        Planes that are read on either side.

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
    per_plane = (height + reach) * (width + reach)  # with the halo that is read
    fitting = max_voxels // per_plane
    if fitting < planes:  # else all planes are read, and no more
        planes = max(1, fitting - 2 * context)
    return planes, height, width


def predict_tile(
    predictor: Predictor,
    series: Series,
    tile: Tile,
    planes: NDArray[Any],
    cancel: CancelToken,
    done: float = 0,
    total: int = 1,
    field: Field | None = None,
) -> Job[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Denoise the core of one tile whose read region is given.

    `field` is the noise of the series, by default that of its channel everywhere.

    Yields
    ------
    Progress
        After every batch of planes and in its midst, counted from `done` of `total`
        tiles.

    Returns
    -------
    mean, std
        Of the core, (planes, rows, columns) float32 in data units; of several
        channels together (planes, C, rows, columns).
    """
    if field is None:
        field = predictor.noise_field(series.channel)
    pixels = planes.shape[-2] * planes.shape[-1]
    if predictor.too_large is None or pixels < predictor.too_large:
        try:
            return (
                yield from _predict_whole(
                    predictor, series, tile, planes, cancel, done, total, field
                )
            )
        except OutOfMemory:
            if not halves(tile, predictor.halo, predictor.stride):
                raise
            predictor.too_large = pixels
    return (
        yield from _predict_halves(
            predictor, series, tile, planes, cancel, done, total, field
        )
    )


def _predict_halves(
    predictor: Predictor,
    series: Series,
    tile: Tile,
    planes: NDArray[Any],
    cancel: CancelToken,
    done: float,
    total: int,
    field: Field,
) -> Job[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Denoise a tile that is too large for the device in two parts."""
    parts = halves(tile, predictor.halo, predictor.stride)
    if not parts:
        raise OutOfMemory(
            f"not even a tile of {planes.shape[-2]} × {planes.shape[-1]} pixels fits "
            f"into the memory of {predictor.device}; close other programs, or run on "
            f"the CPU (--device cpu)."
        )
    axis = -2 if parts[0].x == tile.x else -1
    means, stds = [], []
    for number, part in enumerate(parts):
        rows = _within(part.y, tile.y)
        columns = _within(part.x, tile.x)
        mean, std = yield from predict_tile(
            predictor,
            series,
            part,
            planes[..., rows, columns],
            cancel,
            done + number / 2,
            total,
            field,
        )
        means.append(mean)
        stds.append(std)
    return np.concatenate(means, axis), np.concatenate(stds, axis)


def halves(tile: Tile, halo: int, stride: int) -> list[Tile]:
    """Cut a tile in two along its longer side; none if its core is too small for that.

    Both halves have the halo that makes them exact, from what the tile has read.
    """
    rows, columns = (span.core_stop - span.core_start for span in (tile.y, tile.x))
    along = tile.y if rows >= columns else tile.x
    middle = (along.core_start + along.core_stop) // 2 // stride * stride
    if middle <= along.core_start:
        return []
    reach = round_up(halo, stride)
    first = Span(
        along.core_start,
        middle,
        along.read_start,
        min(middle + reach, along.read_stop),
    )
    second = Span(
        middle, along.core_stop, max(middle - reach, along.read_start), along.read_stop
    )
    if first.read_stop == along.read_stop and second.read_start == along.read_start:
        return []  # nothing would be gained
    if rows >= columns:
        return [replace(tile, y=one) for one in (first, second)]
    return [replace(tile, x=one) for one in (first, second)]


def _within(part: Span, whole: Span) -> slice:
    """Return where what a part reads lies in what the whole has read."""
    return slice(part.read_start - whole.read_start, part.read_stop - whole.read_start)


def _predict_whole(
    predictor: Predictor,
    series: Series,
    tile: Tile,
    planes: NDArray[Any],
    cancel: CancelToken,
    done: float,
    total: int,
    field: Field,
) -> Job[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    groups = tile_groups(tile, series.shape[0], predictor.context)
    core = (tile.y.core_in_read, tile.x.core_in_read)
    shape = (len(groups), *planes.shape[1:-2], *(n.stop - n.start for n in core))
    mean, std = np.empty(shape, np.float32), np.empty(shape, np.float32)
    noise: Any = field.at(
        range(tile.planes.core_start, tile.planes.core_stop), tile.y.read, tile.x.read
    )
    corner = (tile.planes.core_start, tile.y.read_start, tile.x.read_start)
    share = 0.0
    for found in predictor.batches(planes, groups, series.channel, noise, corner, core):
        cancel.raise_if_cancelled()
        if isinstance(found, float):
            share = max(share, found)  # a batch that did not fit begins anew
        else:
            mean[found.part] = found.mean[(..., *core)]
            std[found.part] = found.std[(..., *core)]
            share = max(share, found.part.stop / len(groups))
        yield Progress("predict", done + share, total, "blocks")
    return mean, std


def tile_groups(tile: Tile, planes: int, context: int) -> list[list[int]]:
    """Return, for every plane of a tile's core, where its context was read to."""
    groups = []
    for index in range(tile.planes.core_start, tile.planes.core_stop):
        around = neighbours(index, planes, context)
        group = [*around[:context], index, *around[context:]]
        groups.append([plane - tile.planes.read_start for plane in group])
    return groups
