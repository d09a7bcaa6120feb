"""From a request to the array in hand: the fast preview of one plane.

Run ``python benchmarks/preview.py --out docs/benchmarks``. A stack of 1024×1024 pixels
lies in a zarr store in chunks of 256×256. Planes are asked for one after the other, as
by a moved slider, each with a fresh part of the store; the median and the 95 % quantile
are taken, and of several runs the fastest, because other work on the machine only slows
it. One Gaussian filter of the plane is the yardstick.

How long a network was trained does not matter for its time, so it is trained for a few
steps.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import zarr
from scipy import ndimage

import napari_blindspot as nb
from _results import options, said, setting
from napari_blindspot.config import PredictSettings
from napari_blindspot.device import pick_device
from napari_blindspot.inference.previewing import Place, Previewer
from napari_blindspot.sample import nuclei_phantom

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

SIDE, PLANES, CHUNK = 1024, 12, 256
STUDENTS = ("tiny", "small")
_RUNS, _SIGMA = 5, 2.0


def make_store(folder: Path) -> Path:
    """Write a noisy stack, a small one repeated, to a zarr store."""
    made = nuclei_phantom((PLANES, 256, 256)).noisy
    noisy = np.tile(made, (1, SIDE // 256, SIDE // 256))
    path = folder / "stack.zarr"
    array = zarr.create_array(
        path, shape=noisy.shape, chunks=(4, CHUNK, CHUNK), dtype=noisy.dtype
    )
    array[:] = noisy
    return path


def timed(ask: Callable[[int], Any], runs_made: int = _RUNS) -> dict[str, float]:
    """Return the quantiles of the fastest run over all planes, milliseconds."""
    runs = []
    for _ in range(runs_made):
        seconds = []
        for plane in np.random.default_rng(0).permutation(PLANES):
            began = time.perf_counter()
            ask(int(plane))
            seconds.append(time.perf_counter() - began)
        runs.append(1e3 * np.quantile(seconds, [0.5, 0.95]))
    middle, high = min(runs, key=lambda pair: float(pair[0]))
    return {"p50_ms": float(middle), "p95_ms": float(high)}


def main() -> None:
    args = parse()
    device = pick_device(args.device)
    if device.type == "cpu":
        torch.set_num_threads(args.threads)
    settings = PredictSettings(device=args.device)
    with tempfile.TemporaryDirectory() as folder:
        path = make_store(Path(folder))
        stack = nb.open_stack(path, axes="ZYX")
        region = {"region": "y=0:256,x=0:256", "axes": "ZYX", "device": args.device}
        teacher = nb.train(path, steps=4, **region)
        models = {"teacher": teacher}
        for size in STUDENTS:
            models[size] = nb.distill(teacher, path, student=size, steps=4, **region)
        if device.type == "cpu":
            torch.set_num_threads(args.threads)

        found = {}
        for name, model in models.items():
            previewer = Previewer(model, stack, settings)

            def ask(z: int, previewer: Previewer = previewer) -> Any:
                return previewer(Place(0, 0, z, slice(0, SIDE), slice(0, SIDE)))

            def ask_piece(z: int, previewer: Previewer = previewer) -> Any:
                return previewer(Place(0, 0, z, slice(256, 768), slice(256, 768)))

            # A teacher takes seconds on a CPU: one run tells enough.
            runs = 1 if name == "teacher" and device.type == "cpu" else _RUNS
            found[name] = timed(ask, runs)
            found[f"{name}, 512×512 in view"] = timed(ask_piece, runs)
        whole = np.asarray(stack.data).reshape(PLANES, SIDE, SIDE).astype(np.float32)
        found["Gaussian filter of the plane in memory"] = timed(
            lambda z: ndimage.gaussian_filter(whole[z], _SIGMA)
        )
        gui = in_viewer(stack.data, models) if args.viewer else {}
    results = {
        "setting": setting(args.device, threads=args.threads),
        "found": found,
        "gui": gui,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    name = f"preview-{args.label}"
    (args.out / f"{name}.json").write_text(json.dumps(results, indent=1))
    (args.out / f"{name}.md").write_text(page(results))
    print(page(results))


def in_viewer(data: Any, models: dict[str, nb.Model]) -> dict[str, dict[str, float]]:
    """Return how long a real viewer's GUI thread is held."""
    import napari

    from _preview_callbacks import measure_callbacks
    from napari_blindspot._napari.preview_answers import Models

    viewer = napari.Viewer()
    layer = viewer.add_image(data.reshape(PLANES, SIDE, SIDE), name="stack")
    told = measure_callbacks(
        viewer, layer, Models(models["teacher"], models["tiny"]), planes=PLANES
    )
    viewer.close()
    return told


def page(results: dict[str, Any]) -> str:
    """Write the table."""
    made = results["setting"]
    threads = f"{made['threads']} threads"
    lines = [
        "<!-- written by benchmarks/preview.py -->",
        "",
        f"One plane of {SIDE}×{SIDE} pixels from a zarr store, milliseconds from the "
        f"request to the array; the fastest of {_RUNS} runs over {PLANES} planes (of "
        "a teacher on a CPU one run).",
        "",
        "| who answers | p50 | p95 |",
        "|---|---|---|",
        *(
            f"| {name} | {one['p50_ms']:.0f} | {one['p95_ms']:.0f} |"
            for name, one in results["found"].items()
        ),
        "",
        *_gui(results.get("gui") or {}),
        f"{said(made, threads)}.",
    ]
    return "\n".join(lines) + "\n"


def _gui(found: dict[str, dict[str, float]]) -> list[str]:
    if not found:
        return []
    return [
        "In a viewer, milliseconds for which the GUI thread is held while planes, "
        "strength and view are changed:",
        "",
        "| | how often | p50 | p95 | most |",
        "|---|---|---|---|---|",
        *(
            f"| {title} | {found[key]['count']:.0f} | {found[key]['p50_ms']:.1f} | "
            f"{found[key]['p95_ms']:.1f} | {found[key]['most_ms']:.0f} |"
            for title, key in (("ours", "callbacks"), ("napari's refresh", "refresh"))
        ),
        "",
    ]


def parse() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="on a CPU")
    parser.add_argument(
        "--viewer",
        action="store_true",
        help="also time the callbacks in a real viewer; needs a display (xvfb-run)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
