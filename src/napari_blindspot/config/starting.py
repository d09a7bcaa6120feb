"""The setting of what training starts from, and what cannot follow from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator

if TYPE_CHECKING:
    from napari_blindspot.config import ModelChoice, TrainSettings

StartChoice = Annotated[
    str, BeforeValidator(lambda one: str(one) if isinstance(one, Path) else one)
]
"""``"warm"``, ``"cold"`` or the path of a model file; kept as text."""


def refuse_start(settings: TrainSettings) -> None:
    """Refuse a start that is neither of the words nor may be a model file.

    Raises
    ------
    ValueError
        With the sentence for the user, without its full stop.
    """
    start = settings.start
    if start in ("warm", "cold") or Path(start).suffix.lower() == ".safetensors":
        return
    raise ValueError(
        f"start={start!r} cannot be used; give 'warm', 'cold' or the path of a model "
        f"file (.safetensors)"
    )


def refuse_untaught(settings: ModelChoice) -> None:
    """Refuse a student that no step is left for.

    Raises
    ------
    ValueError
        With the sentence for the user, without its full stop.
    """
    if settings.steps == 0 and settings.student not in (None, "none"):
        raise ValueError(
            f"student={settings.student!r} cannot be given with steps=0, which leaves "
            f"no step to teach it; give some steps, or leave one of the two out"
        )
