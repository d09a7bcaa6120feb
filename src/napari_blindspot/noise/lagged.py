"""Autocorrelation of noise, block by block, with errors that blocks vouch for.

A filter puts a correlation of its own into white noise, but only along the axes that
it filters. So the correlation along one axis is measured after differences along the
*other* axes: these take structure away, and leave white noise white along the axis in
question. No correction is needed, and noise that is a product of one filter per axis
(rows of a scanner, a 3×3 binomial, a resampled stack) keeps its exact autocorrelation.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_OUTLIER = 4.0  # robust standard deviations
_LEAST_VALID = 0.5  # of a block


@dataclass(frozen=True, slots=True, eq=False)
class BlockSums:
    """Lagged products of a field, summed over blocks of all planes.

    Parameters
    ----------
    products
        (blocks, lags + 1): sums over each block of ``r(i)·r(i + lag)``, scaled to as
        many pairs as the block has voxels; lag 0 is the sum of squares.
    voxels
        (blocks,) voxels that counted.
    rounding
        (blocks,) the part of the sum of squares that rounding explains.
    """

    products: NDArray[np.float64]
    voxels: NDArray[np.float64]
    rounding: NDArray[np.float64]

    @property
    def rounding_share(self) -> float:
        """Part of the variance that comes from rounding, 1 where there is none."""
        total = self.products[:, 0].sum()
        return min(1.0, float(self.rounding.sum() / total)) if total > 0 else 1.0

    def pick(self, chosen: NDArray[Any]) -> BlockSums:
        """Return some of the blocks, by index or flag."""
        return BlockSums(
            self.products[chosen], self.voxels[chosen], self.rounding[chosen]
        )

    def correlation(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the correlation at lags 1, 2, … and its standard error.

        The error comes from the scatter between blocks (of a ratio of sums), so that
        structure in a few of them makes it large; it is never below that of white
        noise.
        """
        total = self.products[:, 0].sum()
        value = self.products[:, 1:].sum(axis=0) / total
        misfit = self.products[:, 1:] - value * self.products[:, :1]
        count = len(self.products)
        spread = np.sqrt((misfit**2).sum(axis=0) * count / max(1, count - 1)) / total
        return value, np.maximum(spread, 1 / np.sqrt(self.voxels.sum()))


def joined(parts: Sequence[BlockSums]) -> BlockSums:
    """Return the blocks of several fields as one."""
    return BlockSums(
        np.concatenate([part.products for part in parts]),
        np.concatenate([part.voxels for part in parts]),
        np.concatenate([part.rounding for part in parts]),
    )


def differences(
    field: NDArray[np.floating[Any]], orders: tuple[int, int, int]
) -> NDArray[np.floating[Any]]:
    """Take differences of given orders along z, y and x, each of unit norm.

    White noise keeps its variance; every axis gets shorter by its order.
    """
    for axis, order in enumerate(orders):
        if order == 0:
            continue
        kernel = np.array([(-1.0) ** i * comb(order, i) for i in range(order + 1)])
        kernel /= np.linalg.norm(kernel)
        length = field.shape[axis] - order
        parts = (
            weight * _cut(field, axis, start, length)
            for start, weight in enumerate(kernel.astype(field.dtype))
        )
        total = next(parts)
        for part in parts:
            total += part
        field = total
    return field


def centre(field: NDArray[Any], orders: tuple[int, int, int]) -> NDArray[Any]:
    """Cut a field to where `differences` of the same orders (even ones) are centred."""
    for axis, order in enumerate(orders):
        field = _cut(field, axis, order // 2, field.shape[axis] - order)
    return field


def winsorised(field: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[Any]:
    """Clip a field at four robust standard deviations, and put 0 where not valid."""
    if not valid.any():
        return np.zeros_like(field)
    limit = _OUTLIER * 1.4826 * float(np.median(np.abs(field[valid])))
    if limit == 0:
        limit = float(np.abs(field[valid]).max())
    return np.where(valid, np.clip(field, -limit, limit), 0)


def block_sums(
    field: NDArray[Any],
    valid: NDArray[np.bool_],
    axis: int,
    lags: int,
    side: int,
) -> BlockSums:
    """Sum lagged products over blocks of ``side × side`` pixels and all planes.

    Parameters
    ----------
    field
        (planes, Y, X), mean about 0, and 0 where not valid.
    valid
        Same shape: voxels that count.
    axis
        Along which to shift: 0 z, 1 y, 2 x.
    lags
        Lags 1 … lags.
    side
        Pixels of a block in y and x.

    Returns
    -------
    BlockSums
        In rows of blocks; one with too few valid voxels has ``voxels`` 0.
    """
    cut = _tiled(field.astype(np.float32), side)
    flags = _tiled(valid.astype(np.float32), side)
    where = {0: 0, 1: 2, 2: 4}[axis]  # axes (plane, tile y, y, tile x, x)
    length = cut.shape[where]
    voxels = _block_total(flags)
    columns = [_block_total(cut * cut)]
    for lag in range(1, lags + 1):
        first, second = (slice(0, length - lag), slice(lag, length))
        pairs = _block_total(_at(flags, where, first) * _at(flags, where, second))
        product = _block_total(_at(cut, where, first) * _at(cut, where, second))
        columns.append(product * voxels / np.maximum(pairs, 1))
    full = cut.shape[0] * side * side
    usable = voxels >= _LEAST_VALID * full
    return BlockSums(
        np.stack(columns, axis=1) * usable[:, None],
        voxels * usable,
        np.zeros_like(voxels),
    )


def block_means(field: NDArray[Any], side: int) -> NDArray[np.float64]:
    """Return the mean of a field over the same blocks as `block_sums`."""
    tiles = _tiled(field.astype(np.float32), side)
    means: NDArray[np.float64] = _block_total(tiles) / (tiles.shape[0] * side * side)
    return means


def _tiled(field: NDArray[Any], side: int) -> NDArray[Any]:
    planes, rows, columns = field.shape
    down, across = rows // side, columns // side
    whole = field[:, : down * side, : across * side]
    return whole.reshape(planes, down, side, across, side)


def _block_total(tiles: NDArray[Any]) -> NDArray[np.float64]:
    total: NDArray[np.float64] = tiles.sum(axis=(0, 2, 4), dtype=np.float64)
    return total.ravel()


def _at(tiles: NDArray[Any], axis: int, part: slice) -> NDArray[Any]:
    index: list[slice] = [slice(None)] * tiles.ndim
    index[axis] = part
    part_of: NDArray[Any] = tiles[tuple(index)]
    return part_of


def _cut(field: NDArray[Any], axis: int, start: int, length: int) -> NDArray[Any]:
    return _at(field, axis, slice(start, start + length))
