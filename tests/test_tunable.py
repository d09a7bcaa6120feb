"""One network, many holes: asked at several at once it says what it says at each."""

from __future__ import annotations

import pytest
import torch

from networks import random_network

HOLES = [(1, 0, 0), (1, 1, 1), (1, 3, 5), (1, 9, 9)]


@pytest.mark.parametrize("context", [0, 1], ids=["plane", "stack"])
def test_several_holes_at_once_are_each_hole_by_itself(context: int) -> None:
    network = random_network(context=context)
    planes = torch.rand(2, 2 * context + 1, 26, 31, dtype=torch.float64)
    with torch.no_grad():
        together = network.at_holes(planes, HOLES)
        for hole, prior in zip(HOLES, together, strict=True):
            alone = network(planes, hole)
            torch.testing.assert_close(prior.mean, alone.mean, rtol=0, atol=0)
            torch.testing.assert_close(prior.variance, alone.variance, rtol=0, atol=0)


def test_every_hole_gives_another_answer() -> None:
    network = random_network()
    planes = torch.rand(1, 3, 24, 24, dtype=torch.float64)
    with torch.no_grad():
        means = [prior.mean for prior in network.at_holes(planes, HOLES)]
    for index, one in enumerate(means):
        for other in means[index + 1 :]:
            assert (one - other).abs().max() > 1e-3


def test_hole_zero_sees_the_pixel_itself_and_hole_one_does_not() -> None:
    network = random_network()
    planes = torch.rand(1, 3, 24, 24, dtype=torch.float64, requires_grad=True)
    for size, sees in ((0, True), (1, False)):
        mean = network(planes, (1, size, size)).mean
        (gradient,) = torch.autograd.grad(mean[0, 11, 12], planes)
        assert bool(gradient[0, 1, 11, 12] != 0) == sees


def test_holes_that_differ_in_z_cannot_be_asked_together() -> None:
    network = random_network()
    with pytest.raises(ValueError, match="differ in z"):
        network.at_holes(torch.zeros(1, 3, 8, 8).double(), [(1, 1, 1), (3, 1, 1)])
