"""Blind2Grad with several channels that are seen, hidden and denoised together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import napari_blindspot as nb
from models import random_masked, tiny_masked_recipes
from napari_blindspot.config import DenoiseSettings, parse_settings
from napari_blindspot.config.blind2grad import Blind2GradSettings, MaskedNetworkSettings
from napari_blindspot.errors import InputError
from napari_blindspot.inference.predictor_blind2grad import JointMaskedPredictor
from napari_blindspot.inference.predictor_student import make_predictor
from napari_blindspot.joint import of_channel
from napari_blindspot.methods.blind2grad import (
    MaskedObjective,
    gradient_loss,
    gradients_of,
)
from napari_blindspot.methods.masks import detail_of
from napari_blindspot.methods_text import result_methods
from napari_blindspot.model_file import read_header
from napari_blindspot.networks.blind2grad import Blind2GradNetwork
from napari_blindspot.networks.chance import key, uniform
from napari_blindspot.noise.covariance import JointAffine
from napari_blindspot.training import distilling

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_blindspot.progress import Progress
    from napari_blindspot.sample import Phantom

CPU = torch.device("cpu")
SHAPE = MaskedNetworkSettings(
    width=4, depth=2, context=1, channels=2, standout=False, window=2
)
JOINT: dict[str, Any] = {
    "method": "blind2grad", "channels": "joint", "axes": "CZYX", "threads": 1,
}  # fmt: skip


def chances(*shape: int, seed: int = 0) -> torch.Tensor:
    n, height, width = shape
    keys = key(seed, torch.arange(n), device=CPU)
    return uniform(keys, torch.arange(height), torch.arange(width))


def network(**changes: Any) -> Blind2GradNetwork:
    torch.manual_seed(0)
    return Blind2GradNetwork(SHAPE.model_copy(update=changes))


def noise(a: float = 0.0, b: float = 0.0) -> JointAffine:
    """Noise of two crops and two channels, the second one twice as strong."""
    factor = torch.tensor([1.0, 2.0]).expand(2, 1, 1, 2)
    return JointAffine(a * factor, b * factor, 1e-9 * factor)


@pytest.fixture(scope="module", autouse=True)
def small_recipe() -> Iterator[None]:
    with tiny_masked_recipes():
        yield


@pytest.fixture(scope="module")
def both(phantom: Phantom) -> NDArray[np.float32]:
    """Two channels of the same cells, the second on another scale and missing some."""
    noisy = phantom.noisy.astype(np.float32)
    both = np.stack([noisy, 3 * noisy[:, ::-1]])
    both[1, :, 20:24, 30:34] = np.nan
    return both


@pytest.fixture(scope="module")
def run(both: NDArray[np.float32]) -> tuple[nb.Result, list[Progress]]:
    events: list[Progress] = []
    options = {**JOINT, "steps": 100, "passes": 8}
    return nb.denoise(both, on_progress=events.append, **options), events


# --- the network -----------------------------------------------------------------


def test_all_channels_of_a_hidden_pixel_are_hidden() -> None:
    learner, planes = network(), chances(6, 24, 24)[None]
    seen = (chances(1, 24, 24, seed=1) >= 0.25).float()
    spoilt = planes.clone()
    spoilt[:, 2:4] += 1000 * (1 - seen)
    with torch.no_grad():
        said = learner(planes, seen)
        assert said.shape == (1, 2, 24, 24)
        assert torch.equal(said, learner(spoilt, seen))
    assert torch.equal(learner.centre(planes), planes[:, 2:4])


def test_one_channel_of_a_pixel_can_be_missing() -> None:
    learner, planes = network(), chances(6, 24, 24)[None]
    gone = planes.clone()
    gone[:, 3, 4:9, 5:8] = np.nan
    other = planes.clone()
    other[:, 3, 4:9, 5:8] += 7.0
    with torch.no_grad():
        said = learner(gone)
        assert said.isfinite().all()
        assert not torch.allclose(said, learner(planes), rtol=1e-3)
        seen = torch.ones(1, 24, 24)
        seen[:, 4:9, 5:8] = 0
        # What the other channel shows there still counts.
        assert not torch.allclose(said, learner(gone, seen), rtol=1e-3)


def test_an_edge_of_one_channel_is_an_edge_of_all() -> None:
    learner, estimate = network(eps_s=20.0), torch.full((1, 2, 24, 24), 0.5)
    assert not learner.spared(estimate).any()
    estimate[:, 1, :, 12:] = 0.9
    assert learner.spared(estimate).any()
    assert torch.equal(learner.spared(estimate), learner.spared(estimate.flip(1)))


# --- the loss --------------------------------------------------------------------


@pytest.mark.parametrize("z_weight", [None, 0.5])
def test_the_loss_is_the_mean_over_channels(z_weight: float | None) -> None:
    one = MaskedObjective(network(), Blind2GradSettings(), 5, z_weight)
    planes, target = chances(12, 24, 24).view(2, 6, 24, 24), torch.ones(2, 24, 24)
    target[:, :, 18:] = 0
    one.begin_step(1, 0.0)
    loss = one(planes, target, noise())
    y, learner = planes[:, 2:4], one.network
    hidden = one._hidden(y, y, noise())
    seen = (~hidden).float()
    whole, said = [learner(planes)], [learner(planes, seen)]
    if z_weight is not None:
        next_ = torch.cat([planes[:, 2:], planes[:, 4:]], dim=1)
        whole.append(learner(next_))
        said.append(learner(next_, seen))
    weight = z_weight or 1.0
    gradients = [
        p - q
        for p, q in zip(
            gradients_of(whole, weight), gradients_of(said, weight), strict=True
        )
    ]
    voxels = gradient_loss(said[0] - y, gradients, 0.8, 0.5)
    counts = (hidden * target)[:, None].expand_as(voxels)
    torch.testing.assert_close(loss, (voxels * counts).sum() / counts.sum())
    assert one.score(planes, target, noise()).isfinite()


def test_detail_of_one_channel_is_detail() -> None:
    one = MaskedObjective(network(), Blind2GradSettings(detail_by="pixel"))
    y = torch.full((2, 2, 24, 24), 0.5)
    estimate = y.clone()
    estimate[:, 1, :, :12] += 1
    detail = one._detail(y, estimate, noise())
    assert detail[..., :12].all()
    assert not detail[..., 12:].any()
    # The noise of its own channel decides what is beyond it.
    one.settings = Blind2GradSettings(eps_g=0.0)
    y = y + 0.1 * torch.stack([chances(2, 24, 24), chances(2, 24, 24, seed=3)], 1)
    strong = noise(b=1e-3)
    each = [
        detail_of(y[:, c], estimate[:, c], of_channel(strong, c), 0.0, "smooth")
        for c in range(2)
    ]
    assert torch.equal(one._detail(y, estimate, strong), each[0] | each[1])


# --- the answer ------------------------------------------------------------------


def test_a_tile_with_its_halo_answers_as_the_whole_plane() -> None:
    model = random_masked(channels=2, context=0, depth=1)
    predictor = make_predictor(model, CPU)
    assert type(predictor) is JointMaskedPredictor
    planes = 100 + 50 * chances(2, 130, 97).numpy()[None]
    whole, std = predictor(planes, [[0]], 0)
    assert whole.shape == (1, 2, 130, 97)
    assert not std.any()
    assert predictor.halo < 48
    part, _ = predictor(planes[..., 16:, :], [[0]], 0, corner=(0, 16, 0))
    np.testing.assert_allclose(part[..., 48:, :], whole[..., 64:, :], rtol=1e-5)


def test_both_channels_come_out_on_their_own_scales(
    run: tuple[nb.Result, list[Progress]], both: NDArray[np.float32], phantom: Phantom
) -> None:
    result, events = run
    image = np.asarray(result.image)
    assert image.shape == both.shape
    np.testing.assert_array_equal(np.isnan(image), np.isnan(both))
    error = np.mean((image[0] - phantom.truth) ** 2)
    assert error < 0.4 * np.mean((both[0] - phantom.truth) ** 2)
    assert np.nanmean(image[1]) == pytest.approx(np.nanmean(both[1]), rel=0.05)
    told = " ".join(event.message for event in events)
    assert "2 channels are denoised together" in told
    assert result.model.settings.channels == 2
    methods = result_methods(result.provenance)
    assert "with all 2 channels together" in methods
    assert "covariance" not in methods
    losses = [e.metrics["loss"] for e in events if "loss" in e.metrics]
    assert np.mean(losses[-20:]) < np.mean(losses[:20])


@pytest.mark.parametrize("asked", [{}, {"combine": True}, {"average": "none"}])
def test_a_model_file_brings_back_the_result(
    asked: dict[str, Any],
    run: tuple[nb.Result, list[Progress]],
    both: NDArray[np.float32],
    tmp_path: Path,
) -> None:
    model = run[0].model
    path = nb.save_model(model, tmp_path / "joint.safetensors")
    assert read_header(path)["format"] == 6
    ask = {"axes": "CZYX", "threads": 1, **asked}
    image = nb.predict(nb.load_model(path), both, **ask).image
    np.testing.assert_array_equal(image, nb.predict(model, both, **ask).image)
    if not asked:
        np.testing.assert_array_equal(image, run[0].image)
    assert np.isfinite(image[0]).all()
    shown = nb.preview(both, model, "z=3,y=8:40", axes="CZYX", **asked)
    np.testing.assert_allclose(shown, image[0][3, 8:40], rtol=1e-5)


def test_models_of_one_channel_are_written_as_before(tmp_path: Path) -> None:
    header = read_header(nb.save_model(random_masked(), tmp_path / "one.safetensors"))
    assert header["format"] == 5
    assert "channels" not in header["network"]


def test_a_student_learns_both_channels(
    run: tuple[nb.Result, list[Progress]],
    both: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quick = distilling.student_recipe("cpu").model_copy(
        update={"lessons": 16, "crop": 32, "steps": 40}
    )
    monkeypatch.setattr(distilling, "student_recipe", lambda _: quick)
    student = nb.distill(
        run[0].model, both, student="tiny", axes="CZYX", threads=1, steps=40
    )
    image = nb.predict(student, both, axes="CZYX", threads=1).image
    assert image.shape == both.shape
    assert np.nanmean(image[1]) == pytest.approx(np.nanmean(both[1]), rel=0.1)


# --- what is refused -------------------------------------------------------------


def test_one_channel_cannot_go_together(phantom: Phantom) -> None:
    with pytest.raises(InputError, match="channels='joint' needs a stack of several"):
        nb.denoise(phantom.noisy, steps=1, **{**JOINT, "axes": "ZYX"})


def test_a_covariance_has_no_meaning() -> None:
    with pytest.raises(InputError, match="covariance has no meaning with method="):
        parse_settings(
            DenoiseSettings,
            method="blind2grad",
            channels="joint",
            covariance="diagonal",
        )
