"""Errors whose message is one sentence for the person in front of the screen.

Every message says what was wrong, the value that was received, what is allowed,
and what to do next. The doors (shell, panel) show the message without a traceback.
"""

from __future__ import annotations


class BlindspotError(Exception):
    """Base of all errors that are meant to be read by the user."""


class InputError(BlindspotError, ValueError):
    """The input, an argument or a file cannot be used as it is."""


class OutputExistsError(InputError, FileExistsError):
    """The output exists already and overwriting was not asked for."""


class ModelFileError(InputError):
    """A file is not a model file that this version can read."""


class RunError(BlindspotError, RuntimeError):
    """A run that began well could not go on: disk full, out of memory, offline."""


class Cancelled(BlindspotError):
    """The user asked the run to stop."""
