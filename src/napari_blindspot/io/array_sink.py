"""The result as a numpy array in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.errors import RunError
from napari_blindspot.io.sinks import check_block
from napari_blindspot.normalize import restore_dtype

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.progress import CancelToken, Job


class ArraySink:
    """Collects blocks in one array.

    Parameters
    ----------
    shape
        Of the stack.
    dtype
        Pixel type of the result.

    Raises
    ------
    RunError
        If the array does not fit in memory.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        try:
            self._image: NDArray[Any] | None = np.zeros(shape, dtype)
        except MemoryError as error:
            size = np.prod(shape, dtype=np.int64) * dtype.itemsize / 1e9
            raise RunError(
                f"the result needs {size:.3g} GB of memory, which is more than there "
                f"is; write it to a file instead, e.g. out='denoised.ome.zarr'."
            ) from error

    def write(self, region: tuple[slice, ...], block: NDArray[np.float32]) -> None:
        """Store one block, see `Sink.write`."""
        check_block(region, block)
        if self._image is None:
            raise ValueError("this sink was aborted")
        self._image[region] = restore_dtype(block, self._image.dtype)

    def finish(self, cancel: CancelToken | None = None) -> Job[NDArray[Any]]:
        """Return the array, see `Sink.finish`."""
        if cancel is not None:
            cancel.raise_if_cancelled()
        if self._image is None:
            raise ValueError("this sink was aborted")
        yield from ()  # there is nothing left to do
        return self._image

    def resume(
        self, region: tuple[slice, ...], channel: int, limits: tuple[float, float]
    ) -> None:
        """Refuse: nothing is left of an earlier array, see `Sink.resume`.

        Raises
        ------
        ValueError
            Always; it is an error of the program, not of the user.
        """
        raise ValueError(f"there is no earlier block {region} in memory")

    def pause(self) -> None:
        """Let go of the array: nothing outlives the run."""
        self.abort()

    def abort(self) -> None:
        """Let go of the array."""
        self._image = None
