"""Sentences of the core, as the shell words them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from models import random_student
from napari_blindspot.cli import main
from napari_blindspot.cli.wording import in_shell
from napari_blindspot.model_file import save_model

if TYPE_CHECKING:
    from pathlib import Path

    Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "hole=(1, 1, 3) cannot be given; leave hole out.",
            "--hole 1 1 3 cannot be given; leave hole out.",
        ),
        (
            "use method='bayesian' (student='none').",
            "use --method bayesian (--student none).",
        ),
        (
            "choose a common part (region=, channel=).",
            "choose a common part (--region, --channel).",
        ),
        ("pass axes= in the order of it.", "pass --axes in the order of it."),
        (
            "begin anew with --overwrite instead of --resume (overwrite=True instead "
            "of resume=True).",
            "begin anew with --overwrite instead of --resume.",
        ),
        ("choose by scene= (--scene): a, b.", "choose by --scene: a, b."),
        ("dark=d e.tif", "--dark d e.tif"),
        ("channel='blue dye' is", "--channel 'blue dye' is"),
        ("give offset_map=o.tif.", "give --offset-map o.tif."),
        ("z=-1 cannot be used; z=0:8", "--z -1 cannot be used; z=0:8"),
    ],
)
def test_names_of_python_are_options_of_the_shell(said: str, shown: str) -> None:
    assert in_shell(said) == shown


@pytest.mark.parametrize(
    "said",
    [
        "j.yaml: steps=-3 cannot be used.",
        "/data/steps=3/gain_map.tif does not exist.",
        "give ranges like 'z=10:40,y=0:512'.",
        "the region and the channel of the stack",
    ],
)
def test_other_words_stay(said: str) -> None:
    assert in_shell(said) == said


def test_the_shell_speaks_of_its_options(tmp_path: Path, capsys: Capture) -> None:
    stack = tmp_path / "stack.tif"
    values = np.random.default_rng(0).poisson(20, (5, 32, 32)).astype(np.uint16)
    tifffile.imwrite(stack, values)
    model = save_model(random_student(), tmp_path / "m.safetensors")
    words = ["denoise", str(stack), str(tmp_path / "o.tif"), "--model", str(model)]
    assert main([*words, "--hole", "1", "1", "3"]) == 2
    told = capsys.readouterr().err
    assert "Error: --hole 1 1 3 cannot be given" in told
    assert "pass --axes" in told
    assert main([*words, "--uncertainty"]) == 2
    assert "Error: --uncertainty cannot be given" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["denoise", "train", "preview", "diagnose"])
def test_help_names_options_as_they_are_typed(
    command: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    main([command, "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "needs --variance-map" in shown
    for name in ("variance_map", "offset_map", "eps_g", "eps_s"):
        assert name not in shown


def test_help_of_preview_says_that_it_does_not_train_by_itself(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    main(["preview", "--help"])
    shown = capsys.readouterr().out
    assert "Default: no training; the start weights answer." in shown
    assert "default is balanced" not in shown
    _, _, panel = shown.partition("Training time (one of the three)")
    assert panel.index("--quality") < panel.index("--minutes") < panel.index("╰")


def test_train_prints_what_matters_and_where_the_rest_is(
    tmp_path: Path, capsys: Capture
) -> None:
    stack, model = tmp_path / "stack.tif", tmp_path / "m.safetensors"
    values = np.random.default_rng(0).poisson(20, (5, 48, 48)).astype(np.uint16)
    tifffile.imwrite(stack, values, metadata={"axes": "ZYX"}, imagej=True)
    assert main(["train", str(stack), str(model), "--steps", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["output", str(model)]
    assert ["steps", "1"] in [line.split() for line in lines]
    assert len(lines) < 40
    facts, _, paragraph = "\n".join(lines[:-2]).partition("\n\n")
    assert "sha256" not in facts
    assert paragraph.startswith("The method was")
    assert max(map(len, paragraph.splitlines())) <= 80
    assert lines[-1] == f"All that is known of it: napari-blindspot info {model}"
