"""Outputs that are refused, replaced or given up; nothing of the user's is lost."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr

import napari_blindspot as nb
from io_files import fill, pixels
from napari_blindspot.errors import InputError, OutputExistsError, RunError
from napari_blindspot.io import check_output, open_sink, open_stack, uncertainty_path
from napari_blindspot.progress import run

if TYPE_CHECKING:
    from napari_blindspot.stack import Stack

FLOAT = np.dtype("float32")
BLOCK = (4, 32, 32)
NAMES = ["out.ome.zarr", "out.tif"]


@pytest.fixture
def stack() -> Stack:
    return open_stack(pixels(4, 32, 32))


def _finish(out: Path, stack: Stack, offset: float, *, overwrite: bool) -> None:
    sink = open_sink(out, stack, FLOAT, BLOCK, provenance={}, overwrite=overwrite)
    fill(sink, stack.data.compute().astype("float32") + np.float32(offset), BLOCK)
    run(sink.finish())


def _offset(out: Path, stack: Stack) -> float:
    return float((open_stack(out).data - stack.data).mean().compute())


@pytest.mark.parametrize("name", ["out.png", "out", "out.zarr.zip", ".zarr", "a.npy"])
def test_unknown_formats_are_refused_with_the_list(
    tmp_path: Path, stack: Stack, name: str
) -> None:
    with pytest.raises(InputError, match=r"\.ome\.zarr, \.zarr, \.ome\.tif"):
        check_output(tmp_path / name, stack, overwrite=False)


def test_no_output_is_never_refused(stack: Stack) -> None:
    check_output(None, stack, overwrite=False)


@pytest.mark.parametrize("name", NAMES)
def test_an_existing_output_is_kept_unless_overwriting(
    tmp_path: Path, stack: Stack, name: str
) -> None:
    out = tmp_path / name
    _finish(out, stack, 1.0, overwrite=False)
    with pytest.raises(OutputExistsError, match=r"another name, or .*--overwrite"):
        _finish(out, stack, 2.0, overwrite=False)
    assert _offset(out, stack) == pytest.approx(1.0)
    _finish(out, stack, 2.0, overwrite=True)
    assert _offset(out, stack) == pytest.approx(2.0)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", NAMES)
def test_an_old_output_survives_a_run_that_is_given_up(
    tmp_path: Path, stack: Stack, name: str
) -> None:
    out = tmp_path / name
    _finish(out, stack, 1.0, overwrite=False)
    sink = open_sink(out, stack, FLOAT, BLOCK, provenance={}, overwrite=True)
    sink.write(np.s_[0:4, 0:32, 0:32], np.zeros(BLOCK, "float32"))
    assert _offset(out, stack) == pytest.approx(1.0)
    sink.abort()
    sink.abort()
    assert _offset(out, stack) == pytest.approx(1.0)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", NAMES)
def test_a_leftover_partial_is_told_and_replaced_on_request(
    tmp_path: Path, stack: Stack, name: str
) -> None:
    out = tmp_path / name
    _finish(out, stack, 0.0, overwrite=False)
    out.rename(tmp_path / f"{name}.partial")
    with pytest.raises(OutputExistsError, match="left by a run that ended early"):
        check_output(out, stack, overwrite=False)
    _finish(out, stack, 1.0, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_overwriting_spares_what_is_no_output_of_this_kind(
    tmp_path: Path, stack: Stack
) -> None:
    for name in NAMES:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "precious.txt").write_text("x")
        with pytest.raises(InputError, match="is not replaced"):
            check_output(folder, stack, overwrite=True)
    (tmp_path / "file.zarr").write_text("x")
    with pytest.raises(InputError, match="is not replaced"):
        check_output(tmp_path / "file.zarr", stack, overwrite=True)


def test_the_input_is_never_the_output(tmp_path: Path) -> None:
    store = tmp_path / "in.zarr"
    zarr.create_group(store).create_array("raw", data=pixels(4, 32, 32))
    stack = open_stack(store)
    with pytest.raises(InputError, match="is the input itself"):
        check_output(store, stack, overwrite=True)
    with pytest.raises(InputError, match="lies inside the input"):
        check_output(store / "out.ome.zarr", stack, overwrite=True)
    (tmp_path / "link.zarr").symlink_to(store)
    with pytest.raises(InputError, match="is the input itself"):
        check_output(tmp_path / "link.zarr", stack, overwrite=True)
    inner = open_stack(store / "raw")
    with pytest.raises(InputError, match="holds the input"):
        check_output(store, inner, overwrite=True)


@pytest.mark.parametrize("name", ["dark", "gain_map"])
def test_no_file_of_the_camera_is_the_output(tmp_path: Path, name: str) -> None:
    source, camera = tmp_path / "in.tif", tmp_path / "camera.tif"
    for path in (source, camera):
        tifffile.imwrite(path, pixels(8, 32, 32))
    before = camera.read_bytes()
    settings = {name: camera, "steps": 0, "overwrite": True}
    with pytest.raises(InputError, match=rf"is the file of {name}= itself"):
        nb.denoise(source, camera, **settings)
    assert camera.read_bytes() == before
    store = tmp_path / "camera.uncertainty.ome.zarr"
    zarr.create_group(store).create_array("raw", data=pixels(8, 32, 32))
    settings[name] = store / "raw"
    with pytest.raises(InputError, match=rf"holds the file of {name}="):
        nb.denoise(source, tmp_path / "camera.ome.zarr", uncertainty=True, **settings)
    assert (store / "raw").is_dir()


@pytest.mark.parametrize("as_list", [True, False])
def test_no_file_of_a_series_is_overwritten(tmp_path: Path, as_list: bool) -> None:
    files = [tmp_path / f"plane_{i}.tif" for i in (1, 2, 10)]
    for file in files:
        tifffile.imwrite(file, pixels(32, 32))
    stack = open_stack(files if as_list else tmp_path / "plane_*.tif")
    with pytest.raises(InputError, match="is the input itself"):
        check_output(tmp_path / "plane_2.tif", stack, overwrite=True)
    check_output(tmp_path / "denoised.tif", stack, overwrite=False)


def test_a_missing_or_closed_folder_is_refused(
    tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="folder that does not exist"):
        check_output(tmp_path / "no" / "out.zarr", stack, overwrite=False)
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(InputError, match="may not write"):
        check_output(tmp_path / "out.zarr", stack, overwrite=False)


def test_a_tiff_that_cannot_fit_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def usage(path: Path) -> Any:
        return SimpleNamespace(free=10**9)

    huge = open_stack(np.broadcast_to(np.uint16(1), (1000, 2000, 2000)))
    monkeypatch.setattr("shutil.disk_usage", usage)
    with pytest.raises(RunError, match=r"needs 8 GB but its disk has 1 GB free"):
        check_output(tmp_path / "out.tif", huge, overwrite=False)
    check_output(tmp_path / "out.ome.zarr", huge, overwrite=False)


def _full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        pytest.param("out.ome.zarr", "zarr.Array.__setitem__", id="zarr"),
        pytest.param(
            "out.tif", "napari_blindspot.io.tiff_sink._contiguous_runs", id="tiff"
        ),
    ],
)
def test_a_full_disk_is_one_sentence_and_can_be_given_up(
    tmp_path: Path,
    stack: Stack,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    broken: str,
) -> None:
    sink = open_sink(
        tmp_path / name, stack, FLOAT, BLOCK, provenance={}, overwrite=False
    )
    monkeypatch.setattr(broken, _full)
    with pytest.raises(RunError, match=r"the disk is full: .* are free; make room"):
        sink.write(np.s_[0:4, 0:32, 0:32], np.zeros(BLOCK, "float32"))
    sink.abort()
    assert list(tmp_path.iterdir()) == []


def test_other_write_errors_name_the_file(
    tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("zarr.open_group", denied)
    with pytest.raises(RunError, match=r"out\.zarr could not be written \(Permission"):
        open_sink(
            tmp_path / "out.zarr", stack, FLOAT, BLOCK, provenance={}, overwrite=False
        )
    assert list(tmp_path.iterdir()) == []


def test_the_old_output_comes_back_if_the_last_rename_fails(
    tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.ome.zarr"
    _finish(out, stack, 1.0, overwrite=False)
    sink = open_sink(out, stack, FLOAT, BLOCK, provenance={}, overwrite=True)
    rename = Path.rename

    def fail_for_partial(self: Path, target: Path) -> Path:
        if self.suffix == ".partial":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_partial)
    with pytest.raises(RunError, match="could not be written"):
        run(sink.finish())
    sink.abort()
    assert _offset(out, stack) == pytest.approx(1.0)
    assert [p.name for p in tmp_path.iterdir()] == [out.name]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.ome.zarr", "a.uncertainty.ome.zarr"),
        ("a.zarr", "a.uncertainty.ome.zarr"),
        ("a.ome.tif", "a.uncertainty.ome.zarr"),
        ("a.b.TIFF", "a.b.uncertainty.ome.zarr"),
    ],
)
def test_the_uncertainty_lies_beside_the_output(name: str, expected: str) -> None:
    assert uncertainty_path(Path("x") / name) == Path("x") / expected
