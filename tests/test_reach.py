from __future__ import annotations

import pytest
import torch

from napari_blindspot.networks.halfplane import HalfPlaneUNet, causal_reach, shift_down
from napari_blindspot.networks.plain import PlainUNet
from napari_blindspot.networks.unet import UNet, lateral_reach


def reach(network: UNet, size: int, shift: int = 0) -> tuple[int, int, int]:
    """Return how far (up, down, sideways) any output pixel sees, by gradients.

    Positive weights and inputs: every path adds up and none cancels.
    """
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_().add_(0.01)
    up = down = side = -size
    stride = 2**network.depth
    middle = size // 2 // stride * stride
    for row in range(middle, middle + stride):
        for seed in range(3):
            generator = torch.Generator().manual_seed(seed)
            x = torch.rand(1, 1, size, size, generator=generator, dtype=torch.float64)
            x.requires_grad_(True)
            out = shift_down(network(x), shift)[0, :, row, row].sum()
            (gradient,) = torch.autograd.grad(out, x)
            rows, columns = torch.nonzero(gradient[0, 0], as_tuple=True)
            up = max(up, row - int(rows.min()))
            down = max(down, int(rows.max()) - row)
            side = max(side, int((columns - row).abs().max()))
    return up, down, side


@pytest.mark.parametrize(("depth", "size"), [(1, 48), (2, 96), (3, 176)])
def test_half_plane_reach_is_the_formula(depth: int, size: int) -> None:
    network = HalfPlaneUNet(1, 2, depth).double()
    up, down, side = reach(network, size)
    assert down == 0
    assert side == lateral_reach(depth) == 5 * 2**depth - 3
    # Max pooling picks one of two rows, so single inputs show a little less.
    assert up <= causal_reach(depth, 0)
    assert up > causal_reach(depth, 0) - 2**depth


@pytest.mark.parametrize("shift", [1, 2, 5])
def test_a_shift_moves_the_reach_up(shift: int) -> None:
    up, down, _ = reach(HalfPlaneUNet(1, 2, 1).double(), 64, shift)
    assert down == -shift
    assert up <= causal_reach(1, shift)


@pytest.mark.parametrize(("depth", "size"), [(1, 48), (2, 96), (3, 176)])
def test_plain_branch_sees_no_further_than_the_halo(depth: int, size: int) -> None:
    up, down, side = reach(PlainUNet(1, 2, depth).double(), size)
    assert max(up, down, side) <= lateral_reach(depth) < causal_reach(depth, 1)


def test_halo_of_depth_four_is_155() -> None:
    assert causal_reach(4, 1) == 155
