"""What a worker of a cluster does: the very block that the local engine would do.

A process opens the source, the output and the model once per run, and keeps them until
another run comes. Threads of one worker read and write side by side; one at a time uses
the network.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_blindspot._version import __version__
from napari_blindspot.config import PredictSettings
from napari_blindspot.device import cpu_threads, pick_device
from napari_blindspot.errors import InputError, RunError
from napari_blindspot.inference.tiles import predict_tile
from napari_blindspot.io import open_stack, uncertainty_path
from napari_blindspot.io.outputs import partial_path, record_path, writing
from napari_blindspot.io.remote import talking
from napari_blindspot.io.run_store import read_manifest
from napari_blindspot.io.shard_writer import open_shards
from napari_blindspot.progress import CancelToken, run
from napari_blindspot.streaming.blocks import write_block
from napari_blindspot.streaming.record import MODEL, RunRecord
from napari_blindspot.streaming.tasks import Behind, in_time
from napari_blindspot.streaming.work import prepare_work

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_blindspot.io.run_store import Ledger
    from napari_blindspot.io.shard_writer import ShardWriter
    from napari_blindspot.location import Location
    from napari_blindspot.streaming.plan import StreamPlan
    from napari_blindspot.streaming.reading import TileReader
    from napari_blindspot.streaming.tasks import Shard
    from napari_blindspot.streaming.work import Work


_LOOK_S = 1.0  # how long a run is taken for current without asking again

IMAGE, UNCERTAINTY = "denoised", "uncertainty"
"""What the two outputs are called."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a worker must know of a run; small, and the same for all its blocks.

    Parameters
    ----------
    source
        Where the stack lies.
    settings
        Of `config.PredictSettings`, as JSON text.
    out
        The output; what the run writes down lies in its partial form.
    run
        Name of the run that began it: another run may have taken its place since.
    samples
        Values of every block that are kept for the facts of the run.
    version
        Of this package where the run was begun.
    """

    source: Location
    settings: str
    out: Location
    run: str
    samples: int
    version: str = __version__


@dataclass(slots=True, eq=False)
class Bench:
    """Everything of one run that a process has at hand."""

    share: Share
    record: RunRecord
    plan: StreamPlan
    work: Work
    writers: dict[str, ShardWriter]
    ledger: Ledger
    tiles: TileReader
    settings: PredictSettings
    lock: threading.Lock = field(default_factory=threading.Lock)
    looked: float = -_LOOK_S  # when the record was last asked for its run


_benches: dict[str, Bench] = {}
_bench_lock = threading.Lock()


def denoise_blocks(
    share: Share, blocks: Sequence[int]
) -> tuple[float, list[NDArray[np.float64]]]:
    """Denoise some blocks and write them, one after the other, while there is time.

    One is written while the next is read and denoised.

    Returns
    -------
    seconds
        That they took.
    rows
        What the record has of each that was done: the first one, or more.

    Raises
    ------
    InputError
        If this worker has another version of the package.
    RunError
        If the run is no longer the one that wants the blocks.
    """
    with talking(share.out):
        bench, began = _bench(share), time.monotonic()
        with Behind() as behind:
            _, written = in_time(
                blocks, lambda block: behind.finish(_denoised(bench, block))
            )
        rows = [one.result() for one in written]
        return time.monotonic() - began, rows


def _denoised(bench: Bench, block: int) -> Callable[[], NDArray[np.float64]]:
    """Denoise a block, and return what writes it and gives its row for the record."""
    index, tile = bench.plan.place(block)
    series = bench.work.series[index]
    planes = bench.tiles.read(index, tile)
    with bench.lock, cpu_threads(bench.settings, pick_device(bench.settings.device)):
        mean, std = run(
            predict_tile(
                bench.work.predictor,
                series,
                tile,
                planes,
                CancelToken(),
                field=bench.work.fields[index],
            )
        )
    samples = bench.share.samples

    def write() -> NDArray[np.float64]:
        _check_current(bench)
        with writing(bench.share.out, mean.nbytes):
            facts = write_block(
                block,
                series,
                tile,
                (mean, std),
                (bench.writers[IMAGE], bench.writers.get(UNCERTAINTY)),
                bench.ledger,
                samples,
            )
        return np.concatenate([one.as_row(samples) for one in facts])

    return write


def shrink_shards(share: Share, shards: Sequence[Shard]) -> tuple[float, list[Shard]]:
    """Make some shards of smaller levels; return the seconds, and those that are made.

    Raises
    ------
    InputError, RunError
        As `denoise_blocks`.
    """
    with talking(share.out):
        bench = _bench(share)
        return in_time(shards, lambda shard: _shrink(bench, shard))


def _shrink(bench: Bench, shard: Shard) -> Shard:
    label, level, index = shard
    _check_current(bench)
    with writing(bench.share.out, 0):
        bench.writers[label].shrink(level, index)
    return shard


def _bench(share: Share) -> Bench:
    """Return the bench of a run; there is one at a time."""
    with _bench_lock:
        found = _benches.get(share.run)
        if found is None:
            _benches.clear()
            found = _benches[share.run] = _set_up(share)
        return found


def _set_up(share: Share) -> Bench:
    if share.version != __version__:
        raise InputError(
            f"a worker has napari-blindspot {__version__}, the run was begun by "
            f"{share.version}; install the same version on all machines."
        )
    settings = PredictSettings.model_validate_json(share.settings)
    threads = settings.threads or _own_threads()
    settings = settings.model_copy(update={"threads": threads})
    if read_manifest(record_path(share.out)).get("run") != share.run:
        raise _gone(share)
    record = RunRecord(share.out)
    model, plan = record.model(MODEL), record.known_plan()
    if model is None or plan is None:
        raise _gone(share)
    stack = open_stack(
        share.source,
        axes=settings.axes,
        voxel_size=settings.voxel_size,
        channel=settings.channel,
        region=settings.region,
    )
    work = prepare_work(model, stack, settings, None, CancelToken())
    work.predictor.batch_pixels = plan.batch_pixels
    writers = {IMAGE: open_shards(partial_path(share.out))}
    if settings.uncertainty:
        beside = partial_path(uncertainty_path(share.out))
        writers[UNCERTAINTY] = open_shards(beside)
    ledger = record.ledger(plan, work.channels_together)
    return Bench(share, record, plan, work, writers, ledger, work.reader(), settings)


def _own_threads() -> int:
    """Return how many threads the scheduler thinks this worker has."""
    from distributed import get_worker

    return max(1, int(get_worker().state.nthreads))


def _check_current(bench: Bench) -> None:
    """Refuse to write where another run has begun anew, or this one has ended."""
    now = time.monotonic()
    if now - bench.looked < _LOOK_S:
        return
    if not bench.record.is_current:
        raise _gone(bench.share)
    bench.looked = now


def _gone(share: Share) -> RunError:
    return RunError(
        f"the run that wrote {share.out.name} has ended or was begun anew, so "
        f"nothing more is written for it."
    )
