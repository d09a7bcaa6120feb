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
of the clean ones: both are measured (`methods.start`), so that one learning rate fits
every noise level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_blindspot.networks.blind_filter import BlindFilter
from napari_blindspot.networks.halfplane import (
    HalfPlaneUNet,
    causal_reach,
    shift_down,
)
from napari_blindspot.networks.plain import PlainUNet
from napari_blindspot.networks.precision import full_precision
from napari_blindspot.networks.unet import LEAK, initialise

if TYPE_CHECKING:
    from napari_blindspot.config import NetworkSettings

Hole = tuple[int, int, int]

_FIRST_SAY = 0.3  # rms of the first correction, in units


class Prior(NamedTuple):
    """What the network believes of a voxel before it looks at it; float32.

    Parameters
    ----------
    mean, variance
        (N, Y, X) in network units and their square.
    """

    mean: Tensor
    variance: Tensor


class BlindSpotNetwork(nn.Module):
    """Blind-spot network on one plane and its neighbours.

    Parameters
    ----------
    settings
        Width, depth, context and the hole it is trained for.
    """

    spread: Tensor
    unit: Tensor

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        width, depth, context = settings.width, settings.depth, settings.context
        self.settings = settings
        self._seen = (  # by the half-planes
            slice(context, context + 1)
            if settings.half_planes == "centre"
            else slice(0, 2 * context + 1)
        )
        planes = self._seen.stop - self._seen.start
        self.halfplane = HalfPlaneUNet(planes, width, depth)
        self.neighbour = (
            PlainUNet(2 * context, settings.neighbour_width, depth) if context else None
        )
        self.start = BlindFilter(context)
        seen = 4 * self.halfplane.out_channels + 1
        if self.neighbour is not None:
            seen += self.neighbour.out_channels
        self.head = nn.Sequential(
            nn.Conv2d(seen, 8 * width, 1),
            nn.LeakyReLU(LEAK, inplace=True),
            nn.Conv2d(8 * width, 2 * width, 1),
            nn.LeakyReLU(LEAK, inplace=True),
        )
        self.last = nn.Conv2d(2 * width, 2, 1)
        self.register_buffer("spread", torch.tensor(0.1))
        self.register_buffer("unit", torch.tensor(0.1))
        initialise(self)
        nn.init.zeros_(self.last.weight)  # the first answer is the blind filter's

    def wake(self) -> None:
        """Let the branches have a small say before training.

        With a last layer of zeros the network starts at a saddle: the blind filter is
        the best linear answer already, random features tell nothing that it missed,
        and they learn nothing while nobody listens. Measured at 5 photons: no progress
        in the first half of the budget without this.
        """
        std = _FIRST_SAY / self.last.in_channels**0.5
        nn.init.normal_(self.last.weight[:1], std=std)

    @property
    def stride(self) -> int:
        """Tiles must start on multiples of this many pixels."""
        return int(2**self.settings.depth)

    def halo(self, hole: Hole | None = None) -> int:
        """Return how many pixels around a tile make its result exact."""
        sizes = (hole or self.settings.hole)[1:]
        return max(causal_reach(self.settings.depth, (k + 1) // 2) for k in sizes)

    def forward(self, planes: Tensor, hole: Hole | None = None) -> Prior:
        """Predict every pixel of the centre plane from what surrounds it.

        Parameters
        ----------
        planes
            (N, 2·context + 1, Y, X) in network units: the neighbours from the
            farthest below to the farthest above, the centre plane in the middle.
        hole
            Blind spot (z, y, x), odd sizes; default: the one it is trained for.

        Returns
        -------
        Prior
            Mean and variance of the clean value, float32.
        """
        hole = hole or self.settings.hole
        height, width = planes.shape[-2:]
        planes = withhold(planes, hole[0] // 2)
        start = self.start(planes, hole)
        padded = pad_high(planes, self.stride)
        maps = [*self._half_planes(padded, hole), *self._neighbours(padded)]
        maps = [one[..., :height, :width] for one in maps]
        hidden = self.head(torch.cat([*maps, start.to(maps[0].dtype)], dim=1))
        return self._finish(hidden, start)

    def _half_planes(self, planes: Tensor, hole: Hole) -> list[Tensor]:
        """Look in four directions, each past the hole."""
        seen_planes = planes[:, self._seen]
        maps = []
        # Along y, then along x: a direction and its opposite have the same shape and
        # go through the network together.
        for turns, size in ((0, hole[1]), (1, hole[2])):
            both = [torch.rot90(seen_planes, turns + half, (-2, -1)) for half in (0, 2)]
            seen = shift_down(self.halfplane(torch.cat(both)), (size + 1) // 2)
            maps += [
                torch.rot90(one, -turns - half, (-2, -1))
                for one, half in zip(seen.chunk(2), (0, 2), strict=True)
            ]
        return maps

    def _neighbours(self, planes: Tensor) -> list[Tensor]:
        """Look at the neighbour planes, whole."""
        if self.neighbour is None:
            return []
        context = self.settings.context
        others = torch.cat([planes[:, :context], planes[:, context + 1 :]], dim=1)
        return [self.neighbour(others)]

    def _finish(self, hidden: Tensor, start: Tensor) -> Prior:
        with full_precision(hidden):
            weight = self.last.weight
            out = functional.conv2d(hidden.to(weight.dtype), weight, self.last.bias)
            mean = start[:, 0] + self.unit * out[:, 0]
            variance = self.spread**2 * functional.softplus(out[:, 1])
        return Prior(mean, variance + 1e-10)


def withhold(planes: Tensor, nearest: int) -> Tensor:
    """Blank the neighbour planes at distance 1 … `nearest` of the centre plane."""
    if nearest == 0:
        return planes
    centre = planes.shape[1] // 2
    distance = (torch.arange(planes.shape[1], device=planes.device) - centre).abs()
    seen = (distance == 0) | (distance > nearest)
    return planes * seen[:, None, None].to(planes.dtype)


def pad_high(x: Tensor, multiple: int) -> Tensor:
    """Pad with zeros at the high ends of Y and X to a multiple.

    At the high end, so that a branch and its opposite share the pooling grid.
    """
    missing = [-size % multiple for size in x.shape[-2:]]
    return functional.pad(x, (0, missing[1], 0, missing[0])) if any(missing) else x
