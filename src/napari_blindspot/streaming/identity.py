"""What a run is told apart by: its settings, its source and its model.

A run is resumed only by one that would give the very same pixels.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.errors import InputError
from napari_blindspot.io.remote import stamp
from napari_blindspot.location import Address, absolute
from napari_blindspot.planes import middle

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from napari_blindspot.config import Settings
    from napari_blindspot.stack import Stack

_PLANES = 16
_SIDE = 64  # px

WITHOUT_EFFECT = frozenset(
    {"overwrite", "resume", "device", "threads", "memory", "scheduler", "workers"}
)
"""Settings that another run may have otherwise: they do not decide about values."""


def source_fingerprint(stack: Stack) -> dict[str, Any]:
    """Return what a source is known by again.

    The shape, size and date of a single file, and a digest of pixels from the middle of
    some planes: a change anywhere in a folder of chunks need not show. At an address
    the tags and dates of the metadata, where its driver tells them.
    """
    facts: dict[str, Any] = {
        "axes": stack.axes,
        "shape": list(stack.shape),
        "dtype": str(stack.dtype),
        "pixels": _pixel_digest(stack),
    }
    if isinstance(stack.path, Address):
        facts["metadata"] = stamp(stack.path)
    elif stack.path is not None and stack.path.is_file():
        state = stack.path.stat()
        facts |= {"size": state.st_size, "date": state.st_mtime_ns}
    return facts


def settings_identity(settings: Settings) -> dict[str, Any]:
    """Return the settings that decide about values, as JSON values."""
    facts = settings.model_dump(mode="json", exclude=set(WITHOUT_EFFECT))
    for name in facts:
        given = getattr(settings, name)
        if isinstance(given, Path):  # another folder to run in is no other file
            facts[name] = str(absolute(given))
    return {name: facts[name] for name in sorted(facts)}


def run_digest(settings: Settings, source: Mapping[str, Any]) -> str:
    """Return what a finished output is known by: its settings and its source.

    Names of folders do not show in it. Files that settings name count with their size
    and date.

    Parameters
    ----------
    settings
        Those of the run.
    source
        From `source_fingerprint`.
    """
    named = {
        name: (state.st_size, state.st_mtime_ns)
        for name, given in settings
        if (isinstance(given, Path) or name == "start")  # which may be a word
        and (state := _state(Path(given))) is not None
    }
    facts = {"settings": settings_identity(settings), "source": source, "files": named}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _state(path: Path) -> os.stat_result | None:
    try:
        return path.expanduser().stat()
    except OSError:
        return None


def check_same(kept: Mapping[str, Any], now: Mapping[str, Any], where: str) -> None:
    """Refuse to go on with a run that is another one.

    Parameters
    ----------
    kept, now
        Facts of the manifest of both runs; what only one of them has is not compared.
    where
        What the earlier run left, for the message.

    Raises
    ------
    InputError
        Naming what differs.
    """
    for part in sorted(kept.keys() & now.keys()):
        old, new = (json.loads(json.dumps(one[part])) for one in (kept, now))
        if old == new:
            continue
        raise InputError(
            f"{where} was begun {_difference(part, old, new)}; give the same, or begin "
            f"anew with --overwrite (overwrite=True)."
        )


def _difference(part: str, old: Any, new: Any) -> str:
    if part == "settings":
        names = [
            name for name in old.keys() | new.keys() if old.get(name) != new.get(name)
        ]
        first = sorted(names)[0]
        return (
            f"with other settings ({first}={old.get(first)!r}, now "
            f"{first}={new.get(first)!r})"
        )
    if part == "source":
        names = sorted(name for name in old if old[name] != new.get(name))
        return f"on another source, or it was changed since (its {', '.join(names)})"
    if part == "model":
        return "with another model"
    return f"by another {part} ({old}, now {new})"


def _pixel_digest(stack: Stack) -> str:
    """Return a digest of small pieces spread over the stack."""
    digest = hashlib.sha256()
    sizes = stack.sizes
    y, x = (middle(sizes[axis], _SIDE) for axis in "YX")
    count = sizes["T"] * sizes["C"] * sizes["Z"]
    for index in np.linspace(0, count - 1, min(count, _PLANES)).round().astype(int):
        t, rest = divmod(int(index), sizes["C"] * sizes["Z"])
        c, z = divmod(rest, sizes["Z"])
        place = {"T": t, "C": c, "Z": z}
        where = {axis: slice(i, i + 1) for axis, i in place.items()}
        values = stack.read({**where, "Y": y, "X": x})
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
