"""What sentences of the core advise, in the words of the shell."""

from __future__ import annotations

import re
from functools import cache

_JOB_FILE = re.compile(r"\S+\.ya?ml: ")
_TWICE = re.compile(r"(--[^()]+?) \(\1\)")
_VALUE = r"""(?:\([^()]*\)|'[^']*'|"[^"]*"|[^\s,;:()'"]*)"""


def in_shell(sentence: str) -> str:
    """Return a sentence with the options of the shell for the settings of Python.

    Parameters
    ----------
    sentence
        Such as ``"hole=(1, 1, 3) cannot be given"``, which becomes ``"--hole 1 1 3
        cannot be given"``. What is said of a job file stays, which has names of Python.
    """
    if _JOB_FILE.match(sentence):
        return sentence
    said = _given().sub(_option, sentence)
    return _TWICE.sub(r"\1", options_named(said))


def options_named(text: str) -> str:
    """Return text with ``--variance-map`` for ``variance_map``, of all settings.

    A name of one word may be a word of the sentence, and stays.
    """
    return _named().sub(_dashed, text)


@cache
def _given() -> re.Pattern[str]:
    """Return what finds settings with values; those of one letter at the start."""
    names = setting_names()
    first = "|".join(name for name in names if len(name) == 1)
    longer = "|".join(name for name in names if len(name) > 1)
    return re.compile(rf"(?:^({first})|(?<![\w.\-'\"/=])({longer}))=({_VALUE})")


@cache
def _named() -> re.Pattern[str]:
    """Return what finds settings whose names cannot be words of a sentence."""
    names = "|".join(name for name in setting_names() if "_" in name)
    return re.compile(rf"(?<![\w.\-'\"/=])({names})(?![\w\-'\"/=]|\.\w)")


def setting_names() -> list[str]:
    """Return the names of all settings that are options, long ones first."""
    from napari_blindspot.cli.options import KINDS

    names = {name for kind in KINDS for name in kind.model_fields}
    return sorted({*names, "overwrite", "resume"}, key=lambda name: (-len(name), name))


def _dashed(found: re.Match[str]) -> str:
    return "--" + found[1].replace("_", "-")


def _option(found: re.Match[str]) -> str:
    option = "--" + (found[1] or found[2]).replace("_", "-")
    given = found[3]
    if given in ("False", "None"):
        return found[0]
    value = given.rstrip(".")
    words = "" if value == "True" else f" {_typed(value)}"
    return f"{option}{words.rstrip()}{given[len(value) :]}"


def _typed(value: str) -> str:
    """Return a value as it is typed: (1, 1, 3) as 1 1 3, 'auto' as auto."""
    if value.startswith("("):
        return value[1:-1].replace(",", "")
    bare = value.strip("'\"")
    return bare if bare and " " not in bare else value
