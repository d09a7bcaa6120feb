"""The half-plane U-Net: every output pixel sees its own row and the rows above.

Shifted down by ``s`` rows it sees only rows ≤ r − s. Four rotations of it see
everything but a box around the pixel: the blind spot (Laine et al. 2019).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from napari_blindspot.networks.unet import UNet, lateral_reach


class RowCausalConv(nn.Conv2d):
    """A 3×3 convolution whose output row r sees the input rows r − 2, r − 1, r.

    Zeros enter at the top; a reflection there would show a row to itself.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=(2, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in, Y, X) to (N, out, Y, X)."""
        return super().forward(x)[..., :-2, :]


class RowCausalPool(nn.Module):
    """2×2 max pooling whose output row i sees the input rows 2i − 1 and 2i.

    Without the shift by one row, up-sampling would bring row 2i + 1 to row 2i.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, Y, X) to (N, C, Y/2, X/2)."""
        return functional.max_pool2d(shift_down(x, 1), 2)


class HalfPlaneUNet(UNet):
    """U-Net of row-causal convolutions and poolings.

    Parameters
    ----------
    in_channels, width, depth
        As in `UNet`.
    """

    def __init__(self, in_channels: int, width: int, depth: int) -> None:
        super().__init__(
            in_channels, width, depth, conv=RowCausalConv, pool=RowCausalPool()
        )


def shift_down(x: Tensor, rows: int) -> Tensor:
    """Move a map down by `rows`; zero rows enter at the top."""
    rows = min(rows, x.shape[-2])
    return functional.pad(x[..., : x.shape[-2] - rows, :], (0, 0, rows, 0))


def causal_reach(depth: int, shift: int) -> int:
    """Return 2R + s, how many rows up a shifted half-plane network sees.

    This is the exact halo of the network of four branches, on every side.
    """
    return 2 * lateral_reach(depth) + shift
