"""From stacks that were measured to what is trained on them: hole, network, start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_blindspot.errors import InputError
from napari_blindspot.progress import Progress
from napari_blindspot.streaming.memory import share_memory
from napari_blindspot.training.holes import choose_holes
from napari_blindspot.training.preparing import behind_a_hole, context_for
from napari_blindspot.training.recipes import choose_recipe, warm_recipe
from napari_blindspot.training.starting import WarmStart
from napari_blindspot.training.warm import begin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindspot.config import Recipe, TrainSettings
    from napari_blindspot.measure.channels import Channel
    from napari_blindspot.methods import Method
    from napari_blindspot.planes import PlaneSeries
    from napari_blindspot.progress import CancelToken, Job
    from napari_blindspot.training.holes import Holes
    from napari_blindspot.training.preparing import Prepared
    from napari_blindspot.training.sampling import Source
    from napari_blindspot.training.warm import Beginning

_DROPPED = 0.2  # of the steps, where other holes than the trained one are asked for


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """What is trained on some stacks.

    Parameters
    ----------
    channels
        With all of the noise that is hidden from the network.
    sources
        The series of all stacks, with the noise of `channels`.
    holes
        Behind which the network learns and answers.
    recipe
        Of the training.
    cold
        The same from random weights, for when start weights do not fit the stacks.
    beginning
        What the network knows before.
    """

    channels: tuple[Channel, ...]
    sources: Sequence[Source]
    holes: Holes
    recipe: Recipe
    cold: Recipe
    beginning: Beginning

    @property
    def warm_start(self) -> WarmStart | None:
        """The weights that training starts from, None of a cold start."""
        if not self.beginning.is_warm:
            return None
        return WarmStart(self.beginning.give, self.cold)


def fit(
    prepared: Prepared,
    settings: TrainSettings,
    method: Method,
    cancel: CancelToken,
) -> Job[Fitted]:
    """Choose the blind spot, the network and its start for stacks that were measured.

    Raises
    ------
    InputError
        If the hole does not fit the training hole or leaves nothing to see in a crop,
        or the start does not fit the stacks.
    ModelFileError
        If the model to start from cannot be read.
    """
    channels = prepared.channels
    corrected = [correction.stack for correction in prepared.corrections]
    holes = choose_holes(settings, method, corrected, channels)
    if holes.sentence:
        yield Progress("noise", 1, 1, "steps", holes.sentence)
    sources = prepared.sources(settings, cancel)
    if settings.measures_noise and max(holes.train[1:]) > 1:
        channels, sources = yield from behind_a_hole(prepared, sources)
    cold, note = fit_recipe(
        choose_recipe(settings, prepared.device.type),
        [source.series for source in sources],
        settings,
        holes,
    )
    cold = _within_memory(cold, settings)
    beginning = begin(settings.start, cold.network, untrained=settings.steps == 0)
    recipe = cold
    if beginning.is_warm:
        changes = {"network": beginning.network}
        recipe = warm_recipe(cold, settings, grown=beginning.grows)
        recipe = recipe.model_copy(update=changes)
    for told in filter(None, (note, _joint_sentence(recipe), beginning.sentence)):
        yield Progress("noise", 1, 1, "steps", told)
    return Fitted(channels, sources, holes, recipe, cold, beginning)


def fit_recipe(
    recipe: Recipe,
    series: Sequence[PlaneSeries],
    settings: TrainSettings,
    holes: Holes,
) -> tuple[Recipe, str]:
    """Give the recipe the hole, and no more context than the planes allow.

    Parameters
    ----------
    recipe
        For planes that are large enough.
    series
        All that is trained on.
    settings
        May want no neighbours, or channels together.
    holes
        Of the network.

    Returns
    -------
    Recipe, str
        And a sentence where there are fewer neighbours than usual.

    Raises
    ------
    InputError
        If the hole leaves nothing to see in a crop.
    """
    side = min(recipe.crop, *(n for one in series for n in one.shape[1:]))
    if side > (stride := recipe.network.stride):
        side -= side % stride  # as the sampler cuts them
    if max(holes.train[1:]) >= side:
        raise InputError(
            f"the blind spot {holes.train} (z, y, x) of the training is as large as a "
            f"training crop of {side} px; give a smaller hole or train_hole."
        )
    context, note = context_for(series, settings, recipe.network.context)
    changes: dict[str, Any] = {"context": context, "hole": holes.train}
    count = series[0].stack.sizes["C"]
    if settings.channels == "joint":
        changes |= {"channels": count, "covariance": settings.covariance}
    else:
        changes["starts"] = count
    network = recipe.network.model_copy(update=changes)
    drop = _DROPPED if holes.tunable and context else 0.0
    return recipe.model_copy(update={"network": network, "drop_planes": drop}), note


def _within_memory(recipe: Recipe, settings: TrainSettings) -> Recipe:
    """Return the recipe with no more decoded pixels than the memory is to hold."""
    kept = min(recipe.cache_bytes, share_memory(settings).cache)
    return recipe.model_copy(update={"cache_bytes": kept})


def _joint_sentence(recipe: Recipe) -> str:
    """Say so where channels are denoised together."""
    network = recipe.network
    if network.channels == 1:
        return ""
    return (
        f"{network.channels} channels are denoised together, with a "
        f"{network.covariance} covariance"
    )
