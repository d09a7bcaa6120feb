"""Compact bodies: nuclei, shells, and overlapping flat shapes, each in its own box."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_blindspot.pretraining.fields import band
from napari_blindspot.pretraining.grid import chance, log_uniform, rotation, scatter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.pretraining.grid import Grid, Volume

    Box = tuple[slice, slice, slice]


def ellipsoid(
    grid: Grid,
    place: NDArray[np.float64],
    radii: NDArray[np.float64],
    turn: NDArray[np.float64],
    margin: float = 1.3,
    norm: float = 2,
) -> tuple[Box, Volume] | None:
    """Give the relative radius (1 on the surface) around an ellipsoid.

    Parameters
    ----------
    grid : Grid
        The field.
    place : numpy.ndarray
        Centre ``(3,)`` in pixels.
    radii : numpy.ndarray
        Half axes ``(3,)`` in pixels.
    turn : numpy.ndarray
        Rotation ``(3, 3)``, one row per half axis.
    margin : float
        How far the box reaches, in units of the ellipsoid.
    norm : float
        2 for ellipsoids; 1 for octahedra and ``inf`` for boxes of the same half axes.

    Returns
    -------
    tuple or None
        The box as slices and the relative radius in it; None outside the field.
    """
    reach = margin * _extent(radii[:, None] * np.abs(turn), norm)
    spacing = np.array([grid.step, 1.0, 1.0])
    low = np.maximum(np.floor((place - reach) / spacing), 0).astype(int)
    high = np.minimum(np.ceil((place + reach) / spacing) + 1, grid.shape).astype(int)
    if np.any(high <= low):
        return None
    z, y, x = (
        (np.arange(a, b) * s - c).astype(np.float32)
        for a, b, s, c in zip(low, high, spacing, place, strict=True)
    )
    rows = (turn / radii[:, None]).astype(np.float32)
    radius = np.zeros((len(z), len(y), len(x)), np.float32)
    for rz, ry, rx in rows:
        part = ((rz * z)[:, None] + ry * y)[..., None] + rx * x
        if norm == 2:
            radius += part * part
        elif norm == 1:
            radius += np.abs(part)
        else:
            np.maximum(radius, np.abs(part), out=radius)
    box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    return box, np.sqrt(radius) if norm == 2 else radius


def _extent(arms: NDArray[np.float64], norm: float) -> NDArray[np.float64]:
    """Give how far a body reaches along z, y, x, from its half axes ``(3, 3)``."""
    if norm == 2:
        return np.asarray(np.sqrt((arms**2).sum(axis=0)))
    return np.asarray(arms.max(axis=0) if norm == 1 else arms.sum(axis=0))


def _filled(radius: Volume, pixels: float, edge: float) -> Volume:
    """Turn relative radii into a body with an edge of some pixels."""
    ramp = (1 - radius) * np.float32(pixels / edge) + 0.5
    return np.asarray(np.clip(ramp, 0, 1), np.float32)


def _radii(rng: np.random.Generator, size: float, spread: float) -> NDArray[np.float64]:
    return np.asarray(size * np.exp(spread * rng.standard_normal(3)))


def nuclei(rng: np.random.Generator, grid: Grid) -> Volume:
    """Draw nuclei: sparse or packed, round or long, with chromatin and nucleoli."""
    size, volume = grid.size / 2, grid.empty()
    shape = band(rng, grid, size * rng.uniform(1.5, 4)) * rng.uniform(0, 0.15)
    grain = band(rng, grid, max(2.5, size * rng.uniform(0.15, 1.0)), 0.5)
    contrast = np.float32(rng.choice([0.0, rng.uniform(0.1, 0.7)], p=[0.2, 0.8]))
    texture = np.exp(contrast * grain)
    fill, apart = log_uniform(rng, 0.06, 1.5), rng.uniform(0, 2.0)
    spread, glow = rng.uniform(0, 0.35), rng.uniform(0, 0.8)
    mitotic, nucleoli = rng.uniform(0, 0.2), int(rng.integers(0, 4))
    edge = rng.uniform(0.5, 2.0)
    for place in scatter(rng, grid, size, fill, apart):
        radii, bright = _radii(rng, size, spread), np.exp(glow * rng.standard_normal())
        if chance(rng, mitotic):
            radii, bright = radii * (0.3, 1.1, 0.7), bright * 2
        turn = rotation(rng)
        found = ellipsoid(grid, place, radii, turn)
        if found is None:
            continue
        box, radius = found
        body = _filled(radius + shape[box], float(radii.min()), edge)
        body *= texture[box] * np.float32(bright)
        np.maximum(volume[box], body, out=volume[box])
        if size > 4:
            _nucleoli(rng, grid, volume, place, radii, nucleoli)
    return volume


def _nucleoli(
    rng: np.random.Generator,
    grid: Grid,
    volume: Volume,
    place: NDArray[np.float64],
    radii: NDArray[np.float64],
    most: int,
) -> None:
    """Darken, or in some stains brighten, small balls in a nucleus."""
    for _ in range(int(rng.integers(0, most + 1))):
        at = place + rng.uniform(-0.5, 0.5, 3) * radii.min()
        small = np.full(3, radii.min() * rng.uniform(0.12, 0.35))
        found = ellipsoid(grid, at, small, np.eye(3))
        if found is not None:
            box, radius = found
            depth = np.float32(rng.choice([-0.8, -0.5, 1.0], p=[0.5, 0.35, 0.15]))
            volume[box] *= 1 + depth * _filled(radius, float(small[0]), 1.0)


def shells(rng: np.random.Generator, grid: Grid) -> Volume:
    """Draw closed envelopes: nuclear membranes, vesicles, blebs, rings in a section."""
    size, volume = grid.size / 2, grid.empty()
    shape = band(rng, grid, size * rng.uniform(1.5, 4)) * rng.uniform(0, 0.15)
    patchy = np.exp(rng.uniform(0, 0.6) * band(rng, grid, max(3, 0.7 * size)))
    thickness, inside = log_uniform(rng, 0.5, 3), rng.uniform(0, 0.5) ** 2
    spread = rng.uniform(0, 0.4)
    for place in scatter(rng, grid, size, log_uniform(rng, 0.06, 1), rng.uniform(0, 2)):
        radii = _radii(rng, size, spread)
        margin = 1.3 + 3 * thickness / float(radii.min())
        found = ellipsoid(grid, place, radii, rotation(rng), margin)
        if found is None:
            continue
        box, radius = found
        radius += shape[box]
        off = (radius - 1) * np.float32(radii.mean() / thickness)
        body = np.exp(-0.5 * np.minimum(off * off, 50))
        body += np.float32(inside) * (radius < 1)
        body *= patchy[box] * np.float32(np.exp(0.4 * rng.standard_normal()))
        volume[box] += body.astype(np.float32)
    return volume


def beads(rng: np.random.Generator, grid: Grid) -> Volume:
    """Draw balls of nearly one size, as calibration beads and vesicles are."""
    size, volume = log_uniform(rng, 1.0, 5), grid.empty()
    fill, apart = log_uniform(rng, 3e-3, 0.3), rng.uniform(0, 2.5)
    hollow, glow = chance(rng, 0.2), rng.uniform(0, 0.7)
    for place in scatter(rng, grid, size, fill, apart):
        radii = np.full(3, size * np.exp(0.1 * rng.standard_normal()))
        found = ellipsoid(grid, place, radii, np.eye(3), 1 + 1 / size)
        if found is None:
            continue
        box, radius = found
        body = _filled(radius, size, 1.0)
        if hollow:
            body *= np.minimum(radius, 1)
        volume[box] += body * np.float32(np.exp(glow * rng.standard_normal()))
    return volume


def dead_leaves(rng: np.random.Generator, grid: Grid) -> Volume:
    """Lay flat shapes with sharp edges over each other, of sizes over two decades."""
    largest = max(4.0, max(grid.shape[1:]) / 2)
    count = int(log_uniform(rng, 10, MOST_LEAVES))
    sizes = np.sort(np.exp(rng.uniform(np.log(2.0), np.log(largest), count)))
    if chance(rng, 0.5):
        rng.shuffle(sizes)
    else:
        sizes = sizes[::-1]
    volume = np.full(grid.shape, rng.random(), np.float32)
    columns, ramps = chance(rng, 0.3), chance(rng, 0.3)
    for size in sizes:
        place = grid.extent * rng.random(3)
        turn, radii = rotation(rng), _radii(rng, size, 0.6)
        if columns:
            turn, radii[0] = np.eye(3), 1e4
        norm = rng.choice([1, 2, np.inf], p=[0.15, 0.55, 0.3])
        found = ellipsoid(grid, place, radii, turn, 1.05, norm)
        if found is not None:
            box, radius = found
            ink = np.float32(rng.random() ** 2)
            colour = ink * (1 - np.float32(0.7) * radius) if ramps else ink
            volume[box] = np.where(radius < 1, colour, volume[box])
    return np.maximum(volume, 0)


MOST_LEAVES = 120
"""Large leaves fill the field; more of them only hide each other."""


def large_bodies(rng: np.random.Generator, grid: Grid) -> Volume:
    """Draw few smooth bodies about as large as the field, and their edges in it."""
    volume = grid.empty()
    length = float(max(grid.shape[1:]))
    for _ in range(int(rng.integers(1, 5))):
        size = length * log_uniform(rng, 0.2, 1.5)
        place = grid.extent * rng.uniform(-0.3, 1.3, 3)
        radii = _radii(rng, size, 0.3)
        found = ellipsoid(grid, place, radii, rotation(rng))
        if found is not None:
            box, radius = found
            body = _filled(radius, size, log_uniform(rng, 0.7, 1 + 0.6 * size))
            volume[box] += np.float32(rng.uniform(0.2, 1)) * body
    return volume
