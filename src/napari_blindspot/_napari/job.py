"""Run a long job in a worker thread and hand its events to the GUI thread.

Two traps of `superqt`'s workers are closed here once, for every panel. An exception
that leaves a worker is raised again in a Qt slot, which aborts a PyQt6 process; and
a ``RuntimeError`` is taken for a deleted worker, after which nothing is ever emitted
again. So the worker of this module never raises: a failure is an `Outcome` like a
success. And quitting a worker leaves its generator suspended in the middle, to be
closed by whichever thread drops it; here, quitting raises the `CancelToken`, and the
job ends, and tidies up, in its own thread.
"""

from __future__ import annotations

import logging
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from napari.qt.threading import GeneratorWorker, create_worker

from napari_blindspot.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari_blindspot.progress import CancelToken, Job, Progress

T = TypeVar("T")
logger = logging.getLogger(__name__)

RELAY_INTERVAL_S = 0.05
"""Least time between two relayed events of one stage that have no message."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """How a job ended: with a value, or with an error.

    Parameters
    ----------
    value
        What the job returned, None if it failed.
    error
        What it raised, None if it succeeded.
    """

    value: T | None = None
    error: Exception | None = None


class JobWorker(GeneratorWorker):  # type: ignore[misc]
    """A worker whose `quit` cancels its job, which then ends in its own thread."""

    token: CancelToken | None = None

    def quit(self) -> None:
        """Ask the job to stop at its next tile or training step."""
        if self.token is not None:
            self.token.cancel()


def start_job(
    job: Job[T],
    token: CancelToken,
    *,
    progressed: Callable[[Progress], object],
    ended: Callable[[Outcome[T]], object],
) -> JobWorker:
    """Start a job in a thread of Qt's pool.

    Parameters
    ----------
    job
        Generator of events that has not begun.
    token
        The token that the job asks; it is also asked between two events.
    progressed
        Called in the GUI thread with every event that has a message or begins a
        stage, and with at most one other event per `RELAY_INTERVAL_S`.
    ended
        Called once in the GUI thread with the outcome. Bound methods are held
        weakly: a panel that was closed is told nothing.

    Returns
    -------
    JobWorker
        The running worker. Its `quit` cancels the job.
    """
    worker: JobWorker = create_worker(
        denoising,
        job,
        token,
        _worker_class=JobWorker,
        _start_thread=False,
        _connect={
            "yielded": progressed,
            "returned": ended,
            "errored": _log,
        },
    )
    worker.token = token
    worker.start()
    return worker


# napari shows this function's name in "still running: close anyway?".
def denoising(job: Job[T], token: CancelToken) -> Generator[Progress, Any, Outcome[T]]:
    """Relay the events of a job, and return its outcome instead of raising."""
    try:
        return Outcome(value=(yield from _thinned(job, token)))
    except Exception as error:
        return Outcome(error=error)


def _log(error: Exception) -> None:
    """Record what should not happen: `denoising` lets no exception out."""
    # Not a closure over `ended`: napari keeps every worker until its window closes,
    # and with it whatever its slots hold.
    logger.error("A worker failed outside its job", exc_info=error)


def _next(job: Job[T], token: CancelToken) -> Progress:
    """Go on to the next event; a job that does not ask the token is told of it."""
    try:
        token.raise_if_cancelled()
    except Cancelled as error:
        return job.throw(error)  # it may have more to say, such as what was kept
    return next(job)


def _thinned(job: Job[T], token: CancelToken) -> Job[T]:
    shown_s, stage = 0.0, ""
    with closing(job):
        while True:
            try:
                event = _next(job, token)
            except StopIteration as stop:
                value: T = stop.value
                return value
            now_s = time.monotonic()
            due = now_s - shown_s >= RELAY_INTERVAL_S
            if due or event.message or event.stage != stage:
                shown_s, stage = now_s, event.stage
                yield event
