"""TIFF files as sources: voxel size, time step and names from OME and ImageJ."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from napari_blindspot.io.found import Found
from napari_blindspot.io.tiff_adapter import TiffHeader, read_header
from napari_blindspot.io.units import length_um, time_s

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")


@dataclass(frozen=True, slots=True)
class _Scales:
    """Distance per axis letter (µm, seconds for T) and channel names."""

    spacing: Mapping[str, float] = field(default_factory=dict)
    channel_names: tuple[str, ...] = ()


def find_in_tiff(path: Path, name: str) -> Found:
    """Describe the first series of a TIFF file; no pixel is decoded.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    header = read_header(path)
    scales = _read_scales(header)
    notes: tuple[str, ...] = ()
    if header.missing:
        notes = (
            f"{header.missing} planes that {path.name} announces are missing; they are "
            f"read as zeros.",
        )
    axes = "".join(a if a in "TCZYXS" else "?" for a in header.axes)
    return Found(
        header.pixels,
        axes=axes,
        spacing=tuple(scales.spacing.get(axis) for axis in axes),
        channel_names=scales.channel_names,
        name=name,
        path=path,
        notes=notes,
    )


def _read_scales(header: TiffHeader) -> _Scales:
    if header.kind == "ome" and header.ome_xml:
        return _from_ome(header.ome_xml)
    if header.imagej:
        return _from_imagej(header)
    return _Scales()


def _from_ome(xml: str) -> _Scales:
    """Read the first image of OME-XML, whatever version its namespace names."""
    try:
        pixels = ElementTree.fromstring(xml).find("{*}Image/{*}Pixels")
    except ElementTree.ParseError:
        return _Scales()
    if pixels is None:
        return _Scales()
    spacing: dict[str, float] = {}
    for axis in "ZYX":
        unit = pixels.get(f"PhysicalSize{axis}Unit", "µm")
        _put(spacing, axis, pixels.get(f"PhysicalSize{axis}"), length_um(unit))
    unit = pixels.get("TimeIncrementUnit", "s")
    _put(spacing, "T", pixels.get("TimeIncrement"), time_s(unit))
    names = [channel.get("Name") or "" for channel in pixels.findall("{*}Channel")]
    return _Scales(spacing, tuple(names) if all(names) else ())


def _from_imagej(header: TiffHeader) -> _Scales:
    """Read ImageJ's text and the resolution tags; one unit holds for x, y and z."""
    meta = header.imagej
    factor = length_um(meta.get("unit"))
    spacing: dict[str, float] = {}
    for axis, per_unit in zip("XY", header.pixels_per_unit, strict=True):
        _put(spacing, axis, 1 / per_unit if per_unit else None, factor)
    depth_unit = length_um(meta.get("zunit"))
    _put(spacing, "Z", meta.get("spacing"), depth_unit or factor)
    _put(spacing, "T", meta.get("finterval"), time_s(meta.get("tunit", "s")))
    return _Scales(spacing, _imagej_names(meta))


def _put(
    spacing: dict[str, float],
    axis: str,
    value: Any,
    factor: float | None,
) -> None:
    """Store value × factor if both are known and positive."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return
    if factor is not None and 0 < number < float("inf"):
        spacing[axis] = number * factor


def _imagej_names(meta: Mapping[str, Any]) -> tuple[str, ...]:
    """Return slice labels as channel names if they name the channels and nothing else.

    ImageJ labels every plane, channels running fastest.
    """
    count, labels = int(meta.get("channels", 1)), meta.get("Labels")
    if not isinstance(labels, list) or count < 2 or len(labels) < count:
        return ()
    names = [str(label) for label in labels[:count]]
    repeat = [names[i % count] for i in range(len(labels))]
    return tuple(names) if repeat == labels and len(set(names)) == count else ()
