"""Bad use of the shell in one sentence, and the help that tells what is allowed."""

from __future__ import annotations

from cyclopts import CycloptsError, MissingArgumentError, UnusedCliTokensError

PROGRAM = "napari-blindspot"


def usage_lines(error: CycloptsError) -> list[str]:
    """Say what was wrong with the words on the command line, and where to look.

    Parameters
    ----------
    error
        What cyclopts raised while it read them.

    Returns
    -------
    list of str
        The error in one sentence, and the help command.
    """
    return usage_hint(_sentence(error), *(error.command_chain or ()))


def usage_hint(sentence: str, *command: str) -> list[str]:
    """Return a sentence about bad use as an error, and the help command."""
    asked = " ".join((PROGRAM, *command))
    return [f"Error: {sentence}", f"See what is allowed with: {asked} --help"]


def _sentence(error: CycloptsError) -> str:
    if isinstance(error, UnusedCliTokensError):
        words = ", ".join(repr(token) for token in error.unused_tokens or ())
        return (
            f"nothing is expected at {words}; put a name with blanks and a pattern of "
            f"several files in quotes."
        )
    # The subclasses of a missing argument know more and speak for themselves.
    if type(error) is MissingArgumentError and error.argument is not None:
        name = error.keyword or error.argument.name
        wanted, _ = error.argument.token_count()
        got = len(error.tokens_so_far)
        if wanted > 1:
            return f"{name} needs {wanted} values with blanks between, but got {got}."
        return f"{name} is missing." if not error.keyword else f"{name} needs a value."
    return str(error)
