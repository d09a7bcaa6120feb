"""Job files: the settings of a run, its input and its output, as a YAML file.

A job file holds what could be typed behind the command: every setting under its own
name, beside ``command`` and the paths. It is data alone, nothing in it is run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from napari_blindspot.config import BudgetSettings
from napari_blindspot.config.base import Settings, parse_settings
from napari_blindspot.errors import InputError
from napari_blindspot.location import Location, as_location

if TYPE_CHECKING:
    from collections.abc import Mapping

S = TypeVar("S", bound=Settings)

PATHS: dict[str, tuple[str, ...]] = {
    "denoise": ("input", "output"),
    "train": ("input", "output"),
    "distill": ("model", "input", "output"),
    "preview": ("input", "output"),
}
"""Commands that a job file may be for, and the paths that each of them needs."""

SUFFIXES = (".yaml", ".yml")
LARGEST_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class JobFile:
    """What a job file holds, its names checked against the command.

    Parameters
    ----------
    name
        Name of the file, for sentences.
    command
        The command that it is for.
    paths
        Paths and addresses by name; a list where several were given.
    settings
        Settings by name, not checked yet.
    """

    name: str
    command: str
    paths: Mapping[str, Location | list[Location]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def parse(self, kind: type[S], options: Mapping[str, Any]) -> S:
        """Build settings from the file and from options that win over it.

        A budget among the options replaces that of the file.

        Raises
        ------
        InputError
            As `parse_settings`; what is wrong without the options names the file.
        """
        budgets = set(BudgetSettings.model_fields)
        dropped = budgets if budgets & options.keys() else set()
        kept = {k: v for k, v in self.settings.items() if k not in dropped}
        try:
            return parse_settings(kind, **{**kept, **options})
        except InputError as error:
            parse_settings(kind, **options)  # what the options do alone is theirs
            raise InputError(f"{self.name}: {error}") from error


def read_job(path: str | Path, command: str) -> JobFile:
    """Read a job file.

    Parameters
    ----------
    path
        YAML file.
    command
        The command that reads it, one of `PATHS`.

    Raises
    ------
    InputError
        If it cannot be read, is no YAML of names and values, is for another command,
        or a path is no text.
    """
    path = Path(path).expanduser()
    values = _mapping(path)
    meant = values.pop("command", command)
    if meant != command:
        known = f"run napari-blindspot {meant} --config {path.name}"
        fix = known if meant in PATHS else f"use one of {', '.join(PATHS)}"
        raise InputError(f"{path.name} is for {meant!r}, not for {command!r}; {fix}.")
    names = [name for name in PATHS[command] if values.get(name) is not None]
    paths = {name: _paths(path.name, name, values[name]) for name in names}
    settings = {k: v for k, v in values.items() if k not in PATHS[command]}
    return JobFile(path.name, command, paths, settings)


def _mapping(path: Path) -> dict[str, Any]:
    import yaml

    text = _text(path)
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        place = getattr(error, "problem_mark", None)
        where = f" in line {place.line + 1}" if place is not None else ""
        raise InputError(
            f"{path.name} is no YAML that can be read{where}; write one 'name: value' "
            f"per line, e.g. 'steps: 500'."
        ) from error
    if not isinstance(values, dict) or not all(isinstance(k, str) for k in values):
        raise InputError(
            f"{path.name} holds no settings; write one 'name: value' per line, e.g. "
            f"'steps: 500'."
        )
    return values


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise InputError(
                f"{path.name} has {path.stat().st_size} bytes, too many for a job "
                f"file; give the .yaml file of settings."
            )
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"job file {str(path)!r} cannot be read ({error.strerror or error}); check "
            f"the spelling and its permissions."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path.name} is no text, so it is no job file; give a .yaml file."
        ) from error


def _paths(file: str, name: str, value: Any) -> Location | list[Location]:
    several = value if isinstance(value, list) else [value]
    if not several or not all(isinstance(one, str) and one for one in several):
        raise InputError(
            f"{file}: {name}={value!r} cannot be used: give a path as text."
        )
    paths = [as_location(one) for one in several]
    return paths if isinstance(value, list) else paths[0]
