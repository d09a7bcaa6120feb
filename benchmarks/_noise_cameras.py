"""Estimates of the noise on truths that were recorded with many cameras."""

from __future__ import annotations

from functools import cache, partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from _truths import load_truth
from napari_blindspot.noise.estimate import estimate_poisson_gaussian
from napari_blindspot.sample import nuclei_phantom

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

TRUTHS = ("phantom", "cells3d_nuclei", "mesospim_c5")
GAINS = (0.5, 1.0, 2.2, 10.0)
OFFSETS = (0.0, 100.0, 400.0)
READ_NOISES = (0.0, 1.6, 5.0, 10.0)
PHOTONS = (3.0, 5.0, 20.0, 80.0, 200.0)
LEVELS = (50, 99)
_DRAWS = 400_000


def cases(steps: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Give every camera a name and a function that measures it."""
    del steps
    for name, *camera in product(TRUTHS, GAINS, OFFSETS, READ_NOISES, PHOTONS):
        key = "/".join([name, *(f"{value:g}" for value in camera)])
        yield key, partial(measure, name, *camera)


@cache
def truth(name: str) -> NDArray[np.float64]:
    """Return a clean volume of 32 planes, 1 at its 99.9 % quantile."""
    if name == "phantom":
        made = nuclei_phantom(photons=1.0, gain=1.0, offset=0.0, read_noise=0.0)
        return made.truth.astype(np.float64)
    return load_truth(name, 32).astype(np.float64)


def record(
    electrons: NDArray[np.float64],
    gain: float,
    offset: float,
    read_noise: float,
    rng: np.random.Generator,
) -> NDArray[np.uint16]:
    """Record expected electrons with a camera that rounds and clips."""
    counted = rng.poisson(electrons) + rng.normal(0, read_noise, electrons.shape)
    grey = np.round(gain * counted + offset)
    return np.clip(grey, 0, 65535).astype(np.uint16)


def measure(
    name: str, gain: float, offset: float, read_noise: float, photons: float
) -> dict[str, Any]:
    """Estimate the noise of one recording and compare it with many draws."""
    electrons = photons * truth(name)
    rng = np.random.default_rng(1)
    noisy = record(electrons, gain, offset, read_noise, rng)
    noise = estimate_poisson_gaussian(list(noisy))
    errors = {}
    for level in LEVELS:
        at = np.full(_DRAWS, np.percentile(electrons, level))
        drawn = record(at, gain, offset, read_noise, rng).astype(np.float64)
        if drawn.var() > 0:
            estimate = noise.variance(float(drawn.mean()))
            errors[str(level)] = estimate / float(drawn.var()) - 1
    low, high = noise.a_interval or (0.0, 0.0)
    return {
        "error": errors,
        "gain": noise.a,
        "gain_interval": [low, high],
        "identified": noise.a > 0 and (high - low) / 2 < 0.1 * noise.a,
        "covers": low <= gain <= high,
        "offset": noise.offset,
        "offset_interval": noise.offset_interval,
        "read_noise": noise.read_noise,
        "zeros": float((noisy == 0).mean()),
        "warned": bool(noise.warnings),
    }
