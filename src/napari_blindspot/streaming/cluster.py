"""A run shared out to the workers of a dask cluster, block by block.

The client plans, counts and shows; it moves no pixels. Every worker opens the source
and the partial output by itself, loads the one model once, and writes whole shards::

    client ── numbers of blocks ──► worker: read, denoise, write the shard, its record
           ◄── a row of each ──────

Short blocks go out several at a time (`tasks`). What dies with a worker is at most the
blocks it had in hand, which others do again: a shard is there whole or not at all, and
equal whoever writes it.
"""

from __future__ import annotations

import sys
import time
from asyncio import CancelledError
from collections import deque
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from napari_blindspot.config import PredictSettings
from napari_blindspot.errors import BlindspotError, InputError, RunError, reason
from napari_blindspot.io.outputs import output_kind
from napari_blindspot.location import Address, Location, absolute
from napari_blindspot.progress import CancelToken, Job, Progress
from napari_blindspot.streaming.blocks import regions_of
from napari_blindspot.streaming.record import MODEL
from napari_blindspot.streaming.seen import BlockFacts, Seen
from napari_blindspot.streaming.tasks import Blocks, Pace, Shards
from napari_blindspot.streaming.worker import (
    IMAGE,
    UNCERTAINTY,
    Share,
    denoise_blocks,
    shrink_shards,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari_blindspot.inference.tiles import Series
    from napari_blindspot.model import Model
    from napari_blindspot.streaming.engine import Outputs
    from napari_blindspot.streaming.plan import StreamPlan
    from napari_blindspot.streaming.record import RunRecord
    from napari_blindspot.streaming.tasks import Shard, Task

_RETRIES = 3
_AHEAD = 4  # tasks in flight per thread of the cluster: one at work, others at hand
_LOOK_S = 0.05  # how often is looked for what was finished
_SHOW_S = 0.2  # how often progress is shown where nothing was
_COUNT_S = 1.0  # the threads of a cluster are counted anew after this time
_PATIENCE_S = 120.0


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
    todo = [block for block in range(len(plan)) if block not in seen.blocks]
    crew, shown = _Crew(client, share, todo), time.monotonic()
    try:
        with seen.times.of("total"):
            yield Progress("predict", len(seen.blocks), len(plan), "blocks")
            while True:
                cancel.raise_if_cancelled()
                if not crew.hand_out(sinks):
                    break
                done = crew.finished()
                for task, found in done:
                    if isinstance(task, Shards):
                        _made(task, sinks)
                        continue
                    for block, row in zip(task.pieces, found, strict=True):
                        index, tile = plan.place(block)
                        regions = regions_of(series[index], tile)
                        parts = row.reshape(len(regions), -1)
                        facts = tuple(map(BlockFacts.from_row, parts))
                        seen.add(block, facts)
                        outputs.note(regions, facts)
                if done or time.monotonic() - shown > _SHOW_S:
                    shown = time.monotonic()
                    yield Progress("predict", len(seen.blocks), len(plan), "blocks")
    finally:
        crew.leave()
    return seen


def _made(task: Shards, sinks: Mapping[str, Any]) -> None:
    """Tell the pyramids of the shards that a task has made."""
    for label, *shard in task.pieces:
        sinks[label].pyramid.made(tuple(shard))


class _Crew:
    """The workers, and what they have in hand."""

    def __init__(self, client: Any, share: Share, blocks: Sequence[int]) -> None:
        self._client, self._share = client, share
        # The scheduler remembers a key that failed for as long as anyone holds the
        # error; a run that is gone on with must not be given that again.
        self._keys = f"blindspot-{share.run}-{uuid4().hex[:8]}"
        self._blocks = deque(blocks)  # neither these nor the shards are handed out
        self._shards: deque[Shard] = deque()
        self._tasks: dict[Any, Task] = {}  # futures and what they do
        self._threads, self._counted = 0, -_COUNT_S
        self._paces = {Blocks: Pace(), Shards: Pace()}

    def hand_out(self, sinks: Mapping[str, Any]) -> bool:
        """Hand out the shards that can be made now, and blocks if there is room.

        A bounded number of tasks is in flight, and they go out several at a time: a
        message costs more than what is in it.

        Parameters
        ----------
        sinks
            They know which shards of smaller levels can be made.

        Returns
        -------
        bool
            Whether anything is in hand.
        """
        for label, sink in sinks.items():
            ready = iter(sink.pyramid.take, None)
            self._shards.extend((label, *shard) for shard in ready)
        most = max(2, _AHEAD * self._count())
        self._submit(shrink_shards, self._cut(Shards, self._shards, sys.maxsize))
        room = most - len(self._tasks)
        if 2 * room >= most:
            self._submit(denoise_blocks, self._cut(Blocks, self._blocks, room))
        return bool(self._tasks)

    def _cut(self, kind: Any, todo: deque[Any], room: int) -> list[Task]:
        """Take tasks from what is to be done, not more than there is room for."""
        pace = self._paces[kind]
        made: list[Task] = []
        while todo and len(made) < room:
            some = pace.pieces(len(todo), self._threads)
            made.append(kind(tuple(todo.popleft() for _ in range(some))))
        return made

    def _count(self) -> int:
        """Return the threads of all workers, as they were a moment ago."""
        now = time.monotonic()
        if now - self._counted >= _COUNT_S:  # asking takes as long as a small block
            with _answering():
                self._threads = sum(self._client.nthreads().values())
            self._counted = now
        return self._threads

    def finished(self) -> list[tuple[Task, Any]]:
        """Wait a moment, and return what was finished with what came of it.

        What a task has left undone because it took long is to be handed out again.

        Raises
        ------
        RunError
            If something failed.
        """
        time.sleep(_LOOK_S)  # what ends meanwhile is asked for in one question
        futures = [one for one in self._tasks if one.status != "pending"]
        for future in futures:
            if future.status == "error":
                raise _failed(self._tasks[future], future.exception())
            if future.status != "finished":  # lost, e.g. with its scheduler
                raise RunError(
                    f"the scheduler lost {self._tasks[future]} ({future.status}); "
                    f"check that it still runs."
                )
        with _answering():
            results = self._client.gather(futures) if futures else []
        done = []
        for future, (seconds, found) in zip(futures, results, strict=True):
            task = self._tasks.pop(future)
            kind: Any = type(task)
            some = len(found)
            self._paces[kind].took(some, seconds)
            todo: deque[Any] = self._blocks if kind is Blocks else self._shards
            todo.extendleft(reversed(task.pieces[some:]))
            done.append((kind(task.pieces[:some]), found))
        return done

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

    def _submit(self, function: Any, tasks: Sequence[Task]) -> None:
        """Hand out tasks of one kind, all in one message."""
        if not tasks:
            return
        futures = self._client.map(
            partial(function, self._share),
            [task.pieces for task in tasks],
            key=[f"{self._keys}-{task.key}" for task in tasks],
            pure=False,
            retries=_RETRIES,
        )
        self._tasks.update(zip(futures, tasks, strict=True))


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


def _failed(task: Task, error: BaseException) -> Exception:
    """Return the error of a task as one sentence."""
    if isinstance(error, BlindspotError):
        return error
    if type(error).__name__ == "KilledWorker":
        return RunError(
            f"{task} ended with its worker again and again; the memory of the "
            f"workers may be too small: start them with more, or fewer on each "
            f"machine."
        )
    return RunError(f"{task} failed on its workers ({type(error).__name__}: {error}).")
