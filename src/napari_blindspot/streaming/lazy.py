"""A denoised stack that is computed when it is looked at.

What dask holds is only a name for the run and the place of a chunk; the model and the
stack are opened once in every process that computes one.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4
from weakref import WeakValueDictionary

import numpy as np

from napari_blindspot.device import cpu_threads, fixed_threads, pick_device
from napari_blindspot.errors import RunError
from napari_blindspot.inference.tiles import predict_tile
from napari_blindspot.progress import CancelToken, run
from napari_blindspot.streaming.blocks import by_channel, series_in
from napari_blindspot.streaming.work import prepare_work
from napari_blindspot.tiling import Tile, plan_region

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindspot.config import PredictSettings
    from napari_blindspot.inference.tiles import Series
    from napari_blindspot.measure.camera_maps import CameraMaps
    from napari_blindspot.model import Model
    from napari_blindspot.planes import PlaneSeries
    from napari_blindspot.stack import Stack
    from napari_blindspot.streaming.reading import TileReader
    from napari_blindspot.streaming.work import Work


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class _Open:
    """A model and a stack at work in this process."""

    work: Work
    tiles: TileReader
    settings: PredictSettings
    lock: threading.Lock


class LazyBlock:
    """Computes any box of a denoised stack; small enough for a task graph.

    It is no dataclass: dask would look into it, and take it apart.

    Parameters
    ----------
    name
        Of the run, under which its process has the model and the stack.
    part
        0: posterior mean; 1: standard deviation.
    held
        The model and the stack, which live as long as anything refers to the result;
        they stay behind where a block is sent to another process.
    """

    _open: ClassVar[WeakValueDictionary[str, _Open]] = WeakValueDictionary()

    def __init__(self, name: str, part: int, held: _Open | None = None) -> None:
        self.name, self.part = name, part
        self._held = held

    def __reduce__(self) -> tuple[Any, ...]:
        return LazyBlock, (self.name, self.part)

    def __call__(
        self, region: Sequence[tuple[int, int]], dtype: str
    ) -> NDArray[np.generic]:
        """Return the box from each start to each stop, one per axis of the stack.

        Raises
        ------
        RunError
            In a process that did not make this result.
        """
        found = self._held or self._open.get(self.name)
        if found is None:
            raise RunError(
                "this lazy result belongs to the process that made it; compute it "
                "there (dask's threads), or write it with predict(model, path, out, "
                "client=client) to use a cluster."
            )
        with found.lock:
            return _computed(found, region, self.part).astype(dtype, copy=False)


def lazy_result(
    model: Model, stack: Stack, settings: PredictSettings, camera: CameraMaps
) -> tuple[Any, Any | None]:
    """Return dask arrays of the denoised stack and of its uncertainty.

    Parameters
    ----------
    model
        Fits the stack.
    stack
        Read chunk by chunk, as far as chunks are asked for.
    settings, camera
        As of `predict`.

    Returns
    -------
    image, uncertainty
        (shape of the stack) float32, chunks of the tiles that fit into memory. The
        second is None unless it is asked for; computing both denoises twice.
    """
    import dask.array as da

    work = prepare_work(model, stack, settings, camera, CancelToken())
    name, plan = uuid4().hex, work.plan()
    held = _Open(work, work.reader(), settings, threading.Lock())
    LazyBlock._open[name] = held  # noqa: SLF001 its own
    where = work.members[0].region(*(slice(0, n) for n in plan.core))
    block = [where[axis].stop - where[axis].start for axis in stack.axes]

    def array(part: int) -> Any:
        return da.map_blocks(  # type: ignore[no-untyped-call]
            _block,
            LazyBlock(name, part, held),
            chunks=_chunks(stack.shape, block),
            dtype=np.float32,
            meta=np.empty((0,) * len(stack.shape), np.float32),
            name=f"blindspot-{name}-{part}",
        )

    return array(0), array(1) if settings.uncertainty else None


def _block(compute: LazyBlock, block_info: Any = None) -> NDArray[np.generic]:
    return compute(block_info[None]["array-location"], "float32")


def _chunks(shape: Sequence[int], block: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    return tuple(
        tuple(min(step, n - start) for start in range(0, n, step))
        for n, step in zip(shape, block, strict=True)
    )


def _computed(
    found: _Open, region: Sequence[tuple[int, int]], part: int
) -> NDArray[np.float32]:
    """Denoise a box, series by series."""
    work = found.work
    axes = work.members[0].stack.axes
    box = dict(zip(axes, region, strict=True))
    threads = found.settings.threads or fixed_threads()
    told = found.settings.model_copy(update={"threads": threads})
    out = np.empty([stop - start for start, stop in region], np.float32)
    with cpu_threads(told, pick_device(told.device)):
        for index, series in enumerate(work.series):
            members = series_in(series)
            if not any(_holds(one, box) for one in members):
                continue
            tile = _tile(work, members[0], box)
            values = run(
                predict_tile(
                    work.predictor,
                    series,
                    tile,
                    found.tiles.read(index, tile),
                    CancelToken(),
                    field=work.fields[index],
                )
            )
            _put(out, series, values, part, box, tile)
    return out


def _holds(series: PlaneSeries, box: dict[str, tuple[int, int]]) -> bool:
    """Return whether any plane of a series lies in a box."""
    other = "T" if series.axis == "Z" else "Z"
    for axis, index in (("C", series.channel), (other, series.fixed)):
        start, stop = box.get(axis, (0, 1))
        if not start <= index < stop:
            return False
    return True


def _tile(work: Work, series: PlaneSeries, box: dict[str, tuple[int, int]]) -> Tile:
    predictor = work.predictor
    return plan_region(
        series.shape,
        tuple(box.get(axis, (0, 1)) for axis in (series.axis, "Y", "X")),  # type: ignore[arg-type]
        halo=(predictor.context, predictor.halo, predictor.halo),
        stride=(1, predictor.stride, predictor.stride),
    )


def _put(
    out: NDArray[np.float32],
    series: Series,
    values: tuple[NDArray[np.float32], NDArray[np.float32]],
    part: int,
    box: dict[str, tuple[int, int]],
    tile: Tile,
) -> None:
    """Put the channels of a result where they belong in a box."""
    for one, *both in by_channel(series, *values):
        if not _holds(one, box):
            continue
        where = one.region(tile.planes.core, tile.y.core, tile.x.core)
        place = tuple(
            slice(where[axis].start - start, where[axis].stop - start)
            for axis, (start, _) in box.items()
        )
        out[place] = both[part].reshape(out[place].shape)
