"""Thin things: spots, filaments, meshes, and tubes that branch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_blindspot.pretraining.fields import band
from napari_blindspot.pretraining.grid import (
    chance,
    directions,
    log_uniform,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.pretraining.grid import Grid, Volume

MOST_POINTS = 60_000


def splat(
    grid: Grid, points: NDArray[np.float64], weights: NDArray[np.float64]
) -> Volume:
    """Share out points among the eight voxels around each, exact to a fraction.

    Parameters
    ----------
    grid : Grid
        The field; points outside are left out.
    points : numpy.ndarray
        Coordinates ``(n, 3)`` in pixels.
    weights : numpy.ndarray
        Brightness ``(n,)`` of each.

    Returns
    -------
    numpy.ndarray
        ``(Z, Y, X)``, float32; the sum is that of the weights inside.
    """
    places = points / (grid.step, 1.0, 1.0)
    corner = np.floor(places)
    part, corner = places - corner, corner.astype(np.intp)
    _, rows, columns = grid.shape
    total = np.zeros(int(np.prod(grid.shape)))
    for offset in np.ndindex(2, 2, 2):
        at = corner + offset
        share = np.where(offset, part, 1 - part).prod(axis=1) * weights
        inside = np.all((at >= 0) & (at < grid.shape), axis=1)
        z, y, x = at[inside].T
        flat = (z * rows + y) * columns + x
        total += np.bincount(flat, share[inside], minlength=len(total))
    return total.reshape(grid.shape).astype(np.float32)


def puncta(rng: np.random.Generator, grid: Grid) -> Volume:
    """Draw spots below resolution, alone or in clusters, over decades of brightness."""
    area = grid.shape[1] * grid.shape[2] * max(1.0, float(grid.extent[0]) / 16)
    count = int(min(area * log_uniform(rng, 1e-3, 0.1), MOST_POINTS)) + 1
    margin = 4.0
    places = (grid.extent + 2 * margin) * rng.random((count, 3)) - margin
    if chance(rng, 0.4):
        groups = places[: max(1, count // int(rng.integers(3, 40)))]
        places = groups[rng.integers(0, len(groups), count)]
        places = places + log_uniform(rng, 1, 20) * rng.standard_normal((count, 3))
    weights = np.exp(rng.uniform(0, 1.6) * rng.standard_normal(count))
    return _grown(rng, grid, splat(grid, places, weights))


def _grown(rng: np.random.Generator, grid: Grid, volume: Volume) -> Volume:
    """Give points and lines a small body, as beads and bundles have."""
    width = log_uniform(rng, 0.3, 2.5)
    sigma = (min(width / grid.step, 3.0), width, width)
    return np.asarray(ndimage.gaussian_filter(volume, sigma, truncate=2.5))


def walks(
    rng: np.random.Generator,
    starts: NDArray[np.float64],
    headings: NDArray[np.float64],
    steps: int,
    persistence: float,
    steep: float,
) -> NDArray[np.float64]:
    """Let curves wander from their starts in steps of 0.7 pixels.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of every choice.
    starts, headings : numpy.ndarray
        Where the curves begin and their first directions, ``(n, 3)``.
    steps : int
        Points on each curve.
    persistence : float
        Length, in pixels, over which a curve forgets its direction.
    steep : float
        0 keeps the curves in their planes, 1 lets them rise as they run.

    Returns
    -------
    numpy.ndarray
        Points ``(steps, n, 3)``.
    """
    turns = rng.standard_normal((steps, len(starts), 3))
    turns = ndimage.uniform_filter1d(turns, 5, axis=0) * np.sqrt(5)
    bends = np.cumsum(turns * np.sqrt(0.7 / persistence), axis=0)
    heading = (headings + bends) * (steep, 1.0, 1.0)
    heading /= np.maximum(np.linalg.norm(heading, axis=2, keepdims=True), 1e-6)
    return np.asarray(starts + 0.7 * np.cumsum(heading, axis=0))


def filaments(rng: np.random.Generator, grid: Grid) -> Volume:
    """Draw filaments: long and stiff, short and wavy, from one centre, or parallel."""
    length = float(max(grid.shape[1:]))
    steps = 2 + int(length * log_uniform(rng, 0.15, 2))
    most = max(2.0, min(MOST_POINTS / steps, 300.0))
    count = int(log_uniform(rng, min(5.0, most), most))
    starts = grid.extent * rng.uniform(-0.1, 1.1, (count, 3))
    headings = directions(rng, count)
    kind = rng.integers(0, 3)
    if kind == 1:
        aster = grid.extent * rng.uniform(0, 1, 3)
        starts = aster + 2 * rng.standard_normal((count, 3))
    elif kind == 2:
        headings = headings[:1] + rng.uniform(0.05, 0.5) * headings
    stiff, steep = grid.size * log_uniform(rng, 1, 20), log_uniform(rng, 0.01, 1)
    points = walks(rng, starts, headings, steps, stiff, steep)
    weights = np.exp(rng.uniform(0, 0.8) * rng.standard_normal(count))
    along = np.broadcast_to(weights, (steps, count))
    if chance(rng, 0.3):
        along = along * (rng.random((steps, count)) < rng.uniform(0.1, 0.7))
    volume = splat(grid, points.reshape(-1, 3), along.reshape(-1))
    return _grown(rng, grid, volume)


def mesh(rng: np.random.Generator, grid: Grid) -> Volume:
    """Draw the lines along which two folded sheets cross: a network of strands."""
    width = np.float32(log_uniform(rng, 0.6, 2.5))
    size = max(1.5 * grid.size, 8.0)
    total = grid.empty()
    for _ in range(2):
        field = band(rng, grid, size, 0.4)
        # A unit of the field is about a sixth of its wavelength.
        off = field * np.float32(size / 6) / width
        total += off * off
    return np.asarray(np.exp(-0.5 * np.minimum(total, 50)), np.float32)


def tubes(rng: np.random.Generator, grid: Grid) -> Volume:
    """Draw branching tubes, hollow or filled: vessels, ducts, neurites."""
    radius = float(np.clip(grid.size / 4, 1.0, 1 + 0.2 * max(grid.shape[1:])))
    line = np.ones(grid.shape, bool)
    radii = np.zeros(grid.shape, np.float32)
    for points, thick in _tree(rng, grid, radius):
        at = np.rint(points / (grid.step, 1.0, 1.0)).astype(np.intp)
        at = at[np.all((at >= 0) & (at < grid.shape), axis=1)]
        line[tuple(at.T)], radii[tuple(at.T)] = False, thick
    if line.all():
        return grid.empty()
    far, nearest = ndimage.distance_transform_edt(
        line, sampling=(grid.step, 1.0, 1.0), return_indices=True
    )
    thick = radii[tuple(nearest)]
    off = far.astype(np.float32) - thick
    edge = np.float32(rng.uniform(0.7, 2))
    filled = np.clip(0.5 - off / edge, 0, 1)
    if chance(rng, 0.5):
        wall = np.exp(-0.5 * np.minimum((off / edge) ** 2, 50))
        return np.asarray(wall + rng.uniform(0, 0.3) * filled, np.float32)
    if chance(rng, 0.5):
        filled *= np.exp(0.4 * band(rng, grid, max(3.0, 2 * radius)))
    return np.asarray(filled, np.float32)


def _tree(
    rng: np.random.Generator, grid: Grid, radius: float
) -> list[tuple[NDArray[np.float64], float]]:
    """Give curves ``(n, 3)`` with their radii, each generation thinner."""
    length = float(max(grid.shape[1:]))
    trunks = int(rng.integers(1, 9))
    starts = grid.extent * rng.uniform(0, 1, (trunks, 3))
    headings = directions(rng, trunks)
    stiff, steep = length * log_uniform(rng, 0.3, 4), log_uniform(rng, 0.03, 1)
    curves: list[tuple[NDArray[np.float64], float]] = []
    for generation in range(int(rng.integers(1, 4))):
        steps = 2 + int(2 * length / (1 + generation))
        paths = walks(rng, starts, headings, steps, stiff / (1 + generation), steep)
        curves.extend(
            (path, radius * rng.uniform(0.6, 1.2)) for path in paths.swapaxes(0, 1)
        )
        pick = rng.integers(0, steps, 2 * paths.shape[1])
        starts = paths[pick, np.arange(len(pick)) % paths.shape[1]]
        headings, radius = directions(rng, len(pick)), 0.65 * radius
    return curves
