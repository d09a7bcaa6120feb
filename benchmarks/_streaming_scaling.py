"""Workers of a local dask cluster, whose network waits: how the work is shared out."""

from __future__ import annotations

import os
import shutil
import time
from functools import cache
from typing import TYPE_CHECKING, Any

import napari_blindspot as nb
from _streaming_parts import copying_model, use_copies
from napari_blindspot.streaming import plan as plans

if TYPE_CHECKING:
    from collections.abc import Callable
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
        took beyond that; the processor time of the client and the scheduler; and that
        of all processes beyond the local engine's, which a machine that is busy with
        other things changes least.
    """
    from distributed import Client, LocalCluster

    original = plans.block_shape
    plans.block_shape = lambda shape, **_: (4, *shape[1:])
    try:
        work, own = _alone_at_best(source, delay, runs)
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
            made = [_shared(source, client) for _ in range(runs)]
    finally:
        plans.block_shape = original
    rate = max(one[0] for one in made)
    spent, all_spent = (min(one[index] for one in made) for index in (1, 2))
    return {
        "blocks_per_second": rate,
        "delay_ms": 1e3 * delay,
        "work_ms": 1e3 * work,
        "beside_ms": 1e3 * (workers / rate - work),
        "client_cpu_ms": 1e3 * spent,
        "cpu_beside_ms": 1e3 * (all_spent - own),
        "runs": runs,
        "load": os.getloadavg()[1],
    }


@cache
def _alone_at_best(source: Path, delay: float, runs: int) -> tuple[float, float]:
    made = [_alone(source, delay) for _ in range(runs)]
    return min(one[0] for one in made), min(one[1] for one in made)


def _alone(source: Path, delay: float) -> tuple[float, float]:
    """Return the seconds of work of one block, and those of a processor.

    The work is to read, to wait for the network and to write, in turn.
    """
    use_copies(per_block=delay)
    out, seen = source.with_name("alone.ome.zarr"), _Marks(time.process_time)
    made = nb.predict(copying_model(), source, out, threads=1, on_progress=seen)
    times = made.metrics["predict_times"]
    shutil.rmtree(out)
    work = float(times["read"] + times["compute"] + times["write"]) / BLOCKS
    return work, seen.per_block()[1]


def _shared(source: Path, client: Any) -> tuple[float, float, float]:
    """Return blocks per second, and seconds of a processor per block.

    The latter of this process, which has the scheduler in it, and of the workers too.
    """

    def spent() -> float:
        of_workers = sum(client.run(time.process_time).values())
        return time.process_time() + float(of_workers)

    out, seen = source.with_name("shared.ome.zarr"), _Marks(time.process_time, spent)
    model = copying_model()
    nb.predict(model, source, out, client=client, threads=1, on_progress=seen)
    shutil.rmtree(out)
    seconds, here, everywhere = seen.per_block()
    return 1 / seconds, here, everywhere


class _Marks:
    """Reads clocks after the first tenth of a run, and before the last one."""

    def __init__(self, *clocks: Callable[[], float]) -> None:
        self._clocks = (time.perf_counter, *clocks)
        self._seen: list[tuple[float, list[float]]] = []

    def __call__(self, event: Progress) -> None:
        ends = (BLOCKS // 10, BLOCKS - BLOCKS // 10)
        if event.stage != "predict" or len(self._seen) == len(ends):
            return
        if event.done >= ends[len(self._seen)]:
            self._seen.append((event.done, [clock() for clock in self._clocks]))

    def per_block(self) -> list[float]:
        """Return what each clock has gone on per block, the time of day first."""
        (first, before), (last, after) = self._seen
        return [(b - a) / (last - first) for a, b in zip(before, after, strict=True)]
