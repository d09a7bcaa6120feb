"""Answers before any training: from start weights, told the noise of the stack."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from napari_blindspot.config.students import DEPTH, WIDTHS, StudentSettings
from napari_blindspot.device import pick_device
from napari_blindspot.errors import InputError, ModelFileError
from napari_blindspot.facts import software_facts
from napari_blindspot.measure.calibrated import measure_corrected, on_average
from napari_blindspot.measure.camera_maps import read_camera
from napari_blindspot.methods import get_method
from napari_blindspot.model import Model
from napari_blindspot.networks.student import StudentNetwork
from napari_blindspot.planes import plane_series, resolve_context_axis, usable_context
from napari_blindspot.progress import run
from napari_blindspot.starts.adapt import load_start
from napari_blindspot.starts.shipped import CONTEXT, read_weights, shipped_student_for
from napari_blindspot.training.learning import learn
from napari_blindspot.training.recipes import choose_recipe
from napari_blindspot.training.warm import begin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_blindspot.config import NoiseSettings, ShippedSettings, TrainSettings
    from napari_blindspot.config.students import StudentSize
    from napari_blindspot.measure.calibrated import Measured
    from napari_blindspot.measure.camera_maps import CameraMaps
    from napari_blindspot.progress import CancelToken
    from napari_blindspot.stack import Stack


def models_at_once(
    stack: Stack, settings: TrainSettings, cancel: CancelToken
) -> Iterator[Model]:
    """Yield what answers before any training: a student first, then the teacher.

    The stack is measured once, by the samples that training would take. The student is
    the smallest that is shipped, unless it may not answer (`shipped_may_answer`) or a
    model of the user's is the start. The teacher is what training for no step gives:
    start weights, and the blind filter fitted to the stack.

    Parameters
    ----------
    stack
        What is to be denoised.
    settings
        How it would be trained; the budget does not count.
    cancel
        Asked between the parts of the work.

    Raises
    ------
    InputError
        If there are no start weights for such a run: ``start="cold"``,
        ``channels="joint"``, ``method="blind2grad"``, or a model that does not fit; or
        as `learn`.
    ModelFileError
        If start weights are missing or altered, so that nothing can answer.
    """
    _refuse_weightless(settings)
    settings = without_steps(settings)
    device = pick_device(settings.device)
    network = choose_recipe(settings, device.type).network
    beginning = begin(settings.start, network, untrained=True)
    size = None
    if settings.start == "warm" and shipped_may_answer(settings):
        with suppress(ModelFileError):
            size = smallest_shipped()
    if size is None and not beginning.is_warm:
        why = beginning.sentence or "There are no start weights for this network"
        raise ModelFileError(f"{why}.")
    camera = read_camera(settings)
    measured = measure_corrected([stack], settings, camera)
    cancel.raise_if_cancelled()
    if size is not None:
        try:
            yield student_at_once(
                stack,
                settings,
                camera,
                size,
                context=settings.context,
                measured=measured,
            )
        except ModelFileError:
            if not beginning.is_warm:
                raise
    if beginning.is_warm:
        yield run(learn([stack], settings, camera, cancel, measured=measured))


def shipped_may_answer(settings: TrainSettings) -> bool:
    """Return whether a shipped student can stand in for the network of a run.

    It has no blind spot to turn. And it makes use of the voxel's own value, so it is
    no stand-in for a method that leaves that value out.
    """
    return settings.hole is None and get_method(settings.method).answer == "posterior"


def without_steps(settings: TrainSettings) -> TrainSettings:
    """Return the settings with a budget of no steps, in which nothing is learnt."""
    nothing = {"quality": None, "minutes": None, "steps": 0, "unknown": "estimate"}
    return settings.model_copy(update=nothing)


def ready_student(stack: Stack, settings: ShippedSettings) -> Model:
    """Do the work of `shipped_student` on a stack that is open already."""
    size = settings.student or smallest_shipped() or "tiny"
    camera = read_camera(settings)
    return student_at_once(stack, settings, camera, size, context=settings.context)


def student_at_once(
    stack: Stack,
    settings: NoiseSettings,
    camera: CameraMaps,
    size: StudentSize = "tiny",
    *,
    context: str = "auto",
    measured: Measured | None = None,
) -> Model:
    """Return a student that has learnt from generated volumes alone.

    Only the scale and the noise of the stack are measured. It answers for each channel
    by itself, without an uncertainty, and keeps a part of noise that neighbours share.

    Parameters
    ----------
    stack
        What is to be denoised.
    settings, camera
        What is known of the noise.
    size
        Size of the student.
    context
        Axis of its neighbour planes, as of `planes.resolve_context_axis`.
    measured
        What `measure_corrected` said of the stack; default: it is measured now.

    Raises
    ------
    ModelFileError
        If the shipped weights are missing or altered.
    """
    axis = resolve_context_axis(stack, context)
    planes = plane_series(stack, axis)[0].shape[0]
    shape = _shape(size, 0 if axis == "none" else usable_context(planes, CONTEXT))
    shipped = shipped_student_for(shape)
    if shipped is None:
        raise ModelFileError(
            f"there are no start weights for a student of size {size}; choose another "
            f"size, train a network, or install napari-blindspot anew."
        )
    weights = read_weights(shipped)  # before anything is measured
    channels, corrections = measured or measure_corrected([stack], settings, camera)
    darks = corrections[0].dark or (None,) * len(channels)
    shape = shape.model_copy(update={"starts": len(channels)})
    network = StudentNetwork(shape)
    load_start(network, weights, shipped.network.context)
    for kind, channel in enumerate(map(on_average, channels, darks)):
        network.take_noise(channel.noise.normalized(channel.scale), kind)
    return Model(
        network.eval(),
        tuple(channel.scale for channel in channels),
        tuple(channel.noise for channel in channels),
        axis if shape.context else "none",
        provenance={
            **software_facts(),
            "sources": [stack.identity],
            "start": {**shipped.as_dict(), "student": size},
        },
    )


def smallest_shipped() -> StudentSize | None:
    """Return the smallest size of which a student is shipped, None without any.

    Raises
    ------
    ModelFileError
        If the list of the start weights is damaged.
    """
    return next((size for size in WIDTHS if shipped_student_for(_shape(size))), None)


def _shape(size: StudentSize, context: int = CONTEXT) -> StudentSettings:
    return StudentSettings(
        width=WIDTHS[size], depth=DEPTH, context=context, units="noise"
    )


def _refuse_weightless(settings: TrainSettings) -> None:
    """Refuse what there are no start weights for."""
    if get_method(settings.method).network == "masked":
        raise InputError(
            f"method={settings.method!r} has nothing to answer from before training: "
            f"the start weights are of networks with a blind spot; train, or use "
            f"method='bayesian'."
        )
    if settings.channels == "joint":
        raise InputError(
            "channels='joint' has nothing to answer from before training: the start "
            "weights are of single channels; train, or use channels='each'."
        )
    if settings.start == "cold":
        raise InputError(
            "start='cold' has nothing to answer from before training; train, or use "
            "start='warm'."
        )
