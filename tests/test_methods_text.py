"""The methods paragraph: what provenance holds, in sentences, and nothing else."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
import tifffile

import napari_blindspot as nb
from napari_blindspot.cli import main
from napari_blindspot.methods_text import model_methods, result_methods
from napari_blindspot.noise.models import PoissonGaussian

if TYPE_CHECKING:
    from pathlib import Path

    from napari_blindspot.sample import Phantom

    Facts = dict[str, Any]

pytestmark = pytest.mark.usefixtures("tiny_networks")

SOURCE = {
    "name": "cells.tif",
    "axes": "ZYX",
    "shape": [24, 512, 512],
    "dtype": "uint16",
}
SOFTWARE = {
    "software": "napari-blindspot",
    "version": "1.2.3",
    "torch": "2.13.0",
    "python": "3.11.7",
}
CAMERA = PoissonGaussian(2.5, -240.0, a_interval=(2.3, 2.7), b_interval=(-260, -220))
NETWORK = {"width": 8, "depth": 3, "context": 2, "hole": [1, 1, 5]}
MODEL = {
    **SOFTWARE,
    "sources": [SOURCE],
    "seed": 7,
    "budget": {"quality": "fast", "minutes": None, "steps": None},
    "noise_check": [{"fits": True, "residual": 1.012, "fallback": ""}],
    "training": {
        "steps": 512,
        "stopped": "held-out score",
        "crop": 96,
        "batch": 8,
    },
}
PROVENANCE: Facts = {
    **SOFTWARE,
    "method": "bayesian",
    "source": SOURCE,
    "settings": {"dtype": "float32", "uncertainty": True, "channel": None},
    "noise": [CAMERA.as_dict()],
    "network": NETWORK,
    "model": MODEL,
}
HEADER: Facts = {
    "method": "bayesian",
    "network": NETWORK,
    "noise": [CAMERA.as_dict()],
    "context_axis": "z",
    "provenance": MODEL,
}

TEACHER = {
    **SOFTWARE,
    "network": {"width": 32, "depth": 4, "context": 2, "hole": [1, 9, 9]},
    "answer": "mean",
    "hole": [1, 3, 3],
    "sources": [{"name": "teacher.tif"}],
    "seed": 7,
    "budget": {"minutes": 3.0},
}
LESSONS = {
    "student": "small",
    "holes": [[1, 1, 1], [1, 3, 3]],
    "steps": 40,
    "stopped": "distance",
    "crop": 64,
    "batch": 4,
}
OF_A_STUDENT: Facts = {
    **PROVENANCE,
    "method": "atbsn",
    "answer": "mean",
    "role": "student",
    "hole": None,
    "network": {"width": 16, "depth": 3, "context": 2},
    "settings": {"dtype": "same", "strength": 0.7},
    "model": {
        **SOFTWARE,
        "sources": [SOURCE],
        "seed": 0,
        "training": {"steps": 512, "stopped": "budget", "crop": 96, "batch": 8},
        "teacher": TEACHER,
        "distillation": LESSONS,
    },
}


def test_a_result_is_described_from_its_provenance() -> None:
    assert result_methods(PROVENANCE) == (
        "The image cells.tif (24 × 512 × 512 voxels, ZYX, uint16) was denoised with "
        "napari-blindspot 1.2.3 (PyTorch 2.13.0 and Python 3.11.7). "
        "The method was a Bayesian blind-spot network of width 8 and depth 3 (Laine et "
        "al., High-quality self-supervised deep image denoising, 2019). "
        "It saw each plane through a blind spot of 1 × 1 × 5 voxels (z, y, x), with 2 "
        "neighbouring planes on either side. "
        "It was trained without clean images on cells.tif (24 × 512 × 512 voxels, ZYX, "
        "uint16). "
        "Training took 512 steps of 8 crops of 96 × 96 pixels (seed 7) and ended when "
        "the score of held-out voxels, which were never targets, no longer improved. "
        "The noise was modelled as Poisson-Gaussian, of variance a·X + b at the clean "
        "value X, with a gain a of 2.5 grey values per photo-electron (95 % confidence "
        "interval 2.3 to 2.7) and b = -240 grey values squared (95 % confidence "
        "interval -260 to -220). "
        "On held-out voxels the squared difference between prediction and noisy value "
        "was 1.01 times the variance that the model predicts. "
        "The posterior mean at every voxel, in the grey values of the input, was "
        "written as float32, and the posterior standard deviation beside it."
    )


def test_a_model_is_described_from_its_header() -> None:
    text = model_methods(HEADER)
    assert "2 neighbouring planes on either side along z" in text
    assert "cells.tif" in text
    assert "with napari-blindspot 1.2.3" in text
    assert "was denoised" not in text
    assert "was written" not in text


def test_the_result_of_a_student_names_its_teacher() -> None:
    assert result_methods(OF_A_STUDENT) == (
        "The image cells.tif (24 × 512 × 512 voxels, ZYX, uint16) was denoised with "
        "napari-blindspot 1.2.3 (PyTorch 2.13.0 and Python 3.11.7). "
        "The method was a tunable blind-spot network of width 32 and depth 4 (Chen et "
        "al., Exploring asymmetric tunable blind-spots for self-supervised denoising "
        "in real-world scenarios, 2024). "
        "It saw each plane through a blind spot of 1 × 9 × 9 voxels (z, y, x), with 2 "
        "neighbouring planes on either side. "
        "It was trained without clean images on teacher.tif. "
        "Training took 512 steps of 8 crops of 96 × 96 pixels (seed 7) and ended when "
        "its budget (minutes 3.0) was spent. "
        "Its objective was the mean absolute difference from the noisy values, without "
        "a noise model. "
        "A plain network of width 16 and depth 3, its student, was taught the answers "
        "that it gives behind each of the blind spots 1 × 1 × 1 and 1 × 3 × 3 (z, y, "
        "x), by the sum of the absolute differences from all of them, on cells.tif "
        "(24 × 512 × 512 voxels, ZYX, uint16). "
        "Teaching took 40 steps of 4 crops of 64 × 64 pixels (seed 0) and ended when "
        "the student came no nearer to its teacher on crops kept back. "
        "The answer of the student at every voxel, in the grey values of the input, "
        "was mixed with the noisy value (70 % to 30 %) and written rounded to the "
        "pixel type of the input."
    )


def test_a_student_of_a_posterior_is_told_with_the_noise_model() -> None:
    teacher = {**TEACHER, "answer": "posterior"}
    lessons = {**LESSONS, "holes": [[1, 1, 5]]}
    model = {**OF_A_STUDENT["model"], "teacher": teacher, "distillation": lessons}
    header = {**HEADER, "network": OF_A_STUDENT["network"], "provenance": model}
    text = model_methods(header)
    assert "The noise was modelled as Poisson-Gaussian" in text
    assert (
        "was taught the posterior mean that it gives behind a blind spot of 1 × 1 × 5 "
        "voxels, on cells.tif"
    ) in text


def test_a_teacher_asked_behind_another_hole_says_so() -> None:
    text = result_methods({**PROVENANCE, "hole": [1, 1, 3]})
    assert (
        "through a blind spot of 1 × 1 × 5 voxels (z, y, x) in training and of 1 × 1 × "
        "3 for the result, with 2"
    ) in text
    same = result_methods({**PROVENANCE, "hole": [1, 1, 5]})
    assert "for the result" not in same


def test_a_teacher_without_noise_model_tells_none() -> None:
    facts = {**PROVENANCE, "method": "atbsn", "answer": "mean"}
    text = result_methods(facts)
    assert "noise was modelled" not in text
    assert "without a noise model." in text
    assert "The answer of the network at every voxel" in text


def test_a_model_of_another_version_is_told() -> None:
    model = {**MODEL, "version": "1.0.0", "sources": [SOURCE, {"name": "b.tif"}]}
    text = result_methods({**PROVENANCE, "model": model})
    assert "and b.tif with napari-blindspot 1.0.0" in text
    assert "denoised with napari-blindspot 1.2.3" in text


def test_an_exhausted_budget_is_told_as_it_was_given() -> None:
    training = {**MODEL["training"], "stopped": "budget"}  # type: ignore[dict-item]
    text = model_methods({**HEADER, "provenance": {**MODEL, "training": training}})
    assert "(seed 7) and ended when its budget (quality fast) was spent." in text


@pytest.mark.parametrize(
    ("noise", "sentence"),
    [
        pytest.param(
            PoissonGaussian.from_camera(2.2, 100.0, 1.6).as_dict(),
            "a gain a of 2.2 grey values per photo-electron, b = -207.6 grey values "
            "squared, an offset of 100 grey values and a read noise of 1.6 electrons.",
            id="camera",
        ),
        pytest.param(
            {"model": "gaussian", "sigma": 12.5, "gain": None},
            "modelled as Gaussian with a standard deviation of 12.5 grey values.",
            id="gaussian",
        ),
        pytest.param(
            {"model": "poisson", "gain": 2.0, "gain_interval": [1.9, 2.1]},
            "Poisson with a gain of 2 grey values per photo-electron (95 % confidence "
            "interval 1.9 to 2.1).",
            id="poisson",
        ),
        pytest.param(
            {
                "model": "impulse",
                "base_model": "gaussian",
                "sigma": 3.0,
                "outlier_share": 0.02,
                "outlier_low": 0.0,
                "outlier_high": 65535.0,
            },
            "impulse noise with a share of outliers of 0.02 between 0 and 6.554e+04, "
            "the other voxels as Gaussian with a standard deviation of 3 grey values.",
            id="impulse",
        ),
    ],
)
def test_every_noise_model_has_its_words(noise: Facts, sentence: str) -> None:
    assert sentence in result_methods({**PROVENANCE, "noise": [noise]})


def test_channels_are_told_apart() -> None:
    text = result_methods({**PROVENANCE, "noise": [CAMERA.as_dict()] * 2})
    assert "The noise of channel 1 was" in text
    assert "The noise of channel 2 was" in text


def test_an_unknown_noise_model_or_method_is_left_out() -> None:
    facts = {**PROVENANCE, "noise": [{"model": "speckle"}], "method": "other"}
    text = result_methods(facts)
    assert "noise was" not in text
    assert "posterior" not in text
    assert "Laine" not in text
    assert text.startswith("The image cells.tif")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param(
            {"dark": "dark.tif"}, "as told by the dark stack dark.tif.", id="dark"
        ),
        pytest.param(
            {"offset_map": "o.tif", "variance_map": "v.tif"},
            "as told by the maps o.tif and v.tif.",
            id="maps",
        ),
        pytest.param(
            {"gain_map": "g.tif"},
            "was divided by its relative gain, as told by the map g.tif.",
            id="gain",
        ),
        pytest.param(
            {"fixed_pattern": "columns"}, "Offsets of whole columns", id="columns"
        ),
        pytest.param(
            {"noise_per_plane": True}, "was measured plane by plane.", id="planes"
        ),
    ],
)
def test_the_calibration_of_the_camera_is_told(settings: Facts, words: str) -> None:
    plain = {"dark": None, "gain_map": None, "fixed_pattern": "none"}
    told = result_methods({**PROVENANCE, "settings": {**plain, **settings}})
    assert words in told
    header = {**HEADER, "provenance": {**MODEL, "noise_settings": settings}}
    assert words in model_methods(header)
    for nothing in (result_methods(PROVENANCE), model_methods(HEADER)):
        assert words not in nothing


def _paths(facts: Facts, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for key, value in facts.items():
        found.append((*prefix, key))
        if isinstance(value, dict):
            found += _paths(value, (*prefix, key))
    return found


@pytest.mark.parametrize(
    ("whole", "path"),
    [
        pytest.param(whole, path, id="-".join((name, *path)))
        for name, whole in (("teacher", PROVENANCE), ("student", OF_A_STUDENT))
        for path in _paths(whole)
    ],
)
@pytest.mark.parametrize("how", ["missing", "null"])
def test_whatever_is_not_recorded_is_left_out(
    whole: Facts, path: tuple[str, ...], how: str
) -> None:
    facts = copy.deepcopy(whole)
    *outer, last = path
    part = facts
    for name in outer:
        part = part[name]
    if how == "null":
        part[last] = None
    else:
        del part[last]
    text = result_methods(facts)
    assert text.endswith(".")
    assert "None" not in text
    assert "  " not in text
    assert "()" not in text


def test_no_provenance_gives_no_words() -> None:
    assert result_methods({}) == ""
    assert model_methods({}) == ""


def test_info_prints_the_paragraph(
    phantom: Phantom, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "cells.tif", tmp_path / "out.ome.zarr"
    model = tmp_path / "model.safetensors"
    tifffile.imwrite(source, phantom.noisy, imagej=True, metadata={"axes": "ZYX"})
    result = nb.denoise(source, out, steps=1, device="cpu")
    nb.save_model(result.model, model)
    for file in (out, model):
        assert main(["info", str(file), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)["methods"]
        assert "trained without clean images on cells.tif (8 × 64 × 64" in told
        assert f"a gain a of {result.noise[0].gain:.4g} grey values" in told
        assert "Training took 1 steps" not in told
        assert "Training took 1 step of" in told
        assert main(["info", str(file)]) == 0
        lines = capsys.readouterr().out.splitlines()
        paragraph = lines[lines.index("") + 1 :]
        assert " ".join(paragraph) == told
        assert not any(line.startswith("methods") for line in lines)


def test_info_on_a_plain_stack_has_no_paragraph(
    phantom: Phantom, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "cells.tif"
    tifffile.imwrite(source, phantom.noisy, imagej=True, metadata={"axes": "ZYX"})
    assert main(["info", str(source), "--json"]) == 0
    assert "methods" not in json.loads(capsys.readouterr().out)
