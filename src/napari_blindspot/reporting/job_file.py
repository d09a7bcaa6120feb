"""A job file made from what a result, or a model file, records of its making."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_blindspot.config import (
    CAMERA_FILES,
    DenoiseSettings,
    DistillSettings,
    TrainSettings,
)
from napari_blindspot.config.job_file import SUFFIXES
from napari_blindspot.errors import InputError
from napari_blindspot.io import read_provenance
from napari_blindspot.io.new_file import check_new_file, write_new_file
from napari_blindspot.location import Location, as_location
from napari_blindspot.model_file import read_header

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_blindspot.config import Settings

UNNAMED = "MODEL.safetensors"
"""Stands for a model that was in memory: a run refuses it, as no file has the name."""

_KINDS: dict[str, type[Settings]] = {
    "denoise": DenoiseSettings,
    "train": TrainSettings,
    "distill": DistillSettings,
}
_OF_THE_RUN = {"overwrite", "resume", "checkpoint", "memory", "scheduler", "workers"}
"""Settings that decide how a run goes, not what comes out of it."""


@dataclass(frozen=True, slots=True)
class _Made:
    """How a file was made: the command, its words and settings, and what is to say."""

    command: str
    words: Mapping[str, Any]
    settings: Mapping[str, Any]
    version: str
    notes: tuple[str, ...] = ()


def write_job(
    path: str | Location, job: str | Path, *, overwrite: bool = False
) -> Path:
    """Write the job file that makes a result, or a model file, once more.

    Parameters
    ----------
    path
        A result or a model file of ours.
    job
        New ``.yaml`` file.
    overwrite
        Replace an existing file.

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    InputError
        If `path` does not record how it was made, or `job` cannot be a file.
    RunError
        If it cannot be written.
    """
    file = check_new_file(job, "job file", SUFFIXES, overwrite=overwrite)
    content = job_text(path).encode("utf-8")
    write_new_file(file, content, "job file", overwrite=overwrite)
    return file


def job_text(path: str | Location) -> str:
    """Return the job file that makes a result, or a model file, once more.

    Settings that have their default are left out. Paths are names without folders:
    what is kept with a result tells nothing of the machine it was made on.

    Raises
    ------
    InputError
        As `write_job`.
    """
    import yaml

    path = as_location(path)
    if isinstance(path, Path) and path.suffix.lower() == ".safetensors":
        made = _made_model(path)
    else:
        made = _made_result(path)
    usual = _KINDS[made.command]().model_dump(mode="json")
    changed = {
        name: value
        for name, value in made.settings.items()
        if value != usual.get(name) and name not in _OF_THE_RUN
    }
    notes = (
        f"Makes {path.name} once more, which napari-blindspot {made.version} made.",
        f"Run it with: napari-blindspot {made.command} --config FILE",
        *made.notes,
        *_notes_on_files(changed),
    )
    values = {"command": made.command, **made.words, "output": path.name, **changed}
    text: str = yaml.safe_dump(
        values, sort_keys=False, allow_unicode=True, default_flow_style=None
    )
    return "".join(f"# {note}\n" for note in notes) + text


def _made_result(path: Location) -> _Made:
    facts = read_provenance(path)
    if facts is None or not isinstance(facts.get("settings"), dict):
        raise InputError(
            f"{path.name} does not record how it was made, so no job file can be made "
            f"from it; give a result or a model file of napari-blindspot."
        )
    settings = dict(facts["settings"])
    model = facts.get("model") or {}
    notes: tuple[str, ...] = ()
    if "method" not in settings:
        settings["model"] = UNNAMED
        notes = ("The model was in memory: give its file as model.",)
    elif settings.get("model") is None:
        again, notes = _once_more(settings, model)
        settings |= again
    words = {"input": facts["source"]["name"]}
    return _Made("denoise", words, settings, _version(facts), notes)


def _made_model(path: Path) -> _Made:
    header = read_header(path)
    facts = header["provenance"]
    settings = facts.get("settings")
    if not isinstance(settings, dict):
        raise InputError(
            f"{path.name} does not record the settings that it was made with, so no "
            f"job file can be made from it; give a model file of this version."
        )
    sources = [source["name"] for source in facts.get("sources", ())]
    words: dict[str, Any] = {"input": sources[0] if len(sources) == 1 else sources}
    if "distillation" in facts:
        note = "The model is the teacher, whose file is not recorded."
        words = {"model": UNNAMED, **words}
        return _Made("distill", words, settings, _version(facts), (note,))
    again, notes = _once_more(settings, facts)
    return _Made("train", words, {**settings, **again}, _version(facts), notes)


def _once_more(
    settings: Mapping[str, Any], model: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return what makes a training the same once more, and whether it will be."""
    training = model.get("training") or {}
    if settings.get("steps") is None:
        reached = training.get("steps", "some")
        return {}, (
            f"It trained for a time and came to {reached} steps; another run comes to "
            f"others, and its result is alike, not the same.",
        )
    threads = training.get("threads") if training.get("device") == "cpu" else None
    told = (
        "With the same versions on the same kind of processor the result is the same "
        "bit for bit; on a graphics card nearly so."
    )
    return ({"threads": threads} if threads else {}), (told,)


def _notes_on_files(changed: Mapping[str, Any]) -> list[str]:
    """Return what to do about settings that are files: names alone are kept."""
    names = [name for name in (*CAMERA_FILES, "model") if changed.get(name)]
    if changed.get("start") not in (None, "warm", "cold"):
        names.append("start")
    names = ["input", *names]
    return [
        f"Of files the names alone are kept: give the paths of {', '.join(names)}, "
        f"and an output that does not exist yet."
    ]


def _version(facts: Mapping[str, Any]) -> str:
    return str(facts.get("version", "of another version"))
