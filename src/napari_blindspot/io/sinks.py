"""Sinks: where denoised blocks go, one writer per block."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from napari_blindspot.io.outputs import check_output, output_kind
from napari_blindspot.location import as_location

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from napari_blindspot.io.run_store import RunStore
    from napari_blindspot.location import Location
    from napari_blindspot.progress import CancelToken, Job
    from napari_blindspot.stack import Stack


class Sink(Protocol):
    """An output that takes blocks, each once, and is completed or abandoned."""

    def write(self, region: tuple[slice, ...], block: NDArray[np.float32]) -> None:
        """Store one block.

        Parameters
        ----------
        region
            Where it lies, one slice per axis of the stack.
        block
            Values in data units, float32, of the shape of the region.

        Raises
        ------
        RunError
            If the disk is full or the output cannot be written.
        """

    def finish(self, cancel: CancelToken | None = None) -> Job[Any]:
        """Complete the output and return it as an array, lazy where it is on disk.

        Yields
        ------
        Progress
            With stage ``"pyramid"``.

        Raises
        ------
        Cancelled
            If `cancel` was raised; the output keeps its partial name.
        """

    def resume(
        self, region: tuple[slice, ...], channel: int, limits: tuple[float, float]
    ) -> None:
        """Take note of a block that an earlier run, or another machine, has written.

        Parameters
        ----------
        region
            Where it lies, as of `write`.
        channel
            Which channel it is of.
        limits
            Its least and greatest finite value, NaN without any.
        """

    def pause(self) -> None:
        """Leave what was written under its partial name, to be resumed."""

    def abort(self) -> None:
        """Remove what was written; an older output of the same name stays."""


def open_sink(
    out: str | Location | None,
    stack: Stack,
    dtype: np.dtype[Any],
    block: tuple[int, ...],
    *,
    provenance: Mapping[str, Any],
    overwrite: bool,
    label: str = "denoised",
    record: RunStore | None = None,
) -> Sink:
    """Make the sink that the name of the output asks for.

    Parameters
    ----------
    out
        ``.ome.zarr`` or ``.zarr`` (OME-Zarr 0.5), ``.tif(f)`` or ``.ome.tif(f)``
        (OME-TIFF); None collects the result in memory. At an address OME-Zarr alone.
    stack
        The input: its axes, voxel size, position and names are carried over.
    dtype
        Pixel type of the output.
    block
        Shape of the blocks that will be written, in the axes of the stack; every
        region starts on a multiple of it.
    provenance
        What is written into the output about its making; JSON values.
    overwrite
        Whether an existing output may be replaced, which happens at the very end, or
        at an address now.
    label
        Added to the name of the image.
    record
        What the run writes down; with one, what an earlier run has written under the
        partial name is kept.

    Returns
    -------
    Sink

    Raises
    ------
    InputError, OutputExistsError, RunError
        As `check_output`.
    """
    check_output(out, stack, overwrite, resume=record is not None)
    if out is None:
        from napari_blindspot.io.array_sink import ArraySink

        return ArraySink(stack.shape, dtype)
    path = as_location(out)
    if isinstance(path, Path):
        path = path.expanduser()
    if isinstance(path, Path) and output_kind(path) == "tiff":
        from napari_blindspot.io.tiff_sink import TiffSink

        return TiffSink(path, stack, dtype, provenance, label, record)
    from napari_blindspot.io.ome_zarr_sink import OmeZarrSink

    return OmeZarrSink(path, stack, dtype, block, provenance, label, record)


def finished_sink(out: Location) -> Sink:
    """Return the sink of an OME-Zarr that an earlier run has completed already."""
    from napari_blindspot.io.ome_zarr_sink import FinishedSink

    return FinishedSink(out)


def check_block(region: tuple[slice, ...], block: NDArray[np.float32]) -> None:
    """Refuse a block that does not have the shape of its region.

    Raises
    ------
    ValueError
        It is an error of the program, not of the user.
    """
    shape = tuple(part.stop - part.start for part in region)
    if shape != block.shape:
        raise ValueError(f"a block of shape {block.shape} for a region of {shape}")
