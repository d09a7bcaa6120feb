"""Fixed patterns of a camera: columns, rows and hot pixels, over moving structure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import ndimage

from napari_blindspot.errors import InputError
from napari_blindspot.noise.estimate import estimate_poisson_gaussian
from napari_blindspot.noise.fixed_pattern import column_pattern, hot_pixels
from napari_blindspot.noise.models import PoissonGaussian
from napari_blindspot.sample import nuclei_phantom

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CAMERA = PoissonGaussian.from_camera(2.2, 100, 1.6)


@pytest.fixture(scope="module")
def noisy() -> NDArray[np.float64]:
    return nuclei_phantom((24, 160, 192), seed=2).noisy.astype(float)


def columns_of(rms: float, seed: int = 0) -> NDArray[np.float64]:
    offsets = np.random.default_rng(seed).normal(0, rms, 192)
    return offsets - offsets.mean()


def test_no_pattern_is_found_where_there_is_none(noisy: NDArray[np.float64]) -> None:
    for axis in ("x", "y"):
        found = column_pattern(list(noisy), CAMERA, axis=axis)
        assert found is not None
        assert not found.found
        assert found.share < 0.02


@pytest.mark.parametrize("rms", [0.3, 1.0, 4.0])
def test_column_offsets_are_found_with_their_size(
    noisy: NDArray[np.float64], rms: float
) -> None:
    offsets = columns_of(rms)
    found = column_pattern(list(noisy + offsets), CAMERA)
    assert found is not None
    assert found.found
    assert found.rms == pytest.approx(offsets.std(), rel=0.2)
    assert found.offsets.shape == (192,)
    assert abs(found.offsets.mean()) < 1e-9
    assert np.corrcoef(found.offsets, offsets)[0, 1] > 0.8


def test_subtracting_the_offsets_takes_most_of_the_pattern_away(
    noisy: NDArray[np.float64],
) -> None:
    striped = noisy + columns_of(2.0)
    first = column_pattern(list(striped), CAMERA)
    assert first is not None
    again = column_pattern(list(striped - first.offsets), CAMERA)
    assert again is not None
    assert again.rms < 0.25 * first.rms


def test_row_offsets_are_found_in_the_other_direction(
    noisy: NDArray[np.float64],
) -> None:
    offsets = columns_of(1.0)[:160]
    planes = list(noisy + offsets[:, None])
    rows = column_pattern(planes, CAMERA, axis="y")
    columns = column_pattern(planes, CAMERA, axis="x")
    assert rows is not None
    assert columns is not None
    assert (rows.found, columns.found) == (True, False)
    assert rows.offsets.shape == (160,)


def test_an_offset_of_the_whole_image_changes_nothing(
    noisy: NDArray[np.float64],
) -> None:
    striped = noisy + columns_of(1.0)
    dark = PoissonGaussian.from_camera(2.2, 0, 1.6)
    here, there = (
        column_pattern(list(striped), CAMERA),
        column_pattern(list(striped - 100), dark),
    )
    assert here is not None
    assert there is not None
    np.testing.assert_allclose(here.offsets, there.offsets, atol=1e-6)


def test_columns_that_were_never_seen_get_no_offset(
    noisy: NDArray[np.float64],
) -> None:
    striped = noisy + columns_of(1.0)
    striped[:, :, :40] = np.nan
    found = column_pattern(list(striped), CAMERA)
    assert found is not None
    assert found.found
    assert not found.offsets[:30].any()
    assert np.isfinite(found.offsets).all()


def test_small_planes_tell_nothing() -> None:
    assert column_pattern([np.zeros((40, 40))], CAMERA) is None
    assert column_pattern([], CAMERA) is None
    assert column_pattern([np.full((64, 80), 5.0)], CAMERA) is None


def test_unusable_arguments_are_refused() -> None:
    with pytest.raises(InputError, match=r"axis='z' .* choose 'x' or 'y'"):
        column_pattern([np.zeros((99, 99))], CAMERA, axis="z")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="give planes"):
        column_pattern([np.zeros((2, 99, 99))], CAMERA)
    with pytest.raises(InputError, match="99 and 98 pixels along x"):
        column_pattern([np.zeros((99, 99)), np.zeros((99, 98))], CAMERA)


def test_real_camera_with_a_pattern(real_stacks: Path) -> None:
    import tifffile

    planes = tifffile.imread(real_stacks / "3d" / "yeast_mito_t0_9.ome.tif")
    planes = list(planes.reshape(-1, *planes.shape[-2:]))
    found = column_pattern(planes, estimate_poisson_gaussian(planes[::5]))
    assert found is not None
    assert found.found
    assert 0.02 < found.share < 0.1


# --- hot pixels ----------------------------------------------------------------


def test_hot_pixels_are_found_and_nothing_else(noisy: NDArray[np.float64]) -> None:
    planes = noisy.copy()
    spots = [(10, 20), (77, 150), (159, 0)]
    for row, column in spots:
        planes[:, row, column] += 90
    found = hot_pixels(list(planes), CAMERA)
    assert found is not None
    assert [tuple(at) for at in found.positions.tolist()] == spots
    np.testing.assert_allclose(found.excess, 90, atol=8)
    assert found.as_dict()["count"] == 3


def test_a_spot_that_passed_a_lens_is_not_hot(noisy: NDArray[np.float64]) -> None:
    spot = np.zeros(noisy.shape[1:])
    spot[80, 96] = 1
    planes = noisy + 300 * ndimage.gaussian_filter(spot, 1.0) / 0.16
    found = hot_pixels(list(planes), CAMERA)
    assert found is not None
    assert found.positions.size == 0
    assert found.as_dict()["largest_excess"] is None


def test_few_planes_tell_no_hot_pixel(noisy: NDArray[np.float64]) -> None:
    assert hot_pixels(list(noisy[:19]), CAMERA) is None
