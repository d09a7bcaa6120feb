"""The record of a run that writes a file: begun, gone on with, and closed.

::

    begin_record ─► RunRecord ─ check(settings, source) ─ model ─ plan ─► done
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from napari_blindspot._version import __version__
from napari_blindspot.errors import (
    BlindspotError,
    Cancelled,
    InputError,
    RunError,
    SourceError,
)
from napari_blindspot.io.outputs import (
    has_record,
    output_kind,
    partial_path,
    record_path,
    remove,
    remove_begun,
    uncertainty_path,
    writing,
)
from napari_blindspot.io.remote import complete, remove_store, talking
from napari_blindspot.io.run_store import RunStore, damaged, read_manifest
from napari_blindspot.location import Address
from napari_blindspot.model_file import model_content, model_digest, model_from
from napari_blindspot.streaming.identity import (
    check_same,
    run_digest,
    settings_identity,
    source_fingerprint,
)
from napari_blindspot.streaming.plan import StreamPlan
from napari_blindspot.streaming.seen import row_length, sample_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_blindspot.config import PredictSettings
    from napari_blindspot.io.run_store import Ledger
    from napari_blindspot.location import Location
    from napari_blindspot.model import Model
    from napari_blindspot.stack import Stack

BLOCKS = "blocks"
"""The ledger of the blocks."""

MODEL = "model"
"""Under which name the model is kept for workers."""

_GO_ON = "go on with --resume (resume=True)"


class RunRecord:
    """What a run has written down, and writes down.

    Parameters
    ----------
    out
        The output.

    Attributes
    ----------
    digest
        What the finished output is known by, from `check` on.
    """

    def __init__(self, out: Location) -> None:
        self.out = out
        self.store = RunStore(record_path(out))
        if "run" not in self.store.manifest:
            if self.store.has_rows(BLOCKS):
                raise damaged(self.store.location)
            self.store.describe({"run": uuid4().hex})
        self.run = str(self.store.manifest["run"])
        self.digest = ""

    @property
    def is_current(self) -> bool:
        """Whether this run still goes on: not completed, nor begun anew."""
        return read_manifest(record_path(self.out)).get("run") == self.run

    def check(self, stack: Stack, settings: PredictSettings) -> None:
        """Write down what the run is, or refuse if the earlier one was another.

        Raises
        ------
        InputError
            Naming what differs.
        """
        source = source_fingerprint(stack)
        self._agree(
            {
                "version": __version__,
                "settings": settings_identity(settings),
                "source": source,
            }
        )
        self.digest = run_digest(settings, source)

    def model(self, name: str) -> Model | None:
        """Return a model that the earlier run has kept, None without."""
        content = self.store.kept(name)
        return None if content is None else model_from(content, f"the model in {self}")

    def keep_model(self, name: str, model: Model) -> None:
        """Keep a model that was made in this run."""
        self.store.keep(name, model_content(model))

    def check_model(self, model: Model) -> None:
        """Write down which model it is, or refuse if the earlier one was another."""
        self._agree({"model": model_digest(model)})

    def plan(self, made: StreamPlan) -> StreamPlan:
        """Return the plan of the earlier run, or write down this one.

        Raises
        ------
        InputError
            If the earlier one is of another stack or network.
        """
        plan = self.known_plan()
        if plan is None:
            self.store.describe({"plan": made.as_dict()})
            return made
        if (plan.shape, plan.n_series, plan.halo, plan.stride) != (
            made.shape, made.n_series, made.halo, made.stride,
        ):  # fmt: skip
            raise InputError(
                f"{self} was planned for another stack or network; begin anew with "
                f"--overwrite (overwrite=True)."
            )
        return plan

    def known_plan(self) -> StreamPlan | None:
        """Return the plan that was written down, None before."""
        kept = self.store.manifest.get("plan")
        return None if kept is None else StreamPlan.from_dict(kept)

    def threads(self, count: int) -> int:
        """Return the threads of the earlier run, or write down these.

        The last bits of a result may depend on how the work was shared out.
        """
        kept = self.store.manifest.get("threads")
        if kept is None:
            self.store.describe({"threads": count})
        return count if kept is None else int(kept)

    def ledger(self, plan: StreamPlan, channels: int) -> Ledger:
        """Return the ledger of the blocks.

        Parameters
        ----------
        plan
            The blocks.
        channels
            Channels that are written with each.
        """
        length = channels * row_length(sample_size(len(plan)))
        return self.store.ledger(BLOCKS, len(plan), length)

    @property
    def is_worth_keeping(self) -> bool:
        """Whether anything was done that would have to be done again."""
        try:
            with talking(self.out):
                return self.store.keeps_something or self.store.has_rows(BLOCKS)
        except RunError:
            return True  # what does not answer is not removed either

    def close(self) -> None:
        """Remove the record: the output is complete and has its name."""
        if isinstance(self.out, Address):
            complete(self.out)
            return
        where = self.out / "run" if output_kind(self.out) == "zarr" else None
        remove(record_path(self.out) if where is None else where)

    def discard(self) -> None:
        """Remove the record and what was begun of the output."""
        _remove_all(self.out)

    def __str__(self) -> str:
        return partial_path(self.out).name

    def _agree(self, facts: dict[str, Any]) -> None:
        kept = self.store.manifest
        check_same(kept, facts, str(self))
        new = {name: value for name, value in facts.items() if name not in kept}
        if new:
            self.store.describe(new)


class RecordKeeper:
    """A place in a record for the state of a training: a `training.keeping.Keeper`.

    Parameters
    ----------
    record
        Of the run that trains.
    slot
        What is trained: one run may train a network and then a student.
    """

    def __init__(self, record: RunRecord, slot: str) -> None:
        self._record, self._slot = record, slot

    @property
    def name(self) -> str:
        """What the user knows the place as."""
        return str(self._record)

    @property
    def fingerprint(self) -> str:
        """What tells the stack from others."""
        return json.dumps(self._record.store.manifest["source"])

    def load(self) -> bytes | None:
        """Return what was saved last, None to begin anew."""
        return self._record.store.kept(self._slot)

    def save(self, content: bytes) -> None:
        """Replace what was saved.

        Raises
        ------
        RunError
            If that is not possible; what was saved before stays.
        """
        with writing(self._record.out, len(content)):
            self._record.store.keep(self._slot, content)

    def clear(self) -> None:
        """Remove what was saved: what was trained is kept as a model."""
        self._record.store.forget(self._slot)


@contextmanager
def recorded(
    out: Location | None, stack: Stack, settings: PredictSettings
) -> Iterator[RunRecord | None]:
    """Open the record of a run, and leave it or remove it as the run ends.

    Parameters
    ----------
    out
        The output; None: nothing is written down. It was checked.
    stack, settings
        What the run is.

    Raises
    ------
    InputError
        If an earlier run is to be gone on with that was another one.
    RunError
        If another run is writing the same output now.
    """
    if out is None:
        yield None
        return
    with _alone(out) if has_record(out) else nullcontext():
        _prepare(out, settings)
    with writing(out, 0):
        record = RunRecord(out)
    with _alone(out):
        with _removed_if_new(record), writing(out, 0):
            record.check(stack, settings)  # if it refuses, nothing is touched
        try:
            with writing(out, 4 * stack.n_voxels):  # what is written down, too
                yield record
        except BaseException as error:
            if not record.is_worth_keeping:
                record.discard()
                raise
            raise _with_advice(error, record) from error
    record.close()


@contextmanager
def _removed_if_new(record: RunRecord) -> Iterator[None]:
    """Leave nothing behind where a run ends before it has said what it is."""
    is_new = "source" not in record.store.manifest
    try:
        yield
    except BaseException:
        if is_new and not record.is_worth_keeping:
            record.discard()
        raise


def _prepare(out: Location, settings: PredictSettings) -> None:
    """Remove what an earlier run has left, unless it is gone on with."""
    if isinstance(out, Address):
        _prepare_address(out, settings)
        return
    where, partial = record_path(out), partial_path(out)
    laid_out = output_kind(out) == "tiff" and not partial.exists()
    if settings.resume and where.is_dir():
        if laid_out and RunStore(where).manifest.get("tiff"):
            raise InputError(
                f"{partial} is gone, which the earlier run had begun to fill; begin "
                f"anew with --overwrite (overwrite=True)."
            )
        return
    if settings.resume and os.path.lexists(partial):
        raise InputError(
            f"{partial} holds no record of a run, so there is nothing to go on with; "
            f"begin anew with --overwrite (overwrite=True)."
        )
    _remove_all(out)


def _prepare_address(out: Address, settings: PredictSettings) -> None:
    """Make room at an address, which has one name for what is old and what is new."""
    if settings.resume and has_record(out):
        return
    _remove_all(out)
    if settings.overwrite:
        remove_store(out)


def _remove_all(out: Location) -> None:
    """Remove the record of a run and what it has begun."""
    if isinstance(out, Path):
        remove(record_path(out))
    for one in (out, uncertainty_path(out)):
        remove_begun(one)


@contextmanager
def _alone(out: Location) -> Iterator[None]:
    """Refuse to write what another run is writing at the moment.

    An object store has no locks: two runs at one address are not told of each other.
    """
    from filelock import FileLock, Timeout

    if isinstance(out, Address):
        yield
        return
    where = record_path(out)
    lock = FileLock(where / ".lock", blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise RunError(
            f"{where.parent.name} is being written by another run at this moment; wait "
            f"for its end, or choose another output."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _with_advice(error: BaseException, record: RunRecord) -> BaseException:
    """Return the error with a sentence that says how to go on."""
    if not isinstance(error, (Cancelled, RunError, SourceError)):
        return error
    kept = f"What is done is kept in {record}: {_GO_ON}."
    told: BlindspotError = type(error)(f"{error} {kept}")
    return told
