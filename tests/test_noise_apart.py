"""Noise that neighbours share, measured before training by voxels farther apart."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import ndimage

import napari_blindspot as nb
from napari_blindspot.config import NoiseSettings
from napari_blindspot.errors import InputError
from napari_blindspot.measure.channels import measure_channels
from napari_blindspot.measure.noise_apart import measured_apart
from napari_blindspot.noise.apart import NEXT, Step, Steps, measure_apart, steps_apart
from napari_blindspot.noise.estimate import MeanVariance, variance_error
from napari_blindspot.noise.models import Gaussian, PoissonGaussian
from napari_blindspot.noise.refit import refit
from napari_blindspot.noise.whiteness import AxisCorrelation, Correlation
from napari_blindspot.sample import nuclei_phantom
from noisy import camera, scene

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_blindspot.measure.channels import Channel
    from napari_blindspot.noise.whiteness import Axis

BINOMIAL, ROW = [0.25, 0.5, 0.25], [0.2] * 5
SHARED = (2 / 3, 1 / 6, 0.0, 0.0, 0.0, 0.0)  # by a binomial filter, lags 1 to 6
GAIN, OFFSET, READ_NOISE = 2.2, 100.0, 1.6
TRUE = PoissonGaussian.from_camera(GAIN, OFFSET, READ_NOISE)
SHAPE = (12, 96, 96)


def recording(
    kernels: dict[int, list[float]], shape: tuple[int, int, int] = SHAPE
) -> NDArray[np.uint16]:
    """Record nuclei with camera noise, filtered along some axes to the same size."""
    rng = np.random.default_rng(4)
    grey = nuclei_phantom(shape, seed=3).truth.astype(float)
    signal = 60 * (grey - grey.min()) / np.ptp(grey)
    noise = rng.poisson(signal) - signal + rng.normal(0, READ_NOISE, signal.shape)
    for axis, kernel in kernels.items():
        unit = np.array(kernel) / np.linalg.norm(kernel)
        noise = ndimage.convolve1d(noise, unit, axis=axis, mode="reflect")
    return np.round(GAIN * (signal + noise) + OFFSET).clip(0, 65535).astype(np.uint16)


def ratios(noise: Any, stack: NDArray[np.generic]) -> list[float]:
    """Return measured over true variance in the dark, the middle and the bright."""
    smooth = ndimage.gaussian_filter(stack.astype(float), (0, 2, 2))
    levels = np.maximum(np.percentile(smooth, [5, 50, 99]), OFFSET + GAIN)
    return [noise.variance(float(x)) / TRUE.variance(float(x)) for x in levels]


def as_measured(stack: NDArray[np.generic]) -> tuple[Channel, Channel]:
    """Return its channel as neighbours and as voxels farther apart show it."""
    opened = nb.open_stack(stack, axes="ZYX")
    channels = measure_channels([opened], NoiseSettings())
    assert not channels[0].whole
    return channels[0], measured_apart([opened], channels)[0]


def along(axis: Axis, values: tuple[float, ...], reach: int | None) -> AxisCorrelation:
    return AxisCorrelation(axis, values, (0.01,) * len(values), reach)


def correlation(
    y: tuple[float, ...], x: tuple[float, ...], z: tuple[float, ...] = (0.0, 0.0)
) -> Correlation:
    return Correlation(
        along("z", z, np.count_nonzero(z)),
        along("y", y, np.count_nonzero(y)),
        along("x", x, np.count_nonzero(x)),
        10_000,
    )


NOTHING = (0.0,) * 6


# --- how far apart -------------------------------------------------------------


def test_white_noise_is_left_to_neighbours() -> None:
    assert steps_apart([correlation(NOTHING, NOTHING)]) is None
    assert steps_apart([]) is None


def test_a_binomial_filter_asks_for_every_second_voxel() -> None:
    steps = steps_apart([correlation(SHARED, SHARED)])
    assert steps is not None
    assert (steps.y.apart, steps.x.apart, steps.z) == (2, 2, True)
    assert steps.seen == pytest.approx((1 - 4 / 3 / 6) ** 2)
    assert 0 < steps.error < 0.05


def test_rows_are_compared_along_the_row_only() -> None:
    row = tuple(max(0.0, 1 - lag / 5) for lag in range(1, 7))
    steps = steps_apart([correlation(NOTHING, row)])
    assert steps is not None
    assert steps.y is NEXT
    assert steps.x.apart == 2
    assert steps.seen == pytest.approx(1 - 4 / 3 * 0.6 + 0.2 / 3)


def test_noise_that_hardly_changes_along_a_row_is_not_guessed() -> None:
    assert steps_apart([correlation(NOTHING, (0.99,) * 6)]) is None


@pytest.mark.parametrize(
    "z",
    [
        pytest.param(along("z", (0.4, 0.2), None), id="unknown"),
        pytest.param(along("z", (0.5, 0.0), 1), id="shared"),
        pytest.param(replace(along("z", (0.3, 0.3), 0), fixed=0.3), id="fixed-pattern"),
        pytest.param(along("z", (), 0), id="one-plane"),
    ],
)
def test_planes_that_may_share_noise_are_not_compared(z: AxisCorrelation) -> None:
    steps = steps_apart([replace(correlation(SHARED, SHARED), z=z)])
    assert steps is not None
    assert not steps.z


# --- the noise of a stack ------------------------------------------------------


@pytest.mark.parametrize(
    ("kernels", "off"),
    [
        pytest.param({1: BINOMIAL, 2: BINOMIAL}, 0.15, id="3x3-binomial"),
        pytest.param({2: ROW}, 0.15, id="rows-of-5"),
        pytest.param({2: [1 / 9] * 9}, 0.15, id="rows-of-9"),
        # Planes are not compared, so that structure weighs more.
        pytest.param({0: [0.5, 0.5, 0], 2: ROW}, 0.3, id="rows-and-planes"),
    ],
)
def test_shared_noise_is_measured_whole(
    kernels: dict[int, list[float]], off: float
) -> None:
    stack = recording(kernels)
    by_neighbours, apart = as_measured(stack)
    assert max(ratios(by_neighbours.noise, stack)) < 0.3
    assert apart.whole
    assert ratios(apart.noise, stack) == pytest.approx([1, 1, 1], abs=off)
    assert apart.noise.a_interval is not None
    assert apart.noise.a_interval[0] < GAIN < apart.noise.a_interval[1]


def test_white_noise_keeps_the_channel_as_it_is() -> None:
    by_neighbours, apart = as_measured(recording({}))
    assert apart is by_neighbours


def test_planes_too_small_for_it_keep_the_channel_as_it_is() -> None:
    rng = np.random.default_rng(0)
    by_neighbours, apart = as_measured(camera(scene(rng, 6, 24, smooth=3.0), rng))
    assert apart is by_neighbours


def test_differences_of_planes_leave_fine_structure_out() -> None:
    rng = np.random.default_rng(1)
    fine = scene(rng, 1, 128, low=5, span=200, smooth=1.2)
    stack = camera(np.repeat(fine, 8, axis=0), rng)
    two = Step(2)
    flat, deep = (
        measure_apart([stack], float("inf"), Steps(two, two, z)) for z in (False, True)
    )
    over = [
        np.median(points.variance / [TRUE.variance(float(x)) for x in points.mean])
        for points in (flat, deep)
    ]
    assert over[0] > 1.5
    assert over[1] == pytest.approx(1, abs=0.05)


def test_missing_and_padded_voxels_tell_nothing() -> None:
    stack = recording({1: BINOMIAL, 2: BINOMIAL}).astype(np.float32)
    steps = steps_apart([correlation(SHARED, SHARED)])
    assert steps is not None
    stack[:, :20] = np.nan
    stack[:, :, -8:] = 0.0
    points = measure_apart([stack], float("inf"), steps)
    noise = refit(points, TRUE)
    assert ratios(noise, stack[:, 30:, :-20]) == pytest.approx([1, 1, 1], abs=0.2)


def test_nothing_but_missing_voxels_is_refused() -> None:
    steps = Steps(Step(2), Step(2), z=True)
    with pytest.raises(InputError, match="give gain, offset and read_noise"):
        measure_apart([np.full(SHAPE, np.nan)], float("inf"), steps)


def test_what_is_not_known_of_the_correlation_stays_unknown() -> None:
    stack = recording({1: BINOMIAL, 2: BINOMIAL})
    unsure = Steps(Step(2, 0.778, 0.05), Step(2, 0.778, 0.05), z=True)
    points = measure_apart([stack], float("inf"), unsure)
    assert variance_error(points) > 0.05 / 0.778
    noise = refit(points, TRUE)
    assert noise.a_interval is not None
    assert noise.a_interval[1] - noise.a > 1.9 * 0.09 * noise.a


def test_constant_noise_stays_constant() -> None:
    points = MeanVariance(np.arange(3.0), np.array([4.0, 5.0, 6.0]), np.full(3, 9.0))
    noise = refit(points, Gaussian.from_sigma(1.0))
    assert isinstance(noise, Gaussian)
    assert noise.sigma**2 == pytest.approx(5)


# --- what training begins with -------------------------------------------------


def begun(stack: NDArray[Any], **settings: Any) -> tuple[nb.Model, list[str]]:
    told: list[str] = []
    model = nb.train(
        stack,
        axes="ZYX",
        threads=1,
        on_progress=lambda event: told.append(event.message),
        **{"steps": 0, **settings},
    )
    return model, [one for one in told if "farther apart" in one]


@pytest.fixture(scope="module", autouse=True)
def short_start() -> Any:
    """Fit the blind filters to few voxels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_blindspot.training.filters._VOXELS", 10**5)
        yield


@pytest.fixture(scope="module")
def shared() -> NDArray[np.uint16]:
    return recording({1: BINOMIAL, 2: BINOMIAL})


@pytest.mark.parametrize("hole", [(1, 5, 5), "auto"])
def test_training_behind_a_hole_begins_with_the_whole_noise(
    shared: NDArray[np.uint16], hole: Any
) -> None:
    model, told = begun(shared, hole=hole)
    assert model.result_hole == (1, 5, 5)
    assert ratios(model.noise[0], shared) == pytest.approx([1, 1, 1], abs=0.15)
    assert len(told) == 1


def test_the_network_does_not_measure_anew_what_is_known(
    shared: NDArray[np.uint16],
) -> None:
    first, _ = begun(shared, hole=(1, 5, 5))
    trained, _ = begun(shared, hole=(1, 5, 5), steps=12, start="cold")
    assert trained.noise == first.noise


def test_planes_keep_their_levels_beside_the_whole_noise(
    shared: NDArray[np.uint16],
) -> None:
    plain, _ = begun(shared, hole=(1, 5, 5))
    by_plane, _ = begun(shared, hole=(1, 5, 5), noise_per_plane=True)
    scores = [one.provenance["start"]["filter"] for one in (plain, by_plane)]
    assert scores[1] == pytest.approx(scores[0], abs=0.05)


def test_planes_are_denoised_by_their_levels_of_the_whole_noise(
    shared: NDArray[np.uint16], tmp_path: Path
) -> None:
    model, _ = begun(shared, hole=(1, 5, 5))
    assert 0.01 < model.noise[0].seen < 0.1
    file = nb.save_model(model, tmp_path / "model.safetensors")
    plain, by_plane = (
        np.asarray(nb.predict(file, shared, axes="ZYX", threads=1, **more).image)
        for more in ({}, {"noise_per_plane": True})
    )
    removed = plain.astype(float) - shared
    assert np.std(by_plane.astype(float) - plain) < 0.1 * np.std(removed)


def test_given_noise_and_a_hole_of_one_voxel_are_left_alone(
    shared: NDArray[np.uint16],
) -> None:
    given, told = begun(shared, hole=(1, 5, 5), gain=GAIN, offset=OFFSET, read_noise=0)
    assert given.noise[0].gain == GAIN
    assert told == []
    small, told = begun(shared)
    assert max(ratios(small.noise[0], shared)) < 0.1
    assert told == []
