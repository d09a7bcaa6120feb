"""What every method needs of the stacks before training: noise, scale, crops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_blindspot.device import describe_device, pick_device
from napari_blindspot.errors import InputError
from napari_blindspot.measure.calibrated import measure_corrected
from napari_blindspot.measure.fields import noise_fields
from napari_blindspot.measure.noise_apart import measured_apart
from napari_blindspot.noise.models import Gaussian
from napari_blindspot.noise.samples import LEAST_SIDE
from napari_blindspot.planes import plane_series, resolve_context_axis, usable_context
from napari_blindspot.progress import Progress
from napari_blindspot.training.sampling import Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from napari_blindspot.config import TrainSettings
    from napari_blindspot.measure.calibrated import Measured
    from napari_blindspot.measure.camera_maps import CameraMaps
    from napari_blindspot.measure.channels import Channel
    from napari_blindspot.measure.correction import Correction
    from napari_blindspot.planes import ContextAxis, PlaneSeries
    from napari_blindspot.progress import CancelToken, Job
    from napari_blindspot.stack import Stack


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Stacks that were measured, and where the network will be trained.

    Parameters
    ----------
    device
        Where.
    axis
        Along which the neighbour planes lie.
    channels
        Scale, noise and saturation of each.
    corrections
        The stacks, without what their camera added.
    """

    device: torch.device
    axis: ContextAxis
    channels: tuple[Channel, ...]
    corrections: tuple[Correction, ...]

    def sources(self, settings: TrainSettings, cancel: CancelToken) -> list[Source]:
        """Return the series of all stacks with everything that training needs."""
        return [
            source
            for correction in self.corrections
            for source in _sources(correction, self, settings, cancel)
        ]


def _check_sides(stacks: Sequence[Stack]) -> None:
    """Refuse planes that neither tell their noise nor hold a crop around a hole."""
    for stack in stacks:
        rows, columns = stack.sizes["Y"], stack.sizes["X"]
        if min(rows, columns) < LEAST_SIDE:
            raise InputError(
                f"{stack.name} has planes of {rows} × {columns} pixels, but a network "
                f"is trained on at least {LEAST_SIDE} a side; choose a larger region, "
                f"or a model that was trained on a larger part of it."
            )


def prepare(
    stacks: Sequence[Stack],
    settings: TrainSettings,
    camera: CameraMaps,
    measured: Measured | None = None,
) -> Job[Prepared]:
    """Measure stacks that are open and cropped already, and say what was found.

    `measured` is what `measure_corrected` said of the stacks; by default they are
    measured now.

    Raises
    ------
    InputError
        If the planes of a stack are too small to train on.
    """
    _check_sides(stacks)
    device = pick_device(settings.device)
    axis = resolve_context_axis(stacks[0], settings.context)
    yield Progress("noise", 0, 1, "steps", "Estimating the noise")
    if idle := describe_device(settings.device).warning:
        yield Progress("noise", 0, 1, "steps", idle)
    channels, corrections = measured or measure_corrected(stacks, settings, camera)
    for note in dict.fromkeys(note for one in corrections for note in one.notes):
        yield Progress("noise", 1, 1, "steps", note)
    yield Progress("noise", 1, 1, "steps", _noise_sentence(channels))
    return Prepared(device, axis, tuple(channels), tuple(corrections))


def behind_a_hole(
    prepared: Prepared, sources: Sequence[Source]
) -> Job[tuple[tuple[Channel, ...], list[Source]]]:
    """Measure noise that neighbours share by voxels farther apart, and say so.

    Behind a hole the network does not see those neighbours, so it must be told all of
    the noise.

    Parameters
    ----------
    prepared
        With the noise that differences between neighbours show.
    sources
        Of `prepared`; levels of their planes and pixels stay.

    Returns
    -------
    channels, sources
        With the whole noise, where neighbours share it.
    """
    stacks = [correction.stack for correction in prepared.corrections]
    channels = measured_apart(stacks, prepared.channels)
    if channels != prepared.channels:
        said = _noise_sentence(channels)
        told = f"{said} (as voxels farther apart show it, because neighbours share it)"
        yield Progress("noise", 1, 1, "steps", told)
    return channels, [one.with_noise(channels[one.channel].noise) for one in sources]


def context_for(
    series: Sequence[PlaneSeries], settings: TrainSettings, usual: int
) -> tuple[int, str]:
    """Return how many neighbour planes there are for a network on either side.

    Parameters
    ----------
    series
        All that it is trained on.
    settings
        May want none.
    usual
        How many it would use.

    Returns
    -------
    int, str
        The number, and a sentence where it is less than usual because planes are few.
    """
    wanted = 0 if settings.context == "none" else usual
    planes = min(one.shape[0] for one in series)
    context = usable_context(planes, wanted)
    if context == wanted:
        return context, ""
    if planes == 1:
        return context, "a single plane: no neighbour planes are used"
    return context, (
        f"{planes} planes along {series[0].axis}: {context} neighbour plane on either "
        f"side is used instead of {wanted}"
    )


def _sources(
    correction: Correction,
    prepared: Prepared,
    settings: TrainSettings,
    cancel: CancelToken,
) -> list[Source]:
    """Return the series of one corrected stack with everything that training needs."""
    channels, series = prepared.channels, plane_series(correction.stack, prepared.axis)
    fields = noise_fields(
        series,
        [channel.noise for channel in channels],
        [channel.scale for channel in channels],
        correction,
        cancel,
        per_plane=settings.noise_per_plane,
    )
    return [
        Source(
            one,
            channels[one.channel].scale,
            field,
            channels[one.channel].saturation,
        )
        for one, field in zip(series, fields, strict=True)
    ]


def _noise_sentence(channels: Sequence[Channel]) -> str:
    parts = [
        f"standard deviation {c.noise.sigma:.3g} grey values"
        if isinstance(c.noise, Gaussian)
        else f"gain {c.noise.gain:.3g} grey values per electron"
        for c in channels
    ]
    warnings = [w for c in channels for w in c.noise.warnings]
    return "Noise: " + "; ".join([*parts, *warnings])
