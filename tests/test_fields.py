"""Noise that differs between planes and pixels, from the stack to the posterior."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import torch

import napari_blindspot as nb
from napari_blindspot.config import Recipe
from napari_blindspot.errors import Cancelled
from napari_blindspot.inference.predictor import Predictor
from napari_blindspot.io import open_sink
from napari_blindspot.measure.correction import Correction, DarkMaps
from napari_blindspot.measure.fields import noise_fields, plane_levels
from napari_blindspot.noise.field import NoiseField, joined
from napari_blindspot.noise.levels import settle_levels
from napari_blindspot.noise.likelihood import Affine
from napari_blindspot.noise.models import Gaussian, Impulse, PoissonGaussian
from napari_blindspot.normalize import Normalization
from napari_blindspot.planes import plane_series
from napari_blindspot.progress import CancelToken, run
from napari_blindspot.stack import Stack
from napari_blindspot.training.sampling import CropSampler, Place, Source
from napari_blindspot.training.varying import augment
from noisy import scene
from streams import stream_blocks
from test_prediction import random_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.model import Model
    from napari_blindspot.planes import PlaneSeries

INF = float("inf")
CPU = torch.device("cpu")


def series_of(values: NDArray[Any]) -> PlaneSeries:
    return plane_series(Stack(da.from_array(values, chunks=(2, 64, 64)), "ZYX"), "z")[0]


def faded(
    levels: NDArray[np.float64], rng: np.random.Generator, side: int = 128
) -> NDArray[np.float64]:
    """A camera's stack whose noise variance was multiplied plane by plane."""
    clean = scene(rng, len(levels), side) + 100
    noise = rng.normal(size=clean.shape) * np.sqrt(CAMERA.variance(clean))
    return clean + noise * np.sqrt(levels)[:, None, None]


CAMERA = PoissonGaussian.from_camera(1.0, 100.0, 2.0)


class TestPlaneLevels:
    def test_noise_that_doubles_from_plane_to_plane_is_measured(
        self, rng: np.random.Generator
    ) -> None:
        levels = 2.0 ** np.arange(-4, 8)
        found = plane_levels(series_of(faded(levels, rng)), CAMERA, INF, CancelToken())
        np.testing.assert_allclose(found[5:-5], levels[5:-5], rtol=0.06)
        # Smoothing draws the ends of so steep a rise inwards.
        np.testing.assert_allclose(found[2:-2], levels[2:-2], rtol=0.25)
        assert (np.diff(found) > 0).all()

    def test_a_slow_drift_is_measured_within_some_per_cent(
        self, rng: np.random.Generator
    ) -> None:
        levels = np.linspace(1, 2, 24) ** 2
        found = plane_levels(series_of(faded(levels, rng)), CAMERA, INF, CancelToken())
        np.testing.assert_allclose(found[4:-4], levels[4:-4], rtol=0.06)
        np.testing.assert_allclose(found, levels, rtol=0.2)

    def test_a_stack_as_recorded_has_level_one(self, rng: np.random.Generator) -> None:
        clean = scene(rng, 12, 128) * np.linspace(1, 0.2, 12)[:, None, None] + 100
        noise = rng.normal(size=clean.shape) * np.sqrt(CAMERA.variance(clean))
        found = plane_levels(series_of(clean + noise), CAMERA, INF, CancelToken())
        np.testing.assert_allclose(found, 1, atol=0.05)

    def test_a_plane_that_is_damaged_or_tells_nothing_moves_no_level(
        self, rng: np.random.Generator
    ) -> None:
        values = faded(np.full(12, 1.5), rng)
        values[4] = 100
        values[8] = np.nan
        values[10] += rng.normal(0, 300, values[10].shape)
        found = plane_levels(series_of(values), CAMERA, INF, CancelToken())
        np.testing.assert_allclose(found, 1.5, rtol=0.1)
        nothing = np.full((4, 32, 32), 7.0)
        flat = plane_levels(series_of(nothing), CAMERA, INF, CancelToken())
        np.testing.assert_array_equal(flat, 1)

    def test_outliers_are_no_part_of_the_level(self, rng: np.random.Generator) -> None:
        values = faded(np.full(6, 2.0), rng)
        out = rng.random(values.shape) < 0.02
        values[out] = rng.uniform(0, 1000, int(out.sum()))
        spotted = Impulse(0.02, 0.0, 1000.0, CAMERA)
        found = plane_levels(series_of(values), spotted, INF, CancelToken())
        np.testing.assert_allclose(found, 2, rtol=0.1)

    def test_saturated_voxels_are_left_out(self, rng: np.random.Generator) -> None:
        values = np.minimum(faded(np.ones(6), rng), 140)
        told, blind = (
            plane_levels(series_of(values), CAMERA, level, CancelToken())
            for level in (140, INF)
        )
        assert told.mean() == pytest.approx(1, abs=0.05)
        assert abs(told.mean() - 1) < abs(blind.mean() - 1)

    @pytest.mark.parametrize("images", [1, 3, 16])
    def test_every_image_of_a_set_has_a_sigma_of_its_own(
        self, rng: np.random.Generator, images: int
    ) -> None:
        sigma = rng.uniform(5, 50, images)
        values = 2 * scene(rng, images, 128)
        values += rng.normal(size=values.shape) * sigma[:, None, None]
        one = Gaussian.from_sigma(30.0)
        found = plane_levels(series_of(values), one, INF, CancelToken())
        np.testing.assert_allclose(30 * np.sqrt(found), sigma, rtol=0.04)

    def test_planes_of_a_bleached_stack_share_what_they_tell(
        self, rng: np.random.Generator
    ) -> None:
        levels = np.exp(-np.arange(32) / 16)
        found = plane_levels(series_of(faded(levels, rng)), CAMERA, INF, CancelToken())
        np.testing.assert_allclose(found[2:-2], levels[2:-2], rtol=0.05)
        np.testing.assert_allclose(found, levels, rtol=0.1)
        # A plane by itself tells its level to 2 %, with second differences of 5 %.
        assert np.diff(np.log(found), 2).std() < 0.015

    def test_it_can_be_cancelled(self, rng: np.random.Generator) -> None:
        cancel = CancelToken()
        cancel.cancel()
        with pytest.raises(Cancelled):
            plane_levels(series_of(faded(np.ones(3), rng)), CAMERA, INF, cancel)


class TestSettledLevels:
    def test_levels_that_differ_less_than_their_errors_are_smoothed(
        self, rng: np.random.Generator
    ) -> None:
        errors = np.full(40, 0.1)
        measured = np.exp(rng.normal(0, 0.1, 40))
        settled = np.log(settle_levels(measured, errors))
        assert settled.std() < 0.5 * np.log(measured).std()

    def test_a_level_is_drawn_to_its_neighbours_by_its_error(
        self, rng: np.random.Generator
    ) -> None:
        true = np.exp(rng.normal(0, 0.4, 60))
        errors = np.tile([0.02, 0.8], 30)
        measured = true * np.exp(errors * rng.normal(size=60))
        settled = settle_levels(measured, errors)
        sure, unsure = (np.log(settled / true)[i::2] for i in (0, 1))
        assert sure.std() < 0.03
        assert unsure.std() < 0.8 * np.log(measured / true)[1::2].std()

    @pytest.mark.parametrize("images", [2, 5, 12, 40])
    def test_no_draw_of_a_set_of_images_is_taken_for_damage(self, images: int) -> None:
        errors = np.full(images, 0.02)
        for seed in range(100):
            rng = np.random.default_rng(seed)
            true = rng.uniform(5, 50, images) ** 2
            measured = true * np.exp(errors * rng.normal(size=images))
            np.testing.assert_allclose(settle_levels(measured, errors), true, rtol=0.1)

    @pytest.mark.parametrize("damaged", [0, 7, [12, 13], 29], ids=str)
    def test_a_lone_damaged_plane_takes_the_level_of_its_neighbours(
        self, rng: np.random.Generator, damaged: int | list[int]
    ) -> None:
        true, errors = np.linspace(2, 1, 30), np.full(30, 0.02)
        measured = true * np.exp(errors * rng.normal(size=30))
        measured[damaged] *= 20
        np.testing.assert_allclose(settle_levels(measured, errors), true, rtol=0.1)

    @pytest.mark.parametrize(
        "off", [slice(0, None, 4), slice(10, 20)], ids=["every fourth", "ten in a row"]
    )
    def test_many_planes_that_are_off_are_not_damaged(
        self, rng: np.random.Generator, off: slice
    ) -> None:
        true, errors = np.ones(40), np.full(40, 0.02)
        true[off] = 9
        measured = true * np.exp(errors * rng.normal(size=40))
        np.testing.assert_allclose(settle_levels(measured, errors), true, rtol=0.07)

    def test_planes_that_tell_nothing_lie_between_their_neighbours(self) -> None:
        errors = np.full(12, 0.02)
        errors[[0, 5, 6]] = INF
        measured = 1.2 ** np.arange(12)
        measured[[0, 5, 6]] = 1.0
        settled = settle_levels(measured, errors)
        np.testing.assert_allclose(settled[3:9], 1.2 ** np.arange(3, 9), rtol=0.02)
        assert settled[0] == pytest.approx(1.2, rel=0.2)
        np.testing.assert_array_equal(settle_levels(measured, np.full(12, INF)), 1)

    def test_a_plane_without_any_noise_has_a_positive_level(self) -> None:
        settled = settle_levels(np.array([1.0, 0.0, 1.0]), np.full(3, 0.02))
        assert (settled > 0).all()


def test_fields_are_in_network_units(rng: np.random.Generator) -> None:
    values = faded(np.full(6, 2.0), rng, 64)
    variance = np.full((64, 64), 9.0, np.float32)
    variance[5, 7] = 109.0
    dark = DarkMaps(np.zeros((64, 64), np.float32), variance, 100)
    scale = Normalization(100.0, 50.0)
    series = series_of(values)
    correction = Correction(series.stack, (dark,))
    for per_plane in (False, True):
        (field,) = noise_fields(
            [series], [CAMERA], [scale], correction, CancelToken(), per_plane=per_plane
        )
        noise = field.at([2], slice(0, 64), slice(0, 64))
        level = 2.0 if per_plane else 1.0
        assert (field.levels is not None) is per_plane
        grey = noise.variance(np.full((1, 64, 64), 0.4, np.float32)) * 50**2
        assert noise.a.dtype == np.float32
        expected = level * CAMERA.variance(120.0)
        assert np.median(grey) == pytest.approx(expected, rel=0.15)
        assert grey[0, 5, 7] - np.median(grey) == pytest.approx(100, rel=1e-3)


def uneven(planes: int, side: int, rng: np.random.Generator) -> NoiseField:
    """A field whose levels and pixels all differ."""
    extra = rng.gamma(1, 0.05, (side, side)).astype(np.float32)
    return NoiseField(Affine(0.1, 0.2, 0.05), 2.0 ** np.arange(planes), extra)


def test_a_window_of_the_field_is_what_lies_there(rng: np.random.Generator) -> None:
    field = uneven(4, 32, rng)
    noise = field.at([3, 1], slice(4, 10), slice(20, 25))
    assert noise.b.shape == noise.a.shape == noise.floor.shape == (2, 6, 5)
    for index, plane in enumerate((3, 1)):
        expected = 0.2 * 2**plane + field.extra[4:10, 20:25]  # type: ignore[index]
        np.testing.assert_allclose(noise.b[index], expected, rtol=1e-6)
        np.testing.assert_allclose(noise.a[index], 0.1 * 2**plane, rtol=1e-6)
    plain = NoiseField(Affine(0.1, 0.2, 0.05)).at([3, 1], slice(4, 10), slice(0, 5))
    assert plain.b.shape == (2, 1, 1)
    both = joined([noise, plain])
    assert both.b.shape == (4, 6, 5)
    np.testing.assert_allclose(both.b[2:], 0.2, rtol=1e-6)


def test_the_noise_of_a_batch_is_that_of_its_planes_and_pixels(
    rng: np.random.Generator,
) -> None:
    # The value of every voxel is its place, so that a crop tells where it was.
    planes, side = 5, 64
    place = np.arange(planes * side**2, dtype=np.float64).reshape(planes, side, side)
    field = uneven(planes, side, rng)
    source = Source(series_of(place), Normalization(0.0, 1.0), field)
    sampler = CropSampler([source], 1, Recipe(crop=16, batch=8), 8, 0)
    whole = 0.2 * field.levels[:, None, None] + field.extra  # type: ignore[index]
    batches = [sampler.draw(), sampler.held_out(8)]
    batches += [augment(sampler.draw(), np.random.default_rng(i)) for i in range(6)]
    seen = set()
    for batch in batches:
        where = batch.planes[:, 1].astype(int)
        np.testing.assert_allclose(batch.noise.b, whole.ravel()[where], rtol=1e-5)
        seen |= set((where[:, 0, 0] // side**2).tolist())
    assert seen == set(range(planes))
    window = sampler.window(Place(0, 2, 8, 0), 32)
    np.testing.assert_allclose(window.noise.b[0], whole[2, 8:40, 0:32], rtol=1e-6)


def predicted(
    model: Model,
    values: NDArray[Any],
    block: tuple[int, int, int],
    field: NoiseField | None = None,
) -> NDArray[np.float32]:
    series = series_of(values)
    predictor = Predictor(model, CPU)
    sink = open_sink(
        None, series.stack, np.dtype("f4"), block, provenance={}, overwrite=False
    )
    fields = [field or predictor.noise_field(0)]
    stream_blocks(predictor, [series], fields, block, sink)
    image: NDArray[np.float32] = run(sink.finish())
    return image


@pytest.mark.parametrize("block", [(1, 32, 32), (2, 64, 48)])
def test_tiles_with_uneven_noise_are_those_of_the_whole(
    block: tuple[int, int, int], rng: np.random.Generator
) -> None:
    values = rng.poisson(20, (4, 100, 100)).astype(np.float32)
    model, field = random_model(), uneven(4, 100, rng)
    whole = predicted(model, values, values.shape, field)  # type: ignore[arg-type]
    tiled = predicted(model, values, block, field)
    np.testing.assert_allclose(tiled, whole, rtol=1e-5, atol=1e-5 * np.ptp(whole))
    even = predicted(model, values, values.shape)  # type: ignore[arg-type]
    assert np.abs(even - whole).max() > 0.01 * np.ptp(whole)


def test_noisier_planes_are_believed_less() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(100, 10, (12, 64, 64))
    values[6:] += rng.normal(0, 40, (6, 64, 64))
    model = random_model(context=0, axis="none")
    model = nb.Model(
        model.network, (Normalization(0.0, 50.0),), (Gaussian.from_sigma(10.0),), "none"
    )
    raised = values.copy()
    raised[:, 30, 30] += 50  # one voxel of every plane, which the network cannot see

    def trust(per_plane: bool) -> NDArray[np.float64]:
        one, other = (
            nb.predict(model, y, axes="ZYX", noise_per_plane=per_plane).image
            for y in (values, raised)
        )
        moved: NDArray[np.float64] = (other - one)[:, 30, 30] / 50
        return moved

    plain, level = trust(False), trust(True)
    np.testing.assert_allclose(level[:3], plain[:3], rtol=0.15)
    # Seventeen times the variance: by so much less, where the prior is sure.
    assert (level[-3:] < 0.3 * plain[-3:]).all()


def test_planes_that_were_rescaled_do_not_make_the_noise_model_fail() -> None:
    rng = np.random.default_rng(5)
    rescaled = np.linspace(0.2, 1.5, 16)[:, None, None]
    recorded = 100 + scene(rng, 16, 64) + rng.normal(0, 20, (16, 64, 64))

    def fallback(per_plane: bool) -> str:
        known: dict[str, Any] = {"axes": "ZYX", "noise": "gaussian", "threads": 1}
        values = rescaled * recorded
        model = nb.train(values, steps=2, noise_per_plane=per_plane, **known)
        told: str = model.provenance["noise_check"][0]["fallback"]
        return told

    assert fallback(per_plane=False) == "measured noise"
    assert fallback(per_plane=True) == ""
