from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from napari_blindspot.config import NetworkSettings
from napari_blindspot.errors import InputError
from napari_blindspot.methods.filter_fit import fit_filter
from napari_blindspot.methods.filter_fit_joint import fit_joint_filter
from napari_blindspot.networks.blindspot import BlindSpotNetwork
from napari_blindspot.noise.covariance import JointAffine
from napari_blindspot.noise.likelihood import Affine

SIGMA = 0.2


def colours(rng: np.random.Generator, context: int = 0) -> Tensor:
    """Two smooth channels that share most of their structure, with white noise."""
    planes = 2 * context + 1
    shared, own = rng.normal(size=(2, 4, 2 * planes, 64, 64))
    shared[:, 1::2] = shared[:, ::2]
    scene = ndimage.gaussian_filter(3 * shared + own, (0, 0, 1, 1))
    noisy = scene + SIGMA * rng.normal(size=scene.shape)
    return torch.from_numpy(noisy.astype(np.float32))


def network(
    channels: int, covariance: str = "full", context: int = 0
) -> BlindSpotNetwork:
    settings = NetworkSettings(
        width=4,
        depth=2,
        context=context,
        channels=channels,
        covariance=covariance,  # type: ignore[arg-type]
    )
    return BlindSpotNetwork(settings)


@pytest.mark.parametrize("context", [0, 1])
def test_each_channel_gets_the_filter_it_would_have_alone(
    context: int, rng: np.random.Generator
) -> None:
    planes = colours(rng, context)
    target = torch.ones(4, 64, 64)
    joint = network(2, context=context)
    fit_joint_filter(joint, [(planes, target, JointAffine(0.0, SIGMA**2, 1e-6))])
    for channel in range(2):
        alone = network(1, context=context)
        noise = Affine(*torch.tensor([0.0, SIGMA**2, 1e-6])[:, None, None, None])
        crops = [(planes[:, channel::2], target, noise)]
        fit_filter(alone, crops)
        torch.testing.assert_close(joint.start.kernel[channel], alone.start.kernel[0])
        assert float(joint.unit[channel]) == pytest.approx(float(alone.unit), rel=0.05)


def test_the_network_starts_from_the_measured_covariance(
    rng: np.random.Generator,
) -> None:
    planes = colours(rng)
    crops = [(planes, torch.ones(4, 64, 64), JointAffine(0.0, SIGMA**2, 1e-6))]
    full, diagonal = network(2), network(2, "diagonal")
    for one in (full, diagonal):
        fit_joint_filter(one, crops)
    left = (planes - full.start(planes, (1, 1, 1))).movedim(1, -1).reshape(-1, 2)
    measured = left.T @ left / len(left) - SIGMA**2 * torch.eye(2)
    torch.testing.assert_close(full.spread.T @ full.spread, measured, rtol=1e-3, atol=0)
    assert torch.equal(full.spread, full.spread.triu())
    assert measured[0, 1] > 0.3 * measured[0, 0]  # the channels do vary together
    torch.testing.assert_close(
        diagonal.spread.T @ diagonal.spread, measured.diag().diag(), rtol=1e-3, atol=0
    )


def test_more_noise_than_there_is_leaves_a_positive_covariance(
    rng: np.random.Generator,
) -> None:
    one = network(2)
    noise = JointAffine(0.0, torch.tensor([9.0, 16.0]), 1e-6)
    fit_joint_filter(one, [(colours(rng), torch.ones(4, 64, 64), noise)])
    assert torch.linalg.eigvalsh(one.spread.T @ one.spread).min() > 0.1


def test_nothing_to_learn_from_is_said() -> None:
    crops = [(torch.zeros(1, 2, 32, 32), torch.zeros(1, 32, 32), JointAffine(0, 1, 1))]
    with pytest.raises(InputError, match="no voxel of the stack can be learnt from"):
        fit_joint_filter(network(2), crops)
