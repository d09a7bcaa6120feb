"""A fixed linear filter around the blind spot: where the network starts from.

The prior mean before any training is a weighted average of the voxels outside the
hole. The weights are fitted to the stack by least squares (`methods.start`), so the
network begins at the quality of the best linear filter and learns the correction.
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
        Neighbour planes on either side; the kernel has ``2·context + 1`` planes.
    """

    kernel: Tensor

    def __init__(self, context: int) -> None:
        super().__init__()
        size = 2 * RADIUS + 1
        kernel = torch.ones(1, 2 * context + 1, size, size)
        self.context = context
        self.register_buffer("kernel", kernel / kernel.sum())

    def forward(self, planes: Tensor, hole: tuple[int, int, int]) -> Tensor:
        """Average the surroundings of every pixel of the centre plane.

        Parameters
        ----------
        planes
            (N, 2·context + 1, Y, X), the centre plane in the middle.
        hole
            Blind spot (z, y, x), odd sizes.

        Returns
        -------
        Tensor
            (N, 1, Y, X). Voxels outside the image have no weight.
        """
        kernel = self.kernel * self.visible(hole)
        planes = planes.to(kernel.dtype)
        least = (_LEAST_WEIGHT * kernel.sum()).clamp(min=1e-3)
        # In full precision: the mean that everything else corrects.
        with full_precision(planes):
            inside = torch.ones_like(planes[:1])
            weight = functional.conv2d(inside, kernel, padding=RADIUS)
            total = functional.conv2d(planes, kernel, padding=RADIUS)
        return total / torch.maximum(weight, least)

    def visible(self, hole: tuple[int, int, int]) -> Tensor:
        """Return 1 where a voxel lies outside the hole, 0 inside; like the kernel."""
        seen = torch.ones_like(self.kernel)
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
