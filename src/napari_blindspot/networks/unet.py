"""The U-Net that both kinds of branch share, after Laine et al. 2019.

Level *l* works at ``1/2**l`` of the resolution. The skips are the *pooled* maps, and
the last level is joined by the raw input::

    level 0   conv conv pool ─────────────────────────┐ raw   up conv conv ──► out
    level 1        conv pool ──────────────┐ pool 1   up conv conv
    ...
    level d             conv               up ...

Nothing in here takes statistics over space: a batch, instance or group norm, or a
global pooling, would show a pixel to itself and end the blindness.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

LEAK = 0.1
ConvFactory = Callable[[int, int], nn.Module]


class UNet(nn.Module):
    """A U-Net without normalisation layers.

    Parameters
    ----------
    in_channels
        Channels of the input.
    width
        Channels of every encoder level; decoder levels have twice as many.
    depth
        Number of poolings, at least 1.
    conv
        Makes a 3×3 convolution that keeps the size, from (in, out) channels.
    pool
        Halves the size.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        depth: int,
        *,
        conv: ConvFactory,
        pool: nn.Module,
    ) -> None:
        super().__init__()
        self.out_channels = 2 * width
        self.depth = depth
        self.pool = pool
        self.encoder = nn.ModuleList(
            [
                stage([in_channels, width, width], conv),
                *(stage([width, width], conv) for _ in range(depth - 1)),
            ]
        )
        self.bottom = stage([width, width], conv)
        self.decoder = nn.ModuleList()
        below = width
        for level in reversed(range(depth)):
            skip = width if level > 0 else in_channels
            self.decoder.append(stage([below + skip, 2 * width, 2 * width], conv))
            below = 2 * width

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in, Y, X) to (N, 2·width, Y, X); Y, X multiples of 2**depth."""
        skips = [x]
        for encode in self.encoder:
            x = self.pool(encode(x))
            skips.append(x)
        x = self.bottom(skips.pop())  # the deepest pooled map is the bottom's input
        for decode in self.decoder:
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
            x = decode(torch.cat([x, skips.pop()], dim=1))
        return x


def stage(channels: list[int], conv: ConvFactory) -> nn.Sequential:
    """Chain convolutions with leaky ReLU after each."""
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(channels):
        layers += [conv(n_in, n_out), nn.LeakyReLU(LEAK, inplace=True)]
    return nn.Sequential(*layers)


def lateral_reach(depth: int) -> int:
    """Return R, how many pixels to either side a branch can see (2×2 pooling).

    With ``A`` the reach of the 3-wide convolutions and ``P`` what pooling adds,
    R = A + P = 5·2**depth − 3.
    """
    return int(5 * 2**depth - 3)


def initialise(module: nn.Module) -> None:
    """He normal weights for a leaky ReLU, zero biases (Laine et al. 2019)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, a=LEAK)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
