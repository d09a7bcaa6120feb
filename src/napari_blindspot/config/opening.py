"""Settings of what is opened."""

from __future__ import annotations

from pydantic import Field

from napari_blindspot.config.base import Settings


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
    region: str | None = Field(
        None, description="Use this region alone, e.g. 'z=10:40,y=0:512'."
    )
