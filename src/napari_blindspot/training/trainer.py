"""The parts of one training step: forward, loss, optimiser, average, score."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from napari_blindspot.device import channels_last
from napari_blindspot.noise.likelihood import mapped
from napari_blindspot.training.checkpoint import (
    moments,
    part,
    prefixed,
    restore_moments,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_blindspot.config.recipes import Plan
    from napari_blindspot.methods.criterion import Criterion
    from napari_blindspot.networks.blindspot import Hole
    from napari_blindspot.training.sampling import Batch

    Crop = tuple[Tensor, Tensor, Any]  # planes, target, noise of one channel or several
    Step = tuple[Tensor, Tensor, Any, Tensor]  # and which channel each crop is of

_BETAS = (0.9, 0.99)  # Laine et al. 2019


class Trainer:
    """Takes training steps, and scores the averaged network.

    Parameters
    ----------
    objective
        The network with its loss; changed in place.
    recipe
        Learning rate, clipping, averaging.
    device
        Where it runs.
    """

    def __init__(
        self, objective: Criterion, recipe: Plan, device: torch.device
    ) -> None:
        self.objective = objective
        self.recipe = recipe
        self.device = device
        self.restart()

    def restart(self) -> None:
        """Move the network to the device; begin optimiser and average anew."""
        channels_last(self.objective, self.device).train()
        self.average = copy.deepcopy(self.objective).eval()
        groups = self.objective.groups(self.recipe.learning_rate)
        self.optimiser = torch.optim.Adam(groups, betas=_BETAS)
        self.rates = [group["lr"] for group in groups]
        self.steps = 0

    def tensors(self) -> dict[str, Tensor]:
        """Return weights, average and what the optimiser knows, by name."""
        return {
            **prefixed("weights", self.objective.state_dict()),
            **prefixed("average", self.average.state_dict()),
            **prefixed("optimiser", moments(self.optimiser)),
        }

    def restore(self, tensors: Mapping[str, Tensor], steps: int) -> None:
        """Become what `tensors` returned after some steps, of an objective like it."""
        self.restart()
        self.objective.load_state_dict(part("weights", tensors))
        self.average.load_state_dict(part("average", tensors))
        restore_moments(self.optimiser, part("optimiser", tensors))
        self.steps = steps

    def turn(self, hole: Hole) -> None:
        """Let the network be trained for another hole, with the weights that it has."""
        for criterion in (self.objective, self.average):
            criterion.turn(hole)

    def share_filter(self) -> None:
        """Give the average the blind filter and the scales of the network."""
        pairs = zip(self.average.buffers(), self.objective.buffers(), strict=True)
        for old, new in pairs:
            old.copy_(new)

    def step(self, batch: Batch, spent: float, hole: Hole | None = None) -> float:
        """Take one optimiser step behind a hole and return the loss."""
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * self._warmth(spent)
        self.objective.begin_step(self.steps + 1, spent)
        loss = self.objective(*self._on_device(batch), hole)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.objective.parameters(), self.recipe.clip)
        self.optimiser.step()
        self.steps += 1
        self._update_average()
        return float(loss.detach())

    def score(self, batch: Batch, criterion: Criterion | None = None) -> float:
        """Return the negative log-likelihood of a batch under the averaged weights.

        Those of another criterion, where one is given.
        """
        with torch.no_grad():
            return float((criterion or self.average).score(*self._on_device(batch)))

    def on_cpu(self, batch: Batch) -> Crop:
        """Turn a batch into tensors on the CPU: planes, target, noise."""
        return (
            torch.from_numpy(batch.maps),
            torch.from_numpy(batch.target),
            mapped(torch.from_numpy, batch.likelihood),
        )

    def _on_device(self, batch: Batch) -> Step:
        planes, target, noise = self.on_cpu(batch)
        planes = planes.to(self.device).contiguous(memory_format=torch.channels_last)
        noise = mapped(lambda p: p.to(self.device), noise)
        kind = torch.from_numpy(batch.kind).to(self.device)
        return planes, target.to(self.device), noise, kind

    def _warmth(self, spent: float) -> float:
        """Return the learning rate's factor: a short ramp up, then a cosine to 0."""
        ramp = min(1.0, (spent + 1e-3) / self.recipe.warmup)
        return ramp * 0.5 * (1 + math.cos(math.pi * min(1.0, spent)))

    def _update_average(self) -> None:
        # Young averages forget fast, or the random first weights would linger.
        decay = min(self.recipe.ema, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for old, new in zip(
                self.average.parameters(), self.objective.parameters(), strict=True
            ):
                old.lerp_(new, 1 - decay)
