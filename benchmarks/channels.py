"""Two dyes on the same cells: each channel by itself, or both together.

Run ``python benchmarks/channels.py``; some minutes on one CPU core. The second dye
shows the cells of the first, dimmer and with spots of its own. The noise is estimated
as always. The runs differ in the settings `channels` and `covariance` alone; training
takes the same steps or, with ``--seconds``, the same time. A network for every channel
takes that once per channel; it tells what the others lose or gain by sharing one.
Prints a Markdown table; ``--out`` writes it too.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import ndimage

import napari_blindspot as nb
from napari_blindspot.sample import nuclei_phantom

if TYPE_CHECKING:
    from numpy.typing import NDArray

APART = "a network for every channel"
RUNS: dict[str, dict[str, Any]] = {
    APART: {},
    "each by itself, one network": {},
    "joint, full covariance": {"channels": "joint"},
    "joint, diagonal covariance": {"channels": "joint", "covariance": "diagonal"},
}
SHAPE = (16, 128, 128)
PHOTONS = (20.0, 5.0)  # at the brightest parts
OFFSET, GAIN, READ_NOISE = 100.0, 2.0, 1.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seconds", type=float, help="training time, instead of steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    args = parser.parse_args()
    torch.set_num_threads(1)
    truth, noisy = recorded(args.seed)
    budget: dict[str, Any] = {"steps": args.steps}
    if args.seconds:
        budget = {"minutes": args.seconds / 60}
    lines = [
        "| | dye 1, dB | dye 2, dB | correlation of errors | seconds |",
        "|---|---|---|---|---|",
        row("noisy", noisy, truth, 0.0),
    ]
    for name, options in RUNS.items():
        began = time.perf_counter()
        options = {"threads": 1, "seed": args.seed, **budget, **options}
        if name == APART:
            image = np.stack([denoised(one, "ZYX", options) for one in noisy])
        else:
            image = denoised(noisy, "CZYX", options)
        lines.append(row(name, image, truth, time.perf_counter() - began))
        print(lines[-1], flush=True)
    table = "\n".join(lines)
    print(f"\n{table}")
    if args.out is not None:
        args.out.write_text(table + "\n")


def recorded(seed: int) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return truth and recording of both dyes, (C, Z, Y, X), grey values."""
    rng = np.random.default_rng([seed, 7])
    cells = nuclei_phantom(SHAPE, seed=seed).truth.astype(np.float64)
    cells = (cells - cells.min()) / np.ptp(cells)
    spots = ndimage.gaussian_filter(rng.random(SHAPE) > 0.9995, (0.7, 1.2, 1.2)) * 10
    light = [cells, 0.7 * cells + np.clip(spots, 0, 0.5)]
    electrons = np.stack(
        [0.02 * peak + peak * x for peak, x in zip(PHOTONS, light, strict=True)]
    )
    read = rng.normal(0, READ_NOISE, electrons.shape)
    noisy = OFFSET + GAIN * (rng.poisson(electrons) + read)
    return OFFSET + GAIN * electrons, np.float32(noisy)


def denoised(noisy: Any, axes: str, options: dict[str, Any]) -> NDArray[np.float32]:
    return np.asarray(nb.denoise(noisy, axes=axes, **options).image)


def row(name: str, image: Any, truth: NDArray[np.float64], seconds: float) -> str:
    errors = [np.asarray(image[c], np.float64) - truth[c] for c in range(2)]
    psnr = [
        10 * np.log10(np.ptp(truth[c]) ** 2 / np.mean(errors[c] ** 2)) for c in range(2)
    ]
    shared = np.corrcoef(errors[0].ravel(), errors[1].ravel())[0, 1]
    return f"| {name} | {psnr[0]:.2f} | {psnr[1]:.2f} | {shared:.2f} | {seconds:.0f} |"


if __name__ == "__main__":
    main()
