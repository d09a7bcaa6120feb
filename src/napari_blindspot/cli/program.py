"""The program that the commands belong to: its options, its end, and its `main`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from napari_blindspot.cli.guard import Exit, cancel_on_interrupt, guarded
from napari_blindspot.cli.job import PATH_OR_ADDRESS, left_out
from napari_blindspot.cli.options import OUTPUT, REPORT
from napari_blindspot.cli.show import EventView, fact_lines, json_line, plain_console
from napari_blindspot.cli.usage import PROGRAM, usage_hint, usage_lines
from napari_blindspot.location import Location
from napari_blindspot.progress import run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Console

    from napari_blindspot.progress import CancelToken, Job


def _version() -> str:
    from napari_blindspot import __version__

    return __version__


app = App(
    name=PROGRAM,
    help="Denoise a microscopy stack with a network trained on that very stack.",
    help_epilogue=(
        "Exit codes: 0 success, 1 the run failed, 2 bad use or bad input, "
        "130 interrupted."
    ),
    version=_version,
)

_INPUT = "TIFF file, file-name pattern, zarr or OME-Zarr, also at s3:// or https://."
Input = Annotated[Location, PATH_OR_ADDRESS, Parameter(name="INPUT", help=_INPUT)]
OptionalInput = Annotated[
    Location | None, PATH_OR_ADDRESS, Parameter(name="INPUT", help=_INPUT)
]
Json = Annotated[
    bool,
    Parameter(
        negative=(),
        show_default=False,
        group=REPORT,
        help="Print the facts as one last line of JSON on standard output.",
    ),
]
Debug = Annotated[
    bool,
    Parameter(
        negative=(),
        show_default=False,
        group=REPORT,
        help="Show the traceback of an error.",
    ),
]
Overwrite = Annotated[
    bool,
    Parameter(
        negative=(),
        show_default=False,
        group=OUTPUT,
        help="Replace an existing output.",
    ),
]
Resume = Annotated[
    bool,
    Parameter(
        negative=(),
        show_default=False,
        group=OUTPUT,
        help="Go on with what a stopped run has left of this output.",
    ),
]


def follow(start: Callable[[CancelToken], Job[Any]]) -> Any:
    """Run a job to its end, showing its events and heeding Ctrl-C."""
    with cancel_on_interrupt() as token, EventView() as view:
        return run(start(token), view)


def report_facts(facts: Mapping[str, Any], *, json: bool) -> None:
    """Print the facts on standard output: one JSON line, or lines for people."""
    print_lines([json_line(facts)] if json else fact_lines(facts))


def print_lines(lines: list[str]) -> None:
    """Print on standard output, which holds nothing but facts."""
    for line in lines:
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(tokens: Sequence[str] | None = None) -> int:
    """Run the shell command.

    Parameters
    ----------
    tokens
        Arguments; those of the process unless given.

    Returns
    -------
    int
        Exit code: 0 success, 1 the run failed, 2 bad use or bad input,
        130 interrupted.
    """
    console = plain_console(stderr=True)
    try:
        command, bound, _ = app.parse_args(
            tokens, exit_on_error=False, print_error=False
        )
    except CycloptsError as error:
        return _bad_use(console, usage_lines(error))
    if word := left_out(command, bound.arguments):
        said = f"{word} is missing."
        return _bad_use(console, usage_hint(said, command.__name__))
    return guarded(
        lambda: command(*bound.args, **bound.kwargs),
        console,
        debug=bool(bound.arguments.get("debug", False)),
    )


def _bad_use(console: Console, lines: list[str]) -> Exit:
    for line in lines:
        console.print(line)
    return Exit.BAD_USE
