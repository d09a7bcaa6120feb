"""What pixels of a camera have of their own, told by a dark stack or the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from scipy import ndimage

import napari_blindspot as nb
from napari_blindspot.config import CameraSettings, TrainSettings, parse_settings
from napari_blindspot.errors import InputError
from napari_blindspot.io import open_stack
from napari_blindspot.measure.calibrated import measure_corrected
from napari_blindspot.measure.correction import DarkMaps, correct
from napari_blindspot.measure.fields import noise_fields
from napari_blindspot.noise.models import PoissonGaussian
from napari_blindspot.normalize import Normalization
from napari_blindspot.planes import plane_series
from napari_blindspot.progress import CancelToken
from noisy import scene

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

GAIN, OFFSET, READ = 2.0, 100.0, 1.5
SIDE = 64


class Sensor:
    """A camera whose pixels differ in offset, and some of them in read noise."""

    def __init__(self, side: int = SIDE) -> None:
        rng = np.random.default_rng(11)
        self.offset = OFFSET + rng.normal(0, 6, (side, side))
        self.hot = rng.random((side, side)) < 0.02
        self.read = np.where(self.hot, 8 * READ, READ)

    def record(
        self, electrons: NDArray[np.float64], rng: np.random.Generator
    ) -> NDArray[np.uint16]:
        counted = rng.poisson(electrons) + rng.normal(0, 1, electrons.shape) * self.read
        grey = np.rint(GAIN * counted + self.offset)
        return np.clip(grey, 0, 4095).astype(np.uint16)

    def dark(self, frames: int = 100, seed: int = 12) -> NDArray[np.uint16]:
        nothing = np.zeros((frames, *self.offset.shape))
        return self.record(nothing, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def sensor() -> Sensor:
    return Sensor()


@pytest.fixture(scope="module")
def dark_file(sensor: Sensor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(sensor.dark(), tmp_path_factory.mktemp("dark") / "dark.tif")


@pytest.fixture(scope="module")
def electrons() -> NDArray[np.float64]:
    return scene(np.random.default_rng(13), 8, SIDE, smooth=4)


@pytest.fixture(scope="module")
def recorded(sensor: Sensor, electrons: NDArray[np.float64]) -> NDArray[np.uint16]:
    return sensor.record(electrons, np.random.default_rng(14))


def written(values: NDArray[Any], path: Path, axes: str = "ZYX") -> Path:
    tifffile.imwrite(path, values, imagej=True, metadata={"axes": axes})
    return path


def settings(**options: Any) -> CameraSettings:
    return parse_settings(CameraSettings, **options)


def rms(error: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(error, dtype=np.float64))))


class TestDarkStack:
    def test_offsets_of_pixels_are_subtracted(
        self, sensor: Sensor, recorded: NDArray[np.uint16], dark_file: Path
    ) -> None:
        stack = open_stack(recorded, axes="ZYX")
        done = correct(stack, settings(dark=dark_file))
        assert done.stack.dtype == np.float32
        assert done.stack.shape == stack.shape
        taken = recorded - done.stack.data.compute()
        assert np.ptp(taken, axis=0).max() < 1e-4  # the same in all planes
        assert abs(taken.mean()) < 1e-3
        ordinary = ~sensor.hot
        expected = sensor.offset - sensor.offset.mean()
        assert rms((taken[0] - expected)[ordinary]) < 0.5  # 6 grey values before
        (moved,) = done.saturation([4095.0])
        assert moved == pytest.approx(4095 - float(taken.max()), abs=1e-2)
        assert "dark stack: offset 100" in done.notes[0]

    def test_nothing_is_read_before_it_is_needed(
        self, recorded: NDArray[np.uint16], dark_file: Path
    ) -> None:
        class Shy:
            shape, dtype, ndim = recorded.shape, recorded.dtype, 3

            def __getitem__(self, index: Any) -> NDArray[Any]:
                raise AssertionError("the stack was read")

        done = correct(open_stack(Shy(), axes="ZYX"), settings(dark=dark_file))
        assert done.stack.shape == recorded.shape

    def test_noisy_pixels_get_extra_variance_and_ordinary_ones_none(
        self, sensor: Sensor, recorded: NDArray[np.uint16], dark_file: Path
    ) -> None:
        done = correct(open_stack(recorded, axes="ZYX"), settings(dark=dark_file))
        (maps,) = done.dark
        assert maps.frames == 100
        assert maps.base_offset == pytest.approx(sensor.offset.mean(), abs=0.2)
        usual = (GAIN * READ) ** 2 + 1 / 12
        assert maps.base_variance == pytest.approx(usual, rel=0.05)
        hot = maps.extra[sensor.hot]
        assert (hot > 0).all()
        assert hot.mean() == pytest.approx(63 * (GAIN * READ) ** 2, rel=0.1)
        assert (maps.extra[~sensor.hot] > 0).mean() < 0.01
        assert "have more than twice the usual read noise" in done.notes[0]

    def test_the_noise_of_an_ordinary_pixel_is_learnt_from_the_dark(
        self, recorded: NDArray[np.uint16], dark_file: Path
    ) -> None:
        stack = open_stack(recorded, axes="ZYX")
        ((channel,), (_,)) = measure_corrected(
            [stack], parse_settings(TrainSettings, dark=dark_file)
        )
        noise = channel.noise
        assert noise.offset == pytest.approx(100, abs=1)
        assert noise.read_noise == pytest.approx(READ, rel=0.15)
        ((plain,), _) = measure_corrected([stack], TrainSettings())
        # Offsets that differ from pixel to pixel pass for noise.
        assert plain.noise.variance(105.0) > 1.5 * noise.variance(105.0)

    def test_saturated_voxels_stay_known(
        self, sensor: Sensor, electrons: NDArray[np.float64], dark_file: Path
    ) -> None:
        rng = np.random.default_rng(15)
        bright = np.minimum(sensor.record(3 * electrons, rng), 300).astype(np.uint16)
        cut = bright == 300
        assert 0.01 < cut.mean() < 0.4
        ((channel,), (done,)) = measure_corrected(
            [open_stack(bright, axes="ZYX")],
            parse_settings(TrainSettings, dark=dark_file),
        )
        assert (channel.saturation,) == done.saturation([300.0])
        assert 250 < channel.saturation < 300
        assert (done.stack.data.compute()[cut] >= channel.saturation).all()

    def test_the_result_is_better_than_without(
        self,
        electrons: NDArray[np.float64],
        recorded: NDArray[np.uint16],
        dark_file: Path,
    ) -> None:
        truth = GAIN * electrons + OFFSET
        # What a network knows of every voxel from those around it.
        doubt = 8.0
        blind = truth + np.random.default_rng(16).normal(0, doubt, truth.shape)

        def error(**options: Any) -> float:
            (channel,), (done,) = measure_corrected(
                [open_stack(recorded, axes="ZYX")],
                parse_settings(TrainSettings, **options),
            )
            (field,) = noise_fields(
                plane_series(done.stack, "z"),
                [channel.noise],
                [Normalization(0.0, 1.0)],
                done,
                CancelToken(),
                per_plane=False,
            )
            noise = field.at(range(len(truth)), slice(None), slice(None))
            y = done.stack.data.compute().astype(np.float64)
            clean, _ = noise.posterior(y, blind, np.full_like(y, doubt**2))
            return rms(clean - truth)

        corrected, plain = error(dark=dark_file), error()
        assert corrected < 0.95 * plain
        assert corrected < doubt  # better than the prior alone

    def test_training_and_prediction_take_the_same_correction(
        self,
        recorded: NDArray[np.uint16],
        dark_file: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("napari_blindspot.training.filters._VOXELS", 20_000)
        half = {"axes": "ZYX", "dark": dark_file, "region": "z=0:3,y=0:48,x=16:64"}
        done = nb.denoise(recorded, steps=1, seed=1, **half)
        again = nb.predict(done.model, recorded, **half)
        np.testing.assert_allclose(again.image, done.image, rtol=1e-5, atol=1e-3)
        without = nb.predict(done.model, recorded, **{**half, "dark": None})
        assert rms(without.image - done.image) > 1

    def test_a_noisy_pixel_is_not_believed(
        self, sensor: Sensor, recorded: NDArray[np.uint16], dark_file: Path
    ) -> None:
        from test_prediction import random_model

        model = random_model()
        row, column = np.argwhere(sensor.hot[8:56, 8:56])[0] + 8
        raised = recorded.copy()
        raised[3, row, column] += 100

        def trust(**options: Any) -> float:
            one, other = (
                nb.predict(model, y, axes="ZYX", **options).image
                for y in (recorded, raised)
            )
            # Blind to its own pixel, the network's prior there is the same.
            return float((other - one)[3, row, column]) / 100

        assert 0 < trust(dark=dark_file) < 0.5 * trust()

    def test_the_dtype_of_the_recording_is_kept_on_request(
        self, recorded: NDArray[np.uint16], dark_file: Path
    ) -> None:
        from test_prediction import random_model

        model = random_model()
        same = nb.predict(model, recorded, axes="ZYX", dark=dark_file, dtype="same")
        exact = nb.predict(model, recorded, axes="ZYX", dark=dark_file)
        assert same.image.dtype == np.uint16
        assert exact.image.dtype == np.float32
        expected = np.clip(np.rint(exact.image), 0, 65535)
        np.testing.assert_array_equal(same.image, expected)

    def test_channels_share_a_dark_stack_or_have_their_own(
        self, sensor: Sensor, recorded: NDArray[np.uint16], tmp_path: Path
    ) -> None:
        both = open_stack(np.stack([recorded, recorded + 50]), axes="CZYX")
        dark = sensor.dark(30)
        one = correct(both, settings(dark=written(dark, tmp_path / "one.tif")))
        assert len(one.dark) == 2
        assert one.dark[0] is one.dark[1]
        pair = np.stack([dark, dark[:, ::-1] + 7], axis=1)
        path = written(pair, tmp_path / "two.tif", "ZCYX")
        two = correct(both, settings(dark=path))
        assert two.dark[1].base_offset == pytest.approx(
            two.dark[0].base_offset + 7, abs=1e-3
        )
        np.testing.assert_array_equal(two.dark[1].variance, two.dark[0].variance[::-1])
        three = open_stack(np.stack([recorded] * 3), axes="CZYX")
        with pytest.raises(InputError, match="has 2 channels but the stack has 3"):
            correct(three, settings(dark=path))

    def test_a_region_cuts_the_dark_stack_alike(
        self, recorded: NDArray[np.uint16], dark_file: Path
    ) -> None:
        region = "z=2:6,y=8:40,x=16:64"
        options = parse_settings(TrainSettings, dark=dark_file, region=region)
        stack = open_stack(recorded, axes="ZYX", region=region)
        done = correct(stack, options)
        whole = correct(open_stack(recorded, axes="ZYX"), settings(dark=dark_file))
        (maps,), (all_maps,) = done.dark, whole.dark
        assert maps.frames == 100
        np.testing.assert_array_equal(maps.offset, all_maps.offset[8:40, 16:64])

    @pytest.mark.parametrize(
        ("frames", "shape", "words"),
        [
            (30, (SIDE, SIDE - 1), "64 × 63 pixels but the stack has 64 × 64"),
            (15, (SIDE, SIDE), "has 15 frames, too few .* at least 16"),
        ],
    )
    def test_a_dark_stack_that_does_not_fit_is_one_sentence(
        self,
        recorded: NDArray[np.uint16],
        frames: int,
        shape: tuple[int, int],
        words: str,
        tmp_path: Path,
    ) -> None:
        values = np.random.default_rng(0).integers(90, 110, (frames, *shape), "u2")
        path = written(values, tmp_path / "dark.tif")
        with pytest.raises(InputError, match=words) as refused:
            correct(open_stack(recorded, axes="ZYX"), settings(dark=path))
        assert str(refused.value).startswith("dark=dark.tif")

    def test_a_dark_stack_with_gaps_is_refused(
        self, recorded: NDArray[np.uint16], sensor: Sensor, tmp_path: Path
    ) -> None:
        values = sensor.dark(20).astype(np.float32)
        values[3, 4, 5] = np.nan
        path = written(values, tmp_path / "dark.tif")
        with pytest.raises(InputError, match=r"dark=dark\.tif holds values that"):
            correct(open_stack(recorded, axes="ZYX"), settings(dark=path))

    def test_a_missing_dark_stack_fails_before_training(
        self, recorded: NDArray[np.uint16], tmp_path: Path
    ) -> None:
        with pytest.raises(InputError, match=r"nowhere\.tif"):
            nb.train(recorded, axes="ZYX", steps=1, dark=tmp_path / "nowhere.tif")

    def test_frames_may_lie_along_time(
        self, recorded: NDArray[np.uint16], sensor: Sensor, tmp_path: Path
    ) -> None:
        path = written(sensor.dark(20), tmp_path / "movie.tif", "TYX")
        done = correct(open_stack(recorded, axes="ZYX"), settings(dark=path))
        assert done.dark[0].frames == 20


def test_few_dark_frames_make_no_pixel_noisy_by_chance() -> None:
    rng = np.random.default_rng(0)
    for frames in (16, 100):
        variance = rng.normal(0, 3, (frames, 100, 100)).var(axis=0, ddof=1)
        maps = DarkMaps(np.zeros((100, 100), "f4"), variance.astype("f4"), frames)
        assert (maps.extra > 0).mean() < 0.02


def test_without_a_dark_stack_nothing_changes(recorded: NDArray[np.uint16]) -> None:
    stack = open_stack(recorded, axes="ZYX")
    done = correct(stack, settings())
    assert done.stack is stack
    assert (done.dark, done.steps, done.notes) == ((), (), ())
    assert done.saturation([300.0]) == (300.0,)


@pytest.mark.parametrize("which", ["columns", "rows"])
def test_a_fixed_pattern_is_subtracted(which: str) -> None:
    rng = np.random.default_rng(21)
    clean = scene(rng, 12, 128)
    stripes = rng.normal(0, 4, 128)
    stripes -= stripes.mean()
    pattern = stripes[None, :] if which == "columns" else stripes[:, None]
    y = rng.poisson(clean) + 100 + pattern
    noise = PoissonGaussian.from_camera(1.0, 100.0, 0.0)
    stack = open_stack(y.astype(np.float32), axes="ZYX")
    done = correct(stack, settings(fixed_pattern=which), (noise,))
    left = done.stack.data.compute() - (y - pattern)
    # What is slow across the columns cannot be told from structure.
    fine = left - ndimage.uniform_filter(left, (0, 25, 25), mode="nearest")
    assert rms(fine) < 0.5 * stripes.std()
    assert f"{which}: a fixed pattern of" in done.notes[0]
    other = "rows" if which == "columns" else "columns"
    none = correct(stack, settings(fixed_pattern=other), (noise,))
    assert f"{other}: no fixed pattern was found" in none.notes[0]
    np.testing.assert_array_equal(none.stack.data.compute(), stack.data.compute())


def test_a_pattern_that_cannot_be_measured_is_refused() -> None:
    small = open_stack(np.ones((4, 32, 32), np.float32), axes="ZYX")
    noise = (PoissonGaussian.from_camera(1.0, 0.0, 1.0),)
    with pytest.raises(InputError, match="fixed_pattern='columns' cannot be measured"):
        correct(small, settings(fixed_pattern="columns"), noise)
