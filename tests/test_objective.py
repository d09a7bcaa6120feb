"""What training minimises, and the noise that is learned along with the network."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import napari_blindspot as nb
from napari_blindspot.config import (
    NetworkSettings,
    Recipe,
    TrainSettings,
    parse_settings,
)
from napari_blindspot.device import channels_last
from napari_blindspot.errors import InputError
from napari_blindspot.io import open_stack
from napari_blindspot.measure.channels import Channel
from napari_blindspot.methods.bayesian import negative_log_likelihood
from napari_blindspot.methods.learned_model import noise_learner, read_back
from napari_blindspot.methods.objective import Objective
from napari_blindspot.networks.blindspot import BlindSpotNetwork
from napari_blindspot.noise.estimate import MeanVariance
from napari_blindspot.noise.field import NoiseField
from napari_blindspot.noise.likelihood import Affine, mapped
from napari_blindspot.noise.models import (
    Gaussian,
    Impulse,
    NoiseModel,
    Poisson,
    PoissonGaussian,
)
from napari_blindspot.normalize import Normalization
from napari_blindspot.planes import plane_series
from napari_blindspot.progress import CancelToken, run
from napari_blindspot.training.loop import Trained, train_network
from napari_blindspot.training.sampling import CropSampler, Source
from napari_blindspot.training.trainer import Trainer
from napari_blindspot.training.varying import augment

if TYPE_CHECKING:
    from napari_blindspot.methods.learned_noise import NoiseLearner

TINY = NetworkSettings(width=4, depth=1, context=1, neighbour_width=4)
CPU = torch.device("cpu")
SIGMA = 0.2


@pytest.fixture
def noisy(rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:64, :64] / 8
    clean = 0.5 + 0.4 * np.sin(y) * np.cos(x)
    return np.float32(clean + rng.normal(0, SIGMA, (6, 64, 64)))


def sampler_of(values: np.ndarray, recipe: Recipe, noise: Affine) -> CropSampler:
    series = plane_series(open_stack(values, axes="ZYX"), "z")
    source = Source(series[0], Normalization(0.0, 1.0), NoiseField(noise))
    return CropSampler([source], 1, recipe, 2, 0)


def trained(
    values: np.ndarray,
    recipe: Recipe,
    noise: Affine,
    learner: NoiseLearner | None = None,
    *,
    stop_gradient: bool = False,
) -> Trained:
    torch.manual_seed(0)
    job = train_network(
        BlindSpotNetwork(TINY),
        sampler_of(values, recipe, noise),
        recipe,
        device=CPU,
        seed=0,
        cancel=CancelToken(),
        learner=learner,
        stop_gradient=stop_gradient,
    )
    return run(job)


def test_one_channel_with_frozen_noise_is_trained_by_the_plain_loop(
    noisy: np.ndarray,
) -> None:
    recipe = Recipe(steps=6, crop=32, batch=2, learning_rate=1e-3, warmup=0.01)
    noise = Affine(0.01, 0.03, 0.01)
    torch.manual_seed(0)
    network = BlindSpotNetwork(TINY)
    network.wake()
    plain = channels_last(copy.deepcopy(network), CPU).train()
    trainer = Trainer(Objective(network), recipe, CPU)
    one, two = (sampler_of(noisy, recipe, noise) for _ in range(2))
    optimiser = torch.optim.Adam(plain.parameters(), lr=1e-3, betas=(0.9, 0.99))
    for step in range(6):
        spent = step / 6
        rngs = [np.random.default_rng(step) for _ in range(2)]
        loss = trainer.step(augment(one.draw(), rngs[0]), spent)
        batch = augment(two.draw(), rngs[1])
        planes = torch.from_numpy(batch.planes)
        planes = planes.contiguous(memory_format=torch.channels_last)
        expected = negative_log_likelihood(
            planes[:, 1],
            plain(planes),
            mapped(torch.from_numpy, batch.noise),
            torch.from_numpy(batch.target),
        )
        assert loss == float(expected.detach())
        ramp = min(1.0, (spent + 1e-3) / 0.01)
        optimiser.param_groups[0]["lr"] = (
            1e-3 * ramp * 0.5 * (1 + np.cos(np.pi * spent))
        )
        optimiser.zero_grad()
        expected.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), recipe.clip)
        optimiser.step()
    for ours, theirs in zip(network.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def loss_and_gradients(
    noisy: np.ndarray, noise: Affine, *, stop_gradient: bool
) -> tuple[float, list[torch.Tensor]]:
    torch.manual_seed(0)
    objective = Objective(BlindSpotNetwork(TINY), stop_gradient=stop_gradient)
    objective.network.wake()
    batch = sampler_of(noisy, Recipe(crop=32, batch=2), noise).draw()
    loss = objective(
        torch.from_numpy(batch.planes),
        torch.from_numpy(batch.target),
        mapped(torch.from_numpy, batch.noise),
    )
    loss.backward()
    return float(loss.detach()), [p.grad for p in objective.parameters()]


def test_stopping_the_gradient_changes_the_gradient_and_nothing_else(
    noisy: np.ndarray,
) -> None:
    for noise, differ in ((Affine(0.1, 0.0, 1e-3), True), (Affine(0, 0.04, 0), False)):
        loss, free = loss_and_gradients(noisy, noise, stop_gradient=False)
        stopped_loss, stopped = loss_and_gradients(noisy, noise, stop_gradient=True)
        assert loss == stopped_loss
        pairs = zip(free, stopped, strict=True)
        assert any(not torch.equal(a, b) for a, b in pairs) == differ


def test_the_setting_reaches_training(
    noisy: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_blindspot.training.filters._VOXELS", 30_000)
    values = np.random.default_rng(0).poisson(20 * np.clip(noisy, 0, None) + 1)
    free, stopped = (
        nb.train(values, axes="ZYX", steps=3, threads=1, stop_gradient=stop)
        for stop in (False, True)
    )
    assert free.noise == stopped.noise
    assert free.settings == stopped.settings
    weights = (model.network.last.weight for model in (free, stopped))
    assert not torch.equal(*weights)


def channel_of(noise: NoiseModel, scale: Normalization) -> Channel:
    nothing = MeanVariance(*(np.empty(0) for _ in range(3)))
    return Channel(scale, noise, float("inf"), nothing)


def test_the_level_of_gaussian_noise_is_learned_with_the_network(
    noisy: np.ndarray,
) -> None:
    recipe = Recipe(steps=250, crop=32, batch=2, checks=5, learning_rate=1e-2)
    wrong = Affine(0.0, (3 * SIGMA) ** 2, 1e-3)  # what the learner must not care about
    scale = Normalization(0.0, 1.0)
    learner = noise_learner(channel_of(Gaussian.from_sigma(3 * SIGMA), scale), TINY)
    assert learner.value() == pytest.approx(3 * SIGMA, rel=1e-5)
    found = trained(noisy, recipe, wrong, learner)
    assert learner.value() == pytest.approx(SIGMA, rel=0.06)
    known = trained(noisy, recipe, Affine(0.0, SIGMA**2, 1e-3))
    assert found.held_out == pytest.approx(known.held_out, abs=0.03)


@pytest.mark.parametrize(
    "noise",
    [
        Gaussian.from_sigma(12.0),
        Poisson.from_gain(3.0, 90.0),
        Impulse(0.02, 5.0, 900.0, PoissonGaussian(2.0, 30.0, floor=20.0)),
    ],
    ids=lambda noise: noise.kind,
)
def test_what_was_learned_is_read_back_in_data_units(
    noise: NoiseModel, noisy: np.ndarray
) -> None:
    scale = Normalization(80.0, 400.0)
    channel = channel_of(noise, scale)
    learner = noise_learner(channel, TINY)
    as_estimated = read_back(
        learner, channel, sampler_of(noisy, Recipe(crop=32), Affine(0.0, 1.0, 1.0))
    ).noise
    assert as_estimated.variance(300.0) == pytest.approx(
        noise.variance(300.0), rel=1e-4
    )
    with torch.no_grad():
        learner.strength.fill_(1.3)
    sampler = sampler_of(noisy, Recipe(crop=32), Affine(0.0, 1.0, 1.0))
    model = read_back(learner, channel, sampler).noise
    assert type(model) is type(noise)
    frozen = noise.normalized(scale)
    t = torch.linspace(0.1, 1.0, 20, dtype=torch.float64)
    expected = learner.likelihood(torch.empty(0), frozen).variance(t).detach()
    expected = expected + 0 * t
    for found in (model.normalized(scale), sampler.sources[0].noise.likelihood):
        np.testing.assert_allclose(found.variance(t.numpy()) + 0 * t.numpy(), expected)
    if isinstance(model, Poisson):
        assert model.offset == 90.0


def test_the_learned_noise_is_that_of_the_model(
    noisy: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_blindspot.training.filters._VOXELS", 30_000)
    told: list[str] = []
    result = nb.denoise(
        100 + 50 * noisy,
        axes="ZYX",
        noise="gaussian",
        unknown="learn",
        steps=30,
        threads=1,
        on_progress=lambda event: told.append(event.message),
    )
    (noise,) = result.noise
    assert isinstance(noise, Gaussian)
    sentence = f"Learned noise: standard deviation {noise.sigma:.4g} grey values"
    assert sentence in told
    assert result.provenance["noise"][0]["sigma"] == noise.sigma
    assert noise.sigma == pytest.approx(50 * SIGMA, rel=0.3)  # 30 steps are few
    assert result.noise == result.model.noise


def test_learning_wants_one_channel(noisy: np.ndarray) -> None:
    two = np.stack([noisy, noisy])
    with pytest.raises(InputError, match=r"the noise of one channel, but .* has 2"):
        nb.train(two, axes="CZYX", noise="gaussian", unknown="learn", steps=1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "noise='auto': gain and offset of a camera, learned freely"),
        ({"noise": "gaussian", "sigma": 3.0}, "sigma=3.0 is known"),
        ({"noise": "poisson", "gain": 2.0}, "gain=2.0 is known"),
        ({"noise": "impulse", "outliers": 0.1}, "outliers=0.1 is known"),
        ({"noise": "gaussian", "noise_per_plane": True}, "one number for all voxels"),
        ({"noise": "gaussian", "channels": "joint"}, "the noise of one channel"),
    ],
)
def test_what_cannot_be_learned_is_refused(
    options: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        parse_settings(TrainSettings, unknown="learn", **options)


def test_a_constant_noise_variance_has_no_meaning_for_counts() -> None:
    with pytest.raises(InputError, match="stop_gradient has no meaning"):
        parse_settings(TrainSettings, stop_gradient=True, low_counts=True)
