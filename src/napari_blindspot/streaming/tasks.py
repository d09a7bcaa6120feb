"""What goes into one task of a cluster, and how much: what is done in a moment.

Every task costs client, scheduler and worker some milliseconds, whatever it does. So
short blocks go out several at a time; but a task is what a cancelled run waits for, and
what is lost with a worker, so it should not take longer than one long block does.
"""

from __future__ import annotations

from dataclasses import dataclass

_TASK_S = 0.25  # a hundred times what a task costs
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
