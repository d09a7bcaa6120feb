"""Say how far a job is and how long it will still take."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_blindspot.progress import TITLES

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_blindspot.progress import Progress

LEAST_S = 2.0
"""No time left is told before this many seconds of a stage: it would jump."""


@dataclass(slots=True)
class TimeLeft:
    """Clock of the stage that is running.

    Parameters
    ----------
    clock
        Gives the time in seconds; another one makes tests exact.
    """

    clock: Callable[[], float] = time.monotonic
    _stage: str = field(default="", init=False)
    _start_s: float = field(default=0.0, init=False)
    _start_fraction: float = field(default=0.0, init=False)

    def seconds(self, event: Progress) -> float | None:
        """Return the seconds that the stage of `event` will still take.

        Returns
        -------
        float or None
            Seconds; None as long as they cannot be told.
        """
        now_s = self.clock()
        if event.stage != self._stage:
            self._stage, self._start_s = event.stage, now_s
            self._start_fraction = event.fraction
        if event.unit == "s":
            return max(0.0, event.total - event.done)
        spent_s = now_s - self._start_s
        gained = event.fraction - self._start_fraction
        if spent_s < LEAST_S or gained <= 0:
            return None
        return spent_s * (1.0 - event.fraction) / gained

    def sentence(self, event: Progress) -> str:
        """Return one line for the bar, e.g. ``"Training · 25 % · 30 s left"``."""
        parts = [event.message or TITLES[event.stage]]
        if event.done > 0 and not (event.message and event.done >= event.total):
            parts.append(f"{100 * event.fraction:.0f} %")
        left_s = self.seconds(event)
        if left_s is not None:
            parts.append(f"{duration(left_s)} left")
        return " · ".join(parts)


def duration(seconds: float) -> str:
    """Return a duration as a person says it: ``"45 s"`` or ``"1 h 20 min"``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
