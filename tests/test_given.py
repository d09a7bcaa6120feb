"""What is known of a camera, held against the noise that a stack shows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

import napari_blindspot as nb
from napari_blindspot.cli import main
from napari_blindspot.errors import InputError
from napari_blindspot.noise.estimate import MeanVariance
from napari_blindspot.noise.given import GivenNoise, hold_against
from napari_blindspot.noise.models import Gaussian, PoissonGaussian
from napari_blindspot.reporting.report import report_html
from napari_blindspot.sample import nuclei_phantom

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CAMERA = {"gain": 2.2, "offset": 100.0, "read_noise": 1.6}


@pytest.fixture(scope="module")
def stack() -> NDArray[np.uint16]:
    return nuclei_phantom((10, 112, 112), seed=3).noisy


def given(stack: NDArray[np.uint16], **options: Any) -> GivenNoise:
    (channel,) = nb.diagnose(stack, **options).channels
    assert channel.given is not None
    return channel.given


def held(noise: PoissonGaussian, variance: NDArray[np.float64]) -> GivenNoise:
    mean = np.linspace(100, 200, variance.size)
    points = MeanVariance(mean, variance, np.full(variance.size, 1e5))
    return hold_against(noise, points, "the given camera values", "check them")


def test_true_values_explain_the_noise(stack: NDArray[np.uint16]) -> None:
    found = given(stack, **CAMERA)
    assert found.explains is True
    assert found.sentence.startswith("The given camera values explain the noise")
    assert dict(found.ratio)["all"] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("wrong", "ratio", "words"),
    [
        pytest.param({"gain": 1.8}, 1.2, "larger than the given camera values", id="g"),
        pytest.param({"read_noise": 2.4}, 0.7, "smaller than the given", id="read"),
        pytest.param({"read_noise": 6.0}, 0.15, "0.14 times what the given", id="far"),
    ],
)
def test_wrong_values_are_said_by_how_much(
    stack: NDArray[np.uint16], wrong: dict[str, float], ratio: float, words: str
) -> None:
    found = given(stack, **{**CAMERA, **wrong})
    assert found.explains is False
    assert words in found.sentence
    assert "check the units" in found.sentence
    assert dict(found.ratio)["all"] == pytest.approx(ratio, rel=0.25)


def test_the_part_that_is_wrong_is_named() -> None:
    flat, rising = np.full(12, 50.0), np.linspace(50, 150, 12)
    alike = held(Gaussian.from_sigma(50**0.5), 1.3 * flat)
    assert "noise is about 30% larger than" in alike.sentence
    bright = held(Gaussian.from_sigma(60**0.5), rising)
    assert bright.sentence.startswith("In the bright parts")
    assert bright.explains is False
    dark = held(PoissonGaussian(1.0, -50.0), np.linspace(90, 150, 12))
    assert dark.sentence.startswith("In the dark parts")


def test_nothing_measured_is_unknown() -> None:
    found = held(Gaussian.from_sigma(3.0), np.empty(0))
    assert found.explains is None
    assert "cannot be told" in found.sentence
    assert json.loads(json.dumps(found.as_dict()))["explains"] is None


def test_a_kind_of_noise_is_held_against_the_stack(stack: NDArray[np.uint16]) -> None:
    found = given(stack, noise="gaussian")
    assert found.explains is False
    assert "the rules of gaussian noise" in found.sentence
    assert "noise='auto' fits better" in found.sentence


def test_impossible_values_leave_the_rest_of_the_diagnosis(
    stack: NDArray[np.uint16],
) -> None:
    found = nb.diagnose(stack, gain=2.2, offset=30_000)
    assert found.hole == (1, 1, 1)
    assert "offset=30000 grey values cannot be true" in found.sentences()[2]
    assert found.as_dict()["given"]["explains"] is False


def test_dark_and_maps_are_held_against_the_stack(
    stack: NDArray[np.uint16], tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    frames = rng.normal(100, 2.2 * 1.6, (60, 112, 112))
    dark = tmp_path / "dark.tif"
    tifffile.imwrite(dark, np.rint(frames).astype(np.uint16), metadata={"axes": "ZYX"})
    found = given(stack, dark=dark, gain=2.2)
    assert found.explains is True
    assert "dark stack: offset 100" in found.notes[0]
    wrong = tmp_path / "variance.tif"
    tifffile.imwrite(wrong, np.full((112, 112), 90, np.float32))
    level = tmp_path / "offset.tif"
    tifffile.imwrite(level, np.full((112, 112), 100, np.float32))
    other = given(stack, offset_map=level, variance_map=wrong, gain=2.2)
    assert other.explains is False
    assert "smaller than the given" in other.sentence or "times what" in other.sentence
    flat = given(stack, gain_map=level)
    assert flat.explains is None
    assert flat.sentence.startswith("Gain map: 0.0% from pixel to pixel")
    with pytest.raises(InputError, match=r"nowhere\.tif"):
        nb.diagnose(stack, dark=tmp_path / "nowhere.tif")


def test_without_anything_given_nothing_is_said(stack: NDArray[np.uint16]) -> None:
    found = nb.diagnose(stack)
    assert found.as_dict()["given"] is None
    assert len(found.sentences()) >= 2


def test_the_shell_takes_what_is_known(
    stack: NDArray[np.uint16], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "ZYX"})
    words = ["diagnose", str(path), "--gain", "2.2", "--offset", "100"]
    assert main([*words, "--read-noise", "1.6", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])["given"]
    assert facts["explains"] is True
    assert facts["noise"]["gain"] == 2.2
    assert facts["measured_over_given_variance"]["dark"] == pytest.approx(1, abs=0.1)
    assert main(["diagnose", str(path), "--offset", "100"]) == 2
    assert "offset alone cannot be used" in capsys.readouterr().err


def test_the_page_says_it(stack: NDArray[np.uint16]) -> None:
    page = report_html(nb.diagnose(stack, **CAMERA))
    assert "<p>The given camera values explain the noise" in page
