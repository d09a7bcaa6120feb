"""From a teacher and a stack to a student: ask the teacher, then teach."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from napari_blindspot.config import Recipe
from napari_blindspot.config.students import WIDTHS, StudentSettings, student_recipe
from napari_blindspot.device import cpu_threads, pick_device
from napari_blindspot.facts import student_facts
from napari_blindspot.inference.matching import match_channels, series_for
from napari_blindspot.inference.predictor_student import make_predictor
from napari_blindspot.measure.camera_maps import read_camera
from napari_blindspot.measure.correction import correct
from napari_blindspot.measure.fields import noise_fields
from napari_blindspot.methods.distillation import inherit
from napari_blindspot.networks.student import StudentNetwork
from napari_blindspot.progress import Progress
from napari_blindspot.training.sampling import Source
from napari_blindspot.training.sampling_joint import make_sampler
from napari_blindspot.training.teaching import Lessons, teach

if TYPE_CHECKING:
    from napari_blindspot.config import DistillSettings
    from napari_blindspot.config.students import StudentRecipe, StudentSize
    from napari_blindspot.inference.predictor import Predictor
    from napari_blindspot.measure.camera_maps import CameraMaps
    from napari_blindspot.model import Model
    from napari_blindspot.networks.blindspot import BlindSpotNetwork, Hole
    from napari_blindspot.progress import CancelToken, Job
    from napari_blindspot.stack import Stack
    from napari_blindspot.training.sampling import CropSampler

SIZES = (0, 1, 3, 5, 7, 9, 11)
"""Holes of the teachers for noise that neighbours share (Chen et al. 2024)."""

_DEPTH = 3  # of small students: what they see is enough for what a stack shows


def distill(
    model: Model,
    stack: Stack,
    settings: DistillSettings,
    cancel: CancelToken,
    camera: CameraMaps | None = None,
) -> Job[Model]:
    """Teach a student what a teacher says of a stack that is open already."""
    teacher = model.teacher
    device = pick_device(settings.device)
    model = match_channels(model, stack)
    recipe = _budget(student_recipe(device.type), settings)
    with cpu_threads(settings, device) as threads:
        lessons = yield from make_lessons(
            model, stack, settings, recipe, device, cancel, camera
        )
        torch.manual_seed(settings.seed)
        student = make_student(teacher, settings.student)
        taught = yield from teach(
            student, lessons, recipe, device=device, seed=settings.seed, cancel=cancel
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
        ),
    )


def make_lessons(
    model: Model,
    stack: Stack,
    settings: DistillSettings,
    recipe: StudentRecipe,
    device: torch.device,
    cancel: CancelToken,
    camera: CameraMaps | None = None,
) -> Job[Lessons]:
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
    if model.answer == "posterior":
        return (model.result_hole,)
    z = model.result_hole[0]
    _, y, x = model.teacher.settings.hole
    sizes = [size for size in SIZES if size <= max(y, x) + 2]
    found = ((z, min(size, y + 2), min(size, x + 2)) for size in sizes)
    return tuple(dict.fromkeys(found))


def make_student(teacher: BlindSpotNetwork, size: StudentSize) -> StudentNetwork:
    """Return a student of a teacher, with its weights where the shapes allow."""
    depth = teacher.settings.depth
    settings = StudentSettings(
        width=WIDTHS[size],
        depth=depth if size == "full" else min(_DEPTH, depth),
        context=teacher.settings.context,
        channels=teacher.settings.channels,
    )
    student = StudentNetwork(settings)
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
    sources = [
        Source(one, model.scales[one.channel], field)
        for one, field in zip(series, fields, strict=True)
    ]
    crops = Recipe(network=model.teacher.settings, crop=recipe.crop, batch=recipe.batch)
    return make_sampler(sources, crops, model.teacher.stride, settings.seed)


def _ask(
    predictor: Predictor,
    sampler: CropSampler,
    holes: tuple[Hole, ...],
    recipe: StudentRecipe,
    cancel: CancelToken,
) -> Job[Lessons]:
    """Have the teachers answer on crops, channel by channel."""
    channels = sorted({source.series.channel for source in sampler.sources})
    if predictor.model.settings.channels > 1:
        channels = [0]
    planes, answers = [], []
    for index in range(-(-recipe.lessons // recipe.batch)):
        cancel.raise_if_cancelled()
        channel = channels[index % len(channels)]
        own = sampler if len(channels) == 1 else sampler.of_channel(channel)
        batch = own.draw()
        planes.append(torch.from_numpy(batch.maps))
        answers.append(
            predictor.answers(batch.maps, batch.likelihood, channel, holes).cpu()
        )
        yield Progress(
            "distill", 0, 100, "%", "Asking the teacher" if index == 0 else ""
        )
    teacher = predictor.model.teacher.settings
    return Lessons(
        torch.cat(planes),
        torch.cat(answers, dim=1),
        teacher.context,
        quarter_turns=all(y == x for _, y, x in (teacher.hole, *holes)),
    )
