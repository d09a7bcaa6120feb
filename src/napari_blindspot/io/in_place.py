"""An output at an address: written under its final name, complete without its mark.

::

    OUTPUT/run/zarr.json    is there: incomplete; the record of the run lies beside it
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_blindspot.io import remote
from napari_blindspot.io.outputs import PartialOutput, record_path
from napari_blindspot.location import Address

if TYPE_CHECKING:
    from napari_blindspot.io.run_store import RunStore
    from napari_blindspot.location import Location


class InPlaceOutput:
    """An output that cannot be renamed, and the removal that completes it.

    Parameters
    ----------
    out
        Its address; its checks are done, so that an older store may be replaced.
    record
        What the run writes down; with one, what an earlier run has left is kept. If it
        lies in this output, its end completes the output, and `commit` does nothing.
    """

    def __init__(self, out: Address, record: RunStore | None = None) -> None:
        self.out = self.path = out
        self._is_recorded = record is not None and record.location == record_path(out)
        if record is None or not remote.holds_run(out):
            remote.remove_store(out)
            remote.mark(out)

    def commit(self) -> None:
        """Say that the output is complete, unless its record does."""
        if not self._is_recorded:
            remote.complete(self.out)

    def discard(self) -> None:
        """Remove the output if it is there."""
        remote.remove_store(self.out)


def begin_output(
    out: Location, record: RunStore | None = None
) -> PartialOutput | InPlaceOutput:
    """Begin an output, or go on with it where there is a record."""
    if isinstance(out, Address):
        return InPlaceOutput(out, record)
    return PartialOutput(out, keep=record is not None)
