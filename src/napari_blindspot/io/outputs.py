"""Outputs on disk: refusals before the work, the partial name, the last rename."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from napari_blindspot.errors import InputError, OutputExistsError, RunError
from napari_blindspot.io.zarr_source import is_zarr_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_blindspot.stack import Stack

ZARR_SUFFIXES = (".ome.zarr", ".zarr")
TIFF_OUT_SUFFIXES = (".ome.tif", ".ome.tiff", ".tif", ".tiff")


def output_kind(out: str | Path) -> str:
    """Return ``"zarr"`` or ``"tiff"`` for the name of an output.

    Raises
    ------
    InputError
        If the name ends in something else.
    """
    name = Path(out).name.lower()
    if name.endswith(ZARR_SUFFIXES) and not name.startswith(ZARR_SUFFIXES):
        return "zarr"
    if name.endswith(TIFF_OUT_SUFFIXES) and not name.startswith(TIFF_OUT_SUFFIXES):
        return "tiff"
    raise InputError(
        f"output {str(out)!r} ends in no known format; use one of "
        f"{', '.join((*ZARR_SUFFIXES, *TIFF_OUT_SUFFIXES))}."
    )


def uncertainty_path(out: Path) -> Path:
    """Return where the uncertainty belonging to an output lies.

    ``a.ome.zarr`` and ``a.tif`` both give ``a.uncertainty.ome.zarr``, beside them.
    """
    for suffix in (*ZARR_SUFFIXES, *TIFF_OUT_SUFFIXES):
        if out.name.lower().endswith(suffix):
            stem = out.name[: -len(suffix)]
            return out.with_name(f"{stem}.uncertainty.ome.zarr")
    return out.with_name(f"{out.name}.uncertainty.ome.zarr")


def partial_path(out: Path) -> Path:
    """Return the name under which an output is written until it is complete."""
    return out.with_name(f"{out.name}.partial")


def record_path(out: Path) -> Path:
    """Return where a run writes down what is done of an output."""
    partial = partial_path(out)
    if output_kind(out) == "zarr":
        return partial / "run"
    return partial.with_name(f"{partial.name}.run")


def check_output(
    out: str | Path | None, stack: Stack, overwrite: bool, *, resume: bool = False
) -> None:
    """Refuse an output that cannot be written, before any work is done.

    Parameters
    ----------
    out
        The output, None for an array in memory (never refused).
    stack
        The input.
    overwrite
        Whether an existing output may be replaced.
    resume
        Whether a partial output is gone on with.

    Raises
    ------
    InputError
        If the format is not known, the folder is missing or not writable, or output
        and input lie inside each other.
    OutputExistsError
        If the output or its partial exists and `overwrite` is False.
    RunError
        If an uncompressed output cannot fit on the disk.
    """
    if out is None:
        return
    kind, path = output_kind(out), Path(out).expanduser()
    _check_apart(path, stack)
    _check_folder(path)
    partial = partial_path(path)
    if os.path.lexists(path):
        _check_replaceable(path, kind, overwrite)
    if os.path.lexists(partial) and not resume:
        _check_replaceable(partial, kind, overwrite)
    if kind == "tiff" and not os.path.lexists(partial):
        check_space(path, stack.n_voxels * min(4, stack.dtype.itemsize))


def check_space(path: Path, needed: int) -> None:
    """Refuse to write `needed` bytes where the disk has less.

    Raises
    ------
    RunError
        Naming both numbers.
    """
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise RunError(
            f"{path.name} needs {_size(needed)} but its disk has "
            f"{_size(free)} free; make room, choose another disk, or write "
            f".ome.zarr, which is compressed."
        )


class PartialOutput:
    """An output under its partial name, and the rename that completes it.

    Parameters
    ----------
    out
        The final path; its checks are done.
    keep
        Keep what an earlier run has left; else it is removed.
    """

    def __init__(self, out: Path, *, keep: bool = False) -> None:
        self.out = out
        self.path = partial_path(out)
        if not keep:  # a leftover; check_output had leave to replace it
            remove(self.path)

    def commit(self) -> None:
        """Give the output its name; an older one goes when the new one stands."""
        old = self.out.with_name(f"{self.out.name}.replaced")
        if not os.path.lexists(self.out):
            self.path.rename(self.out)
        elif self.path.is_file():
            self.path.replace(self.out)
        else:
            remove(old)
            self.out.rename(old)
            try:
                self.path.rename(self.out)
            except OSError:
                old.rename(self.out)
                raise
            remove(old)

    def discard(self) -> None:
        """Remove the partial output if it is there; never raises for a missing one."""
        remove(self.path)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def writing(path: Path, needed: int) -> Iterator[None]:
    """Turn an OSError while writing `path` into one sentence.

    Raises
    ------
    RunError
        Saying that the disk is full, with bytes needed and free, or what else failed.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(path.parent).free
            raise RunError(
                f"the disk is full: {path.name} needs up to {_size(needed)} and "
                f"{_size(free)} are free; make room or choose another disk, then "
                f"run again (the input is untouched)."
            ) from error
        raise RunError(
            f"{path.name} could not be written ({error.strerror or error}); check the "
            f"permissions of {path.parent} and its disk, then run again (the input is "
            f"untouched)."
        ) from error


def _check_apart(out: Path, stack: Stack) -> None:
    """Refuse an output that is the input, lies inside it, or holds it."""
    if stack.path is None:
        return
    target, source = out.resolve(), stack.path.resolve()
    if target == source or fnmatchcase(str(target), str(source)):
        clash = "is the input itself"
    elif target.is_relative_to(source):
        clash = f"lies inside the input {stack.path}"
    elif source.is_relative_to(target):
        clash = f"holds the input {stack.path}"
    else:
        return
    raise InputError(
        f"output {str(out)!r} {clash}; choose a name beside the input, e.g. "
        f"{stack.name + '_denoised.ome.zarr'!r}."
    )


def _check_folder(out: Path) -> None:
    if not out.parent.is_dir():
        raise InputError(
            f"output {str(out)!r} lies in a folder that does not exist; create "
            f"{str(out.parent)!r} first."
        )
    if not os.access(out.parent, os.W_OK):
        raise InputError(
            f"output {str(out)!r} lies in a folder that you may not write to; choose "
            f"another folder."
        )


def _check_replaceable(existing: Path, kind: str, overwrite: bool) -> None:
    if not overwrite and existing.suffix == ".partial":
        raise OutputExistsError(
            f"{str(existing)!r} was left by a run that ended early; go on with it by "
            f"--resume (resume=True), or begin anew with --overwrite (overwrite=True)."
        )
    if not overwrite:
        raise OutputExistsError(
            f"output {str(existing)!r} exists already; choose another name, or "
            f"replace it with --overwrite (overwrite=True)."
        )
    ours = is_zarr_folder(existing) if kind == "zarr" else existing.is_file()
    empty = kind == "zarr" and existing.is_dir() and not any(existing.iterdir())
    if not (ours or empty or existing.is_symlink()):
        raise InputError(
            f"output {str(existing)!r} exists and is no {kind.upper()} output, so it "
            f"is not replaced; choose another name or remove it yourself."
        )


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.3g} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.3g} MB"
