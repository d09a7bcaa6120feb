"""The same blocks on the workers of a real dask cluster."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

import napari_blindspot as nb
from models import random_student, random_teacher
from napari_blindspot.errors import Cancelled, InputError, RunError
from napari_blindspot.io import open_stack
from napari_blindspot.progress import CancelToken, Progress
from napari_blindspot.streaming.cluster import _Crew
from napari_blindspot.streaming.tasks import Blocks

distributed = pytest.importorskip("distributed")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Sockets and event loops of dask are closed a moment after their cluster.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            memory_limit=0,
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as connected,
    ):
        yield connected


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    values = rng.poisson(20, (24, 300, 310)).astype(np.uint16)
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, values, metadata={"axes": "ZYX"}, imagej=True)
    return path


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    # Six blocks of four planes each, planned by this process.
    monkeypatch.setattr(
        "napari_blindspot.streaming.plan.block_shape",
        lambda shape, **_: (4, *shape[1:]),
    )


def arrays(out: Path) -> list[np.ndarray]:
    import zarr

    group = zarr.open_group(out, mode="r")
    return [np.asarray(group[name]) for name in sorted(group.array_keys())]


def assert_same(one: Path, other: Path) -> None:
    for level, alike in zip(arrays(one), arrays(other), strict=True):
        np.testing.assert_array_equal(level, alike)


@pytest.mark.parametrize("kind", ["teacher", "student"])
def test_workers_write_what_one_machine_writes(
    tmp_path: Path, source: Path, client: Any, kind: str
) -> None:
    model = random_teacher() if kind == "teacher" else random_student()
    options: dict[str, Any] = {"threads": 1, "uncertainty": kind == "teacher"}
    here, there = tmp_path / "here.ome.zarr", tmp_path / "there.ome.zarr"
    whole = nb.predict(model, source, here, **options)
    events: list[Progress] = []
    shared = nb.predict(
        model, source, there, client=client, on_progress=events.append, **options
    )
    assert_same(here, there)
    assert shared.metrics["expected_psnr"] == whole.metrics["expected_psnr"]
    assert sum(event.stage == "predict" for event in events) > 5
    if kind == "teacher":
        beside = [tmp_path / f"{n}.uncertainty.ome.zarr" for n in ("here", "there")]
        assert_same(*beside)
    assert not [one for one in tmp_path.iterdir() if "partial" in one.name]


@pytest.mark.parametrize("longest_s", [1.0, 0.0])
def test_short_blocks_go_out_several_at_a_time(
    tmp_path: Path,
    rng: np.random.Generator,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
    longest_s: float,
) -> None:
    values = rng.poisson(20, (48, 64, 64)).astype(np.uint16)
    source = tmp_path / "stack.tif"
    tifffile.imwrite(source, values, metadata={"axes": "ZYX"}, imagej=True)
    monkeypatch.setattr(
        "napari_blindspot.streaming.plan.block_shape",
        lambda shape, **_: (1, *shape[1:]),
    )
    sizes: list[int] = []
    submit = _Crew._submit

    def noted(self: _Crew, function: Any, tasks: Any) -> None:
        sizes.extend(len(one.pieces) for one in tasks if isinstance(one, Blocks))
        submit(self, function, tasks)

    monkeypatch.setattr(_Crew, "_submit", noted)
    client.run(_set_longest, longest_s)
    model, events = random_student(), list[Progress]()
    nb.predict(model, source, tmp_path / "here.ome.zarr", threads=1)
    try:
        nb.predict(
            model,
            source,
            tmp_path / "there.ome.zarr",
            threads=1,
            client=client,
            on_progress=events.append,
        )
    finally:
        client.run(_set_longest, 1.0)
    assert_same(tmp_path / "here.ome.zarr", tmp_path / "there.ome.zarr")
    assert max(sizes) > 1
    if longest_s:
        assert len(sizes) < sum(sizes) == 48
    else:  # all but the first of every task went out again
        assert len(sizes) == 48 < sum(sizes)
    counts = [event.done for event in events if event.stage == "predict"]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, 48)


def _set_longest(seconds: float) -> None:
    from napari_blindspot.streaming import tasks

    tasks._LONGEST_S = seconds


def test_a_run_begun_here_is_gone_on_with_there(
    tmp_path: Path, source: Path, client: Any
) -> None:
    model, token, out = random_teacher(), CancelToken(), tmp_path / "out.ome.zarr"
    nb.predict(model, source, tmp_path / "whole.ome.zarr", threads=1)

    def stop(event: Progress) -> None:
        if event.stage == "predict" and event.done >= 2:
            token.cancel()

    with pytest.raises(Cancelled):
        nb.predict(model, source, out, threads=1, cancel=token, on_progress=stop)
    first: list[float] = []
    nb.predict(
        model,
        source,
        out,
        threads=1,
        resume=True,
        client=client,
        on_progress=lambda e: first.append(e.done) if e.stage == "predict" else None,
    )
    assert first[0] >= 1
    assert_same(out, tmp_path / "whole.ome.zarr")


def test_a_cancelled_run_leaves_what_can_be_gone_on_with(
    tmp_path: Path, source: Path, client: Any
) -> None:
    model, token, out = random_teacher(), CancelToken(), tmp_path / "out.ome.zarr"
    nb.predict(model, source, tmp_path / "whole.ome.zarr", threads=1)

    def stop(event: Progress) -> None:
        if event.stage == "predict" and event.done >= 1:
            token.cancel()

    with pytest.raises(Cancelled, match="go on with --resume"):
        nb.predict(
            model, source, out, threads=1, client=client, cancel=token, on_progress=stop
        )
    nb.predict(model, source, out, threads=1, resume=True)
    assert_same(out, tmp_path / "whole.ome.zarr")


def test_a_worker_that_dies_loses_nothing(
    tmp_path: Path, source: Path, client: Any
) -> None:
    model, out = random_teacher(), tmp_path / "out.ome.zarr"
    nb.predict(model, source, tmp_path / "whole.ome.zarr", threads=1)
    killed: list[int] = []

    def kill_one(event: Progress) -> None:
        if event.stage == "predict" and event.done >= 1 and not killed:
            killed.append(next(iter(client.run(os.getpid).values())))
            os.kill(killed[0], signal.SIGKILL)

    nb.predict(model, source, out, threads=1, client=client, on_progress=kill_one)
    assert killed
    assert_same(out, tmp_path / "whole.ome.zarr")


def test_what_failed_once_is_tried_again_when_a_run_is_gone_on_with(
    tmp_path: Path, source: Path, client: Any
) -> None:
    def fill_the_disk() -> None:
        from napari_blindspot.streaming import worker

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        worker.kept_for_later = worker.write_block
        worker.write_block = full

    def make_room() -> None:
        from napari_blindspot.streaming import worker

        worker.write_block = worker.kept_for_later

    model, out = random_student(), tmp_path / "out.ome.zarr"
    nb.predict(model, source, tmp_path / "whole.ome.zarr", threads=1)
    client.run(fill_the_disk)
    try:
        with pytest.raises(RunError, match="the disk is full") as held:
            nb.predict(model, source, out, threads=1, client=client)
    finally:
        client.run(make_room)
    nb.predict(model, source, out, threads=1, client=client, resume=True)
    assert held.value is not None  # with it lives all that it was raised from
    assert_same(tmp_path / "whole.ome.zarr", out)


def test_a_source_that_workers_cannot_read_is_refused(
    tmp_path: Path, source: Path, client: Any
) -> None:
    values = np.asarray(open_stack(source).data)
    with pytest.raises(InputError, match="needs its path, but got a ndarray"):
        nb.predict(random_teacher(), values, tmp_path / "o.ome.zarr", client=client)
    with pytest.raises(
        InputError, match=r"writes an OME-Zarr, but the output is '.*tif'"
    ):
        nb.predict(random_teacher(), source, tmp_path / "o.tif", client=client)
    with pytest.raises(InputError, match="the output is an array"):
        nb.predict(random_teacher(), source, client=client)


def test_a_damaged_source_ends_in_its_own_sentence(
    tmp_path: Path, source: Path, client: Any
) -> None:
    out = tmp_path / "out.ome.zarr"

    def truncate(event: Progress) -> None:
        if event.stage == "predict" and event.done >= 1:
            with source.open("r+b") as file:
                file.truncate(20_000)

    with pytest.raises((InputError, RunError), match=r"stack\.tif"):
        nb.predict(random_teacher(), source, out, client=client, on_progress=truncate)


def test_workers_of_another_version_are_refused(
    tmp_path: Path, source: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_blindspot.streaming.crew.__version__", "99.0")
    with pytest.raises(InputError, match=r"worker tcp.* has napari-blindspot .*99\.0"):
        nb.predict(random_teacher(), source, tmp_path / "o.ome.zarr", client=client)


def test_a_scheduler_that_does_not_answer_is_told_in_a_sentence(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_blindspot.streaming.crew._ANSWER_S", 0.5)
    with pytest.raises(RunError, match=r"tcp://127\.0\.0\.1:9 did not answer"):
        nb.predict(
            random_teacher(),
            source,
            tmp_path / "out.ome.zarr",
            scheduler="tcp://127.0.0.1:9",
        )
    assert not [one for one in tmp_path.iterdir() if "out" in one.name]


def test_processes_of_this_machine(tmp_path: Path, source: Path) -> None:
    model = random_teacher()
    nb.predict(model, source, tmp_path / "here.ome.zarr", threads=1)
    nb.predict(model, source, tmp_path / "there.ome.zarr", threads=1, workers=2)
    assert_same(tmp_path / "here.ome.zarr", tmp_path / "there.ome.zarr")


def test_a_scheduler_brings_its_own_workers() -> None:
    with pytest.raises(InputError, match="workers=2 cannot be given beside it"):
        nb.predict(random_teacher(), "a.tif", scheduler="tcp://x:1", workers=2)


def test_a_scheduler_is_looked_for_before_any_training(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_blindspot.streaming.crew._ANSWER_S", 0.5)
    stages: list[str] = []
    with pytest.raises(RunError, match="did not answer"):
        nb.denoise(
            source,
            tmp_path / "out.ome.zarr",
            scheduler="tcp://127.0.0.1:9",
            on_progress=lambda event: stages.append(event.stage),
        )
    assert "train" not in stages


def test_a_folder_is_one_job_of_the_same_workers(
    tmp_path: Path, rng: np.random.Generator, client: Any
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.tif", "b.tif"):
        values = rng.poisson(20, (4, 64, 64)).astype(np.uint16)
        tifffile.imwrite(folder / name, values, metadata={"axes": "ZYX"}, imagej=True)
    done = nb.denoise_folder(
        folder,
        tmp_path / "out",
        steps=2,
        start="cold",
        threads=1,
        one_model=True,
        scheduler=client.scheduler.address,
    )
    assert not done.failed
    alone = nb.predict(done.model, folder / "b.tif", threads=1).image
    (second,) = [one for one in done.files if one.source.name == "b.tif"]
    np.testing.assert_array_equal(arrays(second.output)[0], alone)
