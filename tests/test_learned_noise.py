from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_blindspot.config import NetworkSettings
from napari_blindspot.errors import InputError
from napari_blindspot.methods.learned_noise import NoiseLearner
from napari_blindspot.noise.covariance import JointAffine, JointImpulse
from napari_blindspot.noise.likelihood import Affine, Impulse

NOTHING = Affine(0.0, 0.0, 1e-6)
BETAS = (0.9, 0.99)  # as in training: it forgets the first, wild gradients
SMALL = NetworkSettings(width=4, depth=2, context=0)
COLOUR = SMALL.model_copy(update={"channels": 3})


def learn(
    learner: NoiseLearner, images: Tensor, variance: float, steps: int = 400
) -> None:
    """Train the level against a prior that knows the flat scene's mean and variance.

    So that the level alone is tested: how much noise is there beyond `variance`.
    """
    optimiser = torch.optim.Adam(learner.groups(5e-3), betas=BETAS)
    mean = images.mean((-2, -1), keepdim=True).expand_as(images)
    for _ in range(steps):
        likelihood = learner.likelihood(images, NOTHING)
        y, prior = images[:, 0], mean[:, 0]
        score = likelihood.negative_log_likelihood(
            y, prior, torch.full_like(prior, variance)
        )
        loss = score.mean() + learner.regulariser(likelihood, prior)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def flat(rng: np.random.Generator, sigma: list[float], level: float = 0.5) -> Tensor:
    scale = np.array(sigma)[:, None, None, None]
    noisy = level + scale * rng.normal(size=(len(sigma), 1, 64, 64))
    return torch.from_numpy(noisy.astype(np.float32))


def test_learning_starts_at_the_level_of_the_paper() -> None:
    for scope in ("stack", "image"):
        learner = NoiseLearner("gaussian", scope, SMALL)
        start = learner.value(torch.rand(2, 1, 33, 30))
        assert start == pytest.approx(np.log1p(np.exp(-4.0)) + 1e-3)
    poisson = NoiseLearner("poisson", "stack", SMALL)
    assert poisson.value() == pytest.approx(1 / 0.01915, rel=1e-3)


@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.2])
def test_gaussian_noise_is_recovered(sigma: float, rng: np.random.Generator) -> None:
    torch.manual_seed(0)
    learner = NoiseLearner("gaussian", "stack", SMALL)
    learn(learner, flat(rng, [sigma, sigma]), 0.0)
    # The reward pulls it up by 0.05·σ of itself, no more.
    assert learner.value() == pytest.approx(sigma, rel=0.04)


def test_each_image_has_its_own_level(rng: np.random.Generator) -> None:
    torch.manual_seed(0)
    sigma = [0.02, 0.05, 0.1, 0.2]
    learner = NoiseLearner("gaussian", "image", SMALL)
    learn(learner, flat(rng, sigma), 0.0, steps=300)
    fresh = flat(rng, sigma)
    found = [learner.value(image[None]) for image in fresh]
    assert found == pytest.approx(sigma, rel=0.2)


def test_photons_are_counted(rng: np.random.Generator) -> None:
    torch.manual_seed(0)
    dark, light, photons = 0.1, 0.5, 30.0
    counts = rng.poisson(photons * light, (2, 1, 64, 64)) / photons + dark
    learner = NoiseLearner("poisson", "stack", SMALL, dark=dark)
    learn(learner, torch.from_numpy(counts.astype(np.float32)), 0.0)
    assert learner.value() == pytest.approx(photons, rel=0.08)


def test_outliers_are_counted(rng: np.random.Generator) -> None:
    torch.manual_seed(0)
    images = np.full((4, 1, 64, 64), 0.2)
    hit = rng.random(images.shape) < 0.5
    images[hit] = rng.random(hit.sum())
    learner = NoiseLearner("impulse", "stack", SMALL)
    optimiser = torch.optim.Adam(learner.groups(5e-3), betas=BETAS)
    y = torch.from_numpy(images.astype(np.float32))
    prior = torch.full((4, 64, 64), 0.2)
    for _ in range(500):
        likelihood = learner.likelihood(y, NOTHING)
        assert float(learner.regulariser(likelihood, prior)) == 0
        loss = likelihood.negative_log_likelihood(
            y[:, 0], prior, torch.full_like(prior, 1e-4)
        ).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert learner.value() == pytest.approx(0.5, abs=0.03)


def test_the_reward_moves_doubt_from_the_prior_to_the_noise(
    rng: np.random.Generator,
) -> None:
    # Half of the variance is structure: without a reward either answer is as good.
    images = flat(rng, [0.1, 0.1])
    total = torch.tensor(0.01)
    level = torch.tensor(0.05)
    learner = NoiseLearner("gaussian", "stack", SMALL)
    for prior_variance, sigma in ((total - level**2, level), (total * 0, total.sqrt())):
        family = Affine(0.0, sigma**2, 0.0)
        mean = torch.full((2, 64, 64), 0.5)
        score = family.negative_log_likelihood(images[:, 0], mean, prior_variance)
        assert score.mean() == pytest.approx(np.log(0.01) + 1, abs=0.05)
        reward = learner.regulariser(family, mean)
        assert float(reward) == pytest.approx(-0.1 * float(sigma))


def test_several_channels_share_the_level() -> None:
    planes = torch.rand(2, 3, 33, 30)
    mean = torch.rand(2, 33, 30, 3)
    for scope, shape in (("stack", ()), ("image", (2, 1, 1, 1))):
        learner = NoiseLearner("gaussian", scope, COLOUR)
        assert learner.level(planes).shape == shape
        family = learner.likelihood(planes, NOTHING)
        assert isinstance(family, JointAffine)
        sigma = learner.value(planes)
        reward = float(learner.regulariser(family, mean).detach())
        assert reward == pytest.approx(-0.2 * sigma, rel=1e-5)
        outliers = NoiseLearner("impulse", scope, COLOUR).likelihood(planes, NOTHING)
        assert isinstance(outliers, JointImpulse)
        prior = 0.01 * torch.eye(3).expand(2, 33, 30, 3, 3)
        score = outliers.negative_log_likelihood(mean, mean, prior)
        assert score.shape == (2, 33, 30)
        assert torch.isfinite(score).all()


def test_ordinary_noise_among_outliers_stays_frozen() -> None:
    learner = NoiseLearner("impulse", "stack", SMALL, outliers=(-1.0, 2.0))
    family = learner.likelihood(torch.rand(1, 1, 8, 8), Affine(0.02, 0.003, 1e-4))
    assert isinstance(family, Impulse)
    assert (family.a, family.b, family.floor) == (0.02, 0.003, 1e-4)
    assert (family.low, family.high) == (-1.0, 2.0)


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_the_constants_mean_the_same_on_another_scale(family: str) -> None:
    # t = 4·x + 1: what was 0 to 1 is now 1 to 5.
    plain = NoiseLearner(family, "stack", SMALL)  # type: ignore[arg-type]
    scaled = NoiseLearner(family, "stack", SMALL, full=4.0, dark=1.0)  # type: ignore[arg-type]
    x = torch.linspace(0, 1, 50).reshape(1, 5, 10)
    planes = x[:, None]
    noise = plain.likelihood(planes, NOTHING).variance(x)
    other = scaled.likelihood(4 * planes + 1, NOTHING).variance(4 * x + 1)
    torch.testing.assert_close(16 * noise, other)
    rewards = [
        one.regulariser(one.likelihood(planes, NOTHING), mean)
        for one, mean in ((plain, x), (scaled, 4 * x + 1))
    ]
    torch.testing.assert_close(*rewards)
    times = 4 if family == "gaussian" else 1
    assert scaled.value() == pytest.approx(times * plain.value())


def test_only_the_centre_plane_tells_the_level() -> None:
    settings = NetworkSettings(width=4, depth=2, context=1)
    learner = NoiseLearner("gaussian", "image", settings)
    torch.nn.init.ones_(learner.last.weight)
    planes = torch.rand(1, 3, 32, 32)
    before = learner.value(planes)
    planes[:, [0, 2]] += 1
    assert learner.value(planes) == before
    planes[:, 1] += 1
    assert learner.value(planes) != before


def test_a_level_per_image_needs_the_image() -> None:
    with pytest.raises(InputError, match="learned per image"):
        NoiseLearner("gaussian", "image", SMALL).value()


def test_an_empty_range_of_outliers_is_refused() -> None:
    with pytest.raises(InputError, match=r"outliers=\(1.0, 1.0\)"):
        NoiseLearner("impulse", "stack", SMALL, outliers=(1.0, 1.0))
