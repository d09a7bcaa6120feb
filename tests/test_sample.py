"""The generated stack, the pictures, and the stacks that need a network."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from napari_blindspot.errors import InputError, RunError
from napari_blindspot.reporting.pictures import before_after, compare
from napari_blindspot.sample import Phantom, nuclei_phantom, unpack_planaria

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def large() -> Phantom:
    return nuclei_phantom((16, 128, 128), seed=3)


def test_the_same_seed_gives_the_same_volume() -> None:
    first, again = (nuclei_phantom((4, 32, 32), seed=5) for _ in range(2))
    other = nuclei_phantom((4, 32, 32), seed=6)
    np.testing.assert_array_equal(first.noisy, again.noisy)
    assert not np.array_equal(first.noisy, other.noisy)


def test_types_shapes_and_units(large: Phantom) -> None:
    assert large.noisy.dtype == np.uint16
    assert large.truth.dtype == np.float32
    assert large.noisy.shape == large.truth.shape == (16, 128, 128)
    assert large.voxel_size.z is not None
    assert large.voxel_size.x is not None
    assert large.voxel_size.z > large.voxel_size.x
    assert large.scale == pytest.approx(2.2 * 20.0)


def test_noise_follows_the_camera_model(large: Phantom) -> None:
    error = large.noisy - large.truth.astype(np.float64)
    electrons = (large.truth.astype(np.float64) - large.offset) / large.gain
    variance = large.gain**2 * (electrons + large.read_noise**2) + 1 / 12
    for low, high in ((0.0, 1.0), (2.0, 4.0), (6.0, 10.0), (12.0, 30.0)):
        chosen = (electrons >= low) & (electrons < high)
        count = int(chosen.sum())
        assert count > 500
        tolerance = 5 * np.sqrt(2 / count)
        assert error[chosen].mean() == pytest.approx(
            0.0, abs=5 * np.sqrt(variance[chosen].mean() / count)
        )
        assert error[chosen].var() / variance[chosen].mean() == pytest.approx(
            1.0, abs=tolerance
        )


def test_the_truth_spans_the_scale(large: Phantom) -> None:
    low, high = np.percentile(large.truth, [1.0, 99.9])
    assert high - low == pytest.approx(large.scale, rel=0.01)
    assert large.truth.min() >= large.offset


def test_nuclei_are_dense_and_structured(large: Phantom) -> None:
    unit = (large.truth - large.offset) / large.scale
    assert 0.1 < (unit > 0.25).mean() < 0.6
    # Structure: a filter that is blind to nuclei would explain nearly everything.
    rough = gaussian_filter(unit, (4, 14, 14))
    assert np.var(unit - rough) > 0.4 * np.var(unit)


def test_the_default_volume_is_made_in_seconds() -> None:
    start = time.process_time()  # whatever else the machine does
    nuclei_phantom()
    assert time.process_time() - start < 5.0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        pytest.param({"shape": (4, 8, 8)}, "shape", id="small-plane"),
        pytest.param({"shape": (32, 32)}, "shape", id="no-volume"),
        pytest.param({"photons": 0.0}, "photons", id="no-light"),
        pytest.param({"gain": -1.0}, "gain", id="negative-gain"),
        pytest.param({"read_noise": -1.0}, "read_noise", id="negative-noise"),
    ],
)
def test_bad_phantoms_are_refused(options: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        nuclei_phantom(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "call",
    [
        pytest.param("sample.cells3d_nuclei()", id="cells3d"),
        pytest.param("sample.fetch_planaria('.')", id="planaria"),
    ],
)
def test_without_a_network_one_sentence_says_so(call: str, tmp_path: Path) -> None:
    code = f"""
import socket, time
time.sleep = lambda seconds: None  # pooch waits between attempts
def refuse(*args, **options):
    raise OSError("no network")
socket.getaddrinfo = socket.create_connection = refuse
socket.socket.connect = refuse
from napari_blindspot import errors, sample
try:
    {call}
except errors.RunError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "SKIMAGE_DATADIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "could not be downloaded" in done.stdout
    assert "go online and try again" in done.stdout
    assert not list(tmp_path.glob("**/*.tif"))


def make_archive(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_the_planaria_archive_is_unpacked_beside_itself(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "set.tar.gz", {"test_data/GT/a.tif": b"pixels"})
    target = unpack_planaria(archive)
    assert target == tmp_path / "set"
    assert (target / "test_data/GT/a.tif").read_bytes() == b"pixels"
    assert unpack_planaria(archive) == target


def test_an_archive_that_escapes_its_folder_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    archive = make_archive(inside / "set.tar.gz", {"../../escaped.txt": b"x"})
    with pytest.raises(RunError, match="could not be unpacked"):
        unpack_planaria(archive)
    assert [path.name for path in tmp_path.rglob("*")] == ["inside", "set.tar.gz"]


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "set.tar.gz", {"a.tif": os.urandom(4096)})
    archive.write_bytes(archive.read_bytes()[:2000])
    with pytest.raises(RunError, match="download it again"):
        unpack_planaria(archive)
    assert not (tmp_path / "set").exists()


def test_picture_shows_all_panels_at_one_contrast(
    phantom: Phantom, tmp_path: Path
) -> None:
    planes = {"truth": phantom.truth[4], "uncertainty": np.ones((64, 64))}
    row = compare(phantom.noisy[4], phantom.truth[4], pixel_size_um=0.3, **planes)
    picture = np.asarray(Image.open(before_after(tmp_path / "p.png", row)))
    side = 64 * 6
    assert picture.shape == (side + 26, 4 * side + 3 * 6)
    columns = [slice(i * (side + 6), i * (side + 6) + side) for i in range(3)]
    denoised, truth = (picture[26:, columns[i]] for i in (1, 2))
    np.testing.assert_array_equal(denoised, truth)
    assert not np.array_equal(picture[26:, columns[0]], truth)


def test_scale_bar_has_the_length_it_states() -> None:
    dark = np.zeros((400, 400), np.float32)
    row = np.asarray(compare(dark, dark, pixel_size_um=0.5))[26 + 400 - 14, :400]
    # 50 µm is the longest round length within a third of 400 px of 0.5 µm.
    assert np.count_nonzero(row == 255) == pytest.approx(50 / 0.5, abs=1)


def test_rows_of_a_picture_lie_below_each_other_in_the_given_order(
    tmp_path: Path,
) -> None:
    ramp = np.linspace(0.0, 1.0, 64 * 64).reshape(64, 64)
    wide, narrow = compare(ramp, ramp, uncertainty=ramp), compare(ramp, ramp.T)
    picture = np.asarray(Image.open(before_after(tmp_path / "p.png", wide, narrow)))
    assert picture.shape == (wide.height + narrow.height, wide.width)
    np.testing.assert_array_equal(picture[: wide.height], np.asarray(wide))
    below = picture[wide.height :]
    np.testing.assert_array_equal(below[:, : narrow.width], np.asarray(narrow))
    assert (below[:, narrow.width :] == 255).all()


def test_picture_refuses_volumes_and_unequal_planes() -> None:
    plane = np.zeros((32, 32))
    with pytest.raises(InputError, match="denoised has shape"):
        compare(plane, np.zeros((2, 32, 32)))
    with pytest.raises(InputError, match="truth has shape"):
        compare(plane, plane, truth=np.zeros((32, 31)))
