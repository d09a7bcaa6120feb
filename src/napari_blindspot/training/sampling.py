"""Training crops, drawn through the lazy source: the stack is never loaded whole."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.io.block_cache import BlockCache
from napari_blindspot.noise.field import joined
from napari_blindspot.planes import neighbours

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindspot.config.recipes import Plan
    from napari_blindspot.noise.field import NoiseField
    from napari_blindspot.noise.likelihood import Likelihood
    from napari_blindspot.noise.models import NoiseModel
    from napari_blindspot.normalize import Normalization
    from napari_blindspot.planes import PlaneSeries

_LEAST_HELD_OUT = 0.1  # of the voxels of a held-out crop
_CANDIDATES = 3  # crops looked at for each crop that is drawn towards signal


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A series with everything that turns its pixels into training targets.

    Parameters
    ----------
    series
        Where the planes come from.
    scale
        Normalisation of its channel.
    noise
        Noise of its channel in network units.
    saturation
        Data value from which on voxels are saturated; inf without.
    """

    series: PlaneSeries
    scale: Normalization
    noise: NoiseField
    saturation: float = float("inf")

    @property
    def channel(self) -> int:
        """Index of its channel."""
        return self.series.channel

    def with_noise(self, model: NoiseModel) -> Source:
        """Return it with another noise model; what planes and pixels have stays."""
        field = replace(self.noise, likelihood=model.normalized(self.scale))
        return replace(self, noise=field)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Crops for one training step, in network units.

    Parameters
    ----------
    planes
        (N, 2·context + 1, S, S) float32; where the source has NaN, what the sampler
        puts in its place.
    target
        (N, S, S) float32, 1 where the centre plane's voxel counts in the loss.
    noise
        Noise of every crop; its parameters are (N, 1, 1) or (N, S, S) float32.
    kind
        (N,) int64, the channel that every crop is of.
    """

    planes: NDArray[np.float32]
    target: NDArray[np.float32]
    noise: Likelihood
    kind: NDArray[np.int64]

    @property
    def maps(self) -> NDArray[np.float32]:
        """What the network takes, (N, maps, S, S)."""
        return self.planes

    @property
    def likelihood(self) -> Any:
        """The noise as the likelihood of the network's answer takes it."""
        return self.noise


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A window of one plane, network units.

    Parameters
    ----------
    maps
        (maps, rows, columns) float32, what the network takes.
    y
        (rows, columns) float32, the noisy plane itself.
    usable, held_out
        (rows, columns) bool: neither missing nor saturated; never a target.
    noise
        Its parameters are (1, 1, 1) or (1, rows, columns).
    """

    maps: NDArray[np.float32]
    y: NDArray[np.float32]
    usable: NDArray[np.bool_]
    held_out: NDArray[np.bool_]
    noise: Likelihood


@dataclass(frozen=True, slots=True)
class Place:
    """Where a crop lies: which source, which plane, its first row and column."""

    source: int
    plane: int
    y: int
    x: int


class CropSampler:
    """Draws training crops, and a fixed set of held-out ones.

    Held-out blocks are chosen by a hash of their position. They serve as context in
    training, never as targets; the score on them decides when training stops.

    Parameters
    ----------
    sources
        Series to draw from, weighted by their number of voxels.
    context
        Neighbour planes on either side.
    recipe
        Crop size, batch size, held-out share, cache.
    stride
        Crop sides are multiples of the network's stride where the planes allow it.
    seed
        Seed of every draw.
    missing
        What voxels without a value are in a batch: 0, the dark end of the scale, or
        NaN for networks that know what is there.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        context: int,
        recipe: Plan,
        stride: int,
        seed: int,
        missing: float = 0.0,
    ) -> None:
        self.sources = list(sources)
        self.missing = missing
        self.context = context
        self.recipe = recipe
        smallest = min(min(s.series.shape[1:]) for s in sources)
        crop = min(recipe.crop, smallest)
        self.crop = crop - crop % stride if crop >= stride else crop
        # Small planes hold several blocks too, or one could hide all there is.
        self.block = min(recipe.holdout_block, max(4, smallest // 4))
        self.seed = seed
        self.cache = BlockCache(recipe.cache_bytes)
        self._rng = np.random.default_rng([seed, 1])
        voxels = np.array([np.prod(s.series.shape, dtype=float) for s in sources])
        self.weights = voxels / voxels.sum()

    def draw(self, count: int | None = None) -> Batch:
        """Draw crops for one training step, some of them towards signal."""
        places = []
        for _ in range(count or self.recipe.batch):
            if self._rng.random() < self.recipe.signal_crops:
                places.append(self._brightest(_CANDIDATES))
            else:
                places.append(self._anywhere(self._rng))
        return self._batch(places, held_out=False)

    @property
    def random_state(self) -> dict[str, Any]:
        """Where the draws stand, JSON-able; with it set, they go on from there."""
        return dict(self._rng.bit_generator.state)

    @random_state.setter
    def random_state(self, state: dict[str, Any]) -> None:
        # In place: samplers of single channels draw by the same generator.
        self._rng.bit_generator.state = state

    def of_channel(self, channel: int) -> CropSampler:
        """Return a sampler that draws from one channel alone.

        Sources, cache and held-out blocks are those of this one.
        """
        own = copy.copy(self)
        own.weights = self._weights_of(channel)
        return own

    def _weights_of(self, channel: int) -> NDArray[np.float64]:
        """Return the weights of the sources for draws from one channel alone."""
        mine = [source.series.channel == channel for source in self.sources]
        weights: NDArray[np.float64] = np.where(mine, self.weights, 0)
        weights /= weights.sum()
        return weights

    def held_out(self, count: int = 16) -> Batch:
        """Return fixed crops around held-out blocks; only held-out voxels count."""
        rng = np.random.default_rng([self.seed, 2])
        found: list[Place] = []
        for _ in range(count * 200):
            if len(found) == count:
                break
            place = self._around_block(self._anywhere(rng))
            _, counts = self.crop_at(place, held_out=True)
            if counts.mean() >= _LEAST_HELD_OUT:
                found.append(place)
        return self._batch(found or [self._anywhere(rng)], held_out=bool(found))

    def _around_block(self, place: Place) -> Place:
        """Move a crop so that the block of its middle lies in its middle."""
        side, crop = self.block, self.crop
        corner = []
        for start, length in zip(
            (place.y, place.x),
            self.sources[place.source].series.shape[1:],
            strict=True,
        ):
            middle = (start + crop // 2) // side * side + side // 2
            corner.append(min(max(middle - crop // 2, 0), length - crop))
        return Place(place.source, place.plane, *corner)

    def _anywhere(
        self, rng: np.random.Generator, weights: NDArray[np.float64] | None = None
    ) -> Place:
        weights = self.weights if weights is None else weights
        source = int(rng.choice(len(self.sources), p=weights))
        planes, height, width = self.sources[source].series.shape
        return Place(
            source,
            int(rng.integers(planes)),
            int(rng.integers(height - self.crop + 1)),
            int(rng.integers(width - self.crop + 1)),
        )

    def _brightest(self, count: int) -> Place:
        """Return the brightest of some crops, in network units.

        Whole crops are chosen by their mean; a choice of single voxels by their own
        noisy value would bias the mean that the network learns. All are of the same
        channel, or the one that is brighter on its scale would be seen more often.
        """
        first = self._anywhere(self._rng)
        weights = self._weights_of(self.channel_at(first))
        more = (self._anywhere(self._rng, weights) for _ in range(count - 1))
        places = [first, *more]
        means = [self.brightness(place) for place in places]
        return places[int(np.argmax(means))]

    def brightness(self, place: Place) -> float:
        """Return the mean of a crop's centre plane, network units."""
        source = self.sources[place.source]
        y, x = self._window(place)
        plane = self.cache.read(
            place.source,
            source.series,
            slice(place.plane, place.plane + 1),
            y,
            x,
        )
        return float(_finite(source.scale.forward(plane[0])).mean())

    def _window(self, place: Place) -> tuple[slice, slice]:
        return (
            slice(place.y, place.y + self.crop),
            slice(place.x, place.x + self.crop),
        )

    def window(self, place: Place, side: int) -> Window:
        """Read a window of one plane with its context planes, outside of training."""
        source = self.sources[place.source]
        _, height, width = source.series.shape
        y = slice(place.y, min(place.y + side, height))
        x = slice(place.x, min(place.x + side, width))
        raw = self._planes(place, y, x)
        t = source.scale.forward(raw)
        planes = _finite(t)
        return Window(
            planes,
            planes[self.context],
            self._usable(raw, t, source),
            self._held_out(place, y, x),
            source.noise.at([place.plane], y, x),
        )

    def _batch(self, places: list[Place], *, held_out: bool) -> Batch:
        crops = [self.crop_at(place, held_out) for place in places]
        return Batch(
            np.stack([planes for planes, _ in crops]),
            np.stack([target for _, target in crops]),
            self.noise_at(places),
            np.array([self.channel_at(place) for place in places], np.int64),
        )

    def channel_at(self, place: Place) -> int:
        """Return the channel that a crop is of."""
        return self.sources[place.source].series.channel

    def noise_at(self, places: Sequence[Place]) -> Likelihood:
        """Return the noise of some crops; its parameters are (N, 1 or S, 1 or S)."""
        return joined(
            [
                self.sources[place.source].noise.at([place.plane], *self._window(place))
                for place in places
            ]
        )

    def crop_at(
        self, place: Place, held_out: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return planes and target of one crop, without the axis of the batch."""
        source, window = self.sources[place.source], self._window(place)
        raw = self._planes(place, *window)
        t = source.scale.forward(raw)
        counts = self._usable(raw, t, source)
        counts &= self._held_out(place, *window) == held_out
        return _finite(t, self.missing), counts.astype(np.float32)

    def _planes(self, place: Place, y: slice, x: slice) -> NDArray[Any]:
        """Read a window of a plane and of its neighbours, data units."""
        source = self.sources[place.source]
        around = neighbours(place.plane, source.series.shape[0], self.context)
        wanted = [*around[: self.context], place.plane, *around[self.context :]]
        first = min(wanted)
        planes = slice(first, max(wanted) + 1)
        raw = self.cache.read(place.source, source.series, planes, y, x)
        return raw[[plane - first for plane in wanted]]

    def _usable(
        self, raw: NDArray[Any], t: NDArray[np.float32], source: Source
    ) -> NDArray[np.bool_]:
        """Return which voxels of the centre plane have a value; `t`: network units."""
        plane, scaled = raw[self.context], t[self.context]
        usable: NDArray[np.bool_] = np.isfinite(scaled) & (plane < source.saturation)
        return usable

    def _held_out(self, place: Place, y: slice, x: slice) -> NDArray[np.bool_]:
        """Return True where a voxel of a window belongs to a held-out block."""
        side = self.block
        rows, columns = (np.arange(s.start, s.stop) // side for s in (y, x))
        key = _mix(np.uint64(self.seed) ^ _mix(np.uint64(place.source + 1)))
        key = _mix(key ^ np.uint64(place.plane))
        blocks = _mix(
            _mix(key ^ rows.astype(np.uint64)[:, None])
            ^ columns.astype(np.uint64)[None, :]
        )
        held: NDArray[np.bool_] = (blocks % np.uint64(10_000)) < np.uint64(
            round(10_000 * self.recipe.holdout)
        )
        return held


def _finite(values: NDArray[np.float32], otherwise: float = 0.0) -> NDArray[np.float32]:
    """Return the values, and something else (the dark end) where there are none."""
    return np.nan_to_num(values, nan=otherwise, posinf=otherwise, neginf=otherwise)


def _mix(x: Any) -> Any:
    """Scramble 64-bit integers (the finaliser of splitmix64)."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
