"""Scenes and cameras for tests of the noise: clean electrons in, grey values out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray


def scene(
    rng: np.random.Generator,
    planes: int = 6,
    side: int = 192,
    *,
    low: float = 1.0,
    span: float = 60.0,
    smooth: float = 9.0,
) -> NDArray[np.float64]:
    """Return a smooth scene in photo-electrons, (planes, side, side)."""
    field = rng.normal(size=(planes, side, side))
    field = ndimage.gaussian_filter(field, (0, smooth, smooth))
    field = (field - field.min()) / np.ptp(field)
    return low + span * field**2


def islands(
    rng: np.random.Generator, planes: int = 6, side: int = 192, part: float = 0.1
) -> NDArray[np.float64]:
    """Return bright islands in an empty background of 0.2 electrons."""
    field = rng.normal(size=(planes, side, side))
    field = ndimage.gaussian_filter(field, (0, 12, 12))
    inside = (field > np.quantile(field, 1 - part)).astype(float)
    soft = ndimage.gaussian_filter(inside, (0, 2, 2))
    return 0.2 + soft * scene(rng, planes, side)


def camera(
    electrons: NDArray[np.float64],
    rng: np.random.Generator,
    gain: float = 2.2,
    offset: float = 100.0,
    read_noise: float = 1.6,
    dtype: DTypeLike = np.uint16,
) -> NDArray[np.generic]:
    """Record a scene: counted, amplified, rounded and clipped to the dtype."""
    electrons = rng.poisson(electrons) + rng.normal(0, read_noise, electrons.shape)
    limits = np.iinfo(dtype)
    grey = np.rint(gain * electrons + offset)
    return np.clip(grey, limits.min, float(limits.max)).astype(dtype)
