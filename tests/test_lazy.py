"""A lazy result: computed where it is looked at, with the values of a full run."""

from __future__ import annotations

import gc
import pickle
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
import pytest

import napari_blindspot as nb
from models import random_student, random_teacher
from napari_blindspot.errors import InputError, RunError
from napari_blindspot.streaming.lazy import LazyBlock

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "napari_blindspot.streaming.plan.block_shape", lambda *_, **__: (2, 64, 64)
    )


@pytest.mark.parametrize("kind", ["teacher", "student", "joint"])
def test_every_chunk_is_what_a_full_run_gives(
    rng: np.random.Generator, kind: str
) -> None:
    model = {
        "teacher": random_teacher(starts=2),
        "student": random_student(),
        "joint": random_teacher(channels=2),
    }[kind]
    values = rng.poisson(20, (2, 2, 5, 100, 90)).astype(np.uint16)
    wants_std = kind != "student"
    options: dict[str, Any] = {"axes": "TCZYX", "uncertainty": wants_std}
    whole = nb.predict(model, values, **options)
    lazy = nb.predict(model, values, lazy=True, **options)
    assert isinstance(lazy.image, da.Array)
    assert lazy.image.chunks[2:] == ((2, 2, 1), (64, 36), (64, 26))
    with dask.config.set(scheduler="threads"):
        image = lazy.image.compute()
        part = lazy.image[1, 0, 3, 60:70, 10:80].compute()
    size = np.ptp(whole.image)
    np.testing.assert_allclose(image, whole.image, rtol=1e-5, atol=1e-5 * size)
    np.testing.assert_array_equal(part, image[1, 0, 3, 60:70, 10:80])
    assert (lazy.uncertainty is not None) == wants_std
    if lazy.uncertainty is not None:
        np.testing.assert_allclose(
            lazy.uncertainty.compute(), whole.uncertainty, rtol=1e-4, atol=1e-5 * size
        )


def test_only_what_is_asked_for_is_read(rng: np.random.Generator) -> None:
    reads: list[Any] = []

    def counted(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        reads.append(block_info[0]["chunk-location"])
        return block

    values = rng.poisson(20, (40, 70, 70)).astype(np.uint16)
    data = da.from_array(values, chunks=(1, 70, 70)).map_blocks(counted, dtype="u2")
    lazy = nb.predict(random_student(), data, axes="ZYX", lazy=True)
    reads.clear()
    lazy.image[20].compute()
    assert {place[0] for place in reads} == {19, 20, 21, 22}


def test_the_graph_holds_neither_model_nor_pixels(rng: np.random.Generator) -> None:
    values = rng.poisson(20, (6, 200, 200)).astype(np.uint16)
    lazy = nb.predict(random_teacher(), values, axes="ZYX", lazy=True)
    assert len(pickle.dumps(dict(lazy.image.__dask_graph__()))) < 60_000


def test_a_result_that_nobody_has_is_let_go(rng: np.random.Generator) -> None:
    values = rng.poisson(20, (2, 40, 40)).astype(np.uint16)
    part = nb.predict(random_student(), values, axes="ZYX", lazy=True).image[0]
    gc.collect()
    assert part.compute().shape == (40, 40)
    (name,) = LazyBlock._open
    sent = pickle.loads(pickle.dumps(LazyBlock(name, 0)))
    assert sent([(0, 1), (0, 4), (0, 4)], "float32").shape == (1, 4, 4)
    del part
    gc.collect()
    assert not LazyBlock._open


def test_another_process_is_told_what_to_do() -> None:
    stranger = LazyBlock("made elsewhere", 0)
    with pytest.raises(RunError, match="belongs to the process that made it"):
        stranger([(0, 1), (0, 4), (0, 4)], "float32")


def test_a_lazy_result_has_no_output(tmp_path: Path, rng: np.random.Generator) -> None:
    values = rng.poisson(20, (4, 40, 40)).astype(np.uint16)
    with pytest.raises(InputError, match="lazy=True computes nothing"):
        nb.predict(random_teacher(), values, tmp_path / "o.ome.zarr", lazy=True)
