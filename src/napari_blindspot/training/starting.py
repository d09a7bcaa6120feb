"""The first state of a network: the filter fitted to the stack, and the weights.

Whether weights fit the stack is measured: on held-out voxels, against the blind filter
alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_blindspot.methods.start import fit_start
from napari_blindspot.methods.start_joint import fit_joint_start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from napari_blindspot.config import Recipe
    from napari_blindspot.config.recipes import Plan
    from napari_blindspot.networks.blindspot import BlindSpotNetwork
    from napari_blindspot.progress import CancelToken
    from napari_blindspot.training.sampling import Batch, CropSampler
    from napari_blindspot.training.trainer import Crop, Trainer

_START_VOXELS = 6 * 10**5
_START_BATCH = 24


@dataclass(frozen=True, slots=True, eq=False)
class WarmStart:
    """Weights that training is to start from, if they fit the stack.

    Parameters
    ----------
    give
        Loads them into the network.
    otherwise
        Recipe of training if they say less about the stack than the blind filter.
    """

    give: Callable[[BlindSpotNetwork], None]
    otherwise: Recipe


def take_weights(
    trainer: Trainer, held_out: Batch, warm: WarmStart | None
) -> dict[str, Any]:
    """Give the network the weights that it starts from; say what they are worth.

    The blind spot hides the noise of the held-out voxels from them as from any others,
    so the score tells honestly whether they fit the stack.

    Parameters
    ----------
    trainer
        With the blind filter fitted and alone in the answer.
    held_out
        Crops whose held-out voxels decide.
    warm
        The weights; None, or weights that are worse than the filter: random ones.

    Returns
    -------
    dict
        As of `loop.Trained.start`.
    """
    network = trainer.objective.network
    alone = trainer.score(held_out)
    facts: dict[str, Any] = {"filter": alone, "weights": None, "used": False}
    if warm is not None:
        warm.give(network)
        trainer.restart()
        facts["weights"] = score = trainer.score(held_out)
        facts["used"] = score < alone
        if facts["used"]:
            return facts
        network.forget()
        trainer.recipe = warm.otherwise  # its learning rate is that of a cold start
    network.wake()
    trainer.restart()
    return facts


def unfit_words(start: Mapping[str, Any], planned: Plan, recipe: Plan) -> str:
    """Say that start weights were left out, and what comes of it.

    Parameters
    ----------
    start
        As `take_weights` returns it.
    planned, recipe
        Of training with the weights, and without them.
    """
    if recipe.steps == 0:
        so = "the best linear filter alone answers"
    elif (recipe.steps, recipe.minutes) == (planned.steps, planned.minutes):
        so = "training starts cold"
    else:
        so = "training starts cold and takes longer"
    return (
        f"The start weights do not fit this stack: their held-out score is "
        f"{start['weights']:.3f}, that of the best linear filter "
        f"{start['filter']:.3f} (less is better), so {so}"
    )


def fit_starts(
    network: BlindSpotNetwork,
    trainer: Trainer,
    sampler: CropSampler,
    cancel: CancelToken,
) -> None:
    """Fit every start of the network to crops of what it is the start of."""
    starts = network.settings.starts
    if network.settings.channels > 1:
        fit_joint_start(network, StartCrops(trainer, sampler, cancel))
        return
    for kind in range(starts):
        own = sampler if starts == 1 else sampler.of_channel(kind)
        fit_start(network, StartCrops(trainer, own, cancel), kind)


@dataclass(slots=True)
class StartCrops:
    """The crops that the blind filter is fitted to, drawn a few at a time.

    They are kept: several channels are fitted one after the other.
    """

    trainer: Trainer
    sampler: CropSampler
    cancel: CancelToken
    drawn: list[Batch] = field(default_factory=list)

    def __iter__(self) -> Iterator[Crop]:
        """Give the same crops every time."""
        size = _START_BATCH * self.sampler.crop**2
        for index in range(math.ceil(_START_VOXELS / size)):
            self.cancel.raise_if_cancelled()
            if index == len(self.drawn):
                self.drawn.append(self.sampler.draw(_START_BATCH))
            yield self.trainer.on_cpu(self.drawn[index])
