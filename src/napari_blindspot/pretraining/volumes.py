"""Clean volumes of random specimens under random microscopes.

Start weights are learnt from these volumes alone. They are made to differ: kinds,
sizes, densities, blur and sampling are drawn anew for each, because a network that has
seen much of everything is a better start than one that knows a few specimens well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_blindspot.pretraining import bodies, curves, tissue, walls
from napari_blindspot.pretraining.grid import Grid, chance, log_uniform
from napari_blindspot.pretraining.optics import imaged

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Volume = NDArray[np.float32]
    Kind = Callable[[np.random.Generator, Grid], Volume]

KINDS: dict[Kind, float] = {
    bodies.nuclei: 4,
    bodies.shells: 2,
    bodies.dead_leaves: 1.5,
    bodies.large_bodies: 1,
    walls.cell_walls: 2.5,
    walls.folded_membranes: 1.5,
    walls.edges: 0.7,
    curves.filaments: 3,
    curves.mesh: 1,
    curves.tubes: 1.5,
    curves.puncta: 2.5,
    bodies.beads: 1,
    tissue.cytoplasm: 2,
    tissue.spongy: 1,
    tissue.fibres: 1,
    tissue.layers: 1,
    tissue.haze: 0.7,
    tissue.flat: 0.4,
}
"""What a specimen may hold, and how often, relative to one another."""

MOVIES, STRANGERS = 0.10, 0.05
"""Shares of volumes whose planes are one scene in time, or share nothing."""

DRIFT = 8
"""How far, at most, a scene moves to either side in a movie, in pixels."""

BRIGHTEST = 20.0
"""The most that the peak may exceed the 99.9 % quantile."""


def make_volume(
    rng: np.random.Generator, shape: tuple[int, int, int]
) -> NDArray[np.float32]:
    """Make the clean image of a specimen that never was.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of every choice: the same state gives the same volume.
    shape : tuple of int
        Planes, rows and columns, each at least 1.

    Returns
    -------
    numpy.ndarray
        ``(Z, Y, X)``, float32, not negative; its 99.9 % quantile is 1. In about one
        volume of ten the planes are moments of one scene, in one of twenty they share
        nothing, and otherwise they are sections of a specimen.

    Raises
    ------
    ValueError
        If a length in `shape` is below 1.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(
            f"shape={shape} is no volume: give planes, rows and columns, each at "
            "least 1."
        )
    draw = rng.random()
    if draw < MOVIES:
        image = _movie(rng, shape)
    elif draw < MOVIES + STRANGERS:
        image = _strangers(rng, shape)
    else:
        image = _sections(rng, shape, log_uniform(rng, 0.4, 8))
    return _scaled(rng, image)


def _sections(
    rng: np.random.Generator, shape: tuple[int, int, int], step: float
) -> Volume:
    """Image a mixed specimen in planes that are `step` pixels apart."""
    count = rng.choice([1, 2, 3], p=[0.45, 0.35, 0.2])
    total = np.zeros(shape, np.float32)
    kinds = list(KINDS)
    odds = np.array(list(KINDS.values()))
    largest = max(1.2 * max(shape[1:]), 8.0)
    grid = Grid(shape, step, 1.0)
    for number in rng.choice(len(kinds), count, replace=False, p=odds / odds.sum()):
        # More small structures than large ones: they are harder to tell from noise.
        size = 3 * (largest / 3) ** (rng.random() ** 1.4)
        grid = Grid(shape, step, size)
        part = kinds[number](rng, grid)
        part *= np.float32(log_uniform(rng, 0.1, 1)) / max(_bright(part), 1e-6)
        if total.any() and chance(rng, 0.3):
            total *= 0.2 + part
        else:
            total += part
    return imaged(rng, total, grid)


def _movie(rng: np.random.Generator, shape: tuple[int, int, int]) -> Volume:
    """Show one scene in time: it changes shape slowly, or drifts and flickers."""
    if chance(rng, 0.4):
        scene = _sections(rng, shape, log_uniform(rng, 0.01, 0.3))
    else:
        scene = _drifting(rng, shape)
    flicker = np.exp(rng.uniform(0, 0.2) * rng.standard_normal((shape[0], 1, 1)))
    return np.asarray(scene * flicker, np.float32)


def _drifting(rng: np.random.Generator, shape: tuple[int, int, int]) -> Volume:
    """Move one plane by fractions of a pixel from frame to frame."""
    frames, rows, columns = shape
    wide = (1, rows + 2 * DRIFT + 2, columns + 2 * DRIFT + 2)
    scene = _sections(rng, wide, 1.0)[0]
    moves = rng.standard_normal((frames, 2)) * rng.choice([0.0, 0.1, 0.5, 2.0])
    path = np.clip(np.cumsum(moves, axis=0), -DRIFT, DRIFT) + DRIFT
    coefficients = ndimage.spline_filter(scene, output=np.float32)
    movie = np.empty(shape, np.float32)
    for frame, offset in zip(movie, path, strict=True):
        ndimage.affine_transform(
            coefficients, (1.0, 1.0), offset, (rows, columns), frame, prefilter=False
        )
    return np.maximum(movie, 0)


def _strangers(rng: np.random.Generator, shape: tuple[int, int, int]) -> Volume:
    """Fill the planes with unrelated places of one wide scene."""
    planes, rows, columns = shape
    scene = _sections(rng, (1, 2 * rows, 2 * columns), 1.0)[0]
    volume = np.empty(shape, np.float32)
    for plane in range(planes):
        y, x = rng.integers(0, rows + 1), rng.integers(0, columns + 1)
        view = scene[y : y + rows, x : x + columns]
        volume[plane] = view[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])]
    return volume


def _bright(volume: Volume) -> float:
    """Give the 99.9 % quantile."""
    return float(np.quantile(volume, 0.999))


def _scaled(rng: np.random.Generator, image: Volume) -> Volume:
    """Add background, and bring the 99.9 % quantile to 1."""
    peak = float(image.max())
    if peak <= 0:
        return np.ones_like(image)
    bright = _bright(image)
    if chance(rng, 0.7):
        image = image + np.float32(max(bright, peak / 50) * log_uniform(rng, 3e-3, 0.7))
    # A few bright spots on black have a quantile near 0: give them a background.
    if _bright(image) * BRIGHTEST < float(image.max()):
        image = image + np.float32(image.max() / BRIGHTEST)
    return np.asarray(image / np.float32(_bright(image)), np.float32)
