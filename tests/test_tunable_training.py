"""Training behind tunable blind spots: absolute errors, no noise model, a student."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import pytest
import torch
from scipy import ndimage

import napari_blindspot as nb
from napari_blindspot.config import Recipe
from napari_blindspot.methods.objective import Objective
from napari_blindspot.methods.tunable import absolute_error
from napari_blindspot.networks.blindspot import Prior
from napari_blindspot.noise.likelihood import Affine
from napari_blindspot.training import distilling
from napari_blindspot.training.sampling import Batch
from napari_blindspot.training.trainer import Trainer
from networks import random_network

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_blindspot.model import Model
    from napari_blindspot.progress import Progress

QUICK = distilling.student_recipe("cpu").model_copy(
    update={"lessons": 24, "crop": 40, "steps": 30}
)


@pytest.fixture(scope="module", autouse=True)
def short_start() -> Iterator[None]:
    """Fit the blind filters to few voxels, which takes most of a short training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_blindspot.training.filters._VOXELS", 10**5)
        yield


@pytest.fixture(scope="module")
def row_noise() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A scene with noise that five pixels of a row share, and the scene itself."""
    rng = np.random.default_rng(5)
    field = ndimage.gaussian_filter(rng.normal(size=(6, 64, 64)), (1.5, 4, 4))
    clean = 300 + 3000 * (field - field.min())
    noise = ndimage.uniform_filter1d(rng.normal(size=clean.shape), 5, axis=-1)
    noisy = clean + 100 * noise / noise.std()
    return noisy.astype(np.float32), clean.astype(np.float32)


@pytest.fixture(scope="module")
def training(
    row_noise: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> tuple[Model, list[Progress]]:
    """A trained model and what was told on the way."""
    events: list[Progress] = []
    model = nb.train(row_noise[0], method="atbsn", steps=40, on_progress=events.append)
    return model, events


@pytest.fixture(scope="module")
def tunable(training: tuple[Model, list[Progress]]) -> Model:
    return training[0]


def rms(values: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def test_the_error_is_the_mean_distance_over_targets_alone() -> None:
    y = torch.tensor([[[1.0, 5.0], [2.0, 9.0]]])
    prior = Prior(torch.zeros(1, 2, 2), torch.ones(1, 2, 2))
    target = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    assert float(absolute_error(y, prior, target)) == 3.0
    assert float(absolute_error(y, prior, 0 * target)) == 0.0


def test_joint_channels_count_alike_in_the_error() -> None:
    y = torch.tensor([1.0, 3.0]).expand(1, 2, 2, 2)
    prior = Prior(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2, 2))
    assert float(absolute_error(y, prior, torch.ones(1, 2, 2))) == 2.0


def test_the_prior_variance_has_no_say() -> None:
    variance = torch.ones(1, 2, 2, requires_grad=True)
    prior = Prior(torch.zeros(1, 2, 2, requires_grad=True), variance)
    absolute_error(torch.ones(1, 2, 2), prior, torch.ones(1, 2, 2)).backward()
    assert variance.grad is None


def test_the_method_brings_its_holes_and_no_promise(tunable: Model) -> None:
    assert tunable.settings.hole == (1, 9, 9)
    assert tunable.result_hole == (1, 3, 3)
    assert (tunable.method, tunable.answer) == ("atbsn", "mean")
    assert not tunable.has_uncertainty
    assert tunable.recalibration == ()
    assert tunable.provenance["noise_check"] == []


def test_training_is_checked_by_the_absolute_error_of_held_out_voxels(
    training: tuple[Model, list[Progress]],
) -> None:
    model, events = training
    scores = [e.metrics["held_out"] for e in events if "held_out" in e.metrics]
    assert len(scores) >= 3
    assert model.provenance["training"]["held_out_score"] <= min(scores)
    # In network units, of the order of the noise: a likelihood would be negative.
    noise = 100 / model.scales[0].scale
    assert all(0.5 * noise < score < 2 * noise for score in scores)


def test_steps_lower_the_absolute_error() -> None:
    torch.manual_seed(0)
    network = random_network(dtype=torch.float32, hole=(1, 3, 3))
    recipe = Recipe(network=network.settings, learning_rate=3e-3)
    trainer = Trainer(Objective(network, answer="mean"), recipe, torch.device("cpu"))
    rows = np.arange(24)
    wave = np.sin(rows[:, None] / 2) * np.cos(rows / 3)
    batch = Batch(
        np.broadcast_to(wave, (2, 3, 24, 24)).astype(np.float32),
        np.ones((2, 24, 24), np.float32),
        Affine(*(np.full((2, 1, 1), n, np.float32) for n in (0, 0.01, 0.01))),
        np.zeros(2, np.int64),
    )
    losses = [trainer.step(batch, step / 60) for step in range(60)]
    assert losses[-1] < 0.5 * losses[0]
    assert trainer.score(batch) < 0.7 * losses[0]


def test_noise_that_a_row_shares_is_removed_behind_a_hole_and_kept_behind_none(
    tunable: Model, row_noise: tuple[NDArray[np.float32], NDArray[np.float32]]
) -> None:
    noisy, clean = row_noise
    plain = nb.predict(nb.train(noisy, steps=40), noisy).image
    behind = nb.predict(tunable, noisy, hole=(1, 9, 9)).image
    before = rms(noisy - clean)
    assert rms(behind - clean) < 0.5 * before
    assert rms(behind - clean) < 0.75 * rms(plain - clean)


def test_the_same_seed_trains_the_same_network(phantom: Any) -> None:
    one, same = (
        nb.train(phantom.noisy[:4, :40, :40], method="atbsn", steps=6, seed=1)
        for _ in range(2)
    )
    weights = [m.network.state_dict() for m in (one, same)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_compressed_images_can_be_trained_on(phantom: Any) -> None:
    grey = np.clip(phantom.noisy, 0, 255).astype(np.uint8)
    planes = [
        imagecodecs.jpeg8_decode(imagecodecs.jpeg8_encode(plane, level=10))
        for plane in grey
    ]
    model = nb.train(np.stack(planes), method="atbsn", steps=4)
    assert np.isfinite(nb.predict(model, np.stack(planes)).image).all()


def test_a_run_with_tunable_holes_ends_with_a_student(
    phantom: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distilling, "student_recipe", lambda _: QUICK)
    result = nb.denoise(phantom.noisy, method="atbsn", steps=8, device="cpu")
    assert result.model.is_student
    assert result.metrics["student"] == "small"
    holes = result.model.provenance["distillation"]["holes"]
    assert holes == [[1, size, size] for size in (0, 1, 3, 5, 7, 9, 11)]
    assert result.uncertainty is None
    assert rms(result.image - phantom.truth) < rms(phantom.noisy - phantom.truth)


@pytest.mark.parametrize("channels", ["each", "joint"])
def test_several_channels_learn_behind_tunable_holes(
    channels: str, phantom: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distilling, "student_recipe", lambda _: QUICK)
    values = np.stack([phantom.noisy[:4, :40, :40], phantom.noisy[4:, 24:, 24:]])
    result = nb.denoise(
        values, axes="CZYX", method="atbsn", channels=channels, steps=4, student="tiny"
    )
    assert result.image.shape == values.shape
    assert np.isfinite(result.image).all()
    assert result.teacher is not None
    assert result.teacher.answer == "mean"
