"""Small valid TIFF and Zarr stacks, and ways to damage what they say of themselves."""

from __future__ import annotations

import copy
import io
import json
import os
import tempfile
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numcodecs
import tifffile
import zarr
from hypothesis import strategies as st
from zarr.codecs import BloscCodec

from io_files import pixels
from napari_blindspot.errors import BlindspotError
from napari_blindspot.io import open_stack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST_BYTES = 2**30
"""What opening and reading one plane of a stack of a few kilobytes may take."""

# A file, and what is written over it: (where, bytes).
Patches = list[tuple[int, bytes]]
Files = dict[str, bytes]

TIFFS: dict[str, dict[str, Any]] = {
    "plain": {"metadata": None},
    "imagej": {"imagej": True, "metadata": {"axes": "ZYX", "unit": "um"}},
    "ome": {"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeX": 0.1}},
    "tiled": {"metadata": None, "tile": (16, 16), "compression": "zlib"},
    "strips": {"metadata": None, "rowsperstrip": 5, "compression": "lzw"},
    "bigtiff": {"metadata": None, "bigtiff": True, "byteorder": ">"},
}

ZARRS: dict[str, dict[str, Any]] = {
    "v2": {"zarr_format": 2},
    "v3": {"zarr_format": 3},
    "sharded": {"zarr_format": 3, "shards": (2, 20, 24)},
    "blosc-v2": {"zarr_format": 2, "compressors": numcodecs.Blosc()},
    "blosc-v3": {"zarr_format": 3, "compressors": BloscCodec(cname="lz4")},
    "image-0.4": {"zarr_format": 2},
    "image-0.5": {"zarr_format": 3},
}


@cache
def tiff_bytes(kind: str) -> bytes:
    """Return a TIFF file of three planes."""
    held = io.BytesIO()
    tifffile.imwrite(held, pixels(3, 18, 20), photometric="minisblack", **TIFFS[kind])
    return held.getvalue()


@cache
def zarr_files(kind: str) -> tuple[tuple[str, bytes], ...]:
    """Return the files of a Zarr store of four planes: path and content."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "a.zarr"
        where: Any = root
        settings = dict(ZARRS[kind])
        if kind.startswith("image"):
            group = zarr.create_group(root, zarr_format=settings["zarr_format"])
            meta = _image_metadata(kind.removeprefix("image-"))
            group.attrs.update(meta)
            where = root / "s0"
        zarr.create_array(where, data=pixels(4, 20, 24), chunks=(1, 10, 24), **settings)
        return tuple(
            (str(path.relative_to(root)), path.read_bytes())
            for path in sorted(root.rglob("*"))
            if path.is_file()
        )


def _image_metadata(version: str) -> dict[str, Any]:
    steps = [
        {"type": "scale", "scale": [2.0, 0.5, 0.5]},
        {"type": "translation", "translation": [1.0, 0.0, 0.0]},
    ]
    image = {
        "name": "cells",
        "axes": [
            {"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"
        ],
        "datasets": [{"path": "s0", "coordinateTransformations": steps}],
    }
    omero = {"channels": [{"label": "DAPI", "color": "ffffff"}]}
    if version == "0.5":
        return {"ome": {"version": "0.5", "multiscales": [image], "omero": omero}}
    return {"multiscales": [{"version": version, **image}], "omero": omero}


def metadata_names(kind: str) -> list[str]:
    """Return the files of a Zarr store that are JSON."""
    return [name for name, _ in zarr_files(kind) if _is_metadata(name)]


def _is_metadata(name: str) -> bool:
    return Path(name).name in {"zarr.json", ".zarray", ".zattrs", ".zgroup"}


@cache
def header_places(kind: str) -> tuple[int, ...]:
    """Return the places of a TIFF file that hold no pixels."""
    content = tiff_bytes(kind)
    held = bytearray(len(content))
    with tifffile.TiffFile(io.BytesIO(content)) as tif:
        for page in tif.pages:
            for start, count in zip(page.dataoffsets, page.databytecounts, strict=True):
                held[start : start + count] = b"x" * count
    return tuple(place for place, pixel in enumerate(held) if not pixel)


def byte_patches(places: Sequence[int]) -> st.SearchStrategy[Patches]:
    """Draw bytes to write over a file: single ones, and whole numbers of a header."""
    numbers = [0, 1, 2, 3, 7, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1]
    number = st.builds(
        lambda n, width, order: (n % 2 ** (8 * width)).to_bytes(width, order),
        st.sampled_from(numbers),
        st.sampled_from([2, 4]),
        st.sampled_from(["little", "big"]),
    )
    single = st.tuples(st.sampled_from(places), st.binary(min_size=1, max_size=1))
    even = [place for place in places if place % 2 == 0] or list(places)
    whole = st.tuples(st.sampled_from(even), number)
    return st.lists(st.one_of(single, whole), min_size=1, max_size=6)


def patched(whole: bytes, patches: Patches) -> bytes:
    """Return a file with other bytes written over it; its length stays."""
    data = bytearray(whole)
    for start, new in patches:
        data[start : start + len(new)] = new
    return bytes(data[: len(whole)])


ODD_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(
        [0, 1, -1, 3, 2**31, 2**63, 10**30, 0.5, -1.5, 1e308, float("nan")]
    ),
    st.sampled_from(["", "0", "..", "/", "s0", "x", "<u2", "|O", "f8", "bytes", "é"]),
    st.sampled_from([[], {}, [1], [0, 0, 0], [[]], {"name": "x"}, [None] * 3]),
    st.integers(-(2**40), 2**40),
    st.text(max_size=6),
)


@st.composite
def odd_documents(draw: st.DrawFn, document: Any) -> Any:
    """Draw a JSON document in which some values were changed, added or lost."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(document))
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        change = draw(st.sampled_from(["set", "set", "drop", "double"]))
        if change == "set":
            holder[key] = copy.deepcopy(draw(ODD_VALUES))
        elif change == "drop":
            del holder[key]
        elif isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
    return document


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every value in a document: what holds it, and under which key."""
    entries: Any = ()
    if isinstance(node, dict):
        entries = node.items()
    elif isinstance(node, list):
        entries = enumerate(node)
    for key, value in entries:
        yield node, key
        yield from _places(value)


def document_of(kind: str, name: str) -> Any:
    """Return one of the JSON documents of a Zarr store."""
    return json.loads(dict(zarr_files(kind))[name])


def write_store(folder: Path, files: Files) -> Path:
    """Write the files of a Zarr store."""
    root = folder / "a.zarr"
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def check_opens_or_says_why(path: Path) -> str:
    """Open a stack and read a part of its first plane; return what came of it.

    Anything but pixels or one readable sentence is an error, and so is taking a
    gigabyte for a file of a few kilobytes.
    """
    with _little_memory():
        try:
            stack = open_stack(path)
            first = {"T": 0, "C": 0, "Z": 0, "Y": slice(64), "X": slice(64)}
            values = stack.read(first)
        except BlindspotError as error:
            message = str(error)
            assert message.endswith("."), message
            assert "\n" not in message, message
            assert len(message) < 1000, message
            return "refused"
    assert values.shape == tuple(min(stack.sizes[axis], 64) for axis in "YX")
    assert values.dtype.kind in "iuf"
    return "read"


@contextmanager
def _little_memory() -> Iterator[None]:
    """Let an allocation of a gigabyte fail, where the system can."""
    with suppress(ImportError):
        import resource

        before = resource.getrlimit(resource.RLIMIT_AS)
        used = _address_space()
        resource.setrlimit(resource.RLIMIT_AS, (used + MOST_BYTES, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)
        return
    yield


def _address_space() -> int:
    import psutil

    return int(psutil.Process(os.getpid()).memory_info().vms)
