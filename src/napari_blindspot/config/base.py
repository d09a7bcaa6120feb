"""The base of all settings."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from napari_blindspot.config.refusals import refusal
from napari_blindspot.errors import InputError

S = TypeVar("S", bound="Settings")


class Settings(BaseModel):
    """Base of all settings: frozen, and a misspelt name is an error at once."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def parse_settings(kind: type[S], **options: Any) -> S:
    """Build settings, with one readable sentence for whatever does not fit.

    Raises
    ------
    InputError
        Naming the argument, the value and what is allowed.
    """
    try:
        return kind(**options)
    except ValidationError as error:
        raise InputError(refusal(kind.model_fields, options, error)) from error
