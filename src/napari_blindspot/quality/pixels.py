"""PSNR, SSIM, NRMSE and bias, from running sums over pieces."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.quality.pieces import Piece

SSIM_WINDOW = 7
SSIM_HALO = SSIM_WINDOW // 2


@dataclass(frozen=True, slots=True)
class PixelErrors:
    """How far the voxels of two stacks lie apart.

    Parameters
    ----------
    psnr
        10·log10(data_range² / mean squared difference) in dB; infinite where the two
        are equal.
    ssim
        Mean structural similarity of the planes: window of 7 × 7 pixels, constants
        0.01 and 0.03, as in scikit-image; None where NaN leaves no whole window.
    nrmse
        Root mean squared difference as a share of `data_range`.
    bias
        Mean of result − reference in grey values.
    data_range
        Grey values that the three refer to.
    n_voxels
        Voxels that were compared.
    n_invalid
        Voxels left out, NaN or infinite in one of the two.
    """

    psnr: float
    ssim: float | None
    nrmse: float
    bias: float
    data_range: float
    n_voxels: int
    n_invalid: int


class PixelSums:
    """Running sums from which `PixelErrors` follow.

    Parameters
    ----------
    data_range
        Grey values that PSNR, SSIM and NRMSE refer to.
    """

    def __init__(self, data_range: float) -> None:
        self.data_range = data_range
        self.n_voxels = 0
        self._n_seen = 0
        self._difference = 0.0
        self._squared = 0.0
        self._ssim = 0.0
        self._n_windows = 0

    def add(self, piece: Piece) -> None:
        """Count one piece."""
        valid = np.isfinite(piece.result) & np.isfinite(piece.reference)
        inner = valid[piece.inner]
        difference = (piece.result - piece.reference)[piece.inner][inner]
        self._n_seen += inner.size
        self.n_voxels += difference.size
        self._difference += float(difference.sum())
        self._squared += float(np.vdot(difference, difference))
        similarity = _similarity(piece, valid, self.data_range)
        self._ssim += float(similarity.sum())
        self._n_windows += similarity.size

    def errors(self) -> PixelErrors:
        """Return the figures of all that was counted, at least one voxel."""
        squared = self._squared / self.n_voxels
        return PixelErrors(
            psnr=_decibel(self.data_range, squared),
            ssim=self._ssim / self._n_windows if self._n_windows else None,
            nrmse=math.sqrt(squared) / self.data_range,
            bias=self._difference / self.n_voxels,
            data_range=self.data_range,
            n_voxels=self.n_voxels,
            n_invalid=self._n_seen - self.n_voxels,
        )


def _decibel(data_range: float, squared: float) -> float:
    if squared == 0:
        return math.inf
    return 20.0 * math.log10(data_range) - 10.0 * math.log10(squared)


def _similarity(
    piece: Piece, valid: NDArray[np.bool_], data_range: float
) -> NDArray[np.float64]:
    """Return the SSIM of every whole window without NaN.

    Windows that would reach over the border of the plane do not count. The halo of
    the piece makes those of its inner rows whole.
    """
    from scipy.ndimage import maximum_filter
    from skimage.metrics import structural_similarity

    whole = bool(valid.all())
    pair = (piece.result, piece.reference)
    _, values = structural_similarity(  # type: ignore[no-untyped-call]
        *(pair if whole else (np.where(valid, one, 0.0) for one in pair)),
        win_size=SSIM_WINDOW,
        data_range=data_range,
        full=True,
    )
    core = (slice(SSIM_HALO, -SSIM_HALO),) * 2
    kept: NDArray[np.float64] = values[core]
    if whole:
        return kept
    touched = maximum_filter(~valid, size=SSIM_WINDOW)[core]
    untouched: NDArray[np.float64] = kept[~touched]
    return untouched
