"""TIFF files, lists of files and vendor formats as sources of `open_stack`."""

from __future__ import annotations

import gc
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from io_files import pixels
from napari_blindspot.errors import InputError
from napari_blindspot.io import open_stack
from napari_blindspot.io.tiff_adapter import OPEN_FILES
from napari_blindspot.io.units import length_um, time_s
from napari_blindspot.stack import VoxelSize

if TYPE_CHECKING:
    from pathlib import Path


def _ome(path: Path, values: Any, axes: str, **more: Any) -> Path:
    tifffile.imwrite(path, values, metadata={"axes": axes, **more}, ome=True)
    return path


def test_ome_tiff_gives_axes_sizes_and_names(tmp_path: Path) -> None:
    values = pixels(3, 4, 2, 20, 30)
    path = _ome(
        tmp_path / "cells.ome.tif",
        values,
        "TZCYX",
        PhysicalSizeX=100,
        PhysicalSizeXUnit="nm",
        PhysicalSizeY=0.1,
        PhysicalSizeZ=0.002,
        PhysicalSizeZUnit="mm",
        TimeIncrement=2,
        TimeIncrementUnit="min",
        Channel={"Name": ["DAPI", "GFP"]},
    )
    stack = open_stack(path)
    assert (stack.axes, stack.name, stack.path) == ("TCZYX", "cells", path)
    assert stack.voxel_size == pytest.approx((2.0, 0.1, 0.1))
    assert (stack.time_step_s, stack.channel_names) == (120.0, ("DAPI", "GFP"))
    assert stack.notes == ()
    np.testing.assert_array_equal(stack.data.compute(), values.transpose(0, 2, 1, 3, 4))
    gfp = open_stack(path, channel="GFP")
    assert (gfp.shape, gfp.channel_names) == ((3, 1, 4, 20, 30), ("GFP",))


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("micron", 1.0),
        ("um", 1.0),
        ("\\u00B5m", 1.0),
        ("nm", 1e-3),
        ("mm", 1e3),
        ("cm", 1e4),
        ("inch", 25400.0),
        ("pixel", None),
        ("", None),
    ],
)
def test_imagej_units_become_micrometres(
    tmp_path: Path, unit: str, factor: float | None
) -> None:
    path = tmp_path / "ij.tif"
    tifffile.imwrite(
        path,
        pixels(4, 20, 30),
        imagej=True,
        resolution=(4.0, 5.0),
        metadata={"axes": "ZYX", "spacing": 0.5, "unit": unit},
    )
    stack = open_stack(path)
    assert stack.axes == "ZYX"
    if factor is None:
        assert stack.voxel_size == VoxelSize()
    else:
        sizes = (0.5 * factor, 0.2 * factor, 0.25 * factor)
        assert stack.voxel_size == pytest.approx(sizes, rel=1e-6)


def test_units_are_understood_in_all_their_spellings() -> None:
    for unit in ("µm", "μm", "um", "micron", "Micrometer", "micrometre", " µm "):
        assert length_um(unit) == 1.0
    assert length_um("millimeter") == pytest.approx(1e3)
    assert length_um("angstrom") == pytest.approx(1e-4)
    assert time_s("millisecond") == time_s("ms") == pytest.approx(1e-3)
    for unit in ("pixel", "", None, "reference frame", "second"):
        assert length_um(unit) is None


def test_imagej_hyperstack_gives_time_step_and_channel_labels(tmp_path: Path) -> None:
    path = tmp_path / "ij.tif"
    tifffile.imwrite(
        path,
        pixels(2, 3, 2, 20, 30),
        imagej=True,
        metadata={"axes": "TZCYX", "finterval": 1.5, "Labels": ["red", "green"] * 6},
    )
    stack = open_stack(path)
    assert (stack.axes, stack.shape) == ("TCZYX", (2, 2, 3, 20, 30))
    assert (stack.time_step_s, stack.channel_names) == (1.5, ("red", "green"))


KINDS: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "compressed": {"compression": "zlib", "predictor": True},
    "strips": {"rowsperstrip": 3, "compression": "lzw"},
    "tiles": {"tile": (16, 16), "compression": "zstd"},
    "bigtiff": {"bigtiff": True},
    "big-endian": {"byteorder": ">"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_tiff_is_read_lazily_and_exactly(
    tmp_path: Path, kind: str
) -> None:
    values = pixels(5, 40, 50)
    path = tmp_path / "stack.tif"
    tifffile.imwrite(
        path, values, photometric="minisblack", metadata=None, **KINDS[kind]
    )
    stack = open_stack(path)
    assert (stack.axes, stack.dtype) == ("ZYX", np.dtype("uint16"))
    assert "read as ZYX" in stack.notes[0]
    assert stack.data.chunksize == (1, 40, 50)
    np.testing.assert_array_equal(stack.data.compute(), values)
    crop = stack.read({"Z": slice(1, 3), "Y": slice(7, 9)})
    np.testing.assert_array_equal(crop, values[1:3, 7:9])


def test_level_zero_of_a_pyramid_is_opened(tmp_path: Path) -> None:
    values = pixels(3, 64, 64)
    path = tmp_path / "pyramid.ome.tif"
    with tifffile.TiffWriter(path) as tif:
        tif.write(values, subifds=1, tile=(32, 32), metadata={"axes": "ZYX"})
        tif.write(values[:, ::2, ::2], subfiletype=1, tile=(32, 32))
    np.testing.assert_array_equal(open_stack(path).data.compute(), values)


def test_colour_samples_are_read_as_channels(tmp_path: Path) -> None:
    values = pixels(20, 30, 3, dtype="uint8")
    path = tmp_path / "rgb.tif"
    tifffile.imwrite(path, values, photometric="rgb")
    stack = open_stack(path)
    assert (stack.axes, stack.shape) == ("CYX", (3, 20, 30))
    assert "colour samples" in stack.notes[0]
    np.testing.assert_array_equal(stack.data.compute(), values.transpose(2, 0, 1))


def test_axes_and_voxel_size_of_a_file_can_be_overridden(tmp_path: Path) -> None:
    path = _ome(tmp_path / "a.ome.tif", pixels(4, 20, 30), "ZYX", PhysicalSizeZ=2.0)
    movie = open_stack(str(path), axes="TYX", voxel_size=(1, 0.3, 0.3))
    assert (movie.axes, movie.time_step_s) == ("TYX", None)
    assert movie.voxel_size == VoxelSize(1, 0.3, 0.3)


def test_a_file_may_change_after_it_was_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for seed in (1, 2):
        values = pixels(5, 20, 30, seed=seed)
        tifffile.imwrite(path, values)
        np.testing.assert_array_equal(open_stack(path).data.compute(), values)


def test_the_pixels_of_a_file_travel_to_another_process(tmp_path: Path) -> None:
    values = pixels(4, 20, 30)
    path = _ome(tmp_path / "a.ome.tif", values, "ZYX")
    data = pickle.loads(pickle.dumps(open_stack(path).data))
    np.testing.assert_array_equal(data.compute(), values)


def _planes(folder: Path, count: int) -> Any:
    values = pixels(count, 20, 30)
    for index in range(count):
        tifffile.imwrite(folder / f"plane_{index}.tif", values[index])
    return values


def test_a_pattern_opens_planes_in_natural_order(tmp_path: Path) -> None:
    values = _planes(tmp_path, OPEN_FILES + 5)
    stack = open_stack(tmp_path / "plane_*.tif")
    assert (stack.axes, stack.name, stack.data.chunksize) == (
        "ZYX",
        "plane",
        (1, 20, 30),
    )
    assert "natural order" in stack.notes[0]
    np.testing.assert_array_equal(stack.data.compute(), values)
    np.testing.assert_array_equal(stack.read({"Z": 10, "Y": slice(3)}), values[10, :3])
    del stack
    gc.collect()


def test_a_list_of_planes_can_be_a_movie(tmp_path: Path) -> None:
    values = _planes(tmp_path, 3)
    paths = [tmp_path / f"plane_{i}.tif" for i in (2, 0, 1)]
    movie = open_stack(paths, axes="TYX")
    assert (movie.axes, movie.notes) == ("TYX", ())
    np.testing.assert_array_equal(movie.data.compute(), values[[2, 0, 1]])


def test_a_list_of_volumes_is_stacked_along_time(tmp_path: Path) -> None:
    values = pixels(2, 4, 20, 30)
    paths = [
        _ome(tmp_path / f"t{i}.ome.tif", values[i], "ZYX", PhysicalSizeZ=2.0)
        for i in range(2)
    ]
    stack = open_stack([str(path) for path in paths])
    assert (stack.axes, stack.voxel_size.z) == ("TZYX", 2.0)
    np.testing.assert_array_equal(stack.data.compute(), values)


def test_files_that_differ_are_refused_by_name(tmp_path: Path) -> None:
    _planes(tmp_path, 2)
    tifffile.imwrite(tmp_path / "plane_2.tif", pixels(20, 31))
    with pytest.raises(InputError, match=r"plane_2 has \(20, 31\)"):
        open_stack(tmp_path / "plane_*.tif")


def _truncate(path: Path, part: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])


@pytest.mark.parametrize("part", [0.0005, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["ome", "contiguous", "compressed", "tiles"])
def test_a_truncated_tiff_is_refused(tmp_path: Path, kind: str, part: float) -> None:
    path = tmp_path / "cut.tif"
    if kind == "ome":
        _ome(path, pixels(9, 40, 50), "ZYX")
    else:
        tifffile.imwrite(path, pixels(9, 40, 50), **KINDS[kind])
    _truncate(path, part)
    with pytest.raises(InputError, match=r"cut\.tif"):
        open_stack(path)


def test_damaged_pixels_are_told_when_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "bad.tif"
    tifffile.imwrite(path, pixels(5, 40, 50), compression="zlib")
    with tifffile.TiffFile(path) as tif:
        start, length = tif.pages[1].dataoffsets[0], tif.pages[1].databytecounts[0]
    whole = bytearray(path.read_bytes())
    whole[start : start + length] = bytes(length)
    path.write_bytes(whole)
    stack = open_stack(path)
    with pytest.raises(InputError, match=r"bad\.tif could not be read at \[1:2"):
        stack.data.compute()


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.tif does not exist; check the spell"):
        open_stack(tmp_path / "no.tif")
    with pytest.raises(InputError, match="no file matches the pattern"):
        open_stack(tmp_path / "no_*.tif")
    with pytest.raises(InputError, match="list of files is empty"):
        open_stack([])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.tif", b"", "is empty"),
        ("a.tif", b"hello, I am no TIFF", "not a readable TIFF"),
        ("a.tif", b"II*\0\x08\0\0\0" + bytes(range(200)), r"a\.tif is"),
        ("a.png", b"x", r"'\.png', which is not known; give a TIFF"),
        ("data", b"x", "'nothing', which is not known"),
    ],
)
def test_files_that_are_no_stack_are_refused(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        open_stack(tmp_path / name)


def test_unreadable_files_and_folders_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="folder without Zarr data"):
        open_stack(tmp_path)
    path = _ome(tmp_path / "a.ome.tif", pixels(20, 30), "YX")
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(InputError, match="may not be read"):
        open_stack(path)


def test_planes_that_the_metadata_announce_in_vain_are_told(tmp_path: Path) -> None:
    values = pixels(5, 20, 30)
    whole = _ome(tmp_path / "whole.ome.tif", values, "ZYX")
    with tifffile.TiffFile(whole) as tif:
        xml = tif.ome_metadata.replace('SizeZ="5"', 'SizeZ="7"')
    xml = xml.replace("µ", "&#181;")
    path = tmp_path / "short.ome.tif"
    with tifffile.TiffWriter(path, ome=False) as tif:
        for index, plane in enumerate(values):
            tif.write(plane, description=xml if index == 0 else None, metadata=None)
    stack = open_stack(path)
    assert stack.shape == (7, 20, 30)
    assert "2 planes that short.ome.tif announces are missing" in stack.notes[0]
    np.testing.assert_array_equal(stack.data[:5].compute(), values)
    assert not stack.data[5:].any().compute()
