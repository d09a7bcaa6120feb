"""What differs at random from step to step: turns of a batch, and which planes hide."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_blindspot.noise.likelihood import mapped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.config.recipes import Plan
    from napari_blindspot.networks.blindspot import Hole
    from napari_blindspot.training.sampling import Batch


def deeper(
    hole: Hole, context: int, recipe: Plan, rng: np.random.Generator
) -> Hole | None:
    """Return at times a hole that withholds more of the neighbour planes, else None."""
    if not recipe.drop_planes or rng.random() >= recipe.drop_planes:
        return None
    least = min(hole[0] // 2, context)
    nearest = int(rng.integers(least, context + 1))
    return (2 * nearest + 1, *hole[1:])


def augment(
    batch: Batch, rng: np.random.Generator, *, quarter_turns: bool = True
) -> Batch:
    """Turn and mirror a batch at random, in its planes and along the context axis.

    Without quarter turns rows stay rows: noise that runs along them must stay where
    a hole that is longer in x than in y hides it.
    """
    turns, mirror, flip = (int(rng.integers(n)) for n in (4, 2, 2))
    if not quarter_turns:
        turns -= turns % 2
    planes, target = batch.planes, batch.target
    if flip:
        planes = planes[:, ::-1]
    if mirror:
        planes, target = planes[..., ::-1], target[..., ::-1]
    noise = mapped(lambda p: p[..., ::-1], batch.noise) if mirror else batch.noise

    def turned(array: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.rot90(array, turns, (-2, -1)).copy()

    return replace(
        batch,
        planes=turned(planes),
        target=turned(target),
        noise=mapped(turned, noise),
    )
