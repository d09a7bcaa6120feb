"""Every verdict on residuals that deserve it, and none on those that do not."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from napari_blindspot.noise.estimate import MeanVariance
from napari_blindspot.noise.models import Gaussian, Impulse, PoissonGaussian
from napari_blindspot.noise.recalibration import Residuals
from napari_blindspot.noise.verdict import (
    Verdict,
    judge_noise,
    noise_shortfall,
    without_fallback,
)
from napari_blindspot.normalize import Normalization

CAMERA = PoissonGaussian.from_camera(2.0, 100.0, 2.0)
SCALE = Normalization(100.0, 200.0)
NOTHING = MeanVariance(*(np.empty(0) for _ in range(3)))


def points(
    rng: np.random.Generator, factor: float = 1.0, part: float = 1.0
) -> MeanVariance:
    """Forty bins on the camera's line; `factor` off it in the darkest `part`."""
    mean = np.linspace(102, 300, 40)
    off = np.where(np.arange(40) < 40 * part, factor, 1.0)
    variance = np.array([CAMERA.variance(float(x)) for x in mean]) * off
    return MeanVariance(
        mean, variance * (1 + rng.normal(0, 0.02, 40)), np.full(40, 5e3)
    )


def residuals(
    rng: np.random.Generator,
    noise_factor: float = 1.0,
    *,
    count: int = 50_000,
    held_out: float = 0.1,
) -> Residuals:
    """Residuals of a camera whose noise is `noise_factor` times the modelled one."""
    mean = rng.uniform(0, 1, count)
    noise = np.array(CAMERA.variance(mean * 200 + 100)) / 200**2
    variance = 0.1 * noise
    y = mean + rng.normal(size=count) * np.sqrt(variance + noise * noise_factor)
    columns = (x.astype(np.float32) for x in (y, mean, variance, noise))
    return Residuals(*columns, rng.random(count) < held_out)


def per_cent(sentence: str) -> int:
    found = re.search(r"about (\d+)%", sentence)
    assert found is not None
    return int(found.group(1))


@pytest.mark.parametrize("seed", range(5))
def test_good_noise_fits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    verdict = judge_noise(residuals(rng), CAMERA, points(rng))
    assert verdict.fits
    assert verdict.sentence == "noise model fits."
    assert verdict.residual == pytest.approx(1, abs=5 * verdict.residual_error)
    assert verdict.residual_error < 0.05
    assert verdict.measured == pytest.approx(1, abs=0.1)
    assert verdict.fallback == ""


@pytest.mark.parametrize("factor", [1.3, 2.0, 5.0])
def test_noise_that_is_under_estimated(factor: float, rng: np.random.Generator) -> None:
    verdict = judge_noise(residuals(rng, factor), CAMERA, points(rng, factor))
    assert not verdict.fits
    assert "under-estimated" in verdict.sentence
    assert per_cent(verdict.sentence) == pytest.approx(100 * (factor - 1), rel=0.2)
    assert verdict.measured == pytest.approx(factor, rel=0.05)
    assert verdict.fallback == "measured noise"
    assert "measured noise is used" in verdict.sentence


def test_a_line_that_its_own_points_leave_is_not_gone_by(
    rng: np.random.Generator,
) -> None:
    found = judge_noise(residuals(rng), CAMERA, points(rng, 1.6), estimated=True)
    assert not found.fits
    assert found.fallback == "prior mean"
    assert "leaves out the voxels' own values" in found.sentence


@pytest.mark.parametrize("estimated", [False, True])
def test_a_verdict_without_fallback_promises_none(
    estimated: bool, rng: np.random.Generator
) -> None:
    found = judge_noise(residuals(rng), CAMERA, points(rng, 1.6), estimated=estimated)
    told = without_fallback(found)
    assert (told.fits, told.fallback) == (False, "")
    assert told.sentence.endswith("clipped data?).")
    assert without_fallback(told) is told


def test_noise_that_is_under_estimated_in_a_part(rng: np.random.Generator) -> None:
    part = judge_noise(residuals(rng), CAMERA, points(rng, 1.6, part=0.2))
    assert not part.fits
    assert per_cent(part.sentence) == pytest.approx(60, abs=8)
    little = judge_noise(residuals(rng), CAMERA, points(rng, 1.6, part=0.05))
    assert little.fits


@pytest.mark.parametrize("factor", [0.7, 0.4])
def test_noise_that_is_over_estimated(factor: float, rng: np.random.Generator) -> None:
    verdict = judge_noise(residuals(rng, factor), CAMERA, points(rng, factor))
    assert not verdict.fits
    assert "over-estimated" in verdict.sentence
    assert per_cent(verdict.sentence) == pytest.approx(100 * (1 / factor - 1), rel=0.2)
    assert "leave out the camera values" in verdict.sentence
    assert verdict.fallback == ""


def test_neighbours_that_share_their_noise(rng: np.random.Generator) -> None:
    # Neighbours tell the noise of a voxel, so held-out voxels scatter too little.
    for measured in (points(rng), NOTHING):
        verdict = judge_noise(residuals(rng, 0.5), CAMERA, measured)
        assert not verdict.fits
        assert "neighbouring voxels share their noise" in verdict.sentence
        assert verdict.residual == pytest.approx((0.1 + 0.5) / 1.1, rel=0.05)
        assert f"{1 - verdict.residual:.0%} less" in verdict.sentence
        assert "--hole 1 3 3" in verdict.sentence
        assert "(1, 3, 3)" in verdict.sentence


def test_scatter_that_is_missing_in_the_dark_alone_is_nothing_that_neighbours_share(
    rng: np.random.Generator,
) -> None:
    seen = residuals(rng)
    dark = seen.mean < 0.6
    y = np.where(dark, seen.mean + 0.3 * (seen.y - seen.mean), seen.y)
    verdict = judge_noise(replace(seen, y=y), CAMERA, NOTHING)
    assert not verdict.fits
    assert verdict.residual < 0.6
    assert "not at every intensity" in verdict.sentence
    assert "larger blind spot" not in verdict.sentence


def test_nothing_measured_is_judged_by_the_residual_alone(
    rng: np.random.Generator,
) -> None:
    verdict = judge_noise(residuals(rng), CAMERA, NOTHING)
    assert verdict.fits
    assert verdict.measured is None


def test_held_out_voxels_decide_where_there_are_any(rng: np.random.Generator) -> None:
    good, bad = residuals(rng, held_out=0.0), residuals(rng, 0.3, held_out=1.0)
    mixed = Residuals(
        *(
            np.concatenate([getattr(good, name), getattr(bad, name)])
            for name in ("y", "mean", "variance", "noise", "held_out")
        )
    )
    assert judge_noise(good, CAMERA, NOTHING).residual == pytest.approx(1, abs=0.05)
    assert judge_noise(mixed, CAMERA, NOTHING).residual < 0.5


def test_outliers_are_no_part_of_the_noise_that_is_measured(
    rng: np.random.Generator,
) -> None:
    spotted = Impulse(0.02, 0.0, 1000.0, CAMERA)
    verdict = judge_noise(residuals(rng), spotted, points(rng))
    assert verdict.fits
    assert verdict.measured == pytest.approx(1, abs=0.1)


def test_shortfall_is_measured_over_modelled_noise_but_never_less_than_one(
    rng: np.random.Generator,
) -> None:
    flat = Gaussian.from_sigma(5.0)
    seen = residuals(rng)
    factor = noise_shortfall(seen, flat, points(rng), SCALE)
    grey = seen.mean * 200.0 + 100
    true = np.array(CAMERA.variance(grey))
    assert factor.shape == seen.mean.shape
    assert factor.min() == 1.0
    above = (true > 1.3 * 25) & (grey > 105)
    np.testing.assert_allclose(factor[above], (true / 25)[above], rtol=0.12)
    assert (factor[true < 20] < 1.1).all()


def test_shortfall_does_not_depend_on_the_order_of_the_points(
    rng: np.random.Generator,
) -> None:
    seen, line = residuals(rng, count=1000), points(rng, 2.0)
    shuffled = rng.permutation(40)
    other = MeanVariance(line.mean[shuffled], line.variance[shuffled], line.count)
    np.testing.assert_array_equal(
        noise_shortfall(seen, CAMERA, line, SCALE),
        noise_shortfall(seen, CAMERA, other, SCALE),
    )


def test_a_verdict_is_json() -> None:
    verdict = Verdict(False, "no.", 0.5, 0.01, 1.2, "measured noise")
    assert Verdict(**verdict.as_dict()) == verdict
