"""Does the blind spot hide what neighbours share? What the network itself shows.

The diagnosis sees raw planes alone, and noise may be shared in a way that it misses. A
network that sees voxels which share their noise with the hidden one foretells a part of
that noise: held-out voxels scatter around its mean by less than the noise model says,
and what is left is not white. Both together ask for a larger blind spot. A residual
that is not white by itself does not: there the network has left signal behind. Nor does
scatter that is missing at some intensities alone, as where zero cuts the noise of a
dark background.

Whether shared noise was the reason shows behind the larger hole, where the network can
no longer foretell it: held-out voxels must scatter more there. Where they do not, the
hole goes back to what it was.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from napari_blindspot.noise.verdict import (
    LEAST_RESIDUAL,
    LEAST_VOXELS,
    held_out_variance,
    scatter_where_most,
)
from napari_blindspot.training.adjusting import UNTOUCHED, Adjusted
from napari_blindspot.training.holes import Holes
from napari_blindspot.training.inspection import inspect
from napari_blindspot.training.stability import answers_change, next_larger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from napari_blindspot.config import HoleSizes
    from napari_blindspot.model import Answer, Model
    from napari_blindspot.networks.blindspot import BlindSpotNetwork
    from napari_blindspot.noise.verdict import Verdict
    from napari_blindspot.noise.whiteness import Correlation
    from napari_blindspot.progress import CancelToken
    from napari_blindspot.training.inspection import Inspected
    from napari_blindspot.training.sampling import CropSampler

T = TypeVar("T")

LOOK_AT = (0.1, 0.2, 0.3)
"""Parts of the budget after which the network is looked at; the last of them only tells
whether an enlargement was of use."""

_VOXELS = 300_000  # of each channel; a CPU needs a second or two for them
_SURE = 3.0  # standard errors
_RISEN = 0.25  # of the missing scatter that a larger hole must bring back
# Voxels by which a size grows at once: what a network leaves of shared noise rings
# farther than the noise itself is shared (6 px for noise shared over 2).
_MOST_GROWTH = 4
_WHITE = ("white", "unknown")


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of one channel behind one blind spot.

    Parameters
    ----------
    channel
        Which one.
    hole
        Behind which (z, y, x) the network answered.
    scatter, error
        Variance of the held-out residuals over the modelled one, and its standard
        error.
    most
        The same of all voxels in the quarter of the intensities where it is largest.
    residual
        ``"white"``, ``"spatially correlated over 1 px"`` … or ``"unknown"``.
    proposed
        The blind spot that would hide what the residual shares.
    """

    channel: int
    hole: HoleSizes
    scatter: float
    error: float
    most: float
    residual: str
    proposed: HoleSizes

    @property
    def is_short(self) -> bool:
        """Whether scatter is missing beyond doubt, at every intensity."""
        sure = self.scatter + _SURE * self.error < LEAST_RESIDUAL
        return sure and self.most < LEAST_RESIDUAL

    @property
    def asks_for_more(self) -> bool:
        """Whether scatter is missing, and neighbours share the rest."""
        return self.is_short and self.residual not in _WHITE


class Widening:
    """Enlarges the hole that ``"auto"`` chose, where the network asks for it.

    Parameters
    ----------
    sampler
        Knows the stacks and which voxels were held out.
    holes
        What the diagnosis chose.
    largest
        What no size (z, y, x) may exceed, e.g. a training hole that was asked for.
    device
        Where the network is.
    cancel
        Asked while planes are looked at.
    answer
        Of the network; a mean alone comes without a variance of its own.
    """

    def __init__(
        self,
        sampler: CropSampler,
        holes: Holes,
        largest: HoleSizes,
        device: torch.device,
        cancel: CancelToken,
        answer: Answer,
    ) -> None:
        self.sampler = sampler
        self.began = self.holes = holes
        self.refused: HoleSizes | None = None
        self.largest = largest
        self.device = device
        self.cancel = cancel
        self.answer = answer
        self.looks: list[Look] = []
        self._calls = 0
        self._on_trial: tuple[Holes, list[Look]] | None = None

    def __call__(self, network: BlindSpotNetwork) -> Adjusted:
        """Look at every channel, and say which hole training goes on behind."""
        self._calls += 1
        last = self._calls == len(LOOK_AT)
        if self.refused or (last and self._on_trial is None):
            return UNTOUCHED
        channels = sorted({one.series.channel for one in self.sampler.sources})
        looks = [self._look(network, channel) for channel in channels]
        self.looks += looks
        if self._on_trial is not None:
            holes, before = self._on_trial
            self._on_trial = None
            if not _has_risen(before, looks):
                return self._taken_back(holes)
        return UNTOUCHED if last else self._enlarged(looks)

    def _enlarged(self, looks: list[Look]) -> Adjusted:
        asking = [one for one in looks if one.asks_for_more]
        before = self.holes.result
        after = before
        for one in asking:
            after = _grown(after, before, one.proposed, self.largest)
        if after == before:
            return UNTOUCHED
        self._on_trial = self.holes, looks
        train = _union(self.holes.train, after)
        self.holes = replace(self.holes, train=train, result=after)
        found = min(asking, key=_scatter)
        return Adjusted(
            f"Held-out voxels scatter {1 - found.scatter:.0%} less than the noise "
            f"model says, and what is left is {found.residual}: the blind spot grows "
            f"from {_words(before)} to {_words(after)} (z y x), and training goes on.",
            train,
        )

    def _taken_back(self, holes: Holes) -> Adjusted:
        self.refused = self.holes.result
        self.holes = holes
        return Adjusted(
            f"Behind {_words(self.refused)} held-out voxels do not scatter more, so "
            f"neighbours do not share what the noise model says too much: the blind "
            f"spot goes back to {_words(holes.result)} (z y x).",
            holes.train,
        )

    def memory(self) -> dict[str, Any]:
        """Return what was seen and decided so far, as JSON-able facts."""
        trial = self._on_trial
        return {
            "calls": self._calls,
            "holes": asdict(self.holes),
            "refused": self.refused,
            "looks": [asdict(one) for one in self.looks],
            "on_trial": trial and [asdict(trial[0]), [asdict(one) for one in trial[1]]],
        }

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Take up what `memory` returned."""
        self._calls = memory["calls"]
        self.holes = _read(Holes, memory["holes"])
        self.refused = None if memory["refused"] is None else _hole(memory["refused"])
        self.looks = [_read(Look, one) for one in memory["looks"]]
        self._on_trial = None
        if memory["on_trial"] is not None:
            before, looks = memory["on_trial"]
            self._on_trial = _read(Holes, before), [_read(Look, one) for one in looks]

    def settled(self, model: Model) -> tuple[str, dict[str, Any]]:
        """Say what became of the choice, and how stable the answer is.

        Parameters
        ----------
        model
            Trained, not yet recalibrated.

        Returns
        -------
        str
            One sentence.
        dict
            The same as JSON-able facts.
        """
        hole, larger = self.holes.result, next_larger(self.holes.result)
        change = answers_change(model, self.sampler, hole, larger, self.device)
        stable = (
            "how much it decides about the answer cannot be told"
            if change is None
            else f"behind {_words(larger)} the answer would change by {change:.2f} of "
            f"the noise (rms, held-out voxels)"
        )
        sentence = f"Blind spot {_words(hole)} (z y x): {self._why()}; {stable}."
        return sentence, {
            "diagnosed": list(self.began.result),
            "hole": list(hole),
            "refused": list(self.refused) if self.refused else None,
            "larger": list(larger),
            "change": change,
            "looks": [asdict(one) for one in self.looks],
            "sentence": sentence,
        }

    def judged(self, verdict: Verdict) -> Verdict:
        """Return a verdict after training, without advice that was tried in vain."""
        short = verdict.residual < LEAST_RESIDUAL and not verdict.fallback
        if self.refused is None or not short:
            return verdict
        return replace(
            verdict,
            sentence=f"held-out voxels scatter {1 - verdict.residual:.0%} less than "
            f"the noise model says, and no more behind a larger blind spot: it says "
            f"too much in a part of the image (a background that zero cuts, compressed "
            f"or filtered data?), where detail may have been taken for noise and the "
            f"uncertainty is too large.",
        )

    def _why(self) -> str:
        """Say why the hole is what it is, by the channel that scatters least."""
        began = self.began.result
        if not self.looks:
            return "as the diagnosis asks for"
        first = min((one for one in self.looks if one.hole == began), key=_scatter)
        less = (
            f"held-out voxels scatter {1 - first.scatter:.0%} less than the noise "
            f"model says"
        )
        if self.holes.result != began:
            return f"the diagnosis asked for {_words(began)}, but there {less}"
        if self.refused is not None:
            return f"{less}, but no more behind {_words(self.refused)}"
        if first.is_short:
            white = first.residual in _WHITE
            return f"{less}, but " + (
                "what is left is white" if white else "the blind spot may not grow"
            )
        if first.scatter < LEAST_RESIDUAL:
            return f"{less}, but not at every intensity, as with shared noise"
        return (
            f"as the diagnosis asks for, and held-out voxels scatter as the noise "
            f"model says ({first.scatter - 1:+.0%})"
        )

    def _look(self, network: BlindSpotNetwork, channel: int) -> Look:
        mine = [
            number
            for number, source in enumerate(self.sampler.sources)
            if source.series.channel == channel
        ]
        hole = self.holes.result
        found = inspect(
            network, self.sampler, mine, self.device, self.cancel, _VOXELS, hole
        )
        scatter, error, most = self._scatter_of(found)
        seen = found.correlation
        return Look(
            channel,
            hole,
            scatter,
            error,
            most,
            "unknown" if seen is None else seen.verdict,
            hole if seen is None else _proposed(seen),
        )

    def _scatter_of(self, found: Inspected) -> tuple[float, float, float]:
        seen = found.residuals
        if seen.y.size < LEAST_VOXELS:
            return 1.0, 1.0, 1.0
        if self.answer == "mean":
            seen = replace(seen, variance=0 * seen.variance)
        return *held_out_variance(seen), scatter_where_most(seen)


def _has_risen(before: list[Look], after: list[Look]) -> bool:
    """Return whether a larger hole brought missing scatter back in some channel."""
    return any(
        new.scatter - old.scatter >= _RISEN * (1 - old.scatter)
        for old, new in zip(before, after, strict=True)
        if old.asks_for_more
    )


def _proposed(seen: Correlation) -> HoleSizes:
    z, y, x = seen.hole
    return z, y, x


def _grown(
    hole: HoleSizes, before: HoleSizes, wanted: HoleSizes, largest: HoleSizes
) -> HoleSizes:
    """Return a hole enlarged towards what is wanted, by no more than is believed."""
    z, y, x = (
        max(size, min(asked, old + _MOST_GROWTH, most))
        for size, old, asked, most in zip(hole, before, wanted, largest, strict=True)
    )
    return z, y, x


def _union(one: HoleSizes, other: HoleSizes) -> HoleSizes:
    z, y, x = (max(pair) for pair in zip(one, other, strict=True))
    return z, y, x


def _read(kind: type[T], facts: Mapping[str, Any]) -> T:
    """Return what `asdict` described, whose only lists are holes."""
    return kind(
        **{
            name: _hole(value) if isinstance(value, (list, tuple)) else value
            for name, value in facts.items()
        }
    )


def _hole(sizes: Sequence[int]) -> HoleSizes:
    z, y, x = sizes
    return z, y, x


def _scatter(look: Look) -> float:
    return look.scatter


def _words(hole: HoleSizes) -> str:
    return " ".join(map(str, hole))
