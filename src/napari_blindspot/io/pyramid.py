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
    known = ~np.isnan(values) if values.dtype.kind == "f" else np.True_
    padded = _pad(np.where(known, values, 0).astype(wide), factor)
    weight = _pad(np.broadcast_to(known, values.shape).astype(wide), factor)
    boxes: list[int] = []
    for n, f in zip(padded.shape, factor, strict=True):
        boxes += [n // f, f]
    inner = tuple(range(1, len(boxes), 2))
    total = padded.reshape(boxes).sum(axis=inner)
    count = weight.reshape(boxes).sum(axis=inner)
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


def _pad(values: NDArray[Any], factor: Sequence[int]) -> NDArray[Any]:
    ends = [(0, -n % f) for n, f in zip(values.shape, factor, strict=True)]
    return np.pad(values, ends) if any(end for _, end in ends) else values
