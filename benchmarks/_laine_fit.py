"""The training loop that all methods of `laine.py` share."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from napari_blindspot.device import channels_last

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from _photos import Photo

_BETAS = (0.9, 0.99)
_CLIP = 1.0
_EMA = 0.99
_UP, _DOWN = 0.1, 0.3  # of the budget: cosine ramps of the learning rate


@dataclass(frozen=True, slots=True)
class Effort:
    """How long and how a method is trained.

    Parameters
    ----------
    seconds, steps
        Training ends at whichever is reached first.
    crop, batch, rate
        Side of the crops in px, crops per step, peak learning rate.
    seed
        Of weights and crops.
    """

    seconds: float
    crop: int
    batch: int
    rate: float
    steps: int = 10**9
    seed: int = 0


@dataclass(slots=True)
class Fitted:
    """What training took, and the score on the way (seconds, score)."""

    seconds: float = 0.0
    steps: int = 0
    curve: list[tuple[float, float]] = field(default_factory=list)


class Method(Protocol):
    """What `fit` trains and what the score asks."""

    module: nn.Module

    def groups(self, rate: float) -> list[dict[str, Any]]:
        """Return the parameters and their learning rates."""

    def loss(self, rng: np.random.Generator) -> Tensor:
        """Draw a batch and return its loss."""

    def denoise(self, photo: Photo) -> NDArray[np.float32]:
        """Return the image (C, Y, X)."""


def fit(
    method: Method,
    effort: Effort,
    score: Callable[[], float] | None = None,
    marks: Sequence[float] = (),
) -> Fitted:
    """Train a method; its module ends with the averaged weights.

    Parameters
    ----------
    score
        Called at the parts of the budget in `marks`, with averaged weights; the time
        it takes does not count.
    """
    rng = np.random.default_rng([effort.seed, 2])
    channels_last(method.module, torch.device("cpu"))
    groups = method.groups(effort.rate)
    peaks = [group["lr"] for group in groups]
    optimiser = torch.optim.Adam(groups, betas=_BETAS)
    average, fitted, spent = copy.deepcopy(method.module), Fitted(), 0.0
    left = list(marks)
    while spent < 1:
        began = time.perf_counter()
        for group, peak in zip(optimiser.param_groups, peaks, strict=True):
            group["lr"] = peak * warmth(spent)
        loss = method.loss(rng)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(method.module.parameters(), _CLIP)
        optimiser.step()
        fitted.steps += 1
        update_average(average, method.module, fitted.steps)
        fitted.seconds += time.perf_counter() - began
        spent = max(fitted.seconds / effort.seconds, fitted.steps / effort.steps)
        if score is not None and left and spent >= left[0]:
            left.pop(0)
            fitted.curve.append((fitted.seconds, scored(method, average, score)))
    method.module.load_state_dict(average.state_dict())
    return fitted


def warmth(spent: float) -> float:
    """Return the factor of the learning rate: Laine's ramps, stretched over all."""
    up = min(1.0, (spent + 1e-3) / _UP)
    down = min(1.0, max(0.0, 1 - spent) / _DOWN)
    return (0.5 - 0.5 * math.cos(math.pi * up)) * (
        0.5 - 0.5 * math.cos(math.pi * down)
    ) ** 2


def update_average(average: nn.Module, module: nn.Module, steps: int) -> None:
    """Move the averaged weights; a young average forgets fast."""
    decay = min(_EMA, (1 + steps) / (10 + steps))
    with torch.no_grad():
        for old, new in zip(average.parameters(), module.parameters(), strict=True):
            old.lerp_(new, 1 - decay)


def scored(method: Method, average: nn.Module, score: Callable[[], float]) -> float:
    """Score a method with its averaged weights, and go on with the others."""
    current = copy.deepcopy(method.module.state_dict())
    method.module.load_state_dict(average.state_dict())
    value = score()
    method.module.load_state_dict(current)
    return value
