"""Settings of where the state of a training is kept; they change nothing in a model."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from napari_blindspot.config.base import Settings


class KeepSettings(Settings):
    """Where a training keeps its state, and what is done with one that is there."""

    checkpoint: Path | None = Field(
        None,
        description="Keep the state of the training in this file, so that it can go on "
        "if it is stopped.",
    )
    resume: bool = Field(
        False, description="Go on from the state that a stopped training has kept."
    )
    overwrite: bool = Field(False, description="Begin anew and replace that state.")

    @model_validator(mode="after")
    def _resumes_from_somewhere(self) -> Self:
        if self.resume and self.checkpoint is None:
            raise ValueError(
                "resume=True needs checkpoint, the file in which the stopped training "
                "has kept its state; give both, or leave resume out"
            )
        return self
