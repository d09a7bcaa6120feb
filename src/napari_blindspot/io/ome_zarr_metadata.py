"""The OME-Zarr 0.5 description of an output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindspot.stack import Stack

_COLOURS = ("00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF")


def ome_attributes(
    stack: Stack,
    name: str,
    factors: Sequence[tuple[int, ...]],
    windows: Sequence[tuple[float, float]],
) -> dict[str, Any]:
    """Describe an image with its pyramid.

    Parameters
    ----------
    stack
        The input: axes, voxel size, position, time step and channel names.
    name
        Of the image.
    factors
        Per level, how many voxels of level 0 one voxel spans along each axis; all
        ones for level 0.
    windows
        Least and greatest value of every channel, in data units.

    Returns
    -------
    dict
        The value of the attribute ``ome``.
    """
    from yaozarrs import v05

    image = v05.Image(
        multiscales=[
            v05.Multiscale(
                name=name,
                axes=[_axis(axis, stack) for axis in stack.axes],
                datasets=[
                    v05.Dataset(
                        path=str(level),
                        coordinateTransformations=_transforms(stack, factor),
                    )
                    for level, factor in enumerate(factors)
                ],
                type="local_mean",
            )
        ],
        omero=_omero(stack, windows),
    )
    attributes: dict[str, Any] = image.model_dump(mode="json", exclude_none=True)
    return attributes


def _axis(axis: str, stack: Stack) -> Any:
    from yaozarrs import v05

    if axis == "T":
        unit = None if stack.time_step_s is None else "second"
        return v05.TimeAxis(name="t", unit=unit)
    if axis == "C":
        return v05.ChannelAxis(name="c")
    known = stack.voxel_size["ZYX".index(axis)] is not None
    return v05.SpaceAxis(name=axis.lower(), unit="micrometer" if known else None)


def _transforms(stack: Stack, factor: Sequence[int]) -> list[Any]:
    """Scale, and translation to the centre of the first voxel of the level."""
    from yaozarrs import v05

    steps = dict(zip("ZYX", stack.voxel_size, strict=True)) | {"T": stack.time_step_s}
    starts = dict(zip("ZYX", stack.translation, strict=True))
    scale, shift = [], []
    for axis, f in zip(stack.axes, factor, strict=True):
        step = steps.get(axis) or 1.0
        scale.append(step * f)
        shift.append(starts.get(axis, 0.0) + step * (f - 1) / 2)
    return [
        v05.ScaleTransformation(scale=scale),
        v05.TranslationTransformation(translation=shift),
    ]


def _omero(stack: Stack, windows: Sequence[tuple[float, float]]) -> Any:
    from yaozarrs import v05

    names = stack.channel_names or (None,) * len(windows)
    colours = ("FFFFFF",) if len(windows) == 1 else _COLOURS
    channels = []
    for index, (low, high) in enumerate(windows):
        window = v05.OmeroWindow(min=low, start=low, end=high, max=high)
        channels.append(
            v05.OmeroChannel(
                window=window,
                label=names[index],
                color=colours[index % len(colours)],
                active=True,
            )
        )
    return v05.Omero(channels=channels)
