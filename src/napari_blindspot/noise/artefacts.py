"""Voxels that tell nothing of the noise: saturation and padding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_PILE = 3


def saturation_level(sample: NDArray[Any]) -> float:
    """Return the value from which on voxels are saturated, inf if none are.

    A camera that saturates piles voxels up at one highest value. Counted as
    saturated: the largest value of an integer dtype, or a highest value that at least
    20 voxels share and that is three times as frequent as the values just below it.
    """
    if sample.dtype.kind not in "iu" or sample.size == 0:
        return float("inf")
    top = int(sample.max())
    if top == np.iinfo(sample.dtype).max:
        return float(top)
    at_top = int((sample == top).sum())
    below = sample[(sample < top) & (sample >= top - max(10, top // 200))]
    distinct = max(1, np.unique(below).size)
    if at_top >= 20 and at_top > _PILE * below.size / distinct and below.size:
        return float(top)
    return float("inf")


def is_cut_at_zero(planes: Sequence[NDArray[Any]]) -> bool:
    """Return whether zeros of unsigned planes are a pile of what was below zero.

    Photons that are counted give honest zeros: where these are more than twice as
    frequent as the next value, that one is far more frequent than the one after it
    (twice as far, in proportion). What is cut off a wide distribution lies on zero
    alone, and the values above it are about equally frequent.
    """
    unsigned = [plane for plane in planes if plane.dtype.kind == "u"]
    zeros = sum(int((plane == 0).sum()) for plane in unsigned)
    above: list[int] = []
    least = 0
    for _ in range(2):
        rest = [plane[plane > least] for plane in unsigned]
        if not any(part.size for part in rest):
            return False
        least = min(int(part.min()) for part in rest if part.size)
        above.append(sum(int((part == least).sum()) for part in rest))
    return zeros > 2 * above[0] and above[0] < 1.5 * above[1]


def is_padding(plane: NDArray[Any]) -> NDArray[np.bool_]:
    """Return True where a plane (Y, X) is exactly constant over 9×9 pixels.

    No camera records that: it is the padding of a rotated, deskewed or registered
    stack. Stacks that count so few photons that 9×9 zeros are honest lose their
    darkest parts here, which say nothing of the noise either.
    """
    span = ndimage.maximum_filter(plane, 9) == ndimage.minimum_filter(plane, 9)
    padding: NDArray[np.bool_] = ndimage.maximum_filter(span, 9)
    return padding
