from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import napari_blindspot as nb
from napari_blindspot.api import train_job
from napari_blindspot.config import (
    NetworkSettings,
    Recipe,
    TrainSettings,
    parse_settings,
)
from napari_blindspot.errors import Cancelled, InputError
from napari_blindspot.io import open_stack
from napari_blindspot.methods.bayesian import (
    negative_log_likelihood,
    posterior,
)
from napari_blindspot.methods.filter_fit import Sums, fit_filter, ring_masks
from napari_blindspot.methods.objective import Objective
from napari_blindspot.networks.blindspot import BlindSpotNetwork, Prior
from napari_blindspot.noise.field import NoiseField
from napari_blindspot.noise.likelihood import Affine
from napari_blindspot.normalize import Normalization
from napari_blindspot.planes import plane_series
from napari_blindspot.progress import CancelToken, Progress, run
from napari_blindspot.training.course import Best, Clock
from napari_blindspot.training.loop import Trained, train_network
from napari_blindspot.training.recipes import RECIPES, choose_recipe
from napari_blindspot.training.sampling import Batch, CropSampler, Source
from napari_blindspot.training.trainer import Trainer
from napari_blindspot.training.varying import augment

if TYPE_CHECKING:
    from napari_blindspot.sample import Phantom

TINY = NetworkSettings(width=4, depth=1, context=1, neighbour_width=4)


def flat_noise(a: float, b: float) -> Affine:
    return Affine(*(torch.full((1, 1, 1), x) for x in (a, b, 1e-6)))


def train_tiny(
    values: np.ndarray, recipe: Recipe, cancel: CancelToken | None = None
) -> tuple[Trained, list[Progress]]:
    series = plane_series(open_stack(values, axes="ZYX"), "z")
    source = Source(
        series[0], Normalization(0.0, 1.0), NoiseField(Affine(0.0, 0.04, 0.01))
    )
    torch.manual_seed(0)
    network = BlindSpotNetwork(TINY)
    sampler = CropSampler([source], 1, recipe, network.stride, 0)
    events: list[Progress] = []
    job = train_network(
        network,
        sampler,
        recipe,
        device=torch.device("cpu"),
        seed=0,
        cancel=cancel or CancelToken(),
    )
    return run(job, events.append), events


@pytest.fixture
def clean() -> np.ndarray:
    """Sharp squares: a linear filter cannot keep their edges, a network can."""
    y, x = np.mgrid[:64, :64] / 4
    return np.float32(0.5 + 0.4 * np.sign(np.sin(y) * np.cos(x)))


@pytest.fixture
def noisy(clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (clean + rng.normal(0, 0.2, (6, 64, 64))).astype(np.float32)


def test_likelihood_is_smallest_at_the_true_mean_and_variance(
    rng: np.random.Generator,
) -> None:
    y = torch.from_numpy(rng.normal(3, 0.5, (1, 100, 100)))
    noise, target = flat_noise(0.0, 0.16), torch.ones_like(y)

    def loss(mean: float, variance: float) -> float:
        prior = Prior(torch.full_like(y, mean), torch.full_like(y, variance))
        return float(negative_log_likelihood(y, prior, noise, target))

    best = loss(3.0, 0.09)  # 0.09 + 0.16 = 0.5²
    assert best < loss(3.1, 0.09)
    assert best < loss(2.9, 0.09)
    assert best < loss(3.0, 0.12)
    assert best < loss(3.0, 0.06)


def test_voxels_that_are_no_targets_do_not_count() -> None:
    y = torch.zeros(1, 4, 4)
    prior = Prior(torch.zeros(1, 4, 4), torch.ones(1, 4, 4))
    target = torch.ones(1, 4, 4)
    target[0, 0] = 0
    noise = flat_noise(0.0, 0.5)
    before = negative_log_likelihood(y, prior, noise, target)
    y[0, 0] = 1e6
    assert torch.equal(before, negative_log_likelihood(y, prior, noise, target))
    nothing = negative_log_likelihood(y, prior, noise, torch.zeros_like(target))
    assert nothing == 0


@pytest.mark.parametrize("value", [0.0, 1.0, -50.0, 1e6])
def test_posterior_is_finite_and_between_prior_and_data(value: float) -> None:
    y = torch.full((1, 2, 2), value)
    prior = Prior(torch.full((1, 2, 2), 0.3), torch.full((1, 2, 2), 1e-10))
    mean, std = posterior(y, prior, flat_noise(0.01, -0.2))
    assert torch.isfinite(mean).all()
    assert (std > 0).all()
    low, high = sorted([value, 0.3])
    assert ((mean >= low - 1e-6) & (mean <= high + 1e-6)).all()


def test_a_lone_noisy_camera_pixel_is_not_trusted() -> None:
    y, mean, v = torch.zeros(1, 9, 9), torch.zeros(1, 9, 9), torch.full((1, 9, 9), 0.01)
    y[0, 4, 4], v[0, 4, 4] = 1.0, 1.0  # the network knows: this pixel scatters more
    image, std = posterior(y, Prior(mean, v), flat_noise(0.0, 0.04))
    assert image[0, 4, 4] < 0.02
    assert torch.isfinite(std).all()
    v[0, 3:6, 3:6] = 1.0  # a patch that is uncertain: here the data decide
    image, _ = posterior(y, Prior(mean, v), flat_noise(0.0, 0.04))
    assert image[0, 4, 4] > 0.9


def test_rings_cover_every_tap_once() -> None:
    assert torch.equal(sum(ring_masks(2)), torch.ones(5, 11, 11))  # type: ignore[arg-type]


def test_ring_weights_find_the_generating_filter(rng: np.random.Generator) -> None:
    rings = rng.normal(size=(20_000, 6)) + rng.normal(size=(20_000, 1))
    truth = np.array([0.5, 0.3, 0.2, 0.1, -0.1, 0.0])
    y = rings @ truth + rng.normal(0, 0.1, 20_000)
    sums = Sums.zeros(6)
    for part in np.array_split(np.arange(20_000), 3):
        sums.add(rings[part], y[part], np.full(len(part), 0.01))
    weights = sums.weights()
    assert sums.squares(weights) == pytest.approx(0.01, rel=0.05)
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights, truth, atol=0.02)


def test_the_start_is_better_than_a_plain_average(
    noisy: np.ndarray, clean: np.ndarray
) -> None:
    network = BlindSpotNetwork(TINY)
    planes = torch.from_numpy(noisy[None, 0:3])
    target, noise = torch.ones(1, 64, 64), flat_noise(0.0, 0.04)

    def error() -> float:
        with torch.no_grad():
            return float(((network(planes).mean - torch.from_numpy(clean)) ** 2).mean())

    plain = error()
    fit_filter(network, [(planes, target, noise)])
    assert error() < 0.5 * plain
    assert float(network.start.kernel[0, 1, 5, 5]) == 0  # the voxel itself
    assert float(network.start.kernel.sum()) == pytest.approx(1, abs=1e-5)


def test_a_hole_as_large_as_the_filter_leaves_the_start_alone(
    noisy: np.ndarray,
) -> None:
    settings = NetworkSettings(width=4, depth=1, context=0, hole=(1, 11, 11))
    network = BlindSpotNetwork(settings)
    before = network.start.kernel.clone()
    planes = torch.from_numpy(noisy[None, :1])
    fit_filter(network, [(planes, torch.ones(1, 64, 64), flat_noise(0, 0.04))])
    assert torch.equal(network.start.kernel, before)
    assert torch.isfinite(network(planes).mean).all()


def test_nothing_to_learn_from_is_one_sentence(noisy: np.ndarray) -> None:
    planes = torch.from_numpy(noisy[None, :3])
    crops = [(planes, torch.zeros(1, 64, 64), flat_noise(0, 0.04))]
    with pytest.raises(InputError, match="no voxel of the stack can be learnt from"):
        fit_filter(BlindSpotNetwork(TINY), crops)


def test_training_lowers_the_held_out_score(noisy: np.ndarray) -> None:
    recipe = Recipe(steps=120, crop=32, batch=4, checks=6, learning_rate=1e-2)
    trained, events = train_tiny(noisy, recipe)
    scores = [e.metrics["held_out"] for e in events if "held_out" in e.metrics]
    assert len([one for one in events if one.metrics]) == trained.steps == 120
    assert events[0].message == "Fitting the linear filter"
    assert trained.held_out == min(score for _, score in trained.history)
    assert trained.held_out < trained.history[0][1] - 0.02
    assert scores[-1] == trained.history[-1][1]
    assert events[-1].fraction == 1


def test_best_weights_are_kept_not_the_last(noisy: np.ndarray) -> None:
    wild = Recipe(
        steps=40, crop=32, batch=2, checks=4, learning_rate=0.3, clip=1e3, least=1.0
    )
    trained, _ = train_tiny(noisy, wild)
    trainer = Trainer(Objective(trained.network), wild, torch.device("cpu"))
    series = plane_series(open_stack(noisy, axes="ZYX"), "z")
    source = Source(
        series[0], Normalization(0.0, 1.0), NoiseField(Affine(0.0, 0.04, 0.01))
    )
    held_out = CropSampler([source], 1, wild, 2, 0).held_out(32)
    assert trainer.score(held_out) == pytest.approx(trained.held_out, abs=1e-4)
    assert trained.held_out < max(score for _, score in trained.history)


def test_training_stops_when_the_held_out_score_no_longer_improves() -> None:
    best = Best(score=0.0, bad_checks=8)
    recipe = Recipe(patience=8, least=0.3)
    assert best.is_over(recipe, 0.5)
    assert not best.is_over(recipe, 0.2)
    best.update(1, -1.0, torch.nn.Linear(1, 1))
    assert not best.is_over(recipe, 0.5)


def test_checks_are_spread_over_the_budget() -> None:
    clock = Clock(Recipe(steps=1000, checks=10))
    due = [step for step in range(1, 1001) if clock.check_is_due(step, step / 1000)]
    assert due == list(range(100, 1001, 100))
    few = Clock(Recipe(steps=15, checks=10))
    assert [s for s in range(1, 16) if few.check_is_due(s, s / 15)] == [10, 15]


def test_same_seed_gives_the_same_weights(noisy: np.ndarray) -> None:
    recipe = Recipe(steps=12, crop=32, batch=2)
    one, two = (train_tiny(noisy, recipe)[0].network.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_cancel_stops_within_one_step(noisy: np.ndarray) -> None:
    cancel, seen = CancelToken(), []
    job = train_job(
        [noisy], parse_settings(TrainSettings, steps=50, axes="ZYX"), cancel
    )

    def stop_at_three(event: Progress) -> None:
        if event.stage == "train":
            seen.append(event)
            if len(seen) == 3:
                cancel.cancel()

    with pytest.raises(Cancelled):
        run(job, stop_at_three)
    assert len(seen) == 3


def test_augmentation_keeps_planes_and_targets_together(
    rng: np.random.Generator,
) -> None:
    planes = rng.random((2, 3, 8, 8)).astype(np.float32)
    target = (planes[:, 1] > 0.5).astype(np.float32)
    pixels = planes[:, 1].copy()  # noise that differs from pixel to pixel turns along
    batch = Batch(planes, target, Affine(pixels, pixels, pixels), np.zeros(4, np.int64))
    forms = set()
    for _ in range(100):
        out = augment(batch, rng)
        np.testing.assert_array_equal(out.target, out.planes[:, 1] > 0.5)
        np.testing.assert_array_equal(out.noise.a, out.planes[:, 1])
        forms.add(out.planes.tobytes())
    assert len(forms) == 16  # 8 in the plane × 2 along the context axis


def test_augmentation_keeps_rows_when_the_hole_is_longer_in_x(
    rng: np.random.Generator,
) -> None:
    planes = np.broadcast_to(np.arange(8.0)[:, None], (1, 3, 8, 8)).astype(np.float32)
    even = Affine(*np.ones((3, 1, 1, 1)))
    batch = Batch(planes, np.ones((1, 8, 8), np.float32), even, np.zeros(1, np.int64))
    kept = [augment(batch, rng, quarter_turns=False) for _ in range(40)]
    assert all(np.ptp(one.planes, axis=-1).max() == 0 for one in kept)
    turned = [augment(batch, rng) for _ in range(40)]
    assert any(np.ptp(one.planes, axis=-1).max() > 0 for one in turned)


def test_budgets_choose_one_recipe() -> None:
    assert choose_recipe(TrainSettings(), "cpu") == RECIPES["cpu"]["balanced"]
    assert (
        choose_recipe(TrainSettings(quality="fast"), "cuda") == RECIPES["gpu"]["fast"]
    )
    by_steps = choose_recipe(TrainSettings(steps=7), "cpu")
    assert by_steps.steps == 7
    assert by_steps.minutes > 1e6
    by_minutes = choose_recipe(TrainSettings(minutes=0.5), "cuda")
    assert by_minutes.minutes == 0.5
    long, short = (choose_recipe(TrainSettings(minutes=m), "cpu") for m in (120, 1))
    assert long.network.width > short.network.width


def test_two_budgets_are_refused() -> None:
    with pytest.raises(InputError, match=r"quality='fast' and steps=10"):
        parse_settings(TrainSettings, quality="fast", steps=10)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"hole": (1, 2, 1)}, "even size"),
        ({"minutes": -1}, "minutes=-1"),
        ({"quality": "superb"}, "quality='superb'"),
        ({"offset": 100.0}, "offset alone cannot be used.*give gain as well"),
        ({"read_noise": 1.5}, "read_noise alone cannot be used"),
        ({"noise": "camera"}, "needs gain"),
        ({"stpes": 3}, "stpes=3 is not a setting"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 2**64}, "seed="),
        ({"minutes": float("inf")}, "minutes=inf"),
        ({"gain": float("nan"), "offset": 1.0, "read_noise": 1.0}, "gain=nan"),
        ({"hole": (1, 1, 65)}, r"hole=\(1, 1, 65\) is no blind spot"),
    ],
)
def test_bad_settings_name_the_argument(option: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_settings(TrainSettings, **option)


def test_posterior_beats_the_prior_on_a_phantom(phantom: Phantom) -> None:
    model = nb.train(phantom.noisy, steps=20, axes="ZYX", seed=1)
    result = nb.predict(model, phantom.noisy, axes="ZYX")
    blind = Prediction.prior_mean(model, phantom.noisy)
    errors = [np.mean((image - phantom.truth) ** 2) for image in (result.image, blind)]
    assert errors[0] < errors[1] < np.mean((phantom.noisy - phantom.truth) ** 2)


class Prediction:
    """The network's prior mean, which no door offers."""

    @staticmethod
    def prior_mean(model: nb.Model, values: np.ndarray) -> np.ndarray:
        from napari_blindspot.planes import neighbours

        scale, k = model.scales[0], model.settings.context
        t = torch.from_numpy(scale.forward(values))
        out = np.empty(values.shape, np.float32)
        for i in range(len(t)):
            around = neighbours(i, len(t), k)
            planes = t[[*around[:k], i, *around[k:]]][None]
            with torch.no_grad():
                out[i] = scale.inverse(model.network(planes).mean[0].numpy())
        return out
