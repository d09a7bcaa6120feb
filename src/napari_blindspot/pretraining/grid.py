"""The sampling grid of a generated volume, and random numbers and places on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Volume = NDArray[np.float32]

MOST_OBJECTS = 400
"""More bodies than this in one volume cost more time than they teach."""


@dataclass(frozen=True)
class Grid:
    """Voxels of a volume and the distances between them.

    Lengths are in pixels of a plane; bodies are isotropic in these lengths, and the
    distance between planes alone makes a volume anisotropic.

    Attributes
    ----------
    shape : tuple of int
        Voxels ``(Z, Y, X)``.
    step : float
        Distance from plane to plane, in pixels.
    size : float
        Typical size of the structures, in pixels.
    """

    shape: tuple[int, int, int]
    step: float
    size: float

    @property
    def extent(self) -> NDArray[np.float64]:
        """Lengths ``(3,)`` of the field, in pixels."""
        return np.multiply(self.shape, (self.step, 1.0, 1.0))

    def axes(self) -> tuple[Volume, Volume, Volume]:
        """Coordinates of planes, rows and columns, in pixels, ready to broadcast."""
        z, y, x = (np.arange(n, dtype=np.float32) for n in self.shape)
        return z[:, None, None] * np.float32(self.step), y[:, None], x

    def empty(self) -> Volume:
        """Give a volume of zeros."""
        return np.zeros(self.shape, np.float32)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform between those of `low` and `high`."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def chance(rng: np.random.Generator, probability: float) -> bool:
    """Say yes with the given probability."""
    return bool(rng.random() < probability)


def directions(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Draw unit vectors ``(count, 3)``, uniform on the sphere."""
    vectors = rng.standard_normal((count, 3))
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-9))


def rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw an orthogonal matrix ``(3, 3)``, uniform over all orientations."""
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    return np.asarray(q * np.sign(np.diagonal(r)))


def scatter(
    rng: np.random.Generator, grid: Grid, reach: float, fill: float, apart: float
) -> NDArray[np.float64]:
    """Draw places for bodies in the field and in a margin around it.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of every choice.
    grid : Grid
        The field.
    reach : float
        Radius of the bodies, in pixels; also the margin.
    fill : float
        Share of the volume that the bodies should take, were there no overlap.
    apart : float
        Least distance between places, in units of `reach`; 0 lets them overlap.

    Returns
    -------
    numpy.ndarray
        Coordinates ``(n, 3)`` in pixels, at least one and at most `MOST_OBJECTS`.
    """
    low, length = np.full(3, -reach), grid.extent + 2 * reach
    wanted = fill * float(np.prod(length)) / (4.2 * reach**3)
    count = int(np.clip(rng.poisson(min(wanted, 1e6)), 1, MOST_OBJECTS))
    tries = min(3 * count, MOST_OBJECTS) if apart > 0 else count
    places = low + length * rng.random((tries, 3))
    if chance(rng, 0.2):
        places = _gathered(rng, places, reach)
    if apart <= 0:
        return places
    return _thinned(places, apart * reach)[:count]


def _gathered(
    rng: np.random.Generator, places: NDArray[np.float64], reach: float
) -> NDArray[np.float64]:
    """Move places into clusters around a few of them."""
    centres = places[rng.integers(0, min(len(places), 5), len(places))]
    width = reach * log_uniform(rng, 1.5, 6)
    return np.asarray(centres + width * rng.standard_normal(places.shape))


def _thinned(places: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    """Drop each place that lies too near an earlier one."""
    kept = places[:1]
    for place in places[1:]:
        if ((kept - place) ** 2).sum(axis=1).min() > least**2:
            kept = np.concatenate([kept, place[None]])
    return kept
