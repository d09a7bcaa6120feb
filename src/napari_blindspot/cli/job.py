"""What a command is asked for: by its words, and by a job file below them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from cyclopts import Parameter

from napari_blindspot.cli.options import INPUT
from napari_blindspot.config import Settings
from napari_blindspot.config.job_file import JobFile, read_job
from napari_blindspot.errors import InputError
from napari_blindspot.location import Location, as_location

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cyclopts import Token

S = TypeVar("S", bound=Settings)
F = TypeVar("F", bound="Callable[..., Any]")


def _read(type_: Any, tokens: Sequence[Token]) -> Location:
    """Return what was typed as a path or an address."""
    return as_location(tokens[0].value)


PATH_OR_ADDRESS = Parameter(converter=_read, n_tokens=1, accepts_keys=False)
"""Of a word that may be either; `pathlib` would break an address."""

Config = Annotated[
    Path | None,
    Parameter(
        negative=(),
        group=INPUT,
        show_default=False,
        help="Job file (.yaml) with settings, input and output; what is typed wins.",
    ),
]


def needs(**words: str) -> Callable[[F], F]:
    """Say which parameters of a command must be typed where no job file is given.

    Parameters
    ----------
    **words
        What the user knows each parameter as.
    """

    def decorate(command: F) -> F:
        command.needed_words = words  # type: ignore[attr-defined]
        return command

    return decorate


def left_out(command: Callable[..., Any], arguments: Mapping[str, Any]) -> str | None:
    """Return the first word that a command needs and did not get, None if it has all.

    What is left out may stand in the job file, if there is one.
    """
    words: dict[str, str] = getattr(command, "needed_words", {})
    if arguments.get("config") is not None:
        return None
    return next((words[one] for one in words if arguments.get(one) is None), None)


class Asked:
    """The words of a command over what its job file says.

    Parameters
    ----------
    command
        Name of the command.
    config
        Its job file, if any.
    options
        Settings that were typed.
    **typed
        Paths that were typed, None where one was not; they win.
    """

    def __init__(
        self,
        command: str,
        config: Path | None,
        options: Mapping[str, Any],
        **typed: Location | list[Location] | None,
    ) -> None:
        self._job = None if config is None else read_job(config, command)
        self._options = options
        self._typed = typed

    @property
    def names(self) -> set[str]:
        """Names of all settings that are given."""
        job = {} if self._job is None else self._job.settings
        return {*job, *self._options}

    def settings(self, kind: type[S]) -> S:
        """Return the settings, checked.

        Raises
        ------
        InputError
            As `JobFile.parse`.
        """
        job = self._job or JobFile("", "")
        return job.parse(kind, self._options)

    def source(self, name: str) -> Any:
        """Return one path or address, or the list of files that make up one stack."""
        found = self.paths(name)
        return found if len(found) > 1 else found[0]

    def path(self, name: str) -> Path:
        """Return one path.

        Raises
        ------
        InputError
            If there is none, or several, or an address.
        """
        found = self.location(name)
        if not isinstance(found, Path):
            raise InputError(
                f"{name}={str(found)!r} is an address, but a path of this machine is "
                f"needed."
            )
        return found

    def location(self, name: str) -> Location:
        """Return one path or address.

        Raises
        ------
        InputError
            If there is none, or several.
        """
        found = self.paths(name)
        if len(found) != 1:
            raise InputError(
                f"{self._job.name if self._job else name}: {name} names {len(found)} "
                f"paths, but one is needed."
            )
        return found[0]

    def paths(self, name: str) -> list[Location]:
        """Return the paths and addresses of one name.

        Raises
        ------
        InputError
            If there is none.
        """
        found = self._typed.get(name)
        if found is None and self._job is not None:
            found = self._job.paths.get(name)
        if found is None:
            where = self._job.name if self._job is not None else "The command"
            raise InputError(
                f"{where} names no {name}, and none is typed; add a line "
                f"'{name}: PATH', or type it behind the command."
            )
        return found if isinstance(found, list) else [found]
