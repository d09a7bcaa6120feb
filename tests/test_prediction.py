from __future__ import annotations

from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import pytest
import torch

import napari_blindspot as nb
from napari_blindspot.errors import Cancelled, InputError, RunError
from napari_blindspot.inference.predictor import Predictor
from napari_blindspot.inference.tiles import block_shape
from napari_blindspot.io import open_sink, open_stack
from napari_blindspot.model import Model
from napari_blindspot.noise.models import PoissonGaussian
from napari_blindspot.normalize import Normalization
from napari_blindspot.planes import plane_series
from napari_blindspot.progress import CancelToken, Progress, run
from napari_blindspot.stack import Stack
from napari_blindspot.tiling import Span, Tile
from networks import random_network
from streams import stream_blocks

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")


def random_model(
    context: int = 1, depth: int = 2, axis: str = "z", **settings: object
) -> Model:
    network = random_network(
        5, dtype=torch.float32, context=context, depth=depth, **settings
    )
    network.spread.fill_(0.3)
    noise = PoissonGaussian.from_camera(1.0, 0.0, 2.0)
    return Model(network, (Normalization(0.0, 50.0),), (noise,), axis)


def stream(
    model: Model,
    values: np.ndarray,
    block: tuple[int, int, int],
    halo: int | None = None,
) -> np.ndarray:
    stack = Stack(da.from_array(values, chunks=(2, 32, 32)), "ZYX")
    predictor = Predictor(model, CPU)
    if halo is not None:
        predictor.halo = halo
    sink = open_sink(
        None, stack, np.dtype(np.float32), block, provenance={}, overwrite=False
    )
    series = plane_series(stack, "z")
    fields = [predictor.noise_field(one.channel) for one in series]
    stream_blocks(predictor, series, fields, block, sink)
    image: np.ndarray = run(sink.finish())
    return image


@pytest.fixture
def values(rng: np.random.Generator) -> np.ndarray:
    return rng.poisson(20, (5, 150, 131)).astype(np.uint16)


@pytest.mark.parametrize("hole", [(1, 1, 1), (1, 3, 9)])
@pytest.mark.parametrize("block", [(1, 32, 32), (2, 64, 48), (5, 100, 131)])
def test_tiled_equals_whole(
    values: np.ndarray, block: tuple[int, int, int], hole: tuple[int, int, int]
) -> None:
    model = random_model(hole=hole)
    whole = stream(model, values, values.shape)  # type: ignore[arg-type]
    tiled = stream(model, values, block)
    np.testing.assert_allclose(tiled, whole, rtol=1e-5, atol=1e-5 * np.ptp(whole))


def test_a_halo_that_is_too_small_shows(values: np.ndarray) -> None:
    model = random_model()
    whole = stream(model, values, values.shape)  # type: ignore[arg-type]
    cut = stream(model, values, (5, 32, 32), halo=8)
    assert np.abs(cut - whole).max() > 1e-3 * np.ptp(whole)


def test_tiles_off_the_pooling_grid_show(values: np.ndarray) -> None:
    model = random_model(context=0)
    predictor = Predictor(model, CPU)
    whole, _ = predictor(values[:1], [[0]], 0)
    off, _ = predictor(values[:1, 2:, :], [[0]], 0)  # 2 is no multiple of the stride 4
    on, _ = predictor(values[:1, 4:, :], [[0]], 0)
    deep = slice(80, None)  # further from the cut than the reach
    size = np.ptp(whole)
    assert np.abs(on[0, deep] - whole[0, 4:][deep]).max() < 1e-5 * size
    assert np.abs(off[0, deep] - whole[0, 2:][deep]).max() > 1e-3 * size


def test_denoising_follows_an_affine_change_of_units(values: np.ndarray) -> None:
    model = random_model()
    scale, noise = model.scales[0], model.noise[0]
    gain, shift = 3.5, -40.0
    changed = Model(
        model.network,
        (Normalization(gain * scale.offset + shift, gain * scale.scale),),
        (
            PoissonGaussian(
                gain * noise.a,
                gain**2 * noise.b - gain * noise.a * shift,
                floor=gain**2 * noise.floor,
            ),
        ),
        "z",
    )
    plain = nb.predict(model, values, uncertainty=True)
    other = nb.predict(changed, gain * values + shift, uncertainty=True)
    span = np.ptp(plain.image)
    np.testing.assert_allclose(
        other.image, gain * plain.image + shift, atol=1e-4 * gain * span
    )
    np.testing.assert_allclose(
        other.uncertainty, gain * plain.uncertainty, atol=1e-4 * gain * span
    )


def test_missing_voxels_stay_missing_and_spoil_nothing_else(
    values: np.ndarray,
) -> None:
    model = random_model()
    holes = values.astype(np.float32)
    holes[1, 10:20, 30:50] = np.nan
    result = nb.predict(model, holes, uncertainty=True)
    assert np.array_equal(np.isnan(result.image), np.isnan(holes))
    assert np.array_equal(np.isnan(result.uncertainty), np.isnan(holes))
    assert result.metrics["expected_psnr"] is not None


def test_values_that_float32_cannot_hold_spoil_nothing_else(values: np.ndarray) -> None:
    model = random_model()
    far, missing = values.astype(np.float64), values.astype(np.float64)
    far[1, 20, 30], far[1, 21, 30] = 1e300, -np.inf
    missing[1, 20:22, 30] = np.nan
    result = nb.predict(model, far, dtype="float32")
    expected = nb.predict(model, missing, dtype="float32")
    np.testing.assert_array_equal(result.image, expected.image)
    assert np.isnan(result.image).sum() == 2


@pytest.mark.parametrize(
    ("axes", "shape", "context", "axis"),
    [
        pytest.param("YX", (40, 37), 0, "none", id="single-image"),
        pytest.param("TYX", (6, 40, 37), 1, "t", id="movie"),
        pytest.param("ZYX", (2, 40, 37), 1, "z", id="two-planes"),
        pytest.param("TCZYX", (2, 2, 4, 40, 37), 1, "z", id="five-dimensions"),
        pytest.param("CYX", (2, 40, 37), 0, "none", id="channels"),
    ],
)
def test_every_kind_of_stack_keeps_its_shape(
    axes: str, shape: tuple[int, ...], context: int, axis: str, rng: np.random.Generator
) -> None:
    source = rng.poisson(20, shape).astype(np.uint16)
    result = nb.predict(random_model(context, axis=axis), source, axes=axes)
    assert result.image.shape == shape
    assert np.isfinite(result.image).all()


def test_every_channel_and_time_point_is_denoised_on_its_own_data(
    rng: np.random.Generator,
) -> None:
    source = rng.poisson(20, (2, 2, 4, 40, 37)).astype(np.uint16)
    model = random_model()
    whole = nb.predict(model, source, axes="TCZYX").image
    for t in range(2):
        for c in range(2):
            part = nb.predict(model, source[t, c], axes="ZYX").image
            np.testing.assert_allclose(whole[t, c], part, rtol=1e-5, atol=1e-3)


def test_each_channel_has_its_own_scale_and_noise(rng: np.random.Generator) -> None:
    one = random_model()
    other = PoissonGaussian.from_camera(4.0, 100.0, 1.0)
    both = Model(
        one.network,
        (one.scales[0], Normalization(100.0, 300.0)),
        (one.noise[0], other),
        "z",
    )
    source = rng.poisson(50, (2, 4, 32, 32)).astype(np.uint16)
    whole = nb.predict(both, source, axes="CZYX").image
    second = Model(one.network, both.scales[1:], both.noise[1:], "z")
    part = nb.predict(second, source[1], axes="ZYX").image
    np.testing.assert_allclose(whole[1], part, rtol=1e-5, atol=1e-3)


def test_a_model_of_other_channels_is_refused(rng: np.random.Generator) -> None:
    one = random_model()
    both = Model(one.network, one.scales * 2, one.noise * 2, "z")
    with pytest.raises(InputError, match="2 channels but the stack has 3"):
        nb.predict(both, np.zeros((3, 4, 32, 32), np.uint16), axes="CZYX")


def test_too_few_planes_for_the_model_are_refused() -> None:
    with pytest.raises(InputError, match="along Z, so it needs at least 4"):
        nb.predict(random_model(2), np.zeros((3, 32, 32), np.uint16), axes="ZYX")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((40, 256, 256), (40, 256, 256)), ((500, 512, 512), (32, 512, 512))],
)
def test_whole_planes_where_they_fit(
    shape: tuple[int, int, int], expected: tuple[int, int, int]
) -> None:
    assert block_shape(shape, halo=75, stride=8, max_pixels=512 * 512) == expected


def test_large_planes_are_cut_into_multiples_of_the_stride() -> None:
    block = block_shape((10, 5000, 4000), halo=155, stride=16, max_pixels=1000 * 1000)
    assert block[1] == block[2] == 672  # 1000 − 2·160, rounded down
    assert block[1] % 16 == 0


def test_the_uncertainty_shrinks_where_the_prior_is_sure(values: np.ndarray) -> None:
    sure, unsure = random_model(), random_model()
    sure.network.spread.fill_(0.01)
    small, large = (
        nb.predict(model, values, uncertainty=True).uncertainty
        for model in (sure, unsure)
    )
    assert small.mean() < 0.2 * large.mean()


def test_cancel_between_blocks_leaves_nothing_behind(
    values: np.ndarray, tmp_path: Path
) -> None:
    cancel = CancelToken()

    def stop(event: Progress) -> None:
        if event.stage == "predict":
            cancel.cancel()

    many = np.concatenate([values] * 3)[None].repeat(4, 0)
    with pytest.raises(Cancelled):
        nb.predict(
            random_model(),
            many,
            tmp_path / "out.ome.zarr",
            axes="TZYX",
            uncertainty=True,
            on_progress=stop,
            cancel=cancel,
        )
    assert list(tmp_path.iterdir()) == []


def test_a_failing_disk_fails_the_run_and_leaves_nothing_behind(
    values: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_blindspot.io.ome_zarr_sink import OmeZarrSink

    def full(*_: object) -> None:
        raise RunError("The disk is full.")

    monkeypatch.setattr(OmeZarrSink, "write", full)
    with pytest.raises(RunError, match="disk is full"):
        nb.predict(random_model(), values, tmp_path / "out.ome.zarr", axes="ZYX")
    assert list(tmp_path.iterdir()) == []


def test_out_of_memory_halves_the_batch(
    values: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(context=0)
    predictor = Predictor(model, CPU)
    expected, _ = predictor(values, [[i] for i in range(5)], 0)
    sizes = []
    original = Predictor._run

    def small(self: Predictor, t: np.ndarray, *rest: object):  # type: ignore[no-untyped-def]  # noqa: ANN202
        sizes.append(len(t))
        if len(t) > 1:
            raise torch.OutOfMemoryError
        return original(self, t, *rest)

    monkeypatch.setattr(Predictor, "_run", small)
    image, _ = Predictor(model, CPU)(values, [[i] for i in range(5)], 0)
    np.testing.assert_allclose(image, expected, rtol=1e-5)
    assert max(sizes) > 1
    assert sizes.count(1) == 5


def test_one_plane_that_does_not_fit_is_one_sentence(
    values: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Predictor, "_run", never)
    with pytest.raises(RunError, match="150 × 131 pixels does not fit"):
        Predictor(random_model(0), CPU)(values, [[0]], 0)


def test_a_tile_reads_its_mirrored_neighbours(values: np.ndarray) -> None:
    from napari_blindspot.inference.tiles import predict_tile

    model = random_model(context=2)
    stack = open_stack(values, axes="ZYX")
    (series,) = plane_series(stack, "z")
    tile = Tile(Span(4, 5, 2, 5), Span(0, 150, 0, 150), Span(0, 131, 0, 131))
    planes = series.read(tile.planes.read, tile.y.read, tile.x.read)
    predictor = Predictor(model, CPU)
    mean, _ = run(predict_tile(predictor, series, tile, planes, CancelToken()))
    expected, _ = predictor(values, [[2, 3, 4, 3, 2]], 0)
    np.testing.assert_allclose(mean, expected, rtol=1e-6)


@pytest.mark.parametrize("width", [256, 300])
def test_expected_psnr_sees_the_whole_image(width: int) -> None:
    from napari_blindspot.streaming.seen import BlockFacts, Seen

    ramp = np.broadcast_to(
        np.linspace(0, 100, width, dtype=np.float32), (32, 256, width)
    )
    seen = Seen()
    seen.add(0, [BlockFacts.of(0, ramp, np.ones_like(ramp), 0, 4096)])
    (psnr,) = seen.expected_psnr()
    assert psnr == pytest.approx(20 * np.log10(98.9), abs=0.1)


def test_a_callback_that_raises_leaves_nothing_behind(
    values: np.ndarray, tmp_path: Path
) -> None:
    def interrupt(event: Progress) -> None:
        if event.stage == "predict":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as kept:
        nb.predict(
            random_model(),
            values,
            tmp_path / "out.ome.zarr",
            axes="ZYX",
            on_progress=interrupt,
        )
    assert kept.value is not None  # the traceback is alive, as in a notebook
    assert list(tmp_path.iterdir()) == []
