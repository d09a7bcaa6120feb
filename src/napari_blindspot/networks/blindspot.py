"""The teacher: what surrounds a voxel, without the voxel → prior mean and variance.

The centre plane is seen through four half-planes, the neighbour planes whole; if
`NetworkSettings.half_planes` says so, the half-planes see the neighbour planes too::

    neighbour planes ──────────────────► plain U-Net ───────────────┐
    centre plane ──► 4 rotations ──► half-plane U-Net ──► shift ────┤
    all planes ──► blind filter (fixed) ──┬─────────────────────────┤
                                          │                      1×1 head
                                          ▼                         │
                              mean  μ = filter + unit · h₀ ◄────────┤
                              variance v = spread² · softplus(h₁) ◄─┘

``unit`` is the spread of the noisy values around the filter's answer, ``spread`` that
of the clean ones: both are measured (`methods.filter_fit`), so that one learning rate
fits every noise level. With `NetworkSettings.units` the U-Nets see every plane in units
of its noise (`networks.stabiliser`), and both spreads are times the noise at the
filter's answer, so that one set of weights fits every stack.

Several channels of a plane may go through it together, next to each other in the
input. Nothing of a pixel is seen then, in no channel, and the answer is a mean vector
and a covariance Σ = AᵀA of all of them, with A = T·spread, where ``spread`` and T are
upper triangular; the diagonal of T is √softplus (so one channel is the same again).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_blindspot.networks.blind_filter import RADIUS, BlindFilter
from napari_blindspot.networks.halfplane import (
    HalfPlaneUNet,
    causal_reach,
    shift_down,
)
from napari_blindspot.networks.plain import PlainUNet
from napari_blindspot.networks.precision import full_precision
from napari_blindspot.networks.stabiliser import Stabiliser
from napari_blindspot.networks.unet import LEAK, initialise, lateral_reach
from napari_blindspot.networks.views import Reach, View, reach_of, view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindspot.config import NetworkSettings
    from napari_blindspot.networks.views import Core

Hole = tuple[int, int, int]

_FIRST_SAY = 0.3  # rms of the first correction, in units
_LEAST_VARIANCE = 1e-10


class Prior(NamedTuple):
    """What the network believes of a voxel before it looks at it; float32.

    Parameters
    ----------
    mean, variance
        (N, Y, X) in network units and their square. Of several channels together, the
        mean is (N, Y, X, C) and the variance a covariance (N, Y, X, C, C), as the
        families of `noise.covariance` take them.
    """

    mean: Tensor
    variance: Tensor

    def of_channel(self, channel: int) -> Prior:
        """Return mean and variance of one channel, (N, Y, X)."""
        if self.mean.ndim == 3:
            return self
        return Prior(self.mean[..., channel], self.variance[..., channel, channel])


class BlindSpotNetwork(nn.Module):
    """Blind-spot network on one plane and its neighbours.

    Parameters
    ----------
    settings
        Width, depth, context, channels and the hole it is trained for.
    """

    spread: Tensor
    unit: Tensor

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        width, depth, context = settings.width, settings.depth, settings.context
        channels = settings.channels
        self.settings = settings
        # Of the maps of the input: those of the centre plane come after its neighbours'
        # on one side.
        self._centre = slice(context * channels, (context + 1) * channels)
        self._seen = (  # by the half-planes
            self._centre
            if settings.half_planes == "centre"
            else slice(0, (2 * context + 1) * channels)
        )
        maps = self._seen.stop - self._seen.start
        self.halfplane = HalfPlaneUNet(maps, width, depth)
        self.neighbour = (
            PlainUNet(2 * context * channels, settings.neighbour_width, depth)
            if context
            else None
        )
        self.start = BlindFilter(context, channels, settings.starts)
        self.eyes = Stabiliser(settings.starts) if settings.units == "noise" else None
        seen = 4 * self.halfplane.out_channels + channels
        if self.neighbour is not None:
            seen += self.neighbour.out_channels
        self.head = nn.Sequential(
            nn.Conv2d(seen, 8 * width, 1),
            nn.LeakyReLU(LEAK, inplace=True),
            nn.Conv2d(8 * width, 2 * width, 1),
            nn.LeakyReLU(LEAK, inplace=True),
        )
        self.last = nn.Conv2d(2 * width, answers(settings), 1)
        spread, unit = _first_scales(settings)
        self.register_buffer("spread", spread)
        self.register_buffer("unit", unit)
        self.forget()

    def forget(self) -> None:
        """Draw all weights anew; the first answer is the blind filter's."""
        initialise(self)
        nn.init.zeros_(self.last.weight)

    def wake(self) -> None:
        """Let the branches have a small say before training.

        With a last layer of zeros the network starts at a saddle: the blind filter is
        the best linear answer already, random features tell nothing that it missed,
        and they learn nothing while nobody listens. Measured at 5 photons: no progress
        in the first half of the budget without this.
        """
        std = _FIRST_SAY / self.last.in_channels**0.5
        nn.init.normal_(self.last.weight[: self.settings.channels], std=std)

    @property
    def stride(self) -> int:
        """Tiles must start on multiples of this many pixels."""
        return self.settings.stride

    def halo(self, hole: Hole | None = None) -> int:
        """Return how many pixels around a tile make its result exact."""
        sizes = (hole or self.settings.hole)[1:]
        return max(causal_reach(self.settings.depth, (k + 1) // 2) for k in sizes)

    def centre(self, planes: Tensor) -> Tensor:
        """Return the centre plane out of the input, in the shape of `Prior.mean`."""
        centre = planes[:, self._centre]
        return centre[:, 0] if self.settings.channels == 1 else centre.movedim(1, -1)

    def forward(
        self,
        planes: Tensor,
        hole: Hole | None = None,
        kind: Tensor | None = None,
        core: Core | None = None,
    ) -> Prior:
        """Predict every pixel of the centre plane from what surrounds it.

        Parameters
        ----------
        planes
            (N, 2·context + 1, Y, X) in network units: the neighbours from the
            farthest below to the farthest above, the centre plane in the middle.
            Several channels: (N, (2·context + 1)·channels, Y, X), all channels of a
            plane next to each other.
        hole
            Blind spot (z, y, x), odd sizes; default: the one it is trained for.
        kind
            (N,) int64, which channel every image is of, where each has a start of its
            own; default: the first.
        core
            Rows and columns of which the answer is wanted; what only the others need
            is left out, which is cheaper. Default: all.

        Returns
        -------
        Prior
            Mean and variance of the clean value in the core, float32.
        """
        return self.at_holes(planes, [hole or self.settings.hole], kind, core)[0]

    def at_holes(
        self,
        planes: Tensor,
        holes: Sequence[Hole],
        kind: Tensor | None = None,
        core: Core | None = None,
    ) -> list[Prior]:
        """Predict every pixel at several blind spots.

        What the U-Nets see is computed once; only the shift and the head are repeated
        (Chen et al. 2024).

        Parameters
        ----------
        planes, kind, core
            As of `forward`.
        holes
            Blind spots (z, y, x) that are alike in z. A size of 0 in y and x is no
            blind spot: the pixel itself is seen.

        Returns
        -------
        list of Prior
            One for each hole.

        Raises
        ------
        ValueError
            If the holes differ in z, where they hide whole planes of the input.
        """
        if len({hole[0] for hole in holes}) != 1:
            raise ValueError(f"the holes {holes} differ in z")
        planes = withhold(planes, holes[0][0] // 2, self.settings.channels)
        if self.settings.starts == 1:
            kind = None
        elif kind is None:
            kind = torch.zeros(len(planes), dtype=torch.long, device=planes.device)
        core = core or (slice(0, planes.shape[-2]), slice(0, planes.shape[-1]))
        seen = planes if self.eyes is None else self.eyes(planes, kind)
        padded = pad_high(seen, self.stride)
        looked = self._looked(padded, core, holes)
        # Other planes hold none of the noise that is hidden, so their edge may go on.
        beside = pad_high(seen, self.stride, "replicate")
        around = self._neighbours(beside, core, holes[0])
        framed = view(core, _sides(planes), Reach(*[RADIUS] * 4))
        return [
            self._answer(planes, framed, [*_past(looked, hole), *around], hole, kind)
            for hole in holes
        ]

    def _looked(
        self, planes: Tensor, core: Core, holes: Sequence[Hole]
    ) -> list[tuple[Tensor, View]]:
        """Look along y, then along x, in both directions each; maps and their views."""
        seen = planes[:, self._seen]
        looked: list[tuple[Tensor, View]] = []
        for turns in (0, 1):
            shift = max((hole[1 + turns] + 1) // 2 for hole in holes)
            views = [
                view(
                    core,
                    _sides(planes),
                    reach_of(turns + half, self.settings.depth, shift),
                    self.stride,
                )
                for half in (0, 2)
            ]
            parts = [
                torch.rot90(seen[(..., *one.read)], turns + half, (-2, -1))
                for one, half in zip(views, (0, 2), strict=True)
            ]
            looked += zip(self._half_planes(parts), views, strict=True)
        return looked

    def _half_planes(self, parts: list[Tensor]) -> Sequence[Tensor]:
        if parts[0].shape != parts[1].shape:  # at a border of the plane
            return [self.halfplane(part) for part in parts]
        both: tuple[Tensor, ...] = self.halfplane(torch.cat(parts)).chunk(2)
        return both

    def _answer(
        self,
        planes: Tensor,
        framed: View,
        maps: list[Tensor],
        hole: Hole,
        kind: Tensor | None,
    ) -> Prior:
        start = self.start(planes[(..., *framed.read)], hole, kind)
        start = start[(..., *framed.keep)]
        seen = start if self.eyes is None else self.eyes(start, kind)
        hidden = self.head(torch.cat([*maps, seen.to(maps[0].dtype)], dim=1))
        return self._finish(hidden, start, kind)

    def _neighbours(self, planes: Tensor, core: Core, hole: Hole) -> list[Tensor]:
        """Look at the neighbour planes on all sides."""
        if self.neighbour is None:
            return []
        reach = Reach(*[lateral_reach(self.settings.depth)] * 4)
        here = view(core, _sides(planes), reach, self.stride)
        planes = planes[(..., *here.read)]
        below, above = planes[:, : self._centre.start], planes[:, self._centre.stop :]
        if self.eyes is not None and hole[0] // 2 >= self.settings.context:
            # Nothing to see says nothing, so a network without neighbours is the same.
            maps = planes.new_zeros(
                len(planes), self.neighbour.out_channels, *planes.shape[-2:]
            )
        else:
            maps = self.neighbour(torch.cat([below, above], dim=1))
        return [maps[(..., *here.keep)]]

    def _finish(self, hidden: Tensor, start: Tensor, kind: Tensor | None) -> Prior:
        with full_precision(hidden):
            weight = self.last.weight
            out = functional.conv2d(hidden.to(weight.dtype), weight, self.last.bias)
            if self.settings.channels > 1:
                return self._finish_jointly(out, start)
            unit, spread = (_of_kind(one, kind) for one in (self.unit, self.spread))
            if self.eyes is not None:
                noise = self.eyes.spread(start[:, 0], kind)
                unit, spread = noise * unit, noise * spread
            mean = start[:, 0] + unit * out[:, 0]
            variance = spread**2 * functional.softplus(out[:, 1])
        return Prior(mean, variance + _LEAST_VARIANCE)

    def _finish_jointly(self, out: Tensor, start: Tensor) -> Prior:
        """Turn the last layer's numbers into mean vectors and covariances."""
        channels = self.settings.channels
        out, start = out.movedim(1, -1), start.movedim(1, -1)  # (N, Y, X, …)
        mean = start + self.unit * out[..., :channels]
        scale = (functional.softplus(out[..., channels : 2 * channels]) + 1e-6).sqrt()
        factor = torch.diag_embed(scale)
        if self.settings.covariance == "full":
            row, column = torch.triu_indices(channels, channels, offset=1)
            factor[..., row, column] = out[..., 2 * channels :]
        factor = factor @ self.spread
        floor = _diagonal(_LEAST_VARIANCE, channels).to(factor)
        return Prior(mean, factor.mT @ factor + floor)


def _past(looked: list[tuple[Tensor, View]], hole: Hole) -> list[Tensor]:
    """Shift what was seen past the hole, turn it back and keep the core."""
    maps = []
    for (seen, here), turns in zip(looked, (0, 2, 1, 3), strict=True):
        size = hole[1 + turns % 2]
        past = torch.rot90(shift_down(seen, (size + 1) // 2), -turns, (-2, -1))
        maps.append(past[(..., *here.keep)])
    return maps


def _sides(planes: Tensor) -> tuple[int, int]:
    height, width = planes.shape[-2:]
    return height, width


def answers(settings: NetworkSettings) -> int:
    """Return how many numbers per pixel the last layer gives.

    A mean and a variance for each channel, and for a full covariance what lies above
    the diagonal.
    """
    channels = settings.channels
    above = channels * (channels - 1) // 2 if settings.covariance == "full" else 0
    return 2 * channels + above


def _first_scales(settings: NetworkSettings) -> tuple[Tensor, Tensor]:
    """Return spread and unit as they are before they are measured.

    Plain numbers, or one for every start; of channels together a matrix and a vector.
    """
    if settings.channels > 1:
        return _diagonal(0.1, settings.channels), torch.full((settings.channels,), 0.1)
    shape = () if settings.starts == 1 else (settings.starts,)
    return torch.full(shape, 0.1), torch.full(shape, 0.1)


def _of_kind(scale: Tensor, kind: Tensor | None) -> Tensor:
    """Return the number that belongs to every image, (N, 1, 1), or that of all."""
    return scale if kind is None else scale[kind][:, None, None]


def _diagonal(value: float, channels: int) -> Tensor:
    """Return a number for one channel, a diagonal matrix (C, C) for several."""
    return torch.tensor(value) if channels == 1 else value * torch.eye(channels)


def withhold(planes: Tensor, nearest: int, channels: int = 1) -> Tensor:
    """Blank the neighbour planes at distance 1 … `nearest` of the centre plane."""
    if nearest == 0:
        return planes
    plane = torch.arange(planes.shape[1], device=planes.device) // channels
    distance = (plane - plane[-1] // 2).abs()
    seen = (distance == 0) | (distance > nearest)
    return planes * seen[:, None, None].to(planes.dtype)


def pad_high(x: Tensor, multiple: int, mode: str = "constant") -> Tensor:
    """Pad at the high ends of Y and X to a multiple, with zeros or as `mode` says.

    At the high end, so that a branch and its opposite share the pooling grid.
    """
    missing = [-size % multiple for size in x.shape[-2:]]
    ends = (0, missing[1], 0, missing[0])
    return functional.pad(x, ends, mode) if any(missing) else x
