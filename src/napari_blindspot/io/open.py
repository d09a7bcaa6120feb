"""`open_stack`: whatever the user has, as one lazy stack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_blindspot.errors import InputError
from napari_blindspot.io.arrays import (
    find_in_array,
    find_in_layer,
    is_array_like,
    is_image_layer,
)
from napari_blindspot.io.assemble import build_stack, parse_voxel_size
from napari_blindspot.io.files import find_in_files, find_in_path
from napari_blindspot.io.found import Found
from napari_blindspot.io.region import parse_region
from napari_blindspot.io.zarr_source import find_in_zarr, is_zarr
from napari_blindspot.location import Address
from napari_blindspot.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def open_stack(
    source: Any,
    axes: str | None = None,
    voxel_size: Sequence[float | None] | None = None,
    channel: int | str | None = None,
    region: str | Mapping[str, slice | int] | None = None,
    scene: int | str | None = None,
) -> Stack:
    """Open anything that holds a stack; no pixel is read.

    Parameters
    ----------
    source
        A path of a TIFF file (plain, ImageJ, OME, BigTIFF, compressed, tiled,
        pyramidal) or of a Zarr or OME-Zarr folder; the address of a Zarr, such as
        ``"s3://bucket/name.ome.zarr"``; a pattern such as ``"plane_*.tif"`` or a list
        of paths of equal files, which become one stack along Z, or T if they have Z; a
        numpy, dask or zarr array, a zarr group, or any
        array-like with shape, dtype and ``[...]``; a napari Image layer; a `Stack`.
    axes
        Letters out of TCZYX, one per dimension in the order of the *input*, e.g.
        ``"TYX"`` for a movie. Default: what the source says, else a guess that is
        told in `Stack.notes`.
    voxel_size
        (z, y, x) in µm, in place of what the source says.
    channel
        Use this channel alone, by index or name.
    region
        Use this region alone, e.g. ``"z=10:40,y=0:512"``, ``"10:40,0:512,0:512"``
        along z, y and x, or ``{"z": slice(10, 40)}``; counted within the chosen
        channel.
    scene
        Of a file that holds several images, this one, by index or name.

    Returns
    -------
    Stack
        Lazy pixels in the order of TCZYX, dtype and data units of the source.

    Raises
    ------
    InputError
        If the source cannot be read or an argument does not fit it.
    RunError
        If an address cannot be reached.
    """
    stack = _open_whole(source, axes, voxel_size, scene)
    if channel is not None:
        stack = stack.select_channel(channel)
    if region is not None:
        stack = stack.crop(parse_region(region, stack))
    return stack


def _open_whole(
    source: Any,
    axes: str | None,
    voxel_size: Sequence[float | None] | None,
    scene: int | str | None,
) -> Stack:
    if isinstance(source, Stack):
        return _override(source, axes, voxel_size)
    return build_stack(_find(source, axes, scene), axes, voxel_size)


def _find(source: Any, axes: str | None, scene: int | str | None) -> Found:
    if isinstance(source, (str, Path, Address)):
        return find_in_path(source, axes, scene)
    if _is_path_list(source):
        return find_in_files(source, axes, scene)
    if scene is not None:
        raise InputError(
            f"scene={scene!r} is about files that hold several images, but the source "
            f"is of type {type(source).__name__}; leave it out."
        )
    if is_zarr(source):
        return find_in_zarr(source)
    if is_array_like(source):
        return find_in_array(source)
    if is_image_layer(source):
        return find_in_layer(source)
    raise InputError(
        f"source of type {type(source).__name__} cannot be opened; give a path, a list "
        f"of paths, a numpy, dask or zarr array, or a napari Image layer."
    )


def _is_path_list(source: object) -> bool:
    return isinstance(source, (list, tuple)) and all(
        isinstance(item, (str, Path, Address)) for item in source
    )


def _override(
    stack: Stack, axes: str | None, voxel_size: Sequence[float | None] | None
) -> Stack:
    if axes is not None and axes.upper() != stack.axes:
        found = Found(stack.data, name=stack.name, path=stack.path, notes=stack.notes)
        relabelled = build_stack(found, axes, stack.voxel_size)
        names = stack.channel_names
        stack = replace(
            relabelled,
            translation=stack.translation,
            time_step_s=stack.time_step_s,
            channel_names=names if len(names) == relabelled.sizes["C"] else (),
        )
    if voxel_size is not None:
        stack = replace(stack, voxel_size=parse_voxel_size(voxel_size))
    return stack
