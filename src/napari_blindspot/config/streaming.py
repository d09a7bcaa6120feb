"""Settings of how a run goes through a stack; none decides about its values."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from napari_blindspot.config.base import Settings


class StreamSettings(Settings):
    """How a run goes on, and where its blocks are denoised."""

    resume: bool = Field(
        False,
        description="Go on with what an earlier run has left of this output; without "
        "such a run, begin.",
    )
    scheduler: str | None = Field(
        None,
        description="Denoise on the workers of this dask scheduler, e.g. "
        "tcp://host:8786; they read the input and write the output themselves.",
    )
    workers: int | None = Field(
        None,
        ge=1,
        description="Denoise with this many processes of this machine, each with a "
        "GPU of its own as far as there are any.",
    )

    @property
    def is_shared(self) -> bool:
        """Whether other processes denoise."""
        return self.scheduler is not None or self.workers is not None

    @model_validator(mode="after")
    def _one_crew(self) -> Self:
        if self.scheduler is not None and self.workers is not None:
            raise ValueError(
                f"scheduler={self.scheduler!r} brings its own workers, so "
                f"workers={self.workers} cannot be given beside it; keep one of them"
            )
        return self
