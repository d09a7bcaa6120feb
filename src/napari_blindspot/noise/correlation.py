"""The autocorrelation of noise along z, y and x, before and after training.

Two readings: `noise_correlation` of the raw planes before any training, and
`residual_correlation` of what a trained network leaves, ``(y − μ) / σ_y``.

Before training structure must not be mistaken for noise. Four things keep them apart:

* the correlation along one axis is measured after fourth differences along the other
  ones (see `lagged`), where an image that the optics made has next to no power; smooth
  noise has little there as well, so along z voxels farther apart are taken then;
* voxels are divided by the standard deviation that the noise model gives them;
* only the flattest fifth of the image is used. Flatness is judged in a lower band of
  frequencies, whose noise is independent of the noise that is measured, so that
  choosing by it does not bias the result;
* where the textured parts are much more correlated than the flat ones, it is the
  structure that is correlated, and the answer is "unknown".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_blindspot.errors import InputError
from napari_blindspot.noise.apart import NEXT, step_along
from napari_blindspot.noise.artefacts import is_padding
from napari_blindspot.noise.lagged import (
    BlockSums,
    block_means,
    block_sums,
    centre,
    differences,
    joined,
    winsorised,
)
from napari_blindspot.noise.whiteness import (
    LAGS,
    MORE_LAGS,
    Axis,
    AxisCorrelation,
    Correlation,
    agree,
    judge,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindspot.noise.models import NoiseModel

_AXES: tuple[Axis, ...] = ("z", "y", "x")
_ORDERS = (4, 2)  # of differences in the plane; the lower one where little is left
_MOSTLY_ROUNDING = 0.6  # of the variance: then the lower order is tried
_FLAT = 0.2  # of the blocks
_TEXTURED = 0.75  # quantile of texture from which on a block is textured
_LEAST_BLOCKS = 12
_SIDE, _SMALL_SIDE, _SMALL_IMAGE = 32, 16, 200  # px
_BAND = (1.5, 4.0)  # px, sigmas of the band in which flatness is judged
_SMOOTHING = 3.0  # px, sigma of the local mean
_NO_END = 0.5  # of the correlation at the first lags' end
_MANY_ZEROS = 0.05  # of the voxels: then they are part of the image


def noise_correlation(
    slabs: Sequence[NDArray[Any]],
    noise: NoiseModel,
    *,
    saturation: float = float("inf"),
    grey_step: float = 0.0,
) -> Correlation:
    """Measure the autocorrelation of the noise in raw planes, before training.

    Parameters
    ----------
    slabs
        Runs of consecutive planes (planes, Y, X) in data units, at least 32 px a
        side; along z at least 3 planes, 8 to tell a fixed pattern apart.
    noise
        The noise model of these planes; a common factor does not matter.
    saturation
        Values from here on are saturated and left out.
    grey_step
        Distance between neighbouring grey values, 0 if not rounded: rounding noise is
        white and would make smooth noise look whiter than it is.

    Returns
    -------
    Correlation

    Raises
    ------
    InputError
        If the slabs are not 3D or too small.
    """
    _check_slabs(slabs)
    # Clipping leaves white noise white, so voxels at zero may count where many are.
    zeros = float(np.mean([(slab == 0).mean() for slab in slabs])) > _MANY_ZEROS
    prepared = [_prepare(slab, noise, saturation, zeros) for slab in slabs]
    (y, in_y), (x, in_x) = (_along(axis, prepared, grey_step) for axis in ("y", "x"))
    y, x = agree(y, x)
    return Correlation(_along_z(prepared, y, x, grey_step), y, x, max(in_y, in_x))


def residual_correlation(
    residual: NDArray[Any], mask: NDArray[np.bool_] | None = None
) -> Correlation:
    """Measure the autocorrelation of what a trained network leaves.

    A network that saw the neighbours has used whatever noise they share, which whitens
    its residual: white residuals prove white noise only together with a residual
    variance of 1.

    Parameters
    ----------
    residual
        (planes, Y, X) normalised residual ``(y − μ) / σ_y``; NaN is left out.
    mask
        Voxels that count, e.g. held-out ones; default: all.

    Returns
    -------
    Correlation

    Raises
    ------
    InputError
        If the shapes differ, the residual is not 3D or too small.
    """
    _check_slabs([residual])
    valid = np.isfinite(residual)
    if mask is not None:
        if mask.shape != residual.shape:
            raise InputError(
                f"mask has shape {mask.shape} but residual has {residual.shape}; give "
                f"one flag per voxel."
            )
        valid &= mask
    if not valid.any():
        raise InputError(
            "residual holds no voxel that counts (all NaN or masked); give the "
            "residual of more voxels."
        )
    level = float(np.mean(residual, where=valid))
    field = winsorised(np.where(valid, residual - level, 0), valid)
    side = _block_side(residual.shape)
    found = {}
    for number, axis in enumerate(_AXES):
        lags = _lags(axis, residual.shape, side)
        if lags == 0:
            found[axis] = AxisCorrelation(axis, reach=0, reason="there is one plane")
            continue
        sums = block_sums(field, valid, number, lags, side)
        found[axis] = judge(axis, sums.pick(sums.voxels > 0), None)
    return Correlation(found["z"], found["y"], found["x"], int(valid.sum()))


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    """A slab with its noise standard deviation, texture and usable voxels."""

    values: NDArray[np.float32]
    sigma: NDArray[np.float32]
    texture: NDArray[np.float32]
    valid: NDArray[np.bool_]

    def thinned(self, rows: int, columns: int) -> _Prepared:
        """Keep every so many-th row and column."""
        every = (slice(None), slice(None, None, rows), slice(None, None, columns))
        return _Prepared(
            self.values[every],
            self.sigma[every],
            self.texture[every],
            self.valid[every],
        )


def _prepare(
    slab: NDArray[Any], noise: NoiseModel, saturation: float, zeros: bool
) -> _Prepared:
    """Prepare one slab; with `zeros`, voxels at zero count like all others."""
    missing = ~np.isfinite(slab)
    bad = missing | (slab >= saturation)
    if slab.dtype.kind == "u" and not zeros:
        bad |= slab == 0
    bad |= np.stack([is_padding(plane) for plane in slab])
    # One level less for all keeps float32 exact enough under a large offset.
    level = 0.0 if missing.all() else float(np.mean(slab, where=~missing))
    values = np.where(missing, 0, slab - level).astype(np.float32)
    mean = _smooth(values, _SMOOTHING) + level
    variance = np.maximum(noise.variance(mean), 1e-30)
    return _Prepared(
        values,
        np.sqrt(variance).astype(np.float32),
        (_smooth(values, _BAND[0]) - _smooth(values, _BAND[1])) ** 2 / variance,
        ~ndimage.maximum_filter(bad, (1, 5, 5)),
    )


def _smooth(values: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    smooth: NDArray[np.float32] = ndimage.gaussian_filter(
        values, (0, sigma, sigma), mode="nearest"
    )
    return smooth


def _along_z(
    slabs: Sequence[_Prepared], y: AxisCorrelation, x: AxisCorrelation, step: float
) -> AxisCorrelation:
    """Measure along z, by voxels so far apart that differences show their noise.

    Of noise that neighbours in the plane share, differences of these leave so little
    that structure outweighs it, however flat.
    """
    rows, columns = (step_along([one]) or NEXT for one in (y, x))
    apart = rows.apart, columns.apart
    if apart != (1, 1):
        found, _ = _along("z", [one.thinned(*apart) for one in slabs], step)
        if found.values:
            return found
    found, _ = _along("z", slabs, step)
    return found


def _along(
    axis: Axis, slabs: Sequence[_Prepared], step: float
) -> tuple[AxisCorrelation, int]:
    """Measure one axis, with the highest order of differences that leaves noise."""
    found, voxels = _up_to(LAGS, axis, slabs, step)
    if axis == "z" or found.reach != LAGS:
        return found, voxels
    farther, voxels_farther = _up_to(MORE_LAGS, axis, slabs, step)
    # What a whole row shares alike has no end, and no hole hides it.
    if abs(farther.values[-1]) > _NO_END * abs(found.values[-1]):
        return found, voxels
    return farther, voxels_farther


def _up_to(
    most: int, axis: Axis, slabs: Sequence[_Prepared], step: float
) -> tuple[AxisCorrelation, int]:
    """Measure one axis as far as so many voxels."""
    shape = slabs[0].values.shape
    if axis == "z" and shape[0] < 3:
        few = "there are fewer than 3 planes"
        return AxisCorrelation(axis, reach=0 if shape[0] == 1 else None, reason=few), 0
    for order in _ORDERS:
        sums, texture = _sums(axis, slabs, order, step, most)
        if sums.rounding_share < _MOSTLY_ROUNDING:
            break
    if len(texture) < _LEAST_BLOCKS:
        reason = "too few voxels are usable (not padded, saturated or zero)"
        return AxisCorrelation(axis, reason=reason), 0
    flat = np.argsort(texture)[: max(_LEAST_BLOCKS, round(_FLAT * len(texture)))]
    textured = texture >= np.quantile(texture, _TEXTURED)
    chosen = sums.pick(flat)
    judged = judge(axis, chosen, sums.pick(textured), most)
    return judged, int(chosen.voxels.sum())


def _sums(
    axis: Axis, slabs: Sequence[_Prepared], order: int, step: float, most: int
) -> tuple[BlockSums, NDArray[np.float64]]:
    """Return sums and texture of every block that can be used."""
    planes = slabs[0].values.shape[0]
    along_z = 2 if planes >= 3 else 0
    orders = {
        "z": (0, order, order),
        "y": (along_z, 0, order),
        "x": (along_z, order, 0),
    }[axis]
    parts, textures = [], []
    for slab in slabs:
        sigma, valid = centre(slab.sigma, orders), centre(slab.valid, orders)
        field = winsorised(differences(slab.values, orders) / sigma, valid)
        side = _block_side(field.shape)
        lags = _lags(axis, field.shape, side, most)
        sums = block_sums(field, valid, _AXES.index(axis), lags, side)
        rounding = block_means((step / sigma) ** 2 / 12, side) * sums.voxels
        parts.append(replace(sums, rounding=rounding))
        textures.append(block_means(centre(slab.texture, orders), side))
    every, texture = joined(parts), np.concatenate(textures)
    usable = every.voxels > 0
    return every.pick(usable), texture[usable]


def _block_side(shape: Sequence[int]) -> int:
    return _SIDE if min(shape[1:]) >= _SMALL_IMAGE else _SMALL_SIDE


def _lags(axis: Axis, shape: Sequence[int], side: int, most: int = LAGS) -> int:
    # A block of 16 px has four pairs in a row that are 12 px apart.
    return min(2 * LAGS, shape[0] - 1) if axis == "z" else min(most, 3 * side // 4)


def _check_slabs(slabs: Sequence[NDArray[Any]]) -> None:
    for slab in slabs:
        if slab.ndim != 3 or min(slab.shape[1:]) < 2 * _SMALL_SIDE:
            raise InputError(
                f"an array of shape {slab.shape} cannot tell whether noise is "
                f"correlated; give (planes, Y, X) with at least {2 * _SMALL_SIDE} "
                f"pixels in y and x."
            )
