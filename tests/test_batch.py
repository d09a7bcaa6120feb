"""A folder of stacks: names, bad files, one model or many, and what is told."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import zarr
from rich.console import Console

import napari_blindspot as nb
from napari_blindspot.batch import denoise_folder_job
from napari_blindspot.cli import main
from napari_blindspot.cli.show import EventView
from napari_blindspot.config.batch import BatchSettings
from napari_blindspot.errors import Cancelled, InputError, OutputExistsError
from napari_blindspot.io.folder import files_in, outputs_in
from napari_blindspot.model_file import load_model
from napari_blindspot.progress import CancelToken, Progress, run
from napari_blindspot.sample import nuclei_phantom

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Capture = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("tiny_networks")

QUICK = {"steps": 1, "device": "cpu", "threads": 1}
WORDS = ["--steps", "1", "--device", "cpu", "--threads", "1"]


def write(path: Path, pixels: np.ndarray) -> None:
    tifffile.imwrite(path, pixels, metadata={"axes": "ZYX"}, imagej=True)


@pytest.fixture(scope="module")
def noisy() -> NDArray[np.uint16]:
    return nuclei_phantom((4, 48, 48), seed=1).noisy


@pytest.fixture
def folder(tmp_path: Path, noisy: NDArray[np.uint16]) -> Path:
    """Two stacks, and a file between them that is none."""
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder / "s1.tif", noisy)
    (folder / "s2.tif").write_bytes(b"no TIFF at all")
    write(folder / "s10.tif", noisy[:, ::-1])
    return folder


# --- which files, to which names -----------------------------------------------


@pytest.fixture
def names(tmp_path: Path) -> Path:
    for name in ("b10.tif", "b2.TIF", "a.ome.tif", "._a.tif", "x.tif.partial", "n.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    zarr = tmp_path / "c.ome.zarr"
    zarr.mkdir()
    (zarr / "zarr.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        pytest.param(None, "a.ome.tif b2.TIF b10.tif c.ome.zarr", id="all"),
        pytest.param("*.tif", "a.ome.tif b2.TIF b10.tif", id="in-capitals-or-not"),
        pytest.param("B*", "b2.TIF b10.tif", id="pattern-in-capitals"),
        pytest.param("*.txt", "n.txt", id="whatever-is-asked-for"),
        pytest.param("._*", "._a.tif", id="hidden"),
    ],
)
def test_files_that_match_come_in_natural_order(
    names: Path, pattern: str | None, found: str
) -> None:
    assert [path.name for path in files_in(names, pattern)] == found.split()


def test_a_folder_without_files_that_match_is_refused(names: Path) -> None:
    with pytest.raises(InputError, match=r"no file in .* matches '\*\.czi'"):
        files_in(names, "*.czi")
    with pytest.raises(InputError, match=r"no file in .* can be opened"):
        files_in(names / "folder")


def test_outputs_are_named_after_their_files(names: Path, tmp_path: Path) -> None:
    files = files_in(names)
    out = tmp_path / "out"
    suffix = "_denoised.ome.zarr"
    found = outputs_in(out, files, suffix, uncertainty=False)
    assert [path.name for path in found] == [
        f"{name}_denoised.ome.zarr" for name in ("a", "b2", "b10", "c")
    ]
    assert not out.exists()


@pytest.mark.parametrize("second", ["a.tiff", "a.ome.tif"])
def test_names_that_collide_are_refused_before_any_work(
    folder: Path, tmp_path: Path, second: str
) -> None:
    (folder / "a.tif").write_bytes(b"x")
    (folder / second).write_bytes(b"x")
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"would both be written to a_denoised"):
        nb.denoise_folder(folder, out, **QUICK)
    assert not out.exists()


def test_names_that_differ_in_capitals_collide(tmp_path: Path) -> None:
    files = [tmp_path / "a.tif", tmp_path / "A.tif"]
    with pytest.raises(InputError, match=r"a\.tif and A\.tif would both"):
        outputs_in(tmp_path / "out", files, ".ome.zarr", uncertainty=False)


def test_an_uncertainty_counts_among_the_names(tmp_path: Path) -> None:
    files = [tmp_path / "a.tif", tmp_path / "a.uncertainty.tif"]
    out = tmp_path / "out"
    outputs_in(out, files, ".ome.zarr", uncertainty=False)
    with pytest.raises(InputError, match=r"would both be written to a\.uncertainty"):
        outputs_in(out, files, ".ome.zarr", uncertainty=True)


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        pytest.param("in", "is the folder of the input", id="input"),
        pytest.param("in/s1.tif", "is no folder of files", id="file"),
        pytest.param("new.ome.zarr", "is named like one stack", id="store"),
    ],
)
def test_an_output_that_is_no_folder_is_refused(
    folder: Path, tmp_path: Path, out: str, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        nb.denoise_folder(folder, tmp_path / out, **QUICK)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        pytest.param({"pattern": "**/*.tif"}, r"pattern='\*\*/\*\.tif'", id="slash"),
        pytest.param({"suffix": ""}, "suffix='' cannot be used", id="nothing"),
        pytest.param({"suffix": ".png"}, "ends in no known format", id="format"),
        pytest.param(
            {"one_model": True, "model": "m.safetensors", "steps": None},
            "one_model=True trains a network on all files",
            id="two-models",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    folder: Path, tmp_path: Path, options: dict[str, object], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        nb.denoise_folder(folder, tmp_path / "out", **{**QUICK, **options})
    assert not (tmp_path / "out").exists()


# --- the run --------------------------------------------------------------------


def test_a_bad_file_is_told_of_and_the_others_are_denoised(
    folder: Path, tmp_path: Path
) -> None:
    events: list[Progress] = []
    out = tmp_path / "out"
    done = nb.denoise_folder(folder, out, on_progress=events.append, **QUICK)
    assert [one.source.name for one in done.files] == ["s1.tif", "s2.tif", "s10.tif"]
    assert [one.source.name for one in done.failed] == ["s2.tif"]
    assert "s2.tif" in done.failed[0].sentence
    for one in (done.files[0], done.files[2]):
        assert nb.open_stack(one.output).shape == (4, 48, 48)
        assert one.facts["noise"][0]["gain"] > 0
    first, last = (nb.open_stack(done.files[i].output).data.compute() for i in (0, 2))
    assert not np.array_equal(first, last)
    assert sorted(path.name for path in out.iterdir()) == [
        "s10_denoised.ome.zarr",
        "s1_denoised.ome.zarr",
    ]
    told = [event for event in events if event.stage == "file" and event.message]
    assert [event.message.split(":")[0] for event in told] == [
        f"3 files in {folder}, each a stack of its own",
        "File 1 of 3",
        "File 2 of 3",
        "s2.tif failed",
        "File 3 of 3",
    ]
    assert events[-1].done == events[-1].total == 3


def test_an_existing_output_is_refused_for_its_file_alone(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "s1_denoised.ome.zarr").mkdir(parents=True)
    (out / "s1_denoised.ome.zarr" / "precious").write_text("mine")
    done = nb.denoise_folder(folder, out, pattern="s1*", **QUICK)
    assert [type(one.error) for one in done.files] == [OutputExistsError, type(None)]
    assert (out / "s1_denoised.ome.zarr" / "precious").read_text() == "mine"


def test_one_model_is_trained_on_all_files_that_can_be_used(
    folder: Path, tmp_path: Path, noisy: NDArray[np.uint16]
) -> None:
    write(folder / "two.tif", np.full((4, 48, 48), 7, np.uint16))
    out = tmp_path / "out"
    done = nb.denoise_folder(folder, out, one_model=True, suffix=".tif", **QUICK)
    assert [one.source.name for one in done.failed] == ["s2.tif", "two.tif"]
    assert done.model == out / "model.safetensors"
    sources = load_model(done.model).provenance["sources"]
    assert [source["name"] for source in sources] == ["s1.tif", "s10.tif"]
    assert [one.output.name for one in done.files if one.error is None] == [
        "s1.tif",
        "s10.tif",
    ]
    assert (out / "s1.tif").is_file()
    told = nb.open_stack(out / "s10.tif")
    assert told.shape == noisy.shape
    with pytest.raises(OutputExistsError, match=r"model\.safetensors"):
        nb.denoise_folder(folder, out, one_model=True, **QUICK)


def test_a_file_with_other_channels_cannot_share_the_network(
    tmp_path: Path, noisy: NDArray[np.uint16]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder / "a.tif", noisy)
    both = np.stack([noisy, noisy], axis=1)
    tifffile.imwrite(folder / "b.tif", both, metadata={"axes": "ZCYX"}, imagej=True)
    done = nb.denoise_folder(folder, tmp_path / "out", one_model=True, **QUICK)
    (failed,) = done.failed
    assert "b has 2 channels" in failed.sentence


def test_a_second_run_with_resume_keeps_what_is_complete(
    folder: Path, tmp_path: Path
) -> None:
    out, choice = tmp_path / "out", {"one_model": True, "suffix": ".tif", **QUICK}
    first = nb.denoise_folder(folder, out, **choice)
    (out / "s10.tif").unlink()
    made = (out / "s1.tif").stat().st_mtime_ns
    again = nb.denoise_folder(folder, out, resume=True, **choice)
    assert again.files[0].facts == {"kept": "complete already"}
    assert (out / "s1.tif").stat().st_mtime_ns == made
    assert (out / "s10.tif").is_file()
    assert again.model == first.model
    assert [one.source.name for one in again.failed] == ["s2.tif"]


def test_cancelling_ends_the_whole_run_and_keeps_what_is_complete(
    folder: Path, tmp_path: Path
) -> None:
    token, out = CancelToken(), tmp_path / "out"
    job = denoise_folder_job(folder, BatchSettings(**QUICK), out, token)

    def cancel_in_the_last(event: Progress) -> None:
        if event.stage == "file" and event.done == 2:
            token.cancel()

    with pytest.raises(Cancelled):
        run(job, cancel_in_the_last)
    assert [path.name for path in out.iterdir()] == ["s1_denoised.ome.zarr"]


# --- in the shell ---------------------------------------------------------------


def test_shell_lists_what_failed_and_exits_with_1(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    words = [str(folder), str(tmp_path / "out"), "--pattern", "s?.tif", *WORDS]
    assert main(["denoise", *words]) == 1
    said = capsys.readouterr()
    first, bad = said.out.splitlines()
    assert first == f"1 of 2 files denoised into {tmp_path / 'out'}"
    assert bad.startswith("s2.tif: ")
    assert "File 1 of 2: s1.tif" in said.err
    assert said.err.count("Training\n") == 1
    assert "1 of 2 files could not be denoised: s2.tif" in said.err.splitlines()[-1]


def test_a_terminal_shows_the_bar_of_the_files_and_of_the_one_under_way() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    with EventView(console) as view:
        for number in (1, 2):
            view(Progress("file", number - 1, 2, "files", f"File {number} of 2: a"))
            view(Progress("train", 100, 100, "%", "Noise model fits."))
            view(Progress("predict", 1, 4, "blocks"))
        view(Progress("file", 2, 2, "files"))
    told = screen.getvalue()
    assert told.count("Noise model fits.") == 2
    (last,) = [line for line in told.splitlines() if "Files" in line][-1:]
    assert "100 %" in last
    assert "Denoising" not in told.split("Files")[-1]


def test_shell_gives_the_facts_of_all_files_as_json(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    words = [str(folder), str(tmp_path / "out"), "--pattern", "s1*", *WORDS, "--json"]
    assert main(["denoise", *words]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["denoised"], facts["failed"]) == (2, 0)
    assert [one["steps_train"] for one in facts["files"]] == [1, 1]


def test_settings_of_a_folder_are_refused_for_a_stack(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    words = [str(folder / "s1.tif"), str(tmp_path / "o.ome.zarr"), "--pattern", "*"]
    assert main(["denoise", *words]) == 2
    assert "pattern cannot be given here" in capsys.readouterr().err


# --- what is no folder of stacks ------------------------------------------------


def test_a_damaged_store_is_no_folder_of_stacks(
    tmp_path: Path, noisy: NDArray[np.uint16], capsys: Capture
) -> None:
    store = tmp_path / "cut.ome.zarr"
    zarr.open_group(store, mode="w").create_array("0", data=noisy)
    (store / "zarr.json").unlink()
    assert main(["denoise", str(store), str(tmp_path / "out.ome.zarr"), *WORDS]) != 0
    told = " ".join(capsys.readouterr().err.split())
    assert "was not copied completely" in told
    inside = store / "0"
    assert repr(str(inside)) in told
    assert nb.open_stack(inside).shape == noisy.shape
    (inside / "zarr.json").unlink()
    with pytest.raises(InputError, match="there is no array inside"):
        nb.open_stack(store)


def test_an_empty_name_is_not_the_current_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(folder)
    assert main(["denoise", "", str(tmp_path / "out"), *WORDS]) != 0
    assert "names no file or folder" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_an_example_is_a_pattern_of_the_folder_itself(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match=r"such as '\*\.tif' for the planes"):
        nb.open_stack(".")
