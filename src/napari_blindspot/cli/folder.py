"""``denoise`` where its input is a folder: every file, and what became of each."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from napari_blindspot.cli.program import follow, print_lines
from napari_blindspot.cli.show import json_line
from napari_blindspot.cli.wording import in_shell
from napari_blindspot.config.batch import FolderSettings
from napari_blindspot.errors import InputError, RunError

if TYPE_CHECKING:
    from napari_blindspot.cli.job import Asked
    from napari_blindspot.config.batch import BatchSettings


def is_about_folder(asked: Asked) -> bool:
    """Return whether the input is a folder of files, none of which makes a stack."""
    from napari_blindspot.io.folder import is_plain_folder

    found = asked.paths("input")
    return len(found) == 1 and is_plain_folder(found[0])


def denoise_files(
    asked: Asked, settings: BatchSettings, *, json: bool, debug: bool
) -> None:
    """Denoise every file of the input and print what became of them.

    Raises
    ------
    RunError
        If a file failed.
    """
    folder, out = asked.path("input"), asked.path("output")
    from napari_blindspot.batch import denoise_folder_job

    done = follow(lambda token: denoise_folder_job(folder, settings, out, token))
    facts = {"input": folder, **done.as_dict()}
    lines = map(in_shell, done.sentences())
    print_lines([json_line(facts)] if json else [*lines])
    for one in done.failed if debug else ():
        traceback.print_exception(one.error)
    if done.failed:
        names = ", ".join(one.source.name for one in done.failed)
        raise RunError(
            f"{len(done.failed)} of {len(done.files)} files could not be denoised: "
            f"{names}; the others are complete."
        )


def refuse_folder_settings(asked: Asked) -> None:
    """Refuse settings of a folder beside an input that is none.

    Raises
    ------
    InputError
        Naming the settings.
    """
    given = sorted(asked.names & FolderSettings.model_fields.keys())
    if given:
        raise InputError(
            f"{', '.join(given)} cannot be given here: {asked.paths('input')[0]} is no "
            f"folder of files; leave it out, or give a folder as input."
        )
