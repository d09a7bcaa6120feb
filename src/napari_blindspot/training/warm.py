"""Where training starts from: shipped weights, a model of the user's, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_blindspot.config import NetworkSettings
from napari_blindspot.errors import BlindspotError, InputError
from napari_blindspot.model_file import load_model
from napari_blindspot.starts.grow import load_fitting
from napari_blindspot.starts.shipped import (
    ALIKE,
    SIZES,
    read_weights,
    shipped_within,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from napari_blindspot.model import Model
    from napari_blindspot.networks.blindspot import BlindSpotNetwork

_NOT_WARM = "There is no warm start"


@dataclass(frozen=True, slots=True, eq=False)
class Beginning:
    """What a network knows before it has seen the stack.

    Parameters
    ----------
    network
        Settings of the network that is trained.
    name
        ``"cold"``, or of the weights: their file's.
    weights
        Parameters by name; None of a cold start.
    made_for
        Settings of the network that the weights were made for; None of a cold start.
    facts
        About the weights, for the provenance.
    sentence
        For the user; empty where all is as expected.
    """

    network: NetworkSettings
    name: str = "cold"
    weights: Mapping[str, Tensor] | None = None
    made_for: NetworkSettings | None = None
    facts: Mapping[str, Any] | None = None
    sentence: str = ""

    @property
    def is_warm(self) -> bool:
        """Whether there are weights."""
        return self.weights is not None

    @property
    def grows(self) -> bool:
        """Whether the network is larger than that of the weights."""
        made_for, network = self.made_for, self.network
        return made_for is not None and any(
            getattr(network, name) > getattr(made_for, name) for name in SIZES
        )

    def give(self, network: BlindSpotNetwork) -> None:
        """Load the weights into a network, if there are any; a larger one grows."""
        if self.weights is not None and self.made_for is not None:
            load_fitting(network, self.weights, self.made_for)

    def as_dict(self) -> dict[str, Any]:
        """Return the start for the provenance."""
        facts = {"name": self.name, **(self.facts or {})}
        if self.grows:
            facts["grown_from"] = {name: getattr(self.made_for, name) for name in SIZES}
        return facts


def check_start(start: str) -> None:
    """Refuse a model that no training can start from, before any work.

    Raises
    ------
    InputError
        If its network has no blind spot.
    ModelFileError
        If its file cannot be read.
    """
    if start not in ("warm", "cold"):
        _read_model(start)


def begin(
    start: str, network: NetworkSettings, *, untrained: bool = False
) -> Beginning:
    """Choose where training starts from.

    Parameters
    ----------
    start
        ``"warm"``, ``"cold"``, or the path of a model file.
    network
        The network that the recipe and the stack ask for.
    untrained
        Nothing will be learnt, so a network that would have to grow from the weights
        of a smaller one has no more to say; the smaller one takes its place.

    Returns
    -------
    Beginning
        Cold with a sentence where shipped weights cannot be used. Else its network
        agrees with that of the weights in `ALIKE`.

    Raises
    ------
    InputError
        If the model of the user's cannot be the start of this stack.
    ModelFileError
        If its file cannot be read.
    """
    if start == "cold":
        return Beginning(network)
    if start != "warm":
        return _from_model(_read_model(start), start, network)
    return _from_package(network, untrained)


def _from_package(network: NetworkSettings, untrained: bool) -> Beginning:
    if network.channels > 1:
        return Beginning(
            network,
            sentence="Channels that are denoised together start cold: the start "
            "weights are of single channels",
        )
    in_noise = network.model_copy(update={"units": "noise"})
    try:
        shipped = shipped_within(in_noise)
        if shipped is None:
            return Beginning(
                network,
                sentence=f"{_NOT_WARM}: there are no start weights for a network of "
                f"this size",
            )
        weights = read_weights(shipped)
    except BlindspotError as error:
        told = str(error).rstrip(".")
        return Beginning(network, sentence=f"{_NOT_WARM}: {told}")
    made_for = shipped.network
    assert isinstance(made_for, NetworkSettings)
    own = _taken(made_for, (*SIZES, *ALIKE) if untrained else ALIKE)
    facts = {"sha256": shipped.sha256, **shipped.facts}
    return Beginning(
        in_noise.model_copy(update=own), shipped.name, weights, made_for, facts
    )


def _read_model(path: str) -> Model:
    """Read a model of the user's whose network can be trained further."""
    model = load_model(path)
    if model.is_student:
        raise InputError(
            f"start={path!r} is a student, which has no blind spot to train on; give "
            f"the model of its teacher, 'warm' or 'cold'."
        )
    if not model.has_hole:
        raise InputError(
            f"start={path!r} was trained by method={model.method!r}, whose network has "
            f"no blind spot; give a model of another method, 'warm' or 'cold'."
        )
    return model


def _from_model(model: Model, path: str, network: NetworkSettings) -> Beginning:
    """Start from a model of the user's, whose shape the network takes over."""
    theirs = model.teacher.settings
    if theirs.channels != network.channels:
        raise InputError(
            f"start={path!r} denoises {_at_a_time(theirs.channels)}, but this training "
            f"{_at_a_time(network.channels)}; give a model that was trained like this, "
            f"'warm' or 'cold'."
        )
    if theirs.channels > 1 and theirs.covariance != network.covariance:
        raise InputError(
            f"start={path!r} was trained with covariance={theirs.covariance!r}, but "
            f"covariance={network.covariance!r} is asked for; give the same, 'warm' or "
            f"'cold'."
        )
    if theirs.context < network.context:
        network = network.model_copy(update={"context": theirs.context})
    if theirs.context > network.context and theirs.units != "noise":
        raise InputError(
            f"start={path!r} sees {theirs.context} neighbour planes on either side, "
            f"but here a plane is denoised with {network.context}; give a model that "
            f"sees as few, 'warm' or 'cold'."
        )
    return Beginning(
        network.model_copy(update=_taken(theirs, (*SIZES, *ALIKE))),
        "model",
        dict(model.teacher.named_parameters()),
        theirs,
        {"file": Path(path).name, "sources": model.provenance.get("sources")},
    )


def _at_a_time(channels: int) -> str:
    return f"{channels} channels together" if channels > 1 else "one channel at a time"


def _taken(settings: NetworkSettings, names: Sequence[str]) -> dict[str, Any]:
    """Return what a network takes over from another one."""
    return {name: getattr(settings, name) for name in names}
