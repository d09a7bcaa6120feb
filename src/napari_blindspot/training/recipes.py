"""Which network, trained how long: one recipe per kind of device and quality.

The figures behind these choices are in ``docs/design.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

from napari_blindspot.config import NetworkSettings, Quality, Recipe
from napari_blindspot.config.blind2grad import (
    DILATION,
    MaskedNetworkSettings,
    asked_shape,
)
from napari_blindspot.config.recipes import MaskedRecipe, Plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_blindspot.config import TrainSettings

DeviceClass = Literal["cpu", "gpu"]
P = TypeVar("P", bound=Plan)

_CPU_NETWORK = NetworkSettings(width=8, depth=3, neighbour_width=16, half_planes="all")
_CPU_LARGE = _CPU_NETWORK.model_copy(update={"width": 24, "neighbour_width": 24})
_GPU_NETWORK = NetworkSettings(width=32, depth=4, neighbour_width=16)
_GPU_LARGE = NetworkSettings(width=48, depth=4, neighbour_width=24)

_CPU = Recipe(network=_CPU_NETWORK, crop=64, batch=2, learning_rate=3e-3)
_GPU = Recipe(network=_GPU_NETWORK, crop=96, batch=8, learning_rate=2e-3)


def _recipe(base: P, **changes: Any) -> P:
    return base.model_copy(update=changes)


RECIPES: dict[DeviceClass, dict[Quality, Recipe]] = {
    "cpu": {
        "fast": _recipe(_CPU, steps=2500, minutes=2.5),
        "balanced": _recipe(_CPU, steps=10_000, minutes=12.0),
        "best": _recipe(
            _CPU,
            network=_CPU_LARGE,
            steps=30_000,
            minutes=60.0,
            crop=96,
            learning_rate=2e-3,
        ),
    },
    "gpu": {
        "fast": _recipe(_GPU, steps=600, minutes=1.0),
        "balanced": _recipe(_GPU, steps=2000, minutes=4.0),
        "best": _recipe(_GPU, network=_GPU_LARGE, steps=6000, minutes=20.0, batch=12),
    },
}
_CPU_MASKED = MaskedRecipe(
    network=MaskedNetworkSettings(width=16), crop=64, batch=2, learning_rate=3e-3
)
_GPU_MASKED = MaskedRecipe(
    network=MaskedNetworkSettings(width=32), crop=128, batch=8, learning_rate=2e-3
)
_WIDE = MaskedNetworkSettings(width=48)

MASKED_RECIPES: dict[DeviceClass, dict[Quality, MaskedRecipe]] = {
    "cpu": {
        "fast": _recipe(_CPU_MASKED, steps=2500, minutes=2.0),
        "balanced": _recipe(_CPU_MASKED, steps=10_000, minutes=12.0),
        "best": _recipe(
            _CPU_MASKED,
            network=MaskedNetworkSettings(width=32),
            steps=30_000,
            minutes=60.0,
            crop=128,
        ),
    },
    "gpu": {
        "fast": _recipe(_GPU_MASKED, steps=1000, minutes=1.0),
        "balanced": _recipe(_GPU_MASKED, steps=4000, minutes=4.0),
        "best": _recipe(_GPU_MASKED, network=_WIDE, steps=15_000, minutes=20.0),
    },
}
_UNBOUNDED = 10**9

# Of the cold recipe: how long a network is trained further that starts warm, and by
# which part of the learning rate.
_WARM_SHARE = 0.4
_WARM_RATE = 0.35


def choose_recipe(settings: TrainSettings, device_type: str) -> Recipe:
    """Turn the user's budget into a recipe.

    Parameters
    ----------
    settings
        At most one of `quality`, `minutes`, `steps` is given; none means
        ``quality="balanced"``.
    device_type
        ``"cpu"``, ``"cuda"`` or ``"mps"``.

    Returns
    -------
    Recipe
        With minutes or steps, the size of network that pays within that budget and
        the schedule stretched over it.
    """
    return _chosen(RECIPES, settings, device_type)


def warm_recipe(
    cold: Recipe, settings: TrainSettings, *, grown: bool = False
) -> Recipe:
    """Return how a network is trained that starts from good weights.

    Its learning rate is lower, so that it does not forget them, and where the budget
    is not the user's own it is shorter.

    Parameters
    ----------
    cold
        How it would be trained from random weights.
    settings
        Where the user gave `minutes` or `steps`, they stay.
    grown
        Whether the weights are those of a smaller network: most of it is random then,
        and it takes as long as it would from nothing.
    """
    changes: dict[str, Any] = {"learning_rate": _WARM_RATE * cold.learning_rate}
    if settings.minutes is None and settings.steps is None and not grown:
        changes["steps"] = round(_WARM_SHARE * cold.steps)
        changes["minutes"] = _WARM_SHARE * cold.minutes
    return _recipe(cold, **changes)


def choose_masked_recipe(settings: TrainSettings, device_type: str) -> MaskedRecipe:
    """Turn the user's budget into a recipe for a network that tells hidden voxels.

    Parameters
    ----------
    settings
        As of `choose_recipe`; and what the network knows of the method.
    device_type
        ``"cpu"``, ``"cuda"`` or ``"mps"``.
    """
    recipe = _chosen(MASKED_RECIPES, settings, device_type)
    network = recipe.network.model_copy(
        update={
            "dilation": DILATION[settings.variant],
            "standout": settings.standout == "on",
            "eps_s": settings.eps_s,
            "mask_rate": settings.mask_rate,
            "seed": settings.seed,
        }
    )
    return _recipe(recipe, network=asked_shape(network, settings))


def _chosen(
    table: Mapping[DeviceClass, Mapping[Quality, P]],
    settings: TrainSettings,
    device_type: str,
) -> P:
    """Return the recipe for a device and a budget, stretched over the budget."""
    recipes = table["cpu" if device_type == "cpu" else "gpu"]
    if settings.steps is not None:
        # As large as the largest recipe whose steps are within the budget.
        fitting = [one for one in recipes.values() if one.steps <= settings.steps]
        recipe = fitting[-1] if fitting else recipes["fast"]
        return _recipe(recipe, steps=settings.steps, minutes=float(_UNBOUNDED))
    if settings.minutes is not None:
        fitting = [one for one in recipes.values() if one.minutes <= settings.minutes]
        recipe = fitting[-1] if fitting else recipes["fast"]
        return _recipe(recipe, steps=_UNBOUNDED, minutes=settings.minutes)
    return recipes[settings.quality or "balanced"]
