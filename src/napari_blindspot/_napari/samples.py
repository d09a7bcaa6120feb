"""Sample data for File > Open Sample. No Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari_blindspot._napari.layers import LayerData
    from napari_blindspot.stack import VoxelSize


def nuclei(shape: tuple[int, int, int] = (32, 256, 256)) -> list[LayerData]:
    """Generate noisy nuclei and the truth behind them, as two layers.

    Parameters
    ----------
    shape
        Planes, rows, columns, as in
        ``viewer.open_sample("napari-blindspot", "nuclei", shape=(8, 64, 64))``.

    Returns
    -------
    list of LayerData
        The hidden truth (float32) and above it the noisy stack (uint16).
    """
    from napari_blindspot.sample import nuclei_phantom

    phantom = nuclei_phantom(shape)
    camera = {
        "gain": phantom.gain,
        "offset": phantom.offset,
        "read_noise": phantom.read_noise,
    }
    look = _placed(phantom.voxel_size)
    limits = tuple(np.percentile(phantom.truth, (0.1, 99.9)).tolist())
    truth = {**look, "name": "nuclei truth", "contrast_limits": limits}
    noisy = {**look, "name": "nuclei noisy", "contrast_limits": limits}
    return [
        (phantom.truth, {**truth, "visible": False}, "image"),
        (phantom.noisy, {**noisy, "metadata": {"camera": camera}}, "image"),
    ]


def cells3d() -> list[LayerData]:
    """Open the nuclei of scikit-image's `cells3d`, downloaded on first use.

    Raises
    ------
    RunError
        If this machine is offline and the file is not in the cache.
    """
    from napari_blindspot.sample import cells3d_nuclei

    pixels, voxel_size = cells3d_nuclei()
    return [(pixels, {**_placed(voxel_size), "name": "cells3d nuclei"}, "image")]


def _placed(voxel_size: VoxelSize) -> dict[str, Any]:
    return {
        "scale": tuple(voxel_size),
        "units": ("um", "um", "um"),
        "axis_labels": ("z", "y", "x"),
    }
