"""Zarr arrays and OME-Zarr images (0.1 to 0.5) as sources."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_blindspot.errors import BlindspotError, InputError, reason
from napari_blindspot.io.axes import letter
from napari_blindspot.io.found import UNKNOWN, Found
from napari_blindspot.io.remote import MARKERS, talking, zarr_store
from napari_blindspot.io.units import length_um, time_s
from napari_blindspot.io.zarr_pixels import ZarrPixels
from napari_blindspot.location import Location, without_secrets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def is_named_zarr(path: Path) -> bool:
    """Whether a name is that of a Zarr store."""
    return path.suffix.lower() == ".zarr"


def is_zarr_folder(path: Path) -> bool:
    """Whether a folder holds a Zarr array or group."""
    return any((path / marker).is_file() for marker in MARKERS)


def find_in_zarr_folder(path: Location, name: str) -> Found:
    """Describe the Zarr array or OME-Zarr image in a folder or at an address.

    Raises
    ------
    InputError
        If the metadata cannot be read or no image is found.
    RunError
        If an address cannot be reached.
    """
    import zarr

    try:
        with talking(path, "read"):
            node = zarr.open(zarr_store(path, "r"), mode="r")
    except BlindspotError:
        raise
    except Exception as error:  # what is wrong in a document breaks in any way
        raise _refused(path.name, error) from error
    return find_in_zarr(node, name, path)


def is_zarr(source: object) -> bool:
    """Whether this is a zarr array or group; zarr is not imported to find out."""
    kind = type(source)
    return kind.__module__.split(".")[0] == "zarr" and kind.__name__ in (
        "Array",
        "Group",
    )


def find_in_zarr(node: Any, name: str = "", path: Location | None = None) -> Found:
    """Describe an open zarr array or group.

    Raises
    ------
    InputError
        If a group holds no image, or several, or its metadata make no sense.
    """
    path = path or _folder_of(node)
    name = name or (path.name.removesuffix(".zarr") if path else "stack")
    name = name.removesuffix(".ome")
    try:
        with talking(path, "read"):
            return _find(node, name, path)
    except BlindspotError:
        raise
    except Exception as error:  # what is wrong in a document breaks in any way
        raise _refused(path.name if path else name, error) from error


def _refused(name: str, error: Exception) -> InputError:
    """Return the sentence for metadata that cannot be read or make no sense."""
    advice = "check that the folder was copied completely"
    if type(error).__name__ == "UnknownCodecError":
        advice = (
            "install the package that brings this codec, or write the data again with "
            "a common one such as zstd"
        )
    elif isinstance(error, OSError):
        advice = "check its permissions and that its disk is still connected"
    said = without_secrets(reason(error))
    return InputError(f"{name} cannot be read as Zarr ({said}); {advice}.")


def _find(node: Any, name: str, path: Location | None) -> Found:
    if type(node).__name__ == "Array":
        axes = _dimension_axes(node)
        return Found(ZarrPixels(node), axes=axes, name=name, path=path)
    attributes = dict(node.attrs)
    ome = attributes.get("ome", attributes)
    if isinstance(ome, dict) and ome.get("multiscales"):
        return _from_multiscales(node, ome, name, path)
    if isinstance(ome, dict) and "bioformats2raw.layout" in ome and "0" in node:
        return _find(node["0"], name, path)
    return _only_array(node, name, path)


def _only_array(group: Any, name: str, path: Location | None) -> Found:
    names = sorted(group.array_keys())
    if len(names) != 1:
        inside = sorted(group.group_keys())
        raise InputError(
            f"{name} is a Zarr group with {len(names)} arrays {names} and the groups "
            f"{inside[:8]} but no OME-Zarr image; give the path of one array or image "
            f"inside it."
        )
    array = group[names[0]]
    axes = _dimension_axes(array)
    return Found(ZarrPixels(array), axes=axes, name=name, path=path)


def _from_multiscales(
    group: Any,
    ome: Mapping[str, Any],
    name: str,
    path: Location | None,
) -> Found:
    """Describe level 0 of the first image."""
    image = ome["multiscales"][0]
    try:
        dataset = image["datasets"][0]
        array = group[dataset["path"]]
        pixels = ZarrPixels(array)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise InputError(
            f"{name} announces an OME-Zarr image that it does not hold "
            f"({reason(error)}); copy the folder again."
        ) from error
    entries = _axis_entries(image.get("axes"), array.ndim)
    axes = "".join(_axis_letter(entry) for entry in entries)
    steps = [
        *(dataset.get("coordinateTransformations") or ()),
        *(image.get("coordinateTransformations") or ()),
    ]
    scale, shift = _combine(steps, array.ndim)
    factors = [_factor(entry) for entry in entries]
    spacing, notes = _spacing(entries, scale, factors)
    return Found(
        pixels,
        axes=axes,
        spacing=spacing,
        origin=tuple(
            move * (factor or 1.0) for move, factor in zip(shift, factors, strict=True)
        ),
        channel_names=_labels(ome.get("omero")),
        name=name,
        path=path,
        notes=notes,
    )


def _axis_entries(axes: Any, ndim: int) -> list[dict[str, Any]]:
    """Return one mapping per dimension; old versions list names, or nothing."""
    if not isinstance(axes, list) or len(axes) != ndim:
        axes = list("tczyx") if ndim == 5 else [UNKNOWN] * ndim
    return [{"name": axis} if isinstance(axis, str) else dict(axis) for axis in axes]


def _axis_letter(entry: Mapping[str, Any]) -> str:
    by_type = {"time": "T", "channel": "C"}.get(str(entry.get("type")), UNKNOWN)
    by_name = letter(str(entry.get("name", "")))
    return by_name if by_name != UNKNOWN else by_type


def _factor(entry: Mapping[str, Any]) -> float | None:
    unit = entry.get("unit")
    return time_s(unit) if _axis_letter(entry) == "T" else length_um(unit)


def _combine(
    steps: Sequence[Mapping[str, Any]], ndim: int
) -> tuple[list[float], list[float]]:
    """Apply scales and translations one after the other."""
    scale, shift = [1.0] * ndim, [0.0] * ndim
    for step in steps:
        numbers = step.get(str(step.get("type")))
        if not isinstance(numbers, list) or len(numbers) != ndim:
            continue
        if not all(math.isfinite(float(number)) for number in numbers):
            continue
        if step["type"] == "scale":
            scale = [a * float(n) for a, n in zip(scale, numbers, strict=True)]
            shift = [a * float(n) for a, n in zip(shift, numbers, strict=True)]
        elif step["type"] == "translation":
            shift = [a + float(n) for a, n in zip(shift, numbers, strict=True)]
    return scale, shift


def _spacing(
    entries: Sequence[Mapping[str, Any]],
    scale: Sequence[float],
    factors: Sequence[float | None],
) -> tuple[tuple[float | None, ...], tuple[str, ...]]:
    """Return µm (seconds) per dimension; a scale of 1 without unit says nothing."""
    spacing: list[float | None] = []
    assumed = []
    for entry, step, factor in zip(entries, scale, factors, strict=True):
        known = factor is not None or (step != 1.0 and not entry.get("unit"))
        spacing.append(step * (factor or 1.0) if known and step > 0 else None)
        if known and factor is None and _axis_letter(entry) in "ZYX":
            assumed.append(str(entry.get("name")))
    if not assumed:
        return tuple(spacing), ()
    return tuple(spacing), (
        f"the scale of {', '.join(assumed)} has no unit and is taken as µm; pass "
        f"voxel_size= if that is wrong.",
    )


def _labels(omero: Any) -> tuple[str, ...]:
    channels = omero.get("channels") if isinstance(omero, dict) else None
    if not isinstance(channels, list):
        return ()
    names = [c.get("label") if isinstance(c, dict) else None for c in channels]
    return tuple(str(n) for n in names) if all(names) else ()


def _dimension_axes(array: Any) -> str:
    names = getattr(array.metadata, "dimension_names", None)
    if not names:
        names = array.attrs.get("_ARRAY_DIMENSIONS")  # what xarray writes into v2
    axes = "".join(letter(name) for name in names or ())
    named = [axis for axis in axes if axis != UNKNOWN]
    fits = len(set(named)) == len(named) and {"Y", "X"} <= set(named)
    return axes if fits else ""


def _folder_of(node: Any) -> Path | None:
    root = getattr(node.store_path.store, "root", None)
    return Path(root) / node.store_path.path if isinstance(root, Path) else None
