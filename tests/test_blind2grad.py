"""Blind2Grad: which voxels are hidden, what the loss is, and which settings fit."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from napari_blindspot.config import DenoiseSettings, TrainSettings, parse_settings
from napari_blindspot.config.blind2grad import Blind2GradSettings, MaskedNetworkSettings
from napari_blindspot.errors import InputError
from napari_blindspot.methods.blind2grad import (
    MaskedObjective,
    gradient_loss,
    gradients_of,
)
from napari_blindspot.methods.masks import (
    at_random,
    detail_of,
    dual,
    in_turn,
    on_a_grid,
)
from napari_blindspot.networks.blind2grad import Blind2GradNetwork
from napari_blindspot.networks.chance import key, uniform
from napari_blindspot.noise.likelihood import Affine
from napari_blindspot.training.recipes import choose_masked_recipe

RATE = 0.25
SILENT = Affine(torch.tensor(0.0), torch.tensor(0.0), torch.tensor(0.0))


@pytest.fixture(scope="module")
def chance() -> torch.Tensor:
    """Random numbers of four images of 128 × 128 pixels."""
    keys = key(7, torch.arange(4), device=torch.device("cpu"))
    return uniform(keys, torch.arange(128), torch.arange(128))


@pytest.fixture(scope="module")
def detail() -> torch.Tensor:
    """A quarter of every image, from the left border on."""
    where = torch.zeros(4, 128, 128, dtype=torch.bool)
    where[..., :32] = True
    return where


@pytest.mark.parametrize("mask", ["bernoulli", "dual", "uniform"])
def test_three_quarters_of_the_voxels_are_kept(
    mask: str, chance: torch.Tensor, detail: torch.Tensor
) -> None:
    hidden = {
        "bernoulli": at_random(chance, RATE),
        "dual": dual(chance, RATE, detail, 0.5),
        "uniform": on_a_grid(chance, RATE),
    }[mask]
    kept = 1 - hidden.float().mean((1, 2))
    assert kept.numpy() == pytest.approx(np.full(4, 0.75), abs=0.01)


def test_a_dual_mask_keeps_the_rate_while_that_of_the_detail_halves(
    chance: torch.Tensor, detail: torch.Tensor
) -> None:
    before, hidden = at_random(chance, RATE), dual(chance, RATE, detail, 0.5)
    assert torch.equal(before.sum((1, 2)), hidden.sum((1, 2)))
    ratio = float(hidden[detail].sum() / before[detail].sum())
    assert ratio == pytest.approx(0.5, abs=0.001)
    assert float(hidden[detail].float().mean()) == pytest.approx(0.125, abs=0.01)


def test_a_dual_mask_of_no_share_is_a_bernoulli_mask(
    chance: torch.Tensor, detail: torch.Tensor
) -> None:
    assert torch.equal(dual(chance, RATE, detail, 0), at_random(chance, RATE))


def test_below_zero_detail_is_hidden_more_often(
    chance: torch.Tensor, detail: torch.Tensor
) -> None:
    before, hidden = at_random(chance, RATE), dual(chance, RATE, detail, -0.5)
    assert torch.equal(before.sum(), hidden.sum())
    ratio = float(hidden[detail].sum() / before[detail].sum())
    assert ratio == pytest.approx(1.5, abs=0.001)


def test_where_all_is_detail_the_rate_stays(chance: torch.Tensor) -> None:
    everywhere = torch.ones_like(chance, dtype=torch.bool)
    assert torch.equal(dual(chance, RATE, everywhere, 0.5), at_random(chance, RATE))


def test_masks_in_turn_hide_every_voxel_once(chance: torch.Tensor) -> None:
    times = sum(in_turn(chance, RATE, index).int() for index in range(4))
    assert (times == 1).all()


def test_a_grid_hides_the_same_voxel_of_every_square(chance: torch.Tensor) -> None:
    hidden = on_a_grid(chance, RATE)
    squares = hidden.unfold(1, 2, 2).unfold(2, 2, 2)
    assert (squares.sum((-2, -1)) == 1).all()
    assert (squares == squares[:, :1, :1]).all()


@pytest.mark.parametrize("by", ["pixel", "smooth"])
def test_less_is_detail_the_larger_eps_g(by: Any, chance: torch.Tensor) -> None:
    y, estimate = 2 * chance, torch.full_like(chance, 0.5)
    found = [detail_of(y, estimate, SILENT, eps, by) for eps in (15, 40, 70, 100)]
    assert found[0].shape == chance.shape
    shares = [float(one.float().mean()) for one in found]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1] > 0
    for more, less in itertools.pairwise(found):
        assert not (less & ~more).any()


def test_noise_alone_is_detail_voxel_by_voxel_but_not_on_average() -> None:
    generator = torch.Generator().manual_seed(1)
    sigma, estimate = 25 / 255, torch.full((1, 200, 200), 0.5)
    y = estimate + sigma * torch.randn(1, 200, 200, generator=generator)
    noise = Affine(torch.tensor(0.0), torch.tensor(sigma**2), torch.tensor(1e-9))
    by_voxel = detail_of(y, estimate, noise, 40, "pixel").float().mean()
    assert float(by_voxel) == pytest.approx(0.11, abs=0.01)
    assert float(detail_of(y, estimate, noise, 40, "smooth").float().mean()) < 1e-3


def test_gradients_are_numpys_forward_differences_with_z_weighted() -> None:
    volume = np.random.default_rng(0).normal(size=(2, 9, 7))
    down, right, deeper = gradients_of(list(torch.from_numpy(volume)), 0.4)
    np.testing.assert_array_equal(down[:-1], np.diff(volume[0], axis=0))
    np.testing.assert_array_equal(right[:, :-1], np.diff(volume[0], axis=1))
    np.testing.assert_array_equal(deeper, 0.4 * np.diff(volume, axis=0)[0])


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("absolute", ((3 + 0.5 * 4) ** 2 + (3 + 0.5 * 2) ** 2) / 2 + 0.1 * 9),
        ("signed", ((-3 + 0.5 * 4) ** 2 + (-3 - 0.5 * 2) ** 2) / 2 + 0.1 * 9),
        ("decoupled", 1.1 * 9 + 0.25 * (16 + 4) / 2),
    ],
)
def test_the_loss_is_equation_3_9(form: Any, expected: float) -> None:
    values, down, right = (torch.tensor([n]) for n in (-3.0, 4.0, -2.0))
    loss = gradient_loss(values, [down, right], 0.5, 0.1, form)
    assert float(loss) == pytest.approx(expected)


def objective(**settings: Any) -> MaskedObjective:
    """Return an objective with a small network; z differences on request."""
    torch.manual_seed(0)
    drops = settings.pop("drops", False)
    shape = MaskedNetworkSettings(
        width=4, depth=2, context=1, standout=drops, eps_s=150.0
    )
    z_weight = settings.pop("z_weight", None)
    return MaskedObjective(
        Blind2GradNetwork(shape), Blind2GradSettings(**settings), 5, z_weight
    )


def batch(target: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, Affine]:
    planes = uniform(
        key(1, torch.arange(6), device=torch.device("cpu")),
        torch.arange(24),
        torch.arange(24),
    ).view(2, 3, 24, 24)
    return planes, torch.full((2, 24, 24), target), SILENT


@pytest.mark.parametrize("at", ["hidden", "all"])
def test_only_targets_count(at: str) -> None:
    one = objective(gradient_at=at)
    planes, target, noise = batch()
    target[:, :, 12:] = 0
    one.begin_step(1, 0.0)
    loss = one(planes, target, noise)
    hidden = one._hidden(planes[:, 1], planes[:, 1], noise)
    seen = (~hidden).float()
    said, whole = one.network(planes, seen), one.network(planes)
    gradients = [
        p - q for p, q in zip(gradients_of([whole]), gradients_of([said]), strict=True)
    ]
    values = said - planes[:, 1]
    if at == "all":
        values = values * hidden
    voxels = gradient_loss(values, gradients, 0.8, 0.5)
    counts = (hidden if at == "hidden" else torch.ones_like(target)) * target
    expected = (voxels * counts).sum() / (hidden * target).sum()
    torch.testing.assert_close(loss, expected)


def test_without_targets_there_is_no_loss() -> None:
    one = objective()
    assert one(*batch(0.0)).detach() == 0


def test_the_whole_image_teaches_only_where_gradients_flow() -> None:
    losses = {}
    for flow in ("stopped", "live"):
        one = objective(gradient_flow=flow)
        one(*batch()).backward()
        losses[flow] = one.network.last.weight.grad
    assert not torch.allclose(losses["stopped"], losses["live"])
    assert losses["stopped"].abs().sum() > 0


def test_features_are_dropped_in_training_but_not_at_edges() -> None:
    planes, target, noise = batch()
    one = objective(drops=True)
    one.begin_step(1, 0.0)
    loss = one(planes, target, noise)
    y, settings = planes[:, 1], one.settings
    whole = one.network(planes)
    spared = one.network.spared(whole)
    assert 0.1 < spared.float().mean() < 0.9
    hidden = one._hidden(y, whole, noise)
    dropped = one._chance(1, y[:, ::2, ::2])
    said = one.network(planes, (~hidden).float(), spared, dropped)
    gradients = [
        p - q for p, q in zip(gradients_of([whole]), gradients_of([said]), strict=True)
    ]
    voxels = gradient_loss(said - y, gradients, 0.8, settings.gamma)
    torch.testing.assert_close(loss, (voxels * hidden).sum() / hidden.sum())
    kept = objective()
    kept.begin_step(1, 0.0)
    assert not torch.allclose(loss, kept(planes, target, noise), rtol=1e-3)


def test_differences_along_z_are_to_the_next_plane_which_learns_nothing() -> None:
    planes, target, noise = batch()
    one = objective(z_weight=0.5)
    one.begin_step(1, 0.0)
    loss = one(planes, target, noise)
    next_ = torch.stack([planes[:, 1], planes[:, 2], planes[:, 2]], dim=1)
    hidden = one._hidden(planes[:, 1], planes[:, 1], noise)
    seen = (~hidden).float()
    with torch.no_grad():
        whole = [one.network(planes), one.network(next_)]
        beside = one.network(next_, seen)
    said = [one.network(planes, seen), beside]
    gradients = [
        p - q
        for p, q in zip(gradients_of(whole, 0.5), gradients_of(said, 0.5), strict=True)
    ]
    assert len(gradients) == 3
    voxels = gradient_loss(said[0] - planes[:, 1], gradients, 0.8, 0.5)
    expected = (voxels * hidden).sum() / hidden.sum()
    torch.testing.assert_close(loss, expected)
    weight = one.network.last.weight
    (learnt,) = torch.autograd.grad(loss, weight)
    (by_hand,) = torch.autograd.grad(expected, weight)
    torch.testing.assert_close(learnt, by_hand)


def test_the_outermost_planes_have_no_difference_along_z() -> None:
    planes, target, noise = batch()
    planes[:, 2] = planes[:, 0]  # as the last plane of a stack is read
    flat, deep = objective(), objective(z_weight=0.5)
    for one in (flat, deep):
        one.begin_step(1, 0.0)
    y = planes[:, 1]
    hidden = flat._hidden(y, y, noise)
    whole, said = flat.network(planes), flat.network(planes, (~hidden).float())
    gradients = [
        p - q for p, q in zip(gradients_of([whole]), gradients_of([said]), strict=True)
    ]
    none = torch.zeros_like(y)
    voxels = gradient_loss(said - y, [*gradients, none], 0.8, 0.5)
    expected = (voxels * hidden).sum() / hidden.sum()
    torch.testing.assert_close(deep(planes, target, noise), expected)


def test_detail_does_not_choose_voxels_by_their_own_noise() -> None:
    """What is hidden of a dim flat image is as bright as all of it."""
    generator = torch.Generator().manual_seed(2)
    photons, gain = 3.0, 40 / 255
    y = gain * torch.poisson(torch.full((4, 256, 256), photons), generator=generator)
    noise = Affine(torch.tensor(gain), torch.tensor(0.0), torch.tensor(1e-9))
    chance = uniform(
        key(4, torch.arange(4), device=y.device), *(torch.arange(256),) * 2
    )
    bias = {}
    for by in ("smooth", "pixel"):
        estimate = torch.full_like(y, gain * photons)
        hidden = dual(chance, RATE, detail_of(y, estimate, noise, 40, by), 0.5)
        bias[by] = float(y[hidden].mean() / y.mean()) - 1
    assert abs(bias["smooth"]) < 0.005
    assert bias["pixel"] < -0.01  # so it is no default


@pytest.mark.parametrize("settings", [{}, {"gradient_at": "all"}, {"z_weight": 0.5}])
def test_voxels_without_a_value_are_not_there(settings: dict[str, Any]) -> None:
    """Neither their place nor what stands in it has a say."""
    planes, target, noise = batch()
    gone = planes.clone()
    gone[:, 1, 4:9, 6:12] = np.nan
    target[:, 4:9, 6:12] = 0
    one = objective(**settings)
    one.begin_step(1, 0.0)
    loss = one(gone, target, noise)
    assert torch.isfinite(loss)
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in one.parameters())
    seen = torch.ones_like(target)
    seen[:, 4:9, 6:12] = 0
    with torch.no_grad():
        assert torch.isfinite(one.score(gone, target, noise))
        hidden = one.network(planes, seen)
        torch.testing.assert_close(one.network(gone), hidden)


def test_masks_follow_from_the_number_of_the_step() -> None:
    one, planes = objective(), batch()[0]
    masks = []
    for step in (1, 2, 1):
        one.begin_step(step, 0.0)
        masks.append(one._hidden(planes[:, 1], planes[:, 1], SILENT))
    assert torch.equal(masks[0], masks[2])
    assert not torch.equal(masks[0], masks[1])


def test_the_first_masks_ask_no_estimate() -> None:
    one, y = objective(detail_by="pixel"), batch()[0][:, 1]
    estimate = y.clone()
    estimate[..., :12] += 1  # detail on the left
    one.begin_step(1, 0.0)
    first = one._hidden(y, estimate, SILENT)
    one.begin_step(1, 0.5)
    later = one._hidden(y, estimate, SILENT)
    assert later.sum() == first.sum()
    assert later[..., :12].sum() < first[..., :12].sum()


def test_scores_can_be_compared() -> None:
    one = objective()
    with torch.no_grad():
        before = float(one.score(*batch()))
        one.begin_step(9, 0.9)
        assert float(one.score(*batch())) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hole": (1, 3, 3)}, "hole has no meaning with method='blind2grad'"),
        ({"unknown": "learn", "noise": "gaussian"}, "unknown has no meaning"),
        ({"start": "old.safetensors"}, "always starts cold"),
        ({"steps": 0}, "steps=0 cannot be used with method='blind2grad'"),
        ({"mask": "uniform", "mask_rate": 0.3}, "mask_rate=0.3 cannot be used"),
        ({"combine": True, "passes": 3}, "give at least 4"),
        ({"average": "hidden", "passes": 2}, "average='hidden'"),
        ({"uncertainty": True}, "uncertainty=True cannot be given with method="),
        ({"omega": -1.0}, "omega=-1.0 cannot be used"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_settings(DenoiseSettings, method="blind2grad", **options)


def test_settings_of_the_method_are_refused_beside_another() -> None:
    words = "combine and omega can be given with method='blind2grad' alone"
    with pytest.raises(InputError, match=words):
        parse_settings(TrainSettings, omega=0.5, combine=True)


def test_the_variant_for_real_noise_is_dilated_and_weighs_gradients_less() -> None:
    settings = TrainSettings(method="blind2grad", variant="real", minutes=1)
    assert choose_masked_recipe(settings, "cpu").network.dilation == 2
    found = []
    for chosen in (settings, settings.model_copy(update={"omega": 0.5})):
        one = objective()
        one.settings = SimpleNamespace(**{**chosen.model_dump(), "mask": "bernoulli"})
        found.append(one(*batch()).detach())
    assert found[0] == found[1]
