"""The one recipe for every figure: clean truths and synthetic camera noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from scipy import ndimage

from _data import find_data

if TYPE_CHECKING:
    from numpy.typing import NDArray

PREFILTER = {"cells3d_nuclei": 0.8, "mesospim_c5": 0.8, "tribolium_lund": 0.0}
"""Smoothing (sigma in voxels) that takes the truth's own noise away."""
GAIN, OFFSET, READ_NOISE = 2.2, 100.0, 1.6


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A truth and its noisy image as a camera would store it.

    Parameters
    ----------
    truth
        (Z, Y, X) float32, 1 % quantile at 0, 99.9 % at 1.
    noisy
        (Z, Y, X) uint16.
    photons
        Photo-electrons at truth 1.
    """

    name: str
    photons: float
    truth: NDArray[np.float32]
    noisy: NDArray[np.uint16]

    def unit(self, image: NDArray[np.generic]) -> NDArray[np.float32]:
        """Bring an image in grey values to the scale of the truth."""
        values = image.astype(np.float32)
        return (values - OFFSET) / np.float32(GAIN * self.photons)


def load_truth(name: str, planes: int | None = None) -> NDArray[np.float32]:
    """Read a truth; the middle `planes` planes of it, scaled before the cut."""
    path = find_data() / "3d" / f"{name}.ome.tif"
    raw = tifffile.imread(path).astype(np.float32)
    if PREFILTER[name]:
        raw = ndimage.gaussian_filter(raw, PREFILTER[name])
    low, high = np.percentile(raw, [1, 99.9])
    truth = np.clip((raw - low) / (high - low), 0, None)
    if planes is not None and planes < len(truth):
        first = (len(truth) - planes) // 2
        truth = truth[first : first + planes]
    return truth.astype(np.float32)


def add_noise(
    truth: NDArray[np.float32], photons: float, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """Record a truth with a camera: Poisson first, then Normal, on all of it."""
    y = rng.poisson(photons * truth) / photons
    y = y + rng.normal(0, READ_NOISE / photons, truth.shape)
    grey = np.round(GAIN * photons * y + OFFSET)
    return np.clip(grey, 0, 65535).astype(np.uint16)


def make_case(name: str, photons: float, planes: int | None, seed: int = 1) -> Case:
    """Make one case of the standard set."""
    truth = load_truth(name, planes)
    noisy = add_noise(truth, photons, np.random.default_rng(seed))
    return Case(name, photons, truth, noisy)


def psnr(image: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Return the PSNR in dB for a range of 1, unclipped."""
    error = np.mean((image.astype(np.float64) - truth) ** 2)
    return float(-10 * np.log10(error))


def ssim(image: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Return the mean over planes of the structural similarity for a range of 1."""
    from skimage.metrics import structural_similarity

    pairs = zip(image, truth, strict=True)
    return float(
        np.mean([structural_similarity(a, b, data_range=1.0) for a, b in pairs])
    )


def best_gaussian(case: Case) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """Return the Gaussian filter that is best for the truth, and its sigmas (z, yx)."""
    noisy = case.unit(case.noisy)
    grid = [(z, s) for z in (0, 0.5, 0.8, 1.1, 1.5, 2, 2.5) for s in
            (0.5, 0.7, 1, 1.3, 1.6, 2, 2.5, 3)]  # fmt: skip
    images = {
        sigmas: ndimage.gaussian_filter(noisy, (sigmas[0], sigmas[1], sigmas[1]))
        for sigmas in grid
    }
    best = max(grid, key=lambda sigmas: psnr(images[sigmas], case.truth))
    return images[best], best
