"""The result as an OME-TIFF file, written region by region without compression."""

from __future__ import annotations

import inspect
import json
import math
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.errors import InputError
from napari_blindspot.io.lazy import as_dask
from napari_blindspot.io.outputs import PartialOutput, check_space, remove, writing
from napari_blindspot.io.sinks import check_block
from napari_blindspot.normalize import restore_dtype
from napari_blindspot.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_blindspot.io.run_store import RunStore
    from napari_blindspot.progress import CancelToken, Job
    from napari_blindspot.stack import Stack

NAMESPACE = "napari-blindspot"
"""Namespace of the annotation that holds the provenance."""

OME_TYPES = (
    "int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64",
)  # fmt: skip

_LAID_OUT = "tiff"
_CLASSIC_LIMIT = 2**32 - 2**25  # as tifffile: room for the directories of the pages


class TiffSink:
    """Writes blocks into an OME-TIFF, BigTIFF where it is needed.

    The file is laid out in full when it is opened, then filled. Blocks are written
    with ordinary writes: a memory map on a full disk ends the process instead of
    raising an error.

    Parameters
    ----------
    out
        The final path.
    stack
        The input whose metadata are carried over.
    dtype
        Pixel type of the output.
    provenance
        Written as JSON into a MapAnnotation.
    label
        Added to the name of the image.
    record
        What the run writes down; with one, a file that was laid out earlier is kept.

    Raises
    ------
    InputError
        If OME-TIFF cannot hold the pixel type.
    RunError
        If the disk has no room for the file.
    """

    def __init__(
        self,
        out: Path,
        stack: Stack,
        dtype: np.dtype[Any],
        provenance: Mapping[str, Any],
        label: str,
        record: RunStore | None = None,
    ) -> None:
        if dtype.name not in OME_TYPES:
            raise InputError(
                f"OME-TIFF has no pixel type {dtype}; write .ome.zarr, or use "
                f"dtype='float32'."
            )
        self._shape, self._dtype = stack.shape, dtype
        self._bytes = stack.n_voxels * dtype.itemsize
        self._partial = PartialOutput(out, keep=record is not None)
        self._record = record
        metadata = _ome_metadata(stack, provenance, label)
        try:
            with writing(out, self._bytes):
                self._offset = self._laid_out(metadata)
                self._file = self._partial.path.open("r+b")
        except BaseException:
            if record is None:
                self._partial.discard()
            raise

    def write(self, region: tuple[slice, ...], block: NDArray[np.float32]) -> None:
        """Store one block, see `Sink.write`."""
        check_block(region, block)
        values = np.ascontiguousarray(restore_dtype(block, self._dtype))
        first = tuple(part.start for part in region)
        with writing(self._partial.out, self._bytes):
            for index, run in _contiguous_runs(values, self._shape):
                start = tuple(a + b for a, b in zip(first, index, strict=True))
                place = int(np.ravel_multi_index(start, self._shape))
                self._file.seek(self._offset + place * self._dtype.itemsize)
                self._file.write(run.data)
            if self._record is not None:  # before the run says that it is done
                self._file.flush()
                os.fsync(self._file.fileno())

    def resume(
        self, region: tuple[slice, ...], channel: int, limits: tuple[float, float]
    ) -> None:
        """Do nothing: the pixels are in the file, see `Sink.resume`."""

    def finish(self, cancel: CancelToken | None = None) -> Job[Any]:
        """Close and rename the file, see `Sink.finish`."""
        from napari_blindspot.io.tiff_adapter import read_header

        if cancel is not None:
            cancel.raise_if_cancelled()
        with writing(self._partial.out, self._bytes):
            self._file.close()
            self._partial.commit()
        yield Progress("pyramid", 1, 1, "blocks")
        out = self._partial.out
        image = as_dask(read_header(out).pixels, out.name)
        return image.reshape(self._shape)  # axes of length one are not in the file

    def pause(self) -> None:
        """Close the partial file and leave it, see `Sink.pause`."""
        with suppress(OSError):  # what is still buffered may not fit either
            self._file.close()

    def abort(self) -> None:
        """Close and remove the partial file."""
        self.pause()
        self._partial.discard()

    def _laid_out(self, metadata: dict[str, Any]) -> int:
        """Return where the pixels start, in the file of an earlier run or a new one."""
        facts = self._record.manifest.get(_LAID_OUT) if self._record else None
        if facts:
            _check_whole(self._partial.path, facts["bytes"])
            return int(facts["offset"])
        check_space(self._partial.out, self._bytes)
        remove(self._partial.path)
        offset = self._lay_out(metadata)
        if self._record is not None:
            size = self._partial.path.stat().st_size
            self._record.describe({_LAID_OUT: {"offset": offset, "bytes": size}})
        return offset

    def _lay_out(self, metadata: dict[str, Any]) -> int:
        """Create the file with room for all pixels; return where they start."""
        import tifffile

        # The partial name hides the ending by which tifffile knows OME-TIFF.
        newer = "kind" in inspect.signature(tifffile.imwrite).parameters
        place: Any = tifffile.imwrite(
            self._partial.path,
            shape=self._shape,
            dtype=self._dtype,
            photometric="minisblack",
            metadata=metadata,
            bigtiff=self._bytes > _CLASSIC_LIMIT,
            returnoffset=True,
            **({"kind": "ome"} if newer else {"ome": True}),
        )
        return int(place[0])


def _check_whole(path: Path, size: int) -> None:
    """Refuse to go on with a file that has lost what an earlier run wrote into it."""
    if not path.is_file() or path.stat().st_size < size:
        raise InputError(
            f"{path.name} is gone or cut short, which the earlier run had begun to "
            f"fill; begin anew with --overwrite (overwrite=True)."
        )


def _contiguous_runs(
    block: NDArray[Any], shape: tuple[int, ...]
) -> list[tuple[tuple[int, ...], NDArray[Any]]]:
    """Cut a block into runs that lie without gaps in an array of `shape`.

    Returns
    -------
    list of (index, values)
        Index of the first voxel of each run within the block.
    """
    axis = block.ndim - 1
    while axis > 0 and block.shape[axis] == shape[axis]:
        axis -= 1
    outer = block.shape[:axis]
    runs = block.reshape((math.prod(outer), -1))
    starts = (index + (0,) * (block.ndim - axis) for index in np.ndindex(*outer))
    return list(zip(starts, runs, strict=True))


def _ome_metadata(
    stack: Stack, provenance: Mapping[str, Any], label: str
) -> dict[str, Any]:
    """Return OME metadata in the words of tifffile."""
    metadata: dict[str, Any] = {
        "axes": stack.axes,
        "Name": f"{stack.name} {label}",
        "MapAnnotation": {
            "Namespace": NAMESPACE,
            "provenance": json.dumps(dict(provenance), sort_keys=True, default=str),
        },
    }
    for axis, size in zip("ZYX", stack.voxel_size, strict=True):
        if size is not None:
            metadata[f"PhysicalSize{axis}"] = size
            metadata[f"PhysicalSize{axis}Unit"] = "µm"
    if stack.time_step_s is not None:
        metadata["TimeIncrement"] = stack.time_step_s
        metadata["TimeIncrementUnit"] = "s"
    if stack.channel_names:
        metadata["Channel"] = {"Name": list(stack.channel_names)}
    return metadata
