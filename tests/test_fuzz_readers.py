"""Damaged headers: a stack opens and reads, or one sentence says why not."""

from __future__ import annotations

import json
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fuzzing import (
    TIFFS,
    ZARRS,
    Patches,
    byte_patches,
    check_opens_or_says_why,
    document_of,
    header_places,
    metadata_names,
    odd_documents,
    patched,
    tiff_bytes,
    write_store,
    zarr_files,
)

# What zarr warns of in metadata that no one should write is not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore")

bounded = settings(
    max_examples=150,
    derandomize=True,
    deadline=timedelta(seconds=5),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
thorough = settings(bounded, max_examples=3000)


def _check_tiff(content: bytes) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tif"
        path.write_bytes(content)
        return check_opens_or_says_why(path)


def _check_zarr(kind: str, name: str, content: bytes) -> str:
    files = {**dict(zarr_files(kind)), name: content}
    with tempfile.TemporaryDirectory() as folder:
        return check_opens_or_says_why(write_store(Path(folder), files))


@st.composite
def damaged_tiffs(draw: st.DrawFn) -> tuple[str, Patches]:
    kind = draw(st.sampled_from(sorted(TIFFS)))
    return kind, draw(byte_patches(header_places(kind)))


@st.composite
def cut_tiffs(draw: st.DrawFn) -> tuple[str, int]:
    kind = draw(st.sampled_from(sorted(TIFFS)))
    return kind, draw(st.integers(1, len(tiff_bytes(kind)) - 1))


@st.composite
def odd_metadata(draw: st.DrawFn) -> tuple[str, str, Any]:
    kind = draw(st.sampled_from(sorted(ZARRS)))
    name = draw(st.sampled_from(metadata_names(kind)))
    return kind, name, draw(odd_documents(document_of(kind, name)))


@st.composite
def damaged_metadata(draw: st.DrawFn) -> tuple[str, str, Patches]:
    kind = draw(st.sampled_from(sorted(ZARRS)))
    name, content = draw(st.sampled_from(zarr_files(kind)))
    return kind, name, draw(byte_patches(range(len(content))))


@pytest.mark.parametrize("kind", TIFFS)
def test_the_tiffs_that_are_damaged_here_are_whole(kind: str) -> None:
    assert _check_tiff(tiff_bytes(kind)) == "read"


@pytest.mark.parametrize("kind", ZARRS)
def test_the_stores_that_are_damaged_here_are_whole(kind: str) -> None:
    name, content = zarr_files(kind)[0]
    assert _check_zarr(kind, name, content) == "read"


def damaged_tiff(example: tuple[str, Patches]) -> None:
    kind, patches = example
    _check_tiff(patched(tiff_bytes(kind), patches))


def cut_tiff(example: tuple[str, int]) -> None:
    kind, length = example
    _check_tiff(tiff_bytes(kind)[:length])


def odd_store(example: tuple[str, str, Any]) -> None:
    kind, name, document = example
    _check_zarr(kind, name, json.dumps(document).encode())


def damaged_store(example: tuple[str, str, Patches]) -> None:
    kind, name, patches = example
    content = dict(zarr_files(kind))[name]
    _check_zarr(kind, name, patched(content, patches))


def _changed(kind: str, name: str, *where: Any, to: Any) -> tuple[str, str, Any]:
    """Return a document of a store with one value set."""
    document = node = document_of(kind, name)
    for key in where[:-1]:
        node = node[key]
    node[where[-1]] = to
    return kind, name, document


def _image(*where: Any, to: Any) -> tuple[str, str, Any]:
    return _changed("image-0.4", ".zattrs", "multiscales", *where, to=to)


_SHARDS = ("codecs", 0, "configuration", "index_codecs")
FOUND_VALUES = [
    # Without its checksum an index is read at the wrong place, and asks for gigabytes.
    _changed("sharded", "zarr.json", *_SHARDS, to=[{"name": "bytes"}]),
    _changed("v2", ".zarray", "shape", to=[10**30, 20, 24]),
    _changed("v2", ".zarray", "shape", to=[2**40, 20, 24]),
    _changed("v2", ".zarray", "chunks", to=[False, 10, 24]),
    _changed("v2", ".zarray", "compressor", to={"id": "unknown"}),
    _image(0, to=None),
    _image(0, "axes", 0, to=None),
    _image(0, "axes", 0, "unit", to=1),
    _image(0, "axes", 0, "name", to=2),
    _image(0, "datasets", 0, "path", to=""),
    _image(0, "datasets", 0, "path", to=".."),
    _image(0, "datasets", 0, "coordinateTransformations", to=None),
    _image(0, "datasets", 0, "coordinateTransformations", 0, to="x"),
    _image(
        0, "datasets", 0, "coordinateTransformations", 0, "scale", 1, to=float("nan")
    ),
    _image(0, "datasets", 0, "coordinateTransformations", 0, "scale", 1, to="x"),
]

PROPERTIES: dict[str, tuple[Any, Any, list[Any]]] = {
    "tiff-bytes": (damaged_tiff, damaged_tiffs(), []),
    "tiff-cut": (cut_tiff, cut_tiffs(), [("plain", 7), ("ome", 600)]),
    "zarr-values": (odd_store, odd_metadata(), FOUND_VALUES),
    "zarr-bytes": (damaged_store, damaged_metadata(), []),
}


def _run(name: str, how: settings) -> None:
    check, examples, found = PROPERTIES[name]
    test = given(examples)(check)
    for one in found:
        test = example(one)(test)
    how(test)()


@pytest.mark.parametrize("name", PROPERTIES)
def test_damaged_metadata_opens_or_says_why(name: str) -> None:
    _run(name, bounded)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", PROPERTIES)
def test_much_damaged_metadata_opens_or_says_why(name: str) -> None:
    _run(name, thorough)
