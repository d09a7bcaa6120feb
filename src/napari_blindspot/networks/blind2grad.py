"""The masked network (Song et al. 2025): a plane with hidden pixels → the clean plane.

Nothing in it is blind by construction: a pixel is hidden by taking it out of the
input. The first convolution knows which pixels are there, and counts the others out,
those too that have no value::

    neighbour planes ──► conv ──┐
    centre plane ──► masked ────┴─► level 0 ─────────────────────────────┐ first maps
                     conv             level 1 ───────────────┐ pooled    │
                                       ...      level d ──► up conv conv │
                                                             │           │
                         channel attention ──► T-standout ───┴──► up conv conv ──► 1×1

The attention and the T-standout act on the maps of half the resolution. T-standout is
a dropout that spares what the estimate shows to be an edge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_blindspot.networks.blindspot import pad_high
from napari_blindspot.networks.precision import full_precision
from napari_blindspot.networks.unet import LEAK, initialise, stage

if TYPE_CHECKING:
    from napari_blindspot.config.blind2grad import MaskedNetworkSettings

GREY_LEVELS = 255.0
"""Of the 8-bit images in which the thresholds of the paper are given; network units
are 0 to 1 from the dark to the bright end of a stack."""

_GOLDEN = 0.6180339887  # no two channels of a place fall together
_LEAST_HIDDEN = 4  # channels between the two layers of the attention
_REDUCTION = 8


def filled(values: Tensor) -> Tensor:
    """Return values with 0, the dark end of the scale, where there are none."""
    return torch.where(values.isfinite(), values, 0.0)


def by_channel(planes: Tensor) -> Tensor:
    """Return planes (N, Y, X) or (N, C, Y, X) with an axis of the channels."""
    return planes[:, None] if planes.ndim == 3 else planes


class MaskedConvolution(nn.Module):
    """3×3 convolution over the pixels that are there (Liu et al. 2018).

    A sum over fewer pixels is scaled up to what all nine would give; where there is
    none, the answer is the bias. Beyond the border no pixel is there.

    Parameters
    ----------
    width
        Channels of the answer.
    dilation
        Distance of the taps in pixels.
    channels
        Of the input.
    """

    def __init__(self, width: int, dilation: int = 1, channels: int = 1) -> None:
        super().__init__()
        self.dilation, self.channels = dilation, channels
        self.convolution = nn.Conv2d(
            channels, width, 3, padding=dilation, dilation=dilation, bias=False
        )
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, plane: Tensor, seen: Tensor) -> Tensor:
        """Map (N, C, Y, X) and which pixels are there, 1 or 0, to (N, width, Y, X)."""
        shape = (1, self.channels, 3, 3)
        ones = torch.ones(shape, dtype=seen.dtype, device=seen.device)
        with full_precision(seen):
            count = functional.conv2d(
                seen, ones, padding=self.dilation, dilation=self.dilation
            )
        share = torch.where(count > 0, 9 * self.channels / count.clamp(min=1), 0)
        said: Tensor = self.convolution(plane * seen) * share
        return said + self.bias[:, None, None]


class ChannelAttention(nn.Module):
    """Weighs channels by what they say on average (squeeze and excite).

    The average is taken over a window around every pixel. One over the whole image
    would make a tile differ from the plane that it is a part of.

    Parameters
    ----------
    channels
        Of the maps.
    reach
        Half the side of the window, in pixels of the maps.
    """

    def __init__(self, channels: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        hidden = max(channels // _REDUCTION, min(_LEAST_HIDDEN, channels))
        self.weigh = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Map (N, C, Y, X) to the same shape."""
        # twice the sigmoid: all channels begin with a weight of about one
        weighed: Tensor = 2 * self.weigh(moving_average(maps, self.reach)) * maps
        return weighed


def moving_average(maps: Tensor, reach: int) -> Tensor:
    """Return the mean of what there is of a window around every pixel, (N, C, Y, X)."""
    for axis in (0, 1):
        size = [1, 1]
        size[axis] = 2 * reach + 1
        margin = [(one - 1) // 2 for one in size]
        maps = functional.avg_pool2d(
            maps, size, stride=1, padding=margin, count_include_pad=False
        )
    return maps


def is_edge(estimate: Tensor, least: float) -> Tensor:
    """Return where an image changes by so many grey levels from pixel to pixel.

    Parameters
    ----------
    estimate
        (N, Y, X) in network units, Y and X even.
    least
        Grey levels out of 255.

    Returns
    -------
    Tensor
        (N, Y/2, X/2) bool: the mean over 2×2 pixels of the length of the gradient
        reaches `least`.
    """
    down, right = forward_differences(estimate)
    length = torch.sqrt(down**2 + right**2)[:, None] * GREY_LEVELS
    edges: Tensor = functional.avg_pool2d(length, 2)[:, 0] >= least
    return edges


def forward_differences(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return the next pixel minus this one, down and to the right; 0 at the far border.

    Parameter and results: (..., Y, X).
    """
    down = functional.pad(image.diff(dim=-2), (0, 0, 0, 1))
    right = functional.pad(image.diff(dim=-1), (0, 1))
    return down, right


def t_standout(maps: Tensor, spared: Tensor, chance: Tensor, rate: float) -> Tensor:
    """Drop channels at random, but none where there is an edge.

    Parameters
    ----------
    maps
        (N, C, Y, X).
    spared
        (N, Y, X) bool, where nothing is dropped.
    chance
        (N, Y, X) in [0, 1), one number for all channels of a pixel: each channel takes
        it a golden section further, so that about `rate` of them are dropped.
    rate
        Part that is dropped; the rest is scaled up to keep the mean.
    """
    channel = torch.arange(maps.shape[1], device=maps.device)[:, None, None]
    drawn = (chance[:, None] + _GOLDEN * channel) % 1
    kept = (drawn >= rate) | spared[:, None]
    scale = torch.where(spared, 1.0, 1 / (1 - rate)).to(maps.dtype)[:, None]
    return maps * (kept * scale)


class Blind2GradNetwork(nn.Module):
    """U-Net that predicts pixels which are hidden from it.

    Parameters
    ----------
    settings
        Width, depth, context, and how it is asked.
    """

    def __init__(self, settings: MaskedNetworkSettings) -> None:
        super().__init__()
        self.settings = settings
        width, depth, dilation = settings.width, settings.depth, settings.dilation
        channels = settings.channels

        def conv(in_channels: int, out_channels: int) -> nn.Module:
            return nn.Conv2d(
                in_channels, out_channels, 3, padding=dilation, dilation=dilation
            )

        self.first = MaskedConvolution(width, dilation, channels)
        self.around = (
            nn.Conv2d(2 * settings.context * channels, width, 3, padding=1, bias=False)
            if settings.context
            else None
        )
        self.encoder = nn.ModuleList(stage([width, width], conv) for _ in range(depth))
        self.bottom = stage([width, width], conv)
        self.decoder = nn.ModuleList()
        below = width
        for level in reversed(range(depth)):
            if level == 0:
                self.attention = ChannelAttention(below, settings.window)
            out = 2 * width if level else width
            self.decoder.append(stage([below + width, out, out], conv))
            below = out
        self.last = nn.Conv2d(below, channels, 1)
        initialise(self)

    @property
    def stride(self) -> int:
        """Tiles must start on multiples of this many pixels."""
        return self.settings.stride

    def centre(self, planes: Tensor) -> Tensor:
        """Return the centre plane out of the input, (N, Y, X) or (N, C, Y, X)."""
        return self._alone(planes[:, self._own])

    def halo(self) -> int:
        """Return how many pixels around a tile its answer depends on."""
        depth, dilation = self.settings.depth, self.settings.dilation
        convolutions = 4 * 2**depth - 2
        pooling = 2**depth - 1
        attention = 2 * self.settings.window
        # The estimate decides what is dropped: one difference, the two pixels of a
        # half, and from there the last two convolutions.
        decided = 3 + 2 * dilation
        return int(dilation * convolutions + pooling + attention + decided)

    def forward(
        self,
        planes: Tensor,
        seen: Tensor | None = None,
        spared: Tensor | None = None,
        chance: Tensor | None = None,
    ) -> Tensor:
        """Predict every pixel of the centre plane.

        Parameters
        ----------
        planes
            (N, maps, Y, X) in network units: 2·context + 1 planes, the centre one in
            the middle, each of as many channels as are seen together. NaN where a
            pixel has no value: in the centre plane it is not there, in the others it
            is 0, the dark end of the scale.
        seen
            (N, Y, X), 1 where the centre plane is shown and 0 where it is hidden, in
            all channels; default: all of it is shown.
        spared
            What T-standout spares, from `spared`; default: nothing is dropped.
        chance
            (N, ⌈Y/2⌉, ⌈X/2⌉) in [0, 1), decides what it drops of the rest.

        Returns
        -------
        Tensor
            (N, Y, X) float32, network units; of several channels (N, C, Y, X).
        """
        height, width = planes.shape[-2:]
        hidden = self._first(planes, seen)
        skips = [hidden]
        for encode in self.encoder:
            hidden = functional.max_pool2d(encode(hidden), 2)
            skips.append(hidden)
        hidden = self.bottom(skips.pop())
        for decode in self.decoder:
            if len(skips) == 1:
                hidden = self._halfway(hidden, spared, chance)
            hidden = functional.interpolate(hidden, scale_factor=2, mode="nearest")
            hidden = decode(torch.cat([hidden, skips.pop()], dim=1))
        with full_precision(hidden):
            weight = self.last.weight
            said = functional.conv2d(hidden.to(weight.dtype), weight, self.last.bias)
        return self._alone(said[..., :height, :width])

    @property
    def _own(self) -> slice:
        """Which maps of the input are the centre plane."""
        channels = self.settings.channels
        first = self.settings.context * channels
        return slice(first, first + channels)

    def _alone(self, planes: Tensor) -> Tensor:
        """Return planes without the axis of the channels, where there is one alone."""
        return planes[:, 0] if self.settings.channels == 1 else planes

    def _first(self, planes: Tensor, seen: Tensor | None) -> Tensor:
        own = self._own
        there = planes[:, own].isfinite().to(planes)
        if seen is not None:
            there = there * seen[:, None].to(there)
        planes = filled(planes)
        centre = planes[:, own]
        hidden = self.first(pad_high(centre, self.stride), pad_high(there, self.stride))
        if self.around is not None:
            others = torch.cat([planes[:, : own.start], planes[:, own.stop :]], dim=1)
            hidden = hidden + self.around(pad_high(others, self.stride))
        return functional.leaky_relu(hidden, LEAK)

    def spared(self, estimate: Tensor) -> Tensor:
        """Return where T-standout drops nothing, (N, Y', X') bool at half resolution.

        Parameters
        ----------
        estimate
            (N, Y, X) of the clean plane, in network units; of several channels
            (N, C, Y, X), and an edge in one of them is one of all.
        """
        channels = by_channel(estimate)
        # As if it went on as it is: the end of the plane is no edge.
        padded = pad_high(channels, self.stride, "replicate")
        edges = is_edge(padded.flatten(0, 1), self.settings.eps_s)
        return edges.view(*channels.shape[:2], *edges.shape[1:]).any(dim=1)

    def _halfway(
        self, maps: Tensor, spared: Tensor | None, chance: Tensor | None
    ) -> Tensor:
        """Weigh the channels of the maps of half the resolution, and drop some."""
        maps = self.attention(maps)
        if spared is None or chance is None or not self.settings.standout:
            return maps
        missing = [n - m for n, m in zip(maps.shape[2:], chance.shape[1:], strict=True)]
        chance = functional.pad(chance, (0, missing[1], 0, missing[0]))
        return t_standout(maps, spared, chance, self.settings.drop)
