"""A run shared out to the workers of a dask cluster, block by block.

The client plans, counts and shows; it moves no pixels. Every worker opens the source
and the partial output by itself, loads the one model once, and writes whole shards::

    client ── number of a block ──► worker: read, denoise, write the shard, its record
           ◄── a row of numbers ───

What dies with a worker is at most the blocks it had in hand, which others do again: a
shard is there whole or not at all, and equal whoever writes it.
"""

from __future__ import annotations

import time
from asyncio import CancelledError
from collections import deque
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from napari_blindspot.config import PredictSettings
from napari_blindspot.errors import BlindspotError, InputError, RunError, reason
from napari_blindspot.io.outputs import output_kind
from napari_blindspot.location import Address, Location, absolute
from napari_blindspot.progress import CancelToken, Job, Progress
from napari_blindspot.streaming.blocks import regions_of
from napari_blindspot.streaming.record import MODEL
from napari_blindspot.streaming.seen import BlockFacts, Seen
from napari_blindspot.streaming.worker import (
    IMAGE,
    UNCERTAINTY,
    Share,
    denoise_block,
    shrink_shard,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_blindspot.inference.tiles import Series
    from napari_blindspot.model import Model
    from napari_blindspot.streaming.engine import Outputs
    from napari_blindspot.streaming.plan import StreamPlan
    from napari_blindspot.streaming.record import RunRecord

_RETRIES = 3
_AHEAD = 4  # blocks in flight per thread of the cluster: one at work, others at hand
_LOOK_S = 0.2
_COUNT_S = 1.0  # the threads of a cluster are counted anew after this time
_PATIENCE_S = 120.0

Task = int | tuple[str, int, tuple[int, ...]]
"""A block, or a shard of a smaller level: label, level, index."""


def check_shared(source: Any, out: Location | None) -> None:
    """Refuse what workers could not read or write by themselves.

    Raises
    ------
    InputError
        If the source is neither path nor address, or the output is no OME-Zarr.
    """
    if not isinstance(source, (str, Path, Address)):
        raise InputError(
            f"a run on several processes reads the stack in each of them, so it needs "
            f"its path, but got a {type(source).__name__}; save it first, e.g. as "
            f"zarr, or run without scheduler, workers and client."
        )
    if out is None or output_kind(out) != "zarr":
        given = "an array" if out is None else repr(str(out))
        raise InputError(
            f"a run on several processes writes an OME-Zarr, but the output is "
            f"{given}; give a name that ends in .ome.zarr."
        )


def share_out(
    client: Any,
    source: str | Location,
    settings: PredictSettings,
    model: Model,
    record: RunRecord,
    plan: StreamPlan,
    series: Sequence[Series],
    outputs: Outputs,
    cancel: CancelToken,
) -> Job[Seen]:
    """Denoise the blocks of a plan on the workers of a cluster.

    Parameters
    ----------
    client
        A `distributed.Client`.
    source
        Path or address of the stack, as every worker can open it.
    settings
        How it is opened and denoised.
    model
        Kept in the record, where the workers find it.
    record
        Of this run; it lies in the partial output, which every worker can reach.
    plan, series
        The blocks, and what they are cut from.
    outputs
        Told what is written; nothing is written by them here.
    cancel
        Asked several times a second; blocks that are being denoised end first.

    Yields
    ------
    Progress
        After every block, and now and then between.

    Returns
    -------
    Seen

    Raises
    ------
    RunError
        If a block failed, or its workers died again and again.
    """
    record.keep_model(MODEL, model)
    seen = Seen()
    for block, facts in outputs.restore(plan, series):
        seen.add(block, facts)
    share = Share(
        absolute(source),
        settings.model_dump_json(include=set(PredictSettings.model_fields)),
        absolute(record.out),
        record.run,
        outputs.samples,
    )
    sinks: dict[str, Any] = {IMAGE: outputs.image}
    if outputs.uncertainty is not None:
        sinks[UNCERTAINTY] = outputs.uncertainty
    todo = deque(block for block in range(len(plan)) if block not in seen.blocks)
    crew = _Crew(client, share)
    try:
        with seen.times.of("total"):
            while todo or crew.busy:
                cancel.raise_if_cancelled()
                crew.submit_shards(sinks)
                while todo and crew.has_room:
                    crew.submit(todo.popleft())
                for task, result in crew.finished():
                    if not isinstance(task, int):
                        sinks[task[0]].pyramid.made(task[1:])
                        continue
                    index, tile = plan.place(task)
                    regions = regions_of(series[index], tile)
                    rows = np.array(result).reshape(len(regions), -1)
                    known = tuple(map(BlockFacts.from_row, rows))
                    seen.add(task, known)
                    outputs.note(regions, known)
                    crew.submit_shards(sinks)
                yield Progress("predict", len(seen.blocks), len(plan), "blocks")
    finally:
        crew.leave()
    return seen


class _Crew:
    """The workers, and what they have in hand."""

    def __init__(self, client: Any, share: Share) -> None:
        self._client, self._share = client, share
        # The scheduler remembers a key that failed for as long as anyone holds the
        # error; a run that is gone on with must not be given that again.
        self._keys = f"blindspot-{share.run}-{uuid4().hex[:8]}"
        self._tasks: dict[Any, Task] = {}  # futures and what they do
        self._done: SimpleQueue[Any] = SimpleQueue()
        self._threads, self._counted = 0, -_COUNT_S

    @property
    def busy(self) -> bool:
        """Whether anything is in hand."""
        return bool(self._tasks)

    @property
    def has_room(self) -> bool:
        """Whether another block may be handed out: a bounded number is in flight."""
        now = time.monotonic()
        if now - self._counted >= _COUNT_S:  # asking takes as long as a small block
            with _answering():
                self._threads = sum(self._client.nthreads().values())
            self._counted = now
        return bool(len(self._tasks) < max(1, _AHEAD * self._threads))

    def submit(self, block: int) -> None:
        """Hand out a block."""
        self._submit(block, denoise_block, block)

    def submit_shards(self, sinks: dict[str, Any]) -> None:
        """Hand out the shards of smaller levels that can be made now."""
        for label, sink in sinks.items():
            while shard := sink.pyramid.take():
                self._submit((label, *shard), shrink_shard, label, *shard)

    def finished(self) -> Iterator[tuple[Task, Any]]:
        """Wait a moment, and return what was finished with its result.

        Raises
        ------
        RunError
            If something failed.
        """
        futures = self._next_done()
        for future in futures:
            if future.status == "error":
                raise _failed(self._tasks[future], future.exception())
            if future.status != "finished":  # lost, e.g. with its scheduler
                raise RunError(
                    f"the scheduler lost {_named(self._tasks[future])} "
                    f"({future.status}); check that it still runs."
                )
        with _answering():
            results = self._client.gather(futures)  # of all in one question
        for future, result in zip(futures, results, strict=True):
            yield self._tasks.pop(future), result

    def _next_done(self) -> list[Any]:
        """Return what was finished, waiting a moment if there is nothing yet."""
        found: list[Any] = []
        with suppress(Empty):
            found.append(self._done.get(timeout=_LOOK_S))
            while True:
                found.append(self._done.get_nowait())
        return found

    def leave(self) -> None:
        """Take back what nobody has begun, and wait for what is being done.

        A block that is written after its run has ended could meet another run.
        """
        if not self._tasks:
            return
        try:
            self._client.cancel([f for f in self._tasks if f.status == "pending"])
            end = time.monotonic() + _PATIENCE_S
            while self._at_work() and time.monotonic() < end:
                time.sleep(_LOOK_S)
        except (OSError, TimeoutError, RuntimeError):
            pass  # the scheduler is gone, and with it who would begin anything
        self._tasks.clear()

    def _at_work(self) -> bool:
        prefix = f"blindspot-{self._share.run}-"
        calls = self._client.call_stack(keys=None) or {}
        return any(
            str(key).startswith(prefix) for keys in calls.values() for key in keys
        )

    def _submit(self, task: Task, function: Any, *arguments: Any) -> None:
        future = self._client.submit(
            function,
            self._share,
            *arguments,
            key=f"{self._keys}-{_named(task).replace(' ', '-')}",
            pure=False,
            retries=_RETRIES,
        )
        self._tasks[future] = task
        future.add_done_callback(self._done.put)


@contextmanager
def _answering() -> Iterator[None]:
    """Turn what is raised where a scheduler is gone into one sentence."""
    try:
        yield
    except (BlindspotError, KeyboardInterrupt):
        raise
    except (Exception, CancelledError) as error:
        raise RunError(
            f"what the workers do could not be asked for ({reason(error)}); check that "
            f"the scheduler still runs."
        ) from error


def _named(task: Task) -> str:
    if isinstance(task, int):
        return f"block {task}"
    label, level, index = task
    return f"overview {label} {level} {'.'.join(map(str, index))}"


def _failed(task: Task, error: BaseException) -> Exception:
    """Return the error of a task as one sentence."""
    if isinstance(error, BlindspotError):
        return error
    if type(error).__name__ == "KilledWorker":
        return RunError(
            f"{_named(task)} ended with its worker again and again; the memory of the "
            f"workers may be too small: start them with more, or fewer on each "
            f"machine."
        )
    return RunError(
        f"{_named(task)} failed on its workers ({type(error).__name__}: {error})."
    )
