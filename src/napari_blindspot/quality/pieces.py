"""Two stacks piece by piece: bounded reads, and the range of a stack from a sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_blindspot.stack import Stack

PIECE_VOXELS = 2**22
"""Voxels that are worked on at once, of each of the two stacks."""

READ_VOXELS = 2**25
"""Voxels that are read at once, so that planes in one chunk are decoded once."""

SAMPLE_VOXELS = 2**22
SAMPLE_PLANES = 64


class Limits(NamedTuple):
    """The 1 % and the 99.9 % quantile of a channel, grey values."""

    low: float
    high: float

    @property
    def span(self) -> float:
        """Grey values between the two."""
        return self.high - self.low


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """The same rows of one plane of both stacks.

    ```text
        rows above ─┬─ halo, read for filters, not counted
        inner rows ─┼─ counted, by this piece alone
        rows below ─┴─ halo
    ```

    Parameters
    ----------
    t, z
        Which plane.
    result, reference
        Rows with their halo, (Y, X) float64, data units.
    inner
        The counted rows among them.
    """

    t: int
    z: int
    result: NDArray[np.float64]
    reference: NDArray[np.float64]
    inner: slice

    @property
    def n_voxels(self) -> int:
        """Voxels that are counted."""
        return int(self.reference[self.inner].size)


def pieces(result: Stack, reference: Stack, channel: int, halo: int) -> Iterator[Piece]:
    """Read one channel of two stacks of equal sizes, every voxel counted once.

    Planes that lie in one chunk of the file are read together, as far as memory allows.

    Parameters
    ----------
    result, reference
        Stacks whose `sizes` are equal.
    channel
        Index of the channel.
    halo
        Rows that are read beyond the counted ones, where the plane has them.

    Yields
    ------
    Piece
        A plane, or a band of rows of a wide one.
    """
    sizes = reference.sizes
    bands = list(_bands(sizes["Y"], sizes["X"], halo))
    deep: Literal["T", "Z"] = "Z" if sizes["Z"] > 1 else "T"
    rows_read = max(rows.stop - rows.start for rows, _ in bands)
    depth = max(1, READ_VOXELS // (rows_read * sizes["X"]))
    depth = min(depth, max(_chunk(stack, deep) for stack in (result, reference)))
    others = range(sizes["T" if deep == "Z" else "Z"])
    for other in others:
        for start in range(0, sizes[deep], depth):
            run = slice(start, min(start + depth, sizes[deep]))
            for rows, inner in bands:
                where = {"C": channel, deep: run, "Y": rows}
                where["T" if deep == "Z" else "Z"] = other
                pair = (_planes(result, where), _planes(reference, where))
                for index, (one, two) in enumerate(zip(*pair, strict=True), start):
                    yield Piece(
                        *_position(deep, index, other),
                        one.astype(np.float64),
                        two.astype(np.float64),
                        inner,
                    )


def sample_limits(stack: Stack, channel: int) -> Limits:
    """Return the range of one channel from at most `SAMPLE_VOXELS` of its voxels.

    NaN and infinity are left out; a channel without any number gives NaN limits.
    """
    sizes = stack.sizes
    planes = plane_choice(sizes, SAMPLE_PLANES)
    most = SAMPLE_VOXELS // len(planes)
    step = math.ceil(math.sqrt(sizes["Y"] * sizes["X"] / most))
    values = []
    for t, z in planes:
        where: dict[str, slice | int] = {"T": t, "C": channel, "Z": z}
        where["Y"] = slice(None, None, step)
        rows = stack.read(where)[..., ::step].astype(np.float64)
        values.append(rows[np.isfinite(rows)])
    found = np.concatenate(values)
    if not found.size:
        return Limits(math.nan, math.nan)
    low, high = np.percentile(found, [1.0, 99.9])
    return Limits(float(low), float(high))


def plane_choice(sizes: dict[str, int], most: int) -> list[tuple[int, int]]:
    """Return (t, z) of at most `most` planes, evenly spread over the stack."""
    total = sizes["T"] * sizes["Z"]
    picked = np.unique(np.linspace(0, total - 1, min(most, total)).round().astype(int))
    return [(int(i) // sizes["Z"], int(i) % sizes["Z"]) for i in picked]


def _bands(height: int, width: int, halo: int) -> Iterator[tuple[slice, slice]]:
    """Cut a plane into bands of rows: what is read, and what of it is counted."""
    count = math.ceil(height / max(64, PIECE_VOXELS // width))
    edges = np.linspace(0, height, count + 1).round().astype(int).tolist()
    for first, last in pairwise(edges):
        start = max(0, first - halo)
        yield (
            slice(start, min(height, last + halo)),
            slice(first - start, last - start),
        )


def _chunk(stack: Stack, axis: str) -> int:
    """Return how many planes one chunk holds."""
    if axis not in stack.axes:
        return 1
    return int(max(stack.data.chunks[stack.axes.index(axis)]))


def _planes(stack: Stack, where: dict[str, Any]) -> NDArray[Any]:
    pixels = stack.read(where)
    return pixels.reshape(-1, *pixels.shape[-2:])


def _position(deep: str, index: int, other: int) -> tuple[int, int]:
    return (other, index) if deep == "Z" else (index, other)
