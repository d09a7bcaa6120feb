"""Small Nikon files (ND2, version 3), written byte by byte.

A file is a row of named chunks, with a map of them at its end. Metadata are trees of
named values; a frame holds all channels of one plane, pixel by pixel.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_MAGIC = 0x0ABECEDA
_SIGNATURE = b"ND2 FILE SIGNATURE CHUNK NAME01!"
_MAP, _MAP_END = (
    b"ND2 FILEMAP SIGNATURE NAME 0001!",
    b"ND2 CHUNK MAP SIGNATURE 0000001!",
)
_FRAME_NAME = 4072  # bytes that the name of a frame takes
_TIME, _Z = 1, 4  # kinds of loops


def write_nikon(
    path: Path,
    values: NDArray[np.uint16],
    voxel: tuple[float, float],
    seconds: float,
    names: tuple[str, ...],
) -> Path:
    """Write a Nikon file from values T, Z, C, Y, X.

    `voxel` is µm between planes and between pixels, `seconds` between time points.
    """
    times, planes, channels, height, width = values.shape
    attributes = {
        "uiWidth": width,
        "uiWidthBytes": 2 * width * channels,
        "uiHeight": height,
        "uiComp": channels,
        "uiBpcInMemory": 16,
        "uiBpcSignificant": 16,
        "uiSequenceCount": times * planes,
        "eCompression": 2,
    }
    inner = {
        "eType": _Z,
        "uLoopPars": {"uiCount": planes, "dZStep": voxel[0]},
    }
    outer = {
        "eType": _TIME,
        "uLoopPars": {
            "uiCount": times,
            "dStart": 0.0,
            "dPeriod": 1000 * seconds,
            "dDuration": 1000 * seconds * times,
            "dAvgPeriodDiff": 1000 * seconds,
        },
        "ppNextLevelEx": {"": inner},
    }
    dyes = {
        f"a{i}": {
            "uiCompCount": 1,
            "sDescription": name,
            "pFluorescentProbe": {"m_sName": name},
        }
        for i, name in enumerate(names)
    }
    picture = {
        "bCalibrated": True,
        "dCalibration": voxel[1],
        "sPicturePlanes": {"uiCount": channels, "sPlaneNew": dyes},
    }
    chunks = [
        (b"ImageAttributesLV!", _tree({"SLxImageAttributes": attributes})),
        (b"ImageMetadataLV!", _tree({"SLxExperiment": outer})),
        (b"ImageMetadataSeqLV|0!", _tree({"SLxPictureMetadata": picture})),
        (b"CustomData|AcqTimesCache!", _times(times, planes, seconds)),
    ]
    for number, (t, z) in enumerate(np.ndindex(times, planes)):
        frame = np.moveaxis(values[t, z], 0, -1).astype("<u2")
        content = struct.pack("<d", 1000 * seconds * t) + frame.tobytes()
        chunks.append((f"ImageDataSeq|{number}!".encode(), content))
    path.write_bytes(_file(chunks))
    return path


def _times(times: int, planes: int, seconds: float) -> bytes:
    each = np.repeat(1000 * seconds * np.arange(times), planes)
    return each.astype("<f8").tobytes()


def _file(chunks: list[tuple[bytes, bytes]]) -> bytes:
    parts = [_chunk(_SIGNATURE, b"Ver3.0".ljust(64, b"\0"), len(_SIGNATURE))]
    for name, content in chunks:
        room = _FRAME_NAME if name.startswith(b"ImageDataSeq") else len(name)
        parts.append(_chunk(name, content, room))
    ends = np.cumsum([0, *map(len, parts)]).tolist()
    entries = [
        name + struct.pack("<QQ", start, stop - start)
        for (name, _), (start, stop) in zip(chunks, pairwise(ends[1:]), strict=True)
    ]
    last = _MAP_END + struct.pack("<Q", ends[-1])
    parts.append(_chunk(_MAP, b"".join(entries) + last, len(_MAP)))
    return b"".join(parts)


def _chunk(name: bytes, content: bytes, room: int) -> bytes:
    head = struct.pack("<IIQ", _MAGIC, room, len(content))
    return head + name.ljust(room, b"\0") + content


def _tree(values: Mapping[str, Any]) -> bytes:
    """Return named values one after the other; a mapping is a level of its own."""
    return b"".join(_value(name, value) for name, value in values.items())


def _value(name: str, value: Any) -> bytes:
    kind, content = _content(value)
    label = f"{name}\0".encode("utf-16-le")
    head = struct.pack("<BB", kind, len(name) + 1) + label
    if not isinstance(value, dict):
        return head + content
    size = len(head) + struct.calcsize("<IQ") + len(content)
    places = bytes(8 * len(value))  # of its values, which no reader here asks for
    return head + struct.pack("<IQ", len(value), size) + content + places


def _content(value: Any) -> tuple[int, bytes]:
    if isinstance(value, dict):
        return 11, _tree(value)
    if isinstance(value, bool):
        return 1, struct.pack("<?", value)
    if isinstance(value, int):
        return 3, struct.pack("<I", value)
    if isinstance(value, float):
        return 6, struct.pack("<d", value)
    return 8, f"{value}\0".encode("utf-16-le")
