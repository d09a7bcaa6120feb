"""A stack denoised tile by tile is the stack denoised whole, whatever the tiles."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import napari_blindspot as nb
from models import random_masked, random_student, random_teacher
from napari_blindspot.inference import predictor, predictor_student
from napari_blindspot.inference.cores import pieces
from napari_blindspot.inference.predictor_student import make_predictor
from napari_blindspot.inference.tiles import predict_tile
from napari_blindspot.planes import plane_series
from napari_blindspot.progress import CancelToken, run
from napari_blindspot.sample import nuclei_phantom
from napari_blindspot.stack import Stack
from napari_blindspot.tiling import Span, Tile, plan_tiles, round_up
from networks import random_network

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_blindspot.inference.predictor import Predictor
    from napari_blindspot.model import Model

    Values = NDArray[np.uint16]
    Result = NDArray[np.float32]
    Box = tuple[int, int, int]

CPU = torch.device("cpu")
EXACT = 1e-5  # of the range of the result, in float32

MODELS: dict[str, Callable[[], Model]] = {
    "teacher": lambda: random_teacher(1),
    "teacher, no context": lambda: random_teacher(0),
    "teacher, depth 1": lambda: random_teacher(1, depth=1),
    "teacher, large hole": lambda: random_teacher(1, hole=(1, 3, 9)),
    "student": lambda: random_student(1),
    "student, no context": lambda: random_student(0),
    "masked": lambda: random_masked(passes=4),
}


def noisy(shape: Box, seed: int = 0) -> Values:
    values: Values = np.random.default_rng(seed).poisson(20, shape).astype(np.uint16)
    return values


def tiled(
    network: Predictor,
    values: Values,
    requested: Box,
    halo: int | None = None,
    moved: int = 0,
) -> tuple[Result, Result]:
    """Denoise tile by tile; `halo` and `moved` (off the grid) are for doing it wrong.

    Sizes that are requested are rounded up to the stride. Returned are the image and
    its standard deviation.
    """
    (series,) = plane_series(Stack(da.from_array(values), "ZYX"), "z")
    stride = network.stride
    halo = network.halo if halo is None else halo
    core = (requested[0], *(round_up(size, stride) for size in requested[1:]))
    image, spread = (
        np.empty(values.shape, np.float32),
        np.empty(values.shape, np.float32),
    )
    for tile in plan_tiles(
        values.shape,  # type: ignore[arg-type]
        core=core,
        halo=(network.context, halo, halo),
        stride=(1, stride, stride),
    ):
        tile = Tile(tile.planes, _moved(tile.y, moved), _moved(tile.x, moved))
        planes = series.read(tile.planes.read, tile.y.read, tile.x.read)
        mean, std = run(predict_tile(network, series, tile, planes, CancelToken()))
        where = (tile.planes.core, tile.y.core, tile.x.core)
        image[where], spread[where] = mean, std
    return image, spread


def _moved(span: Span, by: int) -> Span:
    """Let a tile begin elsewhere; it reads more than it needs."""
    return replace(span, read_start=span.read_start - by) if span.read_start else span


def difference(one: Result, other: Result) -> float:
    return float(np.abs(one - other).max() / max(np.ptp(other), np.abs(other).max()))


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=12, derandomize=True, deadline=None)
@given(
    shape=st.tuples(st.integers(2, 4), st.integers(1, 96), st.integers(1, 96)),
    requested=st.tuples(st.integers(1, 4), st.integers(13, 80), st.integers(13, 80)),
)
def test_any_tile_size_gives_the_same_result(
    name: str, shape: Box, requested: Box
) -> None:
    network = make_predictor(MODELS[name](), CPU)
    values = noisy(shape)
    whole, whole_std = tiled(network, values, shape)
    image, std = tiled(network, values, requested)
    assert difference(image, whole) <= EXACT
    assert np.abs(std - whole_std).max() <= EXACT * max(whole_std.max(), 1)


@pytest.mark.parametrize("name", MODELS)
def test_a_halo_that_is_too_small_is_told(name: str) -> None:
    network = make_predictor(MODELS[name](), CPU)
    values = noisy((3, 131, 117))
    whole, _ = tiled(network, values, values.shape)  # type: ignore[arg-type]
    exact, _ = tiled(network, values, (3, 32, 48))
    assert difference(exact, whole) <= EXACT
    for halo in (0, network.stride, network.halo // 4):
        cut, _ = tiled(network, values, (3, 32, 48), halo=halo)
        assert difference(cut, whole) > 10 * EXACT


@pytest.mark.parametrize("name", MODELS)
def test_tiles_off_the_pooling_grid_are_told(name: str) -> None:
    network = make_predictor(MODELS[name](), CPU)
    values = noisy((3, 131, 117))
    whole, _ = tiled(network, values, values.shape)  # type: ignore[arg-type]
    halo, wide = network.halo, (3, 64, 64)
    # One stride more of halo, so that a tile may begin earlier without losing any.
    on, _ = tiled(network, values, wide, halo=halo, moved=network.stride)
    off, _ = tiled(network, values, wide, halo=halo, moved=1)
    assert difference(on, whole) <= EXACT
    assert difference(off, whole) > 10 * EXACT


NETWORKS: dict[str, dict[str, object]] = {
    "depth 2": {"context": 1},
    "large hole": {"context": 0, "depth": 1, "hole": (1, 3, 9)},
    "half-planes over all planes": {"context": 1, "half_planes": "all"},
    "channels together": {"context": 1, "channels": 2},
    "units of the noise": {"context": 1, "units": "noise", "starts": 2},
    "neighbours withheld": {"context": 1, "hole": (3, 1, 1)},
}


@st.composite
def cores(draw: st.DrawFn, shape: tuple[int, int] = (90, 75)) -> tuple[slice, slice]:
    ends = [
        sorted(draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True)))
        for n in shape
    ]
    return slice(*ends[0]), slice(*ends[1])


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=12, derandomize=True, deadline=None)
@given(core=cores())
def test_branches_that_read_one_side_alone_say_the_same(
    name: str, core: tuple[slice, slice]
) -> None:
    network = random_network(3, **NETWORKS[name])
    maps = (2 * network.settings.context + 1) * network.settings.channels
    generator = torch.Generator().manual_seed(1)
    planes = torch.randn(2, maps, 90, 75, generator=generator, dtype=torch.float64)
    holes = [network.settings.hole, (network.settings.hole[0], 1, 5)]
    with torch.inference_mode():
        whole = network.at_holes(planes, holes)
        parts = network.at_holes(planes, holes, core=core)
    for one, part in zip(whole, parts, strict=True):
        for expected, found in zip(one, part, strict=True):
            torch.testing.assert_close(
                found, expected[:, core[0], core[1]], rtol=1e-12, atol=1e-12
            )


@pytest.mark.parametrize("channels", [1, 2])
def test_a_plane_in_pieces_is_the_plane_at_once(
    channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = make_predictor(random_teacher(1, channels=channels), CPU)
    planes = noisy((3, 121, 93)).astype(np.float32)
    planes[1, 30:50, 20:60] = np.nan
    if channels > 1:
        planes = np.stack([planes, noisy((3, 121, 93), seed=2)], axis=1)
    groups = [[1, 0, 1], [0, 1, 2]]
    at_once = network(planes, groups, 0)
    monkeypatch.setattr(predictor, "_CPU_PIECE", 32)
    in_pieces = network(planes, groups, 0)
    for found, expected in zip(in_pieces, at_once, strict=True):
        scale = np.nanmax(np.abs(expected))
        np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT * scale)


@given(
    shape=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    side=st.integers(16, 128),
    stride=st.sampled_from([1, 2, 8, 16]),
)
def test_pieces_partition_a_plane_on_the_grid(
    shape: tuple[int, int], side: int, stride: int
) -> None:
    counted = np.zeros(shape, int)
    for piece in pieces(None, shape, side, stride):
        rows, columns = piece or (slice(None), slice(None))
        counted[rows, columns] += 1
        assert (rows.start or 0) % stride == (columns.start or 0) % stride == 0
    assert (counted == 1).all()


def test_a_tile_costs_less_than_its_whole_halo(monkeypatch: pytest.MonkeyPatch) -> None:
    network = make_predictor(random_teacher(1), CPU)
    side = 64 + 2 * round_up(network.halo, network.stride)
    seen: list[int] = []
    branch = network.network.halfplane.forward

    def counting(x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x) * x.shape[-2] * x.shape[-1])
        return branch(x)  # type: ignore[no-any-return]

    monkeypatch.setattr(network.network.halfplane, "forward", counting)
    core = slice(side // 2 - 32, side // 2 + 32)
    planes = noisy((1, side, side))
    for part in (None, (core, core)):
        seen.append(0)
        for _ in network.batches(planes, [[0, 0, 0]], 0, core=part):
            pass
    whole, one_sided = (sum(part) for part in (seen[:3], seen[3:]))
    assert whole == 4 * side**2
    assert one_sided < 0.65 * whole


def test_half_precision_leaves_tiles_within_a_fraction_of_the_noise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sample = nuclei_phantom((3, 200, 190), seed=3)
    values = sample.noisy
    camera = {name: getattr(sample, name) for name in ("gain", "offset", "read_noise")}
    model = nb.train(values, axes="ZYX", steps=0, **camera)
    network = make_predictor(model, CPU)
    full, _ = tiled(network, values, values.shape)  # type: ignore[arg-type]
    for module in (predictor, predictor_student):  # as it is on a GPU
        monkeypatch.setattr(
            module,
            "half_where_it_pays",
            lambda _: torch.autocast("cpu", torch.bfloat16),
        )
    whole, _ = tiled(network, values, values.shape)  # type: ignore[arg-type]
    image, _ = tiled(network, values, (2, 64, 96))
    sigma = float(np.sqrt(np.median(model.noise[0].variance(full))))
    error = np.abs(image - whole)
    assert np.sqrt(np.mean(error**2)) <= 5e-2 * sigma
    assert error.max() <= 0.2 * sigma
    assert np.abs(whole - full).max() > 1e-3 * sigma  # it was bfloat16
    cut, _ = tiled(network, values, (2, 64, 96), halo=network.stride)
    assert np.abs(cut - whole).max() > max(error.max(), 0.01 * sigma)
