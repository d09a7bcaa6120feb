"""The shell command: options, exit codes, what it prints and when it is quiet."""

from __future__ import annotations

import io
import json
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from rich.console import Console

from napari_blindspot import api
from napari_blindspot.cli import app, main
from napari_blindspot.cli.show import EventView, fact_lines, json_line
from napari_blindspot.config import DenoiseSettings, Settings, TrainSettings
from napari_blindspot.config.batch import BatchSettings
from napari_blindspot.errors import Cancelled, InputError, RunError
from napari_blindspot.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_blindspot.sample import Phantom

    Capture = pytest.CaptureFixture[str]
    Patch = pytest.MonkeyPatch

pytestmark = pytest.mark.usefixtures("tiny_networks")

DOCUMENTED = (
    "axes channel context voxel-size region method hole quality minutes steps noise "
    "gain offset read-noise model uncertainty dtype device threads seed overwrite json "
    "debug"
)
SHELL = [sys.executable, "-m", "napari_blindspot"]


@pytest.fixture
def noisy_tiff(tmp_path: Path, phantom: Phantom) -> Path:
    path = tmp_path / "noisy.tif"
    tifffile.imwrite(path, phantom.noisy, metadata={"axes": "ZYX"}, imagej=True)
    return path


def raising(error: BaseException) -> Callable[..., Iterator[Progress]]:
    def job(*args: object, **options: object) -> Iterator[Progress]:
        yield Progress("open", 0, 1, "stack")
        raise error

    return job


# --- options -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "kind"), [("denoise", BatchSettings), ("train", TrainSettings)]
)
def test_options_and_defaults_are_those_of_the_settings(
    command: str, kind: type[Settings]
) -> None:
    arguments = app[command].assemble_argument_collection()
    shown = {
        argument.names[0]: argument.field_info.default
        for argument in arguments
        if argument.field_info.kind is argument.field_info.KEYWORD_ONLY
    }
    settings = {
        "--" + name.replace("_", "-"): field.default
        for name, field in kind.model_fields.items()
    }
    switches = ("--json", "--debug", "--overwrite", "--resume")
    own = dict.fromkeys(switches, False)
    assert shown == own | settings | {"--config": None}


def test_denoise_offers_every_documented_option(capsys: Capture) -> None:
    assert main(["denoise", "--help"]) == 0
    text = capsys.readouterr().out
    for option in DOCUMENTED.split():
        assert f"--{option}" in text
    said = " ".join(text.split())
    assert (
        "One network is trained for all channels and time points of the input; every "
        "channel keeps its own scale and noise model; --channel trains on one channel "
        "alone."
    ) in said


def test_given_options_reach_the_settings(tmp_path: Path, monkeypatch: Patch) -> None:
    seen: dict[str, Any] = {}

    def job(
        source: Path, settings: DenoiseSettings, out: Path, token: object
    ) -> Iterator[Progress]:
        seen.update(source=source, settings=settings, out=out)
        raise RunError("Far enough.")
        yield

    monkeypatch.setattr(api, "denoise_job", job)
    words = shlex.split(
        "--axes TYX --voxel-size 1 0.3 0.3 --channel 2 --region y=0:64 --hole 1 1 5 "
        "--gain 2.2 --offset -5 --read-noise 1.6 --noise camera --steps 7 --seed 3 "
        "--uncertainty --dtype same --device cpu --threads 1 --context t --overwrite"
    )
    assert main(["denoise", "in.tif", "out.tif", *words]) == 1
    assert (seen["source"], seen["out"]) == (Path("in.tif"), Path("out.tif"))
    assert seen["settings"] == DenoiseSettings(
        axes="TYX", voxel_size=(1.0, 0.3, 0.3), channel=2, region="y=0:64",
        hole=(1, 1, 5), gain=2.2, offset=-5.0, read_noise=1.6, noise="camera",
        steps=7, seed=3, uncertainty=True, dtype="same", device="cpu", threads=1,
        context="t", overwrite=True,
    )  # fmt: skip


# --- exit codes ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        pytest.param(InputError("Bad axes."), 2, "Error: Bad axes.", id="input"),
        pytest.param(RunError("Disk full."), 1, "Error: Disk full.", id="run"),
        pytest.param(OSError(28, "No space left"), 1, "No space left", id="system"),
        pytest.param(MemoryError(), 1, "The memory ran out", id="memory"),
        pytest.param(ZeroDivisionError("div"), 1, "again with --debug", id="bug"),
        pytest.param(Cancelled("Cancelled."), 130, "Cancelled.", id="cancelled"),
        pytest.param(KeyboardInterrupt(), 130, "Interrupted.", id="interrupt"),
    ],
)
def test_each_error_has_its_exit_code_and_one_sentence(
    error: BaseException, code: int, sentence: str, monkeypatch: Patch, capsys: Capture
) -> None:
    monkeypatch.setattr(api, "denoise_job", raising(error))
    assert main(["denoise", "a.tif", "b.tif"]) == code
    printed = capsys.readouterr()
    assert sentence in printed.err.splitlines()[-1]
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_debug_shows_the_traceback(monkeypatch: Patch, capsys: Capture) -> None:
    monkeypatch.setattr(api, "denoise_job", raising(ZeroDivisionError("div")))
    assert main(["denoise", "a.tif", "b.tif", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("denoise only-one.tif", id="missing-output"),
        pytest.param("denoise a b --contxt z", id="misspelt-option"),
        pytest.param("denoise a b --context q", id="unknown-choice"),
        pytest.param("denoise a b --steps many", id="not-a-number"),
        pytest.param("denoise a b --steps 2 --minutes 1", id="two-budgets"),
        pytest.param("denoise a b --hole 1 1 2", id="even-hole"),
        pytest.param("denoise a b --gain 2", id="incomplete-camera"),
        pytest.param("train only-one.tif", id="no-model"),
        pytest.param("train a.tif no/such/folder/m.safetensors", id="no-folder"),
        pytest.param("unknown-command", id="unknown-command"),
    ],
)
def test_bad_use_ends_with_two(words: str, capsys: Capture) -> None:
    assert main(words.split()) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("Error: ")
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_missing_input_is_bad_input(tmp_path: Path, capsys: Capture) -> None:
    target = tmp_path / "out.ome.zarr"
    assert main(["denoise", str(tmp_path / "absent.tif"), str(target)]) == 2
    assert "absent.tif" in capsys.readouterr().err
    assert not target.exists()


def test_existing_model_is_refused_before_training(
    noisy_tiff: Path, tmp_path: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    target = tmp_path / "model.safetensors"
    target.write_bytes(b"precious")
    monkeypatch.setattr(api, "train_job", raising(AssertionError("trained")))
    assert main(["train", str(noisy_tiff), str(target)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert target.read_bytes() == b"precious"


def test_version_and_help_need_no_command(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip()[0].isdigit()
    assert main([]) == 0
    assert "denoise" in capsys.readouterr().out


# --- what is shown -------------------------------------------------------------


EVENTS = [
    Progress("open", 1, 1, "stack", "Axes ZYX were guessed."),
    Progress("train", 10, 100, "steps", metrics={"loss": -1.0}),
    Progress("train", 20, 100, "steps"),
    Progress("predict", 1, 4, "blocks", "Axes ZYX were guessed."),
]


def shown(*, terminal: bool) -> str:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=100)
    with EventView(console) as view:
        for event in EVENTS:
            view(event)
    return screen.getvalue()


def test_without_a_terminal_only_key_lines_are_shown() -> None:
    assert shown(terminal=False).splitlines() == [
        "Opening",
        "Axes ZYX were guessed.",
        "Training",
        "Denoising",
    ]


def test_a_terminal_shows_bars_with_time_left() -> None:
    screen = shown(terminal=True)
    assert "Training" in screen
    assert "━" in screen
    assert "25 %" in screen
    assert "left" in screen


def test_json_is_strict_and_holds_plain_values() -> None:
    line = json_line(
        {"a": float("nan"), "b": np.float32(2.5), "c": Path("x"), "d": (1, np.inf)}
    )
    assert json.loads(line) == {"a": None, "b": 2.5, "c": "x", "d": [1, None]}
    assert "\n" not in line


def test_facts_for_people_are_aligned_and_nested() -> None:
    facts = {"axes": "ZYX", "shape": [8, 64], "noise": [{"gain": 2.2}, {"gain": 2.3}]}
    assert fact_lines(facts) == [
        "axes   ZYX",
        "shape  8 64",
        "noise[0]",
        "  gain  2.2",
        "noise[1]",
        "  gain  2.3",
    ]


# --- the real thing ------------------------------------------------------------


def test_denoise_writes_a_stack_and_one_json_line(
    noisy_tiff: Path, tmp_path: Path, capsys: Capture
) -> None:
    target = tmp_path / "out.ome.zarr"
    words = ["--steps", "2", "--device", "cpu", "--json", "--uncertainty"]
    # After two steps from random weights even a small stack tells what to expect.
    words += ["--start", "cold"]
    assert main(["denoise", str(noisy_tiff), str(target), *words]) == 0
    printed = capsys.readouterr()
    (line,) = printed.out.splitlines()
    facts = json.loads(line)
    assert Path(facts["output"]) == target
    assert Path(facts["uncertainty"]) == tmp_path / "out.uncertainty.ome.zarr"
    assert target.is_dir()
    assert Path(facts["uncertainty"]).is_dir()
    assert facts["device"].lower().startswith("cpu")
    assert facts["noise"]["gain"] > 0
    numbers = (
        "seconds_train seconds_predict voxels_per_second expected_psnr "
        "peak_memory_bytes"
    )
    assert all(isinstance(facts[name], int | float) for name in numbers.split())
    assert "Training" in printed.err
    assert api.describe(target)["shape"] == [8, 64, 64]


def test_several_channels_give_a_list_of_noise_objects(
    phantom: Phantom, tmp_path: Path, capsys: Capture
) -> None:
    source, target = tmp_path / "two.ome.tif", tmp_path / "two.zarr"
    both = np.stack([phantom.noisy, phantom.noisy[::-1]], axis=1)
    tifffile.imwrite(source, both, metadata={"axes": "ZCYX"}, ome=True)
    words = ["--steps", "1", "--device", "cpu", "--json"]
    assert main(["denoise", str(source), str(target), *words]) == 0
    noise = json.loads(capsys.readouterr().out)["noise"]
    assert [sorted(model) for model in noise] == [sorted(noise[0])] * 2


def test_a_trained_model_denoises_another_stack(
    noisy_tiff: Path, tmp_path: Path, capsys: Capture
) -> None:
    model, target = tmp_path / "m.safetensors", tmp_path / "out.tif"
    cpu = ["--device", "cpu"]
    assert main(["train", str(noisy_tiff), str(model), "--steps", "2", *cpu]) == 0
    words = ["--model", str(model), *cpu]
    assert main(["denoise", str(noisy_tiff), str(target), *words]) == 0
    assert tifffile.imread(target).shape == (8, 64, 64)
    capsys.readouterr()
    assert main(["info", str(model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["method"] == "bayesian"


def test_info_describes_a_stack(noisy_tiff: Path, capsys: Capture) -> None:
    assert main(["info", str(noisy_tiff)]) == 0
    assert "ZYX" in capsys.readouterr().out


def test_existing_output_is_refused(
    noisy_tiff: Path, tmp_path: Path, capsys: Capture
) -> None:
    target = tmp_path / "out.tif"
    target.write_bytes(b"precious")
    assert main(["denoise", str(noisy_tiff), str(target), "--steps", "1"]) == 2
    assert "overwrite" in capsys.readouterr().err
    assert target.read_bytes() == b"precious"


def wait_for_line(stream: IO[str], wanted: str) -> None:
    said = []
    for line in stream:
        said.append(line)
        if wanted in line:
            return
    pytest.fail(f"{wanted!r} was never printed; there was only {said}")


@contextmanager
def running(call: list[str]) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """Start a process whose stderr can be read; end it whatever happens."""
    pipe = subprocess.PIPE
    with subprocess.Popen(call, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stderr is not None
        try:
            yield process, process.stderr
        finally:
            process.kill()


TELL_STEPS = """
import sys
from napari_blindspot.cli import main
from napari_blindspot.training.trainer import Trainer
step = Trainer.step
def told(*args):
    loss = step(*args)
    print("a step", file=sys.stderr, flush=True)
    return loss
Trainer.step = told
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_ends_with_130_and_leaves_what_can_be_resumed(
    noisy_tiff: Path, tmp_path: Path
) -> None:
    source_bytes = noisy_tiff.read_bytes()
    target = tmp_path / "out.ome.zarr"
    words = ["--minutes", "5", "--device", "cpu", "--threads", "1"]
    call = [sys.executable, "-c", TELL_STEPS, "denoise", str(noisy_tiff), str(target)]
    with running([*call, *words]) as (process, stderr):
        wait_for_line(stderr, "a step")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("The run was cancelled")
    assert err.splitlines()[-1].endswith("go on with --resume.")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["noisy.tif", "out.ome.zarr.partial"]
    assert noisy_tiff.read_bytes() == source_bytes


WAIT_IN_A_COMMAND = """
import sys, time
from napari_blindspot.cli.guard import cancel_on_interrupt
with cancel_on_interrupt():
    print("ready", file=sys.stderr, flush=True)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        time.sleep(0.05)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_second_ctrl_c_ends_at_once() -> None:
    with running([sys.executable, "-c", WAIT_IN_A_COMMAND]) as (process, stderr):
        wait_for_line(stderr, "ready")
        process.send_signal(signal.SIGINT)
        wait_for_line(stderr, "Ctrl-C again")
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == -signal.SIGINT
