"""The state of a training, kept now and then, so that a stopped one can go on.

Who trains describes its state by facts and tensors (`Kept`); `Keeping` decides when
they are packed and hands the bytes to a `Keeper`, which knows a safe place for them.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from napari_blindspot.config import CAMERA_FILES
from napari_blindspot.errors import Cancelled, CheckpointError, RunError
from napari_blindspot.training.checkpoint import BEGIN_ANEW, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

    from napari_blindspot.config import Settings

INTERVAL_S = 30.0
"""Least time between two times that the state is kept."""

SHARE = 0.01
"""Largest part of the time that may be spent on keeping, from the second time on."""

_UNFIT = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


class Keeper(Protocol):
    """A safe place for the state of one training: a file, an entry of a store."""

    @property
    def name(self) -> str:
        """What the user knows the place as, for messages."""

    @property
    def fingerprint(self) -> str:
        """What tells the stacks from others; a training goes on with the same alone."""

    def load(self) -> bytes | None:
        """Return what was saved last, None to begin anew; called once, at the start."""

    def save(self, content: bytes) -> None:
        """Replace what was saved, so that at any moment one of the two is whole.

        Raises
        ------
        RunError
            If that is not possible; what was saved before stays.
        """


class Kept(Protocol):
    """A training whose state can be written down and taken up again."""

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return JSON-able facts, and tensors by name."""

    def restore(self, facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Become what `state` described."""


class Remembering(Protocol):
    """Someone who looks on while a network is trained, and remembers what was seen."""

    def memory(self) -> dict[str, Any]:
        """Return what is remembered as JSON-able facts."""

    def remember(self, memory: dict[str, Any]) -> None:
        """Remember what `memory` returned, with all that follows from it."""


class Keeping:
    """Keeps the state of a training seldom enough, and when it is stopped.

    Parameters
    ----------
    keeper
        Where to; None: nothing is kept.
    asked, plan
        Settings that the training depends on, and what follows from them beside the
        stack; JSON-able. A state that was kept under other values is refused.
    parts
        Who remembers something besides, by name.
    """

    def __init__(
        self,
        keeper: Keeper | None = None,
        asked: Mapping[str, Any] | None = None,
        plan: Mapping[str, Any] | None = None,
        parts: Mapping[str, Remembering] | None = None,
    ) -> None:
        self.keeper = keeper
        self.asked, self.plan = _as_read(asked), _as_read(plan)
        self.parts = dict(parts or {})
        self._next_s = time.perf_counter() + INTERVAL_S

    @property
    def is_due(self) -> bool:
        """Whether it is time to keep the state again."""
        return self.keeper is not None and time.perf_counter() >= self._next_s

    def taken_up(self, kept: Kept) -> bool:
        """Give a training the state that was kept; say whether there was one.

        Raises
        ------
        CheckpointError
            If the state is damaged, of another format, stack or settings.
        """
        content = None if self.keeper is None else self.keeper.load()
        if self.keeper is None or content is None:
            return False
        name = self.keeper.name
        facts, tensors = unpack(content, name)
        self._refuse_others(facts, self.keeper)
        try:
            for part, memory in facts["parts"].items():
                self.parts[part].remember(memory)
            kept.restore(facts["state"], tensors)
        except _UNFIT as error:
            raise CheckpointError(
                f"{name} does not fit this training: it was kept by another version of "
                f"napari-blindspot; go on with that version, or {BEGIN_ANEW}."
            ) from error
        return True

    def save(self, kept: Kept) -> float:
        """Keep the state as it is now; return the seconds that took.

        Raises
        ------
        RunError
            If it cannot be written; it is tried again later.
        """
        if self.keeper is None:
            return 0.0
        start_s = time.perf_counter()
        try:
            self.keeper.save(self._content(kept))
        finally:
            spent_s = time.perf_counter() - start_s
            self._next_s = start_s + max(INTERVAL_S, spent_s / SHARE)
        return spent_s

    @contextmanager
    def if_stopped(self, kept: Kept, *, as_before: bool = False) -> Iterator[None]:
        """Keep the state if what follows is cancelled, or nobody asks for more of it.

        Parameters
        ----------
        kept
            The training.
        as_before
            Keep the state before what follows, which changes it bit by bit.

        Raises
        ------
        RunError
            In place of `Cancelled`, if the state cannot be written.
        """
        if self.keeper is None:
            yield
            return
        before = self._content(kept) if as_before else None
        try:
            yield
        except Cancelled:
            self.keeper.save(before or self._content(kept))
            raise
        except GeneratorExit:
            with suppress(RunError):  # another error is on its way
                self.keeper.save(before or self._content(kept))
            raise

    def _content(self, kept: Kept) -> bytes:
        facts, tensors = kept.state()
        fingerprint = "" if self.keeper is None else self.keeper.fingerprint
        parts = {name: part.memory() for name, part in self.parts.items()}
        return pack(
            {
                "fingerprint": fingerprint,
                "asked": self.asked,
                "plan": self.plan,
                "parts": parts,
                "state": facts,
            },
            tensors,
        )

    def _refuse_others(self, facts: Mapping[str, Any], keeper: Keeper) -> None:
        if facts.get("fingerprint") != keeper.fingerprint:
            raise CheckpointError(
                f"{keeper.name} belongs to another stack, or the stack was changed "
                f"since; give the one it was begun with, or {BEGIN_ANEW}."
            )
        before = facts.get("asked", {})
        names = [name for name in self.asked if before.get(name) != self.asked[name]]
        if names:
            raise CheckpointError(
                f"{keeper.name} was begun with {_listed(names, before)}, but "
                f"{_listed(names, self.asked)} is asked for now; give the same "
                f"settings, or {BEGIN_ANEW}."
            )
        if facts.get("plan") != self.plan:
            raise CheckpointError(
                f"{keeper.name} was begun with another network or schedule, as another "
                f"device, start or version brings along; use the same, or "
                f"{BEGIN_ANEW}."
            )


def asked_by(settings: Settings, only: set[str]) -> dict[str, Any]:
    """Return some settings as what a training depends on: of files their names."""
    asked = settings.model_dump(mode="json", include=only - {"device", "threads"})
    for name in (*CAMERA_FILES, "start"):
        if asked.get(name):
            asked[name] = Path(asked[name]).name
    return asked


def _as_read(facts: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return facts as they are when they were written as JSON and read back."""
    read: dict[str, Any] = json.loads(json.dumps(dict(facts or {})))
    return read


def _listed(names: list[str], values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={values.get(name)!r}" for name in names)
