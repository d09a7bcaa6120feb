"""From stacks to a model of Blind2Grad: measure, hide voxels, learn to tell them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_blindspot.config import TrainSettings
from napari_blindspot.config.blind2grad import AnswerSettings, Blind2GradSettings
from napari_blindspot.device import cpu_threads
from napari_blindspot.errors import InputError
from napari_blindspot.facts import training_facts
from napari_blindspot.methods import get_method
from napari_blindspot.methods.blind2grad import MaskedObjective
from napari_blindspot.networks.blind2grad import Blind2GradNetwork
from napari_blindspot.progress import Progress
from napari_blindspot.training.keeping import Keeping, asked_by
from napari_blindspot.training.masked import train_masked
from napari_blindspot.training.preparing import context_for, prepare
from napari_blindspot.training.recipes import choose_masked_recipe
from napari_blindspot.training.sampling_joint import make_sampler
from napari_blindspot.training.watching import Watching, model_maker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindspot.config.recipes import MaskedRecipe
    from napari_blindspot.measure.calibrated import Measured
    from napari_blindspot.measure.camera_maps import CameraMaps
    from napari_blindspot.model import Model
    from napari_blindspot.planes import ContextAxis, PlaneSeries
    from napari_blindspot.progress import CancelToken, Job
    from napari_blindspot.stack import Stack
    from napari_blindspot.training.keeping import Keeper
    from napari_blindspot.training.watching import Watch

_ALIKE = 0.01  # voxel sizes that differ by no more are the same
_ASKED = set(TrainSettings.model_fields)
_STARTS_COLD = (
    "Training starts cold: the start weights are of networks with a blind spot, which "
    "method 'blind2grad' does not have"
)


def learn_masked(
    stacks: Sequence[Stack],
    settings: TrainSettings,
    camera: CameraMaps,
    cancel: CancelToken,
    watch: Watch | None = None,
    measured: Measured | None = None,
    keep: Keeper | None = None,
) -> Job[Model]:
    """Train one masked network on stacks that are open and cropped already.

    Arguments as of `learning.learn`.
    """
    method = get_method(settings.method)
    prepared = yield from prepare(stacks, settings, camera, measured)
    sources = prepared.sources(settings, cancel)
    recipe, note = fit_masked_recipe(
        choose_masked_recipe(settings, prepared.device.type),
        [source.series for source in sources],
        settings,
    )
    z_weight, unknown = _z_weight(stacks, settings, recipe, prepared.axis)
    asked = "start" in settings.model_fields_set and settings.start == "warm"
    together = ""
    if (channels := recipe.network.channels) > 1:
        together = f"{channels} channels are denoised together"
    cold = _STARTS_COLD if asked else ""
    for told in filter(None, (note, together, unknown, cold)):
        yield Progress("noise", 1, 1, "steps", told)
    model_of = model_maker(prepared.channels, prepared.axis, method, None)
    with cpu_threads(settings, prepared.device) as threads:
        shape = recipe.network
        sampler = make_sampler(sources, recipe, shape.stride, settings.seed)
        sampler.missing = np.nan  # the network knows what is there
        torch.manual_seed(settings.seed)
        network = Blind2GradNetwork(shape)
        trained = yield from train_masked(
            MaskedObjective(network, settings, settings.seed, z_weight),
            sampler,
            recipe,
            device=prepared.device,
            seed=settings.seed,
            cancel=cancel,
            look=None if watch is None else Watching(watch, model_of),
            keep=Keeping(
                keep, asked_by(settings, _ASKED), {"recipe": recipe.model_dump()}
            ),
        )
    facts = training_facts(
        trained, recipe, settings, stacks, str(prepared.device), threads, []
    )
    chosen = settings.model_dump(include=set(Blind2GradSettings.model_fields))
    chosen |= recipe.network.model_dump(include=set(AnswerSettings.model_fields))
    return replace(
        model_of(network),
        provenance=facts | {"start": dict(trained.start), "blind2grad": chosen},
    )


def fit_masked_recipe(
    recipe: MaskedRecipe, series: Sequence[PlaneSeries], settings: TrainSettings
) -> tuple[MaskedRecipe, str]:
    """Give the network channels, and no more poolings than the planes allow.

    Parameters
    ----------
    recipe
        For planes that are large enough.
    series
        All that is trained on.
    settings
        May want no neighbours, or channels together.

    Returns
    -------
    MaskedRecipe, str
        And a sentence where there are fewer neighbours than usual.
    """
    side = min(recipe.crop, *(n for one in series for n in one.shape[1:]))
    depth = recipe.network.depth
    while depth > 1 and 2 ** (depth + 1) > side:  # two pixels at the bottom
        depth -= 1
    context, note = context_for(series, settings, recipe.network.context)
    channels = series[0].stack.sizes["C"] if settings.channels == "joint" else 1
    changes = {"depth": depth, "context": context, "channels": channels}
    network = recipe.network.model_copy(update=changes)
    return recipe.model_copy(update={"network": network}), note


def _z_weight(
    stacks: Sequence[Stack],
    settings: TrainSettings,
    recipe: MaskedRecipe,
    axis: ContextAxis,
) -> tuple[float | None, str]:
    """Return by what differences from plane to plane are multiplied, None without.

    With a sentence where the size of the voxels is not known.
    """
    if settings.gradient_axes == "yx":
        return None, ""
    first = stacks[0]
    if axis != "z" or recipe.network.context == 0:
        raise InputError(
            f"gradient_axes='zyx' needs neighbour planes along z, but {first.name} "
            f"({first.axes}, shape {first.shape}) is trained with none; use "
            f"gradient_axes='yx', or name the axes with axes=."
        )
    weights = [_in_plane_over_z(stack) for stack in stacks]
    for stack, weight in zip(stacks, weights, strict=True):
        if abs(weight / weights[0] - 1) > _ALIKE:
            raise InputError(
                f"gradient_axes='zyx' weighs differences along z by voxel size in the "
                f"plane over voxel size in z, which is {weights[0]:.3g} of "
                f"{first.name} but {weight:.3g} of {stack.name}; train on them one by "
                f"one, use gradient_axes='yx', or give one voxel_size=."
            )
    sentence = (
        f"The voxel size of {first.name} is not known along all axes: differences "
        f"along z count as those in the plane"
    )
    return weights[0], sentence if None in first.voxel_size else ""


def _in_plane_over_z(stack: Stack) -> float:
    z, y, x = stack.voxel_size
    if z is None or y is None or x is None:
        return 1.0
    return float(np.sqrt(y * x) / z)
