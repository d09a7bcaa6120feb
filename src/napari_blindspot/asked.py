"""What a model is asked for on a stack: whether it fits, behind which hole, by whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_blindspot.config import DistillSettings, ModelChoice, NoiseSettings
from napari_blindspot.config.students import student_recipe
from napari_blindspot.device import pick_device
from napari_blindspot.errors import InputError
from napari_blindspot.inference.grey_scale import check_grey_scale
from napari_blindspot.inference.matching import match_channels
from napari_blindspot.measure.channels import measure_channels
from napari_blindspot.methods import get_method
from napari_blindspot.progress import Job, Progress
from napari_blindspot.training.holes import as_learnt, found_holes

if TYPE_CHECKING:
    from napari_blindspot.config import LookSettings, PredictSettings
    from napari_blindspot.config.students import StudentSize
    from napari_blindspot.model import Model
    from napari_blindspot.stack import Stack

_ONE_FOR_ALL = (
    "The model knows one channel: its scale and noise are used for every channel"
)


def matched(model: Model, stack: Stack) -> Job[Model]:
    """Return the model with a scale and a noise model for every channel.

    Raises
    ------
    InputError
        If the model does not fit the channels or the grey values of the stack.
    """
    if model.n_channels < stack.sizes["C"] and model.n_channels == 1:
        yield Progress("open", 1, 1, "steps", _ONE_FOR_ALL)
    model = match_channels(model, stack)
    check_grey_scale(model, stack)
    return model


def refuse_uncertainty(model: Model, settings: PredictSettings) -> None:
    """Refuse an uncertainty of a model that knows none.

    Raises
    ------
    InputError
        Saying which model has one.
    """
    if settings.uncertainty and not model.has_uncertainty:
        who = (
            "the model is a student, which answers without one"
            if model.is_student
            else f"the model was trained by method={model.method!r}, which knows none"
        )
        raise InputError(
            f"uncertainty=True cannot be given: {who}; use a model of "
            f"method='bayesian' itself (student='none'), or leave uncertainty out."
        )


def as_asked(
    model: Model, stack: Stack, settings: LookSettings | ModelChoice
) -> Job[Model]:
    """Return the model that answers behind the hole, and as often, as is asked for.

    Raises
    ------
    InputError
        If the model has no such choice.
    """
    hole = settings.hole
    model = model.asked(settings)
    if hole is None:
        return model
    if not model.has_hole:
        why = (
            "the model is a student, which sees every voxel; use the model of its "
            "teacher"
            if model.is_student
            else f"the model was trained by method={model.method!r}, which has no "
            f"blind spot; use a model of another method"
        )
        raise InputError(f"hole={hole!r} cannot be given: {why}, or leave hole out.")
    if hole != "auto":
        return model.at_hole(hole)
    channels = measure_channels([stack], NoiseSettings())
    found = as_learnt(found_holes([stack], channels, answer=model.answer), model)
    yield Progress("open", 1, 1, "steps", found.sentence)
    return model.at_hole(found.result)


def student_size(model: Model, settings: ModelChoice) -> StudentSize | None:
    """Return which student denoises, None for the model itself."""
    if settings.student == "none" or (settings.student is None and model.is_student):
        return None
    if settings.student is not None:
        return settings.student
    if not get_method(model.method).taught or settings.model is not None:
        return None
    if settings.steps == 0:  # nothing is learnt, by no network
        return None
    return "small" if pick_device(settings.device).type == "cpu" else "full"


def distill_settings(settings: ModelChoice, size: StudentSize) -> DistillSettings:
    """Return how the student of a run is taught: the size, the rest as in the run.

    It is not taught for longer, or for more steps, than its teacher may be trained. It
    starts warm unless the run was to start cold.
    """
    shared = set(DistillSettings.model_fields) & set(ModelChoice.model_fields)
    own = {"student", "minutes", "steps", "start"}
    kept = settings.model_dump(include=shared - own)
    usual = student_recipe(pick_device(settings.device).type)
    if settings.minutes is not None and settings.minutes < usual.minutes:
        kept["minutes"] = settings.minutes
    if settings.steps is not None:  # in steps again, so that a seed gives one student
        kept["steps"] = max(1, min(settings.steps, usual.steps))
    start = "cold" if settings.start == "cold" else "warm"
    return DistillSettings(student=size, start=start, **kept)
