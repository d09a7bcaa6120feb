"""Settings of what is opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from napari_blindspot.config.base import Settings

_UNNAMED = {2: "yx", 3: "zyx"}  # what ranges without names are along


def named_region(region: Any) -> Any:
    """Return a region with the names of its axes.

    Parameters
    ----------
    region
        Ranges along z, y and x, or y and x, such as ``"10:40,0:512,0:512"``, get their
        names; a mapping such as ``{"z": slice(10, 40), "t": 3}`` becomes text, as
        settings are kept as JSON; anything else stays as it is.
    """
    if isinstance(region, Mapping):
        parts = (f"{axis}={_as_text(part)}" for axis, part in region.items())
        return ",".join(parts)
    if not isinstance(region, str) or "=" in region:
        return region
    ranges = [part.strip() for part in region.split(",")]
    axes = _UNNAMED.get(len(ranges))
    if axes is None or not all(ranges):
        return region
    return ",".join(f"{axis}={part}" for axis, part in zip(axes, ranges, strict=True))


def _as_text(part: Any) -> str:
    """Return a slice, an index or text as it is typed."""
    if not isinstance(part, slice):
        return str(part)
    ends = (part.start, part.stop, *(() if part.step in (None, 1) else (part.step,)))
    return ":".join("" if end is None else str(end) for end in ends)


RegionChoice = Annotated[str, BeforeValidator(named_region)]
"""A region, given as text or as a mapping, kept as text that names its axes."""


class OpenSettings(Settings):
    """How the input is read."""

    axes: str | None = Field(
        None,
        description="Axes of the input out of TCZYX, e.g. ZYX; default: from the file.",
    )
    voxel_size: tuple[float, float, float] | None = Field(
        None, description="Voxel size z y x in µm; default: from the file."
    )
    channel: int | str | None = Field(
        None, description="Use this channel alone (index or name); default: all."
    )
    scene: int | str | None = Field(
        None,
        description="Of a file with several images (.czi, .lif, .nd2), this one "
        "(index or name); default: the first.",
    )
    region: RegionChoice | None = Field(
        None,
        description="Use this region alone, e.g. 'z=10:40,y=0:512', or "
        "'10:40,0:512,0:512' along z, y, x.",
    )
