"""The throughput benchmark on small planes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr

if TYPE_CHECKING:
    from types import ModuleType

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def throughput(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import throughput

    monkeypatch.setattr(throughput, "SIDE", 128)
    monkeypatch.setattr(throughput, "CHUNK", 64)
    return throughput


def test_the_store_repeats_one_noisy_stack(
    throughput: ModuleType, tmp_path: Path
) -> None:
    planes = throughput.planes_of(20.4 * 128**2)
    array = zarr.open_array(throughput.make_store(tmp_path, planes), mode="r")
    assert array.shape == (20, 128, 128)
    values = np.asarray(array[:])
    first = values[:16, :64, :64]
    assert first.std() > 5
    np.testing.assert_array_equal(values[:16, 64:, 64:], first)
    np.testing.assert_array_equal(values[16:, :64, :64], first[:4])


@pytest.mark.slow
def test_shares_of_the_time_are_told(throughput: ModuleType, tmp_path: Path) -> None:
    words = ["--models", "tiny", "--runs", "1", "--voxels", "1", "--device", "cpu"]
    throughput.main([*words, "--out", str(tmp_path)])
    facts = json.loads((tmp_path / "throughput-cpu.json").read_text(encoding="utf-8"))
    found = facts["found"]["tiny, 16 planes"]
    times = found["times"]
    spent = times["compute"] + times["wait_read"] + times["wait_write"]
    assert spent + found["finish"] == pytest.approx(found["seconds"], rel=0.2)
    assert found["voxels"] == 16 * 128**2
    assert found["cpu_seconds"] > times["compute"] / 10
    assert "| tiny | 0 | 1 |" in (tmp_path / "throughput-cpu.md").read_text("utf-8")
