"""Events of a long job, and the token that stops it.

A long job is a generator of `Progress` events whose return value is its result.
The panel, the command line and a notebook show these events in their own way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from napari_blindspot.errors import Cancelled

T = TypeVar("T")
E = TypeVar("E")

Stage = Literal[
    "file", "open", "noise", "train", "distill", "predict", "pyramid", "compare"
]

TITLES: dict[Stage, str] = {
    "file": "Files",
    "open": "Opening",
    "noise": "Estimating the noise",
    "train": "Training",
    "distill": "Teaching the student",
    "predict": "Denoising",
    "pyramid": "Writing overviews",
    "compare": "Comparing",
}
"""What people read while a stage runs."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One event of a long job.

    Parameters
    ----------
    stage
        Which part of the job speaks.
    done, total
        Work done and work in all, in `unit`. Training counts per cent of its
        budget, which may be steps or minutes, whichever ends first.
    unit
        What is counted: ``"steps"``, ``"blocks"``, ``"files"``, ``"%"``.
    message
        A short sentence for the user, may be empty.
    metrics
        Named numbers of the moment, e.g. ``{"loss": -3.1}``.
    """

    stage: Stage
    done: float
    total: float
    unit: str
    message: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def fraction(self) -> float:
        """Part of the stage that is done, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total > 0 else 0.0


Job = Generator[Progress, None, T]
"""A long job: yields events, returns its result."""


class CancelToken:
    """A flag that one thread raises and the job asks between tiles and steps."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the job to stop at its next tile or training step."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether stopping was asked for."""
        return self._event.is_set()

    def raise_if_cancelled(self) -> None:
        """Stop here if stopping was asked for.

        Raises
        ------
        Cancelled
            If `cancel` has been called.
        """
        if self.cancelled:
            raise Cancelled("The run was cancelled; the source is untouched.")


def run(
    job: Generator[E, None, T], on_progress: Callable[[E], object] | None = None
) -> T:
    """Run a job to its end, handing each event to `on_progress`.

    Parameters
    ----------
    job
        A generator of events, as a rule of `Progress`.
    on_progress
        Called with every event, e.g. ``print``.

    Returns
    -------
    T
        The return value of the generator.
    """
    with closing(job):  # it tidies up at once, even if `on_progress` raises
        while True:
            try:
                event = next(job)
            except StopIteration as stop:
                result: T = stop.value
                return result
            if on_progress is not None:
                on_progress(event)
