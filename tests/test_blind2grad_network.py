"""The masked network: its first convolution, T-standout, attention, and its reach."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from models import random_masked
from napari_blindspot.inference.predictor_blind2grad import AROUND, MaskedPredictor
from napari_blindspot.networks.blind2grad import (
    MaskedConvolution,
    forward_differences,
    is_edge,
    moving_average,
    t_standout,
)
from napari_blindspot.networks.chance import key, uniform
from napari_blindspot.tiling import round_up

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def planes() -> np.ndarray:
    """Five noisy planes with edges, 130 × 97 pixels."""
    rng = np.random.default_rng(4)
    field = ndimage.gaussian_filter(rng.normal(size=(5, 130, 97)), (1, 3, 3))
    clean = 100 + 40 * (field > 0)
    return rng.poisson(clean).astype(np.float32)


def chances(*shape: int, seed: int = 0) -> torch.Tensor:
    n, height, width = shape
    keys = key(seed, torch.arange(n), device=CPU)
    return uniform(keys, torch.arange(height), torch.arange(width))


def test_a_masked_convolution_is_the_mean_over_what_is_there() -> None:
    convolution = MaskedConvolution(1)
    with torch.no_grad():
        convolution.convolution.weight.fill_(1 / 9)
    plane = torch.full((1, 1, 6, 7), 5.0)
    seen = (chances(1, 6, 7) < 0.6).float()[:, None]
    seen[..., 2:5, 2:5] = 0  # around the middle nothing is there
    said = convolution(plane, seen)
    counted = ndimage.convolve(seen[0, 0].numpy(), np.ones((3, 3)), mode="constant")
    np.testing.assert_allclose(
        said[0, 0].detach(), np.where(counted > 0, 5.0, 0.0), rtol=1e-6
    )


def test_hidden_values_do_not_reach_the_answer() -> None:
    network = random_masked().network
    x = chances(3, 24, 24)[None]
    seen = (chances(1, 24, 24, seed=1) >= 0.25).float()
    spoilt = x.clone()
    spoilt[:, 1] += 1000 * (1 - seen)
    with torch.no_grad():
        assert torch.equal(network(x, seen), network(spoilt, seen))
        assert not torch.equal(network(x), network(spoilt))


def test_differences_are_those_of_numpy_with_zeros_at_the_far_border() -> None:
    image = np.random.default_rng(0).normal(size=(2, 7, 5)).astype(np.float32)
    down, right = forward_differences(torch.from_numpy(image))
    np.testing.assert_array_equal(down[:, :-1], np.diff(image, axis=1))
    np.testing.assert_array_equal(right[..., :-1], np.diff(image, axis=2))
    assert not down[:, -1].any()
    assert not right[..., -1].any()


def test_an_edge_is_what_reaches_the_threshold_in_grey_levels() -> None:
    step = torch.zeros(1, 8, 8)
    step[..., 3:] = 100 / 255  # a change of 100 grey levels after column 2
    assert not is_edge(step, 50.1).any()  # half of every 2×2 pixels has it
    found = is_edge(step, 49.9)
    assert found[..., 1].all()
    assert found.sum() == 4


def test_t_standout_never_drops_above_the_threshold() -> None:
    estimate = chances(2, 32, 32, seed=5)
    network = random_masked(eps_s=120.0).network
    spared = network.spared(estimate)
    assert 0.1 < spared.float().mean() < 0.9
    maps = torch.ones(2, 6, 16, 16)
    for seed in range(20):
        dropped = t_standout(maps, spared, chances(2, 16, 16, seed=seed), 0.3)
        assert (dropped.movedim(1, -1)[spared] == 1).all()


def test_t_standout_drops_its_part_of_the_rest_and_keeps_the_mean() -> None:
    maps = torch.ones(1, 10, 64, 64)
    spared = torch.zeros(1, 64, 64, dtype=torch.bool)
    dropped = t_standout(maps, spared, chances(1, 64, 64), 0.3)
    assert float((dropped == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert float(dropped.mean()) == pytest.approx(1, abs=0.01)


def test_the_attention_averages_what_there_is_of_its_window() -> None:
    maps = torch.from_numpy(np.random.default_rng(1).normal(size=(1, 2, 9, 7)))
    found = moving_average(maps, 1)
    assert float(found[0, 0, 4, 3]) == pytest.approx(float(maps[0, 0, 3:6, 2:5].mean()))
    assert float(found[0, 1, 0, 0]) == pytest.approx(float(maps[0, 1, :2, :2].mean()))


def test_random_numbers_belong_to_their_place() -> None:
    whole = chances(1, 40, 30)
    keys = key(0, torch.arange(1), device=CPU)
    part = uniform(keys, torch.arange(7, 20), torch.arange(11, 30))
    assert torch.equal(part, whole[:, 7:20, 11:])
    assert not torch.equal(whole, chances(1, 40, 30, seed=1))


def test_random_numbers_are_uniform_and_unrelated() -> None:
    numbers = chances(4, 200, 200).numpy()
    assert abs(numbers.mean() - 0.5) < 0.005
    assert abs(numbers.var() - 1 / 12) < 0.001
    flat = numbers - 0.5
    for one, other in (
        (flat[:, 1:], flat[:, :-1]),
        (flat[..., 1:], flat[..., :-1]),
        (flat[1:], flat[:-1]),
    ):
        assert abs(np.mean(one * other)) < 0.0015


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="plain"),
        pytest.param({"dilation": 2, "depth": 1}, id="dilated"),
        pytest.param({"combine": True}, id="combined"),
        pytest.param({"average": "hidden", "depth": 1}, id="hidden"),
    ],
)
def test_a_tile_with_its_halo_answers_as_the_whole_plane(
    planes: np.ndarray, settings: dict[str, object]
) -> None:
    predictor = MaskedPredictor(random_masked(**settings), CPU)
    halo, stride = predictor.halo, predictor.stride
    if settings.get("combine"):
        assert halo == MaskedPredictor(random_masked(), CPU).halo + AROUND
    groups = [[1, 2, 3]]
    whole, _ = predictor(planes, groups, 0, corner=(2, 0, 0))
    reach = round_up(halo, stride)
    y, x, side = reach, reach + stride, 8
    corner = (2, y - reach, x - reach)
    tile = planes[:, : y + side + reach, corner[2] : x + side + reach]
    assert tile.shape[1] < planes.shape[1]
    part, _ = predictor(tile, groups, 0, corner=corner)
    own = part[0, reach : reach + side, reach : reach + side]
    np.testing.assert_allclose(own, whole[0, y : y + side, x : x + side], rtol=1e-5)
    elsewhere, _ = predictor(tile, groups, 0)  # with the masks of another place
    assert not np.allclose(elsewhere[0], part[0], rtol=1e-3)


def test_planes_of_a_batch_do_not_see_each_other(planes: np.ndarray) -> None:
    predictor = MaskedPredictor(random_masked(), CPU)
    together, _ = predictor(planes, [[0, 1, 2], [1, 2, 3], [2, 3, 4]], 0)
    spoilt = planes.copy()
    spoilt[4] *= 100
    other, _ = predictor(spoilt, [[0, 1, 2], [1, 2, 3], [2, 3, 4]], 0)
    np.testing.assert_array_equal(together[:2], other[:2])
    assert not np.array_equal(together[2], other[2])


def test_the_end_of_a_plane_is_no_edge() -> None:
    network = random_masked(eps_s=10.0).network
    assert not network.spared(torch.full((1, 33, 47), 0.8)).any()


def test_one_plane_is_told_and_cancelled_pass_by_pass(planes: np.ndarray) -> None:
    predictor = MaskedPredictor(random_masked(), CPU)
    *shares, found = predictor.batches(planes, [[1, 2, 3]], 0)
    assert shares == [number / 8 for number in range(1, 9)]
    assert not isinstance(found, float)
    assert found.mean.shape == (1, *planes.shape[1:])
    assert not torch.is_inference_mode_enabled()
    begun = predictor.batches(planes, [[1, 2, 3]], 0)
    next(begun)
    assert torch.is_grad_enabled()  # in the midst of it, for whoever listens
    begun.close()
