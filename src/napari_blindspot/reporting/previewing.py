"""One denoised plane as a picture: what the shell's ``preview`` writes."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

from napari_blindspot.config import PredictSettings
from napari_blindspot.errors import InputError, ModelFileError
from napari_blindspot.facts import other_correction, student_of
from napari_blindspot.inference.previewing import Place, Previewer, place_of
from napari_blindspot.io import open_stack
from napari_blindspot.io.new_file import check_new_file, write_new_file
from napari_blindspot.io.region import parse_region
from napari_blindspot.jobs import model_of, tell
from napari_blindspot.measure.camera_maps import read_camera
from napari_blindspot.methods import get_method
from napari_blindspot.progress import CancelToken, Job, Progress
from napari_blindspot.reporting.pictures import grey_limits, planes_in_a_row
from napari_blindspot.training.at_once import shipped_may_answer, student_at_once

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_blindspot.config import PreviewSettings
    from napari_blindspot.measure.camera_maps import CameraMaps
    from napari_blindspot.model import Model
    from napari_blindspot.stack import Stack

_KIND = "picture"
_QUICK = "fast"  # where there are no start weights: a preview is not a result
_TOO_LITTLE = "That is too little to show, so a network is trained with --quality fast"


@dataclass(frozen=True, slots=True)
class Preview:
    """What a preview shows.

    Parameters
    ----------
    output
        The PNG file.
    channel, t, z
        Which plane of the source.
    y, x
        From where to where, pixels.
    limits
        Grey values that are black and white.
    method
        By which the model was trained.
    hole
        Blind spot (z, y, x) behind which it answered; None of a student.
    student
        Size of the student, None without one.
    start
        Start weights that answered before any training; None of a trained network.
    strength
        Part of the denoising that is shown.
    seconds
        From the request to the denoised values, with the model in hand.
    """

    output: Path
    channel: int
    t: int
    z: int
    y: tuple[int, int]
    x: tuple[int, int]
    limits: tuple[float, float]
    method: str
    hole: tuple[int, int, int] | None
    student: str | None
    start: str | None
    strength: float
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


def preview_job(
    source: Any,
    out: Path,
    settings: PreviewSettings,
    cancel: CancelToken | None = None,
    *,
    overwrite: bool = False,
) -> Job[Preview]:
    """Denoise a part of one plane and write it as a PNG.

    Parameters
    ----------
    source
        Whatever `open_stack` takes.
    out
        ``.png`` file.
    settings
        Which plane, and which model; without a model and a budget the start weights
        answer, and where there are none for the stack, a network is trained quickly.
    cancel
        Asked in training and between batches.
    overwrite
        Replace an existing picture.

    Yields
    ------
    Progress
        As of `denoise`.

    Returns
    -------
    Preview

    Raises
    ------
    InputError
        If the stack, the plane or the file cannot be used; before any training.
    """
    out = check_new_file(out, _KIND, (".png",), overwrite=overwrite)
    get_method(settings.method)
    cancel = cancel or CancelToken()
    stack, place, shown = _opened(source, settings)
    yield from tell(stack)
    camera = _camera(settings)
    model = yield from _model(stack, settings, camera, cancel)
    wanted = PredictSettings(**settings.model_dump(include=_SHARED))
    if differs := other_correction(model, wanted):
        yield Progress("open", 1, 1, "steps", differs)
    previewer = Previewer(model, stack, wanted, camera=camera, cancel=cancel)
    start = time.perf_counter()
    denoised = previewer(place, cancel)
    seconds = time.perf_counter() - start
    noisy = _noisy(stack, place) if settings.beside else None
    limits = _write(out, denoised, noisy, overwrite=overwrite)
    return _said(out, shown, limits, model, settings.strength, seconds)


_SHARED = set(PredictSettings.model_fields) - {"channel", "region"}
"""Settings of a run that a preview shares; `Place` says which part it shows."""


def _opened(source: Any, settings: PreviewSettings) -> tuple[Stack, Place, Place]:
    """Open the stack and find the plane in it, and where that is in the source.

    A model may need all channels; a network that is trained here is for the one that
    is asked for.
    """
    stack = open_stack(
        source,
        axes=settings.axes,
        voxel_size=settings.voxel_size,
        scene=settings.scene,
    )
    if settings.channel is None:
        place = _place(stack, settings)
        return stack, place, place
    channel = stack.channel_index(settings.channel)
    if settings.model is None:
        stack = stack.select_channel(channel)
        place = _place(stack, settings)
        return stack, place, replace(place, channel=channel)
    place = replace(_place(stack, settings), channel=channel)
    return stack, place, place


def _place(stack: Stack, settings: PreviewSettings) -> Place:
    """Find the plane that region, z and t name."""
    place = place_of(stack, settings.region)
    named = parse_region(settings.region, stack) if settings.region else {}
    for axis in ("z", "t"):
        index, count = getattr(settings, axis), stack.sizes[axis.upper()]
        if index is None:
            continue
        if axis.upper() in named:
            raise InputError(
                f"{axis}={index} and region={settings.region!r} both name the plane "
                f"along {axis}; leave it out of one of them."
            )
        if index >= count:
            raise InputError(
                f"{axis}={index} lies outside of {stack.name} ({stack.axes}, shape "
                f"{stack.shape}); choose {axis} from 0 to {count - 1}."
            )
        place = replace(place, **{axis: index})
    return place


def _camera(settings: PreviewSettings) -> CameraMaps:
    """Read what is known of the camera, for the stack as `_opened` opens it.

    That is never cut to the region, and has all channels where there is a model.
    """
    channel = settings.channel if settings.model is None else None
    opened = {"region": None, "channel": channel}
    return read_camera(settings.model_copy(update=opened))


def _model(
    stack: Stack, settings: PreviewSettings, camera: CameraMaps, cancel: CancelToken
) -> Job[Model]:
    """Return the model that answers; without a budget that of the start weights."""
    given = (settings.model, settings.quality, settings.minutes, settings.steps)
    if any(value is not None for value in given):
        return (yield from model_of(stack, settings, camera, cancel))
    if _may_start(settings):
        try:
            model = yield from _at_once(stack, settings, camera, cancel)
        except ModelFileError as error:
            yield Progress("open", 1, 1, "steps", f"A network is trained: {error}")
        else:
            if _is_started(model):
                return model
            yield Progress("open", 1, 1, "steps", _TOO_LITTLE)
    quick = settings.model_copy(update={"quality": _QUICK})
    return (yield from model_of(stack, quick, camera, cancel))


def _at_once(
    stack: Stack, settings: PreviewSettings, camera: CameraMaps, cancel: CancelToken
) -> Job[Model]:
    """Return the shipped student that is asked for, or else the teacher at no step."""
    size = settings.student
    if size is None or size == "none":
        now = settings.model_copy(update={"steps": 0})
        return (yield from model_of(stack, now, camera, cancel))
    yield Progress("noise", 0, 1, "steps", "Estimating the noise")
    return student_at_once(stack, settings, camera, size, context=settings.context)


def _may_start(settings: PreviewSettings) -> bool:
    """Return whether the start weights can do what is asked for.

    Where the shipped student may not answer, or a model of the user's is the start,
    one is taught.
    """
    masked = get_method(settings.method).network == "masked"
    if settings.start == "cold" or settings.channels == "joint" or masked:
        return False
    own = settings.start == "warm" and shipped_may_answer(settings)
    return own or settings.student in (None, "none")


def _is_started(model: Model) -> bool:
    """Return whether start weights answer, rather than the blind filter alone."""
    start = model.provenance.get("start", {})
    return bool(start) and bool(start.get("used", model.is_student))


def _noisy(stack: Stack, place: Place) -> NDArray[Any]:
    return stack.read(
        {"C": place.channel, "T": place.t, "Z": place.z, "Y": place.y, "X": place.x}
    )


def _write(
    out: Path, denoised: NDArray[Any], noisy: NDArray[Any] | None, *, overwrite: bool
) -> tuple[float, float]:
    """Write the picture and return the grey values that are black and white."""
    limits, content = grey_limits(denoised), BytesIO()
    planes = (denoised,) if noisy is None else (noisy, denoised)
    planes_in_a_row(planes, limits).save(content, "PNG")
    write_new_file(out, content.getvalue(), _KIND, overwrite=overwrite)
    return limits


def _start_of(model: Model) -> str | None:
    """Return the start weights that nothing was added to, None otherwise."""
    known = model.provenance
    trained = known.get("training", {}).get("steps", 0) or "distillation" in known
    return None if trained or not _is_started(model) else known["start"]["name"]


def _said(
    out: Path,
    place: Place,
    limits: tuple[float, float],
    model: Model,
    strength: float,
    seconds: float,
) -> Preview:
    return Preview(
        output=out,
        channel=place.channel,
        t=place.t,
        z=place.z,
        y=(place.y.start, place.y.stop),
        x=(place.x.start, place.x.stop),
        limits=limits,
        method=model.method,
        hole=model.result_hole if model.has_hole else None,
        student=student_of(model),
        start=_start_of(model),
        strength=strength,
        seconds=seconds,
    )
