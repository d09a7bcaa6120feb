"""What may be changed in the midst of training, by who looks at the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_blindspot.networks.blindspot import BlindSpotNetwork

if TYPE_CHECKING:
    from napari_blindspot.networks.blindspot import Hole


@dataclass(frozen=True, slots=True)
class Adjusted:
    """What somebody changed who looked at the network in training.

    Parameters
    ----------
    sentence
        About it; empty where all stays as it was. Otherwise held-out scores from
        before cannot be compared with those from now on.
    hole
        Blind spot (z, y, x) behind which training goes on; None: the same.
    """

    sentence: str = ""
    hole: Hole | None = None


UNTOUCHED = Adjusted()
"""All stays as it was."""

Adjust = Callable[[BlindSpotNetwork], Adjusted]
"""Looks at the averaged network and may change what the sampler says of the noise."""

Schedule = tuple[tuple[float, Adjust], ...]
"""After which part of the budget who looks, in rising order."""
