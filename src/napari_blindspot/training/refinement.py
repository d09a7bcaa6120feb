"""After a part of training: noise that neighbours share, seen by the network itself.

Before training the noise is estimated from differences of neighbours. Where these
share their noise, that finds too little, and where the diagnosis did not see that they
do, nothing else was measured (`noise.apart`). A network whose blind spot hides them
does not share it, so what it cannot explain shows the whole noise (`noise.envelope`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.noise.envelope import lower_envelope
from napari_blindspot.noise.estimate import MeanVariance
from napari_blindspot.noise.models import PoissonGaussian, noise_from_dict
from napari_blindspot.noise.refit import refit
from napari_blindspot.training.adjusting import UNTOUCHED, Adjusted
from napari_blindspot.training.inspection import inspect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from napari_blindspot.measure.channels import Channel
    from napari_blindspot.networks.blindspot import BlindSpotNetwork
    from napari_blindspot.progress import CancelToken
    from napari_blindspot.training.sampling import CropSampler

REFINE_AT = (0.35, 0.7)
"""Parts of the budget after which the noise is measured: the network explains most of
the signal by then, and more later."""

_WORTH_IT = 1.15  # times the variance that was estimated before
_VOXELS = 500_000
_POINTS = ("mean", "variance", "count")


class Refinement:
    """Raises the noise of the sources where the envelope lies above the estimate.

    Parameters
    ----------
    sampler
        Its sources get the refined noise.
    channels
        What was measured before training.
    device
        Where the network is.
    cancel
        Asked while planes are looked at.
    """

    def __init__(
        self,
        sampler: CropSampler,
        channels: Sequence[Channel],
        device: torch.device,
        cancel: CancelToken,
    ) -> None:
        self.sampler = sampler
        self.channels = tuple(channels)
        self.device = device
        self.cancel = cancel
        self._refined: set[int] = set()

    def __call__(self, network: BlindSpotNetwork) -> Adjusted:
        """Refine every channel, and say so where something changes.

        With a hole of one voxel the network shares the noise of neighbours itself, and
        differences of neighbours are the better estimate.
        """
        if max(network.settings.hole) == 1:
            return UNTOUCHED
        told = [
            self._refine(network, index, channel)
            for index, channel in enumerate(self.channels)
        ]
        return Adjusted(" ".join(filter(None, told)))

    def memory(self) -> dict[str, Any]:
        """Return what was refined, as JSON-able facts."""
        return {
            str(index): {
                "noise": self.channels[index].noise.as_dict(),
                "points": {
                    name: getattr(self.channels[index].points, name).tolist()
                    for name in _POINTS
                },
            }
            for index in sorted(self._refined)
        }

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Refine the noise of the sources as it was when `memory` was asked."""
        for name, facts in memory.items():
            index = int(name)
            mean, variance, count = (np.array(facts["points"][one]) for one in _POINTS)
            points = MeanVariance(mean, variance, count)
            noise = noise_from_dict(facts["noise"])
            self._refined.add(index)
            self._use(index, replace(self.channels[index], noise=noise, points=points))

    def _refine(self, network: BlindSpotNetwork, index: int, channel: Channel) -> str:
        if channel.whole or not isinstance(channel.noise, PoissonGaussian):
            return ""  # the envelope is never better, and outliers lie above any
        mine = self._sources_of(index)
        found = inspect(network, self.sampler, mine, self.device, self.cancel, _VOXELS)
        points = lower_envelope(found.residuals, channel.scale)
        before = np.array([channel.noise.variance(float(x)) for x in points.mean])
        ratio = float(np.median(points.variance / before))
        if ratio < _WORTH_IT and index not in self._refined:
            return ""
        self._refined.add(index)
        noise = refit(points, channel.noise)
        self._use(index, replace(channel, noise=noise, points=points))
        return (
            f"Seen by the network, whose blind spot hides the neighbours, the noise "
            f"has {ratio:.2g} times the variance assumed so far; training goes on with "
            f"that."
        )

    def _sources_of(self, index: int) -> list[int]:
        return [
            number
            for number, source in enumerate(self.sampler.sources)
            if source.series.channel == index
        ]

    def _use(self, index: int, channel: Channel) -> None:
        channels = list(self.channels)
        channels[index] = channel
        self.channels = tuple(channels)
        for number in self._sources_of(index):
            source = self.sampler.sources[number]
            self.sampler.sources[number] = source.with_noise(channel.noise)
