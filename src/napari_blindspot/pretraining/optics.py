"""What a microscope makes of a specimen: blur, haze, shading and depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_blindspot.pretraining.fields import slow
from napari_blindspot.pretraining.grid import Grid, chance, log_uniform

if TYPE_CHECKING:
    from napari_blindspot.pretraining.grid import Volume


def blurred(volume: Volume, axial: float, lateral: float) -> Volume:
    """Blur by a Gaussian, `axial` planes and `lateral` pixels wide (one sigma)."""
    sigma = (axial if volume.shape[0] > 1 else 0.0, lateral, lateral)
    return np.asarray(
        ndimage.gaussian_filter(volume, sigma, mode="nearest", truncate=3.0), "f4"
    )


def wide_blur(volume: Volume, axial: float, lateral: float) -> Volume:
    """Blur widely and quickly: on means over blocks, interpolated between them."""
    factor = max(1, min(8, int(lateral / 1.5), *(n // 2 for n in volume.shape[1:])))
    coarse = ndimage.uniform_filter(volume, (1, factor, factor), mode="nearest")
    first = factor // 2
    coarse = coarse[:, first::factor, first::factor]
    coarse = blurred(coarse, axial, lateral / factor)
    for axis in (1, 2):
        coarse = _stretched(coarse, axis, volume.shape[axis], first, factor)
    return coarse


def _stretched(
    coarse: Volume, axis: int, length: int, first: int, factor: int
) -> Volume:
    """Interpolate samples at ``first + factor·i`` to every pixel of an axis."""
    count = coarse.shape[axis]
    at = np.clip((np.arange(length) - first) / factor, 0, count - 1)
    low = np.minimum(at.astype(np.intp), max(count - 2, 0))
    high = np.minimum(low + 1, count - 1)
    shape = [1, 1, 1]
    shape[axis] = length
    part = (at - low).astype(np.float32).reshape(shape)
    start, stop = coarse.take(low, axis), coarse.take(high, axis)
    return np.asarray(start + part * (stop - start), np.float32)


def imaged(rng: np.random.Generator, volume: Volume, grid: Grid) -> Volume:
    """Image a specimen: point spread, depth, haze, shading, contrast.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of every choice.
    volume : numpy.ndarray
        The specimen ``(Z, Y, X)``, not negative.
    grid : Grid
        Its grid.

    Returns
    -------
    numpy.ndarray
        Its image, of the same shape, float32, not negative.
    """
    image = _point_spread(rng, volume)
    if chance(rng, 0.35):
        amount = np.float32(log_uniform(rng, 0.1, 2))
        image = image + amount * wide_blur(image, rng.uniform(0.5, 4), _far(rng))
    if chance(rng, 0.4):
        image = image * _shading(rng, grid)
    if chance(rng, 0.3):
        image = image * _attenuation(rng, grid)
    if chance(rng, 0.3):
        # Rounding in the blur leaves values just below 0, which have no power.
        image = np.maximum(image, 0)
        peak = max(float(image.max()), 1e-12)
        image = (image / peak) ** np.float32(log_uniform(rng, 0.5, 2.0))
    return np.asarray(np.maximum(image, 0), np.float32)


def _far(rng: np.random.Generator) -> float:
    return log_uniform(rng, 4, 25)


def _point_spread(rng: np.random.Generator, volume: Volume) -> Volume:
    """Blur by one width, by two at once, or by more with depth."""
    lateral, axial = log_uniform(rng, 0.4, 3), log_uniform(rng, 0.25, 4)
    sharp = blurred(volume, axial, lateral)
    kind = rng.random()
    if kind < 0.55:
        return sharp
    soft = blurred(sharp, axial, lateral * rng.uniform(1, 3))
    if kind < 0.8:
        share = np.float32(rng.uniform(0.1, 0.7))
        return (1 - share) * sharp + share * soft
    depth = _depth(rng, volume.shape[0])
    return np.asarray(sharp + depth * (soft - sharp), np.float32)


def _shading(rng: np.random.Generator, grid: Grid) -> Volume:
    """Give uneven illumination, the same in every plane."""
    one = Grid((1, *grid.shape[1:]), 1.0, grid.size)
    light = np.exp(rng.uniform(0.05, 0.6) * slow(rng, one))
    return np.asarray(light, np.float32)


def _attenuation(rng: np.random.Generator, grid: Grid) -> Volume:
    """Give the light that is left in each plane, from either side."""
    depth = _depth(rng, grid.shape[0])
    return np.asarray(np.exp(-np.float32(rng.uniform(0.1, 2.5)) * depth), np.float32)


def _depth(rng: np.random.Generator, planes: int) -> Volume:
    """Let 0 rise to 1 over the planes, from either side."""
    depth = np.linspace(0, 1, planes, dtype=np.float32)[:, None, None]
    return depth if chance(rng, 0.5) else depth[::-1]
