"""Small files of vendor formats, written byte by byte or by the vendor's library."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import h5py
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def write_imaris(
    path: Path,
    values: NDArray[np.uint16],
    extent: tuple[tuple[float, ...], tuple[float, ...]],
    names: tuple[str, ...] = (),
    chunk: tuple[int, int, int] = (4, 16, 16),
) -> Path:
    """Write an Imaris file (5.5) from values T, C, Z, Y, X.

    Datasets are padded to whole chunks and attributes are arrays of letters, as Imaris
    writes them; `extent` is the outer edges (z, y, x) in µm.
    """
    times, channels, *box = values.shape
    padded = [-(-n // c) * c for n, c in zip(box, chunk, strict=True)]
    with h5py.File(path, "w") as file:
        for t in range(times):
            for c in range(channels):
                where = f"DataSet/ResolutionLevel 0/TimePoint {t}/Channel {c}"
                group = file.create_group(where)
                for axis, n in zip("ZYX", box, strict=True):
                    group.attrs[f"ImageSize{axis}"] = letters(str(n))
                data = group.create_dataset(
                    "Data", padded, np.uint16, chunks=chunk, compression="gzip"
                )
                data[tuple(slice(0, n) for n in box)] = values[t, c]
        image = file.create_group("DataSetInfo/Image")
        image.attrs["Unit"] = letters("um")
        for axis in range(3):
            image.attrs[f"ExtMin{axis}"] = letters(str(extent[0][2 - axis]))
            image.attrs[f"ExtMax{axis}"] = letters(str(extent[1][2 - axis]))
        for c, name in enumerate(names):
            file.create_group(f"DataSetInfo/Channel {c}").attrs["Name"] = letters(name)
        info = file.create_group("DataSetInfo/TimeInfo")
        for t in range(times):
            told = f"2026-01-01 00:00:{2 * t:02}.500"
            info.attrs[f"TimePoint{t + 1}"] = letters(told)
    return path


def letters(text: str) -> NDArray[np.bytes_]:
    """Return a text as Imaris keeps it."""
    return np.array([letter.encode() for letter in text], "S1")


def write_leica(path: Path, images: dict[str, NDArray[np.uint16]]) -> Path:
    """Write a Leica file (version 2) of volumes C, Z, Y, X.

    Voxels are 0.5 µm apart along z, 0.2 along y and 0.1 along x.
    """
    elements, blocks = [], []
    for number, (name, values) in enumerate(images.items()):
        elements.append(_leica_element(name, f"MemBlock_{number}", values))
        blocks.append((f"MemBlock_{number}", values.tobytes()))
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="file">'
        f"<Children>{''.join(elements)}</Children></Element></LMSDataContainerHeader>"
    )
    with path.open("wb") as file:
        file.write(struct.pack("<IIBI", 0x70, 2 * len(xml) + 5, 0x2A, len(xml)))
        file.write(xml.encode("utf-16-le"))
        for block, content in blocks:
            size = 2 * len(block) + 14
            head = (0x70, size, 0x2A, len(content), 0x2A, len(block))
            file.write(struct.pack("<IIBQBI", *head) + block.encode("utf-16-le"))
            file.write(content)
    return path


def _leica_element(name: str, block: str, values: NDArray[np.uint16]) -> str:
    channels, z, y, x = values.shape
    plane = 2 * x * y
    axes = ((1, x, 2, 0.1e-6), (2, y, 2 * x, 0.2e-6), (3, z, plane, 0.5e-6))
    dimensions = "".join(
        f'<DimensionDescription DimID="{axis}" NumberOfElements="{n}" Origin="0" '
        f'Length="{step * (n - 1)}" Unit="m" BitInc="0" BytesInc="{stride}"/>'
        for axis, n, stride, step in axes
    )
    described = "".join(
        f'<ChannelDescription DataType="0" ChannelTag="0" Resolution="16" '
        f'NameOfMeasuredQuantity="" Min="0" Max="65535" Unit="" LUTName="{lut}" '
        f'IsLUTInverted="0" BytesInc="{place * plane * z}" BitInc="0"/>'
        for place, lut in enumerate(("Green", "Red")[:channels])
    )
    return (
        f'<Element Name="{name}"><Data><Image><ImageDescription>'
        f"<Channels>{described}</Channels><Dimensions>{dimensions}</Dimensions>"
        f"</ImageDescription></Image></Data>"
        f'<Memory Size="{values.nbytes}" MemoryBlockID="{block}"/></Element>'
    )
