"""Warm starts from end to end: what is gained, what is refused, and what is told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import torch

import napari_blindspot as nb
from models import random_masked, random_student, random_teacher
from napari_blindspot.cli import main
from napari_blindspot.config import (
    DenoiseSettings,
    NetworkSettings,
    NoiseSettings,
    Recipe,
    TrainSettings,
    parse_settings,
)
from napari_blindspot.errors import InputError, ModelFileError
from napari_blindspot.facts import Result, describe
from napari_blindspot.io import open_stack, read_provenance
from napari_blindspot.measure.camera_maps import read_camera
from napari_blindspot.methods_text import model_methods, result_methods
from napari_blindspot.model_file import read_header
from napari_blindspot.sample import Phantom, nuclei_phantom
from napari_blindspot.training import warm
from napari_blindspot.training.adjusting import Adjusted
from napari_blindspot.training.at_once import student_at_once
from napari_blindspot.training.recipes import choose_recipe, warm_recipe
from napari_blindspot.training.refinement import Refinement
from napari_blindspot.training.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

TOLD: dict[str, list[str]] = {}


@pytest.fixture(scope="module", autouse=True)
def short_start() -> Iterator[None]:
    """Fit the blind filters to few voxels, which takes most of a short training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_blindspot.training.filters._VOXELS", 60_000)
        yield


@pytest.fixture(scope="module")
def stack() -> Phantom:
    return nuclei_phantom((6, 56, 56), seed=4, photons=12)


def psnr(image: NDArray[Any], stack: Phantom) -> float:
    error = np.asarray(image, np.float64) - stack.truth
    return float(20 * np.log10(stack.scale / np.sqrt(np.mean(error**2))))


def denoised(stack: Phantom, told: list[str] | None = None, **options: Any) -> Result:
    def hear(event: nb.Progress) -> None:
        if told is not None and event.message:
            told.append(event.message)

    usual: dict[str, Any] = {"axes": "ZYX", "device": "cpu", "threads": 1}
    return nb.denoise(stack.noisy, **usual | options, on_progress=hear)


@pytest.fixture(scope="module")
def at_start(stack: Phantom) -> Result:
    return denoised(stack, steps=0)


@pytest.fixture(scope="module")
def further(stack: Phantom) -> Result:
    return denoised(stack, steps=12)


@pytest.fixture(scope="module")
def cold(stack: Phantom) -> Result:
    return denoised(stack, steps=2, start="cold")


def start_of(result: Result) -> dict[str, Any]:
    facts: dict[str, Any] = result.model.provenance["start"]
    return facts


def test_no_step_gives_a_better_image_than_the_noisy_one(
    at_start: Result, stack: Phantom
) -> None:
    assert np.isfinite(at_start.image).all()
    assert psnr(at_start.image, stack) > psnr(stack.noisy, stack) + 6
    assert at_start.model.provenance["training"]["steps"] == 0
    facts = start_of(at_start)
    assert facts["used"] is True
    assert facts["weights"] < facts["filter"]
    assert at_start.model.settings.units == "noise"


def test_no_step_gives_more_than_the_linear_filter_alone(
    at_start: Result, stack: Phantom
) -> None:
    filtered = denoised(stack, steps=0, start="cold")
    assert np.isfinite(filtered.image).all()
    assert filtered.model.settings.units == "scale"
    assert psnr(at_start.image, stack) > psnr(filtered.image, stack)


def test_no_step_of_a_large_network_is_answered_by_the_one_it_would_grow_from(
    stack: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = choose_recipe(TrainSettings(quality="best"), "cuda").network
    assert warm.begin("warm", large).network.width == large.width
    recipe = Recipe(network=large, crop=32, batch=2, steps=0)
    monkeypatch.setattr(
        "napari_blindspot.training.fitting.choose_recipe", lambda *_: recipe
    )
    told: list[str] = []
    result = denoised(stack, told, steps=0)
    assert start_of(result)["used"] is True
    assert result.model.settings.width < large.width
    assert not [one for one in told if "cold" in one]
    assert psnr(result.image, stack) > psnr(stack.noisy, stack) + 8


def test_a_network_that_grew_from_the_weights_is_trained_and_says_so(
    stack: Phantom, monkeypatch: pytest.MonkeyPatch, at_start: Result
) -> None:
    small = choose_recipe(TrainSettings(quality="fast"), "cpu").network
    large = small.model_copy(update={"width": small.width + 4})
    recipe = Recipe(network=large, crop=32, batch=2, steps=2)
    monkeypatch.setattr(
        "napari_blindspot.training.fitting.choose_recipe", lambda *_: recipe
    )
    result = denoised(stack, quality="fast")
    assert result.model.provenance["training"]["steps"] == 2  # as many as a cold one
    facts = start_of(result)
    assert facts["weights"] == pytest.approx(start_of(at_start)["weights"], rel=0.02)
    assert facts["used"] is True
    assert result.model.settings.width == large.width
    assert facts["grown_from"] == {"width": 8, "depth": 3, "neighbour_width": 16}
    text = result_methods(result.provenance)
    assert "those of a smaller network of width 8 and depth 3" in text


def test_steps_do_not_make_the_held_out_score_worse(
    at_start: Result, further: Result
) -> None:
    before = start_of(further)["weights"]
    assert before == pytest.approx(start_of(at_start)["weights"], rel=1e-5)
    assert further.model.provenance["training"]["held_out_score"] <= before
    assert further.model.provenance["training"]["steps"] == 12
    changed = dict(further.model.network.named_parameters())
    same = [
        torch.equal(changed[name], one)
        for name, one in at_start.model.network.named_parameters()
    ]
    if further.model.provenance["training"]["held_out_score"] < before:
        assert not all(same)


def test_a_cold_start_is_what_training_was_before_there_were_weights(
    cold: Result, stack: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert start_of(cold)["name"] == "cold"
    assert start_of(cold)["used"] is False
    assert cold.model.settings.units == "scale"
    assert cold.model.teacher.eyes is None
    # Without any knowledge of start weights, nothing else comes out.
    monkeypatch.setattr(warm, "shipped_within", lambda _: None)
    without = denoised(stack, steps=2)
    np.testing.assert_array_equal(without.image, cold.image)


def test_a_start_of_random_weights_is_left_out_by_the_held_out_score(
    stack: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    real = warm.read_weights

    def garbage(one: Any) -> dict[str, torch.Tensor]:
        return {
            name: torch.randn(tensor.shape, generator=generator)
            for name, tensor in real(one).items()
        }

    rates: list[float] = []
    step = Trainer.step

    def watched(trainer: Trainer, *args: Any) -> float:
        rates.append(max(trainer.rates))
        return step(trainer, *args)

    cold = Recipe(
        network=choose_recipe(TrainSettings(quality="fast"), "cpu").network,
        crop=32,
        batch=2,
        steps=5,
        learning_rate=3e-3,
    )
    monkeypatch.setattr(warm, "read_weights", garbage)
    monkeypatch.setattr(Trainer, "step", watched)
    monkeypatch.setattr(
        "napari_blindspot.training.fitting.choose_recipe", lambda *_: cold
    )
    told: list[str] = []
    result = denoised(stack, told, quality="fast")
    facts = start_of(result)
    assert facts["used"] is False
    assert facts["weights"] > facts["filter"]
    sentences = [one for one in told if "start weights do not fit" in one]
    assert len(sentences) == 1
    assert f"{facts['weights']:.4f}" in sentences[0]
    assert sentences[0].endswith("so training starts cold and takes longer")
    assert "trial" not in facts  # so far off, no trial would help
    # The recipe is that of a cold start in everything: steps and learning rate.
    assert result.model.provenance["training"]["steps"] == 5
    assert rates == [3e-3] * 5
    held_out = result.model.provenance["training"]["held_out_score"]
    assert held_out <= facts["filter"]
    assert psnr(result.image, stack) > psnr(stack.noisy, stack) + 6
    assert "pretrained" not in result_methods(result.provenance)


def louder(monkeypatch: pytest.MonkeyPatch, times: float) -> None:
    """Let the last layer of all start weights say so many times as much."""
    real = warm.read_weights

    def read(one: Any) -> dict[str, torch.Tensor]:
        return {
            name: times * tensor if name.startswith("last") else tensor
            for name, tensor in real(one).items()
        }

    monkeypatch.setattr(warm, "read_weights", read)


@pytest.mark.parametrize(("times", "used"), [(2, True), (3, False)])
def test_a_start_that_does_not_fit_at_once_is_kept_if_it_soon_does(
    times: float, used: bool, stack: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    step = Trainer.step

    def watched(trainer: Trainer, *args: Any) -> float:
        rates.append(max(trainer.rates))
        return step(trainer, *args)

    monkeypatch.setattr(Trainer, "step", watched)
    louder(monkeypatch, times)
    told: list[str] = []
    result = denoised(stack, told, steps=40)
    facts = start_of(result)
    assert facts["weights"] > facts["filter"]
    trial = facts["trial"]
    assert (trial["steps"], trial["filter"]) == (25, pytest.approx(facts["filter"]))
    assert facts["used"] is used is (trial["weights"] < trial["filter"])
    assert used or trial["weights"] > trial["filter"] + 1e-4
    assert rates == [choose_recipe(TrainSettings(steps=40), "cpu").learning_rate] * 40
    first, then = (one for one in told if "start weights" in one)
    assert first.endswith("so training treats them like random weights")
    end = "trained further" if used else "so training starts cold"
    assert then.endswith(end)
    assert ("pretrained" in result_methods(result.provenance)) is used
    held_out = result.model.provenance["training"]["held_out_score"]
    assert held_out <= facts["filter"]


def test_weights_that_failed_their_trial_are_not_the_result(
    stack: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where scores from before cannot be compared, after the noise changed."""
    louder(monkeypatch, 3)
    looks: list[object] = []

    def look(self: Refinement, network: object) -> Adjusted:
        looks.append(network)
        return Adjusted("The noise is another one.")

    monkeypatch.setattr(Refinement, "__call__", look)
    told: list[str] = []
    result = denoised(stack, told, steps=26)
    assert looks
    facts = start_of(result)
    assert facts["used"] is False
    assert "on_trial" not in facts
    held_out = result.model.provenance["training"]["held_out_score"]
    assert held_out <= facts["trial"]["filter"]


def test_a_training_that_ends_with_the_trial_starts_nothing(
    stack: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    louder(monkeypatch, 3)
    told: list[str] = []
    result = denoised(stack, told, steps=10)
    assert start_of(result)["trial"]["steps"] == 10
    (sentence,) = [one for one in told if one.startswith("Within 10 steps")]
    assert sentence.endswith("so the best linear filter alone answers")


def test_a_trial_that_was_stopped_goes_on_to_the_same_weights(
    stack: Phantom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    louder(monkeypatch, 3)
    noisy = tmp_path / "noisy.tif"
    tifffile.imwrite(noisy, stack.noisy, metadata={"axes": "ZYX"})
    words = ["--axes", "ZYX", "--device", "cpu", "--threads", "1", "--steps", "40"]
    whole, parted = tmp_path / "whole.safetensors", tmp_path / "parted.safetensors"
    assert main(["train", str(noisy), str(whole), *words]) == 0
    step = Trainer.step

    def stopping(trainer: Trainer, *args: Any) -> float:
        if trainer.steps == 12:
            raise KeyboardInterrupt
        return step(trainer, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", stopping)
        assert main(["train", str(noisy), str(parted), *words, "--resume"]) != 0
    torch.manual_seed(7)  # another process knows nothing of the first one's chance
    assert main(["train", str(noisy), str(parted), *words, "--resume"]) == 0
    once, twice = nb.load_model(whole), nb.load_model(parted)
    assert twice.provenance["start"]["trial"]["steps"] == 25
    assert not twice.provenance["start"]["used"]
    for name, tensor in once.network.state_dict().items():
        assert torch.equal(tensor, twice.network.state_dict()[name]), name


@pytest.mark.parametrize(
    ("steps", "so"),
    [(1, "training starts cold"), (0, "the best linear filter alone answers")],
)
def test_a_budget_of_the_users_is_not_said_to_grow(
    steps: int, so: str, stack: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = warm.read_weights
    monkeypatch.setattr(
        warm, "read_weights", lambda one: {k: 50 * v for k, v in real(one).items()}
    )
    told: list[str] = []
    result = denoised(stack, told, steps=steps)
    assert start_of(result)["used"] is False
    (sentence,) = [one for one in told if "start weights do not fit" in one]
    assert sentence.endswith(f"so {so}")


def test_warm_training_is_shorter_and_slower_unless_the_user_says_how_long() -> None:
    for device in ("cpu", "cuda"):
        settings = TrainSettings(quality="fast")
        recipe = choose_recipe(settings, device)
        shorter = warm_recipe(recipe, settings)
        assert shorter.steps < 0.6 * recipe.steps
        assert shorter.minutes < 0.6 * recipe.minutes
        assert shorter.learning_rate < 0.6 * recipe.learning_rate
        # What grew from a smaller network is mostly random: it takes its time.
        grown = warm_recipe(recipe, settings, grown=True)
        assert (grown.steps, grown.minutes) == (recipe.steps, recipe.minutes)
        assert grown.learning_rate == shorter.learning_rate
        for given in (TrainSettings(steps=70), TrainSettings(minutes=3)):
            recipe = choose_recipe(given, device)
            warm_one = warm_recipe(recipe, given)
            assert (warm_one.steps, warm_one.minutes) == (recipe.steps, recipe.minutes)


def test_the_model_of_a_warm_start_is_read_back(
    at_start: Result, stack: Phantom, tmp_path: Path
) -> None:
    path = nb.save_model(at_start.model, tmp_path / "a")
    assert read_header(path)["format"] == 4
    back = nb.load_model(path)
    assert back.settings == at_start.model.settings
    image = nb.predict(back, stack.noisy, axes="ZYX", device="cpu").image
    np.testing.assert_allclose(image, at_start.image, rtol=1e-5, atol=1e-3)


def test_a_cold_model_is_still_read_by_older_versions(
    cold: Result, tmp_path: Path
) -> None:
    header = read_header(nb.save_model(cold.model, tmp_path / "a"))
    assert header["format"] == 1
    assert "units" not in header["network"]


@pytest.mark.parametrize("as_path", [True, False])
def test_a_model_is_the_start_for_the_next_stack(
    further: Result, stack: Phantom, tmp_path: Path, as_path: bool
) -> None:
    path = nb.save_model(further.model, tmp_path / "scope.safetensors")
    following = nuclei_phantom((6, 48, 48), seed=9, photons=12)
    result = denoised(following, steps=0, start=path if as_path else str(path))
    assert start_of(result)["used"] is True
    assert start_of(result)["name"] == "model"
    theirs = dict(further.model.network.named_parameters())
    for name, parameter in result.model.network.named_parameters():
        assert torch.equal(parameter, theirs[name])
    # The filter and the noise are those of the new stack.
    kernels = [one.model.teacher.start.kernel for one in (further, result)]
    assert not torch.equal(*kernels)
    text = result_methods(result.provenance)
    assert "The network started from the model scope.safetensors of " in text
    assert str(tmp_path) not in text
    assert str(tmp_path) not in str(result.provenance)
    assert result.provenance["settings"]["start"] == "scope.safetensors"


def saved(folder: Path, **shape: Any) -> str:
    return str(nb.save_model(random_teacher(**shape), folder / "a.safetensors"))


@pytest.mark.parametrize(
    ("units", "planes"), [("noise", 6), ("scale", 6), ("noise", 1)]
)
def test_the_shape_is_that_of_the_model(
    tmp_path: Path, units: str, planes: int
) -> None:
    start = saved(tmp_path, context=1, units=units, width=5, depth=2)
    beginning = warm.begin(start, NetworkSettings(context=min(2, planes - 1), depth=3))
    network = beginning.network
    assert (network.width, network.depth, network.units) == (5, 2, units)
    assert network.context == (1 if planes > 1 else 0)
    assert beginning.is_warm
    fresh = loop_network(network)
    beginning.give(fresh)


def loop_network(settings: NetworkSettings) -> Any:
    from napari_blindspot.networks.blindspot import BlindSpotNetwork

    return BlindSpotNetwork(settings)


def test_a_model_of_more_planes_is_cut_where_that_is_exact_and_else_refused(
    tmp_path: Path,
) -> None:
    flat = NetworkSettings(context=0)
    cut = warm.begin(saved(tmp_path, context=2, units="noise"), flat)
    assert cut.network.context == 0
    cut.give(loop_network(cut.network))
    (tmp_path / "a.safetensors").unlink()
    with pytest.raises(InputError, match="sees 2 neighbour planes on either side"):
        warm.begin(saved(tmp_path, context=2), flat)


def test_students_and_joint_models_are_no_start(tmp_path: Path, stack: Phantom) -> None:
    student = nb.save_model(random_student(), tmp_path / "student")
    with pytest.raises(InputError, match="is a student, which has no blind spot"):
        denoised(stack, start=student, steps=0)
    masked = nb.save_model(random_masked(), tmp_path / "masked")
    with pytest.raises(InputError, match=r"start=.*='blind2grad', whose network has"):
        denoised(stack, start=masked, steps=0)
    joint = saved(tmp_path, channels=2)
    with pytest.raises(InputError, match="denoises 2 channels together, but this tr"):
        denoised(stack, start=joint, steps=0)


def test_a_start_that_is_no_model_is_refused_in_words(
    tmp_path: Path, stack: Phantom
) -> None:
    for wrong in ("hot", "", "model.tif"):
        with pytest.raises(InputError, match="give 'warm', 'cold' or the path of a mo"):
            parse_settings(TrainSettings, start=wrong)
    with pytest.raises(ModelFileError, match="There is no model file"):
        denoised(stack, start=tmp_path / "none.safetensors", steps=0)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\x00" * 40)
    with pytest.raises(ModelFileError, match="cannot be read as a model file"):
        denoised(stack, start=broken, steps=0)


def test_a_start_beside_a_model_is_refused() -> None:
    with pytest.raises(InputError, match="start cannot be given together with model"):
        parse_settings(DenoiseSettings, model="a.safetensors", start="cold")


def test_a_student_is_refused_where_no_step_is_left_for_it() -> None:
    with pytest.raises(InputError, match="student='tiny' cannot be given with steps=0"):
        parse_settings(DenoiseSettings, student="tiny", steps=0)
    assert parse_settings(DenoiseSettings, student="none", steps=0).steps == 0


def test_the_other_method_answers_without_a_step_too(stack: Phantom) -> None:
    result = denoised(stack, method="atbsn", steps=0)
    assert not result.model.is_student
    assert start_of(result)["name"] != "cold"
    assert psnr(result.image, stack) > psnr(stack.noisy, stack) + 3


def test_channels_one_at_a_time_start_warm(stack: Phantom) -> None:
    both = np.stack([stack.noisy, stack.noisy // 4 + 300])
    result = nb.denoise(both, axes="CZYX", steps=0, device="cpu", threads=1)
    assert start_of(result)["used"] is True
    assert result.model.settings.starts == 2
    eyes = result.model.teacher.eyes
    assert eyes is not None
    assert len(set(eyes.level.tolist())) == 2
    assert psnr(result.image[0], stack) > psnr(stack.noisy, stack) + 6


def test_channels_together_start_cold_and_are_told_so(stack: Phantom) -> None:
    both = np.stack([stack.noisy, stack.noisy // 4 + 300])
    told: list[str] = []
    wide = replace(stack, noisy=both)
    result = denoised(wide, told, axes="CZYX", channels="joint", steps=1)
    sentence = "Channels that are denoised together start cold"
    assert [one for one in told if one.startswith(sentence)]
    assert start_of(result)["name"] == "cold"
    assert result.model.settings.units == "scale"


@pytest.mark.parametrize(
    ("shape", "context"), [((1, 56, 56), 0), ((2, 56, 56), 1)], ids=str
)
def test_images_and_thin_stacks_start_warm_with_fewer_planes(
    shape: tuple[int, int, int], context: int
) -> None:
    thin = nuclei_phantom(shape, seed=4, photons=12)
    result = denoised(thin, steps=0)
    assert result.model.settings.context == context
    assert start_of(result)["name"] != "cold"
    assert psnr(result.image, thin) > psnr(thin.noisy, thin) + 5


@pytest.mark.parametrize("noise", ["gaussian", "impulse"])
def test_every_family_of_noise_starts_warm(noise: str, stack: Phantom) -> None:
    result = denoised(stack, noise=noise, steps=0)
    assert start_of(result)["weights"] is not None
    assert np.isfinite(result.image).all()
    assert psnr(result.image, stack) > psnr(stack.noisy, stack) + 5


def test_results_and_models_tell_their_start(
    at_start: Result, further: Result, cold: Result, tmp_path: Path
) -> None:
    name = start_of(at_start)["name"]
    sentence = (
        f"The network started from weights pretrained on generated volumes ({name})."
    )
    for result in (at_start, further):
        assert result_methods(result.provenance).count(sentence) == 1
    assert "started from" not in result_methods(cold.provenance)
    nothing = result_methods(at_start.provenance)
    assert "Without any training step, its linear filter alone was fitted to" in nothing
    assert "Training took" not in nothing
    assert "Training took 12 steps" in result_methods(further.provenance)
    path = nb.save_model(further.model, tmp_path / "a")
    facts = describe(path)
    assert facts["provenance"]["start"]["sha256"] == start_of(further)["sha256"]
    assert sentence in facts["methods"]
    assert model_methods(read_header(path)) == facts["methods"]


def test_a_student_tells_the_start_of_its_teacher(further: Result) -> None:
    from napari_blindspot.facts import _OF_A_TEACHER

    made = further.model.provenance
    model = {
        "teacher": {
            "network": further.model.settings.model_dump(),
            "answer": "posterior",
            **{name: made.get(name) for name in _OF_A_TEACHER},
        },
        "training": made["training"],
        "distillation": {"student": "tiny", "holes": [[1, 1, 1]], "steps": 3},
    }
    text = result_methods({**further.provenance, "role": "student", "model": model})
    assert f"pretrained on generated volumes ({start_of(further)['name']})" in text


def test_the_shell_takes_a_start_and_info_tells_it(
    stack: Phantom, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", stack.noisy, metadata={"axes": "ZYX"}, imagej=True
    )
    a, out = str(tmp_path / "a.tif"), str(tmp_path / "out.tif")
    words = ["--device", "cpu", "--threads", "1", "--steps", "0"]
    assert main(["denoise", a, out, "--start", "warm", *words]) == 0
    facts = read_provenance(out)
    assert facts is not None
    assert facts["model"]["start"]["used"] is True
    capsys.readouterr()
    assert main(["info", out]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "weights pretrained on generated volumes" in told
    lost = str(tmp_path / "lost.safetensors")
    assert main(["denoise", a, out, "--overwrite", "--start", lost, *words]) != 0
    told = capsys.readouterr().err
    assert "There is no model file" in told
    assert "Estimating the noise" not in told  # before any work
    assert read_provenance(out) == facts  # the earlier result is still there


def test_a_shipped_student_answers_at_once(stack: Phantom) -> None:
    opened = open_stack(stack.noisy, axes="ZYX")
    settings = NoiseSettings()
    model = student_at_once(opened, settings, read_camera(settings), "small")
    result = nb.predict(model, stack.noisy, axes="ZYX", device="cpu")
    assert psnr(result.image, stack) > psnr(stack.noisy, stack) + 6
    text = result_methods(result.provenance)
    assert "pretrained on generated volumes (student-small), was used as it is" in text
    assert "The answer of the student at every voxel" in text
    for untrue in ("It was trained", "blind spot", "posterior"):
        assert untrue not in text
