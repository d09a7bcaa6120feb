"""What goes into one task of a cluster, and how much: what is done in a moment.

Every task costs client, scheduler and worker some milliseconds, whatever it does. So
short blocks go out several at a time. But a task is what a cancelled run waits for, and
what is lost with a worker: one that turns out longer than it was meant to be ends
early, and what it has left undone goes out again.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

Piece = TypeVar("Piece")
Found = TypeVar("Found")

_TASK_S = 0.5  # what a task is meant to take: a hundred times what it costs
_LONGEST_S = 2 * _TASK_S  # no other piece is begun after this time
_MOST = 64  # pieces in one task, however short they are
_ROUNDS = 2  # tasks that everyone should get of what is left

Shard = tuple[str, int, tuple[int, ...]]
"""A shard of a smaller level: label of the output, level, index."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks that are denoised and written by one task.

    Parameters
    ----------
    pieces
        Their numbers.
    """

    pieces: tuple[int, ...]

    def __str__(self) -> str:
        first, last = self.pieces[0], self.pieces[-1]
        return f"block {first}" if first == last else f"blocks {first} to {last}"

    @property
    def key(self) -> str:
        """What tells the task from others of its run."""
        return f"block-{self.pieces[0]}"


@dataclass(frozen=True, slots=True)
class Shards:
    """Shards of smaller levels that are made by one task."""

    pieces: tuple[Shard, ...]

    def __str__(self) -> str:
        return f"overview {self._name(' ')}"

    @property
    def key(self) -> str:
        """What tells the task from others of its run."""
        return f"overview-{self._name('-')}"

    def _name(self, gap: str) -> str:
        label, level, index = self.pieces[0]
        return gap.join((label, str(level), ".".join(map(str, index))))


Task = Blocks | Shards


class Pace:
    """Learns how long pieces of work take, and says how many make a task."""

    def __init__(self) -> None:
        self._seconds: float | None = None  # of one piece

    def took(self, pieces: int, seconds: float) -> None:
        """Take into account how long a task was at work.

        Parameters
        ----------
        pieces
            How many it consisted of, one at least.
        seconds
            Of all of them.
        """
        each = seconds / pieces
        # What came last counts half: the first pieces of a worker take long.
        self._seconds = each if self._seconds is None else (self._seconds + each) / 2

    def pieces(self, left: int, threads: int) -> int:
        """Return how many pieces the next task should have: one until that is known.

        Parameters
        ----------
        left
            How many there are.
        threads
            How many share in them: near the end tasks get smaller, so that nobody
            waits for one.
        """
        if self._seconds is None:
            return 1
        many = int(_TASK_S / max(self._seconds, _TASK_S / _MOST))
        fair = -(-left // max(1, _ROUNDS * threads))
        return max(1, min(many, fair))


def in_time(
    pieces: Sequence[Piece], work: Callable[[Piece], Found]
) -> tuple[float, list[Found]]:
    """Do one piece after the other until the time of a task is over.

    Parameters
    ----------
    pieces
        One at least; the first is done in any case.
    work
        Does one.

    Returns
    -------
    seconds
        That they took.
    found
        What came of each piece that was done, in their order.
    """
    began = time.monotonic()
    found: list[Found] = []
    for piece in pieces:
        found.append(work(piece))
        if time.monotonic() - began > _LONGEST_S:
            break
    return time.monotonic() - began, found


class Behind:
    """Finishes what was begun in a thread of its own, one thing after the other.

    While a block is written, the next one is denoised. At its end, by an error too, all
    is finished.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "blindspot-behind")
        self._last: Future[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def finish(self, work: Callable[[], Found]) -> Future[Found]:
        """Do it as soon as what came before is done; wait for that.

        So what is begun runs ahead by one.
        """
        if self._last is not None:
            self._last.result()
        self._last = future = self._pool.submit(work)
        return future
