"""What is written down about a run: metrics, provenance, and what a file holds."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_blindspot._version import __version__
from napari_blindspot.config import (
    CAMERA_FILES,
    BudgetSettings,
    CameraSettings,
    NoiseSettings,
    Settings,
    StreamSettings,
    TrainSettings,
)
from napari_blindspot.device import describe_device, peak_memory_bytes
from napari_blindspot.errors import InputError
from napari_blindspot.io import open_stack, read_provenance
from napari_blindspot.location import as_location
from napari_blindspot.measure.channels import measure_channels
from napari_blindspot.methods_text import model_methods, result_methods
from napari_blindspot.model_file import read_header

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_blindspot.config import DistillSettings, PredictSettings
    from napari_blindspot.config.recipes import Plan
    from napari_blindspot.config.students import StudentRecipe
    from napari_blindspot.location import Location
    from napari_blindspot.model import Model
    from napari_blindspot.networks.blindspot import Hole
    from napari_blindspot.noise.models import NoiseModel
    from napari_blindspot.stack import Stack
    from napari_blindspot.streaming.seen import Seen
    from napari_blindspot.training.loop import Trained
    from napari_blindspot.training.teaching import Taught


_NOISE_SETTINGS = (*NoiseSettings.model_fields, "unknown", "stop_gradient")
_OF_A_TEACHER = (
    "software", "version", "created", "sources", "seed", "budget", "hole_choice",
    "start", "blind2grad",
)  # fmt: skip
_TOO_UNSURE = 1.5  # dB: then the expected PSNR tells nothing


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A denoised stack.

    Parameters
    ----------
    image
        The denoised stack in data units, axes of the stack: an array, or a lazy dask
        array where it was written to a file. float32; with ``dtype="same"`` that of the
        source.
    uncertainty
        Posterior standard deviation in data units, like `image`, float32 always; None
        if not asked.
    model
        The network that made it.
    noise
        Noise model of each channel.
    metrics
        ``device``, ``seconds_train``, ``seconds_distill``, ``seconds_predict``,
        ``seconds_finish`` (the pyramid of the output), ``voxels_per_second`` (of
        predict alone), ``predict_times`` (what predict was spent on: ``compute``,
        ``wait_read``, ``wait_write``), ``hole`` (z, y, x; None for a student),
        ``student`` (its size, None without one), ``expected_psnr`` (dB, mean over
        channels, None if unknown or not to be trusted), ``peak_memory_bytes`` and
        more.
    path
        The file it was written to, if any.
    provenance
        How it was made; also inside the file.
    teacher
        The network that taught `model` in this run; None if none did.
    """

    image: Any
    uncertainty: Any | None
    model: Model
    noise: tuple[NoiseModel, ...]
    metrics: dict[str, Any] = field(default_factory=dict)
    path: Location | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    teacher: Model | None = None


def run_metrics(
    model: Model,
    stack: Stack,
    seen: Seen,
    seconds: tuple[float, float],
    settings: PredictSettings,
) -> dict[str, Any]:
    """Return what a run measured: device, times, quality, memory.

    `seconds` are those of predicting and of finishing the output.
    """
    predict, finish = seconds
    training = model.provenance.get("training", {})
    trained_here = getattr(settings, "model", True) is None
    chosen = getattr(settings, "student", None)
    taught_here = trained_here or chosen not in (None, "none")
    lessons = model.provenance.get("distillation", {})
    error = _expected_error(model)
    trusted = noise_fits(model) and (error is None or error <= _TOO_UNSURE)
    expected = seen.expected_psnr() if trusted else []
    known = [psnr for psnr in expected if psnr is not None]
    return {
        "device": describe_device(settings.device).name,
        "seconds_train": training.get("seconds", 0.0) if trained_here else 0.0,
        "steps_train": training.get("steps") if trained_here else 0,
        "stopped_by": training.get("stopped") if trained_here else None,
        "seconds_distill": lessons.get("seconds", 0.0) if taught_here else 0.0,
        "hole": model.known_hole,
        "student": student_of(model),
        "seconds_predict": predict,
        "seconds_finish": finish,
        "voxels_per_second": stack.n_voxels / predict,
        "predict_times": seen.times.as_dict(),
        "expected_psnr": sum(known) / len(known) if known else None,
        "expected_psnr_error": error,
        "expected_psnr_per_channel": expected if known else None,
        "noise_check": _noise_check(model, trained_here=trained_here),
        "peak_memory_bytes": peak_memory_bytes(),
    }


def _expected_error(model: Model) -> float | None:
    """Return the standard error of the expected PSNR in dB, None if unknown."""
    errors = [one.error for one in model.recalibration]
    if not errors or not any(errors):
        return None
    return float(10 * np.log10(1 + np.mean(errors)))


def _noise_check(model: Model, *, trained_here: bool) -> list[dict[str, Any]] | None:
    """Return the verdicts; those of another stack say so."""
    checks = model.provenance.get("noise_check")
    if checks is None or trained_here:
        return checks
    said = "on the stack that the model was trained on: "
    return [{**one, "sentence": said + one["sentence"]} for one in checks]


def noise_fits(model: Model) -> bool:
    """Return whether the noise model of every channel passed the check.

    Where it did not, e.g. because neighbours share their noise, the posterior's promise
    is empty.
    """
    return all(one["fits"] for one in model.provenance.get("noise_check", ()))


def student_of(model: Model) -> str | None:
    """Return the size of a student that was taught or shipped, None of a teacher."""
    made = (model.provenance.get(how, {}) for how in ("distillation", "start"))
    return next((one["student"] for one in made if "student" in one), None)


def provenance_of(
    model: Model, stack: Stack, settings: PredictSettings
) -> dict[str, Any]:
    """Return how a result is made: software, source, settings, noise, model."""
    return {
        **software_facts(),
        "method": model.method,
        "answer": model.answer,
        "role": model.kind,
        "hole": model.known_hole,
        "source": stack.identity,
        "settings": _settings(settings),
        "noise": [noise.as_dict() for noise in model.noise],
        "network": model.settings.model_dump(),
        "model": model.provenance,
    }


def _settings(settings: Settings, only: set[str] | None = None) -> dict[str, Any]:
    """Return settings without the folders and addresses of this machine."""
    without = {"overwrite", "memory", *StreamSettings.model_fields}
    facts = settings.model_dump(mode="json", include=only, exclude=without)
    for name in (*CAMERA_FILES, "model", "start"):  # the start may be a word
        if facts.get(name):
            facts[name] = Path(facts[name]).name
    return facts


def other_correction(model: Model, settings: CameraSettings) -> str:
    """Return a sentence if the model was trained on data corrected otherwise."""
    trained = model.provenance.get("noise_settings")
    now = _settings(settings, set(CameraSettings.model_fields))
    if trained is None:
        return ""
    names = [
        name
        for name, value in now.items()
        if _comparable(name, trained.get(name)) != _comparable(name, value)
    ]
    if not names:
        return ""
    return (
        f"The model was trained with other settings of {', '.join(names)}: the stack "
        f"and its noise may not fit it; give the same ones as for training"
    )


def _comparable(name: str, value: Any) -> Any:
    """Return what matters of a setting: one calibration is as good as another."""
    return bool(value) if name in CAMERA_FILES else value


def training_facts(
    trained: Trained,
    recipe: Plan,
    settings: TrainSettings,
    stacks: Sequence[Stack],
    device: str,
    threads: int,
    checks: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """Return how a model was made: software, sources, seed, steps."""
    return {
        **software_facts(),
        "sources": [stack.identity for stack in stacks],
        "seed": settings.seed,
        "budget": settings.model_dump(include=set(BudgetSettings.model_fields)),
        "settings": _settings(settings, set(TrainSettings.model_fields)),
        "noise_settings": _settings(settings, set(_NOISE_SETTINGS)),
        "noise_check": list(checks),
        "training": {
            "steps": trained.steps,
            "seconds": trained.seconds,
            "held_out_score": trained.held_out,
            "stopped": trained.stopped,
            "crop": recipe.crop,
            "batch": recipe.batch,
            "device": device,
            "threads": threads,
        },
    }


def student_facts(
    teacher: Model,
    taught: Taught,
    recipe: StudentRecipe,
    holes: Sequence[Hole],
    settings: DistillSettings,
    stack: Stack,
    device: str,
    threads: int,
    start: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return how a student was taught, and what is known of its teacher."""
    made = teacher.provenance
    return {
        **software_facts(),
        "sources": [stack.identity],
        "seed": settings.seed,
        "settings": _settings(settings),
        "noise_settings": made.get("noise_settings"),
        "noise_check": made.get("noise_check", []),
        "training": made.get("training", {}),
        "teacher": {
            "network": teacher.settings.model_dump(),
            "answer": teacher.answer,
            "hole": teacher.known_hole,
            **{name: made.get(name) for name in _OF_A_TEACHER},
        },
        "distillation": {
            "student": settings.student,
            "start": dict(start) if start is not None else {"name": "teacher"},
            "holes": [list(hole) for hole in holes],
            "steps": taught.steps,
            "seconds": taught.seconds,
            "distance": taught.distance,
            "stopped": taught.stopped,
            "lessons": recipe.lessons,
            "crop": recipe.crop,
            "batch": recipe.batch,
            "device": device,
            "threads": threads,
        },
    }


def software_facts() -> dict[str, Any]:
    """Return which software runs, and the date."""
    return {
        "software": "napari-blindspot",
        "version": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def describe(path: str | Location) -> dict[str, Any]:
    """Say what a file holds: a model, a result of ours, or a stack.

    Parameters
    ----------
    path
        Whatever path `open_stack` takes, or a model file.

    Returns
    -------
    dict
        JSON-able facts; ``"kind"`` is ``"model"``, ``"result"`` or ``"stack"``. Of a
        model and of a result, ``"methods"`` is a paragraph for a paper.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    path = as_location(path)
    if isinstance(path, Path) and path.suffix.lower() == ".safetensors":
        header = read_header(path)
        return {
            **header,
            "kind": "model",
            "role": header["kind"],
            "path": str(path),
            "methods": model_methods(header),
        }
    stack = open_stack(path)
    facts = {
        "kind": "stack",
        "path": str(path),
        **stack.identity,
        "voxel_size_um": dict(zip("zyx", stack.voxel_size, strict=True)),
        "channel_names": list(stack.channel_names),
        "notes": list(stack.notes),
    }
    provenance = read_provenance(path)
    if provenance is not None:
        return {
            **facts,
            "kind": "result",
            "provenance": provenance,
            "methods": result_methods(provenance),
        }
    try:
        channels = measure_channels([stack], NoiseSettings())
    except InputError as error:  # e.g. a constant channel: the rest is worth knowing
        return {**facts, "notes": [*stack.notes, str(error)]}
    return {**facts, "noise": [channel.noise.as_dict() for channel in channels]}
