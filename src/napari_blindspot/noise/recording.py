"""Signs that a recording was clipped, rescaled or compressed.

Such steps change the noise, so that the camera model no longer describes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_blindspot.noise.estimate import MeanVariance

_PILE = 0.02  # of the voxels at the lowest value
_BEYOND_COUNTING = 1.2  # times as many as counted photons would leave there
_SATURATED = 0.01
_LEAST_VALUES = 8
_PER_VALUE = 30  # voxels per grey value, so that none is missed by chance
_GAPS = 0.02  # of the grey values
_BENT = 0.15  # of the variance
_SURE = 5.0  # standard errors
_GRID = 8  # px of a JPEG block
_GRID_STEP = 0.05  # of the mean step between neighbours
_GRID_SURE = 8.0
_LEAST_POINTS = 6


@dataclass(frozen=True, slots=True)
class Recording:
    """What the values of a channel tell about how they were recorded.

    Parameters
    ----------
    lowest, highest
        Range of the values, data units.
    lowest_share, zero_share, saturated_share
        Parts of the voxels at the lowest value, at zero, and saturated.
    grey_step
        Distance between neighbouring grey values, 0 if they are not on a grid.
    missing_values
        Part of the grey values that never occur amid ones that often do.
    bend
        How far the noise variance lies above a straight line in the middle of the
        range, as a part of it; None if there are too few points.
    blocks
        Whether steps recur every 8 pixels, as JPEG leaves them.
    problems
        What is wrong, one sentence each; empty for a raw recording.
    """

    lowest: float
    highest: float
    lowest_share: float
    zero_share: float
    saturated_share: float
    grey_step: float
    missing_values: float
    bend: float | None
    blocks: bool
    problems: tuple[str, ...]

    @property
    def rounding(self) -> float:
        """Step to which values were rounded, on average, where some never occur."""
        return self.grey_step / max(1 - self.missing_values, 1e-3)

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able facts."""
        return {name: getattr(self, name) for name in self.__slots__} | {
            "problems": list(self.problems)
        }


def inspect_recording(
    planes: Sequence[NDArray[Any]], points: MeanVariance, saturation: float
) -> Recording:
    """Look for clipping, rescaling and compression.

    Parameters
    ----------
    planes
        2D arrays (Y, X) in data units, NaN is left out.
    points
        The mean–variance points of these planes.
    saturation
        Values from here on are saturated.

    Returns
    -------
    Recording
    """
    values = np.concatenate([plane[np.isfinite(plane)] for plane in planes])
    lowest, highest = float(values.min()), float(values.max())
    step, missing = grey_grid(values)
    at_lowest = float((values == lowest).mean())
    saturated = float((values >= saturation).mean())
    bend, falls = _bend(points)
    blocks = _has_blocks(planes)
    problems = []
    if at_lowest > _PILE and _is_cut(planes, lowest, at_lowest, step):
        problems.append(
            f"{at_lowest:.1%} of the voxels are at the lowest value ({lowest:g}): the "
            f"dark part of the noise was cut off, e.g. by subtracting a background."
        )
    if saturated > _SATURATED:
        problems.append(
            f"{saturated:.1%} of the voxels are saturated (at {saturation:g}): what "
            f"was brighter is lost."
        )
    if missing > _GAPS:
        problems.append(
            f"{missing:.0%} of the grey values never occur: the contrast was stretched "
            f"or the values were rescaled after the recording."
        )
    if bend is not None and (bend > _BENT or falls):
        problems.append(
            "the noise variance does not grow linearly with the signal: the values "
            "were compressed (gamma, logarithm) or processed."
        )
    if blocks:
        problems.append(
            "steps recur every 8 pixels: the stack was saved with JPEG compression."
        )
    return Recording(
        lowest,
        highest,
        at_lowest,
        float((values == 0).mean()),
        saturated,
        step,
        missing,
        bend,
        blocks,
        tuple(problems),
    )


def grey_grid(values: NDArray[Any]) -> tuple[float, float]:
    """Return the step between grey values, and the part of them that is missing.

    Parameters
    ----------
    values
        Finite values in data units.

    Returns
    -------
    step, missing
        Step 0 for values that are on no grid of whole numbers.
    """
    if values.dtype.kind == "f":
        if not np.array_equal(values, np.rint(values)) or np.abs(values).max() > 2**53:
            return 0.0, 0.0
        values = values.astype(np.int64)
    levels = np.unique(values).astype(np.int64)
    if levels.size < 2:
        return 1.0, 0.0
    step = int(np.gcd.reduce(np.diff(levels)))
    low, high = np.quantile(values, [0.05, 0.95])
    bulk = levels[(levels >= low) & (levels <= high)]
    # The widest gap may be the one between padding and image.
    widths = np.sort(np.diff(bulk))[:-1] // step
    room = int(widths.sum())
    if room < _LEAST_VALUES or 0.9 * values.size < _PER_VALUE * room:
        return float(step), 0.0
    return float(step), 1 - widths.size / room


def _is_cut(
    planes: Sequence[NDArray[Any]], lowest: float, share: float, step: float
) -> bool:
    """Tell a cut-off background from photons that were counted one by one.

    Counted photons leave exp(−mean) of the voxels empty.
    """
    expected, count = 0.0, 0
    for plane in planes:
        y = np.where(np.isfinite(plane), plane, lowest).astype(np.float64) - lowest
        mean = ndimage.uniform_filter(y, 7, mode="nearest")
        expected += float(np.exp(-np.maximum(mean, 0) / (step or 1.0)).sum())
        count += y.size
    return share > _BEYOND_COUNTING * expected / count


def _bend(points: MeanVariance) -> tuple[float | None, bool]:
    """Return by how much the variance bends down, and whether it clearly falls."""
    x, y = points.mean, points.variance
    if len(x) < _LEAST_POINTS or np.ptp(x) <= 0 or (y <= 0).any():
        return None, False
    t = (x - x.min()) / np.ptp(x)
    weight = np.sqrt(points.count) / y
    _, slope, sure_slope = _last_term(t, y, weight, 1)
    fit, square, sure_square = _last_term(t, y, weight, 2)
    ends = (fit[0] + fit.sum()) / 2
    bend = float(-square / 4 / ends) if ends > 0 else 0.0
    falls = sure_slope < -_SURE and -slope > 0.2 * y.max()
    return (bend if sure_square < -_SURE else min(bend, 0.0)), bool(falls)


def _last_term(
    t: NDArray[np.float64], y: NDArray[np.float64], weight: NDArray[Any], degree: int
) -> tuple[NDArray[np.float64], float, float]:
    """Fit a polynomial; return it, its last coefficient, and that over its error."""
    design = np.vander(t, degree + 1, increasing=True) * weight[:, None]
    fit, *_ = np.linalg.lstsq(design, y * weight, rcond=None)
    misfit = y * weight - design @ fit
    spread = float(misfit @ misfit) / max(1, len(t) - degree - 1)
    error = float(np.sqrt(np.linalg.pinv(design.T @ design)[-1, -1] * spread))
    return fit, float(fit[-1]), float(fit[-1]) / max(error, 1e-300)


def _has_blocks(planes: Sequence[NDArray[Any]]) -> bool:
    return all(_phase_stands_out(planes, axis) for axis in (0, 1))


def _phase_stands_out(planes: Sequence[NDArray[Any]], axis: int) -> bool:
    """Return whether steps between neighbours are larger at one place in eight."""
    rows = []
    for plane in planes:
        y = np.where(np.isfinite(plane), plane, 0).astype(np.float64)
        y = np.moveaxis(y, axis, -1)
        steps = np.abs(np.diff(y, axis=-1))
        excess = steps[:, 1:-1] - (steps[:, 2:] + steps[:, :-2]) / 2
        whole = excess.shape[1] // _GRID * _GRID
        if whole == 0 or steps.mean() == 0:
            continue
        phases = excess[:, :whole].reshape(len(y), -1, _GRID).mean(axis=(0, 1))
        rows.append(phases / steps.mean())
    if not rows:
        return False
    phases = np.mean(rows, axis=0)
    top = int(phases.argmax())
    # The two places beside the step are low by half of it; the other five are alike.
    others = np.delete(np.roll(phases, -top), [0, 1, _GRID - 1])
    height = float(phases[top] - others.mean())
    return height > max(_GRID_STEP, _GRID_SURE * float(others.std()))
