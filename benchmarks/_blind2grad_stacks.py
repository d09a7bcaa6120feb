"""Poisson noise on a volume, in both readings of the strength λ of the paper.

``A``: y = Poisson(λ·x)/λ, as most papers have it; ``B``: y = λ·Poisson(255·x/λ)/255,
with λ as the gain from counts to grey values. B at λ is A at 255/λ.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import napari_blindspot as nb
from _baselines import count, noise2void, same_size_unet
from _truths import Case, best_gaussian, load_truth, psnr, ssim
from napari_blindspot.networks.blind2grad import Blind2GradNetwork
from napari_blindspot.training.recipes import MASKED_RECIPES

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

TRUTH = "tribolium_lund"
READINGS = ("A", "B")
STRENGTHS = (30, 50)
_DEPTH = 3  # poolings of the U-Net of Noise2Void
_LONGER = 4  # a volume than an image, for Noise2Void

Measured = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Counts(Case):
    """A volume of photon counts."""

    def unit(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Bring counts to the scale of the truth."""
        return image.astype(np.float32) / np.float32(self.photons)


def make_counts(reading: str, strength: float, planes: int) -> Counts:
    """Record the middle planes of the truth."""
    photons = strength if reading == "A" else 255 / strength
    truth = load_truth(TRUTH, planes)
    noisy = np.random.default_rng(1).poisson(photons * truth).astype(np.uint16)
    return Counts(TRUTH, photons, truth, noisy)


def _train(
    case: Counts, steps: int, seconds: float, student: str = "", **settings: Any
) -> Measured:
    """Train on the volume and answer; then teach a student where one is named."""
    del seconds
    shared: dict[str, Any] = {"axes": "ZYX", "threads": 1}
    began = time.process_time()
    model = nb.train(case.noisy, steps=steps, seed=0, **shared, **settings)
    image = nb.predict(model, case.noisy, **shared).image
    found = _scored(case, np.asarray(image), time.process_time() - began)
    if not student:
        return found
    began = time.process_time()
    taught = nb.distill(model, case.noisy, student=student, seed=0, **shared)
    answer = np.asarray(nb.predict(taught, case.noisy, **shared).image)
    return found | {
        "student": _scored(case, answer, time.process_time() - began),
    }


def _as_it_is(case: Counts, steps: int, seconds: float) -> Measured:
    del steps, seconds
    return _scored(case, case.noisy, 0.0)


def _gaussian(case: Counts, steps: int, seconds: float) -> Measured:
    del steps, seconds
    began = time.process_time()
    image = best_gaussian(case)[0]
    return _scores(case, image, time.process_time() - began)


def _noise2void(case: Counts, steps: int, seconds: float) -> Measured:
    del steps
    network = MASKED_RECIPES["cpu"]["balanced"].network
    net = same_size_unet(count(Blind2GradNetwork(network)), network.context, _DEPTH)
    device = torch.device("cpu")
    done = noise2void(
        case, net, seconds=_LONGER * seconds, device=device, crop=64,
        clock=time.process_time,
    )  # fmt: skip
    return _scores(case, done.image, done.seconds) | {"steps": done.steps}


def _transformed(
    case: Counts, steps: int, seconds: float, name: str = "bm3d"
) -> Measured:
    """Denoise what the Anscombe transform makes of the counts: plane by plane or 3D."""
    del steps, seconds
    counts = case.noisy.astype(np.float64)
    stable = 2 * np.sqrt(counts + 3 / 8)
    scale = float(stable.max())
    began = time.process_time()
    if name == "bm3d":
        from bm3d import bm3d

        planes = [bm3d(plane / scale, 1 / scale) for plane in stable]
        done = np.stack(planes) * scale
    else:
        from bm4d import bm4d

        done = np.asarray(bm4d(stable / scale, 1 / scale)) * scale
    image = inverse_anscombe(done) / case.photons
    return _scores(case, image.astype(np.float32), time.process_time() - began)


def inverse_anscombe(stable: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the counts whose transform has some mean (Mäkitalo and Foi 2011)."""
    d = np.maximum(stable, 2 * np.sqrt(3 / 8))
    root = np.sqrt(3 / 2)
    series = d**2 / 4 + root / (4 * d) - 11 / (8 * d**2) + 5 * root / (8 * d**3) - 1 / 8
    return np.maximum(series, 0)


def _scored(case: Counts, counts: NDArray[Any], seconds: float) -> Measured:
    return _scores(case, case.unit(counts), seconds)


def _scores(case: Counts, image: NDArray[np.float32], seconds: float) -> Measured:
    """Return PSNR and SSIM for a range of 1, and the seconds of CPU time."""
    return {
        "psnr": round(psnr(image, case.truth), 3),
        "ssim": round(ssim(image, case.truth), 4),
        "seconds": round(seconds, 1),
    }


METHODS: dict[str, Callable[[Counts, int, float], Measured]] = {
    "noisy": _as_it_is,
    "gaussian": _gaussian,
    "blind2grad slice-wise": partial(_train, method="blind2grad", context="none"),
    "blind2grad": partial(_train, method="blind2grad"),
    "bayesian slice-wise": partial(_train, context="none"),
    "bayesian": _train,
    "atbsn": partial(_train, method="atbsn", student="small"),
    "n2v": _noise2void,
    "bm3d": _transformed,
    "bm4d": partial(_transformed, name="bm4d"),
}
"""Each takes a volume, steps of this package's trainings, and seconds of Noise2Void."""
PACKAGES = ("bm3d", "bm4d")
"""Methods that are a package of their own, for where it is installed."""
