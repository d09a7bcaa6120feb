from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING

import pytest

from napari_blindspot._napari.job import start_job
from napari_blindspot.errors import Cancelled, RunError
from napari_blindspot.progress import CancelToken, Progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pytestqt.qtbot import QtBot

    from napari_blindspot._napari.job import Outcome
    from napari_blindspot.progress import Job

pytestmark = pytest.mark.usefixtures("tiny_networks")


@pytest.fixture
def run(qtbot: QtBot) -> Callable[..., Any]:
    """Run a job in a worker; gives its events and its outcome."""

    def run_job(
        job: Job[Any], token: CancelToken | None = None
    ) -> tuple[list[Progress], Outcome[Any]]:
        events, outcomes = [], []
        start_job(
            job, token or CancelToken(), progressed=events.append, ended=outcomes.append
        )
        qtbot.waitUntil(lambda: bool(outcomes), timeout=5000)
        (outcome,) = outcomes
        return events, outcome

    return run_job


def _counting(
    n: int, value: object = None, error: Exception | None = None
) -> Job[object]:
    for done in range(n):
        yield Progress("train", done + 1, n, "steps")
    if error is not None:
        raise error
    return value


def test_the_return_value_arrives(run: Callable[..., Any]) -> None:
    events, outcome = run(_counting(1, value=7))
    assert [event.done for event in events] == [1]
    assert (outcome.value, outcome.error) == (7, None)


def test_a_fast_job_does_not_flood_the_gui(run: Callable[..., Any]) -> None:
    events, outcome = run(_counting(20_000, value="done"))
    assert outcome.value == "done"
    assert 1 <= len(events) < 200


def test_every_stage_is_told_even_in_a_hurry(run: Callable[..., Any]) -> None:
    def stages() -> Job[None]:
        for stage in ("open", "noise", "train", "predict"):
            yield Progress(stage, 1, 1, "blocks")

    events, _ = run(stages())
    assert [event.stage for event in events] == ["open", "noise", "train", "predict"]


def test_every_message_is_told_even_in_a_hurry(run: Callable[..., Any]) -> None:
    def notes() -> Job[None]:
        for note in ("axes guessed", "voxel size unknown", "few planes"):
            yield Progress("open", 0, 1, "steps", note)

    events, _ = run(notes())
    assert len(events) == 3


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ValueError("no"), id="value"),
        # superqt takes a RuntimeError for a deleted worker and falls silent.
        pytest.param(RunError("The disk is full."), id="runtime"),
        pytest.param(RuntimeError("CUDA out of memory"), id="torch"),
    ],
)
def test_an_error_arrives_as_an_outcome(
    run: Callable[..., Any], error: Exception
) -> None:
    _, outcome = run(_counting(1, error=error))
    assert outcome.error is error
    assert outcome.value is None


def test_quitting_ends_the_job_in_its_own_thread(qtbot: QtBot) -> None:
    begun = threading.Event()
    tidied, outcomes = [], []

    def forgetful() -> Job[None]:
        try:
            while True:
                begun.set()
                yield Progress("train", 0, 1, "steps")
        finally:
            tidied.append(threading.current_thread())

    worker = start_job(
        forgetful(),
        CancelToken(),
        progressed=lambda event: None,
        ended=outcomes.append,
    )
    qtbot.waitUntil(begun.is_set)
    worker.quit()
    qtbot.waitUntil(lambda: bool(outcomes), timeout=5000)
    assert isinstance(outcomes[0].error, Cancelled)
    assert tidied
    assert tidied[0] is not threading.main_thread()


def test_a_listener_that_is_gone_harms_nobody(qtbot: QtBot) -> None:
    class Listener:
        def hear(self, _: object) -> None:
            raise AssertionError("told after its end")

    listener = Listener()
    started, go = threading.Event(), threading.Event()

    def waiting() -> Job[None]:
        started.set()
        go.wait(5)
        yield Progress("train", 1, 1, "steps")

    worker = start_job(
        waiting(), CancelToken(), progressed=listener.hear, ended=lambda outcome: None
    )
    qtbot.waitUntil(started.is_set)
    del listener
    gc.collect()
    with qtbot.waitSignal(worker.finished, timeout=5000):
        go.set()
