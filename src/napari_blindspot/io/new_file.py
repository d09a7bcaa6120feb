"""Single new files: model, report, picture. Refused before the work, or written whole.

Outputs of stacks have their own checks, see `outputs`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from uuid import uuid4

from napari_blindspot.errors import InputError, OutputExistsError
from napari_blindspot.io.outputs import remove, writing
from napari_blindspot.location import as_path

if TYPE_CHECKING:
    from pathlib import Path


def check_new_file(
    path: str | Path, name: str, suffixes: tuple[str, ...], *, overwrite: bool
) -> Path:
    """Refuse a path that cannot become a file, before any work is done.

    Parameters
    ----------
    path
        The file to be written.
    name
        What the user knows it as, such as ``"report"``.
    suffixes
        Lower-case endings that are allowed, the proposed one first.
    overwrite
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    OutputExistsError
        If the file exists and `overwrite` is False.
    InputError
        If it is no path, ends in something else, is a folder, or its folder does not
        exist or may not be written to.
    """
    path = as_path(path)
    said = f"{name} {str(path)!r}"
    if path.suffix.lower() not in suffixes:
        raise InputError(
            f"{said} cannot be written; let its name end in {' or '.join(suffixes)}."
        )
    if not path.parent.is_dir():
        raise InputError(
            f"{said} lies in a folder that does not exist; create "
            f"{str(path.parent)!r} first, or choose another one."
        )
    if not os.access(path.parent, os.W_OK):
        raise InputError(
            f"{said} lies in a folder that may not be written to; choose another one."
        )
    if path.is_dir():
        raise InputError(f"{said} is a folder; choose the name of a file in it.")
    _refuse_existing(path, name, overwrite=overwrite)
    return path


def write_new_file(path: Path, content: bytes, name: str, *, overwrite: bool) -> None:
    """Write a file under another name and give it its own when it is complete.

    Parameters
    ----------
    path
        As `check_new_file` returned it.
    content
        All of the file.
    name, overwrite
        As of `check_new_file`.

    Raises
    ------
    OutputExistsError
        If the file appeared since the check and `overwrite` is False.
    RunError
        If it cannot be written; an older file stays as it was.
    """
    partial = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with writing(path, len(content)):
            write_through(partial, content)
        _refuse_existing(path, name, overwrite=overwrite)
        with writing(path, len(content)):
            os.replace(partial, path)
    except BaseException:
        remove(partial)
        raise


def write_through(path: Path, content: bytes) -> None:
    """Write a file and have it on the disk: after a power failure too it is whole."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _refuse_existing(path: Path, name: str, *, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise OutputExistsError(
            f"{name} {str(path)!r} exists already; choose another name, or replace it "
            f"with --overwrite (overwrite=True)."
        )
