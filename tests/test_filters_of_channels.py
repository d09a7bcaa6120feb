"""Every channel of a network has a start of its own: blind filter, unit and spread."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy import ndimage

import napari_blindspot as nb
from napari_blindspot.config import (
    NetworkSettings,
    Recipe,
    TrainSettings,
    parse_settings,
)
from napari_blindspot.errors import InputError, ModelFileError
from napari_blindspot.inference.predictor import Predictor
from napari_blindspot.io import open_sink, open_stack
from napari_blindspot.methods.filter_fit import fit_filter
from napari_blindspot.model import Model
from napari_blindspot.model_file import read_header
from napari_blindspot.networks.blindspot import BlindSpotNetwork
from napari_blindspot.noise.field import NoiseField
from napari_blindspot.noise.likelihood import Affine, mapped
from napari_blindspot.noise.models import PoissonGaussian
from napari_blindspot.normalize import Normalization
from napari_blindspot.planes import plane_series
from napari_blindspot.progress import CancelToken, run
from napari_blindspot.training.fitting import fit_recipe
from napari_blindspot.training.holes import Holes
from napari_blindspot.training.inspection import inspect
from napari_blindspot.training.loop import train_network
from napari_blindspot.training.sampling import CropSampler, Source
from napari_blindspot.training.varying import augment
from networks import random_network
from streams import stream_blocks

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")
SIGMAS = (0.05, 0.4)
TINY = NetworkSettings(width=4, depth=1, context=1, neighbour_width=4, starts=2)


@pytest.fixture(autouse=True)
def _few_voxels_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_blindspot.training.filters._VOXELS", 60_000)


def random_starts(starts: int = 2, **settings: object) -> BlindSpotNetwork:
    """Return a random network whose starts all differ."""
    network = random_network(starts=starts, **settings)  # type: ignore[arg-type]
    network.unit.copy_(torch.linspace(0.5, 2, starts))
    network.spread.copy_(torch.linspace(0.3, 0.1, starts))
    return network


def with_one_start(network: BlindSpotNetwork, kind: int) -> BlindSpotNetwork:
    """Return the network as it is for one channel."""
    settings = network.settings.model_copy(update={"starts": 1})
    one = BlindSpotNetwork(settings).to(network.unit.dtype).eval()
    state = network.state_dict()
    for name in ("unit", "spread"):
        state[name] = state[name][kind]
    state["start.kernel"] = state["start.kernel"][kind : kind + 1]
    one.load_state_dict(state)
    return one


def two_channels(rng: np.random.Generator) -> np.ndarray:
    """Return two smooth channels (C, Z, Y, X), the second one much noisier."""
    scene = ndimage.gaussian_filter(rng.normal(size=(2, 6, 64, 64)), (0, 1, 2, 2))
    noise = np.array(SIGMAS)[:, None, None, None] * rng.normal(size=scene.shape)
    return np.float32(4 * scene + noise)


def sampler_of(values: np.ndarray, **recipe: object) -> CropSampler:
    wanted = Recipe.model_validate({"crop": 32, "batch": 8, **recipe})
    sources = [
        Source(
            series,
            Normalization(0.0, 1.0),
            NoiseField(Affine(0.0, SIGMAS[series.channel] ** 2, 1e-3)),
        )
        for series in plane_series(open_stack(values, axes="CZYX"), "z")
    ]
    return CropSampler(sources, 1, wanted, 2, 0)


def model_of(network: BlindSpotNetwork, channels: int) -> Model:
    noise = PoissonGaussian.from_camera(1.0, 0.0, 2.0)
    scales = tuple(Normalization(0.0, 50.0 + c) for c in range(channels))
    return Model(network, scales, (noise,) * channels, "z")


def test_every_image_of_a_batch_gets_the_start_of_its_channel() -> None:
    network = random_starts(3)
    x = torch.randn(4, 3, 17, 21, dtype=torch.float64)
    kind = torch.tensor([2, 0, 1, 2])
    together = network(x, kind=kind)
    for image, which in enumerate(kind.tolist()):
        alone = with_one_start(network, which)(x[image : image + 1])
        torch.testing.assert_close(together.mean[image], alone.mean[0])
        torch.testing.assert_close(together.variance[image], alone.variance[0])
    assert torch.equal(network(x).mean, network(x, kind=0 * kind).mean)
    changed = network(x, kind=(kind + 1) % 3)
    assert not torch.isclose(together.mean, changed.mean).all((1, 2)).any()


def test_a_network_with_one_start_uses_it_for_every_channel() -> None:
    network = random_network()
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    assert torch.equal(network(x).mean, network(x, kind=torch.tensor([4, 1])).mean)


@pytest.mark.parametrize("hole", [(1, 1, 1), (1, 1, 5), (3, 3, 3)])
def test_every_start_is_blind_to_the_hole(hole: tuple[int, int, int]) -> None:
    network = random_starts(context=2)
    x = torch.randn(2, 5, 16, 19, dtype=torch.float64, requires_grad=True)
    prior = network(x, hole, torch.tensor([0, 1]))
    for image in range(2):
        for out in prior:
            (seen,) = torch.autograd.grad(out[image, 8, 9], x, retain_graph=True)
            half = hole[2] // 2
            rows = slice(8 - hole[1] // 2, 9 + hole[1] // 2)
            assert torch.all(seen[image, 2, rows, 9 - half : 10 + half] == 0)
            assert torch.all(seen[1 - image] == 0)
            assert seen[image, 2].abs().max() > 0


def test_each_channel_starts_as_it_would_alone(rng: np.random.Generator) -> None:
    sampler = sampler_of(two_channels(rng))
    network = BlindSpotNetwork(TINY)
    for kind in range(2):
        batch = sampler.of_channel(kind).draw(24)
        noise = mapped(torch.from_numpy, batch.noise)
        crops = [(torch.from_numpy(batch.maps), torch.from_numpy(batch.target), noise)]
        alone = BlindSpotNetwork(TINY.model_copy(update={"starts": 1}))
        fit_filter(alone, crops)
        fit_filter(network, crops, kind)
        assert torch.equal(network.start.kernel[kind], alone.start.kernel[0])
        assert torch.equal(network.unit[kind], alone.unit)
        assert torch.equal(network.spread[kind], alone.spread)
    # The noisier channel is averaged over more voxels.
    largest = network.start.kernel.flatten(1).amax(1)
    assert largest[0] > 1.5 * largest[1]


def test_training_fits_every_start_to_crops_of_its_channel(
    rng: np.random.Generator,
) -> None:
    recipe = Recipe(steps=2, crop=32, batch=4)
    network = BlindSpotNetwork(TINY)
    job = train_network(
        network, sampler_of(two_channels(rng)), recipe, device=CPU, seed=0,
        cancel=CancelToken(),
    )  # fmt: skip
    run(job)
    for unit, sigma in zip(network.unit.tolist(), SIGMAS, strict=True):
        assert sigma < unit < 1.3 * (sigma**2 + 0.1**2) ** 0.5


def test_crops_know_their_channel(rng: np.random.Generator) -> None:
    values = two_channels(rng)
    values[1] += 100
    sampler = sampler_of(values)
    batch = sampler.draw(40)
    assert batch.kind.dtype == np.int64
    assert set(batch.kind.tolist()) == {0, 1}
    assert np.array_equal(batch.planes.mean((1, 2, 3)) > 50, batch.kind == 1)
    turned = augment(batch, np.random.default_rng(0))
    assert np.array_equal(turned.kind, batch.kind)
    for channel in range(2):
        assert (sampler.of_channel(channel).draw(40).kind == channel).all()


def test_a_brighter_channel_is_not_drawn_more_often(rng: np.random.Generator) -> None:
    values = two_channels(rng)
    values[1] += 100
    kind = sampler_of(values, signal_crops=1.0).draw(200).kind
    assert 0.35 < kind.mean() < 0.65


def test_a_channel_with_nothing_to_learn_from_is_named(
    rng: np.random.Generator,
) -> None:
    values = two_channels(rng)
    values[1] = np.nan
    job = train_network(
        BlindSpotNetwork(TINY), sampler_of(values), Recipe(steps=1, crop=32, batch=4),
        device=CPU, seed=0, cancel=CancelToken(),
    )  # fmt: skip
    with pytest.raises(InputError, match="no voxel of channel 1 can be learnt from"):
        run(job)


def test_inspection_looks_with_the_start_of_the_channel(
    rng: np.random.Generator,
) -> None:
    network = random_starts(dtype=torch.float32)
    sampler = sampler_of(two_channels(rng))
    for kind in range(2):
        looked = inspect(network, sampler, [kind], CPU, CancelToken())
        one = with_one_start(network, kind)
        alone = inspect(one, sampler, [kind], CPU, CancelToken())
        np.testing.assert_allclose(
            looked.residuals.mean, alone.residuals.mean, rtol=1e-4, atol=1e-4
        )


def test_tiles_of_every_channel_equal_the_whole_of_it_alone(
    rng: np.random.Generator,
) -> None:
    network = random_starts(dtype=torch.float32)
    model = model_of(network, 2)
    stack = open_stack(rng.poisson(20, (2, 5, 90, 75)).astype(np.uint16), axes="CZYX")
    series, block = plane_series(stack, "z"), (2, 32, 48)
    predictor = Predictor(model, CPU)
    sink = open_sink(
        None, stack, np.dtype(np.float32), (1, *block), provenance={}, overwrite=False
    )
    fields = [predictor.noise_field(one.channel) for one in series]
    stream_blocks(predictor, series, fields, block, sink)
    tiled = run(sink.finish())
    for channel in range(2):
        alone = Model(
            with_one_start(network, channel),
            model.scales[channel : channel + 1],
            model.noise[:1],
            "z",
        )
        values = np.asarray(stack.data)[channel]
        whole = nb.predict(alone, values, axes="ZYX").image
        tolerance = 1e-5 * np.ptp(whole)
        np.testing.assert_allclose(tiled[channel], whole, rtol=1e-5, atol=tolerance)


def test_training_on_channels_gives_each_a_start(rng: np.random.Generator) -> None:
    values = rng.poisson([[[[30]]], [[[5]]]], (2, 4, 32, 32)).astype(np.uint16)
    model = nb.train(values, axes="CZYX", steps=1)
    assert model.settings.starts == 2
    assert np.isfinite(nb.predict(model, values, axes="CZYX").image).all()


@pytest.mark.parametrize(("channels", "starts"), [("each", 2), ("joint", 1)])
def test_channels_seen_together_have_one_start(channels: str, starts: int) -> None:
    series = plane_series(open_stack(np.zeros((2, 4, 32, 32)), axes="CZYX"), "z")
    settings = parse_settings(TrainSettings, channels=channels)
    holes = Holes((1, 1, 1), (1, 1, 1))
    recipe, _ = fit_recipe(Recipe(), series, settings, holes)
    assert recipe.network.starts == starts
    assert recipe.network.channels == 3 - starts


def test_starts_of_joint_channels_are_refused() -> None:
    with pytest.raises(InputError, match="starts=3 is about channels one at a time"):
        parse_settings(NetworkSettings, channels=2, starts=3)


def test_a_file_with_starts_is_read_back_and_older_versions_refuse_it(
    tmp_path: Path,
) -> None:
    model = model_of(random_starts(dtype=torch.float32), 2)
    path = nb.save_model(model, tmp_path / "a")
    assert read_header(path)["format"] == 3
    back = nb.load_model(path)
    x, kind = torch.rand(2, 3, 16, 16), torch.tensor([1, 0])
    assert back.settings.starts == 2
    assert torch.equal(
        model.network(x, kind=kind).mean, back.network(x, kind=kind).mean
    )


def test_a_file_of_two_channels_with_one_start_still_loads(tmp_path: Path) -> None:
    model = model_of(random_network(dtype=torch.float32), 2)
    path = nb.save_model(model, tmp_path / "new")
    facts = read_header(path)
    assert facts["format"] == 1
    # What such a file has held since the first version, and no more.
    assert set(facts["network"]) == {
        "width", "depth", "context", "neighbour_width", "half_planes", "hole",
    }  # fmt: skip
    assert model.network.unit.shape == model.network.spread.shape == ()
    old = tmp_path / "old.safetensors"
    header = {"napari_blindspot": json.dumps(facts)}
    save_file(model.network.state_dict(), old, header)
    back = nb.load_model(old)
    assert back.settings.starts == 1
    values = np.random.default_rng(0).poisson(20, (2, 3, 24, 24)).astype(np.uint16)
    np.testing.assert_array_equal(
        nb.predict(back, values, axes="CZYX").image,
        nb.predict(model, values, axes="CZYX").image,
    )


def test_a_file_whose_starts_are_not_its_channels_is_refused(tmp_path: Path) -> None:
    path = nb.save_model(
        model_of(random_starts(dtype=torch.float32), 2), tmp_path / "a"
    )
    facts = read_header(path)
    facts["scales"] = facts["scales"] * 2
    header = {"napari_blindspot": json.dumps(facts)}
    save_file(load_file(path), path, header)
    with pytest.raises(ModelFileError, match="do not fit its own description"):
        nb.load_model(path)
