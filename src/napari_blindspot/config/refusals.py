"""The sentence for settings that cannot be used: the value, and what is allowed."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, get_args, get_origin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import ValidationError
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

    Fields = Mapping[str, FieldInfo]


def refusal(fields: Fields, options: Mapping[str, Any], error: ValidationError) -> str:
    """Return the sentence for the first setting that does not fit.

    Parameters
    ----------
    fields
        All settings, by name.
    options
        What was given.
    error
        What pydantic found.
    """
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""  # of hole.2, say hole
    if first["type"] == "extra_forbidden":
        return f"{name}={first['input']!r} is not a setting; {_meant(fields, name)}"
    if first["type"] == "value_error" and not name:
        return str(first["ctx"]["error"]) + "."
    said = f"{name}={options.get(name, first['input'])!r} cannot be used"
    if first["type"] == "value_error":
        rule = str(first["ctx"]["error"])
        return f"{said}{'; ' if rule.startswith('give ') else ': '}{rule}."
    field = fields[name]
    same = [one for one in error.errors() if one["loc"][:1] == first["loc"][:1]]
    wanted = dict.fromkeys(_wanted(field, one) for one in same)
    instead = ", or leave it out" if field.default is None else ""
    return f"{said}; give {' or '.join(wanted)}{instead}."


def _meant(fields: Fields, name: str) -> str:
    """Return what may be given in place of a name that is no setting."""
    close = get_close_matches(name, fields, cutoff=0.7)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"the settings are {', '.join(fields)}."


_WANTED = {
    "bool": "true or false",
    "float": "a number",
    "finite": "a finite number",
    "int": "a whole number",
    "path": "a path",
    "string": "text",
    "tuple": "several values in a row",
}
"""What is to be given, by the first word of pydantic's kinds of errors."""

_LIMITS = {"gt": "above {}", "ge": "of at least {}", "lt": "below {}", "le": "up to {}"}


def _wanted(field: FieldInfo, error: ErrorDetails) -> str:
    """Return what a setting may be, in the place of what it was given."""
    limits = _limits(field)
    if error["type"] == "literal_error":
        return str(error["ctx"]["expected"])
    if len(error["loc"]) > 1 and error["type"] in ("missing", "too_long"):
        return f"{_length(field)} values in a row"
    if error["type"].split("_")[0] in ("greater", "less", "finite") and limits:
        whole = int in {field.annotation, *get_args(field.annotation)}
        return f"{'a whole number' if whole else 'a number'} {limits}"
    found = _WANTED.get(error["type"].split("_")[0])
    if found is None:
        rule = error["msg"].removeprefix("Input should be ")
        return f"what fits ({rule[0].lower()}{rule[1:]})"
    is_number = found in (_WANTED["int"], _WANTED["float"])
    return f"{found} {limits}" if is_number and limits else found


def _limits(field: FieldInfo) -> str:
    """Return the limits of a number in words, empty without any."""
    found = {
        name: _short(getattr(one, name))
        for name in _LIMITS
        for one in field.metadata
        if getattr(one, name, None) is not None
    }
    if found.keys() == {"ge", "le"}:
        return f"from {found['ge']} to {found['le']}"
    return " and ".join(_LIMITS[name].format(limit) for name, limit in found.items())


def _short(limit: float) -> str:
    power = limit.bit_length() - 1 if isinstance(limit, int) else 0
    return f"2^{power}" if power > 30 else f"{limit:g}"


def _length(field: FieldInfo) -> int:
    """Return how many values a setting has in a row."""
    kinds = (field.annotation, *get_args(field.annotation))
    return next(len(get_args(one)) for one in kinds if get_origin(one) is tuple)
