"""What fills space: cytoplasm, fibrous and layered tissue, and nothing at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_blindspot.pretraining.fields import band, directed, power_law, slow
from napari_blindspot.pretraining.grid import chance, directions, log_uniform

if TYPE_CHECKING:
    from napari_blindspot.pretraining.grid import Grid, Volume


def cytoplasm(rng: np.random.Generator, grid: Grid) -> Volume:
    """Draw texture of many wavelengths: soft, skewed, or cut at a level."""
    field = power_law(rng, grid, log_uniform(rng, 2.5, 8), max(2 * grid.size, 16.0))
    kind = rng.integers(0, 3)
    if kind == 0:
        return _positive(1 + rng.uniform(0.1, 0.6) * field)
    if kind == 1:
        return _positive(np.exp(rng.uniform(0.3, 1.5) * field))
    sharp = np.float32(log_uniform(rng, 1, 30))
    cut = sharp * (field - np.float32(rng.uniform(-1, 1.5))) + 0.5
    return _positive(np.minimum(cut, 1))


def spongy(rng: np.random.Generator, grid: Grid) -> Volume:
    """Draw textured matter with round holes and islands: foam, fat, lumens."""
    matter = band(rng, grid, max(2 * grid.size, 6.0), rng.uniform(0.1, 0.5))
    level = np.float32(rng.uniform(-1.2, 1.2))
    inside = np.clip((matter - level) * np.float32(grid.size / 3) + 0.5, 0, 1)
    grain = power_law(rng, grid, 3.0, max(grid.size, 8.0))
    return np.asarray(inside * np.exp(rng.uniform(0, 0.6) * grain), np.float32)


def fibres(rng: np.random.Generator, grid: Grid) -> Volume:
    """Draw matter of parallel fibres: collagen, muscle, bundles of axons."""
    axis = directions(rng, 1)[0] * (rng.uniform(0.05, 1), 1, 1)
    axis /= np.linalg.norm(axis)
    wavelength = max(3.0, grid.size * rng.uniform(0.3, 1))
    field = directed(rng, grid, wavelength, axis, rng.uniform(0, 0.2), 1.0)
    if chance(rng, 0.5):
        field = field * np.exp(0.5 * band(rng, grid, 3 * wavelength))
    skewed = np.exp(rng.uniform(0.3, 1.5) * field)
    return _positive(skewed if chance(rng, 0.5) else field)


def layers(rng: np.random.Generator, grid: Grid) -> Volume:
    """Draw wavy layers, regular as sarcomeres or uneven as skin."""
    axis = directions(rng, 1)[0]
    wavelength = max(4.0, grid.size * rng.uniform(0.4, 2))
    if chance(rng, 0.5):
        field = directed(rng, grid, wavelength, axis, 1.0, rng.uniform(0, 0.2))
        return _positive(np.exp(rng.uniform(0.3, 1.2) * field))
    z, y, x = grid.axes()
    phase = (z * axis[0] + y * axis[1] + x * axis[2]) * (2 * np.pi / wavelength)
    phase = phase + rng.uniform(0, 2.5) * band(rng, grid, 4 * wavelength)
    stripes = np.maximum(np.sin(phase) + rng.uniform(-0.8, 1), 0)
    return np.asarray(stripes ** rng.uniform(0.5, 3), np.float32)


def haze(rng: np.random.Generator, grid: Grid) -> Volume:
    """Draw next to nothing: light that varies slowly by a few per cent."""
    return _positive(1 + log_uniform(rng, 0.003, 0.5) * slow(rng, grid))


def flat(rng: np.random.Generator, grid: Grid) -> Volume:
    """Give the same value everywhere."""
    return np.full(grid.shape, rng.uniform(0.1, 1), np.float32)


def _positive(volume: Volume) -> Volume:
    """Cut what lies below zero."""
    return np.asarray(np.maximum(volume, 0), np.float32)
