"""The result as OME-Zarr 0.5: sharded, with a pyramid, valid from the first block."""

from __future__ import annotations

import json
import threading
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.errors import InputError
from napari_blindspot.io.in_place import begin_output
from napari_blindspot.io.lazy import as_dask
from napari_blindspot.io.ome_zarr_metadata import ome_attributes
from napari_blindspot.io.outputs import writing
from napari_blindspot.io.pyramid_order import PyramidOrder
from napari_blindspot.io.remote import talking, zarr_store
from napari_blindspot.io.remote_pixels import readable
from napari_blindspot.io.shard_writer import ShardWriter
from napari_blindspot.io.zarr_layout import Layout, plan_layout, plan_pyramid
from napari_blindspot.normalize import restore_dtype
from napari_blindspot.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_blindspot.io.run_store import RunStore
    from napari_blindspot.location import Location
    from napari_blindspot.progress import CancelToken, Job
    from napari_blindspot.stack import Stack

PROVENANCE = "napari_blindspot"
"""The attribute of the group that says how the image was made."""


class OmeZarrSink:
    """Writes blocks as shards, and averages them into a pyramid as they come.

    Parameters
    ----------
    out
        Where it lies in the end.
    stack
        The input whose metadata are carried over.
    dtype
        Pixel type of the output.
    block
        Shape of the blocks in the axes of the stack.
    provenance
        JSON values for the attribute ``napari_blindspot``.
    label
        Added to the name of the image.
    record
        What the run writes down; with one, what was written earlier is kept.

    Attributes
    ----------
    pyramid
        What can be made of what is written; who shares the work out asks it.
    """

    def __init__(
        self,
        out: Location,
        stack: Stack,
        dtype: np.dtype[Any],
        block: tuple[int, ...],
        provenance: Mapping[str, Any],
        label: str,
        record: RunStore | None = None,
    ) -> None:
        self._stack, self._dtype = stack, dtype
        self._name, self._label = f"{stack.name} {label}", label
        base = plan_layout(stack.shape, block, dtype.itemsize)
        levels = plan_pyramid(stack.axes, base, stack.voxel_size, dtype.itemsize)
        self._layouts = [base, *(layout for layout, _ in levels)]
        self._steps = [factor for _, factor in levels]
        self._provenance = json.loads(json.dumps(dict(provenance), default=str))
        self._ranges = _Ranges(stack)
        self._bytes = stack.n_voxels * dtype.itemsize
        self._record = record
        with writing(out, self._bytes):
            self._partial = begin_output(out, record)
        try:
            with writing(out, self._bytes):
                self._group, arrays = self._create()
                self._shards = ShardWriter(arrays, durable=record is not None)
                self.pyramid = self._begin_pyramid(label)
        except BaseException:
            if record is None:
                self._partial.discard()
            raise

    def write(self, region: tuple[slice, ...], block: NDArray[np.float32]) -> None:
        """Store one block, and what the pyramid can make of it; see `Sink.write`.

        Raises
        ------
        ValueError
            If the region is not made of whole shards: two writers would meet in one.
        """
        with writing(self._partial.out, self._bytes):
            self._ranges.add(region, self._shards.write(region, block))
            self.pyramid.wrote(region)
            while shard := self.pyramid.take():
                self._shards.shrink(*shard)
                self.pyramid.made(shard)

    def resume(
        self, region: tuple[slice, ...], channel: int, limits: tuple[float, float]
    ) -> None:
        """Take note of a block that was written before, see `Sink.resume`."""
        self._ranges.note(
            channel, restore_dtype(np.array(limits, np.float32), self._dtype)
        )
        self.pyramid.wrote(region)

    def finish(self, cancel: CancelToken | None = None) -> Job[Any]:
        """Complete the pyramid and the output, see `Sink.finish`."""
        made = 0
        with writing(self._partial.out, self._bytes):
            while shard := self.pyramid.take():
                if cancel is not None:
                    cancel.raise_if_cancelled()
                self._shards.shrink(*shard)
                self.pyramid.made(shard)
                made += 1
                yield Progress("pyramid", made, made + self.pyramid.left, "blocks")
        yield Progress("pyramid", 1, 1, "blocks")
        if cancel is not None:
            cancel.raise_if_cancelled()
        with writing(self._partial.out, self._bytes):
            self._group.update_attributes({"ome": self._attributes()})
            self._partial.commit()
        return _reopen(self._partial.out)

    def pause(self) -> None:
        """Leave the partial store as it is, see `Sink.pause`."""

    def abort(self) -> None:
        """Remove the partial store."""
        self._partial.discard()

    def _attributes(self) -> dict[str, Any]:
        factors = [(1,) * len(self._stack.axes)]
        for step in self._steps:
            spans = zip(factors[-1], step, strict=True)
            factors.append(tuple(a * b for a, b in spans))
        windows = self._ranges.windows()
        return ome_attributes(self._stack, self._name, factors, windows)

    def _create(self) -> tuple[Any, list[Any]]:
        """Make the group with its metadata and its arrays, or find them again."""
        import zarr

        attributes = {"ome": self._attributes(), PROVENANCE: self._provenance}
        store = zarr_store(self._partial.path, "a")
        group = zarr.open_group(store, mode="a", zarr_format=3)
        names = [axis.lower() for axis in self._stack.axes]
        record, begun = self._record, f"begun-{self._label}"
        is_begun = record is not None and begun in record.manifest
        arrays = [
            _open_array(group, str(level), layout, self._dtype, names, is_begun)
            for level, layout in enumerate(self._layouts)
        ]
        # Last, so that what is announced can be read.
        group.update_attributes(attributes)
        if record is not None and not is_begun:
            record.describe({begun: True})
        return group, arrays

    def _begin_pyramid(self, label: str) -> PyramidOrder:
        ledger, entries = None, PyramidOrder.entries(self._layouts)
        if self._record is not None and entries:
            ledger = self._record.ledger(f"levels-{label}", entries, 1)
        return PyramidOrder(self._layouts, self._steps, ledger)


class FinishedSink:
    """An OME-Zarr that is complete and has its name; it takes no blocks.

    Parameters
    ----------
    out
        Where it lies.
    """

    def __init__(self, out: Location) -> None:
        self._out = out

    def write(self, region: tuple[slice, ...], block: NDArray[np.float32]) -> None:
        """Refuse: it is complete.

        Raises
        ------
        ValueError
            Always; it is an error of the program, not of the user.
        """
        raise ValueError(f"{self._out} is complete, but {region} is to be written")

    def resume(
        self, region: tuple[slice, ...], channel: int, limits: tuple[float, float]
    ) -> None:
        """Do nothing: all is there, see `Sink.resume`."""

    def finish(self, cancel: CancelToken | None = None) -> Job[Any]:
        """Return the array, see `Sink.finish`."""
        yield from ()
        return _reopen(self._out)

    def pause(self) -> None:
        """Do nothing, see `Sink.pause`."""

    def abort(self) -> None:
        """Do nothing: what is complete stays."""


class _Ranges:
    """Least and greatest finite value of every channel."""

    def __init__(self, stack: Stack) -> None:
        self._axis = stack.axes.find("C")
        self._low = np.full(stack.sizes["C"], np.inf)
        self._high = np.full(stack.sizes["C"], -np.inf)
        self._lock = threading.Lock()

    def add(self, region: tuple[slice, ...], values: NDArray[Any]) -> None:
        """Take a block into account."""
        first = region[self._axis].start if self._axis >= 0 else 0
        parts = np.moveaxis(values, self._axis, 0) if self._axis >= 0 else values[None]
        for channel, part in enumerate(parts, start=first):
            finite = part[np.isfinite(part)]
            if finite.size:
                self.note(channel, (finite.min(), finite.max()))

    def note(self, channel: int, limits: Any) -> None:
        """Take the least and the greatest value of a block into account."""
        low, high = limits
        with self._lock:
            self._low[channel] = np.fmin(self._low[channel], low)
            self._high[channel] = np.fmax(self._high[channel], high)

    def windows(self) -> list[tuple[float, float]]:
        """Return (least, greatest) per channel, (0, 1) where nothing is known."""
        return [
            (float(low), float(high)) if low < high else (0.0, 1.0)
            for low, high in zip(self._low, self._high, strict=True)
        ]


def _open_array(
    group: Any,
    name: str,
    layout: Layout,
    dtype: np.dtype[Any],
    names: list[str],
    is_begun: bool,
) -> Any:
    """Open an array that an earlier run made alike, or make it.

    Raises
    ------
    InputError
        If the earlier run had begun to fill it, and it is gone or another one.
    """
    from zarr.codecs import BloscCodec

    shards = layout.shard if layout.shard != layout.chunk else None
    if name in group:
        found = group[name]
        cut = (found.shape, found.chunks, found.shards, found.dtype)
        if cut == (layout.shape, layout.chunk, shards, dtype):
            return found
    if is_begun:
        raise InputError(
            f"array {name} of {PurePath(str(group.store_path)).name} is gone or was "
            f"changed, which the earlier run had begun to fill; begin anew with "
            f"--overwrite (overwrite=True)."
        )
    return group.create_array(
        name,
        shape=layout.shape,
        chunks=layout.chunk,
        shards=shards,
        dtype=dtype,
        # Bit-shuffled lz4 is the fastest codec on noisy counts, and packs them best.
        compressors=[BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")],
        dimension_names=names,
        overwrite=True,
    )


def _reopen(out: Location) -> Any:
    import zarr

    with talking(out):
        array = zarr.open_array(zarr_store(out / "0", "r"), mode="r")
    return as_dask(readable(array, out), out.name)
