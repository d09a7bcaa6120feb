"""From file to file: voxels per second of the teacher and of each student.

Run ``python benchmarks/throughput.py --out docs/benchmarks``. A noisy stack is written
to a zarr store, some planes at a time, so that it is never whole in memory; then it is
denoised into another by the command that a user types, each run in a process of its
own. Shown are the rate, what the run was spent on, and the most memory it held. The
fastest of several runs counts, because other work on the machine only slows it; the
processor time of the whole command tells how much it did.

How long a network was trained does not matter for its time, so it is trained for a few
steps; it is the one of ``--quality fast``. Results are kept in a JSON file and
continued: ``--models tiny --voxels 1e9 --runs 1`` adds a row.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import zarr

from _results import Kept, options, said, setting
from napari_blindspot.config.students import WIDTHS
from napari_blindspot.device import pick_device
from napari_blindspot.sample import nuclei_phantom

if TYPE_CHECKING:
    import argparse

SIDE, DEEP, CHUNK = 1024, 16, 256
"""Pixels of a plane's side; planes that are written at once; side of a chunk."""
TEACHER = "teacher"
MODELS = (TEACHER, *sorted(WIDTHS, key=WIDTHS.__getitem__, reverse=True))
_VOXELS = {"cpu": 3e7, "gpu": 1e9}
_TEACHER_VOXELS = {"cpu": 1e7, "gpu": 1e9}


def main(words: list[str] | None = None) -> None:
    args = parse(words)
    made = setting(args.device, threads=args.threads)
    kept = Kept(
        args.out / f"throughput-{args.label}.json", made, args.budget, any_day=True
    )
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        place = Path(folder)
        wanted = {
            name: planes_of(args.teacher_voxels if name == TEACHER else args.voxels)
            for name in args.models
        }
        store = make_store(place, max(wanted.values()))
        for name, planes in wanted.items():
            key = f"{name}, {planes} planes"
            measured = partial(measure, place, store, name, planes, args)
            kept.measure(kept.part("found"), key, measured)
    kept.write_page(page(kept.facts))


def planes_of(voxels: float) -> int:
    """Return how many planes hold about as many voxels, some to learn from at least."""
    return max(DEEP, round(voxels / SIDE**2))


def make_store(place: Path, planes: int) -> Path:
    """Write a noisy stack to a zarr store: a small one repeated along z, y and x."""
    noisy = nuclei_phantom((DEEP, CHUNK, CHUNK)).noisy
    part = np.tile(noisy, (1, SIDE // CHUNK, SIDE // CHUNK))
    path = place / "noisy.zarr"
    array = zarr.create_array(
        path,
        shape=(planes, SIDE, SIDE),
        chunks=(DEEP, CHUNK, CHUNK),
        dtype=noisy.dtype,
        dimension_names=("z", "y", "x"),
    )
    for first in range(0, planes, DEEP):
        array[first : first + DEEP] = part[: planes - first]
    return path


def measure(
    place: Path, store: Path, name: str, planes: int, args: argparse.Namespace
) -> dict[str, Any]:
    """Denoise some planes of the store several times; the fastest run counts."""
    model = model_file(place, store, name, args)
    runs = [denoised(place, store, model, planes, args) for _ in range(args.runs)]
    best = min(runs, key=lambda one: float(one["seconds"]))
    return {"voxels": planes * SIDE**2, "runs": len(runs), **best}


def model_file(place: Path, store: Path, name: str, args: argparse.Namespace) -> Path:
    """Train the teacher, or teach a student, for a few steps."""
    model = place / f"{name}.safetensors"
    if model.exists():
        return model
    region = f"z=0:{DEEP},y=0:{CHUNK},x=0:{CHUNK}"
    few = ["--steps", "4", "--region", region]
    if name == TEACHER:
        command(args, "train", store, model, *few)
    else:
        teacher = model_file(place, store, TEACHER, args)
        command(args, "distill", teacher, store, model, "--student", name, *few)
    return model


def denoised(
    place: Path, store: Path, model: Path, planes: int, args: argparse.Namespace
) -> dict[str, Any]:
    """Denoise once and return what the command says of it."""
    target = place / "denoised.ome.zarr"
    where = ["--model", model, "--region", f"z=0:{planes}", "--overwrite"]
    before = _children_seconds()
    facts = command(args, "denoise", store, target, *where)
    return {
        "cpu_seconds": _children_seconds() - before,
        "seconds": facts["seconds_predict"] + facts["seconds_finish"],
        "finish": facts["seconds_finish"],
        "times": facts["predict_times"],
        "peak_memory_bytes": facts["peak_memory_bytes"],
    }


def _children_seconds() -> float:
    """Return the processor time of all commands that have ended."""
    spent = psutil.Process().cpu_times()
    return float(spent.children_user + spent.children_system)


def command(args: argparse.Namespace, *words: str | Path) -> dict[str, Any]:
    """Run a command of the package in a process of its own and return its facts."""
    common = ["--device", args.device, "--threads", str(args.threads), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "napari_blindspot", *map(str, words), *common],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


def page(results: dict[str, Any]) -> str:
    """Write the table."""
    made = results["setting"]
    threads = "one thread" if made["threads"] == 1 else f"{made['threads']} threads"
    lines = [
        "<!-- written by benchmarks/throughput.py -->",
        "",
        f"Zarr to OME-Zarr, planes of {SIDE}×{SIDE} pixels, uint16 in, float32 and its "
        "pyramid out: voxels and Mvoxel/s of the fastest run; what its time was spent "
        "on (the network computing, waiting for what is read or written, the pyramid "
        "at the end); how busy the reading and the writing thread were meanwhile; the "
        "processor time and the most memory of the whole command.",
        "",
        "| who denoises | Mvoxel | runs | Mvoxel/s | computing | waiting to read | "
        "waiting to write | pyramid | reader busy | writer busy | processor | memory |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
        *(
            _row(name, one)
            for name in MODELS
            for key, one in results["found"].items()
            if key.startswith(f"{name},")
        ),
        "",
        f"{said(made, threads)}.",
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, one: dict[str, Any]) -> str:
    times, seconds = one["times"], one["seconds"]
    parts = (times["compute"], times["wait_read"], times["wait_write"], one["finish"])
    busy = (times["read"] / times["total"], times["write"] / times["total"])
    shares = (*(part / seconds for part in parts), *busy)
    cells = [
        name,
        f"{one['voxels'] / 1e6:.0f}",
        f"{one['runs']}",
        f"**{one['voxels'] / seconds / 1e6:.2f}**",
        *(f"{share:.0%}" for share in shares),
        f"{one['cpu_seconds']:.0f} s",
        f"{one['peak_memory_bytes'] / 2**20:.0f} MiB",
    ]
    return f"| {' | '.join(cells)} |"


def parse(words: list[str] | None) -> argparse.Namespace:
    """Read the options; what depends on the device is filled in."""
    parser = options(__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--voxels", type=float, help="default: 1e9, on a CPU 3e7")
    parser.add_argument(
        "--teacher-voxels", type=float, help="default: 1e9, on a CPU 1e7"
    )
    parser.add_argument("--runs", type=int, default=3, help="the fastest counts")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1, help="on a CPU")
    parser.add_argument(
        "--scratch", type=Path, help="folder of the stores; default: the system's"
    )
    args = parser.parse_args(words)
    args.device = str(pick_device(args.device))
    kind = "cpu" if args.device == "cpu" else "gpu"
    args.voxels = args.voxels or _VOXELS[kind]
    args.teacher_voxels = args.teacher_voxels or _TEACHER_VOXELS[kind]
    return args


if __name__ == "__main__":
    main()
