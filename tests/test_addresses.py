"""Stacks and outputs at addresses: the same arrays, complete or not at any moment."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np
import pytest
import zarr

import napari_blindspot as nb
from models import random_teacher
from napari_blindspot.api import describe
from napari_blindspot.cli.program import main
from napari_blindspot.errors import Cancelled, InputError, OutputExistsError, RunError
from napari_blindspot.io import remote
from napari_blindspot.io.in_place import InPlaceOutput
from napari_blindspot.location import Address
from napari_blindspot.model_file import save_model
from stores import assert_same, levels, predict, write_stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCE = "memory://bucket/stack.zarr"
OUT, BESIDE = "memory://bucket/out.ome.zarr", "memory://bucket/out.uncertainty.ome.zarr"


@pytest.fixture(autouse=True)
def values(rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Write a stack into an empty store, and empty it again."""
    stack = rng.poisson(20, (8, 64, 300)).astype(np.uint16)
    write_stack(SOURCE, stack)
    yield stack
    memory().store.clear()


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    # Four blocks of two planes each.
    monkeypatch.setattr(
        "napari_blindspot.streaming.plan.block_shape",
        lambda shape, **_: (2, *shape[1:]),
    )


def memory() -> Any:
    return fsspec.filesystem("memory")


def keys() -> set[str]:
    return set(memory().find("/bucket"))


def test_a_stack_is_opened_lazily(values: np.ndarray) -> None:
    stack = nb.open_stack(SOURCE, voxel_size=(2, 1, 1))
    assert (stack.name, stack.axes, stack.path) == ("stack", "ZYX", Address(SOURCE))
    assert stack.voxel_size == (2, 1, 1)
    np.testing.assert_array_equal(stack.read({"Z": 3}), values[3])


def test_an_output_is_what_a_path_gets(tmp_path: Path) -> None:
    here = tmp_path / "out.ome.zarr"
    whole, there = predict(here, SOURCE), predict(OUT, SOURCE)
    assert_same(here, OUT)
    assert_same(tmp_path / "out.uncertainty.ome.zarr", BESIDE)
    np.testing.assert_array_equal(np.asarray(there.image), np.asarray(whole.image))
    assert not [key for key in keys() if "/run" in key or "partial" in key]
    assert str(there.path) == OUT
    again = describe(OUT)
    assert again["kind"] == "result"
    assert again["provenance"]["source"]["name"] == "stack.zarr"


@pytest.mark.parametrize("blocks", [1, 3])
def test_a_cancelled_run_is_gone_on_with(tmp_path: Path, blocks: int) -> None:
    predict(tmp_path / "whole.ome.zarr", SOURCE)
    with pytest.raises(Cancelled, match=r"kept in out\.ome\.zarr: go on with --resume"):
        predict(OUT, SOURCE, blocks)
    with pytest.raises(OutputExistsError, match=r"ended early.*--resume.*--overwrite"):
        predict(OUT, SOURCE)
    done: list[float] = []
    again = nb.predict(
        random_teacher(),
        SOURCE,
        OUT,
        resume=True,
        threads=1,
        uncertainty=True,
        on_progress=lambda e: done.append(e.done) if e.stage == "predict" else None,
    )
    assert done[0] >= blocks
    assert again.uncertainty is not None
    assert_same(tmp_path / "whole.ome.zarr", OUT)
    assert_same(tmp_path / "whole.uncertainty.ome.zarr", BESIDE)
    assert not [key for key in keys() if "/run" in key]


def test_other_settings_do_not_go_on(tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        predict(OUT, SOURCE, 1)
    before = keys()
    with pytest.raises(InputError, match="other settings"):
        predict(OUT, SOURCE, resume=True, strength=0.5)
    assert keys() == before
    predict(OUT, SOURCE, overwrite=True)
    predict(tmp_path / "whole.ome.zarr", SOURCE)
    assert_same(tmp_path / "whole.ome.zarr", OUT)


def test_a_complete_output_is_replaced_as_a_whole() -> None:
    predict(OUT, SOURCE)
    with pytest.raises(OutputExistsError, match="exists already"):
        predict(OUT, SOURCE)
    with pytest.raises(OutputExistsError, match="exists already"):
        predict(OUT, SOURCE, resume=True)
    first = levels(OUT)[0]
    zarr.open_group(f"{OUT}/labels", mode="a")
    predict(OUT, SOURCE, overwrite=True, strength=0.5)
    assert not [key for key in keys() if "labels" in key]
    assert (levels(OUT)[0] != first).any()


def test_an_uncertainty_that_is_not_asked_for_stays() -> None:
    predict(OUT, SOURCE)
    before = {key: memory().cat(key) for key in memory().find(BESIDE)}
    predict(OUT, SOURCE, overwrite=True, uncertainty=False)
    assert {key: memory().cat(key) for key in memory().find(BESIDE)} == before
    memory().rm(OUT, recursive=True)
    with pytest.raises(OutputExistsError, match=r"out\.uncertainty.*exists already"):
        predict(OUT, SOURCE)


def test_a_run_that_ended_between_two_outputs_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(tmp_path / "whole.ome.zarr", SOURCE)
    commit = InPlaceOutput.commit

    def only_the_first(self: InPlaceOutput) -> None:
        if "uncertainty" not in self.out.name:
            raise KeyboardInterrupt
        commit(self)

    with monkeypatch.context() as patch:
        patch.setattr(InPlaceOutput, "commit", only_the_first)
        with pytest.raises(KeyboardInterrupt):
            predict(OUT, SOURCE)
    assert not remote.holds_run(Address(BESIDE))
    assert remote.holds_run(Address(OUT))
    predict(OUT, SOURCE, resume=True)
    assert_same(tmp_path / "whole.ome.zarr", OUT)
    assert_same(tmp_path / "whole.uncertainty.ome.zarr", BESIDE)


def test_what_is_half_removed_counts_as_incomplete(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predict(OUT, SOURCE, uncertainty=False)
    system, removed = memory(), []

    def dying(self: Any, paths: list[str], **_: Any) -> None:
        system.rm_file(paths[0])
        removed.append(paths[0])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(system), "rm", dying)
        with pytest.raises(KeyboardInterrupt):
            remote.remove_store(Address(OUT))
    assert removed
    with pytest.raises(OutputExistsError, match="ended early"):
        predict(OUT, SOURCE)
    predict(OUT, SOURCE, overwrite=True)
    assert not remote.holds_run(Address(OUT))


def test_what_is_no_zarr_is_never_replaced() -> None:
    memory().pipe("/bucket/out.ome.zarr/thesis.tex", b"ten years")
    with pytest.raises(InputError, match="is no ZARR output"):
        predict(OUT, SOURCE, overwrite=True)
    assert memory().cat("/bucket/out.ome.zarr/thesis.tex") == b"ten years"


@pytest.mark.parametrize(
    ("out", "told"),
    [
        ("memory://bucket/out.tif", "is a TIFF, which is filled piece by piece"),
        ("https://host/out.ome.zarr", "lies on a web server"),
        (SOURCE, "is the input"),
        (f"{SOURCE}/out.ome.zarr", "lies inside it"),
        ("memory://bucket/out", "ends in no known format"),
        ("memory://bucket/*.zarr", "stand for several names"),
        ("nowhere://bucket/out.ome.zarr", "fsspec knows none; check the spelling"),
    ],
)
def test_outputs_that_cannot_be_written_are_refused(out: str, told: str) -> None:
    before = keys()
    with pytest.raises(InputError, match=told):
        predict(out, SOURCE, overwrite=True)
    assert keys() == before


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("memory://bucket/none.zarr", "there is no Zarr at memory://bucket/none"),
        ([SOURCE, SOURCE], "cannot be one of several files"),
    ],
)
def test_sources_that_cannot_be_read_are_refused(source: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        nb.open_stack(source)


def test_folders_of_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "stack.tif").write_bytes(b"any")
    with pytest.raises(InputError, match="folders of files lie on this machine"):
        nb.denoise_folder("memory://bucket", tmp_path / "out")
    with pytest.raises(InputError, match="folders of files lie on this machine"):
        nb.denoise_folder(tmp_path, "memory://bucket/out")


def test_a_damaged_chunk_is_told_with_its_place() -> None:
    chunk = f"{SOURCE}/c/1/0/0"
    memory().pipe(chunk, memory().cat(chunk)[:100])
    with pytest.raises(InputError, match=r"stack\.zarr could not be read at \[3:4"):
        nb.open_stack(SOURCE).read({"Z": 3})


def test_a_driver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = importlib.import_module("fsspec.registry")._registry
    monkeypatch.delitem(loaded, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InputError, match=r'pip install "napari-blindspot\[cloud\]"'):
        nb.open_stack("s3://bucket/stack.zarr")


def test_a_store_that_fails_half_way_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(tmp_path / "whole.ome.zarr", SOURCE)
    system = type(memory())
    original, written = system.pipe_file, []

    def failing(self: Any, path: str, value: Any, **rest: Any) -> None:
        if "/c/" in path and "/run/" not in path:
            written.append(path)
            if len(written) > 4:
                raise ConnectionResetError("the store hung up")
        original(self, path, value, **rest)

    with monkeypatch.context() as patch:
        patch.setattr(system, "pipe_file", failing)
        with pytest.raises(RunError, match=r"the store hung up.*go on with --resume"):
            predict(OUT, SOURCE)
    predict(OUT, SOURCE, resume=True)
    assert_same(tmp_path / "whole.ome.zarr", OUT)


def test_the_shell_takes_addresses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(save_model(random_teacher(), tmp_path / "model.safetensors"))
    words = ["denoise", SOURCE, OUT, "--model", model, "--threads", "1"]
    assert main(words) == 0
    assert OUT in capsys.readouterr().out
    assert main(words) == 2
    assert "exists already" in capsys.readouterr().err
    job = tmp_path / "job.yaml"
    job.write_text(f"input: {SOURCE}\noutput: {OUT}\nmodel: {model}\n")
    assert main(["denoise", "--config", str(job), "--overwrite"]) == 0
    capsys.readouterr()
    assert main(["info", OUT]) == 0
    assert "stack.zarr" in capsys.readouterr().out
    assert main(["train", SOURCE, "memory://bucket/m.safetensors"]) == 2
    assert "is an address, but a path" in capsys.readouterr().err
