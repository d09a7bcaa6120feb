"""Planes and their neighbours: how a stack is cut into runs of planes.

A *series* is one run of planes along the context axis, in one channel: a volume
(planes, Y, X). Along Z a series is one time point; along T it is one Z position.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_blindspot.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_blindspot.stack import Stack

ContextAxis = Literal["z", "t", "none"]


@dataclass(frozen=True, slots=True, eq=False)
class PlaneSeries:
    """One run of planes of a stack, in one channel.

    Parameters
    ----------
    stack
        Where the planes come from.
    channel
        Index of the channel.
    axis
        The axis along which the planes lie: ``"Z"`` or ``"T"``.
    fixed
        Index along the other of the two axes.
    """

    stack: Stack
    channel: int
    axis: Literal["Z", "T"]
    fixed: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Planes, rows, columns."""
        sizes = self.stack.sizes
        return sizes[self.axis], sizes["Y"], sizes["X"]

    def region(self, planes: slice, y: slice, x: slice) -> dict[str, slice]:
        """Return where a box of this series lies in the stack, axis by axis."""
        other = "T" if self.axis == "Z" else "Z"
        return {
            self.axis: planes,
            other: slice(self.fixed, self.fixed + 1),
            "C": slice(self.channel, self.channel + 1),
            "Y": y,
            "X": x,
        }

    def read(self, planes: slice, y: slice, x: slice) -> NDArray[Any]:
        """Read a box: (planes, rows, columns), data units, dtype of the source."""
        box: NDArray[np.generic] = self.stack.read(self.region(planes, y, x))
        return box.reshape((-1, *box.shape[-2:]))


def resolve_context_axis(stack: Stack, context: str) -> ContextAxis:
    """Turn ``"auto"`` into the axis whose neighbour planes are used as context.

    ``auto`` takes Z where there are several planes, else T, else none.

    Raises
    ------
    InputError
        If `context` is not one of auto, z, t, none, or the stack has a single
        plane along the axis that was asked for.
    """
    if context == "auto":
        if stack.sizes["Z"] > 1:
            return "z"
        return "t" if stack.sizes["T"] > 1 else "none"
    if context not in ("z", "t", "none"):
        raise InputError(
            f"context={context!r} is not known; choose 'auto', 'z', 't' or 'none'."
        )
    if context != "none" and stack.sizes[context.upper()] < 2:
        raise InputError(
            f"context={context!r} needs several planes along {context.upper()} but "
            f"this stack has axes {stack.axes} and shape {stack.shape}; "
            f"choose 'auto' or 'none'."
        )
    return context  # type: ignore[return-value]


def plane_series(stack: Stack, context: ContextAxis) -> tuple[PlaneSeries, ...]:
    """Cut a stack into its series: every channel, every index of the other axis."""
    axis: Literal["Z", "T"] = "T" if context == "t" else "Z"
    if context == "none" and stack.sizes["Z"] == 1:
        axis = "T"
    other = "T" if axis == "Z" else "Z"
    return tuple(
        PlaneSeries(stack, channel, axis, fixed)
        for channel in range(stack.sizes["C"])
        for fixed in range(stack.sizes[other])
    )


def middle(length: int, most: int) -> slice:
    """Return the middle of an axis, at most `most` of it."""
    size = min(length, most)
    start = (length - size) // 2
    return slice(start, start + size)


def spread_planes(
    stacks: Sequence[Stack], channel: int, count: int, most: tuple[int, int]
) -> Iterator[NDArray[Any]]:
    """Read planes spread evenly over everything that holds a channel.

    Parameters
    ----------
    stacks
        Read plane by plane.
    channel
        Index of the channel.
    count
        Planes at most.
    most
        Rows and columns at most: of larger planes the middle is read.

    Yields
    ------
    ndarray
        (Y, X), data units, dtype of the source.
    """
    places = [
        (one, plane)
        for stack in stacks
        for one in plane_series(stack, "none")
        if one.channel == channel
        for plane in range(one.shape[0])
    ]
    for index in np.linspace(0, len(places) - 1, min(len(places), count)):
        one, plane = places[round(index)]
        y, x = (middle(n, m) for n, m in zip(one.shape[1:], most, strict=True))
        yield one.read(slice(plane, plane + 1), y, x)[0]


def usable_context(planes: int, wanted: int) -> int:
    """Return how many planes on either side can serve as context.

    With at most ``planes // 2`` of them, a neighbour that is missing at an end of
    the series always has a mirror image on the other side that exists.
    """
    return min(wanted, planes // 2)


def neighbours(index: int, planes: int, reach: int) -> tuple[int, ...]:
    """Return the context planes of one plane, from the farthest below upwards.

    Parameters
    ----------
    index
        The plane in the centre.
    planes
        Planes in the series.
    reach
        Neighbours on either side, at most ``planes // 2``.

    Returns
    -------
    tuple of int
        The planes at distance −reach … −1, 1 … reach. One that does not exist is
        replaced by its mirror image on the other side of the centre, never by the
        centre itself, which must stay unseen.
    """
    wanted = (d for d in range(-reach, reach + 1) if d)
    return tuple(index + d if 0 <= index + d < planes else index - d for d in wanted)
