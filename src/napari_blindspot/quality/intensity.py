"""Whether grey values stay quantitative: mean intensity in bins, total per plane.

With a truth as the reference, voxels are binned by the reference. With a noisy one that
would show regression to the mean: its brightest voxels are bright by their noise too.
So they are binned by the *result* there. Of a calibrated posterior mean r and a repeat
with noise of its own, the bins then lie on the identity, E[y | r] = r. The input of the
result shares its noise and misses the identity a little.

Of r = μ + w·(y − μ), w = v / (v + n), with prior mean μ (variance V over the stack),
prior variance v and noise variance n, the slope of the means over the bins is

====================  ===================  ======================================
bins of               slope of             which is
====================  ===================  ======================================
the truth x           r over x: below 1    1 − v·(1 − w) / (V + v)
the noisy y           r over y: below 1    1 − n / (V + v + n), far off
the result r          y over r: above 1    1 + v·(1 − w) / (V + w·v)
====================  ===================  ======================================

So bins of the truth and of the result agree with the identity as far as the network
predicts well (v much smaller than V), from two sides, and bins of y never do.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.config import BinBy
    from napari_blindspot.quality.pieces import Limits, Piece

N_BINS = 20
BIN_TOLERANCE = 0.01
PLANE_TOLERANCE = 0.005
_LARGEST_ERROR = 0.0025
_LEAST_SIGNAL = 0.01


@dataclass(frozen=True, slots=True)
class IntensityBin:
    """Voxels of similar intensity.

    Parameters
    ----------
    low, high
        Grey values between which the binned stack lies; the first and the last bin
        also hold what is darker or brighter.
    count
        Voxels in the bin.
    mean_result, mean_reference
        Their mean in each stack, grey values.
    deviation
        Difference of the means as a share of the range of the binned stack.
    ratio
        Mean result over mean reference, with the camera's offset in both; None
        where the mean reference is below 1 % of the range.
    net_ratio
        The same above the offset; None if no offset was given, or where the mean
        reference is less than 1 % of the range above it.
    certain
        Whether chance moves `deviation` by less than 0.25 % (standard error, voxels
        taken as independent). Other bins count for no verdict.
    """

    low: float
    high: float
    count: int
    mean_result: float
    mean_reference: float
    deviation: float
    ratio: float | None
    net_ratio: float | None
    certain: bool


@dataclass(frozen=True, slots=True)
class IntensityCheck:
    """Mean intensity in bins, and the total of every plane.

    Parameters
    ----------
    bin_by
        The stack by whose values voxels are binned.
    span
        Its range, 1 % to 99.9 %, in grey values: what deviations are shares of.
    offset
        What was subtracted for net ratios, None if nothing was given.
    bins
        Those that hold voxels, darkest first.
    plane_ratio
        Ratio of the totals (above the offset if given) of the plane that lies
        farthest from 1; None where no plane has a positive total.
    plane_deviation
        Largest difference of the means of a plane, as a share of the range.
    plane
        (t, z) of the plane of `plane_ratio`, or of `plane_deviation` without it.
    n_planes
        Planes that were compared.
    """

    bin_by: BinBy
    span: float
    offset: float | None
    bins: tuple[IntensityBin, ...]
    plane_ratio: float | None
    plane_deviation: float
    plane: tuple[int, int]
    n_planes: int

    @property
    def worst_bin(self) -> IntensityBin | None:
        """The bin that deviates most, of those that are certain; None without any."""
        certain = [one for one in self.bins if one.certain]
        return max(certain, key=lambda one: abs(one.deviation), default=None)

    @property
    def worst_deviation(self) -> float | None:
        """The deviation of `worst_bin`."""
        return None if self.worst_bin is None else self.worst_bin.deviation

    @property
    def worst_ratio(self) -> float | None:
        """The ratio farthest from 1 in a certain bin, net where an offset was given."""
        ratios = [
            one.ratio if self.offset is None else one.net_ratio
            for one in self.bins
            if one.certain
        ]
        known = [ratio for ratio in ratios if ratio is not None]
        return max(known, key=lambda ratio: abs(ratio - 1.0), default=None)

    @property
    def bins_kept(self) -> bool | None:
        """Whether every certain bin deviates by at most 1 % of the range."""
        worst = self.worst_deviation
        return None if worst is None else abs(worst) <= BIN_TOLERANCE

    @property
    def planes_kept(self) -> bool | None:
        """Whether the total of every plane is kept within 0.5 %."""
        if self.plane_ratio is None:
            return None
        return abs(self.plane_ratio - 1.0) <= PLANE_TOLERANCE


class IntensitySums:
    """Running sums from which an `IntensityCheck` follows.

    Parameters
    ----------
    bin_by
        The stack by whose values voxels are binned.
    limits
        Its range; the bins divide it evenly.
    offset
        Grey value of the camera in the dark, if known.
    """

    def __init__(self, bin_by: BinBy, limits: Limits, offset: float | None) -> None:
        self._bin_by = bin_by
        self._limits = limits
        self._offset = offset
        # Rows: voxels, result, reference, difference².
        self._bins: NDArray[np.float64] = np.zeros((4, N_BINS))
        # Per plane (t, z): voxels, result, reference.
        self._planes: defaultdict[tuple[int, int], NDArray[np.float64]] = defaultdict(
            lambda: np.zeros(3)
        )

    def add(self, piece: Piece) -> None:
        """Count one piece."""
        result, reference = piece.result[piece.inner], piece.reference[piece.inner]
        valid = np.isfinite(result) & np.isfinite(reference)
        result, reference = result[valid], reference[valid]
        binned = result if self._bin_by == "result" else reference
        unit = (binned - self._limits.low) * (N_BINS / self._limits.span)
        index = np.clip(unit, 0, N_BINS - 1).astype(np.intp)
        weights = (None, result, reference, (result - reference) ** 2)
        for row, weight in zip(self._bins, weights, strict=True):
            row += np.bincount(index, weight, N_BINS)
        sums = np.array([result.size, result.sum(), reference.sum()])
        self._planes[piece.t, piece.z] += sums

    def check(self) -> IntensityCheck:
        """Return the figures of all that was counted, at least one voxel."""
        ratios, deviations = self._plane_figures()
        by_ratio = max(ratios, key=lambda plane: abs(ratios[plane] - 1), default=None)
        by_deviation = max(deviations, key=lambda plane: abs(deviations[plane]))
        return IntensityCheck(
            bin_by=self._bin_by,
            span=self._limits.span,
            offset=self._offset,
            bins=tuple(self._bin(int(i)) for i in np.flatnonzero(self._bins[0])),
            plane_ratio=None if by_ratio is None else ratios[by_ratio],
            plane_deviation=deviations[by_deviation],
            plane=by_deviation if by_ratio is None else by_ratio,
            n_planes=len(deviations),
        )

    def _bin(self, index: int) -> IntensityBin:
        count, result, reference, squared = self._bins[:, index].tolist()
        result, reference = result / count, reference / count
        variance = max(0.0, squared / count - (result - reference) ** 2)
        width = self._limits.span / N_BINS
        error = (variance / max(count - 1, 1)) ** 0.5 / self._limits.span
        return IntensityBin(
            low=self._limits.low + index * width,
            high=self._limits.low + (index + 1) * width,
            count=int(count),
            mean_result=result,
            mean_reference=reference,
            deviation=(result - reference) / self._limits.span,
            ratio=self._ratio(result, reference, 0.0),
            net_ratio=None
            if self._offset is None
            else self._ratio(result, reference, self._offset),
            certain=count > 1 and error <= _LARGEST_ERROR,
        )

    def _ratio(self, result: float, reference: float, offset: float) -> float | None:
        """Return the ratio above the offset, None where the signal is too weak."""
        signal = reference - offset
        weak = signal <= _LEAST_SIGNAL * self._limits.span
        return None if weak else (result - offset) / signal

    def _plane_figures(
        self,
    ) -> tuple[dict[tuple[int, int], float], dict[tuple[int, int], float]]:
        """Return the ratio of the totals, and the deviation, of every plane."""
        ratios, deviations = {}, {}
        for plane, sums in self._planes.items():
            count, result, reference = sums.tolist()
            if not count:
                continue
            result, reference = result / count, reference / count
            deviations[plane] = (result - reference) / self._limits.span
            ratio = self._ratio(result, reference, self._offset or 0.0)
            if ratio is not None:
                ratios[plane] = ratio
        return ratios, deviations
