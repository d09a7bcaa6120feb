from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_blindspot._napari.time_left import TimeLeft, duration
from napari_blindspot.progress import TITLES, Progress

if TYPE_CHECKING:
    from napari_blindspot.progress import Stage


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def left(now: list[float]) -> TimeLeft:
    return TimeLeft(clock=lambda: now[0])


def _step(done: float, total: float = 100, stage: Stage = "train") -> Progress:
    return Progress(stage, done, total, "steps")


def test_time_left_follows_the_speed_so_far(left: TimeLeft, now: list[float]) -> None:
    left.seconds(_step(0))
    now[0] = 10.0
    assert left.seconds(_step(25)) == pytest.approx(30.0)


def test_nothing_is_told_before_there_is_a_speed(
    left: TimeLeft, now: list[float]
) -> None:
    assert left.seconds(_step(0)) is None
    now[0] = 1.0
    assert left.seconds(_step(50)) is None
    now[0] = 10.0
    assert left.seconds(_step(0)) is None


def test_every_stage_has_its_own_speed(left: TimeLeft, now: list[float]) -> None:
    left.seconds(_step(0))
    now[0] = 100.0
    left.seconds(_step(100))
    left.seconds(_step(0, stage="predict"))
    now[0] = 104.0
    assert left.seconds(_step(50, stage="predict")) == pytest.approx(4.0)


def test_a_budget_in_seconds_tells_the_rest_itself(left: TimeLeft) -> None:
    assert left.seconds(Progress("train", 20, 90, "s")) == 70


def test_sentence_tells_stage_count_and_time(left: TimeLeft, now: list[float]) -> None:
    left.sentence(_step(0))
    now[0] = 10.0
    assert left.sentence(_step(25)) == "Training · 25 % · 30 s left"


def test_every_stage_has_a_name() -> None:
    from typing import get_args

    from napari_blindspot.progress import Stage

    assert set(TITLES) == set(get_args(Stage))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (89, "89 s"), (91, "2 min"), (3540, "59 min"), (4800, "1 h 20 min")],
)
def test_durations_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said
