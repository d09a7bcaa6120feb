"""From a measured channel to a `NoiseLearner`, and from what it learned to a model.

Network units span the range of the data about once, as the constants of the learner
want it. They keep σ and the share of outliers above 0.1 % of the range and of the
voxels.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_blindspot.methods.learned_noise import NoiseFamily, NoiseLearner
from napari_blindspot.noise.field import NoiseField
from napari_blindspot.noise.models import Gaussian, Impulse, Poisson

if TYPE_CHECKING:
    from napari_blindspot.config import NetworkSettings
    from napari_blindspot.measure.channels import Channel
    from napari_blindspot.noise.models import NoiseModel
    from napari_blindspot.training.sampling import CropSampler


def noise_learner(channel: Channel, settings: NetworkSettings) -> NoiseLearner:
    """Return the learner of one number, which begins at what was estimated.

    Parameters
    ----------
    channel
        Measured; its noise is Gaussian, Poisson or impulse. Where Poisson noise
        vanishes, the range of the outliers and the noise among them stay as measured.
    settings
        Of the network that is trained beside it.
    """
    noise, scale = channel.noise, channel.scale
    family: NoiseFamily = "gaussian"
    dark, outliers = 0.0, (0.0, 1.0)
    if isinstance(noise, Impulse):
        family = "impulse"
        low, high = (
            (end - scale.offset) / scale.scale for end in (noise.low, noise.high)
        )
        outliers = (low, high)
    elif isinstance(noise, Poisson):
        family = "poisson"
        dark = ((noise.offset or 0.0) - scale.offset) / scale.scale
    learner = NoiseLearner(family, "stack", settings, dark=dark, outliers=outliers)
    learner.start_at(_estimated(noise, scale.scale))
    return learner


def read_back(learner: NoiseLearner, channel: Channel, sampler: CropSampler) -> Channel:
    """Return the channel with the noise that was learned, and give it to the sampler.

    Parameters
    ----------
    learner
        Trained.
    channel
        As it was measured.
    sampler
        Its sources are all of this channel.
    """
    noise = _learned(learner.value(), channel)
    likelihood = noise.normalized(channel.scale)
    sampler.sources = [
        replace(source, noise=NoiseField(likelihood)) for source in sampler.sources
    ]
    return replace(channel, noise=noise)


def learned_sentence(noise: NoiseModel) -> str:
    """Say what was learned, in data units."""
    if isinstance(noise, Impulse):
        return f"Learned noise: {noise.share:.3g} of the voxels are outliers"
    if isinstance(noise, Gaussian):
        return f"Learned noise: standard deviation {noise.sigma:.4g} grey values"
    return f"Learned noise: gain {noise.gain:.4g} grey values per electron"


def _estimated(noise: NoiseModel, scale: float) -> float:
    if isinstance(noise, Impulse):
        return noise.share
    if isinstance(noise, Poisson):
        return scale / noise.gain
    return math.sqrt(noise.variance(0.0)) / scale


def _learned(value: float, channel: Channel) -> NoiseModel:
    noise, scale = channel.noise, channel.scale.scale
    if isinstance(noise, Impulse):
        return replace(noise, share=value, share_interval=None)
    if isinstance(noise, Poisson):
        made = Poisson.from_gain(scale / value, noise.offset or 0.0)
        return replace(made, warnings=noise.warnings)
    return replace(Gaussian.from_sigma(value * scale), warnings=noise.warnings)
