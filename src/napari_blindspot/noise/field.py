"""Where the noise is how large: noise that differs from plane to plane and pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_blindspot.noise.likelihood import mapped, raised, scaled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindspot.noise.likelihood import Likelihood


@dataclass(frozen=True, slots=True, eq=False)
class NoiseField:
    """The noise of one series in network units.

    Parameters
    ----------
    likelihood
        Family and parameters, numbers.
    levels
        (planes,) factor of the noise variance of every plane; None: all alike.
    extra
        (Y, X) variance that single pixels have beyond the family's, e.g. the read
        noise of a noisy camera pixel; None: all alike.
    """

    likelihood: Likelihood
    levels: NDArray[np.float64] | None = None
    extra: NDArray[np.float32] | None = None

    def at(self, planes: Sequence[int], y: slice, x: slice) -> Likelihood:
        """Return the noise in a window of some planes.

        Parameters
        ----------
        planes
            n indices.
        y, x
            Window.

        Returns
        -------
        Likelihood
            Its parameters are float32 arrays, (n, 1, 1), or (n, rows, columns) where
            pixels differ.
        """
        noise = mapped(
            lambda number: np.full((len(planes), 1, 1), number), self.likelihood
        )
        if self.levels is not None:
            noise = scaled(noise, self.levels[np.asarray(planes)][:, None, None])
        if self.extra is not None:
            noise = raised(noise, self.extra[y, x])
            shape = (len(planes), *self.extra[y, x].shape)
            noise = mapped(lambda array: np.broadcast_to(array, shape), noise)
        return mapped(lambda array: array.astype(np.float32), noise)


def joined(noises: Sequence[Likelihood]) -> Likelihood:
    """Return the noise of a batch from that of its members."""

    def join(*arrays: NDArray[np.float32]) -> NDArray[np.float32]:
        rows, columns = (max(array.shape[i] for array in arrays) for i in (-2, -1))
        return np.concatenate(
            [np.broadcast_to(array, (len(array), rows, columns)) for array in arrays]
        )

    return mapped(join, *noises)
