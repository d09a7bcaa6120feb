"""Noise that neighbours may share, recorded and generated: what ``hole="auto"`` does.

Run ``python benchmarks/shared_real.py --out docs/benchmarks``. Parts (``--parts``):

``found``  recorded stacks, and an 8-bit and a JPEG copy of a generated one
``known``  generated stacks whose truth and noise are known, and runs whose diagnosis
           was taken away: they begin behind 1 1 1 and must find out by themselves

There is no truth for recorded stacks.
What is taken off, the noisy minus the denoised stack, is compared with the noise that
the stack is known to hold: noise that neighbours share must still be shared in what was
taken off; a result that keeps it leaves a difference that looks white. How held-out
voxels scatter is told over what the noise model and the network say.
"""

from __future__ import annotations

import io
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

import napari_blindspot as nb
from _data import find_data
from _results import Kept, options, said, setting
from napari_blindspot.sample import nuclei_phantom
from napari_blindspot.training import fitting
from napari_blindspot.training.holes import Holes

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_BOX = (16, 192, 192)
_LAGS = (1, 2)
_KNOWN_BOX, _PHOTONS = (16, 160, 160), 20.0
_SMALLEST = (1, 1, 1)


def stacks() -> dict[str, Callable[[], NDArray[Any]]]:
    """Name every stack."""
    return {
        "yeast_mito": lambda: recorded("yeast_mito_t0_9"),
        "pollen": lambda: recorded("pollen"),
        "generated, 8 bit": lambda: eight_bit(generated()),
        "generated, JPEG quality 75": lambda: jpeg(eight_bit(generated())),
    }


def recorded(name: str) -> NDArray[Any]:
    """Read the middle of a recorded stack's first channel and time."""
    stack = nb.open_stack(find_data() / "3d" / f"{name}.ome.tif")
    data = stack.data
    for axis in ("T", "C"):
        if axis in stack.axes:
            data = data[(slice(None),) * stack.axes.index(axis) + (slice(0, 1),)]
    whole = np.asarray(data).reshape(-1, stack.sizes["Y"], stack.sizes["X"])
    where = []
    for length, wanted in zip(whole.shape, _BOX, strict=True):
        first = max(0, (length - wanted) // 2)
        where.append(slice(first, first + wanted))
    return whole[tuple(where)]


def generated() -> NDArray[np.uint16]:
    """Generate a noisy stack of 40 photons."""
    return nuclei_phantom(_BOX, seed=2, photons=40.0).noisy


def eight_bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale to 256 grey values, as many programs export."""
    low, high = np.percentile(values, [0.1, 99.9])
    scaled = np.round(255 * (values - low) / (high - low))
    return np.clip(scaled, 0, 255).astype(np.uint8)


def jpeg(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Write every plane as JPEG and read it back."""
    planes = []
    for plane in values:
        held = io.BytesIO()
        Image.fromarray(plane).save(held, "JPEG", quality=75)
        planes.append(np.asarray(Image.open(held)))
    return np.stack(planes)


def measure(make: Callable[[], NDArray[Any]], steps: int) -> dict[str, Any]:
    """Denoise with a hole of one voxel and with the proposed one."""
    noisy = make()
    found: dict[str, Any] = {"diagnosis": nb.diagnose(noisy, axes="ZYX").verdict}
    for label, hole in (("1 1 1", _SMALLEST), ("auto", "auto")):
        _, found[label] = denoised(noisy, hole, steps)
    return found


def denoised(
    noisy: NDArray[Any], hole: Any, steps: int
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Denoise behind a hole; return the image, and what the run and its result show."""
    done = nb.denoise(noisy, axes="ZYX", hole=hole, steps=steps, threads=1, seed=0)
    image = np.asarray(done.image)
    taken = noisy.astype(np.float64) - image
    check = done.metrics["noise_check"][0]
    return image, {
        "hole": " ".join(map(str, done.model.result_hole)),
        "taken_off": float(taken.std()),
        "x": [shared(taken, lag, 2) for lag in _LAGS],
        "y": [shared(taken, lag, 1) for lag in _LAGS],
        "scatter": check["residual"],
        "said": check["sentence"],
        "choice": done.model.provenance.get("hole_choice"),
    }


def recordings() -> dict[str, tuple[NDArray[Any], NDArray[np.float64]]]:
    """Generate stacks of known noise: the noisy one and the truth, grey values."""
    made = nuclei_phantom(_KNOWN_BOX, seed=3, photons=_PHOTONS)
    truth = made.truth.astype(np.float64)
    noise = made.noisy - truth
    blurred = noise
    for axis in (1, 2):
        blurred = ndimage.convolve1d(blurred, [0.25, 0.5, 0.25], axis=axis, mode="wrap")
    blurred *= noise.std() / blurred.std()
    return {
        "white": (made.noisy, truth),
        "3×3 binomial": ((truth + blurred).astype(np.float32), truth),
    }


def known(name: str, steps: int) -> dict[str, Any]:
    """Denoise a stack of known noise behind given holes, by auto, and without help."""
    noisy, truth = recordings()[name]
    found: dict[str, Any] = {"noisy": psnr(noisy, truth)}
    holes = [_SMALLEST] if name == "white" else [_SMALLEST, (1, 3, 3), (1, 5, 5)]
    for hole in (*holes, "auto"):
        label = hole if isinstance(hole, str) else " ".join(map(str, hole))
        image, found[label] = denoised(noisy, hole, steps)
        found[label]["psnr"] = psnr(image, truth)
    if name != "white":
        begun = Holes(_SMALLEST, _SMALLEST)
        with mock.patch.object(fitting, "choose_holes", return_value=begun):
            image, one = denoised(noisy, "auto", steps)
        found[_WITHHELD] = {**one, "psnr": psnr(image, truth)}
    return found


_WITHHELD = "auto, diagnosis taken away"


def psnr(image: NDArray[Any], truth: NDArray[np.float64]) -> float:
    """Return the PSNR in dB over the range of the truth."""
    error = float(np.mean((image.astype(np.float64) - truth) ** 2))
    return float(10 * np.log10(np.ptp(truth) ** 2 / error))


def shared(values: NDArray[np.float64], lag: int, axis: int) -> float:
    """Return the autocorrelation along an axis."""
    moved = np.moveaxis(values - values.mean(), axis, -1)
    return float(np.mean(moved[..., lag:] * moved[..., :-lag]) / np.mean(moved**2))


def main() -> None:
    parser = options(__doc__, steps=800)
    parser.add_argument("--parts", nargs="+", default=["found", "known"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    made = setting(seed="0", steps=args.steps)
    kept = Kept(args.out / f"shared-real-{args.label}.json", made, args.budget)
    for name, make in stacks().items() if "found" in args.parts else ():
        kept.measure(kept.part("found"), name, partial(measure, make, args.steps))
    for name in recordings() if "known" in args.parts else ():
        kept.measure(kept.part("known"), name, partial(known, name, args.steps))
    kept.write_page(page(kept.facts))


def page(results: dict[str, Any]) -> str:
    """Write the table."""
    lines = [
        "<!-- written by benchmarks/shared_real.py -->",
        "",
        "Noisy minus denoised: standard deviation in grey values, and how much "
        "neighbours at a distance of 1 and 2 px share of it. Scatter: variance of "
        "held-out voxels around the network's mean, over the modelled one.",
        "",
        "| stack | hole | scatter | taken off | along x | along y |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in results.get("found", {}).items():
        lines += [_row(name, label, found[label]) for label in ("1 1 1", "auto")]
    lines += [
        "",
        "Generated stacks of 16×160×160 voxels, 20 photons, whose truth is known.",
        "",
        "| noise | hole | scatter | taken off | along x | along y | PSNR |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in results.get("known", {}).items():
        lines.append(f"| {name} | noisy | | | | | {found['noisy']:.2f} dB |")
        for label, one in found.items():
            if label != "noisy":
                lines.append(f"{_row(name, label, one)} {one['psnr']:.2f} dB |")
    lines += ["", "What the runs with `auto` said:", ""]
    for part in ("found", "known"):
        for name, found in results.get(part, {}).items():
            for label in ("auto", _WITHHELD):
                if label in found:
                    told = found[label]["choice"]["sentence"]
                    lines.append(f"- {name} ({label}): {told}")
    lines += ["", f"{said(results['setting'])}, recorded boxes of 16×192×192 voxels."]
    return "\n".join(lines) + "\n"


def _row(name: str, label: str, one: dict[str, Any]) -> str:
    chosen = f"{one['hole']} ({label})" if label.startswith("auto") else one["hole"]
    x, y = (", ".join(f"{v:+.2f}" for v in one[axis]) for axis in "xy")
    return (
        f"| {name} | {chosen} | {one['scatter']:.2f} | {one['taken_off']:.2f} | {x} | "
        f"{y} |"
    )


if __name__ == "__main__":
    main()
