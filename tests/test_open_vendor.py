"""Files of microscope makers, small but real: pixels, voxel size, names, scenes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_blindspot.errors import InputError
from napari_blindspot.io import open_stack
from nikon_files import write_nikon
from vendor_files import write_imaris, write_leica

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

EXTRA = r'pip install "napari-blindspot\[formats\]"'


def pixels(*shape: int) -> NDArray[np.uint16]:
    return np.random.default_rng(0).poisson(50, shape).astype(np.uint16)


# --- Imaris, by h5py alone ------------------------------------------------------


def test_imaris_gives_pixels_voxel_size_place_and_names(tmp_path: Path) -> None:
    values = pixels(3, 2, 5, 20, 34)
    edges = ((10.0, 0.0, 5.0), (20.0, 4.0, 8.4))
    path = write_imaris(tmp_path / "cells.ims", values, edges, ("DAPI", "GFP"))
    stack = open_stack(path)
    assert (stack.axes, stack.shape) == ("TCZYX", values.shape)
    assert stack.voxel_size == pytest.approx((2.0, 0.2, 0.1))
    assert stack.translation == pytest.approx((11.0, 0.1, 5.05))
    assert stack.time_step_s == pytest.approx(2.0)
    assert (stack.name, stack.channel_names) == ("cells", ("DAPI", "GFP"))
    np.testing.assert_array_equal(stack.data.compute(), values)
    np.testing.assert_array_equal(
        stack.read({"T": 1, "Z": slice(3, 5), "X": slice(30, 34)}),
        values[1, :, 3:5, :, 30:34],
    )


def test_imaris_axes_of_length_one_are_left_out(tmp_path: Path) -> None:
    values = pixels(1, 1, 5, 20, 34)
    path = write_imaris(tmp_path / "a.ims", values, ((0, 0, 0), (5, 2, 3.4)))
    stack = open_stack(path)
    assert (stack.axes, stack.voxel_size.x) == ("ZYX", pytest.approx(0.1))
    np.testing.assert_array_equal(stack.data.compute(), values[0, 0])


def test_imaris_reads_one_plane_without_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import h5py

    path = write_imaris(
        tmp_path / "a.ims",
        pixels(1, 1, 9, 20, 34),
        ((0,) * 3, (1,) * 3),
        (),
        (1, 20, 34),
    )
    seen: list[object] = []
    read = h5py.Dataset.__getitem__
    monkeypatch.setattr(
        h5py.Dataset,
        "__getitem__",
        lambda self, index, **more: seen.append(index) or read(self, index, **more),
    )
    open_stack(path).read({"Z": 4})
    (index,) = seen
    assert index[0] == slice(4, 5)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda content: b"no HDF5 at all", id="other"),
        pytest.param(lambda content: content[: len(content) // 2], id="cut"),
    ],
)
def test_a_damaged_imaris_file_is_refused(tmp_path: Path, spoil: object) -> None:
    path = write_imaris(
        tmp_path / "a.ims", pixels(1, 1, 5, 20, 34), ((0,) * 3, (1,) * 3)
    )
    path.write_bytes(spoil(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(InputError, match=r"a\.ims cannot be read as an Imaris file"):
        open_stack(path)


def test_an_hdf5_file_that_is_no_imaris_is_refused(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "a.ims", "w") as file:
        file["data"] = [1, 2]
    with pytest.raises(InputError, match="cannot be read as an Imaris file"):
        open_stack(tmp_path / "a.ims")


def test_a_damaged_part_of_an_imaris_file_is_named(tmp_path: Path) -> None:
    values = pixels(1, 1, 8, 32, 32)
    path = write_imaris(
        tmp_path / "a.ims", values, ((0,) * 3, (1,) * 3), (), (4, 32, 32)
    )
    import h5py

    with h5py.File(path) as file:
        data = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data"]
        chunk = data.id.get_chunk_info(1)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + 64] = bytes(64)
    path.write_bytes(content)
    stack = open_stack(path)
    np.testing.assert_array_equal(stack.read({"Z": slice(0, 4)}), values[0, 0, :4])
    with pytest.raises(InputError, match=r"a\.ims could not be read at .* damaged"):
        stack.read({"Z": slice(4, 8)})


def test_an_imaris_file_that_vanishes_meanwhile_is_told(tmp_path: Path) -> None:
    path = write_imaris(
        tmp_path / "a.ims", pixels(1, 1, 5, 20, 34), ((0,) * 3, (1,) * 3)
    )
    stack = open_stack(path)
    path.unlink()
    with pytest.raises(InputError, match=r"a\.ims could not be read at"):
        stack.read({"Z": 0})


# --- without the extra ----------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "missing"),
    [
        (".czi", "bioio"),
        (".czi", "bioio_czi"),
        (".lif", "bioio_lif"),
        (".nd2", "bioio_nd2"),
        (".ims", "h5py"),
    ],
)
def test_without_the_extra_a_sentence_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    (tmp_path / f"a{suffix}").write_bytes(b"x")
    with pytest.raises(InputError, match=EXTRA):
        open_stack(tmp_path / f"a{suffix}")


def test_a_scene_is_about_files_that_hold_several(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"scene=1 is about files that hold several"):
        open_stack(pixels(5, 20, 30), "ZYX", scene=1)
    path = write_imaris(
        tmp_path / "a.ims", pixels(1, 1, 5, 20, 34), ((0,) * 3, (1,) * 3)
    )
    with pytest.raises(InputError, match=r"a\.ims is read as one; leave it out"):
        open_stack(path, scene=1)


# --- with the extra: the real readers on real files ------------------------------


@pytest.mark.parametrize("suffix", [".czi", ".lif", ".nd2"])
def test_a_damaged_file_is_refused(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip(f"bioio_{suffix[1:]}", reason="the extra 'formats' is missing")
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"damaged" * 1000)
    with pytest.raises(InputError, match=rf"a\{suffix} cannot be read as \{suffix}"):
        open_stack(path)


def test_leica_gives_the_first_image_and_names_the_others(tmp_path: Path) -> None:
    pytest.importorskip("bioio_lif", reason="the extra 'formats' is missing")
    first, second = pixels(2, 5, 20, 34), pixels(2, 6, 24, 40)
    path = write_leica(tmp_path / "day.lif", {"one": first, "two": second})
    stack = open_stack(path)
    assert (stack.axes, stack.name) == ("CZYX", "day")
    assert stack.voxel_size == pytest.approx((0.5, 0.2, 0.1))
    assert stack.channel_names == ("Green", "Red")
    np.testing.assert_array_equal(stack.data.compute(), first)
    (note,) = stack.notes
    assert "holds 2 images and 'one' was taken" in note
    assert "--scene): 'two'" in note
    for wanted in (1, "two"):
        other = open_stack(path, scene=wanted)
        assert other.notes == ()
        np.testing.assert_array_equal(other.data.compute(), second)
    with pytest.raises(InputError, match=r"scene=2 is not in day\.lif; give an index"):
        open_stack(path, scene=2)


def test_zeiss_gives_pixels_voxel_size_and_names(tmp_path: Path) -> None:
    pytest.importorskip("bioio_czi", reason="the extra 'formats' is missing")
    values = pixels(2, 5, 64, 72)
    path = write_zeiss(tmp_path / "a.czi", values)
    stack = open_stack(path)
    assert (stack.axes, stack.channel_names) == ("CZYX", ("DAPI", "GFP"))
    assert stack.voxel_size == pytest.approx((0.5, 0.1, 0.1))
    np.testing.assert_array_equal(stack.read({"C": 1, "Z": 3}), values[1, 3])
    np.testing.assert_array_equal(stack.data.compute(), values)
    assert {sizes[0] for sizes in stack.data.chunks[:2]} == {1}


def test_nikon_gives_pixels_voxel_size_time_and_names(tmp_path: Path) -> None:
    pytest.importorskip("bioio_nd2", reason="the extra 'formats' is missing")
    values = pixels(3, 5, 2, 20, 34)
    path = write_nikon(tmp_path / "a.nd2", values, (0.5, 0.1), 2.5, ("DAPI", "GFP"))
    stack = open_stack(path)
    assert (stack.axes, stack.channel_names) == ("TCZYX", ("DAPI", "GFP"))
    assert stack.voxel_size == pytest.approx((0.5, 0.1, 0.1))
    assert stack.time_step_s == pytest.approx(2.5)
    np.testing.assert_array_equal(stack.data.compute(), np.swapaxes(values, 1, 2))


def test_nikon_reads_the_frame_that_is_asked_for_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("bioio_nd2", reason="the extra 'formats' is missing")
    import nd2

    values = pixels(3, 5, 2, 20, 34)
    path = write_nikon(tmp_path / "a.nd2", values, (0.5, 0.1), 2.5, ("DAPI", "GFP"))
    seen: list[int] = []
    read = nd2.ND2File.read_frame
    monkeypatch.setattr(
        nd2.ND2File,
        "read_frame",
        lambda self, index: seen.append(int(index)) or read(self, index),
    )
    stack = open_stack(path)
    assert seen == []
    plane = stack.read({"T": 1, "C": 1, "Z": 3})
    np.testing.assert_array_equal(plane, values[1, 3, 1])
    assert seen == [5 + 3]


def test_a_nikon_file_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("bioio_nd2", reason="the extra 'formats' is missing")
    values = pixels(1, 5, 1, 20, 34)
    path = write_nikon(tmp_path / "a.nd2", values, (0.5, 0.1), 1.0, ("DAPI",))
    path.write_bytes(path.read_bytes()[:-9000])
    with pytest.raises(InputError, match=r"a\.nd2 cannot be read as \.nd2"):
        open_stack(path)


def write_zeiss(path: Path, values: NDArray[np.uint16]) -> Path:
    """Write a CZI file of a volume C, Z, Y, X by the maker's own library."""
    from pylibCZIrw import czi

    with czi.create_czi(str(path)) as file:
        for c, z in np.ndindex(values.shape[:2]):
            file.write(values[c, z][..., None], plane={"C": c, "Z": z, "T": 0})
        file.write_metadata(
            "cells",
            channel_names={0: "DAPI", 1: "GFP"},
            scale_x=0.1e-6,
            scale_y=0.1e-6,
            scale_z=0.5e-6,
        )
    return path
