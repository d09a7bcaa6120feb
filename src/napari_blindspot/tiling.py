"""Tiles: which part of the volume is read, and which part of the result is kept.

Integers only; nothing here reads a pixel::

    read_start    core_start           core_stop     read_stop
        |<--- halo --->|<----- core ----->|<--- halo --->|
        |..............|##################|..............|
        ^ multiple of the network's stride
                       ^ multiple of the core size

At a border of the volume the tile ends at the border: the network pads there by
itself, exactly as it does when it is given the whole plane.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from napari_blindspot.errors import InputError


@dataclass(frozen=True, slots=True)
class Span:
    """One axis of a tile: a core and the region that is read for it."""

    core_start: int
    core_stop: int
    read_start: int
    read_stop: int

    @property
    def core(self) -> slice:
        """The part of the volume that is kept."""
        return slice(self.core_start, self.core_stop)

    @property
    def read(self) -> slice:
        """The part of the volume that is read."""
        return slice(self.read_start, self.read_stop)

    @property
    def core_in_read(self) -> slice:
        """Where the core lies inside what was read."""
        return slice(
            self.core_start - self.read_start, self.core_stop - self.read_start
        )


@dataclass(frozen=True, slots=True)
class Tile:
    """A box of planes × rows × columns with its halo."""

    planes: Span
    y: Span
    x: Span


def round_up(n: int, multiple: int) -> int:
    """Return the smallest multiple of `multiple` that is not below `n`."""
    return -(-n // multiple) * multiple


def plan_axis(length: int, core: int, halo: int, stride: int) -> tuple[Span, ...]:
    """Cut one axis into cores that partition it, each with its halo.

    Parameters
    ----------
    length
        Voxels along the axis, at least 1.
    core
        Voxels kept per tile: a multiple of `stride`, or at least `length` for
        one tile.
    halo
        Voxels that the network needs on either side of the core.
    stride
        The network's stride along this axis; every tile starts on a multiple.

    Returns
    -------
    tuple of Span

    Raises
    ------
    InputError
        If `core` is no multiple of `stride` while more than one tile is needed.
    """
    if length < 1 or core < 1 or halo < 0 or stride < 1:
        raise InputError(
            f"a tile needs length, core and stride of at least 1 and a halo of at "
            f"least 0, got {length=}, {core=}, {halo=}, {stride=}."
        )
    if core >= length:
        return (Span(0, length, 0, length),)
    if core % stride:
        raise InputError(
            f"a tile of {core} voxels does not fit the network's stride of {stride}; "
            f"give a multiple of {stride}."
        )
    reach = round_up(halo, stride)
    return tuple(
        Span(
            start,
            min(start + core, length),
            max(start - reach, 0),
            min(start + core + reach, length),
        )
        for start in range(0, length, core)
    )


def plan_tiles(
    shape: tuple[int, int, int],
    *,
    core: tuple[int, int, int],
    halo: tuple[int, int, int],
    stride: tuple[int, int, int],
) -> tuple[Tile, ...]:
    """Cut a volume (planes, Y, X) into tiles whose cores partition it.

    Parameters
    ----------
    shape
        Voxels of the volume: planes, rows, columns.
    core, halo, stride
        Per axis, as in `plan_axis`.

    Returns
    -------
    tuple of Tile
        In the order in which they are read: planes first, then rows, columns.
    """
    spans = (
        plan_axis(*numbers) for numbers in zip(shape, core, halo, stride, strict=True)
    )
    return tuple(Tile(*box) for box in product(*spans))


def plan_region(
    shape: tuple[int, int, int],
    region: tuple[tuple[int, int], tuple[int, int], tuple[int, int]],
    *,
    halo: tuple[int, int, int],
    stride: tuple[int, int, int],
) -> Tile:
    """Return the tile whose core is any box of a volume.

    Parameters
    ----------
    shape
        Voxels of the volume: planes, rows, columns.
    region
        Start and stop along each axis.
    halo, stride
        Per axis, as in `plan_axis`; only what is read starts on the grid.
    """
    return Tile(
        *(
            Span(
                start,
                stop,
                max(start - reach, 0) // step * step,
                min(stop + round_up(reach, step), length),
            )
            for (start, stop), length, reach, step in zip(
                region, shape, halo, stride, strict=True
            )
        )
    )
