"""The file that holds the state of a training while it runs."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_blindspot.errors import Cancelled, InputError, OutputExistsError
from napari_blindspot.io.new_file import write_through
from napari_blindspot.io.outputs import remove, writing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_KIND = "training state"


class KeptFile:
    """A file that keeps the state of one training: a `training.keeping.Keeper`.

    Parameters
    ----------
    path
        The file; `check_kept_file` had nothing against it.
    fingerprint
        What tells the stacks of this training from others.
    resume
        Whether what the file holds is gone on from; otherwise it is removed as soon as
        the training begins.
    """

    def __init__(self, path: Path, fingerprint: str, *, resume: bool) -> None:
        self.path, self.fingerprint, self.resume = path, fingerprint, resume

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.path.name

    def load(self) -> bytes | None:
        """Return what the file holds, None if it is not there or not wanted.

        Raises
        ------
        InputError
            If it cannot be read.
        RunError
            If it is not wanted and cannot be removed.
        """
        if not self.resume:
            with writing(self.path, 0):
                remove(self.path)
            return None
        if not self.path.exists():
            return None
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be read ({error.strerror or error}); check its "
                f"permissions, or begin anew with --overwrite instead of --resume "
                f"(overwrite=True instead of resume=True)."
            ) from error

    def save(self, content: bytes) -> None:
        """Replace the file; at any moment the old one or the new one is there, whole.

        Raises
        ------
        RunError
            If that is not possible.
        """
        # One name, so that what a killed run leaves of it is written over.
        new = self.path.with_name(f".{self.path.name}.new")
        try:
            with writing(self.path, len(content)):
                write_through(new, content)
                os.replace(new, self.path)
        except BaseException:
            remove(new)
            raise

    @contextmanager
    def told_if_cancelled(self) -> Iterator[None]:
        """Say how to go on if what follows is cancelled."""
        try:
            yield
        except Cancelled as error:
            if not self.path.exists():  # nothing was learnt yet
                raise
            raise Cancelled(
                f"{error} What was learnt is kept in {self.name}: go on with --resume "
                f"(resume=True)."
            ) from error


def check_kept_file(
    path: Path,
    holds_state: Callable[[Path], bool],
    *,
    resume: bool,
    overwrite: bool,
) -> None:
    """Refuse a file that cannot keep a training, before any work is done.

    Parameters
    ----------
    path
        The file.
    holds_state
        Whether a file is the state of a training; no other one is replaced.
    resume
        Whether it is gone on from what the file holds.
    overwrite
        Whether that may be replaced.

    Raises
    ------
    OutputExistsError
        If the file is there and neither is wanted.
    InputError
        If it is a folder or some other file, or its own folder is missing or may not
        be written to.
    """
    if path.is_dir():
        raise InputError(
            f"{_KIND} {str(path)!r} is a folder; choose another name, or remove it "
            f"yourself."
        )
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(
            f"{_KIND} {str(path)!r} lies in a folder that does not exist or may not be "
            f"written to; choose another one."
        )
    if path.exists() and not holds_state(path):
        raise InputError(
            f"{_KIND} {str(path)!r} is some other file, so it is not replaced; choose "
            f"another name, or move it yourself."
        )
    if os.path.lexists(path) and not resume and not overwrite:
        raise OutputExistsError(
            f"{str(path)!r} was left by a training that ended early; go on with it by "
            f"--resume (resume=True), or begin anew with --overwrite (overwrite=True)."
        )
