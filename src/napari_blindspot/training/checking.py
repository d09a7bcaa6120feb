"""After training: is the noise model right, and what follows for the result."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from napari_blindspot.device import channels_last
from napari_blindspot.noise.calibrate import NO_POINTS
from napari_blindspot.noise.estimate import variance_error
from napari_blindspot.noise.models import Impulse
from napari_blindspot.noise.recalibration import UNCHANGED, Recalibration, recalibrate
from napari_blindspot.noise.verdict import (
    LEAST_VOXELS,
    PRIOR_MEAN,
    is_short_in_part,
    judge_noise,
    noise_shortfall,
    without_fallback,
)
from napari_blindspot.training.inspection import inspect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindspot.measure.channels import Channel
    from napari_blindspot.networks.blindspot import BlindSpotNetwork, Hole
    from napari_blindspot.noise.verdict import Verdict
    from napari_blindspot.progress import CancelToken
    from napari_blindspot.training.inspection import Inspected
    from napari_blindspot.training.sampling import CropSampler


def check_noise(
    network: BlindSpotNetwork,
    sampler: CropSampler,
    channels: Sequence[Channel],
    hole: Hole,
    device: torch.device,
    cancel: CancelToken,
    *,
    estimated: bool,
) -> list[tuple[Verdict, Recalibration]]:
    """Hold the network against every channel of the stacks it was trained on.

    Parameters
    ----------
    network
        Trained, on the CPU; it works on `device` for a while.
    sampler
        Knows the stacks and which voxels were held out.
    channels
        With the noise of an average pixel.
    hole
        Behind which the result answers.
    device
        Where the network runs.
    cancel
        Asked before every plane.
    estimated
        Whether the noise was estimated from the stacks and not given.

    Returns
    -------
    list of tuple
        Verdict and recalibration of every channel.
    """
    channels_last(network, device)
    found = [
        _check(
            network,
            sampler,
            index,
            channel,
            hole,
            device,
            cancel,
            estimated=estimated,
        )
        for index, channel in enumerate(channels)
    ]
    channels_last(network, torch.device("cpu"))
    return found


def _check(
    network: BlindSpotNetwork,
    sampler: CropSampler,
    index: int,
    channel: Channel,
    hole: Hole,
    device: torch.device,
    cancel: CancelToken,
    *,
    estimated: bool,
) -> tuple[Verdict, Recalibration]:
    """Hold the network against one channel of the stacks it was trained on."""
    mine = [
        number
        for number, source in enumerate(sampler.sources)
        if source.series.channel == index
    ]
    found = inspect(network, sampler, mine, device, cancel, hole=hole)
    seen = found.residuals
    # Planes whose levels differ lie on no common line, each was measured by itself.
    leveled = any(sampler.sources[number].noise.levels is not None for number in mine)
    points = NO_POINTS if leveled else channel.points
    verdict = judge_noise(seen, channel.noise, points, estimated=estimated)
    if isinstance(channel.noise, Impulse):
        # What stands out there is an outlier, not a prior that was too sure.
        return without_fallback(verdict), UNCHANGED
    factor = None
    if verdict.fallback:
        factor = noise_shortfall(seen, channel.noise, points, channel.scale)
    if seen.y.size < LEAST_VOXELS:
        return verdict, UNCHANGED
    error = variance_error(channel.points)
    verdict = _with_whiteness(verdict, found, hole)
    found_right = recalibrate(seen, error, factor)
    if verdict.fallback == PRIOR_MEAN:
        found_right = found_right.without_values()
    return verdict, found_right


def _with_whiteness(verdict: Verdict, found: Inspected, hole: Hole) -> Verdict:
    """Add what the residual's correlation says, where it says something.

    Behind a larger hole the noise that neighbours share is still in the residual, as it
    should be; and where scatter is missing in the dark alone, no larger hole helps.
    """
    if max(hole) > 1 or is_short_in_part(found.residuals, verdict.residual):
        return verdict
    if found.correlation is None or found.correlation.verdict in ("white", "unknown"):
        return verdict
    return replace(
        verdict,
        sentence=f"{verdict.sentence} The residual is {found.correlation.verdict}; a "
        f"blind spot of {found.correlation.hole} (z, y, x) would hide what neighbours "
        f"share.",
    )
