"""Errors whose message is one sentence for the person in front of the screen.

Every message says what was wrong, the value that was received, what is allowed,
and what to do next. The doors (shell, panel) show the message without a traceback.
"""

from __future__ import annotations

_LONGEST = 200  # characters of what others say


class BlindspotError(Exception):
    """Base of all errors that are meant to be read by the user."""


class InputError(BlindspotError, ValueError):
    """The input, an argument or a file cannot be used as it is."""


class SourceError(InputError):
    """Pixels of the stack cannot be read: damaged, moved, or on a disk that is gone."""


class OutputExistsError(InputError, FileExistsError):
    """The output exists already and overwriting was not asked for."""


class ModelFileError(InputError):
    """A file is not a model file that this version can read."""


class CheckpointError(InputError):
    """What is kept of a training does not belong to this one, or is damaged."""


class RunError(BlindspotError, RuntimeError):
    """A run that began well could not go on: disk full, out of memory, offline."""


class OutOfMemory(RunError):
    """A tile does not fit into the memory of the device, not even one plane of it."""


class Cancelled(BlindspotError):
    """The user asked the run to stop."""


def reason(error: BaseException) -> str:
    """Return what a library said of its error, short enough for a sentence."""
    said = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, KeyError):
        said = f"there is no {said}"
    return f"{said[:_LONGEST]}…" if len(said) > _LONGEST else said.rstrip(".")


def sentence_of(error: BaseException) -> str:
    """Return what the person in front of the screen reads of an error.

    Parameters
    ----------
    error
        One of ours speaks for itself; of others this says what to do.
    """
    if isinstance(error, BlindspotError):
        return str(error)
    if isinstance(error, MemoryError):
        return "The memory ran out; use a smaller --region or close other programs."
    if isinstance(error, OSError):
        return f"The system refused: {error}."
    return (
        f"Something unexpected happened ({type(error).__name__}: {error}); run again "
        f"with --debug to see where."
    )
