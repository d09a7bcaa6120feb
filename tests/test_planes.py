from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_blindspot.errors import InputError
from napari_blindspot.planes import (
    neighbours,
    plane_series,
    resolve_context_axis,
    usable_context,
)
from napari_blindspot.stack import Stack, VoxelSize


def stack(axes: str, shape: tuple[int, ...]) -> Stack:
    values = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    return Stack(da.from_array(values, chunks=shape), axes)


@given(st.integers(1, 30), st.integers(0, 4), st.data())
def test_a_plane_is_never_its_own_neighbour(
    planes: int, wanted: int, data: st.DataObject
) -> None:
    reach = usable_context(planes, wanted)
    index = data.draw(st.integers(0, planes - 1))
    around = neighbours(index, planes, reach)
    assert len(around) == 2 * reach
    assert all(0 <= plane < planes for plane in around)
    assert index not in around


def test_a_missing_neighbour_is_mirrored() -> None:
    assert neighbours(0, 10, 2) == (2, 1, 1, 2)
    assert neighbours(9, 10, 2) == (7, 8, 8, 7)
    assert neighbours(5, 10, 2) == (3, 4, 6, 7)


@pytest.mark.parametrize(
    ("axes", "shape", "expected"),
    [("ZYX", (5, 16, 16), "z"), ("TYX", (5, 16, 16), "t"), ("YX", (16, 16), "none"),
     ("TZYX", (5, 3, 16, 16), "z"), ("TZYX", (5, 1, 16, 16), "t")],
)  # fmt: skip
def test_auto_context_takes_z_then_t(
    axes: str, shape: tuple[int, ...], expected: str
) -> None:
    assert resolve_context_axis(stack(axes, shape), "auto") == expected


def test_context_along_a_single_plane_is_refused() -> None:
    with pytest.raises(InputError, match="several planes along T"):
        resolve_context_axis(stack("ZYX", (5, 16, 16)), "t")


def test_unknown_context_is_refused() -> None:
    with pytest.raises(InputError, match="context='c'"):
        resolve_context_axis(stack("ZYX", (5, 16, 16)), "c")


@pytest.mark.parametrize("context", ["z", "t", "none"])
def test_series_read_every_voxel_of_five_dimensions_once(context: str) -> None:
    five = stack("TCZYX", (2, 3, 4, 16, 17))
    seen = [
        one.read(slice(0, one.shape[0]), slice(0, 16), slice(0, 17)).ravel()
        for one in plane_series(five, context)  # type: ignore[arg-type]
    ]
    assert np.array_equal(np.sort(np.concatenate(seen)), np.arange(five.n_voxels))


def test_a_series_of_a_movie_runs_along_time() -> None:
    movie = stack("TYX", (6, 16, 16))
    (one,) = plane_series(movie, "t")
    assert one.shape == (6, 16, 16)
    assert one.read(slice(2, 4), slice(0, 1), slice(0, 2)).shape == (2, 1, 2)


def test_crop_moves_the_translation() -> None:
    one = Stack(
        da.zeros((8, 32, 32)), "ZYX", VoxelSize(2.0, 0.5, 0.5), (10.0, 0.0, 1.0)
    )
    part = one.crop({"Z": slice(3, 5), "X": slice(4, None)})
    assert part.shape == (2, 32, 28)
    assert part.translation == (16.0, 0.0, 3.0)


def test_channels_are_found_by_name_and_index() -> None:
    five = Stack(da.zeros((2, 16, 16)), "CYX", channel_names=("dapi", "gfp"))
    assert five.select_channel("gfp").channel_names == ("gfp",)
    assert five.select_channel(0).shape == (1, 16, 16)
    with pytest.raises(InputError, match=r"channel='rfp'.*dapi"):
        five.select_channel("rfp")


@pytest.mark.parametrize("axes", ["XYZ", "ZZYX", "ZYC", "QYX", ""])
def test_axes_out_of_order_are_refused(axes: str) -> None:
    with pytest.raises(InputError, match="axes="):
        Stack(da.zeros((2, 16, 16)), axes)


def test_axes_must_name_every_dimension() -> None:
    with pytest.raises(InputError, match="names 2 dimensions but the data has 3"):
        Stack(da.zeros((2, 16, 16)), "YX")
