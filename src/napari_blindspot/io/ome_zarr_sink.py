"""The result as OME-Zarr 0.5: sharded, with a pyramid, valid from the first block."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.io.lazy import as_dask
from napari_blindspot.io.ome_zarr_metadata import ome_attributes
from napari_blindspot.io.outputs import PartialOutput, writing
from napari_blindspot.io.pyramid import before, shrink
from napari_blindspot.io.sinks import check_block
from napari_blindspot.io.zarr_layout import Layout, plan_layout, plan_pyramid
from napari_blindspot.normalize import restore_dtype
from napari_blindspot.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_blindspot.progress import CancelToken, Job
    from napari_blindspot.stack import Stack

PROVENANCE = "napari_blindspot"
"""The attribute of the group that says how the image was made."""


class OmeZarrSink:
    """Writes blocks as shards, then averages them into a pyramid.

    Parameters
    ----------
    out
        The final path.
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
    """

    def __init__(
        self,
        out: Path,
        stack: Stack,
        dtype: np.dtype[Any],
        block: tuple[int, ...],
        provenance: Mapping[str, Any],
        label: str,
    ) -> None:
        self._stack, self._dtype = stack, dtype
        self._name = f"{stack.name} {label}"
        base = plan_layout(stack.shape, block, dtype.itemsize)
        levels = plan_pyramid(stack.axes, base, stack.voxel_size, dtype.itemsize)
        self._layouts = [base, *(layout for layout, _ in levels)]
        self._steps = [factor for _, factor in levels]
        self._provenance = json.loads(json.dumps(dict(provenance), default=str))
        self._ranges = _Ranges(stack)
        self._bytes = stack.n_voxels * dtype.itemsize
        self._partial = PartialOutput(out)
        try:
            with writing(out, self._bytes):
                self._group, self._arrays = self._create()
        except BaseException:
            self._partial.discard()
            raise

    def write(self, region: tuple[slice, ...], block: NDArray[np.float32]) -> None:
        """Store one block, see `Sink.write`.

        Raises
        ------
        ValueError
            If the region is not made of whole shards: two writers would meet in one.
        """
        check_block(region, block)
        _check_aligned(region, self._layouts[0])
        values = restore_dtype(block, self._dtype)
        self._ranges.add(region, values)
        with writing(self._partial.out, self._bytes):
            self._arrays[0][region] = values

    def finish(self, cancel: CancelToken | None = None) -> Job[Any]:
        """Make the pyramid and rename the folder, see `Sink.finish`."""
        total = sum(layout.n_shards for layout in self._layouts[1:])
        done = 0
        for level, layout in enumerate(self._layouts[1:], start=1):
            for region in layout.regions():
                if cancel is not None:
                    cancel.raise_if_cancelled()
                self._shrink_into(level, region)
                done += 1
                yield Progress("pyramid", done, total, "blocks")
        if cancel is not None:
            cancel.raise_if_cancelled()
        with writing(self._partial.out, self._bytes):
            self._group.update_attributes({"ome": self._attributes()})
            self._partial.commit()
        return _reopen(self._partial.out)

    def abort(self) -> None:
        """Remove the partial store."""
        self._partial.discard()

    def _shrink_into(self, level: int, region: tuple[slice, ...]) -> None:
        factor = self._steps[level - 1]
        source, target = self._arrays[level - 1], self._arrays[level]
        values = np.asarray(source[before(region, source.shape, factor)])
        with writing(self._partial.out, self._bytes):
            target[region] = shrink(values, factor)

    def _attributes(self) -> dict[str, Any]:
        factors = [(1,) * len(self._stack.axes)]
        for step in self._steps:
            spans = zip(factors[-1], step, strict=True)
            factors.append(tuple(a * b for a, b in spans))
        windows = self._ranges.windows()
        return ome_attributes(self._stack, self._name, factors, windows)

    def _create(self) -> tuple[Any, list[Any]]:
        """Make the group with its metadata and its empty arrays."""
        import zarr

        attributes = {"ome": self._attributes(), PROVENANCE: self._provenance}
        group = zarr.create_group(
            str(self._partial.path), zarr_format=3, attributes=attributes
        )
        names = [axis.lower() for axis in self._stack.axes]
        arrays = [
            _create_array(group, str(level), layout, self._dtype, names)
            for level, layout in enumerate(self._layouts)
        ]
        return group, arrays


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
                with self._lock:
                    self._low[channel] = min(self._low[channel], finite.min())
                    self._high[channel] = max(self._high[channel], finite.max())

    def windows(self) -> list[tuple[float, float]]:
        """Return (least, greatest) per channel, (0, 1) where nothing is known."""
        return [
            (float(low), float(high)) if low < high else (0.0, 1.0)
            for low, high in zip(self._low, self._high, strict=True)
        ]


def _create_array(
    group: Any,
    name: str,
    layout: Layout,
    dtype: np.dtype[Any],
    names: list[str],
) -> Any:
    from zarr.codecs import BloscCodec

    return group.create_array(
        name,
        shape=layout.shape,
        chunks=layout.chunk,
        shards=layout.shard if layout.shard != layout.chunk else None,
        dtype=dtype,
        # Bit-shuffled lz4 is the fastest codec on noisy counts, and packs them best.
        compressors=[BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")],
        dimension_names=names,
    )


def _check_aligned(region: tuple[slice, ...], layout: Layout) -> None:
    cut = zip(region, layout.shard, layout.shape, strict=True)
    for part, shard, length in cut:
        if part.start % shard or (part.stop % shard and part.stop != length):
            raise ValueError(f"{region} is not made of whole shards {layout.shard}")


def _reopen(out: Path) -> Any:
    import zarr

    return as_dask(zarr.open_array(str(out / "0"), mode="r"), out.name)
