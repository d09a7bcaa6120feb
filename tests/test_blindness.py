from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from networks import random_network

if TYPE_CHECKING:
    from napari_blindspot.networks.blindspot import BlindSpotNetwork

Hole = tuple[int, int, int]

HOLES = [
    pytest.param((1, 1, 1), id="white"),
    pytest.param((1, 3, 3), id="square"),
    pytest.param((1, 1, 5), id="row"),
    pytest.param((1, 5, 1), id="column"),
    pytest.param((3, 3, 3), id="cube"),
    pytest.param((5, 1, 3), id="deep"),
]


def seen_by(
    network: BlindSpotNetwork,
    pixel: tuple[int, int],
    hole: Hole,
    shape: tuple[int, ...],
) -> Tensor:
    """Return the largest |gradient| of mean and variance at `pixel`, per input voxel.

    Over several inputs, because max pooling passes the gradient to one voxel in four.
    """
    largest = torch.zeros(shape, dtype=torch.float64)
    for seed in range(24):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(1, *shape, generator=generator, dtype=torch.float64)
        x.requires_grad_(True)
        prior = network(x, hole)
        for out in prior:
            (gradient,) = torch.autograd.grad(
                out[0, pixel[0], pixel[1]], x, retain_graph=True
            )
            largest = torch.maximum(largest, gradient[0].abs())
    return largest


def inside_hole(shape: tuple[int, ...], pixel: tuple[int, int], hole: Hole) -> Tensor:
    """Return True for the voxels that must not be seen, written out one by one."""
    hidden = torch.zeros(shape, dtype=torch.bool)
    middle = shape[0] // 2
    for plane, row, column in itertools.product(*(range(n) for n in shape)):
        distance = (abs(plane - middle), abs(row - pixel[0]), abs(column - pixel[1]))
        if distance[0] == 0:
            hidden[plane, row, column] = all(
                d <= size // 2 for d, size in zip(distance, hole, strict=True)
            )
        else:  # a neighbour plane closer than the hole is withheld whole
            hidden[plane, row, column] = distance[0] <= hole[0] // 2
    return hidden


@pytest.mark.parametrize("half_planes", ["centre", "all"])
@pytest.mark.parametrize("hole", HOLES)
@pytest.mark.parametrize(
    "pixel",
    [
        pytest.param((7, 6), id="middle"),
        pytest.param((0, 0), id="corner"),
        pytest.param((14, 6), id="last-row"),
        pytest.param((5, 12), id="last-column"),
    ],
)
def test_a_voxel_is_blind_to_its_hole_and_sees_everything_else_in_reach(
    hole: Hole, pixel: tuple[int, int], half_planes: str
) -> None:
    context = 2
    network = random_network(context=context, depth=2, half_planes=half_planes)
    shape = (2 * context + 1, 15, 13)
    seen = seen_by(network, pixel, hole, shape)
    hidden = inside_hole(shape, pixel, hole)
    assert torch.all(seen[hidden] == 0)
    # The planes are smaller than the reach, so all that is not hidden is in reach.
    assert torch.all(seen[~hidden] > 0)


@pytest.mark.parametrize("half_planes", ["centre", "all"])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("context", [0, 1, 2])
@pytest.mark.parametrize("size", [(16, 16), (17, 23), (9, 30)])
def test_no_option_or_size_shows_a_voxel_to_itself(
    depth: int, context: int, size: tuple[int, int], half_planes: str
) -> None:
    network = random_network(depth=depth, context=context, half_planes=half_planes)
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(1, 2 * context + 1, *size, generator=generator, dtype=torch.float64)
    for row, column in [(0, 0), (size[0] - 1, size[1] - 1), (size[0] // 2, 1)]:
        changed = x.clone()
        changed[0, context, row, column] += 1000.0
        before, after = network(x), network(changed)
        assert torch.equal(before.mean[0, row, column], after.mean[0, row, column])
        assert torch.equal(
            before.variance[0, row, column], after.variance[0, row, column]
        )
        assert not torch.equal(before.mean, after.mean)


def test_symmetric_pooling_would_be_caught() -> None:
    network = random_network(depth=2, context=0)
    network.halfplane.pool = torch.nn.MaxPool2d(2)  # forgets the shift by one row
    seen = seen_by(network, (7, 6), (1, 1, 1), (1, 15, 13))
    assert seen[0, 7, 6] > 0


def test_training_mode_is_as_blind_as_inference() -> None:
    network = random_network(context=1).train()
    seen = seen_by(network, (7, 6), (1, 1, 1), (3, 15, 13))
    assert seen[1, 7, 6] == 0


@pytest.mark.parametrize(
    ("side", "hole"), [(24, (1, 63, 63)), (16, (1, 41, 41)), (16, (1, 33, 1))]
)
def test_a_hole_larger_than_the_plane_hides_all_of_it(side: int, hole: Hole) -> None:
    network = random_network(context=0)
    seen = seen_by(network, (7, 6), hole, (1, side, side))
    assert torch.all(seen[inside_hole((1, side, side), (7, 6), hole)] == 0)


def test_a_hole_as_large_as_the_filter_gives_finite_answers() -> None:
    network = random_network(context=0)
    x = torch.randn(1, 1, 24, 24, dtype=torch.float64)
    prior = network(x, (1, 31, 31))
    assert torch.isfinite(prior.mean).all()
    assert torch.isfinite(prior.variance).all()
