"""The start weights that the package ships: found for a network, checked and read.

``weights/index.json`` names every file with its checksum and the network it is of;
``weights/CARD.md`` says how they were made, and their limits.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from napari_blindspot.config import NetworkSettings
from napari_blindspot.config.students import StudentSettings
from napari_blindspot.errors import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.resources.abc import Traversable

    from torch import Tensor


CONTEXT = 2
"""Neighbour planes on either side that start weights are made for."""

SIZES = ("width", "depth", "neighbour_width")
"""Settings in which a teacher may exceed that of its start weights."""

ALIKE = ("half_planes", "units")
"""Settings in which it must agree with it."""


@dataclass(frozen=True, slots=True)
class Shipped:
    """One file of start weights.

    Parameters
    ----------
    name
        Without suffix.
    sha256
        Of the file.
    network
        Settings of the network that was pretrained.
    facts
        How it was made: steps, seed, version, date, and its loss on generated
        recordings that it was not trained on.
    """

    name: str
    sha256: str
    network: NetworkSettings | StudentSettings
    facts: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return what the provenance keeps of a start from them."""
        return {"name": self.name, "sha256": self.sha256, **self.facts}


def shipped_student_for(settings: StudentSettings) -> Shipped | None:
    """Return the start weights made for students of this shape, None without."""
    alike = ("width", "depth", "channels", "units")
    for one in _listed():
        theirs = one.network
        same = isinstance(theirs, StudentSettings) and all(
            getattr(theirs, name) == getattr(settings, name) for name in alike
        )
        if same and theirs.context >= settings.context:
            return one
    return None


def shipped_within(settings: NetworkSettings) -> Shipped | None:
    """Return the start weights of the largest teacher that a network can hold.

    Parameters
    ----------
    settings
        Of the network; what its half-planes see does not count, and its neighbour
        planes only if there are any.

    Returns
    -------
    Shipped or None
        None if every teacher exceeds it in one of `SIZES`, sees fewer planes, or sees
        them in other units.
    """
    counted = SIZES if settings.context else SIZES[:2]
    found: Shipped | None = None
    for one in _listed():
        theirs = one.network
        if not isinstance(theirs, NetworkSettings) or theirs.units != settings.units:
            continue
        held = all(getattr(theirs, n) <= getattr(settings, n) for n in counted)
        larger = found is None or found.network.width < theirs.width
        if held and larger and theirs.context >= settings.context:
            found = one
    return found


def read_weights(one: Shipped, folder: Traversable | None = None) -> dict[str, Tensor]:
    """Read start weights; single precision.

    Raises
    ------
    ModelFileError
        If the file is missing or is not what was shipped.
    """
    from safetensors.torch import load

    path = (folder or weights_folder()) / f"{one.name}.safetensors"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelFileError(
            f"the start weights {one.name} cannot be read ({error.strerror}); install "
            f"napari-blindspot anew to have them back."
        ) from error
    if hashlib.sha256(content).hexdigest() != one.sha256:
        raise ModelFileError(
            f"the start weights {one.name} are not as they were shipped (their "
            f"checksum differs); install napari-blindspot anew to have them back."
        )
    return {name: tensor.float() for name, tensor in load(content).items()}


def _listed() -> tuple[Shipped, ...]:
    """Return what comes with the package; there is always something."""
    if found := read_index(weights_folder()):
        return found
    raise ModelFileError(
        "the list of the start weights is missing; install napari-blindspot anew to "
        "have them back."
    )


def read_index(folder: Traversable) -> tuple[Shipped, ...]:
    """Return what a folder of start weights holds; nothing if it has no index.

    Raises
    ------
    ModelFileError
        If the index is damaged.
    """
    try:
        listed = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        return tuple(_entry(**one) for one in listed)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError) as error:
        raise ModelFileError(
            "the list of the start weights is damaged; install napari-blindspot anew "
            "to have them back."
        ) from error


def _entry(name: Any, sha256: Any, network: Any, facts: Any) -> Shipped:
    """Return one entry of the index, or raise if it is none."""
    if not all(isinstance(one, dict) for one in (network, facts)):
        raise TypeError("an entry has no network or no facts")
    if not isinstance(network.get("context"), int):
        raise ValueError("an entry does not tell its context planes")
    kind = NetworkSettings if "half_planes" in network else StudentSettings
    return Shipped(str(name), str(sha256), kind.model_validate(network), facts)


def weights_folder() -> Traversable:
    """Return the folder of the shipped files."""
    return files("napari_blindspot.starts") / "weights"
