"""Blind2Grad from stack to result: training, model file, students, refusals, shell."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import napari_blindspot as nb
from models import TINY_MASKED, random_teacher, tiny_masked_recipes
from napari_blindspot.api import describe
from napari_blindspot.cli import main
from napari_blindspot.config import PreviewSettings, TrainSettings
from napari_blindspot.errors import Cancelled, InputError
from napari_blindspot.inference.predictor_blind2grad import MaskedPredictor, combined
from napari_blindspot.inference.predictor_student import make_predictor
from napari_blindspot.jobs import train_job
from napari_blindspot.model_file import read_header
from napari_blindspot.noise.field import NoiseField
from napari_blindspot.noise.likelihood import Affine
from napari_blindspot.normalize import Normalization
from napari_blindspot.planes import plane_series
from napari_blindspot.progress import CancelToken
from napari_blindspot.progress import run as run_job
from napari_blindspot.reporting.previewing import preview_job
from napari_blindspot.training import distilling
from napari_blindspot.training.at_once import models_at_once
from napari_blindspot.training.learning_masked import _z_weight
from napari_blindspot.training.sampling import CropSampler, Place, Source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_blindspot.model import Model
    from napari_blindspot.progress import Progress
    from napari_blindspot.sample import Phantom

CPU = torch.device("cpu")
FULL = (slice(None), slice(None))
B2G: dict[str, Any] = {"method": "blind2grad", "axes": "ZYX", "threads": 1}


@pytest.fixture(scope="module", autouse=True)
def small_recipe() -> Iterator[None]:
    with tiny_masked_recipes():
        yield


@pytest.fixture(scope="module")
def run(phantom: Phantom) -> tuple[nb.Result, list[Progress]]:
    """A result of 80 steps and 8 passes, and what was told on the way."""
    events: list[Progress] = []
    result = nb.denoise(
        phantom.noisy, steps=80, passes=8, on_progress=events.append, **B2G
    )
    return result, events


@pytest.fixture(scope="module")
def model(run: tuple[nb.Result, list[Progress]]) -> Model:
    return run[0].model


def psnr(image: NDArray[Any], phantom: Phantom) -> float:
    error = np.mean((np.asarray(image, np.float64) - phantom.truth) ** 2)
    return float(10 * np.log10(phantom.scale**2 / error))


def test_the_result_beats_the_noisy_stack_by_five_decibels(
    run: tuple[nb.Result, list[Progress]], phantom: Phantom
) -> None:
    gain = psnr(run[0].image, phantom) - psnr(phantom.noisy, phantom)
    assert gain > 5


def test_the_loss_falls_and_held_out_voxels_decide(
    run: tuple[nb.Result, list[Progress]],
) -> None:
    result, events = run
    losses = [e.metrics["loss"] for e in events if "loss" in e.metrics]
    scores = [e.metrics["held_out"] for e in events if "held_out" in e.metrics]
    assert len(losses) == 80
    assert np.mean(losses[-20:]) < np.mean(losses[:20])
    training = result.model.provenance["training"]
    assert len(scores) >= 3
    assert training["held_out_score"] == min(scores) < scores[0]


def test_what_was_chosen_is_written_down(model: Model) -> None:
    assert (model.kind, model.method, model.answer) == ("masked", "blind2grad", "mean")
    assert model.known_hole is None
    assert not model.has_uncertainty
    assert model.provenance["start"] == {"name": "cold", "used": False}
    chosen = model.provenance["blind2grad"]
    assert (chosen["mask"], chosen["passes"], chosen["omega"]) == ("dual", 8, None)
    assert model.settings.passes == 8


def test_the_same_seed_gives_the_same_result(phantom: Phantom) -> None:
    def denoised(seed: int) -> NDArray[Any]:
        options = {**B2G, "steps": 6, "passes": 4, "seed": seed}
        return np.asarray(nb.denoise(phantom.noisy, **options).image)

    first = denoised(3)
    np.testing.assert_array_equal(first, denoised(3))
    assert not np.array_equal(first, denoised(4))


def test_thresholds_in_grey_levels_follow_the_range_of_the_stack(
    phantom: Phantom,
) -> None:
    options = {**B2G, "steps": 12, "passes": 4, "eps_g": 15.0, "eps_s": 15.0}
    values = phantom.noisy.astype(np.float32)
    one, other = (
        np.asarray(nb.denoise(scale * values, **options).image) for scale in (1, 16)
    )
    np.testing.assert_allclose(other, 16 * one, rtol=1e-3)


@pytest.mark.parametrize("shape", [(33, 47), (3, 33, 47), (5, 17, 16)])
def test_odd_and_small_sizes_work(
    shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    noisy = rng.poisson(50 + 20 * np.sin(np.arange(shape[-1]) / 3), shape)
    axes = "ZYX"[-len(shape) :]
    result = nb.denoise(
        noisy.astype(np.float32), **{**B2G, "axes": axes}, steps=3, passes=4
    )
    assert result.image.shape == shape
    assert np.isfinite(result.image).all()


def test_several_channels_are_denoised_one_at_a_time(phantom: Phantom) -> None:
    both = np.stack([phantom.noisy, phantom.noisy[::-1] * 3])
    result = nb.denoise(both, **{**B2G, "axes": "CZYX"}, steps=30, passes=4)
    assert result.image.shape == both.shape
    assert len(result.noise) == 2
    assert result.image[1].mean() == pytest.approx(both[1].mean(), rel=0.05)


def test_missing_voxels_stay_missing_and_do_not_darken_others(
    phantom: Phantom,
) -> None:
    noisy = phantom.noisy.astype(np.float32) + 1000
    noisy[:, 20:24, 30:34] = np.nan
    result = nb.denoise(noisy, **B2G, steps=80, passes=4)
    image = np.asarray(result.image)
    assert np.isnan(image[:, 20:24, 30:34]).all()
    around = image[:, 17:27, 27:37]
    expected = phantom.truth[:, 17:27, 27:37] + 1000
    seen = np.isfinite(around)
    assert seen.sum() == around.size - 16 * len(image)
    off = float(np.mean(around[seen] - expected[seen]))
    assert abs(off) < 0.03 * phantom.scale


def test_crops_tell_what_is_missing_and_ask_only_for_what_is_good(
    phantom: Phantom,
) -> None:
    noisy = phantom.noisy.astype(np.float32)
    noisy[:, 20:24, 30:34] = np.nan
    top = float(np.nanmax(noisy))
    noisy[:, 2:6, 2:6] = top
    series = plane_series(nb.open_stack(noisy, axes="ZYX"), "z")
    noise = NoiseField(Affine(0.0, 0.0, 0.0))
    source = Source(series[0], Normalization(0.0, 1.0), noise, top)
    recipe = TINY_MASKED.model_copy(update={"crop": 48})
    sampler = CropSampler([source], 1, recipe, 8, 0, missing=np.nan)
    kept_back = 0.0
    for index in (1, 2, 3):
        place = Place(0, index, 0, 0)
        planes, target = sampler.crop_at(place, held_out=False)
        np.testing.assert_array_equal(planes, noisy[index - 1 : index + 2, :48, :48])
        _, other = sampler.crop_at(place, held_out=True)
        good = np.isfinite(planes[1]) & (planes[1] < top)
        np.testing.assert_array_equal(target + other, good)
        assert target.sum() > other.sum()
        kept_back += float(other.sum())
    assert kept_back > 0


def test_what_a_student_is_taught_is_what_the_model_says(model: Model) -> None:
    """Also beside voxels that are missing, and with their own value brought in."""
    rng = np.random.default_rng(1)
    planes = rng.poisson(60, (5, 64, 64)).astype(np.float32)
    planes[2, 20:44, 20:44] = np.nan
    network = make_predictor(model, CPU).network.cpu()
    network.settings = model.settings.model_copy(update={"combine": True})
    predictor = MaskedPredictor(replace(model, network=network), CPU)
    said, _ = predictor(planes, [[0, 1, 2, 3, 4]], 0)
    scale = model.scales[0]
    taught = predictor.answers(
        scale.forward(planes)[None], predictor.noise_field(0).at([0], *FULL), 0, ()
    )[0].numpy()
    there = np.isfinite(said)
    assert there.sum() == said.size - 24**2
    np.testing.assert_allclose(scale.inverse(taught)[there], said[there], rtol=1e-4)


def test_one_large_plane_can_be_cancelled_between_passes(model: Model) -> None:
    token, shares = CancelToken(), []

    def stop(event: Progress) -> None:
        if event.stage == "predict" and event.done > 0:
            shares.append(event.done)
            token.cancel()

    plane = np.random.default_rng(0).poisson(60, (5, 96, 96)).astype(np.float32)
    with pytest.raises(Cancelled):
        nb.predict(model, plane, axes="ZYX", on_progress=stop, cancel=token)
    assert shares == [1 / 8]


def test_a_model_file_brings_back_the_very_result(
    run: tuple[nb.Result, list[Progress]], phantom: Phantom, tmp_path: Path
) -> None:
    path = nb.save_model(run[0].model, tmp_path / "masked.safetensors")
    header = read_header(path)
    assert (header["kind"], header["format"]) == ("masked", 5)
    again = nb.predict(nb.load_model(path), phantom.noisy, axes="ZYX", threads=1)
    np.testing.assert_array_equal(again.image, run[0].image)


def test_a_trained_model_can_be_asked_otherwise(
    run: tuple[nb.Result, list[Progress]], phantom: Phantom, tmp_path: Path
) -> None:
    model = run[0].model
    path = nb.save_model(model, tmp_path / "masked.safetensors")
    ask: dict[str, Any] = {"axes": "ZYX", "threads": 1}
    fewer = nb.predict(model, phantom.noisy, passes=4, average="hidden", **ask)
    again = nb.denoise(phantom.noisy, model=path, passes=4, average="hidden", **ask)
    np.testing.assert_array_equal(fewer.image, again.image)
    assert not np.allclose(fewer.image, run[0].image, rtol=1e-4)
    assert (fewer.model.settings.passes, model.settings.passes) == (4, 8)
    assert (
        "of those of 4 answers in which the voxel was hidden"
        in describe(nb.save_model(fewer.model, tmp_path / "fewer.safetensors"))[
            "methods"
        ]
    )
    shown = nb.preview(phantom.noisy, model, "z=3", axes="ZYX", passes=4)
    assert not np.allclose(shown, np.asarray(run[0].image)[3], rtol=1e-4)
    as_trained = nb.predict(model, phantom.noisy, passes=8, **ask)
    np.testing.assert_array_equal(as_trained.image, run[0].image)
    with pytest.raises(InputError, match="passes=2 is too few for combine"):
        nb.predict(model, phantom.noisy, passes=2, combine=True, **ask)
    other = random_teacher(2)
    with pytest.raises(InputError, match="passes can be given with models of method="):
        nb.predict(other, phantom.noisy, passes=4, **ask)


def test_a_file_tells_its_method_and_the_paper(model: Model, tmp_path: Path) -> None:
    facts = describe(nb.save_model(model, tmp_path / "masked.safetensors"))
    for words in (
        "Blind2Grad network of width 8 and depth 3 (Song et al., Blind2Grad: blind",
        "with 25 % of its voxels hidden at random, with 2 neighbouring planes",
        "(omega 0.8, gamma 0.5)",
        "The result is the mean of 8 answers",
    ):
        assert words in facts["methods"]


@pytest.mark.parametrize(
    ("average", "margin"), [("hidden", 4.0), ("none", 4.0), ("combine", 4.0)]
)
def test_every_kind_of_answer_denoises(
    average: str, margin: float, model: Model, phantom: Phantom
) -> None:
    how = {"combine": True} if average == "combine" else {"average": average}
    network = make_predictor(model, CPU).network
    network.settings = model.settings.model_copy(update=how)
    other = replace(model, network=network.cpu())
    image = nb.predict(other, phantom.noisy, axes="ZYX", threads=1).image
    assert psnr(image, phantom) > psnr(phantom.noisy, phantom) + margin


def test_combining_weighs_by_what_the_answers_around_are_off() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(1, 200, 200, generator=generator)  # nothing can be told of it
    y = truth + 0.5 * torch.randn(1, 200, 200, generator=generator)
    noise = Affine(torch.tensor(0.0), torch.tensor(0.25), torch.tensor(1e-9))
    answer = torch.zeros_like(y)
    found = combined(y, answer, noise)
    best = 0.25 / 1.25  # v·n / (v + n)
    assert float(((found - truth) ** 2).mean()) == pytest.approx(best, rel=0.05)
    exact = combined(y, truth, noise)
    assert float(((exact - truth) ** 2).mean()) < 0.1 * 0.25


def test_missing_voxels_have_no_say_in_combining() -> None:
    noise = Affine(torch.tensor(0.0), torch.tensor(0.25), torch.tensor(1e-9))
    answer, missing = torch.zeros(1, 30, 30), torch.zeros(1, 30, 30, dtype=torch.bool)
    y = torch.where(torch.arange(30) % 2 == 0, 0.4, -0.4).expand(1, 30, 30).clone()
    calm = combined(y, answer, noise, missing)
    y[0, 15, 15], missing[0, 15, 15] = 100.0, True
    found = combined(y, answer, noise, missing)
    others = ~missing
    torch.testing.assert_close(found[others], calm[others], atol=1e-5, rtol=0)


def test_a_student_learns_the_answer(
    model: Model, phantom: Phantom, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    quick = distilling.student_recipe("cpu").model_copy(
        update={"lessons": 16, "crop": 32, "steps": 60}
    )
    monkeypatch.setattr(distilling, "student_recipe", lambda _: quick)
    student = nb.distill(model, phantom.noisy, student="tiny", axes="ZYX", threads=1)
    assert student.is_student
    assert student.provenance["distillation"]["holes"] == []
    image = nb.predict(student, phantom.noisy, axes="ZYX", threads=1).image
    assert psnr(image, phantom) > psnr(phantom.noisy, phantom) + 4
    facts = describe(nb.save_model(student, tmp_path / "student.safetensors"))
    assert "was taught the answers that it gives, on stack" in facts["methods"]
    assert "Song et al." in facts["methods"]


def test_a_preview_shows_the_values_of_the_full_run(
    run: tuple[nb.Result, list[Progress]], phantom: Phantom
) -> None:
    region = "z=3,y=8:40,x=16:64"
    shown = nb.preview(phantom.noisy, run[0].model, region, axes="ZYX")
    expected = np.asarray(run[0].image)[3, 8:40, 16:64]
    np.testing.assert_allclose(shown, expected, rtol=1e-5)


def test_a_preview_without_a_model_trains_quickly(
    phantom: Phantom, tmp_path: Path
) -> None:
    out = tmp_path / "plane.png"
    settings = PreviewSettings(**B2G, passes=2, region="y=0:24")
    shown = run_job(preview_job(phantom.noisy, out, settings))
    assert out.is_file()
    assert (shown.method, shown.hole, shown.start) == ("blind2grad", None, None)


def test_no_uncertainty_no_hole_and_no_start_from_it(
    model: Model, phantom: Phantom, tmp_path: Path
) -> None:
    ask: dict[str, Any] = {"axes": "ZYX"}
    with pytest.raises(InputError, match="trained by method='blind2grad', which knows"):
        nb.predict(model, phantom.noisy, uncertainty=True, **ask)
    with pytest.raises(
        InputError, match=r"hole=\(1, 3, 3\) cannot be given: the model"
    ):
        nb.predict(model, phantom.noisy, hole=(1, 3, 3), **ask)
    path = nb.save_model(model, tmp_path / "masked.safetensors")
    with pytest.raises(InputError, match="whose network has no blind spot"):
        nb.train(phantom.noisy, start=str(path), steps=1, **ask)
    with pytest.raises(InputError, match="omega cannot be given together with model"):
        nb.denoise(phantom.noisy, model=path, omega=0.2, **ask)


def test_a_warm_start_that_was_asked_for_is_told_off(phantom: Phantom) -> None:
    told: list[str] = []
    for start in ({}, {"start": "warm"}):
        events: list[Progress] = []
        nb.train(phantom.noisy, **B2G, **start, steps=1, on_progress=events.append)
        told.append(" ".join(event.message for event in events))
    assert "starts cold" not in told[0]
    assert "Training starts cold: the start weights are of networks with" in told[1]


def test_nothing_answers_before_training(phantom: Phantom) -> None:
    stack = nb.open_stack(phantom.noisy, axes="ZYX")
    settings = TrainSettings(method="blind2grad")
    with pytest.raises(InputError, match="has nothing to answer from before training"):
        next(models_at_once(stack, settings, CancelToken()))


def test_differences_along_z_are_those_per_unit_of_length(phantom: Phantom) -> None:
    stack = nb.open_stack(phantom.noisy, axes="ZYX", voxel_size=(2.0, 0.4, 0.9))
    settings = TrainSettings(**B2G, gradient_axes="zyx")
    assert _z_weight([stack], settings, TINY_MASKED, "z") == (pytest.approx(0.3), "")
    assert _z_weight([stack], TrainSettings(**B2G), TINY_MASKED, "z") == (None, "")
    flat = nb.open_stack(phantom.noisy, axes="ZYX", voxel_size=(0.6, 0.4, 0.9))
    with pytest.raises(InputError, match=r"which is 0\.3 of .* but 1 of .*; train on"):
        _z_weight([stack, flat], settings, TINY_MASKED, "z")
    unknown = nb.open_stack(phantom.noisy, axes="ZYX")
    weight, sentence = _z_weight([unknown], settings, TINY_MASKED, "z")
    assert weight == 1
    assert "is not known along all axes" in sentence


def test_gradients_along_z_need_planes_along_z(phantom: Phantom) -> None:
    model = nb.train(phantom.noisy, **B2G, gradient_axes="zyx", steps=2)
    assert model.provenance["blind2grad"]["gradient_axes"] == "zyx"
    with pytest.raises(InputError, match="gradient_axes='zyx' needs neighbour planes"):
        nb.train(phantom.noisy, **B2G, gradient_axes="zyx", context="none", steps=2)


@pytest.mark.parametrize(
    "settings",
    [
        {"mask": "uniform", "variant": "real"},
        {"mask": "bernoulli", "standout": "off", "loss_form": "signed"},
        {"detail_by": "pixel", "loss_form": "decoupled", "gradient_at": "all"},
    ],
)
def test_every_choice_can_be_made(settings: dict[str, Any], phantom: Phantom) -> None:
    model = nb.train(phantom.noisy, **B2G, **settings, steps=12)
    chosen = model.provenance["blind2grad"]
    assert {name: chosen[name] for name in settings} == settings
    assert np.isfinite(model.provenance["training"]["held_out_score"])


def test_training_is_cancelled_between_steps(phantom: Phantom) -> None:
    token = CancelToken()

    def stop(event: Progress) -> None:
        if event.metrics.get("step") == 2:
            token.cancel()

    with pytest.raises(Cancelled):
        nb.train(phantom.noisy, **B2G, steps=50, on_progress=stop, cancel=token)


def test_a_watcher_sees_a_model_that_answers(phantom: Phantom) -> None:
    seen: list[float] = []

    def watch(model: Model) -> None:
        plane = phantom.noisy[:5].astype(np.float32)
        mean, std = MaskedPredictor(model, CPU)(plane, [[0, 1, 2, 3, 4]], 0)
        assert not std.any()
        seen.append(float(mean.mean()))

    settings = TrainSettings(**B2G, steps=2, passes=2)
    run_job(train_job([phantom.noisy], settings, watch=watch))
    assert len(seen) == 1


def test_the_shell_denoises_and_refuses(
    phantom: Phantom, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import tifffile

    source, out = tmp_path / "in.tif", tmp_path / "out.tif"
    tifffile.imwrite(source, phantom.noisy, metadata={"axes": "ZYX"})
    asked = ["denoise", str(source), str(out), "--method", "blind2grad", "--json"]
    code = main([*asked, "--steps", "5", "--passes", "4", "--combine"])
    facts = json.loads(capsys.readouterr().out)
    assert code == 0
    assert (facts["steps_train"], facts["hole"]) == (5, None)
    assert tifffile.imread(out).shape == phantom.noisy.shape
    assert main([*asked, "--steps", "5", "--uncertainty"]) != 0
    assert "--uncertainty cannot be given with --method blind2grad" in (
        capsys.readouterr().err
    )
