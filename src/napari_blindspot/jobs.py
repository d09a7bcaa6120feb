"""The jobs: train, predict, and both, as generators of events.

The shell and the panel run these; the functions of `api` run them to their end.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_blindspot.config import DistillSettings, ModelChoice, NoiseSettings
from napari_blindspot.config.students import student_recipe
from napari_blindspot.device import cpu_threads, fixed_threads, pick_device
from napari_blindspot.errors import InputError
from napari_blindspot.facts import (
    Result,
    other_correction,
    provenance_of,
    run_metrics,
)
from napari_blindspot.inference.matching import match_channels, series_for
from napari_blindspot.inference.predictor_student import make_predictor
from napari_blindspot.inference.previewing import Previewer, place_of
from napari_blindspot.inference.stream import block_shape, stream_prediction
from napari_blindspot.io import check_output, open_sink, open_stack, uncertainty_path
from napari_blindspot.joint import together
from napari_blindspot.measure.camera_maps import read_camera
from napari_blindspot.measure.channels import measure_channels
from napari_blindspot.measure.correction import correct
from napari_blindspot.measure.fields import noise_fields
from napari_blindspot.methods import get_method
from napari_blindspot.model_file import load_model
from napari_blindspot.progress import CancelToken, Job, Progress, run
from napari_blindspot.training.distilling import distill
from napari_blindspot.training.holes import as_learnt, found_holes
from napari_blindspot.training.learning import learn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_blindspot.config import (
        DenoiseSettings,
        HoleSizes,
        LookSettings,
        OpenSettings,
        PredictSettings,
        TrainSettings,
    )
    from napari_blindspot.config.students import StudentSize
    from napari_blindspot.io import Sink
    from napari_blindspot.measure.camera_maps import CameraMaps
    from napari_blindspot.model import Model
    from napari_blindspot.noise.field import NoiseField
    from napari_blindspot.planes import PlaneSeries
    from napari_blindspot.stack import Stack
    from napari_blindspot.training.watching import Watch


_ONE_FOR_ALL = (
    "The model knows one channel: its scale and noise are used for every channel"
)


def denoise_job(
    source: Any,
    settings: DenoiseSettings,
    out: Path | None = None,
    cancel: CancelToken | None = None,
    watch: Watch | None = None,
) -> Job[Result]:
    """Do the work of `denoise` as a generator of events.

    `watch` is called in training with a provisional `Model`, now and then: at most
    every few seconds and for a tenth of the time. Its network trains on afterwards, so
    use it during the call alone. The result does not depend on it.
    """
    cancel = cancel or CancelToken()
    get_method(settings.method)  # an unknown one is refused before any file is read
    stack = open_with(source, settings)
    _check_outputs(out, stack, settings)
    yield from tell(stack)
    camera = read_camera(settings)  # once, for training and for prediction
    chosen = yield from _chosen(stack, settings, camera, cancel, watch)
    model = yield from _taught(chosen, stack, settings, camera, cancel)
    result = yield from _predict(model, stack, settings, camera, out, cancel)
    return result if model is chosen else replace(result, teacher=chosen)


def model_of(
    stack: Stack, settings: ModelChoice, camera: CameraMaps, cancel: CancelToken
) -> Job[Model]:
    """Return the model that does the work: trained or read, or its student."""
    model = yield from _chosen(stack, settings, camera, cancel)
    return (yield from _taught(model, stack, settings, camera, cancel))


def _chosen(
    stack: Stack,
    settings: ModelChoice,
    camera: CameraMaps,
    cancel: CancelToken,
    watch: Watch | None = None,
) -> Job[Model]:
    """Train a model or read one, as the settings say."""
    if settings.model is None:
        return (yield from learn([stack], settings, camera, cancel, watch))
    model = yield from _matched(load_model(settings.model), stack)
    return (yield from at_hole(model, stack, settings.hole))


def _taught(
    model: Model,
    stack: Stack,
    settings: ModelChoice,
    camera: CameraMaps,
    cancel: CancelToken,
) -> Job[Model]:
    """Return the student of a model where the settings ask for one, else the model."""
    if size := student_size(model, settings):
        chosen = distill_settings(settings, size)
        model = yield from distill(model, stack, chosen, cancel, camera)
    return model


def train_job(
    sources: Sequence[Any],
    settings: TrainSettings,
    cancel: CancelToken | None = None,
    watch: Watch | None = None,
) -> Job[Model]:
    """Do the work of `train` as a generator of events; `watch` as of `denoise_job`."""
    get_method(settings.method)
    if not sources:
        raise InputError("there is no stack to train on; give at least one.")
    stacks = [open_with(source, settings) for source in sources]
    for stack in stacks:
        yield from tell(stack)
    camera = read_camera(settings)
    cancel = cancel or CancelToken()
    return (yield from learn(stacks, settings, camera, cancel, watch))


def distill_job(
    model: Model,
    source: Any,
    settings: DistillSettings,
    cancel: CancelToken | None = None,
) -> Job[Model]:
    """Do the work of `distill` as a generator of events."""
    stack = open_with(source, settings)
    yield from tell(stack)
    return (yield from distill(model, stack, settings, cancel or CancelToken()))


def predict_job(
    model: Model,
    source: Any,
    settings: PredictSettings,
    out: Path | None = None,
    cancel: CancelToken | None = None,
) -> Job[Result]:
    """Do the work of `predict` as a generator of events."""
    stack = open_with(source, settings)
    _check_outputs(out, stack, settings)
    yield from tell(stack)
    camera = read_camera(settings)
    cancel = cancel or CancelToken()
    model = yield from _matched(model, stack)
    _refuse_uncertainty(model, settings)
    model = yield from at_hole(model, stack, settings.hole)
    return (yield from _predict(model, stack, settings, camera, out, cancel))


def _predict(
    model: Model,
    stack: Stack,
    settings: PredictSettings,
    camera: CameraMaps,
    out: Path | None,
    cancel: CancelToken,
) -> Job[Result]:
    _refuse_uncertainty(model, settings)
    if differs := other_correction(model, settings):
        yield Progress("open", 1, 1, "steps", differs)
    correction = correct(stack, settings, model.noise, camera)
    for told in correction.notes:
        yield Progress("open", 1, 1, "steps", told)
    series = series_for(model, correction.stack)
    fields = noise_fields(
        series,
        model.noise,
        model.scales,
        correction,
        cancel,
        per_plane=settings.noise_per_plane,
    )
    device = pick_device(settings.device)
    predictor = make_predictor(model, device, settings.strength)
    block = block_shape(
        series[0].shape,
        halo=predictor.halo,
        stride=predictor.stride,
        max_pixels=predictor.max_pixels(),
    )
    provenance = provenance_of(model, stack, settings)
    image, std = _open_sinks(stack, series[0], block, settings, out, provenance)
    sinks = [sink for sink in (image, std) if sink is not None]
    start = time.perf_counter()
    try:
        with cpu_threads(settings, device):
            seen = yield from stream_prediction(
                predictor, *_work(model, series, fields), block, image, std, cancel
            )
        predicted = time.perf_counter()
        finished = []
        for sink in sinks:
            whole = yield from sink.finish(cancel)
            finished.append(whole)
    except BaseException:
        for sink in sinks:
            sink.abort()
        raise
    seconds = predicted - start, time.perf_counter() - predicted
    return Result(
        finished[0],
        finished[1] if std is not None else None,
        model,
        model.noise,
        run_metrics(model, stack, seen, seconds, settings),
        out,
        provenance,
    )


def _matched(model: Model, stack: Stack) -> Job[Model]:
    """Return the model with a scale and a noise model for every channel."""
    if model.n_channels < stack.sizes["C"] and model.n_channels == 1:
        yield Progress("open", 1, 1, "steps", _ONE_FOR_ALL)
    return match_channels(model, stack)


def _refuse_uncertainty(model: Model, settings: PredictSettings) -> None:
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


def at_hole(
    model: Model, stack: Stack, hole: HoleSizes | Literal["auto"] | None
) -> Job[Model]:
    """Return the model that answers behind the hole that is asked for."""
    if hole is None:
        return model
    if model.is_student:
        raise InputError(
            f"hole={hole!r} cannot be given: the model is a student, which sees every "
            f"voxel; use the model of its teacher, or leave hole out."
        )
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
    if model.answer == "posterior" or settings.model is not None:
        return None
    if settings.steps == 0:  # nothing is learnt, by no network
        return None
    return "small" if pick_device(settings.device).type == "cpu" else "full"


def distill_settings(settings: ModelChoice, size: StudentSize) -> DistillSettings:
    """Return how the student of a run is taught: the size, the rest as in the run.

    It is not taught for longer, or for more steps, than its teacher may be trained.
    """
    shared = set(DistillSettings.model_fields) & set(ModelChoice.model_fields)
    kept = settings.model_dump(include=shared - {"student", "minutes", "steps"})
    usual = student_recipe(pick_device(settings.device).type)
    if settings.minutes is not None and settings.minutes < usual.minutes:
        kept["minutes"] = settings.minutes
    if settings.steps is not None:  # in steps again, so that a seed gives one student
        kept["steps"] = max(1, min(settings.steps, usual.steps))
    return DistillSettings(student=size, **kept)


def _work(
    model: Model, series: tuple[PlaneSeries, ...], fields: tuple[NoiseField, ...]
) -> tuple[Any, Any]:
    """Return what goes through the network one after the other, and its noise."""
    if model.settings.channels == 1:
        return series, fields
    return together(series, fields)


def preview_plane(
    source: Any,
    model: Model,
    region: str | Mapping[str, slice | int] | None,
    settings: LookSettings,
) -> NDArray[np.float32]:
    """Do the work of `preview`."""
    stack = open_with(source, settings)
    model = run(at_hole(match_channels(model, stack), stack, settings.hole))
    # A plane takes less time than it takes to measure how many threads are fastest.
    threads = settings.threads or fixed_threads()
    told = settings.model_copy(update={"threads": threads})
    with cpu_threads(told, pick_device(settings.device)):
        return Previewer(model, stack, settings)(place_of(stack, region))


def open_with(source: Any, settings: OpenSettings) -> Stack:
    """Open a source as the settings say."""
    return open_stack(
        source,
        axes=settings.axes,
        voxel_size=settings.voxel_size,
        channel=settings.channel,
        region=settings.region,
    )


def tell(stack: Stack) -> Iterator[Progress]:
    """Say what was opened."""
    for note in stack.notes:
        yield Progress("open", 0, 1, "steps", note)
    shape = "×".join(str(n) for n in stack.shape)
    yield Progress(
        "open", 1, 1, "steps", f"{stack.name}: {stack.axes} {shape}, {stack.dtype}"
    )


def _check_outputs(out: Path | None, stack: Stack, settings: PredictSettings) -> None:
    check_output(out, stack, settings.overwrite)
    if out is not None and settings.uncertainty:
        check_output(uncertainty_path(out), stack, settings.overwrite)


def _open_sinks(
    stack: Stack,
    series: PlaneSeries,
    block: tuple[int, int, int],
    settings: PredictSettings,
    out: Path | None,
    provenance: dict[str, Any],
) -> tuple[Sink, Sink | None]:
    dtype = stack.dtype if settings.dtype == "same" else np.dtype(np.float32)
    where = series.region(*(slice(0, n) for n in block))
    shape = tuple(where[axis].stop - where[axis].start for axis in stack.axes)

    def open_one(path: Path | None, dtype: np.dtype[Any], label: str) -> Sink:
        return open_sink(
            path,
            stack,
            dtype,
            shape,
            provenance=provenance,
            overwrite=settings.overwrite,
            label=label,
        )

    image = open_one(out, dtype, "denoised")
    if not settings.uncertainty:
        return image, None
    beside = uncertainty_path(out) if out is not None else None
    try:
        std = open_one(beside, np.dtype(np.float32), "uncertainty")
    except BaseException:
        image.abort()
        raise
    return image, std
