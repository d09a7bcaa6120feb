"""Models for tests: random weights that are nowhere zero, of all kinds."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import torch

from napari_blindspot.config import NetworkSettings, Recipe
from napari_blindspot.config.blind2grad import MaskedNetworkSettings
from napari_blindspot.config.recipes import MaskedRecipe
from napari_blindspot.config.students import StudentRecipe, StudentSettings
from napari_blindspot.model import Model
from napari_blindspot.networks.blind2grad import Blind2GradNetwork
from napari_blindspot.networks.student import StudentNetwork
from napari_blindspot.noise.models import PoissonGaussian
from napari_blindspot.normalize import Normalization
from networks import random_network

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_blindspot.model import Answer
    from napari_blindspot.networks.blindspot import Hole


def random_teacher(
    context: int = 1,
    axis: str = "z",
    *,
    channels: int = 1,
    starts: int = 1,
    answer: Answer = "posterior",
    result_hole: Hole | None = None,
    seed: int = 5,
    **settings: object,
) -> Model:
    """Return a teacher; `channels` are seen together, `starts` one at a time."""
    network = random_network(
        seed,
        dtype=torch.float32,
        context=context,
        channels=channels,
        starts=starts,
        **settings,
    )
    with torch.no_grad():
        network.spread.mul_(0.3)
    return Model(
        network,
        *_known(max(channels, starts)),
        axis if context else "none",
        method="atbsn" if answer == "mean" else "bayesian",
        hole=result_hole,
        answer=answer,
    )


def random_student(context: int = 1, axis: str = "z", channels: int = 1) -> Model:
    """Return a student of one channel, or of several together."""
    shape = StudentSettings(width=4, depth=2, context=context, channels=channels)
    network, generator = StudentNetwork(shape), torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in network.parameters():
            fan_in = max(1, parameter[0].numel()) if parameter.ndim > 1 else 25
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise * (2 / fan_in) ** 0.5)
        taps = torch.randn(network.kernel.shape, generator=generator)
        network.kernel.copy_(0.1 * taps)
    return Model(network.eval(), *_known(channels), axis if context else "none")


TINY = Recipe(
    network=NetworkSettings(width=4, depth=2, context=1, neighbour_width=4),
    steps=10,
    crop=32,
    batch=2,
    learning_rate=3e-3,
)
"""Of a network for tests of what happens around a training, not of its result."""


def _whatever_budget(recipe: Recipe | MaskedRecipe) -> dict[str, Any]:
    return {
        device: dict.fromkeys(("fast", "balanced"), recipe) for device in ("cpu", "gpu")
    }


@contextmanager
def tiny_recipes() -> Iterator[None]:
    """Train a small network on small crops, whatever the budget; and small students."""
    table = _whatever_budget(TINY)
    lessons = StudentRecipe(steps=40, lessons=8, crop=32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_blindspot.training.recipes.RECIPES", table)
        for room in ("training.distilling", "asked"):
            patch.setattr(f"napari_blindspot.{room}.student_recipe", lambda _: lessons)
        patch.setattr("napari_blindspot.training.filters._VOXELS", 60_000)
        yield


TINY_MASKED = MaskedRecipe(
    network=MaskedNetworkSettings(width=8, depth=3, passes=4),
    steps=10,
    crop=32,
    learning_rate=5e-3,
)


@contextmanager
def tiny_masked_recipes() -> Iterator[None]:
    """Train a small masked network on small crops, whatever the budget."""
    table = _whatever_budget(TINY_MASKED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_blindspot.training.recipes.MASKED_RECIPES", table)
        yield


def random_masked(**settings: object) -> Model:
    """Return a small masked model, one plane of context and eight passes."""
    small = {"width": 4, "depth": 2, "context": 1, "window": 2, "passes": 8}
    torch.manual_seed(3)
    network = Blind2GradNetwork(
        MaskedNetworkSettings.model_validate({**small, **settings})
    )
    channels = network.settings.channels
    return Model(
        network.eval(),
        (Normalization(100.0, 50.0),) * channels,
        (PoissonGaussian(2.0, 100.0, 1.0),) * channels,
        "z",
        "blind2grad",
        answer="mean",
    )


def _known(
    channels: int,
) -> tuple[tuple[Normalization, ...], tuple[PoissonGaussian, ...]]:
    scales = tuple(Normalization(2.0 * c, 50.0 + c) for c in range(channels))
    noise = PoissonGaussian.from_camera(1.0, 0.0, 2.0)
    return scales, (noise,) * channels
