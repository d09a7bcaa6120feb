"""Arrays in memory, lazy arrays and napari layers as sources."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.errors import InputError
from napari_blindspot.io.axes import letter
from napari_blindspot.io.found import UNKNOWN, Found
from napari_blindspot.io.units import length_um, time_s

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def is_array_like(source: object) -> bool:
    """Whether pixels can be read region by region."""
    return all(hasattr(source, name) for name in ("shape", "dtype", "__getitem__"))


def is_image_layer(source: object) -> bool:
    """Whether this is a napari Image layer, without importing napari."""
    return all(hasattr(source, name) for name in ("data", "scale", "rgb", "multiscale"))


def find_in_array(array: Any) -> Found:
    """Describe an array; named dimensions (xarray) are used as axes.

    Voxels that are masked have no value: NaN, as floats.
    """
    array = _unmasked(array)
    names = getattr(array, "dims", None)
    axes = ""
    if isinstance(names, tuple) and all(isinstance(name, str) for name in names):
        axes = "".join(letter(name) for name in names)
    return Found(array, axes=axes if _fits(axes) else "")


def find_in_layer(layer: Any) -> Found:
    """Describe a napari Image layer: level 0, scale and units, axis labels.

    Raises
    ------
    InputError
        If the layer shows colours.
    """
    if layer.rgb:
        raise InputError(
            f"the layer {layer.name!r} is a colour (rgb) image; split its channels in "
            f"napari (Layers menu, Split RGB) and choose one of the new layers."
        )
    pixels = layer.data[0] if layer.multiscale else layer.data
    pixels = _unmasked(pixels)
    units = tuple(str(unit) for unit in getattr(layer, "units", None) or ())
    ndim = len(pixels.shape)
    units = units if len(units) == ndim else ("pixel",) * ndim
    factors = [_to_base(unit) for unit in units]
    spacing = tuple(
        None if factor is None else float(step) * factor
        for step, factor in zip(layer.scale, factors, strict=True)
    )
    origin = tuple(
        float(start) * (1.0 if factor is None else factor)
        for start, factor in zip(layer.translate, factors, strict=True)
    )
    path = getattr(getattr(layer, "source", None), "path", None)
    return Found(
        pixels,
        axes=_layer_axes(layer, units),
        spacing=spacing,
        origin=origin,
        name=str(layer.name),
        path=Path(path) if path else None,
        notes=_unit_notes(layer, spacing),
    )


def _unmasked(array: Any) -> Any:
    """Return an array with NaN where voxels are masked, also one of dask."""
    if isinstance(array, np.ma.MaskedArray):
        return _without_masked(array)
    if not isinstance(getattr(array, "_meta", None), np.ma.MaskedArray):
        return array
    dtype = np.result_type(array.dtype, np.float32)
    empty = np.empty((0,) * array.ndim, dtype)
    return array.map_blocks(
        lambda block: np.asarray(_without_masked(block), dtype), meta=empty
    )


def _without_masked(array: np.ma.MaskedArray[Any, Any]) -> NDArray[Any]:
    if not np.ma.is_masked(array):
        return np.asarray(array.data)
    if array.dtype.kind not in "buif":
        return np.asarray(array.data)  # refused as it is
    values = np.array(array.data, np.result_type(array.dtype, np.float32))
    values[np.ma.getmaskarray(array)] = np.nan
    return values


def _to_base(unit: str) -> float | None:
    length = length_um(unit)
    return time_s(unit) if length is None else length


def _layer_axes(layer: Any, units: Sequence[str]) -> str:
    labels = getattr(layer, "axis_labels", None) or ()
    axes = "".join(letter(label) for label in labels)
    if _fits(axes) and len(axes) == len(units):
        return axes
    # Without labels the last two dimensions are the plane that napari shows.
    timed = ["T" if time_s(unit) is not None else UNKNOWN for unit in units[:-2]]
    return "".join(timed) + "YX" if "T" in timed else ""


def _unit_notes(layer: Any, spacing: Sequence[float | None]) -> tuple[str, ...]:
    scaled = any(float(step) != 1.0 for step in layer.scale)
    if scaled and all(step is None for step in spacing):
        return (
            f"the layer {layer.name!r} has a scale but its unit is the pixel, so the "
            f"voxel size is not known; set layer.units or pass voxel_size=.",
        )
    return ()


def _fits(axes: str) -> bool:
    named = [axis for axis in axes if axis != UNKNOWN]
    return len(set(named)) == len(named) and {"Y", "X"} <= set(named)
