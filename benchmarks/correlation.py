"""Is white noise called white, and correlated noise not? Over known truths.

Prints the tables of docs/diagnose.md. A few minutes on one CPU core:

    python benchmarks/correlation.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

import napari_blindspot as nb
from _truths import GAIN, OFFSET, PREFILTER, READ_NOISE, load_truth, make_case

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Stack = NDArray[np.uint16]

PLANES = 40
BINOMIAL, BOX3, BOX5, PAIR = [0.25, 0.5, 0.25], [1 / 3] * 3, [0.2] * 5, [0.5, 0.5, 0]
FILTERS: dict[str, dict[int, list[float]]] = {
    "3×3 binomial": {1: BINOMIAL, 2: BINOMIAL},
    "5 px along rows": {2: BOX5},
    "3 px along columns": {1: BOX3},
    "mean of two planes": {0: PAIR},
}
RESAMPLED: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "z × 1.5, linear": lambda y: ndimage.zoom(y, (1.5, 1, 1), order=1),
    "y, x × 1.3, linear": lambda y: ndimage.zoom(y, (1, 1.3, 1.3), order=1),
    "y, x × 1.3, cubic": lambda y: ndimage.zoom(y, (1, 1.3, 1.3), order=3),
    "Gaussian of σ = 1 px": lambda y: ndimage.gaussian_filter(y, (0, 1, 1)),
    "3×3 median": lambda y: ndimage.median_filter(y, (1, 3, 3)),
}


def stored(values: NDArray[np.float64]) -> Stack:
    """Round to grey values as a camera stores them."""
    return np.clip(np.round(values), 0, 65535).astype(np.uint16)


def with_filtered_noise(
    name: str, photons: float, kernels: dict[int, list[float]]
) -> Stack:
    """Record a truth with noise that some axes share; the truth stays sharp."""
    rng = np.random.default_rng(3)
    signal = photons * load_truth(name, PLANES).astype(float)
    noise = rng.poisson(signal) - signal + rng.normal(0, READ_NOISE, signal.shape)
    for axis, kernel in kernels.items():
        noise = ndimage.convolve1d(noise, np.array(kernel), axis=axis, mode="reflect")
    return stored(GAIN * (signal + noise) + OFFSET)


def row(label: str, stack: Stack) -> str:
    """Return one line of a table: verdict, hole, correlation of neighbours."""
    (channel,) = nb.diagnose(stack).channels
    found = channel.correlation
    first = (
        f"{one.values[0]:+.3f} ± {one.errors[0]:.3f}" if one.values else "none"
        for one in (found.z, found.y, found.x)
    )
    hole = " ".join(map(str, found.hole))
    return f"| {label} | {found.verdict} | {hole} | {' | '.join(first)} |"


def main() -> None:
    """Print both tables."""
    head = "| verdict | hole | z | y | x |\n|---|---|---|---|---|---|"
    print(f"| white noise {head}")
    for name in PREFILTER:
        for photons in (5, 20, 80):
            for seed in (1, 2, 3):
                case = make_case(name, photons, PLANES, seed)
                label = f"{name}, {photons} photons, seed {seed}"
                print(row(label, case.noisy), flush=True)
    print(f"\n| correlated noise {head}")
    for name, photons in (("cells3d_nuclei", 20), ("mesospim_c5", 80),
                          ("tribolium_lund", 5)):  # fmt: skip
        for label, kernels in FILTERS.items():
            stack = with_filtered_noise(name, photons, kernels)
            print(row(f"{name}, {photons} photons, {label}", stack), flush=True)
        noisy = make_case(name, photons, PLANES).noisy.astype(float)
        for label, resample in RESAMPLED.items():
            stack = stored(resample(noisy))
            print(row(f"{name}, {photons} photons, {label}", stack), flush=True)


if __name__ == "__main__":
    main()
