"""Several channels denoised together, from the settings to the files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import torch
from safetensors import safe_open

import napari_blindspot as nb
from napari_blindspot.api import denoise_job, describe
from napari_blindspot.config import DenoiseSettings, parse_settings
from napari_blindspot.errors import Cancelled, InputError
from napari_blindspot.inference.predictor_joint import JointPredictor
from napari_blindspot.io import open_stack
from napari_blindspot.joint import together
from napari_blindspot.methods.bayesian import posterior
from napari_blindspot.methods.bayesian_joint import joint_posterior
from napari_blindspot.model import Model
from napari_blindspot.model_file import read_header
from napari_blindspot.networks.blindspot import Prior
from napari_blindspot.noise.covariance import JointAffine, diagonal
from napari_blindspot.noise.field import NoiseField
from napari_blindspot.noise.likelihood import Affine
from napari_blindspot.noise.models import PoissonGaussian
from napari_blindspot.noise.recalibration import Recalibration
from napari_blindspot.normalize import Normalization
from napari_blindspot.planes import plane_series
from napari_blindspot.progress import CancelToken, Progress, run
from napari_blindspot.stack import Stack, VoxelSize
from networks import random_network
from streams import stream_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CPU = torch.device("cpu")
GAINS = (1.0, 0.5, 2.0)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """The same cells in three dyes of other brightness, (C, Z, Y, X)."""
    z, y, x = np.mgrid[:5, :48, :48] / 5.0
    cells = 80 + 50 * np.sin(x + z) * np.cos(y) + 15 * np.sign(np.sin(2 * y))
    return np.stack([cells, 0.7 * cells + 20, 1.3 * cells])


@pytest.fixture(scope="module")
def noisy(truth: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(3)
    gain = np.array(GAINS)[:, None, None, None]
    counts = gain * rng.poisson(truth / gain) + rng.normal(0, 6, truth.shape)
    return np.float32(counts + 100)


@pytest.fixture(scope="module")
def short_start() -> Iterator[None]:
    """The blind filter is fitted to a few voxels: the tests want no quality."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_blindspot.training.filters._VOXELS", 60_000)
        yield


@pytest.fixture(scope="module", params=["full", "diagonal"])
def result(request: Any, noisy: np.ndarray, short_start: None) -> nb.Result:
    return nb.denoise(
        noisy,
        axes="CZYX",
        voxel_size=(0.5, 0.2, 0.2),
        channels="joint",
        covariance=request.param,
        steps=40,
        threads=1,
        uncertainty=True,
    )


def psnr(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    error = ((image - truth) ** 2).mean((1, 2, 3))
    return 10 * np.log10(np.ptp(truth, axis=(1, 2, 3)) ** 2 / error)


def random_joint_model(covariance: str = "full", context: int = 1) -> Model:
    network = random_network(
        5, dtype=torch.float32, context=context, channels=3, covariance=covariance
    )
    above = 0.1 if covariance == "full" else 0.0
    network.spread.copy_(0.3 * torch.eye(3) + above * torch.ones(3, 3).triu(1))
    scales = tuple(Normalization(5.0 * c, 50.0 + 10 * c) for c in range(3))
    noise = tuple(PoissonGaussian.from_camera(g, 5.0, 2.0) for g in GAINS)
    return Model(network, scales, noise, "z" if context else "none")


def stream(
    model: Model, values: np.ndarray, block: tuple[int, int, int]
) -> tuple[np.ndarray, Recorder]:
    stack = Stack(da.from_array(values, chunks=(1, 2, 32, 32)), "CZYX")
    predictor = JointPredictor(model, CPU)
    series = plane_series(stack, "z")
    fields = [
        NoiseField(model.noise[one.channel].normalized(model.scales[one.channel]))
        for one in series
    ]
    sink = Recorder(values.shape)
    stream_blocks(predictor, *together(series, fields), block, sink)
    return sink.image, sink


class Recorder:
    """An array that counts how often each voxel is written."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.image = np.full(shape, np.nan, np.float32)
        self.times = np.zeros(shape, int)

    def write(self, region: tuple[slice, ...], block: np.ndarray) -> None:
        self.image[region] = block
        self.times[region] += 1

    def finish(self, cancel: CancelToken | None = None) -> Any:
        raise NotImplementedError

    def abort(self) -> None:
        raise NotImplementedError


def test_the_posterior_is_far_better_than_the_noisy_channels(
    result: nb.Result, noisy: np.ndarray, truth: np.ndarray
) -> None:
    gained = psnr(result.image, truth + 100) - psnr(noisy, truth + 100)
    assert (gained > 6).all()
    assert result.image.shape == result.uncertainty.shape == noisy.shape
    assert (result.uncertainty > 0).all()
    assert len(result.noise) == len(result.model.recalibration) == 3
    assert len(result.model.provenance["noise_check"]) == 3
    estimated = [noise.gain for noise in result.noise]
    np.testing.assert_array_equal(np.argsort(estimated), np.argsort(GAINS))


def test_provenance_and_methods_tell_of_it(result: nb.Result) -> None:
    network = result.provenance["network"]
    assert network["channels"] == 3
    assert result.provenance["settings"]["channels"] == "joint"
    from napari_blindspot.methods_text import result_methods

    words = f"with all 3 channels together and a {network['covariance']} covariance"
    assert words in result_methods(result.provenance)


def test_a_model_of_several_channels_survives_the_file(
    result: nb.Result, noisy: np.ndarray, tmp_path: Path
) -> None:
    path = nb.save_model(result.model, tmp_path / "joint")
    assert read_header(path)["format"] == 2  # older versions say: update
    back = nb.load_model(path)
    assert back.settings == result.model.settings
    again = nb.predict(back, noisy, axes="CZYX", threads=1)
    np.testing.assert_allclose(again.image, result.image, rtol=1e-5)
    assert "with all 3 channels together" in describe(path)["methods"]


def test_a_model_of_single_channels_is_written_as_before(tmp_path: Path) -> None:
    model = Model(
        random_network(2, dtype=torch.float32),
        (Normalization(1.0, 2.0),),
        (PoissonGaussian(1.0, 2.0, floor=0.5),),
        "z",
    )
    path = nb.save_model(model, tmp_path / "one")
    with safe_open(path, framework="numpy") as file:
        facts = json.loads(file.metadata()["napari_blindspot"])
    assert facts["format"] == 1
    assert {"channels", "covariance"}.isdisjoint(facts["network"])
    assert nb.load_model(path).settings == model.settings


def test_the_output_is_an_ome_zarr_with_all_channels(
    noisy: np.ndarray, tmp_path: Path
) -> None:
    stack = Stack(
        da.from_array(noisy),
        "CZYX",
        voxel_size=VoxelSize(0.5, 0.2, 0.2),
        channel_names=("actin", "nuclei", "dots"),
    )
    out = tmp_path / "out.ome.zarr"
    written = nb.predict(random_joint_model(), stack, out, uncertainty=True)
    back = open_stack(out)
    assert (back.sizes["C"], back.sizes["Z"]) == (3, 5)
    assert back.channel_names == stack.channel_names
    assert back.voxel_size == pytest.approx((0.5, 0.2, 0.2))
    values = np.asarray(back.data).reshape(noisy.shape)
    in_memory = nb.predict(random_joint_model(), stack).image
    np.testing.assert_allclose(values, in_memory, rtol=1e-6)
    assert np.asarray(written.uncertainty).size == noisy.size


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
@pytest.mark.parametrize("block", [(1, 32, 32), (2, 64, 48)])
def test_tiled_equals_whole_and_every_voxel_is_written_once(
    block: tuple[int, int, int], covariance: str, rng: np.random.Generator
) -> None:
    values = rng.poisson(20, (3, 3, 118, 101)).astype(np.uint16)
    model = random_joint_model(covariance)
    whole, _ = stream(model, values, values.shape[1:])  # type: ignore[arg-type]
    tiled, sink = stream(model, values, block)
    assert (sink.times == 1).all()
    np.testing.assert_allclose(tiled, whole, rtol=1e-4, atol=1e-4 * np.ptp(whole))


def test_a_channel_helps_another_only_with_a_full_covariance(
    rng: np.random.Generator,
) -> None:
    values = rng.poisson(20, (3, 1, 40, 40)).astype(np.float32)
    changed = values.copy()
    changed[1, 0, 20, 20] += 30
    moved = {}
    for covariance in ("full", "diagonal"):
        model = random_joint_model(covariance, context=0)
        before, after = (
            nb.predict(model, v, axes="CZYX").image for v in (values, changed)
        )
        moved[covariance] = abs(after - before)[0, 0, 20, 20]
    assert moved["full"] > 0.05
    assert moved["diagonal"] == 0


def test_a_missing_voxel_is_missing_in_its_channel_alone(
    rng: np.random.Generator,
) -> None:
    values = rng.poisson(20, (3, 1, 40, 40)).astype(np.float32)
    values[1, 0, 20, 20] = np.nan
    image = nb.predict(random_joint_model(context=0), values, axes="CZYX").image
    assert np.isnan(image[1, 0, 20, 20])
    assert np.isnan(image).sum() == 1


def test_a_missing_channel_does_not_pull_the_others() -> None:
    generator = torch.Generator().manual_seed(0)
    mean = torch.rand(1, 5, 5, 2, generator=generator)
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]]).expand(1, 5, 5, 2, 2)
    y = mean + 1
    gone = torch.zeros(1, 5, 5, 2, dtype=torch.bool)
    gone[..., 1] = True
    noise = JointAffine(*(torch.full((1, 1, 1, 2), x) for x in (0.0, 0.5, 1e-6)))
    found, std = joint_posterior(y, Prior(mean, covariance), noise, (), gone)
    alone, alone_std = posterior(
        y[..., 0],
        Prior(mean[..., 0], covariance[..., 0, 0]),
        Affine(*(torch.full((1, 1, 1), x) for x in (0.0, 0.5, 1e-6))),
    )
    torch.testing.assert_close(found[..., 0], alone, rtol=0.02, atol=0.0)
    torch.testing.assert_close(std[..., 0], alone_std, rtol=0.02, atol=0.0)


def test_with_a_diagonal_covariance_every_channel_is_as_by_itself() -> None:
    generator = torch.Generator().manual_seed(1)
    mean, y, variance = (torch.rand(2, 9, 8, 3, generator=generator) for _ in range(3))
    a, b = torch.tensor([0.2, 0.1, 0.0]), torch.tensor([0.05, 0.2, 0.3])
    noise = JointAffine(*(p.expand(1, 1, 1, 3) for p in (a, b, 0.01 + 0 * a)))
    factors = [
        Recalibration((0.2, 0.8), (0.5 + c, 1.0), (1.0, 1.0 + c)) for c in range(3)
    ]
    prior = Prior(mean, diagonal(variance))
    found, std = joint_posterior(y, prior, noise, factors)
    for c in range(3):
        alone, alone_std = posterior(
            y[..., c],
            Prior(mean[..., c].contiguous(), variance[..., c]),
            Affine(
                *(p[..., c].expand(1, 1, 1) for p in (noise.a, noise.b, noise.floor))
            ),
            factors[c],
        )
        torch.testing.assert_close(found[..., c], alone, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(std[..., c], alone_std, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stage", ["noise", "train", "predict"])
def test_cancel_stops_at_once(stage: str, noisy: np.ndarray, short_start: None) -> None:
    cancel, later = CancelToken(), []
    settings = parse_settings(
        DenoiseSettings, axes="CZYX", channels="joint", steps=2, threads=1
    )

    def stop(event: Progress) -> None:
        if cancel.cancelled:
            later.append(event)
        if event.stage == stage:
            cancel.cancel()

    with pytest.raises(Cancelled):
        run(denoise_job(noisy, settings, None, cancel), stop)
    assert all(event.stage == stage for event in later)


def test_wrong_numbers_of_channels_are_one_sentence(noisy: np.ndarray) -> None:
    with pytest.raises(InputError, match="needs a stack of several channels"):
        nb.train(noisy[0], axes="ZYX", channels="joint", steps=1)
    model = random_joint_model()
    for wrong in (noisy[:2], noisy[:1]):
        with pytest.raises(InputError, match="3 channels together but the stack has"):
            nb.predict(model, wrong, axes="CZYX")
    with pytest.raises(InputError, match="3 channels together"):
        nb.predict(model, noisy, axes="CZYX", channel=0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"channels": "joint", "channel": 0}, "channel=0 picks one"),
        ({"covariance": "diagonal"}, "give channels='joint' as well"),
        ({"channels": "joint", "noise": "impulse"}, "noise='impulse' cannot be used"),
        ({"channels": "joint", "low_counts": True}, "low_counts cannot be used"),
        ({"channels": "all"}, "channels='all'"),
        ({"channels": "joint", "model": "m.safetensors"}, "given together with model"),
    ],
)
def test_what_cannot_be_had_together_is_refused(
    options: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        parse_settings(DenoiseSettings, **options)
