"""Teaching students, previews and what a student cannot do, from the shell."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image

import napari_blindspot as nb
from napari_blindspot import jobs
from napari_blindspot.cli import main
from napari_blindspot.config.students import StudentRecipe
from napari_blindspot.training import distilling

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_blindspot.sample import Phantom

    Capture = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("tiny_networks")

CPU = ["--device", "cpu", "--threads", "1"]


@pytest.fixture(scope="module", autouse=True)
def _few_lessons() -> Iterator[None]:
    """Let all students learn little, so that a test takes no minute."""
    recipe = StudentRecipe(steps=2, lessons=8, crop=32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distilling, "student_recipe", lambda device_type: recipe)
        yield


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, phantom: Phantom, _few_lessons: None
) -> Path:
    """A stack and three models: a teacher of each method, and a student."""
    folder = tmp_path_factory.mktemp("students")
    tifffile.imwrite(
        folder / "noisy.tif", phantom.noisy, metadata={"axes": "ZYX"}, imagej=True
    )
    for method in ("bayesian", "atbsn"):
        model = nb.train(folder / "noisy.tif", steps=2, method=method, threads=1)
        nb.save_model(model, folder / f"{method}.safetensors")
    student = nb.distill(model, folder / "noisy.tif", student="tiny", threads=1)
    nb.save_model(student, folder / "student.safetensors")
    return folder


@pytest.fixture(autouse=True)
def _in_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def facts_of(words: str, capsys: Capture) -> dict[str, Any]:
    """Run a command and return its line of JSON."""
    assert main([*words.split(), *CPU, "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    facts: dict[str, Any] = json.loads(line)
    return facts


def refusal(words: str, capsys: Capture) -> str:
    """Run a command that is bad use, and return its sentence."""
    assert main([*words.split(), *CPU]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    said = printed.err.splitlines()[-1]
    assert said.startswith("Error: ")
    return said


def grey(path: str) -> np.ndarray[Any, Any]:
    picture = Image.open(path)
    assert picture.format == "PNG"
    assert picture.mode == "L"
    return np.asarray(picture)


# --- distill -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "holes"),
    [
        pytest.param("bayesian", [[1, 1, 1]], id="posterior"),
        pytest.param(
            "atbsn", [[1, size, size] for size in (0, 1, 3, 5, 7, 9, 11)], id="holes"
        ),
    ],
)
def test_distill_writes_a_student_and_says_what_it_learned(
    method: str, holes: list[list[int]], tmp_path: Path, capsys: Capture
) -> None:
    target = tmp_path / "new.safetensors"
    words = f"distill {method}.safetensors noisy.tif {target} --student tiny --steps 2"
    facts = facts_of(words, capsys)
    assert facts["output"] == str(target)
    assert facts["student"] == "tiny"
    assert facts["holes"] == holes
    assert facts["steps"] == 2
    assert facts["distance"] > 0
    assert facts["seconds"] > 0
    assert nb.load_model(target).is_student


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        pytest.param(
            "student.safetensors noisy.tif new.safetensors",
            "the model is a student",
            id="student-as-teacher",
        ),
        pytest.param(
            "atbsn.safetensors noisy.tif student.safetensors",
            "exists already",
            id="existing",
        ),
        pytest.param(
            "atbsn.safetensors noisy.tif atbsn.safetensors --overwrite",
            "would replace its own teacher",
            id="own-teacher",
        ),
        pytest.param(
            "atbsn.safetensors noisy.tif new.pt", "end in .safetensors", id="suffix"
        ),
        pytest.param(
            "atbsn.safetensors noisy.tif new.safetensors --steps 2 --minutes 1",
            "the budget is given twice",
            id="two-budgets",
        ),
    ],
)
def test_distill_refuses_before_any_work(
    words: str, sentence: str, capsys: Capture, folder: Path
) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert sentence in refusal(f"distill {words}", capsys)
    after = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert after == before


def test_info_on_a_student_names_teacher_and_holes(capsys: Capture) -> None:
    assert main(["info", "student.safetensors"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "role student" in said
    assert "its student, was taught the answers that it gives behind" in said
    assert "1 × 0 × 0, 1 × 1 × 1, 1 × 3 × 3" in said


# --- preview -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bayesian", "atbsn", "student"])
def test_the_picture_shows_the_values_of_the_preview(
    name: str, tmp_path: Path, capsys: Capture
) -> None:
    out, model = tmp_path / "p.png", f"{name}.safetensors"
    facts = facts_of(f"preview noisy.tif {out} --z 2 --model {model}", capsys)
    assert facts["z"] == 2
    assert facts["student"] == ("tiny" if name == "student" else None)
    plane = nb.preview("noisy.tif", model, "z=2", device="cpu")
    low, high = facts["limits"]
    wanted = np.clip((plane.astype(float) - low) / (high - low), 0, 1) * 255
    assert np.abs(grey(str(out)) - wanted).max() <= 1


def test_beside_puts_the_noisy_plane_to_the_left(
    tmp_path: Path, capsys: Capture, phantom: Phantom
) -> None:
    out, alone = tmp_path / "both.png", tmp_path / "alone.png"
    words = "--z 3 --region y=0:40,x=8:64 --model student.safetensors"
    facts = facts_of(f"preview noisy.tif {out} --beside {words}", capsys)
    facts_of(f"preview noisy.tif {alone} {words}", capsys)
    both = grey(str(out))
    assert (facts["y"], facts["x"]) == ([0, 40], [8, 64])
    np.testing.assert_array_equal(both[:, -56:], grey(str(alone)))
    low, high = facts["limits"]
    noisy = phantom.noisy[3, :40, 8:].astype(float)
    wanted = np.rint(np.clip((noisy - low) / (high - low), 0, 1) * 255)
    np.testing.assert_array_equal(both[:, :56], wanted)


def test_hole_and_strength_are_those_of_the_preview(
    tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "p.png"
    words = f"preview noisy.tif {out} --model bayesian.safetensors --overwrite"
    facts = facts_of(f"{words} --hole 1 3 3 --strength 0.4", capsys)
    assert (facts["hole"], facts["strength"]) == ([1, 3, 3], 0.4)
    facts_of(f"{words} --strength 0 --beside", capsys)
    noisy, denoised = np.split(grey(str(out))[:, np.r_[:64, -64:0]], 2, axis=1)
    np.testing.assert_array_equal(noisy, denoised)


def test_without_a_model_a_network_is_trained(tmp_path: Path, capsys: Capture) -> None:
    facts = facts_of(
        f"preview noisy.tif {tmp_path / 'p.png'} --steps 2 --student tiny "
        f"--method atbsn",
        capsys,
    )
    assert facts["method"] == "atbsn"
    assert facts["student"] == "tiny"
    assert grey(str(tmp_path / "p.png")).shape == (64, 64)


def test_a_channel_of_several_is_shown_by_name_or_number(
    tmp_path: Path, phantom: Phantom, capsys: Capture
) -> None:
    source, out = tmp_path / "two.ome.tif", tmp_path / "p.png"
    both = np.stack([phantom.noisy, phantom.noisy[::-1]], axis=1)
    tifffile.imwrite(source, both, metadata={"axes": "ZCYX"}, ome=True)
    words = f"preview {source} {out} --overwrite --model student.safetensors"
    facts = facts_of(f"{words} --channel 1 --z 7", capsys)
    assert (facts["channel"], facts["z"]) == (1, 7)
    second = grey(str(out))
    facts_of(f"{words} --channel 0 --z 7", capsys)
    assert (second != grey(str(out))).any()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        pytest.param("p.jpg", "end in .png", id="suffix"),
        pytest.param("nowhere/p.png", "does not exist", id="folder"),
        pytest.param("old.png", "exists already", id="existing"),
        pytest.param("p.png --z 8", "choose z from 0 to 7", id="z-outside"),
        pytest.param("p.png --t 1", "choose t from 0 to 0", id="t-outside"),
        pytest.param("p.png --z=-1", "--z -1 cannot be used", id="negative"),
        pytest.param(
            "p.png --z 1 --region z=2,y=0:8", "both name the plane", id="z-twice"
        ),
        pytest.param("p.png --region z=1:3", "holds 2 planes along Z", id="planes"),
        pytest.param("p.png --region y=0:99", "outside of the stack", id="rows"),
        pytest.param("p.png --method magic", "bayesian, atbsn", id="method"),
    ],
)
def test_preview_refuses_before_any_work(
    words: str,
    sentence: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    (folder / "old.png").write_bytes(b"precious")

    def learn(*args: object) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr(jobs, "learn", learn)
    assert sentence in refusal(f"preview noisy.tif {words}", capsys)
    assert (folder / "old.png").read_bytes() == b"precious"
    assert not (folder / "p.png").exists()


# --- denoise -------------------------------------------------------------------


def test_the_student_of_a_model_file_is_taught_at_the_hole_that_is_asked(
    tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out.tif"
    facts = facts_of(
        f"denoise noisy.tif {out} --model bayesian.safetensors --hole 1 3 3 "
        f"--student tiny --strength 0.5",
        capsys,
    )
    assert (facts["student"], facts["hole"]) == ("tiny", None)
    assert facts["seconds_distill"] > 0
    provenance = nb.api.describe(out)["provenance"]
    assert provenance["role"] == "student"
    assert provenance["settings"]["strength"] == 0.5
    assert provenance["model"]["distillation"]["holes"] == [[1, 3, 3]]


def test_the_hole_of_the_result_is_recorded(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out.tif"
    words = f"denoise noisy.tif {out} --model atbsn.safetensors --hole 1 5 5"
    assert facts_of(words, capsys)["hole"] == [1, 5, 5]
    provenance = nb.api.describe(out)["provenance"]
    assert provenance["hole"] == [1, 5, 5]
    assert (provenance["answer"], provenance["role"]) == ("mean", "teacher")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        pytest.param(
            "--model student.safetensors --hole 1 1 3",
            "--hole 1 1 3 cannot be given: the model is a student",
            id="hole",
        ),
        pytest.param(
            "--model student.safetensors --hole auto",
            "--hole auto cannot be given: the model is a student",
            id="auto",
        ),
        pytest.param(
            "--model student.safetensors --uncertainty",
            "the model is a student, which answers without one",
            id="uncertainty",
        ),
        pytest.param(
            "--model atbsn.safetensors --uncertainty",
            "trained by --method atbsn, which knows none",
            id="uncertainty-of-a-teacher",
        ),
        pytest.param("--student tiny --uncertainty", "--student tiny", id="settings"),
        pytest.param(
            "--method atbsn --uncertainty", "--method atbsn", id="method-settings"
        ),
    ],
)
def test_what_a_model_does_not_have_is_refused(
    words: str, sentence: str, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out.tif"
    assert sentence in refusal(f"denoise noisy.tif {out} {words}", capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_student_notices_another_correction(tmp_path: Path, capsys: Capture) -> None:
    words = "--model student.safetensors --fixed-pattern columns"
    call = ["denoise", "noisy.tif", str(tmp_path / "out.tif"), *words.split(), *CPU]
    assert main(call) == 0
    said = capsys.readouterr().err
    assert "The model was trained with other settings of --fixed-pattern" in said
