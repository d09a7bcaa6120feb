"""Students: their sizes, and how long each is taught on which kind of device."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from napari_blindspot.config.base import Settings

StudentSize = Literal["tiny", "small", "full"]


class StudentSettings(Settings):
    """The shape of a student network.

    Parameters
    ----------
    width
        Channels of the U-Net at every level.
    depth
        Number of poolings; the stride is ``2**depth`` pixels.
    context
        Neighbour planes on either side, those of its teacher.
    channels
        Channels that are seen and denoised together; 1 for one at a time.
    units
        What the U-Net sees and answers in, as of `config.NetworkSettings`.
    starts
        Channels that have a noise of their own; 1: one for all.
    """

    width: int = Field(16, ge=1)
    depth: int = Field(3, ge=1, le=6)
    context: int = Field(2, ge=0)
    channels: int = Field(1, ge=1)
    units: Literal["scale", "noise"] = "scale"
    starts: int = Field(1, ge=1)

    @property
    def stride(self) -> int:
        """Tiles and crops come in multiples of this many pixels."""
        return int(2**self.depth)


class StudentRecipe(Settings):
    """How a student is taught.

    Parameters
    ----------
    steps, minutes
        The budget: teaching ends at whichever is reached first.
    lessons
        Crops whose answers the teachers give once, before the student learns, as far as
        memory holds them; some of them lie around held-out blocks and are kept back to
        tell when it has learnt enough.
    crop, batch
        Side of a lesson in pixels, lessons per step.
    learning_rate
        Peak learning rate (Adam), falling to 0 as a cosine.
    checks, patience
        How often the distance on the lessons kept back is taken over the whole
        budget, and how many checks without improvement end the teaching.
    """

    steps: int = 1000
    minutes: float = 5.0
    lessons: int = 192
    crop: int = 96
    batch: int = 4
    learning_rate: float = 3e-3
    checks: int = 20
    patience: int = 6


WIDTHS: dict[StudentSize, int] = {"tiny": 8, "small": 16, "full": 32}
"""Channels of the three sizes of students."""

DEPTH = 3
"""Poolings of students: what they see is enough for what a stack shows."""

_CPU = StudentRecipe()
_GPU = StudentRecipe(steps=2000, minutes=1.0, lessons=768, crop=128, batch=16)


def student_recipe(device_type: str) -> StudentRecipe:
    """Return how students are taught on a device.

    Parameters
    ----------
    device_type
        ``"cpu"``, ``"cuda"`` or ``"mps"``.
    """
    return _CPU if device_type == "cpu" else _GPU
