"""Which part of a plane a branch needs for the part of the answer that is kept.

A half-plane branch sees nothing on one side, so it needs no halo there; to the left and
right it needs R, and only ahead of it 2R + s. A tile that is cut for each branch by
itself has about two thirds of the pixels of one with the whole halo around it::

    ┌───────────────┐
    │   2R + s rows │  what the branch that looks up reads
    │   ┌───────┐   │
    │ R │ core  │ R │
    └───┴───────┴───┘
"""

from __future__ import annotations

from typing import NamedTuple

from napari_blindspot.networks.unet import lateral_reach
from napari_blindspot.tiling import round_up

Core = tuple[slice, slice]
"""Rows and columns, with start and stop."""


class Reach(NamedTuple):
    """Pixels that are needed around a core."""

    up: int
    down: int
    left: int
    right: int


class View(NamedTuple):
    """What is read of a plane, and which part of that is kept; rows and columns."""

    read: Core
    keep: Core


def reach_of(turns: int, depth: int, shift: int) -> Reach:
    """Return the reach of a half-plane branch that looks up after `turns` quarters.

    Parameters
    ----------
    turns
        Quarter turns of the plane, 0 to 3, as `torch.rot90` counts them.
    depth
        Poolings of the branch.
    shift
        Rows by which its answer is moved past the hole.
    """
    side = lateral_reach(depth)
    ahead = 2 * side + shift
    return (
        Reach(ahead, 0, side, side),
        Reach(side, side, 0, ahead),
        Reach(0, ahead, side, side),
        Reach(side, side, ahead, 0),
    )[turns]


def view(core: Core, shape: tuple[int, int], reach: Reach, stride: int = 1) -> View:
    """Return what to read of a plane for a core.

    Parameters
    ----------
    core
        What is kept.
    shape
        Rows and columns of the plane, multiples of `stride`; a view ends where it does.
    reach
        Pixels around the core, at least.
    stride
        Views begin and end on multiples of it: on the grid of the poolings.
    """
    y, x = core
    rows = _span(y, shape[0], (reach.up, reach.down), stride)
    columns = _span(x, shape[1], (reach.left, reach.right), stride)
    return View(
        (rows, columns),
        (
            slice(y.start - rows.start, y.stop - rows.start),
            slice(x.start - columns.start, x.stop - columns.start),
        ),
    )


def _span(core: slice, length: int, reach: tuple[int, int], stride: int) -> slice:
    low = max(core.start - reach[0], 0) // stride * stride
    return slice(low, min(round_up(core.stop + reach[1], stride), length))
