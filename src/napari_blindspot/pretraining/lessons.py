"""What start weights are trained to do: the losses of a teacher and of a student.

Both know the clean volume, because it was generated. A teacher is asked for what it
will be asked for on a user's stack, mean and variance of the clean value given its
surroundings, but may see how wrong it was without the noise of the voxel in the way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from napari_blindspot.networks.blindspot import BlindSpotNetwork
from napari_blindspot.networks.student import StudentNetwork

if TYPE_CHECKING:
    from napari_blindspot.pretraining.episodes import Crops, Episode

_LEFT = 0.003  # of the noise of the voxel itself, for a teacher
_LEAST_ERROR = 1e-3  # of the noise variance: what a student cannot be wrong by less


def loss_of(network: nn.Module, episode: Episode, crops: Crops) -> Tensor:
    """Return the loss of a network on some crops of an episode, a scalar."""
    if isinstance(network, BlindSpotNetwork):
        return teacher_loss(network, episode, crops)
    assert isinstance(network, StudentNetwork)
    return student_loss(network, episode, crops)


def teacher_loss(network: BlindSpotNetwork, episode: Episode, crops: Crops) -> Tensor:
    """Return how wrong mean and variance are, each in its own measure; a scalar.

    The mean as a student's answer (`relative_error`). The variance v by
    −2·log p(x | surroundings) = e²/v + log v of the error e that the mean has, with
    `_LEFT` of the noise added to both squares. The optimum is the conditional mean and
    variance, as with the likelihood of the noisy values. That itself teaches slowly: an
    error far below the noise moves it little, and weighted by a variance that is not
    learnt yet the mean stayed where the filter had put it (measured: 1100 steps).
    """
    take_filter(network, episode)
    mean, variance = network(crops.planes, episode.hole)
    noise = episode.noise.variance(crops.clean)
    left = _LEFT * noise
    squares = (crops.clean - mean.detach()) ** 2 + left
    fit = squares / (variance + left) + torch.log((variance + left) / noise)
    loss: Tensor = relative_error(mean, crops.clean, noise) + fit.mean()
    return loss


def student_loss(network: StudentNetwork, episode: Episode, crops: Crops) -> Tensor:
    """Return the `relative_error` of the answers; its minimum is the posterior mean."""
    take_filter(network, episode)
    answer = network(crops.planes)
    noise = episode.noise.variance(crops.clean)
    return relative_error(answer, crops.clean, noise)


def relative_error(answer: Tensor, clean: Tensor, noise: Any) -> Tensor:
    """Return the logarithm of the mean squared error in noise variances, over crops.

    The logarithm, so that a recording with much light counts as much as one with
    little; over the mean noise of a crop, because weights that depend on the clean
    value would move the optimum away from its mean.
    """
    error = ((clean - answer) ** 2).mean((1, 2)) / noise.expand_as(clean).mean((1, 2))
    return torch.log(error + _LEAST_ERROR).mean()


def take_filter(network: nn.Module, episode: Episode) -> None:
    """Set what belongs to the recording: its scales and, of a teacher, its filter."""
    own = dict(network.named_buffers())
    for name, tensor in episode.start.items():
        if name in own and (name.startswith("eyes") or hasattr(network, "start")):
            own[name].copy_(tensor)
