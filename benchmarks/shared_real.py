"""Recorded stacks whose neighbours share their noise: what is left of it in the result.

Run ``python benchmarks/shared_real.py --out docs/benchmarks``. There is no truth here.
What is taken off, the noisy minus the denoised stack, is compared with the noise that
the stack is known to hold: noise that neighbours share must still be shared in what was
taken off; a result that keeps it leaves a difference that looks white. Beside recorded
stacks stand an 8-bit and a JPEG copy of a generated one, whose truth is known.
"""

from __future__ import annotations

import io
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

import napari_blindspot as nb
from _data import find_data
from _results import Kept, options, said, setting
from napari_blindspot.sample import nuclei_phantom

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_BOX = (16, 192, 192)
_LAGS = (1, 2)


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
    for label, hole in (("1 1 1", (1, 1, 1)), ("auto", "auto")):
        done = nb.denoise(noisy, axes="ZYX", hole=hole, steps=steps, threads=1, seed=0)
        taken = noisy.astype(np.float64) - np.asarray(done.image)
        check = done.metrics["noise_check"][0]
        found[label] = {
            "hole": " ".join(map(str, done.model.result_hole)),
            "taken_off": float(taken.std()),
            "x": [shared(taken, lag, 2) for lag in _LAGS],
            "y": [shared(taken, lag, 1) for lag in _LAGS],
            "said": check["sentence"],
        }
    return found


def shared(values: NDArray[np.float64], lag: int, axis: int) -> float:
    """Return the autocorrelation along an axis."""
    moved = np.moveaxis(values - values.mean(), axis, -1)
    return float(np.mean(moved[..., lag:] * moved[..., :-lag]) / np.mean(moved**2))


def main() -> None:
    args = options(__doc__, steps=800).parse_args()
    torch.set_num_threads(1)
    made = setting(seed="0", steps=args.steps)
    kept = Kept(args.out / f"shared-real-{args.label}.json", made, args.budget)
    for name, make in stacks().items():
        kept.measure(kept.part("found"), name, partial(measure, make, args.steps))
    kept.write_page(page(kept.facts))


def page(results: dict[str, Any]) -> str:
    """Write the table."""
    lines = [
        "<!-- written by benchmarks/shared_real.py -->",
        "",
        "Noisy minus denoised: standard deviation in grey values, and how much "
        "neighbours at a distance of 1 and 2 px share of it.",
        "",
        "| stack | hole | taken off | along x | along y |",
        "|---|---|---|---|---|",
    ]
    for name, found in results["found"].items():
        for label in ("1 1 1", "auto"):
            one = found[label]
            chosen = one["hole"] if label == "1 1 1" else f"{one['hole']} (auto)"
            x, y = (", ".join(f"{v:+.2f}" for v in one[axis]) for axis in "xy")
            lines.append(f"| {name} | {chosen} | {one['taken_off']:.2f} | {x} | {y} |")
    lines += ["", f"{said(results['setting'])}, boxes of 16×192×192 voxels."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
