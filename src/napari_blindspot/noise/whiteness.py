"""When noise counts as correlated, over how many voxels, and when that is unknown."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.noise.lagged import BlockSums

Axis = Literal["z", "y", "x"]
Hole = tuple[int, int, int]

LAGS = 6
"""Distance up to which correlation is looked for at first, in voxels."""

MORE_LAGS = 12
"""The same in the plane, where noise is shared over all of the first."""

ALARM = 0.10
"""Correlation from which on noise is not called white."""

STRUCTURE = "fine structure of the image cannot be told from noise"
"""Why a correlation is not believed to be one of the noise."""

_ONLY_ROUNDING = 0.85  # of the variance: then nothing can be said
_SIGNIFICANT = 4.0  # standard errors
_REACHED = 0.05  # correlation that still counts towards the reach
_STRUCTURE = 1.5  # times as correlated where there is texture: structure, not noise
_PATCHY = 6.0  # times the scatter between blocks of stationary noise: structure
_TOO_UNSURE = 0.06  # standard error at lag 1


@dataclass(frozen=True, slots=True)
class AxisCorrelation:
    """Correlation of the noise along one axis.

    Parameters
    ----------
    axis
        ``"z"`` (the context axis, also of a movie), ``"y"`` or ``"x"``.
    values, errors
        Correlation coefficient at lags 1, 2, … and its standard error.
    reach
        Largest lag at which voxels share noise, 0 for white noise, None if it cannot
        be told.
    fixed
        Along z: part of the noise variance that stays the same from plane to plane
        (a fixed pattern of the camera); it is no correlation of the noise.
    reason
        Why it cannot be told, else empty.
    """

    axis: Axis
    values: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()
    reach: int | None = None
    fixed: float = 0.0
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able facts."""
        return {
            "lags": list(range(1, len(self.values) + 1)),
            "values": list(self.values),
            "errors": list(self.errors),
            "reach": self.reach,
            "fixed": self.fixed,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Correlation:
    """Correlation of the noise along the three axes.

    Parameters
    ----------
    z, y, x
        One per axis.
    voxels
        Voxels that were used.
    """

    z: AxisCorrelation
    y: AxisCorrelation
    x: AxisCorrelation
    voxels: int

    @property
    def hole(self) -> Hole:
        """The blind spot (z, y, x) that hides every voxel sharing noise; odd sizes."""
        z, y, x = (2 * (one.reach or 0) + 1 for one in (self.z, self.y, self.x))
        return z, y, x

    @property
    def verdict(self) -> str:
        """White, row-correlated, spatially correlated … or unknown, in words."""
        rows, columns = self.y.reach, self.x.reach
        if rows is None and columns is None:
            return "unknown"
        words = []
        if rows and columns:
            words.append(f"spatially correlated over {max(rows, columns)} px")
        elif columns:
            words.append("row-correlated")
        elif rows:
            words.append("column-correlated")
        if self.z.reach:
            words.append("correlated along z")
        if not words and None in (rows, columns):
            return "unknown"
        return " and ".join(words) or "white"

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able facts."""
        return {
            "verdict": self.verdict,
            "voxels": self.voxels,
            **{one.axis: one.as_dict() for one in (self.z, self.y, self.x)},
        }


def judge(
    axis: Axis,
    flat: BlockSums,
    textured: BlockSums | None = None,
    most: int = LAGS,
) -> AxisCorrelation:
    """Turn block sums into correlation, reach, or the reason why it is unknown.

    Parameters
    ----------
    axis
        Along which the blocks were shifted.
    flat, textured
        Blocks where there is little structure, and much; without the latter all
        correlation is believed.
    most
        Largest reach.
    """
    raw, raw_error = flat.correlation()
    # Rounding noise is white: without its share the rest is that much more correlated.
    rounding = flat.rounding_share
    kept = max(1 - rounding, 1 - _ONLY_ROUNDING)
    value, error = raw / kept, raw_error / kept
    fixed = _plateau(value, error) if axis == "z" else 0.0
    spread = error / (1 - fixed)
    reach = _reach((value - fixed) / (1 - fixed), spread, most)
    doubtful = textured is not None and (
        _is_patchy(raw, raw_error, flat) or _is_structure(raw, textured, reach)
    )
    reason = ""
    if reach and doubtful:
        reason = STRUCTURE
    elif reach and axis == "z" and len(value) < 5:
        reason = "too few planes to tell it from a fixed pattern or from structure"
    elif not reach and rounding > _ONLY_ROUNDING:
        reason = "there is little noise beyond the rounding to whole grey values"
    elif spread[0] > _TOO_UNSURE and not reach:
        reason = "too few voxels"
    return AxisCorrelation(
        axis,
        tuple(map(float, np.clip(value, -1, 1))),
        tuple(map(float, error)),
        None if reason else reach,
        fixed,
        reason,
    )


def _reach(
    value: NDArray[np.float64],
    error: NDArray[np.float64],
    most: int = LAGS,
    alarm: float = ALARM,
) -> int:
    """Return the last of the lags from 1 on that are correlated; 0 for white noise.

    One lag in between may be free: the two halves of a detector may alternate.
    """
    value, error = value[:most], error[:most]
    sure = np.abs(value) > _SIGNIFICANT * error
    shared = np.nonzero(sure & (np.abs(value) >= _REACHED))[0] + 1
    reach = 0
    for lag in shared:
        if lag > reach + 2:
            break
        reach = int(lag)
    alarming = sure[:reach] & (np.abs(value[:reach]) >= alarm)
    return reach if alarming.any() else 0


def agree(
    first: AxisCorrelation, second: AxisCorrelation
) -> tuple[AxisCorrelation, AxisCorrelation]:
    """Let what is known of one axis of the plane count for the other one.

    Where one axis is correlated beyond doubt, less is asked of the other; where
    structure betrays itself along one, it is not trusted along the other.
    """
    if STRUCTURE in (first.reason, second.reason):
        return _doubted(first), _doubted(second)
    if first.reach or second.reach:
        return _reconsidered(first), _reconsidered(second)
    return first, second


def _doubted(one: AxisCorrelation) -> AxisCorrelation:
    return replace(one, reach=None, reason=STRUCTURE) if one.reach else one


def _reconsidered(one: AxisCorrelation) -> AxisCorrelation:
    if one.reach != 0 or not one.values:
        return one
    reach = _reach(np.array(one.values), np.array(one.errors), alarm=_REACHED)
    return replace(one, reach=reach)


def _plateau(value: NDArray[np.float64], error: NDArray[np.float64]) -> float:
    """Return the correlation that far lags settle at, where there are far ones."""
    first = LAGS if len(value) >= LAGS + 2 else 3
    far, weight = value[first:], 1 / error[first:] ** 2
    if len(far) < 2:
        return 0.0
    level = float((far * weight).sum() / weight.sum())
    sure = level > _SIGNIFICANT / float(np.sqrt(weight.sum()))
    return min(level, 0.95) if sure else 0.0


def _is_patchy(
    value: NDArray[np.float64], error: NDArray[np.float64], flat: BlockSums
) -> bool:
    """Return whether blocks differ more than those of stationary noise would.

    Correlated noise scatters more than white noise, about as its squares sum up.
    """
    stationary = np.sqrt((1 + 4 * (value[:LAGS] ** 2).sum()) / flat.voxels.sum())
    return bool(error[0] > _PATCHY * stationary)


def _is_structure(flat: NDArray[np.float64], textured: BlockSums, reach: int) -> bool:
    """Return whether textured blocks are so much more correlated than flat ones."""
    value, error = textured.correlation()
    peak = int(np.abs(flat[: max(reach, 1)]).argmax())
    there, here = abs(value[peak]), abs(flat[peak])
    return bool(there > _STRUCTURE * here and there - here > 3 * error[peak])
