"""A choice of the part of a layer that is used: all of it, or a drawn rectangle."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import ComboBox
from napari.layers import Shapes

from napari_blindspot._napari.preview_view import axes_of, level_shape
from napari_blindspot.errors import InputError

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image
    from numpy.typing import NDArray

WHOLE = "whole stack"
NEAR = 1e-3  # voxels: what coordinates lose on their way between layers
TOOLTIP = (
    "Learn from, and denoise, the part of the stack inside a rectangle of this Shapes "
    "layer alone: the selected one, or the only one. Along the sliders all of the "
    "stack is used."
)


class RegionEdit(ComboBox):
    """Widget that offers the Shapes layers of a viewer; hidden where there is none.

    Parameters
    ----------
    viewer
        The viewer.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        super().__init__(
            choices=self._offered, name="region", label="Region", tooltip=TOOLTIP
        )
        self._show_asked()

    def reset_choices(self, *_: Any) -> None:
        """Offer the layers that are there now; napari calls this when they change."""
        super().reset_choices()
        self._show_asked()

    def region_of(self, layer: Image, axes: str | None = None) -> str | None:
        """Return the region of a layer that is chosen, None for all of it.

        Parameters
        ----------
        layer
            The layer that is denoised.
        axes
            Its axes as the user gave them.

        Raises
        ------
        InputError
            If no rectangle is meant, or it lies outside of the layer.
        """
        shapes = self.value
        if not isinstance(shapes, Shapes):
            return None
        corners = _chosen_shape(shapes)
        return region_in(shapes, corners, layer, axes_of(layer, axes))

    def _offered(self, _: Any) -> list[tuple[str, Any]]:
        layers = [one for one in self._viewer.layers if isinstance(one, Shapes)]
        return [(WHOLE, WHOLE), *((f"in {one.name}", one) for one in layers)]

    def _show_asked(self) -> None:
        self.visible = len(self.choices) > 1


def region_in(shapes: Shapes, corners: NDArray[Any], layer: Image, letters: str) -> str:
    """Return the part of a layer whose voxels have their centre in a drawn shape.

    Parameters
    ----------
    shapes
        Where it was drawn.
    corners
        Its corners in the coordinates of that layer, (n, dimensions).
    layer, letters
        The image layer and the letters of its dimensions.

    Returns
    -------
    str
        The box around the shape, such as ``"y=8:56,x=16:64"``; an axis along which
        nothing was drawn is not named.

    Raises
    ------
    InputError
        If it lies outside of the layer.
    """
    drawn = np.array([shapes.data_to_world(corner) for corner in corners])
    missing = layer.ndim - drawn.shape[1]
    if missing > 0:  # napari shows fewer dimensions as the last ones
        here = np.asarray(layer.data_to_world([0] * layer.ndim))[:missing]
        drawn = np.column_stack([np.tile(here, (len(drawn), 1)), drawn])
    places = np.array([layer.world_to_data(one[-layer.ndim :]) for one in drawn])
    parts = []
    for axis, letter in enumerate(letters):
        low, high = float(places[:, axis].min()), float(places[:, axis].max())
        if high - low < 0.5:  # voxels: a position on a slider, not an extent
            continue
        length = level_shape(layer)[axis]
        start, stop = (
            max(0, math.ceil(low - NEAR)),
            min(length, math.floor(high + NEAR) + 1),
        )
        if start >= stop:
            raise InputError(
                f"the rectangle in {shapes.name!r} lies outside of {layer.name!r} "
                f"along {letter.lower()}; move it onto the layer, or choose the whole "
                f"stack as region."
            )
        parts.append(f"{letter.lower()}={start}:{stop}")
    if not parts:
        raise InputError(
            f"the rectangle in {shapes.name!r} is smaller than a voxel of "
            f"{layer.name!r}; draw a larger one."
        )
    return ",".join(parts)


def _chosen_shape(shapes: Shapes) -> NDArray[Any]:
    """Return the corners of the selected shape, or of the only one."""
    chosen = sorted(shapes.selected_data) or list(range(len(shapes.data)))
    if len(chosen) != 1:
        raise InputError(
            f"the layer {shapes.name!r} holds {len(shapes.data)} shapes, of which "
            f"{len(shapes.selected_data)} are selected; draw or select one rectangle, "
            f"or choose the whole stack as region."
        )
    return np.asarray(shapes.data[chosen[0]])
