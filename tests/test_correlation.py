"""The autocorrelation of noise: white is white, filtered is filtered, over texture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import ndimage

from napari_blindspot.errors import InputError
from napari_blindspot.noise.correlation import noise_correlation, residual_correlation
from napari_blindspot.noise.estimate import estimate_poisson_gaussian
from napari_blindspot.noise.lagged import block_sums, differences
from napari_blindspot.sample import nuclei_phantom

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_blindspot.noise.whiteness import Correlation

BINOMIAL, BOX3, BOX5 = [0.25, 0.5, 0.25], [1 / 3] * 3, [0.2] * 5
SHAPE = (12, 128, 128)


@pytest.fixture(scope="module")
def truth() -> NDArray[np.float64]:
    """Nuclei with texture, in electrons, 60 at the brightest."""
    grey = nuclei_phantom(SHAPE, seed=3).truth.astype(float)
    return 60 * (grey - grey.min()) / np.ptp(grey)


def electrons(
    truth: NDArray[np.float64], seed: int, kernels: dict[int, list[float]] | None = None
) -> NDArray[np.float64]:
    """Return camera noise (photons and read noise), filtered along some axes."""
    rng = np.random.default_rng(seed)
    noise = rng.poisson(truth) - truth + rng.normal(0, 1.6, truth.shape)
    for axis, kernel in (kernels or {}).items():
        noise = ndimage.convolve1d(noise, np.array(kernel), axis=axis, mode="reflect")
    return noise


def stored(signal: NDArray[np.float64]) -> NDArray[np.uint16]:
    return np.clip(np.round(2.2 * signal + 100), 0, 65535).astype(np.uint16)


def measured(stack: NDArray[np.generic]) -> Correlation:
    noise = estimate_poisson_gaussian(list(stack[::3]))
    whole = stack.dtype.kind in "iu"
    return noise_correlation([stack], noise, grey_step=1.0 if whole else 0.0)


# --- before training -----------------------------------------------------------


@pytest.mark.parametrize("photons", [5, 20, 80])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_white_camera_noise_over_texture_is_white(
    truth: NDArray[np.float64], photons: float, seed: int
) -> None:
    clean = truth * photons / 60
    found = measured(stored(clean + electrons(clean, seed)))
    assert (found.verdict, found.hole) == ("white", (1, 1, 1))
    for one in (found.z, found.y, found.x):
        assert abs(one.values[0]) < 0.05
        assert one.errors[0] < 0.02


@pytest.mark.parametrize(
    ("kernels", "verdict", "hole"),
    [
        pytest.param(
            {1: BINOMIAL, 2: BINOMIAL},
            "spatially correlated over 2 px",
            (1, 5, 5),
            id="3x3-binomial",
        ),
        pytest.param({2: BOX5}, "row-correlated", (1, 1, 9), id="rows-of-5"),
        pytest.param({1: BOX3}, "column-correlated", (1, 5, 1), id="columns-of-3"),
        pytest.param({0: [0.5, 0.5, 0]}, "correlated along z", (3, 1, 1), id="mean-z"),
        pytest.param(
            {0: [0.5, 0.5, 0], 2: BOX3},
            "row-correlated and correlated along z",
            (3, 1, 5),
            id="rows-and-z",
        ),
    ],
)
def test_filtered_noise_is_named_and_its_hole_hides_it(
    truth: NDArray[np.float64],
    kernels: dict[int, list[float]],
    verdict: str,
    hole: tuple[int, int, int],
) -> None:
    found = measured(stored(truth + electrons(truth, 5, kernels)))
    assert (found.verdict, found.hole) == (verdict, hole)


def test_noise_shared_farther_than_is_looked_at_first_is_followed_to_its_end(
    truth: NDArray[np.float64],
) -> None:
    nine = measured(stored(truth + electrons(truth, 5, {2: [1 / 9] * 9})))
    assert nine.hole == (1, 1, 17)
    assert nine.x.values[7] == pytest.approx(1 / 9, abs=0.04)


def test_known_autocorrelation_is_measured_right(truth: NDArray[np.float64]) -> None:
    found = measured(stored(truth + electrons(truth, 6, {1: BINOMIAL, 2: BINOMIAL})))
    for one in (found.x, found.y):
        np.testing.assert_allclose(one.values[:4], [2 / 3, 1 / 6, 0, 0], atol=0.06)


@pytest.mark.parametrize("order", [1, 3], ids=["linear", "cubic"])
def test_resampled_stack_is_correlated_along_the_resampled_axes(
    truth: NDArray[np.float64], order: int
) -> None:
    noisy = truth + electrons(truth, 7)
    wider = measured(stored(ndimage.zoom(noisy, (1, 1.3, 1.3), order=order)))
    assert wider.x.reach
    assert wider.y.reach
    assert wider.z.reach == 0
    deeper = measured(stored(ndimage.zoom(noisy, (1.5, 1, 1), order=order)))
    assert deeper.z.reach
    assert deeper.x.reach == deeper.y.reach == 0


@pytest.mark.parametrize(("planes", "reach"), [(1, 0), (2, 1)])
def test_fine_structure_under_smooth_noise_is_no_correlation_along_z(
    planes: int, reach: int
) -> None:
    rng = np.random.default_rng(8)
    fine = ndimage.gaussian_filter(rng.normal(size=(12, 160, 160)), (2, 0.7, 0.7))
    noise = rng.normal(size=(12 + planes - 1, 160, 160))
    for axis in (1, 2):
        noise = ndimage.convolve1d(noise, BINOMIAL, axis=axis)
    if planes == 2:
        noise = noise[1:] + noise[:-1]
    found = measured(1000 + 30 * noise / noise.std() + 6 * fine / fine.std())
    assert found.z.reach == reach
    assert (found.y.reach, found.x.reach) == (2, 2)


def test_fixed_pattern_of_pixels_is_no_correlation_along_z(
    truth: NDArray[np.float64],
) -> None:
    pixels = np.random.default_rng(0).normal(0, 1.0, SHAPE[1:])
    found = measured(stored(truth + pixels + electrons(truth, 8)))
    assert found.verdict == "white"
    assert 0.1 < found.z.fixed < 0.35


def test_offset_shared_by_a_row_reaches_as_far_as_is_looked(
    truth: NDArray[np.float64],
) -> None:
    rows = np.random.default_rng(0).normal(0, 1.5, (*SHAPE[:2], 1))
    found = measured(stored(truth + rows + electrons(truth, 9)))
    assert found.verdict == "row-correlated"
    assert found.x.reach == 6


def test_sharp_structure_beside_flat_parts_is_not_taken_for_noise() -> None:
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:192, :192]
    stripes = 12.0 * (np.sin(1.1 * rows + 0.3 * columns) > 0.2)
    stripes[:, :140] *= np.linspace(0, 1, 140) ** 3
    found = measured((stripes + rng.normal(0, 1, stripes.shape))[None])
    assert found.verdict in ("unknown", "white")
    assert found.hole == (1, 1, 1)


def test_one_plane_says_nothing_along_z(truth: NDArray[np.float64]) -> None:
    found = measured(stored(truth + electrons(truth, 10))[:1])
    assert found.verdict == "white"
    assert found.z.values == ()
    assert "plane" in found.z.reason


def test_few_planes_cannot_tell_z_correlation_from_a_fixed_pattern(
    truth: NDArray[np.float64],
) -> None:
    noise = electrons(truth, 11, {0: [0.5, 0.5, 0]})
    found = measured(stored(truth + noise)[:4])
    assert found.z.reach is None
    assert found.hole == (1, 1, 1)


def test_smooth_data_with_nothing_but_rounding_left_is_unknown(
    truth: NDArray[np.float64],
) -> None:
    smooth = ndimage.gaussian_filter(truth + electrons(truth, 12), (0, 3, 3))
    found = measured(stored(smooth))
    assert found.verdict == "unknown"
    assert "rounding" in found.x.reason


def test_padding_saturation_and_nan_are_left_out(truth: NDArray[np.float64]) -> None:
    stack = stored(truth + electrons(truth, 13)).astype(np.float32)
    stack[:, :, :30] = 0
    stack[:, :20] = np.nan
    stack[stack > 200] = 200
    noise = estimate_poisson_gaussian(list(stack[::3]), 200)
    found = noise_correlation([stack], noise, saturation=200)
    assert found.verdict == "white"
    assert found.voxels < stack.size / 4


def test_nothing_but_padding_is_unknown(truth: NDArray[np.float64]) -> None:
    stack = stored(truth + electrons(truth, 13))
    noise = estimate_poisson_gaussian(list(stack))
    found = noise_correlation([np.full(SHAPE, 7, np.uint16)], noise)
    assert (found.verdict, found.hole, found.voxels) == ("unknown", (1, 1, 1), 0)


def test_facts_are_plain_json(truth: NDArray[np.float64]) -> None:
    facts = measured(stored(truth + electrons(truth, 14))).as_dict()
    assert facts["x"]["lags"] == [1, 2, 3, 4, 5, 6]
    assert len(facts["z"]["values"]) == len(facts["z"]["errors"]) == 11
    assert all(type(value) is float for value in facts["x"]["values"])


@pytest.mark.parametrize("shape", [(40, 40), (2, 40, 20)], ids=["2d", "narrow"])
def test_arrays_that_cannot_tell_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"shape .* give \(planes, Y, X\)"):
        residual_correlation(np.zeros(shape))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("llsm_cell_raw", "white", id="raw-camera"),
        pytest.param("yeast_mito_t0_9", "white", id="camera-with-pattern"),
        pytest.param("mesospim_c5", "spatially correlated over 1 px", id="resampled"),
    ],
)
def test_real_stacks(name: str, expected: str, real_stacks: Path) -> None:
    import tifffile

    volume = tifffile.imread(real_stacks / "3d" / f"{name}.ome.tif")
    volume = volume.reshape(-1, *volume.shape[-3:])[0][:12]
    assert measured(volume).verdict == expected


# --- after training ------------------------------------------------------------


def test_white_residual_is_white() -> None:
    residual = np.random.default_rng(0).normal(size=SHAPE)
    found = residual_correlation(residual)
    assert (found.verdict, found.voxels) == ("white", residual.size)


def test_residual_that_neighbours_share_is_named() -> None:
    residual = ndimage.uniform_filter1d(
        np.random.default_rng(0).normal(size=SHAPE), 3, axis=2
    )
    found = residual_correlation(residual)
    assert (found.verdict, found.hole) == ("row-correlated", (1, 1, 5))
    np.testing.assert_allclose(found.x.values[:3], [2 / 3, 1 / 3, 0], atol=0.03)


def test_masked_voxels_and_nan_of_a_residual_do_not_count() -> None:
    residual = np.random.default_rng(0).normal(size=SHAPE)
    mask = np.ones(SHAPE, bool)
    residual[:, 40:60], mask[:, 40:60] = 50.0, False
    residual[:, :, 100:110] = np.nan
    found = residual_correlation(residual, mask)
    assert found.verdict == "white"
    assert found.voxels == int((mask & np.isfinite(residual)).sum())


def test_unusable_residuals_are_refused() -> None:
    residual = np.zeros(SHAPE)
    with pytest.raises(InputError, match=r"mask has shape \(2,\)"):
        residual_correlation(residual, np.ones(2, bool))
    with pytest.raises(InputError, match="no voxel that counts"):
        residual_correlation(residual, np.zeros(SHAPE, bool))


# --- the arithmetic ------------------------------------------------------------


def test_differences_keep_the_variance_of_white_noise() -> None:
    noise = np.random.default_rng(0).normal(size=(20, 100, 100))
    filtered = differences(noise, (2, 4, 0))
    assert filtered.shape == (18, 96, 100)
    assert filtered.var() == pytest.approx(1, abs=0.03)


def test_differences_leave_the_other_axis_white() -> None:
    noise = np.random.default_rng(1).normal(size=(4, 256, 256))
    filtered = differences(noise, (0, 4, 0))
    pairs = (filtered[..., 1:] * filtered[..., :-1]).mean() / filtered.var()
    assert abs(pairs) < 0.01


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_standard_errors_are_honest(axis: int) -> None:
    draws = []
    for seed in range(60):
        noise = np.random.default_rng(seed).normal(size=(6, 64, 64))
        sums = block_sums(noise, np.ones(noise.shape, bool), axis, 2, 16)
        value, error = sums.correlation()
        draws.append(value / error)
    assert 0.7 < np.std(draws) < 1.25
    assert abs(np.mean(draws)) < 0.4
