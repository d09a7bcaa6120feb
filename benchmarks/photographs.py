"""Photographs with the noise of real cameras: SIDD, DND, PolyU and CC.

Run ``python benchmarks/photographs.py --folder FOLDER --out docs/benchmarks``, where
the folder holds ``SIDD``, ``DND``, ``PolyU`` and ``CC`` as they are published; without
``--folder`` they are looked for where ``BLINDSPOT_DATA`` points to. A set that is not
there has a row that says so. Nothing is fetched.

Each photograph is denoised by a network that has seen it alone (``--together``: one
network for all of a set), by ``atbsn`` and by the default method with ``hole="auto"``.
PSNR and SSIM are of 8-bit values; the truth of DND is not public. What was taken off is
held against itself one pixel further, which white noise does not resemble. Results are
kept in a JSON file and continued; ``--budget`` stops after that many minutes and
``--every 40`` takes each fortieth photograph.
"""

from __future__ import annotations

import time
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from skimage.metrics import structural_similarity

import napari_blindspot as nb
from _photo_sets import SETS, NotAvailableError, Shot, list_set, together
from _results import Kept, options, said, setting
from shared_real import shared

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from numpy.typing import NDArray

METHODS: dict[str, dict[str, Any]] = {
    "atbsn": {"method": "atbsn"},
    "auto": {"hole": "auto"},
}
_TOP = 255.0


def main(words: list[str] | None = None) -> None:
    args = parse(words)
    torch.set_num_threads(args.threads)
    how = {name: getattr(args, name) for name in ("steps", "channels", "threads")}
    which = {name: getattr(args, name) for name in ("every", "side", "together")}
    made = setting(args.device, seed="0", **how, **which)
    path = args.out / f"photographs-{args.label}.json"
    kept = Kept(path, made, args.budget, any_day=True)
    missing = []
    for label in args.sets:
        try:
            run_set(kept, label, args)
        except NotAvailableError as reason:
            missing.append(label)
            print(f"{label} is not available: {reason}", flush=True)
    kept.write_page(page(kept.facts, missing))


def run_set(kept: Kept, label: str, args: argparse.Namespace) -> None:
    """Measure every method on the photographs of a set that are asked for."""
    listed = dict(list(list_set(label, args.folder).items())[:: args.every])
    chosen = together(listed) if args.together else listed
    found = kept.part("sets").setdefault(label, {})
    for name, read in chosen.items():
        one = found.setdefault(name, {})
        shot = cache(partial(read_shot, read, args.side))  # once, and only if needed
        kept.measure(one, "noisy", partial(before, shot))
        for method in METHODS:
            kept.measure(one, method, partial(measure, shot, method, args))


def read_shot(read: Callable[[], Shot], side: int | None) -> Shot:
    shot = read()
    return shot if side is None else shot.middle(side)


def before(read: Callable[[], Shot]) -> dict[str, float]:
    """Score a photograph as it is."""
    shot = read()
    return scored(shot.noisy, shot)


def measure(
    read: Callable[[], Shot], method: str, args: argparse.Namespace
) -> dict[str, Any]:
    """Train on a photograph, denoise it, and say how good that is."""
    shot = read()
    began = time.perf_counter()
    done = nb.denoise(
        np.moveaxis(shot.noisy, -1, 1),
        axes="TCYX",
        context="none",
        channels=args.channels,
        steps=args.steps,
        device=args.device,
        threads=args.threads,
        seed=0,
        **METHODS[method],
    )
    seconds = time.perf_counter() - began
    image = np.moveaxis(np.asarray(done.image), 1, -1)
    taken = shot.noisy.astype(np.float64) - image
    hole = (done.teacher or done.model).result_hole
    return {
        **scored(image, shot),
        "hole": " ".join(map(str, hole)),
        "x": shared(taken, 1, 2),
        "y": shared(taken, 1, 1),
        "seconds": seconds / len(shot.noisy),
    }


def scored(image: NDArray[Any], shot: Shot) -> dict[str, float]:
    """Return the mean PSNR in dB and SSIM; nothing without a truth."""
    if shot.truth is None:
        return {}
    pairs = list(zip(image, shot.truth, strict=True))
    return {
        "psnr": float(np.mean([psnr8(*pair) for pair in pairs])),
        "ssim": float(np.mean([ssim8(*pair) for pair in pairs])),
    }


def psnr8(image: NDArray[Any], truth: NDArray[np.uint8]) -> float:
    """Return the PSNR in dB of 8-bit values, all colours together."""
    error = np.mean((_stored(image) - truth.astype(np.float64)) ** 2)
    return float(10 * np.log10(_TOP**2 / error))


def ssim8(image: NDArray[Any], truth: NDArray[np.uint8]) -> float:
    """Return the SSIM of 8-bit values: window of 7×7 pixels, mean of the colours."""
    return float(
        structural_similarity(
            _stored(image), truth.astype(np.float64), channel_axis=-1, data_range=_TOP
        )
    )


def _stored(image: NDArray[Any]) -> NDArray[np.float64]:
    return np.clip(np.rint(image.astype(np.float64)), 0, _TOP)


def page(results: dict[str, Any], missing: list[str]) -> str:
    """Write a row for every set and method, means over the photographs."""
    made = results["setting"]
    lines = [
        "<!-- written by benchmarks/photographs.py -->",
        "",
        "Photographs of real cameras: means over the photographs; how much neighbours "
        "along x and y share of what was taken off; seconds for each.",
        "",
        "| set | photographs | method | PSNR | SSIM | along x | along y | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for label in SETS:
        found = results.get("sets", {}).get(label, {})
        if any(found.values()):
            lines += _rows(label, found)
        else:
            why = "not available" if label in missing else "not run"
            lines.append(f"| {label} | {why} | | | | | | |")
    return "\n".join([*lines, "", f"{said(made)}{_chosen(made)}."]) + "\n"


def _rows(label: str, found: dict[str, dict[str, Any]]) -> list[str]:
    lines = []
    for method in ("noisy", *METHODS):
        each = [one[method] for one in found.values() if method in one]
        cells = [
            _mean(each, key, form)
            for key, form in (
                ("psnr", ".2f"),
                ("ssim", ".3f"),
                ("x", "+.2f"),
                ("y", "+.2f"),
                ("seconds", ".0f"),
            )
        ]
        lines.append(f"| {label} | {len(each)} | {method} | {' | '.join(cells)} |")
    return lines


def _mean(each: list[dict[str, Any]], key: str, form: str) -> str:
    values = [one[key] for one in each if key in one]
    return format(np.mean(values), form) if values else ""


def _chosen(made: dict[str, Any]) -> str:
    """Say what part of the photographs was taken and how colours were treated."""
    parts = [f"colours {'together' if made['channels'] == 'joint' else 'one by one'}"]
    if made["every"] > 1:
        parts.append(f"one photograph of {made['every']}")
    if made["side"] is not None:
        parts.append(f"the middle {made['side']} px of each")
    if made["together"]:
        parts.append("one network for all of a set")
    return "".join(f", {part}" for part in parts)


def parse(words: list[str] | None) -> argparse.Namespace:
    parser = options(__doc__, steps=1000)
    parser.add_argument("--folder", type=Path, help="holds SIDD, DND, PolyU, CC")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--every", type=int, default=1, help="take each N-th")
    parser.add_argument("--side", type=int, help="take the middle of each, pixels")
    parser.add_argument("--together", action="store_true", help="one network for all")
    parser.add_argument("--channels", choices=("joint", "each"), default="joint")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="on a CPU")
    args = parser.parse_args(words)
    if args.every < 1:
        parser.error(f"--every {args.every} takes nothing; give 1 or more.")
    return args


if __name__ == "__main__":
    main()
