"""Memory, rate and sharing out of a run from file to file.

Run ``python benchmarks/streaming.py --out docs/benchmarks``. Four parts, each of them
measured in processes of their own:

memory
    The most that a run held, against the size of the stack. Sources are zarr stores
    whose chunks are mostly not there, so that 64 GB fit on any disk. The largest are
    denoised in part, which the table says.
rate
    A whole run against the slower of its two halves: the network alone, and reading and
    writing alone with a network that copies. How often chunks are read and written, and
    the same block function by dask's ``map_overlap``.
scaling
    Workers of a local dask cluster with a network that waits and copies, so that a few
    cores can show how the work is shared out.
careamics
    ``predict_to_disk`` of CAREamics beside ours, on a store of single planes; with
    ``--careamics-python PATH``, the Python of an environment that has it.

The fastest of several runs counts. Results are kept in a JSON file and continued:
``--parts memory --sizes 64`` adds a row.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari_blindspot as nb
from _results import Kept, options, setting
from _streaming_parts import CHUNK, make_planes, make_source
from _streaming_scaling import BLOCKS, measure_scaling
from _streaming_table import page
from napari_blindspot.model_file import save_model

if TYPE_CHECKING:
    import argparse

PARTS = ("memory", "rate", "scaling", "careamics")
SIDE, RATE_SIDE = 2048, 1024
"""Pixels of a plane's side, of the stores for memory and for rate."""
TILE = 512
"""Pixels that a tile reads a side, where tiles are smaller than planes."""
_REAL = 8  # one of so many layers of chunks is there
_PART = "z=0:16"  # of the student, which takes its time
_GB = 1e9
_PLANES = (8, 1024, 1024)  # voxels of the store that CAREamics streams
_PEER_TILE, _PEER_STEPS = 256, 10


def main(words: list[str] | None = None) -> None:
    args = parse(words)
    made = setting("cpu", threads=1, memory=args.memory)
    path = args.out / f"streaming-{args.label}.json"
    kept = Kept(path, made, args.budget, any_day=True)
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        place = Path(folder)
        if "memory" in args.parts:
            measure_memory(place, kept, args)
        if "rate" in args.parts:
            measure_rate(place, kept, args)
        if "scaling" in args.parts:
            found = kept.part("scaling")
            source = make_source(place / "scaling.zarr", (4 * BLOCKS, *CHUNK[1:]))
            for workers in args.workers:
                measured = partial(
                    measure_scaling, source, workers, args.delay, args.runs
                )
                kept.measure(found, f"{workers}", measured)
        if "careamics" in args.parts:
            measure_careamics(place, kept, args)
    kept.write_page(page(kept.facts))


def measure_careamics(place: Path, kept: Kept, args: argparse.Namespace) -> None:
    """Measure CAREamics, where there is one, and a student of about its size."""
    found = kept.part("careamics")
    if args.careamics_python is None:
        print("CAREamics is not available: give --careamics-python", flush=True)
        return
    source = make_planes(place / "planes.zarr", _PLANES)
    student = student_file(place, "small")
    settings = {"threads": 1}
    ours = {"model": str(student), "copy": None, "settings": settings}
    told = {
        "source": str(source),
        "out": str(place / "careamics"),
        "side": _PEER_TILE,
        "steps": _PEER_STEPS,
    }
    script = Path(__file__).with_name("_streaming_careamics.py")
    theirs = [str(args.careamics_python), str(script), json.dumps(told)]
    kept.measure(found, "CAREamics", lambda: said_by(theirs))
    for name, side in (("ours, whole planes", None), ("ours, parts of planes", 512)):
        asked = {**ours, "side": side}
        measured = partial(run_once, place, "stream", source / "image", asked)
        kept.measure(found, name, measured)


def measure_memory(place: Path, kept: Kept, args: argparse.Namespace) -> None:
    """Measure the most memory of runs on stacks of several sizes."""
    found = kept.part("memory")
    student = student_file(place)
    for size in args.sizes:
        planes = planes_of(size)
        source = place / f"{size:g}.zarr"
        make_source(source, (planes, SIDE, SIDE), real=_REAL)
        settings = {"threads": 1, "memory": args.memory}
        some = {**settings, "region": f"z=0:{min(planes, args.most_planes)}"}
        whole = {"model": None, "copy": {}, "settings": some}
        part = {**settings, "region": _PART}
        taught = {"model": str(student), "copy": None, "settings": part}
        for name, asked in (("copies", whole), ("student", taught)):
            measured = partial(run_once, place, "stream", source, asked)
            kept.measure(found, f"{name}, {size:g} GB", measured)
        shutil.rmtree(source)


def planes_of(gigabytes: float) -> int:
    """Return how many planes of uint16 take about as much, whole chunks of them."""
    layer = 2 * SIDE**2 * CHUNK[0]
    return CHUNK[0] * max(1, round(gigabytes * _GB / layer))


def student_file(place: Path, size: str = "tiny") -> Path:
    """Write a student that comes with the package."""
    path = place / f"student-{size}.safetensors"
    if not path.exists():
        source = place / "small.zarr"
        if not source.exists():
            make_source(source, CHUNK)
        save_model(nb.shipped_student(source, student=size), path)
    return path


def measure_rate(place: Path, kept: Kept, args: argparse.Namespace) -> None:
    """Measure whole runs, their halves, and dask's way."""
    found = kept.part("rate")
    planes = CHUNK[0] * max(2, round(args.voxels / RATE_SIDE**2 / CHUNK[0]))
    source = make_source(place / "rate.zarr", (planes, RATE_SIDE, RATE_SIDE))
    settings = {"threads": 1, "region": f"z=0:{planes}"}
    copies: dict[str, Any] = {"model": None, "copy": {}, "settings": settings}
    student = {"model": str(student_file(place)), "copy": None, "settings": settings}
    for tiles, side in (("whole planes", None), ("parts of planes", TILE)):

        def measure(
            name: str, what: str, asked: dict[str, Any], side: int | None = side
        ) -> None:
            measured = partial(
                fastest, args.runs, place, what, source, {**asked, "side": side}
            )
            kept.measure(found, name, measured)

        copied = f"copies, {tiles}"
        measure(copied, "stream", copies)
        if copied not in found:
            continue  # the budget is spent
        waits = {"per_voxel": found[copied]["seconds"] / (planes * RATE_SIDE**2)}
        balanced = {**copies, "copy": waits}
        kinds = {"copies": copies, "balanced": balanced, "student": student}
        for kind in args.kinds:
            asked = kinds[kind]
            measure(f"{kind}, {tiles}, network", "network", asked)
            measure(f"{kind}, {tiles}", "stream", asked)
        for kind in ("copies", "student"):
            if kind in ("copies", *args.kinds):
                measure(f"{kind}, {tiles}, dask", "dask", kinds[kind])


def fastest(
    runs: int, place: Path, what: str, source: Path, asked: dict[str, Any]
) -> dict[str, Any]:
    """Run several times; the fastest counts."""
    made = [run_once(place, what, source, asked) for _ in range(runs)]
    best = min(made, key=lambda one: float(one["seconds"]))
    return {**best, "runs": runs, "all_seconds": [one["seconds"] for one in made]}


def run_once(
    place: Path, what: str, source: Path, asked: dict[str, Any]
) -> dict[str, Any]:
    """Run in a process of its own and return what it says."""
    out = place / "out.ome.zarr"
    told = {"what": what, "source": str(source), "out": str(out), "side": None, **asked}
    script = Path(__file__).with_name("_streaming_run.py")
    facts = said_by([sys.executable, str(script), json.dumps(told)])
    shutil.rmtree(out, ignore_errors=True)
    return facts


def said_by(command: list[str]) -> dict[str, Any]:
    """Run a script and return the JSON object of its last line."""
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


def parse(words: list[str] | None) -> argparse.Namespace:
    """Read the options."""
    parser = options(__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--sizes", nargs="+", type=float, default=[0.5, 2, 8])
    parser.add_argument("--memory", default="1.5GB", help="promise of these runs")
    parser.add_argument(
        "--most-planes", type=int, default=960, help="that a run of copies denoises"
    )
    parser.add_argument("--voxels", type=float, default=6e7, help="of a run for rate")
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=("balanced", "student"),
        help="networks, rate",
        default=["balanced", "student"],
    )
    parser.add_argument("--runs", type=int, default=3, help="the fastest counts")
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--delay", type=float, default=0.1, help="s per block, scaling")
    parser.add_argument(
        "--careamics-python", type=Path, help="Python of an environment that has it"
    )
    parser.add_argument(
        "--scratch", type=Path, help="folder of the stores; default: the system's"
    )
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
