"""Vendor formats through bioio, an optional dependency."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from napari_blindspot.errors import InputError
from napari_blindspot.io.found import Found

if TYPE_CHECKING:
    from pathlib import Path

BIOIO_SUFFIXES = (".czi", ".lif", ".nd2", ".ims")


def find_in_bioio(path: Path, name: str) -> Found:
    """Describe the first scene of a vendor file, lazily.

    bioio always gives five dimensions TCZYX; those of length one are left out.

    Raises
    ------
    InputError
        If bioio or its reader is not installed, or cannot read the file.
    """
    try:
        bioio = importlib.import_module("bioio")
    except ImportError as error:
        raise InputError(
            f"{path.name} needs an extra reader for {path.suffix}; install it with "
            f'pip install "napari-blindspot[formats]", or export the stack as OME-TIFF.'
        ) from error
    try:
        image = bioio.BioImage(path)
        data = image.dask_image_data
        sizes = image.physical_pixel_sizes
        names = tuple(str(channel) for channel in image.channel_names or ())
    except Exception as error:
        raise InputError(
            f"{path.name} cannot be read by bioio ({error}); install the readers with "
            f'pip install "napari-blindspot[formats]", or export the stack as OME-TIFF.'
        ) from error
    keep = [i for i in range(5) if i >= 3 or data.shape[i] > 1]
    spacing = (None, None, sizes.Z, sizes.Y, sizes.X)
    return Found(
        data[tuple(slice(None) if i in keep else 0 for i in range(5))],
        axes="".join("TCZYX"[i] for i in keep),
        spacing=tuple(spacing[i] for i in keep),
        channel_names=names,
        name=name,
        path=path,
    )
