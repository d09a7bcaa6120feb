"""A full run tells what it waited for: reading, computing or writing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import torch

import napari_blindspot as nb
from models import random_student
from napari_blindspot.inference.predictor_student import StudentPredictor
from napari_blindspot.io.array_sink import ArraySink
from napari_blindspot.planes import plane_series
from napari_blindspot.stack import Stack
from napari_blindspot.streaming.times import Times
from streams import stream_blocks

if TYPE_CHECKING:
    from pathlib import Path

_PAUSE = 0.05  # seconds, far more than the work on a tile
_TILES = 8


class SlowSink(ArraySink):
    """Takes a while for every block."""

    pause = 0.0

    def write(self, region: tuple[slice, ...], block: np.ndarray) -> None:
        time.sleep(self.pause)
        super().write(region, block)


def streamed(
    *, reading: float = 0.0, computing: float = 0.0, writing: float = 0.0
) -> Times:
    def slowly(block: np.ndarray) -> np.ndarray:
        time.sleep(reading)
        return block

    class SlowPredictor(StudentPredictor):
        def _run(self, *args: Any) -> Any:
            time.sleep(computing)
            return super()._run(*args)

    values = np.random.default_rng(3).normal(50, 5, (_TILES, 32, 32)).astype("f4")
    data = da.from_array(values, chunks=(1, 32, 32)).map_blocks(slowly, dtype="f4")
    predictor = SlowPredictor(random_student(context=0), torch.device("cpu"))
    series = plane_series(Stack(data, "ZYX"), "none")
    fields = [predictor.noise_field(0)]
    sink = SlowSink(values.shape, values.dtype)
    sink.pause = writing
    return stream_blocks(predictor, series, fields, (1, 32, 32), sink).times


@pytest.mark.parametrize(
    ("slow", "part"),
    [
        pytest.param("reading", "wait_read", id="reading"),
        pytest.param("computing", "compute", id="computing"),
        pytest.param("writing", "wait_write", id="writing"),
    ],
)
def test_most_of_the_time_belongs_to_what_is_slow(slow: str, part: str) -> None:
    found = streamed(**{slow: _PAUSE}).as_dict()
    assert found[part] > _TILES / 2 * _PAUSE
    assert found[part] > found["total"] / 2
    parts = found["compute"] + found["wait_read"] + found["wait_write"]
    assert parts == pytest.approx(found["total"])


def test_reading_and_writing_go_on_while_the_network_computes() -> None:
    found = streamed(reading=_PAUSE, computing=_PAUSE, writing=_PAUSE)
    least = (_TILES - 1) * _PAUSE
    assert min(found.read, found.compute, found.write) > least
    assert found.read + found.compute + found.write > 1.5 * found.total


def test_the_time_of_what_fails_counts() -> None:
    times = Times()

    def fail() -> None:
        with times.of("read"):
            time.sleep(_PAUSE)
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert times.read >= _PAUSE


def test_a_run_tells_its_times(tmp_path: Path) -> None:
    values = np.random.default_rng(3).normal(50, 5, (4, 300, 64)).astype("f4")
    metrics = nb.predict(
        random_student(), values, tmp_path / "out.ome.zarr", axes="ZYX", threads=1
    ).metrics
    times = metrics["predict_times"]
    assert 0 < times["total"] <= metrics["seconds_predict"]
    assert min(times.values()) >= 0
    assert times["read"] > 0
    assert times["write"] > 0
    assert metrics["seconds_finish"] > 0
