"""The shell's preview without a model: the start weights answer, or it trains."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image

import napari_blindspot as nb
from models import random_teacher
from napari_blindspot import jobs
from napari_blindspot.cli import main
from napari_blindspot.starts import shipped
from napari_blindspot.training import warm

if TYPE_CHECKING:
    from pathlib import Path

    from napari_blindspot.sample import Phantom

    Capture = pytest.CaptureFixture[str]

CPU = ["--device", "cpu", "--threads", "1"]


@pytest.fixture(autouse=True)
def _in_a_folder(
    tmp_path: Path, phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work where the noisy stack lies."""
    tifffile.imwrite(
        tmp_path / "noisy.tif", phantom.noisy, metadata={"axes": "ZYX"}, imagej=True
    )
    monkeypatch.chdir(tmp_path)


def facts_of(words: str, capsys: Capture) -> dict[str, Any]:
    """Run a command and return its line of JSON."""
    assert main([*words.split(), *CPU, "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    facts: dict[str, Any] = json.loads(line)
    return facts


def grey(path: str) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(path)).astype(float)


@pytest.mark.parametrize(
    ("words", "budget"),
    [
        pytest.param("--start cold", ("fast", None), id="cold"),
        pytest.param("--hole 1 1 3 --student small", ("fast", None), id="hole"),
        pytest.param("--method atbsn --student tiny", ("fast", None), id="mean"),
        pytest.param("--steps 7", (None, 7), id="steps"),
        pytest.param("--quality best", ("best", None), id="quality"),
    ],
)
def test_a_preview_trains_where_it_is_told_or_has_no_start(
    words: str,
    budget: tuple[str | None, int | None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def learn(stacks: object, settings: Any, *rest: object, **named: object) -> Any:
        asked.append((settings.quality, settings.steps))
        raise nb.errors.RunError("Far enough.")
        yield

    monkeypatch.setattr(jobs, "learn", learn)
    call = ["preview", "noisy.tif", str(tmp_path / "p.png"), *CPU]
    assert main([*call, *words.split()]) == 1
    assert asked == [budget]


def test_without_a_model_and_a_budget_the_start_weights_answer(
    tmp_path: Path, phantom: Phantom, capsys: Capture
) -> None:
    out = tmp_path / "p.png"
    facts = facts_of(f"preview noisy.tif {out} --z 3", capsys)
    assert (facts["start"], facts["student"]) == ("teacher-cpu", None)
    model = nb.train(phantom.noisy, axes="ZYX", steps=0, device="cpu", threads=1)
    assert model.provenance["start"]["used"]
    plane = nb.preview(phantom.noisy, model, "z=3", axes="ZYX")
    black, white = facts["limits"]
    shown = black + grey(str(out)) / 255 * (white - black)
    assert np.abs(shown - plane.clip(black, white)).max() < (white - black) / 255


def test_the_shipped_student_answers_where_a_size_is_asked_for(
    tmp_path: Path, phantom: Phantom, capsys: Capture
) -> None:
    words = f"preview noisy.tif {tmp_path / 'p.png'} --student small"
    facts = facts_of(words, capsys)
    assert (facts["start"], facts["student"]) == ("student-small", "small")
    model = nb.shipped_student(phantom.noisy, axes="ZYX", student="small")
    plane = nb.preview(phantom.noisy, model, axes="ZYX")
    np.testing.assert_allclose(
        facts["limits"], np.quantile(plane, (0.005, 0.998)), 0.01
    )


@pytest.mark.parametrize("words", ["", "--student small"], ids=["teacher", "student"])
def test_a_preview_trains_quickly_where_the_start_weights_are_gone(
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    monkeypatch.setattr(shipped, "weights_folder", lambda: tmp_path)
    asked = []

    def learn(stacks: object, settings: Any, *rest: object, **named: object) -> Any:
        asked.append((settings.quality, settings.steps))
        if settings.steps == 0:
            model = random_teacher(context=0)
            model.provenance["start"] = {"name": "cold", "used": False}
            return model
        raise nb.errors.RunError("Far enough.")
        yield

    monkeypatch.setattr(jobs, "learn", learn)
    call = ["preview", "noisy.tif", str(tmp_path / "p.png"), *CPU, *words.split()]
    assert main(call) == 1
    assert asked[-1] == ("fast", None)
    why = "the list of the start weights is missing" if words else "too little to show"
    assert why in capsys.readouterr().err


def test_a_preview_names_no_weights_that_did_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    read = warm.read_weights
    monkeypatch.setattr(
        warm, "read_weights", lambda one: {k: 50 * v for k, v in read(one).items()}
    )
    facts = facts_of(f"preview noisy.tif {tmp_path / 'p.png'} --steps 0", capsys)
    assert facts["start"] is None
