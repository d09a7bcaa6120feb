"""The core of a tile: cut out before the work, framed again after it."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.noise.likelihood import mapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindspot.networks.views import Core
    from napari_blindspot.noise.likelihood import Likelihood

_AROUND = 1  # what a pixel's neighbours say of it (`bayesian.lone_variance`)


def pieces(
    core: Core | None, shape: Sequence[int], side: int, stride: int
) -> tuple[Core | None, ...]:
    """Cut a core into pieces of about `side` pixels a side.

    Parameters
    ----------
    core
        Rows and columns of the tile; None for all.
    shape
        Rows and columns of the tile.
    side
        What is wanted; a core of less than one and a half of it stays whole.
    stride
        Pieces begin on multiples of it in the tile.
    """
    rows, columns = core or (slice(0, shape[0]), slice(0, shape[1]))
    cuts = [_cuts(part, side, stride) for part in (rows, columns)]
    if len(cuts[0]) == len(cuts[1]) == 1:
        return (core,)
    return tuple((y, x) for y in cuts[0] for x in cuts[1])


def _cuts(part: slice, side: int, stride: int) -> list[slice]:
    length = part.stop - part.start
    count = max(1, round(length / side))
    inner = {
        round((part.start + index * length / count) / stride) * stride
        for index in range(1, count)
    }
    ends = sorted({part.start, *inner, part.stop})
    return [slice(*pair) for pair in pairwise(ends)]


def widened(core: Core | None, shape: Sequence[int]) -> Core | None:
    """Return a core with the pixels next to it, None if that is the whole tile.

    Parameters
    ----------
    core
        Rows and columns of the tile; None for all.
    shape
        Rows and columns of the tile.
    """
    if core is None:
        return None
    rows, columns = (
        slice(max(part.start - _AROUND, 0), min(part.stop + _AROUND, length))
        for part, length in zip(core, shape, strict=True)
    )
    whole = [part.stop - part.start for part in (rows, columns)] == list(shape)
    return None if whole else (rows, columns)


def noise_in(noise: Likelihood, core: Core | None) -> Likelihood:
    """Return the noise in a core; its parameters are (n, 1 or Y, 1 or X, …)."""
    if core is None:
        return noise

    def cut(parameter: NDArray[Any]) -> NDArray[Any]:
        rows, columns = (
            part if length > 1 else slice(None)
            for part, length in zip(core, parameter.shape[1:3], strict=True)
        )
        return parameter[:, rows, columns]

    return mapped(cut, noise)


def framed(
    values: NDArray[np.float32], core: Core | None, shape: Sequence[int]
) -> NDArray[np.float32]:
    """Put the values of a core, (…, rows, columns), back into a tile of NaN.

    Parameters
    ----------
    values
        Of the core.
    core
        None if that is the whole tile.
    shape
        Rows and columns of the tile.
    """
    if core is None:
        return values
    tile = np.full((*values.shape[:-2], *shape), np.nan, np.float32)
    tile[(..., *core)] = values
    return tile
