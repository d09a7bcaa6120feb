"""Start weights in a larger network: the same answer, as blind, and more to learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from napari_blindspot.config import NetworkSettings, TrainSettings
from napari_blindspot.errors import InputError
from napari_blindspot.networks.blindspot import BlindSpotNetwork
from napari_blindspot.starts.grow import load_fitting
from napari_blindspot.training import warm
from napari_blindspot.training.recipes import choose_recipe
from networks import random_network
from test_blindness import inside_hole, seen_by

if TYPE_CHECKING:
    from napari_blindspot.networks.blindspot import Hole

SMALL: dict[str, Any] = {
    "width": 3,
    "depth": 2,
    "neighbour_width": 2,
    "half_planes": "all",
    "units": "noise",
}
LARGER = [
    {"width": 7},
    {"neighbour_width": 5},
    {"depth": 3},
    {"width": 5, "depth": 4, "neighbour_width": 3},
]


def grown(small: BlindSpotNetwork, **changes: Any) -> BlindSpotNetwork:
    """Return a larger network with the weights, and all else, of a small one."""
    torch.manual_seed(1)
    settings = small.settings
    large = BlindSpotNetwork(settings.model_copy(update=changes)).double().eval()
    load_fitting(large, dict(small.named_parameters()), settings)
    buffers = dict(large.named_buffers())
    with torch.no_grad():
        for name, one in small.named_buffers():
            buffers[name].copy_(one)
    return large


def a_small_network(context: int = 2, **changes: Any) -> BlindSpotNetwork:
    small = random_network(**SMALL | {"context": context} | changes)
    assert small.eyes is not None
    small.eyes.fit(0.1, 0.3, 1e-6)
    return small


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("changes", LARGER, ids=str)
@pytest.mark.parametrize("half_planes", ["centre", "all"])
def test_a_larger_network_says_what_the_small_one_said(
    context: int, changes: dict[str, Any], half_planes: str
) -> None:
    small = a_small_network(context, half_planes=half_planes)
    large = grown(small, **changes)
    planes = torch.randn(2, 2 * context + 1, 32, 48, dtype=torch.float64)
    with torch.no_grad():
        expected, answer = small(planes, (1, 3, 1)), large(planes, (1, 3, 1))
    assert expected.mean.std() > 0.01
    # The small network was kept in single precision on the way.
    for got, wanted in zip(answer, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_weights_are_cut_and_grown_at_once_for_several_channels() -> None:
    made = a_small_network(context=2)
    cut, large = (
        BlindSpotNetwork(made.settings.model_copy(update=changes)).eval()
        for changes in (
            {"context": 1, "starts": 2},
            {"context": 1, "starts": 2, "width": 5, "depth": 3, "neighbour_width": 4},
        )
    )
    planes, kind = torch.randn(2, 3, 32, 32), torch.tensor([0, 1])
    answers = []
    for network in (cut, large):
        load_fitting(network, dict(made.named_parameters()), made.settings)
        assert network.eyes is not None
        network.eyes.fit(0.1, 0.3, 1e-6, kind=1)
        with torch.no_grad():
            answers.append(network(planes, kind=kind).mean)
    torch.testing.assert_close(answers[1], answers[0], rtol=1e-4, atol=1e-5)


def test_a_deeper_network_may_differ_only_within_reach_of_the_padding() -> None:
    small = a_small_network()
    large = grown(small, depth=3)
    planes = torch.randn(1, 5, 92, 92, dtype=torch.float64)  # to 92 rows, and to 96
    with torch.no_grad():
        off = (large(planes).mean - small(planes).mean).abs()[0]
    assert off[60:].max() > 1e-3
    assert off[:40, :40].max() < 1e-5


@pytest.mark.parametrize("hole", [(1, 1, 1), (3, 1, 3)])
def test_a_grown_network_is_exactly_blind(hole: Hole) -> None:
    large = grown(a_small_network(), width=5, depth=3)
    with torch.no_grad():  # nothing that grew is silent
        for parameter in large.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    shape = (5, 16, 16)
    seen = seen_by(large, (7, 6), hole, shape)
    hidden = inside_hole(shape, (7, 6), hole)
    assert torch.all(seen[hidden] == 0)
    assert seen[~hidden].max() > 0


def test_what_grew_learns_from_the_second_step_on() -> None:
    small = a_small_network()
    large = grown(small, width=5, depth=3)
    first = {name: one.detach().clone() for name, one in large.named_parameters()}
    optimiser = torch.optim.SGD(large.parameters(), lr=1e-3)
    planes = torch.randn(2, 5, 32, 32, dtype=torch.float64)
    for _ in range(2):
        optimiser.zero_grad()
        prior = large(planes)
        (prior.mean.square().mean() + prior.variance.mean()).backward()
        optimiser.step()
    idle = [
        name
        for name, one in large.named_parameters()
        if (one.detach() == first[name]).flatten(1 if one.ndim > 1 else 0).all(-1).any()
    ]
    # Of a channel that the leaky ReLU of all pixels passes on there is always a slope.
    assert not idle


def test_the_same_shape_takes_the_weights_as_they_are() -> None:
    small = a_small_network()
    same = grown(small)
    theirs = dict(small.named_parameters())
    for name, one in same.named_parameters():
        torch.testing.assert_close(one, theirs[name], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 2},
        {"depth": 1},
        {"width": 2, "depth": 3},
        {"width": 5, "channels": 2},
        {"width": 5, "half_planes": "centre"},
    ],
    ids=str,
)
def test_a_network_that_cannot_hold_them_is_refused_and_left_as_it_is(
    changes: dict[str, Any],
) -> None:
    small = a_small_network()
    other = BlindSpotNetwork(small.settings.model_copy(update=changes))
    before = {name: one.clone() for name, one in other.named_parameters()}
    with pytest.raises(InputError, match="the start weights do not fit the network"):
        load_fitting(other, dict(small.named_parameters()), small.settings)
    for name, one in other.named_parameters():
        assert torch.equal(one, before[name])


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("quality", ["fast", "best"])
def test_the_network_of_every_recipe_starts_warm(device: str, quality: Any) -> None:
    network = choose_recipe(TrainSettings(quality=quality), device).network
    beginning = warm.begin("warm", network)
    assert beginning.is_warm
    assert not beginning.sentence
    for size in ("width", "depth", "neighbour_width"):
        assert getattr(beginning.network, size) == getattr(network, size)
    assert beginning.network.units == "noise"
    assert beginning.network.half_planes == "all"
    beginning.give(BlindSpotNetwork(beginning.network))


def test_a_network_smaller_than_all_weights_starts_cold_with_a_sentence() -> None:
    beginning = warm.begin("warm", NetworkSettings(width=2))
    assert not beginning.is_warm
    assert "no start weights for a network of this size" in beginning.sentence
