"""The first answer of a network: its blind filters, fitted to crops of the stacks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_blindspot.methods.filter_fit import fit_filter
from napari_blindspot.methods.filter_fit_joint import fit_joint_filter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_blindspot.networks.blindspot import BlindSpotNetwork
    from napari_blindspot.progress import CancelToken
    from napari_blindspot.training.sampling import Batch, CropSampler
    from napari_blindspot.training.trainer import Crop, Trainer

_VOXELS = 6 * 10**5
_BATCH = 24


def fit_filters(
    network: BlindSpotNetwork,
    trainer: Trainer,
    sampler: CropSampler,
    cancel: CancelToken,
) -> None:
    """Fit every blind filter of the network to crops of what it filters."""
    starts = network.settings.starts
    if network.settings.channels > 1:
        fit_joint_filter(network, FilterCrops(trainer, sampler, cancel))
        return
    for kind in range(starts):
        own = sampler if starts == 1 else sampler.of_channel(kind)
        fit_filter(network, FilterCrops(trainer, own, cancel), kind)


@dataclass(slots=True)
class FilterCrops:
    """The crops that the blind filter is fitted to, drawn a few at a time.

    They are kept: several channels are fitted one after the other.
    """

    trainer: Trainer
    sampler: CropSampler
    cancel: CancelToken
    drawn: list[Batch] = field(default_factory=list)

    def __iter__(self) -> Iterator[Crop]:
        """Give the same crops every time."""
        size = _BATCH * self.sampler.crop**2
        for index in range(math.ceil(_VOXELS / size)):
            self.cancel.raise_if_cancelled()
            if index == len(self.drawn):
                self.drawn.append(self.sampler.draw(_BATCH))
            yield self.trainer.on_cpu(self.drawn[index])
