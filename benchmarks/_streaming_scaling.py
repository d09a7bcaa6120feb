"""Workers of a local dask cluster, whose network waits: how the work is shared out."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any

import napari_blindspot as nb
from _streaming_parts import copying_model, use_copies
from napari_blindspot.streaming import plan as plans

if TYPE_CHECKING:
    from pathlib import Path

    from napari_blindspot.progress import Progress

BLOCKS = 120
"""Of a run; each is four planes of one chunk's side."""


def measure_scaling(
    source: Path, workers: int, delay: float, runs: int
) -> dict[str, Any]:
    """Return the rate of some workers, and what a block costs beside its work.

    Parameters
    ----------
    source
        Zarr store of four planes per block.
    workers
        Processes of one thread each.
    delay
        Seconds that the network takes for a block.
    runs
        The fastest of so many counts, of these workers and of the local engine.

    Returns
    -------
    dict
        Blocks per second from the first tenth of the run to the last; the work of one
        block (waiting, reading, writing) as the local engine measures it; what a block
        took beyond that; and the processor time of the client and the scheduler.
    """
    from distributed import Client, LocalCluster

    original = plans.block_shape
    plans.block_shape = lambda shape, **_: (4, *shape[1:])
    try:
        work = min(_alone(source, delay) for _ in range(runs))
        with (
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=50,
                memory_limit=0,
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            client.run(use_copies, per_block=delay)
            rate, spent = max(_shared(source, client) for _ in range(runs))
    finally:
        plans.block_shape = original
    return {
        "blocks_per_second": rate,
        "delay_ms": 1e3 * delay,
        "work_ms": 1e3 * work,
        "beside_ms": 1e3 * (workers / rate - work),
        "client_cpu_ms": 1e3 * spent,
    }


def _alone(source: Path, delay: float) -> float:
    """Return the seconds of work of one block: read, network and write, in turn."""
    use_copies(per_block=delay)
    out = source.with_name("alone.ome.zarr")
    times = nb.predict(copying_model(), source, out, threads=1).metrics["predict_times"]
    shutil.rmtree(out)
    return float(times["read"] + times["compute"] + times["write"]) / BLOCKS


def _shared(source: Path, client: Any) -> tuple[float, float]:
    """Return blocks per second, and processor seconds of this process per block."""
    seen: list[tuple[float, float, float]] = []

    def look(event: Progress) -> None:
        if event.stage == "predict":
            seen.append((event.done, time.perf_counter(), time.process_time()))

    out = source.with_name("shared.ome.zarr")
    model = copying_model()
    nb.predict(model, source, out, client=client, threads=1, on_progress=look)
    shutil.rmtree(out)
    first = next(one for one in seen if one[0] >= BLOCKS // 10)
    last = next(one for one in seen if one[0] >= BLOCKS - BLOCKS // 10)
    done, seconds, spent = (b - a for a, b in zip(first, last, strict=True))
    return done / seconds, spent / done
