"""What a preview shows: a plane before and after, and a blend of both. No Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.inference.places import Place


class Canvas:
    """A part of a plane that is denoised piece by piece.

    Parameters
    ----------
    place
        Which part.
    noisy
        (rows, columns) float32, data units; it stands where nothing is denoised yet.
    before
        What was shown of the same place, to stand there in its stead; None: nothing.
    """

    def __init__(
        self, place: Place, noisy: NDArray[np.float32], before: Canvas | None = None
    ) -> None:
        self.place = place
        self.noisy = noisy
        self.denoised: NDArray[np.float32]
        start = noisy if before is None or before.place != place else before.denoised
        self.denoised = start.copy()
        self.shown = noisy.copy()
        """The blend, (rows, columns) float32; written in place."""

    def put(self, place: Place, pixels: NDArray[np.float32], strength: float) -> None:
        """Take a denoised piece, and blend it."""
        rows = _within(place.y, self.place.y)
        columns = _within(place.x, self.place.x)
        self.denoised[rows, columns] = pixels
        self._blend(strength, rows, columns)

    def blend(self, strength: float) -> None:
        """Blend all of it anew.

        Parameters
        ----------
        strength
            1: denoised; 0: noisy.
        """
        self._blend(strength, slice(None), slice(None))

    def _blend(self, strength: float, rows: slice, columns: slice) -> None:
        shown, noisy = self.shown[rows, columns], self.noisy[rows, columns]
        denoised = self.denoised[rows, columns]
        if strength == 1:
            shown[:] = denoised  # its very values
            return
        np.subtract(denoised, noisy, out=shown)
        shown *= np.float32(strength)
        shown += noisy


def _within(part: slice, whole: slice) -> slice:
    return slice(part.start - whole.start, part.stop - whole.start)
