"""Where the time of a full run goes: reading, computing, writing.

The three go on side by side, so their seconds add up to more than those of the run.
What the run itself was spent on is seen from the predicting thread: it computes, or it
waits for one of the other two.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

Part = Literal["read", "write", "wait_read", "wait_write", "total"]


@dataclass(slots=True)
class Times:
    """Seconds of one run; each is added to by one thread alone.

    Parameters
    ----------
    read, write
        The reading and the writing thread at work.
    wait_read, wait_write
        The predicting thread waiting for them.
    total
        From the first tile asked for to the last one written.
    """

    read: float = 0.0
    write: float = 0.0
    wait_read: float = 0.0
    wait_write: float = 0.0
    total: float = 0.0

    @contextmanager
    def of(self, part: Part) -> Iterator[None]:
        """Add what is done inside to one of the sums, also where it fails."""
        began = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, part, getattr(self, part) + time.perf_counter() - began)

    @property
    def compute(self) -> float:
        """Seconds in which the predicting thread did not wait."""
        return self.total - self.wait_read - self.wait_write

    def as_dict(self) -> dict[str, float]:
        """Return all of them; ``compute`` and the two waits add up to ``total``."""
        return {
            "read": self.read,
            "compute": self.compute,
            "write": self.write,
            "wait_read": self.wait_read,
            "wait_write": self.wait_write,
            "total": self.total,
        }
