"""The jobs: train, predict, and both, as generators of events.

The shell and the panel run these; the functions of `api` run them to their end.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_blindspot.asked import (
    as_asked,
    distill_settings,
    matched,
    refuse_uncertainty,
    student_size,
)
from napari_blindspot.config.keeping import KeepSettings
from napari_blindspot.device import cpu_threads, fixed_threads, pick_device
from napari_blindspot.errors import InputError
from napari_blindspot.facts import Result, provenance_of
from napari_blindspot.inference.matching import match_channels
from napari_blindspot.inference.previewing import Previewer, place_of
from napari_blindspot.io import open_stack
from napari_blindspot.io.kept_file import KeptFile, check_kept_file
from napari_blindspot.io.outputs import is_there
from napari_blindspot.measure.camera_maps import read_camera
from napari_blindspot.methods import get_method
from napari_blindspot.model_file import load_model
from napari_blindspot.progress import CancelToken, Job, Progress, run
from napari_blindspot.streaming.cluster import check_shared
from napari_blindspot.streaming.crew import check_crew
from napari_blindspot.streaming.identity import source_fingerprint
from napari_blindspot.streaming.lazy import lazy_result
from napari_blindspot.streaming.record import RecordKeeper, recorded
from napari_blindspot.streaming.result import (
    Found,
    check_outputs,
    is_finished,
    write_result,
)
from napari_blindspot.training.checkpoint import is_state
from napari_blindspot.training.distilling import distill
from napari_blindspot.training.learning import learn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_blindspot.config import (
        DenoiseSettings,
        DistillSettings,
        LookSettings,
        ModelChoice,
        OpenSettings,
        PredictSettings,
        TrainSettings,
    )
    from napari_blindspot.location import Location
    from napari_blindspot.measure.camera_maps import CameraMaps
    from napari_blindspot.model import Model
    from napari_blindspot.stack import Stack
    from napari_blindspot.streaming.record import RunRecord
    from napari_blindspot.training.keeping import Keeper
    from napari_blindspot.training.watching import Watch


_AS_BEFORE = "The network of the earlier run is used as it was"


def denoise_job(
    source: Any,
    settings: DenoiseSettings,
    out: Location | None = None,
    cancel: CancelToken | None = None,
    watch: Watch | None = None,
    client: Any = None,
) -> Job[Result]:
    """Do the work of `denoise` as a generator of events.

    `watch` is called in training with a provisional `Model`, now and then: at most
    every few seconds and for a tenth of the time. Its network trains on afterwards, so
    use it during the call alone. The result does not depend on it. `client` is a
    `distributed.Client` whose workers denoise.
    """
    cancel = cancel or CancelToken()
    get_method(settings.method)  # an unknown one is refused before any file is read
    stack = open_with(source, settings)
    if client is not None or settings.is_shared:
        check_shared(source, out)
        check_crew(settings, client)  # before any training
    check_outputs(out, stack, settings)
    yield from tell(stack)
    camera = read_camera(settings)  # once, for training and for prediction
    with recorded(out, stack, settings) as record:
        found = Found(stack, settings, camera, record, cancel, source, client)
        chosen = yield from _kept(
            None if settings.model else record,  # a file keeps itself
            "trained",
            lambda keep: _chosen(stack, settings, camera, cancel, watch, keep),
        )
        model = chosen
        if student_size(chosen, settings):
            model = yield from _kept(
                record,
                "taught",
                lambda keep: _taught(chosen, stack, settings, camera, cancel, keep),
            )
        refuse_uncertainty(model, settings)
        result = yield from write_result(model, found, out)
    return result if model is chosen else replace(result, teacher=chosen)


def _kept(
    record: RunRecord | None, name: str, make: Callable[[Keeper | None], Job[Model]]
) -> Job[Model]:
    """Return the model that an earlier run has kept, or make and keep it."""
    if record is None:
        return (yield from make(None))
    model = record.model(name)
    if model is not None:
        yield Progress("open", 1, 1, "steps", _AS_BEFORE)
        return model
    keeper = RecordKeeper(record, f"{name}-state")
    model = yield from make(keeper)
    record.keep_model(name, model)
    keeper.clear()
    return model


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
    keep: Keeper | None = None,
) -> Job[Model]:
    """Train a model or read one, as the settings say."""
    if settings.model is None:
        return (yield from learn([stack], settings, camera, cancel, watch, keep=keep))
    model = yield from matched(load_model(settings.model), stack)
    return (yield from as_asked(model, stack, settings))


def _taught(
    model: Model,
    stack: Stack,
    settings: ModelChoice,
    camera: CameraMaps,
    cancel: CancelToken,
    keep: Keeper | None = None,
) -> Job[Model]:
    """Return the student of a model where the settings ask for one, else the model."""
    if size := student_size(model, settings):
        chosen = distill_settings(settings, size)
        model = yield from distill(model, stack, chosen, cancel, camera, keep)
    return model


def train_job(
    sources: Sequence[Any],
    settings: TrainSettings,
    cancel: CancelToken | None = None,
    watch: Watch | None = None,
    keep: KeepSettings | None = None,
) -> Job[Model]:
    """Do the work of `train` as a generator of events; `watch` as of `denoise_job`.

    Whoever gives a checkpoint in `keep` removes that file when the model is safe.
    """
    get_method(settings.method)
    if not sources:
        raise InputError("there is no stack to train on; give at least one.")
    keep = keep or KeepSettings()
    check_keeping(keep)
    stacks = [open_with(source, settings) for source in sources]
    for stack in stacks:
        yield from tell(stack)
    camera = read_camera(settings)
    cancel = cancel or CancelToken()
    if keep.checkpoint is None:
        return (yield from learn(stacks, settings, camera, cancel, watch))
    known = [source_fingerprint(stack) for stack in stacks]
    kept = KeptFile(keep.checkpoint, json.dumps(known), resume=keep.resume)
    if keep.resume and not keep.checkpoint.exists():
        said = f"There is no {kept.name} to go on from: training begins anew"
        yield Progress("open", 1, 1, "steps", said)
    with kept.told_if_cancelled():
        return (yield from learn(stacks, settings, camera, cancel, watch, keep=kept))


def check_keeping(keep: KeepSettings) -> None:
    """Refuse a checkpoint that cannot keep a training, as `check_kept_file`."""
    if keep.checkpoint is not None:
        check_kept_file(
            keep.checkpoint, is_state, resume=keep.resume, overwrite=keep.overwrite
        )


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


def is_complete(source: Any, settings: DenoiseSettings, out: Location) -> bool:
    """Return whether an earlier run, with the same settings, has left nothing to do."""
    if settings.overwrite or not is_there(out):
        return False
    return is_finished(out, open_with(source, settings), settings)


def predict_job(
    model: Model,
    source: Any,
    settings: PredictSettings,
    out: Location | None = None,
    cancel: CancelToken | None = None,
    client: Any = None,
) -> Job[Result]:
    """Do the work of `predict` as a generator of events.

    `client` is a `distributed.Client` whose workers denoise.
    """
    stack = open_with(source, settings)
    if client is not None or settings.is_shared:
        check_shared(source, out)
    check_outputs(out, stack, settings)
    yield from tell(stack)
    camera = read_camera(settings)
    cancel = cancel or CancelToken()
    model = yield from matched(model, stack)
    refuse_uncertainty(model, settings)
    model = yield from as_asked(model, stack, settings)
    with recorded(out, stack, settings) as record:
        found = Found(stack, settings, camera, record, cancel, source, client)
        return (yield from write_result(model, found, out))


def predict_lazily(
    model: Model,
    source: Any,
    settings: PredictSettings,
    out: str | Location | None = None,
    client: Any = None,
) -> Result:
    """Return a result whose chunks are denoised when they are computed.

    Raises
    ------
    InputError
        If an output or other processes are asked for, which only a run that computes
        can have.
    """
    if out is not None or client is not None or settings.is_shared:
        raise InputError(
            "lazy=True computes nothing, so neither an output nor scheduler, workers "
            "or client can be given; leave lazy out to write a file."
        )
    stack = open_with(source, settings)
    model = run(matched(model, stack))
    refuse_uncertainty(model, settings)
    model = run(as_asked(model, stack, settings))
    image, std = lazy_result(model, stack, settings, read_camera(settings))
    provenance = provenance_of(model, stack, settings)
    return Result(image, std, model, model.noise, provenance=provenance)


def preview_plane(
    source: Any,
    model: Model,
    region: str | Mapping[str, slice | int] | None,
    settings: LookSettings,
) -> NDArray[np.float32]:
    """Do the work of `preview`."""
    stack = open_with(source, settings)
    model = run(as_asked(match_channels(model, stack), stack, settings))
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
        scene=settings.scene,
    )


def tell(stack: Stack) -> Iterator[Progress]:
    """Say what was opened."""
    for note in stack.notes:
        yield Progress("open", 0, 1, "steps", note)
    shape = "×".join(str(n) for n in stack.shape)
    yield Progress(
        "open", 1, 1, "steps", f"{stack.name}: {stack.axes} {shape}, {stack.dtype}"
    )
