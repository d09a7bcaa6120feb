"""Blind2Grad: what is chosen reaches the masks, the network and the answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from napari_blindspot.config import TrainSettings
from napari_blindspot.config.blind2grad import Blind2GradSettings, MaskedNetworkSettings
from napari_blindspot.inference.predictor_blind2grad import MaskedPredictor
from napari_blindspot.methods import masks
from napari_blindspot.methods.blind2grad import MaskedObjective
from napari_blindspot.model import Model
from napari_blindspot.networks.blind2grad import Blind2GradNetwork
from napari_blindspot.networks.chance import key, uniform
from napari_blindspot.noise.likelihood import Affine
from napari_blindspot.noise.models import PoissonGaussian
from napari_blindspot.normalize import Normalization
from napari_blindspot.training.recipes import choose_masked_recipe

CPU = torch.device("cpu")
SILENT = Affine(torch.tensor(0.0), torch.tensor(0.0), torch.tensor(0.0))


def network(**settings: object) -> Blind2GradNetwork:
    """Return a small network with random weights, one plane at a time."""
    torch.manual_seed(3)
    small = {"width": 4, "depth": 2, "context": 0, "window": 2, "passes": 8}
    shape = MaskedNetworkSettings.model_validate({**small, **settings})
    return Blind2GradNetwork(shape).eval()


def chances(*shape: int, seed: int = 0) -> torch.Tensor:
    n, height, width = shape
    keys = key(seed, torch.arange(n), device=CPU)
    return uniform(keys, torch.arange(height), torch.arange(width))


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"mask": "uniform", "mask_rate": 0.0625}, "grid"),
        ({"mask": "bernoulli", "mask_rate": 0.1}, "random"),
        ({"detail_share": 1.0, "eps_g": 90.0, "detail_by": "pixel"}, "dual"),
        ({"detail_share": -0.5, "eps_g": 10.0}, "dual"),
    ],
)
def test_a_step_hides_what_the_settings_say(
    chosen: dict[str, Any], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every setting of the mask is turned; the random numbers are held."""
    settings, y = Blind2GradSettings(**chosen), chances(2, 32, 32)
    estimate, chance = torch.full_like(y, 0.5), chances(2, 32, 32, seed=1)
    step = MaskedObjective(network(), settings)
    monkeypatch.setattr(step, "_chance", lambda purpose, like: chance)
    step.begin_step(9, 0.5)
    rate = settings.mask_rate
    if expected == "dual":
        detail = masks.detail_of(
            y, estimate, SILENT, settings.eps_g, settings.detail_by
        )
        assert 0.05 < detail.float().mean() < 0.95
        hidden = masks.dual(chance, rate, detail, settings.detail_share)
        assert not torch.equal(hidden, masks.at_random(chance, rate))
    else:
        draw = masks.on_a_grid if expected == "grid" else masks.at_random
        hidden = draw(chance, rate)
    assert torch.equal(step._hidden(y, estimate, SILENT), hidden)


def test_the_network_drops_what_is_not_spared() -> None:
    learner, planes = network(), chances(1, 32, 32)[:, None]
    chance = chances(1, 16, 16, seed=1)
    everywhere = torch.ones(1, 16, 16, dtype=torch.bool)
    with torch.no_grad():
        whole = learner(planes)
        spared = learner(planes, None, everywhere, chance)
        dropped = learner(planes, None, ~everywhere, chance)
        again = network(standout=False)(planes, None, ~everywhere, chance)
    torch.testing.assert_close(spared, whole)
    assert not torch.allclose(dropped, whole, rtol=1e-3)
    torch.testing.assert_close(again, whole)


def test_above_the_threshold_nothing_of_the_answer_depends_on_chance() -> None:
    """After the dropout a network of one pooling looks two pixels far."""
    learner, planes = network(depth=1), chances(1, 32, 32)[:, None]
    spared = torch.zeros(1, 16, 16, dtype=torch.bool)
    spared[..., :8] = True
    with torch.no_grad():
        one, other = (
            learner(planes, None, spared, chances(1, 16, 16, seed=seed))
            for seed in (1, 2)
        )
    torch.testing.assert_close(one[..., :14], other[..., :14])
    assert not torch.allclose(one[..., 16:], other[..., 16:], rtol=1e-3)


def test_the_network_weighs_its_channels() -> None:
    learner, planes = network(), chances(1, 32, 32)[:, None]
    with torch.no_grad():
        before = learner(planes)
        learner.attention.weigh[2].bias[0] = 5.0
        after = learner(planes)
    assert not torch.allclose(before, after, rtol=1e-3)


def by_hand(learner: Blind2GradNetwork, y: torch.Tensor, average: str) -> torch.Tensor:
    """Average eight answers under two rounds of four masks, as the paper says."""
    whole = learner(y)
    if average == "none":
        return whole
    rows, columns = (torch.arange(size) for size in y.shape[-2:])
    index, answers, hidden = torch.arange(len(y)), [], []
    for number in range(8):
        round_, turn = divmod(number, 4)
        chance = uniform(key(0, 3, round_, index, device=CPU), rows, columns)
        hidden.append(masks.in_turn(chance, 0.25, turn).float())
        halves = rows[: (len(rows) + 1) // 2], columns[: (len(columns) + 1) // 2]
        dropped = uniform(key(0, 4, number, index, device=CPU), *halves)
        spared = learner.spared(whole)
        answers.append(learner(y, 1 - hidden[-1], spared, dropped))
    said, mask = torch.stack(answers), torch.stack(hidden)
    assert (mask.sum(0) == 2).all()  # at a rate of a quarter
    return said.mean(0) if average == "all" else (said * mask).sum(0) / 2


@pytest.mark.parametrize("standout", [True, False])
@pytest.mark.parametrize("average", ["all", "hidden", "none"])
def test_the_result_is_the_average_that_was_chosen(
    average: str, standout: bool
) -> None:
    learner = network(average=average, standout=standout, eps_s=60.0)
    scale, noise = Normalization(100.0, 50.0), PoissonGaussian(2.0, 100.0, 1.0)
    model = Model(learner, (scale,), (noise,), "none", "blind2grad", answer="mean")
    plane = 100 + 50 * chances(1, 30, 33)
    said, std = MaskedPredictor(model, CPU)(plane.numpy(), [[0]], 0)
    assert not std.any()
    with torch.no_grad():
        y = (plane - 100)[:, None] / 50
        expected = by_hand(learner, y, average)
        other = by_hand(network(standout=not standout, eps_s=60.0), y, average)
    np.testing.assert_allclose(said, 100 + 50 * expected.numpy(), rtol=1e-5)
    assert torch.allclose(other, expected, rtol=1e-4) == (average == "none")


def test_the_answer_is_made_as_was_chosen() -> None:
    usual = choose_masked_recipe(TrainSettings(method="blind2grad"), "cpu").network
    assert (usual.passes, usual.average, usual.standout) == (40, "all", True)
    chosen = {
        "standout": "off",
        "eps_s": 70.0,
        "mask_rate": 0.5,
        "passes": 6,
        "average": "hidden",
        "combine": True,
        "seed": 8,
    }
    asked = TrainSettings(method="blind2grad", **chosen)
    shape = choose_masked_recipe(asked, "cpu").network.model_dump()
    assert {name: shape[name] for name in chosen} == chosen | {"standout": False}
