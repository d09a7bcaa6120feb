"""Stores, sources, processes and schedulers that fail: nothing is lost by it."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr

import napari_blindspot as nb
from models import random_student
from napari_blindspot.errors import InputError, RunError, SourceError
from napari_blindspot.inference.predictor_student import StudentPredictor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_blindspot.progress import Progress

SHAPE = (4, 640, 640)
CHUNK = (4, 400, 400)  # more than 1 MiB, so that each is read by itself


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "stack.zarr"
    array = zarr.create_array(
        path,
        shape=SHAPE,
        chunks=CHUNK,
        dtype="u2",
        dimension_names=("z", "y", "x"),
    )
    array[:] = rng.poisson(20, array.shape)
    return path


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    # 25 blocks instead of one.
    monkeypatch.setattr(
        "napari_blindspot.inference.predictor.Predictor.max_pixels",
        lambda _: 220 * 220,
    )


def predict(source: Path, out: Path, **settings: Any) -> Any:
    return nb.predict(random_student(), source, out, threads=1, **settings)


def digest(path: Path) -> dict[str, str]:
    """Return the bytes of all pixels of an output, not of its metadata."""
    files = (file for file in path.rglob("*") if file.is_file())
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.name != "zarr.json" and file.relative_to(path).parts[0] != "run"
    }


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("after", [4, 9, 21])
def test_a_store_that_becomes_read_only_keeps_what_it_has(
    tmp_path: Path,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    after: int,
) -> None:
    whole, out = tmp_path / "whole.ome.zarr", tmp_path / "out.ome.zarr"
    predict(source, whole)
    with monkeypatch.context() as patch:
        _read_only_after(patch, after, number)
        said = rf"{os.strerror(number)}.*check the permissions.*go on with --resume"
        with pytest.raises(RunError, match=said):
            predict(source, out)
    assert not out.exists()
    before = digest(tmp_path / "out.ome.zarr.partial")
    assert before
    predict(source, out, resume=True)
    assert digest(out) == digest(whole)


def _read_only_after(patch: pytest.MonkeyPatch, count: int, number: int) -> None:
    """Refuse every file from some on, pixels and records alike."""
    from zarr.storage import _local

    written: list[int] = []
    original = _local._put

    def put(path: Path, value: Any, **rest: Any) -> Any:
        if "c" in path.parts:
            if len(written) >= count:
                raise OSError(number, os.strerror(number), str(path))
            written.append(1)
        return original(path, value, **rest)

    patch.setattr(_local, "_put", put)


@pytest.mark.parametrize("shared", [False, True])
def test_a_chunk_that_cannot_be_read_stops_a_run_that_can_go_on(
    tmp_path: Path, source: Path, shared: bool
) -> None:
    if shared:
        pytest.importorskip("distributed")
    options = {"workers": 1} if shared else {}
    whole, out = tmp_path / "whole.ome.zarr", tmp_path / "out.ome.zarr"
    predict(source, whole)
    chunk = source / "c" / "0" / "1" / "1"  # of the last block alone
    good = chunk.read_bytes()
    chunk.write_bytes(good[: len(good) // 2])
    said = r"stack\.zarr could not be read at \[0:4, 400:640, 400:640\].*--resume"
    with pytest.raises(SourceError, match=said):
        predict(source, out, **options)
    assert not out.exists()
    with pytest.raises(SourceError, match=said):
        predict(source, out, resume=True, **options)
    chunk.write_bytes(good)
    done: list[float] = []
    predict(
        source,
        out,
        resume=True,
        on_progress=lambda e: done.append(e.done) if e.stage == "predict" else None,
    )
    assert done[0] >= 1
    assert digest(out) == digest(whole)


def test_a_source_that_cannot_be_told_apart_leaves_nothing_behind(
    tmp_path: Path, source: Path
) -> None:
    chunk = source / "c" / "0" / "0" / "0"  # holds what a source is known by again
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:100])
    out = tmp_path / "out.ome.zarr"
    with pytest.raises(InputError, match=r"stack\.zarr could not be read"):
        predict(source, out)
    assert not [one for one in tmp_path.iterdir() if "out" in one.name]
    chunk.write_bytes(whole)
    predict(source, out)


def test_a_source_that_was_exchanged_is_not_gone_on_with(
    tmp_path: Path, source: Path, rng: np.random.Generator
) -> None:
    out, chunk = tmp_path / "out.ome.zarr", source / "c" / "0" / "1" / "1"
    chunk.write_bytes(chunk.read_bytes()[:9])
    with pytest.raises(SourceError):
        predict(source, out)
    zarr.open_array(source, mode="r+")[:] = rng.poisson(30, SHAPE)
    with pytest.raises(InputError, match="another source, or it was changed since"):
        predict(source, out, resume=True)


def test_black_parts_of_a_stack_are_written_too(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copied(self: Any, t: np.ndarray, *_: Any, **__: Any) -> Any:
        return t[:, self.context].copy(), np.zeros_like(t[:, 0])

    monkeypatch.setattr(StudentPredictor, "_run", copied)
    array = zarr.open_array(source, mode="r+")
    array[:, 200:] = 0  # nothing but fill values, of which zarr makes no files
    model, out = random_student(), tmp_path / "out.ome.zarr"
    result = nb.predict(model, source, out, threads=1, dtype="same")
    np.testing.assert_array_equal(np.asarray(result.image), array[:])


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_run_killed_again_and_again_ends_with_the_same_bytes(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    stack = tmp_path / "stack.tif"
    values = rng.poisson(20, (4, 300, 310)).astype(np.uint16)
    tifffile.imwrite(stack, values, metadata={"axes": "ZYX"}, imagej=True)
    whole = tmp_path / "whole.ome.zarr"
    began = time.monotonic()
    assert _denoise(stack, whole).wait() == 0
    seconds = time.monotonic() - began
    chance, kills, ends = np.random.default_rng(20), 0, 0
    while kills < 20:
        out = tmp_path / f"out{ends}.ome.zarr"
        running = _denoise(stack, out, "--resume")
        try:
            code = running.wait(float(chance.uniform(0.2, 0.9)) * seconds)
        except subprocess.TimeoutExpired:
            running.kill()
            assert running.wait() == -signal.SIGKILL
            kills += 1
            if not out.exists():  # else it was killed after the last rename
                continue
        else:
            assert code == 0
        assert digest(out) == digest(whole)
        ends += 1
    last = tmp_path / f"out{ends}.ome.zarr"
    assert _denoise(stack, last, "--resume").wait() == 0
    assert digest(last) == digest(whole)
    shutil.rmtree(last)
    np.testing.assert_array_equal(tifffile.imread(stack), values)


_SMALL_BLOCKS = """
import sys
from napari_blindspot.cli import main
from napari_blindspot.inference.predictor import Predictor

Predictor.max_pixels = lambda self: 220 * 220
sys.exit(main())
"""


def _denoise(stack: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    words = ["denoise", str(stack), str(out), "--steps", "6", "--seed", "3"]
    words += ["--threads", "1", "--start", "cold", *more]
    return subprocess.Popen(
        [sys.executable, "-c", _SMALL_BLOCKS, *words],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_scheduler_that_was_started_again_completes_the_run(
    tmp_path: Path, source: Path
) -> None:
    pytest.importorskip("distributed")
    whole, out = tmp_path / "whole.ome.zarr", tmp_path / "out.ome.zarr"
    predict(source, whole)
    port = _free_port()
    address = f"tcp://127.0.0.1:{port}"
    killed: list[float] = []
    for scheduler in _scheduler_and_worker(port):

        def kill(event: Progress, scheduler: Any = scheduler) -> None:
            if event.stage == "predict" and event.done >= 1 and not killed:
                killed.append(event.done)
                scheduler.kill()

        with pytest.raises(RunError, match=r"scheduler.*go on with --resume"):
            predict(source, out, scheduler=address, on_progress=kill)
    assert killed
    assert not out.exists()
    first: list[float] = []
    for _ in _scheduler_and_worker(port):
        predict(
            source,
            out,
            scheduler=address,
            resume=True,
            on_progress=lambda e: (
                first.append(e.done) if e.stage == "predict" else None
            ),
        )
    assert first[0] >= 1
    assert digest(out) == digest(whole)


def _scheduler_and_worker(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start both as processes of their own, and end them afterwards."""
    module, where = "distributed.cli.dask_", f"tcp://127.0.0.1:{port}"
    own = ["scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    told = ["worker", where, "--nthreads", "1", "--no-dashboard", "--memory-limit", "0"]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", module + name, *words], stderr=subprocess.DEVNULL
        )
        for name, *words in (own, [*told, "--death-timeout", "20"])
    ]
    try:
        _wait_for(port)
        yield running[0]
    finally:
        for one in running:
            one.terminate()
        for one in running:
            one.wait(60)


def _wait_for(port: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise TimeoutError(f"nothing listens at port {port}")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
