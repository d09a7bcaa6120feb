"""What is told while a tile is denoised: planes that are done, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy as np
    from numpy.typing import NDArray

    Maps = NDArray[np.float32]
    Bits = Generator[float, None, tuple[Maps, Maps]]


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """What is known of some planes of a tile.

    Parameters
    ----------
    part
        Which of the planes that were asked for.
    mean, std
        (batch, Y, X) float32 in data units.
    """

    part: slice
    mean: NDArray[np.float32]
    std: NDArray[np.float32]


def scaled(bits: Bits, part: slice, count: int) -> Bits:
    """Follow some of `count` planes; yields which part of all is done."""
    while True:
        try:
            share = next(bits)
        except StopIteration as end:
            mean, std = end.value
            return mean, std
        yield (part.start + share * (part.stop - part.start)) / count
