"""A folder of stacks, denoised one after the other; a bad file stops none of the rest.

Every name is settled before any work, so that no output can replace another.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_blindspot.config import (
    TRAINING_ONLY,
    DenoiseSettings,
    TrainSettings,
    parse_settings,
)
from napari_blindspot.config.batch import BatchSettings
from napari_blindspot.config.keeping import KeepSettings
from napari_blindspot.errors import Cancelled, InputError, sentence_of
from napari_blindspot.io import check_output, read_provenance, uncertainty_path
from napari_blindspot.io.folder import files_in, make_folder, outputs_in
from napari_blindspot.io.outputs import partial_path, remove
from napari_blindspot.jobs import denoise_job, open_with, train_job
from napari_blindspot.measure.calibrated import measure_corrected
from napari_blindspot.measure.camera_maps import read_camera
from napari_blindspot.model_file import check_model_path, save_model
from napari_blindspot.progress import CancelToken, Job, Progress, run
from napari_blindspot.streaming.crew import crew_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_blindspot.stack import Stack

MODEL_NAME = "model.safetensors"
"""What the model of all files is called, in the folder of the outputs."""


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one file of a folder.

    Parameters
    ----------
    source
        The file.
    output
        Where its output lies, or would.
    facts
        Metrics and noise models of its run; empty if it failed. With ``resume``, an
        output that an earlier run has finished is left as it is.
    error
        Why there is no output, None where there is one.
    """

    source: Path
    output: Path
    facts: dict[str, Any] = field(default_factory=dict)
    error: Exception | None = None

    @property
    def sentence(self) -> str:
        """Why it failed, empty if it did not."""
        return "" if self.error is None else sentence_of(self.error)

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able facts."""
        told = {"error": self.sentence} if self.error is not None else self.facts
        return {"source": str(self.source), "output": str(self.output), **told}


@dataclass(frozen=True, slots=True)
class FolderResult:
    """What became of the files of a folder.

    Parameters
    ----------
    folder
        Folder of the outputs.
    files
        One entry per file, in their order.
    model
        The model of all files, None where every file had one of its own.
    """

    folder: Path
    files: tuple[FileResult, ...]
    model: Path | None = None

    @property
    def failed(self) -> tuple[FileResult, ...]:
        """The files without an output."""
        return tuple(file for file in self.files if file.error is not None)

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able facts."""
        return {
            "output": str(self.folder),
            "model": None if self.model is None else str(self.model),
            "denoised": len(self.files) - len(self.failed),
            "failed": len(self.failed),
            "files": [file.as_dict() for file in self.files],
        }

    def sentences(self) -> list[str]:
        """Return how it went in lines for people, the failures last."""
        done = len(self.files) - len(self.failed)
        lines = [f"{done} of {len(self.files)} files denoised into {self.folder}"]
        if self.model is not None:
            lines.append(f"Model of all files: {self.model}")
        return lines + [f"{one.source.name}: {one.sentence}" for one in self.failed]


def denoise_folder(
    folder: str | Path,
    out: str | Path,
    *,
    on_progress: Callable[[Progress], object] | None = None,
    cancel: CancelToken | None = None,
    **settings: Any,
) -> FolderResult:
    """Denoise every file of a folder, each as a stack of its own.

    A file that cannot be denoised is told of in the result, and the others go on.

    Parameters
    ----------
    folder
        Folder of the files; folders inside are not searched.
    out
        Folder of the outputs; it is made.
    on_progress
        Called with every `Progress` event.
    cancel
        A token that stops the run from another thread; outputs that are complete
        stay.
    **settings
        The fields of `config.batch.BatchSettings`: ``pattern``, ``one_model``,
        ``suffix`` and those of `denoise`.

    Returns
    -------
    FolderResult

    Raises
    ------
    InputError
        If no file matches, two outputs would lie at the same place, or a setting
        does not fit; before any work.
    RunError
        If the model of all files cannot be written.
    Cancelled
        If `cancel` was used.
    """
    parsed = parse_settings(BatchSettings, **settings)
    return run(denoise_folder_job(folder, parsed, out, cancel), on_progress)


def denoise_folder_job(
    folder: str | Path,
    settings: BatchSettings,
    out: str | Path,
    cancel: CancelToken | None = None,
) -> Job[FolderResult]:
    """Do the work of `denoise_folder` as a generator of events.

    The events of each file follow one of the stage ``"file"`` that names it.
    """
    cancel = cancel or CancelToken()
    files = files_in(folder, settings.pattern)
    uncertainty = settings.uncertainty
    outputs = outputs_in(out, files, settings.suffix, uncertainty=uncertainty)
    folder_out = make_folder(out)
    plan = list(zip(files, outputs, strict=True))
    single = _each_alone(settings)
    yield Progress("file", 0, len(plan), "files", _announced(files))
    if not settings.one_model:
        done = yield from _denoise_all(plan, single, cancel)
        return FolderResult(folder_out, done)
    model, usable, bad = folder_out / MODEL_NAME, plan, list[FileResult]()
    if not (settings.resume and model.is_file()):
        check_model_path(model, overwrite=settings.overwrite)
        usable, bad = yield from _usable(plan, single, cancel)
        if usable:
            yield from _train_on(usable, settings, model, cancel)
    done = yield from _denoise_all(usable, _with_model(single, model), cancel)
    results = {one.source: one for one in (*bad, *done)}
    ordered = tuple(results[file] for file in files)
    return FolderResult(folder_out, ordered, model if usable else None)


def _denoise_all(
    plan: Sequence[tuple[Path, Path]], settings: DenoiseSettings, cancel: CancelToken
) -> Job[tuple[FileResult, ...]]:
    done = []
    with crew_of(settings) as client:  # the same for all
        for number, (file, out) in enumerate(plan, start=1):
            said = f"File {number} of {len(plan)}: {file.name}"
            yield Progress("file", number - 1, len(plan), "files", said)
            one = yield from _denoise_one(file, out, settings, cancel, client)
            done.append(one)
            failed = one.error is not None
            said = f"{file.name} failed: {one.sentence}" if failed else ""
            yield Progress("file", number, len(plan), "files", said)
    return tuple(done)


def _denoise_one(
    file: Path,
    out: Path,
    settings: DenoiseSettings,
    cancel: CancelToken,
    client: Any,
) -> Job[FileResult]:
    """Denoise one file; whatever goes wrong is in the result, but for cancelling."""
    try:
        if settings.resume and _is_complete(out, settings):
            return FileResult(file, out, {"kept": "complete already"})
        result = yield from denoise_job(file, settings, out, cancel, client=client)
    except Cancelled:
        raise
    except Exception as error:
        return FileResult(file, out, error=error)
    beside = uncertainty_path(out) if settings.uncertainty else None
    facts = {
        "uncertainty": None if beside is None else str(beside),
        **result.metrics,
        "noise": [model.as_dict() for model in result.noise],
    }
    return FileResult(file, out, facts)


def _is_complete(out: Path, settings: DenoiseSettings) -> bool:
    """Return whether an earlier run has finished an output: it has its name then."""
    beside = not settings.uncertainty or uncertainty_path(out).exists()
    return out.exists() and beside and read_provenance(out) is not None


def _usable(
    plan: Sequence[tuple[Path, Path]], settings: DenoiseSettings, cancel: CancelToken
) -> Job[tuple[list[tuple[Path, Path]], list[FileResult]]]:
    """Part the files that all can be trained on from those that would stop it."""
    camera = read_camera(settings)
    channels = 0
    usable, bad = [], []
    for number, (file, out) in enumerate(plan, start=1):
        cancel.raise_if_cancelled()
        said = f"Looking at file {number} of {len(plan)}: {file.name}"
        yield Progress("file", 0, len(plan), "files", said)
        try:
            stack = open_with(file, settings)
            for place in (out, uncertainty_path(out))[: 1 + settings.uncertainty]:
                check_output(place, stack, settings.overwrite, resume=settings.resume)
            channels = _same_channels(stack, channels)
            measure_corrected([stack], settings, camera)
        except Exception as error:
            bad.append(FileResult(file, out, error=error))
            said = f"{file.name} is left out: {sentence_of(error)}"
            yield Progress("file", 0, len(plan), "files", said)
        else:
            usable.append((file, out))
    return usable, bad


def _same_channels(stack: Stack, channels: int) -> int:
    """Return how many channels a stack has; 0 stands for any number."""
    found = stack.sizes["C"]
    if channels not in (0, found):
        raise InputError(
            f"{stack.name} has {found} channels, but the files before it have "
            f"{channels}, and one network knows one set of channels; choose by "
            f"channel, or give every file a network of its own."
        )
    return found


def _train_on(
    plan: Sequence[tuple[Path, Path]],
    settings: BatchSettings,
    path: Path,
    cancel: CancelToken,
) -> Job[None]:
    """Train the model of all files and keep it in a file."""
    said = f"Training one network on {len(plan)} files"
    yield Progress("file", 0, len(plan), "files", said)
    names = set(TrainSettings.model_fields)
    chosen = TrainSettings(**settings.model_dump(include=names))
    state = partial_path(path)
    keep = KeepSettings(
        checkpoint=state, resume=settings.resume, overwrite=settings.overwrite
    )
    files = [file for file, _ in plan]
    model = yield from train_job(files, chosen, cancel, keep=keep)
    save_model(model, path, overwrite=settings.overwrite)
    remove(state)


def _each_alone(settings: BatchSettings) -> DenoiseSettings:
    """Return how every file is denoised."""
    names = set(DenoiseSettings.model_fields)
    return DenoiseSettings(**settings.model_dump(include=names))


def _with_model(settings: DenoiseSettings, model: Path) -> DenoiseSettings:
    """Return the same with a model that brings its training along."""
    kept = settings.model_dump(exclude=set(TRAINING_ONLY))
    return DenoiseSettings(**{**kept, "model": model})


def _announced(files: Sequence[Path]) -> str:
    if len(files) == 1:
        return f"1 file in {files[0].parent}"
    return f"{len(files)} files in {files[0].parent}, each a stack of its own"
