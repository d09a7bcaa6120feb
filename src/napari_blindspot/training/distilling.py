"""From a teacher and a stack to a student: ask the teacher, then teach."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import cycle
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from napari_blindspot.config import NetworkSettings, Recipe
from napari_blindspot.config.students import (
    DEPTH,
    WIDTHS,
    StudentSettings,
    student_recipe,
)
from napari_blindspot.device import cpu_threads, pick_device
from napari_blindspot.errors import ModelFileError
from napari_blindspot.facts import student_facts
from napari_blindspot.inference.grey_scale import check_grey_scale
from napari_blindspot.inference.matching import match_channels, series_for
from napari_blindspot.inference.predictor_student import make_predictor
from napari_blindspot.measure.camera_maps import read_camera
from napari_blindspot.measure.channels import measure_saturation
from napari_blindspot.measure.correction import correct
from napari_blindspot.measure.fields import noise_fields
from napari_blindspot.methods.distillation import inherit
from napari_blindspot.networks.blindspot import BlindSpotNetwork
from napari_blindspot.networks.student import StudentNetwork
from napari_blindspot.noise.likelihood import mapped
from napari_blindspot.progress import Progress
from napari_blindspot.starts.adapt import load_start
from napari_blindspot.starts.shipped import read_weights, shipped_student_for
from napari_blindspot.training.checkpoint import digest
from napari_blindspot.training.keeping import Keeping, asked_by
from napari_blindspot.training.sampling import Source
from napari_blindspot.training.sampling_joint import make_sampler
from napari_blindspot.training.teaching import Lessons, teach

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_blindspot.config import DistillSettings
    from napari_blindspot.config.students import StudentRecipe, StudentSize
    from napari_blindspot.inference.predictor import Predictor
    from napari_blindspot.measure.camera_maps import CameraMaps
    from napari_blindspot.model import Learner, Model, Shape
    from napari_blindspot.networks.blindspot import Hole
    from napari_blindspot.progress import CancelToken, Job
    from napari_blindspot.stack import Stack
    from napari_blindspot.training.keeping import Keeper
    from napari_blindspot.training.sampling import Batch, CropSampler

SIZES = (0, 1, 3, 5, 7, 9, 11)
"""Holes of the teachers for noise that neighbours share (Chen et al. 2024)."""

LESSON_BYTES = 2**30
"""Most that lessons and answers take in memory; where they would take more, there are
fewer of them. While they are joined they take twice as much."""

_KEPT_BACK = 0.125  # of the lessons
_LEAST_LESSONS = 4


def distill(
    model: Model,
    stack: Stack,
    settings: DistillSettings,
    cancel: CancelToken,
    camera: CameraMaps | None = None,
    keep: Keeper | None = None,
) -> Job[Model]:
    """Teach a student what a teacher says of a stack that is open already.

    `keep` holds the state of the teaching, which goes on from there if it was stopped;
    the teacher is asked anew, and must be the same.
    """
    device = pick_device(settings.device)
    model = match_channels(model, stack)
    check_grey_scale(model, stack)
    recipe = _budget(student_recipe(device.type), settings)
    with cpu_threads(settings, device) as threads:
        lessons, kept_back = yield from make_lessons(
            model, stack, settings, recipe, device, cancel, camera
        )
        asked = len(lessons) + len(kept_back)
        recipe = recipe.model_copy(update={"lessons": asked})
        torch.manual_seed(settings.seed)
        pupil = first_student(model, settings.student, settings.start)
        if pupil.sentence:
            yield Progress("distill", 0, 100, "%", pupil.sentence)
        taught = yield from teach(
            pupil.network,
            lessons,
            kept_back,
            recipe,
            device=device,
            seed=settings.seed,
            cancel=cancel,
            warm=pupil.start is not None,
            keep=_keeping(keep, settings, recipe, model),
        )
    return replace(
        model,
        network=taught.network,
        recalibration=(),
        hole=None,
        provenance=student_facts(
            model,
            taught,
            recipe,
            holes_of(model),
            settings,
            stack,
            str(device),
            threads,
            pupil.start,
        ),
    )


def _keeping(
    keep: Keeper | None, settings: DistillSettings, recipe: StudentRecipe, model: Model
) -> Keeping:
    """Return what keeps the teaching: by a teacher of these very weights."""
    teacher = digest("", model.network.state_dict())
    plan = {"recipe": recipe.model_dump(), "teacher": teacher}
    asked = asked_by(settings, set(type(settings).model_fields))
    return Keeping(keep, asked, plan)


def make_lessons(
    model: Model,
    stack: Stack,
    settings: DistillSettings,
    recipe: StudentRecipe,
    device: torch.device,
    cancel: CancelToken,
    camera: CameraMaps | None = None,
) -> Job[tuple[Lessons, Lessons]]:
    """Ask a teacher on crops of a stack, behind all of its holes.

    Parameters
    ----------
    model
        The teacher, with a scale and noise for every channel of the stack.
    stack
        Read crop by crop.
    settings
        What is known of the camera, and the seed.
    recipe
        How many crops, and of which size.
    device
        Where the teacher answers.
    cancel
        Asked before every batch.
    camera
        What `read_camera` read for the settings; default: it is read now.

    Returns
    -------
    Lessons, Lessons
        Those to learn from, and those that are kept back. The latter are crops around
        held-out blocks, and no voxel counts in both.
    """
    camera = read_camera(settings) if camera is None else camera
    sampler = _sampler(model, stack, settings, camera, recipe, cancel)
    predictor = make_predictor(model, device)
    return (yield from _ask(predictor, sampler, holes_of(model), recipe, cancel))


def holes_of(model: Model) -> tuple[Hole, ...]:
    """Return the holes behind which the teacher is asked.

    One where the posterior answers: it knows how much of the voxel's own value to
    believe. Without it all from none to one step beyond the trained one.
    """
    if not model.has_hole:
        return ()
    if model.answer == "posterior":
        return (model.result_hole,)
    z = model.result_hole[0]
    _, y, x = model.teacher.settings.hole
    sizes = [size for size in SIZES if size <= max(y, x) + 2]
    found = ((z, min(size, y + 2), min(size, x + 2)) for size in sizes)
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True, eq=False)
class Pupil:
    """A student before its first lesson.

    Parameters
    ----------
    network
        On the CPU.
    start
        About the shipped weights that it has, for the provenance; None: it has some of
        its teacher's instead.
    sentence
        For the user, where shipped weights could not be read.
    """

    network: StudentNetwork
    start: Mapping[str, Any] | None = None
    sentence: str = ""


def first_student(
    model: Model, size: StudentSize, start: Literal["warm", "cold"] = "warm"
) -> Pupil:
    """Return the student of a teacher, with shipped weights where there are any.

    They are for teachers that see their planes in units of the noise, and not where
    the shipped weights of the teacher's own size were no use on the stack.

    Parameters
    ----------
    model
        The teacher; where it sees in units of the noise, the student takes them over.
    size
        Size of the student.
    start
        Whether shipped weights are wanted.
    """
    cold = make_student(model.learner, size)
    eyes = model.teacher.eyes if model.has_hole else None
    used = model.provenance.get("start", {}).get("used", True)
    if start == "cold" or eyes is None or not used:
        return Pupil(cold)
    in_noise = {
        "units": "noise",
        "starts": model.teacher.settings.starts,
        "depth": min(DEPTH, cold.settings.depth),
    }
    student = StudentNetwork(cold.settings.model_copy(update=in_noise))
    try:
        shipped = shipped_student_for(student.settings)
        if shipped is None:
            return Pupil(cold)
        weights = read_weights(shipped)
    except ModelFileError as error:
        told = str(error).rstrip(".")
        so = "The student starts from weights of its teacher alone"
        return Pupil(cold, sentence=f"{so}: {told}")
    load_start(student, weights, shipped.network.context)
    assert student.eyes is not None
    # The noise of the average pixel; that of the model is of the quietest.
    student.eyes.load_state_dict(eyes.state_dict())
    return Pupil(student, shipped.as_dict())


def make_student(teacher: Learner, size: StudentSize) -> StudentNetwork:
    """Return a student of a network, with its weights where the shapes allow."""
    depth = teacher.settings.depth
    settings = StudentSettings(
        width=WIDTHS[size],
        depth=depth if size == "full" else min(DEPTH, depth),
        context=teacher.settings.context,
        channels=teacher.settings.channels,
    )
    student = StudentNetwork(settings)
    if isinstance(teacher, BlindSpotNetwork):
        inherit(student.unet, teacher.halfplane)
    return student


def _budget(recipe: StudentRecipe, settings: DistillSettings) -> StudentRecipe:
    changes: dict[str, Any] = {}
    if settings.steps is not None:
        changes = {"steps": settings.steps, "minutes": 1e9}
    elif settings.minutes is not None:
        changes = {"steps": 10**9, "minutes": settings.minutes}
    return recipe.model_copy(update=changes)


def _sampler(
    model: Model,
    stack: Stack,
    settings: DistillSettings,
    camera: CameraMaps,
    recipe: StudentRecipe,
    cancel: CancelToken,
) -> CropSampler:
    correction = correct(stack, settings, model.noise, camera)
    series = series_for(model, correction.stack)
    fields = noise_fields(
        series,
        model.noise,
        model.scales,
        correction,
        cancel,
        per_plane=settings.noise_per_plane,
    )
    saturation = correction.saturation(measure_saturation([stack]))
    sources = [
        Source(one, model.scales[one.channel], field, saturation[one.channel])
        for one, field in zip(series, fields, strict=True)
    ]
    shape = model.settings
    seen = NetworkSettings(context=shape.context, channels=shape.channels)
    crops = Recipe(network=seen, crop=recipe.crop, batch=recipe.batch)
    sampler = make_sampler(sources, crops, model.learner.stride, settings.seed)
    if model.kind == "masked":
        sampler.missing = np.nan
    return sampler


def _ask(
    predictor: Predictor,
    sampler: CropSampler,
    holes: tuple[Hole, ...],
    recipe: StudentRecipe,
    cancel: CancelToken,
) -> Job[tuple[Lessons, Lessons]]:
    """Have the teachers answer on crops, channel by channel."""
    channels = sorted({source.series.channel for source in sampler.sources})
    if predictor.model.settings.channels > 1:
        channels = [0]
    samplers = [
        sampler if len(channels) == 1 else sampler.of_channel(channel)
        for channel in channels
    ]
    model = predictor.model
    count = lessons_that_fit(recipe, model.settings, max(1, len(holes)), sampler.crop)
    kept = max(1, int(_KEPT_BACK * count / len(channels)))  # of each channel
    count = max(count - kept * len(channels), len(channels))
    sizes = [min(recipe.batch, count - at) for at in range(0, count, recipe.batch)]
    yield Progress("distill", 0, 100, "%", "Asking the teacher")
    turns = zip(cycle(samplers), sizes, strict=False)
    drawn = (own.draw(size) for own, size in turns)
    lessons = yield from _answered(predictor, drawn, holes, recipe.batch, cancel)
    held_out = (own.held_out(kept) for own in samplers)
    kept_back = yield from _answered(predictor, held_out, holes, recipe.batch, cancel)
    return lessons, kept_back


def lessons_that_fit(
    recipe: StudentRecipe, settings: Shape, teachers: int, side: int
) -> int:
    """Return how many lessons are asked for: those of the recipe, if memory holds them.

    Parameters
    ----------
    recipe
        How many are wanted.
    settings
        Of the teacher's network.
    teachers
        How often every lesson is answered.
    side
        Of a lesson, pixels.
    """
    maps = (2 * settings.context + 1 + teachers) * settings.channels + 1  # and weight
    return max(
        _LEAST_LESSONS, min(recipe.lessons, LESSON_BYTES // (4 * maps * side**2))
    )


def _answered(
    predictor: Predictor,
    batches: Iterable[Batch],
    holes: tuple[Hole, ...],
    size: int,
    cancel: CancelToken,
) -> Job[Lessons]:
    """Have the teachers answer on batches, `size` crops at a time."""
    planes, answers, weight, kinds = [], [], [], []
    for batch in batches:
        channel = int(batch.kind[0])
        for start in range(0, len(batch.target), size):
            cancel.raise_if_cancelled()
            part = slice(start, start + size)
            maps, noise = batch.maps[part], mapped(itemgetter(part), batch.likelihood)
            planes.append(torch.from_numpy(np.nan_to_num(maps)))
            weight.append(torch.from_numpy(batch.target[part]))
            kinds.append(torch.from_numpy(batch.kind[part]).long())
            answers.append(predictor.answers(maps, noise, channel, holes).cpu())
            yield Progress("distill", 0, 100, "%")
    model = predictor.model
    seen = (model.teacher.settings.hole, *holes) if model.has_hole else ()
    return Lessons(
        torch.cat(planes),
        torch.cat(answers, dim=1),
        torch.cat(weight),
        torch.cat(kinds),
        model.settings.context,
        quarter_turns=all(y == x for _, y, x in seen),
    )
