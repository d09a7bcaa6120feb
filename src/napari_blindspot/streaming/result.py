"""From a model and a stack to a written result: prepare, stream, finish."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.config import CAMERA_FILES
from napari_blindspot.device import cpu_threads, pick_device
from napari_blindspot.errors import InputError
from napari_blindspot.facts import Result, other_correction, provenance_of, run_metrics
from napari_blindspot.io import (
    check_output,
    open_sink,
    read_provenance,
    uncertainty_path,
)
from napari_blindspot.io.outputs import check_not_read, is_begun, is_there
from napari_blindspot.io.sinks import finished_sink
from napari_blindspot.progress import CancelToken, Job, Progress
from napari_blindspot.streaming.cluster import share_out
from napari_blindspot.streaming.crew import crew_of
from napari_blindspot.streaming.engine import Outputs, stream_prediction
from napari_blindspot.streaming.identity import run_digest, source_fingerprint
from napari_blindspot.streaming.seen import sample_size
from napari_blindspot.streaming.work import prepare_work

if TYPE_CHECKING:
    from napari_blindspot.config import PredictSettings
    from napari_blindspot.io import Sink
    from napari_blindspot.location import Location
    from napari_blindspot.measure.camera_maps import CameraMaps
    from napari_blindspot.model import Model
    from napari_blindspot.stack import Stack
    from napari_blindspot.streaming.plan import StreamPlan
    from napari_blindspot.streaming.record import RunRecord
    from napari_blindspot.streaming.seen import Seen
    from napari_blindspot.streaming.work import Work

_FINISHING = "finishing"
_DIGEST = "run_digest"


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a run was given, and what it found there.

    Parameters
    ----------
    stack
        As it was opened.
    settings
        What is asked for.
    camera
        What `read_camera` read for these settings.
    record
        What the run writes down; None: nothing.
    cancel
        Asked between batches of planes.
    source
        What the stack was opened from.
    client
        A `distributed.Client` whose workers denoise; None: as the settings say.
    """

    stack: Stack
    settings: PredictSettings
    camera: CameraMaps
    record: RunRecord | None
    cancel: CancelToken
    source: Any = None
    client: Any = None


def check_outputs(
    out: Location | None, stack: Stack, settings: PredictSettings
) -> None:
    """Refuse outputs that cannot be written, as `check_output`."""
    resume = settings.resume
    if resume and out is None:
        raise InputError(
            "resume=True goes on with an output that an earlier run has begun, but "
            "this result is kept in memory; give the output, or leave resume out."
        )
    check_output(out, stack, settings.overwrite, resume=resume)
    if out is None:
        return
    camera = {name: getattr(settings, name) for name in CAMERA_FILES}
    check_not_read(out, camera)
    if settings.uncertainty:
        beside = uncertainty_path(out)
        check_not_read(beside, camera)
        # Of a run that ended while it finished, this one may have its name already.
        if not (resume and is_begun(out) and is_there(beside)):
            check_output(beside, stack, settings.overwrite, resume=resume)


def is_finished(out: Location, stack: Stack, settings: PredictSettings) -> bool:
    """Return whether a run with these very settings has completed these outputs.

    Parameters
    ----------
    out
        The output.
    stack
        The source, known again by what `source_fingerprint` says of it.
    settings
        Compared as far as they decide about values.
    """
    places = (out, uncertainty_path(out))[: 1 + settings.uncertainty]
    if not all(is_there(one) and not is_begun(one) for one in places):
        return False
    kept = (read_provenance(out) or {}).get(_DIGEST)
    if kept is None:
        return False
    return bool(kept == run_digest(settings, source_fingerprint(stack)))


def write_result(model: Model, found: Found, out: Location | None) -> Job[Result]:
    """Denoise a stack with a model that fits it, and complete the output."""
    stack, settings, record = found.stack, found.settings, found.record
    if differs := other_correction(model, settings):
        yield Progress("open", 1, 1, "steps", differs)
    work = prepare_work(model, stack, settings, found.camera, found.cancel)
    for told in work.notes:
        yield Progress("open", 1, 1, "steps", told)
    plan = work.plan()
    if record is not None:
        record.check_model(model)
        plan = record.plan(plan)
        work.predictor.batch_pixels = plan.batch_pixels
    provenance = provenance_of(model, stack, settings)
    if record is not None:
        provenance[_DIGEST] = record.digest
    outputs = _open_outputs(found, work, plan, out, provenance)
    start = time.perf_counter()
    try:
        seen = yield from _streamed(found, work, plan, outputs)
        predicted = time.perf_counter()
        image, std = yield from _finish(outputs, record, found.cancel)
    except BaseException:
        for sink in outputs.sinks:
            if record is not None and record.is_worth_keeping:
                sink.pause()
            else:
                sink.abort()
        raise
    seconds = predicted - start, time.perf_counter() - predicted
    return Result(
        image,
        std,
        model,
        model.noise,
        run_metrics(model, stack, seen, seconds, settings),
        out,
        provenance,
    )


def _streamed(
    found: Found, work: Work, plan: StreamPlan, outputs: Outputs
) -> Job[Seen]:
    """Have all blocks denoised, here or by others."""
    settings, record = found.settings, found.record
    with crew_of(settings, found.client) as client:
        if client is not None and record is not None:
            return (
                yield from share_out(
                    client,
                    found.source,
                    settings,
                    work.predictor.model,
                    record,
                    plan,
                    work.series,
                    outputs,
                    found.cancel,
                )
            )
    device = pick_device(settings.device)
    with cpu_threads(_as_before(settings, record), device) as threads:
        if record is not None:
            record.threads(threads)
        return (
            yield from stream_prediction(
                work.predictor,
                work.series,
                work.fields,
                plan,
                outputs,
                found.cancel,
                work.reader(),
            )
        )


def _as_before(settings: PredictSettings, record: RunRecord | None) -> PredictSettings:
    """Return settings with the threads of the run that is gone on with."""
    kept = None if record is None else record.store.manifest.get("threads")
    return settings if kept is None else settings.model_copy(update={"threads": kept})


def _finish(
    outputs: Outputs, record: RunRecord | None, cancel: CancelToken
) -> Job[tuple[Any, Any | None]]:
    """Complete the outputs: the image last, because the record lies in it."""
    std = None
    if outputs.uncertainty is not None:
        if record is not None:
            record.store.describe({_FINISHING: True})
        std = yield from outputs.uncertainty.finish(cancel)
    image = yield from outputs.image.finish(cancel)
    return image, std


def _open_outputs(
    found: Found,
    work: Work,
    plan: StreamPlan,
    out: Location | None,
    provenance: dict[str, Any],
) -> Outputs:
    stack, settings, record = found.stack, found.settings, found.record
    store = None if record is None else record.store
    dtype = stack.dtype if settings.dtype == "same" else np.dtype(np.float32)
    where = work.members[0].region(*(slice(0, n) for n in plan.core))
    shape = tuple(where[axis].stop - where[axis].start for axis in stack.axes)

    def open_one(path: Location | None, dtype: np.dtype[Any], label: str) -> Sink:
        return open_sink(
            path,
            stack,
            dtype,
            shape,
            provenance=provenance,
            overwrite=settings.overwrite,
            label=label,
            record=store,
        )

    ledger = None if record is None else record.ledger(plan, work.channels_together)
    samples = sample_size(len(plan))
    image = open_one(out, dtype, "denoised")
    if not settings.uncertainty:
        return Outputs(image, None, ledger, samples)
    beside = uncertainty_path(out) if out is not None else None
    try:
        std = (
            finished_sink(beside)
            if beside is not None and _has_its_name(beside, record)
            else open_one(beside, np.dtype(np.float32), "uncertainty")
        )
    except BaseException:
        image.abort() if record is None else image.pause()
        raise
    return Outputs(image, std, ledger, samples)


def _has_its_name(beside: Location, record: RunRecord | None) -> bool:
    """Return whether the earlier run ended between the names of two outputs."""
    if record is None or not record.store.manifest.get(_FINISHING):
        return False
    return is_there(beside) and not is_begun(beside)
