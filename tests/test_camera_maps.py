"""The maps of an sCMOS camera: offset, variance and gain of every pixel."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

import napari_blindspot as nb
from napari_blindspot.config import (
    CameraSettings,
    PredictSettings,
    TrainSettings,
    parse_settings,
)
from napari_blindspot.errors import InputError
from napari_blindspot.io import open_stack
from napari_blindspot.measure import camera_maps
from napari_blindspot.measure.calibrated import measure_corrected, on_average
from napari_blindspot.measure.camera_maps import DarkMaps, read_camera
from napari_blindspot.measure.channels import Channel
from napari_blindspot.measure.correction import correct
from napari_blindspot.measure.fields import noise_fields
from napari_blindspot.noise.estimate import MeanVariance
from napari_blindspot.noise.gain_pattern import gain_seen
from napari_blindspot.noise.models import Impulse, PoissonGaussian
from napari_blindspot.normalize import Normalization
from napari_blindspot.planes import plane_series
from napari_blindspot.progress import CancelToken
from noisy import scene

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

GAIN, OFFSET, READ = 2.0, 100.0, 1.6
SIDE, FRAMES = 128, 64


class Scmos:
    """A sensor whose pixels differ by 20 % in gain, and in offset and read noise."""

    def __init__(self, folder: Path, spread: float = 0.2) -> None:
        rng = np.random.default_rng(31)
        shape = (SIDE, SIDE)
        gain = np.exp(rng.normal(0, spread, shape))
        self.gain = GAIN * gain / gain.mean()
        self.offset = OFFSET + rng.normal(0, 5, shape)
        self.read = READ * rng.lognormal(0, 0.4, shape)  # electrons
        self.variance = (self.gain * self.read) ** 2
        self.options = {
            "offset_map": written(self.offset, folder / "offset.tif"),
            "variance_map": written(self.variance, folder / "variance.tif"),
            # Another unit, as other software would write it.
            "gain_map": written(7 * self.gain, folder / "gain.tif"),
        }

    def record(self, electrons: NDArray[np.float64], seed: int) -> NDArray[np.float32]:
        rng = np.random.default_rng(seed)
        noise = rng.normal(0, 1, electrons.shape) * self.read
        grey = self.gain * (rng.poisson(electrons) + noise) + self.offset
        return grey.astype(np.float32)

    def dark_file(self, path: Path) -> Path:
        frames = self.record(np.zeros((60, SIDE, SIDE)), 32)
        tifffile.imwrite(path, frames, imagej=True, metadata={"axes": "ZYX"})
        return path


def written(image: NDArray[Any], path: Path, axes: str = "YX") -> Path:
    tifffile.imwrite(path, image.astype(np.float32), metadata={"axes": axes})
    return path


@pytest.fixture(scope="module")
def sensor(tmp_path_factory: pytest.TempPathFactory) -> Scmos:
    return Scmos(tmp_path_factory.mktemp("scmos"))


@pytest.fixture(scope="module")
def electrons() -> NDArray[np.float64]:
    """One scene, recorded again and again, so that every pixel shows its noise."""
    (one,) = scene(np.random.default_rng(33), 1, SIDE, low=2, span=80)
    return np.broadcast_to(one, (FRAMES, SIDE, SIDE)).copy()


@pytest.fixture(scope="module")
def recorded(sensor: Scmos, electrons: NDArray[np.float64]) -> NDArray[np.float32]:
    return sensor.record(electrons, 34)


def rms(values: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def settings(**options: Any) -> CameraSettings:
    return parse_settings(CameraSettings, **options)


class TestCorrection:
    def test_the_line_is_that_of_an_even_sensor(
        self,
        sensor: Scmos,
        electrons: NDArray[np.float64],
        recorded: NDArray[np.float32],
    ) -> None:
        stack = open_stack(recorded, axes="ZYX")
        ((channel,), (done,)) = measure_corrected(
            [stack], parse_settings(TrainSettings, **sensor.options)
        )
        assert channel.noise.gain == pytest.approx(GAIN, rel=0.03)
        assert channel.noise.offset == pytest.approx(OFFSET, abs=0.1)
        even = electrons[0] * GAIN + OFFSET
        extra = done.dark[0].extra
        modelled = channel.noise.variance(even) + extra
        true = GAIN**2 * (electrons[0] + sensor.read**2)
        assert modelled.mean() == pytest.approx(true.mean(), rel=0.03)
        plain = measure_corrected([stack], TrainSettings())[0][0].noise
        assert plain.variance(150.0) > 1.5 * (GAIN**2 * (25 + READ**2))

    def test_every_pixel_has_the_noise_that_it_is_given(
        self,
        sensor: Scmos,
        electrons: NDArray[np.float64],
        recorded: NDArray[np.float32],
    ) -> None:
        even = electrons * GAIN + OFFSET

        def normalised(**options: Any) -> NDArray[np.float64]:
            ((channel,), (done,)) = measure_corrected(
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
            noise = field.at(range(FRAMES), slice(None), slice(None))
            error = done.stack.data.compute() - even
            found: NDArray[np.float64] = (error**2 / noise.variance(even)).mean(axis=0)
            return found

        chance = (2 / FRAMES) ** 0.5
        whole = normalised(**sensor.options)
        assert whole.mean() == pytest.approx(1, abs=0.03)
        assert whole.std() == pytest.approx(chance, rel=0.15)
        # Without the gains the same pixels are wrong in every frame.
        part = normalised(**{**sensor.options, "gain_map": None})
        assert part.std() > 4 * chance

    def test_without_the_gain_map_the_error_of_every_pixel_remains(
        self,
        sensor: Scmos,
        electrons: NDArray[np.float64],
        recorded: NDArray[np.float32],
    ) -> None:
        even = electrons[0] * GAIN + OFFSET
        stack = open_stack(recorded, axes="ZYX")

        def lasting(**options: Any) -> float:
            done = correct(stack, settings(**options))
            return rms(done.stack.data.mean(axis=0).compute() - even)

        chance = rms(GAIN * np.sqrt((electrons[0] + sensor.read**2) / FRAMES))
        assert lasting(**sensor.options) < 1.1 * chance
        signal = rms(even - OFFSET)
        assert lasting(**{**sensor.options, "gain_map": None}) > 0.15 * signal

    def test_a_gain_map_alone_finds_the_offset_around_which_gains_differ(
        self, sensor: Scmos, electrons: NDArray[np.float64]
    ) -> None:
        rng = np.random.default_rng(35)
        # No offsets of single pixels, as of a camera that subtracts them itself.
        noisy = rng.poisson(electrons[:12]) + rng.normal(0, READ, (12, SIDE, SIDE))
        stack = open_stack(sensor.gain * noisy + OFFSET, axes="ZYX")
        done = correct(stack, settings(gain_map=sensor.options["gain_map"]))
        assert done.dark == ()
        left = done.stack.data.mean(axis=0).compute() - (electrons[0] * GAIN + OFFSET)
        assert rms(left) < 1.1 * rms(GAIN * np.sqrt((electrons[0] + READ**2) / 12))
        assert "gain map: 20" in done.notes[0]
        ((channel,), _) = measure_corrected(
            [stack], parse_settings(TrainSettings, gain_map=sensor.options["gain_map"])
        )
        assert channel.noise.gain == pytest.approx(GAIN, rel=0.03)

    def test_a_gain_map_joins_a_dark_stack(
        self,
        sensor: Scmos,
        electrons: NDArray[np.float64],
        recorded: NDArray[np.float32],
        tmp_path: Path,
    ) -> None:
        dark = sensor.dark_file(tmp_path / "dark.tif")
        stack = open_stack(recorded, axes="ZYX")
        options = {"dark": dark, "gain_map": sensor.options["gain_map"]}
        done = correct(stack, settings(**options))
        even = electrons[0] * GAIN + OFFSET
        assert rms(done.stack.data.mean(axis=0).compute() - even) < 2
        (maps,) = done.dark
        (raw,) = read_camera(settings(**options)).dark
        expected = raw.variance / (sensor.gain / GAIN) ** 2
        np.testing.assert_allclose(maps.variance, expected, rtol=1e-4)
        assert len(done.notes) == 2

    def test_saturated_voxels_are_known_in_every_pixel(
        self, sensor: Scmos, electrons: NDArray[np.float64]
    ) -> None:
        grey = sensor.record(3 * electrons[:8], 36)
        cut = np.clip(np.rint(grey), 0, 450).astype(np.uint16)
        full = cut == 450
        assert 0.001 < full.mean() < 0.4
        ((channel,), (done,)) = measure_corrected(
            [open_stack(cut, axes="ZYX")],
            parse_settings(TrainSettings, **sensor.options),
        )
        corrected = done.stack.data.compute()
        assert (corrected[full] >= channel.saturation).all()
        assert channel.saturation < 300  # the pixels of the highest gain are full first

    def test_a_map_of_another_camera_is_noticed(
        self, sensor: Scmos, recorded: NDArray[np.float32], tmp_path: Path
    ) -> None:
        other = written(sensor.gain[::-1, ::-1], tmp_path / "other.tif")
        stack = open_stack(recorded, axes="ZYX")
        maps = {**sensor.options, "gain_map": other}
        told = correct(stack, settings(**maps)).notes[-1]
        assert re.search(r"shows -?\d% ± \d% of the pattern of gain_map=other", told)
        right = correct(stack, settings(**sensor.options))
        assert "check that the map" not in " ".join(right.notes)
        np.testing.assert_array_equal(stack.data.compute(), recorded)

    def test_an_even_map_changes_nothing(
        self, recorded: NDArray[np.float32], tmp_path: Path
    ) -> None:
        flat = written(np.full((SIDE, SIDE), 0.46), tmp_path / "flat.tif")
        done = correct(open_stack(recorded, axes="ZYX"), settings(gain_map=flat))
        np.testing.assert_allclose(done.stack.data.compute(), recorded, rtol=1e-6)

    def test_a_region_cuts_the_maps_alike(
        self, sensor: Scmos, recorded: NDArray[np.float32]
    ) -> None:
        region = "z=2:6,y=8:72,x=16:96"
        stack = open_stack(recorded, axes="ZYX", region=region)
        options = parse_settings(TrainSettings, region=region, **sensor.options)
        camera = read_camera(options)
        cut = sensor.gain[8:72, 16:96]
        np.testing.assert_allclose(camera.gain[0], cut / cut.mean(), rtol=1e-5)
        assert correct(stack, options).stack.shape == (4, 64, 80)


class TestFiles:
    def test_channels_share_a_map_or_have_their_own(
        self, sensor: Scmos, recorded: NDArray[np.float32], tmp_path: Path
    ) -> None:
        both = open_stack(np.stack([recorded[:4]] * 2), axes="CZYX")
        shared = read_camera(settings(**sensor.options)).of(both)
        assert len(shared.gain) == len(shared.dark) == 2
        pair = np.stack([sensor.gain, sensor.gain[::-1]])
        path = written(pair, tmp_path / "two.tif", "CYX")
        own = read_camera(settings(gain_map=path)).of(both)
        np.testing.assert_allclose(own.gain[1], own.gain[0][::-1], rtol=1e-5)
        nameless = tmp_path / "nameless.tif"
        tifffile.imwrite(nameless, pair.astype(np.float32))
        assert len(read_camera(settings(gain_map=nameless)).gain) == 2
        picked = parse_settings(TrainSettings, gain_map=path, channel=1)
        assert len(read_camera(picked).gain) == 1
        single = open_stack(recorded[:4], axes="ZYX")
        with pytest.raises(InputError, match="has 2 channels but the stack has 1"):
            correct(single, settings(gain_map=path))

    @pytest.mark.parametrize(
        ("name", "change", "words"),
        [
            pytest.param("gain_map", 0.0, "zero, negative or infinite", id="dead"),
            pytest.param("gain_map", -1.0, "zero, negative or infinite", id="negative"),
            pytest.param("gain_map", np.nan, "NaN in 1 of 16384 pixels", id="nan"),
            pytest.param("gain_map", 200.0, "more than a factor of 10", id="spread"),
            pytest.param("variance_map", -1.0, "a variance that is negative", id="var"),
            pytest.param("offset_map", np.inf, "an offset that is infinite", id="off"),
        ],
    )
    def test_a_pixel_that_cannot_be_is_one_sentence(
        self, sensor: Scmos, name: str, change: float, words: str, tmp_path: Path
    ) -> None:
        image = tifffile.imread(sensor.options[name])
        image[3, 4] = change
        path = written(image, tmp_path / "bad.tif")
        options = {**sensor.options, name: path}
        with pytest.raises(InputError, match=words) as refused:
            read_camera(settings(**options))
        assert str(refused.value).startswith(f"{name}=bad.tif")
        assert "median of the others" in str(refused.value)

    def test_maps_that_do_not_fit_are_one_sentence(
        self, sensor: Scmos, recorded: NDArray[np.float32], tmp_path: Path
    ) -> None:
        small = written(sensor.gain[1:], tmp_path / "small.tif")
        stack = open_stack(recorded, axes="ZYX")
        with pytest.raises(InputError, match=r"gain_map=small\.tif has 127 × 128"):
            correct(stack, settings(gain_map=small))
        options = {**sensor.options, "variance_map": small}
        with pytest.raises(InputError, match="differ in size"):
            correct(stack, settings(**options))
        many = tmp_path / "many.tif"
        frames = np.ones((2, 3, SIDE, SIDE), np.float32)
        tifffile.imwrite(many, frames, imagej=True, metadata={"axes": "TZYX"})
        with pytest.raises(InputError, match="a map is one image"):
            read_camera(settings(gain_map=many))

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"offset_map": "o.tif"}, "without variance_map"),
            ({"variance_map": "v.tif"}, "without offset_map"),
            (
                {"dark": "d.tif", "offset_map": "o.tif", "variance_map": "v.tif"},
                r"dark=d\.tif cannot be used together with offset_map=o\.tif",
            ),
            (
                {"gain": 2, "offset": 9, "offset_map": "o", "variance_map": "v"},
                "offset=9 cannot be used together with offset_map",
            ),
        ],
    )
    def test_settings_that_contradict_each_other_are_refused(
        self, options: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(InputError, match=words):
            parse_settings(TrainSettings, **options)

    def test_exact_maps_leave_no_pixel_out(self) -> None:
        variance = np.linspace(4, 9, 100, dtype=np.float32).reshape(10, 10)
        maps = DarkMaps(np.zeros((10, 10), np.float32), variance, None)
        known = maps.base_variance + maps.extra
        np.testing.assert_allclose(known, variance, atol=0.06)


def test_what_a_stack_cannot_tell_of_a_gain_is_unknown() -> None:
    rng = np.random.default_rng(37)
    gain = rng.normal(1, 1e-4, (48, 48)).astype(np.float32)
    planes = [rng.normal(100, 5, (48, 48))]
    assert gain_seen(planes, gain).error > 10
    flat = gain_seen(planes, np.ones((48, 48), np.float32))
    assert (flat.share, flat.error) == (1.0, float("inf"))


def test_the_calibration_is_read_once_for_training_and_prediction(
    sensor: Scmos,
    recorded: NDArray[np.float32],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("napari_blindspot.training.filters._VOXELS", 20_000)
    dark = sensor.dark_file(tmp_path / "dark.tif")
    opened = []

    def counted(path: Any, **options: Any) -> Any:
        opened.append(path)
        return open_stack(path, **options)

    monkeypatch.setattr(camera_maps, "open_stack", counted)
    gains = sensor.options["gain_map"]
    half = {"axes": "ZYX", "region": "z=0:4,y=0:48,x=0:64"}
    done = nb.denoise(recorded, steps=1, dark=dark, gain_map=gains, **half)
    assert opened == [dark, gains]
    told = done.provenance["settings"]
    assert (told["dark"], told["gain_map"]) == ("dark.tif", "gain.tif")
    assert done.model.provenance["noise_settings"]["gain_map"] == "gain.tif"
    again = nb.predict(done.model, recorded, dark=dark, gain_map=gains, **half)
    np.testing.assert_allclose(again.image, done.image, rtol=1e-5, atol=1e-3)
    from napari_blindspot.facts import other_correction

    without = parse_settings(PredictSettings, dark=dark)
    assert "other settings of gain_map" in other_correction(done.model, without)


def test_the_average_pixel_has_more_noise_among_outliers_too() -> None:
    variance = np.full((10, 10), 4.0, np.float32)
    variance[0] = 40.0
    dark = DarkMaps(np.zeros((10, 10), np.float32), variance, None)
    more = float(dark.extra.mean())
    base = PoissonGaussian(2.0, 5.0, floor=1.0)
    points = MeanVariance(np.zeros(0), np.zeros(0), np.zeros(0))
    for noise in (base, Impulse(0.05, 0.0, 255.0, base)):
        plain = Channel(Normalization(0.0, 1.0), noise, float("inf"), points)
        told = on_average(plain, dark).noise.ordinary
        assert told.b == pytest.approx(5.0 + more)
        assert told.floor == pytest.approx(1.0 + more)
    assert more > 1
