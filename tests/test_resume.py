"""A run that ended early goes on where it stopped, and ends with the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr

import napari_blindspot as nb
from models import random_teacher
from napari_blindspot.cli import main
from napari_blindspot.errors import (
    Cancelled,
    InputError,
    OutputExistsError,
    RunError,
)
from napari_blindspot.io.run_store import RunStore
from napari_blindspot.model_file import save_model
from napari_blindspot.progress import CancelToken, Progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("tiny_networks")

NAMES = ["out.ome.zarr", "out.tif"]
SMALL = {"threads": 1, "uncertainty": True}


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    values = rng.poisson(20, (2, 2, 300, 310)).astype(np.uint16)
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, values, metadata={"axes": "TZYX"}, imagej=True)
    return path


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nine blocks of each time point instead of one.
    monkeypatch.setattr(
        "napari_blindspot.inference.predictor.Predictor.max_pixels",
        lambda _: 220 * 220,
    )


def stop_after(blocks: int) -> Callable[[CancelToken], Callable[[Progress], None]]:
    def stopping(token: CancelToken) -> Callable[[Progress], None]:
        def look(event: Progress) -> None:
            if event.stage == "predict" and event.done >= blocks:
                token.cancel()

        return look

    return stopping


def predict(out: Path, source: Path, blocks: int | None = None, **settings: Any) -> Any:
    token = CancelToken()
    watch = None if blocks is None else stop_after(blocks)(token)
    options = {**SMALL, **settings}
    return nb.predict(
        random_teacher(), source, out, cancel=token, on_progress=watch, **options
    )


def digest(path: Path) -> dict[str, str]:
    """Return the bytes of all pixels of an output, not of its metadata."""
    if path.is_file():
        return {"": hashlib.sha256(tifffile.imread(path).tobytes()).hexdigest()}
    files = (file for file in path.rglob("*") if file.is_file())
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.name != "zarr.json"
    }


@pytest.mark.parametrize("blocks", [1, 5, 16])
@pytest.mark.parametrize("name", NAMES)
def test_a_cancelled_run_is_gone_on_with_to_the_same_bytes(
    tmp_path: Path, source: Path, name: str, blocks: int
) -> None:
    whole = predict(tmp_path / f"whole_{name}", source)
    out = tmp_path / name
    with pytest.raises(Cancelled, match=r"kept in out.*partial: go on with --resume"):
        predict(out, source, blocks)
    assert not out.exists()
    done: list[float] = []
    resumed = nb.predict(
        random_teacher(),
        source,
        out,
        resume=True,
        on_progress=lambda e: done.append(e.done) if e.stage == "predict" else None,
        **SMALL,
    )
    assert done[0] >= blocks - 1  # at most the tile that was under way is done again
    assert digest(out) == digest(tmp_path / f"whole_{name}")
    np.testing.assert_array_equal(resumed.uncertainty, whole.uncertainty)
    assert resumed.metrics["expected_psnr"] == whole.metrics["expected_psnr"]
    left = {path.name for path in tmp_path.iterdir()}
    assert not {one for one in left if "partial" in one}


def test_the_windows_of_a_resumed_run_are_those_of_all_of_it(
    tmp_path: Path, source: Path
) -> None:
    predict(tmp_path / "whole.ome.zarr", source)
    with pytest.raises(Cancelled):
        predict(tmp_path / "out.ome.zarr", source, 9)
    predict(tmp_path / "out.ome.zarr", source, resume=True)
    first, second = (
        zarr.open_group(tmp_path / name, mode="r").attrs["ome"]["omero"]["channels"]
        for name in ("whole.ome.zarr", "out.ome.zarr")
    )
    assert [one["window"] for one in first] == [one["window"] for one in second]


@pytest.mark.parametrize("name", NAMES)
def test_a_second_run_without_leave_names_both_ways_out(
    tmp_path: Path, source: Path, name: str
) -> None:
    with pytest.raises(Cancelled):
        predict(tmp_path / name, source, 3)
    with pytest.raises(OutputExistsError, match=r"--resume.*--overwrite"):
        predict(tmp_path / name, source)
    predict(tmp_path / name, source, overwrite=True)
    assert (tmp_path / name).exists()


def test_another_run_is_not_gone_on_with(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out.ome.zarr"
    with pytest.raises(Cancelled):
        predict(out, source, 3)
    with pytest.raises(InputError, match=r"other settings \(strength=1\.0, now"):
        predict(out, source, resume=True, strength=0.5)
    with pytest.raises(InputError, match="with another model"):
        nb.predict(random_teacher(seed=9), source, out, resume=True, **SMALL)
    predict(out, source, resume=True)  # nothing of it was touched


def test_a_model_may_be_named_from_another_folder(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(random_teacher(), tmp_path / "model.safetensors")
    out, token = tmp_path / "out.ome.zarr", CancelToken()
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Cancelled):
        nb.denoise(
            source,
            out,
            model="model.safetensors",
            cancel=token,
            on_progress=stop_after(3)(token),
        )
    monkeypatch.chdir(tmp_path / "inside")
    nb.denoise(source, out, model="../model.safetensors", resume=True)
    assert out.exists()


def test_a_source_that_was_changed_is_not_gone_on_with(
    tmp_path: Path, source: Path
) -> None:
    out = tmp_path / "out.ome.zarr"
    with pytest.raises(Cancelled):
        predict(out, source, 3)
    values = tifffile.imread(source)
    tifffile.imwrite(source, values + 1, metadata={"axes": "TZYX"}, imagej=True)
    with pytest.raises(InputError, match=r"or it was changed since \(its date, pixels"):
        predict(out, source, resume=True)


def test_with_nothing_to_go_on_with_a_run_begins(tmp_path: Path, source: Path) -> None:
    result = predict(tmp_path / "out.ome.zarr", source, resume=True)
    assert result.image.shape == (2, 2, 300, 310)


def test_a_folder_that_is_no_run_of_ours_is_refused(
    tmp_path: Path, source: Path
) -> None:
    (tmp_path / "out.ome.zarr.partial").mkdir()
    with pytest.raises(InputError, match="holds no record of a run"):
        predict(tmp_path / "out.ome.zarr", source, resume=True)


@pytest.mark.parametrize(
    "lost",
    ["out.ome.zarr.partial/0", "out.uncertainty.ome.zarr.partial", "out.tif.partial"],
)
def test_an_output_that_lost_what_was_written_is_not_gone_on_with(
    tmp_path: Path, source: Path, lost: str
) -> None:
    out = tmp_path / ("out.tif" if "tif" in lost else "out.ome.zarr")
    with pytest.raises(Cancelled):
        predict(out, source, 3)
    path = tmp_path / lost
    if path.is_dir():
        shutil.rmtree(path)
    else:
        os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(InputError, match=r"the earlier run had begun to fill.*--overw"):
        predict(out, source, resume=True)
    assert not out.exists()


@pytest.mark.parametrize("size", [0, 8, 4099])
def test_a_row_that_was_cut_short_is_not_done(
    tmp_path: Path, source: Path, size: int
) -> None:
    predict(tmp_path / "whole.ome.zarr", source)
    out = tmp_path / "out.ome.zarr"
    with pytest.raises(Cancelled):
        predict(out, source, 5)
    rows = (tmp_path / "out.ome.zarr.partial" / "run" / "blocks" / "c").rglob("*")
    os.truncate(next(row for row in rows if row.is_file()), size)
    predict(out, source, resume=True)
    assert digest(out) == digest(tmp_path / "whole.ome.zarr")


@pytest.mark.parametrize("left", [None, b"", b'{"zarr_format": 3, "attr'])
def test_a_damaged_record_is_refused_in_words(
    tmp_path: Path, source: Path, left: bytes | None
) -> None:
    out = tmp_path / "out.ome.zarr"
    with pytest.raises(Cancelled):
        predict(out, source, 3)
    record = tmp_path / "out.ome.zarr.partial" / "run" / "zarr.json"
    record.unlink() if left is None else record.write_bytes(left)
    with pytest.raises(InputError, match=r"run, the record .* is damaged.*--overwrite"):
        predict(out, source, resume=True)
    predict(out, source, overwrite=True)
    assert out.exists()


def test_a_full_disk_leaves_what_was_done(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(tmp_path / "whole.ome.zarr", source)
    out = tmp_path / "out.ome.zarr"
    with monkeypatch.context() as patch:
        written = _full_after(patch, 5)
        with pytest.raises(RunError, match=r"disk is full.*go on with --resume"):
            predict(out, source)
    assert len(written) == 5
    predict(out, source, resume=True)
    assert digest(out) == digest(tmp_path / "whole.ome.zarr")


def _full_after(patch: pytest.MonkeyPatch, count: int) -> list[int]:
    """Let the disk be full after some files: half of the next one is written."""
    import errno

    from zarr.storage import _local

    written: list[int] = []
    original = _local._put

    def put(path: Path, value: Any, **rest: Any) -> Any:
        if "c" in path.parts and "run" not in path.parts:
            if len(written) == count:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.with_suffix(".half").write_bytes(b"half")
                path.with_suffix(".half").unlink()
                raise OSError(errno.ENOSPC, "No space left on device")
            written.append(1)
        return original(path, value, **rest)

    patch.setattr(_local, "_put", put)
    return written


def test_two_runs_do_not_write_the_same_output(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out.ome.zarr"
    refused: list[str] = []

    def meanwhile(event: Progress) -> None:
        if event.stage == "predict" and not refused:
            for way in ({"resume": True}, {"overwrite": True}):
                with pytest.raises(RunError, match="written by another run") as error:
                    predict(out, source, **way)
                refused.append(str(error.value))

    nb.predict(random_teacher(), source, out, on_progress=meanwhile, **SMALL)
    assert len(refused) == 2
    assert out.exists()


def test_a_trained_network_is_not_trained_again(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    values = rng.poisson(20, (4, 300, 300)).astype(np.uint16)
    options: dict[str, Any] = {"steps": 4, "axes": "ZYX", "start": "cold", "threads": 1}
    whole = nb.denoise(values, tmp_path / "whole.ome.zarr", **options)
    token, out = CancelToken(), tmp_path / "out.ome.zarr"
    with pytest.raises(Cancelled):
        nb.denoise(
            values, out, cancel=token, on_progress=stop_after(1)(token), **options
        )
    stages: list[str] = []
    resumed = nb.denoise(
        values,
        out,
        resume=True,
        on_progress=lambda e: stages.append(e.stage),
        **options,
    )
    assert "train" not in stages
    np.testing.assert_array_equal(np.asarray(resumed.image), np.asarray(whole.image))


_KILLED = """
import os, signal, sys
import napari_blindspot as nb
from napari_blindspot.inference.predictor import Predictor
from napari_blindspot.io.run_store import Ledger
from napari_blindspot.io.ome_zarr_sink import OmeZarrSink

Predictor.max_pixels = lambda self: 220 * 220
model, source, out, where, count = sys.argv[1:]
kind, name = {
    "after-the-shard": (OmeZarrSink, "write"),
    "after-the-record": (Ledger, "mark"),
    "before-the-names": (OmeZarrSink, "finish"),
}[where]
original, calls = getattr(kind, name), []

def dying(*args, **kwargs):
    if where == "before-the-names":
        os.kill(os.getpid(), signal.SIGKILL)
    result = original(*args, **kwargs)
    calls.append(1)
    if len(calls) == int(count):
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(kind, name, dying)
nb.predict(model, source, out, threads=1, uncertainty=True)
"""


@pytest.mark.parametrize(
    ("where", "count"),
    [("after-the-shard", 7), ("after-the-record", 5), ("before-the-names", 1)],
)
def test_a_killed_run_is_gone_on_with_to_the_same_bytes(
    tmp_path: Path, source: Path, where: str, count: int
) -> None:
    model = save_model(random_teacher(), tmp_path / "model.safetensors")
    whole, out = tmp_path / "whole.ome.zarr", tmp_path / "out.ome.zarr"
    nb.predict(model, source, whole, **SMALL)
    before = hashlib.sha256(source.read_bytes()).hexdigest()
    ended = subprocess.run(
        [sys.executable, "-c", _KILLED, *map(str, (model, source, out, where, count))],
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ended.returncode == -signal.SIGKILL
    assert not out.exists()
    nb.predict(model, source, out, resume=True, **SMALL)
    assert digest(out) == digest(whole)
    assert hashlib.sha256(source.read_bytes()).hexdigest() == before
    beside = tmp_path / "out.uncertainty.ome.zarr"
    assert digest(beside) == digest(tmp_path / "whole.uncertainty.ome.zarr")


def test_a_run_that_ended_between_two_names_is_completed(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_blindspot.io.outputs import PartialOutput

    predict(tmp_path / "whole.ome.zarr", source)
    out, commit = tmp_path / "out.ome.zarr", PartialOutput.commit

    def only_the_first(self: PartialOutput) -> None:
        if "uncertainty" not in self.out.name:
            raise KeyboardInterrupt
        commit(self)

    with monkeypatch.context() as patch:
        patch.setattr(PartialOutput, "commit", only_the_first)
        with pytest.raises(KeyboardInterrupt):
            predict(out, source)
    assert (tmp_path / "out.uncertainty.ome.zarr").exists()
    assert not out.exists()
    result = predict(out, source, resume=True)
    assert digest(out) == digest(tmp_path / "whole.ome.zarr")
    assert np.isfinite(np.asarray(result.uncertainty)).all()


@pytest.mark.parametrize("student", [None, "tiny"])
def test_a_training_that_was_stopped_is_gone_on_with(
    tmp_path: Path, rng: np.random.Generator, student: str | None
) -> None:
    values = rng.poisson(20, (4, 200, 200)).astype(np.uint16)
    options: dict[str, Any] = {
        "steps": 24,
        "axes": "ZYX",
        "start": "cold",
        "threads": 1,
        "student": student,
    }
    stage = "distill" if student else "train"
    whole = nb.denoise(values, tmp_path / "whole.ome.zarr", **options)
    token, out = CancelToken(), tmp_path / "out.ome.zarr"
    steps: list[float] = []

    def stop(event: Progress) -> None:
        steps.append(event.metrics.get("step", 0.0))
        if event.stage == stage and event.done > 50:
            token.cancel()

    with pytest.raises(Cancelled, match="go on with --resume"):
        nb.denoise(values, out, cancel=token, on_progress=stop, **options)
    after: list[float] = []
    resumed = nb.denoise(
        values,
        out,
        resume=True,
        on_progress=lambda e: after.append(e.metrics.get("step", 0.0)),
        **options,
    )
    assert min(filter(None, after)) > 12  # not from the first step again
    np.testing.assert_array_equal(np.asarray(resumed.image), np.asarray(whole.image))


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_ended_in_training_can_be_begun_anew(
    tmp_path: Path, rng: np.random.Generator, name: str
) -> None:
    values = rng.poisson(20, (4, 64, 64)).astype(np.uint16)
    options: dict[str, Any] = {"axes": "ZYX", "start": "cold", "threads": 1}
    token, out = CancelToken(), tmp_path / name

    def stop(event: Progress) -> None:
        if event.stage == "train" and event.metrics.get("step", 0) > 2:
            token.cancel()

    with pytest.raises(Cancelled):
        nb.denoise(values, out, cancel=token, on_progress=stop, steps=90, **options)
    with pytest.raises(OutputExistsError, match=r"partial.*--resume.*--overwrite"):
        nb.denoise(values, out, steps=90, **options)
    with pytest.raises(InputError, match=r"other settings \(steps=90, now steps=2\)"):
        nb.denoise(values, out, resume=True, steps=2, **options)
    nb.denoise(values, out, overwrite=True, steps=2, **options)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_result_in_memory_is_not_gone_on_with(rng: np.random.Generator) -> None:
    values = rng.poisson(20, (4, 64, 64)).astype(np.uint16)
    with pytest.raises(InputError, match="kept in memory"):
        nb.predict(random_teacher(), values, axes="ZYX", resume=True)


@pytest.fixture
def small(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "small.tif"
    values = rng.poisson(20, (3, 40, 40)).astype(np.uint16)
    tifffile.imwrite(path, values, metadata={"axes": "ZYX"}, imagej=True)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_a_job_that_is_started_again_when_it_is_done_ends_well(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    model = save_model(random_teacher(), tmp_path / "m.safetensors")
    words = ["denoise", str(small), str(tmp_path / name), "--model", str(model)]
    assert main([*words, "--uncertainty", "--resume", "--threads", "1"]) == 0
    made = digest(tmp_path / name)
    capsys.readouterr()
    assert main([*words, "--uncertainty", "--resume", "--json"]) == 0
    assert "complete already" in json.loads(capsys.readouterr().out)["kept"]
    assert digest(tmp_path / name) == made


@pytest.mark.parametrize(
    "change", ["strength", "uncertainty", "source", "model", "start"]
)
def test_a_complete_output_of_another_run_is_refused(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    model = save_model(random_teacher(), tmp_path / "m.safetensors")
    out = tmp_path / "out.tif"
    by = ["--start", "--steps", "0"] if change == "start" else ["--model"]
    words = ["denoise", str(small), str(out), by[0], str(model), *by[1:], "--resume"]
    assert main([*words, "--threads", "1"]) == 0
    if change == "source":
        tifffile.imwrite(small, tifffile.imread(small)[::-1], imagej=True)
    elif change in ("model", "start"):
        save_model(random_teacher(seed=6), model, overwrite=True)
    options = {"strength": ["--strength", "0.5"], "uncertainty": ["--uncertainty"]}
    made = out.read_bytes()
    assert main([*words, *options.get(change, [])]) == 2
    assert "exists already" in capsys.readouterr().err
    assert out.read_bytes() == made


def test_a_file_of_others_is_no_complete_output(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    out.write_bytes(b"precious")
    assert main(["denoise", str(small), str(out), "--steps", "0", "--resume"]) == 2
    assert out.read_bytes() == b"precious"


def test_what_a_stopped_training_left_is_said_to_be_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = tmp_path / "out.ome.zarr.partial"
    RunStore(left / "run")
    assert main(["info", str(left)]) == 2
    said = capsys.readouterr().err
    assert "was left by a run that was stopped before its first block" in said
    assert "the command that makes out.ome.zarr once more with --resume to go" in said
