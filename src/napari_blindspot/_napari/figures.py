"""The figures of a comparison as rows of a table. No Qt."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_blindspot.quality.comparison import resolution_words

if TYPE_CHECKING:
    from napari_blindspot.quality import ChannelQuality, Comparison

UNKNOWN = "–"


def table_text(comparison: Comparison) -> str:
    """Return the table as lines of cells with tabs between, for a spreadsheet."""
    columns = [channel_figures(one) for one in comparison.channels]
    names = [one.name for one in comparison.channels]
    lines = [[name, *(column[name] for column in columns)] for name in columns[0]]
    if any(names):
        lines.insert(0, ["channel", *names])
    return "\n".join("\t".join(line) for line in lines)


def channel_figures(channel: ChannelQuality) -> dict[str, str]:
    """Return the figures of one channel by what a reader calls them."""
    errors, check = channel.errors, channel.intensity
    equal = math.isinf(errors.psnr)
    above = "" if check.offset is None else " above the offset"
    return {
        "PSNR": "infinite (equal)" if equal else f"{errors.psnr:.2f} dB",
        "SSIM": _number(errors.ssim, ".4f"),
        "NRMSE": _percent(errors.nrmse),
        "Bias": f"{errors.bias:+.3g} grey values",
        "Data range": f"{errors.data_range:.5g} grey values",
        "Resolution in planes": resolution_words(channel.ring),
        "Resolution in volume": resolution_words(channel.shell),
        "Worst intensity bin (share of range)": _percent(check.worst_deviation),
        f"Farthest ratio of bins{above}": _number(check.worst_ratio, ".4f"),
        f"Farthest ratio of planes{above}": _number(check.plane_ratio, ".4f"),
        "Voxels left out (NaN)": str(errors.n_invalid),
    }


def _number(value: float | None, how: str) -> str:
    return UNKNOWN if value is None else f"{value:{how}}"


def _percent(share: float | None) -> str:
    return UNKNOWN if share is None else f"{100.0 * share:.2f} %"
