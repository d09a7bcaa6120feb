"""Paths as sources: which reader, patterns and lists of files, clear refusals."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from napari_blindspot.errors import InputError
from napari_blindspot.io import remote
from napari_blindspot.io.axes import resolve_axes
from napari_blindspot.io.bioio_source import BIOIO_SUFFIXES, find_in_bioio
from napari_blindspot.io.found import Found
from napari_blindspot.io.imaris_source import IMARIS_SUFFIXES, find_in_imaris
from napari_blindspot.io.lazy import FileSeries, LazyPixels
from napari_blindspot.io.remote_pixels import readable
from napari_blindspot.io.tiff_source import TIFF_SUFFIXES, find_in_tiff
from napari_blindspot.io.zarr_source import (
    find_in_zarr_folder,
    is_named_zarr,
    is_zarr_folder,
)
from napari_blindspot.location import Address, Location, as_location

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

VENDOR_SUFFIXES = (*BIOIO_SUFFIXES, *IMARIS_SUFFIXES)
_WILD = re.compile(r"[*?\[]")


def find_in_path(
    path: str | Location, axes: str | None = None, scene: int | str | None = None
) -> Found:
    """Describe a file, a Zarr folder or address, or the files a pattern stands for.

    Parameters
    ----------
    path
        A path, a pattern such as ``plane_*.tif``, or an address.
    axes
        Axes given by the user; for several files they say what lies along the files.
    scene
        Which image of a file that holds several.

    Raises
    ------
    InputError
        If nothing is there, or it cannot be read.
    RunError
        If an address cannot be reached.
    """
    where = as_location(path)
    if isinstance(where, Address):
        return _find_in_one(where, scene)
    text = os.path.expanduser(os.fspath(where))
    if not os.path.exists(text) and _WILD.search(text):
        files = sorted(glob.glob(text, recursive=True), key=natural_key)
        if not files:
            raise InputError(
                f"no file matches the pattern {text!r}; check folder and spelling."
            )
        return find_in_files(files, axes, scene)
    return _find_in_one(Path(text), scene)


def find_in_files(
    paths: Sequence[str | Location],
    axes: str | None = None,
    scene: int | str | None = None,
) -> Found:
    """Describe equal files as one source, the files along Z, or T if Z is taken.

    Raises
    ------
    InputError
        If there is no file, or the files differ in shape, dtype or axes.
    """
    if not paths:
        raise InputError("the list of files is empty; give at least one path.")
    if len(paths) == 1:
        return find_in_path(paths[0], axes, scene)
    files = [_own_file(path) for path in paths]
    found = [_find_in_one(file, scene) for file in files]
    for other in found[1:]:
        _check_equal(found[0], other)
    letters, notes = _axes_with_files(found[0], axes, len(found))
    first = found[0]
    kept = first.spacing if letters[1:] == first.axes or axes is None else ()
    pixels = (
        LazyPixels(one.pixels, file.name, tuple(range(len(one.pixels.shape))))
        for one, file in zip(found, files, strict=True)
    )
    return Found(
        FileSeries(tuple(pixels)),
        axes=letters,
        settled=True,
        spacing=(None, *kept) if kept else (),
        origin=(0.0, *first.origin) if first.origin else (),
        channel_names=first.channel_names,
        name=_common_name(files),
        path=Path(_common_pattern(files)),
        notes=(*first.notes, *notes),
    )


def natural_key(text: str) -> list[tuple[int, int | str]]:
    """Sort key by which ``plane_2`` comes before ``plane_10``."""
    parts = re.split(r"(\d+)", text)
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts]


def stem(path: Location) -> str:
    """Return the name of a file without its ending, ``.ome.tif`` being one ending."""
    known = (*TIFF_SUFFIXES, *VENDOR_SUFFIXES, ".zarr")
    name = path.name
    for suffix in known:
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
            return name[:-4] if name.lower().endswith(".ome") else name
    return Path(name).stem or name


def _own_file(path: str | Location) -> Path:
    where = as_location(path)
    if isinstance(where, Address):
        raise InputError(
            f"{where} cannot be one of several files, which all lie on this machine; "
            f"give one address."
        )
    return where.expanduser()


def _find_in_one(path: Location, scene: int | str | None) -> Found:
    try:
        if isinstance(path, Address):
            return _find_at(path, scene)
        _check_readable(path)
        reader = _reader(path)
        if reader is find_in_bioio:
            return find_in_bioio(path, stem(path), scene)
        _check_no_scene(path, scene)
        return reader(path, stem(path))
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror or error}); check its permissions "
            f"and that its disk is still connected."
        ) from error


def _find_at(address: Address, scene: int | str | None) -> Found:
    """Describe the Zarr at an address."""
    _check_no_scene(address, scene)
    if not remote.holds_zarr(address):
        raise InputError(
            f"there is no Zarr at {address}; check the names of bucket and store, and "
            f"download first what is no Zarr or OME-Zarr."
        )
    found = find_in_zarr_folder(address, stem(address))
    return replace(found, pixels=readable(found.pixels, address))


def _check_no_scene(path: Location, scene: int | str | None) -> None:
    if scene is not None:
        raise InputError(
            f"scene={scene!r} is about files that may hold several images "
            f"({', '.join(BIOIO_SUFFIXES)}), but {path.name} is read as one; leave it "
            f"out."
        )


def _check_readable(path: Path) -> None:
    if not path.exists():
        raise InputError(
            f"{path} does not exist; check the spelling (a pattern such as "
            f"'plane_*.tif' stands for several files)."
        )
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} may not be read; ask for permission to read it.")
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(
            f"{path} is empty (0 bytes); copy it again from where it was recorded."
        )


def _reader(path: Path) -> Callable[[Path, str], Found]:
    if path.is_dir():
        if _is_begun_in_training(path):
            raise _begun(path)
        if is_zarr_folder(path):
            return find_in_zarr_folder
        if is_named_zarr(path):
            raise _damaged(path)
        raise InputError(
            f"{path} is a folder without Zarr data; give a file, or a pattern such as "
            f"'{path / '*.tif'}' for the planes inside."
        )
    suffix = path.suffix.lower()
    if suffix in TIFF_SUFFIXES:
        return find_in_tiff
    if suffix in BIOIO_SUFFIXES:
        return find_in_bioio
    if suffix in IMARIS_SUFFIXES:
        return find_in_imaris
    raise InputError(
        f"{path.name} ends in {suffix or 'nothing'!r}, which is not known; give a TIFF "
        f"({', '.join(TIFF_SUFFIXES)}), a .zarr or .ome.zarr folder, or, with "
        f'pip install "napari-blindspot[formats]", {", ".join(VENDOR_SUFFIXES)}.'
    )


def _is_begun_in_training(path: Path) -> bool:
    """Return whether a folder is what a run left that ended before its first block."""
    named = path.name.endswith((".partial", ".partial.run"))
    return named and not is_zarr_folder(path) and _holds_record(path)


def _holds_record(path: Path) -> bool:
    return path.name.endswith(".run") or is_zarr_folder(path / remote.RUN)


def _begun(path: Path) -> InputError:
    output = path.name.partition(".partial")[0]
    return InputError(
        f"{path} was left by a run that was stopped before its first block, so there "
        f"is nothing to see yet; give the command that makes {output} once more with "
        f"--resume (resume=True) to go on with it, or with --overwrite "
        f"(overwrite=True) to begin anew."
    )


def _damaged(path: Path) -> InputError:
    """Return the error of a folder that has lost what makes it a Zarr store."""
    inside = sorted(one.name for one in path.iterdir() if is_zarr_folder(one))
    rest = (
        f"what is left of it can be opened as {str(path / inside[0])!r}"
        if inside
        else "there is no array inside"
    )
    return InputError(
        f"{path} is named like a Zarr store but has none of "
        f"{', '.join(remote.MARKERS)}: it was not copied completely, or is no store; "
        f"copy it again ({rest})."
    )


def _check_equal(first: Found, other: Found) -> None:
    mine, its = first.pixels, other.pixels
    same = (
        tuple(mine.shape) == tuple(its.shape)
        and mine.dtype == its.dtype
        and first.axes == other.axes
    )
    if not same:
        raise InputError(
            f"the files differ: {first.name} has shape {tuple(mine.shape)} and type "
            f"{mine.dtype}, {other.name} has {tuple(its.shape)} and {its.dtype}; give "
            f"files of one series."
        )


def _axes_with_files(
    first: Found, given: str | None, count: int
) -> tuple[str, tuple[str, ...]]:
    """Return the letters of the series, the files first, and what was guessed."""
    shape = tuple(int(n) for n in first.pixels.shape)
    if given is not None and len(given) == len(shape) + 1:
        return resolve_axes("", (count, *shape), given)
    own, notes = resolve_axes(first.axes, shape, given)
    free = [axis for axis in "ZT" if axis not in own]
    if not free:
        raise InputError(
            f"each of the {count} files has the axes {own} already, so no axis is left "
            f"for the files; open them one by one."
        )
    note = (
        f"{count} files are stacked along {free[0]} in natural order; pass axes= with "
        f"one letter for the files in front if that is wrong."
    )
    return free[0] + own, (*notes, note)


def _common_name(files: Sequence[Path]) -> str:
    common = _common_start([stem(file) for file in files])
    return common.rstrip("0123456789_- .") or files[0].parent.name or "stack"


def _common_pattern(files: Sequence[Path]) -> str:
    """Return a pattern that stands for all files; it protects them as outputs."""
    texts = [str(file.resolve()) for file in files]
    start = _common_start(texts)
    end = _common_start([text[len(start) :][::-1] for text in texts])[::-1]
    return f"{glob.escape(start)}*{glob.escape(end)}"


def _common_start(texts: Sequence[str]) -> str:
    """Return the characters with which all texts begin."""
    same = (len(set(letters)) == 1 for letters in zip(*texts, strict=False))
    return texts[0][: sum(takewhile(bool, same))]
