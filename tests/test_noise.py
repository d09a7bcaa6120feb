from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_blindspot.errors import InputError
from napari_blindspot.noise.artefacts import saturation_level
from napari_blindspot.noise.estimate import estimate_poisson_gaussian
from napari_blindspot.noise.models import PoissonGaussian
from napari_blindspot.noise.posterior import (
    noise_variance,
    posterior_mean,
    posterior_variance,
)
from napari_blindspot.normalize import Normalization

if TYPE_CHECKING:
    from numpy.typing import NDArray


def scene(
    rng: np.random.Generator, planes: int = 6, side: int = 192
) -> NDArray[np.float64]:
    """A smooth scene in photo-electrons, 1 to about 60."""
    field = ndimage.gaussian_filter(rng.normal(size=(planes, side, side)), (0, 9, 9))
    field = (field - field.min()) / np.ptp(field)
    return 1 + 60 * field**2


def camera(
    electrons: NDArray[np.float64],
    rng: np.random.Generator,
    gain: float,
    offset: float,
    read_noise: float,
) -> NDArray[np.uint16]:
    y = gain * (rng.poisson(electrons) + rng.normal(0, read_noise, electrons.shape))
    return np.clip(np.round(y + offset), 0, 65535).astype(np.uint16)


@pytest.mark.parametrize("gain", [0.5, 1.0, 2.2, 10.0])
def test_camera_is_recovered_from_a_textured_phantom(
    gain: float, rng: np.random.Generator
) -> None:
    electrons = scene(rng)
    planes = list(camera(electrons, rng, gain, 100.0, 1.6))
    noise = estimate_poisson_gaussian(planes)
    truth = PoissonGaussian.from_camera(gain, 100.0, 1.6)
    assert noise.a == pytest.approx(gain, rel=0.05)
    for quantile in (1, 50, 99):
        x = gain * np.percentile(electrons, quantile) + 100
        # Rounding to integers adds 1/12 of a grey value squared.
        expected = truth.a * x + truth.b + 1 / 12
        assert noise.a * x + noise.b == pytest.approx(expected, rel=0.08)
    assert noise.a_interval is not None
    assert noise.a_interval[0] < noise.a < noise.a_interval[1]


def test_zero_clipped_and_saturated_voxels_are_left_out(
    rng: np.random.Generator,
) -> None:
    electrons = 0.7 * (scene(rng) - 1)
    planes = camera(electrons, rng, 2.0, 2.0, 3.0)  # offset too small: clips at zero
    planes = np.minimum(planes, 75).astype(np.uint16)
    assert (planes == 0).mean() > 0.005
    assert (planes == 75).mean() > 0.001
    level = saturation_level(planes.ravel())
    assert level == 75
    noise = estimate_poisson_gaussian(list(planes), level)
    assert all("fitted to the rest" in said for said in noise.warnings)
    for x in (15.0, 40.0):
        assert noise.a * x + noise.b == pytest.approx(2 * (x - 2) + 36, rel=0.1)


def test_data_full_of_zeros_is_used_with_a_warning(rng: np.random.Generator) -> None:
    electrons = 0.02 * scene(rng)  # photon counting: nearly every voxel is zero
    noise = estimate_poisson_gaussian(list(rng.poisson(electrons).astype(np.uint16)))
    assert "at zero or saturated" in noise.warnings[0]
    assert noise.a * 0.5 + noise.b == pytest.approx(0.5, rel=0.15)


def test_gaussian_noise_gives_a_flat_line(rng: np.random.Generator) -> None:
    planes = list(scene(rng) + rng.normal(0, 3, (6, 192, 192)))
    noise = estimate_poisson_gaussian(planes)
    for x in (5.0, 40.0):
        assert noise.a * x + noise.b == pytest.approx(9.0, rel=0.1)


def test_missing_voxels_are_left_out(rng: np.random.Generator) -> None:
    planes = scene(rng) + rng.normal(0, 3, (6, 192, 192))
    planes[:, :40] = np.nan
    noise = estimate_poisson_gaussian(list(planes))
    assert noise.a * 20 + noise.b == pytest.approx(9.0, rel=0.1)


def test_a_noiseless_stack_is_refused() -> None:
    ramp = np.tile(np.arange(64.0), (64, 1))
    with pytest.raises(InputError, match="shows no noise"):
        estimate_poisson_gaussian([ramp])


def test_a_stack_without_finite_voxels_is_refused() -> None:
    with pytest.raises(InputError, match="no finite plane"):
        estimate_poisson_gaussian([np.full((32, 32), np.nan)])


def test_the_estimate_scales_with_the_data(rng: np.random.Generator) -> None:
    planes = scene(rng) + rng.normal(0, 1, (6, 192, 192)) * np.sqrt(scene(rng))
    one = estimate_poisson_gaussian(list(planes))
    other = estimate_poisson_gaussian(list(3 * planes + 50))
    assert other.a == pytest.approx(3 * one.a, rel=1e-6)
    assert other.b == pytest.approx(9 * one.b - 3 * one.a * 50, rel=1e-6)


def test_unsaturated_images_have_no_saturation_level(rng: np.random.Generator) -> None:
    assert saturation_level(rng.poisson(30, 10_000).astype(np.uint16)) == np.inf
    assert saturation_level(np.array([3, 65535], np.uint16)) == 65535
    assert saturation_level(np.array([0.5, 1.0])) == np.inf


def test_noise_in_network_units_is_the_same_variance() -> None:
    noise = PoissonGaussian.from_camera(2.2, 100.0, 1.6)
    scale = Normalization(90.0, 400.0)
    network = noise.normalized(scale)
    t = np.array([(300.0 - 90.0) / 400.0, -1.0])
    variance = network.variance(t) * 400**2
    assert variance[0] == pytest.approx(noise.variance(300.0))
    assert variance[1] == pytest.approx((2.2 * 1.6) ** 2)  # the floor, in the dark


def test_noise_survives_json() -> None:
    noise = PoissonGaussian(
        2.0,
        -30.0,
        floor=4.0,
        a_interval=(1.9, 2.1),
        b_interval=(-31.0, -29.0),
        warnings=("w",),
    )
    assert PoissonGaussian.from_dict(noise.as_dict()) == noise
    camera_noise = PoissonGaussian.from_camera(2.0, 100.0, 1.5)
    assert PoissonGaussian.from_dict(camera_noise.as_dict()) == camera_noise


@pytest.mark.parametrize(
    "convert", [np.asarray, torch.as_tensor], ids=["numpy", "torch"]
)
class TestPosterior:
    def test_no_prior_variance_gives_the_prior(self, convert: object) -> None:
        y, mean, v, n = (convert(np.array([x])) for x in (9.0, 4.0, 0.0, 2.0))  # type: ignore[operator]
        assert posterior_mean(y, mean, v, n) == mean
        assert posterior_variance(v, n) == 0

    def test_infinite_prior_variance_gives_the_data(self, convert: object) -> None:
        y, mean, v, n = (convert(np.array([x])) for x in (9.0, 4.0, 1e12, 2.0))  # type: ignore[operator]
        assert float(posterior_mean(y, mean, v, n)[0]) == pytest.approx(9.0)
        assert float(posterior_variance(v, n)[0]) == pytest.approx(2.0)

    def test_noise_never_falls_below_its_floor(self, convert: object) -> None:
        mean = convert(np.array([-1.0, 0.0, 2.0]))  # type: ignore[operator]
        out = noise_variance(mean, 0.5, 0.1, 0.05)
        np.testing.assert_allclose(np.asarray(out), [0.05, 0.1, 1.1])


def test_linear_rule_is_the_best_linear_estimate_of_poisson_data(
    rng: np.random.Generator,
) -> None:
    mean, variance = 6.0, 9.0
    clean = rng.gamma(mean**2 / variance, variance / mean, 400_000)
    y = rng.poisson(clean) + rng.normal(0, 1.5, clean.shape)
    noise = mean + 1.5**2
    estimate = posterior_mean(y, mean, variance, noise)
    error = np.mean((estimate - clean) ** 2)
    assert error == pytest.approx(posterior_variance(variance, noise), rel=0.02)
    for slope in (0.9, 1.1):  # no other slope does better
        other = mean + slope * variance / (variance + noise) * (y - mean)
        assert np.mean((other - clean) ** 2) > error


@pytest.mark.parametrize(
    ("dtype", "fill"), [("float32", 0), ("int16", -5), ("uint16", 0)]
)
def test_padding_of_a_rotated_stack_is_no_noise(
    dtype: str, fill: int, rng: np.random.Generator
) -> None:
    planes = camera(scene(rng), rng, 2.2, 100.0, 1.6).astype(dtype)
    plain = estimate_poisson_gaussian(list(planes))
    padded = planes.copy()
    padded[:, :70] = fill
    padded[:, :, 150:] = fill
    noise = estimate_poisson_gaussian(list(padded))
    for x in (120.0, 200.0):
        expected = plain.a * x + plain.b
        assert noise.a * x + noise.b == pytest.approx(expected, rel=0.1)
