"""Model files of every kind: what comes back is what was written, or nothing does."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.torch import save_file

import napari_blindspot as nb
from models import random_student, random_teacher
from napari_blindspot.config import DenoiseSettings, parse_settings
from napari_blindspot.errors import InputError, ModelFileError
from napari_blindspot.model_file import read_header
from napari_blindspot.noise.recalibration import UNCHANGED

if TYPE_CHECKING:
    from pathlib import Path

    from napari_blindspot.model import Model

KINDS: dict[str, tuple[Model, int]] = {
    "teacher": (random_teacher(), 1),
    "own starts": (random_teacher(starts=2), 3),
    "joint": (random_teacher(channels=2), 2),
    "another result hole": (random_teacher(hole=(1, 5, 5), result_hole=(1, 1, 3)), 3),
    "the trained hole, said": (
        random_teacher(hole=(1, 1, 3), result_hole=(1, 1, 3)),
        1,
    ),
    "mean alone": (random_teacher(hole=(1, 3, 3), answer="mean"), 3),
    "student": (random_student(), 3),
    "joint student": (random_student(channels=3), 3),
    "recalibrated elsewhere": (
        replace(random_teacher(result_hole=(1, 3, 3)), recalibration=(UNCHANGED,)),
        3,
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_denoises_the_same_after_the_file(
    kind: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    model, wanted = KINDS[kind]
    path = nb.save_model(model, tmp_path / "a.safetensors")
    back = nb.load_model(path)
    assert read_header(path)["format"] == wanted
    assert (back.answer, back.is_student) == (model.answer, model.is_student)
    assert back.has_uncertainty == model.has_uncertainty
    assert back.settings == model.settings
    assert back.recalibration == model.recalibration
    if not model.is_student:
        assert back.result_hole == model.result_hole
    channels = model.n_channels
    values = rng.poisson(20, (3, channels, 24, 21)).astype(np.uint16)
    one, other = (nb.predict(m, values, axes="ZCYX").image for m in (model, back))
    assert np.array_equal(one, other)


def damaged(model: Model, path: Path, **facts: Any) -> Path:
    """Write a model whose header says something else; None leaves a fact out."""
    nb.save_model(model, path)
    header = {**read_header(path), **facts}
    header = {name: fact for name, fact in header.items() if fact is not None}
    weights = {n: t.contiguous() for n, t in model.network.state_dict().items()}
    save_file(weights, path, {"napari_blindspot": json.dumps(header)})
    return path


@pytest.mark.parametrize(
    "facts",
    [
        {"kind": "pupil"},
        {"kind": "student"},
        {"kind": None},
        {"answer": "median"},
        {"answer": 1},
        {"hole": [1, 2, 2]},
        {"hole": [1, 0, 0]},
        {"hole": [1, -3, 3]},
        {"hole": [1, 3]},
        {"hole": [1, 3, 3, 3]},
        {"hole": [1, 3.5, 3]},
        {"hole": "auto"},
        {"hole": 3},
        {"hole": {"z": 1}},
    ],
    ids=str,
)
def test_a_header_that_says_nonsense_is_refused(
    facts: dict[str, Any], tmp_path: Path
) -> None:
    model = random_teacher(hole=(1, 5, 5), result_hole=(1, 3, 3))
    path = damaged(model, tmp_path / "a.safetensors", **facts)
    with pytest.raises(ModelFileError, match=r"a\.safetensors .*damaged"):
        nb.load_model(path)


def test_a_network_trained_behind_an_even_hole_is_refused(tmp_path: Path) -> None:
    model = random_teacher()
    network = {**model.settings.model_dump(), "hole": [1, 2, 2]}
    path = damaged(model, tmp_path / "a.safetensors", network=network)
    with pytest.raises(ModelFileError, match="damaged"):
        nb.load_model(path)


def test_a_student_that_calls_itself_a_teacher_is_refused(tmp_path: Path) -> None:
    path = damaged(random_student(), tmp_path / "a.safetensors", kind="teacher")
    with pytest.raises(ModelFileError, match="damaged"):
        nb.load_model(path)


def test_files_from_before_students_still_load(tmp_path: Path) -> None:
    model = random_teacher()
    path = damaged(model, tmp_path / "a.safetensors", recalibration=None)
    facts = read_header(path)
    assert not {"hole", "answer", "recalibration"} & set(facts)
    back = nb.load_model(path)
    assert (back.result_hole, back.answer) == ((1, 1, 1), "posterior")


@pytest.mark.parametrize(
    ("hole", "sentence"),
    [
        ((1, 2, 1), r"hole=\(1, 2, 1\) has an even size"),
        ((1, -3, 1), r"hole=\(1, -3, 1\) is no blind spot; .* from 1 to 63"),
        ((0, 0, 0), r"hole=\(0, 0, 0\) is no blind spot"),
        ((3, 3), "three odd sizes z y x"),
        (5, "hole=5 is no blind spot"),
        ("auto", r"hole='auto' is no blind spot; .* such as \(1, 1, 5\)\.$"),
    ],
    ids=str,
)
def test_a_model_refuses_holes_in_the_words_of_the_settings(
    hole: Any, sentence: str
) -> None:
    model = random_teacher()
    with pytest.raises(InputError, match=sentence) as error:
        model.at_hole(hole)
    if hole != "auto":
        with pytest.raises(InputError) as same:
            parse_settings(DenoiseSettings, hole=hole)
        assert str(same.value).startswith(str(error.value).rstrip("."))
    assert model.at_hole([1, 3, 3]).result_hole == (1, 3, 3)  # type: ignore[arg-type]
