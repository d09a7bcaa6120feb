"""How many blocks go out in one task, and when a task ends early."""

from __future__ import annotations

from threading import Event

import pytest

from napari_blindspot.streaming import tasks
from napari_blindspot.streaming.tasks import Behind, Blocks, Pace, Shards, in_time


def test_pieces_go_out_singly_until_their_time_is_known() -> None:
    assert Pace().pieces(1000, 2) == 1


def test_short_pieces_go_out_together_and_long_ones_alone() -> None:
    pace = Pace()
    pace.took(2, 0.2)
    assert pace.pieces(1000, 2) == 5  # of 0.1 s: half a second
    pace.took(1, 60.0)
    assert pace.pieces(1000, 2) == 1


def test_no_task_has_more_than_its_most_however_short_its_pieces() -> None:
    pace = Pace()
    pace.took(1, 0.0)
    assert pace.pieces(10**6, 2) == tasks._MOST


def test_tasks_get_smaller_towards_the_end() -> None:
    pace = Pace()
    pace.took(1, 0.01)
    assert [pace.pieces(left, 2) for left in (100, 40, 8, 1)] == [25, 10, 2, 1]
    assert pace.pieces(40, 0) == 40  # no workers at this moment


def test_the_last_time_counts_half() -> None:
    pace = Pace()
    pace.took(1, 0.3)
    pace.took(1, 0.1)
    assert pace.pieces(1000, 1) == 2  # of 0.2 s


def test_a_task_that_takes_long_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(tasks.time, "monotonic", lambda: clock[0])

    def work(piece: int) -> int:
        clock[0] += 0.4
        return 10 * piece

    seconds, found = in_time(range(9), work)
    assert (seconds, found) == (pytest.approx(1.2), [0, 10, 20])
    monkeypatch.setattr(tasks, "_LONGEST_S", 0.0)
    assert in_time(range(9), work)[1] == [0]  # the first in any case


def test_tasks_are_named_by_what_they_do() -> None:
    assert str(Blocks((3,))) == "block 3"
    assert str(Blocks((3, 4, 7))) == "blocks 3 to 7"
    overview = Shards((("denoised", 1, (0, 2)), ("denoised", 1, (0, 3))))
    assert str(overview) == "overview denoised 1 0.2"
    assert (Blocks((3, 4)).key, overview.key) == ("block-3", "overview-denoised-1-0.2")


def test_one_piece_is_finished_while_the_next_is_begun_and_no_other() -> None:
    let, done = [Event(), Event()], []

    def finishing(number: int) -> int:
        assert let[number].wait(10)
        done.append(number)
        return number

    with Behind() as behind:
        first = behind.finish(lambda: finishing(0))
        assert not done  # whoever goes on from here begins the next one
        let[0].set()
        second = behind.finish(lambda: finishing(1))
        assert done == [0]  # a third would have had to wait for this one
        let[1].set()
    assert (first.result(), second.result()) == (0, 1)


def test_what_failed_behind_ends_the_work_at_the_next_piece() -> None:
    def fail() -> None:
        raise OSError("full")

    with Behind() as behind:
        behind.finish(fail)
        with pytest.raises(OSError, match="full"):
            behind.finish(lambda: None)
