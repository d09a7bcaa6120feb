"""Stacks that are damaged, forbidden or of an odd kind: read exactly, or refused."""

from __future__ import annotations

import json
import os
import pickle
import struct
import time
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import psutil
import pytest
import tifffile
import zarr
from numcodecs import Blosc
from zarr.codecs import BloscCodec, BytesCodec, ShardingCodec, ZstdCodec

import napari_blindspot as nb
from io_files import pixels
from models import random_student, random_teacher
from napari_blindspot.errors import InputError
from napari_blindspot.io import open_stack
from napari_blindspot.io.zarr_pixels import ZarrPixels, check_frame

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

SHAPE, CHUNK = (4, 20, 24), (1, 10, 24)


def _kinds() -> dict[str, dict[str, Any]]:
    kinds: dict[str, dict[str, Any]] = {
        "v2-blosc": {"zarr_format": 2, "compressors": Blosc(cname="lz4")},
        "v2-raw": {"zarr_format": 2, "compressors": None},
        "v3-raw": {"compressors": None},
        "v3-zstd": {"compressors": ZstdCodec()},
        "v3-blosc": {"compressors": BloscCodec(cname="lz4")},
    }
    for end, codec in product(("start", "end"), (BloscCodec(), ZstdCodec(), None)):
        inside = [BytesCodec()] if codec is None else [BytesCodec(), codec]
        kinds[f"shard-{end}-{type(codec).__name__}"] = {
            "chunks": (2, 20, 24),
            "serializer": ShardingCodec(
                chunk_shape=CHUNK, codecs=inside, index_location=end
            ),
            "compressors": None,
        }
    return kinds


KINDS = _kinds()


def _store(path: Path, values: NDArray[Any], **kind: Any) -> list[Path]:
    """Write a Zarr array, return the files of its chunks in order."""
    settings = {"chunks": CHUNK, **kind}
    array = zarr.create_array(path, shape=values.shape, dtype=values.dtype, **settings)
    array[:] = values
    return sorted(
        one
        for one in path.rglob("*")
        if one.is_file() and one.name not in ("zarr.json", ".zarray", ".zattrs")
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_chunk_that_was_cut_is_an_error_and_never_other_pixels(
    tmp_path: Path, kind: str
) -> None:
    path, values = tmp_path / "cut.zarr", pixels(*SHAPE)
    chunk = _store(path, values, **KINDS[kind])[0]
    whole, refused = chunk.read_bytes(), 0
    for length in range(0, len(whole), max(1, len(whole) // 25)):
        chunk.write_bytes(whole[:length])
        for region in ({}, {"Z": slice(0, 1)}, {"Z": slice(1, 2), "Y": slice(12, 15)}):
            try:
                read = open_stack(path).read(region)
            except InputError:
                refused += 1
            else:
                index = tuple(region.get(axis, slice(None)) for axis in "ZYX")
                np.testing.assert_array_equal(read, values[index])
    assert refused >= 25


@pytest.mark.parametrize("kind", ["v2-blosc", "v3-zstd", "shard-end-BloscCodec"])
def test_the_region_of_a_damaged_chunk_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bad.zarr"
    chunks = _store(path, pixels(*SHAPE), **KINDS[kind])
    chunks[-1].write_bytes(chunks[-1].read_bytes()[:-9])
    where = r"\[2:3, 0:10, 0:24\]" if "shard" in kind else r"\[3:4, 10:20, 0:24\]"
    with pytest.raises(InputError, match=rf"bad\.zarr could not be read at {where}"):
        open_stack(path).read({})


def test_the_region_of_a_damaged_chunk_is_named_in_the_order_of_the_stack(
    tmp_path: Path,
) -> None:
    chunks = _store(tmp_path / "a.zarr", pixels(20, 30, 2), chunks=(20, 15, 1))
    chunks[-1].write_bytes(b"x")  # columns 15 to 30 of the second channel
    stack = open_stack(tmp_path / "a.zarr", axes="YXC")
    with pytest.raises(InputError, match=r"at \[1:2, 0:20, 15:30\]"):
        stack.read({})
    assert stack.read({"C": 0}).shape == (20, 30)


def test_pixels_of_a_store_are_checked_in_another_process_too(tmp_path: Path) -> None:
    path, values = tmp_path / "a.zarr", pixels(*SHAPE)
    chunk = _store(path, values, **KINDS["shard-start-BloscCodec"])[0]
    array = zarr.open_array(path, mode="r")
    moved = pickle.loads(pickle.dumps(ZarrPixels(array)))
    np.testing.assert_array_equal(moved[1:3, 5:], values[1:3, 5:])
    chunk.write_bytes(chunk.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"ends too early|says|few"):
        moved[:]


def test_a_frame_that_claims_to_hold_more_than_a_chunk_is_refused() -> None:
    frame = Blosc().encode(bytes(1000))
    check_frame(frame, 1000)
    with pytest.raises(ValueError, match="holds 1000 bytes where there is room for 9"):
        check_frame(frame, 999)
    with pytest.raises(ValueError, match="3 bytes, too few"):
        check_frame(b"abc")


def test_chunks_that_were_never_written_are_filled(tmp_path: Path) -> None:
    path, values = tmp_path / "a.zarr", pixels(*SHAPE)
    chunks = _store(path, values, fill_value=7)
    chunks[3].unlink()  # rows 10 to 20 of plane 1
    values[1, 10:] = 7
    np.testing.assert_array_equal(open_stack(path).read({}), values)


def _change(path: Path, **values: Any) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, **values}))


def test_unknown_codecs_are_named_with_what_to_do(tmp_path: Path) -> None:
    advice = "install the package that brings this codec"
    _store(tmp_path / "two.zarr", pixels(*SHAPE), zarr_format=2)
    _change(tmp_path / "two.zarr" / ".zarray", compressor={"id": "strangecodec"})
    with pytest.raises(InputError, match=f"two.zarr .*strangecodec.*{advice}"):
        open_stack(tmp_path / "two.zarr")
    _store(tmp_path / "three.zarr", pixels(*SHAPE))
    codecs = [{"name": "bytes"}, {"name": "strangecodec", "configuration": {}}]
    _change(tmp_path / "three.zarr" / "zarr.json", codecs=codecs)
    with pytest.raises(InputError, match=f"three.zarr .*strangecodec.*{advice}"):
        open_stack(tmp_path / "three.zarr")


def test_an_unknown_compression_of_tiff_is_refused_before_reading(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, pixels(3, 20, 30), photometric="minisblack", compression="zlib"
    )
    with tifffile.TiffFile(path) as tif:
        places = [page.tags["Compression"].valueoffset for page in tif.pages]
    content = bytearray(path.read_bytes())
    for place in places:
        content[place : place + 2] = struct.pack("<H", 64001)
    path.write_bytes(content)
    with pytest.raises(InputError, match="compressed with method 64001 of TIFF"):
        open_stack(path)


def test_a_plane_that_lists_too_few_tiles_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels(3, 20, 30), photometric="minisblack", tile=(16, 16))
    with tifffile.TiffFile(path) as tif:
        places = [page.tags["ImageWidth"].valueoffset for page in tif.pages]
    content = bytearray(path.read_bytes())
    for place in places:
        content[place : place + 4] = struct.pack("<I", 1000)
    path.write_bytes(content)
    with pytest.raises(InputError, match="has 126 pieces and lists 4"):
        open_stack(path)


@contextmanager
def _as_a_stranger() -> Iterator[None]:
    """Do without the rights of the administrator, where the test has them."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_a_store_whose_chunks_may_not_be_read_is_no_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    for chunk in _store(path, pixels(*SHAPE)):
        chunk.chmod(0)
    stack = open_stack(path)
    with (
        _as_a_stranger(),
        pytest.raises(InputError, match=r"at \[0:1, .*Permission denied.*permissions"),
    ):
        stack.read({})


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
@pytest.mark.parametrize("forbidden", [".", "zarr.json"])
def test_a_store_that_may_not_be_opened_is_refused(
    tmp_path: Path, forbidden: str
) -> None:
    path = tmp_path / "a.zarr"
    _store(path, pixels(*SHAPE))
    for folder in (path, *list(path.parents)[:3]):
        folder.chmod(0o755)
    (path / forbidden).chmod(0)
    try:
        with _as_a_stranger(), pytest.raises(InputError, match=r"a\.zarr .*permission"):
            open_stack(path)
    finally:
        (path / forbidden).chmod(0o755)


def test_a_chunk_that_breaks_in_a_run_ends_it_with_a_sentence(tmp_path: Path) -> None:
    path, out = tmp_path / "a.zarr", tmp_path / "out.ome.zarr"
    chunks = _store(path, pixels(6, 64, 64), chunks=(1, 64, 64))
    chunks[3].write_bytes(chunks[3].read_bytes()[:-50])
    with pytest.raises(InputError, match=r"a\.zarr could not be read at \[3:4, 0:64"):
        nb.predict(random_teacher(), path, out, axes="ZYX")
    assert not out.exists()


@pytest.fixture(scope="module")
def noisy() -> NDArray[np.uint16]:
    rng = np.random.default_rng(11)
    return rng.poisson(20, (5, 40, 37)).astype(np.uint16)


def _as_stored(noisy: NDArray[np.uint16], kind: str) -> Any:
    if kind == "fortran":
        return np.asfortranarray(noisy)
    if kind == "backwards":
        return noisy[::-1, ::-1].copy()[::-1, ::-1]
    if kind == "every second":
        return np.repeat(noisy, 2, axis=2)[:, :, ::2]
    if kind == "read-only":
        return np.frombuffer(noisy.tobytes(), noisy.dtype).reshape(noisy.shape)
    if kind == "dask, big-endian":
        return da.from_array(noisy.astype(">u2"), chunks=(1, 7, 9))
    return noisy.astype(kind)


@pytest.mark.parametrize(
    "kind",
    [
        *("fortran", "backwards", "every second", "read-only", "dask, big-endian"),
        *(">u2", ">i4", ">i8", ">f2", ">f4", ">f8", "<f8"),
    ],
)
def test_how_an_array_lies_in_memory_changes_nothing(
    noisy: NDArray[np.uint16], kind: str
) -> None:
    source = _as_stored(noisy, kind)
    model = random_teacher()
    stack = open_stack(source, axes="ZYX")
    assert stack.dtype.isnative
    read = stack.read({"Z": slice(1, 3), "Y": 5})
    assert read.dtype.isnative
    assert read.flags.c_contiguous
    np.testing.assert_array_equal(read, noisy[1:3, 5])
    expected = nb.predict(model, noisy, axes="ZYX").image
    np.testing.assert_array_equal(nb.predict(model, source, axes="ZYX").image, expected)


def test_what_is_read_is_not_the_array_itself(noisy: NDArray[np.uint16]) -> None:
    mine = noisy.copy()
    open_stack(mine, axes="ZYX").read({})[:] = 0
    np.testing.assert_array_equal(mine, noisy)


@pytest.mark.parametrize("chunk", [(1, 1, 1), (2, 3, 5), (5, 1, 37), (1, 40, 1)])
def test_chunks_smaller_than_the_halo_change_nothing(
    tmp_path: Path, noisy: NDArray[np.uint16], chunk: tuple[int, ...]
) -> None:
    where = noisy[:2, :16, :17] if chunk == (1, 1, 1) else noisy
    _store(tmp_path / "a.zarr", where, chunks=chunk)
    model = random_teacher()
    np.testing.assert_array_equal(
        nb.predict(model, tmp_path / "a.zarr", axes="ZYX").image,
        nb.predict(model, where, axes="ZYX").image,
    )


@pytest.mark.parametrize("region", ["y=5:6", "x=5:6", "y=5:6,x=9:10"])
@pytest.mark.parametrize("make", [random_teacher, random_student])
def test_a_region_one_pixel_wide_is_denoised(
    noisy: NDArray[np.uint16], region: str, make: Any
) -> None:
    image = nb.predict(make(), noisy, axes="ZYX", region=region).image
    assert image.shape == open_stack(noisy, "ZYX", region=region).shape
    assert np.isfinite(image).all()


def test_planes_one_pixel_wide_are_refused_with_their_shape(
    noisy: NDArray[np.uint16],
) -> None:
    with pytest.raises(InputError, match="planes of this stack are 1 x 37 pixels"):
        open_stack(noisy[:, :1], axes="ZYX")
    with pytest.raises(InputError, match="planes of 1 × 37 pixels, but a network"):
        nb.train(noisy, axes="ZYX", region="y=5:6", steps=0)


def test_a_million_planes_are_opened_and_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "many.zarr"
    array = zarr.create_array(
        path, shape=(10**6, 16, 16), chunks=(1, 16, 16), dtype="u2", fill_value=3
    )
    values = pixels(8, 16, 16)
    array[500_000:500_008] = values
    before, start = _resident(), time.perf_counter()
    stack = open_stack(path, axes="ZYX")
    part = stack.crop({"Z": slice(499_990, 600_000)})
    for _ in range(20):
        np.testing.assert_array_equal(
            stack.read({"Z": slice(500_000, 500_008)}), values
        )
        np.testing.assert_array_equal(part.read({"Z": slice(10, 18)}), values)
    assert time.perf_counter() - start < 8  # past the graph: less than half a second
    assert _resident() - before < 250 * 2**20


def _resident() -> int:
    return int(psutil.Process().memory_info().rss)


def test_a_part_of_many_planes_is_denoised_as_if_it_were_all(tmp_path: Path) -> None:
    path, values = tmp_path / "many.zarr", pixels(8, 16, 16)
    array = zarr.create_array(
        path, shape=(10**5, 16, 16), chunks=(1, 16, 16), dtype="u2", fill_value=3
    )
    array[70_000:70_008] = values
    model = random_teacher()
    part = nb.predict(model, path, axes="ZYX", region="z=70000:70008").image
    np.testing.assert_array_equal(part, nb.predict(model, values, axes="ZYX").image)


def test_a_shape_that_no_file_can_hold_is_refused(tmp_path: Path) -> None:
    _store(tmp_path / "a.zarr", pixels(*SHAPE))
    _change(tmp_path / "a.zarr" / "zarr.json", shape=[10**30, 20, 24])
    with pytest.raises(InputError, match="which no file can hold"):
        open_stack(tmp_path / "a.zarr")


def test_a_shortcut_reads_no_other_array(noisy: NDArray[np.uint16]) -> None:
    stack = open_stack(noisy, axes="ZYX")
    changed = replace(stack, data=stack.data + 1)
    np.testing.assert_array_equal(changed.read({}), noisy + 1)
    np.testing.assert_array_equal(
        changed.crop({"Y": slice(3, 9)}).read({"X": slice(2, 4)}),
        noisy[:, 3:9, 2:4] + 1,
    )
