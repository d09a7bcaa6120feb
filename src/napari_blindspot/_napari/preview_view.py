"""Which part of which plane of a layer is looked at, and where a part of it lies.

Nothing here needs Qt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot._napari.layers import geometry_from
from napari_blindspot.inference.places import Place
from napari_blindspot.io.arrays import find_in_layer
from napari_blindspot.io.axes import resolve_axes

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image
    from numpy.typing import NDArray

LARGEST = 1024 * 1024
"""Pixels of a plane that are denoised; of a larger one only what is in view."""

SIDE = 1024
SNAP = 64  # pixels, so that a small move of the view asks for nothing new


def axes_of(layer: Image, axes: str | None = None) -> str:
    """Return the letters of a layer's dimensions, in their order.

    Parameters
    ----------
    layer
        The layer.
    axes
        As the user gave them; by default what the core reads without them.

    Raises
    ------
    InputError
        If the layer shows colours or its axes cannot be known.
    """
    found = find_in_layer(layer)
    return resolve_axes(found.axes, found.pixels.shape, axes)[0]


def place_in_view(viewer: ViewerModel, layer: Image, letters: str) -> Place | None:
    """Return the part of the current plane of a layer that is looked at.

    Parameters
    ----------
    viewer
        Shows the layer.
    layer, letters
        The layer and the letters of its dimensions.

    Returns
    -------
    Place or None
        The whole plane if it has at most `LARGEST` pixels; else what is in view, cut
        to its middle if that is still larger. None where the viewer shows no plane
        of Y and X, or none that the layer has.
    """
    dims = viewer.dims
    shown = [axis - (dims.ndim - layer.ndim) for axis in dims.displayed]
    if dims.ndisplay != 2 or {letters[i] for i in shown if i >= 0} != {"Y", "X"}:
        return None
    found = {"C": 0, "T": 0, "Z": 0}
    shape = level_shape(layer)
    for axis, at in enumerate(layer.world_to_data(dims.point)):
        if axis in shown:
            continue
        index = round(float(at))
        if not 0 <= index < shape[axis]:
            return None
        found[letters[axis]] = index
    y, x = _seen(layer, letters)
    if _pixels(y, x) > LARGEST:
        y, x = _middle(viewer, layer, letters, y, x)
    return Place(found["C"], found["T"], found["Z"], y, x)


def level_shape(layer: Image) -> tuple[int, ...]:
    """Return the shape of a layer's finest data."""
    finest = layer.data[0] if layer.multiscale else layer.data
    return tuple(int(n) for n in finest.shape)


def is_cut(layer: Image, letters: str, place: Place) -> bool:
    """Return whether a place is less than what is in view of its layer."""
    return _pixels(place.y, place.x) < _pixels(*_seen(layer, letters))


def lying_at(layer: Image, letters: str, place: Place) -> dict[str, Any]:
    """Return keyword arguments of a layer that lies where a part of another one does.

    Parameters
    ----------
    layer, letters
        The other layer and the letters of its dimensions.
    place
        The part of it.
    """
    starts = {
        "C": place.channel,
        "T": place.t,
        "Z": place.z,
        "Y": place.y.start,
        "X": place.x.start,
    }
    return geometry_from(layer, [starts[axis] for axis in letters])


def with_axes(plane: NDArray[np.float32], letters: str) -> NDArray[np.float32]:
    """Return a view of a plane (Y, X) with the dimensions of its layer."""
    if letters.index("X") < letters.index("Y"):
        plane = plane.T
    others = tuple(i for i, axis in enumerate(letters) if axis not in "YX")
    return np.expand_dims(plane, others)


def _seen(layer: Image, letters: str) -> tuple[slice, slice]:
    """Return which rows and columns are in view; of a small plane all of them."""
    shape = level_shape(layer)
    axes = [letters.index(axis) for axis in "YX"]
    y, x = (slice(0, shape[axis]) for axis in axes)
    if _pixels(y, x) > LARGEST:
        y, x = (_in_view(layer, axis) for axis in axes)
    return y, x


def _in_view(layer: Image, axis: int) -> slice:
    """Return what is in view along an axis of the finest data."""
    shape = level_shape(layer)
    factor = 1.0
    if layer.multiscale:
        factor = float(layer.downsample_factors[layer.data_level][axis])
    low, high = (float(corner[axis]) * factor for corner in layer.corner_pixels)
    start = max(int(low) // SNAP * SNAP, 0)
    stop = min(-(-int(high + factor) // SNAP) * SNAP, shape[axis])
    if stop - start < 2:  # nothing was drawn yet
        return slice(0, shape[axis])
    return slice(start, stop)


def _middle(
    viewer: ViewerModel, layer: Image, letters: str, y: slice, x: slice
) -> tuple[slice, slice]:
    """Cut a part of a plane to what lies around the middle of the view."""
    camera = getattr(viewer, "scene", viewer).camera
    world = np.array(viewer.dims.point)
    world[list(viewer.dims.displayed)] = camera.center[-2:]
    at = layer.world_to_data(world)
    height = min(y.stop - y.start, max(SIDE, LARGEST // (x.stop - x.start)))
    width = min(x.stop - x.start, LARGEST // height)
    return (
        _around(float(at[letters.index("Y")]), height, y),
        _around(float(at[letters.index("X")]), width, x),
    )


def _around(centre: float, length: int, within: slice) -> slice:
    start = round((centre - length / 2) / SNAP) * SNAP
    start = min(max(start, within.start), within.stop - length)
    return slice(start, start + length)


def _pixels(y: slice, x: slice) -> int:
    return int(y.stop - y.start) * int(x.stop - x.start)
