"""From what a reader found to a stack: checks, axes, order, overrides."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.errors import InputError
from napari_blindspot.io.axes import resolve_axes
from napari_blindspot.io.lazy import with_shortcut
from napari_blindspot.stack import AXES, Stack, VoxelSize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindspot.io.found import Found

MIN_SIDE = 16
"""A plane needs at least this many pixels a side."""
_MOST_VOXELS = 2**60


def build_stack(
    found: Found,
    axes: str | None = None,
    voxel_size: Sequence[float | None] | None = None,
) -> Stack:
    """Check what was found and put it into canonical order, lazily.

    Parameters
    ----------
    found
        Pixels and metadata in the order of the source.
    axes
        Letters of the dimensions in the order of the source, if the user gives them.
    voxel_size
        (z, y, x) in µm, if the user gives it.

    Returns
    -------
    Stack
        With dask data in the order of TCZYX and native byte order.

    Raises
    ------
    InputError
        If dtype, shape, axes or voxel size cannot be used.
    """
    shape = tuple(int(n) for n in found.pixels.shape)
    dtype = check_dtype(found.pixels, found.name)
    check_not_empty(shape, found.name)
    letters, notes = resolve_axes(found.axes, shape, None if found.settled else axes)
    _check_planes(letters, shape)
    order = tuple(sorted(range(len(letters)), key=lambda i: AXES.index(letters[i])))
    label = found.path.name if found.path else found.name
    data, shortcut = with_shortcut(found.pixels, label, order)
    if not data.dtype.isnative:  # a dask array; others are in order by now
        data = data.astype(dtype.newbyteorder("="))
    said = (_length(found.spacing, found.axes, letters, axis) for axis in "ZYX")
    size = VoxelSize(*(n if n and 0 < n < math.inf else None for n in said))
    channels = shape[letters.index("C")] if "C" in letters else 1
    names = found.channel_names
    return Stack(
        data=data,
        axes="".join(letters[i] for i in order),
        voxel_size=size if voxel_size is None else parse_voxel_size(voxel_size),
        translation=_translation(found, letters),
        time_step_s=_time_step(found, letters),
        name=found.name,
        channel_names=names if len(names) == channels else (),
        path=found.path,
        notes=found.notes + notes,
        shortcut=shortcut,
    )


def check_dtype(pixels: Any, name: str) -> np.dtype[Any]:
    """Return the numpy dtype of pixels, refuse what is no grey value.

    Raises
    ------
    InputError
        For boolean, complex, object, text, time and structured pixels.
    """
    try:
        dtype: np.dtype[Any] = np.dtype(pixels.dtype)
    except TypeError as error:
        raise InputError(
            f"{name} has the pixel type {pixels.dtype!r}, which numpy does not know; "
            f"convert it to a numpy array first."
        ) from error
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        advice = {
            "b": "a mask has no noise to remove; open the grey-value image instead",
            "c": "denoise its real part or magnitude instead",
        }.get(dtype.kind, "convert it to float32 or an integer type first")
        raise InputError(
            f"{name} has the pixel type {dtype}, but integers and floats of up to 64 "
            f"bits are needed; {advice}."
        )
    return dtype


def check_not_empty(shape: tuple[int, ...], name: str) -> None:
    """Refuse an input without voxels or without planes.

    Raises
    ------
    InputError
        If an axis has length zero or there are fewer than two dimensions.
    """
    if len(shape) < 2:
        raise InputError(
            f"{name} has shape {shape}; a stack needs at least the axes Y and X."
        )
    if 0 in shape:
        raise InputError(
            f"{name} is empty: its shape is {shape}; give an input in which every "
            f"axis has at least one voxel."
        )
    if math.prod(shape) > _MOST_VOXELS:
        raise InputError(
            f"{name} says that its shape is {shape}, which no file can hold; what it "
            f"says of itself is damaged, so copy or export it anew."
        )


def parse_voxel_size(given: Sequence[float | None]) -> VoxelSize:
    """Check a voxel size given by the user.

    Raises
    ------
    InputError
        Unless it is three positive numbers (z, y, x) in µm; None stands for unknown.
    """
    try:
        sizes = tuple(None if n is None else float(n) for n in given)
    except (TypeError, ValueError):
        sizes = ()
    fits = all(n is None or (n > 0 and math.isfinite(n)) for n in sizes)
    if len(sizes) != 3 or not fits:
        raise InputError(
            f"voxel_size={given!r} cannot be used; give three positive numbers z y x "
            f"in µm, e.g. (0.29, 0.26, 0.26)."
        )
    return VoxelSize(*sizes)


def _check_planes(letters: str, shape: tuple[int, ...]) -> None:
    y, x = (shape[letters.index(axis)] for axis in "YX")
    if min(y, x) < MIN_SIDE:
        raise InputError(
            f"the planes of this stack are {y} x {x} pixels (shape {shape} read as "
            f"{letters}), but at least {MIN_SIDE} pixels a side are needed; if that "
            f"was read wrongly, pass axes= in the order of the input."
        )


def _length(
    values: Sequence[float | None], found: str, letters: str, axis: str
) -> float | None:
    """Return the entry of a spatial axis; that of a time axis is in seconds."""
    if not values or axis not in letters:
        return None
    index = letters.index(axis)
    return None if found[index : index + 1] == "T" else values[index]


def _translation(found: Found, letters: str) -> tuple[float, float, float]:
    z, y, x = (
        _length(found.origin, found.axes, letters, axis) or 0.0 for axis in "ZYX"
    )
    return z, y, x


def _time_step(found: Found, letters: str) -> float | None:
    index = letters.find("T")
    if index < 0 or not found.spacing or found.axes[index : index + 1] != "T":
        return None
    return found.spacing[index]
