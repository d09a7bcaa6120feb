"""Bad use of the shell: the sentence names the word, and no work is begun."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from napari_blindspot import api
from napari_blindspot.cli import main
from napari_blindspot.cli.guard import quiet_libraries
from napari_blindspot.cli.show import fact_lines
from napari_blindspot.config import DenoiseSettings, parse_settings
from napari_blindspot.errors import InputError
from napari_blindspot.model_file import load_model

if TYPE_CHECKING:
    from pathlib import Path

    Capture = pytest.CaptureFixture[str]
    Patch = pytest.MonkeyPatch


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        pytest.param("", "INPUT is missing", id="no-input"),
        pytest.param("a.tif", "OUTPUT is missing", id="no-output"),
        pytest.param("a b c", "nothing is expected at 'c'", id="too-many"),
        pytest.param("a b --hole 1 1", "--hole needs 3 values", id="too-few-sizes"),
        pytest.param("a b --steps", "--steps needs a value", id="no-value"),
        pytest.param("a b --steps 1.5", "--steps 1.5 cannot be used", id="half-step"),
        pytest.param("a b --hole 1 1 1.5", "1 1 1.5 cannot be used", id="half-voxel"),
        pytest.param("a b --stepz 3", "--steps", id="misspelt"),
    ],
)
def test_bad_words_are_named_with_the_help_to_read(
    words: str, sentence: str, capsys: Capture
) -> None:
    assert main(["denoise", *words.split()]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert sentence in error
    assert hint.endswith("napari-blindspot denoise --help")


@pytest.mark.parametrize(
    ("word", "channel"), [("2", 2), ("GFP", "GFP"), ("1.5", "1.5")]
)
def test_a_channel_is_an_index_only_as_a_whole_number(
    word: str, channel: int | str, monkeypatch: Patch
) -> None:
    seen: list[int | str | None] = []
    monkeypatch.setattr(
        api, "denoise_job", lambda _, settings, *rest: seen.append(settings.channel)
    )
    main(["denoise", "a.tif", "b.tif", "--channel", word])
    assert seen == [channel]


@pytest.mark.parametrize("command", ["denoise in.tif out.tif", "train in.tif m.safet"])
def test_unknown_method_is_refused_before_the_input_is_looked_for(
    command: str, tmp_path: Path, capsys: Capture
) -> None:
    words = command.replace("m.safet", str(tmp_path / "m.safetensors"))
    assert main([*words.split(), "--method", "magic"]) == 2
    assert "--method magic is not known; choose one of" in capsys.readouterr().err


def test_model_in_a_locked_folder_is_refused_before_training(
    tmp_path: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    assert main(["train", "in.tif", str(tmp_path / "m.safetensors")]) == 2
    assert "may not be written to" in capsys.readouterr().err


def test_model_that_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"secret")
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ValueError, match="may not be read"):
        load_model(path)


def test_demo_folder_that_is_a_file_is_refused(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "taken"
    path.write_text("precious")
    assert main(["demo", "--out", str(path)]) == 2
    assert "choose another folder with --out" in capsys.readouterr().err
    assert path.read_text() == "precious"


def test_logged_warnings_of_tifffile_stay_off_the_terminal() -> None:
    # Python prints a warning of a logger without handlers on stderr.
    logger = logging.getLogger("tifffile")
    before = list(logger.handlers)
    with quiet_libraries():
        (added,) = (one for one in logger.handlers if one not in before)
        assert isinstance(added, logging.NullHandler)
    assert logger.handlers == before


def test_facts_that_are_not_known_have_no_line() -> None:
    facts = {"a": None, "b": [], "c": "", "d": {"z": None}, "gain": 2.0, "n": 0}
    assert fact_lines(facts) == ["gain  2", "n     0"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("denoise", "--student tiny|small|full|none"),
        ("distill", "--student tiny|small|full"),
        ("denoise", "--hole INT INT INT|auto"),
        ("train", "--quality fast|balanced|best"),
        ("demo", "--quality fast|balanced|best"),
    ],
)
def test_help_lists_the_words_that_may_be_typed(
    command: str, words: str, capsys: Capture, monkeypatch: Patch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    main([command, "--help"])
    shown = capsys.readouterr().out
    assert f"{words} " in shown
    assert "CHOICE" not in shown


@pytest.mark.parametrize(
    "words",
    [
        "--hole 1 -3 3",
        "--hole 1 65 1",
        "--train-hole 0 1 1",
        "--strength 7",
        "--minutes -3",
        "--passes 0 --method blind2grad",
    ],
)
def test_a_value_beyond_its_limits_is_refused_in_a_sentence(
    words: str, capsys: Capture
) -> None:
    assert main(["denoise", "in.tif", "out.ome.zarr", *words.split()]) == 2
    told = capsys.readouterr().err
    option = words.partition(" --method")[0]
    assert told.startswith(f"Error: {option}")
    assert "pydantic" not in told
    assert "validation error" not in told


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"steps": -5}, "steps=-5 cannot be used; give a whole number of at least 0, "),
        ({"steps": "many"}, "steps='many' cannot be used; give a whole number of at "),
        (
            {"gain": -2},
            "gain=-2 cannot be used; give a number above 0, or leave it out",
        ),
        ({"gain": float("nan")}, "gain=nan cannot be used; give a number above 0"),
        ({"strength": 1.7}, "strength=1.7 cannot be used; give a number from 0 to 1."),
        ({"seed": -1}, "give a whole number of at least 0 and below 2^63."),
        ({"quality": "slow"}, "give 'fast', 'balanced' or 'best', or leave it out."),
        ({"channel": 2.5}, "channel=2.5 cannot be used; give a whole number or text"),
        ({"voxel_size": (1, 2)}, "voxel_size=(1, 2) cannot be used; give 3 values in"),
        ({"voxel_size": 3}, "voxel_size=3 cannot be used; give several values in a"),
        ({"uncertainty": "x"}, "uncertainty='x' cannot be used; give true or false."),
        ({"dark": 5}, "dark=5 cannot be used; give a path, or leave it out."),
        ({"memory": "lots"}, "memory='lots' cannot be used; give a size such as 2GB"),
        ({"step": 3}, "step=3 is not a setting; did you mean steps?"),
        ({"qqq": 3}, "qqq=3 is not a setting; the settings are "),
    ],
)
def test_a_value_that_does_not_fit_is_told_with_what_is_allowed(
    given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError) as caught:
        parse_settings(DenoiseSettings, **given)
    assert sentence in str(caught.value)
    assert str(caught.value)[-1] in ".?"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--memory lots", "Error: --memory lots cannot be used; give a size such as"),
        ("--steps=-5", "Error: --steps -5 cannot be used; give a whole number of at"),
        ("--threads 0", "Error: --threads 0 cannot be used; give a whole number of"),
    ],
)
def test_the_shell_says_what_is_allowed(
    words: str, sentence: str, capsys: Capture
) -> None:
    assert main(["denoise", "in.tif", "out.ome.zarr", *words.split()]) == 2
    assert capsys.readouterr().err.startswith(sentence)
