"""What a run writes down while it goes on, so that it can be resumed.

It lies inside the partial output as a zarr group of its own, so that it goes wherever
the output goes, and every entry is one small file that is there whole or not at all::

    OUTPUT.partial/run      attributes: the manifest
                   /model-… bytes of a model file, named in the attributes
                   /blocks  one row of numbers per block that is done
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.errors import InputError
from napari_blindspot.io.remote import holds_anything, zarr_store
from napari_blindspot.location import Address

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_blindspot.location import Location

FORMAT = 1
"""Of what is written down; another one is not resumed."""

_MANIFEST, _KEPT = "manifest", "kept"


class RunStore:
    """The record of one run.

    Parameters
    ----------
    location
        Of the group, which is made if it is not there.

    Raises
    ------
    InputError
        If what is there was written by another version of the format, or is damaged.
    """

    def __init__(self, location: Location) -> None:
        import zarr

        self.location = location
        store = zarr_store(location, "a")
        try:
            self._group = zarr.open_group(store, mode="a", zarr_format=3)
        except ValueError as error:  # no JSON
            raise damaged(location) from error
        if not self._group.attrs:
            self._group.update_attributes({"format": FORMAT, _MANIFEST: {}})
        if self._group.attrs.get("format") != FORMAT:
            raise InputError(
                f"{self.location} was written by another version of napari-blindspot "
                f"(format {self._group.attrs.get('format')}, this version resumes "
                f"{FORMAT}); resume it with that version, or begin anew with "
                f"--overwrite (overwrite=True)."
            )

    @property
    def manifest(self) -> dict[str, Any]:
        """What the run is: settings, source, model, plan; JSON values."""
        return dict(self._group.attrs[_MANIFEST])  # type: ignore[arg-type]

    def describe(self, facts: Mapping[str, Any]) -> None:
        """Add facts to the manifest."""
        self._group.update_attributes({_MANIFEST: {**self.manifest, **facts}})

    def keep(self, name: str, content: bytes) -> None:
        """Write bytes under a name; until all are there, older ones stay."""
        kept = dict(self._group.attrs.get(_KEPT, {}))  # type: ignore[arg-type]
        older: Any = kept.get(name)
        array = f"{name}-{hashlib.sha256(content).hexdigest()[:16]}"
        if array == older:
            return
        self._group.create_array(
            array,
            data=np.frombuffer(content, np.uint8),
            chunks=(max(1, len(content)),),
            compressors=None,
            overwrite=True,
        )
        self._group.update_attributes({_KEPT: {**kept, name: array}})
        if older is not None and older in self._group:
            del self._group[older]

    def kept(self, name: str) -> bytes | None:
        """Return bytes that were kept, None if there are none."""
        array: Any = dict(self._group.attrs.get(_KEPT, {})).get(name)  # type: ignore[arg-type]
        if array is None:
            return None
        found: Any = self._group[array]
        return np.asarray(found[:], np.uint8).tobytes()

    def forget(self, name: str) -> None:
        """Remove what was kept, if it is there."""
        kept: dict[str, Any] = dict(self._group.attrs.get(_KEPT, {}))  # type: ignore[arg-type]
        array = kept.pop(name, None)
        self._group.update_attributes({_KEPT: kept})
        if array is not None and array in self._group:
            del self._group[array]

    def has_rows(self, name: str) -> bool:
        """Return whether anything stands in a ledger."""
        if name not in self._group:
            return False
        if isinstance(self.location, Address):  # where every row is a question
            return holds_anything(self.location / name / "c")
        found: Any = self._group[name]
        return next(Ledger(found).rows(), None) is not None

    @property
    def keeps_something(self) -> bool:
        """Whether any bytes are kept."""
        return bool(self._group.attrs.get(_KEPT))

    def ledger(self, name: str, entries: int, length: int) -> Ledger:
        """Open a ledger, or begin it.

        Parameters
        ----------
        name
            Its name.
        entries
            How many pieces of work there are.
        length
            Numbers that are written down of each.
        """
        shape = (entries, length)
        if name in self._group:
            array: Any = self._group[name]
            if array.shape == shape:
                return Ledger(array)
        return Ledger(
            self._group.create_array(
                name,
                shape=shape,
                chunks=(1, length),
                dtype="float64",
                fill_value=np.nan,
                compressors=None,
                overwrite=True,
            ),
            is_new=True,
        )


class Ledger:
    """One row of numbers for every piece of work that is done.

    Each row is a file of its own: it is there whole or not at all, and several
    processes may write different rows.

    Parameters
    ----------
    array
        (entries, length) float64, one chunk per row; the first number of a row that is
        there is finite.
    is_new
        Whether nothing stands in it, so that nobody need look.
    """

    def __init__(self, array: Any, *, is_new: bool = False) -> None:
        self._array, self._is_new = array, is_new

    def __len__(self) -> int:
        return int(self._array.shape[0])

    def mark(self, entry: int, row: Sequence[float] | NDArray[np.float64]) -> None:
        """Write down that a piece of work is done."""
        self._is_new = False
        self._array[entry] = np.asarray(row, np.float64)

    def rows(self) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Return what is done, in order of its number."""
        if self._is_new:
            return
        step = 4096
        for start in range(0, len(self), step):
            rows = self._rows(start, min(start + step, len(self)))
            for offset in np.flatnonzero(np.isfinite(rows[:, 0])):
                yield start + int(offset), rows[offset]

    def _rows(self, start: int, stop: int) -> NDArray[np.float64]:
        """Read rows; one that a power failure has cut short is not there."""
        try:
            return np.asarray(self._array[start:stop], np.float64)
        except ValueError:
            if stop - start == 1:
                return np.full((1, self._array.shape[1]), np.nan)
        middle = (start + stop) // 2
        return np.concatenate([self._rows(start, middle), self._rows(middle, stop)])


def damaged(location: Location) -> InputError:
    """Return the error of a record that cannot be read."""
    return InputError(
        f"{location}, the record of an earlier run, is damaged, so there is nothing to "
        f"go on with; begin anew with --overwrite (overwrite=True)."
    )


def read_manifest(location: Location) -> dict[str, Any]:
    """Return the manifest as it stands at this moment, empty if there is none."""
    import zarr

    try:
        store = zarr_store(location, "r")
        group = zarr.open_group(store, mode="r", zarr_format=3)
    except FileNotFoundError:
        return {}
    return dict(group.attrs.get(_MANIFEST, {}))  # type: ignore[arg-type]


def settle(array: Any, region: tuple[slice, ...]) -> None:
    """Have the one shard of a region on the disk before anything says that it is.

    A file that was renamed into place may still be empty after a power failure. Stores
    that are no folders of this machine promise it themselves.
    """
    from zarr.storage import LocalStore

    store = array.store
    if not isinstance(store, LocalStore):
        return
    cuts = array.shards or array.chunks
    where = tuple(part.start // cut for part, cut in zip(region, cuts, strict=True))
    path = Path(store.root) / array.path / array.metadata.encode_chunk_key(where)
    if not path.exists():  # nothing but fill values, of which zarr makes no file
        return
    for one in (path, path.parent) if os.name == "posix" else (path,):
        handle = os.open(one, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
