"""Pixels behind an address, whose failures are told in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.io.lazy import native_chunks
from napari_blindspot.io.remote import talking
from napari_blindspot.location import Address

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.location import Location


@dataclass(frozen=True, slots=True, eq=False)
class RemotePixels:
    """An array whose store may stop to answer.

    Parameters
    ----------
    source
        Anything with shape, dtype and ``[...]``.
    at
        Where it lies.
    """

    source: Any
    at: Address

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels per dimension."""
        return tuple(int(n) for n in self.source.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Pixel type of the source."""
        dtype: np.dtype[Any] = np.dtype(self.source.dtype)
        return dtype

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """What the source decodes at once, if it says so."""
        return native_chunks(self.source)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        with talking(self.at, "read"):
            return np.asarray(self.source[index])


def readable(pixels: Any, at: Location) -> Any:
    """Return pixels that say in words why they cannot be read."""
    return RemotePixels(pixels, at) if isinstance(at, Address) else pixels
