"""Smooth random fields without a Fourier transform.

A field is a sum of plane waves. A wave is a product over the axes, up to its phase, so
that a whole sum is one matrix product: quick for any wavelength, orientation and
distance between planes.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from napari_blindspot.pretraining.grid import directions, log_uniform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.pretraining.grid import Grid, Volume


def wave_field(
    grid: Grid, vectors: NDArray[np.float64], phases: NDArray[np.float64]
) -> Volume:
    """Sum plane waves to a field of mean 0 and variance 1.

    Parameters
    ----------
    grid : Grid
        Where the field is wanted.
    vectors : numpy.ndarray
        Wave vectors ``(n, 3)`` along z, y, x, in radians per pixel.
    phases : numpy.ndarray
        Phases ``(n,)`` in radians.

    Returns
    -------
    numpy.ndarray
        ``(Z, Y, X)``, float32.
    """
    z, y, x = grid.axes()
    kz, ky, kx = vectors.T.astype(np.float32)
    plane = z * kz + y * ky + phases.astype(np.float32)
    column = x[None] * kx[:, None]
    total = np.cos(plane) @ np.cos(column) - np.sin(plane) @ np.sin(column)
    return np.asarray(total * np.float32(np.sqrt(2 / len(phases))), np.float32)


def band(
    rng: np.random.Generator, grid: Grid, wavelength: float, spread: float = 0.3
) -> Volume:
    """Give an isotropic field around one wavelength (pixels), ± `spread` in its log."""
    count = 96
    lengths = wavelength * np.exp(spread * rng.standard_normal(count))
    vectors = directions(rng, count) * (2 * np.pi / lengths)[:, None]
    return wave_field(grid, vectors, rng.uniform(0, 2 * np.pi, count))


def power_law(rng: np.random.Generator, grid: Grid, low: float, high: float) -> Volume:
    """Give an isotropic field of all wavelengths from `low` to `high` pixels.

    The amplitude per octave rises with the wavelength by a random power.
    """
    slope = rng.uniform(0.0, 1.5)
    total, variance = grid.empty(), 0.0
    edges = np.geomspace(low, max(high, 2 * low), 5)
    for a, b in itertools.pairwise(edges):
        wavelength = log_uniform(rng, a, b)
        weight = np.float32((wavelength / low) ** slope)
        total += weight * band(rng, grid, wavelength)
        variance += float(weight) ** 2
    return np.asarray(total / np.float32(np.sqrt(variance)), np.float32)


def directed(
    rng: np.random.Generator,
    grid: Grid,
    wavelength: float,
    axis: NDArray[np.float64],
    along: float,
    across: float,
) -> Volume:
    """Give a field whose wave vectors are squeezed along and across an axis.

    ``along=0, across=1`` makes fibres parallel to `axis`; ``along=1, across=0`` makes
    layers perpendicular to it.
    """
    count = 96
    lengths = wavelength * np.exp(0.4 * rng.standard_normal(count))
    unit = directions(rng, count)
    parallel = (unit @ axis)[:, None] * axis
    vectors = along * parallel + across * (unit - parallel)
    vectors *= (2 * np.pi / lengths)[:, None]
    return wave_field(grid, vectors, rng.uniform(0, 2 * np.pi, count))


def slow(rng: np.random.Generator, grid: Grid) -> Volume:
    """Give a field that varies over about the whole field of view."""
    length = float(max(grid.shape[1:]))
    return band(rng, grid, length * log_uniform(rng, 0.7, 3))


def distance_to_level(grid: Grid, field: Volume, level: float = 0.0) -> Volume:
    """Estimate, in pixels, how far each voxel is from a level of a smooth field.

    The distance is signed, and true to first order near the level.
    """
    squares = np.full_like(field, 1e-6)
    for axis, spacing in ((0, grid.step), (1, 1.0), (2, 1.0)):
        if field.shape[axis] > 1:
            slope = np.gradient(field, np.float32(spacing), axis=axis)
            squares += slope * slope
    return np.asarray((field - np.float32(level)) / np.sqrt(squares), np.float32)
