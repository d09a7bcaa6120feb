"""What a reader found out about a source, before axes and overrides are settled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_blindspot.location import Location

UNKNOWN = "?"
"""The letter of a dimension that the source does not name."""


@dataclass(frozen=True, slots=True)
class Found:
    """Pixels and metadata, dimension by dimension in the order of the source.

    Parameters
    ----------
    pixels
        A dask array, or anything with shape, dtype and ``[...]``.
    axes
        One letter per dimension: one of TCZYX, ``S`` for colour samples, anything
        else where the source does not say; empty if it says nothing at all.
    spacing
        Per dimension, µm between voxels (seconds along T); None where unknown.
        Empty if nothing is known.
    origin
        Per dimension, position of the first voxel in the same units. Empty if
        nothing is known.
    channel_names
        As the source gives them; left out later if they do not fit.
    name
        Short name of the source.
    path
        Where the pixels come from.
    notes
        What was guessed, one sentence each.
    settled
        Whether `axes` takes account of the user's wish already.
    """

    pixels: Any
    axes: str = ""
    spacing: tuple[float | None, ...] = ()
    origin: tuple[float, ...] = ()
    channel_names: tuple[str, ...] = ()
    name: str = "stack"
    path: Location | None = None
    notes: tuple[str, ...] = ()
    settled: bool = False
