"""Folders whose files are stacks of their own, and where their outputs go."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from napari_blindspot.errors import InputError
from napari_blindspot.io.files import VENDOR_SUFFIXES, natural_key, stem
from napari_blindspot.io.outputs import output_kind, uncertainty_path
from napari_blindspot.io.tiff_source import TIFF_SUFFIXES
from napari_blindspot.io.zarr_source import is_named_zarr, is_zarr_folder
from napari_blindspot.location import Address, Location, as_location

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_UNFINISHED = (".partial", ".replaced")


def is_plain_folder(path: str | Location) -> bool:
    """Return whether a path is a folder that is not one stack itself, even damaged."""
    path = as_location(path)
    if isinstance(path, Address):
        return False
    path = path.expanduser()
    return path.is_dir() and not (is_zarr_folder(path) or is_named_zarr(path))


def files_in(folder: str | Path, pattern: str | None = None) -> list[Path]:
    """Return the files of a folder that match, ``b2`` before ``b10``.

    Parameters
    ----------
    folder
        Where to look; its folders are not searched, Zarr folders count as files.
    pattern
        As of a shell, for names in capitals or not; default: whatever may be a stack.
        Hidden files match a pattern that begins with a point.

    Raises
    ------
    InputError
        If it is no folder, may not be read, or no file matches.
    """
    folder = _own(folder)
    if not is_plain_folder(folder):
        raise InputError(
            f"{str(folder)!r} is no folder of files; give the folder that holds the "
            f"stacks."
        )
    try:
        names = sorted(os.listdir(folder), key=natural_key)
    except OSError as error:
        raise InputError(
            f"{str(folder)!r} cannot be listed ({error.strerror or error}); check its "
            f"permissions."
        ) from error
    found = [folder / name for name in names if _matches(folder / name, pattern)]
    if not found:
        wanted = "can be opened" if pattern is None else f"matches {pattern!r}"
        raise InputError(
            f"no file in {str(folder)!r} {wanted}; check the folder, or name the files "
            f"by --pattern, e.g. '*.tif'."
        )
    return found


def outputs_in(
    folder: str | Path, files: Sequence[Path], suffix: str, *, uncertainty: bool
) -> list[Path]:
    """Return where the output of every file lies, each at a place of its own.

    Parameters
    ----------
    folder
        Folder of the outputs; it need not exist.
    files
        The inputs, all of one folder.
    suffix
        What the names have in place of the ending of their file.
    uncertainty
        Whether an uncertainty is written beside each.

    Raises
    ------
    InputError
        If the folder is that of the files, is a file or one stack, the suffix is no
        known format, or two outputs would lie at the same place.
    """
    folder = _own(folder)
    _check_folder(folder, files[0].parent)
    outputs = [folder / f"{stem(file)}{suffix}" for file in files]
    output_kind(f"stack{suffix}")
    taken: dict[str, Path] = {}
    for file, out in zip(files, outputs, strict=True):
        for place in (out, uncertainty_path(out)) if uncertainty else (out,):
            # Many file systems take names in capitals and in small letters for one.
            other = taken.setdefault(place.name.casefold(), file)
            if other is not file:
                raise InputError(
                    f"{other.name} and {file.name} would both be written to "
                    f"{place.name}; rename one of them, or choose one kind of files "
                    f"by --pattern."
                )
    return outputs


def make_folder(folder: str | Path) -> Path:
    """Create a folder with those above it, or use it as it is.

    Raises
    ------
    InputError
        If that is not possible.
    """
    folder = _own(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the folder {str(folder)!r} cannot be made ({error.strerror or error}); "
            f"choose another place for the outputs."
        ) from error
    return folder


def _own(given: str | Path) -> Path:
    """Return the path of a folder, which lies on this machine."""
    where = as_location(given)
    if isinstance(where, Address):
        raise InputError(
            f"{str(where)!r} is an address, but folders of files lie on this machine; "
            f"give a path, or denoise one store after the other."
        )
    return where.expanduser()


def _matches(path: Path, pattern: str | None) -> bool:
    name = path.name.lower()
    if name.endswith(_UNFINISHED):
        return False
    if pattern is None:
        known = name.endswith((*TIFF_SUFFIXES, *VENDOR_SUFFIXES)) and path.is_file()
        return not name.startswith(".") and (known or is_zarr_folder(path))
    hidden = name.startswith(".") and not pattern.startswith(".")
    return not hidden and fnmatchcase(name, pattern.lower())


def _check_folder(folder: Path, source: Path) -> None:
    if folder.resolve() == source.resolve():
        raise InputError(
            f"output {str(folder)!r} is the folder of the input, where a second run "
            f"would take outputs for inputs; choose another folder."
        )
    if (folder.exists() and not folder.is_dir()) or is_zarr_folder(folder):
        raise InputError(
            f"output {str(folder)!r} is no folder of files, but the input is one: each "
            f"of its files is a stack with an output of its own; name a folder. To "
            f"denoise planes as one stack, give a pattern such as "
            f"'{source / '*.tif'}' as input."
        )
    try:
        output_kind(folder)
    except InputError:
        return
    raise InputError(
        f"output {str(folder)!r} is named like one stack, but the input is a folder, "
        f"whose files have an output each; name a folder. To denoise planes as one "
        f"stack, give a pattern such as '{source / '*.tif'}' as input."
    )
