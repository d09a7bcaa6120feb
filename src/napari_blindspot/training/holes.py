"""Which blind spot for the training, and which for the result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_blindspot.errors import InputError
from napari_blindspot.measure.shared_noise import shared_noise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindspot.config import HoleSizes, TrainSettings
    from napari_blindspot.measure.channels import Channel
    from napari_blindspot.methods import Method
    from napari_blindspot.model import Answer, Model
    from napari_blindspot.noise.whiteness import Correlation
    from napari_blindspot.stack import Stack


@dataclass(frozen=True, slots=True)
class Holes:
    """The blind spots (z, y, x) of one network.

    Parameters
    ----------
    train, result
        Behind which it learns and answers.
    sentence
        Why, where that was found out; else empty.
    """

    train: HoleSizes
    result: HoleSizes
    sentence: str = ""

    @property
    def tunable(self) -> bool:
        """Whether other holes than that of the training are asked for."""
        return self.train != self.result


def choose_holes(
    settings: TrainSettings,
    method: Method,
    stacks: Sequence[Stack],
    channels: Sequence[Channel],
) -> Holes:
    """Choose the blind spots by the settings, the method, or the stacks themselves.

    Parameters
    ----------
    settings
        Of the training; ``hole="auto"`` asks the stacks.
    method
        Knows the holes that are meant where nothing is said.
    stacks, channels
        Measured only for ``"auto"``.

    Raises
    ------
    InputError
        If the training hole does not hold what is asked of the result.
    """
    if settings.hole != "auto":
        train = settings.train_hole
        if settings.hole is None:
            result = method.hole
            train = train or method.train_hole or result
            # Planes that were never seen in training tell the network nothing.
            result = (train[0], min(result[1], train[1]), min(result[2], train[2]))
        else:
            result = settings.hole
            wanted = method.train_hole or result
            larger = (max(pair) for pair in zip(result, wanted, strict=True))
            train = train or (next(larger), next(larger), next(larger))
        return Holes(train, result)
    found = found_holes(stacks, channels, settings.train_hole, method.answer)
    if settings.train_hole is not None or method.train_hole is None:
        return found
    larger = (max(pair) for pair in zip(found.result, method.train_hole, strict=True))
    return replace(found, train=(next(larger), next(larger), next(larger)))


def found_holes(
    stacks: Sequence[Stack],
    channels: Sequence[Channel],
    train_hole: HoleSizes | None = None,
    answer: Answer = "posterior",
) -> Holes:
    """Choose the smallest hole that hides what neighbours share, in all of them.

    Training and result have the same one, and the posterior brings in the voxel's own
    value: in ``benchmarks/correlated.py`` that was at least as good as the mean behind
    any smaller hole.

    Parameters
    ----------
    stacks, channels
        What is measured, each stack in every channel, and what was measured of all of
        them together.
    train_hole
        The one that was asked for; default: that of the result.
    answer
        Of the network; only the sentence depends on it.

    Raises
    ------
    InputError
        If `train_hole` is smaller.
    """
    found = [
        _correlation(stack, index, one)
        for stack in stacks
        for index, one in enumerate(channels)
    ]
    known = [one for one in found if one is not None]
    sizes = [one.hole for one in known] or [(1, 1, 1)]
    z, y, x = (max(axis) for axis in zip(*sizes, strict=True))
    hole = (z, y, x)
    words = " ".join(map(str, hole))
    verdicts = dict.fromkeys(one.verdict for one in known if one.verdict != "unknown")
    why = (
        f"The noise is {' and '.join(verdicts)}"
        if verdicts
        else "It cannot be told whether neighbours share their noise"
    )
    sentence = f"{why}: blind spot {words} (z y x)"
    if len(stacks) > 1:
        sentence += f", the largest sizes that one of the {len(stacks)} stacks asks for"
    if answer == "posterior":
        sentence += ", and the voxel's own value is weighed by the noise model"
    if train_hole is None:
        return Holes(hole, hole, sentence)
    if any(one > other for one, other in zip(hole, train_hole, strict=True)):
        raise InputError(
            f"train_hole={train_hole} is smaller than the blind spot {hole} that the "
            f"noise of this stack asks for; leave train_hole out with hole='auto'."
        )
    return Holes(train_hole, hole, sentence)


def as_learnt(found: Holes, model: Model) -> Holes:
    """Return no smaller hole than the one that a model found to be needed.

    Parameters
    ----------
    found
        What the diagnosis of a stack asks for.
    model
        A teacher. Where its training enlarged the hole that the diagnosis of its own
        stack had asked for, diagnoses miss what the neighbours share.
    """
    choice = model.provenance.get("hole_choice") or {}
    own = model.result_hole
    if choice.get("hole") == choice.get("diagnosed"):
        return found
    z, y, x = (max(pair) for pair in zip(own, found.result, strict=True))
    hole = (z, y, x)
    words = " ".join(map(str, own))
    return Holes(
        hole,
        hole,
        f"{found.sentence}; but no smaller than {words}, which the model turned out to "
        f"need in its training",
    )


def _correlation(stack: Stack, index: int, channel: Channel) -> Correlation | None:
    try:
        return shared_noise(stack, index, channel)
    except InputError:  # too small to tell
        return None
