"""Generated volumes: what holds for every draw, and how far the draws differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_blindspot.pretraining.curves import splat
from napari_blindspot.pretraining.fields import band, distance_to_level
from napari_blindspot.pretraining.grid import Grid
from napari_blindspot.pretraining.optics import wide_blur
from napari_blindspot.pretraining.volumes import BRIGHTEST, KINDS, make_volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.pretraining.volumes import Kind

SHAPE = (8, 64, 64)


def draw(seed: int, shape: tuple[int, int, int] = SHAPE) -> NDArray[np.float32]:
    return make_volume(np.random.default_rng(seed), shape)


@pytest.fixture(scope="module")
def forty() -> list[NDArray[np.float32]]:
    return [draw(seed) for seed in range(40)]


def correlation_length(volume: NDArray[np.float32]) -> float:
    """Lag, in pixels along x, at which the autocorrelation falls below one half."""
    rows = volume.astype(float) - volume.mean()
    power = (np.abs(np.fft.rfft(rows, n=2 * rows.shape[2], axis=2)) ** 2).sum((0, 1))
    lags = np.arange(rows.shape[2])
    correlation = np.fft.irfft(power)[: len(lags)] / (len(lags) - lags)
    below = np.flatnonzero(correlation < correlation[0] / 2)
    return float(below[0]) if len(below) else float(len(lags))


def likeness(volume: NDArray[np.float32]) -> float:
    """Correlation of neighbouring planes."""
    upper, lower = volume[1:].ravel(), volume[:-1].ravel()
    return float(np.corrcoef(upper, lower)[0, 1])


def test_the_same_seed_gives_the_same_volume() -> None:
    for seed in range(5):
        np.testing.assert_array_equal(draw(seed), draw(seed))


def test_other_seeds_give_other_volumes() -> None:
    assert not np.array_equal(draw(1), draw(2))


@pytest.mark.parametrize(
    "shape", [(1, 64, 64), (5, 33, 47), (16, 32, 128), (2, 9, 7), (1, 1, 1)]
)
def test_any_shape_is_filled_and_scaled(shape: tuple[int, int, int]) -> None:
    for seed in range(25):
        volume = draw(seed, shape)
        assert volume.shape == shape
        assert volume.dtype == np.float32
        assert np.isfinite(volume).all()
        assert volume.min() >= 0
        assert np.quantile(volume, 0.999) == pytest.approx(1, rel=1e-3)
        assert volume.max() < 1.01 * BRIGHTEST


@pytest.mark.parametrize("shape", [(0, 8, 8), (4, -1, 8), (8, 8)])
def test_a_shape_that_is_no_volume_is_refused_by_name(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape="):
        make_volume(np.random.default_rng(0), shape)


@pytest.mark.parametrize("kind", list(KINDS), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("size", [3.0, 20.0, 150.0])
def test_each_kind_gives_a_specimen_at_every_size(kind: Kind, size: float) -> None:
    lit = 0
    for seed in range(6):
        part = kind(np.random.default_rng(seed), Grid(SHAPE, 2.0, size))
        assert part.shape == SHAPE
        assert part.dtype == np.float32
        assert np.isfinite(part).all()
        assert part.min() >= 0
        lit += bool(part.any())
    assert lit >= 3


def test_structures_reach_from_few_pixels_to_the_field(
    forty: list[NDArray[np.float32]],
) -> None:
    varied = [v for v in forty if v.std() > 1e-3]
    lengths = np.array([correlation_length(v) for v in varied])
    assert len(varied) >= 32
    assert np.quantile(lengths, 0.2) <= 4
    assert np.quantile(lengths, 0.8) >= 8
    assert np.log(lengths).std() > 0.5


def test_planes_are_alike_in_some_volumes_and_strangers_in_others(
    forty: list[NDArray[np.float32]],
) -> None:
    alike = np.array([likeness(v) for v in forty if v.std() > 1e-3])
    assert (alike > 0.97).sum() >= 3
    assert (alike < 0.8).sum() >= 4


def test_background_is_sometimes_black_and_sometimes_grey(
    forty: list[NDArray[np.float32]],
) -> None:
    darkest = np.array([np.quantile(v, 0.02) for v in forty])
    assert (darkest < 0.02).sum() >= 5
    assert ((darkest > 0.05) & (darkest < 0.5)).sum() >= 5


def test_some_fields_are_nearly_empty() -> None:
    spread = np.array([draw(seed, (4, 48, 48)).std() for seed in range(150)])
    assert (spread < 1e-6).sum() >= 1
    assert (spread > 0.1).sum() >= 60


def test_splat_keeps_the_light_and_its_centre() -> None:
    grid = Grid((4, 9, 9), 2.0, 3.0)
    volume = splat(grid, np.array([[3.0, 4.25, 5.5]]), np.array([2.0]))
    z, y, x = np.indices(grid.shape)
    centre = [(axis * volume).sum() / volume.sum() for axis in (2 * z, y, x)]
    assert volume.sum() == pytest.approx(2)
    assert centre == pytest.approx([3.0, 4.25, 5.5])


def test_points_outside_the_field_leave_it_dark() -> None:
    grid = Grid((2, 5, 5), 1.0, 3.0)
    places = np.array([[0.0, -7.0, 2.0], [50.0, 2.0, 2.0]])
    assert not splat(grid, places, np.ones(2)).any()


def test_a_band_has_its_wavelength_whatever_the_distance_of_planes() -> None:
    grid = Grid((64, 64, 8), 0.5, 3.0)
    field = band(np.random.default_rng(3), grid, 16.0, 0.0)
    along_z = np.gradient(field, 0.5, axis=0).std()
    along_y = np.gradient(field, 1.0, axis=1).std()
    assert along_z == pytest.approx(along_y, rel=0.3)


def test_distance_to_level_is_in_pixels() -> None:
    grid = Grid((6, 16, 16), 3.0, 5.0)
    z, y, _ = grid.axes()
    field = np.broadcast_to(2 * (0.6 * z + 0.8 * y), grid.shape).astype(np.float32)
    off = distance_to_level(grid, field, level=4.0)
    expected = np.broadcast_to(0.6 * z + 0.8 * y - 2, grid.shape)
    np.testing.assert_allclose(off, expected, atol=1e-4)


def test_the_quick_wide_blur_keeps_flat_light_and_spreads_a_point() -> None:
    flat = np.full((3, 40, 41), 0.7, np.float32)
    np.testing.assert_allclose(wide_blur(flat, 1.0, 9.0), flat, rtol=1e-5)
    point = np.zeros((1, 65, 65), np.float32)
    point[0, 32, 32] = 1
    spread = wide_blur(point, 1.0, 8.0)[0]
    x = np.arange(65) - 32
    width = np.sqrt((spread.sum(0) * x**2).sum() / spread.sum())
    assert 6 < width < 11
