"""What a run learns of its result while it streams by, block by block.

Every block is summed up in a few numbers, which are written down when the block is: a
run that is resumed, or shared out to other machines, ends with the same facts.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_blindspot.streaming.times import Times

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

_SAMPLES = 2**18  # values that are kept of a whole run, about
_LEAST, _MOST = 32, 4096  # of one block
_HEAD = 7
_PAGE = 2**15  # values that are kept together


def sample_size(n_blocks: int) -> int:
    """Return how many values of every block are kept."""
    return max(_LEAST, min(_MOST, _SAMPLES // max(1, n_blocks)))


@dataclass(frozen=True, slots=True, eq=False)
class BlockFacts:
    """What is kept of one channel of one block.

    Parameters
    ----------
    channel
        Index of the channel.
    voxels
        Finite voxels.
    variance
        Sum of their posterior variances, squared grey values.
    low, high
        Least and greatest finite value of the image, grey values; NaN without any.
    std_low, std_high
        The same of the uncertainty.
    sample
        Some finite values of the image.
    """

    channel: int
    voxels: int
    variance: float
    low: float
    high: float
    std_low: float
    std_high: float
    sample: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        channel: int,
        mean: NDArray[np.float32],
        std: NDArray[np.float32],
        block: int,
        count: int,
    ) -> BlockFacts:
        """Sum up a block.

        Parameters
        ----------
        channel
            Which channel it is of.
        mean, std
            Its image and uncertainty, data units.
        block
            Its number, which seeds the choice of the sample.
        count
            Values in the sample at most.
        """
        finite = np.isfinite(mean)
        values, stds = mean[finite], std[finite]
        # At random: a fixed stride could fall on one column of the image.
        rng = np.random.default_rng([block, channel])
        some = rng.choice(values, min(values.size, count)) if values.size else values
        return cls(
            channel,
            int(values.size),
            float(np.sum(stds.astype(np.float64) ** 2)),
            *_range(values),
            *_range(stds),
            some.astype(np.float64),
        )

    def as_row(self, count: int) -> NDArray[np.float64]:
        """Return everything as numbers: 7 and the sample, filled up to `count`."""
        row = np.full(_HEAD + count, np.nan)
        row[:_HEAD] = (
            self.channel, self.voxels, self.variance,
            self.low, self.high, self.std_low, self.std_high,
        )  # fmt: skip
        row[_HEAD : _HEAD + len(self.sample)] = self.sample[:count]
        return row

    @classmethod
    def from_row(cls, row: NDArray[np.float64]) -> BlockFacts:
        """Return what `as_row` described."""
        channel, voxels, variance, low, high, std_low, std_high = map(
            float, row[:_HEAD]
        )
        sample = row[_HEAD:]
        return cls(
            int(channel),
            int(voxels),
            variance,
            low,
            high,
            std_low,
            std_high,
            sample[np.isfinite(sample)],
        )


def row_length(count: int) -> int:
    """Return the numbers in a row whose sample has `count` values."""
    return _HEAD + count


@dataclass(slots=True)
class ChannelSeen:
    """What was learnt of one channel, in data units.

    Parameters
    ----------
    voxels
        Finite voxels so far.
    variance
        Sum of their posterior variances.
    sample
        Some values of every block.
    """

    voxels: int = 0
    variance: float = 0.0
    sample: list[NDArray[np.float64]] = field(default_factory=list)

    def expected_psnr(self) -> float | None:
        """Return the PSNR in dB that the posterior variance promises.

        The range is p1 to p99.9 of the denoised image; None without finite voxels.
        """
        if not self.voxels or self.variance <= 0:
            return None
        low, high = np.percentile(np.concatenate(self.sample), [1, 99.9])
        error = self.variance / self.voxels
        return float(10 * np.log10((high - low) ** 2 / error)) if high > low else None


@dataclass(slots=True)
class Seen:
    """What was learnt of the result, channel by channel, and the time it took.

    Parameters
    ----------
    blocks
        Facts of every block by its number.
    times
        What the run was spent on.
    """

    blocks: dict[int, tuple[BlockFacts, ...]] = field(default_factory=dict)
    times: Times = field(default_factory=Times)
    _samples: _Samples = field(default_factory=lambda: _Samples())

    def add(self, block: int, facts: Iterable[BlockFacts]) -> None:
        """Take one block into account."""
        self.blocks[block] = tuple(
            replace(one, sample=self._samples.keep(one.sample)) for one in facts
        )

    def channels(self) -> dict[int, ChannelSeen]:
        """Return what was learnt of every channel; the order of blocks is no matter."""
        found: dict[int, ChannelSeen] = {}
        for block in sorted(self.blocks):
            for facts in self.blocks[block]:
                seen = found.setdefault(facts.channel, ChannelSeen())
                seen.voxels += facts.voxels
                seen.variance += facts.variance
                seen.sample.append(facts.sample)
        return found

    def expected_psnr(self) -> list[float | None]:
        """Return the PSNR in dB that is expected of each channel."""
        channels = self.channels()
        return [channels[index].expected_psnr() for index in sorted(channels)]


class _Samples:
    """Values of many blocks, side by side.

    Small arrays that were made between the large ones of a block, and outlive them,
    would keep the system from using that memory again: 10 kB and more for each block.
    """

    def __init__(self) -> None:
        self._page = np.empty(0)
        self._used = 0

    def keep(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the same values, in memory that is kept for such."""
        if self._used + len(values) > len(self._page):
            self._page, self._used = np.empty(max(len(values), _PAGE)), 0
        place = self._page[self._used : self._used + len(values)]
        self._used += len(values)
        place[:] = values
        return place


def _range(values: NDArray[np.float32]) -> tuple[float, float]:
    if not values.size:
        return float("nan"), float("nan")
    return float(values.min()), float(values.max())
