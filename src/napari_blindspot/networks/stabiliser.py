"""What the U-Nets see: grey values in units of their own noise.

The generalised Anscombe transform, written so that noise without photons is no special
case: with n(t) = a·t + b, the noise variance at t,

    z = 2·t / (√n(t) + √n(0)),    t = √n(0)·z + a·z²/4.

Noise has a standard deviation of about 1 in z, whatever the camera and the light, so
one set of weights fits every stack. Pixels stay by themselves: a blind spot stays one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LEAST = 1e-12  # under a root, whose slope has no end at 0


class Stabiliser(nn.Module):
    """Generalised Anscombe transform of network units, shifted so that 0 stays 0.

    Parameters
    ----------
    kinds
        Transforms of which every image takes one.
    """

    slope: Tensor
    level: Tensor

    def __init__(self, kinds: int = 1) -> None:
        super().__init__()
        self.register_buffer("slope", torch.zeros(kinds))
        self.register_buffer("level", torch.ones(kinds))

    def fit(self, a: float, b: float, floor: float, kind: int = 0) -> None:
        """Take the noise of a kind of images.

        Parameters
        ----------
        a, b, floor
            Noise variance max(a·t + b, floor) at the value t, network units. Where b
            is small beside one photon (a²), the Anscombe transform's 3/8 of it keep
            the darkest values in bounds.
        kind
            Which of the transforms.
        """
        self.slope[kind] = a
        self.level[kind] = max(b + 0.375 * a**2, floor)

    def forward(self, t: Tensor, kind: Tensor | None = None) -> Tensor:
        """Return z of values t, (N, maps, Y, X), of images of some kinds, (N,)."""
        slope, level = self._of(kind, t.ndim)
        root = level.sqrt()
        return 2 * t / ((slope * t + level).clamp(min=_LEAST).sqrt() + root)

    def inverse(self, z: Tensor, kind: Tensor | None = None) -> Tensor:
        """Return t of values z; z below the lowest possible is taken as that."""
        slope, level = self._of(kind, z.ndim)
        root = level.sqrt()
        z = torch.maximum(z, -2 * root / slope.clamp(min=1e-6))
        return root * z + slope * z**2 / 4

    def spread(self, t: Tensor, kind: Tensor | None = None) -> Tensor:
        """Return the standard deviation of the noise at values t, network units."""
        slope, level = self._of(kind, t.ndim)
        # Never less than a third of that in the dark: t may lie below what is possible.
        return torch.maximum(slope * t + level, level / 9).sqrt()

    def _of(self, kind: Tensor | None, ndim: int) -> tuple[Tensor, Tensor]:
        chosen = slice(0, 1) if kind is None else kind
        shape = (-1, *(1,) * (ndim - 1))
        return self.slope[chosen].reshape(shape), self.level[chosen].reshape(shape)
