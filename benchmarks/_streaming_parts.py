"""What the streaming benchmark streams: sources and networks that copy.

A network that only copies shows what reading and writing cost, and needs no GPU to be
fast. It goes through the very engine, reader and writer of the product.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from napari_blindspot.config.students import StudentSettings
from napari_blindspot.inference.answered import Answered
from napari_blindspot.inference.predictor_student import StudentPredictor
from napari_blindspot.model import Model
from napari_blindspot.networks.student import StudentNetwork
from napari_blindspot.noise.models import PoissonGaussian
from napari_blindspot.normalize import Normalization
from napari_blindspot.sample import nuclei_phantom
from napari_blindspot.streaming import work

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

CHUNK = (16, 256, 256)
"""Voxels of a chunk of every source."""

_EMPTY = 100  # grey values of chunks that are not there
_KINDS = 16  # different chunks
_LAYERS = 256  # of chunks that share a file: it can have a limited number of names


def make_source(path: Path, shape: Sequence[int], *, real: int = 1) -> Path:
    """Write a zarr store of noisy chunks that takes next to no room.

    Chunk files are names of a few files that are there once. All of them are decoded
    as if each were a file of its own.

    Parameters
    ----------
    path
        Folder to write.
    shape
        (Z, Y, X), multiples of the chunk.
    real
        One layer of chunks of so many is there; others are missing, which means a
        constant value.
    """
    noisy = nuclei_phantom(CHUNK).noisy
    array = zarr.create_array(
        path,
        shape=tuple(shape),
        chunks=CHUNK,
        dtype=noisy.dtype,
        fill_value=_EMPTY,
        dimension_names=("z", "y", "x"),
    )
    grid = [length // cut for length, cut in zip(shape, CHUNK, strict=True)]
    first: dict[tuple[int, int], Path] = {}
    for z, y, x in np.ndindex(*grid):
        if z % real:
            continue
        kind = (4 * (y % 4) + x % 4 + z) % _KINDS
        name = path / array.metadata.encode_chunk_key((z, y, x))
        known = first.get((kind, z // _LAYERS))
        if known is not None:
            name.parent.mkdir(parents=True, exist_ok=True)
            os.link(known, name)
            continue
        place = zip((z, y, x), CHUNK, strict=True)
        where = tuple(slice(i * n, (i + 1) * n) for i, n in place)
        array[where] = np.roll(noisy, kind * CHUNK[1] // _KINDS, axis=1)
        first[kind, z // _LAYERS] = name
    return path


def copying_model(context: int = 1, depth: int = 3) -> Model:
    """Return a model with the halo and the context of a student; nobody trained it."""
    network = StudentNetwork(StudentSettings(width=4, depth=depth, context=context))
    noise = PoissonGaussian.from_camera(1.0, 0.0, 2.0)
    return Model(network.eval(), (Normalization(100.0, 50.0),), (noise,), "z")


class Copying(StudentPredictor):
    """Gives back the planes it gets; it may take its time for that.

    Attributes
    ----------
    seconds_per_block, seconds_per_voxel
        How long it waits, without using a processor.
    """

    seconds_per_block = 0.0
    seconds_per_voxel = 0.0

    def batches(
        self,
        planes: NDArray[Any],
        groups: Sequence[Sequence[int]],
        *_: Any,
    ) -> Iterator[Answered]:
        """Return the planes to denoise as they are; as `Predictor.batches`."""
        centres = np.asarray(groups)[:, self.context]
        step = max(1, self.batch_pixels // (planes.shape[-2] * planes.shape[-1]))
        time.sleep(self.seconds_per_block + self.seconds_per_voxel * planes.size)
        for start in range(0, len(centres), step):
            part = slice(start, min(start + step, len(centres)))
            mean = planes[centres[part]].astype(np.float32)
            yield Answered(part, mean, np.zeros_like(mean))


def use_copies(per_block: float = 0.0, per_voxel: float = 0.0) -> None:
    """Have every run of this process copy instead of denoise.

    Parameters
    ----------
    per_block, per_voxel
        Seconds that a tile takes, and a voxel that was read.
    """
    chosen = {"seconds_per_block": per_block, "seconds_per_voxel": per_voxel}
    # Under the name by which the engine and its workers know what predicts.
    work.make_predictor = type("Copying", (Copying,), chosen)  # type: ignore[assignment]


def make_planes(path: Path, shape: tuple[int, int, int]) -> Path:
    """Write a zarr group whose array ``image`` (Z, Y, X) has chunks of single planes.

    CAREamics wants a group, and denoises plane by plane; such chunks suit it best.
    """
    noisy = nuclei_phantom((1, *shape[1:])).noisy[0]
    image = zarr.create_group(path).create_array(
        "image",
        shape=shape,
        chunks=(1, 512, 512),
        dtype=noisy.dtype,
        dimension_names=("z", "y", "x"),
    )
    for z in range(shape[0]):
        image[z] = np.roll(noisy, 32 * z, axis=0)
    return path
