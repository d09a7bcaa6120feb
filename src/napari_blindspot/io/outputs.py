"""Outputs: refusals before the work, the partial name, the last rename.

An object store cannot rename: what is written to an address has its final name from the
start, and counts as partial as long as the record of its run lies in it.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from napari_blindspot.errors import (
    BlindspotError,
    InputError,
    OutputExistsError,
    RunError,
)
from napari_blindspot.io import remote
from napari_blindspot.io.zarr_source import is_zarr_folder
from napari_blindspot.location import Address, Location, as_location

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from napari_blindspot.stack import Stack

ZARR_SUFFIXES = (".ome.zarr", ".zarr")
TIFF_OUT_SUFFIXES = (".ome.tif", ".ome.tiff", ".tif", ".tiff")
_READ_ONLY = ("http", "https")
_WILD = re.compile(r"[*?\[\]]")

L = TypeVar("L", Path, Address, Path | Address)


def output_kind(out: str | Location) -> str:
    """Return ``"zarr"`` or ``"tiff"`` for the name of an output.

    Raises
    ------
    InputError
        If the name ends in something else.
    """
    name = as_location(out).name.lower()
    if name.endswith(ZARR_SUFFIXES) and not name.startswith(ZARR_SUFFIXES):
        return "zarr"
    if name.endswith(TIFF_OUT_SUFFIXES) and not name.startswith(TIFF_OUT_SUFFIXES):
        return "tiff"
    raise InputError(
        f"output {str(out)!r} ends in no known format; use one of "
        f"{', '.join((*ZARR_SUFFIXES, *TIFF_OUT_SUFFIXES))}."
    )


def uncertainty_path(out: L) -> L:
    """Return where the uncertainty belonging to an output lies.

    ``a.ome.zarr`` and ``a.tif`` both give ``a.uncertainty.ome.zarr``, beside them.
    """
    for suffix in (*ZARR_SUFFIXES, *TIFF_OUT_SUFFIXES):
        if out.name.lower().endswith(suffix):
            stem = out.name[: -len(suffix)]
            return out.with_name(f"{stem}.uncertainty.ome.zarr")
    return out.with_name(f"{out.name}.uncertainty.ome.zarr")


def partial_path(out: L) -> L:
    """Return the name under which an output is written until it is complete."""
    if isinstance(out, Address):
        return out
    return out.with_name(f"{out.name}.partial")


def record_path(out: L) -> L:
    """Return where a run writes down what is done of an output."""
    partial = partial_path(out)
    if isinstance(partial, Address) or output_kind(out) == "zarr":
        return partial / remote.RUN
    return partial.with_name(f"{partial.name}.run")


def check_output(
    out: str | Location | None, stack: Stack, overwrite: bool, *, resume: bool = False
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
        If the format is not known, the folder is missing or not writable, output and
        input lie inside each other, or an address is given that cannot be written.
    OutputExistsError
        If the output or its partial exists and `overwrite` is False.
    RunError
        If an uncompressed output cannot fit on the disk, or an address cannot be
        reached.
    """
    if out is None:
        return
    kind, path = output_kind(out), as_location(out)
    if isinstance(path, Address):
        _check_address(path, kind, stack, overwrite, resume)
        return
    path = path.expanduser()
    _check_apart(path, stack)
    _check_folder(path)
    partial = partial_path(path)
    if os.path.lexists(path):
        _check_replaceable(path, kind, overwrite)
    if os.path.lexists(partial) and not resume:
        _check_replaceable(partial, kind, overwrite)
    elif has_record(path) and not (resume or overwrite):  # it ended in training
        raise _left_early(record_path(path))
    if kind == "tiff" and not os.path.lexists(partial):
        check_space(path, stack.n_voxels * min(4, stack.dtype.itemsize))


def check_not_read(out: Location, read: Mapping[str, Path | None]) -> None:
    """Refuse an output that would replace another file that the run reads.

    Parameters
    ----------
    out
        The output.
    read
        Files that were given beside the input, by their setting; None: not given.

    Raises
    ------
    InputError
        Naming the setting.
    """
    if isinstance(out, Address):
        return
    for name, path in read.items():
        if path is not None and (clash := _clash(out, path, f"file of {name}=")):
            raise InputError(
                f"output {str(out)!r} {clash}; choose another name for the output."
            )


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


def is_there(out: Location) -> bool:
    """Whether there is anything of this name."""
    if isinstance(out, Address):
        return remote.holds_anything(out)
    return out.exists()


def is_begun(out: Location) -> bool:
    """Whether an output was begun and is not complete."""
    if isinstance(out, Address):
        return remote.holds_run(out)
    return os.path.lexists(partial_path(out))


def has_record(out: Location) -> bool:
    """Whether a run has left its record of an output."""
    if isinstance(out, Address):
        return remote.holds_run(out)
    return record_path(out).is_dir()


def remove_begun(out: Location) -> None:
    """Remove what was begun of an output; one that is complete stays."""
    if not isinstance(out, Address):
        remove(partial_path(out))
    elif remote.holds_run(out):
        remote.remove_store(out)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def writing(path: Location, needed: int) -> Iterator[None]:
    """Turn an OSError while writing `path` into one sentence.

    Raises
    ------
    RunError
        Saying that the disk is full, with bytes needed and free, or what else failed.
    """
    if isinstance(path, Address):
        with remote.talking(path, "written"):
            yield
        return
    try:
        yield
    except BlindspotError:  # some are errors of the system, too
        raise
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


def _check_address(
    out: Address, kind: str, stack: Stack, overwrite: bool, resume: bool
) -> None:
    """Refuse what cannot be written to an address, as `check_output`."""
    if kind == "tiff":
        raise InputError(
            f"output {str(out)!r} is a TIFF, which is filled piece by piece as no "
            f"object store can; give a name that ends in .ome.zarr, or a path."
        )
    if out.scheme in _READ_ONLY:
        raise InputError(
            f"output {str(out)!r} lies on a web server, which is only read from; give "
            f"a path, or an address such as s3://bucket/name.ome.zarr."
        )
    if _WILD.search(out.url):  # drivers remove whatever matches
        raise InputError(
            f"output {str(out)!r} has one of * ? [ ] in it, which stand for several "
            f"names in a cloud store; choose a name without."
        )
    source = stack.path
    if isinstance(source, Address) and (out.is_inside(source) or source.is_inside(out)):
        raise InputError(
            f"output {str(out)!r} is the input {source}, lies inside it, or holds it; "
            f"choose a name beside the input."
        )
    begun = remote.holds_run(out)
    if begun and not (overwrite or resume):
        raise _left_early(out)
    if begun or not remote.holds_anything(out):
        return
    if not overwrite:
        raise _exists_already(out)
    if not remote.holds_zarr(out):
        raise _not_ours(out, kind)


def _check_apart(out: Path, stack: Stack) -> None:
    """Refuse an output that is the input, lies inside it, or holds it."""
    if not isinstance(stack.path, Path):
        return
    if clash := _clash(out, stack.path, "input"):
        raise InputError(
            f"output {str(out)!r} {clash}; choose a name beside the input, e.g. "
            f"{stack.name + '_denoised.ome.zarr'!r}."
        )


def _clash(out: Path, read: Path, name: str) -> str:
    """Say how an output would replace what is read; nothing if it would not."""
    target, source = out.expanduser().resolve(), read.expanduser().resolve()
    if target == source or fnmatchcase(str(target), str(source)):
        return f"is the {name} itself"
    if target.is_relative_to(source):
        return f"lies inside the {name} {read}"
    if source.is_relative_to(target):
        return f"holds the {name} {read}"
    return ""


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
        raise _left_early(existing)
    if not overwrite:
        raise _exists_already(existing)
    ours = existing.is_file()
    if kind == "zarr":  # of a run that ended in training there is the record alone
        ours = is_zarr_folder(existing) or is_zarr_folder(existing / "run")
    empty = kind == "zarr" and existing.is_dir() and not any(existing.iterdir())
    if not (ours or empty or existing.is_symlink()):
        raise _not_ours(existing, kind)


def _left_early(existing: Location) -> OutputExistsError:
    return OutputExistsError(
        f"{str(existing)!r} was left by a run that ended early; go on with it by "
        f"--resume (resume=True), or begin anew with --overwrite (overwrite=True)."
    )


def _exists_already(existing: Location) -> OutputExistsError:
    return OutputExistsError(
        f"output {str(existing)!r} exists already; choose another name, or replace it "
        f"with --overwrite (overwrite=True)."
    )


def _not_ours(existing: Location, kind: str) -> InputError:
    return InputError(
        f"output {str(existing)!r} exists and is no {kind.upper()} output, so it is "
        f"not replaced; choose another name or remove it yourself."
    )


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.3g} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.3g} MB"
