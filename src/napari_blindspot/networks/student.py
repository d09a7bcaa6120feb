"""The student: a small plain network that gives a teacher's answer in one pass.

It has no blind spot and sees the noisy plane itself, because a teacher, not the noisy
values, tells it what is right (Chen et al. 2024). A linear filter, fitted to the
teacher's answers, is where it starts from; the U-Net learns the rest::

    centre plane and its neighbours ──┬──► linear filter ────────┐
                                      └──► plain U-Net ──► 1×1 ──┴─► clean plane

With ``units="noise"`` all of it works in units of the noise (`networks.stabiliser`),
and the answer is brought back to network units.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_blindspot.networks.blindspot import pad_high
from napari_blindspot.networks.plain import PlainUNet
from napari_blindspot.networks.precision import full_precision
from napari_blindspot.networks.stabiliser import Stabiliser
from napari_blindspot.networks.unet import initialise, lateral_reach

if TYPE_CHECKING:
    from napari_blindspot.config.students import StudentSettings
    from napari_blindspot.noise.likelihood import Likelihood

RADIUS = 2


class StudentNetwork(nn.Module):
    """Plain network on one plane and its neighbours.

    Parameters
    ----------
    settings
        Width, depth, context and channels.
    """

    kernel: Tensor
    unit: Tensor

    def __init__(self, settings: StudentSettings) -> None:
        super().__init__()
        self.settings = settings
        channels = settings.channels
        maps = (2 * settings.context + 1) * channels
        self._centre = slice(
            settings.context * channels, (settings.context + 1) * channels
        )
        size = 2 * RADIUS + 1
        kernel = torch.zeros(channels, maps, size, size)
        for channel, own in enumerate(range(self._centre.start, self._centre.stop)):
            kernel[channel, own, RADIUS, RADIUS] = 1
        self.register_buffer("kernel", kernel)
        self.register_buffer("unit", torch.ones(()))
        self.eyes = Stabiliser(settings.starts) if settings.units == "noise" else None
        self.unet = PlainUNet(maps, settings.width, settings.depth)
        self.last = nn.Conv2d(self.unet.out_channels, channels, 1)
        initialise(self)
        nn.init.zeros_(self.last.weight)  # the linear filter speaks first

    @property
    def stride(self) -> int:
        """Tiles and crops come in multiples of this many pixels."""
        return int(2**self.settings.depth)

    def take_noise(self, noise: Likelihood, kind: int = 0) -> None:
        """Learn which noise a channel has, in network units; numbers, not maps.

        Without effect where the network does not see its planes in units of the noise.
        """
        if self.eyes is not None:
            a, b, floor = (float(p) for p in (noise.a, noise.b, noise.floor))
            self.eyes.fit(a, b, floor, kind)

    def halo(self) -> int:
        """Return how many pixels around a tile its answer depends on."""
        return max(lateral_reach(self.settings.depth), RADIUS)

    def centre(self, planes: Tensor) -> Tensor:
        """Return the centre plane out of the input, in the shape of the answer."""
        return self._by_channel(planes[:, self._centre])

    def forward(self, planes: Tensor, kind: Tensor | None = None) -> Tensor:
        """Clean the centre plane.

        Parameters
        ----------
        planes
            (N, 2·context + 1, Y, X) in network units, the centre plane in the middle;
            of several channels (N, (2·context + 1)·channels, Y, X), all channels of a
            plane next to each other.
        kind
            (N,) int64, which channel every image is of, where each has a noise of its
            own; default: the first.

        Returns
        -------
        Tensor
            (N, Y, X) float32, or (N, Y, X, C) of several channels.
        """
        height, width = planes.shape[-2:]
        if self.eyes is not None:
            kind = _kinds(planes, self.settings.starts, kind)
            planes = self.eyes(planes.float(), kind)
        # Zeros would be a dark edge that is not there.
        framed = pad_high(planes, self.stride, "replicate")
        hidden = self.unet(framed)[..., :height, :width]
        with full_precision(hidden):
            weight = self.last.weight
            said = functional.conv2d(hidden.to(weight.dtype), weight, self.last.bias)
            framed = functional.pad(planes.to(weight.dtype), [RADIUS] * 4, "replicate")
            start = functional.conv2d(framed, self.kernel)
        answer = start + self.unit * said
        if self.eyes is not None:
            answer = self.eyes.inverse(answer, kind)
        return self._by_channel(answer)

    def _by_channel(self, maps: Tensor) -> Tensor:
        return maps[:, 0] if self.settings.channels == 1 else maps.movedim(1, -1)


def _kinds(planes: Tensor, starts: int, kind: Tensor | None) -> Tensor | None:
    """Return which channel every image is of, None where all are alike."""
    if starts == 1:
        return None
    if kind is None:
        return torch.zeros(len(planes), dtype=torch.long, device=planes.device)
    return kind
