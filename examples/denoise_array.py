"""Denoise an array with a few lines of Python.

Run it with ``python denoise_array.py``. With ``--steps 2`` it only shows the way; with
the default budget it takes a minute or two on a CPU.
"""

from __future__ import annotations

import argparse

import numpy as np

import napari_blindspot
from napari_blindspot.sample import nuclei_phantom

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--shape", type=int, nargs=3, default=(16, 128, 128))
arguments = parser.parse_args()

# Any numpy, dask or zarr array will do, and so will the path of a TIFF or OME-Zarr.
phantom = nuclei_phantom(tuple(arguments.shape))

result = napari_blindspot.denoise(
    phantom.noisy,
    axes="ZYX",
    voxel_size=phantom.voxel_size,
    steps=arguments.steps,
    uncertainty=True,
)


def psnr(image: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio against the truth, in dB."""
    error = np.mean((np.asarray(image, np.float64) - phantom.truth) ** 2)
    return float(10 * np.log10(np.ptp(phantom.truth) ** 2 / error))


print(f"noise found: {result.noise[0].as_dict()}")
print(f"image {result.image.shape}, uncertainty {result.uncertainty.shape}")
print(f"PSNR: noisy {psnr(phantom.noisy):.1f} dB, denoised {psnr(result.image):.1f} dB")
