"""Training crops of several channels at once, all of the same place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_blindspot.joint import by_place, channel_axis_last, stacked
from napari_blindspot.training.sampling import Batch, CropSampler, Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindspot.config import Recipe
    from napari_blindspot.config.recipes import MaskedRecipe, Plan
    from napari_blindspot.noise.covariance import JointAffine
    from napari_blindspot.noise.likelihood import Likelihood
    from napari_blindspot.training.sampling import Place, Source


@dataclass(frozen=True, slots=True, eq=False)
class JointBatch(Batch):
    """Crops of several channels, in network units.

    Parameters
    ----------
    planes
        (N, 2·context + 1, C, S, S) float32.
    target
        (N, S, S) float32, shared by the channels.
    noise
        Its parameters are (N, C, 1, 1) or (N, C, S, S) float32.
    """

    @property
    def maps(self) -> NDArray[np.float32]:
        """What the network takes: all channels of a plane next to each other."""
        n, planes, channels, rows, columns = self.planes.shape
        return self.planes.reshape(n, planes * channels, rows, columns)

    @property
    def likelihood(self) -> JointAffine:
        """The noise with the channel axis last, as the joint likelihood takes it."""
        return channel_axis_last(self.noise)


class JointSampler(CropSampler):
    """Draws crops of all channels at the same place.

    A voxel is a target where it can be used in every channel; held-out blocks are the
    same in all of them. Sources are numbered place by place, channel by channel.

    Parameters
    ----------
    places
        For every series the sources of all its channels, in their order.
    context, recipe, stride, seed
        As of `CropSampler`.
    """

    def __init__(
        self,
        places: Sequence[Sequence[Source]],
        context: int,
        recipe: Plan,
        stride: int,
        seed: int,
    ) -> None:
        every = [source for place in places for source in place]
        super().__init__(every, context, recipe, stride, seed)
        self.channels = len(places[0])
        # A place is named by the source of its first channel.
        self.weights[np.arange(len(every)) % self.channels > 0] = 0
        self.weights /= self.weights.sum()

    def brightness(self, place: Place) -> float:
        """Return the mean of a crop's centre plane over all channels."""
        means = [super(JointSampler, self).brightness(p) for p in self._members(place)]
        return float(np.mean(means))

    def crop_at(
        self, place: Place, held_out: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return planes (2·context + 1, C, S, S) and target (S, S) of one crop."""
        crops = [
            super(JointSampler, self).crop_at(one, held_out)
            for one in self._members(place)
        ]
        planes = np.stack([planes for planes, _ in crops], axis=1)
        return planes, np.min([target for _, target in crops], axis=0)

    def noise_at(self, places: Sequence[Place]) -> Likelihood:
        """Return the noise of some crops, (N, C, 1 or S, 1 or S)."""
        members = zip(*map(self._members, places), strict=True)
        return stacked([super(JointSampler, self).noise_at(one) for one in members])

    def window(self, place: Place, side: int) -> Window:
        """Read a window of the channel whose source the place names.

        What the network takes is that of all channels.
        """
        windows = [
            super(JointSampler, self).window(one, side) for one in self._members(place)
        ]
        maps = np.stack([one.maps for one in windows], axis=1)
        own = windows[place.source % self.channels]
        return replace(own, maps=maps.reshape(-1, *maps.shape[2:]))

    def _batch(self, places: list[Place], *, held_out: bool) -> JointBatch:
        batch = super()._batch(places, held_out=held_out)
        return JointBatch(batch.planes, batch.target, batch.noise, batch.kind)

    def _held_out(self, place: Place, y: slice, x: slice) -> NDArray[np.bool_]:
        return super()._held_out(self._members(place)[0], y, x)

    def _members(self, place: Place) -> list[Place]:
        """Return the same place in every channel."""
        first = place.source - place.source % self.channels
        return [replace(place, source=first + c) for c in range(self.channels)]


def make_sampler(
    sources: Sequence[Source], recipe: Recipe | MaskedRecipe, stride: int, seed: int
) -> CropSampler:
    """Return the sampler that feeds a network of one channel or of several together."""
    context = recipe.network.context
    if recipe.network.channels == 1:
        return CropSampler(sources, context, recipe, stride, seed)
    places = by_place(source.series for source in sources)
    members = [[sources[index] for index in place] for place in places]
    return JointSampler(members, context, recipe, stride, seed)
