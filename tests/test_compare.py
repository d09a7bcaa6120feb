"""`compare` in Python and in the shell, on files, arrays, layers and results."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

import napari_blindspot as nb
from napari_blindspot.cli import main
from napari_blindspot.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_blindspot.sample import Phantom

    Capture = pytest.CaptureFixture[str]


@pytest.fixture
def files(phantom: Phantom, tmp_path: Path) -> tuple[Path, Path]:
    """A smoothed stack and its truth, as ImageJ files with a voxel size."""
    z, y, x = phantom.voxel_size
    assert z
    assert y
    assert x
    smoothed = gaussian_filter(phantom.noisy.astype(np.float32), (0.5, 1, 1))
    paths = []
    for name, pixels in (("smoothed.tif", smoothed), ("truth.tif", phantom.truth)):
        paths.append(tmp_path / name)
        tifffile.imwrite(
            paths[-1],
            pixels,
            imagej=True,
            resolution=(1 / x, 1 / y),
            metadata={"axes": "ZYX", "spacing": z, "unit": "um"},
        )
    return paths[0], paths[1]


# --- Python ----------------------------------------------------------------------


def test_files_and_arrays_give_the_same_figures(
    files: tuple[Path, Path], phantom: Phantom
) -> None:
    from_files = nb.compare(*files)
    smoothed = tifffile.imread(files[0])
    from_arrays = nb.compare(
        smoothed, phantom.truth, axes="ZYX", voxel_size=tuple(phantom.voxel_size)
    )
    assert from_files.psnr == from_arrays.psnr
    assert from_files.resolution == pytest.approx(from_arrays.resolution)
    assert (from_files.result, from_files.reference) == ("smoothed", "truth")
    assert (from_arrays.result, from_arrays.reference) == ("result", "reference")
    error = np.mean((smoothed.astype(float) - phantom.truth) ** 2)
    assert from_files.psnr == pytest.approx(10 * np.log10(phantom.scale**2 / error))


def test_a_region_is_taken_from_both(
    files: tuple[Path, Path], phantom: Phantom
) -> None:
    found = nb.compare(*files, region="z=2:6,y=0:32")
    assert found.shape == (4, 32, 64)
    part = (slice(2, 6), slice(0, 32))
    smoothed = tifffile.imread(files[0])
    direct = nb.compare(smoothed[part], phantom.truth[part], axes="ZYX")
    assert found.psnr == direct.psnr


def test_what_denoise_returned_can_be_compared(
    phantom: Phantom, tmp_path: Path
) -> None:
    source = tmp_path / "noisy.tif"
    tifffile.imwrite(source, phantom.noisy, imagej=True, metadata={"axes": "ZYX"})
    in_memory = nb.denoise(source, steps=1, device="cpu")
    found = nb.compare(in_memory, phantom.truth, axes="ZYX")
    noisy = nb.compare(source, phantom.truth, axes="ZYX")
    assert found.psnr > noisy.psnr + 3
    image = np.asarray(in_memory.image)
    assert found.psnr == nb.compare(image, phantom.truth, axes="ZYX").psnr
    assert nb.compare(in_memory, source, bin_by="result").axes == "ZYX"


def test_a_result_against_its_own_input_is_told_to_be_binned_by_the_result(
    phantom: Phantom, tmp_path: Path
) -> None:
    source, out = tmp_path / "noisy.tif", tmp_path / "out.ome.zarr"
    tifffile.imwrite(source, phantom.noisy, imagej=True, metadata={"axes": "ZYX"})
    written = nb.denoise(source, out, steps=1, device="cpu")
    for result in (out, written):
        notes = nb.compare(result, source).notes
        assert any("bin_by='result'" in note for note in notes)
    truth = tmp_path / "truth.tif"
    tifffile.imwrite(truth, phantom.truth, imagej=True, metadata={"axes": "ZYX"})
    assert not any("bin_by" in note for note in nb.compare(out, truth).notes)


def test_events_are_told(files: tuple[Path, Path]) -> None:
    events = []
    nb.compare(*files, on_progress=events.append)
    shares = [event.fraction for event in events if event.stage == "compare"]
    assert shares == pytest.approx(np.linspace(0, 1, 9))
    assert "smoothed: ZYX 8×64×64, float32" in [event.message for event in events]


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"bin_by": "truth"}, "bin_by='truth'"),
        ({"data_range": 0}, "data_range=0"),
        ({"offset": float("nan")}, "offset=nan"),
        ({"ofset": 1}, "ofset=1 is not a setting"),
    ],
)
def test_a_wrong_setting_is_named(
    files: tuple[Path, Path], setting: dict[str, object], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        nb.compare(*files, **setting)


# --- the shell -------------------------------------------------------------------


def test_the_last_line_of_json_holds_the_figures(
    files: tuple[Path, Path], capsys: Capture
) -> None:
    assert main(["compare", *map(str, files), "--json"]) == 0
    printed = capsys.readouterr()
    (line,) = printed.out.splitlines()
    facts = json.loads(line)
    found = nb.compare(*files)
    assert facts == json.loads(json.dumps(found.as_dict()))
    assert facts["psnr"] == found.psnr
    assert facts["resolution_unit"] == "µm"
    (channel,) = facts["channels"]
    assert len(channel["intensity"]["bins"]) == 20
    assert channel["ring_correlation"]["resolution"] == facts["resolution"]
    assert channel["shell_correlation"]["shape"] == [8, 64, 64]
    assert "Comparing" in printed.err


def test_people_read_sentences(files: tuple[Path, Path], capsys: Capture) -> None:
    assert main(["compare", *map(str, files)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == nb.compare(*files).sentences()
    assert said[0] == "smoothed against truth: ZYX 8×64×64"


def test_options_reach_the_comparison(
    files: tuple[Path, Path], capsys: Capture
) -> None:
    words = "--bin-by result --data-range 500 --offset 100 --region z=0:4 --json"
    assert main(["compare", *map(str, files), *words.split()]) == 0
    facts = json.loads(capsys.readouterr().out)
    (channel,) = facts["channels"]
    assert (channel["data_range"], facts["shape"]) == (500.0, [4, 64, 64])
    assert channel["intensity"]["bin_by"] == "result"
    assert channel["intensity"]["offset"] == 100.0


def test_stacks_that_do_not_fit_end_with_two(
    files: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    other = tmp_path / "other.tif"
    tifffile.imwrite(other, np.ones((32, 32), np.float32))
    assert main(["compare", str(files[0]), str(other), "--json"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "smoothed is ZYX 8×64×64, but other is YX 32×32" in printed.err
    assert main(["compare", str(files[0])]) == 2
    assert "REFERENCE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("axes", "place"), [("TYX", "at t="), ("ZYX", "at z="), ("TZYX", "at t=")]
)
def test_a_plane_is_named_by_the_axes_there_are(
    axes: str, place: str, rng: np.random.Generator
) -> None:
    shape = (2, 2, 32, 32)[4 - len(axes) :]
    truth = rng.poisson(50, shape).astype(np.float32)
    found = nb.compare(truth * 1.1, truth, axes=axes, offset=0)
    (line,) = (one for one in found.sentences() if "plane totals" in one)
    assert place in line
    assert ("t=" in line, "z=" in line) == ("T" in axes, "Z" in axes)
