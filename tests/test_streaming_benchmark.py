"""The parts of the streaming benchmark on small stacks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr

import napari_blindspot as nb
from napari_blindspot.streaming import work

if TYPE_CHECKING:
    from types import ModuleType

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import _streaming_parts

    monkeypatch.setattr(work, "make_predictor", work.make_predictor)  # put back after
    return _streaming_parts


def test_a_source_is_noise_that_takes_no_room(
    parts: ModuleType, tmp_path: Path
) -> None:
    path = parts.make_source(tmp_path / "s.zarr", (64, 256, 1280), real=2)
    array = zarr.open_array(path, mode="r")
    assert array[:16].std() > 5
    assert (array[16:32] == array[16, 0, 0]).all()
    assert (array[0, :, :256] != array[0, :, 256:512]).any()
    np.testing.assert_array_equal(array[:16, :, 1024:], array[:16, :, :256])
    files = [file.stat().st_ino for file in (path / "c").rglob("*") if file.is_file()]
    assert len(files) == 10
    assert len(set(files)) < 10


def test_copies_go_through_the_engine_and_are_counted(
    parts: ModuleType, tmp_path: Path
) -> None:
    source = parts.make_source(tmp_path / "s.zarr", (32, 256, 256))
    parts.use_copies()
    from _streaming_counts import counted

    with counted(source) as seen:
        result = nb.predict(
            parts.copying_model(), source, tmp_path / "o.ome.zarr", threads=1
        )
    values = zarr.open_array(source, mode="r")[:]
    np.testing.assert_array_equal(np.asarray(result.image), values)
    assert seen["read c/0/0/0"] >= 1
    assert any(name.startswith("write ") for name in seen)


@pytest.mark.slow
def test_the_page_shows_all_parts(
    parts: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("distributed")
    import streaming

    for name, value in (("SIDE", 256), ("RATE_SIDE", 512), ("TILE", 256)):
        monkeypatch.setattr(streaming, name, value)
    words = ["--sizes", "0.002", "0.004", "--memory", "2GB", "--voxels", "8e6"]
    words += ["--runs", "1", "--workers", "1", "--delay", "0", "--out", str(tmp_path)]
    streaming.main(words)
    facts = json.loads((tmp_path / "streaming-cpu.json").read_text("utf-8"))
    assert facts["memory"]["copies, 0.002 GB"]["reads"] >= 1
    rate = facts["rate"]["copies, whole planes"]
    assert rate["writes"] == rate["files"] > 0
    page = (tmp_path / "streaming-cpu.md").read_text("utf-8")
    assert "| student, parts of planes |" in page
    assert "| 1 |" in page
