"""Vendor formats through bioio's readers, an optional dependency: plane by plane."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.errors import InputError, reason
from napari_blindspot.io.found import UNKNOWN, Found

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

READERS = {".czi": "bioio_czi", ".lif": "bioio_lif", ".nd2": "bioio_nd2"}
BIOIO_SUFFIXES = tuple(READERS)
EXTRA = 'pip install "napari-blindspot[formats]"'

_BY_PLANE: dict[str, dict[str, Any]] = {
    ".czi": {"chunk_dims": ["Y", "X"]},  # by itself it decodes whole volumes
    ".lif": {"chunk_dims": ["Y", "X"]},
}


@dataclass(frozen=True, slots=True, eq=False)
class Planes:
    """The lazy array of a reader behind one door: it reads what is asked for.

    Parameters
    ----------
    data
        Dask array, one chunk per plane.
    """

    data: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels per dimension."""
        return tuple(int(n) for n in self.data.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Pixel type."""
        dtype: np.dtype[Any] = np.dtype(self.data.dtype)
        return dtype

    @property
    def chunks(self) -> tuple[int, ...]:
        """The chunks of the reader."""
        return tuple(int(max(sizes)) for sizes in self.data.chunks)

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[Any]:
        # In this thread: whoever asks is in a pool of dask's already.
        return np.asarray(self.data[index].compute(scheduler="synchronous"))


def find_in_bioio(path: Path, name: str, scene: int | str | None = None) -> Found:
    """Describe one image of a vendor file; no pixel is read.

    bioio always gives the dimensions TCZYX; those of T, C and Z that have length one
    are left out.

    Parameters
    ----------
    path, name
        The file, and what it is called.
    scene
        Index or name of the image, where the file holds several; default: the first.

    Raises
    ------
    InputError
        If the reader is not installed, cannot read the file, or there is no such
        image.
    """
    bioio, reader = _modules(path)
    try:
        with warnings.catch_warnings():  # of libraries, about metadata
            warnings.simplefilter("ignore")
            options = _BY_PLANE.get(path.suffix.lower(), {})
            image = bioio.BioImage(path, reader=reader.Reader, **options)
            scenes = [str(one) for one in image.scenes]
            chosen = choose_scene(scenes, scene, path.name)
            image.set_scene(chosen)
            return _described(image, path, name, _scene_notes(scenes, chosen, scene))
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{path.name} cannot be read as {path.suffix.lower()} ({reason(error)}); "
            f"it may be damaged, so copy it again, or export the stack as OME-TIFF."
        ) from error


def choose_scene(scenes: list[str], wanted: int | str | None, file: str) -> int:
    """Return the index of an image in a file that holds several.

    Raises
    ------
    InputError
        If there is no such image.
    """
    if wanted is None:
        return 0
    if wanted in scenes:
        return scenes.index(str(wanted))
    try:
        index = int(wanted)
    except ValueError:
        index = -1
    if 0 <= index < len(scenes):
        return index
    raise InputError(
        f"scene={wanted!r} is not in {file}; give an index from 0 to "
        f"{len(scenes) - 1} or one of {scenes}."
    )


def _modules(path: Path) -> tuple[Any, Any]:
    """Import bioio and its reader for a file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return (
                importlib.import_module("bioio"),
                importlib.import_module(READERS[path.suffix.lower()]),
            )
    except ImportError as error:
        raise InputError(
            f"{path.name} needs an extra reader for {path.suffix.lower()}; install it "
            f"with {EXTRA}, or export the stack as OME-TIFF."
        ) from error


def _described(image: Any, path: Path, name: str, notes: tuple[str, ...]) -> Found:
    data = image.xarray_dask_data
    letters = [str(dim) for dim in data.dims]
    kept = [
        axis
        for axis, letter in enumerate(letters)
        if letter not in "TCZ" or data.shape[axis] > 1
    ]
    index = tuple(slice(None) if axis in kept else 0 for axis in range(data.ndim))
    spacing = _spacing(image)
    named = tuple(str(channel) for channel in image.channel_names or ())
    return Found(
        Planes(data.data[index]),
        axes="".join(_letter(letters[axis]) for axis in kept),
        spacing=tuple(spacing.get(letters[axis]) for axis in kept),
        channel_names=named,
        name=name,
        path=path,
        notes=notes,
    )


def _letter(dim: str) -> str:
    return dim if dim in ("T", "C", "Z", "Y", "X", "S") else UNKNOWN


def _spacing(image: Any) -> dict[str, float | None]:
    """Return µm between voxels and seconds between time points, as far as known."""
    sizes = image.physical_pixel_sizes
    step = image.time_interval
    seconds = step.total_seconds() if isinstance(step, timedelta) else None
    found = {"T": seconds, "Z": sizes.Z, "Y": sizes.Y, "X": sizes.X}
    return {
        axis: float(value) if value is not None and 0 < value < np.inf else None
        for axis, value in found.items()
    }


def _scene_notes(
    scenes: list[str], chosen: int, wanted: int | str | None
) -> tuple[str, ...]:
    if len(scenes) < 2 or wanted is not None:
        return ()
    others = ", ".join(repr(one) for one in scenes if one != scenes[chosen])
    return (
        f"the file holds {len(scenes)} images and {scenes[chosen]!r} was taken; choose "
        f"another one by scene= (--scene): {others}.",
    )
