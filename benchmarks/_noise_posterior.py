"""What errors of the noise cost: posterior, calibration, fall-back."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import napari_blindspot as nb
from _noise_cameras import record, truth
from _truths import GAIN, OFFSET, READ_NOISE, psnr
from napari_blindspot.api import train_job
from napari_blindspot.config import Recipe, TrainSettings
from napari_blindspot.noise.field import NoiseField
from napari_blindspot.noise.models import PoissonGaussian
from napari_blindspot.planes import neighbours, plane_series
from napari_blindspot.progress import run
from napari_blindspot.training.sampling import CropSampler, Place, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_blindspot.noise.models import NoiseModel

TRUTHS = ("phantom", "cells3d_nuclei", "mesospim_c5")
PHOTONS = (5.0, 20.0, 80.0)
FACTORS = (0.5, 0.75, 0.9, 1.1, 1.25, 1.5)
_KNOWN = {"gain": GAIN, "offset": OFFSET, "read_noise": READ_NOISE}


@cache
def case(name: str, photons: float) -> tuple[NDArray[np.uint16], NDArray[np.float64]]:
    """Return a recording and its truth in grey values."""
    electrons = photons * truth(name)
    rng = np.random.default_rng(1)
    noisy = record(electrons, GAIN, OFFSET, READ_NOISE, rng)
    return noisy, GAIN * electrons + OFFSET


def train(noisy: NDArray[Any], steps: int, **known: Any) -> nb.Model:
    """Train on one recording."""
    settings = TrainSettings(steps=steps, threads=1, axes="ZYX", seed=0, **known)
    return run(train_job([noisy], settings))


def posterior_cases(steps: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Estimated and known noise, side by side."""
    for name, photons in product(TRUTHS, PHOTONS):
        yield f"{name}/{photons:g}", partial(compare_known, name, photons, steps)


def compare_known(name: str, photons: float, steps: int) -> dict[str, Any]:
    """Train with estimated and with known noise."""
    noisy, grey = case(name, photons)
    return {
        "estimated": judge(train(noisy, steps), noisy, grey, photons),
        "known": judge(train(noisy, steps, **_KNOWN), noisy, grey, photons),
    }


def judge(
    model: nb.Model, noisy: NDArray[Any], grey: NDArray[np.float64], photons: float
) -> dict[str, Any]:
    """Compare posterior, prior mean and uncertainty with the truth."""
    unit = GAIN * photons  # grey values per unit of the truth
    result = nb.predict(model, noisy, axes="ZYX", uncertainty=True, threads=1)
    image = np.asarray(result.image, np.float64)
    std = np.asarray(result.uncertainty, np.float64)
    error = image - grey
    held = held_out(model, noisy)
    mean_variance = np.mean(std[held] ** 2)
    inside = {q: (np.abs(error[held]) < z * std[held]).mean() for q, z in _INTERVALS}
    plain = replace(model, recalibration=())
    raw = nb.predict(plain, noisy, axes="ZYX", uncertainty=True, threads=1)
    raw_std = np.asarray(raw.uncertainty, np.float64)
    check = model.provenance["noise_check"][0]
    return {
        "psnr": psnr(image / unit, grey / unit),
        "psnr_mean": psnr(prior_mean(model, noisy) / unit, grey / unit),
        "psnr_uncalibrated": psnr(np.asarray(raw.image) / unit, grey / unit),
        "expected_psnr": float(-10 * np.log10(np.mean(std**2) / unit**2)),
        "expected_psnr_uncalibrated": float(
            -10 * np.log10(np.mean(raw_std**2) / unit**2)
        ),
        "expected_psnr_error": result.metrics["expected_psnr_error"],
        "mse_over_variance": float(np.mean(error[held] ** 2) / mean_variance),
        "coverage": {str(q): float(share) for q, share in inside.items()},
        "held_out_voxels": int(held.sum()),
        "residual": check["residual"],
        "fits": check["fits"],
        "fallback": check["fallback"],
        "sentence": check["sentence"],
        "noise": model.noise[0].as_dict(),
        "bins": intensity_bins(image, grey),
        "plane_totals": plane_totals(image, grey),
        "plane_totals_noisy": plane_totals(noisy.astype(np.float64), grey),
    }


def plane_totals(
    image: NDArray[np.float64], grey: NDArray[np.float64]
) -> dict[str, float]:
    """Return how far the totals of planes are off, of the signal above the offset."""
    off = np.abs((image - grey).sum((1, 2)) / (grey - OFFSET).sum((1, 2)))
    return {"median": float(np.median(off)), "worst": float(off.max())}


_INTERVALS = ((68, 1.0), (95, 1.96))


def held_out(model: nb.Model, noisy: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which voxels training never had as a target."""
    stack = nb.open_stack(noisy, axes="ZYX")
    series = plane_series(stack, "z")
    source = Source(
        series[0],
        model.scales[0],
        NoiseField(model.noise[0].normalized(model.scales[0])),
    )
    seed = model.provenance["seed"]
    sampler = CropSampler(
        [source], model.settings.context, Recipe(), model.network.stride, seed
    )
    side = max(noisy.shape)
    return np.stack(
        [sampler.window(Place(0, z, 0, 0), side).held_out for z in range(len(noisy))]
    )


def prior_mean(model: nb.Model, noisy: NDArray[Any]) -> NDArray[np.float64]:
    """Return the network's mean without the voxel's own value, in grey values."""
    scale, context = model.scales[0], model.settings.context
    volume = torch.from_numpy(scale.forward(noisy))
    out = np.empty(noisy.shape)
    for index in range(len(volume)):
        around = neighbours(index, len(volume), context)
        planes = volume[[*around[:context], index, *around[context:]]][None]
        with torch.no_grad():
            out[index] = scale.inverse(model.network(planes).mean[0].numpy())
    return out


def intensity_bins(
    image: NDArray[np.float64], grey: NDArray[np.float64]
) -> list[dict[str, float]]:
    """Return the mean of the result over that of the truth, in bins of the truth."""
    edges = np.quantile(grey, [0, 0.25, 0.5, 0.75, 0.9, 0.99, 1])
    rows = []
    for low, high in pairwise(edges):
        inside = (grey >= low) & (grey <= high)
        expected = float(grey[inside].mean())
        signal = float(image[inside].mean()) - OFFSET
        ratio = float(image[inside].mean()) / expected
        rows.append(
            {
                "grey": expected,
                "ratio": ratio,
                "of_signal": signal / (expected - OFFSET),
            }
        )
    return rows


def wrong_cases(steps: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Noise that is wrong by a factor, in training or at test time only."""
    for factor in FACTORS:
        yield f"phantom/{factor:g}", partial(wrong, "phantom", factor, steps)


@cache
def right_model(name: str, steps: int) -> nb.Model:
    """Return the model that was trained with the noise that is true."""
    return train(case(name, 20.0)[0], steps, **_KNOWN)


def wrong(name: str, factor: float, steps: int) -> dict[str, Any]:
    """Train and predict with a variance that is wrong by a factor."""
    noisy, grey = case(name, 20.0)
    known = {
        "gain": GAIN * factor,
        "offset": OFFSET,
        "read_noise": READ_NOISE / factor**0.5,
    }
    right = right_model(name, steps)
    at_test = replace(
        right,
        noise=tuple(scaled(noise, factor) for noise in right.noise),
        recalibration=(),
    )
    trained = train(noisy, steps, **known)
    return {
        "right": judge(right, noisy, grey, 20.0),
        "in_training": judge(trained, noisy, grey, 20.0),
        "at_test_only": judge(at_test, noisy, grey, 20.0)["psnr"],
    }


def scaled(noise: NoiseModel, factor: float) -> NoiseModel:
    """Return noise of a variance that is wrong by a factor."""
    assert isinstance(noise, PoissonGaussian)
    return replace(
        noise, a=noise.a * factor, b=noise.b * factor, floor=noise.floor * factor
    )


def fallback_cases(steps: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Name data and settings that no noise model fits."""
    half = {"gain": GAIN / 2, "offset": OFFSET, "read_noise": READ_NOISE}
    third = {"gain": GAIN / 3, "offset": OFFSET, "read_noise": READ_NOISE}
    double = {"gain": GAIN * 2, "offset": OFFSET, "read_noise": READ_NOISE}
    for label, damage, known in (
        ("sound", sound, {}),
        ("gain halved", sound, half),
        ("gain a third", sound, third),
        ("gain doubled", sound, double),
        ("square root taken", square_root, {}),
        ("gamma 2", gamma_two, {}),
        ("gamma 0.25", fourth_root, {}),
        ("clipped at zero", clipped, {}),
        ("saturated at 90 %", saturated, {}),
        ("resampled by half a pixel", resampled, {}),
    ):
        yield f"phantom/{label}", partial(fall_back, "phantom", damage, known, steps)


def sound(values: NDArray[Any]) -> NDArray[Any]:
    """Leave the recording as it is."""
    return values


def square_root(values: NDArray[Any]) -> NDArray[Any]:
    """Compress as a display would, and round to 8 bit."""
    return np.round(12.0 * np.sqrt(values.clip(0)) - 90).clip(0, 255).astype(np.uint8)


def gamma_two(values: NDArray[Any]) -> NDArray[Any]:
    """Expand as an inverted display curve would."""
    return (
        np.round(values.astype(np.float64) ** 2 / 50).clip(0, 65535).astype(np.uint16)
    )


def fourth_root(values: NDArray[Any]) -> NDArray[Any]:
    """Compress so strongly that dark noise is the largest."""
    root = np.maximum(values.astype(np.float64) - 90, 0) ** 0.25
    return np.round(400 * root).astype(np.uint16)


def resampled(values: NDArray[Any]) -> NDArray[Any]:
    """Shift by half a pixel, which gives neighbours a half of their noise in common."""
    half = (values + np.roll(values.astype(np.float64), 1, axis=2)) / 2
    both = (half + np.roll(half, 1, axis=1)) / 2
    return np.round(both).astype(np.uint16)


def clipped(values: NDArray[Any]) -> NDArray[Any]:
    """Take the offset off and clip, as many programs do."""
    return np.clip(values.astype(np.int32) - 100, 0, None).astype(np.uint16)


def saturated(values: NDArray[Any]) -> NDArray[Any]:
    """Saturate the brightest tenth."""
    return np.minimum(values, np.percentile(values, 90)).astype(np.uint16)


def fall_back(
    name: str,
    damage: Callable[[NDArray[Any]], NDArray[Any]],
    known: dict[str, float],
    steps: int,
) -> dict[str, Any]:
    """Denoise damaged data; the truth is the mean of what the damage does to it."""
    noisy, _ = case(name, 20.0)
    electrons = 20.0 * truth(name)
    rng = np.random.default_rng(2)
    draws = 64
    total = np.zeros(electrons.shape)
    for _ in range(draws):
        fresh = record(electrons, GAIN, OFFSET, READ_NOISE, rng)
        total += damage(fresh)
    expected = total / draws
    low, high = np.percentile(expected, [1, 99.9])
    unit = float(high - low)
    model = train(damage(noisy), steps, **known)
    result = nb.predict(model, damage(noisy), axes="ZYX", threads=1)
    plain = replace(model, recalibration=())
    raw = nb.predict(plain, damage(noisy), axes="ZYX", threads=1)
    check = model.provenance["noise_check"][0]
    mean = prior_mean(model, damage(noisy))
    return {
        "psnr_noisy": psnr(damage(noisy) / unit, expected / unit),
        "psnr_mean": psnr(mean / unit, expected / unit),
        "psnr_posterior_as_trained": psnr(
            np.asarray(raw.image) / unit, expected / unit
        ),
        "psnr": psnr(np.asarray(result.image) / unit, expected / unit),
        "fits": check["fits"],
        "sentence": check["sentence"],
        "warnings": list(model.noise[0].warnings),
    }
