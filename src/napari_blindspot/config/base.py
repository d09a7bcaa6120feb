"""The base of all settings, and the sentence for settings that cannot be used."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

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
        raise InputError(_sentence(kind, error)) from error


def _sentence(kind: type[Settings], error: ValidationError) -> str:
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""  # of hole.2, say hole
    if first["type"] == "extra_forbidden":
        return (
            f"{name}={first['input']!r} is not a setting; the settings are "
            f"{', '.join(kind.model_fields)}."
        )
    if first["type"] == "value_error" and not name:
        return str(first["ctx"]["error"]) + "."
    rule = first["msg"][0].lower() + first["msg"][1:]
    return f"{name}={first['input']!r} cannot be used: {rule}."
