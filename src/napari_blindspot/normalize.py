"""One affine scale per channel, its inverse, and the way back to the dtype.

``t = (y − offset) / scale`` with the 1 % and 99.9 % quantiles of a sample. The scale
belongs to the whole channel, never to a crop: statistics of a crop would show the
network the pixel it must not see. Nothing is clipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOW_PERCENT, HIGH_PERCENT = 1.0, 99.9
_LARGEST = 1e37  # float32 holds ten times as much, and sums of a few


@dataclass(frozen=True, slots=True)
class Normalization:
    """The affine map between data units and network units.

    Parameters
    ----------
    offset
        Data value that becomes 0.
    scale
        Data units per network unit, positive.
    """

    offset: float
    scale: float

    def forward(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Map data units to network units; infinite where float32 is exceeded."""
        with np.errstate(over="ignore"):
            if values.dtype.itemsize > 2 and values.dtype != np.float32:
                # float32 would round a large offset before it is subtracted.
                t = (values.astype(np.float64) - self.offset) / self.scale
                return t.astype(np.float32)
            above = values.astype(np.float32) - np.float32(self.offset)
            return above / np.float32(self.scale)

    def inverse(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map network units to data units."""
        return values * np.float32(self.scale) + np.float32(self.offset)


def fit_normalization(sample: NDArray[Any], channel: str = "") -> Normalization:
    """Choose the scale of one channel from a sample of its values.

    Parameters
    ----------
    sample
        Values in data units, any shape; NaN is left out.
    channel
        Name for the error message.

    Raises
    ------
    InputError
        If nothing but NaN is left, if all values are the same, or if there are values
        that are too large for float32.
    """
    where = f"channel {channel} of the stack" if channel else "the stack"
    finite = sample[np.isfinite(sample)] if sample.dtype.kind == "f" else sample
    if finite.size == 0:
        raise InputError(
            f"{where} holds no finite value (all NaN or infinite); open the raw "
            f"acquisition instead."
        )
    largest = float(np.abs(finite, dtype=np.float64).max())
    if largest > _LARGEST:
        raise InputError(
            f"{where} holds values of {largest:.3g}, but results are float32, which "
            f"ends at 3.4e+38; set them to NaN where they mark missing voxels, or "
            f"divide the stack by a constant."
        )
    low, high = np.percentile(finite.astype(np.float64), [LOW_PERCENT, HIGH_PERCENT])
    if high <= low:
        low, high = float(finite.min()), float(finite.max())
    if high <= low:
        raise InputError(
            f"{where} is constant: every value is {low:g}, so there is nothing to "
            f"learn from; check that the right file, channel and region were opened."
        )
    return Normalization(float(low), float(high - low))


def restore_dtype(values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Cast a result to `dtype`: integers are rounded and clipped, never wrapped."""
    if dtype.kind not in "iu":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    # float32 cannot hold the upper limit of 32-bit integers; float64 can.
    rounded = np.rint(values.astype(np.float64))
    # float64 cannot hold the upper limit of 64-bit integers either: one step below it.
    top = float(limits.max)
    top = float(np.nextafter(top, 0)) if int(top) > limits.max else top
    clipped = np.clip(np.nan_to_num(rounded), limits.min, top)
    return np.asarray(clipped, dtype)
