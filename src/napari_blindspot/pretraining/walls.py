"""Sheets: walls between cells, folded membranes and boxes of straight edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_blindspot.pretraining.fields import band, distance_to_level
from napari_blindspot.pretraining.grid import (
    MOST_OBJECTS,
    chance,
    directions,
    log_uniform,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.pretraining.grid import Grid, Volume

FAR = np.float32(1e6)


def cell_walls(rng: np.random.Generator, grid: Grid) -> Volume:
    """Draw walls half-way between random centres, wavy, some missing or uneven."""
    size = max(grid.size, 6.0)
    first, second, cell = _two_nearest(rng, grid, size)
    thickness = np.float32(log_uniform(rng, 0.5, 2.5))
    off = (second - first) / (2 * thickness)
    walls = np.exp(-0.5 * np.minimum(off * off, 50))
    walls *= np.exp(rng.uniform(0, 0.7) * band(rng, grid, size))
    if chance(rng, 0.5):
        return np.asarray(walls, np.float32)
    cells = np.exp(rng.uniform(0, 0.8) * rng.standard_normal(cell.max() + 1))
    filled = cells.astype(np.float32)[cell]
    sign = rng.choice([-1.0, 1.0])
    return np.asarray(np.maximum(filled * rng.uniform(0, 1) + sign * walls, 0), "f4")


def _two_nearest(
    rng: np.random.Generator, grid: Grid, size: float
) -> tuple[Volume, Volume, NDArray[np.intp]]:
    """Give the distances to the nearest two centres and the number of the nearest.

    Each centre is compared only in the box that it can reach.
    """
    margin = size / 2
    length = grid.extent + 2 * margin
    count = int(np.clip(np.prod(length) / size**3, 2, MOST_OBJECTS))
    size = max(size, float(np.prod(length) / count) ** (1 / 3))
    places = length * rng.random((count, 3)) - margin
    z, y, x = grid.axes()
    bend = rng.uniform(0, 0.25) * size * band(rng, grid, size * rng.uniform(1, 3))
    first, second = np.full(grid.shape, FAR), np.full(grid.shape, FAR)
    cell = np.zeros(grid.shape, np.intp)
    reach = 1.8 * size
    spacing = np.array([grid.step, 1.0, 1.0])
    for number, place in enumerate(places):
        low = np.maximum((place - reach) / spacing, 0).astype(int)
        high = np.ceil((place + reach) / spacing + 1).astype(int)
        box = tuple(slice(a, max(b, 0)) for a, b in zip(low, high, strict=True))
        cz, cy, cx = place.astype(np.float32)
        plane = (z[box[0]] - cz) ** 2 + (y[box[1]] - cy) ** 2
        far = plane + (x[box[2]] + bend[box] - cx) ** 2
        nearer = far < first[box]
        second[box] = np.minimum(second[box], np.maximum(first[box], far))
        first[box] = np.minimum(first[box], far)
        cell[box][nearer] = number
    return np.sqrt(first), np.sqrt(second), cell


def folded_membranes(rng: np.random.Generator, grid: Grid) -> Volume:
    """Draw the levels of smooth fields as thin sheets: folds, cisternae, villi."""
    volume = grid.empty()
    for _ in range(int(rng.integers(1, 3))):
        field = band(rng, grid, max(grid.size, 8.0), rng.uniform(0.1, 0.6))
        off = distance_to_level(grid, field, rng.uniform(-0.7, 0.7))
        off /= np.float32(log_uniform(rng, 0.5, 3))
        volume += np.exp(-0.5 * np.minimum(off * off, 50))
    if chance(rng, 0.4):
        volume *= np.exp(rng.uniform(0.2, 0.8) * band(rng, grid, grid.size))
    return volume


def edges(rng: np.random.Generator, grid: Grid) -> Volume:
    """Draw half spaces: straight or bent edges, sharp or soft, and thin plates."""
    volume = grid.empty()
    z, y, x = grid.axes()
    bent = band(rng, grid, max(grid.shape[1:]) * log_uniform(rng, 0.3, 2))
    for nz, ny, nx in directions(rng, int(rng.integers(1, 5))):
        cz, cy, cx = grid.extent * rng.uniform(0.2, 0.8, 3)
        off = (z - cz) * nz + (y - cy) * ny + (x - cx) * nx
        off = off + np.float32(rng.choice([0.0, grid.size / 4])) * bent
        soft = np.float32(log_uniform(rng, 0.5, 8))
        bright = np.float32(rng.uniform(0.2, 1))
        if chance(rng, 0.4):
            volume += bright * np.exp(-0.5 * np.minimum((off / soft) ** 2, 50))
        else:
            volume += bright * np.clip(off / soft + 0.5, 0, 1)
    return volume
