"""The doors through which a stopped training goes on: the shell and Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import tifffile
import torch

import napari_blindspot as nb
from kept import assert_same, recording
from napari_blindspot.cli import main
from napari_blindspot.errors import (
    Cancelled,
    CheckpointError,
    InputError,
    OutputExistsError,
)
from napari_blindspot.io.kept_file import KeptFile, check_kept_file
from napari_blindspot.progress import CancelToken
from napari_blindspot.training import keeping
from napari_blindspot.training.checkpoint import pack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_blindspot.progress import Progress

QUICK: dict[str, Any] = {"steps": 6, "start": "cold", "threads": 1}
OPTIONS = ["--steps", "6", "--start", "cold", "--threads", "1"]


@pytest.fixture(scope="module", autouse=True)
def short_start() -> Iterator[None]:
    """Fit the blind filters to few voxels, which takes most of a short training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_blindspot.training.filters._VOXELS", 10**5)
        yield


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    path = tmp_path / "noisy.tif"
    tifffile.imwrite(path, recording()[0], metadata={"axes": "ZYX"}, imagej=True)
    return path


def stop_after(step: int, cancel: CancelToken) -> Any:
    def follow(event: Progress) -> None:
        if event.metrics.get("step") == step:
            cancel.cancel()

    return follow


@pytest.fixture
def killed_after_three(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Have the process die after it has kept its state three times."""
    count = [0]
    save = KeptFile.save

    def save_or_die(self: KeptFile, content: bytes) -> None:
        save(self, content)
        count[0] += 1
        if count[0] == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(keeping, "INTERVAL_S", 0.0)
        patch.setattr(keeping, "SHARE", 1e9)
        patch.setattr(KeptFile, "save", save_or_die)
        yield patch


def test_in_the_shell_a_killed_training_goes_on(
    noisy: Path,
    tmp_path: Path,
    killed_after_three: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, state = tmp_path / "m.safetensors", tmp_path / "m.safetensors.partial"
    command = ["train", str(noisy), str(model), *OPTIONS]
    assert main(command) == 130
    killed_after_three.undo()
    assert state.is_file()
    assert {one.name for one in tmp_path.iterdir()} == {noisy.name, state.name}
    kept = state.read_bytes()
    capsys.readouterr()
    assert main(command) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "go on with it by --resume, or" in said
    assert said.endswith("begin anew with --overwrite.")
    assert state.read_bytes() == kept
    assert main([*command, "--seed", "3", "--resume"]) == 2
    assert "--seed 0, but --seed 3" in " ".join(capsys.readouterr().err.split())
    assert state.read_bytes() == kept
    assert main([*command, "--resume"]) == 0
    assert "Training goes on after step 3" in capsys.readouterr().err
    assert {one.name for one in tmp_path.iterdir()} == {noisy.name, model.name}
    assert_same(nb.load_model(model), nb.train(noisy, **QUICK))


def test_an_older_model_is_no_reason_to_begin_anew(
    noisy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, state = tmp_path / "m.safetensors", tmp_path / "m.safetensors.partial"
    damaged = pack({}, {"weights": torch.zeros(3)})[:-1] + b"1"
    model.write_bytes(b"old")
    state.write_bytes(damaged)
    command = ["train", str(noisy), str(model), *OPTIONS]
    assert main(command) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 2
    assert "m.safetensors' exists already" in capsys.readouterr().err
    assert main([*command, "--resume", "--overwrite"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "m.safetensors.partial is damaged or holds no training" in said
    assert (model.read_bytes(), state.read_bytes()) == (b"old", damaged)
    assert main([*command, "--overwrite"]) == 0
    assert not state.exists()
    assert nb.load_model(model).provenance["training"]["steps"] == 6


def test_in_python_a_cancelled_training_goes_on(noisy: Path, tmp_path: Path) -> None:
    state, cancel = tmp_path / "training.state", CancelToken()
    with pytest.raises(
        Cancelled, match=r"kept in training\.state: go on with --resume"
    ):
        nb.train(
            noisy,
            checkpoint=state,
            cancel=cancel,
            on_progress=stop_after(2, cancel),
            **QUICK,
        )
    with pytest.raises(OutputExistsError, match="resume=True"):
        nb.train(noisy, checkpoint=state, **QUICK)
    with pytest.raises(CheckpointError, match="belongs to another stack"):
        nb.train(recording(1, 40)[0], checkpoint=state, resume=True, **QUICK)
    steps: list[float] = []
    model = nb.train(
        noisy,
        checkpoint=state,
        resume=True,
        on_progress=lambda event: steps.append(event.metrics.get("step", 0)),
        **QUICK,
    )
    assert [step for step in steps if step] == [3, 4, 5, 6]
    assert_same(model, nb.train(noisy, **QUICK))
    assert state.is_file()  # until the model is saved
    anew = nb.train(noisy, checkpoint=state, overwrite=True, **{**QUICK, "steps": 1})
    assert anew.provenance["training"]["steps"] == 1


def test_without_a_state_to_go_on_from_training_begins(
    noisy: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    model = nb.train(
        noisy,
        checkpoint=tmp_path / "state",
        resume=True,
        on_progress=lambda event: told.append(event.message),
        **{**QUICK, "steps": 1},
    )
    assert model.provenance["training"]["steps"] == 1
    assert "There is no state to go on from: training begins anew" in told
    assert "state" not in str(model.provenance)


def test_a_file_that_cannot_keep_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="resume=True needs checkpoint"):
        nb.train(tmp_path / "none.tif", resume=True)
    folder = tmp_path / "folder"
    folder.mkdir()
    for path, told in (
        (folder, "is a folder"),
        (tmp_path / "none" / "state", "lies in a folder that does not exist"),
    ):
        with pytest.raises(InputError, match=told):
            nb.train(tmp_path / "none.tif", checkpoint=path, overwrite=True)
    assert folder.is_dir()


@pytest.mark.parametrize("leave", [{}, {"overwrite": True}, {"resume": True}], ids=str)
def test_no_other_file_is_taken_for_a_state(
    noisy: Path, tmp_path: Path, leave: dict[str, bool]
) -> None:
    notes, before = tmp_path / "notes.partial", noisy.read_bytes()
    notes.write_text("mine")
    for path in (noisy, notes):
        with pytest.raises(InputError, match="is some other file, so it is not repl"):
            nb.train(noisy, checkpoint=path, **leave, **QUICK)
    assert noisy.read_bytes() == before
    assert notes.read_text() == "mine"


def test_what_is_there_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    kept = KeptFile(path, "a", resume=False)
    kept.save(b"first")
    check_kept_file(path, lambda _: True, resume=True, overwrite=False)

    def fails(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    for call in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(f"os.{call}", fails)
            with pytest.raises(nb.errors.RunError, match="disk is full"):
                kept.save(b"second")
        assert [one.name for one in tmp_path.iterdir()] == ["state"]
        assert KeptFile(path, "a", resume=True).load() == b"first"
    (tmp_path / ".state.new").write_bytes(b"sec")  # of a run that was killed
    kept.save(b"second")
    assert [one.name for one in tmp_path.iterdir()] == ["state"]
    assert path.read_bytes() == b"second"
    assert kept.load() is None
    assert not path.exists()
