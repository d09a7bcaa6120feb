"""Gain, offset and read noise, from what cameras and people make of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_blindspot.errors import InputError
from napari_blindspot.noise.artefacts import saturation_level
from napari_blindspot.noise.estimate import estimate_poisson_gaussian, measure_noise
from napari_blindspot.noise.samples import high_pass_samples
from noisy import camera, islands, scene

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.noise.models import PoissonGaussian

ROUNDING = 1 / 12  # grey values squared, by rounding to integers


def assert_variance(
    noise: PoissonGaussian,
    electrons: NDArray[np.float64],
    camera_: tuple[float, float, float] = (2.2, 100.0, 1.6),
    *,
    within: float,
    dark: float | None = None,
    extra: float = ROUNDING,
) -> None:
    """Compare the variance at the 1, 50 and 99 % quantile of the signal with truth.

    `dark` is the tolerance at the 1 % quantile, where it is another.
    """
    gain, offset, read = camera_
    for quantile in (1, 50, 99):
        x = gain * float(np.percentile(electrons, quantile)) + offset
        expected = gain * (x - offset) + (gain * read) ** 2 + extra
        tolerance = dark if dark and quantile == 1 else within
        assert noise.variance(x) == pytest.approx(expected, rel=tolerance)


def covers(interval: tuple[float, float] | None, truth: float) -> bool:
    assert interval is not None
    return interval[0] <= truth <= interval[1]


small = np.random.default_rng(3)
SMALL = small.poisson(islands(small, 2, 96, 0.4)) + small.normal(0, 0.5, (2, 96, 96))


@settings(deadline=None, derandomize=True, max_examples=25)
@given(st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_the_estimate_follows_scale_and_shift_of_the_data(
    scale: float, shift: float
) -> None:
    one = estimate_poisson_gaussian(list(SMALL))
    other = estimate_poisson_gaussian(list(scale * (SMALL + shift)))
    assert other.a == pytest.approx(scale * one.a, rel=1e-4)
    at = np.array([0.0, 3.0, 30.0])
    np.testing.assert_allclose(
        other.variance(scale * (at + shift)), scale**2 * one.variance(at), rtol=1e-4
    )
    assert one.offset is not None
    assert other.offset == pytest.approx(scale * (one.offset + shift), abs=0.01 * scale)
    assert other.read_noise == pytest.approx(one.read_noise, abs=0.01)
    for name, power in (("a", 1), ("offset", 1), ("read_noise", 0)):
        ours, theirs = (getattr(n, f"{name}_interval") for n in (one, other))
        widths = np.ptp(ours) * scale**power, np.ptp(theirs)
        assert widths[1] == pytest.approx(widths[0], rel=1e-3)


class TestIntervals:
    """Of 95 %, over forty small stacks each."""

    SEEDS = 40

    def estimates(self, make: Any) -> list[PoissonGaussian]:
        return [
            estimate_poisson_gaussian(list(make(np.random.default_rng(1000 + seed))))
            for seed in range(self.SEEDS)
        ]

    def share(self, found: list[Any], truth: float) -> float:
        return float(np.mean([covers(one, truth) for one in found]))

    def test_gain_is_covered_as_often_as_promised(self) -> None:
        found = self.estimates(lambda rng: camera(scene(rng, 3, 128), rng))
        assert 0.85 <= self.share([one.a_interval for one in found], 2.2) <= 1
        b = (2.2 * 1.6) ** 2 - 220 + ROUNDING
        assert 0.85 <= self.share([one.b_interval for one in found], b) <= 1
        half = [np.ptp(one.a_interval) / 2 / 2.2 for one in found]
        errors = [abs(one.a / 2.2 - 1) for one in found]
        assert np.median(half) < 0.1  # and not by saying nothing
        assert np.median(errors) < 0.05

    def test_offset_and_read_noise_are_covered_where_they_can_be_told(self) -> None:
        found = self.estimates(lambda rng: camera(islands(rng, 3, 128, 0.2), rng))
        known = [one for one in found if one.offset is not None]
        assert len(known) > 0.9 * self.SEEDS
        read = (1.6**2 + ROUNDING / 2.2**2) ** 0.5
        assert self.share([one.offset_interval for one in found], 100) >= 0.85
        assert self.share([one.read_noise_interval for one in found], read) >= 0.85
        assert np.median([abs(one.offset - 100) for one in known]) < 0.5
        assert np.median([abs(one.read_noise - read) for one in known]) < 0.2

    def test_an_offset_at_the_zero_of_the_line_is_covered(self) -> None:
        # Photons alone: the truth lies where read noise would become imaginary.
        found = self.estimates(
            lambda rng: camera(scene(rng, 3, 128, span=20, low=0.3), rng, 10, 100, 0)
        )
        assert self.share([one.offset_interval for one in found], 100) >= 0.85
        assert all(one.read_noise_interval[0] >= 0 for one in found)

    def test_a_gain_that_cannot_be_told_is_not_pretended(self) -> None:
        found = self.estimates(
            lambda rng: camera(
                scene(rng, 3, 128, span=5, low=0.2), rng, read_noise=10.0
            )
        )
        assert self.share([one.a_interval for one in found], 2.2) >= 0.85
        for one in found:
            assert np.ptp(one.a_interval) > 0.5 * 2.2
            if one.a_interval[0] <= 0:
                assert "grow" in one.warnings[-1]
                assert one.offset is None
            # What denoising needs is known all the same.
            assert one.variance(105.0) == pytest.approx((22**2) + 11, rel=0.06)


class TestRobustness:
    """Each on the same scene of 6 planes of 192², with the tolerance it is good for."""

    @pytest.fixture
    def electrons(self, rng: np.random.Generator) -> NDArray[np.float64]:
        return scene(rng)

    @pytest.mark.parametrize(("blur", "within"), [(2.0, 0.05), (1.0, 0.12)])
    def test_fine_texture(
        self,
        electrons: NDArray[np.float64],
        blur: float,
        within: float,
        rng: np.random.Generator,
    ) -> None:
        grain = ndimage.gaussian_filter(
            rng.normal(size=electrons.shape), (0, blur, blur)
        )
        textured = electrons * np.clip(1 + 0.4 * grain / grain.std(), 0.05, None)
        noise = estimate_poisson_gaussian(list(camera(textured, rng)))
        # The dark gaps of the texture are darker than any dark region.
        assert_variance(noise, textured, within=within, dark=0.6)

    def test_saturation(self, rng: np.random.Generator) -> None:
        electrons = scene(rng, low=0, span=120)
        y = np.minimum(camera(electrons, rng), 230)
        assert 0.01 < (y == 230).mean() < 0.2
        level = saturation_level(y.ravel())
        assert level == 230
        noise = estimate_poisson_gaussian(list(y), level)
        assert_variance(noise, np.minimum(electrons, 50), within=0.06, dark=0.12)
        blind = estimate_poisson_gaussian(list(y))  # saturation not told
        assert abs(noise.a / 2.2 - 1) < abs(blind.a / 2.2 - 1)

    def test_clipping_at_zero(self, rng: np.random.Generator) -> None:
        electrons = scene(rng, low=0, span=25)
        y = camera(electrons, rng, 2.0, 2.0, 3.0)
        assert 0.01 < (y == 0).mean() < 0.1
        noise = estimate_poisson_gaussian(list(y))
        visible = electrons[electrons > 2]
        assert_variance(noise, visible, (2.0, 2.0, 3.0), within=0.06, dark=0.15)

    @pytest.mark.parametrize("gain", [0.1, 0.2])
    def test_rounding_at_low_gain(
        self, electrons: NDArray[np.float64], gain: float, rng: np.random.Generator
    ) -> None:
        bright = 3 * electrons
        noise = estimate_poisson_gaussian(list(camera(bright, rng, gain, 20.0, 2.0)))
        assert_variance(noise, bright, (gain, 20.0, 2.0), within=0.06)

    def test_empty_background(self, rng: np.random.Generator) -> None:
        electrons = islands(rng)
        assert (electrons < 1).mean() > 0.8
        noise = estimate_poisson_gaussian(list(camera(electrons, rng)))
        assert_variance(noise, electrons, within=0.05)
        assert noise.offset == pytest.approx(100, abs=0.5)
        assert noise.read_noise == pytest.approx(1.6, abs=0.2)

    def test_eight_bits(
        self, electrons: NDArray[np.float64], rng: np.random.Generator
    ) -> None:
        y = camera(4 * electrons, rng, 1.0, 10.0, 1.6, np.uint8)
        level = saturation_level(y.ravel())
        assert level == 255
        noise = estimate_poisson_gaussian(list(y), level)
        assert_variance(noise, 4 * electrons, (1.0, 10.0, 1.6), within=0.06, dark=0.15)

    def test_negative_values(
        self, electrons: NDArray[np.float64], rng: np.random.Generator
    ) -> None:
        y = camera(electrons, rng, 2.2, -50.0, 3.0, np.int16)
        assert (y < 0).mean() > 0.2
        noise = estimate_poisson_gaussian(list(y))
        assert_variance(noise, electrons, (2.2, -50.0, 3.0), within=0.06)

    def test_data_that_was_scaled_to_one(
        self, electrons: NDArray[np.float64], rng: np.random.Generator
    ) -> None:
        y = camera(electrons, rng)
        unit = 1 / float(y.max())
        noise = estimate_poisson_gaussian(list((y * unit).astype(np.float32)))
        scaled = 2.2 * unit, 100 * unit, 1.6
        assert_variance(noise, electrons, scaled, within=0.06, extra=ROUNDING * unit**2)

    def test_the_mean_of_four_frames(
        self, electrons: NDArray[np.float64], rng: np.random.Generator
    ) -> None:
        y = np.mean([camera(electrons, rng) for _ in range(4)], axis=0)
        noise = estimate_poisson_gaussian(list(y))
        # A quarter of the gain at four times the photons, and twice the read noise.
        averaged = 0.55, 100.0, 3.2
        assert_variance(noise, 4 * electrons, averaged, within=0.06, extra=ROUNDING / 4)

    @pytest.mark.parametrize("dtype", [np.uint32, np.int64])
    def test_a_huge_offset(
        self, electrons: NDArray[np.float64], dtype: type, rng: np.random.Generator
    ) -> None:
        y = camera(electrons, rng, 2.2, 1e9, 1.6, dtype)
        noise = estimate_poisson_gaussian(list(y), saturation_level(y.ravel()))
        assert_variance(noise, electrons, (2.2, 1e9, 1.6), within=0.06)
        assert noise.a == pytest.approx(2.2, rel=0.06)

    def test_hot_pixels(
        self, electrons: NDArray[np.float64], rng: np.random.Generator
    ) -> None:
        y = camera(electrons, rng)
        hot = rng.random(y.shape) < 0.005
        y[hot] = rng.integers(100, 2000, int(hot.sum()))
        noise = estimate_poisson_gaussian(list(y))
        assert_variance(noise, electrons, within=0.1, dark=0.25)

    def test_a_single_plane(
        self, electrons: NDArray[np.float64], rng: np.random.Generator
    ) -> None:
        noise = estimate_poisson_gaussian([camera(electrons[0], rng)])
        assert_variance(noise, electrons[0], within=0.08, dark=0.15)
        assert covers(noise.a_interval, 2.2)
        assert noise.warnings == ()

    def test_small_planes_are_used_with_a_warning(
        self, rng: np.random.Generator
    ) -> None:
        electrons = scene(rng, 40, 16, smooth=4)
        noise = estimate_poisson_gaussian(list(camera(electrons, rng)))
        assert "voxels only (at least 10000 make it reliable)" in noise.warnings[0]
        assert "give gain, offset and read_noise" in noise.warnings[0]
        assert covers(noise.a_interval, 2.2)
        assert_variance(noise, electrons, within=0.2, dark=0.4)

    def test_constant_planes_among_others(
        self, electrons: NDArray[np.float64], rng: np.random.Generator
    ) -> None:
        y = camera(electrons, rng)
        expected = estimate_poisson_gaussian([*y[:1], y[2], *y[4:]])
        y[1], y[3] = 7, 0
        noise = estimate_poisson_gaussian(list(y))
        assert (noise.a, noise.b) == (expected.a, expected.b)

    @pytest.mark.parametrize("lost", ["block", "single"])
    def test_missing_voxels(
        self, electrons: NDArray[np.float64], lost: str, rng: np.random.Generator
    ) -> None:
        y = camera(electrons, rng).astype(np.float32)
        if lost == "block":
            y[:, 50:90, 30:120] = np.nan
        else:
            y[rng.random(y.shape) < 1e-3] = np.nan
        noise = estimate_poisson_gaussian(list(y))
        assert_variance(noise, electrons, within=0.06, dark=0.1)

    def test_photons_counted_one_by_one(self, rng: np.random.Generator) -> None:
        electrons = scene(rng, low=0, span=3, smooth=12)
        noise = estimate_poisson_gaussian(list(rng.poisson(electrons).astype("u2")))
        assert noise.variance(1.0) == pytest.approx(1.0, rel=0.06)
        assert covers(noise.offset_interval, 0.0)
        assert covers(noise.read_noise_interval, 0.0)


@pytest.mark.parametrize(
    ("planes", "words"),
    [
        pytest.param(np.full((3, 32, 32), np.nan), "no finite plane", id="all-nan"),
        pytest.param(np.full((3, 32, 32), 65535, "u2"), "constant", id="saturated"),
        pytest.param(
            np.arange(3.0)[:, None, None] * np.ones((3, 32, 32)),
            "constant",
            id="each-plane-constant",
        ),
        pytest.param(
            np.tile(np.arange(64.0), (3, 64, 1)), "shows no noise", id="no-noise"
        ),
        pytest.param(np.zeros((3, 4, 40)), "4 × 40 pixels are too small", id="tiny"),
        pytest.param(
            np.where(np.arange(9)[:, None] % 2, np.nan, np.ones((2, 9, 9))),
            "not finite",
            id="every-other-row-missing",
        ),
    ],
)
def test_what_tells_no_noise_is_one_sentence(planes: NDArray[Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        estimate_poisson_gaussian(list(planes), saturation_level(planes.ravel()))
    sentence = str(refused.value)
    assert sentence.endswith(".")
    assert any(word in sentence for word in ("give", "open", "check"))


def test_noise_that_falls_with_the_signal_is_not_believed(
    rng: np.random.Generator,
) -> None:
    electrons = scene(rng)
    y = electrons + rng.normal(0, 1, electrons.shape) * np.sqrt(70 - electrons)
    noise = estimate_poisson_gaussian(list(y))
    assert noise.a == 0
    assert "falls with the signal, which no camera does" in noise.warnings[-1]
    assert noise.variance(5.0) == noise.variance(50.0)


def test_points_lie_on_the_true_line(rng: np.random.Generator) -> None:
    electrons = scene(rng)
    measured = measure_noise(list(camera(electrons, rng)))
    points = measured.points
    expected = 2.2 * (points.mean - 100) + (2.2 * 1.6) ** 2 + ROUNDING
    assert points.count.sum() > 0.9 * electrons.size
    assert np.median(np.abs(points.variance / expected - 1)) < 0.04
    # No regression dilution: the darkest and the brightest are not drawn together.
    assert np.mean(points.variance[:10] / expected[:10]) == pytest.approx(1, abs=0.05)
    assert np.mean(points.variance[-10:] / expected[-10:]) == pytest.approx(1, abs=0.05)


def test_residual_and_mean_of_samples_belong_together(
    rng: np.random.Generator,
) -> None:
    # Of pure Poisson noise the mean of residual² is the mean of `mean`, in any set of
    # pixels that was chosen by `level`.
    counts = rng.poisson(scene(rng, low=0.2, span=8)).astype(float)
    samples = high_pass_samples(list(counts), float("inf"))
    bright = samples.level > np.quantile(samples.level, 0.8)
    for chosen in (bright, ~bright):
        part = samples.chosen(chosen)
        assert np.mean(part.residual**2) == pytest.approx(part.mean.mean(), rel=0.05)
        assert np.mean(6 * part.residual**3) == pytest.approx(
            part.cubed_mean.mean(), rel=0.35
        )
