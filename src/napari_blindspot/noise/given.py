"""What the user knows of the camera, held against the noise that the stack shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.noise.samples import SHARED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindspot.noise.estimate import MeanVariance
    from napari_blindspot.noise.models import NoiseModel

_TOLERATED = math.log(1.1)  # of the variance: what data sheets are good for
_SURE = 3.0  # standard errors
_PARTS = ("dark", "middle", "bright")
_FACTOR = 2.0  # from here on "3 times" is plainer than "200 % larger"


@dataclass(frozen=True, slots=True)
class GivenNoise:
    """What was given about the noise of one channel, held against the stack.

    Parameters
    ----------
    explains
        Whether the given noise is that of the stack; None where that cannot be told.
    sentence
        The same in words.
    noise
        The given noise; what was not given is estimated. None where it is impossible.
    ratio
        Measured over given variance, by part of the stack: ``"all"``, ``"dark"``,
        ``"middle"``, ``"bright"``; empty where nothing was measured.
    notes
        What was taken off the stack before, one sentence each.
    """

    explains: bool | None
    sentence: str
    noise: NoiseModel | None = None
    ratio: tuple[tuple[str, float], ...] = ()
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able facts."""
        return {
            "explains": self.explains,
            "sentence": self.sentence,
            "noise": self.noise.as_dict() if self.noise is not None else None,
            "measured_over_given_variance": dict(self.ratio),
            "notes": list(self.notes),
        }


def hold_against(
    noise: NoiseModel,
    points: MeanVariance,
    subject: str,
    advice: str,
    notes: Sequence[str] = (),
) -> GivenNoise:
    """Compare a given noise with the measured mean–variance points of a channel.

    Parameters
    ----------
    noise
        Of an average pixel, data units.
    points
        Measured in the stack after correction, data units; may be empty.
    subject
        What was given, as it is called in the sentence.
    advice
        What to do where it does not explain the noise.
    notes
        What was taken off the stack before.
    """
    told = tuple(notes)
    if points.mean.size < len(_PARTS):
        sentence = f"Whether {subject} explain the noise cannot be told from this stack"
        return GivenNoise(None, f"{sentence}.", noise, (), told)
    order = np.argsort(points.mean)
    given = np.array([noise.ordinary.variance(float(x)) for x in points.mean[order]])
    measured, count = points.variance[order], points.count[order]
    parts = [np.arange(order.size), *np.array_split(np.arange(order.size), len(_PARTS))]
    ratios = [_ratio(measured[i], given[i], count[i]) for i in parts]
    limit = [
        _TOLERATED + _SURE * math.sqrt(2 * SHARED / float(count[i].sum()))
        for i in parts
    ]
    off = [abs(math.log(one)) > most for one, most in zip(ratios, limit, strict=True)]
    named = tuple(zip(("all", *_PARTS), ratios, strict=True))
    if not any(off):
        sentence = (
            f"{subject[0].upper()}{subject[1:]} explain the noise: its variance is "
            f"{ratios[0]:.2f} times what they say."
        )
        return GivenNoise(True, sentence, noise, named, told)
    sentence = f"{_words(ratios, off, subject)}; {advice}."
    return GivenNoise(False, sentence, noise, named, told)


def _ratio(
    measured: NDArray[np.float64],
    given: NDArray[np.float64],
    count: NDArray[np.float64],
) -> float:
    """Return measured over given variance, both summed over the voxels."""
    total = float(np.sum(given * count))
    least = 1e-6 * float(np.sum(measured * count))
    return float(np.sum(measured * count)) / max(total, least, 1e-300)


def _words(ratios: Sequence[float], off: Sequence[bool], subject: str) -> str:
    whole, *parts = ratios
    alike = all(math.log(one) * math.log(whole) > 0 for one in parts)
    if off[0] and alike and all(off[1:]):
        return f"The variance of the noise is {_compared(whole, subject)}"
    worst = max(range(len(parts)), key=lambda i: abs(math.log(parts[i])) * off[i + 1])
    if not off[worst + 1]:
        return f"The variance of the noise is {_compared(whole, subject)}"
    return (
        f"In the {_PARTS[worst]} parts the variance of the noise is "
        f"{_compared(parts[worst], subject)}"
    )


def _compared(ratio: float, subject: str) -> str:
    if ratio >= _FACTOR or ratio <= 1 / _FACTOR:
        return f"about {ratio:.2g} times what {subject} say"
    side = "larger" if ratio > 1 else "smaller"
    return f"about {abs(ratio - 1):.0%} {side} than {subject} say"
