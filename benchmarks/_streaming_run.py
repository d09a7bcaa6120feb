"""One run in a process of its own, for the streaming benchmark.

The only argument is a JSON object; another one is printed, as the last line::

    {"what": "stream" | "network" | "dask", "source": …, "out": …, "model": …,
     "copy": {"per_voxel": …} or null, "side": pixels or null, "settings": {…}}

``stream`` is `napari_blindspot.predict`; ``network`` puts the same tiles through the
network without reading or writing any; ``dask`` is the same network by `map_overlap`.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import napari_blindspot as nb
from _streaming_counts import counted, counts, peak_bytes
from _streaming_parts import copying_model, use_copies
from napari_blindspot.config import PredictSettings, parse_settings
from napari_blindspot.inference.predictor import Predictor
from napari_blindspot.inference.tiles import predict_tile
from napari_blindspot.io import open_stack
from napari_blindspot.progress import CancelToken, run
from napari_blindspot.streaming import work as works

if TYPE_CHECKING:
    from napari_blindspot.progress import Progress
    from napari_blindspot.streaming.plan import StreamPlan
    from napari_blindspot.streaming.work import Work


def main() -> None:
    import torch

    asked = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    if asked["copy"] is not None:
        use_copies(**asked["copy"])
    model = copying_model() if asked["model"] is None else nb.load_model(asked["model"])
    if asked["side"]:
        Predictor.max_pixels = lambda _: asked["side"] ** 2  # type: ignore[method-assign]
    held, spent = peak_bytes(), time.process_time()
    facts = {"stream": _stream, "network": _network, "dask": _dask}[asked["what"]](
        model, asked
    )
    facts |= {"cpu_seconds": time.process_time() - spent}
    print(json.dumps({**facts, "held_before": held, "peak": peak_bytes()}))


def _stream(model: nb.Model, asked: dict[str, Any]) -> dict[str, Any]:
    plans = _noted_plans()
    with counted(Path(asked["source"])) as seen:

        def begin(event: Progress) -> None:
            if event.stage == "predict" and not event.done:
                seen.clear()  # what was read to know the source again

        result = nb.predict(
            model, asked["source"], asked["out"], on_progress=begin, **asked["settings"]
        )
    made = result.metrics
    return {
        "seconds": made["seconds_predict"] + made["seconds_finish"],
        "times": made["predict_times"],
        "voxels": int(result.image.size),
        "blocks": len(plans[0]),
        "core": plans[0].core,
        **counts(seen),
    }


def _noted_plans() -> list[StreamPlan]:
    """Return where the plan of the run will be noted."""
    noted: list[StreamPlan] = []
    plan_of = works.Work.plan

    def plan(self: Work) -> StreamPlan:
        noted.append(plan_of(self))
        return noted[-1]

    works.Work.plan = plan  # type: ignore[method-assign]
    return noted


def _network(model: nb.Model, asked: dict[str, Any]) -> dict[str, Any]:
    work = _work(model, asked)
    plan, rng = work.plan(), np.random.default_rng(0)
    planes, seconds, seen = rng.integers(80, 120, 2**24, np.uint16), 0.0, 0
    for block in range(len(plan)):
        index, tile = plan.place(block)
        box = (tile.planes.read, tile.y.read, tile.x.read)
        shape = tuple(part.stop - part.start for part in box)
        part = planes[: math.prod(shape)].reshape(shape)
        # Planes beside those of a tile are seen too, but nothing is made of them.
        centres = tile.planes.core.stop - tile.planes.core.start
        seen += centres * math.prod(shape[1:])
        began = time.perf_counter()
        run(predict_tile(work.predictor, work.series[index], tile, part, CancelToken()))
        seconds += time.perf_counter() - began
    return {"seconds": seconds, "blocks": len(plan), "seen": seen}


def _work(model: nb.Model, asked: dict[str, Any]) -> Work:
    settings = parse_settings(PredictSettings, **asked["settings"])
    stack = open_stack(asked["source"], region=settings.region)
    return works.prepare_work(model, stack, settings, None, CancelToken())


def _dask(model: nb.Model, asked: dict[str, Any]) -> dict[str, Any]:
    import dask
    import dask.array as da
    import zarr
    from zarr.codecs import BloscCodec

    work = _work(model, asked)
    predictor, context = work.predictor, work.predictor.context
    reach = -(-predictor.halo // predictor.stride) * predictor.stride

    def block(planes: Any) -> Any:
        last = len(planes) - 1
        around = range(-context, context + 1)
        groups = [
            [min(max(z + step, 0), last) for step in around] for z in range(last + 1)
        ]
        return predictor(planes, groups, 0)[0]

    planes = int(asked["settings"]["region"].split(":")[1])
    data = da.from_zarr(zarr.open_array(asked["source"], mode="r"))[:planes]
    if asked["side"]:
        data = data.rechunk((data.chunksize[0], asked["side"], asked["side"]))
    made = da.map_overlap(
        block,
        data,
        depth=(context, reach, reach),
        boundary="none",
        dtype=np.float32,
        meta=np.empty((0, 0, 0), np.float32),
    )
    codec = BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")
    target = zarr.create_array(
        asked["out"],
        shape=made.shape,
        chunks=made.chunksize,
        dtype="f4",
        compressors=[codec],
        overwrite=True,
    )
    began = time.perf_counter()
    with (
        counted(Path(asked["source"])) as seen,
        dask.config.set(scheduler="threads", num_workers=2),
    ):
        da.store(made, target, lock=False)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "blocks": made.npartitions, **counts(seen)}


if __name__ == "__main__":
    main()
