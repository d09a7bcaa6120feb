"""Layers in and out: where a source lies and how it looks, and its result layers.

Nothing here needs Qt, so it serves the panel, the commands and scripts alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.transforms import Affine

from napari_blindspot._napari.time_left import duration
from napari_blindspot.errors import InputError
from napari_blindspot.io import open_stack
from napari_blindspot.io.arrays import find_in_layer
from napari_blindspot.io.axes import resolve_axes
from napari_blindspot.io.region import parse_region
from napari_blindspot.stack import AXES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_blindspot.api import Result
    from napari_blindspot.config import DenoiseSettings

LayerData = tuple[Any, dict[str, Any], str]

GEOMETRY = (
    "scale", "translate", "rotate", "shear", "affine", "units", "axis_labels",
)  # fmt: skip
LOOKS = (
    "colormap", "contrast_limits", "gamma", "blending", "opacity", "rendering",
    "depiction", "interpolation2d", "interpolation3d", "attenuation", "iso_threshold",
    "projection_mode",
)  # fmt: skip

METADATA_KEY = "napari_blindspot"
"""Where a result layer's metadata hold its provenance."""

MEMORY_SHARE = 0.25
"""Largest part of the available memory that a result may fill."""


@dataclass(frozen=True, slots=True)
class Source:
    """What is known of a source layer before the run.

    It is taken down at the start because the layer may be gone at the end.

    Parameters
    ----------
    name
        Name of the layer.
    shape
        Shape of what is denoised, of the finest level if it is multiscale.
    itemsize
        Bytes per voxel of its data.
    order
        For each dimension of the layer, its place in the order TCZYX.
    geometry, looks
        Keyword arguments of a layer that lies where this part lies and looks alike.
    """

    name: str
    shape: tuple[int, ...]
    itemsize: int
    order: tuple[int, ...]
    geometry: dict[str, Any]
    looks: dict[str, Any]


def source_of(
    layer: Image, axes: str | None = None, region: str | None = None
) -> Source:
    """Take down where an image layer lies and how it looks.

    Parameters
    ----------
    layer
        The layer to denoise.
    axes
        Axes of its data as the user gave them; by default its axis labels count, or
        what the core will guess without them.
    region
        The part of it that is denoised, as of `open_stack`; by default all.

    Raises
    ------
    InputError
        If the layer shows colours, its axes cannot be known, or it has no such part.
    """
    _, state, _ = layer.as_layer_data_tuple()
    found = find_in_layer(layer)
    letters, _ = resolve_axes(found.axes, found.pixels.shape, axes)
    whole = zip(letters, found.pixels.shape, strict=True)
    box = {axis: slice(0, int(n)) for axis, n in whole}
    if region is not None:
        box |= parse_region(region, open_stack(layer, axes))
    return Source(
        name=layer.name,
        shape=tuple(part.stop - part.start for part in box.values()),
        itemsize=np.dtype(layer.dtype).itemsize,
        order=_canonical_places(letters),
        geometry=geometry_from(layer, [part.start for part in box.values()]),
        looks={key: state[key] for key in LOOKS if key in state},
    )


def geometry_from(layer: Image, start: Sequence[int]) -> dict[str, Any]:
    """Return keyword arguments of a layer that lies on a part of another one.

    Parameters
    ----------
    layer
        The other layer.
    start
        Where the part begins, in voxels, one number per dimension.
    """
    to_physical = Affine(
        scale=layer.scale,
        translate=layer.translate,
        rotate=layer.rotate,
        shear=layer.shear,
        ndim=layer.ndim,
    )
    geometry = {name: getattr(layer, name) for name in GEOMETRY}
    return {**geometry, "translate": to_physical(start)}


def channel_count(layer: Image, axes: str | None = None) -> int:
    """Return how many channels a layer holds; 1 where its axes cannot be known.

    Parameters
    ----------
    layer, axes
        As for `source_of`.
    """
    try:
        found = find_in_layer(layer)
        shape = found.pixels.shape
        letters, _ = resolve_axes(found.axes, shape, axes)
    except InputError:  # the run will tell
        return 1
    return int(shape[letters.index("C")]) if "C" in letters else 1


def _canonical_places(axes: str) -> tuple[int, ...]:
    """Return where each dimension stands once they are in the order TCZYX."""
    canonical = sorted(axes, key=AXES.index)
    return tuple(canonical.index(axis) for axis in axes)


def check_memory(source: Source, settings: DenoiseSettings, available: int) -> None:
    """Refuse a result in memory that would crowd the machine.

    Parameters
    ----------
    source
        The layer to denoise.
    settings
        Say whether there is an uncertainty and which dtype the image has.
    available
        Memory that is free for use, in bytes.

    Raises
    ------
    InputError
        If the result would fill more than a quarter of it.
    """
    image_bytes = source.itemsize if settings.dtype == "same" else 4
    voxel_bytes = image_bytes + (4 if settings.uncertainty else 0)
    needed = int(np.prod(source.shape, dtype=np.int64)) * voxel_bytes
    if needed > MEMORY_SHARE * available:
        raise InputError(
            f"out is empty, but the denoised {source.name!r} takes "
            f"{needed / 2**30:.1f} GiB, more than a quarter of the "
            f"{available / 2**30:.1f} GiB of free memory; name an output file ending "
            f"in .ome.zarr, to which the result is written block by block."
        )


def result_layers(result: Result, source: Source) -> list[LayerData]:
    """Describe the layers of a result, the uncertainty first so that it lies below.

    Parameters
    ----------
    result
        Result whose arrays have the source's axes in the order TCZYX.
    source
        The layer that was denoised.

    Returns
    -------
    list of LayerData
        Data, keyword arguments and layer type, for `add_layers`.
    """
    metadata = {METADATA_KEY: describe(result, source.name)}
    described: list[LayerData] = []
    if result.uncertainty is not None:
        look = {
            "colormap": "magma",
            "contrast_limits": _robust_limits(result.uncertainty),
            "visible": False,
        }
        described.append(
            _layer(result.uncertainty, "uncertainty", source, look, metadata)
        )
    described.append(_layer(result.image, "denoised", source, source.looks, metadata))
    return described


def describe(result: Result, source_name: str) -> dict[str, Any]:
    """Return where a result comes from, as plain values for a layer's metadata."""
    return {
        "source": source_name,
        "path": None if result.path is None else str(result.path),
        "noise": [model.as_dict() for model in result.noise],
        "metrics": dict(result.metrics),
        "provenance": dict(result.provenance),
    }


def _layer(
    data: Any,
    suffix: str,
    source: Source,
    look: dict[str, Any],
    metadata: dict[str, Any],
) -> LayerData:
    keywords = {"name": f"{source.name} {suffix}", "metadata": metadata, **look}
    if data.ndim == len(source.order):
        data = data.transpose(source.order)
    if data.shape == source.shape:
        keywords.update(source.geometry)
    if not isinstance(data, np.ndarray):
        # The cache would keep showing the old pixels once a file is overwritten.
        keywords["cache"] = False
    return data, keywords, "image"


def _robust_limits(data: Any) -> tuple[float, float]:
    """Return limits from 0 to the brightest ordinary voxel of the middle plane."""
    middle = tuple(n // 2 for n in data.shape[:-2])
    plane = np.asarray(data[middle])
    finite = plane[np.isfinite(plane)]
    top = float(np.percentile(finite, 99.8)) if finite.size else 0.0
    return 0.0, top if top > 0 else 1.0


def add_layers(viewer: ViewerModel, described: list[LayerData]) -> list[Image]:
    """Add result layers to a viewer; only the GUI thread may do so.

    A name that is taken gets a number; no existing layer is replaced.
    """
    return [viewer.add_image(data, **keywords) for data, keywords, _ in described]


def verdict(result: Result) -> str:
    """Return how good the result is expected to be and what it took, in one line."""
    metrics = result.metrics
    parts = []
    if metrics.get("expected_psnr") is not None:
        parts.append(f"Expected PSNR {metrics['expected_psnr']:.1f} dB")
    for key, title in (("seconds_train", "trained"), ("seconds_predict", "denoised")):
        if metrics.get(key):
            parts.append(f"{title} in {duration(metrics[key])}")
    return ", ".join(parts)


def noise_verdict(result: Result) -> tuple[bool, str]:
    """Return whether the noise model fits, and what the check after training said.

    Returns
    -------
    bool
        Whether it fits in every channel; True where nothing was checked.
    str
        One sentence a line; with several channels they are numbered.
    """
    checks = result.metrics.get("noise_check") or []
    lines = [one["sentence"][:1].upper() + one["sentence"][1:] for one in checks]
    if len(lines) > 1:
        lines = [f"Channel {index}: {line}" for index, line in enumerate(lines)]
    return all(one["fits"] for one in checks), "\n".join(lines)


def bare_layer(layer: Any) -> Any:
    """Return a layer itself: plugins get it wrapped, and `is` sees the wrapping."""
    return getattr(layer, "__wrapped__", layer)
