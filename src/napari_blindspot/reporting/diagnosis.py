"""Look at the noise of a stack before any training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_blindspot.config import NoiseSettings
from napari_blindspot.errors import InputError
from napari_blindspot.jobs import open_with
from napari_blindspot.measure.calibrated import measure_corrected, on_average
from napari_blindspot.measure.camera_maps import read_camera
from napari_blindspot.measure.channels import measure_channels, sample_planes
from napari_blindspot.measure.correction import corrects, pattern_planes
from napari_blindspot.measure.drift import measure_drift
from napari_blindspot.measure.noise_apart import channel_apart, measured_apart
from napari_blindspot.measure.shared_noise import series_of, shared_noise
from napari_blindspot.noise.fixed_pattern import column_pattern, hot_pixels
from napari_blindspot.noise.given import GivenNoise, hold_against
from napari_blindspot.noise.recording import inspect_recording
from napari_blindspot.planes import resolve_context_axis
from napari_blindspot.progress import CancelToken, Job, Progress
from napari_blindspot.reporting.findings import ChannelDiagnosis, Diagnosis

if TYPE_CHECKING:
    from napari_blindspot.config import DiagnoseSettings
    from napari_blindspot.measure.channels import Channel
    from napari_blindspot.measure.drift import Drift
    from napari_blindspot.stack import Stack

_LEAST_VOXELS = 10_000
_LEAST_SIDE = 36  # px: what is left after differences still holds whole blocks
_UNITS = (
    "check the units (gain in grey values per electron, offset in grey values, read "
    "noise in electrons) and that the stack is as it was recorded"
)


def diagnose_job(
    source: Any, settings: DiagnoseSettings, cancel: CancelToken | None = None
) -> Job[Diagnosis]:
    """Do the work of `diagnose` as a generator of events."""
    cancel = cancel or CancelToken()
    stack = open_with(source, settings)
    for note in stack.notes:
        yield Progress("open", 0, 1, "steps", note)
    _check_size(stack)
    count = stack.sizes["C"]
    yield Progress("noise", 0, count + 1, "steps")
    channels = measure_channels([stack], NoiseSettings())
    given = _given(stack, settings)
    for note in dict.fromkeys(note for one in given if one for note in one.notes):
        yield Progress("noise", 0, count + 1, "steps", note)
    found = []
    for index, channel in enumerate(channels):
        cancel.raise_if_cancelled()
        about = f"Looking at the noise of channel {_name(stack, index)}"
        yield Progress("noise", index + 1, count + 1, "steps", about * (count > 1))
        found.append(_diagnose_channel(stack, index, channel, given[index], cancel))
    yield Progress("noise", 1, 1, "steps")
    context = resolve_context_axis(stack, "auto")
    return Diagnosis(
        stack.name, stack.axes, stack.shape, str(stack.dtype), context, tuple(found)
    )


def _given(stack: Stack, settings: DiagnoseSettings) -> tuple[GivenNoise | None, ...]:
    """Hold what the user knows against the stack, channel by channel."""
    subject = _subject(settings)
    if not subject and not corrects(settings):
        return (None,) * stack.sizes["C"]
    camera = read_camera(settings).of(stack)
    try:
        channels, (done,) = measure_corrected([stack], settings, camera)
    except InputError as error:  # the rest is worth knowing all the same
        return (GivenNoise(False, str(error)),) * stack.sizes["C"]
    if not subject:
        words = "; ".join(done.notes)
        words = f"{words[:1].upper()}{words[1:]}."
        return (GivenNoise(None, words, notes=done.notes),) * len(channels)
    advice = _UNITS if _values(settings) else "noise='auto' fits better"
    darks = done.dark or (None,) * len(channels)
    whole = measured_apart([done.stack], channels)
    return tuple(
        hold_against(
            on_average(one, dark).noise, shown.points, subject, advice, done.notes
        )
        for one, dark, shown in zip(channels, darks, whole, strict=True)
    )


def _subject(settings: DiagnoseSettings) -> str:
    """Return what was given that can be held against the stack, empty if nothing."""
    if _values(settings):
        return "the given camera values"
    return f"the rules of {settings.noise} noise" if settings.noise != "auto" else ""


def _values(settings: DiagnoseSettings) -> bool:
    known = (settings.gain, settings.sigma, settings.dark, settings.variance_map)
    return any(value is not None for value in known)


def _diagnose_channel(
    stack: Stack,
    index: int,
    channel: Channel,
    given: GivenNoise | None,
    cancel: CancelToken,
) -> ChannelDiagnosis:
    noise, saturation = channel.noise, channel.saturation
    planes = sample_planes([stack], index)
    recording = inspect_recording(planes, channel.points, saturation)
    correlation = shared_noise(stack, index, channel, recording)
    whole = channel_apart([stack], channel, index, [correlation])
    columns = column_pattern(
        pattern_planes(stack, index, "columns"), noise, axis="x", saturation=saturation
    )
    rows = column_pattern(
        pattern_planes(stack, index, "rows"), noise, axis="y", saturation=saturation
    )
    return ChannelDiagnosis(
        _name(stack, index),
        resolve_context_axis(stack, "auto"),
        whole.noise,
        whole.points,
        recording,
        correlation,
        columns,
        rows,
        hot_pixels(planes, noise),
        _drift(stack, index, channel, cancel),
        given,
    )


def _drift(
    stack: Stack, index: int, channel: Channel, cancel: CancelToken
) -> Drift | None:
    """Look along the context axis, in the middle of the other one."""
    series = series_of(stack, index)
    one = series[len(series) // 2]
    if one.shape[0] == 1:
        return None
    return measure_drift(one, channel.noise, channel.saturation, cancel)


def _check_size(stack: Stack) -> None:
    sizes = stack.sizes
    voxels = stack.n_voxels // sizes["C"]
    if voxels < _LEAST_VOXELS:
        raise InputError(
            f"the stack has {voxels} voxels per channel (shape {stack.shape}); at "
            f"least {_LEAST_VOXELS} are needed to say what its noise is like: choose a "
            f"larger region."
        )
    if min(sizes["Y"], sizes["X"]) < _LEAST_SIDE:
        raise InputError(
            f"the planes have {sizes['Y']} × {sizes['X']} pixels; at least "
            f"{_LEAST_SIDE} × {_LEAST_SIDE} are needed to say what the noise is like: "
            f"choose a larger region."
        )


def _name(stack: Stack, channel: int) -> str:
    return stack.channel_names[channel] if stack.channel_names else str(channel)
