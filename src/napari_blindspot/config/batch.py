"""Settings of a folder of stacks that are denoised one after the other."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from napari_blindspot.config import DenoiseSettings
from napari_blindspot.config.base import Settings


class FolderSettings(Settings):
    """Which files of a folder are denoised, by which networks, to which names."""

    pattern: str | None = Field(
        None,
        description="Of a folder, the names of the files to denoise, e.g. '*.tif', in "
        "capitals or not; default: all that can be opened.",
    )
    one_model: bool = Field(
        False,
        description="Of a folder, train one network on all files and denoise each "
        "with it; it is kept as model.safetensors. Default: one network per file.",
    )
    suffix: str = Field(
        "_denoised.ome.zarr",
        description="Of a folder, what the names of the outputs have in place of the "
        "ending of their file.",
    )


# pydantic names its own constructors differently in the two bases.
class BatchSettings(DenoiseSettings, FolderSettings):  # type: ignore[misc]
    """Denoise every file of a folder."""

    @model_validator(mode="after")
    def _one_model_is_trained_here(self) -> Self:
        if self.one_model and self.model is not None:
            raise ValueError(
                "one_model=True trains a network on all files, but model names one "
                "that is trained already; leave one of the two out"
            )
        return self

    @model_validator(mode="after")
    def _names_stay_in_their_folder(self) -> Self:
        for name in ("pattern", "suffix"):
            value = getattr(self, name)
            if value is not None and (not value or set(value) & set("/\\")):
                raise ValueError(
                    f"{name}={value!r} cannot be used: it is about names of files in "
                    f"one folder, so give no slash, e.g. "
                    f"{FolderSettings.model_fields[name].default or '*.tif'!r}"
                )
        return self
