"""How well the noise is estimated, and what an error of it costs.

Run ``python benchmarks/noise.py --out docs/benchmarks``. Parts (``--parts``):

``cameras``    error of the estimate on recorded truths, over gain, offset, read noise
               and photons
``posterior``  estimated against known noise: PSNR, calibration, expected PSNR
``wrong``      the price of noise that is wrong by ±10, ±25, ±50 %
``fallback``   mis-scaled, compressed and clipped data: is it noticed, what is returned
``real``       recorded stacks: repeats and temporal differences

Results are kept in a JSON file and continued: what is in it is not run again.
``--budget`` stops after that many minutes; the next call goes on.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import _noise_cameras
import _noise_posterior
import _noise_real
import napari_blindspot as nb
from _noise_table import page
from napari_blindspot.device import describe_device

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PARTS: dict[str, Callable[[int], Iterator[tuple[str, Callable[[], Any]]]]] = {
    "cameras": _noise_cameras.cases,
    "posterior": _noise_posterior.posterior_cases,
    "wrong": _noise_posterior.wrong_cases,
    "fallback": _noise_posterior.fallback_cases,
    "real": _noise_real.cases,
}


def main() -> None:
    args = parse()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * args.budget
    for part in args.parts:
        path = args.out / f"noise-{part}-{args.label}.json"
        results = json.loads(path.read_text()) if path.exists() else {"cases": {}}
        made = setting(args)
        if results.setdefault("setting", made) != made:
            raise SystemExit(
                f"{path} was made with other settings or on another day; give another "
                f"--label, or remove it to begin anew."
            )
        for key, measure in PARTS[part](args.steps):
            if key in results["cases"] or time.monotonic() > end:
                continue
            results["cases"][key] = measure()
            path.write_text(json.dumps(results, indent=1))
            print(part, key, json.dumps(results["cases"][key])[:300], flush=True)
    (args.out / f"noise-{args.label}.md").write_text(page(args.out, args.label))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--label", default="cpu", help="name of this set of results")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--steps", type=int, default=1200, help="of every training")
    parser.add_argument("--budget", type=float, default=1e9, help="minutes in all")
    return parser.parse_args()


def setting(args: argparse.Namespace) -> dict[str, Any]:
    """Say where and how the figures were made."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "device": describe_device("cpu").name,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "napari_blindspot": nb.__version__,
        "seed": "noise 1, training 0",
        "steps": args.steps,
    }


if __name__ == "__main__":
    main()
