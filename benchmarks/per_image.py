"""A set of images whose noise differs: one sigma for all, or one for each.

Run ``python benchmarks/per_image.py --steps N``; some minutes on one CPU core. Every
image of the set is a plane of a generated volume, in 0 to 255, with Gaussian noise of
its own: sigma is drawn from 5 to 50. The network sees one image at a time. The runs
differ in the setting `noise_per_plane` alone; sigma is estimated in both. Prints a
Markdown table; ``--out`` writes it too.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import napari_blindspot as nb
from napari_blindspot.device import describe_device
from napari_blindspot.measure.fields import plane_levels
from napari_blindspot.planes import plane_series
from napari_blindspot.progress import CancelToken
from napari_blindspot.sample import nuclei_phantom

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.noise.models import NoiseModel

SHAPE = (32, 128, 128)
LEAST, MOST = 5.0, 50.0
TOP = 255.0
THIRDS = 3
COMMON: dict[str, Any] = {"noise": "gaussian", "context": "none", "threads": 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    args = parser.parse_args()
    torch.set_num_threads(1)
    truth, sigma, noisy = recorded(args.seed)
    thirds = np.array_split(np.argsort(sigma), THIRDS)
    ranges = [f"σ {sigma[t].min():.0f} to {sigma[t].max():.0f}" for t in thirds]
    lines = [
        "| PSNR in dB | all | " + " | ".join(ranges) + " |",
        "|---|---|" + "---|" * THIRDS,
        row("noisy", noisy, truth, thirds),
    ]
    for name, per_plane in {"one sigma for all": False, "one for each": True}.items():
        result = nb.denoise(
            noisy, axes="ZYX", seed=args.seed, steps=args.steps,
            noise_per_plane=per_plane, on_progress=tell, **COMMON,
        )  # fmt: skip
        lines.append(row(name, result.image, truth, thirds))
        print(lines[-1], flush=True)
    found = errors(noisy, sigma, result.noise[0])
    table = "\n".join([setting(args), "", found, "", *lines])
    print(f"\n{table}")
    if args.out is not None:
        args.out.write_text(table + "\n")


def recorded(
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]]:
    """Return the truth (images, Y, X), sigma (images,) and the noisy set."""
    rng = np.random.default_rng([seed, 11])
    truth = nuclei_phantom(SHAPE, seed=seed).truth.astype(np.float64)
    truth = TOP * (truth - truth.min()) / np.ptp(truth)
    sigma = rng.uniform(LEAST, MOST, len(truth))
    noise = rng.normal(size=truth.shape) * sigma[:, None, None]
    return truth, sigma, np.float32(truth + noise)


def tell(event: Any) -> None:
    """Show what the run says of its noise."""
    if event.message and event.stage in ("noise", "train"):
        print(f"  {event.message}", flush=True)


def errors(
    noisy: NDArray[np.float32], sigma: NDArray[np.float64], model: NoiseModel
) -> str:
    """Say how far the measured sigmas are from the true ones."""
    (series,) = plane_series(nb.open_stack(noisy, axes="ZYX"), "z")
    levels = plane_levels(series, model, float("inf"), CancelToken())
    off = np.abs(np.sqrt(model.b * levels) / sigma - 1)
    return (
        f"One sigma for all: {model.b**0.5:.1f}. One for each: off by "
        f"{np.median(off):.1%} in the median, {off.max():.1%} at worst."
    )


def row(
    name: str,
    image: NDArray[Any],
    truth: NDArray[np.float64],
    thirds: list[NDArray[np.intp]],
) -> str:
    squares = np.mean((image - truth) ** 2, axis=(1, 2))
    psnr = 10 * np.log10(TOP**2 / squares)
    parts = [psnr, *(psnr[third] for third in thirds)]
    cells = " | ".join(f"{part.mean():.2f}" for part in parts)
    return f"| {name} | {cells} |"


def setting(args: argparse.Namespace) -> str:
    """Say what was run where and when."""
    today = datetime.now(UTC).date().isoformat()
    images, height, width = SHAPE
    return (
        f"{today}, {describe_device('cpu').name}, one thread, torch "
        f"{torch.__version__}, napari-blindspot {nb.__version__}, seed {args.seed}; "
        f"{images} images of {height}×{width} px, {args.steps} steps; mean over the "
        f"images of each column."
    )


if __name__ == "__main__":
    main()
