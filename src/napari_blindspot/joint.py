"""Several channels of one place as one thing: their planes and their noise."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.noise.covariance import JointAffine
from napari_blindspot.noise.likelihood import Affine, mapped

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from napari_blindspot.noise.field import NoiseField
    from napari_blindspot.noise.likelihood import Likelihood
    from napari_blindspot.planes import PlaneSeries


@dataclass(frozen=True, slots=True, eq=False)
class JointSeries:
    """The series of all channels at one place, read together.

    Parameters
    ----------
    members
        One per channel, in their order.
    """

    members: tuple[PlaneSeries, ...]

    @property
    def channel(self) -> int:
        """That of the first member."""
        return self.members[0].channel

    @property
    def shape(self) -> tuple[int, int, int]:
        """Planes, rows, columns."""
        return self.members[0].shape

    def read(self, planes: slice, y: slice, x: slice) -> NDArray[Any]:
        """Read a box: (planes, C, rows, columns), data units."""
        return np.stack([one.read(planes, y, x) for one in self.members], axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class JointField:
    """The noise of all channels at one place, in network units.

    Parameters
    ----------
    members
        The field of each channel.
    """

    members: tuple[NoiseField, ...]

    def at(self, planes: Sequence[int], y: slice, x: slice) -> JointAffine:
        """Return the noise in a window, its parameters (n, 1 or Y, 1 or X, C)."""
        return channel_axis_last(stacked([f.at(planes, y, x) for f in self.members]))


def of_channel(noise: JointAffine, channel: int) -> Affine:
    """Return the noise of one of several channels, its parameters (N, Y, X)."""
    return Affine(*(one[..., channel] for one in (noise.a, noise.b, noise.floor)))


def by_place(series: Iterable[PlaneSeries]) -> list[list[int]]:
    """Return, place by place, which of the series lie there, in order of channels."""
    places: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for index, one in enumerate(series):
        place = places.setdefault((id(one.stack), one.fixed), [])
        place.append((one.channel, index))
    return [[index for _, index in sorted(place)] for place in places.values()]


def together(
    series: Sequence[PlaneSeries], fields: Sequence[NoiseField]
) -> tuple[list[JointSeries], list[JointField]]:
    """Put the channels of every place together, and their noise."""
    places = by_place(series)
    return (
        [JointSeries(tuple(series[i] for i in place)) for place in places],
        [JointField(tuple(fields[i] for i in place)) for place in places],
    )


def stacked(noises: Sequence[Likelihood]) -> Likelihood:
    """Put the noise of every channel, (N, …), into one, (N, C, …)."""

    def stack(*arrays: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.stack(np.broadcast_arrays(*arrays), axis=1)

    return mapped(stack, *noises)


def channel_axis_last(noise: Likelihood) -> JointAffine:
    """Turn parameters (N, C, Y, X) into those of the joint family, (N, Y, X, C)."""
    assert type(noise) is Affine  # the settings let no other family through

    def moved(array: Any) -> NDArray[np.float32]:
        return np.ascontiguousarray(np.moveaxis(array, 1, -1))

    return JointAffine(
        **{one.name: moved(getattr(noise, one.name)) for one in fields(noise)}
    )
