"""How a command ends: exit codes, one sentence per error, and Ctrl-C."""

from __future__ import annotations

import logging
import os
import signal
from contextlib import contextmanager, nullcontext
from enum import IntEnum
from typing import TYPE_CHECKING

from napari_blindspot.cli.wording import in_shell
from napari_blindspot.errors import Cancelled, InputError, sentence_of
from napari_blindspot.progress import CancelToken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from rich.console import Console


class Exit(IntEnum):
    """Exit codes of the shell command."""

    SUCCESS = 0
    FAILED = 1
    BAD_USE = 2
    INTERRUPTED = 130


@contextmanager
def cancel_on_interrupt() -> Iterator[CancelToken]:
    """Turn the first Ctrl-C into a cancelled token, and let the second one kill.

    The job asks the token between tiles and training steps, so that it ends with
    its clean-up done.
    """
    token = CancelToken()

    def first(signum: int, frame: FrameType | None) -> None:
        token.cancel()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        # A signal handler may interrupt a print: os.write needs no lock.
        os.write(2, b"\nStopping cleanly; press Ctrl-C again to stop at once.\n")

    before = signal.signal(signal.SIGINT, first)
    try:
        yield token
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep the warnings that tifffile logs off the terminal.

    What matters of a damaged file is said by the error that follows.
    """
    logger, handler = logging.getLogger("tifffile"), logging.NullHandler()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def guarded(command: Callable[[], None], console: Console, *, debug: bool) -> Exit:
    """Run a command and turn whatever it raises into one sentence and an exit code.

    Parameters
    ----------
    command
        What to run.
    console
        Where the sentence goes.
    debug
        Also show the traceback.
    """
    try:
        with nullcontext() if debug else quiet_libraries():
            command()
    except (Cancelled, KeyboardInterrupt) as error:
        console.print(in_shell(str(error)) or "Interrupted.")
        return Exit.INTERRUPTED
    except Exception as error:
        if debug:
            console.print_exception()
        console.print(f"Error: {in_shell(sentence_of(error))}")
        return Exit.BAD_USE if isinstance(error, InputError) else Exit.FAILED
    return Exit.SUCCESS
