from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest

from napari_blindspot.config import Recipe
from napari_blindspot.io import open_stack
from napari_blindspot.io.block_cache import BlockCache
from napari_blindspot.noise.field import NoiseField
from napari_blindspot.noise.likelihood import Affine
from napari_blindspot.normalize import Normalization
from napari_blindspot.planes import plane_series
from napari_blindspot.stack import Stack
from napari_blindspot.training.sampling import CropSampler, Source


class GuardedArray:
    """An array that refuses to be read in large pieces."""

    def __init__(self, values: np.ndarray, most: int) -> None:
        self._values, self._most = values, most
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim

    def __getitem__(self, index: Any) -> np.ndarray:
        part = self._values[index]
        if part.size > self._most:
            raise AssertionError(f"{part.size} voxels were read at once")
        return part


def sampler(
    values: np.ndarray, seed: int = 0, context: int = 1, **recipe: Any
) -> CropSampler:
    stack = Stack(da.from_array(values, chunks=(2, 64, 64)), "ZYX")
    scale = Normalization(0.0, 1.0)
    sources = [
        Source(one, scale, NoiseField(Affine(0.0, 1.0, 0.1)))
        for one in plane_series(stack, "z")
    ]
    wanted = Recipe(**{"crop": 32, "batch": 4, "holdout_block": 16, **recipe})
    return CropSampler(sources, context, wanted, 8, seed)


def test_crops_hold_their_neighbours_in_order() -> None:
    values = np.broadcast_to(np.arange(9.0)[:, None, None], (9, 64, 64)).copy()
    batch = sampler(values, context=2).draw(16)
    assert batch.planes.shape == (16, 5, 32, 32)
    for crop in batch.planes[:, :, 0, 0]:
        centre = crop[2]
        inside = 2 <= centre <= 6
        if inside:
            assert crop.tolist() == [centre + d for d in (-2, -1, 0, 1, 2)]
        assert centre not in crop[[0, 1, 3, 4]]


def test_training_and_held_out_targets_never_meet() -> None:
    values = np.arange(8 * 64 * 64, dtype=np.float64).reshape(8, 64, 64)
    one = sampler(values)
    trained: set[float] = set()
    for _ in range(60):
        batch = one.draw()
        trained |= set(batch.planes[:, 1][batch.target > 0].tolist())
    held = one.held_out()
    tested = set(held.planes[:, 1][held.target > 0].tolist())
    assert tested
    assert not trained & tested
    # Held-out voxels do serve as context of other voxels.
    contexts = set(one.draw(64).planes[:, [0, 2]].ravel().tolist())
    assert tested & contexts


def test_held_out_share_is_what_was_asked() -> None:
    values = np.zeros((40, 128, 128))
    one = sampler(values, holdout=0.1)
    share = 1 - np.mean([one.draw(8).target.mean() for _ in range(40)])
    assert share == pytest.approx(0.1, abs=0.03)


def test_same_seed_draws_the_same_crops(rng: np.random.Generator) -> None:
    values = rng.random((6, 64, 64))
    one, two, other = sampler(values, 3), sampler(values, 3), sampler(values, 4)
    first = one.draw()
    np.testing.assert_array_equal(first.planes, two.draw().planes)
    assert not np.array_equal(first.planes, other.draw().planes)


def test_signal_crops_are_brighter() -> None:
    values = np.zeros((1, 256, 256))
    values[:, :64, :64] = 1
    towards = sampler(values, context=0, signal_crops=1.0)
    anywhere = sampler(values, context=0, signal_crops=0.0)
    bright, plain = (s.draw(200).planes.mean() for s in (towards, anywhere))
    assert bright > 1.5 * plain


def test_saturated_and_missing_voxels_are_no_targets() -> None:
    values = np.full((2, 64, 64), 0.5)
    values[:, ::2] = 1.0
    values[:, 1::4] = np.nan
    values[:, 3::8] = -1e300  # more than float32 holds
    one = sampler(values, context=0, holdout=0.0)
    one.sources = [Source(s.series, s.scale, s.noise, 1.0) for s in one.sources]
    batch = one.draw()
    assert np.isfinite(batch.planes).all()
    assert (batch.planes[:, 0][batch.target > 0] == 0.5).all()
    assert batch.target.mean() == pytest.approx(0.125, abs=0.02)


def test_small_planes_give_small_crops() -> None:
    assert sampler(np.zeros((2, 20, 50))).draw().planes.shape[-2:] == (16, 16)


def test_the_source_is_never_read_whole(rng: np.random.Generator) -> None:
    values = rng.random((16, 512, 512)).astype(np.float32)
    stack = open_stack(GuardedArray(values, most=values.size // 2 - 1), axes="ZYX")
    source = Source(
        plane_series(stack, "z")[0],
        Normalization(0.0, 1.0),
        NoiseField(Affine(0, 1, 0.1)),
    )
    one = CropSampler([source], 2, Recipe(), 8, 0)
    assert one.draw().planes.shape == (8, 5, 96, 96)


def test_the_cache_reads_what_the_source_holds_and_stays_in_its_bounds(
    rng: np.random.Generator,
) -> None:
    values = rng.integers(0, 1000, (9, 300, 310)).astype(np.uint16)
    stack = Stack(da.from_array(values, chunks=(2, 100, 100)), "ZYX")
    (series,) = plane_series(stack, "z")
    cache = BlockCache(max_bytes=400_000)
    for _ in range(50):
        z, y, x = (sorted(rng.choice(n + 1, 2, replace=False)) for n in values.shape)
        box = tuple(slice(int(low), int(high)) for low, high in (z, y, x))
        np.testing.assert_array_equal(cache.read(0, series, *box), values[box])
        assert cache.n_bytes <= 400_000


@pytest.mark.parametrize("seed", range(8))
def test_a_small_single_image_is_never_held_out_whole(seed: int) -> None:
    one = sampler(np.zeros((1, 40, 40)), seed, context=0, holdout_block=48, crop=64)
    assert one.draw(8).target.mean() > 0.5
