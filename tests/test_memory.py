"""What a run may hold, what it does when the device is full, and who reads what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import psutil
import pytest
import torch

import napari_blindspot as nb
from models import random_student, random_teacher
from napari_blindspot.config import PredictSettings, parse_settings
from napari_blindspot.config.sizes import parse_bytes
from napari_blindspot.errors import InputError, OutOfMemory, RunError
from napari_blindspot.inference.predictor import Predictor
from napari_blindspot.inference.predictor_student import make_predictor
from napari_blindspot.inference.tiles import halves, predict_tile
from napari_blindspot.io import open_stack
from napari_blindspot.planes import plane_series
from napari_blindspot.progress import CancelToken, run
from napari_blindspot.stack import Stack
from napari_blindspot.streaming.memory import share_memory
from napari_blindspot.streaming.plan import plan_stream
from napari_blindspot.streaming.reading import TileReader
from napari_blindspot.tiling import Span, Tile, plan_tiles

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2 * 10**9), ("1.5 GiB", 3 * 2**29), ("500mb", 5 * 10**8), ("4096", 4096)],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["lots", "-2GB", "0", "2 pounds"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"memory=.* cannot be used.*such as 2GB"):
        parse_settings(PredictSettings, memory=text)


def test_a_promise_that_cannot_be_kept_is_not_given() -> None:
    with pytest.raises(InputError, match=r"memory='10MB' is too little.*give at least"):
        share_memory(parse_settings(PredictSettings, memory="10MB"))


def beside(more: int) -> str:
    """Return what this process holds, and so many bytes more."""
    return str(psutil.Process().memory_info().rss + more)


def test_less_memory_means_smaller_tiles() -> None:
    shapes = []
    for memory in (beside(3 * 10**9), beside(6 * 10**8)):
        shares = share_memory(parse_settings(PredictSettings, memory=memory))
        predictor = make_predictor(random_teacher(), CPU)
        predictor.host_bytes = shares.network
        plan = plan_stream(
            predictor, (200, 4000, 4000), 1, tile_voxels=shares.tile_voxels(2)
        )
        shapes.append(plan.core)
        _, last = plan.place(len(plan) - 1)
        read = [part.read_stop - part.read_start for part in _box(last)]
        assert np.prod(read, dtype=int) <= shares.tile_voxels(2)
    assert shapes[1][1] < shapes[0][1]


def _box(tile: Tile) -> tuple[Span, Span, Span]:
    return tile.planes, tile.y, tile.x


@pytest.mark.parametrize("kind", ["teacher", "student"])
@pytest.mark.parametrize("limit", [120 * 120, 90 * 90])
def test_a_full_device_gets_smaller_tiles_with_the_same_result(
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    limit: int,
) -> None:
    model = random_teacher() if kind == "teacher" else random_student()
    values = rng.poisson(20, (3, 150, 131)).astype(np.uint16)
    (series,) = plane_series(open_stack(values, axes="ZYX"), "z")
    tile = Tile(Span(0, 3, 0, 3), Span(0, 150, 0, 150), Span(0, 131, 0, 131))
    expected, _ = run(
        predict_tile(make_predictor(model, CPU), series, tile, values, CancelToken())
    )
    predictor = make_predictor(model, CPU)
    sizes: list[int] = []
    original = type(predictor)._run

    def full(self: Any, t: np.ndarray, *rest: Any) -> Any:
        sizes.append(t.shape[-1] * t.shape[-2])
        if sizes[-1] * len(t) > limit:
            raise torch.OutOfMemoryError
        return original(self, t, *rest)

    monkeypatch.setattr(type(predictor), "_run", full)
    mean, _ = run(predict_tile(predictor, series, tile, values, CancelToken()))
    np.testing.assert_allclose(mean, expected, rtol=1e-5, atol=1e-5 * np.ptp(expected))
    assert min(sizes) <= limit < max(sizes)
    tries = sizes.count(max(sizes))
    run(predict_tile(predictor, series, tile, values, CancelToken()))
    assert sizes.count(max(sizes)) == tries  # what did not fit is not tried again


def test_halves_share_a_tile_and_keep_their_halo() -> None:
    tile = Tile(Span(0, 1, 0, 1), Span(0, 400, 0, 400), Span(0, 300, 0, 300))
    first, second = halves(tile, 30, 8)
    assert first.y.core_stop == second.y.core_start == 200
    assert first.y.read_stop >= 200 + 30
    assert second.y.read_start <= 200 - 30
    assert second.y.read_start % 8 == 0
    assert (
        halves(Tile(tile.planes, Span(0, 40, 0, 40), Span(0, 30, 0, 30)), 30, 8) == []
    )


def test_a_device_that_holds_nothing_is_told_in_a_sentence(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr(Predictor, "_run", never)
    values = rng.poisson(20, (3, 150, 131)).astype(np.uint16)
    with pytest.raises(OutOfMemory, match=r"memory of cpu; close other programs"):
        nb.predict(random_teacher(), values, axes="ZYX")


def test_other_errors_of_the_network_are_not_taken_for_a_full_memory(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(Predictor, "_run", broken)
    with pytest.raises(RuntimeError, match="shapes do not match") as error:
        nb.predict(random_teacher(), rng.poisson(20, (3, 40, 40)), axes="ZYX")
    assert not isinstance(error.value, RunError)


@pytest.mark.parametrize("core", [(4, 64, 64), (3, 300, 300), (20, 96, 300)])
def test_no_chunk_is_decoded_much_more_than_once(
    rng: np.random.Generator, core: tuple[int, int, int]
) -> None:
    reads: dict[tuple[int, ...], int] = {}

    def counted(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        place = tuple(block_info[0]["chunk-location"])
        reads[place] = reads.get(place, 0) + 1
        return block

    values = rng.poisson(20, (20, 300, 300)).astype(np.uint16)
    data = da.from_array(values, chunks=(1, 100, 100)).map_blocks(counted, dtype="u2")
    reads.clear()
    (series,) = plane_series(Stack(data, "ZYX"), "z")
    tiles = plan_tiles((20, 300, 300), core=core, halo=(2, 30, 30), stride=(1, 8, 8))
    reader = TileReader([series], 2**24)
    for tile in tiles:
        part = reader.read(0, tile)
        box = np.s_[tile.planes.read, tile.y.read, tile.x.read]
        np.testing.assert_array_equal(part, values[box])
    assert len(reads) == 180
    assert sum(reads.values()) / len(reads) <= 1.3


def test_a_small_cache_reads_more_and_never_wrong(rng: np.random.Generator) -> None:
    values = rng.poisson(20, (6, 300, 300)).astype(np.uint16)
    stack = Stack(da.from_array(values, chunks=(1, 100, 100)), "ZYX")
    (series,) = plane_series(stack, "z")
    reader = TileReader([series], 1)
    core, halo = (2, 64, 64), (1, 20, 20)
    for tile in plan_tiles((6, 300, 300), core=core, halo=halo, stride=(1, 4, 4)):
        box = np.s_[tile.planes.read, tile.y.read, tile.x.read]
        np.testing.assert_array_equal(reader.read(0, tile), values[box])


def test_a_run_within_a_promise_gives_the_same_values(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    values = rng.poisson(20, (4, 300, 310)).astype(np.uint16)
    model = random_teacher()
    whole = nb.predict(model, values, axes="ZYX").image
    small = nb.predict(
        model, values, tmp_path / "out.ome.zarr", axes="ZYX", memory=beside(6 * 10**8)
    ).image
    np.testing.assert_allclose(
        np.asarray(small), whole, rtol=1e-5, atol=1e-5 * np.ptp(whole)
    )
