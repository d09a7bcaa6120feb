"""How much of the denoising is wanted: between the answer and the noisy image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def blended(
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
    noisy: NDArray[Any],
    strength: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Blend an answer with the noisy image it was made from.

    Parameters
    ----------
    mean, std
        Answer and its standard deviation, 0 where that is not known.
    noisy
        The image itself, any dtype.
    strength
        1: the answer; 0: the noisy image.

    Returns
    -------
    mean, std
        float32. The blend is off by what the answer is off, and by what was put back
        of the noise.
    """
    noisy = noisy.astype(np.float32)
    noisy = np.where(np.isfinite(noisy), noisy, mean)
    # From the noisy side, so that a strength of 0 gives its very values back.
    blend = noisy + np.float32(strength) * (mean - noisy)
    known = std > 0
    return blend, np.where(known, np.hypot(std, blend - mean), 0).astype(np.float32)
