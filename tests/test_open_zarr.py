"""Zarr arrays, groups and OME-Zarr images as sources of `open_stack`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from io_files import pixels
from napari_blindspot.errors import InputError
from napari_blindspot.io import open_stack
from napari_blindspot.stack import VoxelSize

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr_arrays_open_as_path_and_as_array(
    tmp_path: Path,
    zarr_format: Any,
) -> None:
    values = pixels(6, 40, 50)
    path = tmp_path / "a.zarr"
    array = zarr.create_array(
        path, data=values, chunks=(2, 20, 50), zarr_format=zarr_format
    )
    for source in (path, array):
        stack = open_stack(source)
        assert (stack.axes, stack.name, stack.path) == ("ZYX", "a", path)
        np.testing.assert_array_equal(stack.data.compute(), values)
        assert "axes=" in stack.notes[0]


def test_dimension_names_are_axes_where_they_fit(tmp_path: Path) -> None:
    for names, axes in (("tyx", "TYX"), ("abc", "ZYX")):
        array = zarr.create_array(
            tmp_path / f"{names}.zarr",
            data=pixels(6, 40, 50),
            dimension_names=list(names),
        )
        stack = open_stack(array)
        assert (stack.axes, bool(stack.notes)) == (axes, names == "abc")


def test_a_group_with_one_array_opens_and_with_two_lists_them(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "g.zarr")
    values = pixels(6, 40, 50)
    group.create_array("raw", data=values)
    for source in (tmp_path / "g.zarr", group):
        np.testing.assert_array_equal(open_stack(source).data.compute(), values)
    group.create_array("mask", data=values)
    with pytest.raises(InputError, match=r"arrays \['mask', 'raw'\]"):
        open_stack(tmp_path / "g.zarr")
    assert open_stack(tmp_path / "g.zarr" / "raw").shape == (6, 40, 50)


def _image(
    path: Path,
    axes: list[Any],
    steps: list[Any],
    version: str,
    **more: Any,
) -> Any:
    """Write an OME-Zarr image of one level by hand, (C, Z, Y, X)."""
    meta = {
        "multiscales": [
            {
                "version": version,
                "axes": axes,
                "datasets": [{"path": "s0", "coordinateTransformations": steps}],
                **more.pop("image", {}),
            }
        ],
        **more,
    }
    new = version == "0.5"
    group = zarr.create_group(path, zarr_format=3 if new else 2)
    group.attrs.update({"ome": {"version": "0.5", **meta}} if new else meta)
    values = pixels(2, 5, 20, 30)
    group.create_array("s0", data=values)
    return values


SPACE = [
    {"name": "c", "type": "channel"},
    *({"name": n, "type": "space", "unit": "nanometer"} for n in "zyx"),
]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_gives_units_scales_translations_and_labels(
    tmp_path: Path, version: str
) -> None:
    path = tmp_path / "cells.ome.zarr"
    values = _image(
        path,
        SPACE,
        [
            {"type": "scale", "scale": [1, 1000, 100, 100]},
            {"type": "translation", "translation": [0, 500, 0, 50]},
        ],
        version,
        image={"coordinateTransformations": [{"type": "scale", "scale": [1, 2, 1, 1]}]},
        omero={"channels": [{"label": "DAPI"}, {"label": "GFP"}]},
    )
    stack = open_stack(path)
    assert (stack.axes, stack.name, stack.notes) == ("CZYX", "cells", ())
    assert stack.voxel_size == pytest.approx((2.0, 0.1, 0.1))
    assert stack.translation == pytest.approx((1.0, 0.0, 0.05))
    assert stack.channel_names == ("DAPI", "GFP")
    np.testing.assert_array_equal(stack.data.compute(), values)


def test_a_scale_without_unit_is_taken_as_micrometres_and_told(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    steps = [{"type": "scale", "scale": [1, 1, 0.5, 0.5]}]
    _image(path, list("czyx"), steps, "0.4")
    stack = open_stack(path)
    assert stack.voxel_size == VoxelSize(None, 0.5, 0.5)
    assert "y, x has no unit" in stack.notes[0]


def test_axes_override_holds_for_ome_zarr(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    values = _image(path, SPACE, [{"type": "scale", "scale": [1, 1, 1, 1]}], "0.5")
    stack = open_stack(path, axes="TZYX")
    assert stack.axes == "TZYX"
    np.testing.assert_array_equal(stack.data.compute(), values)


def test_broken_zarr_metadata_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "bad.zarr"
    path.mkdir()
    (path / "zarr.json").write_text("{")
    with pytest.raises(InputError, match=r"bad\.zarr cannot be read as Zarr"):
        open_stack(path)
    _image(tmp_path / "b.ome.zarr", SPACE, [], "0.5")
    (tmp_path / "b.ome.zarr" / "s0").rename(tmp_path / "b.ome.zarr" / "s1")
    with pytest.raises(InputError, match="does not hold"):
        open_stack(tmp_path / "b.ome.zarr")
