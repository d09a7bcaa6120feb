"""Noise that neighbours share: which blind spot, and what it gains over other methods.

Run ``python benchmarks/correlated.py --out docs/benchmarks``. Camera noise on clean
truths is filtered, which makes neighbours share it; its strength stays that of the
camera. Every method is trained for the same number of steps, Noise2Void for the
seconds that took. Results are kept in a JSON file and continued: what is in it is not
run again; ``--budget`` stops after that many minutes.

Methods of every case: the best Gaussian filter; Noise2Void and structN2V; pixel-shuffle
down-sampling (the network of hole 1 on sub-sampled planes, put together again, after
AP-BSN); the posterior for every hole; the mean alone, asked behind every smaller hole
than the trained one; ``atbsn`` (absolute error, trained with hole 9) behind every hole;
``hole="auto"``; and the students of the last two. Of every posterior also how it would
score if the voxel's own value were trusted in part: the mean and that part of the step
from it to the posterior.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import ndimage

import napari_blindspot as nb
from _baselines import noise2void, same_size_unet
from _correlated_table import page
from _results import Kept, options, setting
from _truths import GAIN, OFFSET, READ_NOISE, Case, best_gaussian, load_truth, psnr
from napari_blindspot.errors import InputError
from napari_blindspot.sample import nuclei_phantom

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from numpy.typing import NDArray

PHOTONS = 40.0  # the noisy stacks have about 21 dB
SIDE = 160
TRUTHS = ("mesospim_c5", "cells3d_nuclei", "tribolium_lund", "phantom")
TRUSTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
"""Parts of the step from the mean to the posterior, and one beyond it."""
Hole = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Kind:
    """A filter of the noise, the holes that are tried, and those of rival methods."""

    kernels: dict[int, list[float]]
    holes: tuple[Hole, ...]
    box: tuple[int, int]
    step: tuple[int, int]


BINOMIAL = [0.25, 0.5, 0.25]
KINDS = {
    "3×3 binomial": Kind(
        {1: BINOMIAL, 2: BINOMIAL},
        ((1, 1, 1), (1, 3, 3), (1, 5, 5), (1, 7, 7), (1, 9, 9)),
        (5, 5),
        (3, 3),
    ),
    "rows of 5 px": Kind(
        {2: [0.2] * 5}, ((1, 1, 1), (1, 1, 5), (1, 1, 9), (1, 9, 9)), (1, 9), (1, 5)
    ),
    "rows of 9 px": Kind(
        {2: [1 / 9] * 9}, ((1, 1, 1), (1, 1, 9), (1, 1, 17)), (1, 17), (1, 9)
    ),
    "two planes": Kind(
        {0: [0.5, 0.5, 0.0]}, ((1, 1, 1), (3, 1, 1), (5, 1, 1)), (1, 1), (1, 1)
    ),
}


def truth_of(name: str, planes: int = 24) -> NDArray[np.float64]:
    """Return a clean box from the middle planes, 1 at the 99.9 % quantile of all."""
    if name == "phantom":
        made = nuclei_phantom(photons=1.0, gain=1.0, offset=0.0, read_noise=0.0)
        whole = made.truth.astype(np.float64)
    else:
        whole = load_truth(name).astype(np.float64)
    first = max(0, (len(whole) - planes) // 2)
    return whole[first : first + planes, :SIDE, :SIDE]


def record(truth: NDArray[np.float64], kind: Kind) -> NDArray[np.uint16]:
    """Record a truth with noise that neighbours share; its strength is the camera's."""
    rng = np.random.default_rng(3)
    signal = PHOTONS * truth
    noise = rng.poisson(signal) - signal + rng.normal(0, READ_NOISE, signal.shape)
    for axis, kernel in kind.kernels.items():
        unit = np.array(kernel) / np.linalg.norm(kernel)
        noise = ndimage.convolve1d(noise, unit, axis=axis, mode="reflect")
    grey = np.round(GAIN * (signal + noise) + OFFSET)
    return np.clip(grey, 0, 65535).astype(np.uint16)


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One recording and how its methods are run."""

    case: Case
    kind: Kind
    steps: int

    def train(self, **settings: Any) -> nb.Model:
        """Train on it."""
        return nb.train(
            self.case.noisy, axes="ZYX", steps=self.steps, threads=1, seed=0, **settings
        )

    def score(self, model: nb.Model, **settings: Any) -> float:
        """Return the PSNR of a model's answer."""
        result = nb.predict(model, self.case.noisy, axes="ZYX", threads=1, **settings)
        return self.psnr(np.asarray(result.image))

    def trusting(self, model: nb.Model) -> dict[str, float]:
        """Return the PSNR where the voxel's own value is trusted in part."""
        mean, whole = (
            np.asarray(nb.predict(one, self.case.noisy, axes="ZYX", threads=1).image)
            for one in (replace(model, answer="mean"), model)
        )
        return {f"{part:g}": self.psnr(mean + part * (whole - mean)) for part in TRUSTS}

    def psnr(self, image: NDArray[Any]) -> float:
        """Return the PSNR of an image in grey values, range 1."""
        return psnr(self.case.unit(image), self.case.truth)

    def behind(self, model: nb.Model) -> dict[str, float]:
        """Return the PSNR of the mean alone behind every hole up to the trained one."""
        mean = replace(model, answer="mean")
        trained = model.result_hole
        asked = dict.fromkeys(
            (trained[0], min(size, trained[1]), min(size, trained[2]))
            for size in (1, 3, 5, 7, 9)
        )
        return {spaced(hole): self.score(mean, hole=hole) for hole in asked}

    def student(self, model: nb.Model, size: str) -> float:
        """Return the PSNR of a student."""
        taught = nb.distill(
            model, self.case.noisy, axes="ZYX", student=size, threads=1, seed=0
        )
        return self.score(taught)


def methods(trial: Trial, found: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Name every method and how it is measured; `found` holds what was measured."""
    for hole in trial.kind.holes:
        yield f"hole {spaced(hole)}", lambda hole=hole: posterior(trial, hole)
    yield "auto", lambda: auto(trial)
    if trial.kind.step != (1, 1):
        yield "atbsn", lambda: atbsn(trial)
        yield "pixel shuffle", lambda: shuffled(trial)
    yield (
        "gaussian",
        lambda: {"psnr": psnr(best_gaussian(trial.case)[0], trial.case.truth)},
    )
    yield "n2v", lambda: masked(trial, (1, 1), seconds_of(found, trial))
    if trial.kind.box != (1, 1):
        yield (
            "structn2v",
            lambda: masked(trial, trial.kind.box, seconds_of(found, trial)),
        )


def posterior(trial: Trial, hole: Hole) -> dict[str, Any]:
    """Measure one hole in training; the mean alone behind all smaller ones too."""
    model = trial.train(hole=hole)
    return {
        "psnr": trial.score(model),
        "trusted": trial.trusting(model),
        "mean behind": trial.behind(model),
        "said": model.provenance["noise_check"][0]["sentence"],
        "seconds": model.provenance["training"]["seconds"],
    }


def auto(trial: Trial) -> dict[str, Any]:
    """Measure the hole that is chosen from the stack, and the students of it."""
    model = trial.train(hole="auto")
    return {
        "psnr": trial.score(model),
        "trusted": trial.trusting(model),
        "hole": spaced(model.result_hole),
        "student small": trial.student(model, "small"),
        "student tiny": trial.student(model, "tiny"),
    }


def atbsn(trial: Trial) -> dict[str, Any]:
    """Measure the method of Chen et al., its teacher behind every hole."""
    model = trial.train(method="atbsn")
    return {
        "psnr": trial.student(model, "small"),
        "mean behind": trial.behind(model),
        "teacher": trial.score(model),
    }


def shuffled(trial: Trial) -> dict[str, Any]:
    """Denoise sub-sampled planes, whose neighbours share no noise."""
    dy, dx = trial.kind.step
    noisy = trial.case.noisy
    height, width = (n // d * d for n, d in zip(noisy.shape[1:], (dy, dx), strict=True))
    whole = noisy[:, :height, :width]
    parts = np.stack([whole[:, y::dy, x::dx] for y in range(dy) for x in range(dx)])
    try:
        done = nb.denoise(
            parts, axes="TZYX", context="z", steps=trial.steps, threads=1, seed=0
        )
    except InputError as error:  # too few pixels are left of a plane
        return {"psnr": None, "why": str(error)}
    image = np.empty(whole.shape, np.float32)
    places = [(y, x) for y in range(dy) for x in range(dx)]
    for (y, x), part in zip(places, np.asarray(done.image), strict=True):
        image[:, y::dy, x::dx] = part
    truth = trial.case.truth[:, :height, :width]
    return {"psnr": psnr(trial.case.unit(image), truth)}


def seconds_of(found: dict[str, Any], trial: Trial) -> float:
    """Return for how long the hole of one voxel was trained, or train it to see."""
    known = found.get("hole 1 1 1")
    if known is not None:
        return float(known["seconds"])
    return float(trial.train().provenance["training"]["seconds"])


def masked(trial: Trial, box: tuple[int, int], seconds: float) -> dict[str, Any]:
    """Train Noise2Void for so many seconds."""
    device = torch.device("cpu")
    net = same_size_unet(60_000, 2, 3)
    done = noise2void(trial.case, net, seconds=seconds, device=device, crop=64, box=box)
    return {"psnr": psnr(done.image, trial.case.truth), "seconds": done.seconds}


def spaced(hole: Hole) -> str:
    """Write a hole as it is typed."""
    return " ".join(map(str, hole))


def main() -> None:
    args = parse()
    torch.set_num_threads(1)
    made = setting(seed="noise 3, training 0", steps=args.steps, planes=args.planes)
    kept = Kept(args.out / f"correlated-{args.label}.json", made, args.budget)
    for name in args.truths:
        truth = truth_of(name, args.planes)
        for label in args.kinds:
            kind = KINDS[label]
            noisy = record(truth, kind)
            case = Case(name, PHOTONS, truth.astype(np.float32), noisy)
            trial = Trial(case, kind, args.steps)
            found = kept.part("cases").setdefault(f"{name}/{label}", {})
            found.setdefault("noisy", {"psnr": trial.psnr(noisy), "shape": noisy.shape})
            for method, measured in methods(trial, found):
                if not args.methods or method.split()[0] in args.methods:
                    kept.measure(found, method, measured)
    kept.write_page(page(kept.facts))


def parse() -> argparse.Namespace:
    parser = options(__doc__, steps=1000)
    parser.add_argument("--planes", type=int, default=24, help="of every box")
    parser.add_argument("--truths", nargs="+", choices=TRUTHS, default=list(TRUTHS))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--methods", nargs="+", help="first words of methods to run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
