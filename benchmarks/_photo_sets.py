"""Photographs with the noise of real cameras, read where the user has them.

The layouts are those in which the sets are published, anywhere below a folder of the
name of the set:

``SIDD``    ``ValidationNoisyBlocksSrgb.mat`` with ``ValidationGtBlocksSrgb.mat``; and
            scenes with ``…NOISY_SRGB_….PNG`` beside ``…GT_SRGB_….PNG``
``DND``     ``images_srgb/….mat`` (HDF5); its truth is not public
``PolyU``   ``CroppedImages/…_real.JPG`` beside ``…_mean.JPG``
``CC``      ``…_real.png`` beside ``…_mean.png``

Nothing is fetched.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.io import loadmat, whosmat
from skimage.io import imread

from _data import find_data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from numpy.typing import NDArray

_IMAGES = {".png", ".jpg", ".jpeg"}


class NotAvailableError(Exception):
    """A set is not here, or not whole; the message says what is missing."""


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A noisy photograph, or several of one size.

    Parameters
    ----------
    noisy
        (N, Y, X, 3), 0 to 255: uint8, or float32 where the set has fractions.
    truth
        Alike; None where there is none.
    """

    noisy: NDArray[Any]
    truth: NDArray[Any] | None

    def middle(self, side: int) -> Shot:
        """Return the middle, at most `side` pixels a side."""
        where = [slice(None)]
        for length in self.noisy.shape[1:3]:
            first = max(0, (length - side) // 2)
            where.append(slice(first, first + side))
        box = tuple(where)
        return Shot(self.noisy[box], None if self.truth is None else self.truth[box])


Listed = dict[str, "Callable[[], Shot]"]
"""The photographs of a set by name, and how each is read."""


def list_set(label: str, folder: Path | None) -> Listed:
    """Name the photographs of a set without reading their pixels.

    Parameters
    ----------
    label
        One of `SETS`.
    folder
        Holds a folder for each set; None: the folder of real stacks.

    Raises
    ------
    NotAvailableError
        If there are none.
    """
    name, reader = SETS[label]
    try:
        where = (folder or find_data()) / name
    except FileNotFoundError as error:
        raise NotAvailableError(str(error)) from error
    if not where.is_dir():
        raise NotAvailableError(f"there is no folder {where}.")
    return reader(where)


def together(listed: Listed) -> Listed:
    """Make one shot of all photographs, which have to be of one size."""

    def read() -> Shot:
        shots = [one() for one in listed.values()]
        sizes = {shot.noisy.shape for shot in shots}
        if len(sizes) > 1:
            raise SystemExit(
                f"The photographs have {len(sizes)} sizes, so they cannot be learnt "
                f"from together; give --side, or leave --together out."
            )
        truths = [shot.truth for shot in shots if shot.truth is not None]
        noisy = np.concatenate([shot.noisy for shot in shots])
        return Shot(noisy, np.concatenate(truths) if truths else None)

    return {f"{len(listed)} together": read}


def sidd_blocks(folder: Path) -> Listed:
    """List the blocks (scene, block, Y, X, 3) of the validation set of SIDD."""
    noisy, truth = (
        _one(folder, f"Validation{kind}BlocksSrgb.mat") for kind in ("Noisy", "Gt")
    )
    shape, other = (whosmat(file)[0][1] for file in (noisy, truth))
    if shape != other:
        raise SystemExit(f"{noisy} and {truth} differ in shape: {shape}, {other}.")
    return {
        f"scene {scene}, block {block}": partial(_block, noisy, truth, scene, block)
        for scene in range(shape[0])
        for block in range(shape[1])
    }


def _block(noisy: Path, truth: Path, scene: int, block: int) -> Shot:
    index = slice(block, block + 1)
    return Shot(_blocks(noisy)[scene, index], _blocks(truth)[scene, index])


@cache
def _blocks(file: Path) -> NDArray[np.uint8]:
    values: NDArray[np.uint8] = loadmat(file, variable_names=[file.stem])[file.stem]
    return values


def sidd_pairs(folder: Path) -> Listed:
    """List the whole photographs of SIDD."""
    return _pairs(folder.rglob("*NOISY_SRGB_*.PNG"), folder, "NOISY_SRGB_", "GT_SRGB_")


def averaged(folder: Path) -> Listed:
    """List photographs whose truth is the mean of many: PolyU and CC."""
    where = next(iter(sorted(folder.rglob("CroppedImages"))), folder)
    found = (p for p in where.rglob("*_real.*") if p.suffix.lower() in _IMAGES)
    return _pairs(found, folder, "_real.", "_mean.")


def _pairs(found: Iterable[Path], folder: Path, noisy: str, truth: str) -> Listed:
    """List photographs whose truth lies beside them under another name."""
    listed: Listed = {}
    for path in sorted(found):
        other = path.with_name(path.name.replace(noisy, truth))
        if not other.is_file():
            raise NotAvailableError(f"{path} has no truth {other.name} beside it.")
        name = path.relative_to(folder).with_suffix("").as_posix()
        listed[name] = partial(_pair, path, other)
    return _some(listed, folder)


def _pair(noisy: Path, truth: Path) -> Shot:
    shot = Shot(_colour(noisy), _colour(truth))
    assert shot.truth is not None
    if shot.noisy.shape != shot.truth.shape:
        raise SystemExit(f"{noisy} and {truth} differ in size; get the set anew.")
    return shot


def _colour(path: Path) -> NDArray[np.uint8]:
    values: NDArray[np.uint8] = imread(path)
    if values.dtype != np.uint8 or values.shape[2:] != (3,):
        raise SystemExit(
            f"{path} is no 8-bit colour image but {values.dtype} {values.shape}."
        )
    return values[None]


def dnd(folder: Path) -> Listed:
    """List the noisy photographs of DND."""
    files = sorted(folder.rglob("images_srgb/*.mat"))
    if files and find_spec("h5py") is None:
        raise NotAvailableError(
            "DND is in HDF5 files; install h5py to read them (pip install h5py)."
        )
    return _some({file.stem: partial(_dnd, file) for file in files}, folder)


def _dnd(file: Path) -> Shot:
    import h5py

    with h5py.File(file) as opened:
        stored = np.asarray(opened["InoisySRGB"], np.float32)  # (3, X, Y), 0 to 1
    return Shot(255 * stored.T[None], None)


def _one(folder: Path, name: str) -> Path:
    found = sorted(folder.rglob(name))
    if not found:
        raise NotAvailableError(f"there is no {name} in {folder}.")
    return found[0]


def _some(listed: Listed, folder: Path) -> Listed:
    if not listed:
        raise NotAvailableError(f"{folder} holds none of its photographs.")
    return listed


SETS: dict[str, tuple[str, Callable[[Path], Listed]]] = {
    "SIDD validation": ("SIDD", sidd_blocks),
    "SIDD": ("SIDD", sidd_pairs),
    "DND": ("DND", dnd),
    "PolyU": ("PolyU", averaged),
    "CC": ("CC", averaged),
}
"""The folder of every set and what lists it."""
