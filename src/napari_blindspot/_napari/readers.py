"""Read stacks as lazy layers that keep voxel size, units and axis names. No Qt.

napari opens OME-Zarr and OME-TIFF by itself but drops the voxel size. This reader
offers itself for these two families, whose very point is that metadata, and for the
formats of microscope makers, which napari does not open. It leaves every other file to
napari: a second reader for a common suffix would make napari ask about each such file,
and ``viewer.open`` fail without ``plugin=``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_blindspot._napari.layers import LayerData
    from napari_blindspot.stack import Stack

Paths = str | list[str]


def get_reader(
    path: Paths | Sequence[str],
) -> Callable[[Paths], list[LayerData]] | None:
    """Return the reader for one path; several paths at once are napari's own matter."""
    return read if isinstance(path, str) or len(path) == 1 else None


def read(path: Paths) -> list[LayerData]:
    """Open a stack as lazy image layers, one per channel.

    Parameters
    ----------
    path
        Anything that `open_stack` opens: OME-Zarr, zarr, TIFF, formats of makers.

    Returns
    -------
    list of LayerData
        One entry; napari splits it into one layer per channel.

    Raises
    ------
    InputError
        If the file cannot be read as a stack.
    """
    from napari_blindspot.io import open_stack

    stack = open_stack(path if isinstance(path, str) else path[0])
    return [(stack.data, layer_keywords(stack), "image")]


def layer_keywords(stack: Stack) -> dict[str, Any]:
    """Return the keyword arguments of image layers that show a stack.

    Parameters
    ----------
    stack
        Any stack. A channel axis is split into layers.

    Returns
    -------
    dict
        Keyword arguments of ``viewer.add_image``.
    """
    shown = stack.axes.replace("C", "")
    voxel = dict(zip("ZYX", stack.voxel_size, strict=True))
    place = dict(zip("ZYX", stack.translation, strict=True))
    units = {axis: "um" if size else "pixel" for axis, size in voxel.items()}
    keywords: dict[str, Any] = {
        "name": stack.name,
        "scale": tuple(
            ({**voxel, "T": stack.time_step_s}[axis] or 1.0) for axis in shown
        ),
        "translate": tuple({**place, "T": 0.0}[axis] for axis in shown),
        "units": tuple(
            {**units, "T": "s" if stack.time_step_s else "pixel"}[axis]
            for axis in shown
        ),
        "axis_labels": tuple(shown.lower()),
        "metadata": {"napari_blindspot": {"notes": list(stack.notes)}},
    }
    if "C" in stack.axes:
        keywords["channel_axis"] = stack.axes.index("C")
        keywords["name"] = [
            f"{stack.name} {channel}" for channel in _channel_names(stack)
        ]
    return keywords


def _channel_names(stack: Stack) -> tuple[str, ...]:
    return stack.channel_names or tuple(
        f"channel {index}" for index in range(stack.sizes["C"])
    )
