"""A fixed linear filter around the blind spot: where the network starts from.

The prior mean before any training is a weighted average of the voxels outside the
hole. Its weights are fitted to the stack by least squares (`methods.filter_fit`), so
the network begins at the quality of the best linear filter and learns the correction.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_blindspot.networks.precision import full_precision

RADIUS = 5
_LEAST_WEIGHT = 0.1  # of the weights that fall inside the image, at its corners


class BlindFilter(nn.Module):
    """Normalised correlation with a kernel that is zero in the hole.

    Parameters
    ----------
    context
        Neighbour planes on either side; a kernel has ``2·context + 1`` planes.
    channels
        Each is filtered by itself, with a kernel of its own.
    kinds
        Kernels of which every image takes one; several with one channel alone.
    """

    kernel: Tensor

    def __init__(self, context: int, channels: int = 1, kinds: int = 1) -> None:
        super().__init__()
        size = 2 * RADIUS + 1
        kernel = torch.ones(channels * kinds, 2 * context + 1, size, size)
        self.context = context
        self.channels = channels
        self.register_buffer("kernel", kernel / kernel[0].sum())

    def forward(
        self, planes: Tensor, hole: tuple[int, int, int], kind: Tensor | None = None
    ) -> Tensor:
        """Average the surroundings of every pixel of the centre plane.

        Parameters
        ----------
        planes
            (N, (2·context + 1)·channels, Y, X), all channels of a plane next to each
            other, the centre plane in the middle.
        hole
            Blind spot (z, y, x), odd sizes.
        kind
            (N,) int64, which kernel every image takes; None where there is one.

        Returns
        -------
        Tensor
            (N, channels, Y, X). Voxels outside the image have no weight.
        """
        kernel = self.behind(hole)
        planes = self._by_channel(planes).to(kernel.dtype)
        least = (_LEAST_WEIGHT * kernel.sum((1, 2, 3))).clamp(min=1e-3)
        # In full precision: the mean that everything else corrects.
        with full_precision(planes):
            inside = torch.ones_like(planes[:1])
            weight = self._correlate(inside, kernel)
            total = self._correlate(planes, kernel)
        mean = total / torch.maximum(weight, least[:, None, None])
        if kind is None:
            return mean
        # All kernels at once cost less than a convolution for every image.
        return mean[torch.arange(len(kind), device=kind.device), kind][:, None]

    def _correlate(self, planes: Tensor, kernel: Tensor) -> Tensor:
        return functional.conv2d(planes, kernel, padding=RADIUS, groups=self.channels)

    def _by_channel(self, planes: Tensor) -> Tensor:
        """Bring all planes of a channel next to each other."""
        if self.channels == 1:
            return planes
        n, maps, height, width = planes.shape
        split = planes.reshape(n, -1, self.channels, height, width)
        return split.transpose(1, 2).reshape(n, maps, height, width)

    def behind(self, hole: tuple[int, int, int]) -> Tensor:
        """Return the kernel for a hole, zero inside.

        Behind a larger hole than it was fitted for, what is left is scaled up. Where
        that is little, the hidden weight goes to what lies nearest outside instead:
        fitted weights of distant voxels are often negative and may sum to nothing.
        """
        visible = self.visible(hole)
        left = self.kernel * visible
        hidden = (self.kernel - left).sum((1, 2, 3), keepdim=True)
        near = visible * self._nearness()
        moved = left + hidden * near / near.sum().clamp(min=1e-6)
        enough = left.sum((1, 2, 3), keepdim=True) >= hidden
        return torch.where(enough, left, moved)

    def _nearness(self) -> Tensor:
        """Return 1 / distance² of every voxel, 0 for the centre, as of `visible`."""
        side = torch.arange(-RADIUS, RADIUS + 1, device=self.kernel.device)
        planes = torch.arange(-self.context, self.context + 1, device=side.device)
        squares = (
            planes[:, None, None] ** 2 + side[:, None] ** 2 + side[None, :] ** 2
        ).to(self.kernel.dtype)
        return torch.where(squares > 0, 1 / squares.clamp(min=1), 0)[None]

    def visible(self, hole: tuple[int, int, int]) -> Tensor:
        """Return 1 where a voxel lies outside the hole, 0 inside.

        (1, 2·context + 1, size, size): of every channel.
        """
        seen = torch.ones_like(self.kernel[:1])
        hz, hy, hx = (size // 2 for size in hole)
        centre = self.context
        seen[:, max(centre - hz, 0) : centre + hz + 1] = 0
        # Neighbour planes closer than the hole are withheld whole, by the network's
        # rule; in its own plane a pixel misses only the box.
        seen[:, centre] = 1
        rows = slice(max(RADIUS - hy, 0), RADIUS + hy + 1)
        columns = slice(max(RADIUS - hx, 0), RADIUS + hx + 1)
        seen[:, centre, rows, columns] = 0
        return seen
