"""Job files: read, won over by what is typed, and made from what a result records."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import yaml

import napari_blindspot as nb
from napari_blindspot import api
from napari_blindspot.cli import main
from napari_blindspot.config import DenoiseSettings, DistillSettings, TrainSettings
from napari_blindspot.config.job_file import LARGEST_BYTES, read_job
from napari_blindspot.errors import InputError, RunError
from napari_blindspot.model_file import save_model
from napari_blindspot.reporting.job_file import UNNAMED, job_text, write_job
from napari_blindspot.sample import nuclei_phantom

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_blindspot.progress import Progress

    Capture = pytest.CaptureFixture[str]
    Patch = pytest.MonkeyPatch

pytestmark = pytest.mark.usefixtures("tiny_networks")


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def asked(monkeypatch: Patch) -> list[tuple[object, ...]]:
    """What the shell asks the core for, which then ends."""
    seen: list[tuple[object, ...]] = []

    def job(*words: object, **more: object) -> Iterator[Progress]:
        seen.append(words)
        raise RunError("Far enough.")
        yield

    for name in ("denoise_job", "train_job", "distill_job"):
        monkeypatch.setattr(api, name, job)
    return seen


JOB = """
# what was chosen last week
input: stack.tif
output: out.ome.zarr
steps: 50
seed: 7
hole: [1, 5, 5]
channel: GFP
region: z=1:4
noise: gaussian
"""


def test_a_job_file_is_what_could_be_typed(
    asked: list[tuple[object, ...]], tmp_path: Path
) -> None:
    assert main(["denoise", "--config", str(written(tmp_path / "j.yaml", JOB))]) == 1
    source, settings, out, _ = asked[0]
    assert (str(source), str(out)) == ("stack.tif", "out.ome.zarr")
    assert settings == DenoiseSettings(
        steps=50, seed=7, hole=(1, 5, 5), channel="GFP", region="z=1:4",
        noise="gaussian",
    )  # fmt: skip


def test_what_is_typed_wins_over_the_file(
    asked: list[tuple[object, ...]], tmp_path: Path
) -> None:
    file = str(written(tmp_path / "j.yaml", JOB))
    words = ["b.tif", "b.zarr", "--config", file, "--seed", "8", "--minutes", "2"]
    assert main(["denoise", *words]) == 1
    source, settings, out, _ = asked[0]
    assert (str(source), str(out)) == ("b.tif", "b.zarr")
    assert isinstance(settings, DenoiseSettings)
    assert (settings.seed, settings.minutes, settings.steps) == (8, 2.0, None)
    assert settings.channel == "GFP"


def test_train_takes_several_inputs_from_the_file(
    asked: list[tuple[object, ...]], tmp_path: Path
) -> None:
    text = f"command: train\ninput: [a.tif, b.tif]\noutput: {tmp_path}/m.safetensors\n"
    file = str(written(tmp_path / "j.yaml", text + "steps: 3\n"))
    assert main(["train", "--config", file]) == 1
    sources, settings, *_ = asked[0]
    assert [str(one) for one in sources] == ["a.tif", "b.tif"]  # type: ignore[attr-defined]
    assert settings == TrainSettings(steps=3)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param(
            "stepz: 3", "j.yaml: stepz=3 is not a setting; did you mean", id="key"
        ),
        pytest.param("steps: -3", "j.yaml: steps=-3 cannot be used; give", id="value"),
        pytest.param("steps: 3\nminutes: 1", "j.yaml: the training budget", id="both"),
        pytest.param(
            "steps: [", "j.yaml is no YAML that can be read in line", id="yaml"
        ),
        pytest.param("[" * 5000, "j.yaml is no YAML that can be read", id="deep"),
        pytest.param("- 3", "j.yaml holds no settings", id="list"),
        pytest.param("", "j.yaml holds no settings", id="empty"),
        pytest.param("3: 4", "j.yaml holds no settings", id="numbers"),
        pytest.param("a: !!python/object/apply:os.system [ls]", "no YAML", id="code"),
        pytest.param(
            "command: train", "is for 'train', not for 'denoise'; run", id="other"
        ),
        pytest.param("command: dance", "not for 'denoise'; use one of", id="unknown"),
        pytest.param("input: 3", "j.yaml: input=3 cannot be used", id="path"),
        pytest.param(
            "steps: 3", "j.yaml names no input, and none is typed", id="input"
        ),
        pytest.param("input: a.tif", "j.yaml names no output", id="output"),
        pytest.param("input: a.tif\noutput: [a, b]", "output names 2 paths", id="two"),
        pytest.param(
            "input: a.tif\npattern: '*'", "pattern cannot be given", id="folder"
        ),
    ],
)
def test_a_job_file_that_cannot_be_used_is_named(
    tmp_path: Path, capsys: Capture, text: str, sentence: str
) -> None:
    file = str(written(tmp_path / "j.yaml", text))
    assert main(["denoise", "--config", file]) == 2
    assert sentence in capsys.readouterr().err


def test_what_is_wrong_on_the_command_line_does_not_blame_the_file(
    tmp_path: Path, capsys: Capture
) -> None:
    file = str(written(tmp_path / "j.yaml", "seed: 3"))
    assert main(["denoise", "a", "b", "--config", file, "--steps", "-3"]) == 2
    assert "j.yaml" not in capsys.readouterr().err


def test_files_that_are_no_job_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"job file .*no\.yaml' cannot be read"):
        read_job(tmp_path / "no.yaml", "denoise")
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"a\.yaml is no text"):
        read_job(tmp_path / "a.yaml", "denoise")
    with (tmp_path / "big.yaml").open("wb") as file:
        file.truncate(LARGEST_BYTES + 1)
    with pytest.raises(InputError, match=r"too many for a job file"):
        read_job(tmp_path / "big.yaml", "denoise")


# --- made from results ----------------------------------------------------------


@pytest.fixture(scope="module")
def noisy() -> NDArray[np.uint16]:
    return nuclei_phantom((4, 48, 48), seed=3).noisy


@pytest.fixture
def stack(tmp_path: Path, noisy: NDArray[np.uint16]) -> Path:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, noisy, metadata={"axes": "ZYX"}, imagej=True)
    return path


def values_of(path: Path) -> NDArray[np.float32]:
    pixels: NDArray[np.float32] = nb.open_stack(path).data.compute()
    return pixels


@pytest.mark.parametrize("suffix", [".ome.zarr", ".ome.tif"])
def test_the_job_of_a_result_makes_it_once_more_bit_for_bit(
    stack: Path, tmp_path: Path, monkeypatch: Patch, suffix: str, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    words = "--steps 2 --seed 5 --device cpu --hole 1 1 3 --region z=0:4,y=0:40 --json"
    assert main(["denoise", "stack.tif", f"one{suffix}", *words.split()]) == 0
    capsys.readouterr()
    assert main(["info", f"one{suffix}", "--job", "job.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["job"] == "job.yaml"
    told = yaml.safe_load((tmp_path / "job.yaml").read_text())
    assert told == {
        "command": "denoise", "input": "stack.tif", "output": f"one{suffix}",
        "steps": 2, "seed": 5, "device": "cpu", "hole": [1, 1, 3],
        "region": "z=0:4,y=0:40", "threads": 1,
    }  # fmt: skip
    assert main(["denoise", "--config", "job.yaml"]) == 2
    assert "exists already" in capsys.readouterr().err
    again = ["stack.tif", f"two{suffix}", "--config", "job.yaml"]
    assert main(["denoise", *again]) == 0
    first, second = (tmp_path / f"{name}{suffix}" for name in ("one", "two"))
    np.testing.assert_array_equal(values_of(first), values_of(second))


def test_the_job_of_a_model_file_trains_it_once_more(
    stack: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--steps", "2", "--seed", "5", "--device", "cpu", "--context", "none"]
    assert main(["train", "stack.tif", "one.safetensors", *words]) == 0
    write_job("one.safetensors", "job.yaml")
    words = ["stack.tif", "two.safetensors", "--config", "job.yaml"]
    assert main(["train", *words]) == 0
    first, second = (
        nb.load_model(tmp_path / f"{name}.safetensors").network.state_dict()
        for name in ("one", "two")
    )
    assert first.keys() == second.keys()
    assert all(bool((first[name] == second[name]).all()) for name in first)


def test_files_are_named_and_the_user_gives_their_paths(
    stack: Path, tmp_path: Path, noisy: NDArray[np.uint16]
) -> None:
    quick = {"steps": 1, "device": "cpu", "threads": 1}
    model = nb.train(stack, **quick)
    file = save_model(model, tmp_path / "scope.safetensors")
    nb.denoise(stack, tmp_path / "a.tif", model=file, threads=1)
    told = yaml.safe_load(text := job_text(tmp_path / "a.tif"))
    assert (told["model"], told["input"]) == ("scope.safetensors", "stack.tif")
    assert "give the paths of input, model" in text
    assert str(tmp_path) not in text
    nb.predict(model, stack, tmp_path / "b.tif", threads=1)
    told = yaml.safe_load(text := job_text(tmp_path / "b.tif"))
    assert told["model"] == UNNAMED
    assert "The model was in memory" in text
    student = nb.distill(model, stack, steps=1, student="tiny", seed=4)
    save_model(student, tmp_path / "s.safetensors")
    told = yaml.safe_load(job_text(tmp_path / "s.safetensors"))
    assert (told.pop("command"), told.pop("model")) == ("distill", UNNAMED)
    del told["input"], told["output"]
    assert DistillSettings(**told).seed == 4


def test_a_run_by_the_clock_says_that_another_differs(
    stack: Path, tmp_path: Path
) -> None:
    nb.denoise(stack, tmp_path / "a.tif", minutes=0.001, device="cpu", threads=1)
    text = job_text(tmp_path / "a.tif")
    assert "It trained for a time and came to" in text
    assert yaml.safe_load(text)["minutes"] == 0.001


def test_what_does_not_say_how_it_was_made_gives_no_job(
    stack: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"stack\.tif does not record how"):
        write_job(stack, tmp_path / "j.yaml")
    with pytest.raises(InputError, match=r"let its name end in \.yaml or \.yml"):
        write_job(stack, tmp_path / "j.txt")
    assert not (tmp_path / "j.yaml").exists()
