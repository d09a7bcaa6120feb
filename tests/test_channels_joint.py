from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_blindspot.config import NetworkSettings
from napari_blindspot.networks.blindspot import BlindSpotNetwork, withhold
from napari_blindspot.noise.covariance import JointAffine
from networks import random_network

CHANNELS = 3
Hole = tuple[int, int, int]


def joint_network(context: int = 1, **options: object) -> BlindSpotNetwork:
    return random_joint(context=context, channels=CHANNELS, **options)


def random_joint(**options: object) -> BlindSpotNetwork:
    network = random_network(**options)
    channels = network.settings.channels
    network.spread.copy_(
        torch.eye(channels) + 0.3 * torch.ones(channels, channels).triu(1)
    )
    return network


def seen_by(
    network: BlindSpotNetwork,
    pixel: tuple[int, int],
    hole: Hole,
    shape: tuple[int, ...],
) -> Tensor:
    """Largest |gradient| of every number of the answer at `pixel`, per input value."""
    largest = torch.zeros(shape, dtype=torch.float64)
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(1, *shape, generator=generator, dtype=torch.float64)
        x.requires_grad_(True)
        prior = network(x, hole)
        answers = torch.cat([out[0, *pixel].flatten() for out in prior])
        for answer in answers:
            (gradient,) = torch.autograd.grad(answer, x, retain_graph=True)
            largest = torch.maximum(largest, gradient[0].abs())
    return largest


def hidden_from(shape: tuple[int, ...], pixel: tuple[int, int], hole: Hole) -> Tensor:
    """True for what must not be seen, in every channel, written out one by one."""
    hidden = torch.zeros(shape, dtype=torch.bool)
    planes = shape[0] // CHANNELS
    for plane, channel, row, column in itertools.product(
        range(planes), range(CHANNELS), range(shape[1]), range(shape[2])
    ):
        away = (abs(plane - planes // 2), abs(row - pixel[0]), abs(column - pixel[1]))
        near = [d <= size // 2 for d, size in zip(away, hole, strict=True)]
        withheld = near[0] if away[0] else all(near)
        hidden[plane * CHANNELS + channel, row, column] = withheld
    return hidden


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
@pytest.mark.parametrize("half_planes", ["centre", "all"])
@pytest.mark.parametrize("hole", [(1, 1, 1), (1, 3, 3), (1, 1, 5), (3, 3, 3)])
@pytest.mark.parametrize("pixel", [(7, 6), (0, 0), (14, 12)])
def test_a_pixel_is_blind_to_all_its_channels_and_sees_all_channels_around(
    hole: Hole, pixel: tuple[int, int], half_planes: str, covariance: str
) -> None:
    network = joint_network(half_planes=half_planes, covariance=covariance)
    shape = (3 * CHANNELS, 15, 13)
    seen = seen_by(network, pixel, hole, shape)
    hidden = hidden_from(shape, pixel, hole)
    assert torch.all(seen[hidden] == 0)
    assert torch.all(seen[~hidden] > 0)


def test_a_filter_that_mixes_up_planes_and_channels_would_be_caught() -> None:
    network = joint_network()
    network.start._by_channel = lambda planes: planes  # type: ignore[method-assign]
    seen = seen_by(network, (7, 6), (1, 1, 1), (3 * CHANNELS, 15, 13))
    hidden = hidden_from((3 * CHANNELS, 15, 13), (7, 6), (1, 1, 1))
    assert seen[hidden].max() > 0


def test_a_change_of_a_whole_pixel_changes_nothing_there() -> None:
    network = joint_network(context=2)
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(1, 5 * CHANNELS, 17, 23, generator=generator, dtype=torch.float64)
    changed = x.clone()
    changed[0, 2 * CHANNELS : 3 * CHANNELS, 8, 11] += 1000.0
    before, after = network(x), network(changed)
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one[0, 8, 11], other[0, 8, 11])
        assert not torch.equal(one, other)


def test_covariances_are_symmetric_and_positive() -> None:
    network = joint_network()
    prior = network(torch.randn(2, 3 * CHANNELS, 16, 20, dtype=torch.float64))
    assert prior.mean.shape == (2, 16, 20, CHANNELS)
    assert prior.variance.shape == (2, 16, 20, CHANNELS, CHANNELS)
    assert torch.equal(prior.variance, prior.variance.mT)
    assert torch.linalg.eigvalsh(prior.variance).min() > 0
    off = prior.variance - torch.diag_embed(torch.diagonal(prior.variance, 0, -2, -1))
    assert off.abs().max() > 0.01


def test_diagonal_covariances_have_nothing_else() -> None:
    network = joint_network(covariance="diagonal")
    network.spread.copy_(torch.eye(CHANNELS))
    prior = network(torch.randn(1, 3 * CHANNELS, 16, 16, dtype=torch.float64))
    off = prior.variance * (1 - torch.eye(CHANNELS, dtype=torch.float64))
    assert off.abs().max() == 0
    assert network.last.out_channels == 2 * CHANNELS


def test_one_channel_keeps_the_shapes_and_names_of_its_weights() -> None:
    settings = NetworkSettings(width=4, depth=2, context=1, neighbour_width=4)
    network = BlindSpotNetwork(settings)
    weights = network.state_dict()
    assert weights["spread"].shape == weights["unit"].shape == ()
    assert weights["start.kernel"].shape == (1, 3, 11, 11)
    assert weights["last.weight"].shape == (2, 8, 1, 1)
    prior = network(torch.randn(2, 3, 16, 20))
    assert prior.mean.shape == prior.variance.shape == (2, 16, 20)
    joint = BlindSpotNetwork(settings.model_copy(update={"channels": 2}))
    assert list(joint.state_dict()) == list(weights)


def test_the_blind_filter_keeps_each_channel_to_itself() -> None:
    network = BlindSpotNetwork(NetworkSettings(width=4, depth=2, channels=2, context=0))
    x = torch.full((1, 2, 20, 20), 2.0)
    x[:, 1] = 5.0
    filtered = network.start(x, (1, 1, 1))
    torch.testing.assert_close(filtered, x)  # also at the borders
    alone = network.start(x * torch.tensor([1.0, 0.0])[:, None, None], (1, 1, 1))
    assert alone[:, 1].abs().max() == 0


@pytest.mark.parametrize("nearest", [0, 1, 2])
def test_neighbour_planes_within_the_hole_are_withheld_in_all_channels(
    nearest: int,
) -> None:
    ones = withhold(torch.ones(1, 5 * CHANNELS, 4, 4), nearest, CHANNELS)
    seen = [abs(plane - 2) > nearest or plane == 2 for plane in range(5)]
    found = ones[0, :, 0, 0].reshape(5, CHANNELS)
    assert torch.equal(found, torch.tensor(seen).float()[:, None].expand(5, CHANNELS))


def coupled_images(rng: np.random.Generator, noise: Tensor) -> tuple[Tensor, Tensor]:
    """White "structure" that all channels share, so that no surroundings foretell it.

    Clean and noisy images, (N, C, Y, X).
    """
    shared = torch.from_numpy(rng.normal(size=(6, 1, 32, 32)).astype(np.float32))
    clean = shared.expand(-1, len(noise), -1, -1)
    white = torch.from_numpy(rng.normal(size=clean.shape).astype(np.float32))
    return clean, clean + noise.sqrt()[:, None, None] * white


def test_channels_that_vary_alike_are_learnt_and_help_each_other(
    rng: np.random.Generator,
) -> None:
    noise = torch.tensor([0.05, 1.0])  # variances: one good channel, one poor
    torch.manual_seed(0)
    network = BlindSpotNetwork(NetworkSettings(width=4, depth=1, context=0, channels=2))
    network.spread.copy_(torch.eye(2))
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02, betas=(0.9, 0.99))
    family = JointAffine(0.0, noise, 1e-6)
    for _ in range(60):
        _, y = coupled_images(rng, noise)
        score = family.negative_log_likelihood(y.movedim(1, -1), *network(y)).mean()
        optimiser.zero_grad()
        score.backward()
        optimiser.step()
    clean, y = coupled_images(rng, noise)
    with torch.no_grad():
        prior = network(y)
        posterior, spread = family.posterior(y.movedim(1, -1), *prior)
    deviation = torch.diagonal(prior.variance, 0, -2, -1).sqrt()
    correlation = prior.variance[..., 0, 1] / deviation.prod(-1)
    assert correlation.mean() > 0.9
    error = ((posterior - clean.movedim(1, -1)) ** 2).mean((0, 1, 2))
    alone = noise / (1 + noise)  # what each channel can do by itself
    assert error[1] < 0.2 * alone[1]
    assert error[0] < 1.1 * alone[0]
    said = torch.diagonal(spread, 0, -2, -1).mean((0, 1, 2))
    assert (said - error).abs().max() < 0.04  # of a prior variance of 1
