"""Recorded stacks: what a second recording of the same field says of the noise."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from scipy import ndimage

import napari_blindspot as nb
from _data import find_data
from napari_blindspot.api import train_job
from napari_blindspot.config import TrainSettings
from napari_blindspot.noise.estimate import estimate_poisson_gaussian
from napari_blindspot.progress import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

_LEAST = 5000  # voxels of a bin
_BINS = 12
_SMOOTH = 3.0  # px: the level that bins are made of must not hold the voxel's own noise


def cases(steps: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Name what is measured on recorded stacks."""
    yield "beads_repeat/variance", beads_variance
    yield "beads_repeat/denoised", partial(beads_denoised, steps)
    yield "calcium_2p_movie/variance", calcium_variance
    yield "ecoli_3d_t/variance", ecoli_variance
    for name in ("calcium_2p_movie", "llsm_cell_raw"):
        yield f"{name}/likelihood", partial(likelihood, name, steps)


def load(name: str) -> NDArray[Any]:
    """Read a stack of the real data."""
    values: NDArray[Any] = tifffile.imread(find_data() / "3d" / f"{name}.ome.tif")
    return values


def beads_variance() -> dict[str, Any]:
    """Compare the estimate with half the variance of the repeats' difference."""
    first, second = load("beads_repeat_E07_s1").astype(np.float64)
    return against_pairs(first, second, [first, second])


def calcium_variance() -> dict[str, Any]:
    """Compare the estimate with frames that follow one another."""
    movie = load("calcium_2p_movie").astype(np.float64)
    return against_pairs(movie[:-1:2], movie[1::2], [movie])


def ecoli_variance() -> dict[str, Any]:
    """Compare the estimate, per channel, with time points that follow one another."""
    stack = load("ecoli_3d_t").astype(np.float64)
    found = {}
    for channel in range(stack.shape[2]):
        one = stack[:, :, channel]
        found[f"channel {channel}"] = against_pairs(one[0], one[1], [one])
    return found


def against_pairs(
    first: NDArray[np.float64], second: NDArray[np.float64], whole: list[Any]
) -> dict[str, Any]:
    """Compare the estimated variance with that of differences of static pixels.

    Static are pixels whose smoothed difference is within three of its own standard
    deviations; the smooth part of the difference (drift, bleaching) is taken out.
    """
    planes = [p for part in whole for p in part.reshape(-1, *part.shape[-2:])]
    noise = estimate_poisson_gaussian(planes)
    difference = first - second
    blur = (*[0.0] * (first.ndim - 2), _SMOOTH, _SMOOTH)
    drift = ndimage.gaussian_filter(difference, blur)
    level = ndimage.gaussian_filter((first + second) / 2, blur)
    static = np.abs(drift) < 3 * 1.4826 * np.median(np.abs(drift))
    # What the subtraction of its own smooth part takes from white noise.
    kernel = np.zeros((41, 41))
    kernel[20, 20] = 1
    kernel -= ndimage.gaussian_filter(kernel, _SMOOTH)
    left = (difference - drift)[static] / np.sqrt((kernel**2).sum())
    level = level[static]
    order = np.argsort(level)
    count = max(1, min(_BINS, order.size // _LEAST))
    rows = []
    for part in np.array_split(order, count):
        pair = float(np.mean(left[part] ** 2)) / 2
        spread = 1.4826 * float(np.median(np.abs(left[part])))
        inner = left[part][np.abs(left[part]) < 4 * spread]
        grey = float(level[part].mean())
        rows.append(
            {
                "grey": grey,
                "pairs": pair,
                "pairs_without_outliers": float(np.mean(inner**2)) / 2,
                "estimate": float(noise.variance(grey)),
                "voxels": int(part.size),
            }
        )
    return {"bins": rows, "noise": noise.as_dict()}


def beads_denoised(steps: int) -> dict[str, Any]:
    """Denoise the first repeat and hold it against the second, which it never saw."""
    first, second = load("beads_repeat_E07_s1")
    settings = TrainSettings(steps=steps, threads=1, axes="ZYX", seed=0)
    model = run(train_job([first], settings))
    result = nb.predict(model, first, axes="ZYX", uncertainty=True, threads=1)
    image = np.asarray(result.image, np.float64)
    std = np.asarray(result.uncertainty, np.float64)
    other = second.astype(np.float64)
    # The second repeat's own noise is in every difference; half of the pair's it is.
    noise = float(np.mean((first.astype(np.float64) - other) ** 2)) / 2
    return {
        "noise_variance": noise,
        "squared_difference_noisy": float(np.mean((first - other) ** 2)),
        "squared_difference_denoised": float(np.mean((image - other) ** 2)),
        "posterior_variance": float(np.mean(std**2)),
        "drift_between_repeats": float(np.mean(other) - np.mean(first)),
        "check": model.provenance["noise_check"][0]["sentence"],
    }


def likelihood(name: str, steps: int) -> dict[str, Any]:
    """Compare held-out likelihoods: signal-dependent against constant noise."""
    values = load(name)
    axes = "TYX" if name == "calcium_2p_movie" else "ZYX"
    scores = {}
    for kind in ("auto", "gaussian"):
        settings = TrainSettings(steps=steps, threads=1, axes=axes, seed=0, noise=kind)
        model = run(train_job([values], settings))
        scores[kind] = model.provenance["training"]["held_out_score"]
        scores[f"check of {kind}"] = model.provenance["noise_check"][0]["sentence"]
    scores["gain of the signal-dependent model"] = scores["gaussian"] - scores["auto"]
    return scores
