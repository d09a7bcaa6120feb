"""Means over small boxes: one level of a pyramid from the one before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.normalize import restore_dtype

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def shrink(values: NDArray[Any], factor: Sequence[int]) -> NDArray[Any]:
    """Average boxes of `factor` voxels; NaN is left out, half boxes at the ends count.

    Parameters
    ----------
    values
        Any integer or float array.
    factor
        Voxels per box along each axis.

    Returns
    -------
    ndarray
        ``ceil(n / factor)`` voxels per axis, dtype of `values`; NaN where a box holds
        nothing else.
    """
    # float32 cannot hold the sums of wide integers.
    wide = np.float64 if values.dtype.itemsize > 2 else np.float32
    wide = np.float32 if values.dtype == np.float32 else wide
    known: NDArray[np.bool_] = np.ones((), np.bool_)
    if values.dtype.kind == "f":
        known = ~np.isnan(values)
    if known.all():
        total = _summed(values.astype(wide, copy=False), factor)
        sizes = _box_sizes(values.shape, factor)
        return restore_dtype(total / sizes.astype(wide), values.dtype)
    total = _summed(np.where(known, values, 0).astype(wide), factor)
    count = _summed(known.astype(wide), factor)
    mean = np.full_like(total, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return restore_dtype(mean, values.dtype)


def before(
    region: tuple[slice, ...], shape: Sequence[int], factor: Sequence[int]
) -> tuple[slice, ...]:
    """Return the region of the level before from which a region is made."""
    return tuple(
        slice(part.start * f, min(part.stop * f, n))
        for part, n, f in zip(region, shape, factor, strict=True)
    )


def _summed(values: NDArray[Any], factor: Sequence[int]) -> NDArray[Any]:
    """Return the sum of every box; much faster than one sum over short axes."""
    for axis, step in enumerate(factor):
        if step == 1:
            continue
        moved = np.moveaxis(values, axis, 0)
        total = moved[::step].copy(order="K")
        for first in range(1, step):
            part = moved[first::step]
            total[: len(part)] += part
        values = np.moveaxis(total, 0, axis)
    return values


def _box_sizes(shape: Sequence[int], factor: Sequence[int]) -> NDArray[Any]:
    """Return how many voxels every box holds: fewer at the ends."""
    sizes = np.ones((1,) * len(shape))
    for axis, (n, step) in enumerate(zip(shape, factor, strict=True)):
        own = np.minimum(n - np.arange(0, n, step), step)
        sizes = sizes * own.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return sizes
