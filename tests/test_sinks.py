"""Results written to OME-Zarr, OME-TIFF and memory, and opened again."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import dask.array as da
import numpy as np
import pytest
import tifffile
import yaozarrs
import zarr

from io_files import fill, pixels
from napari_blindspot.errors import Cancelled, InputError
from napari_blindspot.io import open_sink, open_stack
from napari_blindspot.io.pyramid import shrink
from napari_blindspot.io.zarr_layout import plan_layout, plan_pyramid
from napari_blindspot.progress import CancelToken, Progress, run
from napari_blindspot.stack import Stack, VoxelSize

if TYPE_CHECKING:
    from pathlib import Path

FLOAT = np.dtype("float32")
BLOCK = (1, 1, 4, 32, 64)
NAMES = ["out.ome.zarr", "out.zarr", "out.tif", "out.ome.tiff", None]


@pytest.fixture
def stack() -> Stack:
    opened = open_stack(pixels(2, 2, 9, 48, 64), axes="TCZYX", voxel_size=(2, 0.5, 0.4))
    return replace(
        opened,
        name="cells",
        translation=(10.0, -3.0, 0.5),
        time_step_s=1.5,
        channel_names=("DAPI", "GFP"),
    )


def _values(stack: Stack) -> Any:
    return stack.data.compute().astype("float32") + np.float32(0.3)


def _write(out: Any, stack: Stack, dtype: np.dtype[Any] = FLOAT) -> Any:
    sink = open_sink(out, stack, dtype, BLOCK, provenance={"seed": 7}, overwrite=False)
    fill(sink, _values(stack), BLOCK)
    return run(sink.finish())


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_comes_back(
    tmp_path: Path, stack: Stack, name: str | None
) -> None:
    out = None if name is None else tmp_path / name
    image = _write(out, stack)
    assert isinstance(image, np.ndarray if out is None else da.Array)
    assert (image.shape, image.dtype) == (stack.shape, FLOAT)
    np.testing.assert_array_equal(np.asarray(image), _values(stack))
    assert [p.name for p in tmp_path.iterdir()] == ([name] if name else [])


@pytest.mark.parametrize("name", NAMES[:-1])
def test_metadata_are_carried_over(tmp_path: Path, stack: Stack, name: str) -> None:
    _write(tmp_path / name, stack)
    back = open_stack(tmp_path / name)
    assert (back.axes, back.shape, back.notes) == (stack.axes, stack.shape, ())
    assert back.voxel_size == pytest.approx(stack.voxel_size)
    assert back.time_step_s == pytest.approx(1.5)
    assert back.channel_names == ("DAPI", "GFP")
    if name.endswith("zarr"):
        assert back.translation == pytest.approx(stack.translation)


@pytest.mark.parametrize("name", ["out.ome.zarr", "out.tif"])
def test_unknown_sizes_stay_unknown(tmp_path: Path, stack: Stack, name: str) -> None:
    bare = replace(
        stack, voxel_size=VoxelSize(None, 0.5, 0.5), time_step_s=None, channel_names=()
    )
    _write(tmp_path / name, bare)
    back = open_stack(tmp_path / name)
    assert back.voxel_size == VoxelSize(None, 0.5, 0.5)
    assert (back.time_step_s, back.channel_names) == (None, ())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float64"])
def test_integers_are_rounded_and_clipped(
    tmp_path: Path, stack: Stack, name: str | None, dtype: str
) -> None:
    out = None if name is None else tmp_path / name
    image = np.asarray(_write(out, stack, np.dtype(dtype)))
    expected = _values(stack)
    if dtype == "uint8":
        assert expected.max() > 255
    if dtype != "float64":
        info = np.iinfo(dtype)
        expected = np.clip(np.rint(expected), info.min, info.max)
    np.testing.assert_array_equal(image, expected.astype(dtype))


def test_a_finished_ome_zarr_is_valid_and_says_how_it_was_made(
    tmp_path: Path, stack: Stack
) -> None:
    _write(tmp_path / "out.ome.zarr", stack)
    yaozarrs.validate_zarr_store(tmp_path / "out.ome.zarr")
    attributes = dict(zarr.open_group(tmp_path / "out.ome.zarr", mode="r").attrs)
    assert attributes["napari_blindspot"] == {"seed": 7}
    image = attributes["ome"]["multiscales"][0]
    assert image["name"] == "cells denoised"
    assert [axis.get("unit") for axis in image["axes"]] == [
        "second", None, "micrometer", "micrometer", "micrometer",
    ]  # fmt: skip
    values = _values(stack)
    for index, channel in enumerate(attributes["ome"]["omero"]["channels"]):
        window = channel["window"]
        assert window["min"] == pytest.approx(values[:, index].min())
        assert window["max"] == pytest.approx(values[:, index].max())


def test_an_ome_zarr_is_a_valid_store_from_the_first_block(
    tmp_path: Path, stack: Stack
) -> None:
    out = tmp_path / "out.ome.zarr"
    sink = open_sink(out, stack, FLOAT, BLOCK, provenance={}, overwrite=False)
    values = _values(stack)
    region = np.s_[0:1, 0:1, 0:4, 0:32, 0:64]
    sink.write(region, values[region])
    partial = tmp_path / "out.ome.zarr.partial"
    yaozarrs.validate_zarr_store(partial)
    back = open_stack(partial)
    assert (back.axes, back.voxel_size) == (stack.axes, stack.voxel_size)
    np.testing.assert_array_equal(back.data[region].compute(), values[region])
    assert not out.exists()
    sink.abort()
    assert list(tmp_path.iterdir()) == []


def test_an_ome_tiff_is_read_by_tifffile_and_says_how_it_was_made(
    tmp_path: Path, stack: Stack
) -> None:
    _write(tmp_path / "out.tif", stack)
    with tifffile.TiffFile(tmp_path / "out.tif") as tif:
        assert tif.is_ome
        assert tif.series[0].axes == "TCZYX"
        np.testing.assert_array_equal(tif.asarray(), _values(stack))
        xml = ElementTree.fromstring(tif.ome_metadata)
    note = xml.find(".//{*}MapAnnotation")
    assert note is not None
    assert note.get("Namespace") == "napari-blindspot"
    assert json.loads(note.findtext(".//{*}M") or "") == {"seed": 7}


def test_ome_tiff_refuses_pixel_types_it_does_not_know(
    tmp_path: Path, stack: Stack
) -> None:
    with pytest.raises(InputError, match=r"no pixel type uint64; write \.ome\.zarr"):
        _write(tmp_path / "out.tif", stack, np.dtype("uint64"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out.ome.zarr", "out.tif"])
def test_a_small_image_with_columns_in_blocks_comes_back(
    tmp_path: Path, name: str
) -> None:
    stack = open_stack(pixels(33, 50))
    values = _values(stack)
    sink = open_sink(
        tmp_path / name, stack, FLOAT, (16, 16), provenance={}, overwrite=False
    )
    fill(sink, values, (16, 16))
    np.testing.assert_array_equal(np.asarray(run(sink.finish())), values)


@pytest.mark.parametrize("name", NAMES)
def test_a_block_of_the_wrong_shape_is_an_error(
    tmp_path: Path, stack: Stack, name: str | None
) -> None:
    out = None if name is None else tmp_path / name
    sink = open_sink(out, stack, FLOAT, BLOCK, provenance={}, overwrite=False)
    with pytest.raises(ValueError, match="a block of shape"):
        sink.write(np.s_[0:1, 0:1, 0:4, 0:32, 0:64], np.zeros((1, 1, 4, 8, 64), "f4"))
    sink.abort()


@pytest.mark.parametrize(
    "region",
    [
        np.s_[0:1, 0:1, 0:4, 16:48, 0:64],
        np.s_[0:1, 0:1, 0:4, 0:16, 0:64],
        np.s_[0:1, 0:1, 2:6, 0:32, 0:64],
    ],
)
def test_a_region_that_would_share_a_shard_is_an_error(
    tmp_path: Path, stack: Stack, region: tuple[slice, ...]
) -> None:
    sink = open_sink(
        tmp_path / "o.zarr", stack, FLOAT, BLOCK, provenance={}, overwrite=False
    )
    with pytest.raises(ValueError, match="whole shards"):
        sink.write(region, np.ones_like(_values(stack)[region]))
    sink.abort()


def test_a_pyramid_is_the_mean_of_boxes_at_its_true_place(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(6, 301, 520)).astype("float32")
    stack = open_stack(values, voxel_size=(1, 0.5, 0.5))
    out = tmp_path / "big.ome.zarr"
    sink = open_sink(out, stack, FLOAT, (6, 128, 520), provenance={}, overwrite=False)
    fill(sink, values, (6, 128, 520))
    events: list[Progress] = []
    run(sink.finish(), events.append)
    group = zarr.open_group(out, mode="r")
    datasets = group.attrs["ome"]["multiscales"][0]["datasets"]
    shapes = [group[d["path"]].shape for d in datasets]
    assert shapes == [(6, 301, 520), (6, 151, 260), (3, 76, 130)]
    first = group["1"][:]
    np.testing.assert_allclose(
        first[:, :150],
        values[:, :300].reshape(6, 150, 2, 260, 2).mean((2, 4)),
        atol=1e-6,
    )
    scale, shift = datasets[1]["coordinateTransformations"]
    assert scale["scale"] == [1.0, 1.0, 1.0]
    assert shift["translation"] == [0.0, 0.25, 0.25]
    assert datasets[2]["coordinateTransformations"][0]["scale"] == [2.0, 2.0, 2.0]
    assert {event.stage for event in events} == {"pyramid"}
    assert events[-1].done == events[-1].total


def test_a_cancelled_pyramid_leaves_no_output(tmp_path: Path) -> None:
    stack = open_stack(pixels(4, 600, 600))
    sink = open_sink(
        tmp_path / "o.zarr", stack, FLOAT, (4, 600, 600), provenance={}, overwrite=False
    )
    fill(sink, _values(stack), (4, 600, 600))
    token = CancelToken()
    job = sink.finish(token)
    next(job)
    token.cancel()
    with pytest.raises(Cancelled):
        next(job)
    assert [p.name for p in tmp_path.iterdir()] == ["o.zarr.partial"]
    sink.abort()
    sink.abort()
    assert list(tmp_path.iterdir()) == []


def test_means_leave_nan_out_without_a_warning() -> None:
    values = np.array([[1, 3, np.nan], [np.nan, 2, np.nan], [5, 7, 9]], "float32")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small = shrink(values, (2, 2))
    np.testing.assert_array_equal(small, np.array([[2, np.nan], [6, 9]], "float32"))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "int64"])
def test_means_of_integers_are_rounded_and_do_not_overflow(dtype: str) -> None:
    high = min(np.iinfo(dtype).max, 2**40)
    values = np.array([[high, high - 1], [high, high]], dtype)
    assert shrink(values, (2, 2))[0, 0] == high
    assert shrink(values, (2, 2)).dtype == np.dtype(dtype)


@pytest.mark.parametrize(
    ("shape", "block"),
    [
        ((100, 2048, 2048), (16, 2048, 2048)),
        ((3, 2, 11, 200, 200), (1, 1, 11, 200, 200)),
        ((40, 5000, 7000), (8, 1024, 1024)),
        ((40, 970, 970), (7, 97, 970)),
        ((20, 16, 16), (20, 16, 16)),
        ((5000, 9000), (4096, 4096)),
        ((17, 33), (64, 64)),
    ],
)
def test_chunks_divide_shards_and_shards_are_blocks(
    shape: tuple[int, ...], block: tuple[int, ...]
) -> None:
    layout = plan_layout(shape, block, 4)
    assert all(s % c == 0 for s, c in zip(layout.shard, layout.chunk, strict=True))
    assert np.prod(layout.chunk) * 4 <= 4 * 2**20
    for n, b, s in zip(shape, block, layout.shard, strict=True):
        assert s == b if b < n else s >= n
    assert layout.n_shards == sum(1 for _ in layout.regions())
    assert sum(
        np.prod([part.stop - part.start for part in region])
        for region in layout.regions()
    ) == np.prod(shape)


@pytest.mark.parametrize(
    ("size", "depths"),
    [
        pytest.param(VoxelSize(1, 1, 1), [32, 16, 8], id="cubes: all halved"),
        pytest.param(VoxelSize(4, 1, 1), [64, 64, 32], id="flat: z waits"),
        pytest.param(VoxelSize(), [32, 16, 8], id="unknown counts as cubes"),
    ],
)
def test_planes_are_halved_once_the_voxel_is_a_cube(
    size: VoxelSize, depths: list[int]
) -> None:
    base = plan_layout((64, 2048, 2048), (64, 256, 2048), 2)
    levels = plan_pyramid("ZYX", base, size, 2)
    assert [layout.shape[0] for layout, _ in levels] == depths
    assert levels[-1][0].shape[1:] == (256, 256)
