"""Arrays, layers and stacks as sources of `open_stack`."""

from __future__ import annotations

import pickle
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import tifffile

import napari_blindspot as nb
from io_files import Guarded, pixels
from napari_blindspot.errors import InputError
from napari_blindspot.io import open_stack
from napari_blindspot.io.lazy import CHUNK_BYTES, bounded_chunks
from napari_blindspot.stack import Stack, VoxelSize

if TYPE_CHECKING:
    from pathlib import Path


def test_importing_io_loads_nothing_heavy() -> None:
    heavy = "{'dask', 'zarr', 'tifffile', 'torch', 'napari', 'qtpy', 'yaozarrs'}"
    code = f"import napari_blindspot.io, sys; print({heavy} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        pytest.param((20, 30), "YX", id="image"),
        pytest.param((9, 20, 30), "ZYX", id="volume"),
        pytest.param((20, 30, 3), "YXC", id="colours last"),
        pytest.param((2, 9, 20, 30), "CZYX", id="short first axis"),
        pytest.param((9, 2, 20, 30), "ZCYX", id="short second axis"),
        pytest.param((9, 8, 20, 30), "TZYX", id="no short axis"),
        pytest.param((3, 2, 9, 20, 30), "TCZYX", id="five"),
        pytest.param((3, 9, 2, 20, 30), "TZCYX", id="five as in ImageJ"),
    ],
)
def test_axes_of_a_bare_array_are_guessed_and_told(
    shape: tuple[int, ...], axes: str
) -> None:
    values = pixels(*shape)
    stack = open_stack(values)
    order = sorted(range(len(axes)), key=lambda i: "TCZYX".index(axes[i]))
    assert stack.axes == "".join(axes[i] for i in order)
    np.testing.assert_array_equal(stack.data.compute(), values.transpose(order))
    if len(shape) == 2:
        assert stack.notes == ()
    else:
        assert f"read as {axes}" in stack.notes[0]
        assert "axes=" in stack.notes[0]
        assert f"axes={axes!r}" not in stack.notes[0]


@pytest.mark.parametrize("axes", ["XYCZT", "ZCYX", "YXZ", "tyx"])
def test_any_order_of_axes_is_put_into_canonical_order(axes: str) -> None:
    sizes = {"T": 2, "C": 3, "Z": 5, "Y": 20, "X": 30}
    values = pixels(*(sizes[a] for a in axes.upper()))
    stack = open_stack(values, axes=axes)
    canonical = "".join(a for a in "TCZYX" if a in axes.upper())
    assert (stack.axes, stack.shape) == (canonical, tuple(sizes[a] for a in canonical))
    assert stack.notes == ()
    moved = np.einsum(f"{axes.lower()}->{canonical.lower()}", values)
    np.testing.assert_array_equal(stack.data.compute(), moved)


@pytest.mark.parametrize("axes", ["ZYXC", "YX", "ZZX", "QYX", "TZC"])
def test_axes_that_do_not_fit_are_refused_with_the_shape(axes: str) -> None:
    with pytest.raises(InputError, match=r"axes='.*\(5, 20, 30\)"):
        open_stack(pixels(5, 20, 30), axes=axes)


def test_six_dimensions_without_axes_are_refused() -> None:
    with pytest.raises(InputError, match="6 dimensions"):
        open_stack(pixels(1, 2, 2, 2, 20, 20))


@pytest.mark.parametrize(
    "dtype", ["bool", "complex64", "object", "U4", "M8[s]", "i4,i4"]
)
def test_pixels_that_are_no_grey_values_are_refused(dtype: str) -> None:
    with pytest.raises(InputError, match=r"stack has the pixel type .*;"):
        open_stack(np.zeros((3, 20, 20), dtype))


@pytest.mark.parametrize("dtype", ["int8", "uint64", "float16", "float64", ">u2"])
def test_number_types_are_kept_in_native_byte_order(dtype: str) -> None:
    values = pixels(3, 20, 20).astype(dtype)
    stack = open_stack(values, axes="ZYX")
    assert stack.dtype == np.dtype(dtype).newbyteorder("=")
    assert stack.dtype.isnative
    np.testing.assert_array_equal(stack.data.compute(), values)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((0, 20, 20), r"empty: its shape is \(0, 20, 20\)"),
        ((40,), "at least the axes Y and X"),
        ((5, 15, 40), "15 x 40 pixels"),
    ],
)
def test_shapes_that_are_no_stack_are_refused(
    shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        open_stack(np.zeros(shape, "uint8"))


def test_an_array_like_is_never_read_whole() -> None:
    values = pixels(30, 64, 48)
    source = Guarded(values, most=64 * 48)
    stack = open_stack(source)
    assert source.largest == 0
    np.testing.assert_array_equal(stack.data.compute(scheduler="sync"), values)
    source.largest = 0
    crop = stack.read({"Z": slice(3, 5), "Y": slice(8, 16), "X": slice(0, 4)})
    np.testing.assert_array_equal(crop, values[3:5, 8:16, :4])
    assert source.largest == crop.size


def test_huge_planes_are_read_in_chunks_of_at_most_eight_mebibytes() -> None:
    huge = np.broadcast_to(np.uint16(7), (2, 30_000, 40_000))
    chunks = open_stack(huge, axes="ZYX").data.chunksize
    assert np.prod(chunks) * 2 <= CHUNK_BYTES
    assert chunks[0] == 1
    assert chunks[2] == 40_000


def test_chunks_of_the_source_grow_in_multiples_towards_the_plane() -> None:
    assert bounded_chunks((9, 1000, 1000), 2, (1, 1, 1000)) == (1, 1000, 1000)
    assert bounded_chunks((9, 9000, 9000), 2, (1, 64, 64)) == (1, 448, 9000)
    assert bounded_chunks((64, 512, 512), 2, (64, 256, 256)) == (64, 256, 256)


def test_numpy_input_is_neither_copied_nor_hashed() -> None:
    values = pixels(4, 20, 20)
    stack = open_stack(values)
    values[2] = 3
    assert (stack.read({"Z": 2}) == 3).all()
    assert open_stack(values).data.name != stack.data.name


def test_dask_arrays_stay_lazy_with_their_chunks() -> None:
    def fail(block: Any) -> Any:
        raise AssertionError("was computed")

    array = da.zeros((4, 64, 64), chunks=(2, 32, 64)).map_blocks(fail, meta=np.zeros(0))
    assert open_stack(array).data.chunksize == (2, 32, 64)


def test_dimension_names_of_an_array_are_used() -> None:
    source = Guarded(pixels(4, 20, 30), 10**6)
    source.dims = ("time", "y", "x")  # type: ignore[attr-defined]
    stack = open_stack(source)
    assert (stack.axes, stack.notes) == ("TYX", ())


def test_a_stack_is_returned_as_it_is_and_takes_overrides() -> None:
    stack = open_stack(pixels(4, 20, 30), voxel_size=(2, 0.5, 0.5))
    assert open_stack(stack) is stack
    movie = open_stack(stack, axes="TYX", voxel_size=(1, 0.1, None))
    assert (movie.axes, movie.voxel_size) == ("TYX", VoxelSize(1, 0.1, None))


@pytest.mark.parametrize("size", [(1, 2), (1, 0, 1), (1, -1, 1), "abc", (1, 1, np.inf)])
def test_a_voxel_size_that_is_none_is_refused(size: Any) -> None:
    with pytest.raises(InputError, match="voxel_size="):
        open_stack(pixels(4, 20, 30), voxel_size=size)


@pytest.mark.parametrize("source", [None, 3, {"a": 1}, [pixels(20, 20)]])
def test_other_sources_are_refused_by_type(source: object) -> None:
    with pytest.raises(InputError, match=f"type {type(source).__name__}"):
        open_stack(source)


def _layer(data: Any, **more: Any) -> SimpleNamespace:
    ndim = np.ndim(data[0] if more.get("multiscale") else data)
    given = {
        "data": data, "scale": np.ones(ndim), "translate": np.zeros(ndim),
        "units": ("pixel",) * ndim, "axis_labels": (), "name": "cells",
        "rgb": False, "multiscale": False,
    }  # fmt: skip
    return SimpleNamespace(**(given | more))


def test_a_layer_gives_level_zero_with_scale_and_position_in_micrometres() -> None:
    values = pixels(3, 5, 32, 32)
    layer = _layer(
        [values, values[..., ::2, ::2]],
        multiscale=True,
        axis_labels=("t", "z", "y", "x"),
        scale=np.array([4, 2000, 100, 100.0]),
        translate=np.array([0, 1000, 0, -500.0]),
        units=("second", "nanometer", "nanometer", "nanometer"),
    )
    stack = open_stack(layer)
    assert (stack.axes, stack.name, stack.time_step_s) == ("TZYX", "cells", 4.0)
    assert stack.voxel_size == pytest.approx((2.0, 0.1, 0.1))
    assert stack.translation == pytest.approx((1.0, 0.0, -0.5))
    np.testing.assert_array_equal(stack.data.compute(), values)


def test_a_layer_in_pixels_has_no_voxel_size_and_says_so() -> None:
    stack = open_stack(_layer(pixels(5, 32, 32), scale=np.array([2.0, 1, 1])))
    assert stack.voxel_size == VoxelSize()
    assert any("layer.units" in note for note in stack.notes)


def test_a_real_napari_layer_opens() -> None:
    from napari.layers import Image

    layer = Image(
        pixels(5, 32, 32),
        scale=(2, 0.5, 0.5),
        units=("um", "um", "um"),
        axis_labels=("z", "y", "x"),
        name="nuclei",
    )
    stack = open_stack(layer)
    assert (stack.axes, stack.name, stack.notes) == ("ZYX", "nuclei", ())
    assert stack.voxel_size == VoxelSize(2.0, 0.5, 0.5)


def test_a_colour_layer_is_refused() -> None:
    with pytest.raises(InputError, match="'cells' is a colour"):
        open_stack(_layer(pixels(20, 20, 3), rgb=True))


@pytest.fixture
def five() -> Stack:
    return open_stack(pixels(2, 3, 9, 20, 30), voxel_size=(2, 1, 1))


@pytest.mark.parametrize(
    ("region", "index"),
    [
        ("z=2:5,y=0:16", np.s_[:, :, 2:5, :16]),
        ("Z = 2:, X=:-4", np.s_[:, :, 2:, :, :-4]),
        ("z=-1", np.s_[:, :, 8:9]),
        ("z=4,t=0", np.s_[:1, :, 4:5]),
        ({"z": slice(2, 5), "Y": slice(None, 16)}, np.s_[:, :, 2:5, :16]),
        ({"z": 4}, np.s_[:, :, 4:5]),
    ],
)
def test_a_region_is_cut_out(five: Stack, region: Any, index: Any) -> None:
    cut = open_stack(five, region=region)
    np.testing.assert_array_equal(cut.data.compute(), five.data.compute()[index])


def test_a_region_keeps_its_place_and_a_channel_its_axis(five: Stack) -> None:
    cut = open_stack(five, region="z=2:5", channel=1)
    assert (cut.shape, cut.translation) == ((2, 1, 3, 20, 30), (4.0, 0.0, 0.0))
    np.testing.assert_array_equal(cut.data.compute(), five.data.compute()[:, 1:2, 2:5])


@pytest.mark.parametrize(
    ("region", "words"),
    [
        ("z=2:10", "choose within z=0:9"),
        ("z=5:5", "choose within z=0:9"),
        ("z=9", "choose within z=0:9"),
        ("z=-10:", "choose within z=0:9"),
        ("q=1:2", "axes TCZYX"),
        ("z=1,z=2", "at most once"),
        ("z=a:b", "whole numbers"),
        ("z=0:8:2", "no steps"),
        ("z", "write ranges like"),
        ("", "write ranges like"),
        ({"z": slice(0, 8, 2)}, "no steps"),
    ],
)
def test_a_region_that_does_not_fit_is_refused(
    five: Stack,
    region: Any,
    words: str,
) -> None:
    with pytest.raises(InputError, match=words):
        open_stack(five, region=region)


@pytest.mark.parametrize(
    "index",
    [np.s_[1, 4], np.s_[:, [3, 1, 4]], np.s_[:, 1:9:3, 2], np.s_[..., [5, 5], :]],
)
def test_indexing_a_reordered_stack_equals_indexing_the_array(index: Any) -> None:
    values = pixels(9, 20, 30, 2)
    stack = open_stack(Guarded(values, 10**6), axes="ZYXC")
    expected = values.transpose(3, 0, 1, 2)[index]
    np.testing.assert_array_equal(stack.data[index].compute(), expected)


def test_a_region_may_have_steps(tmp_path: Path) -> None:
    values = pixels(4, 40, 50)
    tifffile.imwrite(tmp_path / "a.tif", values, metadata={"axes": "ZYX"}, imagej=True)
    for stack in (open_stack(values), open_stack(tmp_path / "a.tif")):
        part = stack.read({"Z": 2, "Y": slice(1, 30, 3), "X": slice(None, None, 2)})
        np.testing.assert_array_equal(part, values[2, 1:30:3, ::2])


@pytest.mark.parametrize("dtype", [np.uint16, np.float64])
def test_masked_voxels_have_no_value(dtype: type) -> None:
    values = np.arange(400, dtype=dtype).reshape(20, 20)
    stack = open_stack(np.ma.masked_greater(values, 150), axes="YX")
    read = np.asarray(stack.data).squeeze()
    np.testing.assert_array_equal(np.isnan(read), values > 150)
    np.testing.assert_array_equal(read[values <= 150], values[values <= 150])
    lazy = da.from_array(np.ma.masked_greater(values, 150), chunks=(8, 20))
    np.testing.assert_array_equal(
        np.asarray(open_stack(lazy, axes="YX").data).squeeze(), read
    )
    whole = open_stack(np.ma.masked_array(values), axes="YX")
    assert whole.dtype == dtype


@pytest.mark.parametrize("size", [(-1, 0.2, 0.2), (0, 1, 1), (1, 1, float("nan"))])
def test_a_voxel_size_is_made_of_positive_numbers(size: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match=r"voxel_size=.* three positive numbers"):
        nb.VoxelSize(*size)
    kept = nb.VoxelSize(None, 0.2, 0.2)
    assert pickle.loads(pickle.dumps(kept)) == kept
    assert repr(kept) == "VoxelSize(z=None, y=0.2, x=0.2)"
