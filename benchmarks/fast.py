"""``--quality fast`` from a shell on whole stacks: wall time and PSNR.

Run ``python benchmarks/fast.py --out docs/benchmarks``. Each stack is written as a TIFF
file, denoised by the command that a user types, and read back.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import tifffile

import napari_blindspot as nb
from _results import setting
from _truths import PREFILTER, best_gaussian, make_case, psnr

PHOTONS = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--label", default="cpu")
    parser.add_argument("--truths", nargs="+", default=list(PREFILTER))
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        rows = {}
        for name in args.truths:
            rows[name] = measure(name, args.device, Path(folder))
            print(name, json.dumps(rows[name]), flush=True)
    made = setting(args.device)
    page = args.out / f"fast-{args.label}.md"
    page.write_text(table(rows, made), encoding="utf-8")
    print(page.read_text(encoding="utf-8"))


def measure(name: str, device: str, folder: Path) -> dict[str, Any]:
    """Denoise one stack as a user would."""
    case = make_case(name, PHOTONS, None)
    source, output = folder / f"{name}.ome.tif", folder / f"{name}.ome.zarr"
    tifffile.imwrite(source, case.noisy, ome=True, metadata={"axes": "ZYX"})
    command = [sys.executable, "-m", "napari_blindspot", "denoise", str(source)]
    command += [str(output), "--quality", "fast", "--device", device, "--json"]
    start = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - start
    facts = json.loads(done.stdout.splitlines()[-1])
    image = case.unit(nb.open_stack(output).read({}))
    gaussian, _ = best_gaussian(case)
    return {
        "shape": "×".join(map(str, case.truth.shape)),
        "noisy": psnr(case.unit(case.noisy), case.truth),
        "gaussian": psnr(gaussian, case.truth),
        "ours": psnr(image, case.truth),
        "seconds": seconds,
        "train": facts["seconds_train"],
        "predict": facts["seconds_predict"],
        "megabytes": facts["peak_memory_bytes"] / 2**20,
    }


def table(rows: dict[str, dict[str, Any]], made: dict[str, Any]) -> str:
    """Write the Markdown page."""
    lines = [
        "<!-- written by benchmarks/fast.py -->",
        f"{made['date']}, {made['device']}, torch {made['torch']}, Python "
        f"{made['python']}, napari-blindspot {made['napari_blindspot']}; noise seed 1, "
        f"training seed 0, {PHOTONS:g} photons; one run each on a shared machine.",
        "",
        "| stack | shape | noisy | best Gaussian | `--quality fast` | whole command | "
        "training | denoising | peak memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {row['shape']} | {row['noisy']:.2f} dB | {row['gaussian']:.2f} dB "
        f"| **{row['ours']:.2f} dB** | {row['seconds']:.0f} s | {row['train']:.0f} s | "
        f"{row['predict']:.0f} s | {row['megabytes']:.0f} MiB |"
        for name, row in rows.items()
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
